//! The sockets whose side is shut and whose other side is not: so many at most, of which the oldest make room.
//!
//! Invariants: each socket in this state is counted, and is in the list unless it was taken off to make room; the limit
//! is a quarter of the shard's connections; the list may also name sockets that are gone.
//!
//! Not here: when our side is shut (`protocol`), and resetting those that are too many (`shard`).

use std::collections::VecDeque;

use super::{Life, Socket, Transport};
use crate::driver::Io;
use crate::mem::give_back_room_of_queue;
use crate::slab::ConnectionKey;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Drains {
    /// Oldest first; among them some that are gone.
    order: VecDeque<ConnectionKey>,
    count: usize,
    limit: usize,
}

impl Drains {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let limit = (connections_max as usize / 4).max(1);
        Self { order: VecDeque::with_capacity(2 * limit + 2), count: 0, limit }
    }

    /// Whether one of them has to make room.
    #[inline]
    pub(crate) fn are_too_many(&self) -> bool {
        self.count > self.limit
    }

    /// The one that has been in that state for longest, or one that is in it no more.
    pub(crate) fn pop_oldest(&mut self) -> Option<ConnectionKey> {
        self.order.pop_front()
    }

    /// Whether the list is long enough to be cleared of those that are gone: at least a half of it.
    pub(crate) fn is_cluttered(&self) -> bool {
        self.order.len() > 2 * self.limit
    }

    /// Keeps those of which `is_kept`.
    pub(crate) fn clear_away(&mut self, is_kept: impl FnMut(&ConnectionKey) -> bool) {
        self.order.retain(is_kept);
    }

    /// The list's memory that it does not use goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        give_back_room_of_queue(&mut self.order);
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.order.len()
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl<I: Io> Transport<I> {
    /// Shuts our side of a socket whose other side is to be read to its end. Whoever looks after all connections sees
    /// to those that [are too many](Drains::are_too_many).
    pub(crate) fn begin_drain(&mut self, socket: &mut Socket) {
        self.shut(socket);
        // What it needs no more.
        self.stop_waiting(socket);
        socket.life = Life::Draining;
        self.drains.count += 1;
        self.drains.order.push_back(socket.key);
    }

    pub(super) fn leave_drains(&mut self, socket: &Socket) {
        if socket.is_draining() {
            self.drains.count -= 1;
        }
    }
}
