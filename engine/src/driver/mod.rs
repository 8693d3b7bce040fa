//! What a shard needs of the kernel, as one trait ([`Io`]), and what provides it: io_uring ([`uring`]), epoll
//! ([`epoll`]), and a kernel in memory for tests (`fake`). All share the helper for files and the few socket calls.
//!
//! Invariants:
//! * A driver belongs to the thread that made it: nothing completes unless that thread takes its turn.
//! * What a kernel offers is found by trying it, never by a version.
//! * One wait a turn: what was asked for begins, the wait, then everything that has completed. Nothing that was asked
//!   for has reached the other side of a connection before (but with io_uring, when a turn asks for more than its
//!   queue holds).
//! * A *silent* send ([`SendMode::Silent`]) has ended when the turn that began it returns, unless a completion says
//!   that it fell short.
//!
//! Not here: HTTP, connections, queues; which driver an engine has (`session::drivers`).

mod epoll;
#[cfg(any(test, feature = "bench-door"))]
#[cfg_attr(not(test), expect(dead_code, reason = "the benchmarks use less of it than the tests"))]
pub(crate) mod fake;
mod files;
pub(crate) mod handed;
pub(crate) mod listen;
pub(crate) mod net;
#[cfg(test)]
mod tests;
mod token;
pub(crate) mod unix;
mod uring;

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::mem::{Filled, Group, Landing, Lent, Spare};

pub(crate) use epoll::Epoll;
pub(crate) use token::{Op, Token};
pub(crate) use uring::Uring;
#[cfg(feature = "command")]
pub use uring::{Piece, pieces};

/// Parts that one send has at most.
pub(crate) const SEND_PARTS_MAX: usize = 16;

/// Bytes that are thrown away at once at most.
pub(crate) const DISCARDED_MAX: u32 = 256 << 10;

/// How a send behaves when the socket's buffer is full. None waits there: see `shard::transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendMode {
    /// Completes visibly only when not everything was taken.
    Silent,
    /// As silent; more will follow at once, with which the kernel may put this into one packet.
    Ahead,
}

/// A part of a file that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    /// At least 1.
    pub(crate) len: u32,
}

/// What has gone over a connection since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes that the other side has acknowledged.
    pub(crate) acknowledged: u64,
    /// Bytes that have come, received or not.
    pub(crate) received: u64,
}

/// How long a turn may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until something completes.
    Forever,
    /// Until something completes, at most this long.
    AtMost(Duration),
}

/// One completion.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) token: Token,
    /// What the operation gave: a count or descriptor, or a negated errno.
    pub(crate) result: i32,
    /// More completions of the same operation will follow.
    pub(crate) more: bool,
    /// The buffer that was filled, for receives.
    pub(crate) buffer: Option<Filled>,
    /// The socket had more than was received: the next receive completes at once. An end alone may be told like this,
    /// too (Linux 6.18 does): nothing may depend on it.
    pub(crate) more_at_hand: bool,
}

impl Event {
    /// Takes a completion out of a list, with its buffer: what is left names none.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self { buffer: self.buffer.take(), ..*self }
    }
}

