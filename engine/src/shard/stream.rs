//! Streamed answers go out: pieces are gathered into one send after the other, short parts of files go through the ring
//! and a cell, longer ones to the helper (`files`).
//!
//! ```text
//!   look ──▶ head and pieces are there ──▶ one send of up to 16 parts ──▶ advance ──▶ look again
//!    │  └──▶ a file is next ──short──▶ a cell ──▶ read by the ring ──▶ look again
//!    │               │                 └──▶ none is free: wait in `cell_waiters` for one
//!    │               └──long──▶ what is before it has been sent ──▶ `files` ──▶ look again
//!    └─────▶ nothing is there: wait for signals, or, after the end, for nothing any more
//! ```
//!
//! Invariants: a streamed answer is its connection's oldest until its last send begins; a connection has one send or
//! one read under way, and at most one cell, which it gives back when what was read is sent, or when it ends; an answer
//! that cannot be made whole is cut: the connection is reset, and it is counted.
//!
//! How files are sent is decided here alone; in neither way does the shard wait for a disk.

use std::os::fd::RawFd;

use super::Shard;
use super::connection::{Connection, NO_BUFFER, Out, Sending};
use super::dispatch::SlotState;
use crate::mem::{Area, Lent};
use crate::ring::{Event, Io, Op, SEND_PARTS_MAX, SendMode, Token};
use crate::slab::Key;
use crate::stream::{Data, Ending, Outgoing};

/// Bytes that wait for a file to be read, to go out together with what is read: a head and a few short pieces.
const JOIN_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of a file up to which they are read and sent with what is before them. Up to 16 KiB that costs less than
/// handing them over, at 32 KiB as much (docs/perf/sending.md).
const READ_BYTES_MAX: u64 = 32 * 1024;
/// Bytes of one send: results are 31 bits.
pub(super) const SEND_BYTES_MAX: u32 = 1 << 30;

/// The parts of one send.
struct Parts {
    parts: [Lent; SEND_PARTS_MAX],
    count: usize,
    bytes: u32,
}

impl Parts {
    fn new() -> Self {
        Self { parts: [Lent::NOTHING; SEND_PARTS_MAX], count: 0, bytes: 0 }
    }

