//! What one request costs in `ringress-proto`, in time: parsing its head, deciding its framing, cooking its URL,
//! decoding its chunks, writing its response head and the date. The cases and what they check: `cases/proto.rs`.
//!
//! Run: `cargo bench -p ringress-bench --bench proto`, with a name or part of one to choose.

#[path = "cases/case.rs"]
mod case;
#[path = "cases/proto.rs"]
mod proto;
#[path = "cases/timed.rs"]
mod timed;

use criterion::{Criterion, criterion_group, criterion_main};

fn rooms(criterion: &mut Criterion) {
    timed::time(criterion, &proto::entries());
}

criterion_group!(benches, rooms);
criterion_main!(benches);
