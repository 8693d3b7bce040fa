//! Listening sockets that somebody else has made: what they are, and those that this process was started with.
//!
//! Invariants: nothing becomes this process's that is not a socket for streams that listens; what the process was
//! started with is given once.
//!
//! Not here: what the environment says of them, and what refusals are told as (room `session`).
//!
//! Source: socket(7), sd_listen_fds(3).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::listen::{TcpOptions, prepare, start_listening};
use super::net::{check, socklen};

/// The first descriptor that a service manager hands over (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// How many are accepted of those that wait where this process accepts no more. Of those who come behind it, the kernel
/// tells others.
const LEFT_MAX: usize = 1024;

/// What a call waits for on a socket that was to have something: as short as can be said.
const SHORTEST: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 1 };

/// Held while a socket's timeout is another one, so that who puts it back puts back what it was.
static TIMEOUT: Mutex<()> = Mutex::new(());

/// Whether the descriptors of this process's start were given.
static GIVEN: AtomicBool = AtomicBool::new(false);

/// Why a descriptor cannot be listened on.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is none, or that of no socket.
    NoSocket(io::Error),
    /// Not for streams.
    NoStream,
    /// Of another family than IPv4, IPv6 and Unix, or of another protocol than TCP.
    Foreign,
    /// It is bound, or not even that.
    Deaf,
}

/// What those are for that come in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Tcp,
    Unix,
}

/// Why the descriptors of the process's start cannot be had.
#[derive(Debug)]
pub(crate) enum Withheld {
    /// They were given before.
    Given,
    /// This one is of no use here.
    Unusable(RawFd, Unusable),
}

fn option(socket: RawFd, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(0);
    // SAFETY: the pointers are those of `value`, which has as many bytes as `len` says, and of `len`.
    check(unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

fn family(socket: RawFd) -> Result<Family, Unusable> {
    let ask = |name| option(socket, name).map_err(Unusable::NoSocket);
    if ask(libc::SO_TYPE)? != libc::SOCK_STREAM {
        return Err(Unusable::NoStream);
    }
    let family = match (ask(libc::SO_DOMAIN)?, ask(libc::SO_PROTOCOL)?) {
        (libc::AF_INET | libc::AF_INET6, libc::IPPROTO_TCP | libc::IPPROTO_MPTCP) => Family::Tcp,
        (libc::AF_UNIX, _) => Family::Unix,
        _ => return Err(Unusable::Foreign),
    };
    if ask(libc::SO_ACCEPTCONN)? == 0 { Err(Unusable::Deaf) } else { Ok(family) }
}

/// Of what family a listening socket is.
pub(crate) fn family_of(socket: BorrowedFd<'_>) -> Result<Family, Unusable> {
    family(socket.as_raw_fd())
}

/// Accepts who waits at a socket that other processes accept on, when this one does no more: the kernel tells one alone
/// of those who come, and that may have been this one. It waits no longer for somebody whom another has accepted first
/// than the kernel's shortest time, whatever the socket's flags say, which are those of all who have it.
pub(crate) fn accept_left(socket: RawFd) -> Vec<RawFd> {
    let _alone = TIMEOUT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut accepted = Vec::new();
    let Ok(before) = timeout(socket) else { return accepted };
    if set_timeout(socket, before_or_shortest(before)).is_err() {
        return accepted;
    }
    while accepted.len() < LEFT_MAX {
        let mut poll = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is that of one `pollfd`, which outlives the call.
        if check(unsafe { libc::poll(&raw mut poll, 1, 0) }).is_ok_and(|ready| ready == 0) {
            break;
        }
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: null address and length are allowed: the address is not asked for.
        match check(unsafe { libc::accept4(socket, std::ptr::null_mut(), std::ptr::null_mut(), flags) }) {
            Ok(descriptor) => accepted.push(descriptor),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR)) => {}
            // Nobody, or no descriptor: they wait for whoever has the socket.
            Err(_) => break,
        }
    }
    // What could be set can be set again.
    let _ = set_timeout(socket, before);
    accepted
}

fn before_or_shortest(before: libc::timeval) -> libc::timeval {
    if (before.tv_sec, before.tv_usec) == (0, 0) { SHORTEST } else { before }
}

