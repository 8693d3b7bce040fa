//! A load gives its memory back when it has ended: one that compares servers runs hundreds of them in one process.

mod load_support;

use std::io::Write;

use load_support::{RIGHT, Server, Then, assert_clean, plan, report};
use ringress_bench::load::{Exchange, Plan};

const BODY_BYTES: usize = 8 << 20;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("every process has one");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every status has this line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

fn one_load(body: &[u8]) {
    // Each server has another port, and so each load other requests.
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(RIGHT.as_bytes());
        Then::KeepOpen
    });
    let exchange = Exchange::post(&server.address.to_string(), "/", body);
    assert_clean(&report(&Plan { connections: 1, exchanges: vec![exchange], ..plan(&server) }));
}

#[test]
fn loads_that_follow_each_other_do_not_grow_by_their_requests() {
    const LOADS: usize = 8;
    let body = vec![b'x'; BODY_BYTES];
    // What the allocator keeps for reuse is there after the first ones.
    (0..2).for_each(|_| one_load(&body));
    let before = resident_bytes();
    (0..LOADS).for_each(|_| one_load(&body));
    let growth = resident_bytes().saturating_sub(before);
    assert!(growth < LOADS * BODY_BYTES / 2, "{LOADS} loads of {BODY_BYTES} bytes have left {growth} bytes behind");
}
