//! The floor: the least a one-thread `io_uring` server can do on this host.
//!
//! It accepts, receives into a ring of provided buffers and sends the same prebuilt answer for
//! every request, one system call per turn. It does not parse: the first request of a connection
//! is measured up to its blank line, and from then on requests are counted by dividing bytes.
//! What the engine costs above this is what HTTP costs.
//!
//! Invariants:
//! - at most one send is in flight per connection;
//! - a send whose success carries no news posts no completion (`tests/send_contract.rs` holds the
//!   kernel to that);
//! - everything a turn decides is queued after the turn's last completion has been read.
//!
//! Absent on purpose: timers, limits, a second listener, requests of changing length. It is a
//! yardstick and must not face anything but a load generator.

mod answer;
mod options;
mod server;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use options::Options;
use ringress_bench::ring::{host, setup};

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
        host::pin(core).map_err(|error| io::Error::new(error.kind(), format!("--core {core}: {error}")))?;
    }
    let listener = listen(options)?;
    let (mut ring, setup) = setup::build(&options.wishes())?;
    println!("floor listening on {}", options.listen);
    eprintln!("floor: {setup}");
    server::Server::new(&ring, options, listener.as_raw_fd())?.run(&mut ring, options)
}

/// A listener whose connections inherit `TCP_NODELAY`, which saves a call per connection.
fn listen(options: &Options) -> io::Result<OwnedFd> {
    const BACKLOG: i32 = 4096;
    let listener = TcpListener::bind(options.listen)?;
    host::set_tcp_option(&listener, libc::TCP_NODELAY, &1_i32.to_ne_bytes())?;
    if !options.congestion.is_empty() {
        host::set_tcp_option(&listener, libc::TCP_CONGESTION, options.congestion.as_bytes())?;
    }
    // A second listen() only changes the backlog; the standard library's is 128.
    host::listen(&listener, BACKLOG)?;
    Ok(listener.into())
}
