//! Which slots of a shard are free, and how many may be in use: of requests that are not over, and apart from these, of
//! those that have departed, which a handle still reads.
//!
//! Invariants: at most `slots` requests are not over; those that have departed take none of these places, up to a
//! number of their own, and beyond it count like the others; some places are kept back, and only lent to who asks for
//! one of these. The slot freed last is used first, while it is still in
//! cache, and one that was used before one that never was.
//!
//! Not here: what is in a slot (`exchange`), and when one is free or departs (`shard_side`).

use core::ops::Range;

use super::slot::Slot;
use crate::mem::{cold_runs, give_back_room};

/// See the module's head.
#[derive(Debug)]
pub(super) struct FreeSlots {
    free: Vec<Slot>,
    /// Free as well, and left alone: slots that were used in a place that is closed since, of those that had departed
    /// and have come back, or that were lent and are kept back again.
    parked: Vec<Slot>,
    /// Slots that may be initialised by now: one more for each place that opens while none is parked.
    limit: u32,
    departed: u32,
    departed_max: u32,
    /// Places that are kept back, and how many of these are not lent.
    reserve: u32,
    kept_back: u32,
}

impl FreeSlots {
    pub(super) fn new(slots: u32, departed_max: u32) -> Self {
        let capacity = (slots + departed_max) as usize;
        Self {
            free: Vec::with_capacity(capacity),
            parked: Vec::with_capacity(capacity),
            limit: slots,
            departed: 0,
            departed_max,
            reserve: 0,
            kept_back: 0,
        }
    }

    /// From now on so many of the places are only [lent](Self::lend). Nothing is in use yet.
    pub(super) fn keep_back(&mut self, places: u32) {
        self.limit -= places;
        (self.reserve, self.kept_back) = (places, places);
    }

    /// How many places are kept back, or lent of those.
    pub(super) fn reserve(&self) -> u32 {
        self.reserve
    }

    /// How many of them are not lent.
    pub(super) fn kept_back(&self) -> u32 {
        self.kept_back
    }

    /// One of the places that are kept back is anybody's, if there is one.
    pub(super) fn lend(&mut self) {
        if let Some(left) = self.kept_back.checked_sub(1) {
            self.kept_back = left;
            self.open_place();
        }
    }

    /// What was lent is kept back again, as far as it is free. So many slots are initialised.
    pub(super) fn refill(&mut self, initialised: u32) {
        while self.kept_back < self.reserve && self.close_place(initialised) {
            self.kept_back += 1;
        }
    }

    /// Another slot may be in use.
    fn open_place(&mut self) {
        match self.parked.pop() {
            Some(slot) => self.free.push(slot),
            None => self.limit += 1,
        }
    }

    /// One slot less may be in use. `false`: all are.
    fn close_place(&mut self, initialised: u32) -> bool {
        match self.free.pop() {
            Some(slot) => self.parked.push(slot),
            None if self.may_initialise(initialised) => self.limit -= 1,
            None => return false,
        }
        true
    }

