//! One sample: a fresh process, checked, loaded, weighed and ended.
//!
//! Invariants:
//! - a server that does not start gets a second chance on another port, and no third;
//! - idle connections that did not stay open are faults;
//! - somebody who wants to end does not wait for a load to end.
//!
//! Not here: what is read while a load runs (`watch`).

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::check::{self, Client};
use super::process::{self, Directory, Process};
use super::runs::Settings;
use super::sample::{FaultCount, Idle, Sample};
use super::servers::Server;
use super::system;
use super::usage::Tree;
use super::watch::{self, Weighed};
use super::workloads::{Rhythm, Workload};
use crate::load::Plan;

/// Between two looks at whether somebody wants us to end.
const INTERRUPT_LOOK: Duration = Duration::from_millis(100);
/// How long a server that accepts may go on answering wrongly.
const ROUTES_WAIT_MAX: Duration = Duration::from_millis(500);

/// Why there is no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody asked us to end.
    Interrupted,
    /// The server does not start.
    Start(String),
    /// It starts, and fails at this workload.
    Failed(String),
}

/// The sample of a fresh process; its repetition is left at 0.
///
/// # Errors
/// Why there is none.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
pub(super) fn sample(
    settings: &Settings,
    workload: &'static Workload,
    server: &Server,
    rate: Option<f64>,
) -> Result<Sample, Stop> {
    let workload = &server.asked(workload);
    let mut process = start(settings, workload, server)?;
    must_answer(workload, &mut process)?;
    let plan = workload.plan(process.target(), settings.load_core, settings.times, rate);
    let (mut before, mut idle) = (None, Vec::new());
    if let Rhythm::Idle(count) = workload.rhythm {
        let without = weigh(settings, &plan, &mut process)?;
        let resting = resident(&process)?;
        idle = open_idle(workload, &process, count)?;
        let bytes_each = resident(&process)?.saturating_sub(resting) as f64 / f64::from(count);
        before = Some((without, bytes_each));
    }
    let weighed = weigh(settings, &plan, &mut process)?;
    let closed = check::closed(idle);
    process.end();
    let mut sample = figures(settings, workload, server, &weighed);
    sample.rate = rate;
    sample.faults.add_idle_closed(closed, workload.rhythm.idle());
    sample.idle = before.map(|(without, bytes_each)| {
        let Sample { cpu_us_per_request, p99_us, .. } = figures(settings, workload, server, &without);
        Idle { bytes_each, cpu_us_per_request_without: cpu_us_per_request, p99_us_without: p99_us }
    });
    Ok(sample)
}

fn resident(process: &Process) -> Result<u64, Stop> {
    let tree = Tree::of(process.id()).map_err(|error| Stop::Failed(format!("its memory cannot be read: {error}")))?;
    Ok(tree.resident_bytes())
}

fn open_idle(workload: &Workload, process: &Process, count: u32) -> Result<Vec<Client>, Stop> {
    let exchange = &workload.exchanges(process.target(), true)[0];
    let idle = check::open_idle(process.target(), exchange, count, || system::interrupted().is_none());
    let idle = idle.map_err(|error| or_interrupted(Stop::Failed(error)))?;
    if system::interrupted().is_some() { Err(Stop::Interrupted) } else { Ok(idle) }
}

/// Starts it; once more on another port if that fails, since the first may not have been free any more.
fn start(settings: &Settings, workload: &Workload, server: &Server) -> Result<Process, Stop> {
    match start_once(settings, workload, server) {
        Err(Stop::Start(_)) => start_once(settings, workload, server),
        process => process,
    }
}

fn start_once(settings: &Settings, workload: &Workload, server: &Server) -> Result<Process, Stop> {
    if system::interrupted().is_some() {
        return Err(Stop::Interrupted);
    }
    let cannot = |error: io::Error| Stop::Start(format!("its files cannot be written: {error}"));
    let directory = Directory::new().map_err(cannot)?;
    let port = process::free_port().map_err(|error| Stop::Start(format!("no free port: {error}")))?;
    let command = server.command(workload, settings.core, port, directory.path()).map_err(cannot)?;
    Process::start(&command, settings.core, port, directory).map_err(|error| or_interrupted(Stop::Start(error)))
}

