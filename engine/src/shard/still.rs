//! A shard for which time stands still, as counts of instructions want it: they must not depend on how long a machine
//! takes, and a tick that passes meanwhile puts off the timers of thousands of connections.
//!
//! Invariants: the clock is read as ever in each turn; it keeps to the time at which it was stopped.
//!
//! Not here: the clock's own ways (`clock`), and who counts (`bench_door`).

use super::Shard;
use crate::driver::Io;

impl<I: Io> Shard<I> {
    /// From now on no time passes.
    pub(crate) fn stop_clock(&mut self) {
        self.protocol.transport.clock.stop();
    }
}
