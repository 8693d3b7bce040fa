//! Sockets whose input waits for something that has run out: a list for each such thing, first come, first served.
//!
//! Invariants: a socket is in one list at most, and leaves it before its entry goes; meanwhile nothing is received for
//! it, and what has come is held; joining, leaving and looking for the first cost the same however many wait.
//!
//! Not here: who is called when (`shard`), and what then goes on (`protocol`); sockets that wait for room to send, or
//! for a cell to read a file into (`send`, `stage`).

use crate::mem::give_back_room;

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Buffers of the kernel's for what is short, or may be.
    SmallBuffer,
    /// Buffers of the kernel's for bodies.
    LargeBuffer,
    /// Those that are kept back for bodies whose readers wait.
    ReservedBuffer,
    /// Request slots, of those that are kept back for clients that have few.
    ReservedSlot,
    /// Request slots that anybody gets.
    Slot,
    /// Cells to put heads together in, for the trailer section of a request that has a slot.
    CellOfTrailers,
    /// ... for a head.
    Cell,
    /// Large buffers that can be promised to a body that is awaited whole, for clients that have few of them.
    ReservedPromise,
    /// ... for any.
    Promise,
}

impl Resource {
    /// In the order in which they are given: who has a slot comes before those that will need one, and who has few
    /// before others.
    pub(crate) const ALL: [Self; 9] = [
        Self::ReservedBuffer,
        Self::LargeBuffer,
        Self::SmallBuffer,
        Self::ReservedSlot,
        Self::Slot,
        Self::CellOfTrailers,
        Self::Cell,
        Self::ReservedPromise,
        Self::Promise,
    ];
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// By the place of a connection; grow with the highest that has waited, within the reserved capacity.
    links: Vec<Link>,
    lists: [List; Resource::ALL.len()],
    count: usize,
}

/// Neighbours in a list: places counted from 1, 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    before: u32,
    behind: u32,
}

/// The ends of a list, in the same way.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: u32,
    last: u32,
    count: usize,
}

impl Waiting {
    /// Bytes that one more takes.
    pub(super) const BYTES: usize = size_of::<Link>();

    /// For so many connections.
    pub(super) fn new(connections: u32) -> Self {
        let links = Vec::with_capacity(connections as usize);
        Self { links, lists: Default::default(), count: 0 }
    }

    /// Whether nobody waits for anything.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many wait for something.
    pub(crate) fn count(&self, resource: Resource) -> usize {
        self.lists[resource as usize].count
    }

    /// How many wait for a buffer.
    pub(crate) fn starved(&self) -> usize {
        let of_bodies = self.count(Resource::LargeBuffer) + self.count(Resource::ReservedBuffer);
        self.count(Resource::SmallBuffer) + of_bodies
    }

    /// Whether somebody waits for what is looked for by the clock: a buffer that its reader has done with, to be below
    /// its share of the slots or of what is promised, or for others to give up their slots.
    pub(crate) fn any_by_clock(&self) -> bool {
        let slots = self.count(Resource::Slot) + self.count(Resource::ReservedSlot);
        self.starved() + slots + self.count(Resource::Promise) > 0
    }

    /// The place of the one that has begun to wait for the same next.
    pub(crate) fn behind(&self, place: u32) -> Option<u32> {
        self.links[place as usize].behind.checked_sub(1)
    }

    /// The place of the connection that has waited longest.
    pub(crate) fn first(&self, resource: Resource) -> Option<u32> {
        self.lists[resource as usize].first.checked_sub(1)
    }

    pub(super) fn join(&mut self, resource: Resource, place: u32) {
        if place as usize >= self.links.len() {
            self.links.resize(place as usize + 1, Link::default());
        }
        let list = &mut self.lists[resource as usize];
        let before = core::mem::replace(&mut list.last, place + 1);
        self.links[place as usize] = Link { before, behind: 0 };
        match before.checked_sub(1) {
            Some(before) => self.links[before as usize].behind = place + 1,
            None => list.first = place + 1,
        }
        list.count += 1;
        self.count += 1;
    }

    /// While nobody waits, the memory goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        if self.is_empty() {
            self.links.clear();
        }
        give_back_room(&mut self.links);
    }

    pub(super) fn leave(&mut self, resource: Resource, place: u32) {
        let list = &mut self.lists[resource as usize];
        let Link { before, behind } = core::mem::take(&mut self.links[place as usize]);
        match before.checked_sub(1) {
            Some(before) => self.links[before as usize].behind = behind,
            None => list.first = behind,
        }
        match behind.checked_sub(1) {
            Some(behind) => self.links[behind as usize].before = before,
            None => list.last = before,
        }
        list.count -= 1;
        self.count -= 1;
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
