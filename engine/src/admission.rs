//! How many connections may be open, and come in a second: in all, and of one address.
//!
//! ```text
//!   Gates ──of a listener──▶ Gate ──admit──▶ Admission, as long as there is the connection
//!                              │                 │ drop
//!                              ▼                 ▼
//!                 scopes, of the listener and of the engine: in all; addresses: of each
//! ```
//!
//! Invariants: what an [`Admission`] counts is given back when it is dropped, and not otherwise; all shards count in
//! the same place, so that a limit holds for them together; who is refused counts nowhere. A lock is taken when a
//! connection comes and goes, where a limit for addresses is set, never for a request.
//!
//! Not here: whose address counts (`peers`, room `shard`), and what becomes of who is refused (room `shard`).

mod addresses;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) use self::addresses::ROOM_ASIDE;
use self::addresses::{Addresses, Place};
use crate::error::Error;
use crate::mem::give_back_room;
use crate::peers::Origin;
use crate::slab::ConnectionKey;

/// Nanoseconds of a second, which is how far who comes may be ahead of its rate.
const SECOND: u64 = 1_000_000_000;
/// The highest rate: a connection each microsecond, by which shards know the time.
const RATE_MAX: u32 = 1_000_000;

/// How many connections may be open, and how many may come in a second: of a [`Listener`](crate::Listener::limits), or
/// of all of an engine's ([`EngineBuilder`](crate::EngineBuilder::connection_limits)). None by default.
///
/// A limit holds for all shards together. What is beyond it is accepted and closed at once, without a response, and
/// counted by the limit's name ([`over_connections_max`](crate::Counters::over_connections_max) and so on). What was
/// refused does not count.
///
/// An address is an IPv4 address, or the first 64 bits of an IPv6 one. Addresses in the networks of
/// [`trusted_proxies`](crate::EngineBuilder::trusted_proxies), and who comes over a Unix socket, have no limit of one
/// address. Where a PROXY header says whose a connection is, it counts as its client's from then on; one that is beyond
/// the client's limit ends then.
///
/// A rate is that of a bucket which holds the connections of one second and is full at first: so many may come at once,
/// and then one for each part of a second that has passed.
///
/// ```no_run
/// use ringress::{ConnectionLimits, Engine, Listener};
///
/// # fn main() -> ringress::Result<()> {
/// let limits = ConnectionLimits::new().connections_per_address_max(100).connection_rate_per_address_max(50);
/// let engine = Engine::builder().connection_limits(limits).start()?;
/// let admin = Listener::tcp(([127, 0, 0, 1], 9000).into()).limits(ConnectionLimits::new().connections_max(10));
/// engine.listen_on(admin)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "limits hold for a listener or an engine"]
pub struct ConnectionLimits {
    all: Bounds,
    address: Bounds,
}

/// What is bounded of all, or of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Bounds {
    open: Option<u32>,
    /// Connections a second.
    rate: Option<u32>,
}

impl Bounds {
    fn is_none(&self) -> bool {
        self.open.is_none() && self.rate.is_none()
    }
}

impl ConnectionLimits {
    /// None is set.
    pub const fn new() -> Self {
        const NONE: Bounds = Bounds { open: None, rate: None };
        Self { all: NONE, address: NONE }
    }

    /// Connections open at a time, from 1. At this limit nobody makes room for newcomers: without [one for each
    /// address](Self::connections_per_address_max), a client can use it up by connections that say nothing.
    pub const fn connections_max(mut self, connections: u32) -> Self {
        self.all.open = Some(connections);
        self
    }

    /// New connections a second, 1 to 1,000,000.
    pub const fn connection_rate_max(mut self, connections: u32) -> Self {
        self.all.rate = Some(connections);
        self
    }

    /// Connections of one address that are open at a time, from 1, up to `connections_max`.
    pub const fn connections_per_address_max(mut self, connections: u32) -> Self {
        self.address.open = Some(connections);
        self
    }

