//! Sockets whose input waits for something that has run out: a list for each such thing, first come, first served.
//!
//! Invariants: a socket is in one list at most, and leaves it before its entry goes; meanwhile nothing is received for
//! it, and what has come is held.
//!
//! Not here: who is called when (`shard`), and what then goes on (`protocol`); sockets that wait for room to send, or
//! for a cell to read a file into (`send`, `stage`).

use super::place_lists::PlaceLists;

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Buffers of the kernel's for what is short, or may be.
    SmallBuffer,
    /// Those of them that are kept back for clients that have few.
    ReservedSmall,
    /// Buffers of the kernel's for bodies.
    LargeBuffer,
    /// Those that are kept back for bodies whose readers wait.
    ReservedBuffer,
    /// Request slots, of those that are kept back for clients that have few.
    ReservedSlot,
    /// Request slots that anybody gets.
    Slot,
    /// Assembly cells of those that requests may have: for a trailer section, or a long head that is whole.
    CellOfRequest,
    /// The same, but for those that are kept for clients that have few.
    CellBeyondShare,
    /// Assembly cells that heads are put together in.
    Cell,
    /// Large buffers that can be promised to a body that is awaited whole, for clients that have few of them.
    ReservedPromise,
    /// ... for any.
    Promise,
}

impl Resource {
    /// In the order in which they are given: who has a slot comes before those that will need one, and who has few
    /// before others.
    pub(crate) const ALL: [Self; 11] = [
        Self::ReservedBuffer,
        Self::LargeBuffer,
        Self::ReservedSmall,
        Self::SmallBuffer,
        Self::ReservedSlot,
        Self::Slot,
        Self::CellOfRequest,
        Self::CellBeyondShare,
        Self::Cell,
        Self::ReservedPromise,
        Self::Promise,
    ];

    /// Whether others may give it up for who begins to wait, and are looked through for that otherwise than by the
    /// clock.
    pub(super) fn is_given_up(self) -> bool {
        use Resource::{Cell, CellBeyondShare, CellOfRequest, Promise, ReservedPromise};
        matches!(self, CellOfRequest | CellBeyondShare | Cell | ReservedPromise | Promise)
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Waiting(PlaceLists<{ Resource::ALL.len() }>);

impl Waiting {
    /// Bytes that one more takes.
    pub(super) const BYTES: usize = PlaceLists::<{ Resource::ALL.len() }>::BYTES;

    /// For so many connections.
    pub(super) fn new(connections: u32) -> Self {
        Self(PlaceLists::new(connections))
    }

    /// Whether nobody waits for anything.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait for something.
    pub(crate) fn count(&self, resource: Resource) -> usize {
        self.0.count(resource as usize)
    }

    /// How many wait for a buffer.
    pub(crate) fn starved(&self) -> usize {
        let of_bodies = self.count(Resource::LargeBuffer) + self.count(Resource::ReservedBuffer);
        self.count(Resource::SmallBuffer) + self.count(Resource::ReservedSmall) + of_bodies
    }

    /// Whether somebody waits for what is looked for by the clock: a buffer that its reader has done with, to be below
    /// its share of the slots or of what is promised, or for others to give up their slots or cells.
    #[inline]
    pub(crate) fn any_by_clock(&self) -> bool {
        !self.is_empty() && self.some_by_clock()
    }

    #[cold]
    fn some_by_clock(&self) -> bool {
        let slots = self.count(Resource::Slot) + self.count(Resource::ReservedSlot);
        self.starved() + slots + self.count(Resource::Promise) + self.count(Resource::Cell) > 0
    }

    /// The place of the one that has begun to wait for the same next.
    pub(crate) fn behind(&self, place: u32) -> Option<u32> {
        self.0.behind(place)
    }

    /// The place of the connection that has waited longest.
    pub(crate) fn first(&self, resource: Resource) -> Option<u32> {
        self.0.first(resource as usize)
    }

    pub(super) fn join(&mut self, resource: Resource, place: u32) {
        self.0.join(resource as usize, place);
    }

    pub(super) fn leave(&mut self, resource: Resource, place: u32) {
        self.0.leave(resource as usize, place);
    }

    /// While nobody waits, the memory goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        self.0.give_back_room();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(waiting: &mut Waiting, resource: Resource) -> Vec<u32> {
        core::iter::from_fn(|| {
            let first = waiting.first(resource)?;
            waiting.leave(resource, first);
            Some(first)
        })
        .collect()
    }

    #[test]
    fn who_came_first_is_first_and_anybody_may_leave() {
        let mut waiting = Waiting::new(8);
        for place in [3, 0, 7, 5] {
            waiting.join(Resource::Slot, place);
        }
        waiting.join(Resource::Cell, 1);
        assert_eq!((waiting.count(Resource::Slot), waiting.count(Resource::Cell)), (4, 1));
        waiting.leave(Resource::Slot, 7);
        waiting.leave(Resource::Slot, 3);
        waiting.join(Resource::Slot, 3);
        assert_eq!(order(&mut waiting, Resource::Slot), [0, 5, 3]);
        assert_eq!(order(&mut waiting, Resource::Cell), [1]);
        assert!(waiting.is_empty() && waiting.first(Resource::SmallBuffer).is_none());
    }
}
