//! Who may have a request slot when those that anybody gets are in use: a reserve is kept for addresses that hold few.
//!
//! Invariants: an eighth of the slots, at least one, is kept back, and what was lent of it is kept back again before
//! anybody else gets a slot, once a turn at the latest; an address is lent no more than its share. Whose slots are in
//! use is not known before they run out: then they are counted, at most once a tick or for each sixteenth of them that
//! was lent or delivered, so that a request costs nothing while there are enough, and while there are not, no more than
//! a number of looks, however many slots were in use before.
//!
//! Not here: who waits, and in which order (`transport::waiting`, `protocol::receive`).

use super::Dispatch;
use super::displace::{YIELDING_MAX, Yielding};
use super::slots::Life;
use crate::clock::Tick;
use crate::peers::Pool;
use crate::queue::Slot;
use crate::slab::ConnectionKey;

/// One slot of so many is kept back.
const RESERVE_OF: u32 = 8;
/// Slots are counted again when one of so many in use has been lent, or as many requests were delivered; and one of so
/// many that were ever in use, all of which are looked at.
const COUNTED_OF: usize = 16;
const LOOKED_AT_OF: usize = 64;

/// What is known of who has how many slots.
#[derive(Debug)]
pub(super) struct Shares {
    counted_at: Option<Tick>,
    /// How often they were counted.
    counts: u32,
    /// Requests that had been delivered then.
    delivered: u64,
    /// Slots lent since then.
    lent: usize,
    /// Addresses that had a slot then, or have been lent one since.
    holders: u32,
    /// When those that wait above their share were looked at last.
    looked_at: Option<Tick>,
    /// Slots that were lent have come back since then.
    any_back: bool,
    /// Of what waits, what gives its slot up next: of what is the next to be answered, and of what is the last.
    pub(super) yielding: [Yielding; 2],
    /// Requests that give up their slots, and have not been sent their refusals yet; since when.
    leaving: u32,
    leaving_since: Tick,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self {
            counted_at: None,
            counts: 0,
            delivered: 0,
            lent: 0,
            holders: 0,
            looked_at: None,
            any_back: false,
            yielding: [Yielding::new(YIELDING_MAX), Yielding::new(YIELDING_MAX)],
            leaving: 0,
            leaving_since: 0,
        }
    }

    /// A request has ended that has made room for another one.
    pub(super) fn note_made_room(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }
}

impl Dispatch {
    /// So many slots are kept back of so many.
    pub(super) fn reserve_of(slots: u32) -> u32 {
        (slots / RESERVE_OF).max(1)
    }

    /// Whether slots are kept back that are not lent.
    pub(crate) fn has_reserved_slot(&self) -> bool {
        self.side.kept_back() > 0
    }

    /// What was lent is kept back again, as far as slots are free.
    #[inline]
    pub(crate) fn refill_reserve(&mut self) {
        if self.side.kept_back() < self.side.reserve() {
            self.refill_lent();
        }
    }

    #[cold]
    fn refill_lent(&mut self) {
        let before = self.side.kept_back();
        self.side.refill_reserve();
        self.shares.any_back |= self.side.kept_back() > before;
    }

    /// Whether the address of a connection has fewer slots than its share of those that are kept back.
    pub(crate) fn is_below_share(&mut self, connection: ConnectionKey, now: Tick) -> bool {
        self.count_slots(now);
        let held = self.peers.slots_at_most(self.peers.of(connection));
        held < self.share_of_slots(held == 0)
    }

    /// What an address may have of the slots that are kept back: another one, if it `is_new`.
    fn share_of_slots(&self, is_new: bool) -> u32 {
        let holders = self.shares.holders + u32::from(is_new);
        (self.side.reserve() / holders.max(1)).max(1)
    }

    /// From how many slots on an address has more than a newcomer's share, so that what it has in queues is given up.
    pub(super) fn above_share(&self) -> u32 {
        self.share_of_slots(true) + 1
    }

