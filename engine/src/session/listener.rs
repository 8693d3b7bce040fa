//! What an application says of an address that is to be listened on, and what such an address is called.
//!
//! Invariants: a setting that has no meaning for what is listened on is refused, and not passed over.
//!
//! Not here: opening it (`listeners`), and what a service manager's environment says (`activation`).

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::socket_file::FileOptions;
use crate::admission::ConnectionLimits;
use crate::config::Driver;
use crate::driver::listen::{BACKLOG, TcpOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::peers::Network;
use crate::policy::SocketOptions;
use crate::proxied::ProxyProtocol;

/// What a Unix socket stands for, where nobody says.
const PORT: u16 = 80;
/// The most clients that may wait to be accepted.
const BACKLOG_MAX: u32 = 1 << 20;
/// How long a client may be waited for before it is accepted.
const DEFER_ACCEPT_MIN: Duration = Duration::from_secs(1);
const DEFER_ACCEPT_MAX: Duration = Duration::from_secs(3600);

/// Where an engine is to listen, and how: for [`Engine::listen_on`](crate::Engine::listen_on).
///
/// ```no_run
/// use std::time::Duration;
///
/// use ringress::{Engine, Listener};
///
/// # fn main() -> ringress::Result<()> {
/// let engine = Engine::builder().start()?;
/// // URLs of port 80 are reached there.
/// engine.listen_on(Listener::unix("/run/app/http.sock").mode(0o660))?;
/// engine.listen_on(Listener::tcp(([0, 0, 0, 0], 8080).into()).backlog(512))?;
/// engine.listen_on("[::]:8081".parse::<Listener>()?.v6_only(true).defer_accept(Duration::from_secs(5)))?;
/// for socket in Listener::activated()? {
///     engine.listen_on(socket)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it is listened on by Engine::listen_on"]
pub struct Listener {
    pub(super) source: Source,
    pub(super) name: Option<String>,
    /// That of a Unix socket that was handed over, where it is this engine's.
    pub(super) file: Option<PathBuf>,
    /// That of the engine that has handed it over.
    driver: Option<Driver>,
    pub(super) options: ListenOptions,
}

/// What is listened on.
#[derive(Debug)]
pub(super) enum Source {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Abstract(Vec<u8>),
    /// A socket that listens already, which others may have, too.
    HandedOver(OwnedFd),
}

/// What was said of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListenOptions {
    pub(super) proxy: ProxyProtocol,
    pub(super) limits: ConnectionLimits,
    backlog: Option<u32>,
    reuse_port: bool,
    v6_only: bool,
    defer_accept: Option<Duration>,
    port: Option<u16>,
    file: FileOptions,
}

impl Listener {
    fn of(source: Source) -> Self {
        Self { source, name: None, file: None, driver: None, options: ListenOptions::default() }
    }

