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

use super::Protocol;
use super::connection::{Connection, Out};
use super::stream::SEND_BYTES_MAX;
use crate::ring::{Event, FilePart, Io};
use crate::shard::transport::Sending;
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

impl<I: Io> Protocol<I> {
    /// Hands the file's part that is next to the helper.
    pub(super) fn begin_file(&mut self, connection: &mut Connection, slot: u32) {
        let Some(part) = self.dispatch.outgoing(slot).and_then(|outgoing| next_part(outgoing)) else { return };
        connection.out = Out::Stream { slot, last: false };
        (connection.socket.out_sent, connection.socket.out_len) = (0, part.len);
        self.hand_to_helper(connection, part);
    }

    fn hand_to_helper(&mut self, connection: &mut Connection, part: FilePart) {
        self.transport.send_file(&mut connection.socket, part);
        self.set_timer(connection);
    }

    /// A part of a file is reported.
    #[cold]
    pub(super) fn on_file(&mut self, connection: &mut Connection, event: &Event) {
        debug_assert!(connection.socket.sending == Sending::File, "only what was handed over is reported");
        connection.socket.sending = Sending::No;
        if connection.socket.is_closing() {
            return;
        }
        let Out::Stream { slot, .. } = connection.out else { return };
        match event.result {
            1.. => self.file_went(connection, slot, event.result.cast_unsigned()),
            // The file is shorter than was said.
            0 => self.truncate_answer(connection),
            error => match -error {
                // The socket is full, or so it seems: a file that has ended says so the next time.
                libc::EAGAIN => self.await_room(connection, true),
                libc::EINVAL | libc::ESPIPE | libc::ENOSYS => self.read_instead(connection, slot),
                libc::EPIPE | libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN => self.client_gone(connection),
                libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ECONNABORTED => self.client_gone(connection),
                // The disk fails.
                _ => self.truncate_answer(connection),
            },
        }
    }

    fn file_went(&mut self, connection: &mut Connection, slot: u32, bytes: u32) {
        self.advance_stream(connection, slot, bytes);
        let socket = &mut connection.socket;
        socket.out_sent += bytes;
        if socket.out_sent < socket.out_len {
            return self.await_room(connection, true);
        }
        (connection.out, socket.waited) = (Out::Nothing, false);
        self.after_answer(connection);
    }

    /// There is room for the rest of a file's part.
    pub(super) fn go_on_with_file(&mut self, connection: &mut Connection, slot: u32) {
        let left = connection.socket.out_len - connection.socket.out_sent;
        let Some(part) = self.dispatch.outgoing(slot).and_then(|outgoing| next_part(outgoing)) else { return };
        self.hand_to_helper(connection, FilePart { len: left, ..part });
    }

    /// This is no file that can be sent otherwise.
    fn read_instead(&mut self, connection: &mut Connection, slot: u32) {
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.reads_only = true;
        }
        connection.out = Out::Nothing;
        self.queue_flush(connection);
    }
}
