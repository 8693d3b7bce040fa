//! The only reader of time in the engine, and the only way to let some of it pass.
//!
//! Invariants: one read a shard turn, never one a request; ticks count monotonic time from the shard's start, so that a
//! deadline is 4 bytes; the date follows the wall clock within a second of any step of it.
//!
//! Not here: timers (room `timer`). No shard that runs sleeps here.

use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringress_proto::date::{IMF_LEN, imf_fixdate};

/// Milliseconds in a tick: the grain of every timeout.
pub(crate) const TICK_MS: u32 = 64;

/// Ticks since the shard started. 2^32 of them are more than eight years.
pub(crate) type Tick = u32;

/// How many ticks from the one under way, of which little may be left, a duration is over for certain.
pub(crate) fn ticks(duration: Duration) -> Tick {
    let count = duration.as_millis().div_ceil(u128::from(TICK_MS)).saturating_add(1);
    Tick::try_from(count).unwrap_or(Tick::MAX).min(Tick::MAX / 2)
}

/// The time now: for waits of applications and of the control plane.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets some time pass, for what nobody tells of: on threads of applications, too, whose wakes it leaves to whom they
/// are for. (A parked thread takes them, and an executor that parks without a flag of its own sleeps on.)
pub(crate) fn pause(time: Duration) {
    let (nobody_tells, still) = (Condvar::new(), Mutex::new(()));
    let guard = still.lock().unwrap_or_else(PoisonError::into_inner);
    drop(nobody_tells.wait_timeout_while(guard, time, |()| true));
}

/// The wall clock, since 1970: for dates that applications state and compare.
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
std::thread_local! {
    static SIMULATED: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// The microseconds of the clock of this thread's that was stopped last: what applications of a simulation read.
#[cfg(test)]
pub(crate) fn simulated() -> u64 {
    SIMULATED.get()
}

/// Microseconds since a moment that is the same for the whole process, and before anything it measures; never 0.
pub(crate) fn micros(at: Instant) -> u64 {
    whole_micros(since_base(at))
}

/// From the moment that [`micros`] counts from.
fn since_base(at: Instant) -> Duration {
    static BASE: OnceLock<Instant> = OnceLock::new();
    at.saturating_duration_since(*BASE.get_or_init(|| at))
}

fn whole_micros(since: Duration) -> u64 {
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

/// The microseconds now, as of [`micros`]: for who measures what a turn does not.
pub(crate) fn micros_now() -> u64 {
    #[cfg(test)]
    return simulated();
    #[cfg(not(test))]
    micros(now())
}

/// A shard's clock: the time as of its last turn.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// From the moment that [`micros`] counts from to the start.
    before: Duration,
    /// From the start to the last turn.
    elapsed: Duration,
    /// When the wall clock is to be read again, from the start.
    date_until: Duration,
    date: [u8; IMF_LEN],
    /// Time passes by [`skip`](Self::skip) alone.
    #[cfg(any(test, feature = "bench-door"))]
    stopped: bool,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        let mut clock = Self {
            start,
            before: since_base(start),
            elapsed: Duration::ZERO,
            date_until: Duration::ZERO,
            date: [b' '; IMF_LEN],
            #[cfg(any(test, feature = "bench-door"))]
            stopped: false,
        };
        clock.read_date();
        clock
    }

    /// Reads the time: once a turn.
    pub(crate) fn advance(&mut self) {
        let elapsed = self.start.elapsed();
        // What is counted reads the time as ever.
        #[cfg(any(test, feature = "bench-door"))]
        let elapsed = if self.stopped { self.elapsed } else { elapsed };
        self.elapsed = elapsed;
        if self.elapsed >= self.date_until {
            self.read_date();
        }
    }

    #[cold]
    fn read_date(&mut self) {
        let wall = wall();
        self.date = imf_fixdate(wall.as_secs());
        // Until the wall clock's next full second.
        self.date_until = self.elapsed + Duration::from_nanos(u64::from(1_000_000_000 - wall.subsec_nanos()));
    }

    /// The tick of the last [`advance`](Self::advance).
    pub(crate) fn tick(&self) -> Tick {
        let ms = self.elapsed.as_secs() * 1000 + u64::from(self.elapsed.subsec_millis());
        Tick::try_from(ms / u64::from(TICK_MS)).unwrap_or(Tick::MAX / 2)
    }

    /// The microseconds of the last [`advance`](Self::advance), as of [`micros`].
    pub(crate) fn micros(&self) -> u64 {
        whole_micros(self.before + self.elapsed)
    }

    /// From now on no time passes by itself, however slow the machine is: for simulations and counts.
    #[cfg(any(test, feature = "bench-door"))]
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        #[cfg(test)]
        SIMULATED.set(self.micros());
    }

    /// Lets time pass, for tests.
    #[cfg(test)]
    pub(crate) fn skip(&mut self, ticks: Tick) {
        self.skip_for(Duration::from_millis(u64::from(ticks) * u64::from(TICK_MS)));
    }

    /// The same, by other than ticks.
    #[cfg(test)]
    pub(crate) fn skip_for(&mut self, time: Duration) {
        self.start -= time;
        self.elapsed += time;
        SIMULATED.set(self.micros());
    }

    /// How long from the last [`advance`](Self::advance) until `tick` begins.
    pub(crate) fn until(&self, tick: Tick) -> Duration {
        Duration::from_millis(u64::from(tick) * u64::from(TICK_MS)).saturating_sub(self.elapsed)
    }

    /// The value of the Date field (RFC 9110 section 6.6.1) as of the last [`advance`](Self::advance).
    pub(crate) fn date(&self) -> &[u8; IMF_LEN] {
        &self.date
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_never_too_few() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(64)), 2);
        assert_eq!(ticks(Duration::from_millis(65)), 3);
        assert_eq!(ticks(Duration::MAX), Tick::MAX / 2);
    }

    #[test]
    fn the_date_is_formatted_from_the_start() {
        let clock = Clock::new();
        assert!(clock.date().ends_with(b" GMT"));
        assert_eq!(clock.tick(), 0);
    }
}
