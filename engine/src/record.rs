//! What the shard tells the application about a request: plain data, no pointers.
//!
//! Invariants: every byte range is a span of the received bytes, which the slot holds (room `queue`); the record does
//! not change from the request's delivery until its handle is gone.
//!
//! Not here: the bytes themselves (room `mem`) and the application's view of them (room `api`).

mod ended;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use ringress_proto::head::{Head, Version};
use ringress_proto::method::Method;
use ringress_proto::response::HeadTemplate;
use ringress_proto::url::{Cooked, CookedPath};

use crate::id::{ConnectionId, UrlGroupId};
use crate::peers::Network;
use crate::proxied::Proxied;
use crate::queue::{Record, slot_bytes};

pub(crate) use self::ended::{Ended, Moment, Outcome, Timer, Times, UnsentReason};

/// An IP address and port in 20 bytes; IPv4 is kept in its IPv6-mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    ip: [u8; 16],
    port: u16,
}

impl Address {
    pub(crate) const NONE: Self = Self { ip: [0; 16], port: 0 };

    /// The IP address, IPv4 also where the socket is a dual-stack IPv6 one.
    pub(crate) fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    pub(crate) fn port(self) -> u16 {
        self.port
    }

    /// Its bytes, for [`of_bytes`](Self::of_bytes).
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..].copy_from_slice(&self.port.to_le_bytes());
        bytes
    }

    pub(crate) fn of_bytes(bytes: [u8; 18]) -> Self {
        let [ip @ .., low, high] = bytes;
        Self { ip, port: u16::from_le_bytes([low, high]) }
    }

    /// Whether it is none: that of a Unix socket. IPv4's `0.0.0.0` is mapped.
    pub(crate) fn is_unix(self) -> bool {
        self.ip == Self::NONE.ip
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self { ip, port: address.port() }
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        Self::new(address.ip(), address.port)
    }
}

/// Bytes of a body that are thrown away at most to find the next request behind it, where the connection ends beyond;
/// and bytes behind a last request, where receiving stops until a response is under way.
pub(crate) const DISCARDED_BYTES_MAX: u32 = 1 << 20;

/// In the number of the reason why a body has failed: its client could not be told, because a response had begun.
pub(crate) const UNTOLD: u8 = 0x80;

/// By which prefix a request was routed, in one word: stored for every request, and read by few. Never zero, so that an
/// option of it takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routed(NonZeroU32);

impl Routed {
    /// By the root, whatever its host.
    pub(crate) const NONE: Self = Self(Self::ALWAYS);
    const ALWAYS: NonZeroU32 = NonZeroU32::new(1 << 30).expect("not zero");
    const BY_IP: u32 = 1 << 31;

    /// By a prefix whose path has so many bytes without its last slash, and is bound to an IP address or not.
    pub(crate) fn new(prefix_bytes: usize, by_ip: bool) -> Self {
        // A longer one is refused: no target could match it.
        let len = u16::try_from(prefix_bytes).map_or(0, u32::from);
        Self(Self::ALWAYS | if by_ip { len | Self::BY_IP } else { len })
    }

    pub(crate) const fn by_ip(self) -> bool {
        self.0.get() & Self::BY_IP != 0
    }

    /// Bytes of the path that the prefix covers; 0 for the root.
    pub(crate) const fn prefix_bytes(self) -> usize {
        (self.0.get() & 0xffff) as usize
    }
}

/// What all requests of a shard have in common.
#[derive(Debug)]
pub(crate) struct Facts {
    /// What every response says.
    pub(crate) template: HeadTemplate,
    /// Who is believed about whom a request is for.
    pub(crate) trusted_proxies: Arc<[Network]>,
    pub(crate) proxied: Proxied,
}

impl Facts {
    /// Of a shard on whose connections no header of a proxy's has come.
    pub(crate) fn new(template: HeadTemplate, trusted_proxies: &[Network]) -> Self {
        Self { template, trusted_proxies: trusted_proxies.into(), proxied: Proxied::default() }
    }
}

/// One request, as parsed and routed. In this order, so that all but the header fields share a few cache lines.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RequestRecord {
    /// Where the part of the body begins that came with the head, counted from the head's first byte.
    pub(crate) body_start: u32,
    /// Bytes of the body that came with the head, without chunk framing.
    pub(crate) body_len: u32,
    /// Bytes on the wire of the head and of that, chunk framing included.
    pub(crate) wire_bytes: u64,
    pub(crate) connection: ConnectionId,
    pub(crate) url_context: u64,
    /// The group it was routed to, also if that refuses it.
    pub(crate) group: UrlGroupId,
    /// The client.
    pub(crate) peer: Address,
    pub(crate) local: Address,
    pub(crate) cooked: Cooked,
    /// Whether the connection goes on after the response, as far as the request says.
    pub(crate) keep_alive: bool,
    /// More of the body comes behind what came with the head, or a trailer section has come: the slot has it.
    pub(crate) body_open: bool,
    /// Its client is who a proxy says, and its connection `transport_peer`'s, which is meaningless otherwise.
    pub(crate) is_proxied: bool,
    /// Bytes of a streamed response that may be under way before its sender has to wait.
    pub(crate) send_credit: u32,
    pub(crate) routed: Routed,
    pub(crate) head: Head,
    pub(crate) transport_peer: Address,
    /// Never touched: see below.
    pub(crate) padding: [u64; 1],
}

// See `queue::exchange::Slot`: the first lines of 64 slots, 16 lines apart, had 32 places in the first-level cache.
const _: () = assert!(slot_bytes::<RequestRecord>() / 64 % 2 == 1);

impl std::fmt::Debug for RequestRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestRecord")
            .field("method", &self.head.method)
            .field("wire_bytes", &self.wire_bytes)
            .finish_non_exhaustive()
    }
}

impl Record for RequestRecord {
    type Facts = Facts;
    type End = Ended;

    const EMPTY: Self = Self {
        body_start: 0,
        body_len: 0,
        wire_bytes: 0,
        connection: ConnectionId::NONE,
        url_context: 0,
        group: UrlGroupId::NONE,
        peer: Address::NONE,
        local: Address::NONE,
        cooked: Cooked::EMPTY,
        keep_alive: false,
        send_credit: 0,
        routed: Routed::NONE,
        body_open: false,
        is_proxied: false,
        transport_peer: Address::NONE,
        head: Head::EMPTY,
        padding: [0; 1],
    };

    #[inline]
    fn cooked_bytes(&self) -> u32 {
        match self.cooked.path {
            CookedPath::Scratch(len) => u32::from(len),
            _ => 0,
        }
    }
}

impl RequestRecord {
    /// It was not routed.
    #[cold]
    pub(crate) fn unroute(&mut self) {
        self.group = UrlGroupId::NONE;
    }

    /// What the response writer has to know of the request.
    #[inline]
    pub(crate) fn is_head(&self) -> bool {
        self.head.method == Method::Head
    }

    #[inline]
    pub(crate) fn is_connect(&self) -> bool {
        self.head.method == Method::Connect
    }

    #[inline]
    pub(crate) fn is_http10(&self) -> bool {
        self.head.version == Version::Http10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went_in() {
        for text in ["127.0.0.1:80", "[::1]:8080", "[2001:db8::1]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(SocketAddr::from(Address::from(address)), address);
        }
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:5".parse().expect("an address");
        assert_eq!(SocketAddr::from(Address::from(mapped)).to_string(), "10.0.0.1:5");
    }
}
