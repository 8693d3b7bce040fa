//! Bodies that are whole before their requests are delivered: what is promised to them of the large buffers.
//!
//! Invariants: a body gets a buffer only once all that it may need are promised to it, so one that has begun to come is
//! stopped by its client alone, or by applications that do not read; all promises together are of half of the large
//! buffers at most, one of half of that. A promise is over when the request is delivered or given up.
//!
//! Not here: who waits for a promise, and how bodies are decoded (`protocol::http1`).

use ringress_proto::reject::Reject;

use super::ends::Stamps;
use super::slots::Life;
use super::{Dispatch, SlotState};
use crate::id::QueuePlace;
use crate::mem::{Area, Input};
use crate::policy::PolicyKey;
use crate::queue::Slot;
use crate::slab::ConnectionKey;

impl Dispatch {
    /// Buffers that a body of so many bytes may come to hold: of two that follow each other, the bytes do not fit one.
    fn buffers_for(&self, bytes: u32) -> u32 {
        2 * bytes.div_ceil(self.side.arena().cell_bytes(Area::Body))
    }

    /// Buffers from whose promise on nothing more is promised.
    fn promised_max(&self) -> u32 {
        self.side.arena().count(Area::Body) / 4
    }

    /// The longest body that can be awaited whole.
    pub(crate) fn gathers_at_most(&self) -> u32 {
        let buffers = (self.promised_max() / 2).max(1);
        self.side.arena().cell_bytes(Area::Body).saturating_mul(buffers)
    }

    /// Whether buffers can be promised to a body.
    pub(crate) fn may_gather(&self) -> bool {
        self.promised < self.promised_max()
    }

    /// The request in a slot is to be delivered to a queue when its body is whole.
    pub(crate) fn begin_gathering(&mut self, slot: Slot, queue: QueuePlace, connection: ConnectionKey) {
        // Until then it is known by that, should the queue end, and whose the slot is.
        let connection = Some(connection);
        self.slots[slot] = SlotState { queue: Some(queue), connection, life: Life::Gathered, ..SlotState::FREE };
        self.bodies[slot].promised = 0;
        self.times[slot] = Stamps::of_first_byte(self.arrived);
    }

    /// Buffers for so many bytes are promised to a slot's body.
    pub(crate) fn promise(&mut self, slot: Slot, bytes: u32) {
        debug_assert!(self.may_gather() && bytes <= self.gathers_at_most(), "there are as many");
        self.promised += self.buffers_for(bytes);
        self.bodies[slot].promised = bytes;
    }

    /// Whether buffers are promised to a slot's body.
    pub(crate) fn is_promised(&self, slot: Slot) -> bool {
        self.bodies[slot].promised > 0
    }

    /// A slot's body is not awaited any more.
    pub(crate) fn end_gathering(&mut self, slot: Slot) {
        self.slots[slot].life = Life::Over;
        let bytes = core::mem::take(&mut self.bodies[slot].promised);
        self.promised -= self.buffers_for(bytes);
    }

    /// The request in a slot is looked at again: as when its first byte came, until
    /// [`set_arrived`](Self::set_arrived) is called with what this gives.
    pub(crate) fn as_it_came(&mut self, slot: Slot) -> u64 {
        let came = self.times[slot].first_byte().unwrap_or(self.arrived);
        core::mem::replace(&mut self.arrived, came)
    }

    /// Puts received bytes behind a slot's body that is awaited whole: as few buffers as may be hold it.
    pub(crate) fn gather(&mut self, slot: Slot, piece: Input<'_>) -> Result<(), Reject> {
        let chain = &mut self.bodies[slot];
        chain.allowed = chain.allowed.checked_sub(u64::from(piece.len())).ok_or(Reject::BodyTooLarge)?;
        let goes_on = self.side.goes_on_in(slot, piece).is_some();
        if goes_on || !self.side.copy_behind_body(slot, piece) {
            let is_moved = !goes_on && !self.side.buffers.is_large(piece.buffer());
            if !is_moved || !self.side.copy_body(slot, piece) {
                self.side.append_body(slot, piece);
            }
        }
        Ok(())
    }

    /// So many bytes of a slot's body have come, framing included. `true`: it is longer than what was promised.
    pub(crate) fn has_gathered(&mut self, slot: Slot, bytes: u32) -> bool {
        let chain = &mut self.bodies[slot];
        chain.received += u64::from(bytes);
        self.side.unread_body(slot) > u64::from(chain.promised)
    }

    /// Where the request in a slot goes by now, which came for this group.
    pub(crate) fn queue_of_gathered(&self, slot: Slot, group: PolicyKey) -> Result<QueuePlace, Reject> {
        self.routes.queue_of(group, self.slots[slot].queue)
    }
}
