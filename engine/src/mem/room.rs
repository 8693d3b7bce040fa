//! Room that a list has and does not use, given back to the system.
//!
//! Invariants: a list keeps its entries, its room and its place: what it gets next needs no allocation, but pages.
//!
//! Not here: cells (`cells`) and buffers (`receive`) that nobody has.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::collections::VecDeque;

use super::mapping::discard_pages;

/// Gives back the pages that lie behind the entries of a list.
pub(crate) fn give_back_room<T>(list: &mut Vec<T>) {
    give_back_places(list.spare_capacity_mut());
}

/// Gives back the pages of places that have no value.
pub(crate) fn give_back_places<T>(places: &mut [MaybeUninit<T>]) {
    let (start, bytes) = (NonNull::from(&mut *places).cast(), size_of_val(places));
    // SAFETY: the places are borrowed exclusively, so nobody uses them meanwhile, and may hold anything.
    unsafe { discard_pages(start, bytes) };
}

/// As [`give_back_room`], of a list with two ends.
pub(crate) fn give_back_room_of_queue<T>(queue: &mut VecDeque<T>) {
    // Neither way allocates.
    let mut list = Vec::from(core::mem::take(queue));
    give_back_room(&mut list);
    *queue = VecDeque::from(list);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_entries_and_its_room() {
        let mut list: Vec<u64> = Vec::with_capacity(100_000);
        list.extend(0..100_000);
        list.truncate(600);
        let place = list.as_ptr();
        give_back_room(&mut list);
        assert!(list.iter().copied().eq(0..600) && list.as_ptr() == place && list.capacity() >= 100_000);
        list.extend(600..100_000);
        assert!(list.iter().copied().eq(0..100_000));
    }

    #[test]
    fn so_does_a_queue() {
        let mut queue: VecDeque<u64> = VecDeque::with_capacity(100_000);
        queue.extend(0..99_000);
        queue.drain(..98_000);
        queue.extend(0..50_000);
        queue.truncate(1_500);
        let room = queue.capacity();
        give_back_room_of_queue(&mut queue);
        assert!(queue.iter().copied().eq((98_000..99_000).chain(0..500)) && queue.capacity() == room);
    }
}
