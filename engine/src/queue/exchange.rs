//! One shard's request slots, as the shard and the applications see them.
//!
//! A slot's word holds its generation and four marks; every transition but the shard's own is a compare-and-swap on it:
//!
//! ```text
//!             publish              answer (by handle or id)        taken, sent
//!   free ───────────────▶ HANDLE ───────────────────────▶ ANSWERED ───────────▶ free, generation + 1
//!                            │ detach                        ▲ answer by id
//!                            └──────────────▶ (no mark) ─────┘
//!   DEAD:   the client is gone; nobody can answer any more. The slot is free once the handle is dropped.
//!   SENT:   answered by id and sent, but the handle still reads the head. The slot is free once it is dropped.
//!   ORPHAN: the shard has ended; the last orphan to be dropped takes the exchange with it.
//! ```
//!
//! Laws: the record and the received bytes of a slot do not change while a handle lives; the response area and the
//! answer belong to whoever set ANSWERED, until the slot is in the returns.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicBool, AtomicU64, Ordering, fence};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::bell::Bell;
use super::returns::{Link, Returns};
use crate::id::{RequestId, ShardId};
use crate::mem::{Area, Arena, ArenaSizes, Lent};

const HANDLE: u64 = 1;
const ANSWERED: u64 = 2;
const DEAD: u64 = 4;
const SENT: u64 = 8;
const ORPHAN: u64 = 16;
const MARKS: u64 = 31;
const GENERATION_SHIFT: u32 = 32;

const fn word_of(generation: u32, marks: u64) -> u64 {
    ((generation as u64) << GENERATION_SHIFT) | marks
}

/// What the shard tells the application about a request: plain data that says which bytes it may read.
pub(crate) trait Record: Copy + Send + Sync + 'static {
    /// What every answer of an engine says; for those who write answers.
    type Imprint: Send + Sync + 'static;
    /// What a slot holds before its first use.
    const EMPTY: Self;
    /// Offset and length of the received head and body in the arena.
    fn received(&self) -> (u64, u32);
    /// Bytes used of the slot's cooked area.
    fn cooked_bytes(&self) -> u32;
}

/// What the application tells the shard about its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnswerFlags(u8);

impl AnswerFlags {
    /// No answer was given: the handle was dropped.
    pub(crate) const ABANDONED: Self = Self(1);
    /// The handle that answered is gone with its answer.
    const BY_HANDLE: Self = Self(2);
    /// The slot only returns to be freed.
    const RECLAIM: Self = Self(4);
    /// The application wants the connection closed after this answer.
    pub(crate) const CLOSE: Self = Self(8);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What an application filled in: see [`Exchange::answer`].
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Bytes of the response area that are to be sent.
    pub(crate) area_len: u32,
    /// Where in the area the Date value goes, filled in by the shard; 0 for nowhere.
    pub(crate) date_at: u16,
    pub(crate) flags: AnswerFlags,
    /// What is to be sent after the area.
    pub(crate) tail: Option<Bytes>,
}

#[repr(C, align(64))]
struct Slot<R> {
    word: AtomicU64,
    link: Link,
    answer: UnsafeCell<Answered>,
    record: UnsafeCell<R>,
}

/// Sizes of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) slots: u32,
    pub(crate) arena: ArenaSizes,
}

/// See the module's head.
pub(crate) struct Exchange<R: Record> {
    engine: u64,
    shard: ShardId,
    /// What every answer of this engine says; for those who write answers.
    imprint: R::Imprint,
    /// Slots below the shard's high-water mark are initialised; no other one has ever been published.
    slots: Box<[UnsafeCell<MaybeUninit<Slot<R>>>]>,
    /// How many slots are initialised, for those who come with an id.
    initialised: AtomicU64,
    arena: Arc<Arena>,
    returns: Returns,
    bell: Bell,
    ended: AtomicBool,
    /// Handles that have outlived the shard, plus one while it counts them.
    orphans: AtomicI64,
    local: LocalReturns,
}

