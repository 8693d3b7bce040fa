//! How a shard ends: orderly, when nothing is left or its time is over, and when it has panicked.
//!
//! Invariants: whoever waits at a listener, for a message or a response sees the end; no descriptor outlives the shard;
//! the ring closes before the memory it was lent can go.
//!
//! Not here: draining, which comes before (`control`).

use super::{Shard, key_of};
use crate::driver::{Io, Op};
use crate::shard::protocol::Protocol;

impl<I: Io> Shard<I> {
    /// Gives a shard up that has panicked: its clients see the end of their connections, its memory stays to the
    /// handles that are out.
    pub(crate) fn give_up(mut self) {
        self.close_left();
        self.protocol.dispatch.give_up_requests();
        self.count_caught();
    }

    /// Closes what is left after a failure: messages and listeners, so that nobody waits at them, and connections,
    /// since nobody else knows their descriptors. Gives how many connections.
    fn close_left(&mut self) -> usize {
        self.inbox.close();
        self.turn_all_away();
        self.protocol.transport.close_listeners(&mut self.events);
        self.protocol.dispatch.count_pushed();
        for event in self.events.drain(..).skip(self.cursor) {
            match event.token.op() {
                // The helper has given this one back.
                Op::SendFile => {
                    if let Some(connection) = key_of(&event).and_then(|key| self.connections.get_mut(key)) {
                        connection.socket_mut().is_given_back();
                    }
                }
                // It has come in, and is nobody's yet.
                Op::Accept if event.result >= 0 => self.protocol.transport.io.close(event.result),
                _ => {}
            }
        }
        self.cursor = 0;
        let keys = self.connections.keys();
        for key in &keys {
            if let Some(connection) = self.connections.remove(*key) {
                self.protocol.give_up(&connection);
            }
        }
        if !keys.is_empty() {
            self.protocol.dispatch.end_left();
        }
        self.protocol.dispatch.write_tally();
        keys.len()
    }

    /// Ends the shard: requests that wait in queues are dropped, handles that are out get `Gone`.
    pub(crate) fn end(mut self) {
        self.protocol.dispatch.abandon_queued();
        let left = self.close_left();
        self.collect_responses();
        self.publish_levels();
        let Protocol { transport, dispatch, .. } = self.protocol;
        // The ring closes before the memory it was lent can go.
        drop(transport);
        dispatch.end(left == 0);
    }
}
