//! The control plane: engines, server sessions, URL groups and request queues, and the listeners they open.
//!
//! Laws: everything here may lock and allocate, and nothing here runs once a request; a change reaches a shard as a
//! message ([`Letter`](crate::shard::Letter)) and takes effect with the shard's next turn; a URL is registered once.
//!
//! Absent: receiving and answering (room `api`), reservations and persistent configuration.

mod builder;
mod engine;
mod groups;
mod listeners;
mod local;
mod request_queue;
#[cfg(test)]
mod tests;

pub use builder::EngineBuilder;
pub use engine::{Attached, Engine};
pub use groups::{ServerSession, UrlGroup};
pub(crate) use local::{attached_shard, drive, driven_bell, in_turn, is_over};
pub use request_queue::{QueueOptions, RequestQueue};
