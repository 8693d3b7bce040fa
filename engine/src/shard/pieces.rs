//! What came in pieces and makes room for others, when the assembly cells for it have run out: heads for heads, trailer
//! sections for requests, and with these, behind long heads, bodies that are awaited whole.
//!
//! Invariants:
//! * A connection ends here only while another one waits for a cell of the same kind, and only one that has such a
//!   cell. First one of an address that has many connections; then one whose client is awaited, then one that waits for
//!   a buffer, then one that is above its share; of each the one that has not grown for longest. But for those of a
//!   crowd, it has had its time: 64 ms of its client's, a second of ours, four of bodies that have promises. A body
//!   that is awaited whole goes if it is behind its pace by two seconds, or, of a crowd, by half a one.
//! * Who waits for a request's cell beyond its share keeps a buffer meanwhile: for each that waits for a buffer, one
//!   goes after a second, the one that has waited for longest.
//! * It is looked at when all that has come is handled: what has its next piece here is not given up.
//! * A head that is whole and waits for a slot goes only if it is of a crowd, or waits beyond its share for who would
//!   not; one that waits for the cell of a request, only if it is of a crowd or above its share. They wait for
//!   applications, and so would who takes their cells. Who would not wait for a slot beyond its share gets the cell
//!   that is given up for it, whoever waits before it: it is looked for once a tick.
//!
//! Not here: who waits (`transport::waiting`), what is where (`protocol`), which request may have a cell
//! (`dispatch::cells`).

use super::Shard;
use super::crowds::{CONNECTIONS_MAX, Connections, REST_MIN};
use super::gathered::{BEHIND, GREEDY_BEHIND};
use super::protocol::{Awaits, Connection, Protocol, Stall};
use super::transport::Resource;
use crate::candidates::{Candidates, Lack, Rank};
use crate::clock::Tick;
use crate::driver::Io;
use crate::peers::{CONNECTIONS_FEW, Pool};
use crate::slab::ConnectionKey;
use crate::timer::NEVER;

/// Ticks for which buffers have been short for something: about a second.
const SHORT_MIN: Tick = 16;
/// Ticks for which nothing could be promised: twice as long as a body that has a promise may be behind its pace, so
/// that those go first which are.
const UNPROMISED_MIN: Tick = 2 * BEHIND;

/// So many that would get a slot are given cells at a time.
const FEW_MAX: usize = 64;

/// What makes room for those that wait for one kind of cells.
#[derive(Debug)]
struct Kind {
    candidates: Candidates<ConnectionKey, Stall>,
    /// When there will be one to give up.
    looks_again: Option<Tick>,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Pieces {
    heads: Kind,
    /// ... and would not wait for a slot beyond their share.
    heads_of_few: Kind,
    /// Such that were found, and when they were looked for last.
    few: Vec<ConnectionKey>,
    few_at: Option<Tick>,
    trailers: Kind,
    /// When one that waits beyond its share is to go.
    beyond_share: Option<Tick>,
}

impl Pieces {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let kind = || Kind { candidates: Candidates::new(connections_max.min(CONNECTIONS_MAX)), looks_again: None };
        let few = Vec::with_capacity(FEW_MAX);
        Self { heads: kind(), heads_of_few: kind(), few, few_at: None, trailers: kind(), beyond_share: None }
    }
}

/// From when on something goes for others; `spares`: what is left alone.
fn goes_from(rank: &Rank<Stall>, spares: impl Fn(Awaits) -> bool) -> Tick {
    let Stall { awaits, since } = rank.rest;
    match awaits {
        Awaits::Body if rank.is_of_crowd() => since.saturating_add(GREEDY_BEHIND),
        Awaits::Body => since.saturating_add(BEHIND),
        _ if rank.is_of_crowd() => 0,
        _ if spares(awaits) => NEVER,
        Awaits::Client => since.saturating_add(REST_MIN),
        Awaits::Promise => since.saturating_add(UNPROMISED_MIN),
        Awaits::Buffers | Awaits::Share | Awaits::SlotBeyondShare | Awaits::Slot | Awaits::Cell => {
            since.saturating_add(SHORT_MIN)
        }
    }
}

impl<I: Io> Shard<I> {
    /// Whether something waits for a cell.
    #[inline]
    pub(super) fn lacks_cells(&self) -> bool {
        let waiting = &self.protocol.transport.waiting;
        let of_requests = waiting.count(Resource::CellOfRequest) + waiting.count(Resource::CellBeyondShare);
        waiting.count(Resource::Cell) + of_requests > 0
    }

    /// When those that have cells are to be looked at again.
    pub(super) fn looks_at_pieces(&self) -> Option<Tick> {
        let waits = |resource| self.protocol.transport.waiting.count(resource) > 0;
        let of_heads = [self.pieces.heads.looks_again, self.pieces.heads_of_few.looks_again];
        let of_heads = of_heads.into_iter().flatten().min().filter(|_| waits(Resource::Cell));
        let of_trailers = self.pieces.trailers.looks_again.filter(|_| waits(Resource::CellOfRequest));
        let beyond_share = self.pieces.beyond_share.filter(|_| waits(Resource::CellBeyondShare));
        [of_heads, of_trailers, beyond_share].into_iter().flatten().min()
    }