/// Answers given on the shard's own thread (co-located mode): no atomics, no bell.
struct LocalReturns(UnsafeCell<Vec<u32>>);

std::thread_local! {
    /// The exchange whose shard this thread drives, in co-located mode.
    static DRIVEN: core::cell::Cell<*const ()> = const { core::cell::Cell::new(core::ptr::null()) };
}

// SAFETY: the shared parts are atomics and plain data that is handed over by them: records are written by the shard
// before `publish` (Release through the request ring) and read by the claimer (Acquire); answers are written by who set
// ANSWERED and read by the shard after `Returns::take` (Acquire). `local` is used by the thread in `DRIVEN` only.
unsafe impl<R: Record> Sync for Exchange<R> {}
// SAFETY: as for Sync; nothing in it is bound to the thread that made it.
unsafe impl<R: Record> Send for Exchange<R> {}

impl<R: Record> core::fmt::Debug for Exchange<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Exchange").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl<R: Record> Exchange<R> {
    /// Makes an exchange, and the one shard side of it.
    pub(crate) fn new(engine: u64, shard: ShardId, imprint: R::Imprint, sizes: &Sizes) -> io::Result<(Arc<Self>, ShardSide<R>)> {
        let exchange = Arc::new(Self {
            engine,
            shard,
            imprint,
            slots: (0..sizes.slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            initialised: AtomicU64::new(0),
            arena: Arc::new(Arena::new(&sizes.arena)?),
            returns: Returns::default(),
            bell: Bell::new()?,
            ended: AtomicBool::new(false),
            orphans: AtomicI64::new(0),
            local: LocalReturns(UnsafeCell::new(Vec::with_capacity(sizes.slots as usize))),
        });
        let side = ShardSide { exchange: Arc::clone(&exchange), high_water: 0, free: Vec::with_capacity(sizes.slots as usize) };
        Ok((exchange, side))
    }

    /// The engine this shard belongs to: a number of this process, never 0.
    pub(crate) fn engine(&self) -> u64 {
        self.engine
    }

    /// The arena, for the ring that lends its receive buffers to the kernel.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    #[inline]
    fn slot(&self, slot: u32) -> &Slot<R> {
        let slot = self.slots[slot as usize].get();
        // SAFETY: the pointer is that of an element; slots are written whole by `allocate_fresh` before anybody refers to
        // them, and only through their atomics and cells afterwards.
        let slot = unsafe { &*slot };
        // SAFETY: every caller has a slot that was published, or one below the shard's high-water mark: the shard
        // initialises a slot before it counts it, and ids from outside are compared with `initialised` first.
        unsafe { slot.assume_init_ref() }
    }

    /// Answers a request by id. See [`Lease::answer`].
    pub(crate) fn answer_by_id<E>(
        &self,
        id: RequestId,
        fill: impl FnOnce(&R, &mut [u8]) -> Result<Answered, E>,
    ) -> Option<Result<(), E>> {
        let (_, generation, slot) = id.parts();
        if u64::from(slot) >= self.initialised.load(Ordering::Acquire) {
            return None;
        }
        let filled = self.fill(slot, generation, AnswerFlags::default(), fill);
        if let Some(Ok(())) = filled {
            self.give_back(slot);
        }
        filled
    }

    /// What every answer of this engine says.
    pub(crate) fn imprint(&self) -> &R::Imprint {
        &self.imprint
    }

    /// Whether the request can still be answered.
    pub(crate) fn is_open(&self, id: RequestId) -> bool {
        let (_, generation, slot) = id.parts();
        u64::from(slot) < self.initialised.load(Ordering::Acquire)
            && matches!(self.slot(slot).word.load(Ordering::Acquire), word
                if word >> GENERATION_SHIFT == u64::from(generation) && word & (ANSWERED | DEAD | ORPHAN) == 0)
    }

    /// Sets ANSWERED and lets `fill` write the area; the caller gives the slot back. `None`: the request is over.
    #[inline]
    fn fill<E>(
        &self,
        number: u32,
        generation: u32,
        flags: AnswerFlags,
        fill: impl FnOnce(&R, &mut [u8]) -> Result<Answered, E>,
    ) -> Option<Result<(), E>> {
        let slot = self.slot(number);
        let open = word_of(generation, if flags.has(AnswerFlags::BY_HANDLE) { HANDLE } else { 0 });
        if !self.set_answered(slot, open) {
            return None;
        }
        let offset = self.arena.offset(Area::Response, number);
        // SAFETY: this thread has just set ANSWERED, so the area of the slot is its own until the push below.
        let area = unsafe { self.arena.write(offset, self.arena.cell_bytes(Area::Response)) };
        // SAFETY: the record of a published slot is not written before the slot is freed, which needs the push below.
        let record = unsafe { &*slot.record.get() };
        match fill(record, area) {
            Ok(mut answered) => {
                answered.flags = answered.flags.with(flags);
                // SAFETY: as for the area: the answer belongs to who set ANSWERED.
                unsafe { *slot.answer.get() = answered };
                Some(Ok(()))
            }
            Err(error) => {
                self.take_answered_back(slot, number);
                Some(Err(error))
            }
        }
    }

    /// After a failed answer: the request is open again, or, if its client left meanwhile, over.
    #[cold]
    fn take_answered_back(&self, slot: &Slot<R>, number: u32) {
        let before = slot.word.fetch_and(!ANSWERED, Ordering::AcqRel);
        if before & DEAD != 0 && before & HANDLE == 0 {
            // SAFETY: dead and without a handle, the slot is this thread's until the push.
            unsafe { (*slot.answer.get()).flags = AnswerFlags::RECLAIM };
            self.give_back(number);
        }
    }

    #[inline]
    fn set_answered(&self, slot: &Slot<R>, open: u64) -> bool {
        let mut seen = open;
        loop {
            match slot.word.compare_exchange(seen, seen | ANSWERED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) if generation_of(now) != generation_of(open) || now & (ANSWERED | DEAD | ORPHAN) != 0 => {
                    return false;
                }
                // Only HANDLE differs from the guess.
                Err(now) => seen = now,
            }
        }
    }

    /// Puts a slot that this thread owns into the returns.
    #[inline]
    fn give_back(&self, slot: u32) {
        if DRIVEN.with(core::cell::Cell::get) == core::ptr::from_ref(self).cast() {
            // SAFETY: only the thread that drives this exchange's shard comes here, and neither this nor the shard side
            // keeps the borrow over a call.
            unsafe { (*self.local.0.get()).push(slot) };
            return;
        }
        self.returns.push(slot, &self.slot(slot).link);
        if self.ended.load(Ordering::SeqCst) {
            self.sweep();
        } else {
            self.bell.ring_or_owe(self.engine, self.shard.0);
        }
    }

    /// After the shard's end: whoever gives a slot back takes all that wait and frees the orphans among them.
    #[cold]
    fn sweep(&self) {
        let mut slots = Vec::new();
        self.returns.take(&mut slots, |slot| &self.slot(slot).link);
        let orphans = slots.iter().filter(|slot| {
            let slot = self.slot(**slot);
            // SAFETY: the slot was in the returns, which this thread has emptied: its answer is this thread's.
            let answer = unsafe { &mut *slot.answer.get() };
            answer.tail = None;
            answer.flags.has(AnswerFlags::BY_HANDLE) && slot.word.load(Ordering::Acquire) & ORPHAN != 0
        });
        for _ in 0..orphans.count() {
            self.release_orphan();
        }
    }

    #[cold]
    fn release_orphan(&self) {
        if self.orphans.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: `ShardSide::end` leaked one strong count, for the last orphan to release, and the count reaches 0
            // once. Nobody uses `self` after this: the caller's handle is gone.
            unsafe { Arc::decrement_strong_count(core::ptr::from_ref(self)) };
        }
    }
}

