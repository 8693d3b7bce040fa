//! The shard's side of an exchange: the only one that allocates, publishes and frees slots.
//!
//! Invariants: there is one for each exchange; it owns every byte of the arena that is not the kernel's, a lease's or
//! a responder's; it ends with its shard and leaves what leases still read to the last of them.
//!
//! Not here: the marks of a slot and who may set them (`exchange`), which bytes a slot holds (`holdings`), and how
//! requests end and are counted (`shard::dispatch`).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::io;
use std::sync::Arc;

use super::answered::{Answered, ResponseFlags, Tail};
use super::body::{Reader, SlotBody};
use super::commands::Command;
use super::completions::Completion;
use super::driving::Driving;
use super::exchange::{Exchange, Received, Record, SharedSlot, Sizes};
use super::free_slots::FreeSlots;
use super::owned::{CellPools, Holding, Links, Stage};
use super::request_ring::Published;
use super::signals::Signals;
use super::slot::{Slot, SlotTable};
use super::word::{CANCELLED, COMPLETING, DEAD, HANDLE, INFORMATIONAL_ONE, MARKS, OPEN, SENT, generation_of, word_of};
use crate::id::{Generation, Origin, QueueNumber, RequestId, ShardId};
use crate::mem::{Area, Arena, Blank, Extent, Lent, Poison, ReceiveBuffers};

/// What has become of a slot whose client is gone, or whose response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    /// The slot is free again, and so is what it pinned.
    Free,
    /// A handle still reads it; it comes back through the completions.
    Held,
}

/// The shard's side of an exchange: there is one, and it alone frees slots.
#[derive(Debug)]
pub(crate) struct ShardSide<R: Record> {
    pub(super) exchange: Arc<Exchange<R>>,
    /// The exchange's slots: on a request's way there are a dozen looks at one.
    pub(super) slots: NonNull<UnsafeCell<MaybeUninit<SharedSlot<R>>>>,
    /// Slots that were used: those below are initialised. Their generation when they are used for the first time.
    pub(super) high_water: u32,
    pub(super) fresh: Generation,
    pub(super) free: FreeSlots,
    /// What each slot ever used holds.
    pub(super) holdings: SlotTable<Holding>,
    pub(super) links: Links,
    pub(crate) buffers: ReceiveBuffers,
    pub(crate) cells: CellPools,
    /// Of the head, response and cooked areas of slots that are free.
    poison: [Poison; 3],
    pub(super) ended: bool,
}

// SAFETY: the pointer is to memory of the exchange, which is Send and Sync and goes with this; all else in it is Send.
unsafe impl<R: Record> Send for ShardSide<R> {}

/// The cooked area of a slot that the shard has allocated and not published: there is one at a time, made by
/// [`ShardSide::parse_view`], and most requests do not touch it.
pub(crate) struct Scratch<'a, R: Record> {
    exchange: &'a Exchange<R>,
    slot: Slot,
}

impl<R: Record> Scratch<'_, R> {
    /// Its bytes, with what was last written there.
    #[cold]
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let arena = &self.exchange.arena;
        let offset = arena.offset(Area::Cooked, self.slot.number());
        // SAFETY: the slot's cooked area is the shard's alone, and disjoint from all received bytes by the arena's
        // layout. `parse_view` borrows the one shard side exclusively for as long as this lives, so there is one
        // scratch at a time, which this borrows exclusively.
        unsafe { arena.write(offset, arena.cell_bytes(Area::Cooked)) }
    }
}

impl<R: Record> Exchange<R> {
    /// Makes an exchange, and the one shard side of it.
    pub(crate) fn new(
        engine: u64,
        shard: ShardId,
        origin: Origin,
        facts: R::Facts,
        sizes: &Sizes,
    ) -> io::Result<(Arc<Self>, ShardSide<R>)> {
        let exchange = Self::without_side(engine, shard, origin, facts, sizes)?;
        let side = ShardSide::new(Arc::clone(&exchange), sizes);
        Ok((exchange, side))
    }
}

