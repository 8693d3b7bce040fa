//! Longer parts of files go out by sendfile(2), on a helper of the ring's: the shard hands a part over, and goes on
//! when it is reported.
//!
//! ```text
//!   hand over ──▶ File ──all sent──▶ look again (`stream`)
//!      ▲           │ └──fails───▶ cut, lost, or reads only from now on
//!      │           ▼ the socket is full
//!      └──room─── FileRoom: as of what is in memory (`room`)
//! ```
//!
//! Invariants: nothing else is sent on a connection from the handing over to the last report; the descriptor is not
//! closed and the slot not freed while the helper has the part; a client is judged only while it is its turn, never
//! while the helper, or the disk behind it, has the part.
//!
//! Not here: which parts of files go this way (`stream`), and the helper (room `ring`).

use super::Shard;
use super::connection::{Out, Sending};
use super::stream::SEND_BYTES_MAX;
use crate::ring::{Event, FilePart, Io, Op, Token};
use crate::slab::Key;
use crate::stream::{Data, Outgoing};

/// What is next of a stream whose next byte is a file's.
fn next_part(outgoing: &Outgoing) -> Option<FilePart> {
    let (piece, sent) = outgoing.pieces().next()?;
    let Data::File(range) = piece.data() else { return None };
    let done = sent.checked_sub(piece.frame().len() as u64)?;
    let left = range.len.saturating_sub(done).min(u64::from(SEND_BYTES_MAX));
    let len = u32::try_from(left).unwrap_or(SEND_BYTES_MAX);
    Some(FilePart { file: range.file.share(), offset: range.offset.saturating_add(done), len })
}

impl<I: Io> Shard<I> {
    /// Hands the file's part that is next to the helper.
    pub(super) fn begin_file(&mut self, key: Key, slot: u32) {
        let Some(part) = self.dispatch.outgoing(slot).and_then(|outgoing| next_part(outgoing)) else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.out = Out::Stream { slot, last: false };
        (connection.out_sent, connection.out_len) = (0, part.len);
        self.hand_to_helper(key, part);
    }

    fn hand_to_helper(&mut self, key: Key, part: FilePart) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.sending = Sending::File;
        let fd = connection.fd;
        self.io.send_file(fd, Token::new(Op::SendFile, key.generation, key.index), part);
        self.set_timer(key);
    }

    /// A part of a file is reported.
    #[cold]
    pub(super) fn on_file(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let Some(connection) = self.connections.get_mut(key) else {
            return self.counters.completions_stale.count();
        };
        debug_assert!(connection.sending == Sending::File, "only what was handed over is reported");
        connection.sending = Sending::No;
        if connection.closing {
            return self.destroy_if_quiet(key);
        }
        let Out::Stream { slot, .. } = connection.out else { return };
        match event.result {
            1.. => self.file_went(key, slot, event.result.cast_unsigned()),
            // The file is shorter than was said.
            0 => self.truncate_answer(key),
            error => match -error {
                // The socket is full, or so it seems: a file that has ended says so the next time.
                libc::EAGAIN => self.await_room(key, true),
                libc::EINVAL | libc::ESPIPE | libc::ENOSYS => self.read_instead(key, slot),
                libc::EPIPE | libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN => self.client_gone(key),
                libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ECONNABORTED => self.client_gone(key),
                // The disk fails.
                _ => self.truncate_answer(key),
            },
        }
    }

    fn file_went(&mut self, key: Key, slot: u32, bytes: u32) {
        self.advance_stream(key, slot, bytes);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.out_sent += bytes;
        if connection.out_sent < connection.out_len {
            return self.await_room(key, true);
        }
        (connection.out, connection.waited) = (Out::Nothing, false);
        self.after_answer(key);
    }

    /// There is room for the rest of a file's part.
    pub(super) fn go_on_with_file(&mut self, key: Key, slot: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let left = connection.out_len - connection.out_sent;
        let Some(part) = self.dispatch.outgoing(slot).and_then(|outgoing| next_part(outgoing)) else { return };
        self.hand_to_helper(key, FilePart { len: left, ..part });
    }

    /// This is no file that can be sent otherwise.
    fn read_instead(&mut self, key: Key, slot: u32) {
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.reads_only = true;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.out = Out::Nothing;
        }
        self.queue_flush(key);
    }
}
