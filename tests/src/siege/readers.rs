//! Clients that ask for files and long responses, and hardly read them.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Ask, Outcome, Scale, get, short};
use crate::pace::pause;

/// As long as goes through a cell between a disk and a socket.
const FILE_BYTES: usize = 30_000;
/// More than the kernel takes of one connection's responses, and so few that their requests come in one piece.
const PIPELINED: usize = 8;
const LONG_BYTES: u64 = 1_000_000_000;

/// Writes what these loads ask for below a root of files.
pub(super) fn write_files(root: &Path) -> std::io::Result<()> {
    fs::write(root.join("short.bin"), vec![b'f'; FILE_BYTES])?;
    fs::write(root.join("other.bin"), vec![b'o'; FILE_BYTES])?;
    // Takes no room: nothing is written to it.
    File::create(root.join("long.bin"))?.set_len(LONG_BYTES)
}

/// Clients with narrow windows that ask for a short file again and again and do not read it, beside others that read
/// another one.
pub(super) fn short_files(address: SocketAddr, scale: Scale) -> Outcome {
    // As many as there are cells, also for CI: their number cannot be set.
    let mut held = Held::connect(address, 1_100, Window::Narrow);
    held.send(&get("/file/short.bin").repeat(PIPELINED));
    let good = vec![("short files", Ask::beside(16, get("/file/other.bin"))), short(8)];
    let (parts, ()) = beside(address, scale.patience(), good, || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}

/// Clients that ask for 1 GB and read nothing.
pub(super) fn long_responses(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, scale.pick(60, 2_000), Window::Usual);
    let (parts, ()) = beside(address, scale.patience(), vec![short(16)], || {
        held.send(&get("/bytes/1000000000"));
        pause(scale.length());
    });
    held.reset();
    Outcome::of(parts)
}
