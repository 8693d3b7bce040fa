//! What the slots of a shard come to hold for their requests: the received bytes, the chain of a body, its trailer
//! section.
//!
//! Invariants:
//! * Received bytes are copied to where they live before a request is published, and stay there: beside its slot, in a
//!   cell for long ones, or, longer still, in the cell or large buffer where they are.
//! * Nothing but the end of a slot's use gives back what it holds, so no byte that a handle may read is written or lent
//!   again before the handle is gone.
//! * Bytes that a request or a chain has are settled (`mem::ReceiveBuffers`): whoever writes into a buffer in use is
//!   asked whether it is behind them.
//!
//! Not here: the values that are held (`owned`); which bytes are received and kept (room `shard`); how a chain is read
//! (`body`).

use super::body::{BodyState, LinkId, Reading};
use super::exchange::{Received, Record};
use super::owned::{Backing, HeadCell, ShortBytes, Stage};
use super::request_ring::Published;
use super::shard_side::ShardSide;
use super::slot::Slot;
use crate::id::QueueNumber;
use crate::mem::{Area, Arena, Blank, Cell, CellId, Extent, Input, ReceiveBuffers, Share, give_back_room};

impl<R: Record> ShardSide<R> {
    /// Bytes of a buffer in use or of a cell.
    #[inline]
    pub(crate) fn bytes(&self, extent: Extent<'_>) -> &[u8] {
        // SAFETY: by its owner, who is borrowed meanwhile, the extent is the shard's or shared with readers; whoever
        // writes there borrows this shard side exclusively.
        unsafe { self.exchange().arena.read(extent.offset(), extent.len()) }
    }

    /// Bytes of a buffer in use.
    #[inline]
    pub(crate) fn input(&self, input: Input<'_>) -> &[u8] {
        self.bytes(input.into())
    }

