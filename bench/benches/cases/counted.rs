//! Cases to be counted in instructions: `scripts/instructions` runs this under callgrind, once a case.
//!
//! ```text
//! PROGRAM --list            name and amount of every case
//! PROGRAM CASE RUNS         warms the case up, then runs it so often inside of `counted`
//! PROGRAM [.. --bench]      runs every case a few times, whatever else is said: what `cargo bench` does
//! ```
//!
//! Invariants: the functions [`counted`], [`begin`] and [`end`] are never inlined, since callgrind is told their names:
//! it collects inside of the first, zeroes at the second and writes at the third. What the first adds to a case is a
//! call through a table.
//!
//! Not here: callgrind, without which this counts nothing.

use std::hint::black_box;
use std::process::ExitCode;

use crate::case::{Amount, Case, Entry};

/// Runs before the count begins: every branch has been taken, every list has its length.
const WARM_UP_RUNS: u32 = 8;

/// What a run's count is divided by.
fn units(entry: &Entry) -> usize {
    match entry.amount {
        Amount::One | Amount::Bytes(_) => 1,
        Amount::Requests(count) => count,
    }
}

#[inline(never)]
fn counted(case: &mut dyn Case) {
    case.run();
    // Not a tail call: callgrind sees this function's end.
    black_box(());
}

// Two bodies that differ: equal ones would become one function.

#[inline(never)]
fn begin() {
    black_box(1);
}

#[inline(never)]
fn end() {
    black_box(2);
}

fn run(entry: &Entry, runs: u32) {
    let mut case = (entry.make)();
    let mut go = |runs| {
        for _ in 0..runs {
            case.prepare();
            counted(&mut *case);
        }
    };
    go(WARM_UP_RUNS);
    begin();
    go(runs);
    end();
    case.finish();
}

/// What the program does: see the module's head.
pub(crate) fn main(entries: &[Entry]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | [.., "--bench"] => entries.iter().for_each(|entry| run(entry, WARM_UP_RUNS)),
        ["--list"] => entries.iter().for_each(|entry| println!("{} {}", entry.name, units(entry))),
        [name, runs] => {
            let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
                eprintln!("instructions: there is no case {name}; --list names them all");
                return ExitCode::from(2);
            };
            let Ok(runs) = runs.parse() else {
                eprintln!("instructions: {runs:?} is no number of runs");
                return ExitCode::from(2);
            };
            run(entry, runs);
        }
        _ => {
            eprintln!("usage: instructions [--list | CASE RUNS]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
