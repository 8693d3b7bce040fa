//! What one request costs between its parsed head and its application: find its queue, go there, come back.
//!
//! Names are `room/case/size`, and every answer is checked each time. These rooms are the engine's own: the feature
//! `sim` opens them. A hop is on one thread, with everything hot in cache and nobody asleep: it is what the hand-over
//! costs in instructions, not what moving cache lines between cores or waking a sleeper adds.
//!
//! Run: `cargo bench -p ringress-bench --bench engine`, with a name or part of one to choose.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringress::sim::{Hop, RouteTable};

const HOST: &[u8] = b"www.adatum.com";

/// A name, the table, host and path to ask it for, and the context to find.
type Search<'a> = (&'a str, &'a RouteTable, &'a [u8], &'a [u8], Option<u64>);

fn route(c: &mut Criterion) {
    let three = [("http://+:8080/health/", 1), ("http://www.adatum.com:8080/api/", 2), ("http://*:8080/", 3)];
    let three = RouteTable::new(three);
    let hundred: Vec<String> = (0..100).map(|n| format!("http://*:8080/service-{n:02}/")).collect();
    let hundred = RouteTable::new(hundred.iter().map(String::as_str).zip(0..));
    let hosts: Vec<String> = (0..100).map(|n| format!("http://www{n:02}.adatum.com:8080/")).collect();
    let hosts = RouteTable::new(hosts.iter().map(String::as_str).zip(0..));
    let cases: [Search<'_>; 6] = [
        ("3-prefixes", &three, HOST, b"/api/orders/42", Some(2)),
        ("3-prefixes-last", &three, b"127.0.0.1", b"/plaintext", Some(3)),
        // The search goes by path length, then in the order given: the one in the middle, then past all.
        ("100-prefixes", &hundred, HOST, b"/service-50/orders/42", Some(50)),
        ("100-prefixes-none", &hundred, HOST, b"/service-xx/orders/42", None),
        // By name: the one in the middle.
        ("100-hosts", &hosts, b"www50.adatum.com", b"/orders/42", Some(50)),
        ("100-hosts-none", &hosts, b"wwwxx.adatum.com", b"/orders/42", None),
    ];
    let mut group = c.benchmark_group("route/find");
    for (name, table, host, path, want) in cases {
        group.bench_function(name, |b| {
            b.iter(|| assert!(table.find(black_box(8080), black_box(host), black_box(path)) == want));
        });
    }
    group.finish();
}

/// Requests of a batch.
const BATCH: u32 = 64;

/// The sum of the numbers of `count` requests from number `first` on.
fn numbers(first: u64, count: u32) -> u64 {
    (first..first + u64::from(count)).sum()
}

fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/hop");
    for (suffix, driven) in [("", false), ("-driven", true)] {
        for (name, count) in [("1", 1), ("batch-64", BATCH)] {
            let hop = Hop::new(BATCH);
            let mut hop = if driven { hop.driven() } else { hop };
            let mut first = 0;
            group.throughput(Throughput::Elements(u64::from(count)));
            group.bench_function(BenchmarkId::from_parameter(format!("{name}{suffix}")), |b| {
                b.iter(|| {
                    let sum = if count == 1 { hop.once() } else { hop.batch(black_box(count)) };
                    assert!(sum == numbers(first, count));
                    first += u64::from(count);
                });
            });
            assert_eq!(hop.in_use(), 0);
        }
    }
    group.finish();
}

criterion_group!(benches, route, queue);
criterion_main!(benches);
