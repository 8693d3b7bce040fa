//! The way back: a list of answered slots, linked through the slots themselves. Many producers, one consumer.
//!
//! The algorithm is Treiber's stack with the consumer taking everything at once, so that no address can be popped and
//! pushed again under a producer's feet (no ABA), and it cannot be full: a slot is in it at most once. A push is one
//! compare-and-swap, which is also the fence the sleeper's order needs; a ring with a fetch-and-add needs two.
//!
//! Invariants: who pushes a slot owns it until the push and does not touch it after that; nothing is lost or taken
//! twice; slots that one thread has pushed are taken in the order of its pushes.
//!
//! Not here: the responses themselves (`exchange`), and waking the shard that takes them (`notifier`).

use core::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use super::slot::{Slot, SlotLink};

/// A slot that has come back: its response is the shard's from when it [accepts](super::ShardSide::accept) it.
#[derive(Debug)]
#[must_use = "a slot that is not accepted is lost"]
pub(crate) struct Completion(pub(super) Slot);

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    top: CachePadded<SlotLink>,
}

impl Completions {
    /// Puts a slot back. `link` is the slot's own, which gets the slot below it; the caller owns the slot and gives it
    /// away here.
    ///
    /// Sequentially consistent: a flag read after this cannot be older than the push.
    #[inline]
    pub(crate) fn push(&self, slot: Slot, link: &SlotLink) {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            link.store(top, Ordering::Relaxed);
            match self.top.compare_exchange_weak(top, Some(slot), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Whether nothing waits. Sequentially consistent, for the sleeper's second look.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.top.load(Ordering::SeqCst).is_none()
    }

    /// Takes everything, oldest first, appending what is made of the slots to `out`.
    #[inline]
    pub(crate) fn take<'a, T>(&self, out: &mut Vec<T>, link: impl Fn(Slot) -> &'a SlotLink, make: impl Fn(Slot) -> T) {
        if self.top.load(Ordering::Relaxed).is_none() {
            return;
        }
        let mut next = self.top.swap(None, Ordering::AcqRel);
        let first = out.len();
        while let Some(slot) = next {
            out.push(make(slot));
            next = link(slot).load(Ordering::Relaxed);
        }
        out[first..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::slot::SlotTable;

    fn links(slots: u32) -> SlotTable<SlotLink> {
        let mut links = SlotTable::with_capacity(slots);
        (0..slots).for_each(|_| links.push(SlotLink::default()));
        links
    }

    #[test]
    fn gives_slots_back_oldest_first() {
        let links = links(4);
        let returns = Completions::default();
        for slot in [2, 0, 3].map(Slot::new) {
            returns.push(slot, &links[slot]);
        }
        assert!(!returns.is_empty());
        let mut out = vec![9];
        returns.take(&mut out, |slot| &links[slot], Slot::number);
        assert_eq!(out, [9, 2, 0, 3]);
        assert!(returns.is_empty());
    }

    #[test]
    fn loses_and_doubles_nothing_under_many_producers() {
        const EACH: u32 = 20_000;
        let links = links(3 * EACH);
        let returns = Completions::default();
        let mut out = Vec::new();
        std::thread::scope(|scope| {
            for producer in 0..3 {
                let (links, returns) = (&links, &returns);
                scope.spawn(move || {
                    for slot in (producer * EACH..(producer + 1) * EACH).map(Slot::new) {
                        returns.push(slot, &links[slot]);
                    }
                });
            }
            while out.len() < 3 * EACH as usize {
                returns.take(&mut out, |slot| &links[slot], Slot::number);
                std::thread::yield_now();
            }
        });
        for producer in 0..3 {
            let of_one = out.iter().filter(|slot| **slot / EACH == producer);
            assert!(of_one.is_sorted(), "answers of one thread stay in order");
        }
        out.sort_unstable();
        assert!(out.iter().copied().eq(0..3 * EACH));
    }
}
