//! What the person at the terminal sees meanwhile: what runs, and how long is left. Standard error only.
//!
//! Invariants: a bar on a terminal, a line for each step elsewhere; a warning is one line and is never overwritten.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const NAME: &str = "ringress-bench compare";

/// Tells how a comparison goes.
#[derive(Debug)]
pub(super) struct Progress {
    /// On a terminal only.
    bar: Option<ProgressBar>,
    /// When the first run began; absent before.
    began: Cell<Option<Instant>>,
    /// Runs begun.
    begun: Cell<u32>,
    runs: Cell<u32>,
    /// What a run takes, as long as none has ended.
    expected: Cell<Duration>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
        let bar = || ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            bar: std::io::stderr().is_terminal().then(bar),
            began: Cell::new(None),
            begun: Cell::new(0),
            runs: Cell::new(0),
            expected: Cell::new(Duration::ZERO),
        }
    }

    /// How many runs there will be, and what one is expected to take.
    pub(super) fn expect(&self, runs: u32, each: Duration) {
        self.runs.set(runs);
        self.expected.set(each);
        if let Some(bar) = &self.bar {
            bar.set_length(runs.into());
        }
    }

    /// Something that is no run begins.
    pub(super) fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => line(text),
        }
    }

    /// A run begins.
    pub(super) fn run(&self, text: &str) {
        let began = self.began.get().unwrap_or_else(Instant::now);
        self.began.set(Some(began));
        let done = self.begun.get();
        let left = left(began.elapsed(), done, self.runs.get(), self.expected.get());
        let text = format!("{text}, about {} left", spoken(left));
        match &self.bar {
            Some(bar) => {
                bar.set_position(done.into());
                bar.set_message(text);
            }
            None => line(&format!("{}/{}: {text}", done + 1, self.runs.get())),
        }
        self.begun.set(done + 1);
    }

    /// Runs that will not take place after all.
    pub(super) fn drop_runs(&self, count: u32) {
        let runs = self.runs.get().saturating_sub(count).max(self.begun.get());
        self.expect(runs, self.expected.get());
    }

    /// Something that should be read.
    pub(super) fn warn(&self, text: &str) {
        let say = || line(text);
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Nobody may listen any more; that is no reason to end.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
}

/// What the runs that are not done will take, if they are like those that are.
fn left(elapsed: Duration, done: u32, runs: u32, expected: Duration) -> Duration {
    let each = elapsed.checked_div(done).unwrap_or(expected);
    each * runs.saturating_sub(done)
}

fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil();
    if seconds < 100.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", (seconds / 60.0).ceil()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_goes_by_the_runs_that_are_done() {
        let second = Duration::from_secs(1);
        assert_eq!(left(Duration::ZERO, 0, 10, second), 10 * second);
        assert_eq!(left(8 * second, 4, 10, second), 12 * second);
        assert_eq!(left(8 * second, 4, 3, second), Duration::ZERO);
    }

    #[test]
    fn times_are_spoken_in_seconds_or_minutes() {
        assert_eq!(spoken(Duration::from_millis(1200)), "2 s");
        assert_eq!(spoken(Duration::from_secs(99)), "99 s");
        assert_eq!(spoken(Duration::from_secs(121)), "3 min");
    }
}
