//! One shard's request slots, as the shard and the applications see them.
//!
//! Invariants: the record and the received bytes of a slot do not change while a handle lives; the response area and
//! the response belong to whoever set ANSWERED, until the slot is in the completions; the response of a slot that is
//! free has no tail.
//!
//! Not here: what a slot's word says (`word`), what the shard does with its slots (`shard_side`), what applications do
//! by handle (`lease`) and by id (`by_id`), what a response is (`answered`), and which received bytes a slot holds
//! (`holdings`).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::io;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::answered::{Answered, LINE_BYTES, ResponseFlags};
use super::body::{Chain, SlotBody};
use super::commands::{Command, Commands};
use super::completions::Completions;
use super::driving::LocalCompletions;
use super::notifier::Notifier;
use super::signals::{Signals, SlotSignals};
use super::slot::{Slot, SlotLink};
use super::word::{ANSWERED, CANCELLED, CLOSED, COMPLETING, DEAD, HANDLE, LEFT, OPEN, generation_of, word_of};
use crate::id::{Generation, Origin, QueueNumber, RequestId, ShardId};
use crate::mem::{Area, Arena, ArenaSizes};

/// In the place of a count of orphans: the shard has not ended.
const RUNS: i64 = -1;

/// What the shard tells the application about a request: plain data that says which bytes it may read.
pub(crate) trait Record: Copy + Send + Sync + 'static {
    /// What all requests of a shard have in common.
    type Facts: Send + Sync + 'static;
    /// How a request ended: nobody frees the slot of one that was published, or that is answered, without it.
    type End;
    /// What a slot holds before its first use.
    const EMPTY: Self;
    /// Bytes used of the slot's cooked area.
    fn cooked_bytes(&self) -> u32;
}

/// Where the received bytes of a request are in the arena. Made only by who makes the slot hold them (`holdings`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl Received {
    pub(super) const NOTHING: Self = Self { offset: 0, len: 0 };
}

/// Slots begin at cache lines. A record's size is to make them an odd number of lines apart: a power of two apart, the
/// first lines of all slots would fall into the same few cache sets.
#[repr(C, align(64))]
pub(super) struct SharedSlot<R> {
    pub(super) word: AtomicU64,
    pub(super) number: Slot,
    pub(super) link: SlotLink,
    /// The `QueueNumber` of the queue that the request was published for, written before the word.
    pub(super) queue: AtomicU32,
    /// Where the slot's cells of the arena are, for received bytes and for its response: written once.
    pub(super) head_at: u64,
    pub(super) response_at: u64,
    pub(super) answer: UnsafeCell<Answered>,
    pub(super) received: UnsafeCell<Received>,
    pub(super) record: UnsafeCell<R>,
    /// Behind the record, whose beginning every request reads: few have signals.
    pub(super) signals: SlotSignals,
    /// When a consumer took the request, in microseconds, where that is measured.
    pub(super) taken: AtomicU64,
    pub(super) body: SlotBody,
}

/// Bytes of a slot that carries a record: for who makes the record to see to the distance.
pub(crate) const fn slot_bytes<R>() -> usize {
    size_of::<SharedSlot<R>>()
}

/// Sizes of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of requests that are not over.
    pub(crate) slots: u32,
    /// And so many more of those that are over and that a handle still reads.
    pub(crate) departed: u32,
    pub(crate) arena: ArenaSizes,
}

/// See the module's head.
pub(crate) struct Exchange<R: Record> {
    engine: u64,
    /// The most requests that are not over.
    capacity: u32,
    /// Entries of all rings whose requests were withdrawn.
    leftovers: AtomicU64,
    pub(super) shard: ShardId,
    pub(super) origin: Origin,
    /// What all requests of the shard have in common.
    pub(super) facts: R::Facts,
    /// Slots below the shard's high-water mark are initialised; no other one has ever been published.
    pub(super) slots: Box<[UnsafeCell<MaybeUninit<SharedSlot<R>>>]>,
    /// How many slots are initialised, for those who come with an id; and how many of those refer to one.
    pub(super) initialised: AtomicU64,
    pub(super) visitors: CachePadded<AtomicU32>,
    pub(super) arena: Arc<Arena>,
    /// How received buffers follow each other in bodies.
    pub(super) chain: Chain,
    pub(super) completions: Completions,
    /// Slots with signals, linked through `SlotSignals::link`.
    pub(super) signals: Completions,
    pub(super) commands: Commands,
    /// Outlives the exchange: it is notified after a slot has been given away, when the exchange may be gone.
    notifier: &'static Notifier,
    /// Handles that have outlived the shard, plus one while it counts them; [`RUNS`] before.
    pub(super) orphans: AtomicI64,
    pub(super) local: LocalCompletions,
}

