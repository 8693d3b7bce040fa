//! Serving without a loop of one's own: threads that take requests and call a handler; a URL and its queue, and a
//! server, each in one call.
//!
//! Invariants: everything here is made of what the rooms `session` and `api` give to everybody, and nothing in those
//! knows of it; a handler that panics costs one request.
//!
//! Not here: the ways to wait for a request and to answer it (room `api`), and routing by pattern.

mod pool;
mod reply;
mod server;
mod site;
#[cfg(feature = "signal")]
mod until_signal;

pub use pool::Pool;
pub use reply::{IntoReply, Reply};
pub use server::Server;
pub use site::Site;