impl<R: Record> Drop for Exchange<R> {
    fn drop(&mut self) {
        let initialised = self.initialised.load(Ordering::Acquire);
        for slot in self.slots.iter_mut().take(usize::try_from(initialised).unwrap_or(0)) {
            // SAFETY: the slots below `initialised` are, and nobody else has a reference to the exchange.
            unsafe { slot.get_mut().assume_init_drop() };
        }
    }
}

/// Proof that a lease's answer has been filled in, to be submitted.
#[derive(Debug)]
pub(crate) struct Filled(());

/// The right to read one request, and to answer it unless somebody answers by id first. `Send`, one a request.
pub(crate) struct Lease<R: Record> {
    exchange: NonNull<Exchange<R>>,
    slot: u32,
    generation: u32,
}

// SAFETY: a lease is an index into an exchange, which is Sync, plus the exclusive right described above.
unsafe impl<R: Record> Send for Lease<R> {}
// SAFETY: `&Lease` only reads the record and bytes that do not change while the lease lives.
unsafe impl<R: Record> Sync for Lease<R> {}

impl<R: Record> Lease<R> {
    /// Makes the lease of an id that was just claimed from a request ring; `None` when the client is gone meanwhile.
    ///
    /// # Safety
    /// 1. `id` was published by `exchange` and claimed by the caller: nobody else makes a lease of it.
    #[inline]
    pub(super) unsafe fn claim(exchange: &Exchange<R>, id: RequestId) -> Option<Self> {
        let (_, generation, slot) = id.parts();
        let lease = Self { exchange: NonNull::from(exchange), slot, generation };
        let dead = exchange.slot(slot).word.load(Ordering::Acquire) & (DEAD | ORPHAN) != 0;
        // A dead request's lease is dropped here, which frees its slot.
        (!dead).then_some(lease)
    }

