//! The control plane's state, behind one lock, and how it gets to the shards.
//!
//! Invariants: nothing waits under the lock, and no code of the application's runs there; every change is published to
//! all shards before the call that made it returns.
//!
//! Not here: what is kept of queues, groups and addresses (`queues`, `groups`, `listeners`), what is changed of them
//! (`changes`), who waits for a shard that nobody drives (`running`), and how a shard takes what is published
//! (`shard::control`).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::bound::ShardState;
use super::drivers::{LiveShard, Refused};
use super::events::EventListener;
use super::groups::Groups;
use super::listeners::Listeners;
use super::logs::Logs;
use super::queues::Queues;
use super::running::Running;
use crate::admission::Gates;
use crate::clock;
use crate::config::{Config, Driver, Mode};
use crate::counters::ShardCounters;
use crate::driver::{Epoll, Io, Uring};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::id::{Places, ShardId};
use crate::log::LogWriter;
use crate::mem::Arena;
use crate::queue::{Exchange, ShardSide};
use crate::record::RequestRecord;
use crate::shard::{DesiredState, Inbox, Leave, Shard};

/// Between two looks at shards that are in the middle of a turn.
const PAUSE: Duration = Duration::from_millis(1);

/// What the control plane knows, behind one lock.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) queues: Queues,
    pub(super) groups: Groups,
    pub(super) listeners: Listeners,
    pub(super) logs: Logs,
    /// What all this comes to for the shards.
    pub(super) desired: DesiredState,
    /// Shard sides that no thread has taken yet.
    pub(super) sides: Vec<Option<ShardSide<RequestRecord>>>,
    /// Shards that have ended.
    ended: Vec<usize>,
    pub(super) stopped: bool,
    /// Why the engine no longer serves.
    pub(super) failure: Option<Error>,
}

/// What an engine's handles share.
#[derive(Debug)]
pub(crate) struct EngineShared {
    pub(super) id: u64,
    pub(super) config: Config,
    /// Which ids are of this engine.
    pub(super) places: Arc<Places>,
    pub(super) exchanges: Arc<[Arc<Exchange<RequestRecord>>]>,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) counters: Vec<Arc<ShardCounters>>,
    pub(super) control: Mutex<Control>,
    pub(super) running: Arc<Running>,
    /// Who writes logs, once there was one.
    pub(super) log_writer: OnceLock<LogWriter>,
    /// Who is told what happens.
    pub(super) listener: EventListener,
    /// Panics of applications' code on threads that drive no shard, before the start.
    pub(super) caught_before: u64,
}

impl Control {
    pub(super) fn new(sides: Vec<Option<ShardSide<RequestRecord>>>, groups: Groups, gates: Gates) -> Self {
        let desired = DesiredState::new(groups.routes.clone());
        let (queues, listeners, ended) = (Queues::default(), Listeners::new(gates), Vec::new());
        Self { queues, groups, listeners, logs: Logs::default(), desired, sides, ended, stopped: false, failure: None }
    }

    /// What the shards do at the moment.
    pub(super) fn shard_states(&self) -> Vec<ShardState> {
        let state = |(index, side): (usize, &Option<_>)| match side {
            Some(_) => ShardState::Waits,
            None if self.ended.contains(&index) => ShardState::Ended,
            None => ShardState::Runs,
        };
        self.sides.iter().enumerate().map(state).collect()
    }

    /// # Errors
    /// Why no thread can take a shard: it is taken, or has been, or the engine has failed or is shut down.
    fn check_free(&self, index: usize) -> Result<()> {
        if self.failure.is_none() && self.ended.contains(&index) {
            let text = format!("shard {index} has ended, with what drove it, and does not begin again");
            return Err(Error::new(ErrorKind::Closed, text + ": start another engine"));
        }
        self.check_open()?;
        match self.sides.get(index) {
            Some(Some(_)) => Ok(()),
            _ => Err(Error::invalid(format!("shard {index} is attached already"))),
        }
    }

    /// # Errors
    /// Why the engine takes nothing new: it has failed, or it is shut down.
    pub(super) fn check_open(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.stopped => Err(Error::new(ErrorKind::Closed, "the engine has been shut down")),
            None => Ok(()),
        }
    }
}

