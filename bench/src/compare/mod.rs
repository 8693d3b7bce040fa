//! Servers side by side: each started in turn, checked, loaded and weighed, repetitions interleaved.
//!
//! Invariants:
//! - a ratio compares what ran in the same repetition on the same core, so that 3 % can be told from the weather;
//! - a server is timed only if it answers rightly, and a row that it cannot serve says so;
//! - one server that fails is named, and the others still run;
//! - what is started here is ended here, also when we are interrupted, and what was measured until then is printed.
//!
//! Not here: the load itself (`crate::load`), fetching or installing anything, servers that were not started here.

mod arguments;
mod charts;
mod check;
mod generator;
mod markdown;
mod measure;
mod outcome;
mod process;
mod programs;
mod progress;
mod runs;
mod sample;
mod servers;
mod summary;
mod system;
mod terminal;
mod usage;
mod watch;
mod workloads;

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use crate::ring::host;
pub use arguments::Arguments;
use outcome::Outcome;
use programs::{Programs, Unfit};
use progress::Progress;
use runs::{Interrupted, Runs, Settings};
use servers::Server;
use usage::{Machine, Reading, Tree};
use workloads::{Times, Workload};

/// What a shell gives for a process that SIGINT has ended.
const INTERRUPTED: u8 = 130;
/// What was typed cannot be understood.
const MISUSE: u8 = 2;

/// Runs a comparison and prints it.
///
/// The status is 0 if every server that was asked for and is installed answered rightly, 1 if one failed, 2 if the
/// arguments cannot be followed, 130 if a signal ended it early.
#[must_use]
pub fn command(arguments: Arguments) -> ExitCode {
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    match compare(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("ringress-bench compare: {error}");
            ExitCode::from(MISUSE)
        }
    }
}

fn list() {
    println!("servers:   {}", servers::names().join(", "));
    for (name, members) in servers::groups() {
        println!("           {name} = {}", members.join(", "));
    }
    println!("workloads:");
    for Workload { name, about, note, .. } in workloads::ALL {
        println!("  {name:<24}{about}");
        if let Some(note) = note {
            println!("  {:<24}{note}", "");
        }
    }
    for (name, members) in workloads::groups() {
        println!("  {name:<24}= {}", members.join(", "));
    }
}

/// The status to end with.
fn compare(arguments: &Arguments) -> Result<u8, String> {
    let rows = arguments::chosen(
        "workload",
        &arguments.workloads,
        &workloads::ALL.iter().map(|workload| workload.name).collect::<Vec<_>>(),
        &workloads::groups(),
    )?;
    let workloads: Vec<&'static Workload> =
        workloads::ALL.iter().filter(|workload| rows.contains(&workload.name)).collect();
    let asked = programs::asked_for(arguments)?;
    let names: Vec<String> = asked.iter().map(|(name, ..)| name.clone()).collect();
    let settings = settings(arguments)?;
    writable(arguments)?;
    system::catch_interrupts().map_err(|error| format!("signals cannot be caught: {error}"))?;

    let progress = Progress::new();
    if settings.core == settings.load_core {
        let core = settings.core;
        let what = "the generator takes CPU time from the servers, so only ratios of CPU time mean something";
        progress.warn(&format!("--core and --load-core are both {core}: {what}; name two cores where there are two"));
    }
    let (fit, unfit) = prepare(arguments, asked, &progress)?;
    if system::interrupted().is_some() {
        return Ok(INTERRUPTED);
    }
    let mut runs = Runs::new(settings, &progress, &fit, &unfit, &workloads);
    let interrupted = matches!(runs.all(), Err(Interrupted));
    progress.finish();

    let Runs { samples, missing, saturation, .. } = runs;
    let outcome = Outcome {
        command: typed(),
        commit: programs::commit(),
        machine: Machine::read(),
        settings,
        saturation,
        interrupted,
        tables: outcome::tables(&workloads, &names, &samples, &missing),
        samples,
    };
    publish(arguments, &outcome)?;
    Ok(status(&outcome, &progress))
}

