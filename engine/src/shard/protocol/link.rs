//! What every protocol has of a connection: its socket, what is being sent, whom its end concerns; and its end.
//!
//! Invariants: a connection begins to end once, and the first reason stays; the memory that is being sent is given back
//! when the socket has taken all of it, or when the connection is gone.
//!
//! Not here: what comes in, and in which order answers go out (`http1`, `raw`).

use crate::clock::Tick;
use crate::driver::Io;
use crate::mem::Cell;
use crate::policy::PolicyKey;
use crate::queue::{Disconnected, Registration, Slot};
use crate::record::{Timer, UnsentReason};
use crate::shard::protocol::Protocol;
use crate::shard::protocol::worklist::Listed;
use crate::shard::transport::{Account, LOOK_EVERY, Socket};
use crate::slab::ConnectionKey;

/// How far a client may fall behind the least rate at which it takes what waits for it, in milliseconds: a client that
/// pauses wholly has a minute.
const TAKING_BEHIND_MAX: u32 = 60_000;

/// What is being sent, and which memory that is in.
#[derive(Debug)]
pub(super) enum Out {
    Nothing,
    /// A slot's response area.
    Area {
        slot: Slot,
    },
    /// A slot's response area and then the tail of its response.
    AreaAndTail {
        slot: Slot,
    },
    /// Parts of a streamed response; with `last`, its end is among them, and the slot is no longer in the list.
    Stream {
        slot: Slot,
        last: bool,
    },
    /// A coalescing cell: the dispatch knows of whose responses.
    Cell {
        cell: Cell,
    },
    /// An informational response to the request in this slot, among the `informational_texts`.
    Informational {
        slot: Slot,
    },
    /// Text of the engine's own, for the request in this slot; None: for one that has found none.
    Text {
        text: &'static [u8],
        slot: Option<Slot>,
    },
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: Socket,
    pub(super) out: Out,
    /// Bytes of `out` that the transport has taken, and in all.
    pub(super) out_taken: u32,
    pub(super) out_len: u32,
    /// In the list of connections with responses to look at.
    pub(super) in_flush: Listed,
    /// In that of connections whose input goes on.
    pub(super) in_resume: Listed,
    /// How it ends, once it is closing.
    pub(super) how: Disconnected,
    /// The timer that has ended it, if one has while something was owed.
    pub(super) timer: Option<Timer>,
    /// The timers and limits that hold: those of the group of the last routed request.
    pub(crate) policy: PolicyKey,
}

impl Link {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            out: Out::Nothing,
            out_taken: 0,
            out_len: 0,
            in_flush: Listed::default(),
            in_resume: Listed::default(),
            how: Disconnected::Gone,
            timer: None,
            policy: PolicyKey::OF_ENGINE,
        }
    }

    /// Takes it out of a connection that becomes another protocol's.
    pub(super) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new(Socket::new(-1, self.key(), false)))
    }

    /// So many bytes of something are handed to the transport.
    #[inline(always)]
    pub(super) fn begin_out(&mut self, out: Out, len: u32) {
        (self.out, self.out_taken, self.out_len) = (out, 0, len);
    }

    #[inline]
    pub(super) fn key(&self) -> ConnectionKey {
        self.socket.key
    }

    /// What becomes of what is owed on it, once it is closing.
    pub(super) fn why_unsent(&self) -> UnsentReason {
        match (self.timer, self.how) {
            (Some(timer), _) => UnsentReason::Timer(timer),
            (None, Disconnected::Stopped) => UnsentReason::Stopped,
            (None, Disconnected::Aborted) => UnsentReason::Aborted,
            (None, _) => UnsentReason::Client,
        }
    }

    /// Whether parts of this slot's stream are being sent.
    pub(super) fn streams(&self, slot: Slot) -> bool {
        matches!(self.out, Out::Stream { slot: streamed, .. } if streamed == slot)
    }

    /// The slot whose stream is being sent, if one is.
    pub(super) fn streamed(&self) -> Option<Slot> {
        if let Out::Stream { slot, .. } = self.out { Some(slot) } else { None }
    }
}

impl<I: Io> Protocol<I> {
    /// Puts a connection on the list of those whose responses are looked at.
    #[inline]
    pub(super) fn queue_flush(&mut self, link: &mut Link) {
        self.flush.put(link.key(), &mut link.in_flush);
    }

    /// Puts a connection on the list of those whose input goes on.
    #[inline]
    pub(super) fn queue_resume(&mut self, link: &mut Link) {
        self.resume.put(link.key(), &mut link.in_resume);
    }

    /// Closes a connection in order: what is in the socket's buffer still goes out.
    pub(super) fn close(&mut self, link: &mut Link) {
        let how = match link.socket.has_ended() {
            true => Disconnected::Ended,
            false if self.stop.has_begun() => Disconnected::Stopped,
            false => Disconnected::Aborted,
        };
        self.end_connection(link, how, false);
    }

