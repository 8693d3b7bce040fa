//! Connections that have nothing to do: which they are, and which of them make room first for those that come.
//!
//! Invariants: one with a request under way, a part of one, held input, or anything to be sent does not rest.
//!
//! Not here: who makes room, and when (`shard::eviction`).

use super::Http1;
use crate::clock::Tick;
use crate::conn::WaitReason;

/// A connection that has nothing to do: the one that is less makes room first for those that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rest {
    before: RestBefore,
    since: Tick,
}

impl Rest {
    /// Since when it rests.
    pub(crate) fn since(self) -> Tick {
        self.since
    }

    /// Whether only the kernel knows if its client has sent something.
    pub(crate) fn is_unheard(self) -> bool {
        self.before == RestBefore::Unheard
    }
}

/// What is awaited of a connection that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RestBefore {
    /// Its client has never sent anything whole.
    FirstRequest,
    /// The same, as far as is known: there was no buffer to receive into.
    Unheard,
    NextRequest,
}

impl Http1 {
    /// Since when it has had nothing to do: no part of a request is here, none is under way, nothing is sent or held.
    pub(crate) fn rest(&self) -> Option<Rest> {
        let socket = &self.link.socket;
        let is_first = self.newest.is_none();
        // Who waits otherwise, or for a buffer behind a request, may have sent something.
        let is_unheard = is_first && socket.waits_for_small() && !socket.is_uncounted;
        let has_sent = socket.holds_input() || socket.has_half_closed() || socket.waits_for().is_some() && !is_unheard;
        let is_quiet = socket.is_open() && !socket.sends() && !has_sent;
        let reason = self.machine.wait_reason(self.part(), socket.blocked());
        let is_idle = (reason == WaitReason::Idle || self.awaits_preface()) && !self.owes_more();
        // The newest request is named from the first one on.
        let before = match is_first {
            true if is_unheard => RestBefore::Unheard,
            true => RestBefore::FirstRequest,
            false => RestBefore::NextRequest,
        };
        (is_quiet && is_idle).then_some(Rest { before, since: self.quiet_since })
    }

    /// It has sent something, for which there is no buffer: it does not rest before this tick is over.
    pub(crate) fn is_heard_of(&mut self, now: Tick) {
        self.quiet_since = now;
    }
}
