//! What is streamed goes out, a response in pieces or a pipe's: pieces are gathered into one send after the other,
//! short parts of files go through the ring and a cell, longer ones to the helper (`files`).
//!
//! ```text
//!   look ──▶ head and pieces are there ──▶ one send of up to 16 parts ──▶ advance ──▶ look again
//!    │  └──▶ a file is next ──short──▶ a cell ──▶ read by the ring ──▶ look again
//!    │               │                 └──▶ none is free: wait in `cell_waiters` for one
//!    │               └──long──▶ what is before it has been sent ──▶ `files` ──▶ look again
//!    └─────▶ nothing is there: wait for signals, or, after the end, for nothing any more
//! ```
//!
//! Invariants: a streamed response is its connection's oldest until its last send begins; a connection has one send or
//! one read under way, and at most one cell, which it gives back when what was read is sent, when the socket is full,
//! or when it ends; a response that cannot be made whole is cut: the connection is reset, and it is counted.
//!
//! How files are sent is decided here alone; in neither way does the shard wait for a disk.
//!
//! Not here: how pieces are given and how many may wait (room `stream`), sending longer parts of files (`files`), and
//! who gets a cell next (`transport`).

use ringress_proto::response::{chunk_line, last_chunk};

use super::Protocol;
use super::link::{Link, Out};
use crate::driver::{Io, SEND_PARTS_MAX, SendMode};
use crate::mem::{Area, Lent};
use crate::queue::{LINE_BYTES, Slot};
use crate::record::Outcome;
use crate::shard::transport::{FileGot, FileRead, Staging, Taken};
use crate::stream::{Data, Ending, Frame, Framed, Outgoing};

/// Bytes that wait for a file to be read, to go out together with what is read: a head and a few short pieces.
const JOIN_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of a file up to which they are read and sent with what is before them. Up to 16 KiB that costs less than
/// handing them over, at 32 KiB as much (docs/perf/sending.md).
const READ_BYTES_MAX: u64 = 32 * 1024;
/// The parts of one send.
#[derive(Debug)]
pub(super) struct Parts {
    parts: [Lent; SEND_PARTS_MAX],
    count: usize,
    bytes: u32,
    bytes_max: u32,
}

impl Parts {
    /// For at most so many bytes.
    fn new(bytes_max: u32) -> Self {
        Self { parts: [Lent::NOTHING; SEND_PARTS_MAX], count: 0, bytes: 0, bytes_max }
    }

