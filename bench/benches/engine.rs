//! What one request costs in the engine, in time: routing, the hop to its application and back, the small rooms, and
//! whole turns of a shard. The cases and what they check: `cases/engine.rs`, `cases/turn.rs`.
//!
//! Run: `cargo bench -p ringress-bench --bench engine`, with a name or part of one to choose.

#[path = "cases/case.rs"]
mod case;
#[path = "cases/engine.rs"]
mod engine;
#[path = "cases/timed.rs"]
mod timed;
#[path = "cases/turn.rs"]
mod turn;

use criterion::{Criterion, criterion_group, criterion_main};

fn rooms(criterion: &mut Criterion) {
    timed::time(criterion, &engine::entries());
    timed::time(criterion, &turn::entries());
}

criterion_group!(benches, rooms);
criterion_main!(benches);
