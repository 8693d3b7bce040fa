//! The control plane: engines, server sessions, URL groups and request queues, and the listeners they open.
//!
//! Invariants: everything here may lock and allocate, and nothing here runs once a request; nothing here waits
//! under the lock; a change reaches the shards as a part of what is wanted of them
//! ([`DesiredState`](crate::shard::DesiredState)) and holds for whatever comes to them later; a URL is registered once.
//!
//! Not here: receiving and answering (room `api`), reservations and persistent configuration.

mod activation;
mod attached;
mod bound;
mod builder;
mod changes;
mod control;
mod drivers;
mod engine;
mod events;
mod groups;
mod hand_over;
mod listener;
mod listeners;
mod listing;
mod logging;
mod logs;
mod queue_options;
mod queues;
mod refused;
mod request_queue;
mod running;
mod snapshot;
mod socket_file;
mod stopped;
#[cfg(test)]
mod tests;
mod url_groups;
#[cfg(feature = "admin")]
mod watcher;

pub use attached::Attached;
pub(crate) use attached::{attached_shard, drive, driven_notifier, in_turn, is_over};
pub use bound::ShardState;
pub use builder::EngineBuilder;
pub use engine::Engine;
pub use events::Event;
pub(crate) use groups::parse_url;
pub use listener::{Endpoint, HandedOver, Listener};
pub use listing::{AddressInfo, QueueInfo, UrlGroupInfo, UrlInfo};
pub use queue_options::QueueOptions;
pub use request_queue::RequestQueue;
pub use snapshot::{
    EngineSnapshot, ListenerSnapshot, Phase, QueueSnapshot, SessionSnapshot, ShardSnapshot, UrlGroupSnapshot,
};
pub use stopped::Stopped;
pub use url_groups::{ServerSession, UrlGroup};
#[cfg(feature = "admin")]
pub(crate) use watcher::{RequestInfo, Watcher};
