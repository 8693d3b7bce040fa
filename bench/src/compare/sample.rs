//! What is measured and kept: one sample for each run, and what could not be measured, with the reason.

use serde::Serialize;

use crate::load::Faults;

/// By so much of a fixed rate the answers of the measured time may fall short of it, because they were under way when
/// it ended, or exceed it, because they were when it began, without the rate being missed.
const RATE_OFF_MAX: f64 = 0.02;

/// One run of one server on one workload.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) workload: &'static str,
    pub(super) server: String,
    /// From 0.
    pub(super) repetition: u32,
    /// Right answers in the measured time.
    pub(super) answers: u64,
    pub(super) seconds: f64,
    pub(super) requests_per_second: f64,
    /// User and system time of all threads and child processes of the server.
    pub(super) cpu_us_per_request: f64,
    /// That time is of the whole run, not of the measured time alone, and the answers in its warm-up are estimated.
    pub(super) cpu_of_whole_run: bool,
    /// The same time as part of a core.
    pub(super) server_core_share: f64,
    /// The generator's own CPU time as part of a core.
    pub(super) generator_core_share: f64,
    /// The generator's own CPU time.
    pub(super) generator_us_per_request: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) p9999_us: f64,
    /// Of the process tree, shared pages in proportion: in the warm-up or right after the load, whichever is more.
    pub(super) resident_bytes: u64,
    /// Requests a second that were asked for, in an open loop.
    pub(super) rate: Option<f64>,
    pub(super) idle: Option<Idle>,
    pub(super) faults: FaultCount,
    /// What others did on the server's core meanwhile, stolen time included, as part of the core.
    pub(super) others_server_core: f64,
    /// The same on the generator's core.
    pub(super) others_load_core: f64,
    /// Where the CPU time was read.
    pub(super) clock: &'static str,
    /// Runs thrown away because other work disturbed them more.
    pub(super) retakes: u32,
}

/// What idle connections cost beside the active ones.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Idle {
    /// Growth of resident memory by an idle connection.
    pub(super) bytes_each: f64,
    /// Of the same process before the idle connections came.
    pub(super) cpu_us_per_request_without: f64,
    /// Of the same process before the idle connections came.
    pub(super) p99_us_without: f64,
}

/// All that was not a right answer.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct FaultCount {
    /// All kinds but `unsent`, which tells of a server that is slower than the rate.
    pub(super) count: u64,
    /// Idle connections that were closed, or sent something, by the server.
    pub(super) idle_closed: u32,
    #[serde(flatten)]
    pub(super) kinds: Faults,
}

impl From<Faults> for FaultCount {
    fn from(kinds: Faults) -> Self {
        Self { count: kinds.count().saturating_sub(kinds.unsent), idle_closed: 0, kinds }
    }
}

impl FaultCount {
    /// So many of `all` idle connections did not stay as they were.
    pub(super) fn add_idle_closed(&mut self, closed: u32, all: u32) {
        if closed == 0 {
            return;
        }
        self.count += u64::from(closed);
        self.idle_closed += closed;
        let told = format!("{closed} of {all} idle connections did not stay open and quiet");
        self.kinds.first = Some(match self.kinds.first.take() {
            Some(first) => format!("{first}; besides, {told}"),
            None => told,
        });
    }
}

/// A server that a row does without, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) workload: &'static str,
    pub(super) server: String,
    pub(super) reason: String,
    /// Not known beforehand: it did not start, answered wrongly or ended.
    pub(super) failed: bool,
}

/// All samples, in the order they were taken.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub(super) fn all(&self) -> &[Sample] {
        &self.0
    }

    pub(super) fn of(&self, workload: &str, server: &str) -> Vec<&Sample> {
        self.0.iter().filter(|sample| sample.workload == workload && sample.server == server).collect()
    }
}

impl Sample {
    /// The part of one of the two cores that others took, whichever is more.
    pub(super) fn disturbance(&self) -> f64 {
        self.others_server_core.max(self.others_load_core)
    }

    /// The rate that was asked for, if it was not kept: fewer requests were answered or sent, or more were answered
    /// because a backlog of the warm-up was. Then the figures are those of another rate.
    pub(super) fn missed_rate(&self) -> Option<f64> {
        let is_off = |rate: f64| (self.requests_per_second / rate - 1.0).abs() > RATE_OFF_MAX;
        self.rate.filter(|rate| is_off(*rate) || self.faults.kinds.unsent > 0)
    }
}

#[cfg(test)]
impl Sample {
    /// Figures for tests.
    pub(super) fn example(workload: &str, server: &str, repetition: u32) -> Self {
        let workload = super::workloads::Workload::named(workload).name;
        Self {
            workload,
            server: server.to_owned(),
            repetition,
            answers: 300_000,
            seconds: 3.0,
            requests_per_second: 100_000.0,
            cpu_us_per_request: 5.0,
            cpu_of_whole_run: false,
            server_core_share: 0.5,
            generator_core_share: 0.2,
            generator_us_per_request: 2.0,
            p50_us: 200.0,
            p99_us: 400.0,
            p999_us: 800.0,
            p9999_us: 1600.0,
            resident_bytes: 10 << 20,
            rate: None,
            idle: None,
            faults: FaultCount::default(),
            others_server_core: 0.0,
            others_load_core: 0.01,
            clock: "a test",
            retakes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_missed_by_too_few_or_too_many_answers_and_by_requests_that_were_not_sent() {
        let asked = |rate| Sample { rate, ..Sample::example("rate-40k-512", "queue", 0) };
        for kept in [None, Some(98_100.0), Some(100_000.0), Some(102_000.0)] {
            assert_eq!(asked(kept).missed_rate(), None, "{kept:?}");
        }
        for missed in [Some(97_900.0), Some(102_100.0)] {
            assert_eq!(asked(missed).missed_rate(), missed);
        }
        let mut sample = asked(Some(100_000.0));
        sample.faults.kinds.unsent = 1;
        assert_eq!(sample.missed_rate(), Some(100_000.0));
    }

    #[test]
    fn idle_connections_that_were_closed_are_faults_with_a_name() {
        let mut faults = FaultCount::from(Faults { resets: 2, unsent: 9, ..Faults::default() });
        faults.add_idle_closed(0, 10_000);
        assert_eq!((faults.count, &faults.kinds.first), (2, &None));
        faults.add_idle_closed(7, 10_000);
        let told = "7 of 10000 idle connections did not stay open and quiet";
        assert_eq!((faults.count, faults.idle_closed, faults.kinds.first.as_deref()), (9, 7, Some(told)));
    }
}
