//! Sockets that listen: how they are bound, and what they have for themselves and for what they accept.
//!
//! Invariants: a descriptor opened here is closed on exec and belongs to the caller; an address in use is refused
//! unless it is to be shared, since the first of its sockets is bound without SO_REUSEPORT; accepted sockets inherit
//! TCP_NODELAY and keep-alive from listening ones.
//!
//! Not here: which addresses are open (room `session`), and accepting (`uring`, `epoll`).
//!
//! Source: tcp(7), ip(7), ipv6(7), socket(7), listen(2).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::net::{check, local_address, set_option, socklen};

/// Connections the kernel queues before they are accepted, where nobody says; it lowers this to net.core.somaxconn.
pub(crate) const BACKLOG: u32 = 4096;

/// How often a silent client is asked whether it is still there.
const KEEP_ALIVE_PROBES: i32 = 6;

/// How a TCP socket is to listen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpOptions {
    /// A client that has been silent for so long is asked whether it is still there.
    pub(crate) keep_alive: Option<Duration>,
    /// The kernel buffers so many bytes for each connection, both ways.
    pub(crate) buffer: Option<u32>,
    /// Sockets of other processes of the same user may listen on the address, too, if they say so as well.
    pub(crate) reuse_port: bool,
    /// Of all addresses, those of IPv6 alone.
    pub(crate) v6_only: bool,
    /// A client is accepted when it has sent something, or after so long.
    pub(crate) defer_accept: Option<Duration>,
}

/// A socket address as the kernel takes it.
enum Raw {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

fn family(family: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or(0)
}

fn raw(address: SocketAddr) -> Raw {
    match address {
        SocketAddr::V4(v4) => Raw::V4(libc::sockaddr_in {
            sin_family: family(libc::AF_INET),
            sin_port: v4.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
            sin_zero: [0; 8],
        }),
        SocketAddr::V6(v6) => Raw::V6(libc::sockaddr_in6 {
            sin6_family: family(libc::AF_INET6),
            sin6_port: v6.port().to_be(),
            sin6_flowinfo: v6.flowinfo(),
            sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
            sin6_scope_id: v6.scope_id(),
        }),
    }
}

fn bind(socket: RawFd, address: SocketAddr) -> io::Result<()> {
    match raw(address) {
        // SAFETY: the pointer and length are those of `v4`, which outlives the call.
        Raw::V4(v4) => check(unsafe { libc::bind(socket, (&raw const v4).cast(), socklen::<libc::sockaddr_in>()) }),
        // SAFETY: as above, of `v6`.
        Raw::V6(v6) => check(unsafe { libc::bind(socket, (&raw const v6).cast(), socklen::<libc::sockaddr_in6>()) }),
    }
    .map(drop)
}

/// Opens `count` sockets on one address, among which the kernel will spread connections (SO_REUSEPORT) once they
/// listen.
///
/// The first is bound without SO_REUSEPORT unless other processes may listen there, too, so that an address in use,
/// also by another process of ours, is refused. Port 0 is given a free port, the same for all.
pub(crate) fn bind_all(address: SocketAddr, count: usize, options: &TcpOptions) -> io::Result<Vec<OwnedFd>> {
    let mut sockets: Vec<OwnedFd> = Vec::with_capacity(count);
    let mut bound = address;
    for index in 0..count.max(1) {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let socket = open(family)?;
        let fd = socket.as_raw_fd();
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        prepare(fd, options)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            // All addresses, IPv4 too unless that is not wanted, whatever net.ipv6.bindv6only says.
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(options.v6_only))?;
        }
        if index > 0 || options.reuse_port {
            set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        bind(fd, bound)?;
        if index == 0 {
            bound = local_address(fd).unwrap_or(bound);
            if count > 1 {
                set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            }
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A socket for streams.
pub(super) fn open(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: `fd` was opened by the call above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets what a TCP socket has for what it accepts, and when it accepts.
pub(super) fn prepare(socket: RawFd, options: &TcpOptions) -> io::Result<()> {
    // Accepted sockets inherit this: answers are whole when they are sent, so waiting for more only delays them.
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(after) = options.keep_alive {
        ask_silent_clients(socket, after)?;
    }
    if let Some(bytes) = options.buffer.and_then(|bytes| i32::try_from(bytes).ok()) {
        // Before it listens: the window is offered by it.
        set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
        set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)?;
    }
    if let Some(after) = options.defer_accept {
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds(after))?;
    }
    Ok(())
}

/// In whole seconds, of which a part is one.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// Switches keep-alive on (tcp(7)), for what a listening socket accepts as well.
fn ask_silent_clients(socket: RawFd, after: Duration) -> io::Result<()> {
    let seconds = seconds(after);
    set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (seconds + KEEP_ALIVE_PROBES - 1) / KEEP_ALIVE_PROBES)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEP_ALIVE_PROBES)
}

/// Begins to take connections, of which at most so many wait to be accepted (the kernel lowers this to
/// net.core.somaxconn); doing so twice does no harm.
pub(crate) fn start_listening(socket: RawFd, backlog: u32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX)) }).map(drop)
}

/// Makes a listening socket fail calls that would block. Nothing else of its flags can be set by this call.
pub(super) fn never_wait(socket: RawFd) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::fcntl(socket, libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}
