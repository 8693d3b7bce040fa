//! The application's right to one request: to read it, and to answer it unless somebody answers by id first.
//!
//! Invariants: an id has at most one lease, whose slot has HANDLE set; what a lease reads does not change while it
//! lives; a lease dropped without a response abandons its request. The slot's life is drawn in `word`.
//!
//! Not here: answering by id (`by_id`), how a body's chain is read (`body`), and the request as applications see it
//! (room `api`).

use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use core::task::Waker;
use std::sync::Arc;

use super::answered::{Answered, NotSent, ResponseFlags};
use super::body::{BodyState, Cursor, Reader, SlotBody};
use super::commands::{Command, Informational};
use super::exchange::{Exchange, Received, Record, SharedSlot};
use super::signals::Signals;
use super::slot::Slot;
use super::word::{
    ANSWERED, CANCELLED, CLOSED, COMPLETING, DEAD, HANDLE, LEFT, MARKS, OPEN, ORPHAN, SENT, generation_of,
};
use crate::id::{Generation, RequestId, ShardId};
use crate::mem::Area;

/// The one place of the reader of a lease's body, apart from the lease: one reads then, and others share the lease.
#[derive(Debug)]
pub(crate) struct ReadCursor {
    cursor: Cursor,
    /// Exchange, slot and generation of the lease it was taken from.
    of: (usize, Slot, Generation),
}

/// Proof that a lease's answer has been filled in, to be submitted.
#[derive(Debug)]
pub(crate) struct Filled {
    /// Address of the slot, and generation, of the lease.
    of: (usize, Generation),
}

/// What was claimed of a request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassedOver {
    /// Its handle, which is dropped.
    Handle,
    /// What was left of it: the shard had taken the handle out.
    Leftover,
}

/// Why there is no lease of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRegained {
    /// The request is over.
    Over,
    /// Somebody has its handle.
    Held,
}

/// The right to read one request, and to answer it unless somebody answers by id first. `Send`, one a request.
pub(crate) struct Lease<R: Record> {
    /// From [`Arc::as_ptr`]: the last lease frees the exchange through it.
    exchange: NonNull<Exchange<R>>,
    /// One of the exchange's.
    place: NonNull<SharedSlot<R>>,
    generation: Generation,
}

// SAFETY: a lease is an index into an exchange, which is Sync, plus the exclusive right described above.
unsafe impl<R: Record> Send for Lease<R> {}
// SAFETY: `&Lease` only reads the record and bytes that do not change while the lease lives.
unsafe impl<R: Record> Sync for Lease<R> {}

impl<R: Record> Lease<R> {
    /// Makes the lease of an id that was just claimed from a request ring, unless the client is gone meanwhile, or the
    /// request was cancelled, or has been answered by the shard or by id.
    ///
    /// # Safety
    /// 1. `id` was published by `exchange` and claimed by the caller: nobody else makes a lease of it before, and its
    ///    slot is in use until this lease is gone; or, if its handle was taken by the shard, that is counted as a
    ///    leftover until the caller has been told so.
    #[inline(always)]
    pub(super) unsafe fn claim(exchange: &Arc<Exchange<R>>, id: RequestId) -> Result<Self, PassedOver> {
        let generation = id.generation();
        // SAFETY: the pointer of an `Arc` is not null.
        let pointer = unsafe { NonNull::new_unchecked(Arc::as_ptr(exchange).cast_mut()) };
        // SAFETY: by duty 1.
        let place = unsafe { exchange.published(id) };
        // Sequentially consistent, behind the claim: see `RequestRing::withdraw`. A request that was withdrawn is over,
        // or its slot serves another one.
        let word = place.word.load(Ordering::SeqCst);
        if word & (!MARKS | DEAD | ORPHAN | ANSWERED | CANCELLED) == generation.bits() {
            return Ok(Self { exchange: pointer, place: NonNull::from(place), generation });
        }
        Err(Self::pass_over(pointer, place, generation))
    }

