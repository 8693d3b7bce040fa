//! Answers go out: taken back from applications, put in order, coalesced and sent.
//!
//! Invariants: answers leave a connection in the order its requests came, informational ones before the final one of
//! theirs; at most one send is in flight for it; an answer alone is sent from where the application wrote it, several
//! small ones are copied together; a slot is freed after its bytes are copied, or after the send that named them has
//! ended.
//!
//! Not here: answers in pieces (`stream`).

use ringress_proto::date::IMF_LEN;
use ringress_proto::response::Connection as Word;

use super::Shard;
use super::connection::{Connection, Incoming, NO_BUFFER, Out, Sending};
use super::dispatch::{Dispatch, NONE, SlotState};
use crate::conn::AfterSend;
use crate::mem::{Area, Cell, Lent};
use crate::queue::{AnswerFlags, Completion, LINE_BYTES, Tail};
use crate::ring::{Event, Io, Op, SendMode, Token};
use crate::slab::Key;
use crate::timer::NEVER;

const _: () = assert!(LINE_BYTES as usize == Word::LINE_BYTES_MAX);
const DATE_BYTES: u32 = 29;
const _: () = assert!(DATE_BYTES as usize == IMF_LEN);
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// RFC 9110 section 6.6.1 lets a 5xx go without Date; there is no slot to format one in.
pub(super) const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

