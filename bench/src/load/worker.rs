//! One thread of a load: its loop and its phases.
//!
//! ```text
//! Connecting ──▶ Running ──────────────▶ Draining ──▶ Leaving
//!   until all threads'     warm-up and       until all is      until the kernel has
//!   connections stand      measured time     answered or late  let go of every socket
//! ```
//!
//! One turn: enter the kernel once (submit, wait if there is nothing to do); read the clock; read every completion;
//! give the buffers back; ask what is due; queue what each touched connection needs. What a turn decides is queued
//! after its last completion has been read. The other half of [`Worker`] is in `traffic`.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use io_uring::types::Timespec;

use super::checker::Checker;
use super::connection::{Asked, Connection, Stage};
use super::plan::{Pace, Plan};
use super::run::{NEVER, NOT_YET, Shared};
use super::schedule::Schedule;
use super::tally::{Fault, Tally};
use super::traffic::op;
use crate::ring::lasting::socket_address;
use crate::ring::{Buffers, Knobs, Shape, Submissions, Tag, Wishes, host, setup};

/// First connections have this time to come about, or the plan's time-out if that is longer.
const CONNECTING_MIN: Duration = Duration::from_secs(5);

/// How often a thread looks for what is late, at least.
const TICK_NS: u64 = 50_000_000;
static TICK: Timespec = Timespec::new().nsec(50_000_000);

/// While waiting for the other threads to be ready.
const PAUSE: Duration = Duration::from_millis(1);

/// The last part of a wait for a due time is spent looking at the clock: waking up takes about as long.
const SPIN_NS: u64 = 20_000;

/// For the kernel to let go of the sockets at the end.
const LEAVING_NS_MAX: u64 = 2_000_000_000;

/// At a fixed rate, what was due and waits at the end of the measured time is still sent for so long: its latency
/// belongs to the figures.
const BACKLOG_NS_MAX: u64 = 1_000_000_000;

/// Connections made from one loopback address before the next is taken, so that the ports of none run out.
const SOURCE_CONNECTIONS_MAX: u32 = 8_192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Running,
    Draining,
    Leaving,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Worker<'load> {
    pub(super) plan: &'load Plan,
    pub(super) shared: &'load Shared,
    number: usize,
    pub(super) phase: Phase,
    /// Nanoseconds of the load's clock, read once a turn.
    pub(super) now: u64,
    /// When the warm-up begins, and the measured time begins and ends.
    start: u64,
    measured: (u64, u64),
    /// Those that ask come first, then the idle ones.
    pub(super) connections: Vec<Connection>,
    pub(super) buffers: Buffers,
    pub(super) checker: Checker,
    pub(super) tally: Tally,
    pub(super) schedule: Option<Schedule>,
    /// Connections that can take a request (open loop), longest unused first.
    pub(super) ready: VecDeque<u32>,
    /// Connections to look at when the turn's completions have been read.
    pub(super) unsettled: Vec<u32>,
    /// Connections to be made, in order.
    pub(super) to_connect: VecDeque<u32>,
    /// Connections to be made at a time, after a refusal.
    pub(super) retries: VecDeque<(u64, u32)>,
    pub(super) connecting: u32,
    /// Connections whose first outcome is not known.
    pub(super) firsts: u32,
    /// Connections that had come about when the first outcomes were known.
    pub(super) made: u64,
    /// Sockets opened so far.
    pub(super) opened: u32,
    /// Connections that are not `Out`.
    pub(super) alive: u32,
    /// Answers waited for, on connections that ask.
    pub(super) under_way: u64,
    pub(super) target: &'static [u8],
    source: Option<&'static [u8]>,
    /// Connections that ask.
    active: usize,
    next_tick: u64,
    ticks: u64,
    pub(super) alarm_set: bool,
    is_settled: bool,
    /// The warm-up has begun.
    is_begun: bool,
    cpu_ns: u64,
}

