//! The connections of each address: a table for each shard, of all shards together.
//!
//! ```text
//!   nobody's ──enter──▶ has connections ──leave──▶ idle: how fast it came is still known ──▶ nobody's
//!                              ▲                     │ enter        │ others need the place
//!                              └─────────────────────┘              ▼
//!              begins with what the cell knows ◀─────────────── coarse cell
//! ```
//!
//! Invariants: an address has one place, in the table that a hash of it says; while it has connections, it keeps that;
//! without any, until its bucket is full again, at most a second. There are as many places as connections. If more are
//! wanted, the address that is idle for longest gives its own up, and what is known of its rate goes to a cell that it
//! shares with others, as the fastest of them: so no address gets ahead of its rate by making others forget it, whoever
//! comes in whatever numbers; nor is one refused for others as long as these have to come faster than connections can.
//!
//! Not here: what a limit is for (`admission`).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{Bounds, Over, paced};
use crate::mem::give_back_room;
use crate::peers::{Origin, Places};

/// A scope and an address.
pub(super) type Key = (u32, Origin);

/// Cells of a table that addresses of one scope share whose places were taken.
const COARSE: u32 = 4096;
/// Places of a table beside as many as a shard has connections, and as many again: for those that wait for one.
pub(crate) const ROOM_ASIDE: usize = 1026;
/// Places that are looked at for each one that is wanted, whether they are still needed.
const LOOKED_AT: usize = 2;

/// Where the connections of an address are counted, for as long as it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(core::num::NonZero<u32>);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Made when first an address has a limit.
    tables: OnceLock<Box<[Mutex<Table>]>>,
    shards: u32,
    /// Of one shard.
    connections: u32,
    hasher: RandomState,
}

impl Addresses {
    /// Bytes of an address that is counted.
    pub(super) const ENTRY_BYTES: usize = Places::<Key>::BYTES + size_of::<State>();

    pub(super) fn new(shards: u32, connections: u32) -> Self {
        Self { tables: OnceLock::new(), shards, connections, hasher: RandomState::new() }
    }

    /// Addresses are counted from now on, and how fast they come, if this is a scope in which that has a limit. For the
    /// control plane: this allocates.
    pub(super) fn reserve(&self, paced: Option<u32>) {
        for index in 0..self.tables().len() {
            paced.into_iter().for_each(|scope| self.table(index).pace(scope));
        }
    }

    /// What is known of how fast the addresses of a scope have come is known no more.
    pub(super) fn forget(&self, scope: u32) {
        for index in 0..self.tables().len() {
            self.table(index).coarse.retain(|(of, _)| *of != scope);
        }
    }

    fn tables(&self) -> &[Mutex<Table>] {
        self.tables.get_or_init(|| (0..self.shards).map(|_| Mutex::new(Table::new(self.connections))).collect())
    }

