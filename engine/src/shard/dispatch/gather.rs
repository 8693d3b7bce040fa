//! Bodies that are whole before their requests are delivered: what is promised to them of the large buffers, and how
//! they keep to a pace.
//!
//! Invariants: a body gets a buffer only once all that it may need are promised to it, so one that has begun to come is
//! stopped by its client alone, or by applications that do not read; all promises together are of half of the large
//! buffers at most, and one is of half of that. So much is left to addresses that have less than their share of it: to
//! others nothing is promised of that. A promise is over when the request is delivered or given up.
//!
//! Not here: who waits for a promise, how bodies are decoded (`protocol::http1`), and who is given up for others
//! (`shard::gathered`).

use ringress_proto::reject::Reject;

use super::ends::Stamps;
use super::slots::Life;
use super::{Dispatch, SlotState};
use crate::clock::{TICK_MS, Tick};
use crate::config::longest_whole;
use crate::id::QueuePlace;
use crate::mem::Area;
use crate::peers::{PeerKey, Pool};
use crate::policy::PolicyKey;
use crate::queue::Slot;
use crate::slab::ConnectionKey;

/// Who sends so many bytes a second is not behind.
const PACE: u32 = 1000;
const PACE_OF_TICK: u32 = PACE * TICK_MS / 1000;

/// What is promised, all in all.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Large buffers.
    buffers: u32,
    /// One has been made or is over, and nobody that waits has been looked at since.
    has_changed: bool,
    /// When those that wait above their share were looked at last.
    looked_at: Option<Tick>,
}

/// How far a body has come that is awaited whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Until when it has come as fast as it must.
    kept_until: Tick,
    /// Bytes beyond that, fewer than are due in a tick.
    over: u32,
}

impl Pace {
    pub(super) const NONE: Self = Self { kept_until: 0, over: 0 };

    fn begin(&mut self, now: Tick) {
        *self = Self { kept_until: now, over: 0 };
    }

    /// So many ticks do not count.
    fn put_off(&mut self, now: Tick, waited: Tick) {
        self.kept_until = self.kept_until.saturating_add(waited).min(now);
    }

    /// So many bytes have come. What is sent ahead buys nothing for later.
    fn come(&mut self, now: Tick, bytes: u32) {
        let over = self.over.saturating_add(bytes);
        self.kept_until = self.kept_until.saturating_add(over / PACE_OF_TICK);
        self.over = over % PACE_OF_TICK;
        if self.kept_until >= now {
            self.begin(now);
        }
    }
}

/// A body that could go for others: the one that is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Going {
    /// It is the only one of its address.
    pub(crate) is_only: bool,
    /// Since when it is behind its pace.
    pub(crate) since: Tick,
}

impl Dispatch {
    /// Buffers that a body of so many bytes may come to hold: of two that follow each other, the bytes do not fit one.
    fn buffers_for(&self, bytes: u32) -> u32 {
        2 * bytes.div_ceil(self.side.arena().cell_bytes(Area::Body))
    }

    /// The longest body that can be awaited whole.
    pub(crate) fn gathers_at_most(&self) -> u32 {
        let arena = self.side.arena();
        longest_whole(arena.count(Area::Body), arena.cell_bytes(Area::Body))
    }

    /// Whether the address of a connection has less than its share of what is promised, and would not have more with a
    /// body of so many bytes.
    pub(crate) fn is_below_promises(&self, connection: ConnectionKey, bytes: u32) -> bool {
        let peer = self.peers.of(connection);
        let held = self.peers.held(peer, Pool::Promised);
        held == 0 || held + self.buffers_for(bytes) <= self.share_of_promises()
    }

    /// Buffers that may be promised to an address without its having more than others.
    pub(crate) fn share_of_promises(&self) -> u32 {
        self.buffers_for(self.gathers_at_most()) / self.peers.holders(Pool::Promised).max(1)
    }

    /// Whether buffers can be promised to a body of so many bytes, of an address that has less than its share, or to
    /// any.
    pub(crate) fn may_promise(&self, bytes: u32, is_below: bool) -> bool {
        let (all, reserve) = (self.side.arena().count(Area::Body) / 2, self.buffers_for(self.gathers_at_most()));
        let most = if is_below { all } else { all - reserve };
        self.promises.buffers == 0 || self.promises.buffers + self.buffers_for(bytes) <= most
    }

