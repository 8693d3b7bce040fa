//! Lists of connections by their places, first come, first served.
//!
//! Invariants: a place is in one of the lists at most; joining, leaving and looking for the first cost the same however
//! many are in them; nothing is allocated after the start.
//!
//! Not here: what the lists are for (`waiting`, `turns`).

use crate::mem::give_back_room;

/// So many lists, which exclude each other.
#[derive(Debug)]
pub(super) struct PlaceLists<const LISTS: usize> {
    /// By the place of a connection; grow with the highest that was in one, within the reserved capacity.
    links: Vec<Link>,
    lists: [List; LISTS],
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

impl<const LISTS: usize> PlaceLists<LISTS> {
    /// Bytes that one more connection takes.
    pub(super) const BYTES: usize = size_of::<Link>();

    /// For so many connections.
    pub(super) fn new(connections: u32) -> Self {
        Self { links: Vec::with_capacity(connections as usize), lists: [List::default(); LISTS], count: 0 }
    }

    /// Whether nobody is in any.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many are in one.
    pub(super) fn count(&self, list: usize) -> usize {
        self.lists[list].count
    }

    /// The place behind this one in the same list.
    pub(super) fn behind(&self, place: u32) -> Option<u32> {
        self.links[place as usize].behind.checked_sub(1)
    }

    /// The place that has been in a list for longest.
    #[inline]
    pub(super) fn first(&self, list: usize) -> Option<u32> {
        self.lists[list].first.checked_sub(1)
    }

    pub(super) fn join(&mut self, list: usize, place: u32) {
        if place as usize >= self.links.len() {
            self.links.resize(place as usize + 1, Link::default());
        }
        let list = &mut self.lists[list];
        let before = core::mem::replace(&mut list.last, place + 1);
        self.links[place as usize] = Link { before, behind: 0 };
        match before.checked_sub(1) {
            Some(before) => self.links[before as usize].behind = place + 1,
            None => list.first = place + 1,
        }
        list.count += 1;
        self.count += 1;
    }

    pub(super) fn leave(&mut self, list: usize, place: u32) {
        let list = &mut self.lists[list];
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

    /// While nobody is in any, the memory goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        if self.is_empty() {
            self.links.clear();
        }
        give_back_room(&mut self.links);
    }
}