    fn table(&self, index: usize) -> MutexGuard<'_, Table> {
        self.tables()[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of an address has come.
    pub(super) fn enter(&self, key: Key, bounds: Bounds, now: u64) -> Result<Place, Over> {
        #[expect(clippy::cast_possible_truncation, reason = "some bits are as good as others")]
        let hash = self.hasher.hash_one(key) as u32;
        let index = hash % self.shards;
        let place = self.table(index as usize).enter((key, hash / self.shards), bounds, now)?;
        // Places begin at 1.
        Ok(Place(core::num::NonZero::new(place * self.shards + index).expect("a place is not the first")))
    }

    fn at(&self, Place(place): Place) -> (MutexGuard<'_, Table>, u32) {
        let (index, place) = (place.get() % self.shards, place.get() / self.shards);
        (self.table(index as usize), place)
    }

    /// It has gone.
    pub(super) fn leave(&self, place: Place, bounds: Bounds) {
        let (mut table, place) = self.at(place);
        table.leave(place, bounds.rate.is_some());
    }

    /// It was one that does not count in the rate.
    #[cold]
    pub(super) fn unpace(&self, place: Place, interval: u64) {
        let (mut table, place) = self.at(place);
        let full_at = &mut table.states[place as usize].full_at;
        *full_at = full_at.saturating_sub(interval);
    }

    /// Connections that are counted for a scope.
    #[cfg(test)]
    pub(super) fn counted(&self, scope: u32) -> u32 {
        let of = |index| {
            let table = self.table(index);
            let states = table.states.iter().zip(1_u32..).skip(1);
            let is_its = |place: u32| table.places.key(place - 1).0 == scope;
            states.filter(|(_, next)| is_its(*next)).map(|(state, _)| state.open).sum::<u32>()
        };
        (0..self.tables.get().map_or(0, |tables| tables.len())).map(of).sum()
    }

    #[cold]
    pub(super) fn give_back_room(&self, now: u64) {
        for index in 0..self.tables.get().map_or(0, |tables| tables.len()) {
            self.table(index).give_back_room(now);
        }
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: u32,
    /// Which of the coarse cells is its.
    cell: u32,
    /// When its bucket is full.
    full_at: u64,
    /// Those before and behind it among the idle ones; 0: none.
    before: u32,
    behind: u32,
}

#[derive(Debug)]
pub(super) struct Table {
    places: Places<Key>,
    /// By place. That of place 0 has the ends of the list of those that are idle: the one that is so for longest is
    /// behind it.
    states: Vec<State>,
    /// Places that are used before idle ones give theirs up.
    room: u32,
    /// When the buckets of those are full that have given up their places: of each scope that has a rate, since what is
    /// much by one is little by another. In the order of their numbers.
    coarse: Vec<(u32, Box<[u64]>)>,
}

impl Table {
    pub(super) fn new(room: u32) -> Self {
        // An engine and its listener may both count an address, and tables do not get the same number of addresses.
        let capacity = 2 * (room as usize + ROOM_ASIDE);
        let nobody = (0, Origin::of(Ipv4Addr::UNSPECIFIED.into()));
        let mut states = Vec::with_capacity(capacity);
        states.push(State::default());
        Self { places: Places::new(capacity, room as usize, nobody), states, room, coarse: Vec::new() }
    }

    /// A scope has a rate, the last one of all.
    pub(super) fn pace(&mut self, scope: u32) {
        self.coarse.push((scope, vec![0; COARSE as usize].into()));
    }

    /// What is known of those of a scope that have no place and have this cell.
    fn coarse(&mut self, scope: u32, cell: u32) -> Option<&mut u64> {
        let index = self.coarse.binary_search_by_key(&scope, |(of, _)| *of).ok()?;
        Some(&mut self.coarse[index].1[cell as usize])
    }

    /// A connection has come of an address, whose hash this is. Nothing is kept of one that is refused.
    pub(super) fn enter(&mut self, (key, hash): (Key, u32), bounds: Bounds, now: u64) -> Result<u32, Over> {
        let (found, cell) = (self.places.find(&key), hash % COARSE);
        let known = match found {
            Some(place) => self.states[place as usize],
            None => State { cell, full_at: self.coarse(key.0, cell).map_or(0, |full_at| *full_at), ..State::default() },
        };
        if bounds.open.is_some_and(|most| known.open >= most) {
            return Err(Over::ConnectionsOfAddress);
        }
        let full_at = match bounds.rate {
            Some(rate) => paced(known.full_at, now, rate).ok_or(Over::RateOfAddress)?,
            None => 0,
        };
        let place = match found {
            Some(place) => {
                if known.open == 0 {
                    self.unlink(place);
                }
                place
            }
            None => self.place(key, now),
        };
        self.states[place as usize] = State { open: known.open + 1, cell, full_at, before: 0, behind: 0 };
        Ok(place)
    }

    fn place(&mut self, key: Key, now: u64) -> u32 {
        self.forget(now, LOOKED_AT);
        while self.places.len() >= self.room && self.idle() != 0 {
            // Its rate is not forgotten.
            let idle = self.idle();
            let State { cell, full_at, .. } = self.states[idle as usize];
            if let Some(coarse) = self.coarse(self.places.key(idle).0, cell) {
                *coarse = full_at.max(*coarse);
            }
            self.remove_idle();
        }
        let place = self.places.insert(key);
        let len = self.states.len().max(place as usize + 1);
        self.states.resize(len, State::default());
        place
    }

    /// The one that is idle for longest.
    fn idle(&self) -> u32 {
        self.states[0].behind
    }

    fn remove_idle(&mut self) {
        let place = self.idle();
        self.unlink(place);
        self.places.remove(place);
    }

    /// So many of those that are idle for longest are gone, if their buckets are full.
    fn forget(&mut self, now: u64, most: usize) {
        for _ in 0..most {
            if self.idle() == 0 || self.states[self.idle() as usize].full_at > now {
                return;
            }
            self.remove_idle();
        }
    }

    fn unlink(&mut self, place: u32) {
        let State { before, behind, .. } = self.states[place as usize];
        self.states[before as usize].behind = behind;
        self.states[behind as usize].before = before;
    }

    /// A connection has gone.
    pub(super) fn leave(&mut self, place: u32, is_paced: bool) {
        let last = self.states[0].before;
        let state = &mut self.states[place as usize];
        state.open -= 1;
        match (state.open, is_paced) {
            (0, true) => {
                (state.before, state.behind) = (last, 0);
                self.states[last as usize].behind = place;
                self.states[0].before = place;
            }
            (0, false) => self.places.remove(place),
            _ => {}
        }
    }

    #[cold]
    fn give_back_room(&mut self, now: u64) {
        self.forget(now, usize::MAX);
        self.places.give_back_room();
        if self.places.len() == 0 {
            self.states.truncate(1);
        }
        give_back_room(&mut self.states);
    }

    /// Connections that are counted, and addresses that are known.
    #[cfg(test)]
    pub(super) fn counted(&self) -> (u32, u32) {
        (self.states.iter().map(|state| state.open).sum(), self.places.len())
    }
}