    #[inline]
    fn exchange(&self) -> &Exchange<R> {
        // SAFETY: the exchange outlives its leases: it is dropped after its shard side has ended, which counts every
        // lease as an orphan and keeps a strong count until the last one is released.
        unsafe { self.exchange.as_ref() }
    }

    pub(crate) fn id(&self) -> RequestId {
        RequestId::new(self.exchange().shard, self.generation, self.slot)
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.exchange().shard
    }

    /// What every answer of this engine says.
    pub(crate) fn imprint(&self) -> &R::Imprint {
        &self.exchange().imprint
    }

    #[inline]
    pub(crate) fn record(&self) -> &R {
        // SAFETY: the shard wrote the record before it published the slot and does not touch it while a handle is out.
        unsafe { &*self.exchange().slot(self.slot).record.get() }
    }

    /// The received head and body.
    #[inline]
    pub(crate) fn received(&self) -> &[u8] {
        let (offset, len) = self.record().received();
        // SAFETY: the shard pinned these bytes for this request before it published it; it neither writes them nor gives
        // their buffer back to the kernel while a handle is out.
        unsafe { self.exchange().arena.read(offset, len) }
    }

    /// The decoded path, where the record says there is one.
    pub(crate) fn cooked(&self) -> &[u8] {
        let exchange = self.exchange();
        let offset = exchange.arena.offset(Area::Cooked, self.slot);
        // SAFETY: as for `received`: the cooked area belongs to the slot.
        unsafe { exchange.arena.read(offset, self.record().cooked_bytes()) }
    }

    /// Claims the right to answer and lets `fill` write the response area (which starts with anything). `None`: the
    /// request was over. After `Some(Ok)` the answer goes with [`submit`](Self::submit).
    #[inline]
    pub(crate) fn fill<E>(&self, fill: impl FnOnce(&mut [u8]) -> Result<Answered, E>) -> Option<Result<Filled, E>> {
        let flags = AnswerFlags::BY_HANDLE;
        let filled = self.exchange().fill(self.slot, self.generation, flags, |_, area| fill(area));
        filled.map(|result| result.map(|()| Filled(())))
    }

    /// Gives the filled answer, and with it the handle, to the shard.
    #[inline]
    pub(crate) fn submit(self, _filled: Filled) {
        self.exchange().give_back(self.slot);
        core::mem::forget(self);
    }

