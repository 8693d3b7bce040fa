//! Whether clients keep to a least rate, over windows of time: one account for each direction of a connection.
//!
//! Invariants: only time in which the client is awaited counts; a client is judged by what has gone over the connection
//! as the kernel counts it, whatever the sizes of sends, answers and bodies, and an account lasts as long as its
//! connection; a connection that has not been awaited for [`LOOK_EVERY`] costs no system call.
//!
//! Not here: the rates themselves (room `policy`), and what follows.

use crate::clock::{TICK_MS, Tick};

/// How often a client that is awaited is looked at: 5 seconds.
pub(crate) const LOOK_EVERY: Tick = 5_000_u32.div_ceil(TICK_MS);
/// Time that one look counts at most: it is not the client's fault when a look comes late.
const COUNTED_MAX: Tick = 2 * LOOK_EVERY;

/// One direction's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// Time counts from here: the last look, put off by as long as the client has not been awaited since.
    from: Tick,
    /// Since when the client is not awaited; [`AWAITED`]: it is.
    stopped: Tick,
    /// Bytes in all at the last look.
    seen: Seen,
    /// Milliseconds that the client is behind the rate.
    behind: u32,
}

const AWAITED: Tick = Tick::MAX;

/// Bytes since the connection's beginning, in two halves, so that an account needs no more room than its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen([u32; 2]);

impl Seen {
    /// Nobody has looked yet.
    const NEVER: Self = Self([u32::MAX; 2]);

    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    fn new(bytes: u64) -> Self {
        Self([bytes as u32, (bytes >> 32) as u32])
    }

    fn bytes(self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }
}

impl Default for Account {
    fn default() -> Self {
        Self { from: 0, stopped: 0, seen: Seen::NEVER, behind: 0 }
    }
}

impl Account {
    /// From now on the client is awaited, if it was not.
    #[inline]
    pub(crate) fn run(&mut self, now: Tick) {
        if self.stopped != AWAITED {
            self.from = self.from.saturating_add(now.saturating_sub(self.stopped));
            self.stopped = AWAITED;
        }
    }

    /// From now on it is not, if it was.
    #[inline]
    pub(crate) fn stop(&mut self, now: Tick) {
        if self.stopped == AWAITED {
            self.stopped = now;
        }
    }

    /// Whether the client is awaited.
    #[inline]
    pub(crate) fn runs(&self) -> bool {
        self.stopped == AWAITED
    }

    /// For how many ticks it has not been.
    pub(crate) fn rested(&self, now: Tick) -> Tick {
        if self.runs() { 0 } else { now.saturating_sub(self.stopped) }
    }

    /// Since when time counts.
    pub(crate) fn from(&self) -> Tick {
        self.from
    }

    /// Looks at what has gone over the connection. `false`: the client is further behind the rate, in bytes a second,
    /// than `behind_max` milliseconds.
    ///
    /// At the first look it has not been seen to do anything, and is as far behind as that says. What it does beyond
    /// the rate makes up for what it did not, and buys nothing for later.
    pub(crate) fn look(&mut self, now: Tick, bytes: u64, rate: u32, behind_max: u32) -> bool {
        let elapsed = now.saturating_sub(self.from).min(COUNTED_MAX) * TICK_MS;
        let more = if self.seen == Seen::NEVER { 0 } else { bytes.saturating_sub(self.seen.bytes()) };
        let made_up = more.saturating_mul(1000) / u64::from(rate.max(1));
        let behind = (u64::from(self.behind) + u64::from(elapsed)).saturating_sub(made_up);
        self.behind = u32::try_from(behind).unwrap_or(u32::MAX);
        (self.from, self.seen) = (now, Seen::new(bytes));
        self.behind <= behind_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED_MS: u32 = 60_000;

    /// For how many seconds, up to an hour, a client survives that moves `step` bytes whenever its rate has made so
    /// many, and is not awaited for so many ticks of each hundred.
    fn survives(least: u32, rate: u64, step: u64, unawaited: Tick) -> Option<u32> {
        let mut account = Account::default();
        account.run(0);
        for now in 1..3_600_000 / TICK_MS {
            if now % 100 < unawaited {
                account.stop(now);
                continue;
            }
            account.run(now);
            if now - account.from() >= LOOK_EVERY {
                let bytes = rate * u64::from(now) * u64::from(TICK_MS) / 1000 / step * step;
                if !account.look(now, bytes, least, ALLOWED_MS) {
                    return Some(now * TICK_MS / 1000);
                }
            }
        }
        None
    }

    #[test]
    fn who_keeps_to_the_rate_survives_also_in_steps_of_a_segment() {
        for (least, rate, step) in [(150, 160, 1), (150, 310, 1460), (100_000, 101_000, 65_536)] {
            assert_eq!(survives(least, rate, step, 0), None, "{rate} of {least} in steps of {step}");
        }
    }

    #[test]
    fn who_does_not_is_judged_by_how_far_it_falls_behind() {
        for (rate, least_seconds, most) in [(0, 60, 66), (15, 66, 75), (75, 115, 135), (135, 550, 700)] {
            let end = survives(150, rate, 1, 0).expect("too slow");
            assert!((least_seconds..most).contains(&end), "{rate} of 150: {end} s");
        }
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let end = survives(150, 0, 1, 50).expect("it does nothing");
        assert!((118..135).contains(&end), "{end} s");
        let end = survives(150, 15, 1, 50).expect("too slow also while it is awaited");
        assert!((140..180).contains(&end), "{end} s");
    }

    #[test]
    fn a_late_look_counts_no_more_than_it_could_have_seen() {
        let mut account = Account::default();
        account.run(0);
        assert!(account.look(1_000_000, 0, 150, ALLOWED_MS), "the shard was away, not the client");
    }

    #[test]
    fn doing_much_at_once_buys_nothing_for_later() {
        let mut account = Account::default();
        account.run(0);
        assert!(account.look(LOOK_EVERY, 0, 150, ALLOWED_MS) && account.look(2 * LOOK_EVERY, 1 << 40, 150, ALLOWED_MS));
        let looks = (3..).take_while(|look| account.look(look * LOOK_EVERY, 1 << 40, 150, ALLOWED_MS)).count();
        assert_eq!(looks, 11, "of 5 seconds each");
    }
}
