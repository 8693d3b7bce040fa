//! What applications tell of requests under way: see `queue::signals`.

use super::Shard;
use super::connection::SlotState;
use crate::queue::Signals;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Takes the signals, and sees to what they are about.
    #[inline]
    pub(super) fn collect_signals(&mut self) {
        if self.side.has_signals() {
            self.take_signals();
        }
    }

    #[cold]
    fn take_signals(&mut self) {
        let mut told = core::mem::take(&mut self.told);
        self.side.take_signals(&mut told);
        for slot in told.drain(..) {
            let signals = self.side.read_signals(slot);
            // Of a request that is over, the connection is another one's or nobody's: a look at it does no harm.
            let SlotState { connection, generation, .. } = self.slots[slot as usize];
            let key = Key { index: connection, generation };
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
        self.told = told;
    }
}
