//! Ports for listeners that begin, end and begin again.
//!
//! Not from the range out of which the kernel gives ports to clients and to whoever asks for any: one of those may be
//! another's as soon as it is free, and a client that connects to it where nobody listens may meet itself.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The lowest port that is given out here.
const LOWEST: u32 = 10_000;

/// A port that nobody listens on, never the same one twice in a process.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux has it");
    let end: u32 = range.split_whitespace().next().and_then(|lowest| lowest.parse().ok()).expect("two numbers");
    let count = end.checked_sub(LOWEST).filter(|count| *count > 0).expect("ports below those of clients");
    // Processes that run at the same time begin far from one another.
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..count {
        let port = LOWEST + first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(port).expect("below a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("every port from {LOWEST} to {end} is taken");
}