    /// A TCP address. Port 0: a free one.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::of(Source::Tcp(address))
    }

    /// A Unix socket, as a file of this path, of at most 107 bytes. Who may write to the file may connect: see
    /// [`mode`](Self::mode) and [`owner`](Self::owner).
    ///
    /// The file appears when everything about it is as it is to be, and goes when it is no longer listened on. A stale
    /// one that was left by a server of the same user (or of the `owner`), on which nobody listens, is replaced; what
    /// somebody listens on, another user's, and what is no socket is left alone. The folder should be one in which
    /// nobody else may write.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::Unix(path.into()))
    }

    /// A Unix socket of an abstract name (unix(7)): from 1 to 107 bytes of any value. It is no file, ends with the last
    /// process that has it, and everybody in the same network namespace may connect.
    pub fn abstract_name(name: impl Into<Vec<u8>>) -> Self {
        Self::of(Source::Abstract(name.into()))
    }

    pub(super) fn named(socket: OwnedFd, name: Option<String>) -> Self {
        Self { name, ..Self::of(Source::HandedOver(socket)) }
    }

    /// What the service manager calls a socket that it has [handed over](Self::activated) (`FileDescriptorName=`), if
    /// it says so.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How many clients may wait to be accepted, 1 to 1,048,576; 4,096 by default. The kernel lowers it to
    /// `net.core.somaxconn`. With several shards, each has so many for a TCP address. Of a socket that was handed over,
    /// it stays as it is by default.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.options.backlog = Some(clients);
        self
    }

    /// The port that a Unix socket stands for, from 1, where URLs are looked for and opened: 80 by default.
    /// `http://*:80/` takes what comes in there, and opens no TCP port while something stands for it.
    pub fn port(mut self, port: u16) -> Self {
        self.options.port = Some(port);
        self
    }

    /// The permissions of a Unix socket's file, from 0 to 0o777, whatever the umask says; writing is connecting. By
    /// default, all that the umask leaves.
    pub fn mode(mut self, mode: u32) -> Self {
        self.options.file.mode = Some(mode);
        self
    }

    /// Whose a Unix socket's file is, by the numbers of user and group; `None` leaves the process's. Another user needs
    /// CAP_CHOWN, a group that this user is not in as well.
    pub fn owner(mut self, user: Option<u32>, group: Option<u32>) -> Self {
        self.options.file.owner = (user, group);
        self
    }

    /// The file by which clients reach a Unix socket that was handed over, where it becomes this engine's with the
    /// first URL of its port (an engine that ends before that leaves it): it goes when it is no longer listened on, as
    /// that of [`unix`](Self::unix) does. What [`Engine::hand_over`](crate::Engine::hand_over) gives says it by itself
    /// ([`HandedOver`]). Not for a service manager's. Whether it is this socket that listens there is found out by
    /// connecting to it once, if this user may.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Whether other processes of the same user may listen on this address, too, if they say so as well
    /// (SO_REUSEPORT): the kernel then deals new clients to all of them. Off by default, so that an address that
    /// another process listens on is refused. For TCP addresses.
    pub fn reuse_port(mut self, is_shared: bool) -> Self {
        self.options.reuse_port = is_shared;
        self
    }

    /// Whether `[::]` is all addresses of IPv6 alone (IPV6_V6ONLY), so that another listener can have those of IPv4
    /// (`0.0.0.0`). Off by default: it is all addresses of both. For `[::]`.
    pub fn v6_only(mut self, is_v6_only: bool) -> Self {
        self.options.v6_only = is_v6_only;
        self
    }

    /// Accepts a client when it has sent something, or after this time (TCP_DEFER_ACCEPT, tcp(7)), 1 s to 1 h, in whole
    /// seconds, which the kernel rounds to its retransmissions. Until then a client that says nothing is no connection
    /// of the engine's, and none of its timers holds for it. For TCP addresses.
    pub fn defer_accept(mut self, wait_max: Duration) -> Self {
        self.options.defer_accept = Some(wait_max);
        self
    }

    /// Whether connections begin with a header of the PROXY protocol, by which a proxy says whose they are:
    /// [`Request::peer_addr`](crate::Request::peer_addr) is that client's then, and so are the shares of what a shard
    /// has; [`Request::proxy_header`](crate::Request::proxy_header) has the rest. Off by default. Which URLs a request
    /// is for is said by the address that is listened on, as without it. Headers are of 4,096 bytes at most, and come
    /// within [`proxy_header`](crate::Properties::proxy_header).
    pub fn proxy_protocol(mut self, mode: ProxyProtocol) -> Self {
        self.options.proxy = mode;
        self
    }

    /// How many connections that come in here may be open and come in a second, over all shards, in all and of one
    /// address. None by default; [those of the engine](crate::EngineBuilder::connection_limits) hold as well. Who comes
    /// over a Unix socket has an address only where a proxy says one.
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.options.limits = limits;
        self
    }

    pub(super) fn connection_limits(&self) -> ConnectionLimits {
        self.options.limits
    }

    /// # Errors
    /// That it limits what comes of an address over a Unix socket, where nobody says one.
    pub(super) fn check_unix(&self) -> Result<()> {
        match self.options.limits.of_address().filter(|_| self.options.proxy == ProxyProtocol::Off) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!(
                "{name} is set for a Unix socket, where nobody has an address; leave it out, or have a proxy say whose \
                connections they are (proxy_protocol)"
            ))),
        }
    }

    pub(super) fn proxy(&self) -> ProxyProtocol {
        self.options.proxy
    }

    fn is_unix(&self) -> bool {
        matches!(self.source, Source::Unix(_) | Source::Abstract(_))
    }

    /// # Errors
    /// That an engine has handed it over which has another driver than this one.
    pub(super) fn check_driver(&self, ours: Driver) -> Result<()> {
        match self.driver.filter(|theirs| *theirs != ours) {
            None => Ok(()),
            Some(theirs) => Err(Error::invalid(format!(
                "the driver of this engine is {ours}, but that of the engine which has handed the socket over is \
                {theirs}: whether calls wait for a listening socket is the same for all who have it, so both have to \
                be the same; start this engine with the driver {theirs} (EngineBuilder::driver, or \
                RINGRESS_DRIVER={theirs})"
            ))),
        }
    }

    /// # Errors
    /// That headers are asked for, and nobody is trusted to send them.
    pub(super) fn check_proxies(&self, trusted: &[Network]) -> Result<()> {
        let mode = self.options.proxy;
        if mode == ProxyProtocol::Off || !trusted.is_empty() || self.is_unix() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "proxy_protocol is {mode:?}, but nobody is believed: name the networks of the proxies in trusted_proxies"
        )))
    }

    /// # Errors
    /// That a setting is out of range, or of no meaning for what is listened on.
    pub(super) fn check(&self) -> Result<()> {
        let ListenOptions { limits, backlog, reuse_port, v6_only, defer_accept, port, file, .. } = self.options;
        if let Some(backlog) = backlog.filter(|backlog| !(1..=BACKLOG_MAX).contains(backlog)) {
            return Err(Error::invalid(format!("backlog is {backlog}, but must be from 1 to {BACKLOG_MAX}")));
        }
        if let Some(wait) = defer_accept.filter(|wait| !(DEFER_ACCEPT_MIN..=DEFER_ACCEPT_MAX).contains(wait)) {
            return Err(Error::invalid(format!("defer_accept is {wait:?}, but must be from 1 s to 1 h")));
        }
        if port == Some(0) {
            return Err(Error::invalid("port is 0, but must be from 1 to 65535"));
        }
        if let Some(mode) = file.mode.filter(|mode| *mode > 0o777) {
            return Err(Error::invalid(format!("mode is {mode:#o}, but must be from 0 to 0o777")));
        }
        limits.check()?;
        let is_unix = self.is_unix();
        if is_unix {
            self.check_unix()?;
        }
        let of_tcp = [("reuse_port", reuse_port), ("v6_only", v6_only), ("defer_accept", defer_accept.is_some())];
        let of_files = [("mode", file.mode.is_some()), ("owner", file.owner != (None, None))];
        if let Some((name, _)) = of_tcp.into_iter().find(|(_, is_set)| is_unix && *is_set) {
            return Err(meaningless(name, "TCP addresses"));
        }
        if let Some((name, _)) = of_files.into_iter().find(|(_, is_set)| *is_set)
            && !matches!(self.source, Source::Unix(_))
        {
            return Err(meaningless(name, "Unix sockets that are files (Listener::unix)"));
        }
        match &self.source {
            Source::Tcp(_) | Source::Unix(_) | Source::Abstract(_) if self.file.is_some() => {
                Err(meaningless("file", "Unix sockets that were handed over"))
            }
            Source::Tcp(_) if port.is_some() => Err(meaningless("port", "Unix sockets: an address has its own")),
            Source::Tcp(address) if v6_only && !(address.is_ipv6() && address.ip().is_unspecified()) => {
                let text = format!("v6_only is set for {address}, but is for all addresses of IPv6: listen on [::]");
                Err(Error::invalid(text))
            }
            Source::HandedOver(_) if reuse_port || v6_only => {
                let name = if reuse_port { "reuse_port (SO_REUSEPORT)" } else { "v6_only (IPV6_V6ONLY)" };
                let text =
                    "is settled when a socket is bound, and this one was handed over: who binds it has to set it";
                Err(Error::invalid(format!("{name} {text}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether clients can know of it before the engine listens: they may wait there.
    pub(super) fn is_known_before(&self) -> bool {
        !matches!(self.source, Source::Tcp(_))
    }

    pub(super) fn backlog_or_usual(&self) -> u32 {
        self.options.backlog.unwrap_or(BACKLOG)
    }

    /// How many may wait at a socket that listens already, where that is to change.
    pub(super) fn backlog_wanted(&self) -> Option<u32> {
        self.options.backlog
    }

    /// What a Unix socket stands for.
    pub(super) fn port_or_usual(&self) -> u16 {
        self.options.port.unwrap_or(PORT)
    }

    pub(super) fn port_wanted(&self) -> Option<u16> {
        self.options.port
    }

    pub(super) fn file_options(&self) -> FileOptions {
        self.options.file
    }

    pub(super) fn tcp_options(&self, inherited: SocketOptions) -> TcpOptions {
        let ListenOptions { reuse_port, v6_only, defer_accept, .. } = self.options;
        let SocketOptions { keep_alive, buffer } = inherited;
        TcpOptions { keep_alive, buffer, reuse_port, v6_only, defer_accept }
    }
}

#[cold]
fn meaningless(setting: &str, what: &str) -> Error {
    Error::invalid(format!("{setting} is set, but is for {what}; leave it out"))
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address)
    }
}

/// A socket that listens already: it was made by this program, or came from another process.
impl From<OwnedFd> for Listener {
    fn from(socket: OwnedFd) -> Self {
        Self::of(Source::HandedOver(socket))
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        OwnedFd::from(socket).into()
    }
}

impl From<UnixListener> for Listener {
    fn from(socket: UnixListener) -> Self {
        OwnedFd::from(socket).into()
    }
}

/// A listening socket on its way to the engine that is to serve next: what
/// [`Engine::hand_over`](crate::Engine::hand_over) gives, and [`Engine::listen_on`](crate::Engine::listen_on) takes.
/// Between two processes all three go in one message, the first two as text.
#[derive(Debug)]
pub struct HandedOver {
    /// Where it listens; of a Unix socket that is a file, by which path. Goes as it is displayed, and is parsed.
    pub address: Endpoint,
    /// That of the engine that has it, and goes on. An engine with another one refuses it: whether calls wait for a
    /// listening socket (O_NONBLOCK) is the same for all who have it, io_uring needs them to, and epoll not to. So give
    /// it to [`EngineBuilder::driver`](crate::EngineBuilder::driver) of the next one.
    pub driver: Driver,
    /// Another descriptor of it, which is closed on exec.
    pub socket: OwnedFd,
}

/// With its file, if it has one.
impl From<HandedOver> for Listener {
    fn from(HandedOver { address, driver, socket }: HandedOver) -> Self {
        let file = if let Endpoint::Unix(path) = address { Some(path) } else { None };
        Self { file, driver: Some(driver), ..Self::from(socket) }
    }
}

impl From<Endpoint> for Listener {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(address) => Self::tcp(address),
            Endpoint::Unix(path) => Self::unix(path),
            Endpoint::Abstract(name) => Self::abstract_name(name),
        }
    }
}

/// An address as [`Endpoint`] writes it: `127.0.0.1:80`, `unix:/run/app.sock`, `unix:@name`.
impl FromStr for Listener {
    type Err = Error;

    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) when it is none.
    fn from_str(text: &str) -> Result<Self> {
        text.parse::<Endpoint>().map(Self::from)
    }
}

