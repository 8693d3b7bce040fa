//! A timer wheel in ticks: one deadline for each connection of a shard.
//!
//! Invariants: setting a later deadline is a store (the entry stays linked where it is and is moved when the wheel
//! comes by), so that a request costs no list work; every entry with a deadline is linked in a slot that comes by no
//! later than the deadline; in a slot, entries of the round at hand stand before those of the next, so that a look at
//! the first one says whether there are any, however many were moved; nothing allocates after the wheel is made.
//!
//! Not here: what a deadline means (room `conn`), and the clock (room `clock`).

use crate::clock::Tick;
use crate::mem::give_back_room;

/// Slots of the wheel; a deadline further away than this many ticks is looked at once a round.
const SLOTS: u32 = 256;
const NONE: u32 = u32::MAX;
/// No deadline.
pub(crate) const NEVER: Tick = Tick::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: Tick,
    /// The tick whose slot the entry is linked in; meaningless while unlinked.
    visit: Tick,
    next: u32,
    /// The previous entry, or `NONE` for the first of its slot.
    previous: u32,
    linked: bool,
}

const UNLINKED: Entry = Entry { deadline: NEVER, visit: 0, next: NONE, previous: NONE, linked: false };

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Wheel {
    entries: Vec<Entry>,
    /// The first and the last entry of each slot; `NONE` of an empty one.
    heads: [u32; SLOTS as usize],
    tails: [u32; SLOTS as usize],
    /// A bit for each slot that has entries.
    filled: [u64; (SLOTS / 64) as usize],
    /// The last tick whose slot has been emptied.
    now: Tick,
}

impl Wheel {
    /// Bytes that a deadline takes.
    pub(crate) const BYTES: usize = size_of::<Entry>();