/// What a shard needs of the kernel.
///
/// Operations begin with the next [`turn`](Self::turn), and complete in a turn. Each is named by a token
/// of its own kind ([`Op`]): those of one connection have the same generation and slot, which no other connection of
/// the driver has or has had.
///
/// What is provided here is done by a call of its own, however a driver carries out operations.
pub(crate) trait Io {
    /// Makes a bound socket take connections, if it does not yet, of which at most `backlog` wait to be accepted.
    /// `None`: it listens already, and is made ready for this driver.
    fn listen(&mut self, socket: RawFd, backlog: Option<u32>) -> io::Result<()>;
    /// Accepts connections until a completion comes without `more`.
    fn accept(&mut self, listener: RawFd, token: Token);
    /// As [`accept`](Self::accept), of who waits at a socket that others accept on, too: it ends without waiting for
    /// anybody.
    fn accept_left(&mut self, listener: RawFd, token: Token);
    /// Receives into small provided buffers until a completion comes without `more`.
    fn receive(&mut self, socket: RawFd, token: Token);
    /// Receives once, at most `len` bytes, into a provided buffer of a group, which is chosen when the bytes are there.
    fn receive_once(&mut self, socket: RawFd, token: Token, group: Group, len: u32);
    /// Receives once and throws away what comes, at most `len` bytes and [`DISCARDED_MAX`]: completes with how many,
    /// without a buffer.
    fn receive_and_discard(&mut self, socket: RawFd, token: Token, len: u32);
    /// Sends from one to [`SEND_PARTS_MAX`] parts, in order, as one operation. The bytes stay lent until it has ended;
    /// `parts` itself does not.
    fn send(&mut self, socket: RawFd, token: Token, parts: &[Lent], mode: SendMode);
    /// Reads a file from an offset, at most as much as there is room for; completes with how much, 0 at the file's end.
    /// Nothing here waits for a disk.
    fn read_file(&mut self, file: RawFd, offset: u64, into: Landing, token: Token);
    /// Sends a part of a file as far as the socket takes it; completes with how much, 0 at the file's end, EAGAIN when
    /// the socket is full, and EINVAL, ESPIPE or ENOSYS when this is no way to send this file. The socket stays lent
    /// until then; after a failure it is closed by whoever has it. Nothing here waits for a disk.
    fn send_file(&mut self, socket: RawFd, token: Token, part: FilePart);
    /// Completes when a socket has room or an end, with the events: once, but also when the client has ended its side,
    /// room or not (POLLRDHUP alone). With `lasting`, for such clients, only when something changes, and again until a
    /// completion comes without `more`.
    fn await_room(&mut self, socket: RawFd, token: Token, lasting: bool);
    /// What closes a file on this thread that nobody else has, and waits for no disk either.
    fn file_closer(&self) -> Box<dyn Fn(File)>;
    /// Reports when a descriptor becomes readable, until a completion comes without `more`.
    fn watch(&mut self, descriptor: RawFd, token: Token);
    /// Reports that the other side of a connection has ended (POLLRDHUP) or broken it (POLLERR), and again when that
    /// changes, until a completion comes without `more`; its result is the events.
    fn watch_end(&mut self, socket: RawFd, token: Token);
    /// Asks for the end of an operation, which still completes itself.
    fn cancel(&mut self, target: Token);
    /// Gives a buffer to the kernel with the next [`post_buffers`](Self::post_buffers).
    fn give_buffer(&mut self, spare: Spare);
    /// Shows the kernel the buffers given since the last call.
    fn post_buffers(&mut self);
    /// Asks the kernel for so many of a group's buffers that it has: each comes back, with a byte written,
    /// by a completion of its own; one without a buffer says that there is none. `false`: not now.
    fn recall_buffers(&mut self, group: Group, count: u32, token: Token) -> bool;
    /// Submits what is queued, waits as told, and appends everything that has completed to `events`.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;
    /// Completions that did not fit the completion queue at once (counted by the kernel, delivered later).
    fn overflows(&self) -> u64;
    /// Closes a descriptor; operations on it have ended before.
    fn close(&mut self, descriptor: RawFd) {
        net::close(descriptor);
    }
    /// Gives a descriptor away as it is; operations on it have ended before.
    fn release(&mut self, descriptor: RawFd) -> OwnedFd;
    /// Shuts one direction of a connection, or both, down.
    fn shutdown(&mut self, socket: RawFd, how: std::net::Shutdown) {
        net::shutdown(socket, how);
    }
    /// Makes the coming close reset the connection.
    fn reset_on_close(&mut self, socket: RawFd) {
        net::reset_on_close(socket);
    }
    /// What has gone over a connection since its beginning; nothing when the kernel does not say.
    fn traffic(&mut self, socket: RawFd) -> Traffic {
        net::traffic(socket).unwrap_or_default()
    }
    /// The addresses of a connection: the peer's and the local one.
    fn addresses(&mut self, socket: RawFd) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
        Some((net::peer_address(socket)?, net::local_address(socket)?))
    }
    /// Why a [`turn`](Self::turn) has failed, for who started the engine.
    fn explain(error: io::Error) -> Error;
}
