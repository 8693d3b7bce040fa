//! Connections come in: which listeners are accepted on, and a burst of accepts at a time.
//!
//! Invariants: a listener is watched from the beginning of its accept to the end of that; one that may have more is in
//! the list, and no turn sleeps meanwhile; a client that has left already is nobody's failure.
//!
//! Not here: what becomes of a connection, and of a failure (`shard::transport`).

use std::os::fd::RawFd;

use super::calls;
use crate::driver::Token;

/// Connections of one listener that a turn accepts at most.
const BURST: usize = 64;

/// Connections that are accepted of those who wait where accepting ends: of who comes behind them others are told.
const LEFT_MAX: usize = 1024;

/// Accepts who waits, without waiting for anybody. Gives why it has ended.
pub(super) fn accept_left(listener: RawFd, mut tell: impl FnMut(RawFd)) -> i32 {
    for _ in 0..LEFT_MAX {
        match calls::accept(listener) {
            Ok(socket) => tell(socket),
            Err(libc::ECONNABORTED | libc::EPROTO) => {}
            Err(libc::EAGAIN) => break,
            Err(errno) => return errno,
        }
    }
    libc::ECANCELED
}

/// A listener that is accepted on.
struct Accept {
    token: Token,
    listener: RawFd,
    /// It may have more than was accepted.
    has_more: bool,
}

/// See the module's head.
#[derive(Default)]
pub(super) struct Accepts(Vec<Accept>);

impl Accepts {
    pub(super) fn begin(&mut self, listener: RawFd, token: Token) {
        self.0.push(Accept { token, listener, has_more: false });
    }

    /// Ends an accept; gives its listener.
    pub(super) fn end(&mut self, token: Token) -> Option<RawFd> {
        let place = self.0.iter().position(|accept| accept.token == token)?;
        Some(self.0.swap_remove(place).listener)
    }

    /// The kernel has told of clients, or of an end.
    pub(super) fn note(&mut self, token: Token) {
        let accept = self.0.iter_mut().find(|accept| accept.token == token);
        accept.into_iter().for_each(|accept| accept.has_more = true);
    }

    /// Whether a turn has something to accept.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|accept| accept.has_more)
    }

    /// Accepts a burst of each listener, and tells what came of it.
    pub(super) fn accept(&mut self, mut tell: impl FnMut(Token, Result<RawFd, i32>)) {
        for accept in self.0.iter_mut().filter(|accept| accept.has_more) {
            for _ in 0..BURST {
                match calls::accept(accept.listener) {
                    Ok(socket) => tell(accept.token, Ok(socket)),
                    Err(libc::ECONNABORTED | libc::EPROTO) => {}
                    Err(errno) => {
                        accept.has_more = false;
                        if errno != libc::EAGAIN {
                            tell(accept.token, Err(errno));
                        }
                        break;
                    }
                }
            }
        }
    }
}
