//! The few calls to the host that the standard library does not offer: cores, clocks, limits and socket options.

use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One core, to be bound to: made where there is time to say what is wrong with it.
#[derive(Clone, Copy)]
pub struct Core(libc::cpu_set_t);

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

impl Core {
    /// The core of this number.
    ///
    /// # Errors
    /// No system has so many cores.
    pub fn new(core: usize) -> io::Result<Self> {
        const CORES_MAX: usize = libc::CPU_SETSIZE as usize;
        if core >= CORES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("cores are below {CORES_MAX}")));
        }
        let mut set = no_cores();
        // SAFETY: `core` is below CPU_SETSIZE, checked above, so the bit lies inside the set.
        unsafe { libc::CPU_SET(core, &mut set) };
        Ok(Self(set))
    }

    /// Binds the calling thread, and what it starts from now on. Allocates nothing: fit for use between fork and exec.
    ///
    /// # Errors
    /// There is no such core, or this process may not run on it.
    pub fn pin(&self) -> io::Result<()> {
        // SAFETY: the set is live and the size passed is its own.
        let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &raw const self.0) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Binds the calling thread to one core.
///
/// # Errors
/// There is no such core, or this process may not run on it; the error names those it may run on.
pub fn pin(core: usize) -> io::Result<()> {
    let Err(error) = Core::new(core)?.pin() else { return Ok(()) };
    Err(io::Error::new(error.kind(), format!("{error}; this process may run on cores {:?}", cores()?)))
}

/// The cores that the calling thread may run on, in order.
///
/// # Errors
/// The host has more cores than the call can name.
pub fn cores() -> io::Result<Vec<usize>> {
    let mut set = no_cores();
    // SAFETY: `set` is a live cpu_set_t, and the kernel writes at most the size passed, which is its own.
    let rc = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: each core asked about is below CPU_SETSIZE, so its bit lies inside the set.
    let may_run = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(may_run).collect())
}

fn no_cores() -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers, for which all zero bits are a value.
    unsafe { mem::zeroed() }
}

/// The CPU time that the calling thread has used, user and system, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec, and the call writes nothing else.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    debug_assert_eq!(rc, 0, "every thread has this clock");
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The CPU time that a process has used, user and system, all its threads and the ring's workers, in nanoseconds.
///
/// # Errors
/// There is no such process.
pub fn process_cpu_ns(process: u32) -> io::Result<u64> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: `clock` is a live clock id, and the call writes nothing else.
    let error = unsafe { libc::clock_getcpuclockid(process, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec, and the call writes nothing else.
    let rc = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Has timers of the calling thread ring when they are due, not when it suits the kernel (50 us later by default).
pub fn exact_timers() {
    const ONE_NANOSECOND: libc::c_ulong = 1;
    // A refusal costs precision and nothing else.
    // SAFETY: this option takes a number and no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ONE_NANOSECOND) };
}

/// Raises the limit of open descriptors as far as this process may; the limit then.
///
/// # Errors
/// The host does not tell its limits.
pub fn raise_descriptors_max() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit, and the call writes nothing else.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: `raised` is a live rlimit that the call only reads.
    let rc = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    Ok(if rc == 0 { raised.rlim_cur } else { limit.rlim_cur })
}

/// A TCP socket for the family of `address`, which sends what it is given at once.
///
/// # Errors
/// No descriptor or no memory is left.
pub fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes numbers, no memory.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set_tcp_option(&socket, libc::TCP_NODELAY, &1_i32.to_ne_bytes())?;
    Ok(socket)
}