    /// Makes the lease of an open request whose handle was given up ([`detach`](Self::detach)): whoever sets HANDLE has
    /// it. What was read of the body stays read.
    ///
    /// # Safety
    /// 1. The place is one of the exchange's, and stays in use during the call.
    pub(super) unsafe fn regain(
        exchange: &Arc<Exchange<R>>,
        place: NonNull<SharedSlot<R>>,
        generation: Generation,
    ) -> Result<Self, NotRegained> {
        // SAFETY: by duty 1.
        let word = unsafe { &place.as_ref().word };
        let mut seen = word.load(Ordering::Acquire);
        loop {
            if generation_of(seen) != generation || seen & (OPEN | CLOSED | LEFT) != OPEN {
                return Err(NotRegained::Over);
            }
            if seen & HANDLE != 0 {
                return Err(NotRegained::Held);
            }
            // Acquires what the handle before this has left of the reader's place. A request that ends is DEAD or
            // ANSWERED before the shard looks whether somebody has the handle: this fails then, or is seen there.
            match word.compare_exchange(seen, seen | HANDLE, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        // SAFETY: the pointer of an `Arc` is not null.
        let exchange = unsafe { NonNull::new_unchecked(Arc::as_ptr(exchange).cast_mut()) };
        Ok(Self { exchange, place, generation })
    }

    /// Drops the handle of a request that is over, unless the shard has taken it: its slot is freed, or will be by the
    /// shard.
    #[cold]
    fn pass_over(exchange: NonNull<Exchange<R>>, place: &SharedSlot<R>, generation: Generation) -> PassedOver {
        let lease = core::mem::ManuallyDrop::new(Self { exchange, place: NonNull::from(place), generation });
        if lease.leave_now(true) { PassedOver::Handle } else { PassedOver::Leftover }
    }

    /// The same lease, in memory of its own.
    #[inline(always)]
    pub(crate) fn apart(self) -> Self {
        let this = core::mem::ManuallyDrop::new(self);
        Self { exchange: this.exchange, place: this.place, generation: this.generation }
    }

    #[inline]
    fn exchange(&self) -> &Exchange<R> {
        // SAFETY: the exchange outlives its leases: it is dropped after its shard side has ended, which counts every
        // lease as an orphan and keeps a strong count until the last one is released.
        unsafe { self.exchange.as_ref() }
    }

    #[inline]
    fn place(&self) -> &SharedSlot<R> {
        // SAFETY: it is one of the exchange's, which keeps its slots where they are and outlives its leases, as above.
        unsafe { self.place.as_ref() }
    }

    #[inline]
    fn slot(&self) -> Slot {
        self.place().number
    }

    pub(crate) fn id(&self) -> RequestId {
        self.exchange().origin.request(self.generation, self.slot().number())
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.exchange().shard
    }

    /// Notes when the request was taken, in microseconds. The response carries it to the shard.
    pub(crate) fn note_taken(&self, micros: u64) {
        self.place().taken.store(micros, Ordering::Relaxed);
    }

    /// What every response of this engine says.
    pub(crate) fn facts(&self) -> &R::Facts {
        &self.exchange().facts
    }

    #[inline]
    pub(crate) fn record(&self) -> &R {
        // SAFETY: the shard wrote the record before it published the slot and does not touch it while a handle is out.
        unsafe { &*self.place().record.get() }
    }

    /// The received head and body.
    #[inline]
    pub(crate) fn received(&self) -> &[u8] {
        let exchange = self.exchange();
        // SAFETY: the shard wrote it before it published the slot and does not touch it while a handle is out.
        let Received { offset, len } = unsafe { *self.place().received.get() };
        // SAFETY: the slot holds these bytes since before it was published: beside it, in a cell, or settled in a
        // receive buffer. What it holds goes back with the slot (`holdings`), which is not free while a handle is out.
        unsafe { exchange.arena.read(offset, len) }
    }

    /// The decoded path, where the record says there is one.
    pub(crate) fn cooked(&self) -> &[u8] {
        let arena = &self.exchange().arena;
        let len = self.record().cooked_bytes().min(arena.cell_bytes(Area::Cooked));
        // SAFETY: the cooked area belongs to the slot, and the shard writes it before it publishes the slot.
        unsafe { arena.read(arena.offset(Area::Cooked, self.slot().number()), len) }
    }

    /// Claims the right to answer and lets `fill` write the response area (which starts with anything). `None`: the
    /// request was over. After `Some(Ok)` the response goes with [`submit`](Self::submit).
    #[inline]
    pub(crate) fn fill<E>(&self, fill: impl FnOnce(&mut [u8]) -> Result<Answered, E>) -> Option<Result<Filled, E>> {
        let flags = ResponseFlags::BY_HANDLE;
        let filled = self.exchange().fill(self.place(), self.generation, flags, |_, area| fill(area));
        filled.map(|result| result.map(|()| Filled { of: self.filled_as() }))
    }

    #[inline(always)]
    fn filled_as(&self) -> (usize, Generation) {
        (self.place.as_ptr().addr(), self.generation)
    }

    /// Gives the filled answer, and with it the handle, to the shard.
    #[inline]
    pub(crate) fn submit(self, filled: Filled) {
        assert!(filled.of == self.filled_as(), "an answer is submitted with the lease that it was filled in for");
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: duty 1: `fill` has set COMPLETING for this slot and generation, of which `filled` is the proof. Duty
        // 2: as in `exchange`; the handle goes with the slot, and nothing of the exchange is used after this. Duty 3:
        // the place of a lease is of its exchange.
        unsafe { Exchange::give_back(this.exchange.as_ptr(), this.place) };
    }

    /// How far the body has been read. Meaningless for a request without one.
    pub(crate) fn reader(&self) -> &Reader {
        // SAFETY: the shard wrote it before it published the slot with a body, and it is this lease's since then: it
        // changes only through `reader_mut`, which borrows the slot's one lease exclusively.
        unsafe { &*self.place().body.reader() }
    }

    /// As [`reader`](Self::reader), to note progress.
    pub(crate) fn reader_mut(&mut self) -> &mut Reader {
        // SAFETY: as in `reader`; `&mut self` is the only borrow of the slot's one lease.
        unsafe { &mut *self.place().body.reader() }
    }

    /// The exchange, apart from the borrow of the lease.
    fn chain<'e>(&self) -> (&'e Exchange<R>, &'e SlotBody) {
        // SAFETY: as in `exchange`; the results do not leave the methods below, which have the lease.
        let exchange = unsafe { self.exchange.as_ref() };
        // SAFETY: as in `place`, and as above.
        let place = unsafe { self.place.as_ref() };
        (exchange, &place.body)
    }

    /// Looks for bytes of the body that came behind the [received](Self::received) ones and have not been read, moving
    /// on to the next buffer where one has been read. `true`: [`body_bytes`](Self::body_bytes) has them.
    pub(crate) fn next_body(&mut self) -> bool {
        let (exchange, body) = self.chain();
        let is_there = exchange.chain.advance(body, self.reader_mut().cursor_mut());
        if !is_there {
            self.want_more();
        }
        is_there
    }

    /// The body's reader has found nothing.
    fn want_more(&self) {
        if self.place().body.want() {
            self.tell(Signals::READ);
        }
    }

    /// The bytes of the body that can be read now, in the buffer that [`next_body`](Self::next_body) found.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        self.bytes_at(self.reader().cursor())
    }

