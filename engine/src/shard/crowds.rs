//! Connections as candidates: those of an address that holds much of what counts go first.
//!
//! Invariants: while an address holds few, how many makes no difference.
//!
//! Not here: which could go (`protocol`), when, and what for (`eviction`, `pieces`, `gathered`).

use super::protocol::Connection;
use crate::candidates::{Among, Rank};
use crate::clock::Tick;
use crate::peers::{Peers, Pool};
use crate::slab::{ConnectionKey, OfConnection, Slab};

/// Ticks that a connection has had to do something: at least 64 ms.
pub(super) const REST_MIN: Tick = 2;
/// Connections that are found by looking through all once.
pub(super) const CONNECTIONS_MAX: u32 = 1024;

/// Connections that could go, and from when on.
pub(super) struct Connections<'a, O, F> {
    pub(super) all: &'a Slab<Connection, OfConnection>,
    pub(super) peers: &'a Peers,
    /// What counts, and how much of it is not much for an address.
    pub(super) of: (Pool, u32),
    /// What of a connection makes it one that could, if it is.
    pub(super) rest_of: O,
    pub(super) from: F,
}

impl<R: Copy + Ord, O: Fn(&Connection) -> Option<R>, F: Fn(&Rank<R>) -> Tick> Among for Connections<'_, O, F> {
    type Key = ConnectionKey;
    type Rest = R;

    fn keys(&self) -> impl Iterator<Item = ConnectionKey> {
        self.all.iter().map(|(key, _)| key)
    }

    fn rank(&self, key: ConnectionKey) -> Option<Rank<R>> {
        let rest = (self.rest_of)(self.all.get(key)?)?;
        let (pool, few) = self.of;
        Some(Rank::of(self.peers.held(self.peers.of(key), pool), few.max(1), rest))
    }

    fn from(&self, rank: &Rank<R>) -> Tick {
        (self.from)(rank)
    }
}