impl<'load> Worker<'load> {
    /// Runs one thread's share of a load, from beginning to end, on the calling thread.
    pub(super) fn run(plan: &'load Plan, shared: &'load Shared, number: usize) -> Result<Tally> {
        let core = plan.cores[number];
        host::pin(core).with_context(|| format!("core {core} (--cores)"))?;
        host::exact_timers();
        let threads = plan.cores.len();
        let share = |all: u32| {
            let all = all as usize;
            all / threads + usize::from(number < all % threads)
        };
        let (active, idle) = (share(plan.connections), share(plan.idle_connections));
        let wishes = Wishes { sq_entries: 4_096, cq_entries: 32_768, ..Wishes::default() };
        let (mut ring, _) = setup::build(&wishes)?;
        let buffers = Buffers::register(&ring, &shape(plan)).context("io_uring: no receive buffers")?;
        let (submitter, queue, mut completions) = ring.split();
        let mut out = Submissions::new(submitter, queue, Knobs::default())?;
        let mut worker = Self {
            plan,
            shared,
            number,
            phase: Phase::Connecting,
            now: shared.now(),
            start: NOT_YET,
            measured: (0, 0),
            connections: (0..active + idle).map(|slot| Connection::new(slot >= active)).collect(),
            buffers,
            checker: Checker::new(shared.exchanges.clone()),
            tally: Tally::new(),
            schedule: None,
            ready: VecDeque::new(),
            unsettled: Vec::new(),
            to_connect: VecDeque::new(),
            retries: VecDeque::new(),
            connecting: 0,
            firsts: u32::try_from(active + idle).context("too many connections")?,
            made: 0,
            opened: 0,
            alive: 0,
            under_way: 0,
            target: socket_address(plan.target),
            source: None,
            active,
            next_tick: 0,
            ticks: 0,
            alarm_set: false,
            is_settled: false,
            is_begun: false,
            cpu_ns: 0,
        };
        worker.to_connect.extend(0..worker.firsts);
        worker.turns(&mut completions, &mut out)?;
        let Self { buffers, tally, alive, connections, .. } = worker;
        drop(out);
        drop(completions);
        drop(ring);
        if alive == 0 {
            // SAFETY: no connection is left, each of them has left only after its receive had ended, and the ring
            // is closed.
            unsafe { buffers.unmap() };
            shared.let_go();
        }
        for connection in connections.iter().filter(|connection| connection.stage != Stage::Out) {
            // SAFETY: this thread has opened the socket and nobody has closed it, since its close is queued on the way
            // `Out` and not before; the connections end here, and the ring has ended.
            unsafe { host::close(connection.socket) };
        }
        Ok(tally)
    }

    fn turns(&mut self, completions: &mut io_uring::CompletionQueue<'_>, out: &mut Submissions<'_>) -> Result<()> {
        loop {
            self.wait(out)?;
            self.now = self.shared.now();
            self.tally.begin_turn(self.now);
            self.reap(completions);
            self.buffers.give_back();
            self.shared.answers[self.number].store(self.tally.answers_ever, Ordering::Relaxed);
            if self.now >= self.next_tick {
                self.tick();
            }
            if self.advance() {
                return Ok(());
            }
            // A short send's completion may wait in the kernel when the queue overflowed: queue no send before it
            // has been seen.
            if !out.overflown() {
                self.dispatch();
                self.settle(out)?;
            }
            self.connect(out)?;
        }
    }

    /// Submits what is queued; waits for a completion, or for the time at which there is something to do.
    fn wait(&mut self, out: &mut Submissions<'_>) -> Result<()> {
        let waited = match (self.phase, &self.schedule) {
            (Phase::Running, Some(schedule)) if !self.ready.is_empty() => {
                let due = schedule.next_due().min(self.measured.1).min(self.next_tick);
                // The turn's own time has passed since the clock was read.
                match due.saturating_sub(self.shared.now()) {
                    0..=SPIN_NS => out.poll(),
                    left => out.wait_at_most(Duration::from_nanos(left - SPIN_NS)),
                }
            }
            (Phase::Running, _) if self.start <= self.now => {
                if !self.alarm_set {
                    out.alarm(&TICK, Tag::new(op::ALARM, 0, 0))?;
                    self.alarm_set = true;
                }
                out.wait()
            }
            (Phase::Running, _) => out.wait_at_most(Duration::from_nanos((self.start - self.now).min(TICK_NS))),
            _ => out.wait_at_most(PAUSE),
        };
        waited.context("io_uring_enter failed")
    }

