//! What is asked of each connection, and what is known of its socket without a call.
//!
//! Invariants:
//! * A connection has the place that its tokens name, and an entry of another generation is that of one that is gone:
//!   the first operation of a new one begins the entry anew.
//! * A socket is taken for readable from an edge on until a receive finds less than it asked for. Behind an end, an
//!   error or urgent bytes, which can cut a receive short, only a receive that finds nothing says so.
//! * An end, once told, lasts.
//!
//! Not here: calls (`calls`), and what completes (`epoll`).

use std::os::fd::RawFd;

use super::poller::Bits;
use crate::driver::{Op, Token};
use crate::mem::Group;

/// What a poll for the other side's end reports.
const ENDS: Bits = libc::POLLRDHUP | libc::POLLERR | libc::POLLHUP;
/// What a poll for room reports.
const ROOM: Bits = libc::POLLOUT | ENDS;
/// What every socket is watched for.
pub(super) const WATCHED: Bits = libc::POLLIN | libc::POLLPRI | ROOM;

/// A receive that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    No,
    /// Into small buffers, until told to stop.
    Many,
    /// Once, at most so many bytes, into a buffer of a group.
    Once(Group, u32),
    /// Once, at most so many bytes, which are thrown away.
    Discard(u32),
}

/// A poll that is asked for, and what it has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    No,
    Once,
    Lasting { reported: Bits },
}