impl<R: Record> ShardSide<R> {
    fn new(exchange: Arc<Exchange<R>>, sizes: &Sizes) -> Self {
        let arena = &exchange.arena;
        let poison = [Area::Head, Area::Response, Area::Cooked].map(|area| arena.poison(area));
        let buffers = ReceiveBuffers::of(arena);
        let (cells, links) = (CellPools::of(arena), Links::new(exchange.chain.len()));
        let free = FreeSlots::new(sizes.slots, sizes.departed);
        let holdings = SlotTable::with_capacity(sizes.slots + sizes.departed);
        let slots = NonNull::from(&*exchange.slots).cast();
        let fresh = exchange.origin.generation();
        Self { exchange, slots, high_water: 0, fresh, free, holdings, links, buffers, cells, poison, ended: false }
    }

    pub(crate) fn exchange(&self) -> &Exchange<R> {
        &self.exchange
    }

    /// What this shard's ids begin from.
    pub(crate) fn origin(&self) -> Origin {
        self.exchange.origin
    }

    /// From now on answers given on this thread return without atomics. The shard side stays on this thread.
    ///
    /// # Panics
    /// When a thread drives it already.
    pub(crate) fn drive_here(&self) -> Driving {
        self.exchange.local.drive_here()
    }

    /// Takes a free slot; its record is that of its last use. One that was never used is the `fresh` one: the next in
    /// the order of their numbers.
    #[inline]
    pub(crate) fn allocate(&mut self, fresh: impl FnOnce()) -> Option<Slot> {
        let slot = self.free.take().or_else(|| self.allocate_fresh().inspect(|_| fresh()))?;
        self.poison.iter().for_each(|poison| poison.lift(slot.number()));
        Some(slot)
    }

    /// Whether there is a slot to [allocate](Self::allocate).
    pub(crate) fn has_free(&self) -> bool {
        self.free.has_any(self.high_water)
    }

    /// From now on so many slots are kept back: they are [lent](Self::lend_place), and nobody else gets them.
    pub(crate) fn keep_back(&mut self, slots: u32) {
        self.free.keep_back(slots);
    }

    /// How many slots are kept back, or lent of those.
    pub(crate) fn reserve(&self) -> u32 {
        self.free.reserve()
    }

    /// How many of them are not lent.
    #[inline]
    pub(crate) fn kept_back(&self) -> u32 {
        self.free.kept_back()
    }

    /// One of them can be [allocated](Self::allocate), if there is one.
    pub(crate) fn lend_place(&mut self) {
        self.free.lend();
    }

    /// Free slots are kept back first.
    #[inline]
    pub(crate) fn refill_reserve(&mut self) {
        if self.free.kept_back() < self.free.reserve() {
            self.free.refill(self.high_water);
        }
    }

    /// Slots in use.
    pub(crate) fn in_use(&self) -> usize {
        self.high_water as usize - self.free.count()
    }

    /// Of those, slots of requests that [have departed](Self::depart).
    pub(crate) fn departed(&self) -> usize {
        self.free.departed() as usize
    }

    /// A request has ended whose slot is [held](SlotUse::Held): it takes no place of another request's from now on.
    pub(crate) fn depart(&mut self) {
        self.free.depart();
    }

    /// The slot of a request that had departed is free.
    pub(crate) fn come_back(&mut self) {
        self.free.come_back();
    }

    /// All slots that were ever used.
    pub(crate) fn slots_used(&self) -> impl Iterator<Item = Slot> + use<R> {
        (0..self.high_water).map(Slot::new)
    }

    /// How many these are.
    pub(crate) fn count_used(&self) -> usize {
        self.high_water as usize
    }

    /// The record of a slot that the shard has allocated and not published.
    #[inline]
    pub(crate) fn record_mut(&mut self, slot: Slot) -> &mut R {
        self.assert_unpublished(slot);
        // SAFETY: the slot has no handle (asserted above), and `&mut self` is the only shard side.
        unsafe { &mut *self.slot(slot).record.get() }
    }

    /// The record of a slot in use.
    #[inline]
    pub(crate) fn record(&self, slot: Slot) -> &R {
        // SAFETY: records change only through `record_mut`, which borrows the one shard side exclusively.
        unsafe { &*self.slot(slot).record.get() }
    }

