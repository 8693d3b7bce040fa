//! Which addresses are open: by request, or because a URL is registered for their port.
//!
//! ```text
//!   open:   a socket for each shard, bound or handed over ──▶ the list that shards get ──▶ they accept
//!   close:  shut the sockets down, at once ──▶ the list ──▶ shards let go of them, when they come to it
//!   again:  bind new sockets: those shut down are in nobody's way (SO_REUSEADDR, and they do not listen)
//! ```
//!
//! Invariants: nothing here waits, neither for a shard nor for another process; an address that another socket listens
//! on is refused, also one of another process of the same user, unless both were told to share it.
//!
//! Not here: the sockets of an address (`bound`), asking again for an address that is taken (`changes`), which URLs
//! want a port (`groups`), and accepting (`shard::transport`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::bound::{self, Bound, ShardState};
use super::listener::{Endpoint, Listener, Source};
use super::refused::Refused;
use super::socket_file::SocketFile;
use crate::admission::{ConnectionLimits, Gate, Gates};
use crate::error::{Error, ErrorKind};
use crate::policy::SocketOptions;
use crate::shard::{DesiredState, ListenAddress};

/// The most addresses that are listened on at a time.
const ADDRESSES_MAX: usize = 65_536;

#[derive(Debug)]
struct Opened {
    address: Endpoint,
    /// Opened by `Engine::listen`, so it stays without URLs.
    explicit: bool,
    /// The shards know of it. What clients may know of before the engine does, they learn of with the first URL of its
    /// port: who waits there already is not told that there is none.
    is_shown: bool,
    /// All shards have the same socket.
    is_one_socket: bool,
    shared: Arc<ListenAddress>,
    /// Gone with it.
    file: Option<SocketFile>,
}

impl Opened {
    fn close(&self) {
        // Who was handed a socket, and ends before it serves, leaves the file to whom it was handed by.
        if let Some(file) = self.file.as_ref().filter(|file| self.is_shown || !file.was_left()) {
            file.remove();
        }
        self.shared.sockets.iter().flatten().for_each(|socket| socket.close());
    }

