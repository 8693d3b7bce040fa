//! A bounded ring of request ids: one producer (a shard), many consumers that claim with one compare-and-swap.
//!
//! The algorithm is the stealing side of a Chase-Lev deque without the owner's pop, as work-stealing schedulers use it:
//! consumers read entries first and own them only if the head is still where they saw it.
//!
//! Invariants: each id is claimed once, in the order of the pushes; consumers see nothing that is not published; a push
//! to a full ring fails and overwrites nothing. What is withdrawn leaves its entry behind, which counts no more and is
//! taken out when the ring is full of such. What is published can be shown in pieces: it counts, but is not to be
//! claimed yet.
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
    /// Entries behind that which are published and not shown yet.
    unshown: AtomicU64,
    /// Entries of requests that were withdrawn. Who claims one takes it off a moment later.
    leftovers: AtomicU64,
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
            unshown: AtomicU64::new(0),
            leftovers: AtomicU64::new(0),
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

    /// Ids published, and neither claimed nor withdrawn.
    pub(crate) fn len(&self) -> u64 {
        // The head first: a tail read after it cannot lie behind it. What is shown meanwhile may count twice.
        let head = self.head.load(Ordering::Acquire);
        let unshown = self.unshown.load(Ordering::Acquire);
        let entries = self.tail.load(Ordering::Acquire) - head + unshown;
        entries.saturating_sub(self.leftovers.load(Ordering::Relaxed))
    }

    /// Whether there is something to claim, if only what was withdrawn.
    pub(crate) fn shows_any(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire) > head
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
        self.leftovers.fetch_add(1, Ordering::Relaxed);
        let is_taken = take();
        if !is_taken {
            self.passed_leftover();
        }
        is_taken
    }

    /// An entry that was claimed was one left behind.
    #[cold]
    pub(super) fn passed_leftover(&self) {
        self.leftovers.fetch_sub(1, Ordering::Relaxed);
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
    /// The head when it was last asked how many were taken.
    head_asked: u64,
}

impl Producer {
    pub(super) fn new(ring: Arc<RequestRing>) -> Self {
        Self { ring, tail: 0, published: 0, unshown: 0, head_seen: 0, head_asked: 0 }
    }

    /// Ids in the ring, written or published, that are not withdrawn: as an upper bound when at most `enough`, else
    /// exactly.
    #[inline]
    pub(super) fn len(&mut self, enough: u64) -> u64 {
        let leftovers = self.ring.leftovers.load(Ordering::Relaxed);
        if (self.tail - self.head_seen).saturating_sub(leftovers) >= enough {
            self.head_seen = self.ring.head.load(Ordering::Acquire);
        }
        (self.tail - self.head_seen).saturating_sub(leftovers)
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
        self.ring.leftovers.load(Ordering::Relaxed) > 0
    }

    /// Whether no entry is free, as after so many requests that were withdrawn.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        self.space(1) == 0
    }

    /// Takes what was withdrawn out of the ring, which leaves the rest in its order, and publishes all. `position` says
    /// of each id whether it is left, and is told where it is from now on. Gives how many ids were written and not
    /// published before, and how many others have another place now; who sleeps is to be woken for both.
    #[cold]
    pub(super) fn compact(&mut self, mut position: impl FnMut(u64, u64) -> bool) -> (u64, u64) {
        let fresh = self.publish_all();
        let mut moved = 0;
        // As a consumer among the others. What is written again is not published meanwhile, so this ends.
        while let Some(id) = self.ring.claim() {
            if position(id, self.tail) {
                let written = self.try_push(id);
                debug_assert!(written.is_ok(), "an entry was claimed for it");
                moved += 1;
            } else {
                self.ring.passed_leftover();
            }
        }
        let _ = self.publish();
        (fresh, moved)
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
        self.publish_up_to(u64::MAX).0
    }

    /// Publishes what has been written since the last call, and shows of all that is published what comes next, until
    /// consumers see `most` ids that nobody has claimed. Says how many ids are published, and how many shown.
    #[cold]
    pub(crate) fn publish_up_to(&mut self, most: u64) -> (u64, u64) {
        let shown_before = self.published - self.unshown;
        let fresh = self.tail - core::mem::replace(&mut self.published, self.tail);
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        let shown = self.head_seen.saturating_add(most).clamp(shown_before, self.tail);
        self.unshown = self.tail - shown;
        self.ring.tail.store(shown, Ordering::Release);
        self.ring.unshown.store(self.unshown, Ordering::Release);
        (fresh, shown - shown_before)
    }

    /// Whether something is published and not shown.
    pub(crate) fn has_unshown(&self) -> bool {
        self.unshown > 0
    }

    /// How many ids have been claimed since this was asked last, and how many consumers still see.
    pub(crate) fn taken(&mut self) -> (u64, u64) {
        let head = self.ring.head.load(Ordering::Acquire);
        let taken = head - core::mem::replace(&mut self.head_asked, head);
        (taken, self.published - self.unshown - head)
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
                    let published = if can_all { (producer.publish(), fresh) } else { producer.publish_up_to(most) };
                    assert_eq!(published, (fresh, missing));
                    (0..missing).for_each(|_| visible.extend(written.pop_front()));
                    assert_eq!(producer.has_unshown(), !written.is_empty());
                    unpublished = 0;
                }
                2 => {
                    assert_eq!(producer.taken(), (core::mem::take(&mut taken), visible.len() as u64));
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
