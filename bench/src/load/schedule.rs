//! When requests are due at a fixed rate: evenly, whether answers come or not.

use std::collections::VecDeque;

/// The schedule of one thread. It is arithmetic, so a backlog of any length costs nothing to hold.
#[derive(Debug)]
pub(super) struct Schedule {
    first_ns: f64,
    interval_ns: f64,
    /// The number of the next request.
    next: u64,
    /// When it is due.
    next_due: u64,
    /// Due earlier and not answered through no fault of the server: to be asked again first.
    again: VecDeque<u64>,
}

impl Schedule {
    /// Thread number `thread` of `threads` that together send `rate` a second, beginning at `start`.
    pub(super) fn new(rate: f64, threads: usize, thread: usize, start: u64) -> Self {
        let interval_ns = 1e9 * threads as f64 / rate;
        // The threads take turns, so that all of them together are even too.
        let first_ns = start as f64 + 1e9 * thread as f64 / rate;
        let mut schedule = Self { first_ns, interval_ns, next: 0, next_due: 0, again: VecDeque::new() };
        schedule.next_due = schedule.due(0);
        schedule
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is never negative")]
    fn due(&self, number: u64) -> u64 {
        (self.first_ns + number as f64 * self.interval_ns) as u64
    }

    /// When the next request is due.
    #[inline]
    pub(super) fn next_due(&self) -> u64 {
        self.again.front().copied().unwrap_or(self.next_due)
    }

    /// Takes the next request, and says when it was due.
    #[inline]
    pub(super) fn take(&mut self) -> u64 {
        if let Some(due) = self.again.pop_front() {
            return due;
        }
        let due = self.next_due;
        self.next += 1;
        self.next_due = self.due(self.next);
        due
    }

    /// Puts a request back that was taken, to be taken first.
    pub(super) fn put_back(&mut self, due: u64) {
        let place = self.again.partition_point(|other| *other <= due);
        self.again.insert(place, due);
    }

    /// How many requests due in `from..until` have not been taken.
    pub(super) fn untaken(&self, from: u64, until: u64) -> u64 {
        let due_before = |at: u64| {
            // Arithmetic finds the place up to rounding, which the two loops mend.
            let guess = ((at as f64 - self.first_ns) / self.interval_ns).ceil().max(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, not negative")]
            let mut number = guess as u64;
            while self.due(number) < at {
                number += 1;
            }
            while number > 0 && self.due(number - 1) >= at {
                number -= 1;
            }
            number
        };
        let again = self.again.iter().filter(|due| (from..until).contains(due)).count() as u64;
        again + due_before(until).saturating_sub(due_before(from).max(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns_at_the_rate() {
        let mut schedules: Vec<Schedule> = (0..2).map(|thread| Schedule::new(2000.0, 2, thread, 1_000)).collect();
        let due: Vec<u64> = (0..6).map(|request| schedules[request % 2].take()).collect();
        assert_eq!(due, [1_000, 501_000, 1_001_000, 1_501_000, 2_001_000, 2_501_000]);
    }

    #[test]
    fn what_was_not_taken_is_known_without_a_list() {
        let mut schedule = Schedule::new(1000.0, 1, 0, 0);
        assert_eq!(schedule.untaken(0, 10_000_000), 10);
        assert_eq!(schedule.untaken(0, 10_000_001), 11);
        assert_eq!(schedule.untaken(2_000_000, 10_000_000), 8);
        let first = schedule.take();
        schedule.take();
        schedule.take();
        assert_eq!(schedule.untaken(0, 10_000_000), 7);
        schedule.put_back(first);
        assert_eq!(schedule.untaken(0, 10_000_000), 8);
        assert_eq!(schedule.untaken(1, 10_000_000), 7);
        assert_eq!((schedule.take(), schedule.take()), (0, 3_000_000));
    }
}
