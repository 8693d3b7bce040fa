//! How many shards run, and who waits for one: for the engine's end, or, co-located, for a thread that drives a shard.
//!
//! Invariants: who waits where nobody drives a shard is told so, instead of waiting for ever; who begins with both at
//! once does so in any order, within seconds; tasks are woken by a thread, of which there is at most one, and only
//! until a shard runs.
//!
//! Not here: driving (`attached`), and a thread that drives a shard and waits for a future without driving it (room
//! `api`).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// How long somebody may wait for a co-located engine before a thread drives it.
const DRIVER_WAIT_MAX: Duration = Duration::from_secs(5);

/// What there is to wait for.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Shards that run.
    pub(super) shards: usize,
    /// The engine serves no more: it has been shut down, it has failed, or its last shard has ended.
    pub(super) over: bool,
    awaited: Awaited,
}

/// How far tasks have waited for a thread to drive a shard, where none has done so since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    NotYet,
    /// A thread looks, and wakes them when the time is up.
    UnderWay,
    /// The time is up.
    InVain,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Running {
    state: Mutex<State>,
    changed: Condvar,
}

impl State {
    fn is_undriven(&self) -> bool {
        self.shards == 0 && !self.over
    }
}

#[cold]
fn undriven(what: &str) -> Error {
    Error::invalid(format!(
        "{what} where nobody drives a shard of this co-located engine, so that it would last for ever. Remedy: beside \
        that, attach a thread to each shard (Engine::attach, or RequestQueue::serve), or start the engine in \
        Mode::Queue"
    ))
}

impl Running {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard runs from now on.
    pub(super) fn add_shard(&self) {
        let mut state = self.state();
        state.shards += 1;
        // A thread that looks meanwhile notes that itself.
        if state.awaited == Awaited::InVain {
            state.awaited = Awaited::NotYet;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The engine serves no more, or may serve less than before.
    pub(super) fn ended(&self, is_over: bool) {
        self.state().over |= is_over;
        self.changed.notify_all();
    }

    /// Waits until the engine serves no more.
    pub(super) fn await_end(&self) {
        let waited = self.changed.wait_while(self.state(), |state| !state.over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for something to change, for so long at most.
    pub(super) fn await_change<'a>(&self, state: MutexGuard<'a, State>, wait_max: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, wait_max).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits, in co-located mode, until a thread drives a shard, for a while.
    ///
    /// # Errors
    /// That none does, so that who waits for what a shard brings would do so for ever.
    pub(super) fn await_driver(&self, what: &str, wait_max: Option<Duration>) -> Result<()> {
        let left = wait_max.map_or(DRIVER_WAIT_MAX, |wait_max| wait_max.min(DRIVER_WAIT_MAX));
        let is_driven = !self.driven_within(left).is_undriven();
        if is_driven || left < DRIVER_WAIT_MAX { Ok(()) } else { Err(undriven(what)) }
    }

    /// As [`await_driver`](Self::await_driver) for a task, which has no clock: when the time is up, `wake` has it come
    /// back.
    ///
    /// # Errors
    /// As there; [`Io`](crate::ErrorKind::Io) when there is no thread to be had that wakes it.
    pub(super) fn expect_driver(self: &Arc<Self>, what: &str, wake: impl FnOnce() + Send + 'static) -> Result<()> {
        let mut state = self.state();
        match state.awaited {
            _ if !state.is_undriven() => return Ok(()),
            Awaited::InVain => return Err(undriven(what)),
            Awaited::UnderWay => return Ok(()),
            Awaited::NotYet => state.awaited = Awaited::UnderWay,
        }
        drop(state);
        let running = Arc::clone(self);
        let look = move || {
            let mut state = running.driven_within(DRIVER_WAIT_MAX);
            let in_vain = state.is_undriven();
            state.awaited = if in_vain { Awaited::InVain } else { Awaited::NotYet };
            drop(state);
            if in_vain {
                wake();
            }
        };
        let refused = |error| {
            self.state().awaited = Awaited::NotYet;
            Error::io("cannot start a thread that tells who waits for a co-located engine that nobody drives", error)
        };
        thread::Builder::new().name("ringress-undriven".into()).spawn(look).map(drop).map_err(refused)
    }

    /// Waits until a thread drives a shard, or the engine is over, for so long at most.
    fn driven_within(&self, wait_max: Duration) -> MutexGuard<'_, State> {
        let until = |state: &mut State| state.is_undriven();
        self.changed.wait_timeout_while(self.state(), wait_max, until).unwrap_or_else(PoisonError::into_inner).0
    }
}