    /// New connections of one address a second, 1 to 1,000,000, up to `connection_rate_max`.
    pub const fn connection_rate_per_address_max(mut self, connections: u32) -> Self {
        self.address.rate = Some(connections);
        self
    }

    /// The name of a limit of one address that is set, if one is.
    pub(crate) fn of_address(&self) -> Option<&'static str> {
        let set = |bound: Option<u32>, name| bound.map(|_| name);
        set(self.address.open, "connections_per_address_max")
            .or_else(|| set(self.address.rate, "connection_rate_per_address_max"))
    }

    /// Whether so many may be open.
    #[cfg(test)]
    pub(crate) fn allows(&self, open: u32) -> bool {
        self.all.open.is_none_or(|most| open <= most)
    }

    fn is_none(&self) -> bool {
        self.all.is_none() && self.address.is_none()
    }

    /// # Errors
    /// That a limit is out of range, or cannot be reached for another one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let connections = (self.all.open, self.address.open, u32::MAX);
        let rates = (self.all.rate, self.address.rate, RATE_MAX);
        let names = ["connections_max", "connections_per_address_max"];
        let names_of_rates = ["connection_rate_max", "connection_rate_per_address_max"];
        for ((all, address, most), [name, name_of_address]) in [(connections, names), (rates, names_of_rates)] {
            for (bound, name) in [(all, name), (address, name_of_address)] {
                if let Some(bound) = bound.filter(|bound| !(1..=most).contains(bound)) {
                    let text = format!("{name} is {bound}, but must be from 1 to {most}; leave it out for no limit");
                    return Err(Error::invalid(text));
                }
            }
            if let (Some(all), Some(address)) = (all, address)
                && address > all
            {
                return Err(Error::invalid(format!(
                    "{name_of_address} is {address}, but {name} is {all}, so that no address comes to it: lower \
                    {name_of_address} to {all} at most, or leave it out"
                )));
            }
        }
        Ok(())
    }
}

/// Which limit somebody is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Connections,
    Rate,
    ConnectionsOfAddress,
    RateOfAddress,
}

/// When the bucket is full again after one more of those that come at this rate, if one may come: see
/// [`ConnectionLimits`].
fn paced(full_at: u64, now: u64, rate: u32) -> Option<u64> {
    let next = full_at.max(now) + interval(rate);
    (next <= now + SECOND).then_some(next)
}

fn interval(rate: u32) -> u64 {
    SECOND / u64::from(rate.max(1))
}

/// Where one listener's connections are counted, or an engine's.
#[derive(Debug)]
struct Scope {
    /// Tells the addresses of one from those of others.
    id: u32,
    limits: ConnectionLimits,
    open: AtomicU32,
    /// When the bucket of all is full, in nanoseconds of the process.
    full_at: AtomicU64,
    addresses: Arc<Addresses>,
}

impl Scope {
    /// One of an address has come.
    fn enter(&self, origin: Origin, now: u64) -> Result<Option<Place>, Over> {
        if self.limits.address.is_none() {
            return Ok(None);
        }
        self.addresses.enter((self.id, origin), self.limits.address, now).map(Some)
    }

    /// One more is open.
    fn open(&self, now: u64) -> Result<(), Over> {
        use Ordering::Relaxed;
        let Bounds { open, rate } = self.limits.all;
        let most = open.unwrap_or(u32::MAX);
        let more = |count: u32| (count < most).then(|| count + 1);
        self.open.fetch_update(Relaxed, Relaxed, more).map_err(|_| Over::Connections)?;
        if let Some(rate) = rate
            && self.full_at.fetch_update(Relaxed, Relaxed, |full_at| paced(full_at, now, rate)).is_err()
        {
            self.open.fetch_sub(1, Relaxed);
            return Err(Over::Rate);
        }
        Ok(())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.limits.address.rate.is_some() {
            self.addresses.forget(self.id);
        }
    }
}