    /// Moves to the next phase when it is time. `true`: the load is over.
    fn advance(&mut self) -> bool {
        match self.phase {
            Phase::Connecting => self.advance_connecting(),
            Phase::Running => {
                if !self.is_begun && self.now >= self.start {
                    self.is_begun = true;
                    (0..self.active).for_each(|slot| self.list(slot));
                }
                if self.cpu_ns == 0 && self.now >= self.measured.0 {
                    self.cpu_ns = host::thread_cpu_ns();
                }
                if self.now >= self.measured.1 {
                    self.tally.cpu_ns = host::thread_cpu_ns() - self.cpu_ns;
                    self.phase = Phase::Draining;
                }
            }
            Phase::Draining => {
                // What is not answered in time is found by `tick`.
                if self.under_way == 0 && !self.has_backlog() {
                    self.finish();
                }
            }
            Phase::Leaving => return self.alive == 0 || self.now > self.start,
        }
        if self.phase != Phase::Leaving && self.shared.is_over.load(Ordering::Relaxed) {
            self.leave();
        }
        false
    }

    fn advance_connecting(&mut self) {
        if !self.is_settled && self.firsts == 0 {
            self.is_settled = true;
            self.shared.settle(self.made);
        }
        let start = match self.shared.start() {
            NOT_YET => return,
            NEVER => return self.leave(),
            start => start,
        };
        let measured = start.saturating_add(nanoseconds(self.plan.warm_up));
        self.start = start;
        self.measured = (measured, measured.saturating_add(nanoseconds(self.plan.duration)));
        self.tally.measure(self.measured.0, self.measured.1);
        if let Pace::Rate(rate) = self.plan.pace {
            self.schedule = Some(Schedule::new(rate, self.plan.cores.len(), self.number, start));
        }
        self.phase = Phase::Running;
        self.retries.clear();
        for slot in 0..self.connections.len() {
            match self.connections[slot].stage {
                Stage::Out => self.retry(slot),
                _ => self.list(slot),
            }
        }
    }

    /// At a fixed rate: something was due in the measured time and can still be sent.
    fn has_backlog(&self) -> bool {
        let end = self.measured.1;
        self.schedule.as_ref().is_some_and(|schedule| schedule.next_due() < end && self.now < end + BACKLOG_NS_MAX)
    }

    /// Each request of the measured time has been answered or found late, or could not be sent.
    fn finish(&mut self) {
        let unsent = self.schedule.as_ref().map_or(0, |schedule| schedule.untaken(self.measured.0, self.measured.1));
        if unsent > 0 {
            self.tally.unsent(unsent);
        }
        self.leave();
    }

