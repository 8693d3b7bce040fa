//! Queued requests that make room for those of clients that have fewer: each is answered 503, in its turn.
//!
//! Invariants: a client is told so like any other refusal, and its connection goes on; the connection is looked at
//! before the kernel is entered again.
//!
//! Not here: which request that is (`dispatch::displace`), and who waits for a slot (`transport::waiting`).

use ringress_proto::reject::Reject;

use super::Http1;
use crate::driver::Io;
use crate::id::QueuePlace;
use crate::queue::Slot;
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

    /// Refuses a request in its queue, unless a consumer has it by now. `true`: it did.
    fn displace(&mut self, slot: Slot) -> bool {
        let is_refused = self.refuse_queued(slot, Reject::AboveShare);
        if is_refused {
            self.dispatch.has_made_room(slot);
            self.displaced.push(slot);
        }
        is_refused
    }
}