    /// Gives the handle up; the request lives on and can be answered by id.
    pub(crate) fn detach(self) -> RequestId {
        let id = self.id();
        let before = self.exchange().slot(self.slot).word.fetch_and(!HANDLE, Ordering::AcqRel);
        self.handle_gone(before);
        core::mem::forget(self);
        id
    }

    /// After HANDLE has been cleared from `before`: frees the slot if that is all it waited for.
    fn handle_gone(&self, before: u64) {
        let exchange = self.exchange();
        if before & ORPHAN != 0 {
            exchange.release_orphan();
        } else if before & SENT != 0 || before & (DEAD | ANSWERED) == DEAD {
            // SAFETY: sent or dead and without a handle, the slot is this thread's until the push.
            unsafe { (*exchange.slot(self.slot).answer.get()).flags = AnswerFlags::RECLAIM };
            exchange.give_back(self.slot);
        }
    }
}

impl<R: Record> Drop for Lease<R> {
    /// A handle dropped without an answer abandons its request: the shard answers 500.
    fn drop(&mut self) {
        let exchange = self.exchange();
        let slot = exchange.slot(self.slot);
        let mut before = slot.word.load(Ordering::Acquire);
        loop {
            let open = before & (ANSWERED | DEAD | ORPHAN) == 0;
            let after = (before & !HANDLE) | if open { ANSWERED } else { 0 };
            match slot.word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if open => {
                    // SAFETY: this thread has just set ANSWERED: the answer is its own until the push.
                    unsafe { *slot.answer.get() = Answered { flags: AnswerFlags::ABANDONED, ..Answered::default() } };
                    return exchange.give_back(self.slot);
                }
                Ok(_) => return self.handle_gone(before),
                Err(now) => before = now,
            }
        }
    }
}

/// What has become of a slot whose client is gone, or whose answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The slot is free again, and so is what it pinned.
    Free,
    /// A handle still reads it; it comes back through the returns.
    Held,
}

/// The shard's side of an exchange: there is one, and it alone frees slots.
#[derive(Debug)]
pub(crate) struct ShardSide<R: Record> {
    exchange: Arc<Exchange<R>>,
    /// Slots ever used: those below are initialised.
    high_water: u32,
    free: Vec<u32>,
}

/// Marks the current thread as the one that drives a shard, until dropped.
#[derive(Debug)]
pub(crate) struct Driving {
    outer: *const (),
}

impl Drop for Driving {
    fn drop(&mut self) {
        DRIVEN.with(|driven| driven.set(self.outer));
    }
}

impl<R: Record> ShardSide<R> {
    pub(crate) fn exchange(&self) -> &Exchange<R> {
        &self.exchange
    }

    /// From now on answers given on this thread return without atomics. The shard side must stay on this thread.
    pub(crate) fn drive_here(&self) -> Driving {
        let me = Arc::as_ptr(&self.exchange).cast();
        Driving { outer: DRIVEN.with(|driven| driven.replace(me)) }
    }

