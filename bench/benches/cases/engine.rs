//! The engine's rooms between a parsed head and its application: find its queue, go there, come back; and the small
//! rooms that a shard is made of. The feature `bench-door` opens them.
//!
//! A hop is on one thread, with everything hot in cache and nobody asleep: it is what the hand-over costs in
//! instructions, not what moving cache lines between cores or waking a sleeper adds.

use std::hint::black_box;

use ringress::bench_door::{Buffers, Hop, Local, RouteTable, Slots, Timers};

use crate::case::{Amount, Case, Entry, entry};

pub(crate) fn entries() -> Vec<Entry> {
    [route(), queue(), small_rooms()].into_iter().flatten().collect()
}

const HOST: &[u8] = b"www.adatum.com";

fn three() -> RouteTable {
    let urls = [("http://+:8080/health/", 1), ("http://www.adatum.com:8080/api/", 2), ("http://*:8080/", 3)];
    RouteTable::new(urls)
}

fn hundred() -> RouteTable {
    let urls: Vec<String> = (0..100).map(|n| format!("http://*:8080/service-{n:02}/")).collect();
    RouteTable::new(urls.iter().map(String::as_str).zip(0..))
}

fn ten_thousand() -> RouteTable {
    let urls: Vec<String> = (0..10_000).map(|n| format!("http://*:8080/service-{n:04}/")).collect();
    RouteTable::new(urls.iter().map(String::as_str).zip(0..))
}

fn hundred_hosts() -> RouteTable {
    let urls: Vec<String> = (0..100).map(|n| format!("http://www{n:02}.adatum.com:8080/")).collect();
    RouteTable::new(urls.iter().map(String::as_str).zip(0..))
}

/// Every prefix in turn, so that no two look-ups follow the same way.
fn find_each(count: u64) -> Box<dyn Case> {
    let urls: Vec<String> = (0..count).map(|n| format!("http://*:8080/service-{n:04}/")).collect();
    let table = RouteTable::new(urls.iter().map(String::as_str).zip(0..));
    let order = (0..count).map(|n| n * 7919 % count);
    let wanted: Vec<(String, u64)> = order.map(|n| (format!("/service-{n:04}/orders/42"), n)).collect();
    let (local, mut next) = (Local::new(8080), 0);
    Box::new(move || {
        let (path, want) = &wanted[next];
        assert!(table.find(black_box(&local), black_box(HOST), black_box(path.as_bytes())) == Some(*want));
        next = (next + 1) % wanted.len();
    })
}

fn find(table: RouteTable, host: &'static [u8], path: &'static [u8], want: Option<u64>) -> Box<dyn Case> {
    let local = Local::new(8080);
    Box::new(move || assert!(table.find(black_box(&local), black_box(host), black_box(path)) == want))
}

fn route() -> Vec<Entry> {
    let entry = |name, make| entry(name, Amount::One, make);
    vec![
        entry("route/find/3-prefixes", || find(three(), HOST, b"/api/orders/42", Some(2))),
        entry("route/find/3-prefixes-last", || find(three(), b"127.0.0.1", b"/plaintext", Some(3))),
        // The one in the middle of those given, then none.
        entry("route/find/100-prefixes", || find(hundred(), HOST, b"/service-50/orders/42", Some(50))),
        entry("route/find/100-prefixes-none", || find(hundred(), HOST, b"/service-xx/orders/42", None)),
        entry("route/find/10,000-prefixes", || find(ten_thousand(), HOST, b"/service-5000/orders/42", Some(5000))),
        entry("route/change/10,000-prefixes", || {
            let mut table = ten_thousand();
            Box::new(move || table.change(black_box("http://*:8080/service-more/")))
        }),
        entry("route/find/each-of-1", || find_each(1)),
        entry("route/find/each-of-10,000", || find_each(10_000)),
        entry("route/find/100-hosts", || find(hundred_hosts(), b"www50.adatum.com", b"/orders/42", Some(50))),
        entry("route/find/100-hosts-none", || find(hundred_hosts(), b"wwwxx.adatum.com", b"/orders/42", None)),
    ]
}

/// Requests of a batch.
const BATCH: u32 = 64;

/// The sum of the numbers of `count` requests from number `first` on.
fn numbers(first: u64, count: u32) -> u64 {
    (first..first + u64::from(count)).sum()
}

fn hop(driven: bool, count: u32) -> Box<dyn Case> {
    let hop = Hop::new(BATCH);
    let mut hop = if driven { hop.driven() } else { hop };
    let mut first = 0;
    Box::new(move || {
        let sum = if count == 1 { hop.once() } else { hop.batch(black_box(count)) };
        assert!(sum == numbers(first, count));
        assert!(hop.in_use() == 0);
        first += u64::from(count);
    })
}

fn queue() -> Vec<Entry> {
    let (one, batch) = (Amount::Requests(1), Amount::Requests(BATCH as usize));
    vec![
        entry("queue/hop/1", one, || hop(false, 1)),
        entry("queue/hop/batch-64", batch, || hop(false, BATCH)),
        entry("queue/hop/1-driven", one, || hop(true, 1)),
        entry("queue/hop/batch-64-driven", batch, || hop(true, BATCH)),
    ]
}

/// Connections, slots or buffers of the cases below.
const COUNT: u32 = 64;

/// Every connection's deadline is put off by a tick.
fn put_off() -> Box<dyn Case> {
    let mut timers = Timers::new(COUNT);
    let mut deadline = 1000;
    Box::new(move || {
        (0..COUNT).for_each(|connection| timers.set(black_box(connection), deadline));
        deadline += 1;
        assert!(timers.pass(deadline - 1000) == 0);
    })
}

/// Every connection's deadline comes.
fn expire() -> Box<dyn Case> {
    let mut timers = Timers::new(COUNT);
    let mut now = 0;
    Box::new(move || {
        (0..COUNT).for_each(|connection| timers.set(black_box(connection), now + 1));
        now += 1;
        assert!(timers.pass(now) == COUNT as usize);
    })
}

fn small_rooms() -> Vec<Entry> {
    let amount = Amount::Requests(COUNT as usize);
    vec![
        entry("timer/put-off/64", amount, put_off),
        entry("timer/expire/64", amount, expire),
        entry("slab/find/64", amount, || {
            let mut slots = Slots::filled(COUNT);
            Box::new(move || assert!(black_box(&mut slots).find_all() == numbers(0, COUNT)))
        }),
        entry("slab/renew/64", amount, || {
            let mut slots = Slots::filled(COUNT);
            Box::new(move || assert!(black_box(&mut slots).renew_all() == 0))
        }),
        entry("mem/receive/64", amount, || {
            let mut buffers = Buffers::new(4096);
            Box::new(move || assert!(buffers.round(black_box(COUNT as usize)) == COUNT))
        }),
    ]
}
