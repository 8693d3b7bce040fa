//! Runs a plan: starts the threads, tells how it goes, adds up what they counted.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::block::Block;
use super::plan::{Exchange, Plan};
use super::report::Report;
use super::tally::Tally;
use super::worker::{Worker, connecting_max};
use crate::ring::host;

/// Descriptors that the process has besides its connections.
const DESCRIPTORS_ELSE: u64 = 64;

/// What a load is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first connections are being made.
    Connecting,
    /// Driven, and not counted.
    WarmUp,
    /// Driven and counted, until the last answers have come.
    Measuring,
}

/// How far a load is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Right answers so far, warm-up included.
    pub answers: u64,
    /// Seconds until the phase ends; while connecting, at most.
    pub seconds_left: f64,
}

/// What the threads of a load share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The load's clock is nanoseconds since then.
    pub(super) origin: Instant,
    pub(super) threads: u32,
    /// Threads that know the first outcome of all their connections.
    settled: AtomicU32,
    /// Connections that have come about.
    made: AtomicU64,
    /// When the warm-up begins, by the load's clock; [`NOT_YET`] until it is known, [`NEVER`] if there is no server.
    start: AtomicU64,
    /// A thread has failed: the others end.
    pub(super) is_over: AtomicBool,
    pub(super) answers: Vec<AtomicU64>,
    pub(super) exchanges: Arc<[Exchange]>,
    pub(super) block: Block,
    /// Threads whose ring has ended with nothing under way.
    let_go: AtomicU32,
}

pub(super) const NOT_YET: u64 = 0;
pub(super) const NEVER: u64 = u64::MAX;

impl Shared {
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A thread has made so many connections, and knows what became of the others. The last one starts the load.
    pub(super) fn settle(&self, made: u64) {
        const HEAD_START_NS: u64 = 5_000_000;
        self.made.fetch_add(made, Ordering::AcqRel);
        if self.settled.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            let start = if self.made.load(Ordering::Acquire) == 0 { NEVER } else { self.now() + HEAD_START_NS };
            self.start.store(start, Ordering::Release);
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// A thread's ring has ended, and none of its connections is left: nothing reads the block for it any more.
    pub(super) fn let_go(&self) {
        self.let_go.fetch_add(1, Ordering::AcqRel);
    }

    /// Frees what all threads have let go of. If one has not, the kernel may read the block yet, and so it stays.
    fn free(self) {
        if self.let_go.into_inner() == self.threads {
            // SAFETY: every thread has ended, and has said after the end of its ring that none of its connections is
            // left: each of them has left only when no send was under way on it.
            unsafe { self.block.into_bytes().free() };
        }
    }
}

/// Runs a load and waits for its end, which comes at most twice the time-out and some 10 seconds after warm-up and
/// duration: connecting at first takes up to 5 s, or the time-out if that is longer, and the last answers up to the
/// time-out.
///
/// `progress` is called on the calling thread, about four times a second.
///
/// # Errors
/// The plan cannot be run: see [`Plan::check`]; or this host refuses a ring, a core or enough descriptors. Whatever a
/// server does is no error but a count in the report.
pub fn run(plan: &Plan, progress: &dyn Fn(Progress)) -> Result<Report> {
    plan.check()?;
    let connections = u64::from(plan.connections) + u64::from(plan.idle_connections);
    let descriptors_max = host::raise_descriptors_max().context("the limit of open files cannot be read")?;
    ensure!(
        connections + DESCRIPTORS_ELSE <= descriptors_max,
        "{connections} connections (--connections, --idle) are more than this process may open: the limit is \
        {descriptors_max} files, {DESCRIPTORS_ELSE} of them for other things. Remedy: ulimit -Hn {}",
        connections + DESCRIPTORS_ELSE
    );
    let threads = plan.cores.len();
    let shared = Shared {
        origin: Instant::now(),
        threads: u32::try_from(threads).context("too many cores")?,
        settled: AtomicU32::new(0),
        made: AtomicU64::new(0),
        start: AtomicU64::new(NOT_YET),
        is_over: AtomicBool::new(false),
        answers: plan.cores.iter().map(|_| AtomicU64::new(0)).collect(),
        exchanges: plan.exchanges.clone().into(),
        block: Block::new(plan),
        let_go: AtomicU32::new(0),
    };
    let report = drive(plan, &shared, progress);
    shared.free();
    report
}

/// Runs a worker on each core, until all have ended.
fn drive(plan: &Plan, shared: &Shared, progress: &dyn Fn(Progress)) -> Result<Report> {
    let threads = plan.cores.len();
    thread::scope(|scope| {
        let (results, ended) = mpsc::channel();
        let mut failure = None;
        for number in 0..threads {
            let results = results.clone();
            let work = move || {
                // The others would wait for a thread that says nothing.
                let result = panic::catch_unwind(AssertUnwindSafe(|| Worker::run(plan, shared, number)))
                    .unwrap_or_else(|_| Err(anyhow!("a thread of the load generator panicked")));
                shared.is_over.fetch_or(result.is_err(), Ordering::AcqRel);
                // The receiver is there until all threads have been heard of.
                let _ = results.send(result);
            };
            if let Err(error) = thread::Builder::new().name(format!("load-{number}")).spawn_scoped(scope, work) {
                shared.is_over.store(true, Ordering::Release);
                failure = Some(anyhow!("thread {number} of {threads} could not be started: {error}"));
                break;
            }
        }
        drop(results);
        let mut tallies = Vec::new();
        loop {
            match ended.recv_timeout(Duration::from_millis(250)) {
                Ok(Ok(tally)) => tallies.push(tally),
                // The others only follow the first.
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(RecvTimeoutError::Timeout) => progress(shared.progress(plan)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Tally::report(tallies, plan)),
        }
    })
}

impl Shared {
    fn progress(&self, plan: &Plan) -> Progress {
        let answers = self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let start = self.start();
        let since = Duration::from_nanos(self.now().saturating_sub(start));
        let (phase, left) = match start {
            NOT_YET | NEVER => (Phase::Connecting, connecting_max(plan).saturating_sub(self.origin.elapsed())),
            _ if since < plan.warm_up => (Phase::WarmUp, plan.warm_up - since),
            _ => (Phase::Measuring, (plan.warm_up + plan.duration).saturating_sub(since)),
        };
        Progress { phase, answers, seconds_left: left.as_secs_f64() }
    }
}
