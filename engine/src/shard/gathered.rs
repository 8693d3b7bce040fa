//! Bodies awaited whole that make room for others, when the buffers for such are promised.
//!
//! Invariants: a body is answered 408 and its connection ends only while another one waits for a promise, and only if
//! it has one and its client is behind the pace of bodies, by two seconds; for clients that have less than their share
//! also by half a second, if its address has more than that, and more than this one. First those of the addresses that
//! have most, by powers of two; among equals the one that is behind for longest. It is looked at when all that has come
//! is handled.
//!
//! Not here: who waits (`transport::waiting`), what a share and the pace are (`dispatch::gather`).

use super::Shard;
use super::crowds::{CONNECTIONS_MAX, Connections};
use super::dispatch::Going;
use super::protocol::{Connection, Protocol};
use super::transport::Resource;
use crate::candidates::{Candidates, Lack, Rank};
use crate::clock::{TICK_MS, Tick};
use crate::driver::Io;
use crate::peers::Pool;
use crate::slab::ConnectionKey;

/// How far behind one is that goes for others: of those that have more than their share, for who has less.
pub(super) const GREEDY_BEHIND: Tick = 500_u32.div_ceil(TICK_MS);
/// ... of any, for any.
pub(super) const BEHIND: Tick = 2_000_u32.div_ceil(TICK_MS);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Gathered {
    candidates: Candidates<ConnectionKey, Going>,
    /// When there will be one to give up, and whether it is one for clients that have less than their share.
    looks_again: Option<Tick>,
    for_newcomers: bool,
}

impl Gathered {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        Self {
            candidates: Candidates::new(connections_max.min(CONNECTIONS_MAX)),
            looks_again: None,
            for_newcomers: false,
        }
    }
}

impl<I: Io> Shard<I> {
    /// Whether a body waits for a promise.
    #[inline]
    pub(super) fn lacks_promises(&self) -> bool {
        self.newcomers_lack_promises() || self.protocol.transport.waiting.count(Resource::Promise) > 0
    }

    fn newcomers_lack_promises(&self) -> bool {
        self.protocol.transport.waiting.count(Resource::ReservedPromise) > 0
    }

    /// When bodies are to be looked at again.
    pub(super) fn looks_at_bodies(&self) -> Option<Tick> {
        self.gathered.looks_again.filter(|_| self.lacks_promises())
    }

    /// Gives bodies up for those that wait for promises. All that has come is handled.
    #[cold]
    pub(super) fn free_promises(&mut self) {
        let now = self.protocol.transport.tick;
        let is_same = self.gathered.for_newcomers == self.newcomers_lack_promises();
        if is_same && self.gathered.looks_again.is_some_and(|tick| tick > now) {
            return;
        }
        self.gathered.looks_again = None;
        while self.lacks_promises() {
            let for_newcomers = self.newcomers_lack_promises();
            if core::mem::replace(&mut self.gathered.for_newcomers, for_newcomers) != for_newcomers {
                self.gathered.candidates.begin_anew();
            }
            let dispatch = &self.protocol.dispatch;
            let among = Connections {
                all: &self.connections,
                peers: dispatch.peers(),
                of: (Pool::Promised, dispatch.share_of_promises()),
                rest_of: |connection: &Connection| connection.awaited_whole().and_then(|slot| dispatch.going(slot)),
                from: |rank: &Rank<Going>| {
                    let is_greedy = rank.is_of_crowd() && !rank.rest.is_only;
                    let behind = if for_newcomers && is_greedy { GREEDY_BEHIND } else { BEHIND };
                    rank.rest.since.saturating_add(behind)
                },
            };
            match self.gathered.candidates.take(now, &among) {
                Ok(key) => {
                    self.counters.bodies_evicted.count();
                    self.visit(key, Protocol::evict_body);
                    self.work_off();
                }
                Err(Lack::Until(tick)) => return self.gathered.looks_again = Some(tick),
                Err(Lack::Lasting) => return,
            }
        }
    }
}