    /// Ends all connections, whatever they are at.
    fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.start = self.now + LEAVING_NS_MAX;
        self.to_connect.clear();
        self.retries.clear();
        for slot in 0..self.connections.len() {
            if self.connections[slot].stage != Stage::Out {
                self.kill(slot);
            }
        }
    }

    /// Whether connections that have ended are made anew.
    pub(super) fn connects(&self) -> bool {
        self.phase == Phase::Running || self.phase == Phase::Draining && self.has_backlog()
    }

    /// Whether requests are sent as soon as there is room.
    pub(super) fn asks(&self) -> bool {
        self.phase == Phase::Running && self.now >= self.start && self.now < self.measured.1
    }

    /// At a fixed rate: gives each due request to a connection, as long as one is free.
    fn dispatch(&mut self) {
        if !self.connects() {
            return;
        }
        let Some(mut schedule) = self.schedule.take() else { return };
        let until = self.now.min(self.measured.1 - 1);
        while schedule.next_due() <= until {
            let Some(slot) = self.ready.pop_front() else { break };
            let connection = &mut self.connections[slot as usize];
            connection.ready = false;
            let room = connection.room(self.plan.depth, self.shared.block.run_max());
            if room == 0 {
                continue;
            }
            connection.ask(1, Asked { due: schedule.take(), sent: self.now });
            self.under_way += 1;
            if room > 1 {
                connection.ready = true;
                self.ready.push_back(slot);
            }
            self.list(slot as usize);
        }
        self.schedule = Some(schedule);
    }

    /// Looks for what is late.
    fn tick(&mut self) {
        self.next_tick = self.now + TICK_NS;
        let timeout = nanoseconds(self.plan.timeout);
        while let Some((_, slot)) = self.retries.front().copied().filter(|(at, _)| *at <= self.now) {
            self.retries.pop_front();
            self.to_connect.push_back(slot);
        }
        if self.phase == Phase::Connecting && self.now >= nanoseconds(connecting_max(self.plan)) {
            return self.stop_connecting();
        }
        // There may be many idle ones, and little to see.
        self.ticks += 1;
        let is_thorough = self.ticks.is_multiple_of(20) || self.phase == Phase::Connecting;
        let slots = if is_thorough { self.connections.len() } else { self.active };
        for slot in 0..slots {
            let connection = &self.connections[slot];
            let age = self.now.saturating_sub(connection.since);
            match connection.stage {
                Stage::Connecting if age >= timeout => self.give_up_connecting(slot),
                Stage::Ending if age >= super::traffic::ENDING_NS_MAX => self.kill(slot),
                Stage::Open => {
                    let oldest = connection.waiting.front().map_or(u64::MAX, |asked| asked.sent);
                    if self.now.saturating_sub(oldest) >= timeout {
                        self.give_up(slot);
                    }
                }
                _ => {}
            }
        }
    }

    /// Those that have not come about by now have failed.
    fn stop_connecting(&mut self) {
        let late = io::Error::from_raw_os_error(libc::ETIMEDOUT);
        for slot in std::mem::take(&mut self.to_connect) {
            self.refused(&late);
            self.first(slot as usize, false);
        }
        for slot in 0..self.connections.len() {
            match self.connections[slot].stage {
                Stage::Connecting => self.give_up_connecting(slot),
                Stage::Open if self.connections[slot].is_first => self.give_up(slot),
                _ => {}
            }
        }
    }

    /// A source address other than the host's choice, when many connections are made to a loopback address.
    pub(super) fn source(&mut self) -> Option<&'static [u8]> {
        let is_loopback = matches!(self.plan.target, SocketAddr::V4(v4) if v4.ip().is_loopback());
        if is_loopback && self.opened > 0 && self.opened.is_multiple_of(SOURCE_CONNECTIONS_MAX) {
            let byte = |value: usize| u8::try_from(value % 250 + 1).expect("at most 250");
            let number = (self.opened / SOURCE_CONNECTIONS_MAX) as usize;
            let address = Ipv4Addr::new(127, byte(self.number + 100), byte(number / 250), byte(number));
            self.source = Some(socket_address(SocketAddr::from((address, 0))));
        }
        self.source
    }

    pub(super) fn refused(&mut self, reason: &io::Error) {
        let target = self.plan.target;
        self.tally.fault(Fault::Refused, || format!("no connection to {target}: {reason}"));
    }
}

/// The time that the first connections have to come about.
pub(super) fn connecting_max(plan: &Plan) -> Duration {
    plan.timeout.max(CONNECTING_MIN)
}

/// A time that no load lives to see is cut to one that can be added to.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// Small answers need no large buffers, and large ones are cheaper in few pieces.
fn shape(plan: &Plan) -> Shape {
    const LARGE: u64 = 8 << 10;
    let largest = plan.exchanges.iter().filter_map(|exchange| exchange.expected.body_bytes).max();
    let (count, buffer_bytes) = if largest.unwrap_or(0) > LARGE { (64, 64 << 10) } else { (256, 8 << 10) };
    // Buffers whose starts are a line more than pages apart do not fight for the same sets of the cache.
    Shape { count, buffer_bytes, stride: buffer_bytes + 64, huge_pages: false }
}