/// Checks its answers; a server may accept a little before it knows its routes.
fn must_answer(workload: &Workload, process: &mut Process) -> Result<(), Stop> {
    let exchanges = workload.exchanges(process.target(), true);
    let began = Instant::now();
    while let Err(error) = check::check(process.target(), &exchanges, workload.depth, workload.requests.wait_min()) {
        let ended = process.must_live("it ended while it was checked");
        ended.map_err(|ended| or_interrupted(Stop::Failed(format!("{error}; {ended}"))))?;
        if began.elapsed() > ROUTES_WAIT_MAX || system::interrupted().is_some() {
            return Err(or_interrupted(Stop::Failed(error)));
        }
        process.pause();
    }
    Ok(())
}

/// What fails because everything is being ended is no fault.
fn or_interrupted(stop: Stop) -> Stop {
    if system::interrupted().is_some() { Stop::Interrupted } else { stop }
}

/// Drives a load from a thread of its own and weighs the server meanwhile.
fn weigh(settings: &Settings, plan: &Plan, process: &mut Process) -> Result<Weighed, Stop> {
    let (ended, end) = mpsc::channel();
    let (plan, root, cores) = (plan.clone(), process.id(), [settings.core, settings.load_core]);
    let drive = move || {
        // If nobody listens any more we have been interrupted.
        let _ = ended.send(watch::weigh(&plan, root, cores));
    };
    let failed = |error: String| or_interrupted(Stop::Failed(error));
    thread::Builder::new().name("load".to_owned()).spawn(drive).map_err(|error| failed(error.to_string()))?;
    let weighed = loop {
        match end.recv_timeout(INTERRUPT_LOOK) {
            Ok(weighed) => break weighed,
            Err(RecvTimeoutError::Timeout) if system::interrupted().is_some() => return Err(Stop::Interrupted),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(failed("the load generator panicked".to_owned())),
        }
    };
    process.must_live("it ended under load").map_err(failed)?;
    let weighed = weighed.map_err(failed)?;
    if weighed.report.answers == 0 {
        let first = weighed.report.faults.first.as_deref().unwrap_or("nothing came");
        return Err(failed(format!("no right answer under load: {first}")));
    }
    Ok(weighed)
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^53")]
fn figures(settings: &Settings, workload: &Workload, server: &Server, weighed: &Weighed) -> Sample {
    let Weighed { report, usage, answers, is_whole_run, resident_bytes } = weighed;
    let elapsed = usage.elapsed_ns as f64;
    let [served, generated] = [usage.server_ns as f64 / elapsed, report.generator_cpu_ns as f64 / report.seconds / 1e9];
    let own = if settings.core == settings.load_core { [served + generated; 2] } else { [served, generated] };
    // Cores are counted in ticks and we in nanoseconds: less than nothing is nothing.
    let others = [0, 1].map(|core| (usage.busy_ns[core] as f64 / elapsed - own[core]).max(0.0));
    let us = |quantile| report.latency.0.value_at_quantile(quantile) as f64 / 1_000.0;
    Sample {
        workload: workload.name,
        server: server.name.clone(),
        repetition: 0,
        answers: report.answers,
        seconds: report.seconds,
        requests_per_second: report.answers_per_second,
        cpu_us_per_request: usage.server_ns as f64 / *answers as f64 / 1_000.0,
        cpu_of_whole_run: *is_whole_run,
        server_core_share: served,
        generator_core_share: generated,
        generator_us_per_request: report.generator_cpu_ns as f64 / report.answers as f64 / 1_000.0,
        p50_us: us(0.5),
        p99_us: us(0.99),
        p999_us: us(0.999),
        p9999_us: us(0.9999),
        resident_bytes: *resident_bytes,
        rate: None,
        idle: None,
        faults: FaultCount::from(report.faults.clone()),
        others_server_core: others[0],
        others_load_core: others[1],
        clock: usage.clock,
        retakes: 0,
    }
}