    /// The bytes at the one cursor of this lease's body.
    fn bytes_at<'a>(&'a self, cursor: &'a Cursor) -> &'a [u8] {
        let exchange = self.exchange();
        let Some((buffer, start, len)) = exchange.chain.peek(cursor) else { return &[] };
        let offset = exchange.arena.buffer_offset(buffer) + u64::from(start);
        // SAFETY: bytes between a link's start and end are not written any more (law of `body`), and the shard does not
        // release the buffer while the reader is at it: it moves on only in `advance` and `leave`, which borrow the
        // cursor exclusively. A request has one lease and that one cursor, which is in it or was taken out, once, with
        // its place (`own` asserts that the place is this lease's).
        unsafe { exchange.arena.read(offset, len) }
    }

    /// Takes the reader's place out. The lease itself finds no more of the body after this.
    pub(crate) fn take_cursor(&mut self) -> ReadCursor {
        let cursor = core::mem::replace(self.reader_mut().cursor_mut(), Cursor::NOWHERE);
        ReadCursor { cursor, of: self.own() }
    }

    fn own(&self) -> (usize, Slot, Generation) {
        (self.exchange.as_ptr().addr(), self.slot(), self.generation)
    }

    /// As [`next_body`](Self::next_body), at a place of this lease.
    pub(crate) fn next_at(&self, place: &mut ReadCursor) -> bool {
        assert_eq!(place.of, self.own(), "a place is used with its lease");
        let exchange = self.exchange();
        let is_there = exchange.chain.advance(&self.place().body, &mut place.cursor);
        if !is_there {
            self.want_more();
        }
        is_there
    }

