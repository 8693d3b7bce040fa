//! What is read of a server while a load runs: its clocks, and how much memory it has.
//!
//! Invariants:
//! - CPU time is that of the measured time alone, by the answers that came while it passed;
//! - in the measured time two readings of the server's own clocks are made, and nothing that takes longer.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use super::generator::{self, Moment};
use super::usage::{Reading, Tree, Usage};
use crate::load::{Plan, Report};

/// A load and what it cost.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) report: Report,
    pub(super) usage: Usage,
    /// Right answers while the usage was taken.
    pub(super) answers: u64,
    /// The usage is that of the whole run, and the answers of its warm-up are estimated.
    pub(super) is_whole_run: bool,
    pub(super) resident_bytes: u64,
}

/// Drives the load and weighs the process `root`, and its descendants, meanwhile; `cores` are the server's and the
/// generator's.
///
/// # Errors
/// One line: the load cannot be driven, or the server's clocks cannot be read.
pub(super) fn weigh(plan: &Plan, root: u32, cores: [usize; 2]) -> Result<Weighed, String> {
    let unreadable = |error: io::Error| format!("its CPU time or memory cannot be read: {error}");
    let watch = RefCell::new(Watch::new(root, cores).map_err(unreadable)?);
    let report = generator::drive(plan, &|moment, answers| watch.borrow_mut().look(moment, answers));
    let report = report.map_err(|error| format!("the load cannot be driven: {error:#}"))?;
    watch.into_inner().weighed(report, plan.warm_up).map_err(unreadable)
}

/// What has been read so far.
#[derive(Debug)]
struct Watch {
    root: u32,
    cores: [usize; 2],
    /// As of the last moment before the measured time: listing it anew takes too long within.
    tree: Tree,
    outset: Reading,
    /// With the answers until then.
    first: Option<(Reading, u64)>,
    /// With the answers until then.
    last: Option<(Reading, u64)>,
    resident_bytes: u64,
    error: Option<io::Error>,
}

impl Watch {
    fn new(root: u32, cores: [usize; 2]) -> io::Result<Self> {
        let tree = Tree::of(root)?;
        let outset = Reading::take(&tree, cores)?;
        Ok(Self { root, cores, tree, outset, first: None, last: None, resident_bytes: 0, error: None })
    }

    fn look(&mut self, moment: Moment, answers: u64) {
        let looked = match moment {
            Moment::WarmUp => self.list(),
            Moment::First => Reading::take(&self.tree, self.cores).map(|now| self.first = Some((now, answers))),
            Moment::Late => Reading::take(&self.tree, self.cores).map(|now| self.last = Some((now, answers))),
        };
        self.error = self.error.take().or_else(|| looked.err());
    }

    /// The tree, and its memory: the most that was seen.
    fn list(&mut self) -> io::Result<()> {
        self.tree = Tree::of(self.root)?;
        self.resident_bytes = self.resident_bytes.max(self.tree.resident_bytes());
        Ok(())
    }

    fn weighed(mut self, report: Report, warm_up: Duration) -> io::Result<Weighed> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let now = Reading::take(&self.tree, self.cores)?;
        // Once more: what it needs after the warm-up only, it may still have.
        self.list()?;
        let between = match (&self.first, &self.last) {
            (Some((before, earlier)), Some((after, later))) if later > earlier => {
                Some((after.since(before), later - earlier))
            }
            // A machine too busy to hear of the load.
            _ => None,
        };
        let is_whole_run = between.is_none();
        let (usage, answers) = between.unwrap_or_else(|| (now.since(&self.outset), whole_run(&report, warm_up)));
        Ok(Weighed { report, usage, answers, is_whole_run, resident_bytes: self.resident_bytes })
    }
}

/// Answers of warm-up and measured time, if they came evenly.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of answers, at least 0")]
fn whole_run(report: &Report, warm_up: Duration) -> u64 {
    report.answers + (report.answers_per_second * warm_up.as_secs_f64()) as u64
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::load::{Faults, Latency};

    fn weighed(moments: &[(Moment, u64)]) -> Weighed {
        let mut watch = Watch::new(std::process::id(), [0, 0]).expect("works in tests");
        for (moment, answers) in moments {
            watch.look(*moment, *answers);
        }
        let report = Report {
            answers: 1_000,
            seconds: 2.0,
            answers_per_second: 500.0,
            bytes_received: 0,
            generator_cpu_ns: 0,
            reconnects: 0,
            faults: Faults::default(),
            latency: Latency(Histogram::new(3).expect("works in tests")),
        };
        watch.weighed(report, Duration::from_millis(200)).expect("works in tests")
    }

    #[test]
    fn the_answers_between_the_first_and_the_last_moment_count() {
        let weighed = weighed(&[(Moment::WarmUp, 5), (Moment::First, 100), (Moment::Late, 700), (Moment::Late, 900)]);
        assert_eq!((weighed.answers, weighed.is_whole_run), (800, false));
        assert!(weighed.resident_bytes > 100_000, "{weighed:?}");
    }

    #[test]
    fn without_two_moments_the_whole_run_counts_and_says_so() {
        for moments in [&[][..], &[(Moment::First, 100)], &[(Moment::First, 100), (Moment::Late, 100)]] {
            let weighed = weighed(moments);
            assert_eq!((weighed.answers, weighed.is_whole_run), (1_100, true));
            assert!(weighed.resident_bytes > 100_000, "{weighed:?}");
        }
    }
}
