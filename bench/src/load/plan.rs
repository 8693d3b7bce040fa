//! What to ask, of whom, how fast and for how long.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;

const DEPTH_MAX: u32 = 1_024;

/// Requests a second: the clock has no shorter interval than a nanosecond.
const RATE_MAX: f64 = 1e9;

/// A load to be run once.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server. [`super::run`] refuses any other than a loopback address unless `target_is_mine`.
    pub target: SocketAddr,
    /// The caller owns the target and wants it under load.
    pub target_is_mine: bool,
    /// One thread for each, pinned to it; not empty.
    pub cores: Vec<usize>,
    /// Over all threads, at least one a thread; each has a request under way from the start of the warm-up on.
    pub connections: u32,
    /// Further connections that send nothing after one answered request, and are only kept open.
    pub idle_connections: u32,
    /// Requests that a connection has under way at most, 1 to 1,024.
    pub depth: u32,
    /// Requests after which a connection is closed and made anew; never if absent.
    pub requests_per_connection: Option<u32>,
    /// When requests are sent.
    pub pace: Pace,
    /// Driven, but left out of the figures.
    pub warm_up: Duration,
    /// What the figures count.
    pub duration: Duration,
    /// How long an answer may take before it is a fault and its connection is made anew; and how long making a
    /// connection may take. All first connections together have this time or 5 s, whichever is longer, before the load
    /// begins with those that stand.
    pub timeout: Duration,
    /// Sent in turn by each connection; not empty.
    pub exchanges: Vec<Exchange>,
}

impl Plan {
    /// One connection on core 0 for a second, closed loop, after a tenth of warm-up; no exchanges yet.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            target_is_mine: false,
            cores: vec![0],
            connections: 1,
            idle_connections: 0,
            depth: 1,
            requests_per_connection: None,
            pace: Pace::AsAnswered,
            warm_up: Duration::from_millis(100),
            duration: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            exchanges: Vec::new(),
        }
    }

    /// What [`super::run`] asks of a plan before it opens anything.
    ///
    /// # Errors
    /// One line that names the setting, its value, the limit and the remedy.
    pub fn check(&self) -> Result<()> {
        let Self { target, connections, depth, .. } = self;
        let cores = self.cores.len();
        ensure!(
            self.target_is_mine || target.ip().to_canonical().is_loopback(),
            "{target} is not a loopback address; a load may harm whoever answers there. Remedy: if it is yours, say \
            --i-own-the-target"
        );
        ensure!(cores > 0, "no core to run on. Remedy: name at least one in --cores");
        ensure!(
            *connections as usize >= cores,
            "{connections} connections (--connections) for {cores} cores (--cores): each core needs at least one"
        );
        ensure!(
            (1..=DEPTH_MAX).contains(depth),
            "{depth} requests under way a connection (--depth): it must be 1 to {DEPTH_MAX}"
        );
        ensure!(
            self.requests_per_connection != Some(0),
            "0 requests a connection (--requests-per-connection): it must be at least 1"
        );
        if let Pace::Rate(rate) = self.pace {
            ensure!(
                rate > 0.0 && rate <= RATE_MAX,
                "{rate:?} requests a second (--rate): it must be above 0 and at most {RATE_MAX}"
            );
        }
        ensure!(!self.duration.is_zero(), "nothing is measured in no time. Remedy: a --duration above 0");
        ensure!(!self.timeout.is_zero(), "no answer takes no time. Remedy: a --timeout above 0");
        ensure!(!self.exchanges.is_empty(), "there is no request to send");
        let empty = self.exchanges.iter().position(|exchange| exchange.request.is_empty());
        ensure!(empty.is_none(), "request {} has no bytes", empty.unwrap_or(0) + 1);
        Ok(())
    }
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: as soon as an answer makes room.
    AsAnswered,
    /// Open loop: so many a second over all connections, evenly, whether answers come or not; above 0, and
    /// at most 1e9.
    Rate(f64),
}

/// A request and the answer it must get.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The bytes of head and body, as they are sent.
    pub request: Bytes,
    /// The method is HEAD: the answer has no body whatever its Content-Length says.
    pub is_head: bool,
    /// What a right answer is.
    pub expected: Expectation,
}

/// What an answer must be to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Any of 200 to 299 if absent.
    pub status: Option<u16>,
    /// Length of the body in bytes, decoded if it is chunked; any if absent. For HEAD, what a Content-Length says.
    pub body_bytes: Option<u64>,
    /// The body itself; any if absent. For HEAD it is not compared.
    pub body: Option<Bytes>,
}
