//! A shard for which time stands still, as counts of instructions want it: they must not depend on how long a machine
//! takes, and a tick that passes meanwhile puts off the timers of thousands of connections.
//!
//! Not here: the clock's own ways (`clock`), and who counts (`bench_door`).

use super::Shard;
use crate::driver::Io;

impl<I: Io> Shard<I> {
    /// No time has passed since the last turn.
    pub(crate) fn pass_over(&mut self) {
        self.protocol.transport.clock.pass_over();
    }
}