    /// Gives up what has cells for those that wait for some. All that has come is handled.
    #[cold]
    pub(super) fn free_cells(&mut self) {
        let now = self.protocol.transport.tick;
        self.free_cells_for_few(now);
        self.free_cells_of_heads(now);
        self.free_cells_of_requests(now);
        self.free_buffers_beyond_shares(now);
    }

    fn free_buffers_beyond_shares(&mut self, now: Tick) {
        self.pieces.beyond_share = None;
        for _ in 0..self.protocol.transport.waiting.starved() {
            let first = self.protocol.transport.waiting.first(Resource::CellBeyondShare);
            let Some(key) = first.and_then(|place| self.connections.key_of(place)) else { return };
            let since = self.connections.get(key).map_or(0, Connection::grown);
            let due = since.saturating_add(SHORT_MIN);
            if due > now {
                return self.pieces.beyond_share = Some(due);
            }
            self.visit(key, Protocol::refuse_beyond_share);
            self.work_off();
            // Its buffers come back with the turn: who waits for one is called in the next.
            self.protocol.transport.follow_up = true;
        }
    }

    /// Whether a head waits for a cell.
    fn heads_lack_cells(&self) -> bool {
        let Protocol { transport, dispatch, .. } = &self.protocol;
        transport.waiting.count(Resource::Cell) > 0 && !dispatch.cells().has_for_head()
    }

    fn free_cells_for_few(&mut self, now: Tick) {
        let is_early = self.pieces.heads_of_few.looks_again.is_some_and(|tick| tick > now);
        if is_early || !self.heads_lack_cells() {
            return;
        }
        self.pieces.heads_of_few.looks_again = None;
        // Who waits has a turn in the next tick.
        if self.pieces.few_at.replace(now) == Some(now) {
            return;
        }
        self.find_few();
        let few = core::mem::take(&mut self.pieces.few);
        for key in few.iter().copied() {
            if !self.connections.get(key).is_some_and(Connection::waits_for_cell) {
                continue;
            }
            if !self.protocol.dispatch.cells().has_for_head() && !self.free_cell_of_head(now, true) {
                break;
            }
            self.visit(key, Protocol::call);
            self.work_off();
        }
        self.pieces.few = few;
    }

    /// Looks for those that wait for cells, and would not wait for a slot beyond their share.
    fn find_few(&mut self) {
        self.pieces.few.clear();
        let mut next = self.protocol.transport.waiting.first(Resource::Cell);
        while let Some(place) = next
            && self.pieces.few.len() < FEW_MAX
        {
            next = self.protocol.transport.waiting.behind(place);
            if let Some(key) = self.connections.key_of(place)
                && let Some(connection) = self.connections.get(key)
                && !self.protocol.is_beyond_share_of_slots(connection)
            {
                self.pieces.few.push(key);
            }
        }
    }

    fn free_cells_of_heads(&mut self, now: Tick) {
        let is_early = self.pieces.heads.looks_again.is_some_and(|tick| tick > now);
        while !is_early && self.heads_lack_cells() {
            if !self.free_cell_of_head(now, false) {
                return;
            }
            self.work_off();
        }
    }

    /// A head gives its cell up, for one that has few, or for any. `false`: there is none that could, or not yet.
    fn free_cell_of_head(&mut self, now: Tick, for_few: bool) -> bool {
        let waits_alike = |awaits| matches!(awaits, Awaits::Cell | Awaits::Slot);
        let spares = |awaits| waits_alike(awaits) || awaits == Awaits::SlotBeyondShare && !for_few;
        let among = Connections {
            all: &self.connections,
            peers: self.protocol.dispatch.peers(),
            of: (Pool::Connections, CONNECTIONS_FEW),
            rest_of: Connection::head_stall,
            from: |rank: &Rank<Stall>| goes_from(rank, spares),
        };
        let kind = if for_few { &mut self.pieces.heads_of_few } else { &mut self.pieces.heads };
        let found = kind.candidates.take(now, &among);
        kind.looks_again = until(found);
        let Ok(key) = found else { return false };
        self.visit(key, Protocol::evict_head);
        true
    }

    fn free_cells_of_requests(&mut self, now: Tick) {
        let is_early = self.pieces.trailers.looks_again.is_some_and(|tick| tick > now);
        while !is_early
            && self.protocol.transport.waiting.count(Resource::CellOfRequest) > 0
            && !self.protocol.dispatch.cells().has_for_request()
        {
            let dispatch = &self.protocol.dispatch;
            let among = Connections {
                all: &self.connections,
                peers: dispatch.peers(),
                of: (Pool::Connections, CONNECTIONS_FEW),
                rest_of: |connection: &Connection| connection.body_stall(dispatch),
                from: |rank: &Rank<Stall>| goes_from(rank, |_| false),
            };
            let found = self.pieces.trailers.candidates.take(now, &among);
            self.pieces.trailers.looks_again = until(found);
            let Ok(key) = found else { return };
            self.visit(key, Protocol::evict_stalled_body);
            self.work_off();
        }
    }
}

/// When to look again.
fn until<T>(found: Result<T, Lack>) -> Option<Tick> {
    if let Err(Lack::Until(tick)) = found { Some(tick) } else { None }
}
