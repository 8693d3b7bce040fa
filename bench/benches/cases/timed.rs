//! Cases under Criterion.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

use crate::case::{Amount, Case, Entry};

/// Times every case under its own name, which is `room/case/size`.
pub(crate) fn time(criterion: &mut Criterion, entries: &[Entry]) {
    for entry in entries {
        let (group_name, size) = entry.name.rsplit_once('/').expect("names have three parts");
        let mut group = criterion.benchmark_group(group_name);
        if let Some(throughput) = throughput(entry.amount) {
            group.throughput(throughput);
        }
        group.bench_function(size, |bencher| {
            let mut case = (entry.make)();
            if entry.prepared {
                bencher.iter_custom(|runs| rounds(&mut *case, runs));
            } else {
                bencher.iter(|| case.run());
            }
            case.finish();
        });
        group.finish();
    }
}

fn throughput(amount: Amount) -> Option<Throughput> {
    match amount {
        Amount::One | Amount::Requests(1) => None,
        Amount::Bytes(bytes) => Some(Throughput::Bytes(bytes as u64)),
        Amount::Requests(count) => Some(Throughput::Elements(count as u64)),
    }
}

/// So many runs, without what prepares them.
fn rounds(case: &mut dyn Case, runs: u64) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..runs {
        case.prepare();
        let begun = Instant::now();
        case.run();
        sum += begun.elapsed();
    }
    sum
}
