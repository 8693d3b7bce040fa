//! Who holds how much of what a shard has: a table of the addresses of clients.
//!
//! An address is an IPv4 address, or the first 64 bits of an IPv6 one, which one host has by itself (RFC 4291 section
//! 2.5.1); each connection of a trusted proxy's is one of its own. It is looked up once for a connection, and kept
//! beside that until its end: nothing is hashed for a request.
//!
//! Invariants: an address has an entry as long as something is held for it, and no longer; capacity is reserved at the
//! start, as much as there can be connections and requests; which bucket an address is in depends on a random key of
//! the table, so that nobody can fill one on purpose.
//!
//! Not here: how much somebody may hold, and what happens to who holds more (room `shard`); how many connections may
//! come, of all shards together (room `admission`).

mod places;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

pub(crate) use self::places::Places;
use crate::error::{Error, ErrorKind, Result};
use crate::mem::give_back_room;
use crate::slab::ConnectionKey;

/// What of a shard's is held for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    Connections,
    /// Request slots whose request is over, because its client has left or has its response, and which a handle of the
    /// application's still reads.
    Departed,
    /// Large buffers that are promised to bodies awaited whole.
    Promised,
    /// Assembly cells that requests have.
    Cells,
    /// Receive buffers of input that is held, and those of the ones kept back that a receive may come to have.
    Inputs,
}

const POOLS: usize = 5;
/// So many connections of an address are not many.
pub(crate) const CONNECTIONS_FEW: u32 = 16;

/// Which address, for as long as something is held for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerKey(u32);

impl PeerKey {
    /// That of what is nobody's.
    pub(crate) const NOBODY: Self = Self(0);
}

/// What counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
    /// A connection of a trusted proxy's, which speaks for many.
    Proxied {
        connection: u32,
        generation: u32,
    },
}

impl Origin {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(u64::try_from(ip.to_bits() >> 64).unwrap_or(0)),
        }
    }
}

/// A range of addresses: an address and how many of its bits count.
///
/// ```
/// use std::net::Ipv4Addr;
///
/// let network = ringress::Network::new(Ipv4Addr::new(10, 0, 0, 0).into(), 8).unwrap();
/// assert_eq!(network.to_string(), "10.0.0.0/8");
/// assert_eq!("10.0.0.0/8".parse::<ringress::Network>().unwrap(), network);
/// assert!(ringress::Network::new(Ipv4Addr::new(10, 0, 0, 1).into(), 8).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Network {
    type Err = Error;

    /// As it is written: an address, `/` and the bits that count; an address alone is itself.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) for what is neither, and as [`new`](Self::new).
    fn from_str(text: &str) -> Result<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().ok();
        let bits = address.map_or(0, |address| if address.is_ipv4() { 32 } else { 128 });
        let is_number = |prefix: &str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok().filter(|_| is_number(prefix)));
        let (address, prefix) = address.zip(prefix).ok_or_else(|| {
            let text = format!("{text:?} is no network: an address and its bits are wanted, as 10.0.0.0/8 or fd00::/8");
            Error::new(ErrorKind::Malformed, text)
        })?;
        Self::new(address, prefix)
    }
}

impl Network {
    /// The network of all addresses that have the first `prefix` bits of this one, whose other bits are 0. One of IPv4
    /// addresses that are written as IPv6 ones (`::ffff:10.0.0.0`, 104) is that of these (`10.0.0.0`, 8).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid): the address has no so many bits (32, or 128), or others that are not 0.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            let text = format!("the prefix of {address}/{prefix} is {prefix}, but must be from 0 to {bits}");
            return Err(Error::invalid(text));
        }
        let network = match address.to_canonical() {
            // 96 bits say that it is one.
            IpAddr::V4(ip) if address.is_ipv6() && prefix >= 96 => Self { address: ip.into(), prefix: prefix - 96 },
            _ => Self { address, prefix },
        };
        let Self { address, prefix } = network;
        let first = network.first_of(address);
        if first != address {
            let text = format!("{network} has bits behind its prefix; the network is {first}/{prefix}");
            return Err(Error::invalid(text));
        }
        Ok(network)
    }

    /// An address without the bits behind the prefix.
    fn first_of(&self, ip: IpAddr) -> IpAddr {
        let left = |bits: u32| bits.saturating_sub(u32::from(self.prefix));
        match ip {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(left(32)).unwrap_or(0)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(left(128)).unwrap_or(0)).into(),
        }
    }

    /// Whether an address is in it. An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) is an IPv4
    /// address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.address.is_ipv4() && self.first_of(ip) == self.address
    }

    /// Whether an address is in one of these.
    pub(crate) fn any_contains(networks: &[Self], ip: IpAddr) -> bool {
        networks.iter().any(|network| network.contains(ip))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Of those for whom something is held. The first is nobody's.
    places: Places<Origin>,
    /// How much of each pool is held for the address of each place.
    held: [Vec<u32>; POOLS],
    /// For how many addresses something of it is.
    holders: [u32; POOLS],
    /// Request slots in use of each, when they were counted last: see [`count_slot`](Self::count_slot).
    slots: Vec<u32>,
    /// And how many each was given since then, of which some may have come back.
    given: Vec<u32>,
    proxies: Vec<Network>,
    /// The address of each connection, by its index.
    of: Vec<PeerKey>,
}

