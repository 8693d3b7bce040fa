//! What an enter of the kernel has sent.
//!
//! Invariants: what fell short or failed is seen to before what did not, of which nothing is told; large sends that
//! have waited go before any that come.
//!
//! Not here: what goes on behind a send (`protocol::send`).

use super::Shard;
use super::protocol::Protocol;
use crate::driver::{Io, Op};

impl<I: Io> Shard<I> {
    /// What is being sent has waited for this enter, for as long as an application has kept the thread: the timers that
    /// have begun with it begin now. (A shard that sleeps while something is being sent sleeps for a tick at most.)
    #[cold]
    pub(super) fn begin_sends_anew(&mut self) {
        for index in 0..self.protocol.transport.silent.len() {
            let key = self.protocol.transport.silent[index];
            self.visit(key, Protocol::renew_deadline);
        }
    }

    /// After an enter: first the sends that fell short or failed, then all silent ones that did not. Then large ones go
    /// that have waited for it.
    pub(super) fn end_sends(&mut self) {
        for index in 0..self.events.len() {
            if self.events[index].token.op() == Op::Send {
                let event = self.events[index].take();
                self.handle_uncommon(Op::Send, event);
            }
        }
        let mut silent = core::mem::take(&mut self.protocol.transport.silent);
        for key in silent.drain(..) {
            self.visit(key, Protocol::end_silent_send);
        }
        // What ended may have put connections on the lists again; `silent` is empty until they are worked off.
        self.protocol.transport.silent = silent;
        self.protocol.transport.turns.begin();
        while let Some(place) = self.protocol.transport.turns.next() {
            if let Some(key) = self.connections.key_of(place) {
                self.visit(key, Protocol::send_in_turn);
            }
        }
        self.protocol.dispatch.refill_reserve();
        self.work_off();
    }
}
