//! Slots come into use one behind the other, and go when they are not used any more: their memory goes back to the
//! system.
//!
//! Invariants: only slots that are free, and above all that are not, are given up; a place that is used again has a
//! later generation than it ever had, so that an id of the past finds nothing. Nobody else refers to a slot that is
//! free but those who come with an id (`by_id`), who are counted while they do, and those who claim what was left in a
//! request ring, which is counted until they have passed it over: with one of these about, all stays.
//!
//! Not here: what free slots have in the arena (`holdings`).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::answered::Answered;
use super::body::SlotBody;
use super::exchange::{Received, Record, SharedSlot};
use super::owned::Holding;
use super::shard_side::ShardSide;
use super::signals::SlotSignals;
use super::slot::{Slot, SlotLink};
use super::word::{generation_of, word_of};
use crate::mem::{Area, give_back_places};

/// Slots that stay, and how many more there must be to be worth it; few in simulations, which have few.
const KEPT: u32 = if cfg!(test) { 4 } else { 64 };

impl<R: Record> ShardSide<R> {
    /// The next slot that is not used so far.
    #[cold]
    pub(super) fn allocate_fresh(&mut self) -> Option<Slot> {
        if !self.free.may_initialise(self.high_water) {
            return None;
        }
        let place = self.exchange.slots.get(self.high_water as usize)?.get();
        let number = Slot::new(self.high_water);
        let slot = SharedSlot {
            word: AtomicU64::new(word_of(self.fresh, 0)),
            number,
            link: SlotLink::empty(),
            queue: AtomicU32::new(0),
            head_at: self.arena().offset(Area::Head, number.number()),
            response_at: self.arena().offset(Area::Response, number.number()),
            answer: UnsafeCell::new(Answered::default()),
            received: UnsafeCell::new(Received::NOTHING),
            record: UnsafeCell::new(R::EMPTY),
            signals: SlotSignals::default(),
            taken: AtomicU64::new(0),
            body: SlotBody::new(),
        };
        // SAFETY: nobody refers to a slot at or above `initialised`, and only this one shard side raises that.
        let place = unsafe { &mut *place };
        place.write(slot);
        self.high_water += 1;
        self.holdings.push(Holding::NOTHING);
        self.exchange.initialised.store(u64::from(self.high_water), Ordering::Release);
        Some(number)
    }

    /// Gives up the last slots, as far as they are free, but for so many first ones. Gives how many are left: the
    /// shard's own tables are to have no more.
    pub(crate) fn trim(&mut self, first: usize) -> u32 {
        let first = u32::try_from(first).unwrap_or(u32::MAX).max(KEPT);
        let left = self.free.last_in_use(self.high_water).max(first);
        if self.high_water < left.saturating_add(KEPT) || !self.close_from(left) {
            return self.high_water;
        }
        let gone = (left..self.high_water).map(Slot::new);
        self.fresh = gone.map(|slot| generation_of(self.word(slot))).fold(self.fresh, Ord::max);
        for number in left..self.high_water {
            let place = self.exchange.slots[number as usize].get();
            // SAFETY: nobody refers to a slot at or above `initialised` (`close_from`), which is the shard's alone.
            let place = unsafe { &mut *place };
            // SAFETY: it was initialised, since the mark was above it, and the mark is lowered below.
            unsafe { place.assume_init_drop() };
        }
        for area in [Area::Head, Area::Response, Area::Cooked] {
            // SAFETY: cells of slots that are free, as in `give_memory_back`.
            unsafe { self.exchange.arena.discard(area, left..self.high_water) };
        }
        self.high_water = left;
        self.free.trim(left);
        self.holdings.truncate(left);
        self.free.give_back_room();
        let count = self.exchange.slots.len() - left as usize;
        // SAFETY: of that many places this one is the first of the last so many.
        let first = unsafe { self.slots.add(left as usize) };
        let mut places = NonNull::slice_from_raw_parts(first.cast::<MaybeUninit<SharedSlot<R>>>(), count);
        // SAFETY: places of the exchange, which lives as long as this; as above, they are the shard's alone now, and
        // none has a value.
        give_back_places(unsafe { places.as_mut() });
        left
    }

    /// From now on nobody finds a slot from this one on, nor refers to one. `false`: somebody may.
    fn close_from(&mut self, left: u32) -> bool {
        let exchange = &self.exchange;
        // In the one order of all such operations, who is not counted here comes after the lower mark, and finds it.
        exchange.initialised.store(u64::from(left), Ordering::SeqCst);
        let nobody_comes = exchange.visitors.load(Ordering::SeqCst) == 0 && !exchange.has_leftovers();
        let is_closed = nobody_comes && exchange.signals.is_empty();
        if !is_closed {
            exchange.initialised.store(u64::from(self.high_water), Ordering::SeqCst);
        }
        is_closed
    }
}
