//! What an application says of an address that is to be listened on, and what such an address is called.
//!
//! Invariants: a setting that has no meaning for what is listened on is refused, and not passed over.
//!
//! Not here: opening it (`listeners`), and what a service manager's environment says (`activation`).

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

use crate::driver::listen::{BACKLOG, TcpOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::SocketOptions;

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
    pub(super) options: ListenOptions,
}

/// What is listened on.
#[derive(Debug)]
pub(super) enum Source {
    Tcp(SocketAddr),
    /// A socket that listens already, which others may have, too.
    HandedOver(OwnedFd),
}

/// What was said of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListenOptions {
    backlog: Option<u32>,
    reuse_port: bool,
    v6_only: bool,
    defer_accept: Option<Duration>,
}

impl Listener {
    fn of(source: Source) -> Self {
        Self { source, name: None, options: ListenOptions::default() }
    }

    /// A TCP address. Port 0: a free one.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::of(Source::Tcp(address))
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
    /// `net.core.somaxconn`. With several shards, each has so many. Of a socket that was handed over, it stays as it is
    /// by default.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.options.backlog = Some(clients);
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

    /// # Errors
    /// That a setting is out of range, or of no meaning for what is listened on.
    pub(super) fn check(&self) -> Result<()> {
        let ListenOptions { backlog, reuse_port, v6_only, defer_accept } = self.options;
        if let Some(backlog) = backlog.filter(|backlog| !(1..=BACKLOG_MAX).contains(backlog)) {
            return Err(Error::invalid(format!("backlog is {backlog}, but must be from 1 to {BACKLOG_MAX}")));
        }
        if let Some(wait) = defer_accept.filter(|wait| !(DEFER_ACCEPT_MIN..=DEFER_ACCEPT_MAX).contains(wait)) {
            return Err(Error::invalid(format!("defer_accept is {wait:?}, but must be from 1 s to 1 h")));
        }
        match &self.source {
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

    pub(super) fn tcp_options(&self, inherited: SocketOptions) -> TcpOptions {
        let ListenOptions { reuse_port, v6_only, defer_accept, .. } = self.options;
        let SocketOptions { keep_alive, buffer } = inherited;
        TcpOptions { keep_alive, buffer, reuse_port, v6_only, defer_accept }
    }
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

/// An address as [`Endpoint`] writes it.
impl FromStr for Listener {
    type Err = Error;

    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) when it is none.
    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(address) => Ok(Self::tcp(address)),
            Err(_) => Err(Error::new(
                ErrorKind::Malformed,
                format!("{text:?} is no address to listen on: give an IP address and port, as 127.0.0.1:80 or [::]:80"),
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
}

impl Endpoint {
    /// The address, if it is a TCP one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
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
        }
    }
}
