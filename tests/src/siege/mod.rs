//! Loads that press on a server until something is short, each with clients that must be served all the same.
//!
//! A load knows no engine: it is given an address, and asks for paths that the showcase has and an nginx can be set up
//! to have. It is bounded in time and in what it opens, in two sizes: for CI, against a server with small pools, and in
//! full, against a server at its defaults. Attackers come from 127.0.0.1, good clients beside them each from another
//! address of 127.0.0.0/8; where a load is nothing but many honest clients, they are those that must be served.
//!
//! docs/reliability.md has the table of what came of them, `scripts/siege` makes it.

mod ask;
mod capacity;
mod crowd;
mod crowds;
mod ghosts;
mod held;
mod nginx;
mod outcome;
mod pieces;
mod queues;
mod readers;
mod reply;
mod rows;
mod silent;
mod uploads;
mod upstream;

use std::net::SocketAddr;
use std::time::Duration;

pub use ask::Ask;
pub use nginx::Nginx;
pub use outcome::{Outcome, Served};
pub use rows::{Limits, Must, ROWS, Row, row};

/// How large a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A few seconds, also for a debug build on a busy machine.
    Ci,
    /// As in the table.
    Full,
}

impl Scale {
    fn pick<T>(self, ci: T, full: T) -> T {
        match self {
            Self::Ci => ci,
            Self::Full => full,
        }
    }

    /// How long good clients beside a load wait for each answer.
    fn patience(self) -> Duration {
        // What a debug build on a busy machine does in two seconds says nothing.
        self.pick(Duration::from_secs(8), Duration::from_secs(2))
    }

    /// How long good clients ask beside a load.
    fn length(self) -> Duration {
        self.pick(Duration::from_millis(1_500), Duration::from_secs(8))
    }
}

/// A request without a body.
fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A request with a body of so many bytes.
fn post(path: &str, bytes: usize) -> Vec<u8> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    request.resize(request.len() + bytes, b'p');
    request
}

/// Good clients that ask for something short.
fn short(clients: usize) -> (&'static str, Ask) {
    ("others", Ask::beside(clients, get("/plaintext")))
}

/// What a load needs: where to, and how much.
type Load = fn(SocketAddr, Scale) -> Outcome;
