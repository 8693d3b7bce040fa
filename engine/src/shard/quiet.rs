//! When a shard gives memory back to the system: what was in no use for a window of time, at its end.
//!
//! ```text
//!   nothing used ──used──▶ a window ──over──▶ given back what was not used in it ──▶ another window, if something was
//!        ▲                                                                                     │ if nothing was
//!        └─────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: who is used again and again keeps what it uses, since each window looks at the most of its own; a shard
//! that rests has two windows at most, and sleeps for good after them.
//!
//! Not here: what is given back (`protocol`, `dispatch`, `transport`).

use std::time::Duration;

use crate::clock::{Tick, ticks};
use crate::policy::Properties;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Quiet {
    /// How long a window is; `Tick::MAX` if nothing is given back.
    window: Tick,
    /// The end of the window at hand, if there is one.
    ends: Option<Tick>,
    /// Something was used in it.
    is_used: bool,
}

impl Quiet {
    /// Memory that nobody uses is kept for so long at most, and for half of that at least.
    pub(super) fn new(kept: Duration) -> Self {
        let window = if kept == Properties::OFF { Tick::MAX } else { ticks(kept / 2) };
        Self { window, ends: None, is_used: false }
    }

    /// Something is used.
    #[inline]
    pub(super) fn note_use(&mut self, now: Tick) {
        self.is_used = true;
        if self.ends.is_none() {
            self.begin(now);
        }
    }

    #[cold]
    fn begin(&mut self, now: Tick) {
        self.ends = (self.window != Tick::MAX).then(|| now.saturating_add(self.window));
    }

    /// When there is something to do, if nothing happens until then.
    pub(super) fn ends(&self) -> Option<Tick> {
        self.ends
    }

    /// Whether a window is over: it is time to give memory back.
    #[inline]
    pub(super) fn is_over(&mut self, now: Tick) -> bool {
        let is_over = self.ends.is_some_and(|end| end <= now);
        if is_over {
            self.ends = None;
            if core::mem::take(&mut self.is_used) {
                self.begin(now);
            }
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_has_two_windows_and_then_there_is_rest() {
        let mut quiet = Quiet::new(Duration::from_secs(20));
        let window = ticks(Duration::from_secs(10));
        assert_eq!((quiet.ends(), quiet.is_over(1_000_000)), (None, false), "nothing was used");
        quiet.note_use(100);
        quiet.note_use(150);
        assert_eq!((quiet.ends(), quiet.is_over(99 + window)), (Some(100 + window), false));
        assert!(quiet.is_over(100 + window), "the most of what was used until then is kept");
        assert_eq!(quiet.ends(), Some(100 + 2 * window));
        assert!(quiet.is_over(100 + 2 * window), "nothing was used in this one");
        assert_eq!(quiet.ends(), None);
    }

    #[test]
    fn nothing_is_given_back_where_that_is_off() {
        let mut quiet = Quiet::new(Properties::OFF);
        quiet.note_use(1);
        assert_eq!((quiet.ends(), quiet.is_over(Tick::MAX)), (None, false));
    }
}