    /// Takes a free slot; its record is that of its last use.
    #[inline]
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| self.allocate_fresh())
    }

    #[cold]
    fn allocate_fresh(&mut self) -> Option<u32> {
        let number = self.high_water;
        if number as usize >= self.exchange.slots.len() {
            return None;
        }
        let place = self.exchange.slots[number as usize].get();
        let slot = Slot {
            word: AtomicU64::new(word_of(1, 0)),
            link: Link::new(0),
            answer: UnsafeCell::new(Answered::default()),
            record: UnsafeCell::new(R::EMPTY),
        };
        // SAFETY: nobody refers to a slot at or above `initialised`, and only this one shard side raises that.
        let place = unsafe { &mut *place };
        place.write(slot);
        self.high_water = number + 1;
        self.exchange.initialised.store(u64::from(self.high_water), Ordering::Release);
        Some(number)
    }

    /// Slots in use.
    pub(crate) fn in_use(&self) -> usize {
        self.high_water as usize - self.free.len()
    }

    /// The record of a slot that the shard has allocated and not published.
    #[inline]
    pub(crate) fn record_mut(&mut self, slot: u32) -> &mut R {
        debug_assert!(self.word(slot) & MARKS == 0, "a published record is not written");
        // SAFETY: the slot is allocated and has no handle (asserted above), and `&mut self` is the only shard side.
        unsafe { &mut *self.exchange.slot(slot).record.get() }
    }

    /// The record of a slot in use.
    #[inline]
    pub(crate) fn record(&self, slot: u32) -> &R {
        // SAFETY: records change only through `record_mut`, which borrows the one shard side exclusively.
        unsafe { &*self.exchange.slot(slot).record.get() }
    }

    fn word(&self, slot: u32) -> u64 {
        self.exchange.slot(slot).word.load(Ordering::Acquire)
    }

    /// The arena, for offsets and for lending.
    pub(crate) fn arena(&self) -> &Arena {
        &self.exchange.arena
    }

    /// Bytes of a cell that the shard owns.
    ///
    /// The shard owns: receive buffers in use as far as no published request names their bytes, assembly and coalescing
    /// cells it has taken, and the response and cooked cells of slots it has allocated or taken back.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, offset: u64, len: u32) -> &mut [u8] {
        // SAFETY: by the ownership above, which `shard::input`, `shard::output` keep; `&mut self` keeps the shard from
        // making two overlapping ones.
        unsafe { self.exchange.arena.write(offset, len) }
    }

    /// Reads bytes that the shard owns, or that it has published and not freed.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, len: u32) -> &[u8] {
        // SAFETY: published bytes are only read by everybody; others are the shard's own.
        unsafe { self.exchange.arena.read(offset, len) }
    }

    /// Bytes to copy from, the record to parse into, and the cooked area: three disjoint places at once.
    #[inline]
    pub(crate) fn parse_view(&mut self, offset: u64, len: u32, slot: u32) -> (&[u8], &mut R, &mut [u8]) {
        debug_assert!(self.word(slot) & MARKS == 0, "a published record is not written");
        let exchange = &*self.exchange;
        let cooked = exchange.arena.offset(Area::Cooked, slot);
        // SAFETY: the shard owns the received bytes; nobody writes them during the borrow.
        let input = unsafe { exchange.arena.read(offset, len) };
        // SAFETY: the slot is allocated and unpublished, so its record is the shard's alone.
        let record = unsafe { &mut *exchange.slot(slot).record.get() };
        // SAFETY: as for the record; the cooked area is disjoint from all received bytes by the arena's layout.
        let scratch = unsafe { exchange.arena.write(cooked, exchange.arena.cell_bytes(Area::Cooked)) };
        (input, record, scratch)
    }

    /// Copies between two disjoint ranges that the shard owns.
    #[inline]
    pub(crate) fn copy(&mut self, from: u64, to: u64, len: u32) {
        assert!(from + u64::from(len) <= to || to + u64::from(len) <= from, "ranges overlap");
        // SAFETY: the shard owns both ranges, and they are disjoint by the assertion.
        let source = unsafe { self.exchange.arena.read(from, len) };
        // SAFETY: as above.
        let target = unsafe { self.exchange.arena.write(to, len) };
        target.copy_from_slice(source);
    }

    /// Makes the slot's request answerable, and gives the id to put into a request ring.
    #[inline]
    pub(crate) fn publish(&mut self, slot: u32) -> RequestId {
        let word = &self.exchange.slot(slot).word;
        let now = word.load(Ordering::Relaxed);
        debug_assert!(now & MARKS == 0, "a slot is published once");
        // Release: an answer by id may see this word before the request ring's tail.
        word.store(now | HANDLE, Ordering::Release);
        RequestId::new(self.exchange.shard, generation_of(now), slot)
    }

    /// Takes a published slot back that could not be queued.
    pub(crate) fn unpublish(&mut self, slot: u32) {
        self.exchange.slot(slot).word.fetch_and(!HANDLE, Ordering::AcqRel);
    }

    /// Whether anything waits in the returns; sequentially consistent.
    pub(crate) fn returns_empty(&self) -> bool {
        // SAFETY: only the driving thread touches `local`, and this is it (or nobody drives).
        let local = unsafe { &*self.exchange.local.0.get() };
        local.is_empty() && self.exchange.returns.is_empty()
    }

    /// Takes all slots that have come back.
    #[inline]
    pub(crate) fn take_returns(&mut self, out: &mut Vec<u32>) {
        // SAFETY: as in `returns_empty`.
        let local = unsafe { &mut *self.exchange.local.0.get() };
        out.append(local);
        self.exchange.returns.take(out, |slot| &self.exchange.slot(slot).link);
    }

    /// What was answered in a slot taken from the returns, or by the shard itself.
    #[inline]
    pub(crate) fn answer_mut(&mut self, slot: u32) -> &mut Answered {
        // SAFETY: a slot that has come back, or was never published, belongs to the shard, as does its answer.
        unsafe { &mut *self.exchange.slot(slot).answer.get() }
    }

    /// Whether a slot came back only to be freed.
    pub(crate) fn only_reclaims(&mut self, slot: u32) -> bool {
        self.answer_mut(slot).flags.has(AnswerFlags::RECLAIM)
    }

    /// The client of a published, unanswered request is gone.
    pub(crate) fn kill(&mut self, slot: u32) -> Fate {
        let before = self.exchange.slot(slot).word.fetch_or(DEAD, Ordering::AcqRel);
        if before & (HANDLE | ANSWERED) == 0 {
            self.free(slot);
            return Fate::Free;
        }
        Fate::Held
    }

    /// The answer of a slot is sent, or will never be: frees the slot unless a handle still reads it.
    #[inline]
    pub(crate) fn finish(&mut self, slot: u32) -> Fate {
        let answer = self.answer_mut(slot);
        let by_handle = answer.flags.has(AnswerFlags::BY_HANDLE) || answer.flags.has(AnswerFlags::ABANDONED);
        if answer.tail.is_some() {
            answer.tail = None;
        }
        if !by_handle {
            let before = self.exchange.slot(slot).word.fetch_or(SENT, Ordering::AcqRel);
            if before & HANDLE != 0 {
                return Fate::Held;
            }
        }
        self.free(slot);
        Fate::Free
    }

    /// Frees a slot that the shard owns; late answers by id meet the next generation.
    #[inline]
    pub(crate) fn free(&mut self, slot: u32) {
        let word = &self.exchange.slot(slot).word;
        let generation = generation_of(word.load(Ordering::Relaxed)).wrapping_add(1).max(1);
        word.store(word_of(generation, 0), Ordering::Release);
        self.free.push(slot);
    }

    /// Lends the first `len` bytes of a slot's response area for a send.
    #[inline]
    pub(crate) fn lend_response(&self, slot: u32, len: u32) -> Lent {
        self.arena().lend(self.arena().offset(Area::Response, slot), len)
    }

    /// Ends the shard: no request can be answered any more, and the exchange goes with the last handle that is out.
    pub(crate) fn end(self) {
        let exchange = &self.exchange;
        // The count that the last orphan releases; the 1 keeps it from reaching 0 while orphans are counted.
        core::mem::forget(Arc::clone(exchange));
        exchange.orphans.store(1, Ordering::SeqCst);
        for slot in 0..self.high_water {
            exchange.orphans.fetch_add(1, Ordering::AcqRel);
            let before = exchange.slot(slot).word.fetch_or(DEAD | ORPHAN, Ordering::AcqRel);
            if before & HANDLE == 0 {
                exchange.orphans.fetch_sub(1, Ordering::AcqRel);
            }
        }
        exchange.ended.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        exchange.sweep();
        // SAFETY: only the driving thread touches `local`, and it is the one that ends the shard.
        let local = core::mem::take(unsafe { &mut *exchange.local.0.get() });
        local.iter().for_each(|slot| exchange.returns.push(*slot, &exchange.slot(*slot).link));
        exchange.sweep();
        exchange.release_orphan();
    }
}

fn generation_of(word: u64) -> u32 {
    u32::try_from(word >> GENERATION_SHIFT).unwrap_or(1)
}
