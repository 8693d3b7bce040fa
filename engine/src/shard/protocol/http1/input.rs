//! Bytes come in: heads are taken out of receive buffers in place, or put together where they did not arrive whole, and
//! delivered with what is there of their bodies.
//!
//! Invariants: a head is copied once when it is delivered, with what is there of its body, so that no request keeps a
//! receive buffer of requests; one that does not arrive whole in one buffer is put together before that, in the
//! connection's one assembly cell, and counted; input that cannot be taken yet is held in its buffers, in order, and
//! receiving stops until it has been taken.
//!
//! Not here: reading and delivering a head (`deliver`), heads in several buffers (`assembly`), the rest of bodies
//! (`body`), what nobody wants (`unwanted`), and which buffers are received into (`protocol::receive`).

use ringress_proto::framing::BodyLength;
use ringress_proto::reject::Reject;

use super::Http1;
use super::state::{AnswerNote, BodySize};
use crate::conn::Admission;
use crate::driver::Io;
use crate::mem::{Area, Group, Input};
use crate::queue::Slot;
use crate::shard::dispatch::SlotState;
use crate::shard::protocol::Protocol;
use crate::shard::transport::{Awaited, Resource};

/// What came of looking at some input.
pub(super) enum Taken {
    /// This much was used.
    Bytes(u32),
    /// The rest can only be taken later.
    Later,
    /// The rest is of no use: the connection takes no more requests, or is gone.
    Over,
}

impl<I: Io> Protocol<I> {
    /// Receives, unless the connection does or takes no more.
    pub(crate) fn arm_receive(&mut self, connection: &mut Http1) {
        let socket = &connection.link.socket;
        if !socket.may_receive() {
            return;
        }
        if connection.has_incoming() || connection.takes_nothing() {
            if !self.receive_unwanted(connection) {
                self.receive_body(connection);
            }
            return;
        }
        // Who has sent one long body is likely to send another: its head comes with a good part of it.
        let newest = core::mem::replace(&mut connection.body_size, BodySize::Short);
        if newest == BodySize::Long && self.has_large() {
            let arena = self.dispatch.arena();
            let (least, most) = (arena.cell_bytes(Area::Receive), arena.cell_bytes(Area::Body));
            let most = most.min(self.body_credit(connection).max(least));
            return self.transport.receive_once(&mut connection.link.socket, Group::Large, most);
        }
        if self.dispatch.buffers().small.is_short() {
            return self.receive_little(connection);
        }
        self.transport.receive_many(&mut connection.link.socket);
    }

    /// Small buffers are short: receives no more than one, and nothing that would have to be held.
    #[cold]
    fn receive_little(&mut self, connection: &mut Http1) {
        let is_taken =
            connection.has_head() || connection.machine.admission(self.settings.pipeline_max) == Admission::Now;
        if is_taken {
            let most = self.dispatch.arena().cell_bytes(Area::Receive);
            let awaited = self.head_awaited(connection);
            self.receive_piece(&mut connection.link, u64::from(most), None, awaited);
        }
        if !connection.link.socket.receives() {
            self.poll_end(connection);
            self.set_timer(connection);
        }
    }

    /// How a head is awaited of a connection. Of the small buffers that are kept back it may have one if no others are
    /// left, its client has few, and a request would not have to wait for others to have fewer slots.
    pub(crate) fn head_awaited(&mut self, connection: &Http1) -> Awaited {
        let is_of_few = !self.dispatch.buffers().small.any_posted()
            && self.dispatch.has_few_inputs(connection.key())
            && self.lacks_slot(connection) != Some(Resource::Slot);
        if is_of_few { Awaited::HeadOfFew } else { Awaited::Head }
    }