    /// A slot that was used before.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<Slot> {
        self.free.pop()
    }

    #[inline(always)]
    pub(super) fn give(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// Whether one can be had, of which so many are initialised.
    pub(super) fn has_any(&self, initialised: u32) -> bool {
        !self.free.is_empty() || self.may_initialise(initialised)
    }

    /// Whether another one may be initialised.
    pub(super) fn may_initialise(&self, initialised: u32) -> bool {
        initialised < self.limit
    }

    /// How many of those that are initialised are free.
    pub(super) fn count(&self) -> usize {
        self.free.len() + self.parked.len()
    }

    /// Slots in use of requests that have departed.
    pub(super) fn departed(&self) -> u32 {
        self.departed
    }

    /// A request in a slot in use has departed: another one may be in its place.
    pub(super) fn depart(&mut self) {
        self.departed += 1;
        if self.departed <= self.departed_max {
            self.open_place();
        }
    }

    /// The slot of a request that had departed has just been [given](Self::give) back.
    pub(super) fn come_back(&mut self) {
        self.departed -= 1;
        if self.departed < self.departed_max {
            self.parked.extend(self.free.pop());
        }
    }

    /// From now on those with the lowest numbers are used first.
    fn sort(&mut self) {
        let parked = self.parked.len();
        self.free.append(&mut self.parked);
        // Those that are taken first are at the end.
        self.free.sort_unstable_by(|one, other| other.cmp(one));
        self.parked.extend(self.free.drain(..parked));
    }

    /// The numbers of all but so many of those that are free, in runs that lie side by side. The others have lower
    /// numbers, and are used first from now on.
    pub(super) fn cold(&mut self, warm: u64) -> impl Iterator<Item = Range<u32>> {
        self.sort();
        cold_runs(&mut self.parked, 0, Slot::number).chain(cold_runs(&mut self.free, warm, Slot::number))
    }

    /// How many of so many that are initialised are not among the last ones that are free.
    pub(super) fn last_in_use(&mut self, initialised: u32) -> u32 {
        self.sort();
        let free = self.parked.iter().chain(&self.free);
        let last = (0..initialised).rev().zip(free).take_while(|(number, slot)| slot.number() == *number);
        initialised - u32::try_from(last.count()).unwrap_or(0)
    }

    /// Only so many are initialised from now on: the others were free.
    pub(super) fn trim(&mut self, left: u32) {
        self.free.retain(|slot| slot.number() < left);
        let parked = self.parked.len();
        self.parked.retain(|slot| slot.number() < left);
        self.limit -= u32::try_from(parked - self.parked.len()).unwrap_or(0);
    }

    /// The memory of the lists that they do not use goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        give_back_room(&mut self.free);
        give_back_room(&mut self.parked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a slot that is free, or else one that was never used.
    fn allocating() -> impl FnMut(&mut FreeSlots) -> Option<Slot> {
        let mut initialised = 0;
        move |slots| {
            slots.take().or_else(|| {
                let slot = slots.may_initialise(initialised).then(|| Slot::new(initialised))?;
                initialised += 1;
                Some(slot)
            })
        }
    }

    #[test]
    fn those_that_have_departed_take_no_place_up_to_a_number() {
        let mut slots = FreeSlots::new(4, 2);
        let mut allocate = allocating();
        let mut used: Vec<Slot> = core::iter::from_fn(|| allocate(&mut slots)).collect();
        assert_eq!(used.len(), 4);
        slots.depart();
        slots.depart();
        slots.depart();
        used.extend(core::iter::from_fn(|| allocate(&mut slots)));
        assert_eq!((used.len(), slots.departed()), (6, 3), "the third one counts like the others");
        for _ in 0..3 {
            slots.give(used.pop().expect("six"));
            slots.come_back();
            // What came back first had taken a place that others can have.
            used.extend(allocate(&mut slots));
            assert_eq!(used.len(), 4 + slots.departed() as usize, "{slots:?}");
        }
        slots.depart();
        used.extend(core::iter::from_fn(|| allocate(&mut slots)));
        assert_eq!((used.len(), slots.has_any(6)), (5, false));
        used.drain(..).for_each(|slot| slots.give(slot));
        slots.come_back();
        slots.sort();
        let order: Vec<Slot> = core::iter::from_fn(|| slots.take()).collect();
        assert!(order.is_sorted() && order.len() == 4, "{order:?}");
    }

    #[test]
    fn what_is_kept_back_is_lent_and_comes_back_first() {
        let mut slots = FreeSlots::new(4, 2);
        slots.keep_back(2);
        let mut allocate = allocating();
        let mut used: Vec<Slot> = core::iter::from_fn(|| allocate(&mut slots)).collect();
        assert_eq!((used.len(), slots.kept_back()), (2, 2));
        for left in [1, 0, 0] {
            slots.lend();
            used.extend(allocate(&mut slots));
            assert_eq!((used.len(), slots.kept_back()), (4 - left as usize, left));
        }
        // Those that have departed open places that are not kept back.
        slots.depart();
        used.extend(allocate(&mut slots));
        assert_eq!(used.len(), 5);
        slots.give(used.pop().expect("five"));
        slots.come_back();
        for kept_back in [1, 2] {
            slots.give(used.pop().expect("some"));
            slots.refill(5);
            assert_eq!((slots.kept_back(), slots.take()), (kept_back, None));
        }
        slots.give(used.pop().expect("two"));
        slots.refill(5);
        assert!(slots.take().is_some() && slots.take().is_none());
        used.drain(..).for_each(|slot| slots.give(slot));
        slots.lend();
        slots.lend();
        assert_eq!(core::iter::from_fn(|| slots.take()).count(), 3);
    }
}
