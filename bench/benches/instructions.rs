//! The cases of the single rooms once more, to be counted in instructions instead of timed: see `cases/counted.rs`.

#[path = "cases/case.rs"]
mod case;
#[path = "cases/counted.rs"]
mod counted;
#[path = "cases/engine.rs"]
mod engine;
#[path = "cases/proto.rs"]
mod proto;

fn main() -> std::process::ExitCode {
    let entries: Vec<case::Entry> = [proto::entries(), engine::entries()].into_iter().flatten().collect();
    counted::main(&entries)
}
