//! How far a stop of the engine has come: kept once, for the loop that waits by it and for the protocols, which say so
//! to their clients.
//!
//! ```text
//!   No ──told to stop──▶ Lingering ──nobody is waited for any more──▶ Gracefully ──the grace is over──▶ Aborted
//! ```
//!
//! Invariants: a stop never goes back, and of several times for the same the one that ends first holds.
//!
//! Not here: what is done at each step (`shard`, `http1`).

use crate::clock::{TICK_MS, Tick};

/// How long a stop waits for operations that were asked to end, before it leaves them alone: 5 seconds.
const DISK_WAIT_MAX: Tick = 5_000_u32.div_ceil(TICK_MS);

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    /// Each connection takes one more request, of which the response is its last; those that are idle are let be until
    /// this ends. What is under way has until then.
    Lingering {
        ends: Tick,
        until: Tick,
    },
    /// Requests under way are answered, until then at the latest.
    Gracefully {
        until: Tick,
    },
    /// What was left when the grace was over has been ended. What is still there then waits for a disk that does not
    /// answer, and is left alone.
    Aborted {
        left_alone_at: Tick,
    },
}

impl Stop {
    /// The engine is to stop: who is idle is let be until the linger `ends`, and what is under way has `until` then.
    pub(crate) fn begin(&mut self, ends: Tick, until: Tick) {
        *self = match *self {
            Self::No => Self::Lingering { ends, until },
            Self::Lingering { ends: earlier, until: earliest } => {
                Self::Lingering { ends: earlier.min(ends), until: earliest.min(until) }
            }
            Self::Gracefully { until: earlier } => Self::Gracefully { until: earlier.min(until) },
            aborted @ Self::Aborted { .. } => aborted,
        };
    }

    /// Whether idle connections are let be no more, from now on or since before.
    pub(crate) fn ends_idle(&mut self, tick: Tick) -> bool {
        match *self {
            Self::Lingering { ends, until } if ends <= tick => *self = Self::Gracefully { until },
            Self::No | Self::Lingering { .. } => return false,
            Self::Gracefully { .. } | Self::Aborted { .. } => {}
        }
        true
    }

    /// Whether the grace is over now, so that everything left is to be ended: once.
    pub(crate) fn abort_if_overdue(&mut self, tick: Tick) -> bool {
        let Self::Gracefully { until } = *self else { return false };
        let is_overdue = until <= tick;
        if is_overdue {
            // From now on, not from when it was due: the thread may have been elsewhere since.
            *self = Self::Aborted { left_alone_at: tick.saturating_add(DISK_WAIT_MAX) };
        }
        is_overdue
    }

    /// Whether who comes in now has any time left.
    pub(crate) fn has_time(self, tick: Tick) -> bool {
        match self {
            Self::No => true,
            Self::Lingering { until, .. } | Self::Gracefully { until } => until > tick,
            Self::Aborted { .. } => false,
        }
    }

    /// Whether a request that comes now is the last of its connection.
    #[inline]
    pub(crate) fn has_begun(self) -> bool {
        self != Self::No
    }

    pub(crate) fn is_aborted(self) -> bool {
        matches!(self, Self::Aborted { .. })
    }

    /// Whether what was ended has had its time to end.
    pub(crate) fn leaves_the_rest(self, tick: Tick) -> bool {
        matches!(self, Self::Aborted { left_alone_at } if left_alone_at <= tick)
    }

    /// When it goes on by the clock alone; that may be over.
    pub(crate) fn goes_on_at(self) -> Option<Tick> {
        match self {
            Self::No => None,
            Self::Lingering { ends, .. } => Some(ends),
            Self::Gracefully { until } => Some(until),
            Self::Aborted { left_alone_at } => Some(left_alone_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_that_ends_first_holds_and_a_stop_never_goes_back() {
        let mut stop = Stop::No;
        assert!(!stop.abort_if_overdue(Tick::MAX) && !stop.has_begun());
        stop.begin(5, 20);
        stop.begin(15, 30);
        stop.begin(4, 25);
        assert_eq!(stop, Stop::Lingering { ends: 4, until: 20 });
        assert!(stop.has_time(19) && !stop.has_time(20));
        assert!(!stop.ends_idle(3) && stop.has_begun() && !stop.abort_if_overdue(20) && stop.goes_on_at() == Some(4));
        assert!(stop.ends_idle(4) && stop.ends_idle(4));
        stop.begin(1, 10);
        assert_eq!(stop, Stop::Gracefully { until: 10 });
        assert!(!stop.abort_if_overdue(9) && stop.abort_if_overdue(10) && !stop.abort_if_overdue(11));
        stop.begin(11, 12);
        let at = 10 + DISK_WAIT_MAX;
        assert_eq!((stop.goes_on_at(), stop.is_aborted()), (Some(at), true));
        assert!(!stop.leaves_the_rest(at - 1) && stop.leaves_the_rest(at));
    }

    #[test]
    fn what_is_ended_late_has_its_time_to_end_all_the_same() {
        let mut stop = Stop::No;
        stop.begin(10, 10);
        assert!(stop.ends_idle(10));
        // The thread of the shard was elsewhere for longer than that time.
        let late = 10 + 2 * DISK_WAIT_MAX;
        assert!(stop.abort_if_overdue(late) && !stop.leaves_the_rest(late));
        assert_eq!(stop.goes_on_at(), Some(late + DISK_WAIT_MAX));
    }
}
