//! A load generator on io_uring: pinned threads, each with a ring of its own and its share of the connections.
//!
//! Invariants:
//! - every answer is checked: its status, its length and, if asked, its content; an unexpected one is a mismatch;
//! - what is not answered is counted too: a time-out, a reset, what is lost with their connection, what was never sent;
//! - at a fixed rate, latency counts from the moment a request was due, not from when it could be sent;
//! - the warm-up is driven like the rest and left out of every figure.
//!
//! Not here: TLS, HTTP/2, name resolution.

mod answer;
mod block;
mod checker;
mod chunks;
mod command;
mod connection;
mod curve;
mod exchange;
mod plan;
mod report;
mod requests;
mod run;
mod schedule;
mod table;
mod tally;
mod traffic;
mod worker;

pub use command::{Arguments, command};
pub use plan::{Exchange, Expectation, Pace, Plan};
pub use report::{Faults, Latency, Report};
pub use requests::read_requests;
pub use run::{Phase, Progress, run};
