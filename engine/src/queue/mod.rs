//! Between a shard and the applications: requests out, answers back, and who sleeps.
//!
//! ```text
//!  shard ──RequestRing──▶ consumers          one ring a queue and shard: one producer, many consumers
//!    ▲                        │
//!    └───────Completions──────────┘              one list a shard: many producers, one consumer
//!    └──── Signals, Commands ───────┘              the same, for what is rare
//! ```
//!
//! Invariants:
//! * What travels is a plain 64-bit id; the slot it names is plain data in the exchange. No pointers.
//! * A request slot is named by a [`Slot`], which is made here alone, of a slot that is initialised.
//! * A consumer that claims an id is the only one to hold its [`Lease`]; a slot answers once, whoever tries.
//! * Who sleeps sets a flag, fences, looks again and only then sleeps (the order Seastar's reactor uses); who brings
//!   work publishes, fences and looks at the flag. So no wake is lost and none is sent to one awake.
//! * An exchange outlives every lease on it, also when its shard ends first.
//!
//! Not here: HTTP, connections and the kernel's ring. Sources: futex(2), eventfd(2).

mod answered;
mod body;
mod by_id;
mod commands;
mod completions;
mod core;
mod demand;
mod driving;
mod ending;
mod exchange;
mod free_slots;
mod handover;
mod holdings;
mod lease;
mod notifier;
mod one_shot;
mod owned;
#[cfg(test)]
mod races;
mod request_ring;
mod shard_side;
mod signals;
mod sleepers;
mod slot;
mod trim;
#[cfg(feature = "admin")]
mod under_way;
mod watch;
mod word;

pub(crate) use self::answered::{Answered, HeadText, LINE_BYTES, NotSent, ResponseFlags, Tail};
pub(crate) use self::body::{BodyState, Reading};
pub(crate) use self::commands::{Command, Informational, LogText};
pub(crate) use self::completions::Completion;
pub(crate) use self::core::{QueueCore, Source};
pub(crate) use self::driving::Driving;
pub(crate) use self::exchange::{Exchange, Record, Sizes, slot_bytes};
pub(crate) use self::handover::{HandOver, SocketReceiver};
pub(crate) use self::lease::{Filled, Lease, NotRegained, ReadCursor};
pub(crate) use self::notifier::{Notifier, NotifyScope, notify_deferred};
pub(crate) use self::owned::{CellPools, HeadCell, SLOT_TABLE_BYTES, ShortBytes};
pub(crate) use self::request_ring::Producer;
pub(crate) use self::shard_side::{Scratch, ShardSide, SlotUse};
pub(crate) use self::signals::Signals;
pub use self::sleepers::WaitStrategy;
pub(crate) use self::sleepers::{Receiving, Woken};
pub(crate) use self::slot::{Slot, SlotTable};
#[cfg(feature = "admin")]
pub(crate) use self::under_way::Stage;
pub use self::watch::Disconnected;
pub(crate) use self::watch::{Registration, Watch};
pub(crate) use self::word::INFORMATIONAL_MAX;