impl<I: Io> Shard<I> {
    /// Puts a connection on the list of those whose answers are looked at.
    #[inline]
    pub(super) fn queue_flush(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key).filter(|connection| !connection.flush_queued) {
            connection.flush_queued = true;
            self.flush.push(key);
        }
    }

    /// Takes what applications have answered, and sends what is next in order.
    pub(super) fn collect_answers(&mut self) {
        let mut completed = core::mem::take(&mut self.dispatch.completed);
        self.dispatch.side.take_completions(&mut completed);
        let mut answered = 0;
        for completed in completed.drain(..) {
            answered += u64::from(self.take_back(completed));
        }
        self.dispatch.completed = completed;
        if answered > 0 {
            self.counters.requests_answered.add(answered);
        }
        self.collect_signals();
        self.collect_commands();
        self.flush_all();
    }

    pub(super) fn flush_all(&mut self) {
        while let Some(key) = self.flush.pop() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.flush_queued = false;
                self.flush(key);
            }
        }
    }

    /// One slot has come back. `true`: with an application's answer.
    #[inline]
    pub(super) fn take_back(&mut self, completed: Completion) -> bool {
        let (slot, flags) = self.dispatch.side.accept(completed);
        let key = self.dispatch.slots[slot as usize].connection;
        if flags.only_reclaims() {
            self.dispatch.side.free(slot);
            return false;
        }
        match self.connections.get_mut(key) {
            None => {
                self.dispatch.finish_slot(slot);
                return false;
            }
            // What it still had is given back when it goes.
            Some(connection) if connection.closing => {
                self.dispatch.slots[slot as usize].answered = true;
                return !flags.has(AnswerFlags::ABANDONED);
            }
            Some(connection) if !connection.flush_queued => {
                connection.flush_queued = true;
                self.flush.push(key);
            }
            Some(_) => {}
        }
        let abandoned = flags.has(AnswerFlags::ABANDONED);
        if flags.has(AnswerFlags::ABANDONED.with(AnswerFlags::SWITCHES)) {
            if abandoned {
                self.answer_abandoned(slot);
            } else {
                self.begin_pipe(key, slot);
            }
        }
        let state = &mut self.dispatch.slots[slot as usize];
        state.answered = true;
        state.last |= flags.has(AnswerFlags::CLOSE);
        !abandoned
    }

    /// Hands a connection's next answers to the socket, if it is free and they are there.
    fn flush(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.sending != Sending::No || connection.closing {
            // A silent send's end is the moment to look again.
            self.follow_up = true;
            return;
        }
        if connection.informed {
            return self.flush_all_informational(key);
        }
        let oldest = connection.oldest;
        if oldest == NONE || !self.dispatch.slots[oldest as usize].answered {
            return self.flush_text(key);
        }
        let state = self.dispatch.slots[oldest as usize];
        let second = state.next;
        let alone = second == NONE || state.last || !self.dispatch.slots[second as usize].answered;
        if alone {
            return self.send_one(key, oldest);
        }
        match self.dispatch.side.cells.coalesce.take() {
            Some(cell) => self.send_many(key, oldest, cell),
            None => self.send_one(key, oldest),
        }
    }

    /// Sends a short text of the engine's own, when nothing is owed before it.
    pub(super) fn flush_text(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (nothing_before, its_turn) = (connection.oldest == NONE, connection.oldest == connection.body_slot);
        let text = if nothing_before && core::mem::take(&mut connection.overload_owed) {
            connection.machine.answers(1, true);
            OVERLOADED
        } else if its_turn && core::mem::take(&mut connection.continue_owed) {
            CONTINUE
        } else {
            return;
        };
        let len = u32::try_from(text.len()).unwrap_or(0);
        self.start_send(key, Out::Text { text }, len);
    }

    /// Whether a connection ends behind its `count` oldest answers: because the newest of these is its `last`, because
    /// it takes no more requests, or for a body whose rest cannot be thrown away. `next` follows them.
    #[inline]
    fn ends_behind(connection: &Connection, dispatch: &Dispatch, count: u16, next: u32, last: bool) -> bool {
        let cannot_discard = || {
            let expects = dispatch.expects(connection.body_slot);
            expects.is_some_and(|expects| !Self::can_discard(&connection.incoming, expects))
        };
        last || connection.machine.ends_behind(count) || next == NONE && connection.has_incoming() && cannot_discard()
    }

    /// What an answer says of its connection: that it ends, or, in HTTP/1.0, that it does not (RFC 9112 section 9.3).
    #[inline]
    fn word(ends: bool, is_http10: bool) -> Option<Word> {
        if ends { Some(Word::Close) } else { is_http10.then_some(Word::KeepAlive) }
    }

    /// Finishes the head of an answer that is sent from its cell: its date, and what it says of its connection. Gives
    /// the bytes that it has grown by.
    #[inline(always)]
    fn finish_head(&mut self, slot: u32, (len, date_at): (u32, u16), word: Option<Word>) -> u32 {
        let area = self.dispatch.side.response_mut(slot);
        if date_at > 0 {
            area[usize::from(date_at)..][..IMF_LEN].copy_from_slice(self.clock.date());
        }
        let Some(word) = word else { return 0 };
        let grown = write_word(area, len, date_at, word);
        self.dispatch.side.answer_mut(slot).area_len += grown;
        grown
    }

    /// As [`finish_head`](Self::finish_head), of a stream whose head may be sent in parts: once. It says that the
    /// connection ends if that is known now; unless all of it `is_given`, the request's body may still be read.
    pub(super) fn finish_stream_head(&mut self, key: Key, slot: u32, is_given: bool) -> u32 {
        let (answer, state) = (self.dispatch.side.answer_mut(slot), self.dispatch.slots[slot as usize]);
        let (len, date_at) = (answer.area_len, answer.date_at);
        if date_at == 0 {
            return 0;
        }
        // What a switch of protocols says of the connection is that it is no more HTTP's.
        let word = if answer.flags.has(AnswerFlags::SWITCHES) {
            None
        } else {
            let ends = self.connections.get_mut(key).is_some_and(|connection| match is_given {
                true => Self::ends_behind(connection, &self.dispatch, 1, state.next, state.last),
                // After a final head there is no more 100 Continue.
                false if connection.body_slot == slot && self.dispatch.expects(slot) == Some(true) => true,
                false => state.last || connection.machine.ends_behind(1),
            });
            // What is said holds, whatever comes until its end.
            self.dispatch.slots[slot as usize].last = ends;
            Self::word(ends, state.is_http10)
        };
        let grown = self.finish_head(slot, (len, date_at), word);
        self.dispatch.side.answer_mut(slot).date_at = 0;
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.grow_head(grown);
        }
        grown
    }

    /// Unlinks the `count` oldest answers, before their slots are free: `next` is the oldest one now. With `last`,
    /// nothing is sent behind them.
    #[inline]
    pub(super) fn unlink(&mut self, key: Key, count: u16, next: u32, last: bool) -> Unlinked {
        let Some(connection) = self.connections.get_mut(key) else { return Unlinked { last, resume: false } };
        let last = Self::ends_behind(connection, &self.dispatch, count, next, last);
        connection.oldest = next;
        let mut resume = false;
        if (next == NONE || last) && connection.has_incoming() {
            // What is left of a body is of no use to anybody: it is thrown away.
            (connection.body_slot, connection.due) = (NONE, NEVER);
            if last {
                // No request is looked for behind it; or it was to be a pipe, before whose switch the connection ends.
                connection.incoming = Incoming::Nothing;
            }
            connection.continue_owed = false;
            resume = core::mem::take(&mut connection.body_paused);
        }
        connection.machine.answers(count, last);
        debug_assert!(last || !connection.machine.ends_when_sent(), "an answer that is a connection's last says so");
        if last {
            connection.overload_owed = false;
            if next != NONE {
                connection.oldest = NONE;
                self.dispatch.end_requests_of(next);
            }
        }
        Unlinked { last, resume }
    }

    /// Sends one answer from where it is.
    #[inline]
    pub(super) fn send_one(&mut self, key: Key, slot: u32) {
        let answer = self.dispatch.side.answer_mut(slot);
        let (len, date_at) = (answer.area_len, answer.date_at);
        let tail_len = match &answer.tail {
            Tail::None => None,
            Tail::Bytes(tail) => Some(u32::try_from(tail.len()).unwrap_or(u32::MAX)),
            Tail::Stream(_) => return self.send_stream(key, slot, SendMode::Silent),
        };
        let SlotState { next, last, is_http10, .. } = self.dispatch.slots[slot as usize];
        let Unlinked { last, resume } = self.unlink(key, 1, next, last);
        let len = len + self.finish_head(slot, (len, date_at), Self::word(last, is_http10));
        match tail_len {
            Some(tail_len) => self.start_send(key, Out::AreaAndTail { slot }, len.saturating_add(tail_len)),
            None => self.start_send(key, Out::Area { slot }, len),
        }
        if resume {
            self.resume_input(key);
        }
    }

    /// Copies answers together until one is missing, has a tail, is the last or does not fit, and sends them.
    fn send_many(&mut self, key: Key, oldest: u32, mut cell: Cell) {
        let room = self.dispatch.side.arena().cell_bytes(Area::Coalesce) - LINE_BYTES;
        let (mut slot, mut filled, mut count, mut last) = (oldest, 0, 0, false);
        let mut newest = Copied::default();
        let mut blank = self.dispatch.side.arena().blank(&mut cell);
        // Only the newest can say something of the connection.
        while slot != NONE && !last && !newest.is_http10 {
            let state = self.dispatch.slots[slot as usize];
            // The answer is the shard's to look at only once the slot has come back.
            if !state.answered {
                break;
            }
            let copied = self.dispatch.side.copy_answer(slot, &mut blank, filled, room - filled);
            let Some((len, date_at)) = copied else { break };
            // Into the copy: copying what has just been written would stall.
            if date_at > 0 {
                let place = self.dispatch.side.blank_mut(&mut blank, filled + u32::from(date_at), DATE_BYTES);
                place.copy_from_slice(self.clock.date());
            }
            if count > 0 {
                self.dispatch.finish_slot(newest.slot);
            }
            newest = Copied { slot, is_http10: state.is_http10, len, date_at };
            filled += len;
            count += 1;
            last = state.last;
            slot = state.next;
        }
        if count == 0 {
            // The first answer alone is larger than a cell.
            self.dispatch.side.cells.coalesce.give(cell);
            return self.send_one(key, oldest);
        }
        let Unlinked { last, resume } = self.unlink(key, count, slot, last);
        self.dispatch.finish_slot(newest.slot);
        if let Some(word) = Self::word(last, newest.is_http10) {
            let Copied { len, date_at, .. } = newest;
            let answer = self.dispatch.side.blank_mut(&mut blank, filled - len, len + LINE_BYTES);
            filled += write_word(answer, len, date_at, word);
        }
        self.start_send(key, Out::Cell { cell }, filled);
        if resume {
            self.resume_input(key);
        }
    }

    pub(super) fn start_send(&mut self, key: Key, out: Out, len: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.out = out;
        connection.out_sent = 0;
        connection.out_len = len;
        connection.sending = Sending::Silent;
        // A silent send completes without an event: if something follows it, the enter that submits it must not wait,
        // and its timer runs from now.
        let more = connection.oldest != NONE && self.dispatch.slots[connection.oldest as usize].answered;
        let owed = connection.owes_text();
        self.follow_up |= more || owed || connection.machine.ends_when_sent();
        let is_held = connection.held_first != NO_BUFFER;
        self.silent.push(key);
        Self::submit_send(&mut self.io, &mut self.dispatch, key, connection);
        self.set_timer(key);
        if is_held {
            // A request held for want of a slot goes on when this send has ended.
            self.follow_up = true;
            self.resume_input(key);
        }
    }

    /// Queues the send of what is left of `out`.
    // Lent what it uses, because its callers have the connection at hand.
    #[inline(always)]
    fn submit_send(io: &mut I, dispatch: &mut Dispatch, key: Key, connection: &Connection) {
        let (fd, sent, len) = (connection.fd, connection.out_sent, connection.out_len);
        let Dispatch { side, extras, .. } = dispatch;
        let part = match &connection.out {
            // Streams are sent by `stream`.
            Out::Nothing | Out::Stream { .. } => return,
            Out::Area { slot } => side.lend_response(*slot, len).after(sent),
            Out::Cell { cell } => side.arena().lend(cell, 0, len).after(sent),
            Out::Text { text } => Lent::of_static(text).after(sent),
            Out::Informational { connection } => extras.lend_informational(*connection).after(sent),
            Out::AreaAndTail { slot } => {
                let slot = *slot;
                let (area_len, tail) = {
                    let answer = side.answer_mut(slot);
                    let tail = if let Tail::Bytes(tail) = &answer.tail { Lent::of_kept(tail) } else { Lent::NOTHING };
                    (answer.area_len, tail)
                };
                if sent < area_len {
                    let area = side.lend_response(slot, area_len);
                    let token = Token::new(Op::Send, key.generation, key.index);
                    return io.send(fd, token, &[area.after(sent), tail], SendMode::Silent);
                }
                tail.after(sent - area_len)
            }
        };
        io.send(fd, Token::new(Op::Send, key.generation, key.index), &[part], SendMode::Silent);
    }

    /// There is room for more of `out`.
    #[cold]
    pub(super) fn send_rest(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.sending = Sending::Silent;
        // As when it began: something may follow it.
        self.follow_up = true;
        self.silent.push(key);
        Self::submit_send(&mut self.io, &mut self.dispatch, key, connection);
        self.set_timer(key);
    }

    /// After an enter: first the sends that fell short or failed, then all silent ones that did not.
    pub(super) fn end_sends(&mut self) {
        for index in 0..self.events.len() {
            if self.events[index].token.op() == Op::Send {
                let event = self.events[index].take();
                self.on_send(event);
            }
        }
        let mut silent = core::mem::take(&mut self.silent);
        for key in silent.drain(..) {
            if self.connections.get_mut(key).is_some_and(|connection| connection.sending == Sending::Silent) {
                self.send_ended(key);
            }
        }
        // What ended may have put connections on the list again; `silent` is empty until they are flushed.
        self.silent = silent;
        self.flush_all();
    }

    /// A send fell short, or failed.
    #[cold]
    fn on_send(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let Some(connection) = self.connections.get_mut(key) else {
            self.counters.completions_stale.count();
            return;
        };
        if connection.closing {
            connection.sending = Sending::No;
            return self.destroy_if_quiet(key);
        }
        if event.result < 0 && !matches!(-event.result, libc::EAGAIN | libc::EINTR) {
            connection.sending = Sending::No;
            return self.client_gone(key);
        }
        let sent = u32::try_from(event.result).unwrap_or(0);
        connection.out_sent += sent;
        if connection.out_sent >= connection.out_len {
            return self.send_ended(key);
        }
        if let Out::Stream { slot, .. } = connection.out {
            // What has come meanwhile goes with the rest.
            self.advance_stream(key, slot, sent);
        }
        self.await_room(key, false);
    }

    /// Everything handed to the socket is sent: its memory is free again.
    #[inline]
    fn send_ended(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        (connection.sending, connection.waited) = (Sending::No, false);
        let out = core::mem::replace(&mut connection.out, Out::Nothing);
        if let Out::Stream { slot, last } = out {
            return self.stream_send_ended(key, slot, last);
        }
        if connection.closing {
            self.release_out(out);
            return self.destroy_if_quiet(key);
        }
        let next = next(connection, &self.dispatch.slots);
        self.release_out(out);
        self.go_on(key, next);
    }

    /// A send of a streamed answer has ended.
    #[cold]
    fn stream_send_ended(&mut self, key: Key, slot: u32, last: bool) {
        self.stream_sent(key, slot, last);
        self.release_out(Out::Stream { slot, last });
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.closing {
            return self.destroy_if_quiet(key);
        }
        let next = next(connection, &self.dispatch.slots);
        self.go_on(key, next);
    }

    /// An answer has ended without a send.
    #[cold]
    pub(super) fn after_answer(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            let next = next(connection, &self.dispatch.slots);
            self.set_timer(key);
            self.go_on(key, next);
        }
    }

    // Streams call it, too: of a function of its own, every other send would pay the call.
    #[inline(always)]
    fn go_on(&mut self, key: Key, next: Next) {
        match next.after {
            AfterSend::GoOn if next.more => self.queue_flush(key),
            AfterSend::GoOn => {}
            AfterSend::Drain => self.drain(key),
            AfterSend::Close => self.close(key),
        }
        if next.held && next.after == AfterSend::GoOn {
            self.resume_input(key);
        }
    }

    #[inline]
    pub(super) fn release_out(&mut self, out: Out) {
        match out {
            Out::Area { slot } | Out::AreaAndTail { slot } | Out::Stream { slot, last: true } => {
                self.dispatch.finish_slot(slot)
            }
            Out::Cell { cell } => self.dispatch.side.cells.coalesce.give(cell),
            Out::Informational { connection } => self.dispatch.extras.informational_sent(connection),
            Out::Stream { .. } | Out::Text { .. } | Out::Nothing => {}
        }
    }
}