/// A connection, as one scope counts it.
#[derive(Debug)]
struct Counted {
    scope: Arc<Scope>,
    /// Where its address is counted, if that is.
    place: Option<Place>,
    /// It is one of all.
    is_open: bool,
}

impl Counted {
    fn leave_address(&mut self) {
        if let Some(place) = self.place.take() {
            self.scope.addresses.leave(place, self.scope.limits.address);
        }
    }

    /// It has not come: it counts in no rate.
    #[cold]
    fn unpace(&mut self) {
        if let (Some(place), Some(rate)) = (self.place, self.scope.limits.address.rate) {
            self.scope.addresses.unpace(place, interval(rate));
        }
        if let (true, Some(rate)) = (self.is_open, self.scope.limits.all.rate) {
            self.scope.full_at.fetch_sub(interval(rate), Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.leave_address();
        if self.is_open {
            self.scope.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// That a connection counts, as long as it is kept: see the module's head.
#[derive(Debug)]
#[must_use = "what is dropped does not count"]
pub(crate) struct Admission {
    /// By its listener, and by the engine.
    counted: [Option<Counted>; 2],
}

impl Admission {
    /// From now on it is of this address, if that has a limit.
    ///
    /// # Errors
    /// The address has no more; it counts as it did before.
    fn move_to(&mut self, origin: Option<Origin>, now: u64) -> Result<(), Over> {
        let mut places = [None, None];
        for (index, counted) in self.counted.iter().enumerate() {
            let (Some(Counted { scope, .. }), Some(origin)) = (counted, origin) else { continue };
            match scope.enter(origin, now) {
                Ok(place) => places[index] = place,
                Err(over) => {
                    let mut refused = self.counted.iter().flatten().zip(places).filter_map(|(counted, place)| {
                        Some(Counted { scope: Arc::clone(&counted.scope), place: Some(place?), is_open: false })
                    });
                    refused.by_ref().for_each(|mut counted| counted.unpace());
                    return Err(over);
                }
            }
        }
        for (counted, place) in self.counted.iter_mut().zip(places) {
            if let Some(counted) = counted {
                counted.leave_address();
                counted.place = place;
            }
        }
        Ok(())
    }
}

/// Who comes in by a listener that has limits, or whose engine has.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The listener's, and the engine's.
    scopes: [Option<Arc<Scope>>; 2],
}

impl Gate {
    /// Whether a listener's limits are these here.
    pub(crate) fn has(&self, limits: ConnectionLimits) -> bool {
        self.scopes[0].as_ref().map_or(ConnectionLimits::new(), |scope| scope.limits) == limits
    }

    /// A connection has come, of this address if that has a limit.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn admit(&self, address: Option<IpAddr>, now_micros: u64) -> Result<Admission, Over> {
        let (origin, now) = (address.map(Origin::of), nanos(now_micros));
        let counted = |scope: &Option<Arc<Scope>>| {
            scope.as_ref().map(|scope| Counted { scope: Arc::clone(scope), place: None, is_open: false })
        };
        let mut admission = Admission { counted: [counted(&self.scopes[0]), counted(&self.scopes[1])] };
        let Err(over) = take(&mut admission, origin, now) else { return Ok(admission) };
        admission.counted.iter_mut().flatten().for_each(Counted::unpace);
        Err(over)
    }

    /// Connections of addresses, and all that are open, as the listener's scope counts them, and the engine's.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> [(u32, u32); 2] {
        self.scopes.each_ref().map(|scope| {
            let of_addresses = |scope: &Arc<Scope>| scope.addresses.counted(scope.id);
            scope.as_ref().map_or((0, 0), |scope| (of_addresses(scope), scope.open.load(Ordering::Relaxed)))
        })
    }

    /// Memory that is not used goes back to the system.
    #[cold]
    pub(crate) fn give_back_room(&self, now_micros: u64) {
        if let Some(scope) = self.scopes.iter().flatten().next() {
            scope.addresses.give_back_room(nanos(now_micros));
        }
    }
}

/// First of its address, so that who has too much takes nothing from others.
fn take(admission: &mut Admission, origin: Option<Origin>, now: u64) -> Result<(), Over> {
    for counted in admission.counted.iter_mut().flatten() {
        counted.place = origin.map_or(Ok(None), |origin| counted.scope.enter(origin, now))?;
    }
    for counted in admission.counted.iter_mut().flatten() {
        counted.scope.open(now)?;
        counted.is_open = true;
    }
    Ok(())
}

fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1000)
}

