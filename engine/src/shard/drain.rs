//! Input that nobody wants is thrown away, so that clients get to read their answers instead of a reset: the rest of a
//! body behind which the next request is looked for, and all that comes when a connection takes no more requests.
//!
//! Invariants:
//! * What is thrown away takes no buffer: it is received without a place to put it (MSG_TRUNC, tcp(7)). Only chunks
//!   are received like other bodies, as far as [`DISCARDED_BYTES_MAX`], since they have to be decoded to find their
//!   end.
//! * It is bounded by time: the client sends something every 5 seconds, and is done within `drain_entity_body`. While
//!   an answer is still owed, neither runs: its client may be waiting for that. What follows a last request while the
//!   application works on an answer is bounded by [`DISCARDED_BYTES_MAX`]; then TCP pushes back until one is under way.
//! * Our side is shut before the last of it is read. At most a quarter of a shard's connections are in that state;
//!   beyond that the one that is longest in it is reset.
//!
//! Not here: which input is wanted (room `conn`, `input`, `body`).

use std::collections::VecDeque;
use std::net::Shutdown;

use super::Shard;
use super::connection::{Incoming, NO_BUFFER, Receiving};
use super::dispatch::NONE;
use super::input::Taken;
use crate::clock::{TICK_MS, Tick};
use crate::record::DISCARDED_BYTES_MAX;
use crate::ring::Io;
use crate::slab::Key;
use crate::timer::NEVER;

/// How long a client may pause that sends what nobody wants, or has only to end its side: 5 seconds.
const PAUSE_MAX: Tick = 5_000_u32.div_ceil(TICK_MS);
/// Bytes that one receive throws away.
const AT_ONCE: u32 = 1 << 20;

/// The connections whose side is shut and whose clients' is not.
#[derive(Debug)]
pub(super) struct Drains {
    /// Oldest first; among them some that are gone.
    order: VecDeque<Key>,
    count: usize,
    limit: usize,
}

impl Drains {
    /// For a shard of so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let limit = (connections_max as usize / 4).max(1);
        Self { order: VecDeque::with_capacity(2 * limit + 2), count: 0, limit }
    }

    /// One of them has ended.
    pub(super) fn ended(&mut self) {
        self.count -= 1;
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl<I: Io> Shard<I> {
    /// Everything is sent: our side is shut, and the client's is read to its end.
    #[cold]
    pub(super) fn drain(&mut self, key: Key) {
        self.drop_input(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.input_ended {
            return self.close(key);
        }
        (connection.incoming, connection.body_slot, connection.due) = (Incoming::Nothing, NONE, NEVER);
        self.io.shutdown(connection.fd, Shutdown::Write);
        if core::mem::take(&mut connection.starved) {
            // It needs no buffer any more.
            self.starved.retain(|starved| *starved != key);
        }
        self.arm_receive(key);
        self.set_timer(key);
        self.count_drain(key);
    }

    /// Makes room for one more that drains, if need be.
    fn count_drain(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.drains = true;
        self.drains.count += 1;
        if self.drains.order.len() > 2 * self.drains.limit {
            // Of these at least a half is gone.
            let connections = &mut self.connections;
            self.drains.order.retain(|key| connections.get_mut(*key).is_some_and(|connection| connection.drains));
        }
        self.drains.order.push_back(key);
        while self.drains.count > self.drains.limit
            && let Some(oldest) = self.drains.order.pop_front()
        {
            if self.connections.get_mut(oldest).is_some_and(|connection| connection.drains) {
                self.counters.drains_reset.count();
                self.abort(oldest);
            }
        }
    }

    /// The deadline of input that is thrown away.
    #[cold]
    pub(super) fn drain_deadline(&mut self, key: Key) -> Tick {
        let Some(connection) = self.connections.get_mut(key) else { return NEVER };
        if connection.due == NEVER {
            connection.due = self.tick.saturating_add(self.dispatch.policy(connection.policy).drain);
        }
        connection.due.min(self.tick.saturating_add(PAUSE_MAX))
    }

    /// Receives what nobody wants, if that is all there can be. `false`: there may be more to it.
    pub(super) fn receive_unwanted(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return true };
        if connection.discarded >= DISCARDED_BYTES_MAX && connection.takes_nothing() && !connection.blocked() {
            let oldest = self.dispatch.slots.get(connection.oldest as usize);
            if oldest.is_some_and(|oldest| !oldest.answered) {
                self.poll_end(key);
                return true;
            }
        }
        let most = match connection.incoming {
            _ if connection.takes_nothing() => AT_ONCE,
            Incoming::Length { missing } if connection.body_slot == NONE => {
                u32::try_from(missing).unwrap_or(AT_ONCE).min(AT_ONCE)
            }
            _ => return false,
        };
        connection.receiving = Receiving::Once;
        self.io.receive_nowhere(connection.fd, Self::receive_token(key), most);
        true
    }

    /// So many bytes have been received without a buffer.
    #[cold]
    pub(super) fn thrown_away(&mut self, key: Key, bytes: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Incoming::Length { missing } = connection.incoming
            && !connection.takes_nothing()
        {
            let missing = missing.saturating_sub(u64::from(bytes));
            connection.incoming = if missing == 0 { Incoming::Nothing } else { Incoming::Length { missing } };
        } else {
            connection.discarded = connection.discarded.saturating_add(bytes);
        }
        self.set_timer(key);
    }

    /// An answer is under way, which the client may not read before it has sent everything: goes on with what nobody
    /// wants, if that had to wait for the application.
    #[cold]
    pub(super) fn resume_unwanted(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let waits = connection.held_first == NO_BUFFER && !connection.input_ended && !connection.starved;
        if waits && connection.takes_nothing() {
            self.arm_receive(key);
        }
    }

    /// The connection takes no more requests: neither the one under way nor what follows.
    #[cold]
    pub(super) fn throw_away(&mut self, key: Key) -> Taken {
        self.drop_pending(key);
        // What follows comes without a buffer.
        self.stop_receive(key);
        self.set_timer(key);
        Taken::Over
    }
}
