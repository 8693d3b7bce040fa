//! Large sends take turns: what one enter copies into sockets is bounded, however many clients have asked for much.
//!
//! ```text
//!   a large send ──there is budget──▶ it goes, a part of it at most
//!        │  ▲                                  │
//!        │  └───────────there is more of it────┘
//!        └──none is left──▶ waits, in order ──the next enter is over──▶ it goes
//! ```
//!
//! Invariants: io_uring copies what is sent within the submission, so what a turn submits is time for which nobody else
//! is served; a small send waits for no large one; who waits is in the list once, and the shard does not sleep while
//! anybody is in it; nobody waits where budget is left; who closes leaves it.
//!
//! Not here: what is sent, and parts of files that the helper sends, which costs the shard no time.

use super::place_lists::PlaceLists;
use super::{Appetite, Sending, Socket, Transport};
use crate::driver::Io;

/// Of a client that has taken its last large send whole, one byte in so many counts. In turns of 2 MiB such clients
/// cost a quarter more CPU: while one of them reads what is being sent, its acknowledgements are handled in the send.
const DISCOUNT: u32 = 8;

/// How much goes at a time, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnSizes {
    /// Of a small send at most.
    pub(crate) small: u32,
    /// Of a large one in one operation.
    pub(crate) part: u32,
    /// Of large ones, as they are counted, from which on a turn begins no other.
    pub(crate) turn: u32,
}

impl TurnSizes {
    /// A turn copies at most about 2 MiB for clients that may not take it, or 16 MiB for those that do: see PERF.md. A
    /// small send is what a coalescing cell holds, a part a mebibyte with its head.
    const USUAL: Self = Self { small: 16 << 10, part: (1 << 20) + (64 << 10), turn: 2 << 20 };

    /// Others, among which so little that nearly everything waits, for the simulation.
    #[cfg(test)]
    pub(crate) fn draw(&mut self, random: &mut crate::driver::fake::Random) {
        let [small, part, turn] =
            [[16 << 10, 2 << 20, 2 << 20], [500, 1000, 1000], [1, 100, 1], [50, 20_000, 3000]][random.below(4)];
        *self = Self { small, part, turn };
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) sizes: TurnSizes,
    /// What large sends may still carry before the kernel is entered.
    left: u32,
    /// Sockets whose large send waits, oldest first.
    waiting: PlaceLists<1>,
}

/// The one list.
const WAITING: usize = 0;

impl Turns {
    /// Bytes of one more connection.
    pub(super) const BYTES: usize = PlaceLists::<1>::BYTES;

    pub(super) fn new(connections: u32) -> Self {
        let sizes = TurnSizes::USUAL;
        Self { sizes, left: sizes.turn, waiting: PlaceLists::new(connections) }
    }

    /// The kernel has been entered.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.left = self.sizes.turn;
    }

    /// Whether large sends wait for the next enter.
    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The place of the next socket whose turn it is, which waits no more.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u32> {
        let next = self.waiting.first(WAITING).filter(|_| self.left > 0)?;
        self.waiting.leave(WAITING, next);
        Some(next)
    }

    pub(super) fn give_back_room(&mut self) {
        self.waiting.give_back_room();
    }
}

impl<I: Io> Transport<I> {
    /// A socket is to send so many bytes: gives how many of them may go now. `None`: it waits for its turn.
    pub(crate) fn admit(&mut self, socket: &mut Socket, bytes: u32) -> Option<u32> {
        let turns = &mut self.turns;
        if bytes <= turns.sizes.small {
            return Some(bytes);
        }
        if turns.left == 0 {
            self.await_turn(socket);
            return None;
        }
        let part = bytes.min(turns.sizes.part);
        let price = match core::mem::replace(&mut socket.appetite, Appetite::Good) {
            Appetite::Unknown => part,
            Appetite::Good => part / DISCOUNT,
        };
        turns.left = turns.left.saturating_sub(price);
        Some(part)
    }

    /// What a socket has to send waits for its turn.
    pub(crate) fn await_turn(&mut self, socket: &mut Socket) {
        debug_assert!(socket.sending == Sending::No, "who waits is in the list once");
        socket.sending = Sending::Turn;
        self.turns.waiting.join(WAITING, socket.key.index);
    }

    /// A socket that closes sends nothing more.
    pub(super) fn leave_turns(&mut self, socket: &mut Socket) {
        if socket.takes_turn() {
            self.turns.waiting.leave(WAITING, socket.key.index);
        }
    }
}

impl Socket {
    /// It has waited for its turn. `false`: it waits no more.
    pub(crate) fn takes_turn(&mut self) -> bool {
        let has_waited = self.sending == Sending::Turn;
        if has_waited {
            self.sending = Sending::No;
        }
        has_waited
    }

    /// Whether there is more to send than was handed over, which is for the shard to do.
    pub(crate) fn has_more_to_send(&self) -> bool {
        matches!(self.sending, Sending::Turn | Sending::SilentPart)
    }

    /// What was handed over is not all that there is.
    pub(crate) fn sends_a_part(&mut self) {
        debug_assert!(self.sending == Sending::Silent, "a part is sent like all");
        self.sending = Sending::SilentPart;
    }

    /// A turn has ended in which nothing was told of the send of a part: the socket has taken it. `false`: there was
    /// none.
    pub(crate) fn end_silent_part(&mut self) -> bool {
        let was_part = self.sending == Sending::SilentPart;
        if was_part {
            self.sending = Sending::No;
        }
        was_part
    }
}
