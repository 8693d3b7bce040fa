//! Answers go out: taken back from applications, put in order, coalesced and sent.
//!
//! Invariants: answers leave a connection in the order its requests came, informational ones before the final one of
//! theirs; at most one send is in flight for it; a response alone is sent from where the application wrote it, several
//! small ones are copied together; a slot is freed after its bytes are copied, or after the send that named them has
//! ended.
//!
//! Not here: answers in pieces (`stream`).

use ringress_proto::date::IMF_LEN;
use ringress_proto::response::Connection as Word;

use super::Http1;
use super::state::{AnswerNote, GoAhead, Intake, PendingWrites, Reader, RestOfBody};
use crate::conn::AfterSend;
use crate::driver::{Io, SendMode};
use crate::mem::{Area, Cell, Lent};
use crate::queue::{LINE_BYTES, ResponseFlags, Slot, Tail};
use crate::record::UnsentReason;
use crate::shard::dispatch::SlotState;
use crate::shard::protocol::Protocol;
use crate::shard::protocol::link::{Link, Out};
use crate::shard::protocol::raw::Pipe;
use crate::shard::protocol::stream::{Batch, BatchEnd, Next};

const _: () = assert!(LINE_BYTES as usize == Word::LINE_BYTES_MAX);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// RFC 9110 section 6.6.1 lets a 5xx go without Date; there is no slot to format one in.
pub(super) const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

impl<I: Io> Protocol<I> {
    /// The response in a slot is there, and the slot is the shard's.
    #[inline(always)]
    pub(crate) fn http1_response(&mut self, connection: &mut Http1, slot: Slot, flags: ResponseFlags) {
        self.dispatch.answer_is_here(slot);
        if connection.link.socket.is_closing() {
            // What it still had is given back when it goes.
            return;
        }
        self.queue_flush(&mut connection.link);
        if flags.has(ResponseFlags::ABANDONED.with(ResponseFlags::SWITCHES).with(ResponseFlags::CLOSE)) {
            self.http1_uncommon_response(connection, slot, flags);
        }
    }

    /// As [`http1_response`](Self::http1_response), of one that is more than an answer.
    #[cold]
    fn http1_uncommon_response(&mut self, connection: &mut Http1, slot: Slot, flags: ResponseFlags) {
        if flags.has(ResponseFlags::ABANDONED.with(ResponseFlags::SWITCHES)) {
            if flags.has(ResponseFlags::ABANDONED) {
                self.answer_abandoned(slot);
            } else {
                debug_assert!(self.dispatch.has_body(slot), "only who asked for an upgrade gets one");
                self.counters.connections_upgraded.count();
                // What follows such a request is held: there is no head.
                debug_assert!(!connection.has_head(), "a head was begun behind a request that asks for an upgrade");
                connection.intake = Intake::Pipe(Pipe::new(slot));
                connection.machine.finish();
                self.begin_pipe(&mut connection.link);
            }
        }
        if flags.has(ResponseFlags::CLOSE) {
            self.note_last(slot, true);
        }
    }

    /// What is noted of a request.
    #[inline]
    pub(super) fn note_of(&self, slot: Slot) -> AnswerNote {
        AnswerNote(self.dispatch.state(slot).note)
    }

    /// Whether the connection ends after a request's answer, as far as is known.
    pub(super) fn note_last(&mut self, slot: Slot, is_last: bool) {
        let note = self.note_of(slot).with_last(is_last);
        self.dispatch.set_note(slot, note.0);
    }

    /// Whether the oldest request of a connection is answered.
    #[inline]
    fn has_response(&self, connection: &Http1) -> bool {
        self.dispatch.find_state(connection.oldest).is_some_and(SlotState::is_answered)
    }

    /// Hands a connection's next responses to the socket, if it is free and they are there.
    pub(crate) fn flush_http1(&mut self, connection: &mut Http1) {
        if connection.link.socket.sends() || connection.link.socket.is_closing() {
            // A silent send's end is the moment to look again.
            self.transport.follow_up = true;
            return;
        }
        if connection.owed.has(PendingWrites::INFORMATIONAL) {
            return self.flush_all_informational(connection);
        }
        let Some(oldest) = connection.oldest.filter(|oldest| self.dispatch.state(*oldest).is_answered()) else {
            return self.flush_text(connection);
        };
        let state = self.dispatch.state(oldest);
        let is_followed = self.dispatch.find_state(state.next).is_some_and(SlotState::is_answered);
        if is_followed
            && !AnswerNote(state.note).is_last()
            && let Some(cell) = self.dispatch.cells_mut().coalesce.take()
        {
            return self.send_many(connection, oldest, cell);
        }
        self.send_one(connection, oldest);
    }

