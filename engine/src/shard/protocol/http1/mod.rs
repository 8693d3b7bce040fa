//! HTTP/1.0 and HTTP/1.1: heads, bodies, the order of responses, and what they say of their connection.
//!
//! ```text
//!   received ──▶ input, assembly, body ──▶ deliver ──▶ dispatch
//!   sent     ◀── output ◀───────────────── answers ───
//! ```
//!
//! Invariants: no head is begun unless the connection's `conn::Machine` admits a further request; a request is
//! delivered when its head is whole, before the rest of its body, unless its group wants that whole; answers leave in
//! the order of their requests.
//!
//! Not here: what every protocol does with its socket (`link`, `receive`, `stream`, `files`), and what a connection may
//! do next (room `conn`).

mod assembly;
mod body;
mod deliver;
mod displace;
mod gather;
mod informational;
mod input;
mod life;
mod output;
mod partial;
mod preface;
mod refuse;
mod rest;
mod state;
mod unwanted;
mod waits;

pub(crate) use self::rest::Rest;
pub(crate) use self::state::{Awaits, Http1, Intake, Stall};