impl Poll {
    /// What there is to report, and whether there will be more. Nothing is reported twice.
    fn report(&mut self, bits: Bits) -> Option<(Bits, bool)> {
        match self {
            Self::Once if bits != 0 => {
                *self = Self::No;
                Some((bits, false))
            }
            Self::Lasting { reported } if bits != *reported => {
                *reported = bits;
                Some((bits, true))
            }
            Self::No | Self::Once | Self::Lasting { .. } => None,
        }
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Socket {
    /// 0: nobody has had this place.
    generation: u32,
    pub(super) descriptor: RawFd,
    pub(super) receive: Receive,
    pub(super) end_poll: Poll,
    pub(super) room_poll: Poll,
    /// Of what is in [`ENDS`], all that was told.
    ended: Bits,
    pub(super) is_readable: bool,
    has_urgent: bool,
    /// It is in the list of those to go on with.
    pub(super) is_listed: bool,
}

impl Socket {
    const NOBODY: Self = Self {
        generation: 0,
        descriptor: -1,
        receive: Receive::No,
        end_poll: Poll::No,
        room_poll: Poll::No,
        ended: 0,
        is_readable: false,
        has_urgent: false,
        is_listed: false,
    };

    /// The kernel has told of an edge; these hold now.
    #[inline]
    pub(super) fn note(&mut self, bits: Bits) {
        self.is_readable |= bits & (libc::POLLIN | ENDS) != 0;
        self.has_urgent |= bits & libc::POLLPRI != 0;
        self.ended |= bits & ENDS;
    }

    /// A receive has got less than there was room for.
    #[inline]
    pub(super) fn fell_short(&mut self) {
        self.is_readable = self.ended != 0 || self.has_urgent;
    }

    /// What there is to report to the poll for the other side's end.
    pub(super) fn report_end(&mut self) -> Option<(Bits, bool)> {
        self.end_poll.report(self.ended)
    }

    /// What there is to report to the poll for room, of what holds now.
    pub(super) fn report_room(&mut self, bits: Bits) -> Option<(Bits, bool)> {
        self.room_poll.report(bits & ROOM | self.ended)
    }

    /// Whether an operation is asked for.
    #[inline]
    pub(super) fn wants_polls(&self) -> bool {
        self.end_poll != Poll::No || self.room_poll != Poll::No
    }

    /// Ends an operation. `false`: there is none of its kind.
    pub(super) fn cancel(&mut self, op: Op) -> bool {
        let stop = |poll: &mut Poll| core::mem::replace(poll, Poll::No) != Poll::No;
        match op {
            Op::Receive => core::mem::replace(&mut self.receive, Receive::No) != Receive::No,
            Op::Poll => stop(&mut self.end_poll),
            Op::Room => stop(&mut self.room_poll),
            _ => false,
        }
    }

    /// The name of an operation of this connection.
    #[inline]
    pub(super) fn token(&self, op: Op, place: u32) -> Token {
        Token::new(op, self.generation, place)
    }
}

/// The entries of all connections. They grow with the highest place, within what is reserved.
pub(super) struct Sockets(Vec<Socket>);

impl Sockets {
    /// Bytes of a connection.
    pub(super) const BYTES: usize = size_of::<Socket>();

    pub(super) fn new(connections: u32) -> Self {
        Self(Vec::with_capacity(connections as usize))
    }

    /// The entry of the connection that a token names.
    #[inline]
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Socket> {
        self.0.get_mut(token.slot() as usize).filter(|socket| socket.generation == token.generation())
    }

    /// The entry at a place, whoever has it.
    #[inline]
    pub(super) fn at(&mut self, place: u32) -> Option<&mut Socket> {
        self.0.get_mut(place as usize)
    }

    /// A connection has its first operation: its entry begins. It stays in the list of those to go on with, if the one
    /// before is in there.
    pub(super) fn begin(&mut self, token: Token, descriptor: RawFd) -> &mut Socket {
        let place = token.slot() as usize;
        while self.0.len() <= place {
            self.0.push(Socket::NOBODY);
        }
        let socket = &mut self.0[place];
        *socket = Socket { generation: token.generation(), descriptor, is_listed: socket.is_listed, ..Socket::NOBODY };
        socket
    }

    /// Its entry is nobody's again.
    pub(super) fn end(&mut self, token: Token) {
        if let Some(socket) = self.get_mut(token) {
            *socket = Socket { is_listed: socket.is_listed, ..Socket::NOBODY };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(op: Op, generation: u32) -> Token {
        Token::new(op, generation, 3)
    }

    #[test]
    fn an_entry_is_that_of_one_generation() {
        let mut sockets = Sockets::new(8);
        assert!(sockets.get_mut(token(Op::Receive, 1)).is_none());
        sockets.begin(token(Op::Receive, 1), 7).receive = Receive::Many;
        sockets.get_mut(token(Op::Poll, 1)).expect("its own").note(libc::POLLRDHUP);
        assert!(sockets.get_mut(token(Op::Receive, 2)).is_none());
        let next = sockets.begin(token(Op::Room, 2), 8);
        assert_eq!(
            (next.receive, next.is_readable, next.ended),
            (Receive::No, false, 0),
            "nothing is left of the other"
        );
        assert!(sockets.get_mut(token(Op::Receive, 1)).is_none());
        sockets.end(token(Op::Receive, 1));
        assert!(sockets.get_mut(token(Op::Receive, 2)).is_some());
        sockets.end(token(Op::Receive, 2));
        assert!(sockets.get_mut(token(Op::Receive, 2)).is_none());
    }

    #[test]
    fn what_cuts_a_receive_short_leaves_a_socket_readable() {
        let mut sockets = Sockets::new(1);
        let mut after = |bits| {
            let socket = sockets.begin(Token::new(Op::Receive, 1, 0), 7);
            socket.note(bits);
            assert!(socket.is_readable);
            socket.fell_short();
            socket.is_readable
        };
        assert!(!after(libc::POLLIN | libc::POLLOUT));
        assert!(after(libc::POLLIN | libc::POLLRDHUP), "the end is to be received");
        assert!(after(libc::POLLERR) && after(libc::POLLIN | libc::POLLPRI));
    }

    #[test]
    fn a_poll_that_lasts_reports_changes_and_one_that_does_not_once() {
        let mut sockets = Sockets::new(1);
        let socket = sockets.begin(Token::new(Op::Receive, 1, 0), 7);
        assert_eq!((socket.report_end(), socket.report_room(ROOM)), (None, None), "nobody asks");
        socket.end_poll = Poll::Lasting { reported: 0 };
        socket.room_poll = Poll::Once;
        assert!(socket.report_end().is_none() && socket.report_room(libc::POLLIN).is_none());
        socket.note(libc::POLLIN | libc::POLLRDHUP);
        assert_eq!((socket.report_end(), socket.report_end()), (Some((libc::POLLRDHUP, true)), None));
        socket.note(libc::POLLERR);
        assert_eq!(socket.report_end(), Some((libc::POLLRDHUP | libc::POLLERR, true)));
        assert_eq!(socket.report_room(libc::POLLOUT).map(|(bits, more)| (bits & libc::POLLOUT, more)), {
            Some((libc::POLLOUT, false))
        });
        assert!(socket.report_room(libc::POLLOUT).is_none() && socket.wants_polls());
        assert!(socket.cancel(Op::Poll) && !socket.cancel(Op::Poll) && !socket.cancel(Op::Room));
        assert!(!socket.cancel(Op::Send) && !socket.wants_polls());
    }
}