impl Peers {
    /// Bytes that what is held for one more connection takes at most, with an address of its own.
    pub(crate) const BYTES: usize = Places::<Origin>::BYTES + (POOLS + 2) * size_of::<u32>() + size_of::<PeerKey>();

    /// For so many connections and requests at a time.
    pub(crate) fn new(connections: u32, requests: u32, proxies: &[Network]) -> Self {
        // One of nobody's, and one that a connection moves to before it leaves another.
        let capacity = connections as usize + requests as usize + 2;
        let mut peers = Self {
            places: Places::new(capacity, connections as usize, Origin::V4(Ipv4Addr::UNSPECIFIED)),
            held: core::array::from_fn(|_| Vec::with_capacity(capacity)),
            holders: [0; POOLS],
            slots: Vec::with_capacity(capacity),
            given: Vec::with_capacity(capacity),
            proxies: proxies.to_vec(),
            of: Vec::with_capacity(connections as usize),
        };
        peers.grow(1);
        peers
    }

    /// There are so many places.
    fn grow(&mut self, len: usize) {
        self.held.iter_mut().for_each(|held| held.resize(len, 0));
        self.slots.resize(len, 0);
        self.given.resize(len, 0);
    }

    /// A connection has come in from an address; without one, from a process of this host, which is trusted to speak
    /// for others.
    pub(crate) fn enter(&mut self, connection: ConnectionKey, ip: Option<IpAddr>) -> PeerKey {
        let proxied = Origin::Proxied { connection: connection.index, generation: connection.generation() };
        let origin = ip.filter(|ip| !self.is_trusted(Some(*ip))).map_or(proxied, Origin::of);
        let key = PeerKey(self.places.find(&origin).unwrap_or_else(|| self.insert(origin)));
        self.hold(key, Pool::Connections);
        let index = connection.index as usize;
        self.of.resize(self.of.len().max(index + 1), PeerKey::NOBODY);
        self.of[index] = key;
        key
    }

    /// Whether an address is a trusted proxy's, as one of nobody who has an address is.
    pub(crate) fn is_trusted(&self, ip: Option<IpAddr>) -> bool {
        ip.is_none_or(|ip| Network::any_contains(&self.proxies, ip))
    }

    /// A connection is in truth of this address. Of the pools, so many inputs are held for it, and else nothing but
    /// itself.
    pub(crate) fn move_to(&mut self, connection: ConnectionKey, ip: IpAddr, inputs: u32) {
        let before = self.of(connection);
        let after = self.enter(connection, Some(ip));
        if inputs > 0 {
            self.release_many(before, Pool::Inputs, inputs);
            self.hold_many(after, Pool::Inputs, inputs);
        }
        self.release(before, Pool::Connections);
    }

    /// The address of a connection that has come in and has not gone.
    pub(crate) fn of(&self, connection: ConnectionKey) -> PeerKey {
        self.of.get(connection.index as usize).copied().unwrap_or(PeerKey::NOBODY)
    }

    /// Whether a connection is of an address, and not of a trusted proxy.
    #[cfg(test)]
    pub(crate) fn is_of_address(&self, connection: ConnectionKey) -> bool {
        !matches!(self.places.key(self.of(connection).0), Origin::Proxied { .. })
    }

    /// A connection has gone.
    pub(crate) fn leave(&mut self, connection: ConnectionKey) {
        self.release(self.of(connection), Pool::Connections);
    }

    /// While nothing is held for anybody, the memory goes back to the system.
    #[cold]
    pub(crate) fn give_back_room(&mut self) {
        self.places.give_back_room();
        if self.places.len() == 0 {
            // The first is nobody's.
            self.held.iter_mut().for_each(|held| held.truncate(1));
            self.slots.truncate(1);
            self.given.truncate(1);
            self.of.clear();
        }
        self.held.iter_mut().for_each(give_back_room);
        give_back_room(&mut self.slots);
        give_back_room(&mut self.given);
        give_back_room(&mut self.of);
    }

