//! Informational answers, and the poll for the end of a client that is owed something.
//!
//! Invariants: an informational answer is sent while its request is the connection's oldest and its answer has not
//! begun; one that comes too late for that is dropped, and counted.
//!
//! Not here: what is kept of those (`dispatch`).

use bytes::Bytes;

use super::Http1;
use super::state::PendingWrites;
use crate::queue::{Slot, Tail};
use crate::ring::Io;
use crate::shard::protocol::Protocol;
use crate::shard::protocol::link::Out;

impl<I: Io> Protocol<I> {
    /// While receiving is stopped (input is held, or has ended), a client that leaves is noticed by a poll, if that
    /// matters to anybody.
    #[cold]
    pub(crate) fn poll_end(&mut self, connection: &mut Http1) {
        if connection.link.extras || connection.machine.in_flight() > 0 {
            self.transport.poll_end(&mut connection.link.socket);
        }
    }

    /// An informational answer for a request under way. It is dropped where the request's answer has begun, for the
    /// word of one that informs may come late.
    pub(crate) fn http1_informational(&mut self, connection: &mut Http1, slot: Slot, text: Bytes) {
        if !self.owes(connection, slot) || self.has_begun(connection, slot) {
            return self.counters.informational_dropped.count();
        }
        connection.link.extras = true;
        connection.owed.add(PendingWrites::INFORMATIONAL);
        self.dispatch.extras.add_informational(connection.key().index, slot, text);
        self.queue_flush(&mut connection.link);
    }

    /// Whether a request's answer is owed on a connection.
    fn owes(&self, connection: &Http1, slot: Slot) -> bool {
        if connection.link.socket.is_closing() {
            return false;
        }
        let mut next = connection.oldest;
        while let Some(other) = next.filter(|next| *next != slot) {
            next = self.dispatch.slots[other].next;
        }
        next.is_some()
    }

    /// Whether something of a request's answer was handed to the socket.
    fn has_begun(&mut self, connection: &Http1, slot: Slot) -> bool {
        if !self.dispatch.slots[slot].answered {
            return false;
        }
        if connection.link.streams(slot) {
            return true;
        }
        let answer = self.dispatch.side.answer_mut(slot);
        matches!(&answer.tail, Tail::Stream(outgoing) if outgoing.head_left() < answer.head.len)
    }

    /// Sends what is next on a connection where informational answers wait: one that is its oldest request's, or else
    /// the answer to that alone, for the one behind it may have to be informed first.
    #[cold]
    pub(super) fn flush_all_informational(&mut self, connection: &mut Http1) {
        let Some(oldest) = connection.oldest else { return self.flush_text(connection) };
        if !self.flush_informational(connection, oldest) && self.dispatch.slots[oldest].answered {
            self.send_uncommon(connection, oldest);
        }
    }

    fn flush_informational(&mut self, connection: &mut Http1, oldest: Slot) -> bool {
        let begun = self.dispatch.extras.begin_informational(connection.key().index, oldest);
        let Some((len, others_wait)) = begun else { return false };
        if !others_wait {
            connection.owed.remove(PendingWrites::INFORMATIONAL);
        }
        self.dispatch.side.informational_taken(oldest);
        self.start_send(connection, Out::Informational, len);
        true
    }
}
