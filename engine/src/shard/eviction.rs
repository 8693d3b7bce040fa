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
//!   the one that has rested for longest. Of one that never had a buffer to be received into, the kernel is asked
//!   whether its client has sent something.
//! * It is looked at when all that has come is handled: a request that is here already does not end with its
//!   connection.
//! * Who waits in `arrivals` waits for a connection that is leaving, or for a tick that is near; without either it is
//!   turned away. A listener that waits for a descriptor does so for the same, then for what others give up (`others`);
//!   else it pauses.
//! * Resting costs a store.
//!
//! Not here: what rests (`protocol`), which one goes first (`crowds`), accepting and its pauses (`transport`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::Shard;
use super::crowds::{CONNECTIONS_MAX, Connections, REST_MIN};
use super::others::Others;
use super::protocol::{Connection, Protocol, Rest};
use super::transport::Accepted;
use crate::admission::{Admission, Gate, ROOM_ASIDE};
use crate::candidates::{Candidates, Lack, Rank};
use crate::clock::Tick;
use crate::driver::Io;
use crate::peers::{CONNECTIONS_FEW, Pool};
use crate::proxied::ProxyProtocol;
use crate::slab::ConnectionKey;

/// Connections that come at once and find no place: further ones are turned away.
const ARRIVALS_MAX: usize = 1024;
// They count for the limits of their addresses, where there are any, and so does the one that is looked at.
const _: () = assert!(ARRIVALS_MAX < ROOM_ASIDE);
/// Of the connections, one in so many ends at once for want of descriptors, up to a number.
const DESCRIPTORS_SHARE: usize = 16;
const DESCRIPTORS_AT_ONCE: usize = 64;
/// Connections of which the kernel says that they have sent something: more are not asked about at a time.
const HEARD_OF_MAX: usize = 64;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Eviction {
    /// Those to end next.
    candidates: Candidates<ConnectionKey, Rest>,
    /// Connections that end for others, until they are closed.
    leaving: Vec<ConnectionKey>,
    /// What has come and found no place.
    arrivals: VecDeque<(Accepted, Option<Admission>)>,
    /// When there will be some to end for them.
    places_at: Option<Tick>,
    pub(super) others: Others,
    /// Whether anybody waits of these, here or in another shard: found so when it is made room for them.
    pub(super) is_awaited: bool,
    /// When there is something to do for them.
    looks_again: Option<Tick>,
}

impl Eviction {
    /// For so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let connections = connections_max as usize;
        Self {
            candidates: Candidates::new(connections_max.min(CONNECTIONS_MAX)),
            leaving: Vec::with_capacity(connections.min(ARRIVALS_MAX) + DESCRIPTORS_AT_ONCE + usize::from(u8::MAX)),
            arrivals: VecDeque::with_capacity(ARRIVALS_MAX),
            places_at: None,
            others: Others::new(Arc::from([])),
            is_awaited: false,
            looks_again: None,
        }
    }

    /// When it has something to do again.
    pub(super) fn looks_again(&self) -> Option<Tick> {
        self.looks_again
    }

    /// Whether somebody has come and waits for a place.
    pub(super) fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Connections that end for others.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Sees who waits by now, a listener if it `is_short`, and for when.
    fn note_awaited(&mut self, is_short: bool) {
        self.is_awaited = is_short || self.has_arrivals() || !self.leaving.is_empty() || self.others.is_awaited();
        self.looks_again = [self.places_at, self.others.due()].into_iter().flatten().min();
    }
}

impl<I: Io> Shard<I> {
    /// Serves a connection that has come in, lets it wait for a place, or turns it away.
    pub(super) fn admit(&mut self, mut accepted: Accepted) {
        if accepted.proxy != ProxyProtocol::Off && !self.protocol.dispatch.peers_mut().is_trusted(accepted.origin()) {
            if accepted.proxy == ProxyProtocol::Required {
                return self.protocol.transport.refuse_stranger(accepted.fd);
            }
            accepted.proxy = ProxyProtocol::Off;
        }
        let admission = match accepted.gate.take() {
            None => None,
            Some(gate) => match self.count_in(&gate, &accepted) {
                Some(admission) => Some(admission),
                None => return self.protocol.transport.io.close(accepted.fd),
            },
        };
        if self.eviction.arrivals.is_empty() && !self.connections.is_full() {
            self.begin(&accepted, admission);
        } else if self.eviction.arrivals.len() < ARRIVALS_MAX {
            self.eviction.arrivals.push_back((accepted, admission));
            self.eviction.is_awaited = true;
        } else {
            self.protocol.transport.turn_away(accepted.fd);
        }
    }

    /// A connection counts by the limits of where it has come in. `None`: it is beyond one.
    #[cold]
    #[inline(never)]
    fn count_in(&mut self, gate: &Gate, accepted: &Accepted) -> Option<Admission> {
        let Protocol { transport, dispatch, .. } = &self.protocol;
        let address = accepted.origin().filter(|ip| !dispatch.peers().is_trusted(Some(*ip)));
        let counted = gate.admit(address, transport.clock.micros());
        counted.map_err(|over| self.protocol.count_over(over)).ok()
    }

    fn begin(&mut self, accepted: &Accepted, admission: Option<Admission>) {
        match self.connections.insert_with(|key| Connection::new(accepted, key)) {
            Some(key) => {
                self.eviction.candidates.look_again();
                self.protocol.dispatch.peers_mut().enter(key, accepted.origin());
                if let Some(admission) = admission {
                    self.protocol.admitted.keep(key, admission);
                }
                self.visit(key, Protocol::begin);
            }
            None => self.protocol.transport.turn_away(accepted.fd),
        }
    }

