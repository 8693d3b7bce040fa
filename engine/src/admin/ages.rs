//! How long the oldest request of each queue has waited at least, by what is counted alone.
//!
//! When a request was delivered, its shard knows and tells nobody: that would cost each request. But of a queue with
//! `waiting` requests, of `delivered` in all, the oldest was delivered among the first `delivered - waiting + 1`. As
//! soon as so many had been delivered at an earlier look, it has waited since then at least.
//!
//! Invariants: what is told is no longer than the truth, up to counts that are read a moment apart; looks that can tell
//! nothing any more are forgotten, and of the others there are at most [`LOOKS_MAX`] a queue.
//!
//! Not here: the looking, once a second (`server`).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::id::QueueId;

/// Looks that are kept of a queue: beyond that the latest is replaced.
const LOOKS_MAX: usize = 4_096;

/// What is known of a queue.
#[derive(Debug, Default)]
struct Looks {
    /// When it was, and how many had been delivered by then; of those with the same number the first.
    looks: VecDeque<(Instant, u64)>,
    /// Which one the oldest request was at most, by the last look.
    oldest_before: u64,
}

impl Looks {
    fn look(&mut self, now: Instant, waiting: u64, delivered: u64) -> Duration {
        if waiting == 0 {
            *self = Self::default();
            return Duration::ZERO;
        }
        let oldest = delivered.saturating_sub(waiting) + 1;
        // Two counts are not of one moment: what only one of two looks says is not believed.
        let before = core::mem::replace(&mut self.oldest_before, oldest);
        let (least, most) = (oldest.min(before), oldest.max(before));
        while self.looks.front().is_some_and(|(_, delivered)| *delivered < least) {
            self.looks.pop_front();
        }
        let first = self.looks.iter().find(|(_, delivered)| *delivered >= most).map(|(at, _)| *at);
        if self.looks.back().is_none_or(|(_, last)| *last < delivered) {
            if self.looks.len() >= LOOKS_MAX {
                self.looks.pop_back();
            }
            self.looks.push_back((now, delivered));
        }
        first.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Ages(BTreeMap<QueueId, (Looks, Duration)>);

impl Ages {
    /// A look at all queues that there are: each with what waits there, and how many have been delivered.
    pub(super) fn look(&mut self, now: Instant, queues: &[(QueueId, u64, u64)]) {
        self.0.retain(|id, _| queues.iter().any(|(there, ..)| there == id));
        for (id, waiting, delivered) in queues {
            let (looks, age) = self.0.entry(*id).or_default();
            *age = looks.look(now, *waiting, *delivered);
        }
    }

    /// How long the oldest request of a queue has waited at least, as of the last look.
    pub(super) fn of(&self, queue: QueueId) -> Duration {
        self.0.get(&queue).map_or(Duration::ZERO, |(_, age)| *age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that delivers and takes at random, whose every request's time is known.
    #[test]
    fn ages_are_never_longer_than_the_truth_and_follow_what_stays() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let (mut looks, mut waiting, mut delivered) = (Looks::default(), VecDeque::new(), 0_u64);
        let mut seed = 3_u64;
        for second in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for _ in 0..(seed >> 60) % 5 {
                waiting.push_back(second);
                delivered += 1;
            }
            // A consumer that stops for a while, now and then.
            if second % 1000 > 100 {
                let taken = (seed >> 50) as usize % 6;
                waiting.drain(..taken.min(waiting.len()));
            }
            let told = looks.look(at(second), waiting.len() as u64, delivered).as_secs();
            let truth = waiting.front().map_or(0, |since| second - since);
            assert!(told <= truth, "second {second}: {told} of {truth}");
            if second % 1000 == 99 {
                assert!(told + 2 >= truth.min(95), "second {second}: {told} of {truth}");
            }
        }
    }

    #[test]
    fn what_stays_behind_many_others_is_told_within_bounds() {
        let start = Instant::now();
        let mut looks = Looks::default();
        for second in 0..10_000 {
            let told = looks.look(start + Duration::from_secs(second), second + 1, second + 1);
            assert_eq!(told, Duration::from_secs(second));
        }
        assert_eq!(looks.looks.len(), LOOKS_MAX);
    }
}
