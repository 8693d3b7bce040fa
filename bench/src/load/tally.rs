//! What one thread counts while it runs, and how the threads' counts become a report.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::plan::Plan;
use super::report::{Faults, Latency, Report};

const LATENCY_NS_MIN: u64 = 1_000;
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Kinds of faults; see [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    WrongStatus,
    WrongLength,
    WrongContent,
    Garbage,
    Truncated,
    Unanswered,
    Reset,
    Timeout,
    Refused,
}

/// The counts of one thread.
#[derive(Debug)]
pub(super) struct Tally {
    /// Measured time, in nanoseconds of the load's clock.
    window: (u64, u64),
    /// This turn lies in the measured time.
    is_measured: bool,
    /// This turn lies before it.
    is_warm_up: bool,
    /// Right answers of all phases.
    pub(super) answers_ever: u64,
    answers: u64,
    bytes_received: u64,
    reconnects: u64,
    pub(super) cpu_ns: u64,
    pub(super) faults: Faults,
    latency: Histogram<u64>,
    /// A latency met so many times in a row and not yet recorded: answers that arrive together waited equally long.
    run: (u64, u64),
}

impl Tally {
    pub(super) fn new() -> Self {
        let latency = Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3);
        Self {
            window: (u64::MAX, u64::MAX),
            is_measured: false,
            is_warm_up: true,
            answers_ever: 0,
            answers: 0,
            bytes_received: 0,
            reconnects: 0,
            cpu_ns: 0,
            faults: Faults::default(),
            latency: latency.expect("the bounds are in order and three digits are allowed"),
            run: (0, 0),
        }
    }

    /// What counts from now on is what happens between these two.
    pub(super) fn measure(&mut self, from: u64, until: u64) {
        self.window = (from, until);
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self, now: u64) {
        self.is_measured = self.is_in_window(now);
        self.is_warm_up = now < self.window.0;
    }

    pub(super) fn is_in_window(&self, at: u64) -> bool {
        (self.window.0..self.window.1).contains(&at)
    }

    pub(super) fn received(&mut self, bytes: usize) {
        if self.is_measured {
            self.bytes_received += bytes as u64;
        }
    }

    pub(super) fn reconnected(&mut self) {
        self.reconnects += u64::from(self.is_measured);
    }

    /// A right answer, now, to a request that was due then. Latency counts for what was due in the measured time,
    /// whenever the answer comes: to leave the late ones out would flatter the server.
    #[inline]
    pub(super) fn right(&mut self, due: u64, now: u64) {
        self.answers_ever += 1;
        self.answers += u64::from(self.is_measured);
        if !self.is_in_window(due) {
            return;
        }
        let latency = now.saturating_sub(due);
        if latency == self.run.0 {
            self.run.1 += 1;
        } else {
            self.record_run();
            self.run = (latency, 1);
        }
    }

    fn record_run(&mut self) {
        if self.run.1 > 0 {
            self.latency.saturating_record_n(self.run.0, self.run.1);
        }
    }

    /// Counts a fault; the first one is remembered in words.
    #[cold]
    pub(super) fn fault(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        let faults = &mut self.faults;
        let count = match fault {
            Fault::WrongStatus => &mut faults.wrong_status,
            Fault::WrongLength => &mut faults.wrong_length,
            Fault::WrongContent => &mut faults.wrong_content,
            Fault::Garbage => &mut faults.garbage,
            Fault::Truncated => &mut faults.truncated,
            Fault::Unanswered => &mut faults.unanswered,
            Fault::Reset => &mut faults.resets,
            Fault::Timeout => &mut faults.timeouts,
            Fault::Refused => &mut faults.refused,
        };
        *count += 1;
        faults.warm_up += u64::from(self.is_warm_up);
        faults.first.get_or_insert_with(words);
    }

    /// A request due then was given up now. How long its answer would have taken is not known, but that it is more than
    /// the time-out is: without it the percentiles would end where the server falls behind.
    pub(super) fn late(&mut self, due: u64, now: u64, timeout: u64) {
        if self.is_in_window(due) {
            self.latency.saturating_record(now.saturating_sub(due).max(timeout));
        }
    }

    /// So many requests were due and never sent.
    pub(super) fn unsent(&mut self, requests: u64) {
        self.faults.unsent += requests;
        let words = || format!("{requests} requests were due and no connection was free to send them");
        self.faults.first.get_or_insert_with(words);
    }

    /// The sum of all threads' tallies.
    pub(super) fn report(tallies: Vec<Self>, plan: &Plan) -> Report {
        let mut sum = Self::new();
        for mut tally in tallies {
            tally.record_run();
            sum.answers += tally.answers;
            sum.bytes_received += tally.bytes_received;
            sum.reconnects += tally.reconnects;
            sum.cpu_ns += tally.cpu_ns;
            sum.faults.add(tally.faults);
            sum.latency.add(&tally.latency).expect("both have the same bounds");
        }
        let seconds = plan.duration.max(Duration::from_nanos(1)).as_secs_f64();
        Report {
            answers: sum.answers,
            seconds,
            // Exact up to 2^53 answers.
            answers_per_second: sum.answers as f64 / seconds,
            bytes_received: sum.bytes_received,
            generator_cpu_ns: sum.cpu_ns,
            reconnects: sum.reconnects,
            faults: sum.faults,
            latency: Latency(sum.latency),
        }
    }
}