    /// The bytes of a cell, to be written. Whoever has lent them to the kernel waits for their return.
    #[inline]
    pub(crate) fn blank_mut<'a>(&'a mut self, blank: &'a mut Blank<'_>, at: u32, len: u32) -> &'a mut [u8] {
        let extent = blank.part(at, len);
        // SAFETY: who has the cell is the only one to name it, and it is borrowed exclusively for as long as the
        // result.
        unsafe { self.exchange.arena.write(extent.offset(), extent.len()) }
    }

    /// Copies received bytes into another cell, from `at` on.
    pub(crate) fn copy_to_cell(&mut self, from: Extent<'_>, cell: &mut Cell, at: u32) {
        let arena = &self.exchange().arena;
        let to = arena.cell(cell, at, from.len());
        // SAFETY: read as in `bytes`, written as in `blank_mut`; the cell, borrowed exclusively, is not the one read,
        // and disjoint from that and from buffers by the arena's layout.
        unsafe { arena.copy(from.offset(), to.offset(), from.len()) };
    }

    /// Moves received bytes to the front in their buffer, to where nothing is settled: `to` counts from the buffer's
    /// first byte.
    pub(crate) fn move_input(&mut self, input: Input<'_>, to: u32) {
        assert!(to <= input.start(), "bytes are moved to the front");
        assert!(!self.buffers.is_settled(input.from(to)), "what somebody was promised does not change");
        let arena = &self.exchange().arena;
        let span = Extent::from(input.from(to));
        // SAFETY: the buffer is in use by the share that is borrowed, so not the kernel's; nothing at or behind `to` is
        // settled (asserted above), so no handle reads there; this shard side is borrowed exclusively.
        let bytes = unsafe { arena.write(span.offset(), span.len()) };
        bytes.copy_within((input.start() - to) as usize.., 0);
    }

    /// Bytes of a request as those that have room in its slot's own memory, if they have.
    #[inline(always)]
    pub(crate) fn short<'a>(&self, bytes: Extent<'a>) -> Option<ShortBytes<'a>> {
        ShortBytes::new(bytes, &self.exchange.arena)
    }

    /// Copies the bytes of the slot's request to memory of about their size. `false`: they are too long. Before the
    /// slot is published.
    #[inline]
    pub(crate) fn keep(&mut self, slot: Slot, bytes: Extent<'_>) -> bool {
        let Some(short) = self.short(bytes) else { return self.keep_long(slot, bytes) };
        self.take_source(slot, Backing::Own);
        self.copy_to_own(slot, &short);
        true
    }

    /// Copies bytes to memory that is the slot's own, and that it holds: it is not published yet.
    #[inline(always)]
    pub(super) fn copy_to_own(&mut self, slot: Slot, short: &ShortBytes<'_>) {
        let bytes = short.bytes();
        let received = Received { offset: self.slot(slot).head_at, len: bytes.len() };
        self.set_received(slot, received);
        // SAFETY: read as in `bytes`. What is written is the slot's own, which is the shard's until the slot is
        // published (asserted by who makes the slot hold it), and as long (`ShortBytes`); it is in no buffer and no
        // cell.
        unsafe { self.exchange.arena.copy(bytes.offset(), received.offset, received.len) };
    }

    /// The bytes of the request in a slot in use, which are kept.
    pub(crate) fn received(&self, slot: Slot) -> &[u8] {
        // SAFETY: it changes only while the slot is not published, through the one shard side, which is borrowed.
        let Received { offset, len } = unsafe { *self.slot(slot).received.get() };
        // SAFETY: the slot holds these bytes until it is free, which takes the shard side exclusively; whoever writes
        // where they are does, too.
        unsafe { self.exchange().arena.read(offset, len) }
    }

    /// Whether the bytes of the slot's request are kept.
    pub(crate) fn is_kept(&self, slot: Slot) -> bool {
        !matches!(self.holdings[slot].source, Backing::Nothing)
    }

    #[cold]
    fn keep_long(&mut self, slot: Slot, bytes: Extent<'_>) -> bool {
        if bytes.len() > self.arena().cell_bytes(Area::LongHead) {
            return false;
        }
        let mut cell = self.cells.long_head.take().expect("there is one for every slot");
        self.copy_to_cell(bytes, &mut cell, 0);
        self.keep_cell(slot, cell, bytes.len());
        true
    }

    /// The slot's request is the first bytes of a cell, which the slot gets. Before the slot is published.
    pub(crate) fn keep_cell(&mut self, slot: Slot, cell: Cell, len: u32) {
        let extent = self.arena().cell(&cell, 0, len);
        let received = Received { offset: extent.offset(), len: extent.len() };
        self.receive_from(slot, Backing::Cell(cell), received);
    }

    /// The slot's request is these bytes of a buffer, of which the slot gets a share. Before the slot is published.
    pub(crate) fn keep_share(&mut self, slot: Slot, input: Input<'_>) {
        let share = self.buffers.share_settled(input);
        let extent = Extent::from(input);
        let received = Received { offset: extent.offset(), len: extent.len() };
        self.receive_from(slot, Backing::Buffer(share), received);
    }

    fn receive_from(&mut self, slot: Slot, source: Backing, received: Received) {
        self.take_source(slot, source);
        self.set_received(slot, received);
    }

    /// As [`publish`](Self::publish), of a request whose bytes are copied to the slot's own memory.
    #[inline(always)]
    pub(crate) fn publish_copied(&mut self, slot: Slot, bytes: &ShortBytes<'_>, queue: QueueNumber) -> Published {
        self.leave_stage_with_own(slot);
        self.copy_to_own(slot, bytes);
        self.open(slot, queue)
    }

    #[inline(always)]
    fn take_source(&mut self, slot: Slot, source: Backing) {
        let holding = &mut self.holdings[slot];
        let is_fresh = holding.stage == Stage::Ours && matches!(holding.source, Backing::Nothing);
        assert!(is_fresh, "a request is received once, before it is published");
        holding.source = source;
    }

    /// The slot is published, and holds memory of its own, to which nothing is copied yet.
    #[inline(always)]
    pub(super) fn leave_stage_with_own(&mut self, slot: Slot) {
        let holding = &mut self.holdings[slot];
        let is_fresh = holding.stage == Stage::Ours && matches!(holding.source, Backing::Nothing);
        assert!(is_fresh, "a request is received once, before it is published");
        (holding.stage, holding.source) = (Stage::Out, Backing::Own);
    }

    /// A slot that is the shard's alone holds nothing any more, if it holds nothing but memory of its own. `false`: it
    /// holds more.
    #[inline(always)]
    pub(super) fn drop_own(&mut self, slot: Slot) -> bool {
        let holding = &mut self.holdings[slot];
        let is_plain = !holding.has_body && matches!(holding.source, Backing::Nothing | Backing::Own);
        if is_plain {
            (holding.stage, holding.source) = (Stage::Ours, Backing::Nothing);
        }
        is_plain
    }

    /// The slot is published.
    #[inline]
    pub(super) fn leave_stage(&mut self, slot: Slot) {
        let holding = &mut self.holdings[slot];
        assert!(holding.stage == Stage::Ours, "a slot is published once");
        holding.stage = Stage::Out;
        if matches!(holding.source, Backing::Nothing) {
            self.set_received(slot, Received::NOTHING);
        }
    }

    /// Takes back what a slot holds that is not published, or not any more: it is the shard's alone.
    pub(super) fn release_holding(&mut self, slot: Slot) {
        let holding = &mut self.holdings[slot];
        holding.stage = Stage::Ours;
        let has_body = holding.has_body;
        match core::mem::take(&mut holding.source) {
            Backing::Nothing | Backing::Own => {}
            Backing::Cell(cell) => self.cells.give_received(cell),
            Backing::Buffer(share) => self.buffers.release(share),
        }
        if has_body {
            self.release_body(slot);
        }
    }

    /// Takes back what a slot holds that is not published: it becomes another response's.
    pub(crate) fn forget_request(&mut self, slot: Slot) {
        self.assert_unpublished(slot);
        self.release_holding(slot);
    }

    #[cold]
    fn release_body(&mut self, slot: Slot) {
        self.remove_links_before(slot, None);
        let holding = &mut self.holdings[slot];
        (holding.has_body, holding.trailers) = (false, 0);
        if let Some(cell) = holding.trailer_cell.take() {
            self.cells.give_received(cell);
        }
    }

    fn remove_links_before(&mut self, slot: Slot, end: Option<LinkId>) {
        let holding = &mut self.holdings[slot];
        while let Some(link) = holding.first.filter(|first| Some(*first) != end) {
            holding.first = self.exchange.chain.remove(link);
            self.buffers.release(self.links.give(link));
        }
        if holding.first.is_none() {
            holding.last = None;
        }
    }

    /// Whether the slot has a body of its own.
    #[inline]
    pub(crate) fn has_body(&self, slot: Slot) -> bool {
        self.holdings[slot].has_body
    }

    /// The slot gets a body, whose bytes are to come. Before it is published. `false`: it has one.
    pub(crate) fn open_body(&mut self, slot: Slot) -> bool {
        self.assert_unpublished(slot);
        if core::mem::replace(&mut self.holdings[slot].has_body, true) {
            return false;
        }
        self.reset_reader(slot);
        self.body(slot).reset();
        true
    }

    /// So much of an open body came with the head. Before the slot is published.
    pub(crate) fn count_prefix(&self, slot: Slot, bytes: u32) {
        self.body(slot).add_arrived(u64::from(bytes));
    }

    /// Puts received bytes behind the slot's body: moved behind its last bytes in their own buffer, as a link with a
    /// share of its own otherwise.
    pub(crate) fn append_body(&mut self, slot: Slot, input: Input<'_>) {
        if let Some(last) = self.goes_on_in(slot, input) {
            let end = self.exchange.chain.end(last);
            assert!(end <= input.start(), "what comes is behind what has come");
            if end < input.start() {
                self.move_input(input, end);
            }
            return self.grow_body(slot, last, input.len());
        }
        let share = self.buffers.share(input);
        self.link_body(slot, share, input.start(), input.end());
    }

    /// Copies received bytes behind the last of the slot's body, in another buffer. `false`: there is no such room.
    pub(crate) fn copy_behind_body(&mut self, slot: Slot, input: Input<'_>) -> bool {
        let Some(last) = self.holdings[slot].last else { return false };
        let (end, share) = (self.exchange.chain.end(last), self.links.share(last));
        let place = self.arena().input(share, end, self.arena().buffer_bytes(share.buffer()));
        if input.len() > place.len() || share.buffer() == input.buffer() || self.buffers.is_settled(place) {
            return false;
        }
        self.copy_to_buffer(input, place);
        self.grow_body(slot, last, input.len());
        true
    }

    /// Copies received bytes behind the slot's body, into a spare large buffer. `false`: there is none, or they do not
    /// fit.
    pub(crate) fn copy_body(&mut self, slot: Slot, input: Input<'_>) -> bool {
        if input.len() > self.arena().cell_bytes(Area::Body) {
            return false;
        }
        let Some(share) = self.buffers.take_spare_large() else { return false };
        self.copy_to_buffer(input, self.arena().input(&share, 0, input.len()));
        self.link_body(slot, share, 0, input.len());
        true
    }

    /// Copies received bytes to the front of a range of another buffer, where nothing is settled.
    fn copy_to_buffer(&self, input: Input<'_>, place: Input<'_>) {
        assert!(place.buffer() != input.buffer(), "another buffer");
        assert!(input.len() <= place.len(), "they fit");
        assert!(!self.buffers.is_settled(place), "what somebody was promised does not change");
        let (from, to) = (Extent::from(input), Extent::from(place));
        // SAFETY: read as in `bytes`. The buffer written to is another one (asserted above), in use by its share, so
        // not the kernel's; nothing at or behind its start is settled (asserted above), so no handle reads there. The
        // callers borrow this shard side exclusively.
        unsafe { self.arena().copy(from.offset(), to.offset(), from.len()) };
    }

    fn grow_body(&mut self, slot: Slot, last: LinkId, len: u32) {
        let (end, share) = (self.exchange.chain.end(last), self.links.share(last));
        self.buffers.settle(share, end + len);
        self.exchange.chain.grow(last, len);
        self.body(slot).add_arrived(u64::from(len));
    }

    fn link_body(&mut self, slot: Slot, share: Share, start: u32, end: u32) {
        assert!(self.has_body(slot), "bytes are put behind a body");
        assert!(start <= end && end <= self.arena().buffer_bytes(share.buffer()), "a link is within its buffer");
        let buffer = share.buffer();
        self.buffers.settle(&share, end);
        let link = self.links.take(share);
        let last = self.holdings[slot].last;
        self.exchange.chain.append(self.body(slot), last, link, (buffer, start, end));
        let holding = &mut self.holdings[slot];
        holding.last = Some(link);
        holding.first = holding.first.or(Some(link));
        self.body(slot).add_arrived(u64::from(end - start));
    }

    /// Whether received bytes are in the very buffer in which the last bytes of the slot's body are: the link of those.
    pub(crate) fn goes_on_in(&self, slot: Slot, input: Input<'_>) -> Option<LinkId> {
        self.holdings[slot].last.filter(|last| self.links.share(*last).buffer() == input.buffer())
    }

    /// Bytes that the buffer has which the last bytes of the slot's body are in; 0 without.
    pub(crate) fn last_buffer_bytes(&self, slot: Slot) -> u32 {
        let last = self.holdings[slot].last;
        last.map_or(0, |last| self.arena().buffer_bytes(self.links.share(last).buffer()))
    }

    /// Takes back the links that the reader of a body is done with, and their buffers.
    pub(crate) fn reclaim_body(&mut self, slot: Slot) {
        match self.reading(slot) {
            Reading::NotYet => {}
            Reading::At(link) => self.remove_links_before(slot, Some(link)),
            Reading::Parked if !self.body(slot).detach() => {}
            Reading::Parked | Reading::Done => self.remove_links_before(slot, None),
        }
    }

    /// Keeps a part of a trailer section for the reader of the slot's body, whose head is kept already: in a fragment,
    /// in the cell of a long head that there is for every slot, if this one's has none, or, where it `may_assemble`, in
    /// an assembly cell. `false`: there is no cell for it; nothing has changed.
    pub(crate) fn keep_trailers(&mut self, slot: Slot, input: Input<'_>, may_assemble: bool) -> bool {
        assert!(self.has_body(slot), "a trailer section is behind a body");
        let holding = &mut self.holdings[slot];
        let (at, before) = (holding.trailers, holding.trailer_cell.take());
        let end = at + input.len();
        let room = before.as_ref().map_or(0, |cell| self.exchange.arena.cell_bytes_of(cell));
        let larger = if end > room { self.cell_for_trailers(slot, end, may_assemble) } else { None };
        let is_kept = end <= room || larger.is_some();
        let mut cell = match (before, larger) {
            (Some(before), Some(mut larger)) => {
                let begun = self.arena().cell(&before, 0, at);
                self.copy_to_cell(begun, &mut larger, 0);
                self.cells.give_received(before);
                Some(larger)
            }
            (before, larger) => larger.or(before),
        };
        if let Some(cell) = cell.as_mut().filter(|_| is_kept) {
            self.copy_to_cell(input.into(), cell, at);
        }
        let holding = &mut self.holdings[slot];
        holding.trailer_cell = cell;
        holding.trailers = if is_kept { end } else { at };
        is_kept
    }

    /// A cell for so many bytes of the slot's trailer section.
    #[cold]
    fn cell_for_trailers(&mut self, slot: Slot, bytes: u32, may_assemble: bool) -> Option<Cell> {
        let has_long = matches!(&self.holdings[slot].source, Backing::Cell(cell) if cell.is_in(Area::LongHead));
        if let Some(fragment) = self.cells.take_fragment(bytes) {
            Some(fragment)
        } else if !has_long && bytes <= self.arena().cell_bytes(Area::LongHead) {
            Some(self.cells.long_head.take().expect("there is one for every slot"))
        } else if may_assemble {
            self.cells.take_for_request()
        } else {
            None
        }
    }

    /// The assembly cell that the slot's trailer section is in, if it is in one.
    pub(crate) fn assembly_of_trailers(&self, slot: Slot) -> Option<CellId> {
        let cell = self.holdings[slot].trailer_cell.as_ref()?;
        cell.is_in(Area::Assembly).then(|| cell.id())
    }

    /// Whether the bytes of the slot's request are in an assembly cell.
    pub(crate) fn is_assembled(&self, slot: Slot) -> bool {
        matches!(&self.holdings[slot].source, Backing::Cell(cell) if cell.is_in(Area::Assembly))
    }

    /// Keeps the first piece of a head. `None`: there is no cell for it.
    pub(crate) fn keep_piece(&mut self, input: Input<'_>) -> Option<HeadCell> {
        let mut cell = self.cells.take_for_head(input.len())?;
        self.copy_to_cell(input.into(), cell.cell_mut(), 0);
        Some(cell)
    }

    /// Keeps the first bytes of a head that are not in a buffer any more. `None`: there is no cell for them.
    pub(crate) fn keep_begun(&mut self, bytes: &[u8]) -> Option<HeadCell> {
        let len = u32::try_from(bytes.len()).ok()?;
        let mut cell = self.cells.take_for_head(len)?;
        let mut blank = self.arena().blank(cell.cell_mut());
        self.blank_mut(&mut blank, 0, len).copy_from_slice(bytes);
        Some(cell)
    }

    /// Puts the next piece of a head behind the first `len` bytes of its cell, for which a larger one is taken where it
    /// does not fit. `false`: there is no such cell, and nothing has changed.
    pub(crate) fn add_piece(&mut self, cell: &mut HeadCell, len: u32, input: Input<'_>) -> bool {
        let end = len + input.len();
        if end > self.arena().cell_bytes_of(cell.cell()) {
            let Some(mut larger) = self.cells.take_for_head(end) else { return false };
            let begun = self.arena().cell(cell.cell(), 0, len);
            self.copy_to_cell(begun, larger.cell_mut(), 0);
            self.cells.give_head(core::mem::replace(cell, larger));
        }
        self.copy_to_cell(input.into(), cell.cell_mut(), len);
        true
    }

    /// The slot's request is the first bytes of a head's cell, which the slot gets: there is one for requests. Before
    /// the slot is published.
    pub(crate) fn keep_head(&mut self, slot: Slot, cell: HeadCell, len: u32) {
        let cell = self.cells.keep_head(cell);
        self.keep_cell(slot, cell, len);
    }

    /// Everything of the slot's body is here. The reader is [woken](Self::wake_reader) apart.
    pub(crate) fn finish_body(&mut self, slot: Slot) {
        let holding = &self.holdings[slot];
        let trailers = holding.trailer_cell.as_ref().map(|cell| (cell.id(), holding.trailers));
        self.body(slot).set_state(BodyState::Ended { trailers });
    }

    /// Nothing more comes of the slot's body, for a reason that the shard and its readers know by this number, unless
    /// an end was told before. The reader is [woken](Self::wake_reader) apart.
    pub(crate) fn fail_body(&mut self, slot: Slot, reason: u8) {
        if self.body(slot).state() == BodyState::Open
            && let Some(cell) = self.holdings[slot].trailer_cell.take()
        {
            // No reader was told of it.
            self.cells.give_received(cell);
        }
        self.body(slot).set_state(BodyState::Failed(reason));
    }

    /// Gives the memory back to the system that no request uses, nor has used since the last call, in which time at
    /// most so many slots were in use. What is left are the buffers, and where they are.
    pub(crate) fn give_memory_back(&mut self, most: usize) -> (&mut ReceiveBuffers, &Arena) {
        let warm = most.saturating_sub(self.in_use()) as u64;
        let arena = &*self.exchange.arena;
        for run in self.free.cold(warm) {
            for area in [Area::Head, Area::Response, Area::Cooked] {
                // SAFETY: each of these cells is of a free slot: no handle reads it, no response is written there or
                // sent from there (a slot is free behind the end of its send), and nobody wants what it holds.
                unsafe { arena.discard(area, run.clone()) };
            }
        }
        self.free.give_back_room();
        // SAFETY: as in `completions_empty`.
        give_back_room(unsafe { &mut *self.exchange.local.of_side() });
        for cells in self.cells.each_mut() {
            arena.give_back(cells);
        }
        (&mut self.buffers, arena)
    }

    /// Bytes of the slot's body that have arrived and not been read.
    pub(crate) fn unread_body(&self, slot: Slot) -> u64 {
        self.body(slot).unread()
    }

    /// The shard has stopped to receive the slot's body until no more than so many bytes are unread, of which it will
    /// be told. `true`: it is so already.
    pub(crate) fn stop_body_until(&self, slot: Slot, unread: u64) -> bool {
        self.body(slot).stop_until(unread)
    }

    /// As [`stop_body_until`](Self::stop_body_until), until its reader has read everything and wants more.
    pub(crate) fn stop_body_until_wanted(&self, slot: Slot) -> bool {
        self.body(slot).stop_until_wanted()
    }

    /// Whether the reader of the slot's body has read everything and wants more.
    pub(crate) fn is_body_wanted(&self, slot: Slot) -> bool {
        self.body(slot).is_wanted()
    }

    /// Wakes who waits for the slot's body.
    pub(crate) fn wake_reader(&self, slot: Slot) {
        self.body(slot).wake_reader();
    }

    /// Where the reader of the slot's body is.
    pub(crate) fn reading(&self, slot: Slot) -> Reading {
        self.body(slot).reading()
    }

    /// Panics unless the slot is the shard's alone: a lease reads what is published.
    #[inline]
    pub(super) fn assert_unpublished(&self, slot: Slot) {
        assert!(self.holdings[slot].stage == Stage::Ours, "what is published is not written");
    }
}