fn status(outcome: &Outcome, progress: &Progress) -> u8 {
    if outcome.interrupted {
        progress.warn("interrupted");
        return INTERRUPTED;
    }
    if outcome.samples.all().is_empty() {
        progress.warn("nothing could be measured");
        return 1;
    }
    u8::from(outcome.has_failures())
}

fn settings(arguments: &Arguments) -> Result<Settings, String> {
    let Arguments { core, load_core, .. } = *arguments;
    let (measured, others_max) = (arguments.measured()?, arguments.others_max()?);
    // Reading the clocks of this process shows whether both cores are there, and a thread whether we may use them.
    Tree::of(std::process::id())
        .and_then(|own| Reading::take(&own, [core, load_core]))
        .map_err(|error| format!("--core {core}, --load-core {load_core}: {error}"))?;
    for (option, core) in [("--core", core), ("--load-core", load_core)] {
        usable(core).map_err(|error| format!("{option} {core} is not for us: {error}"))?;
    }
    let descriptors = host::raise_descriptors_max().map_err(|error| format!("descriptor limit: {error}"))?;
    Ok(Settings {
        repeat: arguments.repeat,
        times: Times { warm_up: arguments.warm_up, measured },
        core,
        load_core,
        others_max,
        descriptors,
    })
}

/// Tries it in a thread of its own: this one and the generator's other threads stay where the system puts them, so that
/// they share neither core for longer than they must.
fn usable(core: usize) -> io::Result<()> {
    thread::scope(|scope| {
        let tried = thread::Builder::new().spawn_scoped(scope, || host::pin(core))?;
        tried.join().unwrap_or_else(|_| Err(io::Error::other("the thread that tried it panicked")))
    })
}

/// Finds out before the runs whether their reports can be written after them.
fn writable(arguments: &Arguments) -> Result<(), String> {
    for file in arguments.json.iter().chain(&arguments.markdown) {
        let opened = File::options().create(true).append(true).open(file);
        opened.map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    }
    if let Some(folder) = &arguments.svg {
        fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    }
    Ok(())
}

/// The servers whose programs are there, and the others, each of which is named.
fn prepare(
    arguments: &Arguments,
    asked: Vec<(String, servers::Kind, Option<std::path::PathBuf>)>,
    progress: &Progress,
) -> Result<(Vec<Server>, Vec<Unfit>), String> {
    let mut programs = Programs::new(!arguments.no_build, progress)?;
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for (name, kind, given) in asked {
        match programs.prepare(&name, kind, given.as_deref()) {
            Ok(server) => fit.push(server),
            Err(one) => {
                progress.warn(&format!("{name}: left out: {}", one.reason));
                unfit.push(one);
            }
        }
        if system::interrupted().is_some() {
            break;
        }
    }
    Ok((fit, unfit))
}

/// What was typed, with the program's name alone.
fn typed() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let quoted = words.map(|word| match (word.contains(char::is_whitespace), word.contains('\'')) {
        (false, false) => word,
        (_, false) => format!("'{word}'"),
        (_, true) => format!("\"{word}\""),
    });
    [program].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}

fn publish(arguments: &Arguments, outcome: &Outcome) -> Result<(), String> {
    let markdown = markdown::document(outcome);
    let shown = if io::stdout().is_terminal() { terminal::of(&markdown) } else { markdown.clone() };
    // A reader that has gone away is no reason to lose the files.
    let _ = io::stdout().write_all(shown.as_bytes());
    let written = |file: &Path, text: &str| {
        fs::write(file, text).map_err(|error| format!("{} cannot be written: {error}", file.display()))
    };
    if let Some(file) = &arguments.markdown {
        written(file, &markdown)?;
    }
    if let Some(file) = &arguments.json {
        written(file, &outcome.json())?;
    }
    if let Some(folder) = &arguments.svg {
        let commit = outcome.commit.as_deref().map_or(String::new(), |commit| format!(", commit {commit}"));
        let subtitle = format!("{}{commit}", outcome.machine);
        for table in &outcome.tables {
            let name = table.workload.name;
            let chart = charts::chart(table, &subtitle).map_err(|error| format!("the chart of {name}: {error}"))?;
            if let Some(chart) = chart {
                written(&folder.join(format!("{name}.svg")), &chart)?;
            }
        }
    }
    Ok(())
}