/// As it is written: `127.0.0.1:80`, `unix:/run/app.sock`, `unix:@name`.
impl FromStr for Endpoint {
    type Err = Error;

    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) when it is none.
    fn from_str(text: &str) -> Result<Self> {
        match (text.strip_prefix("unix:"), text.parse()) {
            (Some(name), _) if !name.trim_start_matches('@').is_empty() => Ok(match name.strip_prefix('@') {
                Some(name) => Self::Abstract(name.into()),
                None => Self::Unix(name.into()),
            }),
            (_, Ok(address)) => Ok(Self::Tcp(address)),
            (_, Err(_)) => Err(Error::new(
                ErrorKind::Malformed,
                format!(
                    "{text:?} is no address to listen on: give an IP address and port, as 127.0.0.1:80 or [::]:80, or \
                    a Unix socket, as unix:/run/app.sock or unix:@name"
                ),
            )),
        }
    }
}

/// What an engine listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP address, with its port.
    Tcp(SocketAddr),
    /// A Unix socket that is a file.
    Unix(PathBuf),
    /// A Unix socket of an abstract name.
    Abstract(Vec<u8>),
}

impl Endpoint {
    /// The address, if it is a TCP one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Abstract(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Self> for Endpoint {
    fn from(endpoint: &Self) -> Self {
        endpoint.clone()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
        }
    }
}
