//! What few connections have beside their entry: applications that are to be told of their end.
//!
//! Laws: a connection without any of it pays one test when it ends; whoever is to be told is told as soon as the end is
//! decided, before the descriptor is closed; what is kept for those who no longer wait is bounded by twice the number of
//! those who do.
//!
//! Absent: how the telling is done (`queue::watch`).

use std::collections::BTreeMap;

use super::Shard;
use crate::id::ConnectionId;
use crate::queue::{Disconnected, Registration};
use crate::ring::Io;
use crate::slab::Key;

/// One connection's.
#[derive(Debug, Default)]
pub(super) struct Extra {
    registrations: Vec<Registration>,
    /// As many registrations as there may be before those are cleared away that nobody waits for.
    clear_at: usize,
}

/// Registrations kept before it is looked whether somebody waits for them.
const CLEAR_AT_LEAST: usize = 8;

impl Extra {
    fn add(&mut self, registration: Registration) {
        if self.registrations.len() >= self.clear_at {
            self.registrations.retain(|registration| !registration.is_forgotten());
            self.clear_at = CLEAR_AT_LEAST.max(2 * self.registrations.len());
        }
        self.registrations.push(registration);
    }

    #[cfg(test)]
    pub(super) fn registrations(&self) -> usize {
        self.registrations.len()
    }
}

/// Those of all connections, by their index.
#[derive(Debug, Default)]
pub(super) struct Extras(BTreeMap<u32, Extra>);

impl Extras {
    pub(super) fn of(&mut self, index: u32) -> Option<&mut Extra> {
        self.0.get_mut(&index)
    }

    /// The connection is no more.
    #[cold]
    pub(super) fn forget(&mut self, index: u32) {
        self.0.remove(&index);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<I: Io> Shard<I> {
    /// Somebody is to be told of a connection's end.
    pub(super) fn watch(&mut self, id: ConnectionId, registration: Registration) {
        let (_, generation, index) = id.parts();
        match self.connections.get_mut(Key { index, generation }) {
            None => registration.tell(Disconnected::Gone),
            Some(connection) if connection.closing => registration.tell(Disconnected::Gone),
            Some(connection) if connection.input_ended && registration.wants_half_close() => {
                registration.tell(Disconnected::HalfClosed);
            }
            Some(connection) => {
                connection.extras = true;
                self.extras.0.entry(index).or_default().add(registration);
            }
        }
    }

    /// The client has ended its side, and is owed something.
    #[cold]
    pub(super) fn half_closed(&mut self, key: Key) {
        let Some(extra) = self.extras.of(key.index) else { return };
        for registration in extra.registrations.extract_if(.., |registration| registration.wants_half_close()) {
            registration.tell(Disconnected::HalfClosed);
        }
    }

    /// The connection's end is decided.
    #[cold]
    pub(super) fn tell_ended(&mut self, key: Key, how: Disconnected) {
        let Some(extra) = self.extras.of(key.index) else { return };
        for registration in extra.registrations.drain(..) {
            registration.tell(how);
        }
    }
}
