//! Ways to send a file, or bytes that are in memory: the same server with each, to be weighed against one another.
//!
//! `ways serve WAY FILE` answers every request with the whole file; `ways measure` starts such servers in turn, loads
//! each and prints what an answer costs. What came of it: `docs/perf/sending.md`.
//!
//! Invariants:
//! - a connection has one operation under way besides its receive, except a head that goes ahead of a splice;
//! - a request is what ends with a blank line at the end of a receive: clients neither pipeline nor send bodies;
//! - all ways share everything but the sending.
//!
//! Absent on purpose: parsing, limits, timers, a bound on memory (a cell, a pipe for each connection). It is a
//! yardstick and must not face anything but a load generator.
//!
//! Kernel: 6.2, for the report whether zero copy copied.

mod answer;
mod helper;
mod measure;
mod server;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use ringress_bench::ring::{Knobs, Submissions, Wishes, host, setup};

/// Ways to send a file or memory over `io_uring`, to be weighed against one another.
#[derive(Debug, Parser)]
#[command(name = "ways")]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Answer every request with a file, in one way
    Serve(Serve),
    /// Start a server for each case and size, load them in turn, print CPU us a request
    Measure(measure::Arguments),
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// The ring reads a piece into the connection's cell and sends it, the first one with the head
    ReadSend,
    /// As read-send, the send linked to the read: both in one submission, and one completion
    ReadLinked,
    /// As read-send, each read on a worker of the ring
    ReadAsync,
    /// The ring splices pieces to the connection's pipe and from there to the socket
    Splice,
    /// sendfile(2) on a thread beside the ring's
    Sendfile,
    /// sendfile(2) on the ring's own thread, which a page that is not cached holds up
    SendfileInline,
    /// The file is mapped: head and mapping in one operation
    Mapped,
    /// The file was read at start-up: head and memory in one operation, or in pieces
    Memory,
    /// As memory, but the body is copied behind the head for each answer
    Copy,
    /// As memory, by SENDMSG_ZC
    SendZc,
    /// By SEND_ZC from a registered buffer that holds head and body
    SendZcFixed,
}

impl Way {
    /// It has the ring read into cells.
    fn reads(self) -> bool {
        matches!(self, Self::ReadSend | Self::ReadLinked | Self::ReadAsync)
    }
}

#[derive(Args, Clone, Debug)]
struct Serve {
    /// How to send
    way: Way,
    /// What to send; it must not change while this runs
    file: PathBuf,
    /// Bytes of a piece, for the ways that have pieces; 65536 if absent, and everything at once for memory
    #[arg(long, value_name = "BYTES")]
    piece: Option<u32>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The core to run on
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
}

fn main() -> ExitCode {
    let result = match Command::parse().what {
        What::Serve(options) => serve(&options),
        What::Measure(arguments) => measure::run(&arguments),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("ways: {error:#}");
    ExitCode::FAILURE
}

fn serve(options: &Serve) -> Result<()> {
    const BACKLOG: i32 = 4096;
    if let Some(core) = options.core {
        host::pin(core).with_context(|| format!("--core {core}"))?;
    }
    let answer = answer::Answer::new(options.way, &options.file, options.piece)?;
    let listener = TcpListener::bind(options.listen).with_context(|| format!("--listen {}", options.listen))?;
    // Connections inherit it.
    host::set_tcp_option(&listener, libc::TCP_NODELAY, &1_i32.to_ne_bytes())?;
    host::listen(&listener, BACKLOG)?;
    let (mut ring, _) = setup::build(&Wishes::default())?;
    println!("ways listening on {}", listener.local_addr()?);
    let buffers = server::buffers(&ring)?;
    let (submitter, queue, completions) = ring.split();
    let mut out = Submissions::new(submitter, queue, Knobs::default())?;
    let server = server::Server::new(answer, listener.as_raw_fd(), buffers, &mut out)?;
    server.run(completions, &mut out)?;
    Ok(())
}
