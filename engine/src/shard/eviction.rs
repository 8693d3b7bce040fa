//! Who ends so that those who come are served, when connections or descriptors have run out.
//!
//! ```text
//!   no place ───▶ arrivals ─────────────────────────────────▶ a connection, or turned away
//!                   │ wait for                                  ▲
//!   no descriptor ──┴──▶ candidates ──evicted──▶ leaving ──closed┴──▶ accepting goes on
//! ```
//!
//! Invariants:
//! * Only a connection ends that has nothing to do ([`Connection::rest`]) and has had time to begin something: never
//!   one with a request under way, a part of a head, a body, or a pipe. First those of an address that has many; of
//!   these, and of all others, first those that have never sent a request, then those between two requests; of each
//!   the one that has rested for longest.
//! * It is looked at when all that has come is handled: a request that is here already does not end with its
//!   connection.
//! * Who waits in `arrivals` waits for a connection that is leaving, or for a tick that is near; without either it is
//!   turned away. A listener that waits for a descriptor does so for the same, else it pauses.
//! * Resting costs a store; the connections are looked through only when some have to go, for many at a time, and at
//!   most once a tick in vain.
//!
//! Not here: what rests (`protocol`), accepting and its pauses (`transport`).

use core::cmp::Reverse;
use std::collections::VecDeque;

use super::Shard;
use super::protocol::{Connection, Protocol, Rest};
use super::transport::Accepted;
use crate::clock::Tick;
use crate::peers::{PeerKey, Peers, Pool};
use crate::ring::Io;
use crate::slab::ConnectionKey;

/// Ticks that a connection has had to begin something: at least 64 ms.
const REST_MIN: Tick = 2;
/// Connections that come at once and find no place: further ones are turned away.
const ARRIVALS_MAX: usize = 1024;
/// Those that are found by looking through all connections once.
const CANDIDATES_MAX: usize = 1024;
/// Of the connections, one in so many ends at once for want of descriptors, up to a number.
const DESCRIPTORS_SHARE: usize = 16;
const DESCRIPTORS_AT_ONCE: usize = 64;
/// So many connections of an address are not many.
const FEW: u32 = 16;

/// A connection that could end: who is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// How many connections its address has, by powers of two; 0: few.
    crowd: Reverse<u32>,
    rest: Rest,
}

impl Rank {
    fn of(rest: Rest, peers: &Peers, peer: PeerKey) -> Self {
        let few = peers.is_exempt(peer) || peers.held(peer, Pool::Connections) <= FEW;
        let crowd = if few { 0 } else { peers.held(peer, Pool::Connections).ilog2() };
        Self { crowd: Reverse(crowd), rest }
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Eviction {
    /// Those to end next, the first one last.
    candidates: Vec<(Rank, ConnectionKey)>,
    /// When they were found: in another tick others may have rested for longer.
    found_at: Option<Tick>,
    /// When none was found.
    barren_at: Option<Tick>,
    /// Connections that end for others, until they are closed.
    leaving: Vec<ConnectionKey>,
    /// What has come and found no place.
    arrivals: VecDeque<Accepted>,
    /// When there will be some to end for them.
    looks_again: Option<Tick>,
}

/// No connection can end now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// None has rested for long enough before this tick.
    Until(Tick),
    /// None rests.
    Lasting,
}

impl Eviction {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let connections = connections_max as usize;
        Self {
            candidates: Vec::with_capacity(2 * connections.min(CANDIDATES_MAX)),
            found_at: None,
            barren_at: None,
            leaving: Vec::with_capacity(connections.min(ARRIVALS_MAX) + DESCRIPTORS_AT_ONCE),
            arrivals: VecDeque::with_capacity(ARRIVALS_MAX),
            looks_again: None,
        }
    }

    /// When it has something to do again.
    pub(super) fn looks_again(&self) -> Option<Tick> {
        self.looks_again
    }

    fn is_under_way(&self) -> bool {
        !self.arrivals.is_empty() || !self.leaving.is_empty()
    }
}

impl<I: Io> Shard<I> {
    /// Serves a connection that has come in, lets it wait for a place, or turns it away.
    pub(super) fn admit(&mut self, accepted: Accepted) {
        if self.eviction.arrivals.is_empty() && !self.connections.is_full() {
            self.begin(&accepted);
        } else if self.eviction.arrivals.len() < ARRIVALS_MAX {
            self.eviction.arrivals.push_back(accepted);
        } else {
            self.protocol.transport.turn_away(accepted.fd);
        }
    }

    fn begin(&mut self, accepted: &Accepted) {
        match self.connections.insert_with(|key| Connection::new(accepted, key)) {
            Some(key) => {
                self.eviction.barren_at = None;
                self.protocol.dispatch.peers().enter(key, accepted.peer.ip());
                self.visit(key, Protocol::begin);
            }
            None => self.protocol.transport.turn_away(accepted.fd),
        }
    }

    /// Whether somebody waits for a place or a descriptor.
    #[inline]
    pub(super) fn is_short(&self) -> bool {
        self.eviction.is_under_way() || self.protocol.transport.accepting.is_short()
    }

