//! Applications that wait for a connection's end, and informational answers.
//!
//! Not here: what is kept of them (`dispatch`).

use bytes::Bytes;

use super::Shard;
use super::connection::{Connection, Out, Receiving};
use super::dispatch::{NONE, SlotState};
use crate::id::{ConnectionId, RequestId};
use crate::queue::{Disconnected, Registration, Tail};
use crate::ring::{Event, Io, Op, Token};
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Somebody is to be told of a connection's end.
    pub(super) fn watch(&mut self, id: ConnectionId, registration: Registration) {
        let Some((index, generation)) = self.dispatch.origin.entry(id) else {
            return registration.tell(Disconnected::Gone);
        };
        match self.connections.get_mut(Key { index, generation }) {
            None => registration.tell(Disconnected::Gone),
            Some(connection) if connection.has_half_closed() && registration.wants_half_close() => {
                registration.tell(Disconnected::HalfClosed);
            }
            Some(connection) => {
                connection.extras = true;
                self.dispatch.extras.add(index, registration);
                self.poll_end(Key { index, generation });
            }
        }
    }

    /// While receiving is stopped (input is held, or has ended), a client that leaves is noticed by a poll, if that
    /// matters to anybody. It stays until the connection ends, since receiving may stop again.
    #[cold]
    pub(super) fn poll_end(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let matters = connection.extras || connection.machine.in_flight() > 0;
        let deaf = connection.receiving == Receiving::Stopped;
        if deaf && matters && !connection.polled && !connection.closing && !connection.leaving {
            connection.polled = true;
            self.io.watch_end(connection.fd, Token::new(Op::Poll, key.generation, key.index));
        }
    }

    /// The poll says that the client has ended its side or broken the connection, or it has ended itself.
    #[cold]
    pub(super) fn on_poll(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let Some(connection) = self.connections.get_mut(key) else {
            return self.counters.completions_stale.count();
        };
        connection.polled = event.more;
        if connection.closing {
            return self.destroy_if_quiet(key);
        }
        if connection.leaving {
            self.queue_flush(key);
        }
        if event.result & i32::from(libc::POLLERR) != 0 && event.result > 0 {
            return self.client_gone(key);
        }
        if event.result & i32::from(libc::POLLRDHUP) != 0 && event.result > 0 {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.half_closed = true;
            }
            self.dispatch.half_closed(key.index);
        }
        // One that ended by an error would only fail again.
        if !event.more && event.result >= 0 {
            self.poll_end(key);
        }
    }

    /// An informational answer for a request under way.
    pub(super) fn send_informational(&mut self, id: RequestId, text: Bytes) {
        let slot = self.dispatch.side.under_way(id);
        let owed = slot.and_then(|slot| Some((slot, self.owed_by(slot)?)));
        let Some((slot, key)) = owed else { return self.counters.informational_dropped.count() };
        if let Some(connection) = self.connections.get_mut(key) {
            (connection.extras, connection.informed) = (true, true);
            self.dispatch.extras.add_informational(key.index, slot, text);
            self.queue_flush(key);
        }
    }

    /// The connection that a request's answer has yet to be begun on.
    fn owed_by(&mut self, slot: u32) -> Option<Key> {
        if self.has_begun(slot) {
            return None;
        }
        let key = self.dispatch.slots[slot as usize].connection;
        let connection = self.connections.get_mut(key).filter(|connection| !connection.closing)?;
        let mut next = connection.oldest;
        while next != NONE && next != slot {
            next = self.dispatch.slots[next as usize].next;
        }
        (next == slot).then_some(key)
    }

    /// Whether something of a request's answer was handed to the socket: the word of one that informs may come late.
    fn has_begun(&mut self, slot: u32) -> bool {
        let SlotState { connection: key, answered, .. } = self.dispatch.slots[slot as usize];
        let is_out =
            |connection: &mut Connection| matches!(connection.out, Out::Stream { slot: out, .. } if out == slot);
        if !answered {
            return false;
        }
        if self.connections.get_mut(key).is_some_and(is_out) {
            return true;
        }
        let answer = self.dispatch.side.answer_mut(slot);
        matches!(&answer.tail, Tail::Stream(outgoing) if outgoing.head_left() < answer.area_len)
    }

    /// Sends what is next on a connection where informational answers wait: one that is its oldest request's, or else
    /// the answer to that alone, for the one behind it may have to be informed first.
    #[cold]
    pub(super) fn flush_all_informational(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let oldest = connection.oldest;
        if self.flush_informational(key, oldest) {
            return;
        }
        match oldest {
            NONE => self.flush_text(key),
            oldest if self.dispatch.slots[oldest as usize].answered => self.send_one(key, oldest),
            _ => {}
        }
    }

    fn flush_informational(&mut self, key: Key, oldest: u32) -> bool {
        let Some((len, informed)) = self.dispatch.extras.begin_informational(key.index, oldest) else { return false };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.informed = informed;
        }
        self.dispatch.side.informational_taken(oldest);
        self.start_send(key, Out::Informational { connection: key.index }, len);
        true
    }
}
