//! Which connection goes next, of those that could, when others need what it has.
//!
//! Invariants: whose address holds more than few of what counts goes before others, by powers of two of how many; among
//! equals, who has done nothing for longest. All connections are looked through for many candidates at a time, which
//! are good for a tick, and of which each is looked at again when its turn comes; in vain that is done once a tick at
//! most, and again in the next one if it was to be done.
//!
//! Not here: who could go (`protocol`), and what happens to it (`eviction`, `heads`, `gathered`).

use core::cmp::Reverse;

use super::protocol::Connection;
use crate::clock::Tick;
use crate::peers::{PeerKey, Peers, Pool};
use crate::slab::{ConnectionKey, OfConnection, Slab};

/// Ticks that a connection has had to do something: at least 64 ms.
pub(super) const REST_MIN: Tick = 2;
/// Candidates that are found by looking through all connections once.
const CANDIDATES_MAX: usize = 1024;
/// So many connections of an address are not many.
pub(super) const CONNECTIONS_FEW: u32 = 16;

/// How soon a connection goes: who is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<R> {
    /// How much its address holds, by powers of two; 0: few.
    crowd: Reverse<u32>,
    pub(super) rest: R,
}

impl<R> Rank<R> {
    fn of(rest: R, peers: &Peers, peer: PeerKey, (pool, few): (Pool, u32)) -> Self {
        let held = peers.held(peer, pool);
        let is_few = peers.is_exempt(peer) || held <= few.max(1);
        Self { crowd: Reverse(if is_few { 0 } else { held.ilog2() }), rest }
    }

    /// Whether its address holds much.
    pub(super) fn is_of_crowd(&self) -> bool {
        self.crowd.0 > 0
    }
}

/// None can go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// There is one from this tick on.
    Until(Tick),
    /// There is none.
    Lasting,
}

/// Who could go, and since when and from when on it could.
pub(super) struct Eligible<O, F> {
    /// What counts, and how much of it is not much for an address.
    pub(super) of: Pool,
    pub(super) few: u32,
    /// What of a connection makes it one, if it is.
    pub(super) rest_of: O,
    /// From which tick on it may go.
    pub(super) from: F,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Candidates<R> {
    /// The first one last.
    next: Vec<(Rank<R>, ConnectionKey)>,
    /// When they were found: in another tick, others may come before them.
    found_at: Option<Tick>,
    /// When none was found.
    barren_at: Option<Tick>,
}

impl<R: Copy + Ord> Candidates<R> {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let most = (connections_max as usize).min(CANDIDATES_MAX);
        Self { next: Vec::with_capacity(2 * most), found_at: None, barren_at: None }
    }

    /// There may be some again.
    pub(super) fn look_again(&mut self) {
        self.barren_at = None;
    }

    /// Others may go from now on, or in another order.
    pub(super) fn begin_anew(&mut self) {
        self.next.clear();
    }

    /// Takes the next one off.
    pub(super) fn take<O: Fn(&Connection) -> Option<R>, F: Fn(&Rank<R>) -> Tick>(
        &mut self,
        now: Tick,
        (connections, peers): (&Slab<Connection, OfConnection>, &Peers),
        eligible: &Eligible<O, F>,
    ) -> Result<ConnectionKey, Lack> {
        if self.found_at != Some(now) {
            self.next.clear();
        }
        loop {
            let Some((rank, key)) = self.next.pop() else {
                self.find(now, (connections, peers), eligible)?;
                continue;
            };
            let Some(rest) = connections.get(key).and_then(&eligible.rest_of) else { continue };
            match Rank::of(rest, peers, peers.of(key), (eligible.of, eligible.few)) == rank {
                true => return Ok(key),
                // Others may come before it by now.
                false if rest == rank.rest => self.next.clear(),
                false => {}
            }
        }
    }

    /// Looks through all connections.
    fn find<O: Fn(&Connection) -> Option<R>, F: Fn(&Rank<R>) -> Tick>(
        &mut self,
        now: Tick,
        (connections, peers): (&Slab<Connection, OfConnection>, &Peers),
        eligible: &Eligible<O, F>,
    ) -> Result<(), Lack> {
        if self.barren_at == Some(now) {
            // There may be some since.
            return Err(Lack::Until(now + 1));
        }
        let most = self.next.capacity() / 2;
        let mut first_from: Option<Tick> = None;
        for (key, connection) in connections.iter() {
            let Some(rest) = (eligible.rest_of)(connection) else { continue };
            let rank = Rank::of(rest, peers, peers.of(key), (eligible.of, eligible.few));
            let from = (eligible.from)(&rank);
            if from > now {
                first_from = Some(first_from.map_or(from, |first| first.min(from)));
                continue;
            }
            if self.next.len() == self.next.capacity() {
                self.keep_first(most);
            }
            self.next.push((rank, key));
        }
        self.keep_first(most);
        self.next.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        self.found_at = Some(now);
        match first_from {
            _ if !self.next.is_empty() => Ok(()),
            Some(tick) => Err(Lack::Until(tick)),
            None => {
                self.barren_at = Some(now);
                Err(Lack::Lasting)
            }
        }
    }

    /// Keeps the `most` that go first.
    fn keep_first(&mut self, most: usize) {
        if self.next.len() > most {
            self.next.select_nth_unstable_by(most, |(one, _), (other, _)| one.cmp(other));
            self.next.truncate(most);
        }
    }
}