    fn insert(&mut self, origin: Origin) -> u32 {
        let place = self.places.insert(origin);
        if place as usize == self.slots.len() {
            self.grow(place as usize + 1);
        }
        // What was counted was of another address.
        (self.slots[place as usize], self.given[place as usize]) = (0, 0);
        place
    }

    /// One more of a pool is held for an address.
    pub(crate) fn hold(&mut self, key: PeerKey, pool: Pool) {
        self.hold_many(key, pool, 1);
    }

    /// So many more of a pool, at least one, are held for an address.
    pub(crate) fn hold_many(&mut self, key: PeerKey, pool: Pool, count: u32) {
        let held = &mut self.held[pool as usize][key.0 as usize];
        self.holders[pool as usize] += u32::from(*held == 0);
        *held += count;
    }

    /// One less of a pool is held. The key of an address for which nothing is held any more is of the past.
    pub(crate) fn release(&mut self, key: PeerKey, pool: Pool) {
        self.release_many(key, pool, 1);
    }

    /// So many less, at least one, are held.
    pub(crate) fn release_many(&mut self, key: PeerKey, pool: Pool, count: u32) {
        debug_assert!(self.held(key, pool) >= count, "what is given back was held");
        let held = &mut self.held[pool as usize][key.0 as usize];
        *held -= count;
        self.holders[pool as usize] -= u32::from(*held == 0);
        let is_unused = self.held.iter().all(|held| held[key.0 as usize] == 0);
        if is_unused && key != PeerKey::NOBODY {
            self.places.remove(key.0);
        }
    }

    /// How much of a pool is held for an address.
    pub(crate) fn held(&self, key: PeerKey, pool: Pool) -> u32 {
        self.held[pool as usize][key.0 as usize]
    }

    /// Whether an address has many connections.
    pub(crate) fn is_crowd(&self, key: PeerKey) -> bool {
        self.held(key, Pool::Connections) > CONNECTIONS_FEW
    }

    /// For how many addresses something of a pool is held.
    pub(crate) fn holders(&self, pool: Pool) -> u32 {
        self.holders[pool as usize]
    }

    /// Request slots are counted anew: while all are well, nobody pays for knowing whose they are.
    pub(crate) fn count_no_slots(&mut self) {
        self.slots.fill(0);
        self.given.fill(0);
    }

    /// One more request slot is found to be an address's. `true`: the first one.
    pub(crate) fn count_slot(&mut self, key: PeerKey) -> bool {
        let slots = &mut self.slots[key.0 as usize];
        *slots += 1;
        *slots == 1
    }

    /// An address is given a request slot since they were counted. `true`: it had none.
    pub(crate) fn give_slot(&mut self, key: PeerKey) -> bool {
        self.given[key.0 as usize] += 1;
        self.slots_at_most(key) == 1
    }

    /// Request slots of an address when they were counted, without those that it has given up.
    pub(crate) fn slots(&self, key: PeerKey) -> u32 {
        self.slots[key.0 as usize]
    }

    /// Request slots that an address may have by now.
    pub(crate) fn slots_at_most(&self, key: PeerKey) -> u32 {
        self.slots[key.0 as usize] + self.given[key.0 as usize]
    }

    /// A request slot of an address, as far as they were counted, is another one's soon.
    pub(crate) fn discount_slot(&mut self, key: PeerKey) {
        let slots = &mut self.slots[key.0 as usize];
        *slots = slots.saturating_sub(1);
    }