fn timeout(socket: RawFd) -> io::Result<libc::timeval> {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = socklen::<libc::timeval>();
    let into = (&raw mut time).cast();
    // SAFETY: the pointers are those of `time`, which has as many bytes as `len` says, and of `len`.
    check(unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, into, &raw mut len) })?;
    Ok(time)
}

fn set_timeout(socket: RawFd, time: libc::timeval) -> io::Result<()> {
    let (from, len) = ((&raw const time).cast(), socklen::<libc::timeval>());
    // SAFETY: the pointer and length are those of `time`, which outlives the call.
    check(unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, from, len) }).map(drop)
}

/// Gives a TCP socket that listens already what one's own have. Who waits there, how many may: that changes only where
/// it is said.
pub(crate) fn adopt(socket: BorrowedFd<'_>, options: &TcpOptions, backlog: Option<u32>) -> io::Result<()> {
    prepare(socket.as_raw_fd(), options)?;
    backlog.map_or(Ok(()), |backlog| start_listening(socket.as_raw_fd(), backlog))
}

/// The listening sockets that this process was started with, of which the environment has said how many. From now on
/// they are closed on exec.
pub(crate) fn started_with(count: u32) -> Result<Vec<OwnedFd>, Withheld> {
    if GIVEN.swap(true, Ordering::Relaxed) {
        return Err(Withheld::Given);
    }
    let all = || (FIRST..).zip(0..count).map(|(descriptor, _)| descriptor);
    let checked = all().try_for_each(|descriptor| match family(descriptor) {
        Ok(_) => close_on_exec(descriptor).map_err(|error| Withheld::Unusable(descriptor, Unusable::NoSocket(error))),
        Err(why) => Err(Withheld::Unusable(descriptor, why)),
    });
    if let Err(why) = checked {
        // None was given.
        GIVEN.store(false, Ordering::Relaxed);
        return Err(why);
    }
    // SAFETY: each is open, as was just seen, and this process's to have: whoever has started it says in its
    // environment that so many are, by its id. They are given once, since `GIVEN` is swapped once.
    Ok(all().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect())
}

/// The same of a Unix socket, of which nothing else is set.
pub(crate) fn adopt_unix(socket: BorrowedFd<'_>, backlog: Option<u32>) -> io::Result<()> {
    backlog.map_or(Ok(()), |backlog| start_listening(socket.as_raw_fd(), backlog))
}

fn close_on_exec(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn who_is_left_is_accepted_and_nobody_is_waited_for_although_the_socket_waits() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("bound");
        let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).expect("it listens"));
        let accepted = accept_left(tcp.as_raw_fd());
        assert_eq!(accepted.len(), clients.len());
        // SAFETY: each was just accepted, and is nobody else's.
        drop(accepted.into_iter().map(|it| unsafe { OwnedFd::from_raw_fd(it) }).collect::<Vec<_>>());
        assert!(accept_left(tcp.as_raw_fd()).is_empty());
        let time = timeout(tcp.as_raw_fd()).expect("a socket");
        assert_eq!((time.tv_sec, time.tv_usec), (0, 0), "as it was");
        // As if another had been faster than this one.
        set_timeout(tcp.as_raw_fd(), before_or_shortest(time)).expect("a socket");
        assert_eq!(tcp.accept().expect_err("nobody").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_listens_is_told_from_what_does_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert_eq!(family_of(tcp.as_fd()).expect("it listens"), Family::Tcp);
        let folder = std::env::temp_dir().join(format!("ringress-handed-{}", std::process::id()));
        let unix = UnixListener::bind(&folder).expect("a new name");
        std::fs::remove_file(&folder).expect("it is there");
        assert_eq!(family_of(unix.as_fd()).expect("it listens"), Family::Unix);
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        assert!(matches!(family_of(udp.as_fd()), Err(Unusable::NoStream)));
        let client = std::net::TcpStream::connect(tcp.local_addr().expect("bound")).expect("it listens");
        assert!(matches!(family_of(client.as_fd()), Err(Unusable::Deaf)));
        let file = std::fs::File::open("/dev/null").expect("it is there");
        assert!(matches!(family_of(file.as_fd()), Err(Unusable::NoSocket(_))));
    }
}