// SAFETY: the shared parts are atomics and plain data that is handed over by them: records are written by the shard
// before `publish` (Release through the request ring) and read by the claimer (Acquire); answers are written by who set
// ANSWERED and read by the shard after `Completions::take` (Acquire). `local` sees to it that one thread at a time has
// its list (`driving`).
unsafe impl<R: Record> Sync for Exchange<R> {}
// SAFETY: as for Sync; nothing in it is bound to the thread that made it.
unsafe impl<R: Record> Send for Exchange<R> {}

impl<R: Record> core::fmt::Debug for Exchange<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Exchange").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl<R: Record> Exchange<R> {
    /// An exchange without its shard side.
    pub(super) fn without_side(
        engine: u64,
        shard: ShardId,
        origin: Origin,
        facts: R::Facts,
        sizes: &Sizes,
    ) -> io::Result<Arc<Self>> {
        let of_slots = (sizes.slots + sizes.departed) as usize;
        let slots = Box::<[UnsafeCell<MaybeUninit<SharedSlot<R>>>]>::new_uninit_slice(of_slots);
        // SAFETY: a cell of a `MaybeUninit` is valid whatever its bytes are. Not touching them keeps unused slots from
        // becoming resident.
        let slots = unsafe { slots.assume_init() };
        let arena = Arc::new(Arena::new(&sizes.arena)?);
        Ok(Arc::new(Self {
            engine,
            capacity: sizes.slots,
            leftovers: AtomicU64::new(0),
            shard,
            origin,
            facts,
            slots,
            initialised: AtomicU64::new(0),
            visitors: CachePadded::default(),
            // A buffer is in two chains at most: see `holdings`.
            chain: Chain::new(2 * arena.buffers()),
            arena,
            completions: Completions::default(),
            signals: Completions::default(),
            commands: Commands::default(),
            notifier: Notifier::take()?,
            orphans: AtomicI64::new(RUNS),
            local: LocalCompletions::with_capacity(sizes.slots + sizes.departed),
        }))
    }

    /// The engine this shard belongs to: a number of this process, never 0.
    pub(crate) fn engine(&self) -> u64 {
        self.engine
    }

    /// The most requests that can be under way at a time.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The arena, for the ring that lends its receive buffers to the kernel.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    pub(crate) fn notifier(&self) -> &'static Notifier {
        self.notifier
    }

    /// The slot of a number, if there is one that is used, free or not.
    ///
    /// # Safety
    /// 1. As long as the caller has it, it is among the [visitors](Self::visitors): the shard gives no slot up then.
    #[inline]
    pub(super) unsafe fn find(&self, number: u32) -> Option<&SharedSlot<R>> {
        let is_used = u64::from(number) < self.initialised.load(Ordering::SeqCst);
        // SAFETY: the mark was looked at after the caller was counted (duty 1), so the shard, which lowers it first,
        // leaves the slot as it is.
        is_used.then(|| unsafe { self.initialised_at(number) })
    }

    /// The slot that an id names.
    ///
    /// # Safety
    /// 1. The id was published by this exchange, and its slot is in use, or what was left of it in a ring is
    ///    [counted](Self::add_leftover): as long as the caller has this.
    #[inline]
    pub(super) unsafe fn published(&self, id: RequestId) -> &SharedSlot<R> {
        // SAFETY: duty 1: a slot is initialised before it is published, and stays so while it is in use, or while a
        // leftover is counted (`trim`).
        unsafe { self.initialised_at(self.origin.slot(id)) }
    }

    /// The slot of a number.
    ///
    /// # Safety
    /// 1. It is initialised, and stays so as long as the caller has it.
    #[inline]
    unsafe fn initialised_at(&self, number: u32) -> &SharedSlot<R> {
        let slot = self.slots[number as usize].get();
        // SAFETY: the pointer is that of an element; slots are written whole by `allocate_fresh` before they count as
        // initialised, and used only through their atomics and cells afterwards.
        let slot = unsafe { &*slot };
        // SAFETY: by duty 1.
        unsafe { slot.assume_init_ref() }
    }

    /// What every response of this engine says.
    pub(crate) fn facts(&self) -> &R::Facts {
        &self.facts
    }

    /// Sets ANSWERED and lets `fill` write the area; the caller gives the slot back. `None`: the request is over.
    #[inline]
    pub(super) fn fill<E>(
        &self,
        slot: &SharedSlot<R>,
        generation: Generation,
        flags: ResponseFlags,
        fill: impl FnOnce(&R, &mut [u8]) -> Result<Answered, E>,
    ) -> Option<Result<(), E>> {
        let open = word_of(generation, OPEN | HANDLE);
        if !self.set_answered(slot, open) {
            return None;
        }
        // SAFETY: this thread has just set ANSWERED, so the area of the slot is its own until the push below.
        let area = unsafe { self.arena.write(slot.response_at, self.area_bytes()) };
        // SAFETY: the record of a published slot is not written before the slot is freed, which needs the push below.
        let record = unsafe { &*slot.record.get() };
        let unfilled = Unfilled { exchange: self, slot };
        match fill(record, area) {
            Ok(answered) => {
                core::mem::forget(unfilled);
                // SAFETY: as for the area: the response belongs to who set ANSWERED.
                let place = unsafe { &mut *slot.answer.get() };
                // Part by part: a whole put together in memory and copied would be read before its parts have arrived
                // there, which stalls.
                debug_assert!(place.tail.is_none(), "whoever freed this slot took its tail");
                place.status = answered.status;
                place.head = answered.head;
                place.body_len = answered.body_len;
                place.flags = answered.flags.with(flags);
                // Most answers have no tail, and neither has a free slot: to see to the end of either would be a call.
                core::mem::forget(if answered.tail.is_none() {
                    answered.tail
                } else {
                    core::mem::replace(&mut place.tail, answered.tail)
                });
                Some(Ok(()))
            }
            Err(error) => {
                drop(unfilled);
                Some(Err(error))
            }
        }
    }

    /// Bytes of a response area: what follows it in its cell is the shard's.
    pub(crate) fn area_bytes(&self) -> u32 {
        self.arena.cell_bytes(Area::Response) - LINE_BYTES
    }

    /// Counts an entry of a ring as one that is left of a request whose handle the shard takes.
    pub(super) fn add_leftover(&self) {
        self.leftovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whoever had such an entry looks at the slot no more.
    pub(super) fn remove_leftover(&self) {
        self.leftovers.fetch_sub(1, Ordering::Release);
    }

    /// Whether somebody may look at a slot that is free because of what was left in a ring.
    pub(super) fn has_leftovers(&self) -> bool {
        self.leftovers.load(Ordering::Acquire) > 0
    }

    /// For the shard: takes the handle of a request that is over, which nobody has claimed. `false`: somebody has, and
    /// passes it over.
    pub(super) fn take_handle(slot: &SharedSlot<R>) -> bool {
        let take = |word: u64| (word & HANDLE != 0).then_some(word & !HANDLE);
        slot.word.fetch_update(Ordering::SeqCst, Ordering::Acquire, take).is_ok()
    }

    /// For the shard, which answers in the application's place: `false` when somebody has answered before.
    pub(super) fn claim_response(&self, slot: &SharedSlot<R>) -> bool {
        let generation = generation_of(slot.word.load(Ordering::Acquire));
        self.set_answered(slot, word_of(generation, OPEN | HANDLE))
    }

    /// The slot's request, if it came through a queue, can no longer be answered by id. `true`: nobody has its handle,
    /// and the response is the shard's, as of [`claim_response`](Self::claim_response).
    pub(super) fn close_to_ids(&self, slot: &SharedSlot<R>, queue: QueueNumber) -> bool {
        let held_by_id = |word: u64| word & (OPEN | HANDLE | CLOSED) == OPEN;
        let close = |word: u64| match word {
            _ if held_by_id(word) => Some(word | ANSWERED | COMPLETING),
            _ if word & OPEN != 0 => Some(word | LEFT),
            _ => None,
        };
        slot.queue.load(Ordering::Relaxed) == queue.0
            && slot.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, close).is_ok_and(held_by_id)
    }

    /// After a failed answer: the request is open again, or, if its client or shard has gone meanwhile, over. One that
    /// was cancelled meanwhile is left to the shard.
    #[cold]
    fn take_answered_back(&self, slot: &SharedSlot<R>) {
        let abandoned = |word: u64| word & (LEFT | CANCELLED | HANDLE) == LEFT;
        let over = |word: u64| abandoned(word) || (word & DEAD != 0 && word & HANDLE == 0);
        let take = |word: u64| Some(if over(word) { word } else { word & !(ANSWERED | COMPLETING) });
        let before = slot.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).unwrap_or_else(|word| word);
        if over(before) {
            let flags = if before & DEAD != 0 { ResponseFlags::RECLAIM } else { ResponseFlags::ABANDONED };
            // SAFETY: still ANSWERED and without a handle, the slot is this thread's until the push.
            unsafe { *slot.answer.get() = Answered { flags, ..Answered::default() } };
            // SAFETY: duty 1: as above. Duty 2: who tried to answer has the handle or came with the id, and with it an
            // `Arc` or a count of the exchange. Duty 3: who answers has the slot of this exchange.
            unsafe { Self::give_back(self, NonNull::from(slot)) };
        }
    }

    #[inline]
    fn set_answered(&self, slot: &SharedSlot<R>, open: u64) -> bool {
        let mut seen = open;
        loop {
            let answered = seen | ANSWERED | COMPLETING;
            // Sequentially consistent for `RequestRing::withdraw`.
            match slot.word.compare_exchange(seen, answered, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => {
                    let closed = now & (OPEN | CLOSED) != OPEN;
                    if closed || generation_of(now) != generation_of(open) {
                        return false;
                    }
                    // Only HANDLE, or what does not matter here, differs from the guess.
                    seen = now;
                }
            }
        }
    }

    /// Puts a slot that this thread owns, marked COMPLETING, into the completions.
    ///
    /// The push is the last touch of the exchange: its shard may end, and with it the exchange, right after. Hence a
    /// pointer: a reference would promise that there is an exchange until this completions.
    ///
    /// # Safety
    /// 1. The slot's answer is the caller's, and it has set COMPLETING.
    /// 2. `this` is an exchange for as long as the slot is not in the completions.
    /// 3. The slot is one of its.
    #[inline]
    pub(super) unsafe fn give_back(this: *const Self, place: NonNull<SharedSlot<R>>) {
        // SAFETY: by duty 2; the reference is not used after the push.
        let exchange = unsafe { &*this };
        // SAFETY: by duty 3, as the exchange.
        let SharedSlot { number: slot, link, .. } = unsafe { place.as_ref() };
        let slot = *slot;
        if exchange.local.push(slot) {
            return;
        }
        let (notifier, engine) = (exchange.notifier, exchange.engine);
        exchange.completions.push(slot, link);
        notifier.notify_or_defer(engine);
    }

    /// Tells the shard about a slot whose handle the caller has.
    pub(super) fn tell(&self, slot: &SharedSlot<R>, signals: Signals) {
        let place = &slot.signals;
        if place.add(signals) {
            self.signals.push(slot.number, &place.link);
        }
        // At once, also within a batch: whoever streams goes on with other things.
        self.notifier.notify();
    }

    /// Leaves a command for the shard, and wakes it at once, also within a batch.
    pub(crate) fn command(&self, command: Command) {
        self.commands.put(command);
        self.notifier.notify();
    }

    /// Requests that applications still hold of a shard that has ended; `None`: it has not, or nobody can say.
    pub(crate) fn orphans(&self) -> Option<u64> {
        u64::try_from(self.orphans.load(Ordering::Acquire)).ok()
    }

    /// Takes one off the count of orphans; the last one takes the exchange with it.
    ///
    /// # Safety
    /// 1. `this` comes from [`Arc::as_ptr`], and the caller's part of the count of orphans is still counted.
    /// 2. The caller does not use the exchange after this, unless it has an `Arc` of it.
    #[cold]
    pub(super) unsafe fn release_orphan(this: *const Self) {
        // SAFETY: `ShardSide::end` leaked one strong count, which is released when the count of orphans reaches 0; by
        // duty 1 it has not.
        let orphans = unsafe { &(*this).orphans };
        if orphans.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the leaked count is released once, since the orphans reach 0 once, and through the pointer that
            // the `Arc` gave. Nobody uses the exchange after this, by duty 2.
            unsafe { Arc::decrement_strong_count(this) };
        }
    }
}

/// The right to answer of who has claimed it and not answered yet: given back by who fails, also by a panic. Nobody
/// else can answer meanwhile, and the shard's end waits.
struct Unfilled<'e, R: Record> {
    exchange: &'e Exchange<R>,
    slot: &'e SharedSlot<R>,
}

impl<R: Record> Drop for Unfilled<'_, R> {
    #[cold]
    fn drop(&mut self) {
        self.exchange.take_answered_back(self.slot);
    }
}

impl<R: Record> Drop for Exchange<R> {
    fn drop(&mut self) {
        self.notifier.put_back();
        let initialised = self.initialised.load(Ordering::Acquire);
        for slot in self.slots.iter_mut().take(usize::try_from(initialised).unwrap_or(0)) {
            // SAFETY: the slots below `initialised` are, and nobody else has a reference to the exchange.
            unsafe { slot.get_mut().assume_init_drop() };
        }
    }
}