    /// As [`body_bytes`](Self::body_bytes), at a place of this lease.
    pub(crate) fn cursor_bytes<'a>(&'a self, place: &'a ReadCursor) -> &'a [u8] {
        assert_eq!(place.of, self.own(), "a place is used with its lease");
        self.bytes_at(&place.cursor)
    }

    /// As [`consume_body`](Self::consume_body), at a place of this lease.
    pub(crate) fn consume_at(&self, place: &mut ReadCursor, bytes: u32) {
        place.cursor.advance(bytes);
        self.tell_read(bytes);
    }

    /// As [`leave_body`](Self::leave_body), at a place of this lease; the shard is told in any case.
    pub(crate) fn leave_at(&self, place: &mut ReadCursor) {
        assert_eq!(place.of, self.own(), "a place is used with its lease");
        place.cursor.leave(&self.place().body);
        self.tell(Signals::READ);
    }

    fn tell_read(&self, bytes: u32) {
        if self.place().body.add_read(u64::from(bytes)) {
            self.tell(Signals::READ);
        }
    }

    /// Moves over bytes that came with the head of a request of whose body more was to come.
    pub(crate) fn consume_prefix(&mut self, bytes: u32) {
        self.reader_mut().prefix += bytes;
        self.tell_read(bytes);
    }

    /// Moves over bytes of [`body_bytes`](Self::body_bytes) that have been read.
    pub(crate) fn consume_body(&mut self, bytes: u32) {
        self.reader_mut().cursor_mut().advance(bytes);
        self.tell_read(bytes);
    }

    /// Nothing more will be read of the body: its buffers go back.
    pub(crate) fn leave_body(&mut self) {
        let (_, body) = self.chain();
        if self.reader_mut().cursor_mut().leave(body) {
            self.tell(Signals::READ);
        }
    }

    /// How far the body has come; asked for before [`next_body`](Self::next_body) finds nothing, it says why.
    pub(crate) fn body_state(&self) -> BodyState {
        self.place().body.state()
    }

    /// Bytes of the body that have come, those with the head included; for a body of which more was to come then.
    pub(crate) fn body_arrived(&self) -> u64 {
        self.place().body.arrived()
    }

    /// Registers who waits for more of the body; it looks once more after this.
    pub(crate) fn await_body(&self, waker: &Waker) {
        self.place().body.register(waker);
    }

    /// Tells the shard that somebody waits for the body.
    pub(crate) fn ask_for_body(&self) {
        self.tell(Signals::WANTED);
    }

    /// The trailer section behind the body, in lines; empty before its end.
    pub(crate) fn trailers(&self) -> &[u8] {
        let BodyState::Ended { trailers: Some((cell, bytes)) } = self.body_state() else { return &[] };
        let exchange = self.exchange();
        // SAFETY: the shard gave this cell to the slot before it said so, and neither writes nor frees it while the
        // slot is in use, which it is while a handle is out.
        unsafe { exchange.arena.read(exchange.arena.cell_offset(cell), bytes) }
    }

    /// As [`fill`](Self::fill), and gives the response to the shard, but keeps the handle: the request can still be
    /// read, and the shard [told](Self::tell) about it.
    pub(crate) fn answer<E>(&self, fill: impl FnOnce(&mut [u8]) -> Result<Answered, E>) -> Option<Result<(), E>> {
        let flags = ResponseFlags::default();
        let filled = self.exchange().fill(self.place(), self.generation, flags, |_, area| fill(area));
        if let Some(Ok(())) = filled {
            // SAFETY: duty 1: `fill` has set COMPLETING. Duty 2: as in `exchange`. Duty 3: as in `submit`.
            unsafe { Exchange::give_back(self.exchange.as_ptr(), self.place) };
        }
        filled
    }