    /// Adds a part. `false`: not all of it has room.
    fn add(&mut self, part: Lent) -> bool {
        if part.len == 0 {
            return true;
        }
        let room = SEND_BYTES_MAX - self.bytes;
        let Some(place) = self.parts.get_mut(self.count).filter(|_| room > 0) else { return false };
        let len = part.len.min(room);
        *place = Lent { len, ..part };
        self.count += 1;
        self.bytes += len;
        len == part.len
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> bool {
        // What one send cannot carry is not lent.
        let most = bytes.len().min(SEND_BYTES_MAX as usize);
        self.add(Lent::of_kept(&bytes[..most])) && most == bytes.len()
    }

    /// The head, which is the first part, has grown to this.
    fn set_head(&mut self, head: Lent) {
        debug_assert!(self.count > 0 && self.parts[0].address == head.address, "the head is sent");
        self.bytes += head.len - self.parts[0].len;
        self.parts[0] = head;
    }

    fn as_slice(&self) -> &[Lent] {
        &self.parts[..self.count]
    }
}

/// A part of a file that is to be read.
#[derive(Clone, Copy, Debug)]
struct Read {
    file: RawFd,
    offset: u64,
    len: u64,
}

/// What a look at a stream found.
struct Found {
    parts: Parts,
    ending: Ending,
    /// The next thing to send is in a file.
    read: Option<Read>,
    /// The parts are all that the application has given so far.
    is_all: bool,
}

/// Looks at what can be sent now: the head's rest, then pieces up to what is not in memory. `staged` is what was read
/// of the first file.
fn look(outgoing: &mut Outgoing, head: Lent, mut staged: Option<Lent>) -> Found {
    // Asked before the pieces are taken: then they are all that was given before the end.
    let ending = outgoing.ending();
    outgoing.refill();
    let mut found = Found { parts: Parts::new(), ending, read: None, is_all: false };
    let parts = &mut found.parts;
    parts.add(head.after(head.len - outgoing.head_left().min(head.len)));
    for (piece, sent) in outgoing.pieces() {
        let frame = piece.frame();
        let of_frame = usize::try_from(sent).unwrap_or(usize::MAX).min(frame.len());
        let of_data = sent - of_frame as u64;
        if !parts.add_bytes(&frame[of_frame..]) {
            return found;
        }
        match piece.data() {
            Data::Nothing => {}
            Data::Bytes(bytes) => {
                if !parts.add_bytes(&bytes[usize::try_from(of_data).unwrap_or(bytes.len())..]) {
                    return found;
                }
            }
            Data::File(range) => {
                let ready = staged.take();
                let done = of_data + ready.map_or(0, |ready| u64::from(ready.len));
                if ready.is_some_and(|ready| !parts.add(ready)) {
                    return found;
                }
                if done < range.len {
                    let file = range.file.descriptor();
                    found.read = Some(Read { file, offset: range.offset.saturating_add(done), len: range.len - done });
                    return found;
                }
            }
        }
    }
    found.is_all = outgoing.has_all();
    found
}

impl<I: Io> Shard<I> {
    /// Goes on with the streamed answer of a connection that sends nothing at this moment.
    pub(super) fn send_stream(&mut self, key: Key, slot: u32, mode: SendMode) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| !connection.reading) else { return };
        let is_pipe = connection.is_pipe_of(slot);
        let has_stage = connection.stage.is_some();
        let area_len = self.dispatch.side.answer_mut(slot).area_len;
        let head = self.dispatch.side.lend_response(slot, area_len);
        let staged = self.connections.get_mut(key).and_then(|connection| {
            let (from, to) = (connection.staged_from, connection.staged_to);
            Some(self.dispatch.side.arena().lend(connection.stage.as_ref()?, from, to - from))
        });
        let Some(outgoing) = self.dispatch.outgoing(slot) else { return };
        let is_fresh = outgoing.head_left() == area_len;
        let reads_only = outgoing.reads_only;
        let mut found = look(outgoing, head, staged);
        if found.ending == Ending::Aborted {
            return self.truncate_answer(key);
        }
        let is_long = found.read.is_some_and(|read| read.len > READ_BYTES_MAX && !reads_only);
        if is_long && found.parts.count == 0 {
            return self.begin_file(key, slot);
        }
        if let Some(read) = found.read
            && !is_long
            && !has_stage
            && found.parts.bytes <= JOIN_BYTES_MAX
            && self.begin_read(key, read, found.parts.count > 0)
        {
            return;
        }
        let mode = if is_long && mode == SendMode::Silent { SendMode::Ahead } else { mode };
        let is_last = found.is_all && found.ending == Ending::Finished;
        if is_fresh && found.parts.count > 0 {
            let grown = self.finish_stream_head(key, slot, found.ending == Ending::Finished);
            found.parts.set_head(self.dispatch.side.lend_response(slot, area_len + grown));
            self.resume_unwanted(key);
        }
        match found.parts.count {
            0 if is_pipe && found.is_all => self.pipe_is_sent(key, slot, is_last),
            0 if is_last => self.end_stream(key, slot),
            0 => {}
            _ => self.start_parts(key, slot, &found.parts, is_last && !is_pipe, mode),
        }
    }

    fn start_parts(&mut self, key: Key, slot: u32, parts: &Parts, is_last: bool, mode: SendMode) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let was_last = matches!(connection.out, Out::Stream { last: true, .. });
        let mut resume = false;
        if is_last && !was_last {
            let SlotState { next, last, .. } = self.dispatch.slots[slot as usize];
            resume = self.unlink(key, 1, next, last).resume;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.out = Out::Stream { slot, last: is_last || was_last };
        connection.out_sent = 0;
        connection.out_len = parts.bytes;
        connection.sending = Sending::Silent;
        let (fd, held) = (connection.fd, connection.held_first != NO_BUFFER);
        self.silent.push(key);
        // Somebody waits for its end: the stream's next send, its sender, or who asked for its completion.
        self.follow_up = true;
        self.io.send(fd, Token::new(Op::Send, key.generation, key.index), parts.as_slice(), mode);
        self.set_timer(key);
        if (is_last && held) || resume {
            self.resume_input(key);
        }
    }

    /// So many bytes of a stream's send are in the socket.
    pub(super) fn advance_stream(&mut self, key: Key, slot: u32, bytes: u32) {
        let Some(outgoing) = self.dispatch.outgoing(slot) else { return };
        let of_files = u32::try_from(outgoing.advance(bytes)).unwrap_or(u32::MAX);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.staged_from = connection.staged_from.saturating_add(of_files);
        if connection.staged_from >= connection.staged_to {
            self.give_stage(key);
        }
    }

    /// A send of a stream has put everything into the socket.
    pub(super) fn stream_sent(&mut self, key: Key, slot: u32, last: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let bytes = connection.out_len;
        self.advance_stream(key, slot, bytes);
        if last && let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.complete();
        }
    }

    /// The application has ended a stream of which everything was sent before.
    fn end_stream(&mut self, key: Key, slot: u32) {
        let SlotState { next, last, .. } = self.dispatch.slots[slot as usize];
        let resume = self.unlink(key, 1, next, last).resume;
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.complete();
        }
        self.dispatch.finish_slot(slot);
        if resume {
            self.resume_input(key);
        }
        self.after_answer(key);
    }

    /// The answer under way cannot be made whole.
    #[cold]
    pub(super) fn truncate_answer(&mut self, key: Key) {
        self.counters.responses_truncated.count();
        self.abort(key);
    }

    /// The application has told something of the stream in a slot: an abort waits neither for a slow client nor for a
    /// slow file.
    pub(super) fn on_stream_signal(&mut self, key: Key, slot: u32) {
        let is_busy = |connection: &mut Connection| {
            let streams = matches!(connection.out, Out::Stream { slot: streamed, .. } if streamed == slot);
            let is_sent = streams && connection.sending != Sending::No;
            (is_sent || connection.reading && connection.oldest == slot) && !connection.closing
        };
        if self.connections.get_mut(key).is_some_and(is_busy)
            && self.dispatch.outgoing(slot).is_some_and(|outgoing| outgoing.ending() == Ending::Aborted)
        {
            return self.truncate_answer(key);
        }
        self.queue_flush(key);
    }

    /// Reads the next part of a file into a cell. `false`: no cell is free, and what is there already is to be sent.
    fn begin_read(&mut self, key: Key, read: Read, has_parts: bool) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return true };
        let may_take = self.cell_waiters.is_empty() || connection.was_called;
        let Some(mut cell) = may_take.then(|| self.dispatch.side.cells.stage.take()).flatten() else {
            if !has_parts && !connection.awaits_cell {
                connection.awaits_cell = true;
                // Who was called before gets the next one.
                if core::mem::take(&mut connection.was_called) {
                    self.cell_waiters.push_front(key);
                } else {
                    self.cell_waiters.push_back(key);
                }
            }
            return !has_parts;
        };
        connection.was_called = false;
        connection.reading = true;
        let arena = self.dispatch.side.arena();
        let len = u32::try_from(read.len).unwrap_or(u32::MAX).min(arena.cell_bytes(Area::Stage));
        let into = arena.landing(&mut cell, len);
        (connection.stage, connection.staged_from, connection.staged_to) = (Some(cell), 0, 0);
        self.io.read_file(read.file, read.offset, into, Token::new(Op::ReadFile, key.generation, key.index));
        true
    }

    /// A read of a file has ended.
    #[cold]
    pub(super) fn on_read(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let Some(connection) = self.connections.get_mut(key) else {
            self.counters.completions_stale.count();
            return;
        };
        connection.reading = false;
        if connection.closing {
            return self.destroy_if_quiet(key);
        }
        match event.result {
            1.. => {
                connection.staged_to = event.result.cast_unsigned();
                self.queue_flush(key);
            }
            error if matches!(-error, libc::EINTR | libc::EAGAIN) => {
                self.give_stage(key);
                self.queue_flush(key);
            }
            // The file is shorter than was said, or the disk fails.
            _ => self.truncate_answer(key),
        }
    }

    /// Gives a connection's cell back, if it has one, and lets the next that waits go on.
    pub(super) fn give_stage(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        (connection.staged_from, connection.staged_to) = (0, 0);
        if let Some(cell) = connection.stage.take() {
            self.dispatch.side.cells.stage.give(cell);
            self.call_cell_waiter();
        }
    }

    /// The next connection that waits for a cell is to try again.
    fn call_cell_waiter(&mut self) {
        let Some(next) = self.cell_waiters.pop_front() else { return };
        if let Some(waiter) = self.connections.get_mut(next) {
            (waiter.awaits_cell, waiter.was_called) = (false, true);
        }
        self.queue_flush(next);
    }

    /// A connection ends: it waits for no cell any more.
    pub(super) fn leave_cell_waiters(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.awaits_cell {
            self.cell_waiters.retain(|waiter| *waiter != key);
        } else if connection.was_called {
            // It was called in vain: the next one is.
            connection.was_called = false;
            self.call_cell_waiter();
        }
    }
}
