//! Requests and their responses, whatever protocol they came by: request slots, routes, queues, bodies and their
//! readers, who is told of what, and how each ends.
//!
//! Invariants: a slot is in the list of one connection at most, from its delivery until its response is handed on or
//! its client is gone; what is pushed to a queue is published, and its sleepers woken, before the shard sleeps.
//!
//! Not here: connections, sockets, and how requests and responses are written.

mod body;
mod cells;
mod copied;
mod displace;
mod ends;
mod gather;
mod given;
mod lent;
mod log;
mod meters;
mod pace;
mod proxied;
mod queues;
mod shares;
mod slots;
mod watch;

use std::sync::Arc;

use self::body::BodyChain;
use self::cells::CellShares;
pub(crate) use self::cells::NoCell;
use self::copied::CopiedEnds;
use self::ends::{Stamps, Tally};
pub(crate) use self::gather::Going;
use self::gather::Promises;
pub(crate) use self::lent::View;
use self::log::Log;
use self::meters::Meters;
use self::pace::Pace;
use self::queues::QueueEnd;
pub(crate) use self::queues::{EndedQueues, Then};
use self::shares::Shares;
pub(crate) use self::slots::SlotState;
use self::watch::Extras;
use crate::config::{Config, Mode, SLOT_TABLES_BYTES};
use crate::counters::ShardCounters;
use crate::id::{Origin, QueuePlace, ShardId};
use crate::mem::{Arena, ReceiveBuffers, give_back_room};
use crate::peers::{PeerKey, Peers};
use crate::policy::{Policy, PolicyKey};
use crate::queue::{Completion, SLOT_TABLE_BYTES, ShardSide, Slot, SlotTable};
use crate::record::{Address, RequestRecord};
use crate::route::Snapshot;

/// Why a body has ended whose request is over: no [`Reject`](ringress_proto::reject::Reject) has this number.
pub(crate) const GONE: u8 = u8::MAX;

// What a slot takes here and in the protocol, with an address of its own; and in the room `queue`, which asserts its
// own part.
const _: () = assert!(
    size_of::<SlotState>()
        + size_of::<BodyChain>()
        + size_of::<Stamps>()
        + size_of::<Option<PeerKey>>()
        + Log::SLOT_BYTES
        + 4 * size_of::<Slot>()
        + Peers::BYTES
        + SLOT_TABLE_BYTES
        <= SLOT_TABLES_BYTES
);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Dispatch {
    id: ShardId,
    origin: Origin,
    side: ShardSide<RequestRecord>,
    slots: SlotTable<SlotState>,
    /// Of the slots that have a body.
    bodies: SlotTable<BodyChain>,
    /// Slots whose readers are to be woken.
    readers: Vec<Slot>,
    promises: Promises,
    /// All bodies have been looked at this turn for buffers that are done with.
    reclaimed: bool,
    routes: Arc<Snapshot>,
    /// Where routes look for them; `None` where one has ended.
    queues: Vec<Option<QueueEnd>>,
    meters: Meters,
    /// Who holds how much.
    peers: Peers,
    shares: Shares,
    cell_shares: CellShares,
    /// Whose each slot's request was, of those that have departed.
    departed: SlotTable<Option<PeerKey>>,
    /// Requests whose slots are free and whose responses are being sent.
    copied: CopiedEnds,
    /// The time now, in microseconds, and when the first byte came of the input that is looked at.
    now: u64,
    arrived: u64,
    /// Of each slot's request, where something uses that.
    times: SlotTable<Stamps>,
    /// Something uses the times of requests: see `log`.
    measures: bool,
    log: Box<Log>,
    touched: Vec<QueuePlace>,
    /// Requests pushed and not yet published.
    fresh: u32,
    pace: Pace,
    tally: Tally,
    /// The most slots that were seen in use since memory was given back.
    most_open: usize,
    mode: Mode,
    completed: Vec<Completion>,
    /// Slots of which applications have told something.
    signalled: Vec<Slot>,
    /// What few connections have: who is to be told of their end.
    extras: Extras,
    /// Where connections come from that proxies pass on, by their index.
    transport_peers: Vec<Address>,
    counters: Arc<ShardCounters>,
    #[cfg(test)]
    overlooks_claims: bool,
}

impl Dispatch {
    pub(crate) fn new(
        id: ShardId,
        mut side: ShardSide<RequestRecord>,
        config: &Config,
        counters: Arc<ShardCounters>,
    ) -> Self {
        let slots = config.slots();
        let of_slots = slots as usize;
        side.keep_back(Self::reserve_of(config.requests_max));
        Self {
            id,
            origin: side.origin(),
            side,
            slots: SlotTable::with_capacity(slots),
            bodies: SlotTable::with_capacity(slots),
            readers: Vec::with_capacity(of_slots),
            promises: Promises::default(),
            reclaimed: false,
            routes: Arc::new(Snapshot::new(Policy::of(&config.properties))),
            queues: Vec::new(),
            meters: Meters::new(),
            peers: Peers::new(config.connections_max, slots, &config.trusted_proxies),
            shares: Shares::new(),
            cell_shares: CellShares::new(config.assembly_buffers),
            departed: SlotTable::with_capacity(slots),
            copied: CopiedEnds::new(config.coalesce_buffers, config.pipeline_max),
            now: 0,
            arrived: 0,
            times: SlotTable::with_capacity(slots),
            measures: false,
            log: Box::new(Log::new()),
            touched: Vec::with_capacity(64),
            fresh: 0,
            pace: Pace::of(config.mode),
            tally: Tally::default(),
            most_open: 0,
            mode: config.mode,
            completed: Vec::with_capacity(of_slots),
            signalled: Vec::with_capacity(of_slots),
            extras: Extras::default(),
            transport_peers: Vec::new(),
            counters,
            #[cfg(test)]
            overlooks_claims: false,
        }
    }

