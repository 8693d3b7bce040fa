//! The socket calls that are not worth, or not possible as, ring operations.
//!
//! Invariants: a descriptor opened here is closed on exec and belongs to the caller.
//!
//! Not here: sockets that listen (`listen`), the ring's operations (`uring`), and when a socket is shut or closed (room
//! `shard`).

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU8;

use super::{DISCARDED_MAX, Traffic};
use crate::error::Error;
use crate::mem::Landing;

pub(super) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(super) fn set_option(socket: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = socklen::<i32>();
    // SAFETY: the pointer and length are those of `value`, which outlives the call.
    check(unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), len) }).map(drop)
}

pub(super) fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// Raises the number of descriptors that this process may have to the most that it may ask for (setrlimit(2)).
///
/// # Errors
/// When the kernel refuses it, as it does where the hard limit is above `fs.nr_open` by now.
pub(crate) fn raise_descriptor_limit() -> Result<(), Error> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of `limit`, which outlives the call.
    let read = check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
    let (soft, hard) = (limit.rlim_cur, limit.rlim_max);
    limit.rlim_cur = hard;
    let raised = read.and_then(|_| match soft < hard {
        // SAFETY: as above.
        true => check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop),
        false => Ok(()),
    });
    raised.map_err(|error| {
        let text = format!(
            "raise_descriptor_limit: cannot raise RLIMIT_NOFILE from {soft} to its hard limit of {hard}; raise it by \
            `ulimit -n` before the start, or leave it as it is"
        );
        Error::io(text, error)
    })
}

/// Accepts one connection without waiting.
pub(crate) fn accept_now(listener: RawFd) -> io::Result<OwnedFd> {
    let mut poll = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is that of one `pollfd`, which outlives the call.
    if check(unsafe { libc::poll(&raw mut poll, 1, 0) })? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // SAFETY: null address and length are allowed: the address is not asked for.
    let fd = check(unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) })?;
    // SAFETY: `fd` was opened by the call above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

type NameCall = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

fn name(socket: RawFd, call: NameCall) -> Option<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = socklen::<libc::sockaddr_storage>();
    // SAFETY: the pointer and length are those of `storage`; `call` is getpeername or getsockname.
    check(unsafe { call(socket, storage.as_mut_ptr().cast(), &raw mut len) }).ok()?;
    // SAFETY: all zero bytes are a valid storage, and the kernel wrote over a part of them.
    let storage = unsafe { storage.assume_init() };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which is smaller than and aligned as the storage.
            let v4 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a sockaddr_in6.
            let v6 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The address a socket is bound to.
pub(crate) fn local_address(socket: RawFd) -> Option<SocketAddr> {
    name(socket, libc::getsockname)
}

/// The address of a connection's other end; `None` when it is gone.
pub(crate) fn peer_address(socket: RawFd) -> Option<SocketAddr> {
    name(socket, libc::getpeername)
}

/// Where bytes are received that are thrown away, by all shards at once; nobody reads them. For TCP, the kernel writes
/// nothing there (MSG_TRUNC, tcp(7)), so that it takes no memory; for Unix sockets it does.
static DISCARDED: [AtomicU8; DISCARDED_MAX as usize] = [const { AtomicU8::new(0) }; DISCARDED_MAX as usize];

/// Where to receive what is thrown away, as so many bytes.
pub(super) fn discarded(most: u32) -> (*mut libc::c_void, u32) {
    (DISCARDED.as_ptr().cast_mut().cast(), most.min(DISCARDED_MAX))
}

/// The beginning of the kernel's `struct tcp_info` (linux/tcp.h), of which libc's ends before the last two.
#[repr(C)]
struct TcpInfo {
    _others: [u32; 30],
    bytes_acked: u64,
    bytes_received: u64,
}

