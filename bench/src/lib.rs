//! The measuring stick of ringress: a load generator, and a comparison of servers side by side.
//!
//! Invariants: a figure is printed only beside the count of answers that were wrong, late or missing; every process
//! started here is ended here, by its id; loopback is the only target unless the caller says that the target is theirs.
//!
//! Not here: the servers themselves (`bin/floor`, the showcase, `bench/peers`), and micro-benchmarks (`benches/`).

pub mod compare;
pub mod load;
pub mod ring;