    /// Makes room for those who wait. All that has come is handled.
    #[cold]
    pub(super) fn make_room(&mut self) {
        let mut any_closed = self.settle_leaving();
        let missing = self.eviction.arrivals.len().saturating_sub(self.eviction.leaving.len());
        match missing {
            // For each of them one leaves.
            0 => self.eviction.looks_again = None,
            missing => self.make_places(missing),
        }
        let waits = self.protocol.transport.accepting.is_short() && !any_closed;
        if waits && self.eviction.leaving.is_empty() {
            self.make_descriptors();
        }
        any_closed |= self.settle_leaving();
        if any_closed && self.protocol.transport.accepting.is_short() {
            self.protocol.transport.accept_again();
        }
        self.work_off();
    }

    /// Lets those in who wait, where others have left. `true`: one that was to leave has.
    fn settle_leaving(&mut self) -> bool {
        let before = self.eviction.leaving.len();
        self.eviction.leaving.retain(|key| self.connections.get(*key).is_some());
        while !self.connections.is_full()
            && let Some(accepted) = self.eviction.arrivals.pop_front()
        {
            self.begin(&accepted);
        }
        if self.eviction.arrivals.is_empty() {
            self.eviction.looks_again = None;
        }
        self.eviction.leaving.len() < before
    }

    /// So many connections end for those who have come, or these are turned away.
    fn make_places(&mut self, count: usize) {
        if self.eviction.looks_again.is_some_and(|tick| tick > self.protocol.transport.tick) {
            return;
        }
        self.eviction.looks_again = None;
        match self.evict(count) {
            Ok(()) => {}
            Err(Lack::Until(tick)) => self.eviction.looks_again = Some(tick),
            // Who takes the places of those that leave makes room later.
            Err(Lack::Lasting) if !self.eviction.leaving.is_empty() => {}
            Err(Lack::Lasting) => self.turn_all_away(),
        }
    }

    /// Connections end for the descriptors they have, or accepting pauses.
    fn make_descriptors(&mut self) {
        let count = (self.connections.len() / DESCRIPTORS_SHARE).clamp(1, DESCRIPTORS_AT_ONCE);
        match self.evict(count) {
            Ok(()) => {}
            Err(Lack::Until(tick)) => self.protocol.transport.accept_again_at(tick),
            Err(Lack::Lasting) => self.protocol.transport.out_of_descriptors(),
        }
    }

    /// Ends connections that rest: `count` of them, or as many as there are, at least one.
    fn evict(&mut self, count: usize) -> Result<(), Lack> {
        if self.eviction.found_at != Some(self.protocol.transport.tick) {
            self.eviction.candidates.clear();
        }
        let mut evicted = 0;
        while evicted < count {
            let Some((rank, key)) = self.eviction.candidates.pop() else {
                match self.find_candidates() {
                    Err(lack) if evicted == 0 => return Err(lack),
                    Err(_) => break,
                    Ok(()) => continue,
                }
            };
            let rest = self.connections.get(key).and_then(Connection::rest).filter(|rest| *rest == rank.rest);
            let Some(rest) = rest else { continue };
            let peers = self.protocol.dispatch.peers();
            if Rank::of(rest, peers, peers.of(key)) == rank {
                self.eviction.leaving.push(key);
                self.counters.connections_evicted.count();
                self.visit(key, Protocol::evict);
                evicted += 1;
            } else {
                // Its address has fewer by now: others may come before it.
                self.eviction.candidates.clear();
            }
        }
        Ok(())
    }

    /// Looks through all connections for those to end next.
    fn find_candidates(&mut self) -> Result<(), Lack> {
        let now = self.protocol.transport.tick;
        let Eviction { candidates, found_at, barren_at, .. } = &mut self.eviction;
        let peers = self.protocol.dispatch.peers();
        if *barren_at == Some(now) {
            return Err(Lack::Lasting);
        }
        let most = candidates.capacity() / 2;
        let mut next = None;
        for (key, connection) in self.connections.iter() {
            let Some(rest) = connection.rest() else { continue };
            let from = rest.since().saturating_add(REST_MIN);
            if from > now {
                next = Some(next.map_or(from, |next: Tick| next.min(from)));
                continue;
            }
            if candidates.len() == candidates.capacity() {
                keep_first(candidates, most);
            }
            candidates.push((Rank::of(rest, peers, peers.of(key)), key));
        }
        keep_first(candidates, most);
        candidates.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        *found_at = Some(now);
        match next {
            _ if !candidates.is_empty() => Ok(()),
            Some(tick) => Err(Lack::Until(tick)),
            None => {
                *barren_at = Some(now);
                Err(Lack::Lasting)
            }
        }
    }

    /// Whether clients wait for a moment that is known.
    #[cfg(test)]
    pub(super) fn waits_to_accept(&self) -> bool {
        self.eviction.looks_again.is_some() || self.protocol.transport.accepting.resumes().is_some()
    }

    /// Nobody is let in of those that wait.
    #[cold]
    pub(super) fn turn_all_away(&mut self) {
        self.eviction.looks_again = None;
        for accepted in self.eviction.arrivals.drain(..) {
            self.protocol.transport.turn_away(accepted.fd);
        }
    }
}

/// Keeps the `most` that go first.
fn keep_first(candidates: &mut Vec<(Rank, ConnectionKey)>, most: usize) {
    if candidates.len() > most {
        candidates.select_nth_unstable_by(most, |(one, _), (other, _)| one.cmp(other));
        candidates.truncate(most);
    }
}