    /// A wheel for the indices `0..capacity`.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            entries: Vec::with_capacity(capacity as usize),
            heads: [NONE; SLOTS as usize],
            tails: [NONE; SLOTS as usize],
            filled: [0; (SLOTS / 64) as usize],
            now: 0,
        }
    }

    /// Sets the deadline of `index`, or clears it with [`NEVER`].
    #[inline]
    pub(crate) fn set(&mut self, index: u32, deadline: Tick) {
        if index as usize >= self.entries.len() {
            self.grow(index);
        }
        let entry = &mut self.entries[index as usize];
        entry.deadline = deadline;
        // A later deadline, or none, is found out when the wheel comes by.
        if deadline == NEVER || (entry.linked && entry.visit <= deadline) {
            return;
        }
        self.relink(index);
    }

    /// Sets the deadline of `index` unless an earlier one is set. [`NEVER`] changes nothing.
    #[inline]
    pub(crate) fn set_at_latest(&mut self, index: u32, deadline: Tick) {
        if self.entries.get(index as usize).is_none_or(|entry| deadline < entry.deadline) {
            self.set(index, deadline);
        }
    }

    /// The first use of an index beyond all before it: within the capacity reserved at the start.
    #[cold]
    fn grow(&mut self, index: u32) {
        self.entries.resize(index as usize + 1, UNLINKED);
    }

    /// Forgets the last entries that have no deadline, and gives the memory back that the others do not use.
    pub(crate) fn give_back_room(&mut self) {
        let kept = self.entries.iter().rposition(|entry| entry.linked || entry.deadline != NEVER);
        self.entries.truncate(kept.map_or(0, |last| last + 1));
        give_back_room(&mut self.entries);
    }

    /// Links an entry first in its slot: it is one of the round at hand.
    fn relink(&mut self, index: u32) {
        self.unlink(index);
        let deadline = self.entries[index as usize].deadline;
        let visit = deadline.clamp(self.now + 1, self.now + SLOTS - 1);
        let slot = (visit % SLOTS) as usize;
        let first = core::mem::replace(&mut self.heads[slot], index);
        match first {
            NONE => self.tails[slot] = index,
            _ => self.entries[first as usize].previous = index,
        }
        self.filled[slot / 64] |= 1 << (slot % 64);
        self.entries[index as usize] = Entry { deadline, visit, next: first, previous: NONE, linked: true };
    }

    /// Links an entry that is not due yet, seen while the wheel stands before `now`, into a slot after `now`. It may be
    /// one of the next round in a slot still to be looked at in this one, even the very slot it was in: so it comes
    /// last.
    fn relink_after(&mut self, index: u32, now: Tick) {
        let deadline = self.entries[index as usize].deadline;
        let visit = deadline.clamp(now + 1, now + SLOTS - 1);
        let slot = (visit % SLOTS) as usize;
        let last = core::mem::replace(&mut self.tails[slot], index);
        match last {
            NONE => self.heads[slot] = index,
            _ => self.entries[last as usize].next = index,
        }
        self.filled[slot / 64] |= 1 << (slot % 64);
        self.entries[index as usize] = Entry { deadline, visit, next: NONE, previous: last, linked: true };
    }

    fn unlink(&mut self, index: u32) {
        let Entry { linked, next, previous, visit, .. } = self.entries[index as usize];
        if !linked {
            return;
        }
        let slot = (visit % SLOTS) as usize;
        match previous {
            NONE => self.heads[slot] = next,
            _ => self.entries[previous as usize].next = next,
        }
        match next {
            NONE => self.tails[slot] = previous,
            _ => self.entries[next as usize].previous = previous,
        }
        if self.heads[slot] == NONE {
            self.filled[slot / 64] &= !(1 << (slot % 64));
        }
        self.entries[index as usize].linked = false;
    }

    /// An index whose deadline has come by `now`; its deadline is cleared. Call until it gives `None`.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<u32> {
        // A jump of more than a round visits every slot once: later slots cannot hold anything that one round misses.
        if now.saturating_sub(self.now) > SLOTS {
            self.now = now - SLOTS;
        }
        while self.now < now {
            let Some(index) = self.first_to_visit(now) else {
                self.now += 1;
                continue;
            };
            self.unlink(index);
            let deadline = self.entries[index as usize].deadline;
            if deadline <= now {
                self.entries[index as usize].deadline = NEVER;
                return Some(index);
            }
            if deadline != NEVER {
                self.relink_after(index, now);
            }
        }
        None
    }

    /// An entry in the next slot that is to be looked at by `now`, if one is.
    fn first_to_visit(&self, now: Tick) -> Option<u32> {
        let first = self.heads[((self.now + 1) % SLOTS) as usize];
        (first != NONE && self.entries[first as usize].visit <= now).then_some(first)
    }

    /// The next tick at which something has to be looked at, if anything is linked.
    pub(crate) fn next_visit(&self) -> Option<Tick> {
        let first = self.now + 1;
        let (word, bit) = ((first % SLOTS / 64) as usize, first % 64);
        // Words in the order of the ticks; the first one is seen twice, its bits before `first` last.
        (0..=self.filled.len()).find_map(|ahead| {
            let seen = self.filled[(word + ahead) % self.filled.len()];
            let bits = match ahead {
                0 => seen & (u64::MAX << bit),
                _ if ahead == self.filled.len() => seen & !(u64::MAX << bit),
                _ => seen,
            };
            let base = first - bit + 64 * Tick::try_from(ahead).unwrap_or(0);
            (bits != 0).then(|| base + bits.trailing_zeros())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [u32; 0] = [];

    fn due(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut due: Vec<u32> = core::iter::from_fn(|| wheel.pop_due(now)).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn fires_at_its_tick_and_only_once() {
        let mut wheel = Wheel::new(4);
        wheel.set(1, 5);
        wheel.set(2, 6);
        assert_eq!(wheel.next_visit(), Some(5));
        assert_eq!(due(&mut wheel, 4), NOBODY);
        assert_eq!(due(&mut wheel, 5), [1]);
        assert_eq!(due(&mut wheel, 9), [2]);
        assert_eq!(wheel.next_visit(), None);
    }

    #[test]
    fn a_later_deadline_replaces_an_earlier_one_and_the_reverse() {
        let mut wheel = Wheel::new(4);
        wheel.set(0, 10);
        wheel.set(0, 20);
        assert_eq!(due(&mut wheel, 19), NOBODY);
        assert_eq!(due(&mut wheel, 20), [0]);
        wheel.set(0, 60);
        wheel.set(0, 30);
        assert_eq!(due(&mut wheel, 30), [0]);
        wheel.set(0, 40);
        wheel.set(0, NEVER);
        assert_eq!(due(&mut wheel, 100), NOBODY);
    }

    #[test]
    fn a_deadline_at_the_latest_leaves_an_earlier_one() {
        let mut wheel = Wheel::new(4);
        wheel.set_at_latest(0, 20);
        wheel.set_at_latest(0, NEVER);
        wheel.set_at_latest(0, 10);
        wheel.set_at_latest(0, 30);
        assert_eq!((due(&mut wheel, 9), due(&mut wheel, 10)), (vec![], vec![0]));
        wheel.set_at_latest(0, 30);
        assert_eq!(due(&mut wheel, 30), [0]);
    }

    #[test]
    fn far_deadlines_and_jumps_over_rounds_are_kept() {
        let mut wheel = Wheel::new(4);
        wheel.set(0, 10_000);
        wheel.set(1, 300);
        wheel.set(2, 255);
        assert_eq!(due(&mut wheel, 299), [2]);
        assert_eq!(due(&mut wheel, 9_999), [1]);
        assert_eq!(due(&mut wheel, 10_000), [0]);
    }

    /// Whether in every slot those to be looked at sooner stand first, and the list is whole in both directions.
    fn is_in_order(wheel: &Wheel) -> bool {
        (0..SLOTS as usize).all(|slot| {
            let (mut index, mut previous, mut visit) = (wheel.heads[slot], NONE, 0);
            while index != NONE {
                let entry = wheel.entries[index as usize];
                if !entry.linked
                    || entry.previous != previous
                    || entry.visit < visit
                    || (entry.visit % SLOTS) as usize != slot
                {
                    return false;
                }
                (index, previous, visit) = (entry.next, index, entry.visit);
            }
            wheel.tails[slot] == previous && (previous != NONE) == (wheel.filled[slot / 64] >> (slot % 64) & 1 == 1)
        })
    }

    #[test]
    fn entries_that_are_looked_at_late_are_each_looked_at_once() {
        // Far deadlines, all in one slot, and a wheel that comes by a tick late: they go to that very slot again.
        let mut wheel = Wheel::new(65_536);
        (0..65_536).for_each(|index| wheel.set(index, 10_000));
        let visit = wheel.next_visit().expect("something is linked");
        assert_eq!(due(&mut wheel, visit + 1), NOBODY);
        assert!(is_in_order(&wheel));
        assert_eq!(wheel.next_visit(), Some(visit + SLOTS));
        assert_eq!(due(&mut wheel, 10_000).len(), 65_536);
    }

    #[test]
    fn agrees_with_a_sorted_list_under_random_use() {
        let mut seed = 42_u64;
        let mut random = move |below: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(seed >> 33).unwrap_or(0) % below
        };
        let mut wheel = Wheel::new(32);
        let mut model = [NEVER; 32];
        let mut now = 0;
        for _ in 0..20_000 {
            let index = random(32);
            let deadline = if random(5) == 0 { NEVER } else { now + 1 + random(700) };
            wheel.set(index, deadline);
            model[index as usize] = deadline;
            now += random(40);
            let expected: Vec<u32> = (0..32).filter(|&i| model[i as usize] <= now).collect();
            assert_eq!(due(&mut wheel, now), expected);
            assert!(is_in_order(&wheel), "at {now}");
            for index in expected {
                model[index as usize] = NEVER;
            }
        }
    }
}