    /// Sends a short text of the engine's own, when nothing is owed before it.
    pub(super) fn flush_text(&mut self, connection: &mut Http1) {
        let text = if connection.oldest.is_none() && connection.owed.take(PendingWrites::OVERLOAD) {
            connection.machine.answers(1, true);
            OVERLOADED
        } else if connection.take_go_ahead() {
            CONTINUE
        } else {
            return;
        };
        let len = u32::try_from(text.len()).unwrap_or(0);
        let slot = connection.oldest;
        self.start_send(connection, Out::Text { text, slot }, len);
    }

    /// Whether a connection ends behind its `count` oldest responses: because the newest of these is its `last`,
    /// because it takes no more requests, or for a body whose rest cannot be thrown away. `next` follows them.
    #[inline]
    fn ends_behind(connection: &Http1, count: u16, next: Option<Slot>, last: bool) -> bool {
        let cannot_discard = || match &connection.intake {
            Intake::Body(body) if matches!(body.reader, Reader::Slot(_) | Reader::Paused(_)) => {
                !Self::can_discard(&body.incoming, body.go_ahead == GoAhead::Awaited)
            }
            _ => false,
        };
        last || connection.machine.ends_behind(count) || next.is_none() && connection.has_incoming() && cannot_discard()
    }

    /// What a response says of its connection: that it ends, or, in HTTP/1.0, that it does not (RFC 9112 section 9.3).
    #[inline]
    fn word(ends: bool, is_http10: bool) -> Option<Word> {
        if ends { Some(Word::Close) } else { is_http10.then_some(Word::KeepAlive) }
    }

    /// Finishes the head of a response that is sent from its cell: its date, and what it says of its connection. Gives
    /// the bytes that it has grown by.
    #[inline(always)]
    fn finish_head(&mut self, slot: Slot, (len, date_at): (u32, u16), word: Option<Word>) -> u32 {
        let area = self.dispatch.response_mut(slot);
        if date_at > 0 {
            area[usize::from(date_at)..][..IMF_LEN].copy_from_slice(self.transport.clock.date());
        }
        let Some(word) = word else { return 0 };
        let grown = write_connection_option(area, len, date_at, word);
        self.dispatch.answered_mut(slot).head.len += grown;
        grown
    }

    /// As [`finish_head`](Self::finish_head), of a stream whose head may be sent in parts: once. It says that the
    /// connection ends if that is known now; unless all of it `is_given`, the request's body may still be read.
    fn finish_stream_head(&mut self, connection: &Http1, slot: Slot, is_given: bool) -> u32 {
        if self.dispatch.answered_mut(slot).head.date_at == 0 {
            return 0;
        }
        let state = *self.dispatch.state(slot);
        let note = AnswerNote(state.note);
        let ends = match is_given {
            true => Self::ends_behind(connection, 1, state.next, note.is_last()),
            // After a final head there is no more 100 Continue.
            false if connection.waits_to_continue(slot) => true,
            false => note.is_last() || connection.machine.ends_behind(1),
        };
        // What is said holds, whatever comes until its end.
        self.note_last(slot, ends);
        self.finish_streamed_head(slot, Self::word(ends, note.is_http10()))
    }

    /// As [`finish_head`](Self::finish_head), of the head of a switch of protocols: what that says of the connection is
    /// that it is no more HTTP's.
    pub(crate) fn finish_switch_head(&mut self, slot: Slot) -> u32 {
        self.finish_streamed_head(slot, None)
    }

