//! `ringress doctor`: what a host gives the engine, one line each.
//!
//! Invariants: what can be tried is tried, by the engine itself; files of the kernel's are read for what cannot, and
//! for causes; one that cannot be read is no reason to end. `broken` means that the engine cannot start, or not where
//! it is wanted, and nothing else does.
//!
//! Not here: how findings look (`report`), what the kernel's files say (`texts`, `cgroup`, `sockets`).

mod cgroup;
mod confinement;
mod cores;
mod limits;
mod network;
mod ports;
mod report;
mod sockets;
mod texts;
mod trials;

use std::net::SocketAddr;

use self::report::Report;

/// What the engine is, for what is said of the host around it.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// It has started, over io_uring.
    has_io_uring: bool,
    shards: usize,
    /// That one of its processes may have.
    connections: u64,
    resident_max: u64,
    reserved: u64,
}

/// Looks at everything. Gives the text, and whether nothing is broken.
pub(crate) fn examine(addresses: &[SocketAddr], as_json: bool) -> (String, bool) {
    let mut report = Report::default();
    let engine = trials::examine(&mut report);
    let outcome = trials::outcome(engine.as_ref());
    confinement::examine(&mut report, &outcome);
    limits::examine(&mut report, &outcome);
    cores::examine(&mut report, &outcome);
    network::examine(&mut report);
    ports::examine(&mut report, engine.as_ref(), addresses);
    let driver = engine.as_ref().map(|engine| engine.driver().to_string());
    (if as_json { report.json(driver.as_deref()) } else { report.text() }, !report.is_broken())
}

/// A file of the kernel's, without the spaces around it; nothing where it cannot be read.
fn read(path: impl AsRef<std::path::Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