    /// Addresses for which something is held.
    pub(crate) fn len(&self) -> u32 {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn v4(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// As of a connection that is to be forgotten.
    fn enter(peers: &mut Peers, ip: IpAddr) -> PeerKey {
        peers.enter(ConnectionKey::of(0, 1).expect("a key"), Some(ip))
    }

    fn v6(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_is_read_as_it_is_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "127.0.0.1/32", "fd00::/8", "::1/128"] {
            assert_eq!(text.parse::<Network>().expect(text).to_string(), text);
        }
        assert_eq!("127.0.0.1".parse::<Network>().expect("itself").to_string(), "127.0.0.1/32");
        assert_eq!("::ffff:10.0.0.0/104".parse::<Network>().expect("of IPv4").to_string(), "10.0.0.0/8");
        for (text, kind) in [
            ("", ErrorKind::Malformed),
            ("10.0.0.0/", ErrorKind::Malformed),
            ("10.0.0.0/+8", ErrorKind::Malformed),
            ("10.0.0.0/8/8", ErrorKind::Malformed),
            ("10.0.0.0/256", ErrorKind::Malformed),
            ("example.org/8", ErrorKind::Malformed),
            ("10.0.0.0/33", ErrorKind::Invalid),
            ("10.0.0.1/8", ErrorKind::Invalid),
        ] {
            assert_eq!(text.parse::<Network>().expect_err(text).kind(), kind, "{text:?}");
        }
    }

    #[test]
    fn an_address_has_an_entry_as_long_as_something_is_held_for_it() {
        let mut peers = Peers::new(8, 8, &[]);
        let one = enter(&mut peers, v4(1));
        assert_eq!((enter(&mut peers, v4(1)), peers.held(one, Pool::Connections), peers.len()), (one, 2, 1));
        assert_ne!(enter(&mut peers, v4(2)), one);
        peers.hold(one, Pool::Departed);
        peers.release(one, Pool::Connections);
        peers.release(one, Pool::Connections);
        assert_eq!((peers.held(one, Pool::Departed), peers.len()), (1, 2), "a request is left");
        assert_eq!(enter(&mut peers, v4(1)), one, "the same entry");
        peers.release(one, Pool::Connections);
        peers.release(one, Pool::Departed);
        assert_eq!(peers.len(), 1);
        let next = enter(&mut peers, v4(3));
        assert_eq!((peers.held(next, Pool::Connections), peers.held(next, Pool::Departed)), (1, 0));
    }

    #[test]
    fn a_connection_has_its_address_until_it_leaves() {
        let connection = |index| ConnectionKey::of(index, 1).expect("a key");
        let mut peers = Peers::new(8, 8, &[]);
        let keys =
            [5, 0, 7].map(|index| peers.enter(connection(index), Some(v4(u8::try_from(index % 5).expect("small")))));
        assert_eq!([5, 0, 7].map(|index| peers.of(connection(index))), keys);
        assert_eq!((keys[0] == keys[1], peers.len()), (true, 2));
        [5, 7, 0].into_iter().for_each(|index| peers.leave(connection(index)));
        assert_eq!(peers.len(), 0);
    }

    #[test]
    fn a_connection_moves_with_what_is_held_for_it() {
        let connection = ConnectionKey::of(3, 1).expect("a key");
        let mut peers = Peers::new(8, 8, &[Network::new(v4(0), 24).expect("a network")]);
        let proxy = peers.enter(connection, Some(v4(1)));
        peers.hold(proxy, Pool::Inputs);
        peers.move_to(connection, v6("2001:db8::1"), 1);
        let client = peers.of(connection);
        assert_ne!(client, proxy);
        let held = |peers: &Peers, key| (peers.held(key, Pool::Connections), peers.held(key, Pool::Inputs));
        assert_eq!((held(&peers, client), peers.len()), ((1, 1), 1));
        // To another address of the proxies' own: it is still of itself alone.
        peers.release(client, Pool::Inputs);
        peers.move_to(connection, v4(2), 0);
        peers.move_to(connection, v4(3), 0);
        assert_eq!((held(&peers, peers.of(connection)), peers.len()), ((1, 0), 1));
        peers.leave(connection);
        assert_eq!(peers.len(), 0);
    }

    #[test]
    fn addresses_of_one_host_are_one() {
        let mut peers = Peers::new(8, 8, &[]);
        assert_eq!(enter(&mut peers, v4(1)), enter(&mut peers, v6("::ffff:192.0.2.1")));
        assert_eq!(enter(&mut peers, v6("2001:db8::1")), enter(&mut peers, v6("2001:db8::ffff:0:0:1")));
        assert_ne!(enter(&mut peers, v6("2001:db8::1")), enter(&mut peers, v6("2001:db8:0:1::1")));
        assert_eq!(peers.len(), 3);
    }

    #[test]
    fn connections_of_trusted_proxies_are_each_an_address() {
        let proxies = Network::new(v4(128), 25).expect("a network");
        let mut peers = Peers::new(8, 8, &[proxies]);
        let connection = |index| ConnectionKey::of(index, 1).expect("a key");
        let mut enter = |index: u32, last| peers.enter(connection(index), Some(v4(last)));
        let (one, other) = ([enter(0, 127), enter(1, 127)], [enter(2, 128), enter(3, 128), enter(4, 200)]);
        assert_eq!(one[0], one[1]);
        assert!(other[0] != other[1] && other[1] != other[2] && other[0] != other[2]);
        assert_eq!((peers.len(), peers.held(other[0], Pool::Connections)), (4, 1));
        (0..5).for_each(|index| peers.leave(connection(index)));
        assert_eq!(peers.len(), 0);
    }

    #[test]
    fn connections_without_an_address_are_each_one() {
        let mut peers = Peers::new(8, 8, &[]);
        let connection = |index| ConnectionKey::of(index, 1).expect("a key");
        let keys = [0, 1].map(|index| peers.enter(connection(index), None));
        assert!(keys[0] != keys[1] && peers.len() == 2);
        (0..2).for_each(|index| peers.leave(connection(index)));
        assert_eq!(peers.len(), 0);
    }

    #[test]
    fn a_network_is_checked_and_says_what_is_wrong() {
        for (address, prefix, text) in [
            (v4(0), 33, "the prefix of 192.0.2.0/33 is 33, but must be from 0 to 32"),
            (v6("::"), 129, "the prefix of ::/129 is 129, but must be from 0 to 128"),
            (v4(1), 24, "192.0.2.1/24 has bits behind its prefix; the network is 192.0.2.0/24"),
        ] {
            assert_eq!(Network::new(address, prefix).expect_err("not valid").to_string(), text);
        }
        let written_as_v6 = Network::new(v6("::ffff:192.0.2.0"), 120).expect("the same as 192.0.2.0/24");
        assert_eq!(written_as_v6, Network::new(v4(0), 24).expect("a network"));
        assert!(written_as_v6.contains(v4(7)) && written_as_v6.contains(v6("::ffff:192.0.2.7")));
        assert!(Network::new(v6("::ffff:0:0"), 95).is_err(), "bits behind its prefix");
        let all = Network::new(Ipv4Addr::UNSPECIFIED.into(), 0).expect("all");
        assert!(all.contains(v4(7)) && all.contains(v6("::ffff:1.2.3.4")) && !all.contains(v6("::1")));
        let host = Network::new(v6("2001:db8::1"), 128).expect("one");
        assert!(host.contains(v6("2001:db8::1")) && !host.contains(v6("2001:db8::2")));
    }

    /// The pools that are held and released in the same way.
    const POOLS_TRIED: usize = 4;

    #[test]
    fn agrees_with_a_map_whatever_comes_and_goes() {
        let mut peers = Peers::new(4, 64, &[]);
        let mut known: BTreeMap<u8, (PeerKey, [u32; POOLS_TRIED])> = BTreeMap::new();
        let mut seed = 3_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (last, act) = (u8::try_from((seed >> 40) % 40).expect("below 40"), (seed >> 60) % 8);
            match (act, known.get_mut(&last)) {
                (0, entry) => {
                    let key = enter(&mut peers, v4(last));
                    let (of, held) = entry.copied().unwrap_or((key, [0; POOLS_TRIED]));
                    assert_eq!(key, of);
                    known.insert(last, (key, [held[0] + 1, held[1], held[2], held[3]]));
                }
                (1, Some((key, held))) => {
                    peers.hold(*key, Pool::Departed);
                    held[1] += 1;
                }
                (2, Some((key, held))) if held[0] > 0 => {
                    peers.release(*key, Pool::Connections);
                    held[0] -= 1;
                }
                (3, Some((key, held))) if held[1] > 0 => {
                    peers.release(*key, Pool::Departed);
                    held[1] -= 1;
                }
                (4, Some((key, held))) => {
                    peers.hold_many(*key, Pool::Promised, 3);
                    held[2] += 3;
                }
                (5, Some((key, held))) if held[2] > 0 => {
                    peers.release_many(*key, Pool::Promised, 3);
                    held[2] -= 3;
                }
                (6, Some((key, held))) => {
                    peers.hold(*key, Pool::Inputs);
                    held[3] += 1;
                }
                (7, Some((key, held))) if held[3] > 0 => {
                    peers.release(*key, Pool::Inputs);
                    held[3] -= 1;
                }
                _ => {}
            }
            known.retain(|_, (_, held)| *held != [0; POOLS_TRIED]);
            assert_eq!(peers.len() as usize, known.len());
            let pools = [Pool::Connections, Pool::Departed, Pool::Promised, Pool::Inputs];
            let alike = |(key, held): &(PeerKey, [u32; POOLS_TRIED])| pools.map(|pool| peers.held(*key, pool)) == *held;
            assert!(known.values().all(alike));
            for (index, pool) in pools.into_iter().enumerate() {
                let holders = known.values().filter(|(_, held)| held[index] > 0).count();
                assert_eq!(peers.holders(pool) as usize, holders, "{pool:?}");
            }
        }
    }
}