/// What an engine's listeners count in.
#[derive(Debug)]
pub(crate) struct Gates {
    engine: Option<Arc<Scope>>,
    addresses: Arc<Addresses>,
    scopes: AtomicU32,
}

impl Gates {
    /// Of an engine with limits of its own, of so many shards with so many connections each.
    pub(crate) fn new(limits: ConnectionLimits, shards: u32, connections: u32) -> Self {
        let addresses = Arc::new(Addresses::new(shards, connections));
        let gates = Self { engine: None, addresses, scopes: AtomicU32::new(0) };
        Self { engine: gates.scope(limits), ..gates }
    }

    fn scope(&self, limits: ConnectionLimits) -> Option<Arc<Scope>> {
        if limits.is_none() {
            return None;
        }
        let id = self.scopes.fetch_add(1, Ordering::Relaxed);
        if limits.of_address().is_some() {
            self.addresses.reserve(limits.address.rate.map(|_| id));
        }
        let (open, full_at, addresses) = (AtomicU32::new(0), AtomicU64::new(0), Arc::clone(&self.addresses));
        Some(Arc::new(Scope { id, limits, open, full_at, addresses }))
    }

    /// For a listener with such limits; `None` if neither it has any nor the engine.
    pub(crate) fn gate(&self, limits: ConnectionLimits) -> Option<Arc<Gate>> {
        let scopes = [self.scope(limits), self.engine.clone()];
        scopes.iter().any(Option::is_some).then(|| Arc::new(Gate { scopes }))
    }
}

/// What a shard's connections count as, by their places.
#[derive(Debug)]
pub(crate) struct Admitted(Vec<Option<Admission>>);

impl Admitted {
    pub(crate) fn new(connections: u32) -> Self {
        Self(Vec::with_capacity(connections as usize))
    }

    /// A connection counts as long as it is there.
    pub(crate) fn keep(&mut self, connection: ConnectionKey, admission: Admission) {
        let index = connection.index as usize;
        let len = self.0.len().max(index + 1);
        self.0.resize_with(len, || None);
        self.0[index] = Some(admission);
    }

    /// A connection is in truth of this address, if that has a limit.
    ///
    /// # Errors
    /// That is beyond its limit; it counts as before.
    pub(crate) fn move_to(
        &mut self,
        connection: ConnectionKey,
        address: Option<IpAddr>,
        now_micros: u64,
    ) -> Result<(), Over> {
        let admission = self.0.get_mut(connection.index as usize).and_then(Option::as_mut);
        admission.map_or(Ok(()), |admission| admission.move_to(address.map(Origin::of), nanos(now_micros)))
    }

    /// A connection has gone.
    #[inline]
    pub(crate) fn leave(&mut self, connection: ConnectionKey) {
        if let Some(admission) = self.0.get_mut(connection.index as usize) {
            drop(admission.take());
        }
    }

    /// Memory that is not used goes back to the system.
    #[cold]
    pub(crate) fn give_back_room(&mut self) {
        let used = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0.truncate(used);
        give_back_room(&mut self.0);
    }
}

// What of it a connection and an address take, as users are told.
const _: () = assert!(size_of::<Option<Admission>>() <= 32 && Addresses::ENTRY_BYTES <= 64);

#[cfg(test)]
mod tests;
