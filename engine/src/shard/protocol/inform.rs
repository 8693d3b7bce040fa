//! What is asked of a connection beside its answers: to be told of its end, and informational answers.
//!
//! Not here: what is kept of those (`dispatch`).

use bytes::Bytes;

use super::Protocol;
use super::connection::{Connection, Out, Owed};
use crate::queue::{Disconnected, Registration, Tail};
use crate::ring::{Event, Io};
use crate::shard::dispatch::NONE;
use crate::shard::transport::End;

impl<I: Io> Protocol<I> {
    /// Somebody is to be told of a connection's end.
    pub(crate) fn watch(&mut self, connection: &mut Connection, registration: Registration) {
        if connection.socket.has_half_closed() && registration.wants_half_close() {
            return registration.tell(Disconnected::HalfClosed);
        }
        connection.extras = true;
        self.dispatch.extras.add(connection.key().index, registration);
        self.poll_end(connection);
    }

    /// While receiving is stopped (input is held, or has ended), a client that leaves is noticed by a poll, if that
    /// matters to anybody.
    #[cold]
    pub(super) fn poll_end(&mut self, connection: &mut Connection) {
        if connection.extras || connection.machine.in_flight() > 0 {
            self.transport.poll_end(&mut connection.socket);
        }
    }

    /// The poll says that the client has ended its side or broken the connection, or it has ended itself.
    #[cold]
    pub(super) fn on_poll(&mut self, connection: &mut Connection, event: &Event) {
        connection.socket.polled = event.more;
        if connection.socket.is_closing() {
            return;
        }
        if connection.socket.is_leaving() {
            self.queue_flush(connection);
        }
        if event.result & i32::from(libc::POLLERR) != 0 && event.result > 0 {
            return self.client_gone(connection);
        }
        if event.result & i32::from(libc::POLLRDHUP) != 0 && event.result > 0 {
            if connection.socket.end == End::Unknown {
                connection.socket.end = End::Told;
            }
            self.dispatch.half_closed(connection.key().index);
        }
        // One that ended by an error would only fail again.
        if !event.more && event.result >= 0 {
            self.poll_end(connection);
        }
    }

    /// An informational answer for a request under way. It is dropped where the request's answer has begun, for the
    /// word of one that informs may come late.
    pub(crate) fn send_informational(&mut self, connection: &mut Connection, slot: u32, text: Bytes) {
        if !self.owes(connection, slot) || self.has_begun(connection, slot) {
            return self.counters.informational_dropped.count();
        }
        connection.extras = true;
        connection.owed.add(Owed::INFORMATIONAL);
        self.dispatch.extras.add_informational(connection.key().index, slot, text);
        self.queue_flush(connection);
    }

    /// Whether a request's answer is owed on a connection.
    fn owes(&self, connection: &Connection, slot: u32) -> bool {
        if connection.socket.is_closing() {
            return false;
        }
        let mut next = connection.oldest;
        while next != NONE && next != slot {
            next = self.dispatch.slots[next as usize].next;
        }
        next == slot
    }

    /// Whether something of a request's answer was handed to the socket.
    fn has_begun(&mut self, connection: &Connection, slot: u32) -> bool {
        if !self.dispatch.slots[slot as usize].answered {
            return false;
        }
        if connection.streams(slot) {
            return true;
        }
        let answer = self.dispatch.side.answer_mut(slot);
        matches!(&answer.tail, Tail::Stream(outgoing) if outgoing.head_left() < answer.area_len)
    }

    /// Sends what is next on a connection where informational answers wait: one that is its oldest request's, or else
    /// the answer to that alone, for the one behind it may have to be informed first.
    #[cold]
    pub(super) fn flush_all_informational(&mut self, connection: &mut Connection) {
        let oldest = connection.oldest;
        if self.flush_informational(connection, oldest) {
            return;
        }
        match oldest {
            NONE => self.flush_text(connection),
            oldest if self.dispatch.slots[oldest as usize].answered => self.send_one(connection, oldest),
            _ => {}
        }
    }

    fn flush_informational(&mut self, connection: &mut Connection, oldest: u32) -> bool {
        let begun = self.dispatch.extras.begin_informational(connection.key().index, oldest);
        let Some((len, others_wait)) = begun else { return false };
        if !others_wait {
            connection.owed.remove(Owed::INFORMATIONAL);
        }
        self.dispatch.side.informational_taken(oldest);
        self.start_send(connection, Out::Informational, len);
        true
    }
}