    /// Whether somebody waits for a place or a descriptor.
    #[inline]
    pub(super) fn is_short(&self) -> bool {
        self.eviction.is_awaited
    }

    /// Makes room for those who wait. All that has come is handled.
    #[cold]
    pub(super) fn make_room(&mut self) {
        let mut any_closed = self.settle_leaving();
        let missing = self.eviction.arrivals.len().saturating_sub(self.eviction.leaving.len());
        match missing {
            // For each of them one leaves.
            0 => self.eviction.places_at = None,
            missing => self.make_places(missing),
        }
        let waits = self.protocol.transport.accepting.is_short() && !any_closed;
        if waits && self.eviction.leaving.is_empty() {
            self.make_descriptors();
        }
        if self.eviction.others.is_asked() && !any_closed {
            self.give_descriptors();
        }
        any_closed |= self.settle_leaving();
        if any_closed && self.protocol.transport.accepting.is_short() {
            self.accept_again();
        }
        if any_closed && self.eviction.others.is_asked() {
            self.descriptors_are_given();
        }
        self.eviction.note_awaited(self.protocol.transport.accepting.is_short());
        self.work_off();
    }

    /// Lets those in who wait, where others have left. `true`: one that was to leave has.
    fn settle_leaving(&mut self) -> bool {
        let before = self.eviction.leaving.len();
        self.eviction.leaving.retain(|key| self.connections.get(*key).is_some());
        while !self.connections.is_full()
            && let Some((accepted, admission)) = self.eviction.arrivals.pop_front()
        {
            self.begin(&accepted, admission);
        }
        if self.eviction.arrivals.is_empty() {
            self.eviction.places_at = None;
        }
        self.eviction.leaving.len() < before
    }

    /// So many connections end for those who have come, or these are turned away.
    fn make_places(&mut self, count: usize) {
        if self.eviction.places_at.is_some_and(|tick| tick > self.protocol.transport.tick) {
            return;
        }
        self.eviction.places_at = None;
        match self.evict(count) {
            Ok(()) => {}
            Err(Lack::Until(tick)) => self.eviction.places_at = Some(tick),
            // Who takes the places of those that leave makes room later.
            Err(Lack::Lasting) if !self.eviction.leaving.is_empty() => {}
            Err(Lack::Lasting) => self.turn_all_away(),
        }
    }

    /// Connections end for the descriptors they have, or accepting pauses.
    fn make_descriptors(&mut self) {
        if self.awaits_others() {
            return;
        }
        let count = (self.connections.len() / DESCRIPTORS_SHARE).clamp(1, DESCRIPTORS_AT_ONCE);
        match self.evict(count) {
            Ok(()) => {}
            Err(Lack::Until(tick)) => self.protocol.transport.accept_again_at(tick),
            Err(Lack::Lasting) => self.ask_others(),
        }
    }

    /// Ends connections that rest: `count` of them, or as many as there are, at least one.
    pub(super) fn evict(&mut self, count: usize) -> Result<(), Lack> {
        let (mut evicted, mut heard_of) = (0, 0);
        while evicted < count {
            let among = Connections {
                all: &self.connections,
                peers: self.protocol.dispatch.peers(),
                of: (Pool::Connections, CONNECTIONS_FEW),
                rest_of: Connection::rest,
                from: |rank: &Rank<Rest>| rank.rest.since().saturating_add(REST_MIN),
            };
            let now = self.protocol.transport.tick;
            let found = match self.eviction.candidates.take(now, &among) {
                Ok(_) if heard_of == HEARD_OF_MAX => Err(Lack::Until(now + 1)),
                found => found,
            };
            match found {
                Ok(key) if self.has_spoken(key) => heard_of += 1,
                Ok(key) => {
                    evicted += 1;
                    self.eviction.leaving.push(key);
                    self.eviction.is_awaited = true;
                    self.counters.connections_evicted.count();
                    self.visit(key, Protocol::evict);
                }
                Err(lack) if evicted == 0 => return Err(lack),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Connections that are to count for their limits: all, and those of them that are of addresses.
    #[cfg(test)]
    pub(super) fn to_count(&self) -> (u32, u32) {
        let peers = self.protocol.dispatch.peers();
        let of_addresses = self.connections.iter().filter(|(key, _)| peers.is_of_address(*key)).count();
        let waiting = self.eviction.arrivals.iter().map(|(accepted, _)| accepted);
        let waiting_of = waiting.clone().filter(|accepted| !peers.is_trusted(accepted.origin())).count();
        let count = |count: usize| u32::try_from(count).expect("a few");
        (count(self.connections.len() + waiting.count()), count(of_addresses + waiting_of))
    }

    /// Whether a connection has sent something for which there was no buffer: then it is left alone for a while.
    fn has_spoken(&mut self, key: ConnectionKey) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let transport = &mut self.protocol.transport;
        let is_unheard = connection.rest().is_some_and(Rest::is_unheard);
        let has_spoken = is_unheard && transport.traffic(connection.socket()).received > 0;
        if has_spoken {
            connection.is_heard_of(transport.tick);
        }
        has_spoken
    }

    /// Whether clients wait for a moment that is known.
    #[cfg(test)]
    pub(super) fn waits_for_a_tick(&self) -> bool {
        let resumes = self.protocol.transport.accepting.resumes();
        [self.eviction.looks_again, self.looks_at_pieces(), self.looks_at_bodies(), resumes].iter().any(Option::is_some)
    }

    /// Nobody is let in of those that wait.
    #[cold]
    pub(super) fn turn_all_away(&mut self) {
        self.eviction.places_at = None;
        for (accepted, _) in self.eviction.arrivals.drain(..) {
            self.protocol.transport.turn_away(accepted.fd);
        }
    }
}
