//! Who a request is from, where proxies stand before the engine.
//!
//! Invariants: what a proxy says is believed of trusted ones alone, whichever way it says it.
//!
//! Not here: receiving a header (`shard::protocol`), and the grammar of headers and fields (`ringress_proto`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringress_proto::forwarded::{Forwarded, Hop, XForwardedFor};
use ringress_proto::proxy::{self, Additions, Parse, Relayed};

use super::request::Request;
use crate::peers::Network;

/// Whom a list of hops names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// It has no element.
    Nobody,
    /// Somebody whom the nearest proxy hides.
    Hidden,
    /// The client, or the farthest proxy that is trusted, if that does not say for whom it asks.
    Address(IpAddr),
}

/// What a proxy said by the PROXY protocol of the connection that a request came on.
///
/// ```no_run
/// # fn log(request: &ringress::Request) {
/// if let Some(header) = request.proxy_header() {
///     let version = header.tls().and_then(|tls| tls.version().map(<[u8]>::to_vec));
///     println!("{:?} over {version:?}", header.authority());
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct ProxyHeader(Arc<[u8]>);

impl fmt::Debug for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyHeader").field("source", &self.source()).finish_non_exhaustive()
    }
}

impl ProxyHeader {
    fn read(&self) -> Option<proxy::Header<'_>> {
        match proxy::parse(&self.0, self.0.len().max(proxy::V1_BYTES_MAX)) {
            Parse::Complete(header) => Some(header),
            _ => None,
        }
    }

    fn endpoints(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.read()?.relayed() {
            Relayed::Client { source, destination } => Some((source, destination)),
            Relayed::Own | Relayed::Unknown => None,
        }
    }

    /// The client's address. `None` where the proxy does not know it: then [`Request::peer_addr`] is the proxy's.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        self.endpoints().map(|(source, _)| source)
    }

    /// The address at which the client reached the proxy, if that knows it.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        self.endpoints().map(|(_, destination)| destination)
    }

    fn additions(&self) -> Option<Additions<'_>> {
        Some(self.read()?.additions())
    }

    /// The host that the client asked for, mostly by TLS's server name (PP2_TYPE_AUTHORITY): as sent, which is to be
    /// UTF-8.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        self.additions()?.authority()
    }

    /// The protocol that client and proxy agreed on by ALPN, such as `h2`.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.additions()?.alpn()
    }

    /// The proxy's name for the connection (PP2_TYPE_UNIQUE_ID), of at most 128 bytes.
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.additions()?.unique_id()
    }

    /// What the proxy says of the TLS that it has ended (PP2_TYPE_SSL).
    #[must_use]
    pub fn tls(&self) -> Option<proxy::Tls<'_>> {
        self.additions()?.tls()
    }

    /// The first value of any type (PP2_TYPE_*), such as those of one maker of balancers, 0xe0 to 0xef.
    #[must_use]
    pub fn addition(&self, kind: u8) -> Option<&[u8]> {
        self.additions()?.get(kind)
    }
}

impl Request {
    /// Where the connection comes from: the proxy, where a [`ProxyProtocol`](crate::ProxyProtocol) header has said
    /// whose it is, else the same as [`peer_addr`](Self::peer_addr).
    #[must_use]
    pub fn transport_peer_addr(&self) -> SocketAddr {
        let record = self.record();
        if record.is_proxied { record.transport_peer } else { record.peer }.into()
    }

    /// The header of the PROXY protocol that the connection began with, as long as that has not ended. `None` also for
    /// a proxy's own connection (LOCAL).
    #[must_use]
    pub fn proxy_header(&self) -> Option<ProxyHeader> {
        let record = self.record();
        let header = record.is_proxied.then(|| self.lease().facts().proxied.header(record.connection));
        header.flatten().map(ProxyHeader)
    }

    /// The address of whoever asked first, as far as trusted proxies
    /// ([`trusted_proxies`](crate::EngineBuilder::trusted_proxies)) say: [`peer_addr`](Self::peer_addr), if that is not
    /// trusted; else the last address of `X-Forwarded-For`, or of `Forwarded` (RFC 7239), that is not a trusted
    /// proxy's.
    ///
    /// What stands before that one was sent by whom it names, and may be invented. Where the next one is hidden
    /// (`unknown`), or all are trusted, it is the address of the proxy that is farthest away.
    ///
    /// A proxy writes one of the two fields, and passes the other one on as its client sent it. So where both are there
    /// and say different things, neither is believed, and this is the proxy's address: let the proxy remove the one
    /// that it does not write.
    ///
    /// Whoever comes over a Unix socket is trusted; what names nobody is `::` there.
    ///
    /// Reads the fields at each call.
    #[must_use]
    pub fn client_address(&self) -> IpAddr {
        let (peer, trusted) = (self.peer_addr().ip().to_canonical(), &*self.lease().facts().trusted_proxies);
        let is_of_host = self.is_unix() && peer.is_unspecified();
        if !is_of_host && !Network::any_contains(trusted, peer) {
            return peer;
        }
        let listed = self.header_values("x-forwarded-for").flat_map(XForwardedFor::new);
        let forwarded = self.header_values("forwarded").flat_map(Forwarded::new);
        match (named(listed, trusted), named(forwarded, trusted)) {
            (Named::Address(one), Named::Nobody) | (Named::Nobody, Named::Address(one)) => one,
            (Named::Address(one), Named::Address(other)) if one == other => one,
            _ => peer,
        }
    }
}

/// The last hop that is not trusted; without one, or with a hidden one behind it, the first trusted one behind that.
fn named(hops: impl Iterator<Item = Hop>, trusted: &[Network]) -> Named {
    hops.fold(Named::Nobody, |found, hop| match (hop, found) {
        (Hop::Unknown, _) => Named::Hidden,
        (Hop::Address(ip), Named::Address(_)) if Network::any_contains(trusted, ip) => found,
        (Hop::Address(ip), _) => Named::Address(ip.to_canonical()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Named {
        let trusted = [Network::new([10, 0, 0, 0].into(), 8).expect("a network")];
        named(XForwardedFor::new(value.as_bytes()), &trusted)
    }

    fn address(text: &str) -> Named {
        Named::Address(text.parse().expect("an address"))
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_clients() {
        assert_eq!(of("192.0.2.1"), address("192.0.2.1"));
        assert_eq!(of("192.0.2.1, 10.0.0.1, 10.0.0.2"), address("192.0.2.1"));
        assert_eq!(of("10.9.9.9, 192.0.2.1, 10.0.0.1"), address("192.0.2.1"), "what it says of others is its own");
        assert_eq!(of("198.51.100.1, ::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn without_one_it_is_the_farthest_trusted_proxy() {
        assert_eq!(of("10.0.0.1, 10.0.0.2"), address("10.0.0.1"));
        assert_eq!(of("192.0.2.1, unknown, 10.0.0.1, 10.0.0.2"), address("10.0.0.1"));
        assert_eq!((of("192.0.2.1, unknown"), of("nonsense"), of("")), (Named::Hidden, Named::Hidden, Named::Nobody));
    }
}
