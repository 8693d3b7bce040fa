//! The shard's side of an exchange: the only one that allocates, publishes and frees slots.
//!
//! Laws: there is one for each exchange; it owns every byte of the arena that is not the kernel's, a lease's or an
//! answerer's; it ends with its shard and leaves what leases still read to the last of them.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::body::{BodyState, Chain, Reader, Reading, SlotBody};
use super::exchange::{
    AnswerFlags, Answered, CANCELLED, DEAD, DRIVEN, Exchange, HANDLE, INTERIM, MARKS, OPEN, ORPHAN, RETURNING, Record,
    SENT, Slot, Tail, generation_of, word_of,
};
use super::news::{News, SlotNews};
use super::notes::Note;
use super::returns::Link;
use crate::id::RequestId;
use crate::mem::{Area, Arena, BufferId, Lent};

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
    ended: bool,
}

/// The cooked area of a slot that the shard has allocated and not published: there is one at a time, made by
/// [`ShardSide::parse_view`], and most requests do not touch it.
pub(crate) struct Scratch<'a, R: Record> {
    exchange: &'a Exchange<R>,
    slot: u32,
}

impl<R: Record> Scratch<'_, R> {
    /// Its bytes, with what was last written there.
    #[cold]
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let arena = &self.exchange.arena;
        let offset = arena.offset(Area::Cooked, self.slot);
        // SAFETY: the slot's cooked area is the shard's alone, and disjoint from all received bytes by the arena's
        // layout. `parse_view` borrows the one shard side exclusively for as long as this lives, so there is one
        // scratch at a time, which this borrows exclusively.
        unsafe { arena.write(offset, arena.cell_bytes(Area::Cooked)) }
    }
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
    /// For the one who makes the exchange.
    pub(super) fn new(exchange: Arc<Exchange<R>>, slots: u32) -> Self {
        Self { exchange, high_water: 0, free: Vec::with_capacity(slots as usize), ended: false }
    }

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
            news: SlotNews::default(),
            body: SlotBody::new(),
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

    /// One past the highest slot ever used.
    pub(crate) fn slots_used(&self) -> u32 {
        self.high_water
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

    /// Received bytes, the record to parse into, and the cooked area: three disjoint places at once.
    #[inline]
    pub(crate) fn parse_view(&mut self, offset: u64, len: u32, slot: u32) -> (&[u8], &mut R, Scratch<'_, R>) {
        debug_assert!(self.word(slot) & MARKS == 0, "a published record is not written");
        let exchange = &*self.exchange;
        // SAFETY: the shard owns the received bytes; nobody writes them during the borrow.
        let input = unsafe { exchange.arena.read(offset, len) };
        // SAFETY: the slot is allocated and unpublished, so its record is the shard's alone.
        let record = unsafe { &mut *exchange.slot(slot).record.get() };
        (input, record, Scratch { exchange, slot })
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
        word.store(now | OPEN | HANDLE, Ordering::Release);
        RequestId::new(self.exchange.shard, generation_of(now), slot)
    }

    /// Whether nothing waits in the returns, among the news or the notes; sequentially consistent.
    pub(crate) fn returns_empty(&self) -> bool {
        // SAFETY: only the driving thread touches `local`, and this is it (or nobody drives).
        let local = unsafe { &*self.exchange.local.0.get() };
        let exchange = &self.exchange;
        local.is_empty() && exchange.returns.is_empty() && exchange.news.is_empty() && exchange.notes.is_empty()
    }

    /// Takes all slots that have come back.
    #[inline]
    pub(crate) fn take_returns(&mut self, out: &mut Vec<u32>) {
        // SAFETY: as in `returns_empty`.
        let local = unsafe { &mut *self.exchange.local.0.get() };
        out.append(local);
        self.exchange.returns.take(out, |slot| &self.exchange.slot(slot).link);
    }

    /// Whether a slot has news.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.exchange.news.is_empty()
    }

    /// Takes all slots that have news, oldest first.
    #[inline]
    pub(crate) fn take_news(&mut self, out: &mut Vec<u32>) {
        self.exchange.news.take(out, |slot| &self.exchange.slot(slot).news.link);
    }

    /// What the news of a slot are that was just taken: those of an earlier request are about nothing any more.
    pub(crate) fn read_news(&mut self, slot: u32) -> News {
        self.exchange.slot(slot).news.take()
    }

    /// Whether notes wait.
    #[inline]
    pub(crate) fn has_notes(&self) -> bool {
        !self.exchange.notes.is_empty()
    }

    /// Begins to read the notes.
    pub(crate) fn open_notes(&mut self) {
        self.exchange.notes.open();
    }

    /// The next note.
    pub(crate) fn take_note(&mut self) -> Option<Note> {
        self.exchange.notes.take()
    }

    /// The slot of a request that is not over.
    pub(crate) fn under_way(&self, id: RequestId) -> Option<u32> {
        let (_, generation, slot) = id.parts();
        let word = self.word(slot);
        (word & (OPEN | DEAD | SENT) == OPEN && generation_of(word) == generation).then_some(slot)
    }

    /// An informational answer of a request that is not over has its turn.
    pub(crate) fn interim_taken(&mut self, slot: u32) {
        self.exchange.slot(slot).word.fetch_sub(INTERIM, Ordering::AcqRel);
    }

    /// The slot of a request that was cancelled and is not over.
    pub(crate) fn cancelled(&self, id: RequestId) -> Option<u32> {
        self.under_way(id).filter(|slot| self.is_cancelled(*slot))
    }

    /// Whether the request in a slot in use was cancelled.
    pub(crate) fn is_cancelled(&self, slot: u32) -> bool {
        self.word(slot) & CANCELLED != 0
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
        if before & (HANDLE | RETURNING) == 0 {
            self.free(slot);
            return Fate::Free;
        }
        Fate::Held
    }

    /// Wins the answer of a published request for the shard, if nobody has answered it yet. `true`: the answer and the
    /// response area are the shard's now, as if somebody had answered by id and the slot had come back.
    #[cold]
    pub(crate) fn overtake(&mut self, slot: u32) -> bool {
        self.exchange.claim_answer(slot)
    }

    /// The answer of a slot is sent, or will never be: frees the slot unless a handle still reads it.
    #[inline]
    pub(crate) fn finish(&mut self, slot: u32) -> Fate {
        let answer = self.answer_mut(slot);
        let by_handle = answer.flags.has(AnswerFlags::BY_HANDLE) || answer.flags.has(AnswerFlags::ABANDONED);
        if !answer.tail.is_none() {
            answer.tail = Tail::None;
        }
        if !by_handle {
            let sent = |word: u64| Some((word | SENT) & !RETURNING);
            let word = &self.exchange.slot(slot).word;
            let before = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, sent).unwrap_or_else(|word| word);
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
        debug_assert!(self.answer_mut(slot).tail.is_none(), "the next answer must not find it");
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

    fn body(&self, slot: u32) -> &SlotBody {
        &self.exchange.slot(slot).body
    }

    fn chain(&self) -> &Chain {
        &self.exchange.chain
    }

    /// Before a slot is published with a body: nothing of it has been read.
    pub(crate) fn reset_reader(&mut self, slot: u32) {
        debug_assert!(self.word(slot) & MARKS == 0, "a lease reads what is published");
        // SAFETY: the slot is the shard's alone until it is published, and `&mut self` is the only shard side.
        unsafe { *self.body(slot).reader() = Reader::START };
    }

    /// Before a slot is published whose body is still to come.
    pub(crate) fn open_body(&mut self, slot: u32) {
        self.reset_reader(slot);
        self.body(slot).reset();
    }

    /// So much of an open body came with the head. Before the slot is published.
    pub(crate) fn count_prefix(&self, slot: u32, bytes: u32) {
        self.body(slot).add_arrived(u64::from(bytes));
    }

    /// Puts bytes of a buffer that the shard gives to the slot behind the slot's body.
    pub(crate) fn append_body(&mut self, slot: u32, last: Option<BufferId>, buffer: BufferId, start: u32, len: u32) {
        self.chain().append(self.body(slot), last, buffer, start, start + len);
        self.body(slot).add_arrived(u64::from(len));
    }

    /// Copies bytes that the shard owns behind those of the last buffer of the slot's body, where there is
    /// [room](Self::room_behind_body); they may come from behind in the same buffer.
    pub(crate) fn grow_body(&mut self, slot: u32, last: BufferId, from: u64, len: u32) {
        let end = self.chain().end(last);
        assert!(len <= self.room_behind_body(last), "a piece fits behind a body");
        let to = self.arena().buffer_offset(last) + u64::from(end);
        if from != to {
            self.move_within(from, to, len);
        }
        self.chain().grow(last, len);
        self.body(slot).add_arrived(u64::from(len));
    }

    /// Copies between two ranges that the shard owns; `to` may overlap what is behind it of `from`.
    pub(crate) fn move_within(&mut self, from: u64, to: u64, len: u32) {
        let span = from.abs_diff(to) + u64::from(len);
        if span >= 2 * u64::from(len) {
            return self.copy(from, to, len);
        }
        let base = from.min(to);
        let bytes = self.bytes_mut(base, u32::try_from(span).unwrap_or(u32::MAX));
        let start = usize::try_from(from - base).unwrap_or(usize::MAX);
        let target = usize::try_from(to - base).unwrap_or(usize::MAX);
        bytes.copy_within(start..start + len as usize, target);
    }

    /// Bytes that the last buffer of a body has room for behind it.
    pub(crate) fn room_behind_body(&self, last: BufferId) -> u32 {
        self.arena().buffer_bytes(last) - self.chain().end(last)
    }

    /// Bytes of the slot's body that have arrived and not been read.
    pub(crate) fn unread_body(&self, slot: u32) -> u64 {
        self.body(slot).unread()
    }

    /// The shard has stopped to receive the slot's body until no more than so many bytes are unread, of which it will
    /// be told. `true`: it is so already.
    pub(crate) fn stop_body_until(&self, slot: u32, unread: u64) -> bool {
        self.body(slot).stop_until(unread)
    }

    /// Says how the slot's body has ended, unless it was said before. The reader is [woken](Self::wake_reader) apart.
    pub(crate) fn end_body(&mut self, slot: u32, state: BodyState) {
        self.body(slot).set_state(state);
    }

    /// Wakes who waits for the slot's body.
    pub(crate) fn wake_reader(&self, slot: u32) {
        self.body(slot).wake_reader();
    }

    /// Where the reader of the slot's body is.
    pub(crate) fn reading(&self, slot: u32) -> Reading {
        self.body(slot).reading()
    }

    /// Takes the buffers of a body from a reader that has read everything and waits. `true`: they are the shard's.
    pub(crate) fn detach_reader(&mut self, slot: u32) -> bool {
        self.body(slot).detach()
    }

    /// The buffer behind another one in a body.
    pub(crate) fn next_of_body(&self, buffer: BufferId) -> Option<BufferId> {
        self.chain().next(buffer)
    }

    /// The shard has failed: no request can be answered any more, and nothing else changes.
    pub(crate) fn forsake(&mut self) {
        for slot in 0..self.high_water {
            self.exchange.slot(slot).word.fetch_or(DEAD, Ordering::AcqRel);
        }
    }

    /// Ends the shard: no request can be answered any more, and the exchange goes with the last handle that is out.
    ///
    /// Answers that threads are writing at this moment are waited for: they touch the exchange until they are in the
    /// returns. The connections are gone, so every slot taken from the returns before has been finished.
    pub(crate) fn end(mut self) {
        let exchange = Arc::clone(&self.exchange);
        // The count that the last orphan releases; the 1 keeps it from reaching 0 while orphans are counted.
        core::mem::forget(Arc::clone(&exchange));
        exchange.orphans.store(1, Ordering::SeqCst);
        let mut returning = vec![false; self.high_water as usize];
        let mut left = 0_usize;
        for slot in 0..self.high_water {
            exchange.orphans.fetch_add(1, Ordering::AcqRel);
            let before = exchange.slot(slot).word.fetch_or(DEAD | ORPHAN, Ordering::AcqRel);
            if before & HANDLE == 0 {
                exchange.orphans.fetch_sub(1, Ordering::AcqRel);
            }
            if before & RETURNING != 0 {
                returning[slot as usize] = true;
                left += 1;
            }
        }
        while left > 0 {
            left -= self.end_returned(&mut returning);
            std::thread::yield_now();
        }
        self.ended = true;
        exchange.notes.end();
        // SAFETY: duty 1: the pointer is the `Arc`'s, and the 1 stored above is taken off here. Duty 2: that `Arc`.
        unsafe { Exchange::release_orphan(Arc::as_ptr(&exchange)) };
    }

    /// Takes what has come back, or will not come back after all, off the list. Gives how many.
    fn end_returned(&mut self, returning: &mut [bool]) -> usize {
        let mut slots = Vec::new();
        self.take_returns(&mut slots);
        let mut count = 0;
        for slot in slots {
            let answer = core::mem::take(self.answer_mut(slot));
            // The handle went with its answer: it is no orphan, though it was counted as one.
            if answer.flags.has(AnswerFlags::BY_HANDLE) {
                self.exchange.orphans.fetch_sub(1, Ordering::AcqRel);
            }
            count += usize::from(core::mem::take(&mut returning[slot as usize]));
        }
        for (slot, listed) in (0..).zip(returning.iter_mut()) {
            if *listed && self.word(slot) & RETURNING == 0 {
                *listed = false;
                count += 1;
            }
        }
        count
    }
}

impl<R: Record> Drop for ShardSide<R> {
    /// Without [`end`](Self::end), after a panic or a failed ring, nobody can say which slots are still used: then the
    /// exchange stays for ever, unless no slot is.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.exchange.notes.end();
        // Nobody will bring those who wait for a body any more of it.
        for slot in 0..self.high_water {
            self.body(slot).set_state(BodyState::Failed(u8::MAX));
            self.body(slot).wake_reader();
        }
        if self.in_use() > 0 {
            core::mem::forget(Arc::clone(&self.exchange));
        }
    }
}
