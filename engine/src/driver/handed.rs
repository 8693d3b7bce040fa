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

use super::listen::{TcpOptions, prepare, start_listening};
use super::net::check;

/// The first descriptor that a service manager hands over (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

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
