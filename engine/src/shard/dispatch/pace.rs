//! A shard that is behind: co-located, an application that keeps its thread for longer than what has come can wait.
//!
//! ```text
//!   usual:   as many requests as fit the cache ─▶ shown ─▶ worked off ─▶ the next of what has come ─▶ ... ─▶ kernel
//!   behind:  all that has come ─▶ a piece of it is shown ─▶ worked off ─▶ kernel ─▶ all that has come ─▶ ...
//! ```
//!
//! Invariants:
//! * A shard is behind if completions are left over in turns of three different ticks. From then on each turn handles
//!   all of them and enters the kernel, so that who comes is accepted, and finds queues as full as they are.
//! * Meanwhile consumers see of a queue no more than the application takes in about a tick: from one request to as many
//!   as else.
//! * A shard that is behind does not sleep. It is not so any more when everything is shown, and that is done when
//!   nobody has taken anything of what was: then holding back helps nobody.
//! * While a shard is not behind, this costs it nothing.
//!
//! Not here: what is in a queue (room `queue`), and when a turn looks at more (`shard`).

use crate::clock::TICK_MS;
use crate::config::Mode;

/// Requests that co-located mode hands out before it looks at more completions: few enough to stay in cache.
const COLOCATED_MAX: u32 = 32;
/// Requests that queue mode publishes before it looks at more completions: consumers on other CPUs begin while the
/// shard goes on.
const QUEUE_MAX: u32 = 128;

/// How much of what is published consumers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Showing {
    /// All, and they are woken.
    AtOnce,
    /// All, but who sleeps may be left asleep while there is more to do.
    MayWait,
    /// What they take in a tick.
    InPieces,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Pace {
    showing: Showing,
    /// Requests pushed in a turn before responses are looked at; and while the shard is not behind.
    most: u32,
    usual: u32,
    /// Requests that consumers see at a time.
    piece: u64,
    /// When they were shown something last, in microseconds.
    shown_at: Option<u64>,
}

impl Pace {
    pub(super) fn of(mode: Mode) -> Self {
        let (showing, usual) = match mode {
            Mode::Colocated => (Showing::AtOnce, COLOCATED_MAX),
            Mode::Queue => (Showing::MayWait, QUEUE_MAX),
        };
        Self { showing, most: usual, usual, piece: 1, shown_at: None }
    }

    #[inline]
    pub(super) fn showing(&self) -> Showing {
        self.showing
    }

    #[inline]
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Requests that consumers see at a time.
    pub(super) fn piece(&self) -> u64 {
        self.piece
    }

    /// Completions have been left over for too long. `true`: the shard is behind from now on.
    pub(super) fn fall_behind(&mut self) -> bool {
        let is_news = self.showing == Showing::AtOnce;
        if is_news {
            *self = Self { showing: Showing::InPieces, most: u32::MAX, usual: self.usual, piece: 1, shown_at: None };
        }
        is_news
    }

    /// Everything is shown.
    pub(super) fn catch_up(&mut self) {
        if self.showing == Showing::InPieces {
            (self.showing, self.most) = (Showing::AtOnce, self.usual);
        }
    }

    /// Consumers are shown something at this moment, and the application goes on.
    pub(super) fn shown(&mut self, now: u64) {
        self.shown_at = Some(now);
    }

    /// The application has come back at this moment. Consumers have taken so many of what they were shown, and still
    /// see others. `false`: holding back helps nobody. What the shard does in between is not the application's time: of
    /// that a crowd may make it take as much.
    pub(super) fn look(&mut self, (taken, seen): (u64, u64), now: u64) -> bool {
        let Some(before) = self.shown_at.take() else { return true };
        let each = now.saturating_sub(before).checked_div(taken);
        if let Some(each) = each {
            let in_a_tick = u64::from(TICK_MS) * 1000 / each.max(1);
            // Slowly up, since the next ones may take longer.
            self.piece = in_a_tick.clamp(1, (2 * self.piece).min(u64::from(self.usual)));
        }
        each.is_some() || seen == 0
    }

    /// Requests pushed in a turn, as a test wants it.
    #[cfg(test)]
    pub(super) fn set_usual(&mut self, usual: u32) {
        (self.most, self.usual) = (usual, usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = TICK_MS as u64 * 1000;

    #[test]
    fn a_piece_is_what_is_taken_in_a_tick() {
        let mut pace = Pace::of(Mode::Colocated);
        assert!(pace.fall_behind());
        assert!(pace.look((0, 0), 0) && pace.piece() == 1, "nothing is known");
        // A sixteenth of a tick each; and the shard itself takes ten ticks in between.
        let (mut now, mut pieces) = (0, Vec::new());
        let mut work = |pace: &mut Pace, (taken, seen): (u64, u64), time: u64| {
            pace.shown(now);
            now += time;
            let helps = pace.look((taken, seen), now);
            now += 10 * TICK;
            helps
        };
        for _ in 0..6 {
            let piece = pace.piece();
            assert!(work(&mut pace, (piece, 0), piece * TICK / 16));
            pieces.push(pace.piece());
        }
        assert_eq!(pieces, [2, 4, 8, 16, 16, 16]);
        // Each for ten ticks.
        assert!(work(&mut pace, (16, 0), 160 * TICK) && pace.piece() == 1);
        assert!(work(&mut pace, (1, 0), 0) && pace.piece() == 2, "in no time");
        assert!(work(&mut pace, (0, 0), TICK), "there was nothing to take");
        assert!(!work(&mut pace, (0, 2), TICK), "nobody takes anything");
    }

    #[test]
    fn only_a_shard_whose_thread_consumes_falls_behind() {
        let mut pace = Pace::of(Mode::Queue);
        assert!(!pace.fall_behind());
        assert_eq!((pace.showing(), pace.most()), (Showing::MayWait, QUEUE_MAX));
        let mut pace = Pace::of(Mode::Colocated);
        assert!(pace.fall_behind() && !pace.fall_behind());
        assert_eq!((pace.showing(), pace.most()), (Showing::InPieces, u32::MAX));
        pace.catch_up();
        assert_eq!((pace.showing(), pace.most()), (Showing::AtOnce, COLOCATED_MAX));
    }
}