    fn finish_streamed_head(&mut self, slot: Slot, word: Option<Word>) -> u32 {
        let answer = self.dispatch.answered_mut(slot);
        let (len, date_at) = (answer.area_len(), answer.head.date_at);
        let grown = self.finish_head(slot, (len, date_at), word);
        self.dispatch.answered_mut(slot).head.date_at = 0;
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.grow_head(grown);
        }
        grown
    }

    /// Unlinks the `count` oldest responses, before their slots are free: `next` is the oldest one now. With `last`,
    /// nothing is sent behind them. Gives whether the connection ends behind them, which the newest of them says if
    /// nothing of it is sent yet.
    #[inline(always)]
    pub(super) fn unlink(&mut self, connection: &mut Http1, count: u16, next: Option<Slot>, last: bool) -> bool {
        let last = Self::ends_behind(connection, count, next, last);
        connection.oldest = next;
        if (next.is_none() || last) && connection.has_incoming() {
            self.give_up_body(connection, last);
        }
        connection.machine.answers(count, last);
        debug_assert!(last || !connection.machine.ends_when_sent(), "an answer that is a connection's last says so");
        if last {
            connection.owed.remove(PendingWrites::OVERLOAD);
            if next.is_some() {
                connection.oldest = None;
                self.dispatch.responses_unsent(next, UnsentReason::Aborted, 0);
                // A switch of protocols behind it does not come to pass.
                if connection.pipe().is_some() {
                    connection.intake = Intake::Nothing;
                }
            }
        }
        last
    }

    /// As [`unlink`](Self::unlink), of the oldest alone.
    fn unlink_one(&mut self, connection: &mut Http1, slot: Slot) {
        let SlotState { next, note, .. } = *self.dispatch.state(slot);
        self.unlink(connection, 1, next, AnswerNote(note).is_last());
    }

    /// What is left of a body is of no use to anybody: it is thrown away. With `last`, nothing follows the response.
    #[cold]
    fn give_up_body(&mut self, connection: &mut Http1, last: bool) {
        if connection.gathered().is_some() {
            // It is of a request to come, unless nothing follows.
            if last {
                self.drop_gathered(connection);
            }
            return;
        }
        let Intake::Body(body) = &mut connection.intake else { return };
        let was_paused = body.reader.is_paused();
        *body = RestOfBody::new(body.incoming, Reader::Nobody, GoAhead::NotAwaited);
        if last {
            // No request is looked for behind it; or it was to be a pipe, before whose switch the connection ends.
            connection.intake = Intake::Nothing;
        }
        if was_paused {
            // It was held: it goes on once the response is being sent, so that what comes of it does not end the
            // connection before that.
            self.queue_resume(&mut connection.link);
        }
    }

    /// Sends one response from where it is.
    #[inline(always)]
    pub(super) fn send_one(&mut self, connection: &mut Http1, slot: Slot) {
        if !self.dispatch.answered_mut(slot).tail.is_none() {
            return self.send_with_tail(connection, slot);
        }
        let len = self.unlink_whole(connection, slot);
        self.start_send(connection, Out::Area { slot }, len);
    }

    /// As [`send_one`](Self::send_one), of one that is more than its area, or none.
    #[inline(never)]
    fn send_with_tail(&mut self, connection: &mut Http1, slot: Slot) {
        match &self.dispatch.answered_mut(slot).tail {
            Tail::Bytes(tail) => {
                let tail_len = u32::try_from(tail.len()).unwrap_or(u32::MAX);
                let len = self.unlink_whole(connection, slot);
                self.start_send(connection, Out::AreaAndTail { slot }, len.saturating_add(tail_len));
            }
            Tail::Stream(_) => match connection.intake {
                Intake::Pipe(pipe) if pipe.slot == slot => connection.intake = Intake::Switched(pipe),
                _ => self.send_stream(connection, slot),
            },
            Tail::None | Tail::Reset => self.abort(&mut connection.link),
        }
    }

    /// Unlinks the oldest response, whose head is whole, and finishes that. Gives the bytes of its area.
    #[inline(always)]
    fn unlink_whole(&mut self, connection: &mut Http1, slot: Slot) -> u32 {
        let answer = self.dispatch.answered_mut(slot);
        let (len, date_at) = (answer.area_len(), answer.head.date_at);
        let SlotState { next, note, .. } = *self.dispatch.state(slot);
        let note = AnswerNote(note);
        let last = self.unlink(connection, 1, next, note.is_last());
        len + self.finish_head(slot, (len, date_at), Self::word(last, note.is_http10()))
    }

    /// As [`send_one`](Self::send_one), off the way of most answers.
    #[cold]
    pub(super) fn send_uncommon(&mut self, connection: &mut Http1, slot: Slot) {
        self.send_one(connection, slot);
    }

    /// Copies answers together until one is missing, has a tail, is the last or does not fit, and sends them.
    fn send_many(&mut self, connection: &mut Http1, oldest: Slot, mut cell: Cell) {
        let room = self.dispatch.arena().cell_bytes(Area::Coalesce) - LINE_BYTES;
        let (mut next, mut filled, mut count, mut last) = (Some(oldest), 0, 0, false);
        let (mut newest, id) = (Copied::default(), cell.id());
        let mut blank = self.dispatch.arena().blank(&mut cell);
        // Only the newest can say something of the connection.
        while let Some(slot) = next.filter(|_| !last && !newest.is_http10 && count < self.settings.pipeline_max) {
            let state = self.dispatch.state(slot);
            let (follower, note) = (state.next, AnswerNote(state.note));
            // The response is the shard's to look at only once the slot has come back.
            if !state.is_answered() {
                break;
            }
            let (range, date) = ((filled, room - filled), self.transport.clock.date());
            let copied = self.dispatch.copy_response(slot, &mut blank, range, date);
            let Some((len, date_at)) = copied else { break };
            self.dispatch.response_copied(slot, id, len);
            newest = Copied { is_http10: note.is_http10(), len, date_at };
            filled += len;
            count += 1;
            last = note.is_last();
            next = follower;
        }
        if count == 0 {
            // The first response alone is larger than a cell.
            self.dispatch.cells_mut().coalesce.give(cell);
            return self.send_uncommon(connection, oldest);
        }
        let last = self.unlink(connection, count, next, last);
        if let Some(word) = Self::word(last, newest.is_http10) {
            let Copied { len, date_at, .. } = newest;
            let answer = self.dispatch.blank_mut(&mut blank, filled - len, len + LINE_BYTES);
            let grown = write_connection_option(answer, len, date_at, word);
            self.dispatch.copied_has_grown(id, grown);
            filled += grown;
        }
        self.start_send(connection, Out::Cell { cell }, filled);
    }

    pub(super) fn start_send(&mut self, connection: &mut Http1, out: Out, len: u32) {
        connection.link.begin_out(out, len);
        // A silent send completes without an event: if something follows it, the enter that submits it must not wait,
        // and its timer runs from now.
        let is_followed = self.has_response(connection) || connection.owes_more();
        self.transport.follow_up |= is_followed || connection.machine.ends_when_sent();
        self.submit_send(&mut connection.link);
        self.set_timer(connection);
        if connection.link.socket.has_stopped() {
            // What waits for a response, or for a slot, goes on when this send has ended.
            self.transport.follow_up = true;
            self.queue_resume(&mut connection.link);
        }
    }

    /// Queues the send of what is left of `out`.
    #[inline(always)]
    fn submit_send(&mut self, link: &mut Link) {
        let (sent, len) = (link.out_taken, link.out_len);
        let dispatch = &mut self.dispatch;
        let part = match &link.out {
            // Streams are sent by `stream`.
            Out::Nothing | Out::Stream { .. } => return,
            Out::Area { slot } => dispatch.lend_response(*slot, len).after(sent),
            Out::Cell { cell } => dispatch.arena().lend(cell, 0, len).after(sent),
            Out::Text { text, .. } => Lent::of_static(text).after(sent),
            Out::Informational { .. } => {
                let text = self.informational_texts.get(&link.key().index);
                text.map_or(Lent::NOTHING, |text| Lent::of_kept(text)).after(sent)
            }
            Out::AreaAndTail { slot } => {
                let slot = *slot;
                return self.submit_with_tail(link, slot);
            }
        };
        self.transport.send(&mut link.socket, &[part], SendMode::Silent);
    }

    /// As [`submit_send`](Self::submit_send), of a response area and the tail behind it, which may be much.
    fn submit_with_tail(&mut self, link: &mut Link, slot: Slot) {
        let (sent, left) = (link.out_taken, link.out_len - link.out_taken);
        let Some(most) = self.transport.admit(&mut link.socket, left) else { return };
        let answer = self.dispatch.answered_mut(slot);
        let tail = if let Tail::Bytes(tail) = &answer.tail { Lent::of_kept(tail) } else { Lent::NOTHING };
        let area_len = answer.area_len();
        if sent < area_len {
            let area = self.dispatch.lend_response(slot, area_len).after(sent).first(most);
            let parts = [area, tail.first(most - area.len)];
            let parts = if most == area.len { &parts[..1] } else { &parts[..] };
            self.transport.send(&mut link.socket, parts, SendMode::Silent);
        } else {
            self.transport.send(&mut link.socket, &[tail.after(sent - area_len).first(most)], SendMode::Silent);
        }
        if most < left {
            link.socket.sends_a_part();
            self.transport.follow_up = true;
        }
    }

    /// There is room for more of `out`.
    #[cold]
    pub(crate) fn send_rest(&mut self, connection: &mut Http1) {
        // As when it began: something may follow it.
        self.transport.follow_up = true;
        self.submit_send(&mut connection.link);
        self.set_timer(connection);
    }

    /// Goes on with a streamed response of a connection that sends nothing at this moment.
    pub(crate) fn send_stream(&mut self, connection: &mut Http1, slot: Slot) {
        match self.next_of_stream(&mut connection.link, slot) {
            Next::Nothing | Next::AllSent { is_last: false } => {}
            Next::Later => self.set_timer(connection),
            Next::AllSent { is_last: true } => self.end_stream(connection, slot),
            Next::Batch(mut batch) => {
                if batch.is_fresh {
                    let grown = self.finish_stream_head(connection, slot, batch.end != BatchEnd::Unknown);
                    self.grow_head(&mut batch, slot, grown);
                    self.resume_unwanted(connection);
                }
                self.start_batch(connection, slot, &batch);
            }
        }
    }

    fn start_batch(&mut self, connection: &mut Http1, slot: Slot, batch: &Batch) {
        let was_last = matches!(connection.link.out, Out::Stream { last: true, .. });
        let is_last = batch.end == BatchEnd::Within;
        debug_assert!(is_last || !was_last, "what is left of a last send is one send");
        if is_last && !was_last {
            self.unlink_one(connection, slot);
        }
        self.send_batch(&mut connection.link, batch, (slot, is_last || was_last));
        self.set_timer(connection);
        if is_last && connection.link.socket.has_stopped() {
            self.queue_resume(&mut connection.link);
        }
    }

    /// The application has ended a stream of which everything was sent before.
    fn end_stream(&mut self, connection: &mut Http1, slot: Slot) {
        self.unlink_one(connection, slot);
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.complete();
        }
        self.dispatch.response_sent(slot);
        self.after_response(connection);
    }

    /// A response has ended without a send.
    #[cold]
    pub(crate) fn after_response(&mut self, connection: &mut Http1) {
        self.set_timer(connection);
        self.go_on(connection);
    }

    /// Goes on behind what has been sent.
    #[inline(always)]
    pub(crate) fn go_on(&mut self, connection: &mut Http1) {
        match connection.machine.sent(connection.link.socket.has_ended()) {
            AfterSend::GoOn => {
                if self.has_response(connection) || connection.owes_more() {
                    self.queue_flush(&mut connection.link);
                }
                if connection.link.socket.has_stopped() {
                    self.queue_resume(&mut connection.link);
                }
            }
            AfterSend::Drain => self.drain(connection),
            AfterSend::Close => self.close(&mut connection.link),
        }
    }
}

/// Puts what a response says of its connection behind its date. The response is `len` bytes at the beginning of
/// `bytes`, which has room for [`LINE_BYTES`] more. Gives the bytes that it has grown by.
#[inline(never)]
fn write_connection_option(bytes: &mut [u8], len: u32, date_at: u16, word: Word) -> u32 {
    if date_at == 0 {
        return 0;
    }
    let line = word.line();
    let place = usize::from(date_at) + IMF_LEN + b"\r\n".len();
    bytes.copy_within(place..len as usize, place + line.len());
    bytes[place..place + line.len()].copy_from_slice(line);
    u32::try_from(line.len()).unwrap_or(0)
}

/// The response copied last.
#[derive(Default)]
struct Copied {
    is_http10: bool,
    len: u32,
    date_at: u16,
}
