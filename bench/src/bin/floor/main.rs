//! The floor: the least a one-thread `io_uring` server can do on this host.
//!
//! It accepts, receives into a ring of provided buffers and sends the same prebuilt answer for
//! every request, one system call per turn. It does not parse: the first request of a connection
//! is measured up to its blank line, and from then on requests are counted by dividing bytes.
//! What the engine costs above this is what HTTP costs.
//!
//! Laws:
//! - at most one send is in flight per connection;
//! - a send whose success carries no news posts no completion (`tests/send_contract.rs` holds the
//!   kernel to that);
//! - everything a turn decides is queued after the turn's last completion has been read.
//!
//! Absent on purpose: timers, limits, a second listener, requests of changing length. It is a
//! yardstick and must not face anything but a load generator.

mod answer;
mod buffers;
mod options;
mod ring;
mod server;
mod submit;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("floor: {reason}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let Err(error) = start(&options);
    eprintln!("floor: {error}");
    ExitCode::FAILURE
}

fn start(options: &Options) -> io::Result<std::convert::Infallible> {
    if let Some(core) = options.core {
        pin(core)?;
    }
    let listener = listen(options)?;
    let (mut ring, setup) = ring::build(options)?;
    println!("floor listening on {}", options.listen);
    eprintln!("floor: {setup}");
    server::Server::new(&ring, options, listener.as_raw_fd())?.run(&mut ring, options)
}

/// Binds the calling thread, the only one there is, to one core.
fn pin(core: usize) -> io::Result<()> {
    const CORES_MAX: usize = libc::CPU_SETSIZE as usize;
    if core >= CORES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("--core must be below {CORES_MAX}")));
    }
    // SAFETY: a cpu_set_t is an array of integers, for which all zero bits are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE, checked above, so the bit lies inside the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a live cpu_set_t and the size passed is its own.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A listener whose connections inherit `TCP_NODELAY`, which saves a call per connection.
fn listen(options: &Options) -> io::Result<OwnedFd> {
    const BACKLOG: libc::c_int = 4096;
    let listener = TcpListener::bind(options.listen)?;
    set_tcp_option(&listener, libc::TCP_NODELAY, &1_i32.to_ne_bytes())?;
    if !options.congestion.is_empty() {
        set_tcp_option(&listener, libc::TCP_CONGESTION, options.congestion.as_bytes())?;
    }
    // A second listen() only changes the backlog; the standard library's is 128.
    // SAFETY: takes a descriptor and a number, no memory.
    let rc = unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) };
    if rc == 0 { Ok(listener.into()) } else { Err(io::Error::last_os_error()) }
}

fn set_tcp_option(socket: &TcpListener, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel reads `len` bytes at the address of `value`, which has as many.
    let rc = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, name, value.as_ptr().cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