    /// The timers and limits of a connection.
    #[inline]
    pub(crate) fn policy(&self, key: PolicyKey) -> &Policy {
        self.routes.policy(key)
    }

    /// Who holds how much of what the shard has.
    #[inline]
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// ... to be changed.
    #[inline]
    pub(crate) fn peers_mut(&mut self) -> &mut Peers {
        &mut self.peers
    }

    /// Whether the thread that runs the shard also consumes its queues.
    #[inline]
    pub(crate) fn is_colocated(&self) -> bool {
        self.mode == Mode::Colocated
    }

    /// A turn has begun: the kernel has just been entered, and has given what had come.
    pub(crate) fn begin_turn(&mut self, now: u64) {
        (self.now, self.arrived) = (now, now);
        self.reclaimed = false;
        self.end_putting_off();
    }

    /// When the first byte came of the input that is looked at: the low bits of its microseconds, which tell for an
    /// hour how long ago that was.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) fn arrived(&self) -> u32 {
        self.arrived as u32
    }

    /// The first byte of a request came earlier than the rest of the input that is looked at, as [`arrived`] said then.
    /// Gives when that rest came, which is to [hold again](Self::set_arrived) behind the request.
    ///
    /// [`arrived`]: Self::arrived
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) fn came_earlier(&mut self, earlier: u32) -> u64 {
        let rest = self.arrived;
        let ago = (rest as u32).wrapping_sub(earlier);
        self.arrived = rest.saturating_sub(u64::from(ago));
        rest
    }

    /// When the input that is looked at came.
    pub(crate) fn set_arrived(&mut self, arrived: u64) {
        self.arrived = arrived;
    }

    /// The time now, in microseconds. Whatever input there is has come before.
    pub(crate) fn set_time(&mut self, now: u64) {
        self.now = now;
    }

    /// Gives the memory back to the system that is not used and was not since the last call. What is left are the
    /// buffers, and where they are.
    #[cold]
    pub(crate) fn give_memory_back(&mut self) -> (&mut ReceiveBuffers, &Arena) {
        self.copied.give_back_room();
        self.peers.give_back_room();
        for list in [&mut self.readers, &mut self.signalled] {
            give_back_room(list);
        }
        give_back_room(&mut self.completed);
        let most = core::mem::replace(&mut self.most_open, self.side.in_use());
        self.compact_all();
        // Who is on the list may be free.
        if self.readers.is_empty() {
            let left = self.side.trim(most);
            self.slots.truncate(left);
            self.bodies.truncate(left);
            self.times.truncate(left);
            self.log.truncate(left);
            self.departed.truncate(left);
        }
        self.side.give_memory_back(most)
    }

    /// What is in use at this moment, and what has ended until then.
    pub(crate) fn publish_levels(&mut self) {
        self.write_tally();
        self.count_returned();
        let open = self.side.in_use();
        self.most_open = self.most_open.max(open);
        self.side.buffers.note_level();
        let (side, counters) = (&self.side, &self.counters);
        counters.requests_open.set((open - side.departed()) as u64);
        counters.requests_departed.set(side.departed() as u64);
        counters.client_addresses.set(u64::from(self.peers.len()));
        counters.buffers_in_use.set(u64::from(side.buffers.small.in_use()));
        counters.body_buffers_in_use.set(u64::from(side.buffers.large.in_use()));
        counters.assembly_cells_in_use.set(side.cells.fragment.in_use() + side.cells.assembly().in_use());
        counters.coalescing_cells_in_use.set(side.cells.coalesce.in_use());
        counters.stage_cells_in_use.set(side.cells.stage.in_use());
    }
}

/// What tests look at.
#[cfg(test)]
impl Dispatch {
    pub(crate) fn side(&self) -> &ShardSide<RequestRecord> {
        &self.side
    }

    pub(crate) fn readers(&self) -> &Vec<Slot> {
        &self.readers
    }

    pub(crate) fn extras(&self) -> &Extras {
        &self.extras
    }

    pub(crate) fn extras_mut(&mut self) -> &mut Extras {
        &mut self.extras
    }

    /// From now on, as if consumers claimed between a look at a ring and what follows.
    pub(crate) fn overlook_claims(&mut self) {
        self.overlooks_claims = true;
    }
}
