//! What protocols use of slots, and of the shard's memory.
//!
//! Invariants: a request is filled in before it is delivered or refused, and does not change afterwards; its response
//! is looked at while it is the shard's (room `queue` asserts both). That requests are delivered, end, and leave their
//! slots is not among this: whoever has a slot has no other way to that than `queues` and `ends`.
//!
//! Not here: bodies on their way to readers (`body`), and what the loop takes of applications (`given`).

use super::body::BodyChain;
use super::ends::Stamps;
use super::{Dispatch, SlotState};
use crate::id::Origin;
use crate::mem::{Arena, Blank, Cell, Extent, Input, Lent, ReceiveBuffers};
use crate::queue::{Answered, CellPools, HeadCell, Reading, Scratch, ShortBytes, Slot};
use crate::record::RequestRecord;
use crate::route::Snapshot;

/// All that a head is read with: received bytes, the record and the memory that it is read into, and where requests go.
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) record: &'a mut RequestRecord,
    pub(crate) scratch: Scratch<'a, RequestRecord>,
    pub(crate) routes: &'a Snapshot,
    pub(crate) origin: Origin,
}

/// Memory of the shard.
impl Dispatch {
    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        self.side.arena()
    }

    #[inline]
    pub(crate) fn buffers(&self) -> &ReceiveBuffers {
        &self.side.buffers
    }

    #[inline]
    pub(crate) fn buffers_mut(&mut self) -> &mut ReceiveBuffers {
        &mut self.side.buffers
    }

    /// Buffers, and where they are.
    pub(crate) fn buffers_of_arena(&mut self) -> (&mut ReceiveBuffers, &Arena) {
        self.side.buffers_of_arena()
    }

    #[inline]
    pub(crate) fn cells(&self) -> &CellPools {
        &self.side.cells
    }

    #[inline]
    pub(crate) fn cells_mut(&mut self) -> &mut CellPools {
        &mut self.side.cells
    }

    /// Bytes of a buffer in use.
    #[inline]
    pub(crate) fn input(&self, input: Input<'_>) -> &[u8] {
        self.side.input(input)
    }

    /// See [`ShardSide::blank_mut`](crate::queue::ShardSide::blank_mut).
    #[inline]
    pub(crate) fn blank_mut<'a>(&'a mut self, blank: &'a mut Blank<'_>, at: u32, len: u32) -> &'a mut [u8] {
        self.side.blank_mut(blank, at, len)
    }

    /// Copies received bytes into another cell, from `at` on.
    pub(crate) fn copy_to_cell(&mut self, from: Extent<'_>, cell: &mut Cell, at: u32) {
        self.side.copy_to_cell(from, cell, at);
    }

    /// Moves received bytes to the front in their buffer, to where nothing is settled.
    pub(crate) fn move_input(&mut self, input: Input<'_>, to: u32) {
        self.side.move_input(input, to);
    }
}

/// A request that is not delivered yet.
impl Dispatch {
    /// A slot for a request; it is given back by [`discard`](Self::discard), delivered or refused.
    #[inline]
    pub(crate) fn allocate(&mut self) -> Option<Slot> {
        let Self { side, slots, bodies, times, departed, .. } = self;
        side.allocate(|| {
            slots.push(SlotState::FREE);
            bodies.push(BodyChain::NONE);
            times.push(Stamps::default());
            departed.push(None);
        })
    }

    /// Whether there is one.
    pub(crate) fn has_slot(&self) -> bool {
        self.side.has_free()
    }

    /// What a head is read with.
    #[inline(always)]
    pub(crate) fn view<'a>(&'a mut self, bytes: Extent<'a>, slot: Slot) -> View<'a> {
        let (bytes, record, scratch) = self.side.parse_view(bytes, slot);
        View { bytes, record, scratch, routes: &self.routes, origin: self.origin }
    }

    #[inline]
    pub(crate) fn request_mut(&mut self, slot: Slot) -> &mut RequestRecord {
        self.side.record_mut(slot)
    }

