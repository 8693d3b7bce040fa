//! What applications tell of requests under way: see `queue::signals`.
//!
//! Invariants: the bits of a slot are taken together, and only after the slot was taken off the list; a signal of a
//! request that is over leads at most to a look at another connection, which does no harm.
//!
//! Not here: how signals are set and listed (room `queue`), and what a connection does on them (`protocol`).

use super::Shard;
use crate::driver::Io;
use crate::queue::Signals;

impl<I: Io> Shard<I> {
    /// Takes the signals, and sees to what they are about.
    #[inline]
    pub(super) fn collect_signals(&mut self) {
        if self.protocol.dispatch.has_signals() {
            self.take_signals();
        }
    }

    #[cold]
    fn take_signals(&mut self) {
        let mut slots = self.protocol.dispatch.take_signals();
        for slot in slots.drain(..) {
            let signals = self.protocol.dispatch.read_signals(slot);
            if signals.has(Signals::READ) {
                self.protocol.dispatch.body_was_read(slot);
            }
            // Of a request that is over, the connection is another one's or nobody's: a look at it does no harm.
            let Some(key) = self.protocol.dispatch.state(slot).connection else { continue };
            self.visit(key, |protocol, connection| {
                if signals.has(Signals::SEND) {
                    protocol.on_stream_signal(connection, slot);
                }
                if signals.has(Signals::READ) {
                    protocol.body_was_read(connection, slot);
                }
                if signals.has(Signals::WANTED) {
                    protocol.body_is_wanted(connection, slot);
                }
            });
        }
        self.protocol.dispatch.give_signals(slots);
    }
}
