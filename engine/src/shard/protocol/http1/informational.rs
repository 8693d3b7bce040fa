//! Informational responses, and the poll for the end of a client that is owed something.
//!
//! Invariants: an informational response is sent while its request is the connection's oldest and its response has not
//! begun; one that comes too late for that is dropped, and counted. It is written when it has its turn, and its text
//! stays until its send has ended.
//!
//! Not here: those that wait for their turn (`dispatch`).

use ringress_proto::header::HeaderName;
use ringress_proto::response::{HeadWriter, WriteError};

use super::Http1;
use super::state::PendingWrites;
use crate::driver::Io;
use crate::queue::{Informational, Slot, Tail};
use crate::shard::protocol::Protocol;
use crate::shard::protocol::link::Out;

impl<I: Io> Protocol<I> {
    /// While receiving is stopped (input is held, or has ended), a client that leaves is noticed by a poll, if that
    /// matters to anybody.
    #[cold]
    pub(crate) fn poll_end(&mut self, connection: &mut Http1) {
        let socket = &connection.link.socket;
        // What waits for a response goes on when that is sent, of which nothing may be told.
        self.transport.follow_up |= socket.sends_silently() && socket.has_stopped();
        let gathers = connection.gathered().is_some();
        let owes = connection.machine.in_flight() > 0 || socket.holds_input() || gathers;
        if owes || self.dispatch.has_extras(connection.key()) {
            self.transport.poll_end(&mut connection.link.socket);
        }
    }

    /// An informational response for a request under way. It is dropped where the request's answer has begun, for the
    /// word of one that informs may come late.
    pub(crate) fn http1_informational(&mut self, connection: &mut Http1, slot: Slot, answer: Informational) {
        if !self.owes(connection, slot) || self.has_begun(connection, slot) {
            return self.counters.informational_dropped.count();
        }
        connection.owed.add(PendingWrites::INFORMATIONAL);
        self.dispatch.add_informational(connection.key(), slot, answer);
        self.queue_flush(&mut connection.link);
    }

    /// Whether a request's answer is owed on a connection.
    fn owes(&self, connection: &Http1, slot: Slot) -> bool {
        if connection.link.socket.is_closing() {
            return false;
        }
        let mut next = connection.oldest;
        while let Some(other) = next.filter(|next| *next != slot) {
            next = self.dispatch.state(other).next;
        }
        next.is_some()
    }

    /// Whether something of a request's answer was handed to the socket.
    fn has_begun(&mut self, connection: &Http1, slot: Slot) -> bool {
        if !self.dispatch.state(slot).is_answered() {
            return false;
        }
        if connection.link.streams(slot) {
            return true;
        }
        let answer = self.dispatch.answered_mut(slot);
        matches!(&answer.tail, Tail::Stream(outgoing) if outgoing.head_left() < answer.head.len)
    }

    /// Sends what is next on a connection where informational responses wait: one that is its oldest request's, or else
    /// the response to that alone, for the one behind it may have to be informed first.
    #[cold]
    pub(super) fn flush_all_informational(&mut self, connection: &mut Http1) {
        let Some(oldest) = connection.oldest else { return self.flush_text(connection) };
        if !self.flush_informational(connection, oldest) && self.dispatch.state(oldest).is_answered() {
            self.send_uncommon(connection, oldest);
        }
    }

    fn flush_informational(&mut self, connection: &mut Http1, oldest: Slot) -> bool {
        let key = connection.key();
        let Some((answer, others_wait)) = self.dispatch.take_informational(key, oldest) else { return false };
        if !others_wait {
            connection.owed.remove(PendingWrites::INFORMATIONAL);
        }
        // The fields were looked at by who gave them.
        let text = informational_text(&answer).unwrap_or_default();
        let len = u32::try_from(text.len()).unwrap_or(0);
        self.informational_texts.insert(key.index, text);
        self.start_send(connection, Out::Informational { slot: oldest }, len);
        true
    }
}

/// Bytes of a status line and of the blank line that ends a head, and what a field takes beside its name and value:
/// at most.
const STATUS_BYTES_MAX: usize = 64;
const FIELD_BYTES_MAX: usize = 32;

/// An informational response in HTTP/1.1: status line, fields and blank line.
fn informational_text(answer: &Informational) -> Result<Box<[u8]>, WriteError> {
    let field_bytes = |(name, value): &(Box<str>, Box<str>)| name.len() + value.len() + FIELD_BYTES_MAX;
    let mut text = vec![0; STATUS_BYTES_MAX + answer.fields.iter().map(field_bytes).sum::<usize>()];
    let mut head = HeadWriter::new(&mut text);
    head.status(answer.status, None)?;
    for (name, value) in &answer.fields {
        head.header(HeaderName::Custom(name), value.as_bytes())?;
    }
    let len = head.finish()?;
    text.truncate(len);
    Ok(text.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_sent_has_room_in_its_text() {
        let fields = [("Upgrade", "a"), ("x", ""), ("Upgrade", "websocket")];
        for status in (100..200).filter(|status| *status != 101) {
            let text = informational_text(&Informational::new(status, &fields)).expect("it fits");
            let text = String::from_utf8(text.into()).expect("text");
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("websocket\r\n\r\n"), "{text}");
        }
    }
}
