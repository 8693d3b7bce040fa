//! Which ports are open: by request, or because a URL is registered for them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::EngineShared;
use crate::clock;
use crate::error::{Error, Result};
use crate::ring::net;
use crate::shard::ControlMessage;

/// How long to wait for the shards to let go of a port that is opened again.
const CLOSING_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long an address that is taken is asked for again. The kernel takes down the rings of a process that was killed,
/// and closes the sockets they still hold, only after the process has ended: some milliseconds, more on a busy machine.
const HOLDER_WAIT_MAX: Duration = Duration::from_millis(750);
/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    /// Opened by `Engine::listen`, so it stays without URLs.
    explicit: bool,
    /// Held by each of the address's sockets as well.
    open: Arc<()>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    endpoints: Vec<Endpoint>,
    /// Ports being closed, until their shards have closed the last socket.
    closing: Vec<(u16, Weak<()>)>,
}

impl Listeners {
    /// Opens an address on every shard. Among several, those that do not run yet begin to listen when they do: clients
    /// must not be dealt to them before. An only one listens at once: its clients wait for it.
    pub(super) fn open(
        &mut self,
        shared: &EngineShared,
        running: &[bool],
        address: SocketAddr,
        explicit: bool,
    ) -> Result<SocketAddr> {
        self.await_closing(address.port());
        // Who has it in this engine keeps it.
        let wait_max = if self.has(address) { Duration::ZERO } else { HOLDER_WAIT_MAX };
        let deadline = clock::now() + wait_max;
        let sockets = loop {
            match bind(address, running, shared.config.properties.asks_after()) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && clock::now() < deadline => {
                    std::thread::park_timeout(PAUSE);
                }
                bound => break bound.map_err(|error| refused(address, error))?,
            }
        };
        let bound = sockets.first().and_then(|socket| net::local_address(socket.as_raw_fd())).unwrap_or(address);
        let ip = (!bound.ip().is_unspecified()).then(|| bound.ip().to_canonical());
        let open = Arc::new(());
        let mut sockets = sockets.into_iter();
        shared.post(|_| {
            let socket = sockets.next()?;
            Some(ControlMessage::Listen { socket, ip, port: bound.port(), open: Arc::clone(&open) })
        });
        self.endpoints.push(Endpoint { address: bound, explicit, open });
        Ok(bound)
    }

    /// Opens a port on all addresses, unless it is open on any.
    pub(super) fn open_port(&mut self, shared: &EngineShared, running: &[bool], port: u16) -> Result<()> {
        if self.endpoints.iter().any(|endpoint| endpoint.address.port() == port) {
            return Ok(());
        }
        match self.open(shared, running, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), false) {
            // A host without IPv6.
            Err(error) if is_no_ipv6(&error) => {
                self.open(shared, running, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false).map(drop)
            }
            opened => opened.map(drop),
        }
    }

    /// Closes a port that no URL needs any more, unless it was opened by request.
    pub(super) fn close_port(&mut self, shared: &EngineShared, port: u16) {
        let closes = |endpoint: &Endpoint| !endpoint.explicit && endpoint.address.port() == port;
        let closing = self.endpoints.iter().filter(|endpoint| closes(endpoint));
        let closing: Vec<Weak<()>> = closing.map(|endpoint| Arc::downgrade(&endpoint.open)).collect();
        self.endpoints.retain(|endpoint| !closes(endpoint));
        if !closing.is_empty() {
            self.closing.extend(closing.into_iter().map(|open| (port, open)));
            shared.post(|_| Some(ControlMessage::Unlisten { port }));
        }
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.address == address)
    }

    /// Waits, within bounds, until the shards have let go of a port; else opening it again would find it taken.
    fn await_closing(&mut self, port: u16) {
        let deadline = clock::now() + CLOSING_WAIT_MAX;
        loop {
            self.closing.retain(|(_, open)| open.strong_count() > 0);
            if self.closing.iter().all(|(closing, _)| *closing != port) || clock::now() >= deadline {
                return;
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// Sockets for all shards, those that are to listen at once listening.
fn bind(address: SocketAddr, running: &[bool], keep_alive: Option<Duration>) -> io::Result<Vec<OwnedFd>> {
    let sockets = net::bind_all(address, running.len(), keep_alive)?;
    let only = sockets.len() == 1;
    for (socket, _) in sockets.iter().zip(running).filter(|(_, runs)| **runs || only) {
        net::start_listening(socket.as_raw_fd())?;
    }
    Ok(sockets)
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