    /// The engine it is of: a number of this process.
    pub(crate) fn engine(&self) -> u64 {
        self.exchange().engine()
    }

    /// Tells the shard something about this request.
    pub(crate) fn tell(&self, signals: Signals) {
        self.exchange().tell(self.place(), signals);
    }

    /// Cancels the request: see [`Exchange::cancel`]. The handle still reads it.
    pub(crate) fn cancel(&self) -> bool {
        self.exchange().cancel(self.id())
    }

    /// Gives the shard an informational response.
    pub(crate) fn send_informational(&self, answer: Informational) -> Result<(), NotSent> {
        self.exchange().send_informational(self.id(), answer)
    }

    /// The most bytes of a response's head.
    pub(crate) fn head_bytes_max(&self) -> u32 {
        self.exchange().area_bytes()
    }

    /// Leaves a command for the shard.
    pub(crate) fn command(&self, command: Command) {
        self.exchange().command(command);
    }

    /// Gives the handle up; the request lives on, and can be answered by id or [regained](Self::regain).
    pub(crate) fn detach(self) -> RequestId {
        let id = self.id();
        self.leave(false);
        core::mem::forget(self);
        id
    }

    /// Clears HANDLE; an open request is abandoned if so told, and a slot that only waited for this goes back.
    #[inline(always)]
    fn leave(&self, abandon: bool) {
        Self::leave_parts(self.exchange, self.place, self.generation, abandon);
    }

    // Out of line: leases are dropped in many places, and seldom have anything left to do there. In its parts: lent to
    // a call, each lease would be put together in memory.
    #[inline(never)]
    fn leave_parts(
        exchange: NonNull<Exchange<R>>,
        place: NonNull<SharedSlot<R>>,
        generation: Generation,
        abandon: bool,
    ) {
        // The same lease, which is gone with this.
        let _ = core::mem::ManuallyDrop::new(Self { exchange, place, generation }).leave_now(abandon);
    }

    /// `false`: the handle has been taken by the shard, which happens only before there is a lease.
    fn leave_now(&self, abandon: bool) -> bool {
        let slot = self.place();
        let mut before = slot.word.load(Ordering::Acquire);
        loop {
            if before & HANDLE == 0 || generation_of(before) != self.generation {
                return false;
            }
            let without = before & !HANDLE;
            let abandon = abandon || before & LEFT != 0;
            let (after, flags) = match before & (ANSWERED | DEAD | SENT | ORPHAN | CANCELLED) {
                marks if marks & ORPHAN != 0 => (without, None),
                0 if abandon => (without | ANSWERED | COMPLETING, Some(ResponseFlags::ABANDONED)),
                0 => (without, None),
                marks if marks & SENT != 0 || marks & (ANSWERED | DEAD) == DEAD => {
                    (without | COMPLETING, Some(ResponseFlags::RECLAIM))
                }
                // The shard has yet to read the command, and frees it then.
                CANCELLED => (without, None),
                // Answered by id and under way: the shard frees it, or, if that response fails, who tried abandons it.
                _ => (without | if abandon { LEFT } else { 0 }, None),
            };
            if let Err(now) = slot.word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
                before = now;
                continue;
            }
            if before & ORPHAN != 0 {
                // SAFETY: duty 1: the pointer is that of `claim` or `regain`, and HANDLE, cleared above, was counted.
                // Duty 2: nothing follows.
                unsafe { Exchange::release_orphan(self.exchange.as_ptr()) };
                return true;
            }
            if let Some(flags) = flags {
                // SAFETY: this thread has just set COMPLETING on a slot that was open, or sent, or dead and unanswered:
                // the response is its own until the push.
                unsafe { *slot.answer.get() = Answered { flags, ..Answered::default() } };
                // SAFETY: duty 1: as above. Duty 2: as in `exchange`; nothing of it is used after this. Duty 3: as in
                // `submit`.
                unsafe { Exchange::give_back(self.exchange.as_ptr(), self.place) };
            }
            return true;
        }
    }
}

impl<R: Record> Drop for Lease<R> {
    /// A handle dropped without a response abandons its request: the shard answers 500.
    fn drop(&mut self) {
        self.leave(true);
    }
}
