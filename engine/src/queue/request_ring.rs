//! A bounded ring of request ids: one producer (a shard), many consumers that claim with one compare-and-swap.
//!
//! The algorithm is the stealing side of a Chase-Lev deque without the owner's pop, as work-stealing schedulers use it:
//! consumers read entries first and own them only if the head is still where they saw it.
//!
//! Invariants: each id is claimed once, in the order of the pushes; consumers see nothing that is not published; a push
//! to a full ring fails and overwrites nothing. What is withdrawn leaves its entry behind, which counts no more and is
//! taken out when the ring is full of such. What is published can be shown in pieces: it counts, but is not to be
//! claimed yet. What was withdrawn is no part of a piece.
//!
//! Not here: how many requests may wait, and what a claimed id gives (`core`); who is woken (`sleepers`).

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::id::RequestId;

/// Indices count for ever (2^64 is not reached), so a stale head never compares equal.
#[derive(Debug)]
pub(crate) struct RequestRing {
    /// The next entry to claim; moved by consumers.
    head: CachePadded<AtomicU64>,
    /// One past the last entry that is shown; moved by the producer.
    tail: CachePadded<AtomicU64>,
    /// One past the last entry that was published when not all was shown at once, though it may be by now.
    published: AtomicU64,
    /// Entries of requests that were withdrawn, ever; and those of them that were claimed: who claims one counts it a
    /// moment later.
    withdrawn: AtomicU64,
    passed: AtomicU64,
    entries: Box<[AtomicU64]>,
}

const _: () = assert!(align_of::<AtomicU64>() == align_of::<u64>(), "a slice of one is laid out like one of the other");

/// Zeros that take no memory until they are written: most queues use a small part of their rings.
fn untouched(entries: usize) -> Box<[AtomicU64]> {
    let zeros = Box::into_raw(vec![0_u64; entries].into_boxed_slice());
    // SAFETY: the memory was allocated as a boxed slice of `u64`, of which nobody else has the pointer. An `AtomicU64`
    // has the size and the representation of a `u64` (its documentation), and its alignment (asserted above).
    unsafe { Box::from_raw(zeros as *mut [AtomicU64]) }
}

impl RequestRing {
    /// A ring for `capacity` ids, rounded up to a power of two.
    pub(crate) fn new(capacity: u32) -> Self {
        let capacity = capacity.max(2).next_power_of_two() as usize;
        Self {
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            published: AtomicU64::new(0),
            withdrawn: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            entries: untouched(capacity),
        }
    }

    #[inline]
    fn entry(&self, index: u64) -> &AtomicU64 {
        let mask = self.entries.len() as u64 - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked below the length of a slice")]
        let place = (index & mask) as usize;
        &self.entries[place]
    }

    /// Ids published, and neither claimed nor withdrawn. What is published while this looks may count or not, what is
    /// claimed or passed over may still count; nothing counts twice.
    ///
    /// For at each moment the later of `published` and `tail` is where what is published ends: a publication moves
    /// `tail` there, or, where not all is shown, first `published` and then `tail` to some place before it. None of
    /// them goes back. So the later one of two that are read one after the other is such an end of in between.
    pub(crate) fn len(&self) -> u64 {
        // The head first: an end read after it cannot lie before it.
        let head = self.head.load(Ordering::Acquire);
        let published = self.published.load(Ordering::Acquire);
        let end = published.max(self.tail.load(Ordering::Acquire));
        (end - head).saturating_sub(self.leftovers())
    }

    /// So many at most of the ids that are published and not claimed, with some that were withdrawn; a moment's view.
    #[cfg(feature = "admin")]
    pub(super) fn waiting(&self, most: usize) -> Vec<u64> {
        let head = self.head.load(Ordering::Acquire);
        let end = self.published.load(Ordering::Acquire).max(self.tail.load(Ordering::Acquire));
        (head..end).take(most).map(|place| self.entry(place).load(Ordering::Relaxed)).collect()
    }