    /// Closes a connection at once: the client has to go.
    #[cold]
    pub(super) fn abort(&mut self, link: &mut Link) {
        let how = if self.stop.is_aborted() { Disconnected::Stopped } else { Disconnected::Aborted };
        self.end_connection(link, how, true);
    }

    /// Closes a connection at once: the client is gone.
    #[cold]
    pub(super) fn client_gone(&mut self, link: &mut Link) {
        self.end_connection(link, Disconnected::Reset, true);
    }

    fn end_connection(&mut self, link: &mut Link, how: Disconnected, reset: bool) {
        if !link.socket.is_closing() {
            link.how = how;
            self.transport.begin_close(&mut link.socket, reset);
        }
    }

    /// Somebody is to be told of a connection's end.
    pub(super) fn add_watcher(&mut self, link: &mut Link, registration: Registration) {
        if link.socket.has_half_closed() && registration.wants_half_close() {
            return registration.tell(Disconnected::HalfClosed);
        }
        self.dispatch.add_watcher(link.key(), registration);
        self.transport.poll_end(&mut link.socket);
    }

    /// The socket is full: of a file's part, with `of_file`, or of what is in memory the rest waits for room.
    #[cold]
    pub(super) fn wait_for_room(&mut self, link: &mut Link, of_file: bool) {
        if self.send_rate(link) == 0 {
            // Then each progress begins the time anew.
            link.socket.taking = Account::default();
        }
        self.transport.await_room(&mut link.socket, of_file);
    }

    /// The least rate at which the client is to take what is sent; 0: none.
    fn send_rate(&self, link: &Link) -> u32 {
        if link.socket.is_uncounted { 0 } else { self.dispatch.policy(link.policy).send_rate }
    }

    /// The deadline of what waits for room.
    #[cold]
    pub(super) fn send_deadline(&self, link: &Link) -> Tick {
        let wait_max = match self.send_rate(link) {
            0 => self.dispatch.policy(link.policy).idle,
            _ => LOOK_EVERY,
        };
        link.socket.taking.from().saturating_add(wait_max)
    }

    /// The deadline of what waits for room has come: does the client take enough? It is set anew, or the connection
    /// ends. The client is judged by what it has acknowledged, not by when there is room: the kernel reports that only
    /// once a good part of a large socket buffer is free.
    #[cold]
    pub(super) fn judge_send(&mut self, link: &mut Link) {
        // Under other properties meanwhile, it may not have come.
        if self.send_deadline(link) <= self.transport.tick {
            let rate = self.send_rate(link);
            if rate == 0 {
                link.timer = Some(Timer::Send);
                self.counters.timeouts.count();
                return self.abort(link);
            }
            let taken = self.transport.traffic(&link.socket).acknowledged;
            if !link.socket.taking.look(self.transport.tick, taken, rate, TAKING_BEHIND_MAX) {
                link.timer = Some(Timer::SendRate);
                self.counters.send_rate_timeouts.count();
                self.counters.timeouts.count();
                return self.abort(link);
            }
        }
        let deadline = self.send_deadline(link);
        self.transport.set_deadline(&link.socket, deadline);
    }

    /// The socket has taken all of it.
    #[inline(always)]
    pub(super) fn release_out(&mut self, link: &Link, out: Out) {
        match out {
            Out::Area { slot } | Out::AreaAndTail { slot } | Out::Stream { slot, last: true } => {
                self.dispatch.response_sent(slot);
            }
            Out::Cell { cell } => {
                self.dispatch.copied_sent(cell.id());
                self.dispatch.cells_mut().coalesce.give(cell);
            }
            Out::Informational { .. } | Out::Text { .. } => self.release_aside(link, out, link.out_len),
            Out::Stream { .. } | Out::Nothing => {}
        }
    }

    /// The socket has taken so many bytes of what is no response, and takes no more of it.
    #[cold]
    fn release_aside(&mut self, link: &Link, out: Out, sent: u32) {
        let (Out::Informational { slot: at } | Out::Text { slot: Some(at), .. }) = out else {
            return self.dispatch.sent_aside(None, sent);
        };
        self.dispatch.sent_aside(Some(at), sent);
        if let Out::Informational { .. } = out {
            drop(self.informational_texts.remove(&link.key().index));
        }
    }

    /// The connection is gone, and its socket has taken a part of it at most.
    #[cold]
    pub(super) fn lose_out(&mut self, link: &Link, out: Out) {
        let (why, sent) = (link.why_unsent(), u64::from(link.out_taken));
        match out {
            Out::Area { slot } | Out::AreaAndTail { slot } | Out::Stream { slot, last: true } => {
                self.dispatch.response_unsent(slot, why, sent);
            }
            Out::Cell { cell } => {
                self.dispatch.copied_unsent(cell.id(), why, sent);
                self.dispatch.cells_mut().coalesce.give(cell);
            }
            Out::Informational { .. } | Out::Text { .. } => self.release_aside(link, out, link.out_taken),
            Out::Stream { .. } | Out::Nothing => {}
        }
    }
}
