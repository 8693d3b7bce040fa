//! Lists of connections that are to be looked at again.
//!
//! Invariants: a connection is on a list at most once, so that no list outgrows the table of connections. Who puts it
//! there has its mark at hand; who takes its key from there takes the mark off, if the connection is still there.
//!
//! Not here: what the lists are for (`protocol`), and who works them off (`shard`).

use crate::mem::give_back_room;
use crate::slab::ConnectionKey;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Worklist(Vec<ConnectionKey>);

/// A connection's mark: whether it is on one list.
#[derive(Debug, Default)]
pub(super) struct Listed(bool);

impl Listed {
    /// Its key was taken from the list.
    #[inline]
    pub(super) fn taken_off(&mut self) {
        self.0 = false;
    }
}

impl Worklist {
    /// For so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self(Vec::with_capacity(connections))
    }

    /// Puts a connection on the list, unless it is there.
    #[inline]
    pub(super) fn put(&mut self, key: ConnectionKey, listed: &mut Listed) {
        if !core::mem::replace(&mut listed.0, true) {
            self.0.push(key);
        }
    }

    /// Takes the newest key off, whose connection may be gone.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<ConnectionKey> {
        self.0.pop()
    }

    /// The list's memory that it does not use goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        give_back_room(&mut self.0);
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