impl EngineShared {
    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every shard take what the control plane wants of it now.
    pub(super) fn publish(&self, control: &mut Control) {
        control.desired.advance();
        for (inbox, exchange) in self.inboxes.iter().zip(self.exchanges.iter()) {
            inbox.put(control.desired.clone());
            exchange.notifier().notify();
        }
    }

    /// Whether all changes hold for whatever the shards do from now on.
    pub(super) fn has_changed(&self) -> bool {
        let generation = self.control().desired.generation();
        self.inboxes.iter().all(|inbox| inbox.holds(generation))
    }

    /// Waits until all changes hold for whatever the shards do from now on; without the lock. `false`: not in time.
    pub(super) fn await_changes(&self, timeout: Duration) -> bool {
        let deadline = clock::now().checked_add(timeout);
        while !self.has_changed() {
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return false;
            }
            // The shards have been notified: they are in the middle of a turn.
            clock::pause(PAUSE);
        }
        true
    }

    /// Has every shard stop, within this time if it has had none that is shorter, and nobody come in any more.
    pub(super) fn stop_shards(&self, control: &mut Control, leave: Leave) {
        let untaken = self.inboxes.iter().zip(&control.sides).filter(|(_, side)| side.is_some());
        untaken.for_each(|(inbox, _)| inbox.close());
        control.listeners.close_all(&mut control.desired);
        control.desired.stop = Some(control.desired.stop.map_or(leave, |earlier| earlier.sooner(leave)));
        self.publish(control);
    }

    /// Begins the engine's end, which is not waited for, or has it come sooner. `false`: it had begun.
    pub(super) fn begin_stop(&self, leave: Leave) -> bool {
        let control = &mut *self.control();
        let is_first = !core::mem::replace(&mut control.stopped, true);
        if is_first || control.desired.stop.is_some_and(|earlier| earlier.sooner(leave) != earlier) {
            self.stop_shards(control, leave);
        }
        is_first
    }

    /// As [`Running::await_driver`], if somebody has to drive the shards.
    ///
    /// # Errors
    /// As there.
    pub(super) fn await_driver(&self, what: &str, wait_max: Option<Duration>) -> Result<()> {
        if self.config.mode == Mode::Queue { Ok(()) } else { self.running.await_driver(what, wait_max) }
    }

    /// As [`Running::expect_driver`], for a task that is registered with a queue.
    ///
    /// # Errors
    /// As there.
    pub(super) fn expect_driver(self: &Arc<Self>, what: &str) -> Result<()> {
        let shared = Arc::clone(self);
        self.running.expect_driver(what, move || {
            let queues = shared.control().queues.cores();
            // Wakers are the application's code: not under the lock.
            queues.iter().for_each(|queue| queue.sleepers().wake_all());
        })
    }

    /// Makes the shard `index` on the current thread.
    pub(super) fn make_shard(&self, index: usize) -> std::result::Result<LiveShard, Refused> {
        let connections = self.config.connections_max;
        match self.config.driver {
            Driver::Epoll => {
                let shard = self.make_shard_over(index, |arena, id| Epoll::new(arena, id, connections))?;
                Ok(LiveShard::Epoll(shard))
            }
            Driver::Auto | Driver::IoUring => Ok(LiveShard::Uring(self.make_shard_over(index, Uring::new)?)),
        }
    }

    fn make_shard_over<I: Io>(
        &self,
        index: usize,
        make: impl FnOnce(Arc<Arena>, ShardId) -> Result<I>,
    ) -> std::result::Result<Shard<I>, Refused> {
        let text = || format!("there is no shard {index}: the engine has {}", self.exchanges.len());
        let no_such = || Error::new(ErrorKind::NotFound, text());
        let exchange = self.exchanges.get(index).ok_or_else(no_such)?;
        self.control().check_free(index)?;
        // The side last: if the kernel refuses anything else, the shard can be tried again, and the thread is free.
        let id = ShardId(u8::try_from(index).unwrap_or(u8::MAX));
        let io = make(Arc::clone(exchange.arena()), id).map_err(Refused::of_driver)?;
        let (inbox, counters) = (Arc::clone(&self.inboxes[index]), Arc::clone(&self.counters[index]));
        let shard = Shard::new(io, id, || self.take_side(index), &self.config, inbox, counters)?;
        let mut shard = shard.among(Arc::clone(&self.exchanges));
        // What was wanted before the shard ran, so that it listens when this returns.
        shard.take_newest();
        Ok(shard)
    }

    /// Makes the rings of all shards at once, to find out whether they can be had, and lets go of them. On a thread of
    /// its own: the kernel takes a ring down later, on the thread that made it, whose calls that interrupts (EINTR).
    pub(super) fn try_rings(self: &Arc<Self>) -> std::result::Result<(), Refused> {
        let shared = Arc::clone(self);
        let ring = move |index: usize| {
            let arena = Arc::clone(shared.exchanges[index].arena());
            Uring::new(arena, ShardId(u8::try_from(index).unwrap_or(u8::MAX)))
        };
        let shards = self.exchanges.len();
        let all = move || (0..shards).map(ring).collect::<Result<Vec<_>>>().map(drop);
        let thread = thread::Builder::new().name("ringress-try".into()).spawn(all);
        let thread = thread.map_err(|error| Error::io("cannot start a thread to try io_uring", error))?;
        let tried = thread.join().unwrap_or_else(|_| Err(Error::invalid("a thread that tried io_uring panicked")));
        tried.map_err(Refused::of_driver)
    }

    /// Pins the current thread, and gives it the side of a shard, which runs from now on: in one step, so that nobody
    /// finds the engine without a shard while this one begins.
    pub(super) fn take_side(&self, index: usize) -> Result<ShardSide<RequestRecord>> {
        let mut control = self.control();
        control.check_free(index)?;
        self.pin(index)?;
        let side = control.sides.get_mut(index).and_then(Option::take).ok_or(Error::CLOSED)?;
        self.running.add_shard();
        Ok(side)
    }

    /// Pins the current thread to the core of a shard, if that has one.
    fn pin(&self, index: usize) -> Result<()> {
        match self.config.core_of(index) {
            Some(core) if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) => {
                Err(Error::invalid(format!("cores: the kernel refused to pin shard {index} to core {core}")))
            }
            _ => Ok(()),
        }
    }

    /// Ends a shard on its thread, and gives why, if it is not a shutdown. No outcome: it has panicked, which is a
    /// fault of the engine's own, and must not leave anybody waiting for a shard that is no more.
    pub(super) fn end_shard(&self, index: usize, shard: LiveShard, outcome: Option<Result<()>>) -> Result<()> {
        let ended = match outcome {
            Some(result) => foreign::attempt(move || shard.end()).map(|()| result),
            None => foreign::attempt(move || shard.give_up()).and(None),
        };
        let result = ended.unwrap_or_else(|| Err(Error::new(ErrorKind::Io, format!("shard {index} panicked"))));
        self.shard_ended(index, result.clone());
        result
    }

    /// A shard has ended on this thread, for a reason if it is not a shutdown: then the engine is of no more use.
    fn shard_ended(&self, index: usize, result: Result<()>) {
        let failed = result.is_err();
        if let Err(error) = result {
            self.give_up(error);
        }
        let is_last = {
            let control = &mut *self.control();
            control.ended.push(index);
            control.listeners.shard_ended(index, &mut control.desired);
            self.publish(control);
            let is_last = {
                let mut running = self.running.state();
                running.shards -= 1;
                running.shards == 0
            };
            // Without a shard, and without one to come, an engine serves no more.
            control.stopped |= is_last && control.sides.iter().all(Option::is_none);
            if control.stopped {
                control.listeners.close_all(&mut control.desired);
            }
            is_last && control.stopped
        };
        // Who began the stop on a shard's thread did not wait for this.
        if is_last {
            self.close_queues();
        }
        // What wakers did on the end: the shard counts no more.
        self.counters[index].foreign_panics.add(foreign::take_caught());
        self.running.ended(failed || is_last);
    }

    /// Gives the engine up, whose clients a part of it serves no more: so that they are refused and turn elsewhere, all
    /// listeners and queues close. Who holds a request of a shard that runs can still answer it, until the shutdown.
    #[cold]
    fn give_up(&self, error: Error) {
        let mut control = self.control();
        control.failure.get_or_insert(error);
        self.stop_shards(&mut control, Leave::within(Duration::MAX));
        let queues = control.queues.cores();
        drop(control);
        // Nobody has to take what waits in them.
        queues.iter().for_each(|queue| queue.close_and_abandon());
    }

    pub(super) fn close_queues(&self) {
        let queues = self.control().queues.cores();
        // Wakers are the application's code: not under the lock.
        queues.iter().for_each(|queue| queue.close());
    }
}
