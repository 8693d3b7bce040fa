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

use ringress_proto::response::{chunk_line, last_chunk};

use super::Protocol;
use super::connection::{Connection, Out};
use crate::mem::{Area, Lent};
use crate::record::Outcome;
use crate::ring::{Event, Io, SEND_PARTS_MAX, SendMode};
use crate::shard::dispatch::SlotState;
use crate::shard::transport::{FileRead, Sending, Staging};
use crate::stream::{Data, Ending, Frame, Framed, Outgoing};

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

/// What a look at a stream found.
struct Found {
    parts: Parts,
    ending: Ending,
    /// The next thing to send is in a file.
    read: Option<FileRead>,
    /// The parts are all that the application has given so far.
    is_all: bool,
}

/// Looks at what can be sent now: the head's rest, then pieces up to what is not in memory. `staged` is what was read
/// of the first file.
fn look(outgoing: &mut Outgoing, head: Lent, mut staged: Option<Lent>) -> Found {
    // Asked before the pieces are taken: then they are all that was given before the end.
    let ending = outgoing.ending();
    outgoing.refill(ending, chunk_frame);
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
                    found.read =
                        Some(FileRead { file, offset: range.offset.saturating_add(done), len: range.len - done });
                    return found;
                }
            }
        }
    }
    found.is_all = outgoing.has_all();
    found
}

/// What goes before a piece of a body in chunks (RFC 9112 section 7.1).
fn chunk_frame(what: Framed, first: bool) -> Frame {
    match what {
        Framed::Content(len) => Frame::written(|line| chunk_line(len, first, line)),
        // The section ends in the blank line itself.
        Framed::Trailers => Frame::of(&[last_chunk(first)]),
        Framed::End => Frame::of(&[last_chunk(first), b"\r\n"]),
    }
}

impl<I: Io> Protocol<I> {
    /// Goes on with the streamed answer of a connection that sends nothing at this moment.
    pub(super) fn send_stream(&mut self, connection: &mut Connection, slot: u32, mode: SendMode) {
        let socket = &connection.socket;
        if socket.staging.is_reading() {
            return;
        }
        let is_pipe = connection.is_pipe_of(slot);
        let area_len = self.dispatch.side.answer_mut(slot).area_len;
        let head = self.dispatch.side.lend_response(slot, area_len);
        let staged = match &socket.staging {
            Staging::Holds { cell, from, to } => Some(self.dispatch.side.arena().lend(cell, *from, to - from)),
            Staging::No | Staging::Waits | Staging::Called | Staging::Reads(_) => None,
        };
        let Some(outgoing) = self.dispatch.outgoing(slot) else { return };
        let is_fresh = outgoing.head_left() == area_len;
        let reads_only = outgoing.reads_only;
        let mut found = look(outgoing, head, staged);
        if found.ending == Ending::Aborted {
            return self.truncate_answer(connection);
        }
        let is_long = found.read.is_some_and(|read| read.len > READ_BYTES_MAX && !reads_only);
        if is_long && found.parts.count == 0 {
            return self.begin_file(connection, slot);
        }
        if let Some(read) = found.read
            && !is_long
            && staged.is_none()
            && found.parts.bytes <= JOIN_BYTES_MAX
            && self.begin_read(connection, read, found.parts.count > 0)
        {
            return;
        }
        let mode = if is_long && mode == SendMode::Silent { SendMode::Ahead } else { mode };
        let is_last = found.is_all && found.ending == Ending::Finished;
        if is_fresh && found.parts.count > 0 {
            let grown = self.finish_stream_head(connection, slot, found.ending == Ending::Finished);
            found.parts.set_head(self.dispatch.side.lend_response(slot, area_len + grown));
            self.resume_unwanted(connection);
        }
        match found.parts.count {
            0 if is_pipe && found.is_all => self.pipe_is_sent(connection, slot, is_last),
            0 if is_last => self.end_stream(connection, slot),
            0 => {}
            _ => self.start_parts(connection, slot, &found.parts, is_last && !is_pipe, mode),
        }
    }