    /// Bytes of a request as those that have room beside its slot, if they have: for [`enqueue`](Self::enqueue).
    #[inline(always)]
    pub(crate) fn short<'a>(&self, bytes: Extent<'a>) -> Option<ShortBytes<'a>> {
        self.side.short(bytes)
    }

    /// Copies the bytes of a request to memory of about their size. `false`: they are too long.
    #[inline(always)]
    pub(crate) fn keep(&mut self, slot: Slot, bytes: Extent<'_>) -> bool {
        self.side.keep(slot, bytes)
    }

    /// See [`ShardSide::keep_begun`](crate::queue::ShardSide::keep_begun).
    pub(crate) fn keep_begun(&mut self, bytes: &[u8]) -> Option<HeadCell> {
        self.side.keep_begun(bytes)
    }

    /// Keeps the first piece of a head.
    pub(crate) fn keep_piece(&mut self, input: Input<'_>) -> Option<HeadCell> {
        self.side.keep_piece(input)
    }

    /// Puts the next piece of a head behind the first `len` bytes of its cell, or of a larger one.
    pub(crate) fn add_piece(&mut self, cell: &mut HeadCell, len: u32, input: Input<'_>) -> bool {
        self.side.add_piece(cell, len, input)
    }

    /// Whether the bytes of a request are kept already.
    pub(crate) fn is_kept(&self, slot: Slot) -> bool {
        self.side.is_kept(slot)
    }

    /// The request is the first bytes of a cell, which its slot gets.
    pub(crate) fn keep_cell(&mut self, slot: Slot, cell: Cell, len: u32) {
        self.side.keep_cell(slot, cell, len);
    }

    /// The request is these bytes of a buffer, of which its slot gets a share.
    pub(crate) fn keep_share(&mut self, slot: Slot, input: Input<'_>) {
        self.side.keep_share(slot, input);
    }

    /// Nothing of its body has been read.
    pub(crate) fn reset_reader(&mut self, slot: Slot) {
        self.side.reset_reader(slot);
    }

    /// So much of an open body came with the head.
    pub(crate) fn count_prefix(&mut self, slot: Slot, bytes: u32) {
        self.side.count_prefix(slot, bytes);
    }

    /// Takes back what a slot holds: it becomes another response's.
    pub(crate) fn forget_request(&mut self, slot: Slot) {
        self.side.forget_request(slot);
    }

    /// What is known of a request beside its record.
    #[inline(always)]
    pub(crate) fn set_state(&mut self, slot: Slot, state: SlotState) {
        self.slots[slot] = state;
    }
}

/// A request under way, and its response.
impl Dispatch {
    #[inline]
    pub(crate) fn request(&self, slot: Slot) -> &RequestRecord {
        self.side.record(slot)
    }

    #[inline(always)]
    pub(crate) fn state(&self, slot: Slot) -> &SlotState {
        &self.slots[slot]
    }

    /// As [`state`](Self::state), if there is a slot.
    #[inline(always)]
    pub(crate) fn find_state(&self, slot: Option<Slot>) -> Option<&SlotState> {
        self.slots.find(slot)
    }

    /// What its protocol notes of it.
    #[inline]
    pub(crate) fn set_note(&mut self, slot: Slot, note: u8) {
        self.slots[slot].note = note;
    }

    /// A request is the next younger one of its connection behind `older`, or none is.
    #[inline]
    pub(crate) fn put_behind(&mut self, older: Slot, slot: Option<Slot>) {
        self.slots[older].next = slot;
    }

    /// Whether its slot has a body of its own.
    #[inline]
    pub(crate) fn has_body(&self, slot: Slot) -> bool {
        self.side.has_body(slot)
    }

    /// All of its body has come.
    pub(crate) fn finish_body(&mut self, slot: Slot) {
        self.side.finish_body(slot);
    }

    /// How far its body is being read.
    pub(crate) fn reading(&self, slot: Slot) -> Reading {
        self.side.reading(slot)
    }

    pub(crate) fn wake_reader(&self, slot: Slot) {
        self.side.wake_reader(slot);
    }

    /// Wins the response of a request for the shard, if nobody has answered it yet.
    #[cold]
    pub(crate) fn claim_response(&mut self, slot: Slot) -> bool {
        self.side.claim_response(slot)
    }

    /// What was answered, from when the slot has come back.
    #[inline]
    pub(crate) fn answered_mut(&mut self, slot: Slot) -> &mut Answered {
        self.side.answered_mut(slot)
    }

    /// The response area, as long as the response is the shard's.
    #[inline]
    pub(crate) fn response_mut(&mut self, slot: Slot) -> &mut [u8] {
        self.side.response_mut(slot)
    }

    /// Lends the first `len` bytes of the response area for a send.
    #[inline]
    pub(crate) fn lend_response(&self, slot: Slot, len: u32) -> Lent {
        self.side.lend_response(slot, len)
    }

    /// See [`ShardSide::copy_response`](crate::queue::ShardSide::copy_response).
    #[inline(always)]
    pub(crate) fn copy_response<const DATE: usize>(
        &mut self,
        slot: Slot,
        blank: &mut Blank<'_>,
        range: (u32, u32),
        date: &[u8; DATE],
    ) -> Option<(u32, u16)> {
        self.side.copy_response(slot, blank, range, date)
    }
}
