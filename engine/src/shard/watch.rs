//! What few connections have beside their entry: applications that are to be told of their end or to get their socket,
//! and informational answers.
//!
//! Invariants: a connection without any of it pays one test when it ends; whoever is to be told is told when its
//! descriptor is closed and its requests are gone; what is kept for those who no longer wait is bounded by twice the
//! number of those who do.
//!
//! Not here: how the telling is done (`queue::watch`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Shard;
use super::connection::{Connection, NONE, Out, Receiving, SlotState};
use crate::id::{ConnectionId, RequestId};
use crate::mem::Lent;
use crate::queue::{Disconnected, Registration, Tail, Taker};
use crate::ring::{Event, Io, Op, Token};
use crate::slab::Key;

/// One connection's.
#[derive(Debug, Default)]
pub(super) struct Extra {
    registrations: Vec<Registration>,
    /// As many registrations as there may be before those are cleared away that nobody waits for.
    clear_at: usize,
    /// Informational answers that wait, each with the slot of its request, in the order they were given.
    informational: VecDeque<(u32, Bytes)>,
    /// The one that is being sent: lent to the kernel.
    sending: Bytes,
    /// Who is to get its socket.
    taker: Option<Taker>,
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

    /// The informational answer that a connection sends: it stays until it is sent.
    #[cold]
    pub(super) fn lend_informational(&self, index: u32) -> Lent {
        self.0.get(&index).map_or(Lent::NOTHING, |extra| Lent::of_kept(&extra.sending))
    }

    /// Somebody is to get its socket.
    #[cold]
    pub(super) fn set_taker(&mut self, index: u32, taker: Taker) {
        self.0.entry(index).or_default().taker = Some(taker);
    }

    /// Whoever is to get it.
    #[cold]
    pub(super) fn taker(&mut self, index: u32) -> Option<Taker> {
        self.of(index)?.taker.take()
    }

    /// It is sent.
    #[cold]
    pub(super) fn informational_sent(&mut self, index: u32) {
        if let Some(extra) = self.of(index) {
            extra.sending = Bytes::new();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<I: Io> Shard<I> {
    /// Somebody is to be told of a connection's end.
    pub(super) fn watch(&mut self, id: ConnectionId, registration: Registration) {
        let Some((index, generation)) = self.origin.entry(id) else { return registration.tell(Disconnected::Gone) };
        match self.connections.get_mut(Key { index, generation }) {
            None => registration.tell(Disconnected::Gone),
            Some(connection) if connection.has_half_closed() && registration.wants_half_close() => {
                registration.tell(Disconnected::HalfClosed);
            }
            Some(connection) => {
                connection.extras = true;
                self.extras.0.entry(index).or_default().add(registration);
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
            self.half_closed(key);
        }
        // One that ended by an error would only fail again.
        if !event.more && event.result >= 0 {
            self.poll_end(key);
        }
    }

    /// An informational answer for a request under way.
    pub(super) fn send_informational(&mut self, id: RequestId, text: Bytes) {
        let slot = self.side.under_way(id);
        let owed = slot.and_then(|slot| Some((slot, self.owed_by(slot)?)));
        let Some((slot, key)) = owed else { return self.counters.informational_dropped.count() };
        if let Some(connection) = self.connections.get_mut(key) {
            (connection.extras, connection.informed) = (true, true);
            self.extras.0.entry(key.index).or_default().informational.push_back((slot, text));
            self.queue_flush(key);
        }
    }

    /// The connection that a request's answer has yet to be begun on.
    fn owed_by(&mut self, slot: u32) -> Option<Key> {
        if self.has_begun(slot) {
            return None;
        }
        let SlotState { connection, generation, .. } = self.slots[slot as usize];
        let key = Key { index: connection, generation };
        let connection = self.connections.get_mut(key).filter(|connection| !connection.closing)?;
        let mut next = connection.oldest;
        while next != NONE && next != slot {
            next = self.slots[next as usize].next;
        }
        (next == slot).then_some(key)
    }

    /// Whether something of a request's answer was handed to the socket: the word of one that informs may come late.
    fn has_begun(&mut self, slot: u32) -> bool {
        let SlotState { connection, generation, answered, .. } = self.slots[slot as usize];
        let key = Key { index: connection, generation };
        let is_out =
            |connection: &mut Connection| matches!(connection.out, Out::Stream { slot: out, .. } if out == slot);
        if !answered {
            return false;
        }
        if self.connections.get_mut(key).is_some_and(is_out) {
            return true;
        }
        let answer = self.side.answer_mut(slot);
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
            oldest if self.slots[oldest as usize].answered => self.send_one(key, oldest),
            _ => {}
        }
    }

    fn flush_informational(&mut self, key: Key, oldest: u32) -> bool {
        let Some(extra) = self.extras.of(key.index) else { return false };
        let place = extra.informational.iter().position(|(slot, _)| *slot == oldest);
        let Some((slot, text)) = place.and_then(|place| extra.informational.remove(place)) else { return false };
        let len = u32::try_from(text.len()).unwrap_or(0);
        extra.sending = text;
        let informed = !extra.informational.is_empty();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.informed = informed;
        }
        self.side.informational_taken(slot);
        self.start_send(key, Out::Informational { connection: key.index }, len);
        true
    }

    /// The client has ended its side, and is owed something.
    #[cold]
    pub(super) fn half_closed(&mut self, key: Key) {
        let Some(extra) = self.extras.of(key.index) else { return };
        for registration in extra.registrations.extract_if(.., |registration| registration.wants_half_close()) {
            registration.tell(Disconnected::HalfClosed);
        }
    }

    /// The connection is no more: tells whoever waits for that.
    #[cold]
    pub(super) fn end_extras(&mut self, index: u32, how: Disconnected) {
        let Some(extra) = self.extras.0.remove(&index) else { return };
        self.counters.informational_dropped.add(extra.informational.len() as u64);
        for registration in extra.registrations {
            registration.tell(how);
        }
    }
}