/// What has gone over a connection since its beginning (TCP_INFO, tcp(7)).
pub(crate) fn traffic(socket: RawFd) -> io::Result<Traffic> {
    let mut info = TcpInfo { _others: [0; 30], bytes_acked: 0, bytes_received: 0 };
    let mut len = socklen::<TcpInfo>();
    // SAFETY: the pointer and length are those of `info`, which outlives the call and holds numbers alone; the kernel
    // writes at most so many bytes.
    check(unsafe {
        libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut len)
    })?;
    Ok(Traffic { acknowledged: info.bytes_acked, received: info.bytes_received })
}

pub(crate) fn shutdown(socket: RawFd, how: Shutdown) {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: the call takes no pointers. Its only failure is a connection that is already gone, which is what was
    // asked.
    unsafe { libc::shutdown(socket, how) };
}

/// A close of this socket will reset the connection instead of ending it in order.
pub(crate) fn reset_on_close(socket: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and length are those of `linger`, which outlives the call. It cannot fail on a TCP socket.
    unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            socklen::<libc::linger>(),
        )
    };
}

/// Sends up to so many bytes of a file from an offset on (sendfile(2)); gives how many, or the errno. The file's own
/// position is neither used nor changed. On a socket that does not wait, only the file's disk is waited for.
pub(super) fn send_file(socket: RawFd, file: &File, offset: u64, bytes: u32) -> Result<u32, i32> {
    let Ok(mut offset) = i64::try_from(offset) else { return Err(libc::EOVERFLOW) };
    // SAFETY: the offset is a local that outlives the call, which writes it; the rest are numbers.
    let sent = unsafe { libc::sendfile(socket, file.as_raw_fd(), &raw mut offset, bytes as usize) };
    u32::try_from(sent).map_err(|_| errno())
}