    /// Takes every request that is there; gives back what can only be taken later.
    pub(crate) fn take_requests<'a>(&mut self, connection: &mut Http1, all: Input<'a>) -> Option<Input<'a>> {
        let mut used = 0;
        while used < all.len() {
            let input = all.after(used);
            let admission = connection.machine.admission(self.settings.pipeline_max);
            let taken = if admission == Admission::Now && !connection.is_within_request() {
                self.take_in_place(connection, input)
            } else if connection.has_incoming() {
                self.take_body(connection, input.apart())
            } else if admission == Admission::Never {
                self.throw_away(connection)
            } else if connection.awaits_preface() {
                self.take_preface(connection, input.apart())
            } else if connection.has_head() {
                self.extend_head(connection, input.apart())
            } else {
                Taken::Later
            };
            match taken {
                Taken::Bytes(bytes) => used += bytes,
                Taken::Later => return Some(input),
                Taken::Over => return None,
            }
        }
        None
    }

    /// Gives up on the head under way, if there is one.
    pub(crate) fn drop_head(&mut self, connection: &mut Http1) {
        if let Some(head) = connection.take_head() {
            self.dispatch.cells_mut().give_head(head.cell);
        }
    }

    /// A slot for a request of a connection; without one it waits.
    #[inline]
    pub(super) fn slot_for(&mut self, connection: &mut Http1) -> Result<Slot, Taken> {
        self.dispatch.allocate().or_else(|| self.reserved_slot_for(connection)).ok_or(Taken::Later)
    }

    /// One of those that are kept back.
    #[cold]
    #[inline(never)]
    fn reserved_slot_for(&mut self, connection: &mut Http1) -> Option<Slot> {
        let lacking = match self.lacks_slot(connection) {
            None => self.dispatch.borrow_slot(connection.key()).ok_or(Resource::ReservedSlot),
            Some(lacking) => Err(lacking),
        };
        lacking.inspect_err(|lacking| _ = self.take_later(connection, *lacking)).ok()
    }

    /// Which slots a connection waits for, if there is none for it. Of those that are kept back it gets one at a time,
    /// if its client has few.
    pub(crate) fn lacks_slot(&mut self, connection: &Http1) -> Option<Resource> {
        self.dispatch.refill_reserve();
        if self.dispatch.has_slot() {
            return None;
        }
        let is_alone = connection.machine.in_flight() == 0;
        match is_alone && self.dispatch.is_below_share(connection.key(), self.transport.tick) {
            true => (!self.dispatch.has_reserved_slot()).then_some(Resource::ReservedSlot),
            false => Some(Resource::Slot),
        }
    }

    /// Input waits until something is there again, in its turn.
    pub(super) fn take_later(&mut self, connection: &mut Http1, resource: Resource) -> Taken {
        self.transport.await_resource(&mut connection.link.socket, resource);
        self.set_timer(connection);
        Taken::Later
    }

    /// Takes the request at the start of the input, if it is whole.
    #[inline]
    fn take_in_place(&mut self, connection: &mut Http1, input: Input<'_>) -> Taken {
        let slot = match self.slot_for(connection) {
            Ok(slot) => slot,
            Err(taken) => return taken,
        };
        let read = match self.read_request(connection, slot, input.into()) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.dispatch.discard(slot);
                return self.begin_assembly(connection, input.apart());
            }
            Err(reject) => return self.refuse_unread(connection, slot, reject),
        };
        if !matches!(read.body, BodyLength::None) {
            return self.take_with_body(connection, input.apart(), slot, read.addressed.apart());
        }
        let Some(bytes) = self.dispatch.short(input.first(read.head_len).into()) else {
            return self.take_long(connection, (input.apart(), read.head_len), slot, read.addressed.apart());
        };
        let is_taken = self.deliver(connection, (slot, Some(bytes)), read.addressed, false);
        if is_taken { Taken::Bytes(read.head_len) } else { Taken::Later }
    }

    /// Keeps the first bytes of the input for the request in a slot: copied to memory of about their size, so that
    /// their buffer comes back.
    pub(super) fn keep(&mut self, input: Input<'_>, slot: Slot, len: u32) {
        if !self.dispatch.keep(slot, input.first(len).into()) {
            self.keep_longest(input.apart(), slot, len);
        }
    }

    /// As [`keep`](Self::keep), of more than a receive buffer holds: it came in a large one, and stays there unless
    /// these are short.
    #[cold]
    fn keep_longest(&mut self, input: Input<'_>, slot: Slot, len: u32) {
        let dispatch = &mut self.dispatch;
        // It is not worth a cell if the buffer stays in use all the same, or if other requests need the last cells.
        let is_alone = len == input.len() && !dispatch.buffers().is_shared(input);
        let fits = len <= dispatch.arena().cell_bytes(Area::Assembly);
        let is_copied = dispatch.buffers().large.pressed() && is_alone && fits;
        let cell = if is_copied { dispatch.take_for_longest() } else { None };
        let Some(mut cell) = cell else { return dispatch.keep_share(slot, input.first(len)) };
        self.counters.copies.count();
        dispatch.copy_to_cell(input.first(len).into(), &mut cell, 0);
        dispatch.keep_cell(slot, cell, len);
    }

    /// Refuses the request at the start of the input; the rest of the input is not read.
    #[cold]
    pub(super) fn refuse_unread(&mut self, connection: &mut Http1, slot: Slot, reject: Reject) -> Taken {
        self.refuse_begun(connection, slot, reject);
        Taken::Over
    }

    /// Gives up on the request under way and answers it; the connection ends after that.
    pub(super) fn refuse_begun(&mut self, connection: &mut Http1, slot: Slot, reject: Reject) {
        // It may have a part of a body already.
        self.dispatch.forget_request(slot);
        self.dispatch.request_mut(slot).wire_bytes = 0;
        let is_http10 = self.dispatch.request(slot).is_http10();
        let note = AnswerNote::new(false, is_http10);
        self.dispatch.set_state(slot, SlotState::new(connection.key(), self.transport.tick, note.0));
        self.drop_head(connection);
        self.refuse(connection, slot, reject, false);
    }

    /// Whether a connection can take what is held of its input: more of what is under way, or a request.
    pub(crate) fn http1_may_take(&self, connection: &Http1) -> bool {
        let under_way = connection.has_head() || connection.has_incoming();
        under_way || connection.machine.admission(self.settings.pipeline_max) != Admission::Later
    }
}