    /// The request in a slot is to be delivered to a queue when its body is whole.
    pub(crate) fn begin_gathering(&mut self, slot: Slot, queue: QueuePlace, connection: ConnectionKey, now: Tick) {
        // Until then it is known by that, should the queue end, and whose the slot is.
        let (queue, connection) = (Some(queue), Some(connection));
        self.slots[slot] = SlotState { queue, connection, queued: now, life: Life::Gathered, ..SlotState::FREE };
        self.bodies[slot].promised = 0;
        self.times[slot] = Stamps::of_first_byte(self.arrived);
    }

    /// Buffers for so many bytes are promised to a slot's body.
    pub(crate) fn promise(&mut self, slot: Slot, bytes: u32, now: Tick) {
        debug_assert!(0 < bytes && bytes <= self.gathers_at_most(), "settings say what can be awaited");
        let buffers = self.buffers_for(bytes);
        self.bodies[slot].promised = bytes;
        self.bodies[slot].pace.begin(now);
        self.promises.buffers += buffers;
        self.promises.has_changed = true;
        if let Some(connection) = self.slots[slot].connection {
            let peer = self.peers.of(connection);
            self.peers.hold_many(peer, Pool::Promised, buffers);
        }
    }

    /// Whether buffers are promised to a slot's body.
    pub(crate) fn is_promised(&self, slot: Slot) -> bool {
        self.bodies[slot].promised > 0
    }

    /// A slot's body is not awaited any more.
    pub(crate) fn end_gathering(&mut self, slot: Slot) {
        self.slots[slot].life = Life::Over;
        let bytes = core::mem::take(&mut self.bodies[slot].promised);
        if bytes == 0 {
            return;
        }
        let buffers = self.buffers_for(bytes);
        self.promises.buffers -= buffers;
        self.promises.has_changed = true;
        if let Some(connection) = self.slots[slot].connection {
            let peer = self.peers.of(connection);
            self.peers.release_many(peer, Pool::Promised, buffers);
        }
    }

    /// Whether those that wait for a promise are to be looked at, since one has been made or is over.
    pub(crate) fn promises_have_changed(&mut self) -> bool {
        core::mem::take(&mut self.promises.has_changed)
    }

    /// Whether those that wait for a promise above their share are to be looked at again: once a tick.
    pub(crate) fn looks_at_promises(&mut self, now: Tick) -> bool {
        self.promises.looked_at.replace(now) != Some(now)
    }

    /// How a body would go for others, if buffers are promised to it.
    pub(crate) fn going(&self, slot: Slot) -> Option<Going> {
        let chain = &self.bodies[slot];
        let peer = self.slots[slot].connection.map_or(PeerKey::NOBODY, |connection| self.peers.of(connection));
        let is_only = self.peers.held(peer, Pool::Promised) == self.buffers_for(chain.promised);
        self.is_promised(slot).then_some(Going { is_only, since: chain.pace.kept_until })
    }

    /// It was not the client of a slot's body that was awaited for so many ticks.
    pub(crate) fn excuse_pace(&mut self, slot: Slot, now: Tick, waited: Tick) {
        self.bodies[slot].pace.put_off(now, waited);
    }

    /// The request in a slot is looked at again: as when its first byte came, until
    /// [`set_arrived`](Self::set_arrived) is called with what this gives.
    pub(crate) fn as_it_came(&mut self, slot: Slot) -> u64 {
        let came = self.times[slot].first_byte().unwrap_or(self.arrived);
        core::mem::replace(&mut self.arrived, came)
    }

    /// So many bytes of a slot's body have come, framing included. `true`: it is longer than what was promised.
    pub(crate) fn has_gathered(&mut self, slot: Slot, bytes: u32, now: Tick) -> bool {
        let chain = &mut self.bodies[slot];
        chain.received += u64::from(bytes);
        chain.pace.come(now, bytes);
        self.side.unread_body(slot) > u64::from(chain.promised)
    }

    /// Where the request in a slot goes by now, which came for this group.
    pub(crate) fn queue_of_gathered(&self, slot: Slot, group: PolicyKey) -> Result<QueuePlace, Reject> {
        self.routes.queue_of(group, self.slots[slot].queue)
    }

    /// Buffers that are promised, and addresses that have some.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> (u32, u32) {
        (self.promises.buffers, self.peers.holders(Pool::Promised))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_excuses_as_long_as_it_lasts_and_no_more() {
        let mut pace = Pace::NONE;
        pace.begin(100);
        pace.put_off(120, 5);
        assert_eq!(pace.kept_until, 105, "it was behind before");
        pace.put_off(125, 25);
        assert_eq!(pace.kept_until, 125, "and is not ahead");
    }
}
