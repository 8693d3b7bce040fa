//! Sends that are asked for: they wait for the turn, and are made in the order in which they were asked for.
//!
//! Invariants: no byte goes before the turn, so that what a shard has noted by then is known to whoever hears from it;
//! what is lent is the driver's from the asking to the call, and its no more when the turn has begun to wait.
//!
//! Not here: the call (`calls`), and what is told of a send that falls short (`epoll`).

use std::os::fd::RawFd;

use crate::driver::{SEND_PARTS_MAX, SendMode, Token};
use crate::mem::Lent;

/// Sends and parts for which there is room from the beginning; it grows with what one turn asks for. A connection has
/// one send at a time.
const ROOM: usize = 1024;

/// A send that is asked for.
pub(super) struct Asked {
    pub(super) socket: RawFd,
    pub(super) mode: SendMode,
    pub(super) token: Token,
    parts: usize,
}

/// See the module's head.
pub(super) struct Sends {
    asked: Vec<Asked>,
    /// Of all of them, one behind the other.
    parts: Vec<Lent>,
}

impl Sends {
    pub(super) fn new() -> Self {
        Self { asked: Vec::with_capacity(ROOM), parts: Vec::with_capacity(ROOM) }
    }

    #[inline]
    pub(super) fn ask(&mut self, (socket, token): (RawFd, Token), parts: &[Lent], mode: SendMode) {
        assert!(parts.len() <= SEND_PARTS_MAX, "a send has at most {SEND_PARTS_MAX} parts");
        self.parts.extend_from_slice(parts);
        self.asked.push(Asked { socket, mode, token, parts: parts.len() });
    }

    /// Hands each on with its parts; then none is left.
    #[inline]
    pub(super) fn make(&mut self, mut send: impl FnMut(&Asked, &[Lent])) {
        let mut parts = &self.parts[..];
        for asked in &self.asked {
            let (own, others) = parts.split_at(asked.parts);
            send(asked, own);
            parts = others;
        }
        self.asked.clear();
        self.parts.clear();
    }
}
