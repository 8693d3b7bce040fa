//! Bytes go out: one send at a time, and waiting for room for what a socket did not take at once.
//!
//! ```text
//!   a send falls short ──▶ poll ──▶ room ──▶ the next send, or the file's rest
//!                           │ ▲
//!                           ▼ │ the client has only ended its side
//!                      a poll that lasts
//! ```
//!
//! Invariants: no send waits in the kernel. io_uring adds POLLRDHUP to every poll, also to those it arms for an
//! operation that would block; of a client that has ended its side, each of these is answered at once, and such a send
//! is tried again and again for as long as its socket is full. A poll that lasts is answered when something changes.
//!
//! Not here: what is sent, and how long a client may take.

use super::{Appetite, Sending, Shortage, Socket, Transport};
use crate::driver::{Event, FilePart, Io, Op, SendMode};
use crate::mem::Lent;

/// What the end of a poll for room says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomFound {
    /// There is room: of a file's part.
    OfFile,
    /// There is room: of what is in memory.
    OfMemory,
    /// It is of no use to try again.
    ClientGone,
}

impl<I: Io> Transport<I> {
    /// Sends from one to [`SEND_PARTS_MAX`](crate::driver::SEND_PARTS_MAX) parts. Ends with the turn unless a
    /// completion says otherwise.
    #[inline(always)]
    pub(crate) fn send(&mut self, socket: &mut Socket, parts: &[Lent], mode: SendMode) {
        socket.sending = Sending::Silent;
        self.silent.push(socket.key);
        self.io.send(socket.fd, socket.token(Op::Send), parts, mode);
    }

    /// Hands a part of a file to the helper.
    pub(crate) fn send_file(&mut self, socket: &mut Socket, part: FilePart) {
        socket.sending = Sending::File;
        self.io.send_file(socket.fd, socket.token(Op::SendFile), part);
    }

    /// The socket is full: of a file's part, with `of_file`, or of what is in memory the rest waits for room.
    #[cold]
    pub(crate) fn await_room(&mut self, socket: &mut Socket, of_file: bool) {
        socket.appetite = Appetite::Unknown;
        socket.sending = if of_file { Sending::FileRoom } else { Sending::Room };
        if core::mem::replace(&mut socket.shortage, Shortage::Counted) == Shortage::No {
            self.counters.sends_short.count();
        }
        socket.taking.run(self.tick);
        let lasting = socket.has_half_closed();
        self.io.await_room(socket.fd, socket.token(Op::Room), lasting);
    }

    /// There is room in a socket, or an end, or the client has only ended its side. `None`: it waits on, or closes.
    #[cold]
    pub(super) fn on_room(&mut self, socket: &mut Socket, event: &Event) -> Option<RoomFound> {
        let is_closing = socket.is_closing();
        let found = event.result < 0 || event.result & i32::from(libc::POLLOUT | libc::POLLERR | libc::POLLHUP) != 0;
        match (event.more, found) {
            // A lasting one has done what it was for; it is over when it says so.
            (true, true) if !is_closing => self.io.cancel(event.token),
            (true, _) => {}
            (false, false) if !is_closing => self.io.await_room(socket.fd, socket.token(Op::Room), true),
            (false, _) => return self.room_found(socket, event.result),
        }
        None
    }

    /// The poll for room has ended.
    fn room_found(&mut self, socket: &mut Socket, result: i32) -> Option<RoomFound> {
        let of_file = core::mem::replace(&mut socket.sending, Sending::No) == Sending::FileRoom;
        if socket.is_closing() {
            return None;
        }
        // Cancelled where it had found room. Whatever else it fails with, it would again.
        if result < 0 && result != -libc::ECANCELED {
            return Some(RoomFound::ClientGone);
        }
        socket.taking.stop(self.tick);
        Some(if of_file { RoomFound::OfFile } else { RoomFound::OfMemory })
    }
}