/// Puts what an answer says of its connection behind its date. The answer is `len` bytes at the beginning of `bytes`,
/// which has room for [`LINE_BYTES`] more. Gives the bytes that it has grown by.
#[inline(never)]
fn write_word(bytes: &mut [u8], len: u32, date_at: u16, word: Word) -> u32 {
    if date_at == 0 {
        return 0;
    }
    let line = word.line();
    let place = usize::from(date_at) + IMF_LEN + b"\r\n".len();
    bytes.copy_within(place..len as usize, place + line.len());
    bytes[place..place + line.len()].copy_from_slice(line);
    u32::try_from(line.len()).unwrap_or(0)
}

/// What follows from answers being unlinked.
#[must_use]
pub(super) struct Unlinked {
    /// The connection ends behind them, which the newest of them says if nothing of it is sent yet.
    last: bool,
    /// A body that nobody reads any more was held, and goes on by `resume_input`, once the answer is being sent: what
    /// comes of that must not end the connection before it.
    pub(super) resume: bool,
}

/// The answer copied last.
#[derive(Default)]
struct Copied {
    slot: u32,
    is_http10: bool,
    len: u32,
    date_at: u16,
}

/// What follows when everything handed to the socket is sent.
struct Next {
    after: AfterSend,
    /// There is more to be sent.
    more: bool,
    /// Input waits.
    held: bool,
}

#[inline]
fn next(connection: &mut Connection, slots: &[SlotState]) -> Next {
    let answered = connection.oldest != NONE && slots[connection.oldest as usize].answered;
    let more = answered || connection.owes_text();
    Next { after: connection.machine.sent(), more, held: connection.held_first != NO_BUFFER }
}
