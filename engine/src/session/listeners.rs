//! Which addresses are open: by request, or because a URL is registered for their port.
//!
//! ```text
//!   open:   bind a socket for each shard ──▶ the list that shards get ──▶ they accept
//!   close:  shut the sockets down, at once ──▶ the list ──▶ shards let go of them, when they come to it
//!   again:  bind new sockets: those shut down are in nobody's way (SO_REUSEADDR, and they do not listen)
//! ```
//!
//! Invariants: nothing here waits, neither for a shard nor for another process; an address that another socket listens
//! on is refused, also one of another process of the same user.
//!
//! Not here: asking again for an address that is taken (`changes`), which URLs want a port (`groups`), and accepting
//! (`shard::transport`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::driver::net;
use crate::error::{Error, ErrorKind};
use crate::policy::SocketOptions;
use crate::shard::{DesiredState, ListenAddress, ListenSocket};

/// The most addresses that are listened on at a time.
const ADDRESSES_MAX: usize = 65_536;

/// What a shard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardState {
    /// No thread has taken it yet.
    Waits,
    Runs,
    Ended,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    /// Opened by `Engine::listen`, so it stays without URLs.
    explicit: bool,
    shared: Arc<ListenAddress>,
}

impl Endpoint {
    fn close(&self) {
        self.shared.sockets.iter().flatten().for_each(|socket| socket.close());
    }
}

/// Why an address was not opened.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// A socket of another process has it, which may be about to be closed.
    pub(super) may_pass: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, may_pass: false }
    }
}

impl Refused {
    /// With what the error is about before its text.
    pub(super) fn about(self, subject: impl std::fmt::Display) -> Self {
        Self { error: self.error.about(subject), ..self }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// In the order of their ids.
    endpoints: Vec<Endpoint>,
    /// The id of the last one.
    last: u64,
}

impl Listeners {
    /// Opens an address on every shard, by request.
    pub(super) fn listen(
        &mut self,
        desired: &mut DesiredState,
        shards: &[ShardState],
        options: SocketOptions,
        address: SocketAddr,
    ) -> Result<SocketAddr, Refused> {
        let bound = self.open(shards, options, address, true)?;
        self.show(desired);
        Ok(bound)
    }

    /// Closes an address that was opened by request.
    pub(super) fn unlisten(&mut self, desired: &mut DesiredState, address: SocketAddr) -> Result<(), Error> {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.address == address);
        match endpoint.map(|endpoint| endpoint.explicit) {
            Some(true) => {
                self.close(desired, |endpoint| endpoint.address == address);
                Ok(())
            }
            Some(false) => Err(Error::invalid(format!(
                "{address} is open for the URLs that are registered for its port: it closes with the last of them"
            ))),
            None => {
                let text = format!("{address} is not listened on; it is to be given as `listen` gave it back");
                Err(Error::new(ErrorKind::NotFound, text))
            }
        }
    }

    /// Opens a port on all addresses, unless it is open on any.
    pub(super) fn open_port(
        &mut self,
        desired: &mut DesiredState,
        shards: &[ShardState],
        options: SocketOptions,
        port: u16,
    ) -> Result<(), Refused> {
        if self.endpoints.iter().any(|endpoint| endpoint.address.port() == port) {
            return Ok(());
        }
        let mut open = |ip| self.open(shards, options, SocketAddr::new(ip, port), false).map(drop);
        match open(Ipv6Addr::UNSPECIFIED.into()) {
            // A host without IPv6.
            Err(refused) if is_no_ipv6(&refused.error) => open(Ipv4Addr::UNSPECIFIED.into())?,
            opened => opened?,
        }
        self.show(desired);
        Ok(())
    }

    /// Closes a port that no URL needs any more, unless it was opened by request.
    pub(super) fn close_port(&mut self, desired: &mut DesiredState, port: u16) {
        self.close(desired, |endpoint| !endpoint.explicit && endpoint.address.port() == port);
    }

