//! An engine that a test cannot leave with anything of it still lent.
//!
//! Invariants: every engine of these tests is one, as a tidy test holds; levels are found by their names, so that a new
//! one is watched without a change here. A test lets go of its clients and requests before its engine: what is declared
//! behind it goes before it.
//!
//! Not here: descriptors and threads, which belong to a process (`files_leak`).

use std::ops::Deref;
use std::thread;
use std::time::Duration;

use ringress::{Counters, Engine, EngineBuilder, Mode};

use super::{WAIT_MAX, holds_within};

/// An engine that must have everything back when it is dropped: in queue mode while it runs, unless it has been shut
/// down before; in co-located mode when its shards have ended.
pub(crate) struct Watched {
    /// `None` only while it is let go of.
    engine: Option<Engine>,
    mode: Mode,
}

impl Watched {
    pub(crate) fn start(builder: EngineBuilder, mode: Mode) -> Self {
        Self::try_start(builder, mode).expect("the engine starts")
    }

    pub(crate) fn try_start(builder: EngineBuilder, mode: Mode) -> ringress::Result<Self> {
        let engine = builder.mode(mode).start()?;
        Ok(Self { engine: Some(engine), mode })
    }

    /// The engine alone, for a test whose point is what outlives it.
    pub(crate) fn unwatched(mut self) -> Engine {
        self.engine.take().expect("only taken here")
    }
}

impl Deref for Watched {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine.as_ref().expect("taken only with the whole")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(engine) = &self.engine else { return };
        if thread::panicking() {
            return;
        }
        // Who drove its shards does so no more.
        if self.mode == Mode::Colocated {
            engine.shutdown(Duration::ZERO).expect("no shard failed");
        }
        await_rest(engine);
    }
}

/// Waits until everything that an engine lent has come back.
#[track_caller]
pub(crate) fn await_rest(engine: &Engine) {
    let is_back = || left(&engine.counters()).next().is_none();
    if !holds_within(WAIT_MAX, is_back) {
        let counters = engine.counters();
        let left: Vec<String> = left(&counters).map(|(name, level)| format!("{name} {level}")).collect();
        panic!("not back within {WAIT_MAX:?}: {}; {counters:#?}", left.join(", "));
    }
}

/// The levels that are not zero.
fn left(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let is_level = |name: &str| name.ends_with("_open") || name.ends_with("_in_use") || name == "requests_departed";
    let levels = counters.named().filter(move |(name, _)| is_level(name));
    levels.filter(|(_, level)| *level > 0)
}
