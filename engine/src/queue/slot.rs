//! The number of a request slot, and tables that have an entry for each.
//!
//! Invariants: a [`Slot`] is made in this room alone, of a slot that its exchange has initialised. Nobody can make one
//! up, count with it, or take another number for one; a table of slots is indexed by nothing else. A shard has the
//! slots of one exchange, so none of another's comes to its tables.
//!
//! Not here: what a slot holds (`exchange`, `holdings`).

use core::num::NonZeroU32;
use core::ops::{Index, IndexMut};
use core::sync::atomic::{AtomicU32, Ordering};

use crate::mem::give_back_room;

/// Which request slot of its shard; "none" costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(NonZeroU32);

const _: () = assert!(size_of::<Option<Slot>>() == size_of::<u32>());

impl Slot {
    /// For who knows that there is a slot of this number, below 2^24, and that it is initialised.
    #[inline]
    pub(super) fn new(number: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(number))
    }

    /// Its number, counted from 0: what an id and the slot's cells of the arena are named by.
    #[inline]
    pub(super) fn number(self) -> u32 {
        self.0.get() - 1
    }
}

/// A place for a slot that several threads see: the slot of a list, or none.
#[derive(Debug, Default)]
pub(crate) struct SlotLink(AtomicU32);

impl SlotLink {
    pub(super) const fn empty() -> Self {
        Self(AtomicU32::new(0))
    }

    fn bits(slot: Option<Slot>) -> u32 {
        slot.map_or(0, |slot| slot.0.get())
    }

    fn of_bits(bits: u32) -> Option<Slot> {
        // What is not 0 was a slot when it was put there.
        NonZeroU32::new(bits).map(Slot)
    }

    #[inline]
    pub(super) fn load(&self, order: Ordering) -> Option<Slot> {
        Self::of_bits(self.0.load(order))
    }

    #[inline]
    pub(super) fn store(&self, slot: Option<Slot>, order: Ordering) {
        self.0.store(Self::bits(slot), order);
    }

    #[inline]
    pub(super) fn swap(&self, slot: Option<Slot>, order: Ordering) -> Option<Slot> {
        Self::of_bits(self.0.swap(Self::bits(slot), order))
    }

    /// As of [`AtomicU32::compare_exchange_weak`].
    #[inline]
    pub(super) fn compare_exchange_weak(
        &self,
        seen: Option<Slot>,
        slot: Option<Slot>,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Option<Slot>, Option<Slot>> {
        let result = self.0.compare_exchange_weak(Self::bits(seen), Self::bits(slot), success, failure);
        result.map(Self::of_bits).map_err(Self::of_bits)
    }
}

/// A table with an entry for each slot of a shard.
#[derive(Debug)]
pub(crate) struct SlotTable<T>(Vec<T>);

impl<T> SlotTable<T> {
    /// Without entries yet, and with room for so many.
    pub(crate) fn with_capacity(slots: u32) -> Self {
        Self(Vec::with_capacity(slots as usize))
    }

    /// An entry for the slot that is used for the first time: slots are, in the order of their numbers.
    pub(crate) fn push(&mut self, entry: T) {
        self.0.push(entry);
    }

    /// The entry of a slot, if there is a slot.
    #[inline(always)]
    pub(crate) fn find(&self, slot: Option<Slot>) -> Option<&T> {
        // Of no slot this is no place: there are fewer of them.
        self.0.get(SlotLink::bits(slot).wrapping_sub(1) as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps the entries of the first so many slots, and gives back the memory of the others.
    pub(crate) fn truncate(&mut self, slots: u32) {
        self.0.truncate(slots as usize);
        give_back_room(&mut self.0);
    }
}

impl<T: Clone> SlotTable<T> {
    /// Of so many slots, each with this entry.
    pub(crate) fn filled(slots: u32, entry: T) -> Self {
        Self(vec![entry; slots as usize])
    }
}

impl<T> Index<Slot> for SlotTable<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, slot: Slot) -> &T {
        &self.0[slot.number() as usize]
    }
}

impl<T> IndexMut<Slot> for SlotTable<T> {
    #[inline(always)]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.0[slot.number() as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_place_for_each_slot_and_none_for_no_slot() {
        let mut table = SlotTable::filled(2, 'a');
        let (first, last) = (Slot::new(0), Slot::new(1));
        table[last] = 'b';
        assert_eq!((table[first], table.find(Some(last)), table.find(None)), ('a', Some(&'b'), None));
        assert_eq!((table.find(Some(Slot::new(2))), table.len()), (None, 2));
    }

    #[test]
    fn a_link_gives_what_it_was_given() {
        let (link, slot) = (SlotLink::empty(), Slot::new(0));
        assert_eq!(link.load(Ordering::Relaxed), None);
        link.store(Some(slot), Ordering::Relaxed);
        assert_eq!(link.compare_exchange_weak(None, None, Ordering::Relaxed, Ordering::Relaxed), Err(Some(slot)));
        assert_eq!((link.swap(None, Ordering::Relaxed), link.load(Ordering::Relaxed)), (Some(slot), None));
    }
}
