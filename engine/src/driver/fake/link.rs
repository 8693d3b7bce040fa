//! Both ends of a simulated connection, and the operations on it.
//!
//! Invariants: nothing is put into a socket beyond its room; lent bytes are compared with what they were when they
//! were lent, each time some are sent; a descriptor is let go only when no operation names it, unless the ring has
//! failed.
//!
//! Not here: when an operation goes on (`fake`), and parts of files (`files`).

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use super::{Entry, Fake};
use crate::driver::{FilePart, Token};
use crate::mem::{Group, Lent};

/// A connection, seen from both ends.
#[derive(Debug, Default)]
pub(super) struct FakeSocket {
    /// The client's address; None: that of this host.
    pub(super) address: Option<Ipv4Addr>,
    /// The shard's descriptor, from accept to close.
    pub(super) descriptor: Option<RawFd>,
    pub(super) closed: bool,
    /// The shard has given its descriptor away.
    pub(super) released: bool,
    /// Bytes the client has sent and the shard has not received, and the reverse.
    pub(super) inbound: VecDeque<u8>,
    pub(super) outbound: VecDeque<u8>,
    /// All bytes that the shard has sent.
    pub(super) sent: u64,
    /// All bytes that the client has sent, and read.
    pub(super) written: u64,
    pub(super) taken: u64,
    /// Bytes that `outbound` holds at most.
    pub(super) room: usize,
    pub(super) client_ended: bool,
    pub(super) client_reset: bool,
    pub(super) write_shut: bool,
    pub(super) read_shut: bool,
    pub(super) reset_on_close: bool,
    /// The client has been reset: what it had not read is lost.
    pub(super) was_reset: bool,
    pub(super) receive: Option<Multishot>,
    /// Which buffers it takes.
    pub(super) group: Group,
    /// That keeps nothing.
    pub(super) nowhere: bool,
    /// A watch for the client's end, and what it has reported.
    pub(super) watch: Option<Multishot>,
    pub(super) watch_reported: i32,
    /// A part of a file that the helper has.
    pub(super) job: Option<FileJob>,
    /// A poll for room, which lasts unless it is for `once`, and what it has reported.
    pub(super) poll: Option<Multishot>,
    pub(super) poll_reported: i32,
    /// The shard's name for it.
    pub(super) slot: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Multishot {
    pub(super) token: Token,
    /// A receive that completes once, with so many bytes at the most.
    pub(super) once: Option<u32>,
    pub(super) cancelled: bool,
}

/// A part of a file that the helper has.
#[derive(Debug)]
pub(super) struct FileJob {
    pub(super) token: Token,
    pub(super) part: FilePart,
    pub(super) cancelled: bool,
}

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) token: Token,
    pub(super) pieces: Vec<Lent>,
    /// What the pieces held when they were lent.
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
}

#[derive(Debug, Default)]
pub(super) struct Listening {
    pub(super) accept: Option<Multishot>,
    pub(super) backlog: VecDeque<usize>,
}

impl FakeSocket {
    /// What a poll for the client's end would report.
    pub(super) fn ended(&self) -> i32 {
        match (self.client_reset, self.client_ended) {
            (true, _) => i32::from(libc::POLLERR | libc::POLLHUP | libc::POLLRDHUP),
            (false, true) => i32::from(libc::POLLRDHUP),
            (false, false) => 0,
        }
    }

    /// What a poll for room would report.
    pub(super) fn writable(&self) -> i32 {
        let has_room = self.write_shut || self.outbound.len() < self.room;
        self.ended() | if has_room { i32::from(libc::POLLOUT) } else { 0 }
    }

    /// Why a send fails, if it does.
    pub(super) fn send_error(&self) -> Option<i32> {
        if self.write_shut {
            Some(libc::EPIPE)
        } else if self.client_reset {
            Some(libc::ECONNRESET)
        } else {
            None
        }
    }
}

impl Fake {
    /// Bytes that sockets have taken of the shard.
    pub(crate) fn sent(&self) -> u64 {
        self.links.iter().map(|link| link.sent).sum()
    }

    /// Bytes of a client that the shard has not received.
    pub(crate) fn unreceived(&self, client: usize) -> usize {
        self.links[client].inbound.len()
    }

    /// Whether the shard has given a connection's socket away.
    pub(crate) fn was_released(&self, client: usize) -> bool {
        self.links[client].released
    }

    /// No operation names a descriptor.
    pub(super) fn assert_unused(&mut self, descriptor: RawFd) {
        let named = self.queued.iter().any(|entry| entry.socket() == Some(descriptor));
        let failed = self.failed;
        let of_helper = |entry: &Entry| matches!(entry, Entry::SendFile { socket, .. } if *socket == descriptor);
        let helper_has = self.queued.iter().any(of_helper) || self.link(descriptor).job.is_some();
        assert!(!helper_has, "descriptor {descriptor} is let go while the helper has it, who closes what is left");
        assert!(!named || failed, "descriptor {descriptor} is let go while an operation on it is queued");
        let link = self.link(descriptor);
        if !failed {
            assert!(link.receive.is_none(), "descriptor {descriptor} is let go while it receives");
            assert!(link.watch.is_none(), "descriptor {descriptor} is let go while it is watched");
            assert!(link.poll.is_none(), "descriptor {descriptor} is let go while it is polled for room");
        }
    }
}

/// Moves up to `limit` bytes of a send into the socket, as far as there is room.
pub(super) fn take(link: &mut FakeSocket, sending: &mut Sending, limit: usize) {
    let now = contents(&sending.pieces);
    assert!(now == sending.bytes, "lent bytes changed while they were being sent");
    let room = link.room - link.outbound.len().min(link.room);
    let end = sending.bytes.len().min(sending.sent.saturating_add(room.min(limit)));
    link.outbound.extend(&now[sending.sent..end]);
    link.sent += (end - sending.sent) as u64;
    sending.sent = end;
}

/// What pieces hold.
pub(super) fn contents(pieces: &[Lent]) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in pieces {
        // SAFETY: lent bytes stay valid until their send has ended, which this is a part of.
        all.extend_from_slice(unsafe { core::slice::from_raw_parts(piece.address.as_ptr(), piece.len as usize) });
    }
    all
}