/// Reads what there is room for: of a file from an offset on, or, of what has no places, what comes next. Gives how
/// many bytes, 0 at the end, or the errno. Only a disk is waited for; bytes that others have taken meanwhile are
/// EAGAIN, or waited for where the kernel has no read of pipes that does not (before Linux 6.4).
pub(super) fn read_file(file: RawFd, offset: Option<u64>, into: Landing) -> Result<usize, i32> {
    let (address, len) = (into.address.as_ptr().cast::<libc::c_void>(), into.len as usize);
    let place = libc::iovec { iov_base: address, iov_len: len };
    loop {
        let read = match offset.map(i64::try_from) {
            // SAFETY: a `Landing` is so many bytes of the arena that were lent to be read into; nobody else uses them
            // until the read has ended, which is when the call returns.
            Some(Ok(offset)) => unsafe { libc::pread(file, address, len, offset) },
            Some(Err(_)) => return Err(libc::EOVERFLOW),
            // SAFETY: as above; `place` outlives the call.
            None => match unsafe { libc::preadv2(file, &raw const place, 1, -1, libc::RWF_NOWAIT) } {
                // SAFETY: as above.
                ..0 if is_unknown(errno()) => unsafe { libc::read(file, address, len) },
                read => read,
            },
        };
        match usize::try_from(read) {
            Ok(bytes) => return Ok(bytes),
            Err(_) if errno() == libc::EINTR => {}
            Err(_) => return Err(errno()),
        }
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn is_unknown(errno: i32) -> bool {
    matches!(errno, libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)
}

/// An event counter that does not wait (eventfd(2)).
pub(super) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: `fd` was opened by the call above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Keeps every signal from the current thread: handlers run on others, and SIGPIPE, which sendfile(2) cannot be told to
/// leave out, stays an error.
pub(super) fn block_signals() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is that of a set, which the call fills.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled by the call above and outlives this one; what held before is not asked for. It cannot
    // fail: the way is a valid one.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
}

pub(crate) fn close(descriptor: RawFd) {
    drop(release(descriptor));
}

/// Makes a descriptor the caller's to close.
pub(crate) fn release(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the descriptor was given to the shard by the kernel as its own, and the shard closes it or gives it away
    // once, after which it names it no more.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Makes a socket wait again for calls that would block: what the ring needs of it (O_NONBLOCK) is not what the next
/// owner expects. Nothing else of its flags can be set by this call.
pub(super) fn let_wait(socket: RawFd) {
    // SAFETY: the call takes no pointers. It cannot fail for a socket, which this is.
    unsafe { libc::fcntl(socket, libc::F_SETFL, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use crate::driver::listen::{BACKLOG, TcpOptions, bind_all, start_listening};

    fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<OwnedFd>> {
        let sockets = bind_all(address, count, &TcpOptions::default())?;
        sockets.iter().try_for_each(|socket| start_listening(socket.as_raw_fd(), BACKLOG))?;
        Ok(sockets)
    }

    fn loopback() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    #[test]
    fn listeners_share_a_port_among_themselves_and_with_nobody_else() {
        let sockets = listen(loopback(), 3).expect("a free port");
        let addresses: Vec<_> = sockets.iter().map(|socket| local_address(socket.as_raw_fd())).collect();
        assert!(addresses.iter().all(|address| address.is_some() && *address == addresses[0]));
        let taken = addresses[0].expect("bound");
        let error = listen(taken, 2).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn accepted_sockets_know_both_addresses() {
        let listener = listen(loopback(), 1).expect("a free port").remove(0);
        assert_eq!(accept_now(listener.as_raw_fd()).expect_err("nobody").kind(), io::ErrorKind::WouldBlock);
        let address = local_address(listener.as_raw_fd()).expect("bound");
        let client = TcpStream::connect(address).expect("listening");
        let server = accept_now(listener.as_raw_fd()).expect("connected");
        assert_eq!(peer_address(server.as_raw_fd()), client.local_addr().ok());
        assert_eq!(local_address(server.as_raw_fd()), Some(address));
    }

    #[test]
    fn traffic_counts_what_was_acknowledged_and_what_has_come() {
        let listener = listen(loopback(), 1).expect("a free port").remove(0);
        let address = local_address(listener.as_raw_fd()).expect("bound");
        let mut client = TcpStream::connect(address).expect("listening");
        let mut server = TcpStream::from(accept_now(listener.as_raw_fd()).expect("connected"));
        let seen = |server: &TcpStream| traffic(server.as_raw_fd()).expect("a connection");
        let await_all = |server: &TcpStream, all: Traffic| {
            let begun = std::time::Instant::now();
            while seen(server) != all {
                assert!(begun.elapsed().as_secs() < 20, "{:?} instead of {all:?}", seen(server));
                std::thread::yield_now();
            }
        };
        assert_eq!(seen(&server), Traffic::default());
        server.set_nonblocking(true).expect("a socket");
        let mut written = 0;
        while let Ok(bytes) = server.write(&[7; 65_536]) {
            written += bytes;
        }
        assert!(seen(&server).acknowledged < written as u64, "what the client has no room for");
        client.read_exact(&mut vec![0; written]).expect("all is on its way");
        client.write_all(&[7; 1000]).expect("there is room");
        await_all(&server, Traffic { acknowledged: written as u64, received: 1000 });
        assert!(traffic(-1).is_err());
    }

    #[test]
    fn what_is_accepted_has_the_buffers_of_what_listens() {
        let options = TcpOptions { buffer: Some(10_000), ..TcpOptions::default() };
        let listener = bind_all(loopback(), 1, &options);
        let listener = listener.expect("a free port").remove(0);
        start_listening(listener.as_raw_fd(), BACKLOG).expect("it is bound");
        let address = local_address(listener.as_raw_fd()).expect("it is bound");
        let _client = TcpStream::connect(address).expect("it listens");
        let listener = std::net::TcpListener::from(listener);
        let (accepted, _) = listener.accept().expect("a client has connected");
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            let (mut bytes, mut len) = (0_i32, socklen::<i32>());
            // SAFETY: the pointers are those of `bytes`, which has as many bytes as `len` says, and of `len`.
            let got = unsafe {
                libc::getsockopt(accepted.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut bytes).cast(), &raw mut len)
            };
            // The kernel doubles what it is told.
            assert_eq!((got, bytes), (0, 20_000));
        }
    }
}
