//! Which ports are open: by request, or because a URL is registered for them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use super::engine::EngineShared;
use crate::error::{Error, Result};
use crate::ring::net;
use crate::shard::Letter;

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    /// Opened by `Engine::listen`, so it stays without URLs.
    explicit: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    endpoints: Vec<Endpoint>,
}

impl Listeners {
    /// Opens an address on every shard.
    pub(super) fn open(&mut self, shared: &EngineShared, address: SocketAddr, explicit: bool) -> Result<SocketAddr> {
        let sockets = net::listen(address, shared.exchanges.len()).map_err(|error| refused(address, error))?;
        let bound = sockets.first().and_then(|socket| net::local_address(socket.as_raw_fd())).unwrap_or(address);
        let ip = (!bound.ip().is_unspecified()).then(|| bound.ip().to_canonical());
        let mut sockets = sockets.into_iter();
        shared.post(|_| sockets.next().map(|socket| Letter::Listen { socket, ip, port: bound.port() }));
        self.endpoints.push(Endpoint { address: bound, explicit });
        Ok(bound)
    }

    /// Opens a port on all addresses, unless it is open on any.
    pub(super) fn open_port(&mut self, shared: &EngineShared, port: u16) -> Result<()> {
        if self.endpoints.iter().any(|endpoint| endpoint.address.port() == port) {
            return Ok(());
        }
        match self.open(shared, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), false) {
            // A host without IPv6.
            Err(error) if is_no_ipv6(&error) => {
                self.open(shared, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false).map(drop)
            }
            opened => opened.map(drop),
        }
    }

    /// Closes a port that no URL needs any more, unless it was opened by request.
    pub(super) fn close_port(&mut self, shared: &EngineShared, port: u16) {
        let before = self.endpoints.len();
        self.endpoints.retain(|endpoint| endpoint.explicit || endpoint.address.port() != port);
        if self.endpoints.len() < before {
            shared.post(|_| Some(Letter::Unlisten { port }));
        }
    }
}

fn is_no_ipv6(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.and_then(io::Error::raw_os_error) == Some(libc::EAFNOSUPPORT)
}

#[cold]
fn refused(address: SocketAddr, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another socket has it; stop that process or choose another port",
        io::ErrorKind::PermissionDenied => "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "no interface of this host has it",
        _ => "the kernel refused it",
    };
    Error::io(format!("cannot listen on {address}: {remedy}"), error)
}
