//! What came in pieces and makes room for others, when the assembly cells for it have run out: heads for heads, trailer
//! sections for requests.
//!
//! Invariants:
//! * A connection ends here only while another one waits for a cell of the same kind, and only one that has such a
//!   cell. First one of an address that has many connections; then one whose client is awaited, then one that waits for
//!   a buffer, then one that is above its share; of each the one that has not grown for longest. But for those of a
//!   crowd, it has had its time: 64 ms of its client's, a second of ours, four of bodies that have promises.
//! * Who waits for a request's cell beyond its share keeps a buffer meanwhile: for each that waits for a buffer, one
//!   goes after a second, the one that has waited for longest.
//! * It is looked at when all that has come is handled: what has its next piece here is not given up.
//! * A head that is whole and waits for a slot goes only if who waits for its cell would get one, or if it is of a
//!   crowd; one that waits for the cell of a request, only if it is of a crowd or above its share. They wait for
//!   applications, and so would who takes their cells.
//!
//! Not here: who waits (`transport::waiting`), what is where (`protocol`), which request may have a cell
//! (`dispatch::cells`).

use super::Shard;
use super::crowds::{CONNECTIONS_MAX, Connections, REST_MIN};
use super::gathered::BEHIND;
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
    trailers: Kind,
    /// When one that waits beyond its share is to go.
    beyond_share: Option<Tick>,
}

impl Pieces {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let kind = || Kind { candidates: Candidates::new(connections_max.min(CONNECTIONS_MAX)), looks_again: None };
        Self { heads: kind(), trailers: kind(), beyond_share: None }
    }
}

/// From when on something goes for others; `spares`: what is left alone.
fn goes_from(rank: &Rank<Stall>, spares: impl Fn(Awaits) -> bool) -> Tick {
    let Stall { awaits, since } = rank.rest;
    match awaits {
        _ if rank.is_of_crowd() => 0,
        _ if spares(awaits) => NEVER,
        Awaits::Client => since.saturating_add(REST_MIN),
        Awaits::Promise => since.saturating_add(UNPROMISED_MIN),
        Awaits::Buffers | Awaits::Share | Awaits::Slot | Awaits::Cell => since.saturating_add(SHORT_MIN),
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
        let of_heads = self.pieces.heads.looks_again.filter(|_| waits(Resource::Cell));
        let of_trailers = self.pieces.trailers.looks_again.filter(|_| waits(Resource::CellOfRequest));
        let beyond_share = self.pieces.beyond_share.filter(|_| waits(Resource::CellBeyondShare));
        [of_heads, of_trailers, beyond_share].into_iter().flatten().min()
    }

    /// Gives up what has cells for those that wait for some. All that has come is handled.
    #[cold]
    pub(super) fn free_cells(&mut self) {
        let now = self.protocol.transport.tick;
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
        }
    }

    fn free_cells_of_heads(&mut self, now: Tick) {
        let is_early = self.pieces.heads.looks_again.is_some_and(|tick| tick > now);
        while !is_early
            && let Some(first) = self.protocol.transport.waiting.first(Resource::Cell)
            && !self.protocol.dispatch.cells().has_for_head()
        {
            let has_slot = self.connections.key_of(first).and_then(|key| self.connections.get(key));
            let has_slot = has_slot.is_some_and(|connection| self.protocol.would_get_slot(connection));
            let spares = |awaits| awaits == Awaits::Cell || awaits == Awaits::Slot && !has_slot;
            let among = Connections {
                all: &self.connections,
                peers: self.protocol.dispatch.peers(),
                of: (Pool::Connections, CONNECTIONS_FEW),
                rest_of: Connection::head_stall,
                from: |rank: &Rank<Stall>| goes_from(rank, spares),
            };
            let found = self.pieces.heads.candidates.take(now, &among);
            self.pieces.heads.looks_again = until(found);
            let Ok(key) = found else { return };
            self.visit(key, Protocol::evict_head);
            self.work_off();
        }
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
                rest_of: |connection: &Connection| connection.trailers_stall(dispatch),
                from: |rank: &Rank<Stall>| goes_from(rank, |_| false),
            };
            let found = self.pieces.trailers.candidates.take(now, &among);
            self.pieces.trailers.looks_again = until(found);
            let Ok(key) = found else { return };
            self.visit(key, Protocol::evict_trailers);
            self.work_off();
        }
    }
}

/// When to look again.
fn until<T>(found: Result<T, Lack>) -> Option<Tick> {
    if let Err(Lack::Until(tick)) = found { Some(tick) } else { None }
}
