//! What applications tell of requests under way: see `queue::signals`.

use super::Shard;
use crate::queue::Signals;
use crate::ring::Io;

impl<I: Io> Shard<I> {
    /// Takes the signals, and sees to what they are about.
    #[inline]
    pub(super) fn collect_signals(&mut self) {
        if self.dispatch.side.has_signals() {
            self.take_signals();
        }
    }

    #[cold]
    fn take_signals(&mut self) {
        let mut told = core::mem::take(&mut self.dispatch.told);
        self.dispatch.side.take_signals(&mut told);
        for slot in told.drain(..) {
            let signals = self.dispatch.side.read_signals(slot);
            // Of a request that is over, the connection is another one's or nobody's: a look at it does no harm.
            let key = self.dispatch.slots[slot as usize].connection;
            if signals.has(Signals::SEND) {
                self.on_stream_signal(key, slot);
            }
            if signals.has(Signals::READ) {
                self.body_was_read(key, slot);
            }
            if signals.has(Signals::WANTED) {
                self.body_is_wanted(key, slot);
            }
        }
        self.dispatch.told = told;
    }
}