    /// How many more requests are to give up their slots, if so many newcomers wait for one. Of those that were asked
    /// to in a tick before, nothing is expected any more.
    pub(crate) fn slots_missing(&mut self, waiting: usize, now: Tick) -> usize {
        if core::mem::replace(&mut self.shares.leaving_since, now) != now {
            self.shares.leaving = 0;
        }
        waiting.saturating_sub(self.shares.leaving as usize)
    }

    /// A request gives up its slot, as soon as its client is told so.
    pub(super) fn note_leaving(&mut self) {
        self.shares.leaving += 1;
    }

    /// A connection has a request slot more than when they were counted.
    pub(super) fn give_slot(&mut self, connection: ConnectionKey) {
        self.shares.holders += u32::from(self.peers.give_slot(self.peers.of(connection)));
    }

    /// Counts whose slots are in use, if that is to be done again. Gives which count it is that holds.
    pub(super) fn count_slots(&mut self, now: Tick) -> u32 {
        let is_known = self.shares.counted_at == Some(now);
        let delivered = self.counters.requests_delivered.read() + u64::from(self.fresh);
        let few = (self.side.in_use() / COUNTED_OF).max(self.side.count_used() / LOOKED_AT_OF);
        let is_alike = self.shares.lent <= few && delivered.abs_diff(self.shares.delivered) <= few as u64;
        if is_known && is_alike {
            return self.shares.counts;
        }
        (self.shares.counts, self.shares.delivered) = (self.shares.counts.wrapping_add(1), delivered);
        self.peers.count_no_slots();
        (self.shares.counted_at, self.shares.lent, self.shares.holders) = (Some(now), 0, 0);
        for slot in self.side.slots_used() {
            self.slots[slot].is_behind = false;
        }
        for slot in self.side.slots_used() {
            let state = self.slots[slot];
            if state.life == Life::Over {
                continue;
            }
            if let Some(next) = state.next {
                self.slots[next].is_behind = true;
            }
            if let Some(connection) = state.connection {
                self.shares.holders += u32::from(self.peers.count_slot(self.peers.of(connection)));
            }
        }
        self.shares.counts
    }

    /// How often slots were counted.
    #[cfg(test)]
    pub(crate) fn counts_of_slots(&self) -> u32 {
        self.shares.counts
    }

    /// Whether the address of a connection has fewer receive buffers than its share of those that are kept back.
    pub(crate) fn has_few_inputs(&self, connection: ConnectionKey) -> bool {
        let held = self.peers.held(self.peers.of(connection), Pool::Inputs);
        let holders = self.peers.holders(Pool::Inputs) + u32::from(held == 0);
        held < (self.side.buffers.small.reserve() / holders.max(1)).max(1)
    }

    /// Another receive buffer is a connection's.
    pub(crate) fn hold_input(&mut self, connection: ConnectionKey) {
        self.peers.hold(self.peers.of(connection), Pool::Inputs);
    }

    /// It is no more.
    pub(crate) fn release_input(&mut self, connection: ConnectionKey) {
        self.peers.release(self.peers.of(connection), Pool::Inputs);
    }

    /// A slot of those that are kept back, for a connection.
    pub(crate) fn borrow_slot(&mut self, connection: ConnectionKey) -> Option<Slot> {
        self.side.lend_place();
        let slot = self.allocate()?;
        self.shares.lent += 1;
        self.give_slot(connection);
        Some(slot)
    }

    /// Whether so many that wait above their share are to be looked at again: few when slots have come back, many once
    /// a tick.
    pub(crate) fn looks_at_shares(&mut self, waiting: usize, now: Tick) -> bool {
        const FEW: usize = 64;
        let shares = &mut self.shares;
        let looks = waiting > 0 && (shares.looked_at != Some(now) || shares.any_back && waiting <= FEW);
        if looks {
            (shares.looked_at, shares.any_back) = (Some(now), false);
        }
        looks
    }
}
