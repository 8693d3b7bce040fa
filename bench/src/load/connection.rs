//! One connection: what it is doing, what it has asked and what it waits for.
//!
//! ```text
//! Out ──▶ Connecting ──▶ Open ──▶ Ending ──▶ Out       all requests answered, the peer ends its side too
//!   ▲          │           │         │
//!   └── failed ┘           └──▶ Dying ◀┘ ──▶ Out       a fault, or the peer has ended: nothing is read any more
//! ```
//!
//! The socket is closed when neither a receive nor a send is under way on it.

use std::collections::VecDeque;

use super::answer::Reader;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Out,
    Connecting,
    Open,
    Ending,
    Dying,
}

/// A request under way: when it was due, and when it was sent, in nanoseconds of the load's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) due: u64,
    pub(super) sent: u64,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stage: Stage,
    /// The descriptor, while not `Out`.
    pub(super) socket: u32,
    /// One of those that ask once and are then only kept open.
    pub(super) is_idle: bool,
    /// Its first outcome is still awaited: the load begins when all are known.
    pub(super) is_first: bool,
    /// A receive is under way.
    pub(super) receiving: bool,
    /// A receive is to be queued.
    pub(super) wants_receive: bool,
    /// A send is under way whose completion will come.
    pub(super) sending: bool,
    /// Our side has been ended.
    pub(super) shut: bool,
    /// Both sides have been ended, so that what is under way ends too.
    pub(super) is_abandoned: bool,
    /// The peer has ended its side, or the connection is gone.
    pub(super) peer_ended: bool,
    /// Its close is to reset it, since the peer does not know that it is over.
    pub(super) aborts: bool,
    /// It did not come about.
    pub(super) was_refused: bool,
    /// A send was told of a reset, which the receive will see as an end.
    pub(super) was_reset: bool,
    /// The server said that it will close; it gets the time to do so.
    pub(super) peer_closes: bool,
    /// On the list of connections to settle at the end of this turn.
    pub(super) listed: bool,
    /// On the list of connections that can take a request (open loop).
    pub(super) ready: bool,
    /// Of the rotation: the next request to be sent.
    pub(super) next_request: u32,
    /// Of the rotation: the request that the next answer is for.
    pub(super) next_answer: u32,
    /// Requests that this connection may still send.
    pub(super) left: u32,
    /// The newest of `waiting` that are not yet queued to be sent.
    pub(super) to_send: u32,
    /// Requests sent, or about to be, and not answered.
    pub(super) waiting: VecDeque<Asked>,
    /// The place in the block of what is still to be sent; empty if nothing is.
    pub(super) place: (usize, usize),
    /// Where in the block the last send began.
    pub(super) sent_from: usize,
    pub(super) reader: Reader,
    /// When the stage was entered.
    pub(super) since: u64,
}

impl Connection {
    pub(super) fn new(is_idle: bool) -> Self {
        Self {
            stage: Stage::Out,
            socket: 0,
            is_idle,
            is_first: true,
            receiving: false,
            wants_receive: false,
            sending: false,
            shut: false,
            is_abandoned: false,
            peer_ended: false,
            aborts: false,
            was_refused: false,
            was_reset: false,
            peer_closes: false,
            listed: false,
            ready: false,
            next_request: 0,
            next_answer: 0,
            left: 0,
            to_send: 0,
            waiting: VecDeque::new(),
            place: (0, 0),
            sent_from: 0,
            reader: Reader::new(),
            since: 0,
        }
    }

    /// Begins a new life on a new socket; requests go on where they left off in the rotation.
    pub(super) fn connect(&mut self, socket: u32, left: u32, now: u64) {
        self.enter(Stage::Connecting, now);
        self.socket = socket;
        self.left = left;
        self.to_send = 0;
        self.next_answer = self.next_request;
        self.wants_receive = false;
        self.shut = false;
        self.is_abandoned = false;
        self.peer_ended = false;
        self.aborts = false;
        self.was_refused = false;
        self.was_reset = false;
        self.peer_closes = false;
        self.waiting.clear();
        self.reader = Reader::new();
    }

    pub(super) fn enter(&mut self, stage: Stage, now: u64) {
        self.stage = stage;
        self.since = now;
    }

    /// How many requests it could take now.
    #[inline]
    pub(super) fn room(&self, depth: u32, run_max: u32) -> u32 {
        if self.stage != Stage::Open || self.sending {
            return 0;
        }
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        depth.saturating_sub(waiting).min(run_max.saturating_sub(self.to_send)).min(self.left)
    }

    /// Adds requests to be sent at the end of this turn; at most [`Connection::room`].
    #[inline]
    pub(super) fn ask(&mut self, count: u32, asked: Asked) {
        self.to_send += count;
        self.left -= count;
        for _ in 0..count {
            self.waiting.push_back(asked);
        }
    }

    /// What is to be sent, of which all counts as sent unless a completion says otherwise ([`crate::ring::Send`]).
    #[inline]
    pub(super) fn begin_send(&mut self) -> (usize, usize) {
        let place = self.place;
        self.sent_from = place.0;
        self.place.0 = place.1;
        place
    }

    /// Neither the kernel nor anybody else has business with the socket.
    pub(super) fn is_quiet(&self) -> bool {
        !self.receiving && !self.sending && !self.wants_receive
    }
}
