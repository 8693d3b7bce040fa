//! How long requests take: histograms of fixed size, written by one shard each, read by anybody.
//!
//! Invariants: recording is an increment of one bucket, a relaxed load and store by its one writer; nothing allocates
//! after the making.
//!
//! Not here: which times of a request these are (`record::ended`), when they are recorded (`shard::dispatch::ends`),
//! and reading the clock (room `clock`).

use core::time::Duration;

use super::Counter;

/// Buckets between two powers of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 4;
/// Microseconds from which on everything is in the last bucket: 2^32, more than an hour.
const RANGE_BITS: u32 = 32;
const BUCKETS: usize = (1 << STEP_BITS) * (RANGE_BITS - STEP_BITS + 1) as usize;

/// The bucket of so many microseconds.
#[inline]
fn bucket_of(micros: u64) -> usize {
    let micros = micros.min((1 << RANGE_BITS) - 1);
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = micros.ilog2();
    let step = (micros >> (power - STEP_BITS)) - STEPS;
    let bucket = u64::from(power - STEP_BITS + 1) * STEPS + step;
    usize::try_from(bucket).unwrap_or(BUCKETS - 1)
}

/// The least microseconds in a bucket.
fn least_of(bucket: usize) -> u64 {
    let (power, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if power == 0 { step } else { (STEPS + step) << (power - 1) }
}

/// One shard's.
#[derive(Debug)]
pub(crate) struct ShardHistogram([Counter; BUCKETS]);

impl ShardHistogram {
    fn new() -> Self {
        Self(core::array::from_fn(|_| Counter::default()))
    }

    /// For the one writer.
    pub(crate) fn record(&self, micros: u64) {
        self.0[bucket_of(micros)].count();
    }
}

/// One shard's of one queue's requests.
#[derive(Debug)]
pub(crate) struct ShardLatency {
    pub(crate) waiting: ShardHistogram,
    pub(crate) serving: ShardHistogram,
    pub(crate) sending: ShardHistogram,
    pub(crate) total: ShardHistogram,
}

impl ShardLatency {
    pub(super) fn new() -> Self {
        let new = ShardHistogram::new;
        Self { waiting: new(), serving: new(), sending: new(), total: new() }
    }
}

/// How often something took how long, over all shards.
///
/// Buckets are one microsecond wide up to 16, and a sixteenth of the power of two below them from there on: what is
/// read from them is up to 6.25 % too long. Everything from 2^32 microseconds (71 minutes) on is in the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS] }
    }
}

impl Histogram {
    fn add(&mut self, shard: &ShardHistogram) {
        self.counts.iter_mut().zip(&shard.0).for_each(|(sum, count)| *sum += count.read());
    }

    /// How many have been recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets that are not empty, shortest times first: the least time in it, the time that is beyond it, and how
    /// many.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, Duration, u64)> + '_ {
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(at, count)| (Duration::from_micros(least_of(at)), Duration::from_micros(least_of(at + 1)), *count))
    }

    /// The time that a share of all, from 0 to 1, did not exceed: 0.5 for the median. `None`: nothing has been
    /// recorded.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.count();
        let mut left = (share.clamp(0.0, 1.0) * all as f64).ceil().max(1.0);
        self.buckets().find_map(|(_, beyond, count)| {
            left -= count as f64;
            (left <= 0.0).then_some(beyond)
        })
    }
}

/// How long a queue's requests have taken: those whose responses were sent whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// From the delivery until a consumer took the request.
    pub waiting: Histogram,
    /// From then until the response came back to the shard.
    pub serving: Histogram,
    /// From then until the socket had taken the response.
    pub sending: Histogram,
    /// From the request's first byte until then.
    pub total: Histogram,
}

impl Latency {
    pub(super) fn add(&mut self, shard: &ShardLatency) {
        self.waiting.add(&shard.waiting);
        self.serving.add(&shard.serving);
        self.sending.add(&shard.sending);
        self.total.add(&shard.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_bucket_and_buckets_are_narrow() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!((1..BUCKETS).all(|bucket| least_of(bucket) > least_of(bucket - 1)));
        let near = (0..RANGE_BITS).flat_map(|power| [(1_u64 << power).saturating_sub(1), 1 << power, (1 << power) + 1]);
        for micros in near.chain(0..5000).filter(|micros| *micros < 1 << RANGE_BITS) {
            let bucket = bucket_of(micros);
            let (least, beyond) = (least_of(bucket), least_of(bucket + 1));
            assert!((least..beyond).contains(&micros), "{micros} in {bucket}: {least} to {beyond}");
            assert!(beyond - least <= (least / STEPS).max(1), "{bucket}: {least} to {beyond}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let shard = ShardHistogram::new();
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.count()), (None, 0));
        (1..=1000).for_each(|micros| shard.record(micros));
        histogram.add(&shard);
        assert_eq!(histogram.count(), 1000);
        for (share, least) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let micros = histogram.quantile(share).expect("recorded").as_micros();
            assert!((least..=least * 17 / 16 + 1).contains(&micros), "{share}: {micros}");
        }
    }
}