    /// Entries of requests that were withdrawn which nobody has claimed.
    fn leftovers(&self) -> u64 {
        // In this order, none that is passed was not withdrawn.
        let passed = self.passed.load(Ordering::Acquire);
        self.withdrawn.load(Ordering::Relaxed).saturating_sub(passed)
    }

    /// The producer has published the entries before `all`, and shows those before `end`.
    fn show(&self, all: u64, end: u64) {
        // In this order: see `len`.
        self.published.store(all, Ordering::Release);
        self.tail.store(end, Ordering::Release);
    }

    /// Whether there is something to claim, if only what was withdrawn.
    pub(crate) fn shows_any(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire) > head
    }

    /// How many requests are there to be claimed, and the position behind the last of them; a moment's view.
    pub(super) fn unclaimed(&self) -> (u64, u64) {
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        // Not what was withdrawn.
        (tail.saturating_sub(head).min(self.len()), tail)
    }

    /// Whether the id pushed at a position has been claimed.
    pub(super) fn has_claimed(&self, position: u64) -> bool {
        // Sequentially consistent for `withdraw`.
        self.head.load(Ordering::SeqCst) > position
    }

    /// Withdraws the id pushed at a position, unless it has been claimed. `take` does so with the request, if nobody
    /// passes it over in this very moment; whoever claims the entry later finds that it was.
    ///
    /// The caller has made the request one that is passed over before. That, sequentially consistent, comes before this
    /// look at the head, and a claim before its look at the request: one of the two sees the other.
    pub(super) fn withdraw(&self, position: u64, take: impl FnOnce() -> bool) -> bool {
        if self.has_claimed(position) {
            return false;
        }
        self.withdrawn.fetch_add(1, Ordering::Relaxed);
        let is_taken = take();
        if !is_taken {
            self.passed_leftover();
        }
        is_taken
    }

    /// An entry that was claimed was one left behind.
    #[cold]
    pub(super) fn passed_leftover(&self) {
        self.passed.fetch_add(1, Ordering::Release);
    }

    /// Claims one id.
    #[inline]
    pub(crate) fn claim(&self) -> Option<u64> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head == self.tail.load(Ordering::Acquire) {
                return None;
            }
            // The entry may be overwritten only after the head has passed it, and then the exchange below fails.
            let id = self.entry(head).load(Ordering::Relaxed);
            // Sequentially consistent for `withdraw`.
            match self.head.compare_exchange_weak(head, head + 1, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => return Some(id),
                Err(moved) => head = moved,
            }
        }
    }
}

/// A request that was published, to be pushed once. Made only by who publishes (`shard_side`).
#[derive(Debug)]
#[must_use = "a request that is not pushed is given to nobody"]
pub(crate) struct Published(pub(super) RequestId);

impl Published {
    #[cfg(test)]
    pub(super) fn id(&self) -> RequestId {
        self.0
    }
}

/// The producing end of a [`RequestRing`]; a ring has one.
#[derive(Debug)]
pub(crate) struct Producer {
    ring: Arc<RequestRing>,
    /// One past the last entry written.
    tail: u64,
    /// One past the last entry that is published.
    published: u64,
    /// Of what is published, so many are not shown.
    unshown: u64,
    /// The head as last read: the ring holds at most `tail - head_seen` ids.
    head_seen: u64,
    /// When it was last asked how many were taken: the head, and how many had been passed over.
    head_asked: u64,
    passed_asked: u64,
}

impl Producer {
    pub(super) fn new(ring: Arc<RequestRing>) -> Self {
        Self { ring, tail: 0, published: 0, unshown: 0, head_seen: 0, head_asked: 0, passed_asked: 0 }
    }

    /// Ids in the ring, written or published, that are not withdrawn: as an upper bound when less than `enough`, else
    /// exactly.
    #[inline]
    pub(super) fn len(&mut self, enough: u64) -> u64 {
        let entries = self.tail - self.head_seen;
        if entries < enough { entries } else { self.len_exactly() }
    }

    #[cold]
    #[inline(never)]
    fn len_exactly(&mut self) -> u64 {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        (self.tail - self.head_seen).saturating_sub(self.ring.leftovers())
    }

