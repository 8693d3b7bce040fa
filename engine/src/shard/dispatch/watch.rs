//! What few connections have beside their entry: applications that are to be told of their end or to get their socket,
//! and informational responses.
//!
//! Invariants: a connection without any of it pays one look when it ends; whoever is to be told is told when its
//! descriptor is closed and its requests are gone; what is kept for those who no longer wait is bounded by twice the
//! number of those who do.
//!
//! Not here: how the telling is done (`queue::watch`).

use std::collections::{BTreeMap, VecDeque};

use super::Dispatch;
use crate::queue::{Disconnected, Informational, Registration, Slot, SocketReceiver};
use crate::slab::ConnectionKey;

/// One connection's.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    registrations: Vec<Registration>,
    /// As many registrations as there may be before those are cleared away that nobody waits for.
    clear_at: usize,
    /// Informational responses that wait, each with the slot of its request, in the order they were given.
    informational: VecDeque<(Slot, Informational)>,
    /// Who is to get its socket.
    taker: Option<SocketReceiver>,
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
    pub(crate) fn registrations(&self) -> usize {
        self.registrations.len()
    }
}

/// Those of all connections, by their places.
#[derive(Debug, Default)]
pub(crate) struct Extras(BTreeMap<u32, Extra>);

#[cfg(test)]
impl Extras {
    pub(crate) fn of(&mut self, key: ConnectionKey) -> Option<&mut Extra> {
        self.0.get_mut(&key.index)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Dispatch {
    /// Somebody is to be told of a connection's end.
    pub(crate) fn add_watcher(&mut self, key: ConnectionKey, registration: Registration) {
        self.extras.0.entry(key.index).or_default().add(registration);
    }

    /// Whether there is anything of a connection.
    pub(crate) fn has_extras(&self, key: ConnectionKey) -> bool {
        self.extras.0.contains_key(&key.index)
    }

    /// An informational response waits for its turn.
    pub(crate) fn add_informational(&mut self, key: ConnectionKey, slot: Slot, answer: Informational) {
        self.extras.0.entry(key.index).or_default().informational.push_back((slot, answer));
    }

    /// The oldest informational response of a slot's request has its turn. Gives it, and whether others wait.
    pub(crate) fn take_informational(&mut self, key: ConnectionKey, slot: Slot) -> Option<(Informational, bool)> {
        let extra = self.extras.0.get_mut(&key.index)?;
        let place = extra.informational.iter().position(|(of, _)| *of == slot)?;
        let (_, answer) = extra.informational.remove(place)?;
        self.side.informational_taken(slot);
        Some((answer, !extra.informational.is_empty()))
    }

    /// Somebody is to get its socket.
    #[cold]
    pub(crate) fn set_taker(&mut self, key: ConnectionKey, taker: SocketReceiver) {
        self.extras.0.entry(key.index).or_default().taker = Some(taker);
    }

    /// Whoever is to get it.
    #[cold]
    pub(crate) fn take_taker(&mut self, key: ConnectionKey) -> Option<SocketReceiver> {
        self.extras.0.get_mut(&key.index)?.taker.take()
    }

    /// A client has ended its side, and is owed something: tells who waits for that.
    #[cold]
    pub(crate) fn half_closed(&mut self, key: ConnectionKey) {
        let Some(extra) = self.extras.0.get_mut(&key.index) else { return };
        for registration in extra.registrations.extract_if(.., |registration| registration.wants_half_close()) {
            registration.tell(Disconnected::HalfClosed);
        }
    }

    /// A connection is no more: tells whoever waits for that.
    #[cold]
    pub(crate) fn end_extras(&mut self, key: ConnectionKey, how: Disconnected) {
        let Some(extra) = self.extras.0.remove(&key.index) else { return };
        self.counters.informational_dropped.add(extra.informational.len() as u64);
        for registration in extra.registrations {
            registration.tell(how);
        }
    }
}
