//! Whole turns of a shard, to be counted in instructions: see `cases/counted.rs`.
//!
//! A program of its own: beside other callers of the same functions the compiler would inline less into the shard than
//! it does in a server.

#[path = "cases/case.rs"]
mod case;
#[path = "cases/counted.rs"]
mod counted;
#[path = "cases/turn.rs"]
mod turn;

fn main() -> std::process::ExitCode {
    counted::main(&turn::entries())
}
