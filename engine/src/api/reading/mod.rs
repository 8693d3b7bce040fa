//! What a request says: its method, its URL, its fields, and what the engine knows beside them.
//!
//! Invariants: what is read is lent from the shard's memory and does not change while the handle is there; nothing is
//! copied or allocated but what is decoded and not as it was sent; a Transfer-Encoding field is never shown, since the
//! body is decoded.
//!
//! Not here: reading the body (`body`), but for forms (`pairs`); preconditions and ranges (`select`); how it is parsed
//! (`proto`).

mod cookies;
mod fields;
mod pairs;
mod path;

use std::net::SocketAddr;

use ringress_proto::head::Version;
use ringress_proto::method::Method;

pub use self::cookies::Cookies;
pub use self::fields::{FieldName, HeaderValues, Headers};
pub use self::pairs::{Form, Pairs, ToForm};
pub use self::path::Segments;
use super::request::Request;
use crate::id::UrlGroupId;
use crate::record::Routed;

impl Request {
    /// The method; [`Method::Unknown`] for one without a name here.
    #[inline]
    #[must_use]
    pub fn method(&self) -> Method {
        self.record().head.method
    }

    /// The method as sent, 1 to 32 bytes.
    #[must_use]
    pub fn method_name(&self) -> &[u8] {
        self.record().head.method_name.of(self.lease.received())
    }

    /// The version the client speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record().head.version
    }

    /// The host without its port and without a dot at its end, from the target if that names one, else from the Host
    /// field; empty in HTTP/1.0 without either.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.record().cooked.host.of(self.lease.received())
    }

    /// The port beside the host; `None` if none was given.
    #[must_use]
    pub fn host_port(&self) -> Option<u16> {
        match self.record().cooked.port {
            0 => None,
            port => Some(port),
        }
    }

    /// The context given with the URL prefix that matched ([`UrlGroup::add_url`](crate::UrlGroup::add_url)): a number
    /// of the application's, such as a place in its table of handlers.
    #[inline]
    #[must_use]
    pub fn url_context(&self) -> u64 {
        self.record().url_context
    }

    /// The URL group whose prefix matched: see [`UrlGroup::id`](crate::UrlGroup::id).
    #[inline]
    #[must_use]
    pub fn url_group(&self) -> UrlGroupId {
        self.record().group
    }

    /// Whether an IP-bound prefix matched.
    #[must_use]
    pub fn is_ip_routed(&self) -> bool {
        self.routed().by_ip()
    }

    fn routed(&self) -> Routed {
        self.record().routed
    }

    /// The client's address. `[::]:0` over a Unix socket, where clients have none: see [`is_unix`](Self::is_unix).
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.record().peer.into()
    }

    /// Whether the client came over a Unix socket: it is a process of this host that was let in by the socket's file,
    /// or by its name.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.record().local.is_unix()
    }

    /// The address the client connected to. `[::]` over a Unix socket, with the port that this stands for
    /// ([`Listener::port`](crate::Listener::port)).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.record().local.into()
    }

    /// Bytes the request took on the wire up to its delivery: its head, and what came with it of its body, framing
    /// included.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.record().wire_bytes
    }

    /// Whether the connection may go on after the response, as far as the request says.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.record().keep_alive
    }
}
