//! Which request makes room for one of a client that has fewer: the oldest one that no consumer has claimed, of an
//! address that has most.
//!
//! Invariants: only what waits makes room, in a queue or for the promise of buffers for its body, never what a consumer
//! has claimed; the other address has at least two slots less, so that two do not take turns. What makes room is looked
//! for when somebody is refused or waits otherwise, for many at a time: while nobody is, it costs nothing.
//!
//! Not here: what an address may have (`shares`), who waits, and how a client is told (`protocol::http1::displace`).

use ringress_proto::reject::Reject;

use super::Dispatch;
use super::slots::Life;
use crate::candidates::{Among, Candidates, Rank};
use crate::clock::Tick;
use crate::id::QueuePlace;
use crate::queue::Slot;
use crate::record::Outcome;
use crate::slab::ConnectionKey;

/// Those that make room next, oldest first: by when they came, and where they are in their queue.
pub(super) type Yielding = Candidates<Slot, (Tick, u64)>;

/// So many are found by looking through all slots once.
pub(super) const YIELDING_MAX: u32 = 64;

/// What is wanted of a request that makes room.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Its place in this queue.
    Place(QueuePlace),
    /// Its slot, which comes back with its refusal: no other request of its connection is before it.
    Slot,
    /// Its slot, which comes back at once, since no other request of its connection is behind it: what its client is
    /// told needs none.
    Last,
}

/// What waits, of addresses that have more than one slot.
struct Queued<'a> {
    dispatch: &'a Dispatch,
    wanted: Wanted,
}

impl Among for Queued<'_> {
    type Key = Slot;
    type Rest = (Tick, u64);

    fn keys(&self) -> impl Iterator<Item = Slot> {
        self.dispatch.side.slots_used()
    }

    fn rank(&self, slot: Slot) -> Option<Rank<(Tick, u64)>> {
        let state = &self.dispatch.slots[slot];
        let is_wanted = match self.wanted {
            Wanted::Place(queue) => state.life == Life::Delivered && state.queue == Some(queue),
            Wanted::Slot => !state.is_behind,
            Wanted::Last => state.is_behind && state.next.is_none() && !self.dispatch.has_body(slot),
        };
        let held = self.dispatch.slots_of(slot);
        let could = is_wanted && held > 1 && self.dispatch.waits(slot);
        could.then(|| Rank::of(held, 1, (state.queued, state.position)))
    }

    fn from(&self, _: &Rank<(Tick, u64)>) -> Tick {
        0
    }
}

impl Dispatch {
    /// Slots of the address whose request is in a slot, as far as they were counted.
    fn slots_of(&self, slot: Slot) -> u32 {
        self.slots[slot].connection.map_or(0, |connection| self.peers.slots(self.peers.of(connection)))
    }

    /// Whether nobody has begun with a request: no consumer, nor its client with the body that is awaited whole.
    fn waits(&self, slot: Slot) -> bool {
        match self.slots[slot].life {
            Life::Delivered => self.is_queued(&self.slots[slot]),
            Life::Gathered => !self.is_promised(slot) && !self.is_displaced(slot),
            Life::Over | Life::Answered | Life::Refused => false,
        }
    }

    /// Whether a request has made room that is not refused yet.
    pub(crate) fn is_displaced(&self, slot: Slot) -> bool {
        let state = &self.slots[slot];
        state.life == Life::Gathered && state.outcome != Outcome::Answered
    }

    /// Decides that a request makes room that was not delivered. `false`: it was, or has ended.
    pub(crate) fn displace_gathered(&mut self, slot: Slot) -> bool {
        let state = &mut self.slots[slot];
        let is_gathered = state.life == Life::Gathered;
        if is_gathered {
            state.outcome = Outcome::Refused(Reject::AboveShare);
        }
        is_gathered
    }

    /// The request that makes room for one of a connection's in a queue that is full, if one does.
    pub(crate) fn yields_place(&mut self, queue: QueuePlace, connection: ConnectionKey, now: Tick) -> Option<Slot> {
        let count = self.count_slots(now);
        let least = self.peers.slots_at_most(self.peers.of(connection)) + 2;
        let end = self.queues.get_mut(queue.index())?.as_mut().filter(|end| !end.is_overfull())?;
        let mut yielding = core::mem::replace(&mut end.yielding, Yielding::new(0));
        let found = self.take_yielding(&mut yielding, Wanted::Place(queue), least, count);
        self.queues.get_mut(queue.index())?.as_mut()?.yielding = yielding;
        found
    }

    /// The request that gives up its slot to a client that has few, if one does.
    pub(crate) fn yields_slot(&mut self, now: Tick) -> Option<Slot> {
        let count = self.count_slots(now);
        let [mut next, mut last] = core::mem::replace(&mut self.shares.yielding, [Yielding::new(0), Yielding::new(0)]);
        let least = self.above_share();
        let found = self.take_yielding(&mut next, Wanted::Slot, least, count);
        let found = found.or_else(|| self.take_yielding(&mut last, Wanted::Last, least, count));
        self.shares.yielding = [next, last];
        found
    }

    /// The first one, if its address has at least so many slots. They are looked for once for each `count` of slots,
    /// which is the time by which candidates go.
    fn take_yielding(&self, yielding: &mut Yielding, wanted: Wanted, least: u32, count: u32) -> Option<Slot> {
        let queued = Queued { dispatch: self, wanted };
        let first = yielding.first(count, &queued).ok()?;
        if self.slots_of(first) < least {
            return None;
        }
        yielding.take(count, &queued).ok()
    }

    /// A request has made room: its address has less.
    pub(crate) fn has_made_room(&mut self, slot: Slot) {
        self.note_leaving();
        let state = self.slots[slot];
        if let Some(connection) = state.connection {
            self.peers.discount_slot(self.peers.of(connection));
        }
        if let Some(next) = state.next {
            self.slots[next].is_behind = false;
        }
    }

    /// The place that a request had in a queue is that of one of this connection's.
    pub(crate) fn has_got_room(&mut self, connection: ConnectionKey) {
        self.give_slot(connection);
    }
}
