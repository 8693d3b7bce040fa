//! The control plane: engines, server sessions, URL groups and request queues, and the listeners they open.
//!
//! Invariants: everything here may lock and allocate, and nothing here runs once a request; a change reaches a shard as
//! a message ([`ControlMessage`](crate::shard::ControlMessage)) and takes effect with the shard's next turn; a URL is
//! registered once.
//!
//! Not here: receiving and answering (room `api`), reservations and persistent configuration.

mod attached;
mod builder;
mod engine;
mod groups;
mod listeners;
mod request_queue;
#[cfg(test)]
mod tests;

pub(crate) use attached::{attached_shard, drive, driven_notifier, in_turn, is_over};
pub use builder::EngineBuilder;
pub use engine::{Attached, Engine};
pub use groups::{ServerSession, UrlGroup};
pub use request_queue::{QueueOptions, RequestQueue};
