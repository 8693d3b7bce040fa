//! Clients that keep consumers busy: they have more requests waiting than there is room for, and ask again.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::ask::{address_of, beside};
use super::held::{Held, Window};
use super::{Outcome, Scale, get, short};
use crate::pace::pause_until;

/// A consumer is held by each for a millisecond.
const WORK: &str = "/work/1";
/// Where greedy clients come from that each have an address.
const GREEDY_NETWORK: u8 = 2;

/// One address asks for more than the queue takes: of these, all connections ask again and again.
pub(super) fn filled(address: SocketAddr, scale: Scale) -> Outcome {
    let connections = scale.pick(150, 1_000);
    keep_busy(address, scale, (0..connections).map(|_| Ipv4Addr::LOCALHOST), 1)
}

/// As many addresses as slots are kept for newcomers ask for more slots together than there are.
pub(super) fn greedy_addresses(address: SocketAddr, scale: Scale) -> Outcome {
    let addresses = scale.pick(16, 64);
    keep_busy(address, scale, (0..addresses).map(|index| address_of(GREEDY_NETWORK, index)), 16)
}

fn keep_busy(address: SocketAddr, scale: Scale, sources: impl Iterator<Item = Ipv4Addr>, requests: usize) -> Outcome {
    let mut held = Held::connect_from(sources, address, Window::Usual);
    let end = Instant::now() + scale.length();
    let (parts, ()) = beside(address, scale.patience(), vec![short(16)], || {
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_millis(100);
            held.send(&get(WORK).repeat(requests));
            held.take(64 * 1024);
            pause_until(next);
        }
    });
    held.reset();
    Outcome::of(parts)
}
