//! What a load came to.

use hdrhistogram::Histogram;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The figures of a load, warm-up left out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Answers that were right, and ended within the measured time.
    pub answers: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Right answers a second.
    pub answers_per_second: f64,
    /// Bytes received, heads included, in the measured time.
    pub bytes_received: u64,
    /// The generator's own CPU time (user and system, all threads) in the measured time, in nanoseconds.
    pub generator_cpu_ns: u64,
    /// Connections made in the measured time, the first ones left out.
    pub reconnects: u64,
    /// Everything that was not a right answer.
    pub faults: Faults,
    /// For every right answer to what was due in the measured time. Some come after it, so there may be a few more of
    /// them than `answers`. At a fixed rate also for every request that a time-out gave up: what it had waited, which
    /// is no less than the time-out.
    pub latency: Latency,
}

/// What was not a right answer, warm-up included, which is counted apart as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Answers with another status than expected.
    pub wrong_status: u64,
    /// Answers with another length than expected.
    pub wrong_length: u64,
    /// Answers with another content than expected.
    pub wrong_content: u64,
    /// Bytes that are no answer, or bytes nobody asked for.
    pub garbage: u64,
    /// Connections that ended within an answer.
    pub truncated: u64,
    /// Connections that ended while a request waited for its answer.
    pub unanswered: u64,
    /// Connections that were reset.
    pub resets: u64,
    /// Answers that took longer than the time-out.
    pub timeouts: u64,
    /// Connections that could not be made.
    pub refused: u64,
    /// At a fixed rate: requests that were due in the measured time and were not sent, not even within a second after
    /// it, because no connection was free.
    pub unsent: u64,
    /// What the faults took with them: requests under way on a connection that one of them ended, but for the one
    /// request that it stands for. At depth 1 there are none. They are no mismatches of their own, and neither in
    /// [`Faults::kinds`] nor in [`Faults::count`].
    pub lost: u64,
    /// Those of all these kinds that came before the measured time: while connecting, or in the warm-up.
    pub warm_up: u64,
    /// The first mismatch, as a line for people: what was expected and what came.
    pub first: Option<String>,
}

/// Latencies in nanoseconds, from 1 us to 1 h, to three digits: from the moment a request was sent to the last byte of
/// its answer; at a fixed rate from the moment it was due.
///
/// Connecting is not part of it: requests are sent on connections that stand. At a fixed rate one that is due when no
/// connection is free has waited, be it for an answer or for a connection that is being made.
#[derive(Clone, Debug)]
pub struct Latency(pub Histogram<u64>);

impl Report {
    /// There were answers, each of them was right, and none was missing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.answers > 0 && self.faults.count() == 0
    }

    /// The generator's CPU time for each right answer, in nanoseconds; none if there was no answer.
    #[must_use]
    pub fn generator_ns_per_answer(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.generator_cpu_ns as f64 / self.answers as f64)
    }
}

impl Faults {
    /// Each kind with its count; `lost` is none.
    #[must_use]
    pub fn kinds(&self) -> [(&'static str, u64); 10] {
        [
            ("wrong status", self.wrong_status),
            ("wrong length", self.wrong_length),
            ("wrong content", self.wrong_content),
            ("garbage", self.garbage),
            ("truncated", self.truncated),
            ("unanswered", self.unanswered),
            ("resets", self.resets),
            ("timeouts", self.timeouts),
            ("refused", self.refused),
            ("unsent", self.unsent),
        ]
    }

    /// All of them; what was lost with them is not counted again.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kinds().iter().map(|(_, count)| count).sum()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.wrong_status += other.wrong_status;
        self.wrong_length += other.wrong_length;
        self.wrong_content += other.wrong_content;
        self.garbage += other.garbage;
        self.truncated += other.truncated;
        self.unanswered += other.unanswered;
        self.resets += other.resets;
        self.timeouts += other.timeouts;
        self.refused += other.refused;
        self.unsent += other.unsent;
        self.lost += other.lost;
        self.warm_up += other.warm_up;
        if self.first.is_none() {
            self.first = other.first;
        }
    }
}

impl Latency {
    /// The percentiles that are reported, by the names they are reported under.
    pub const PERCENTILES: [(&'static str, f64); 6] =
        [("p50", 50.0), ("p75", 75.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

    /// A percentile (0 to 100) in microseconds; 0 if there is no latency.
    #[must_use]
    pub fn percentile_us(&self, percentile: f64) -> f64 {
        microseconds(self.0.value_at_percentile(percentile))
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// A map of microseconds: the percentiles, `max` and `mean`; and `count`, the number of latencies.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, percentile) in Self::PERCENTILES {
            map.serialize_entry(name, &self.percentile_us(percentile))?;
        }
        map.serialize_entry("max", &microseconds(self.0.max()))?;
        map.serialize_entry("mean", &(self.0.mean() / 1e3))?;
        map.serialize_entry("count", &self.0.len())?;
        map.end()
    }
}
