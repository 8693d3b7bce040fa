//! Heads in pieces that make room for others, when the cells for long ones have run out.
//!
//! Invariants: a head is answered 408 and its connection ends only while another one, or a trailer section, waits for a
//! cell, and only one that is in a cell of those; first one of an address that has many connections, then the one that
//! has not grown for longest, and that has been so for 64 ms. It is looked at when all that has come is handled: a head
//! whose next piece is here is not given up. Where no request slot is left, only trailer sections are helped, whose
//! requests have the slots: then a head is answered 503 for one, also if it is whole and waits for a slot, since
//! otherwise each waits for the other.
//!
//! Not here: who waits (`transport::waiting`), what of a head is where (`protocol`).

use super::Shard;
use super::crowds::{CONNECTIONS_FEW, CONNECTIONS_MAX, Connections, REST_MIN};
use super::protocol::{Connection, Protocol};
use super::transport::Resource;
use crate::candidates::{Candidates, Lack, Rank};
use crate::clock::Tick;
use crate::peers::Pool;
use crate::ring::Io;
use crate::slab::ConnectionKey;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Heads {
    candidates: Candidates<ConnectionKey, Tick>,
    /// When there will be one to give up.
    looks_again: Option<Tick>,
}

impl Heads {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        Self { candidates: Candidates::new(connections_max.min(CONNECTIONS_MAX)), looks_again: None }
    }
}

impl<I: Io> Shard<I> {
    /// Whether something waits for a cell.
    #[inline]
    pub(super) fn lacks_cells(&self) -> bool {
        self.trailers_lack_cells() || self.protocol.transport.waiting.count(Resource::Cell) > 0
    }

    fn trailers_lack_cells(&self) -> bool {
        self.protocol.transport.waiting.count(Resource::CellOfTrailers) > 0
    }

    /// When heads are to be looked at again.
    pub(super) fn looks_at_heads(&self) -> Option<Tick> {
        self.heads.looks_again.filter(|_| self.lacks_cells())
    }

    /// Gives heads up for those that wait for cells. All that has come is handled.
    #[cold]
    pub(super) fn free_cells(&mut self) {
        let now = self.protocol.transport.tick;
        if self.heads.looks_again.is_some_and(|tick| tick > now) {
            return;
        }
        self.heads.looks_again = None;
        while self.lacks_cells() && !self.protocol.dispatch.has_assembly_cell() {
            let rest_of = match self.protocol.dispatch.has_slot() {
                true => Connection::stalled_head,
                false if self.trailers_lack_cells() => Connection::head_without_slot,
                false => return,
            };
            let among = Connections {
                all: &self.connections,
                peers: self.protocol.dispatch.peers(),
                of: (Pool::Connections, CONNECTIONS_FEW),
                rest_of,
                from: |rank: &Rank<Tick>| match rank.is_of_crowd() {
                    true => 0,
                    false => rank.rest.saturating_add(REST_MIN),
                },
            };
            match self.heads.candidates.take(now, &among) {
                Ok(key) => {
                    self.counters.heads_evicted.count();
                    self.visit(key, Protocol::evict_head);
                    self.work_off();
                }
                Err(Lack::Until(tick)) => return self.heads.looks_again = Some(tick),
                Err(Lack::Lasting) => return,
            }
        }
    }
}