    fn start_parts(&mut self, connection: &mut Connection, slot: u32, parts: &Parts, is_last: bool, mode: SendMode) {
        let was_last = matches!(connection.out, Out::Stream { last: true, .. });
        if is_last && !was_last {
            let SlotState { next, last, .. } = self.dispatch.slots[slot as usize];
            self.unlink(connection, 1, next, last);
        }
        connection.out = Out::Stream { slot, last: is_last || was_last };
        (connection.socket.out_sent, connection.socket.out_len) = (0, parts.bytes);
        // Somebody waits for its end: the stream's next send, its sender, or who asked for its completion.
        self.transport.follow_up = true;
        self.transport.send(&mut connection.socket, parts.as_slice(), mode);
        self.set_timer(connection);
        if is_last && connection.socket.holds_input() {
            self.queue_resume(connection);
        }
    }

    /// So many bytes of a stream's send are in the socket.
    pub(super) fn advance_stream(&mut self, connection: &mut Connection, slot: u32, bytes: u32) {
        let Some(outgoing) = self.dispatch.outgoing(slot) else { return };
        let of_files = u32::try_from(outgoing.advance(bytes)).unwrap_or(u32::MAX);
        self.transport.read_sent(&mut connection.socket, &mut self.dispatch.side.cells.stage, of_files);
    }

    /// A send of a stream has put everything into the socket.
    #[cold]
    pub(super) fn stream_sent(&mut self, connection: &mut Connection, slot: u32, last: bool) {
        self.advance_stream(connection, slot, connection.socket.out_len);
        if last && let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.complete();
        }
    }

    /// The application has ended a stream of which everything was sent before.
    fn end_stream(&mut self, connection: &mut Connection, slot: u32) {
        let SlotState { next, last, .. } = self.dispatch.slots[slot as usize];
        self.unlink(connection, 1, next, last);
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.complete();
        }
        self.dispatch.answer_sent(slot);
        self.after_answer(connection);
    }

    /// The answer under way cannot be made whole.
    #[cold]
    pub(super) fn truncate_answer(&mut self, connection: &mut Connection) {
        // One of which the end is being sent is no longer in the list.
        let slot = if let Out::Stream { slot, .. } = connection.out { slot } else { connection.oldest };
        self.dispatch.doom(slot, Outcome::Truncated);
        self.abort(connection);
    }

    /// The application has told something of the stream in a slot: an abort waits neither for a slow client nor for a
    /// slow file.
    pub(crate) fn on_stream_signal(&mut self, connection: &mut Connection, slot: u32) {
        let socket = &connection.socket;
        let is_sent = connection.streams(slot) && socket.sending != Sending::No;
        let is_read = socket.staging.is_reading() && connection.oldest == slot;
        if (is_sent || is_read)
            && !socket.is_closing()
            && self.dispatch.outgoing(slot).is_some_and(|outgoing| outgoing.ending() == Ending::Aborted)
        {
            return self.truncate_answer(connection);
        }
        self.queue_flush(connection);
    }

    /// Reads the next part of a file into a cell. `false`: no cell is free, and what is there already is to be sent.
    fn begin_read(&mut self, connection: &mut Connection, read: FileRead, has_parts: bool) -> bool {
        let socket = &mut connection.socket;
        let side = &mut self.dispatch.side;
        let cell = if self.transport.may_read(socket) { side.cells.stage.take() } else { None };
        let Some(mut cell) = cell else {
            if !has_parts {
                self.transport.await_cell(socket);
            }
            return !has_parts;
        };
        let len = u32::try_from(read.len).unwrap_or(u32::MAX).min(side.arena().cell_bytes(Area::Stage));
        let into = side.arena().landing(&mut cell, len);
        self.transport.begin_read(socket, read, cell, into);
        true
    }

    /// A read of a file has ended.
    #[cold]
    pub(super) fn on_read(&mut self, connection: &mut Connection, event: &Event) {
        self.transport.was_read(&mut connection.socket, u32::try_from(event.result).unwrap_or(0));
        if connection.socket.is_closing() {
            return;
        }
        match event.result {
            1.. => self.queue_flush(connection),
            error if matches!(-error, libc::EINTR | libc::EAGAIN) => {
                self.transport.give_stage(&mut connection.socket, &mut self.dispatch.side.cells.stage);
                self.queue_flush(connection);
            }
            // The file is shorter than was said, or the disk fails.
            _ => self.truncate_answer(connection),
        }
    }

    /// A cell is free for a connection that waited for one. `false`: it waits no more.
    pub(crate) fn on_cell(&mut self, connection: &mut Connection) -> bool {
        let waits = self.transport.called(&mut connection.socket);
        if waits {
            self.queue_flush(connection);
        }
        waits
    }
}
