//! Clients that ask for a lot and leave, or do not take it: what they have asked for must cost others nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ask::beside;
use super::held::{Held, Window};
use super::{Outcome, Scale, get, short};
use crate::pace::{pause, pause_until};

/// What one connection asks for ahead of its answers.
const PIPELINED: usize = 64;
const AT_A_TIME: usize = 10;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Reset,
    Close,
}

/// Connections that each send 64 requests for something slow, and are reset.
pub(super) fn reset(address: SocketAddr, scale: Scale) -> Outcome {
    ghosts(address, scale, Leaving::Reset)
}

/// As [`reset`], but they are closed: the server sees their end of input, not that nobody listens.
pub(super) fn closed(address: SocketAddr, scale: Scale) -> Outcome {
    ghosts(address, scale, Leaving::Close)
}

fn ghosts(address: SocketAddr, scale: Scale, leaving: Leaving) -> Outcome {
    let (connections, path) = scale.pick((20, "/slow/6000"), (300, "/slow/20000"));
    // Before what the ghosts have asked for is answered, and its slots are free.
    let patience = scale.pick(Duration::from_secs(4), scale.patience());
    for _ in 0..connections / AT_A_TIME {
        let mut held = Held::connect(address, AT_A_TIME, Window::Usual);
        for _ in 0..PIPELINED {
            held.send(&get(path));
            // Else a reset takes back what the server has not read.
            pause(Duration::from_micros(700));
        }
        pause(Duration::from_millis(20));
        match leaving {
            Leaving::Reset => held.reset(),
            Leaving::Close => drop(held),
        }
    }
    let (parts, ()) = beside(address, patience, vec![short(16)], || pause(scale.length()));
    Outcome::of(parts)
}

/// Slow readers of something long that have asked for 63 short things behind it.
pub(super) fn slow_readers(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, scale.pick(20, 300), Window::Narrow);
    held.send(&get("/bytes/10000000"));
    for _ in 1..PIPELINED {
        held.send(&get("/plaintext"));
    }
    let end = Instant::now() + scale.length();
    let (parts, ()) = beside(address, scale.patience(), vec![short(16)], || {
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_millis(200);
            // Just more than the least rate of 150 bytes a second.
            held.take(32);
            pause_until(next);
        }
    });
    held.reset();
    Outcome::of(parts)
}