    /// For the shards it is another one from now on: they let go of it, and look anew.
    fn begin_anew(&mut self, id: u64) {
        Arc::make_mut(&mut self.shared).id = id;
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Listeners {
    /// In the order of their ids.
    opened: Vec<Opened>,
    /// The id of the last one.
    last: u64,
    /// Where their connections count, if there are limits.
    gates: Gates,
}

impl Listeners {
    pub(super) fn new(gates: Gates) -> Self {
        Self { opened: Vec::new(), last: 0, gates }
    }

    /// Opens an address on every shard, by request.
    pub(super) fn listen(
        &mut self,
        desired: &mut DesiredState,
        shards: &[ShardState],
        inherited: SocketOptions,
        listener: &Listener,
        has_urls: impl Fn(u16) -> bool,
    ) -> Result<Endpoint, Refused> {
        listener.check()?;
        let address = self.open(shards, inherited, listener, true)?;
        if let Some(opened) = self.opened.last_mut() {
            opened.is_shown = !listener.is_known_before() || has_urls(opened.shared.entrance.port);
        }
        self.show(desired);
        Ok(address)
    }

    /// Closes an address that was opened by request.
    pub(super) fn unlisten(&mut self, desired: &mut DesiredState, address: &Endpoint) -> Result<(), Error> {
        let mut same = self.opened.iter().filter(|opened| opened.address == *address).peekable();
        if same.peek().is_none() {
            let text = format!("{address} is not listened on; it is to be given as `listen` gave it back");
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        if same.any(|opened| opened.explicit) {
            self.close(desired, |opened| opened.explicit && opened.address == *address);
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{address} is open for the URLs that are registered for its port: it closes with the last of them"
        )))
    }

    /// Opens a port on all addresses, unless it is open on any.
    pub(super) fn open_port(
        &mut self,
        desired: &mut DesiredState,
        shards: &[ShardState],
        inherited: SocketOptions,
        port: u16,
    ) -> Result<(), Refused> {
        if self.opened.iter().any(|opened| opened.shared.entrance.port == port) {
            self.show_port(desired, port);
            return Ok(());
        }
        let mut open = |ip| {
            let listener = Listener::tcp(SocketAddr::new(ip, port));
            self.open(shards, inherited, &listener, false).map(drop)
        };
        match open(Ipv6Addr::UNSPECIFIED.into()) {
            // A host without IPv6.
            Err(refused) if is_no_ipv6(&refused.error) => open(Ipv4Addr::UNSPECIFIED.into())?,
            opened => opened?,
        }
        self.show(desired);
        Ok(())
    }

    /// A port has URLs: clients that wait there come in.
    fn show_port(&mut self, desired: &mut DesiredState, port: u16) {
        let hidden = |opened: &&mut Opened| !opened.is_shown && opened.shared.entrance.port == port;
        let mut last = self.last;
        for opened in self.opened.iter_mut().filter(hidden) {
            opened.is_shown = true;
            last += 1;
            opened.begin_anew(last);
        }
        if core::mem::replace(&mut self.last, last) != last {
            self.show(desired);
        }
    }

    /// Closes a port that no URL needs any more, unless it was opened by request.
    pub(super) fn close_port(&mut self, desired: &mut DesiredState, port: u16) {
        self.close(desired, |opened| !opened.explicit && opened.shared.entrance.port == port);
    }

    /// Opens an address on every shard.
    fn open(
        &mut self,
        shards: &[ShardState],
        inherited: SocketOptions,
        listener: &Listener,
        explicit: bool,
    ) -> Result<Endpoint, Refused> {
        if self.opened.len() >= ADDRESSES_MAX {
            let remedy = "which is the most; unlisten some, or listen on all addresses at once ([::] or 0.0.0.0)";
            let text = format!("cannot listen any more: {ADDRESSES_MAX} addresses are listened on, {remedy}");
            return Err(Error::invalid(text).into());
        }
        let Bound { address, mut entrance, sockets, file } = match &listener.source {
            Source::Tcp(address) => self.bind(*address, listener, shards, inherited)?,
            Source::Unix(path) => self.told(bound::bind_path(path, listener, shards), |endpoint| {
                matches!(endpoint, Endpoint::Unix(ours) if std::path::absolute(path).is_ok_and(|path| path == *ours))
            })?,
            Source::Abstract(name) => self.told(bound::bind_name(name, listener, shards), |endpoint| {
                matches!(endpoint, Endpoint::Abstract(ours) if ours == name)
            })?,
            Source::HandedOver(socket) => bound::adopt(socket, listener, shards, inherited)?,
        };
        entrance.gate = self.gate(&address, listener.connection_limits());
        self.last += 1;
        let sockets: Vec<_> = sockets.into_iter().map(|socket| socket.map(Arc::new)).collect();
        let is_one_socket = sockets.iter().flatten().any(|socket| socket.is_shared());
        let shared = Arc::new(ListenAddress { id: self.last, entrance, sockets });
        self.opened.push(Opened { address: address.clone(), explicit, is_shown: true, is_one_socket, shared, file });
        Ok(address)
    }

    /// Where they count who come in there: an address that has several sockets (as one that was handed over by an
    /// engine of several shards) has the same limits once.
    fn gate(&self, address: &Endpoint, limits: ConnectionLimits) -> Option<Arc<Gate>> {
        let of_address = self.opened.iter().filter(|opened| opened.address == *address);
        let mut gates = of_address.filter_map(|opened| opened.shared.entrance.gate.as_ref());
        gates.find(|gate| gate.has(limits)).cloned().or_else(|| self.gates.gate(limits))
    }

    fn bind(
        &self,
        address: SocketAddr,
        listener: &Listener,
        shards: &[ShardState],
        inherited: SocketOptions,
    ) -> Result<Bound, Refused> {
        bound::bind(address, listener, shards, inherited).map_err(|error| {
            let (is_taken, is_ours) = (error.kind() == io::ErrorKind::AddrInUse, self.is_ours(address));
            let error =
                if is_taken && is_ours { listened_on(&address.into()) } else { refused(address, shards.len(), error) };
            Refused { error, may_pass: is_taken && !is_ours }
        })
    }

    /// What is taken may be this engine's own.
    fn told(&self, bound: Result<Bound, Refused>, is_it: impl Fn(&Endpoint) -> bool) -> Result<Bound, Refused> {
        let ours = self.opened.iter().find(|opened| is_it(&opened.address));
        match (bound, ours) {
            (Err(refused), Some(ours)) if refused.may_pass => Err(listened_on(&ours.address).into()),
            (bound, _) => bound,
        }
    }

    /// Closes addresses: from now on nobody comes in there, whatever the shards are doing.
    fn close(&mut self, desired: &mut DesiredState, closes: impl Fn(&Opened) -> bool) {
        let before = self.opened.len();
        self.opened.extract_if(.., |opened| closes(opened)).for_each(|opened| opened.close());
        if self.opened.len() < before {
            self.show(desired);
        }
    }

    /// Closes every address.
    pub(super) fn close_all(&mut self, desired: &mut DesiredState) {
        self.close(desired, |_| true);
    }

    /// Another descriptor of each socket that listens, for another process. From now on they are let go of, and neither
    /// shut down nor removed.
    pub(super) fn hand_over(&mut self) -> io::Result<Vec<(Endpoint, OwnedFd)>> {
        let mut given = Vec::new();
        for opened in &self.opened {
            let sockets = opened.shared.sockets.iter().flatten().filter(|socket| socket.listens());
            for socket in sockets.take(if opened.is_one_socket { 1 } else { usize::MAX }) {
                given.push((opened.address.clone(), socket.another()?));
            }
        }
        // Nothing fails any more.
        for opened in &mut self.opened {
            for socket in opened.shared.sockets.iter().flatten().filter(|socket| socket.listens()) {
                socket.was_handed_over();
                opened.file = None;
            }
        }
        Ok(given)
    }

    /// A shard has ended: its sockets go. What it shared with others is for these to look at again: the kernel may have
    /// told it alone of who waits there.
    pub(super) fn shard_ended(&mut self, shard: usize, desired: &mut DesiredState) {
        for opened in &mut self.opened {
            let shared = Arc::make_mut(&mut opened.shared);
            let Some(socket) = shared.sockets.get_mut(shard).and_then(Option::take) else { continue };
            if socket.is_shared() {
                self.last += 1;
                opened.begin_anew(self.last);
            } else {
                socket.close();
            }
        }
        self.show(desired);
    }

    /// Says to the shards which addresses are open.
    fn show(&mut self, desired: &mut DesiredState) {
        self.opened.sort_by_key(|opened| opened.shared.id);
        let shown = self.opened.iter().filter(|opened| opened.is_shown);
        desired.set_addresses(shown.map(|opened| Arc::clone(&opened.shared)).collect());
    }

    /// Each with its port, and whether it was opened by request.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&Endpoint, u16, bool)> {
        self.opened.iter().map(|opened| (&opened.address, opened.shared.entrance.port, opened.explicit))
    }

    /// How many have come in by each, in the same order, of the shards that have not ended.
    pub(super) fn accepted(&self) -> impl Iterator<Item = u64> {
        self.opened.iter().map(|opened| opened.shared.sockets.iter().flatten().map(|it| it.accepted.read()).sum())
    }

    /// Whether this engine has the address, or another one that covers it or is covered by it: who has it keeps it.
    fn is_ours(&self, address: SocketAddr) -> bool {
        let overlaps = |other: SocketAddr| {
            let same_ip = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port() && same_ip
        };
        self.opened.iter().filter_map(|opened| opened.address.tcp()).any(overlaps)
    }
}

fn is_no_ipv6(error: &Error) -> bool {
    error.io_error().and_then(io::Error::raw_os_error) == Some(libc::EAFNOSUPPORT)
}

#[cold]
fn listened_on(address: &Endpoint) -> Error {
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