    /// Adds a part. `false`: not all of it has room.
    fn add(&mut self, part: Lent) -> bool {
        if part.len == 0 {
            return true;
        }
        let room = self.bytes_max - self.bytes;
        let Some(place) = self.parts.get_mut(self.count).filter(|_| room > 0) else { return false };
        let len = part.len.min(room);
        *place = Lent { len, ..part };
        self.count += 1;
        self.bytes += len;
        len == part.len
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> bool {
        // What one send cannot carry is not lent.
        let most = bytes.len().min(self.bytes_max as usize);
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

/// What is next of a stream.
#[expect(clippy::large_enum_variant, reason = "it is made, looked at and gone within one call")]
pub(super) enum Next {
    /// Nothing now: more is to be given, or comes by itself.
    Nothing,
    /// It goes on by itself: a part of a file was handed over, or what is next is much and waits for its turn.
    Later,
    /// All that was given is sent; with `is_last`, there will be no more.
    AllSent {
        is_last: bool,
    },
    Batch(Batch),
}

/// What is to be sent next.
pub(super) struct Batch {
    pub(super) parts: Parts,
    mode: SendMode,
    /// Nothing has been sent of the stream's head, which is the first part.
    pub(super) is_fresh: bool,
    pub(super) end: BatchEnd,
}

/// Where the end of a stream is, as seen from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchEnd {
    /// The application may give more.
    Unknown,
    /// It has given everything, which is not all among these parts, or not in memory that stays.
    Behind,
    /// It has given everything, the last of which these parts are, all in memory that stays.
    Within,
}

/// How far a send has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is nothing to go on with.
    Nothing,
    /// The socket is full.
    Short,
    /// Everything is in the socket.
    Ended,
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
/// of the first file. At most `bytes_max` bytes are taken.
fn look(outgoing: &mut Outgoing, head: Lent, mut staged: Option<Lent>, bytes_max: u32) -> Found {
    // Asked before the pieces are taken: then they are all that was given before the end.
    let ending = outgoing.ending();
    outgoing.refill(ending, chunk_frame);
    let mut found = Found { parts: Parts::new(bytes_max), ending, read: None, is_all: false };
    let parts = &mut found.parts;
    if !parts.add(head.after(head.len - outgoing.head_left().min(head.len))) {
        return found;
    }
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
    /// Looks what is next of a stream of a connection that sends nothing at this moment.
    pub(super) fn next_of_stream(&mut self, link: &mut Link, slot: Slot) -> Next {
        if link.socket.staging.is_reading() {
            return Next::Nothing;
        }
        // A head grows by a line at most when it goes: what is left of a send fits one again.
        let grows_max = if link.streams(slot) { 0 } else { LINE_BYTES };
        let bytes_max = self.transport.turns.sizes.part - grows_max;
        let head_len = self.dispatch.answered_mut(slot).head.len;
        let head = self.dispatch.lend_response(slot, head_len);
        let staged = match &link.socket.staging {
            Staging::Holds { cell, from, to } => Some(self.dispatch.arena().lend(cell, *from, to - from)),
            Staging::No | Staging::Waits | Staging::Called | Staging::Reads(_) => None,
        };
        let Some(outgoing) = self.dispatch.outgoing(slot) else { return Next::Nothing };
        let is_fresh = outgoing.head_left() == head_len;
        let reads_only = outgoing.reads_only;
        let found = look(outgoing, head, staged, bytes_max);
        if found.ending == Ending::Aborted {
            self.truncate_response(link, slot);
            return Next::Nothing;
        }
        let is_long = found.read.is_some_and(|read| read.len > READ_BYTES_MAX && !reads_only);
        if is_long && found.parts.count == 0 {
            return if self.begin_file(link, slot) { Next::Later } else { Next::Nothing };
        }
        if let Some(read) = found.read
            && !is_long
            && staged.is_none()
            && found.parts.bytes <= JOIN_BYTES_MAX
            && self.begin_read(link, read, found.parts.count > 0)
        {
            return Next::Nothing;
        }
        let is_given = found.ending == Ending::Finished;
        match found.parts.count {
            0 if found.is_all => Next::AllSent { is_last: is_given },
            0 => Next::Nothing,
            _ if self.transport.admit(&mut link.socket, found.parts.bytes).is_none() => Next::Later,
            _ => {
                let mode = if is_long { SendMode::Ahead } else { SendMode::Silent };
                let end = match is_given {
                    false => BatchEnd::Unknown,
                    // What was read may have to be read again: until it is sent, the response stays the oldest.
                    true if found.is_all && staged.is_none() => BatchEnd::Within,
                    true => BatchEnd::Behind,
                };
                Next::Batch(Batch { parts: found.parts, mode, is_fresh, end })
            }
        }
    }

    /// The head at the beginning of a batch has grown.
    pub(super) fn grow_head(&self, batch: &mut Batch, slot: Slot, grown: u32) {
        let len = batch.parts.parts[0].len + grown;
        batch.parts.set_head(self.dispatch.lend_response(slot, len));
    }

    /// Sends parts of the stream in a slot; with `last`, its end is among them or among those before.
    pub(super) fn send_batch(&mut self, link: &mut Link, batch: &Batch, (slot, last): (Slot, bool)) {
        link.begin_out(Out::Stream { slot, last }, batch.parts.bytes);
        // Somebody waits for its end: the stream's next send, its sender, or who asked for its completion.
        self.transport.follow_up = true;
        self.transport.send(&mut link.socket, batch.parts.as_slice(), batch.mode);
    }

    /// A send fell short, or failed.
    #[cold]
    pub(super) fn send_progress(&mut self, link: &mut Link, taken: Taken) -> Progress {
        let Taken::Bytes(sent) = taken else {
            self.client_gone(link);
            return Progress::Nothing;
        };
        link.out_taken += sent;
        let is_closing = link.socket.is_closing();
        if !is_closing && link.out_taken >= link.out_len {
            return Progress::Ended;
        }
        if let Some(slot) = link.streamed() {
            // What has come meanwhile goes with the rest; and what was taken counts, whatever the connection ends for.
            self.advance_stream(link, slot, sent);
            self.forget_read(link, slot);
        }
        if is_closing { Progress::Nothing } else { Progress::Short }
    }

    /// So many bytes of a stream's send are in the socket.
    pub(super) fn advance_stream(&mut self, link: &mut Link, slot: Slot, bytes: u32) {
        let Some(outgoing) = self.dispatch.outgoing(slot) else { return };
        let of_files = u32::try_from(outgoing.advance(bytes)).unwrap_or(u32::MAX);
        self.transport.read_sent(&mut link.socket, &mut self.dispatch.cells_mut().stage, of_files);
    }

    /// A client does not take now what was read of a file: it is read again when the client has room, so that no slow
    /// one keeps a cell from others. What can be read only once stays.
    #[cold]
    fn forget_read(&mut self, link: &mut Link, slot: Slot) {
        if self.dispatch.outgoing(slot).is_some_and(|outgoing| outgoing.can_read_again()) {
            self.transport.give_stage(&mut link.socket, &mut self.dispatch.cells_mut().stage);
        }
    }

    /// A send of a stream has put everything into the socket.
    #[cold]
    pub(super) fn stream_sent(&mut self, link: &mut Link, slot: Slot, last: bool) {
        self.advance_stream(link, slot, link.out_len);
        if last && let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.complete();
        }
    }

    /// The response under way, in a slot, cannot be made whole.
    #[cold]
    pub(super) fn truncate_response(&mut self, link: &mut Link, slot: Slot) {
        self.dispatch.set_outcome(slot, Outcome::Truncated);
        self.abort(link);
    }

    /// The application has told something of the stream in a slot: an abort waits neither for a slow client nor for a
    /// slow file. `is_first`: nothing goes before it.
    pub(super) fn stream_signalled(&mut self, link: &mut Link, slot: Slot, is_first: bool) {
        let is_sent = link.streams(slot) && link.socket.sends();
        let is_read = link.socket.staging.is_reading() && is_first;
        if (is_sent || is_read)
            && !link.socket.is_closing()
            && self.dispatch.outgoing(slot).is_some_and(|outgoing| outgoing.ending() == Ending::Aborted)
        {
            return self.truncate_response(link, slot);
        }
        self.queue_flush(link);
    }

    /// Reads the next part of a file into a cell. `false`: no cell is free, and what is there already is to be sent.
    fn begin_read(&mut self, link: &mut Link, read: FileRead, has_parts: bool) -> bool {
        let socket = &mut link.socket;
        let dispatch = &mut self.dispatch;
        let cell = if self.transport.may_read(socket) { dispatch.cells_mut().stage.take() } else { None };
        let Some(mut cell) = cell else {
            if !has_parts {
                self.transport.await_cell(socket);
            }
            return !has_parts;
        };
        let len = u32::try_from(read.len).unwrap_or(u32::MAX).min(dispatch.arena().cell_bytes(Area::Stage));
        let into = dispatch.arena().landing(&mut cell, len);
        self.transport.begin_read(socket, read, cell, into);
        true
    }

    /// A read of a file has ended, for the connection's oldest response, which is in `slot`; a connection that is
    /// closing may have none.
    #[cold]
    pub(super) fn on_read(&mut self, link: &mut Link, slot: Option<Slot>, got: FileGot) {
        match got {
            FileGot::Bytes => self.queue_flush(link),
            FileGot::Nothing => {
                self.transport.give_stage(&mut link.socket, &mut self.dispatch.cells_mut().stage);
                self.queue_flush(link);
            }
            FileGot::Failed => match slot {
                Some(slot) => self.truncate_response(link, slot),
                None => self.abort(link),
            },
        }
    }

    /// A cell is free for a connection that waited for one. `false`: it waits no more.
    pub(super) fn cell_is_free(&mut self, link: &mut Link) -> bool {
        let waits = self.transport.called(&mut link.socket);
        if waits {
            self.queue_flush(link);
        }
        waits
    }
}