    /// Entries that are free: as a lower bound when at least `enough`, else exactly.
    #[inline]
    pub(super) fn space(&mut self, enough: u64) -> u64 {
        let capacity = self.ring.entries.len() as u64;
        if capacity - (self.tail - self.head_seen) < enough {
            self.head_seen = self.ring.head.load(Ordering::Acquire);
        }
        capacity - (self.tail - self.head_seen)
    }

    /// Whether something is left in the ring of what was withdrawn.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.ring.leftovers() > 0
    }

    /// Whether no entry is free, as after so many requests that were withdrawn.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        self.space(1) == 0
    }

    /// Takes what was withdrawn out of the ring, which leaves the rest in its order, and publishes all; consumers see
    /// what they saw before. `position` says of each id whether it is left, and is told where it is from now on. Gives
    /// how many ids were written and not published before, and how many consumers did not see for a moment; who sleeps
    /// is to be woken for these.
    #[cold]
    pub(super) fn compact(&mut self, mut position: impl FnMut(u64, u64) -> bool) -> (u64, u64) {
        let (seen, all) = (self.shown(), self.tail);
        let fresh = self.tail - self.published;
        let mut seen_again = 0;
        // As a consumer among the others, who get of what they did not see before one at most at a time.
        for end in [seen].into_iter().chain(seen + 1..=all) {
            self.ring.show(self.tail, end);
            while let Some(id) = self.ring.claim() {
                self.head_asked += 1;
                if position(id, self.tail) {
                    let written = self.try_push(id);
                    debug_assert!(written.is_ok(), "an entry was claimed for it");
                    // It counts again.
                    self.ring.show(self.tail, end);
                    seen_again += u64::from(end == seen);
                } else {
                    self.ring.passed_leftover();
                    self.passed_asked += 1;
                }
            }
        }
        // Those that were seen are the first of those that are left.
        self.show_up_to(all + seen_again);
        (fresh, seen_again)
    }

    /// Queues a request for consumers, not yet visible to them. Gives its position among all that were ever pushed.
    #[inline]
    pub(crate) fn push(&mut self, published: Published) -> u64 {
        self.try_push(published.0.to_u64()).expect("who pushes has seen that there is space")
    }

    /// Writes an id, not yet visible to consumers, and gives its position, or the id when the ring is full.
    #[inline]
    fn try_push(&mut self, id: u64) -> Result<u64, u64> {
        if self.is_full() {
            return Err(id);
        }
        self.ring.entry(self.tail).store(id, Ordering::Relaxed);
        self.tail += 1;
        Ok(self.tail - 1)
    }

    /// Publishes what has been written since the last call, all of which is shown at once; says how many ids.
    #[inline]
    pub(crate) fn publish(&mut self) -> u64 {
        debug_assert_eq!(self.unshown, 0, "what is shown in pieces is to be shown first");
        let fresh = self.tail - self.published;
        if fresh > 0 {
            self.ring.tail.store(self.tail, Ordering::Release);
            self.published = self.tail;
        }
        fresh
    }

    /// As [`publish`](Self::publish), with what is not shown yet.
    #[cold]
    pub(crate) fn publish_all(&mut self) -> u64 {
        let fresh = self.tail - self.published;
        self.show_up_to(self.tail);
        fresh
    }

    /// Publishes what has been written since the last call, and shows of all that is published what comes next, until
    /// consumers see `most` ids that nobody has claimed, and that `is_left` does not say were withdrawn. Says how many
    /// ids are published, and how many of those that are left are shown.
    #[cold]
    pub(crate) fn publish_up_to(&mut self, most: u64, is_left: impl Fn(u64) -> bool) -> (u64, u64) {
        let fresh = self.tail - self.published;
        let (before, mut end) = (self.seen(&is_left), self.shown());
        let mut seen = before;
        while seen < most && end < self.tail {
            seen += u64::from(self.is_left_at(end, &is_left));
            end += 1;
        }
        self.show_up_to(end);
        (fresh, seen - before)
    }

    /// All is published, and shown as far as this.
    fn show_up_to(&mut self, end: u64) {
        (self.published, self.unshown) = (self.tail, self.tail - end);
        self.ring.show(self.tail, end);
    }

    /// One past the last entry that is shown.
    fn shown(&self) -> u64 {
        self.published - self.unshown
    }

    /// How many ids consumers see that are left.
    fn seen(&mut self, is_left: &impl Fn(u64) -> bool) -> u64 {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        (self.head_seen..self.shown()).filter(|index| self.is_left_at(*index, is_left)).count() as u64
    }

    fn is_left_at(&self, index: u64, is_left: &impl Fn(u64) -> bool) -> bool {
        is_left(self.ring.entry(index).load(Ordering::Relaxed))
    }

    /// Whether something is published and not shown.
    pub(crate) fn has_unshown(&self) -> bool {
        self.unshown > 0
    }

    /// How many ids have been claimed since this was asked last, and how many consumers still see, without those that
    /// were withdrawn, as `is_left` says.
    pub(crate) fn taken(&mut self, is_left: impl Fn(u64) -> bool) -> (u64, u64) {
        let passed = self.ring.passed.load(Ordering::Relaxed);
        let seen = self.seen(&is_left);
        let claimed = self.head_seen - core::mem::replace(&mut self.head_asked, self.head_seen);
        let passed = passed - core::mem::replace(&mut self.passed_asked, passed);
        (claimed.saturating_sub(passed), seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    #[test]
    fn agrees_with_a_queue_under_every_mix_of_push_publish_and_claim() {
        let ring = Arc::new(RequestRing::new(4));
        let mut producer = Producer::new(Arc::clone(&ring));
        let (mut written, mut visible) = (VecDeque::new(), VecDeque::new());
        let (mut unpublished, mut taken) = (0, 0);
        let mut seed = 7_u64;
        for id in 1..10_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match (seed >> 60) % 4 {
                0 => {
                    let full = written.len() + visible.len() == 4;
                    assert_eq!(producer.try_push(id).is_err(), full);
                    if !full {
                        written.push_back(id);
                        unpublished += 1;
                    }
                }
                1 => {
                    let most = [1, 2, u64::MAX][(seed >> 40) as usize % 3];
                    let missing = most.saturating_sub(visible.len() as u64).min(written.len() as u64);
                    let fresh = written.len() as u64 - producer.unshown;
                    let can_all = producer.unshown == 0 && most == u64::MAX;
                    let published = match can_all {
                        true => (producer.publish(), fresh),
                        false => producer.publish_up_to(most, |_| true),
                    };
                    assert_eq!(published, (fresh, missing));
                    (0..missing).for_each(|_| visible.extend(written.pop_front()));
                    assert_eq!(producer.has_unshown(), !written.is_empty());
                    unpublished = 0;
                }
                2 => {
                    assert_eq!(producer.taken(|_| true), (core::mem::take(&mut taken), visible.len() as u64));
                }
                _ => {
                    assert_eq!(ring.claim(), visible.front().copied());
                    taken += u64::from(visible.pop_front().is_some());
                }
            }
            assert_eq!(ring.len(), (visible.len() + written.len()) as u64 - unpublished);
            assert_eq!(ring.shows_any(), !visible.is_empty());
        }
    }

    /// A ring with ids, of which those above 100 are withdrawn.
    fn with_withdrawn(ids: &[u64], capacity: u32) -> (Arc<RequestRing>, Producer) {
        let ring = Arc::new(RequestRing::new(capacity));
        let mut producer = Producer::new(Arc::clone(&ring));
        for id in ids {
            let position = producer.try_push(*id).expect("there is room");
            assert!(*id <= 100 || ring.withdraw(position, || true));
        }
        (ring, producer)
    }

    fn is_left(id: u64) -> bool {
        id <= 100
    }

    /// Claims the next one, as a consumer does that finds out what was withdrawn.
    fn claim(ring: &RequestRing) -> Option<u64> {
        core::iter::from_fn(|| ring.claim()).find(|id| {
            is_left(*id) || {
                ring.passed_leftover();
                false
            }
        })
    }

    #[test]
    fn what_was_withdrawn_is_no_part_of_a_piece_and_of_what_is_taken() {
        let (ring, mut producer) = with_withdrawn(&[101, 102, 1, 103, 104, 105, 2, 106, 3, 107], 16);
        assert_eq!(producer.publish_up_to(1, is_left), (10, 1));
        assert_eq!((ring.len(), producer.taken(is_left)), (3, (0, 1)));
        assert_eq!((claim(&ring), claim(&ring), producer.taken(is_left)), (Some(1), None, (1, 0)));
        assert_eq!((producer.publish_up_to(2, is_left), producer.taken(is_left)), ((0, 2), (0, 2)));
        assert_eq!((producer.publish_up_to(2, is_left), ring.len()), ((0, 0), 2), "they see two");
        assert_eq!((claim(&ring), claim(&ring), claim(&ring)), (Some(2), Some(3), None));
        assert_eq!((producer.taken(is_left), producer.has_unshown()), ((2, 0), true), "what is left over");
        assert_eq!((producer.publish_up_to(2, is_left), producer.has_unshown(), ring.len()), ((0, 0), false, 0));
    }

    #[test]
    fn a_ring_that_is_cleared_shows_as_much_as_before() {
        for piece in 0..4 {
            let (ring, mut producer) = with_withdrawn(&[101, 1, 102, 103, 2, 3, 104, 4], 8);
            assert_eq!(producer.publish_up_to(piece, is_left), (8, piece));
            let mut places = Vec::new();
            let moved = producer.compact(|id, place| {
                places.extend(is_left(id).then_some((id, place)));
                is_left(id)
            });
            assert_eq!((moved, ring.len(), producer.has_leftovers()), ((0, piece), 4, false));
            assert_eq!(places, [(1, 8), (2, 9), (3, 10), (4, 11)]);
            assert_eq!((producer.taken(is_left), producer.space(8)), ((0, piece), 4));
            let seen: Vec<u64> = core::iter::from_fn(|| claim(&ring)).collect();
            assert_eq!((seen.len() as u64, seen.is_sorted()), (piece, true));
            assert_eq!(producer.taken(is_left), (piece, 0), "what clearing claims was not taken");
            assert_eq!(producer.publish_up_to(u64::MAX, is_left), (0, 4 - piece));
            assert_eq!(core::iter::from_fn(|| claim(&ring)).last(), Some(4));
        }
    }

    #[test]
    fn what_is_shown_counts_once_however_others_look() {
        const IDS: u64 = 1 << 15;
        let ring = Arc::new(RequestRing::new(1 << 15));
        let mut producer = Producer::new(Arc::clone(&ring));
        for id in 1..=IDS {
            assert!(producer.try_push(id).is_ok());
        }
        assert_eq!(producer.publish_up_to(0, |_| true), (IDS, 0));
        std::thread::scope(|scope| {
            // It owns one end, and drops the other's when it has shown all.
            scope.spawn(move || (1..=IDS).for_each(|_| producer.show_up_to(producer.shown() + 1)));
            while Arc::strong_count(&ring) > 1 {
                assert_eq!(ring.len(), IDS);
            }
        });
        assert_eq!(ring.len(), IDS);
    }

    #[test]
    fn each_id_is_claimed_by_exactly_one_of_many_consumers() {
        const IDS: u64 = 50_000;
        let ring = Arc::new(RequestRing::new(64));
        let claimed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        match ring.claim() {
                            Some(u64::MAX) => break,
                            Some(id) => mine.push(id),
                            None => std::thread::yield_now(),
                        }
                    }
                    assert!(mine.is_sorted(), "a consumer sees ids in order");
                    claimed.lock().expect("no panic").append(&mut mine);
                });
            }
            let mut producer = Producer::new(Arc::clone(&ring));
            for id in (1..=IDS).chain([u64::MAX; 3]) {
                while producer.try_push(id).is_err() {
                    std::thread::yield_now();
                }
                producer.publish();
            }
        });
        let mut all = claimed.into_inner().expect("no panic");
        all.sort_unstable();
        assert_eq!(all, (1..=IDS).collect::<Vec<_>>());
    }
}