    /// A slot that was used before.
    #[inline(always)]
    pub(super) fn slot(&self, slot: Slot) -> &SharedSlot<R> {
        let number = slot.number();
        assert!(number < self.high_water, "no such slot");
        // SAFETY: there are at least as many slots as the high-water mark says.
        let place = unsafe { self.slots.add(number as usize) };
        // SAFETY: they are in memory that lives with the exchange; each is a cell, of which nobody has a `&mut`.
        let place = unsafe { place.as_ref() };
        // SAFETY: as above.
        let slot = unsafe { &*place.get() };
        // SAFETY: written whole before the mark passed it.
        unsafe { slot.assume_init_ref() }
    }

    #[inline]
    pub(super) fn word(&self, slot: Slot) -> u64 {
        self.slot(slot).word.load(Ordering::Acquire)
    }

    /// The arena, for offsets and for lending.
    pub(crate) fn arena(&self) -> &Arena {
        &self.exchange.arena
    }

    /// The account of buffers, and where they are.
    pub(crate) fn buffers_of_arena(&mut self) -> (&mut ReceiveBuffers, &Arena) {
        (&mut self.buffers, &self.exchange.arena)
    }

    /// The response area of a slot whose response is the shard's.
    #[inline]
    pub(crate) fn response_mut(&mut self, slot: Slot) -> &mut [u8] {
        self.assert_answer_is_ours(slot);
        let arena = &self.exchange.arena;
        // SAFETY: who has a slot's answer has its response area (asserted above); `&mut self` is the only shard side.
        unsafe { arena.write(self.slot(slot).response_at, arena.cell_bytes(Area::Response)) }
    }

    /// Copies the response in a slot, whose response is the shard's, into a cell, from `at` on, and dates the copy:
    /// what has just been written would stall if it were copied. Gives its bytes and the place of its date; `None`: it
    /// has more than its response area, or more than `most` bytes.
    #[inline(always)]
    pub(crate) fn copy_response<const DATE: usize>(
        &mut self,
        slot: Slot,
        blank: &mut Blank<'_>,
        (at, most): (u32, u32),
        date: &[u8; DATE],
    ) -> Option<(u32, u16)> {
        let answer = self.answered_mut(slot);
        let (len, date_at) = (answer.area_len(), answer.head.date_at);
        if len > most || !answer.tail.is_none() {
            return None;
        }
        let arena = &self.exchange.arena;
        assert!(len <= arena.cell_bytes(Area::Response), "an answer ends within its area");
        let (from, to) = (self.slot(slot).response_at, blank.part(at, len));
        // SAFETY: the area is the shard's as in `response_mut`, the cell as in `blank_mut`; the two are disjoint by the
        // arena's layout.
        unsafe { arena.copy(from, to.offset(), len) };
        if date_at > 0 {
            // SAFETY: the cell is written as in `blank_mut`.
            let copy = unsafe { arena.write(to.offset(), len) };
            copy[usize::from(date_at)..][..DATE].copy_from_slice(date);
        }
        Some((len, date_at))
    }

    /// What all requests of the shard have in common.
    pub(crate) fn facts(&self) -> &R::Facts {
        self.exchange.facts()
    }

