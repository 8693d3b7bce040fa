//! Requests that make room for those of clients that have fewer: each is answered 503, in its turn.
//!
//! Invariants: a client is told so like any other refusal, and its connection goes on, unless the rest of a body is to
//! come; the connection is looked at before the kernel is entered again. What is behind a request that a consumer has
//! leaves its slot at once, from the end on: of that its client is told in the fewest bytes, and its connection ends.
//!
//! Not here: which request that is (`dispatch::displace`), and who waits for a slot (`transport::waiting`).

use ringress_proto::reject::Reject;

use super::Http1;
use crate::driver::Io;
use crate::id::QueuePlace;
use crate::queue::Slot;
use crate::record::UnsentReason;
use crate::shard::protocol::Protocol;
use crate::shard::transport::Resource;

impl<I: Io> Protocol<I> {
    /// A queue is full: the oldest request of another client's, which has more, makes room. `true`: there is some.
    #[cold]
    #[inline(never)]
    pub(super) fn make_place(&mut self, connection: &Http1, queue: QueuePlace) -> bool {
        while let Some(slot) = self.dispatch.yields_place(queue, connection.key(), self.transport.tick) {
            if self.displace(slot) {
                self.dispatch.has_got_room(connection.key());
                return !self.dispatch.is_full(queue);
            }
        }
        false
    }

    /// Clients that have few wait for slots: as many requests of those that have more give up theirs.
    #[cold]
    pub(crate) fn make_slots(&mut self) {
        let (waiting, now) = (self.transport.waiting.count(Resource::ReservedSlot), self.transport.tick);
        let mut missing = self.dispatch.slots_missing(waiting, now);
        while missing > 0
            && let Some(slot) = self.dispatch.yields_slot(now)
        {
            missing -= usize::from(self.displace(slot));
        }
    }

    /// Refuses a request that waits, unless a consumer has it by now. `true`: it did.
    fn displace(&mut self, slot: Slot) -> bool {
        let is_refused = self.dispatch.displace_gathered(slot) || self.refuse_queued(slot, Reject::AboveShare);
        if is_refused {
            self.dispatch.has_made_room(slot);
            self.displaced.push(slot);
        }
        is_refused
    }

    /// A request of a connection has made room; by now its slot may be another one's.
    #[cold]
    pub(crate) fn http1_was_displaced(&mut self, connection: &mut Http1, slot: Slot) {
        if connection.gathered() == Some(slot) && self.dispatch.is_displaced(slot) {
            if connection.oldest.is_none() {
                return self.gathering_failed(connection, slot, Reject::AboveShare);
            }
            self.counters.share_refusals.count();
            return self.refuse_slotless(connection);
        }
        let is_behind = connection.newest == Some(slot) && connection.oldest.is_some_and(|oldest| oldest != slot);
        if is_behind && self.dispatch.state(slot).is_answered() && !self.dispatch.has_body(slot) {
            self.take_newest_off(connection, slot);
            self.refuse_slotless(connection);
        } else if self.dispatch.state(slot).is_answered() {
            self.take_no_more_behind(connection, slot);
        }
        self.queue_flush(&mut connection.link);
    }

    /// The refusal in the slot of a connection's newest request is not sent: that is behind others.
    fn take_newest_off(&mut self, connection: &mut Http1, slot: Slot) {
        connection.newest = connection.oldest;
        while let Some(before) = connection.newest
            && let Some(next) = self.dispatch.state(before).next
            && next != slot
        {
            connection.newest = Some(next);
        }
        if let Some(before) = connection.newest {
            self.dispatch.put_behind(before, None);
        }
        connection.machine.forget_newest();
        self.dispatch.responses_unsent(Some(slot), UnsentReason::Aborted, 0);
    }
}
