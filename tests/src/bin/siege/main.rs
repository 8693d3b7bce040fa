//! Runs every load of docs/reliability.md in full against the showcase, in both modes, and against an nginx if there is
//! one, and prints the table. `scripts/siege` builds and runs it.

mod options;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use options::Options;
use ringress_tests::siege::{Must, Nginx, Outcome, Row, Scale};
use ringress_tests::{Mode, Server, raise_descriptor_limit_to_the_most, showcase_path};

/// What a load may have open here, with an application behind nginx beside it.
const DESCRIPTORS_MIN: u64 = 17_000;
/// Longest wait for a server to be at rest: what was asked for by those who left may take its time.
const REST_WAIT_MAX: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return fail(&error),
    };
    let descriptors = raise_descriptor_limit_to_the_most();
    if options.scale == Scale::Full && descriptors < DESCRIPTORS_MIN {
        return fail(&format!(
            "loads need a hard limit of {DESCRIPTORS_MIN} descriptors (ulimit -Hn), not {descriptors}; or --scale ci"
        ));
    }
    eprintln!("siege: {}", showcase_path().display());
    println!("| load | co-located | queue | nginx | must be | |\n|---|---|---|---|---|---|");
    let begun = Instant::now();
    let mut missed = 0;
    for row in &options.rows {
        let [colocated, queue] = [Mode::Colocated, Mode::Queue].map(|mode| {
            let is_wanted = options.modes.contains(&mode);
            if is_wanted && begun.elapsed() < options.length_max { run(row, mode, &options) } else { Cell::not_run() }
        });
        let nginx = match descriptors_of_nginx(&options, descriptors, begun) {
            Some(descriptors) => beside(row, descriptors, options.scale),
            None => Cell::not_run(),
        };
        let verdicts = [colocated.verdict, queue.verdict];
        let is_missed = verdicts.contains(&Verdict::Misses);
        missed += usize::from(is_missed);
        let verdict = match is_missed {
            true => "misses",
            false if verdicts.contains(&Verdict::Holds) => "holds",
            false => "not run",
        };
        let must = row.must.text();
        let load = format!("`{}`: {}", row.name, row.load);
        println!("| {load} | {} | {} | {} | {must} | {verdict} |", colocated.text, queue.text, nginx.text);
    }
    eprintln!("siege: {missed} of {} rows miss, after {} s", options.rows.len(), begun.elapsed().as_secs());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("siege: {text}");
    ExitCode::from(2)
}

/// Whether what came of a load is as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Misses,
    NotRun,
}

/// What stands in the table for one load and server.
struct Cell {
    text: String,
    verdict: Verdict,
}

impl Cell {
    fn not_run() -> Self {
        Self { text: "-".into(), verdict: Verdict::NotRun }
    }

    fn miss(text: String) -> Self {
        Self { text, verdict: Verdict::Misses }
    }

    fn of(outcome: &Outcome, must: Must) -> Self {
        Self { text: outcome.short(), verdict: if must.is_met(outcome) { Verdict::Holds } else { Verdict::Misses } }
    }
}

fn run(row: &Row, mode: Mode, options: &Options) -> Cell {
    let fell = |_| Cell::miss("the server fell, or does not answer".into());
    let run = || {
        let server = Server::start(&row.setup(mode, options.scale));
        row.write_files(server.folder().root()).expect("files can be written below the root");
        let outcome = row.run(server.address(), options.scale);
        eprintln!("siege: {}, {}: {outcome}", row.name, mode.as_str());
        let cell = Cell::of(&outcome, row.must);
        if cell.verdict == Verdict::Misses {
            // A server that does not serve is not asked whether it is at rest.
            return cell;
        }
        match server.left_within(REST_WAIT_MAX) {
            None => cell,
            Some(left) => {
                eprintln!("siege: {}, {}: left behind: {left}", row.name, mode.as_str());
                Cell::miss(format!("{}; not at rest after it", outcome.short()))
            }
        }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(fell)
}

fn descriptors_of_nginx(options: &Options, descriptors: u64, begun: Instant) -> Option<u32> {
    let is_wanted = options.beside_nginx && begun.elapsed() < options.length_max;
    is_wanted.then(|| u32::try_from(descriptors).unwrap_or(u32::MAX).min(1 << 20))
}

fn beside(row: &Row, descriptors: u32, scale: Scale) -> Cell {
    match Nginx::start(row, descriptors) {
        Ok(nginx) => {
            let outcome = row.run(nginx.address(), scale);
            eprintln!("siege: {}, nginx: {outcome}", row.name);
            Cell::of(&outcome, row.must)
        }
        Err(error) => {
            eprintln!("siege: {}, nginx: {error}", row.name);
            Cell::not_run()
        }
    }
}