    /// Opens an address on every shard. Among several, those that do not run yet begin to listen when they do: clients
    /// must not be dealt to them before. An only one listens at once: its clients wait for it.
    fn open(
        &mut self,
        shards: &[ShardState],
        options: SocketOptions,
        address: SocketAddr,
        explicit: bool,
    ) -> Result<SocketAddr, Refused> {
        if self.endpoints.len() >= ADDRESSES_MAX {
            let remedy = "which is the most; unlisten some, or listen on all addresses at once ([::] or 0.0.0.0)";
            let text = format!("cannot listen on {address}: {ADDRESSES_MAX} addresses are listened on, {remedy}");
            return Err(Error::invalid(text).into());
        }
        let sockets = bind(address, shards, options).map_err(|error| {
            let (is_taken, is_ours) = (error.kind() == io::ErrorKind::AddrInUse, self.is_ours(address));
            let error = if is_taken && is_ours { listened_on(address) } else { refused(address, shards.len(), error) };
            Refused { error, may_pass: is_taken && !is_ours }
        })?;
        let first = sockets.iter().flatten().next();
        let bound = first.and_then(|socket| net::local_address(socket.as_raw_fd())).unwrap_or(address);
        let ip = (!bound.ip().is_unspecified()).then(|| bound.ip().to_canonical());
        let shared = |socket: Option<OwnedFd>| Some(Arc::new(ListenSocket::new(socket?)));
        let sockets = sockets.into_iter().map(shared).collect();
        self.last += 1;
        let shared = Arc::new(ListenAddress { id: self.last, ip, port: bound.port(), sockets });
        self.endpoints.push(Endpoint { address: bound, explicit, shared });
        Ok(bound)
    }

    /// Closes addresses: from now on nobody comes in there, whatever the shards are doing.
    fn close(&mut self, desired: &mut DesiredState, closes: impl Fn(&Endpoint) -> bool) {
        let before = self.endpoints.len();
        self.endpoints.extract_if(.., |endpoint| closes(endpoint)).for_each(|endpoint| endpoint.close());
        if self.endpoints.len() < before {
            self.show(desired);
        }
    }

    /// Closes every address.
    pub(super) fn close_all(&mut self, desired: &mut DesiredState) {
        self.close(desired, |_| true);
    }

    /// A shard has ended: its sockets go.
    pub(super) fn shard_ended(&mut self, shard: usize, desired: &mut DesiredState) {
        for endpoint in &mut self.endpoints {
            let ListenAddress { id, ip, port, ref sockets } = *endpoint.shared;
            let mut sockets = sockets.clone();
            if let Some(socket) = sockets.get_mut(shard).and_then(Option::take) {
                socket.close();
            }
            endpoint.shared = Arc::new(ListenAddress { id, ip, port, sockets });
        }
        self.show(desired);
    }

    /// Says to the shards which addresses are open.
    fn show(&self, desired: &mut DesiredState) {
        desired.set_addresses(self.endpoints.iter().map(|endpoint| Arc::clone(&endpoint.shared)).collect());
    }

    /// Each with whether it was opened by request.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (SocketAddr, bool)> {
        self.endpoints.iter().map(|endpoint| (endpoint.address, endpoint.explicit))
    }

    /// Whether this engine has the address, or another one that covers it or is covered by it: who has it keeps it.
    fn is_ours(&self, address: SocketAddr) -> bool {
        let overlaps = |other: SocketAddr| {
            let same_ip = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port() && same_ip
        };
        self.endpoints.iter().any(|endpoint| overlaps(endpoint.address))
    }
}

/// Sockets for the shards that have not ended, those that are to listen at once listening.
fn bind(address: SocketAddr, shards: &[ShardState], options: SocketOptions) -> io::Result<Vec<Option<OwnedFd>>> {
    let count = shards.iter().filter(|state| **state != ShardState::Ended).count();
    let mut sockets = net::bind_all(address, count, options.keep_alive, options.buffer)?.into_iter();
    let for_shard = |state: &ShardState| {
        let socket = if *state == ShardState::Ended { None } else { sockets.next() };
        if let Some(socket) = socket.as_ref().filter(|_| *state == ShardState::Runs || count == 1) {
            net::start_listening(socket.as_raw_fd())?;
        }
        Ok(socket)
    };
    shards.iter().map(for_shard).collect()
}

fn is_no_ipv6(error: &Error) -> bool {
    error.io_error().and_then(io::Error::raw_os_error) == Some(libc::EAFNOSUPPORT)
}

#[cold]
fn listened_on(address: SocketAddr) -> Error {
    let text = format!("cannot listen on {address}: this engine does already, there or at an address that covers it");
    Error::new(ErrorKind::AlreadyExists, text + "; unlisten that first, or share it")
}

#[cold]
fn refused(address: SocketAddr, shards: usize, error: io::Error) -> Error {
    let remedy = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::AddrInUse, _) => "another socket has it; stop that process or choose another port".to_owned(),
        (io::ErrorKind::PermissionDenied, _) => {
            "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE".to_owned()
        }
        (io::ErrorKind::AddrNotAvailable, _) => "no interface of this host has it".to_owned(),
        (_, Some(libc::EMFILE)) => format!(
            "the process has as many descriptors as it may (RLIMIT_NOFILE), and each address takes {shards}, one a \
            shard; raise that limit (ulimit -n), or listen on fewer addresses"
        ),
        _ => "the kernel refused it".to_owned(),
    };
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::AddrInUse,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Io,
    };
    Error::of_system(kind, format!("cannot listen on {address}: {remedy}"), error)
}