/// Gives a socket a source address made by [`super::lasting::socket_address`]; connecting chooses the port.
///
/// # Errors
/// The address is none of this host's.
pub fn bind_source(socket: &impl AsFd, source: &'static [u8]) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32.to_ne_bytes())?;
    let len = libc::socklen_t::try_from(source.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `len` bytes at the address of `source`, which has as many.
    let rc = unsafe { libc::bind(socket.as_fd().as_raw_fd(), source.as_ptr().cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends one direction of a connection, or both, which also ends its receive. That it may be gone is no error.
///
/// A call of its own and no entry of a ring: those run later on a thread of the kernel, which looks the descriptor up
/// by its number, and may find the next connection under it.
pub fn shutdown(socket: u32, how: Shutdown) {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    let Ok(socket) = i32::try_from(socket) else { return };
    // SAFETY: takes numbers, no memory.
    unsafe { libc::shutdown(socket, how) };
}

/// Has the close of a connection reset it, so that a peer that goes on sending learns of it at once.
pub fn reset_on_close(socket: u32) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = libc::socklen_t::try_from(size_of_val(&linger)).expect("a linger is small");
    let Ok(socket) = i32::try_from(socket) else { return };
    // A refusal leaves an orderly close.
    // SAFETY: the kernel reads `len` bytes at the address of `linger`, which has as many.
    unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len) };
}

/// Closes a descriptor that its owner gave out as a number. What a ring still does with the file goes on.
///
/// # Safety
/// 1. The caller owns the descriptor, and nobody uses its number any more: the next file opened may get it.
pub unsafe fn close(socket: u32) {
    let Ok(socket) = i32::try_from(socket) else { return };
    // SAFETY: takes a number and no memory, and the descriptor is the caller's to close (1.).
    unsafe { libc::close(socket) };
}

/// Has every call on a socket fail that would wait.
///
/// # Errors
/// There is no such socket.
pub fn never_wait(socket: u32) -> io::Result<()> {
    let socket = i32::try_from(socket).map_err(io::Error::other)?;
    // SAFETY: takes numbers, no memory.
    let flags = unsafe { libc::fcntl(socket, libc::F_GETFL) };
    // SAFETY: as above.
    let rc = unsafe { libc::fcntl(socket, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    if flags >= 0 && rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends what a socket has room for, of bytes that more will follow; how many they were.
///
/// # Errors
/// There is no room, or no peer any more.
pub fn send_and_more(socket: u32, bytes: &[u8]) -> io::Result<usize> {
    let socket = i32::try_from(socket).map_err(io::Error::other)?;
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_MORE;
    // SAFETY: the kernel reads as many bytes as there are, and keeps none of the addresses.
    let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends a range of a file to a socket, as far as there is room if the socket does not wait; how many bytes they were.
/// Pages that are not in memory are read from the disk meanwhile.
///
/// # Errors
/// There is no room, or no peer any more; the file cannot be read.
pub fn send_file(socket: u32, file: &impl AsFd, offset: u64, len: usize) -> io::Result<usize> {
    let socket = i32::try_from(socket).map_err(io::Error::other)?;
    let mut offset = i64::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: `offset` is a live number, and the call writes nothing else.
    let sent = unsafe { libc::sendfile(socket, file.as_fd().as_raw_fd(), &raw mut offset, len) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// A pipe that holds so many bytes: its end to read, its end to write.
///
/// # Errors
/// No descriptor is left, or the pipe is larger than this process may have (`/proc/sys/fs/pipe-max-size`).
pub fn pipe(bytes: usize) -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors to an array of two.
    let rc = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else knows it.
    let ends = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let bytes = i32::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: takes numbers, no memory.
    let rc = unsafe { libc::fcntl(ends[1].as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
    if rc >= 0 { Ok(ends) } else { Err(io::Error::last_os_error()) }
}

/// A counter that threads wake each other with: a write of 8 bytes adds to it, a read takes it, waiting while it is 0.
///
/// # Errors
/// No descriptor is left.
pub fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers, no memory.
    let counter = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if counter < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(counter) })
}

/// The bytes of a file as the page cache has them, for ever; a page that is not there is read when it is touched.
///
/// # Safety
/// 1. Nobody changes or cuts the file while this process runs.
///
/// # Errors
/// The file cannot be mapped.
pub unsafe fn map(file: &impl AsFd, len: usize) -> io::Result<&'static [u8]> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: a new mapping at an address of the kernel's choice touches no other.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping has `len` bytes, is never ended, and its file never changes (1.).
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// Listens on a bound socket, or changes the backlog of one that listens.
///
/// # Errors
/// The socket is not bound.
pub fn listen(socket: &impl AsFd, backlog: i32) -> io::Result<()> {
    // SAFETY: takes a descriptor and a number, no memory.
    let rc = unsafe { libc::listen(socket.as_fd().as_raw_fd(), backlog) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option of a TCP socket.
///
/// # Errors
/// The kernel does not know the option, or refuses the value.
pub fn set_tcp_option(socket: &impl AsFd, name: i32, value: &[u8]) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, name, value)
}

fn set_option(socket: &impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `len` bytes at the address of `value`, which has as many.
    let rc = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