    /// Received bytes, the record to parse into, and the cooked area: three disjoint places at once.
    #[inline]
    pub(crate) fn parse_view<'a>(&'a mut self, bytes: Extent<'a>, slot: Slot) -> (&'a [u8], &'a mut R, Scratch<'a, R>) {
        self.assert_unpublished(slot);
        let exchange = &*self.exchange;
        // SAFETY: by its owner, who is borrowed meanwhile, the extent is the shard's, or shared with readers; this
        // shard side, through which it would be written, is borrowed, too.
        let input = unsafe { exchange.arena.read(bytes.offset(), bytes.len()) };
        // SAFETY: the slot is allocated and unpublished, so its record is the shard's alone.
        let record = unsafe { &mut *self.slot(slot).record.get() };
        (input, record, Scratch { exchange, slot })
    }

    /// Says where the slot's received bytes are. The slot is unpublished and holds them (`holdings`).
    #[inline]
    pub(super) fn set_received(&mut self, slot: Slot, received: Received) {
        debug_assert!(self.word(slot) & MARKS & !(OPEN | HANDLE) == 0, "nobody reads it yet");
        // SAFETY: the slot is the shard's alone until it is published, and `&mut self` is the only shard side.
        unsafe { *self.slot(slot).received.get() = received };
    }

    /// Makes the slot's request answerable, by id through the queue of that number; it is to be pushed to that.
    #[inline(always)]
    pub(crate) fn publish(&mut self, slot: Slot, queue: QueueNumber) -> Published {
        self.leave_stage(slot);
        self.open(slot, queue)
    }

    #[inline(always)]
    pub(super) fn open(&mut self, slot: Slot, queue: QueueNumber) -> Published {
        let place = self.slot(slot);
        place.queue.store(queue.0, Ordering::Relaxed);
        let word = &place.word;
        let now = word.load(Ordering::Relaxed);
        debug_assert!(now & MARKS == 0, "a slot is published once");
        // Release: a response by id may see this word before the request ring's tail.
        word.store(now | OPEN | HANDLE, Ordering::Release);
        Published(self.exchange.origin.request(generation_of(now), slot.number()))
    }

    /// Whether nothing waits in the completions, among the signals or the commands; sequentially consistent.
    pub(crate) fn completions_empty(&self) -> bool {
        // SAFETY: only the driving thread touches it, and this is that, or nobody drives, which the one shard side,
        // here, would begin (`of_side`).
        let local = unsafe { &*self.exchange.local.of_side() };
        let exchange = &self.exchange;
        local.is_empty()
            && exchange.completions.is_empty()
            && exchange.signals.is_empty()
            && exchange.commands.is_empty()
    }

    /// Takes all slots that have come back, to be [accepted](Self::accept).
    #[inline]
    pub(crate) fn take_completions(&mut self, out: &mut Vec<Completion>) {
        // SAFETY: as in `completions_empty`.
        let local = unsafe { &mut *self.exchange.local.of_side() };
        out.append(local);
        self.exchange.completions.take(out, |slot| &self.slot(slot).link, Completion);
    }

    /// From now on the slot's answer and response area are the shard's. Gives the slot, and what the response is.
    #[inline]
    pub(crate) fn accept(&mut self, completed: Completion) -> (Slot, ResponseFlags) {
        let Completion(slot) = completed;
        self.holdings[slot].stage = Stage::Back;
        // SAFETY: the slot has come back (only then there is a `Completion` of it), and its response with it.
        let answer = unsafe { &*self.slot(slot).answer.get() };
        (slot, answer.flags)
    }

    /// Nobody has taken the slot's request yet, which no consumer can see so far.
    pub(crate) fn forget_taken(&mut self, slot: Slot) {
        self.slot(slot).taken.store(0, Ordering::Relaxed);
    }

    /// When a consumer took the slot's request, in microseconds; 0: that was not noted.
    pub(crate) fn taken(&self, slot: Slot) -> u64 {
        self.slot(slot).taken.load(Ordering::Relaxed)
    }

    /// Whether a slot has signals.
    #[inline]
    pub(crate) fn has_signals(&self) -> bool {
        !self.exchange.signals.is_empty()
    }

    /// Takes all slots that have signals, oldest first.
    #[inline]
    pub(crate) fn take_signals(&mut self, out: &mut Vec<Slot>) {
        self.exchange.signals.take(out, |slot| &self.slot(slot).signals.link, |slot| slot);
    }

    /// What the signals of a slot are that was just taken: those of an earlier request are about nothing any more.
    pub(crate) fn read_signals(&mut self, slot: Slot) -> Signals {
        self.slot(slot).signals.take()
    }

    /// Whether commands wait.
    #[inline]
    pub(crate) fn has_commands(&self) -> bool {
        !self.exchange.commands.is_empty()
    }

    /// Begins to read the commands.
    pub(crate) fn open_commands(&mut self) {
        self.exchange.commands.open();
    }

    /// The next command.
    pub(crate) fn take_command(&mut self) -> Option<Command> {
        self.exchange.commands.take()
    }

    /// The slot that an id names, if it is one that is used.
    fn of_id(&self, id: RequestId) -> Option<Slot> {
        let number = self.exchange.origin.slot(id);
        (number < self.high_water).then(|| Slot::new(number))
    }

    /// The slot of a request that is not over.
    pub(crate) fn under_way(&self, id: RequestId) -> Option<Slot> {
        let slot = self.of_id(id)?;
        let word = self.word(slot);
        (word & (OPEN | DEAD | SENT) == OPEN && generation_of(word) == id.generation()).then_some(slot)
    }

    /// The slot of a request that is in a ring, unless what is there is what was left when its handle was taken.
    pub(crate) fn queued(&self, id: RequestId) -> Option<Slot> {
        let slot = self.of_id(id)?;
        let word = self.word(slot);
        (generation_of(word) == id.generation() && word & HANDLE != 0).then_some(slot)
    }

    /// An informational response of a request that is not over has its turn.
    pub(crate) fn informational_taken(&mut self, slot: Slot) {
        self.slot(slot).word.fetch_sub(INFORMATIONAL_ONE, Ordering::AcqRel);
    }

    /// The slot of a request that was cancelled and is not over.
    pub(crate) fn cancelled(&self, id: RequestId) -> Option<Slot> {
        self.under_way(id).filter(|slot| self.is_cancelled(*slot))
    }

    /// Whether the request in a slot in use was cancelled.
    pub(crate) fn is_cancelled(&self, slot: Slot) -> bool {
        self.word(slot) & CANCELLED != 0
    }

    /// What was answered in a slot taken from the completions, or by the shard itself.
    #[inline]
    pub(crate) fn answered_mut(&mut self, slot: Slot) -> &mut Answered {
        self.assert_answer_is_ours(slot);
        // SAFETY: a slot that has come back, or was never published, belongs to the shard, as does its response.
        unsafe { &mut *self.slot(slot).answer.get() }
    }

    /// Panics unless a slot's answer and response area are the shard's: before it is published, and from when it has
    /// come back or was overtaken until it is free or only a handle reads it.
    #[inline]
    fn assert_answer_is_ours(&self, slot: Slot) {
        assert!(self.holdings[slot].stage != Stage::Out, "an answer has one owner");
    }

    /// A published request has ended unanswered, as `_end` says: nobody can answer it any more.
    pub(crate) fn end_unanswered(&mut self, slot: Slot, _end: &R::End) -> SlotUse {
        let before = self.slot(slot).word.fetch_or(DEAD, Ordering::SeqCst);
        if before & (HANDLE | COMPLETING) == 0 {
            self.free_now(slot);
            return SlotUse::Free;
        }
        SlotUse::Held
    }

    /// Wins the response of a published request for the shard, if nobody has answered it yet. `true`: the response and
    /// the response area are the shard's now, as if somebody had answered by id and the slot had come back.
    #[cold]
    pub(crate) fn claim_response(&mut self, slot: Slot) -> bool {
        let is_ours = self.exchange.claim_response(self.slot(slot));
        if is_ours {
            self.holdings[slot].stage = Stage::Back;
        }
        is_ours
    }

    /// Takes the handle of a request that is over, which nobody has claimed: see [`Exchange::take_handle`].
    pub(crate) fn take_handle(&self, slot: Slot) -> bool {
        Exchange::take_handle(self.slot(slot))
    }

    /// Frees the slot of a request that has ended and that was [held](SlotUse::Held) by its handle alone, which the
    /// shard has [taken](Self::take_handle). A response by id that is being written comes back, and the slot is free
    /// then.
    pub(crate) fn free_withdrawn(&mut self, slot: Slot) -> SlotUse {
        let word = self.word(slot);
        assert!(word & (DEAD | SENT) != 0 && word & HANDLE == 0, "somebody may still read this slot");
        if word & COMPLETING != 0 {
            return SlotUse::Held;
        }
        self.free_now(slot);
        SlotUse::Free
    }

    /// The slot's request, if it came through this queue, can no longer be answered by id. If nor by anybody else, it
    /// is abandoned, and the slot comes back as if a handle had been dropped.
    pub(crate) fn close_to_ids(&mut self, slot: Slot, queue: QueueNumber) -> Option<Completion> {
        self.exchange.close_to_ids(self.slot(slot), queue).then(|| {
            self.holdings[slot].stage = Stage::Back;
            *self.answered_mut(slot) = Answered { flags: ResponseFlags::ABANDONED, ..Answered::default() };
            Completion(slot)
        })
    }

    /// An answered request has ended, as `tell` says: its response is sent, or will never be. Frees the slot unless a
    /// handle still reads it.
    #[inline(always)]
    pub(crate) fn end_answered(&mut self, slot: Slot, tell: impl FnOnce(&Answered) -> R::End) -> (R::End, SlotUse) {
        let answer = self.answered_mut(slot);
        let end = tell(answer);
        let is_alone = answer.tail.is_none() && answer.flags.has(ResponseFlags::HANDLE_IS_GONE);
        if is_alone && self.free_plain(slot) {
            return (end, SlotUse::Free);
        }
        (end, self.finish(slot))
    }

    /// A response has come back whose request [had ended](Self::end_unanswered) without it.
    pub(crate) fn drop_late_response(&mut self, slot: Slot) -> SlotUse {
        assert!(self.word(slot) & DEAD != 0, "a request that has not ended is not let go of");
        self.finish(slot)
    }

    // Not what most responses need.
    #[inline(never)]
    fn finish(&mut self, slot: Slot) -> SlotUse {
        let answer = self.answered_mut(slot);
        answer.tail = Tail::None;
        if !answer.flags.has(ResponseFlags::HANDLE_IS_GONE) {
            let sent = |word: u64| Some((word | SENT) & !COMPLETING);
            let word = &self.slot(slot).word;
            let before = word.fetch_update(Ordering::SeqCst, Ordering::Acquire, sent).unwrap_or_else(|word| word);
            if before & HANDLE != 0 {
                // The handle writes there when it is dropped.
                self.holdings[slot].stage = Stage::Out;
                return SlotUse::Held;
            }
        }
        self.free_now(slot);
        SlotUse::Free
    }

    /// Frees a slot that was never published, or that came back for nothing else, and what it holds.
    #[inline]
    pub(crate) fn free(&mut self, slot: Slot) {
        let is_ours = self.holdings[slot].stage == Stage::Ours;
        assert!(is_ours || self.answered_mut(slot).flags.only_reclaims(), "somebody may still read this slot");
        self.free_now(slot);
    }

    /// Frees a slot that is the shard's alone, and what it holds.
    #[cold]
    fn free_now(&mut self, slot: Slot) {
        self.release_holding(slot);
        self.renew(slot);
    }

    /// As [`free_now`](Self::free_now), of one that holds nothing but memory of its own. `false`: it holds more.
    #[inline(always)]
    fn free_plain(&mut self, slot: Slot) -> bool {
        let is_plain = self.drop_own(slot);
        if is_plain {
            self.renew(slot);
        }
        is_plain
    }

    /// The slot is free: late responses by id meet the next generation.
    #[inline(always)]
    fn renew(&mut self, slot: Slot) {
        let word = &self.slot(slot).word;
        let generation = generation_of(word.load(Ordering::Relaxed)).next();
        word.store(word_of(generation, 0), Ordering::Release);
        self.poison.iter().for_each(|poison| poison.put(slot.number()));
        self.free.give(slot);
    }

    /// Lends the first `len` bytes of a slot's response area for a send.
    #[inline]
    pub(crate) fn lend_response(&self, slot: Slot, len: u32) -> Lent {
        self.arena().lend_response(slot.number(), len)
    }

    pub(super) fn body(&self, slot: Slot) -> &SlotBody {
        &self.slot(slot).body
    }

    /// Before a slot is published with a body: nothing of it has been read.
    pub(crate) fn reset_reader(&mut self, slot: Slot) {
        self.assert_unpublished(slot);
        // SAFETY: the slot is the shard's alone until it is published (asserted above), and `&mut self` is the only
        // shard side.
        unsafe { *self.body(slot).reader() = Reader::START };
    }
}
