//! How a shard's side of an exchange ends: what handles still read is left to the last of them.
//!
//! Invariants: answers that are being written when the shard ends are waited for; each handle that is out then is
//! counted, and the last one takes the exchange with it.
//!
//! Not here: how requests end and are counted before that (`shard::dispatch`), and handles that are dropped (`lease`).

use core::sync::atomic::Ordering;
use std::sync::Arc;

use super::answered::ResponseFlags;
use super::body::BodyState;
use super::exchange::{Exchange, Record};
use super::shard_side::ShardSide;
use super::slot::SlotTable;
use super::word::{COMPLETING, DEAD, HANDLE, ORPHAN};
use crate::mem;

impl<R: Record> ShardSide<R> {
    /// The shard has failed: no request can be answered any more, and nothing else changes.
    pub(crate) fn mark_all_disconnected(&mut self) {
        for slot in self.slots_used() {
            self.slot(slot).word.fetch_or(DEAD, Ordering::AcqRel);
        }
    }

    /// Ends the shard: no request can be answered any more, and the exchange goes with the last handle that is out.
    ///
    /// Answers that threads are writing at this moment are waited for: they touch the exchange until they are in the
    /// completions. The connections are gone, so every slot taken from the completions before has been finished.
    pub(crate) fn end(mut self) {
        let exchange = Arc::clone(&self.exchange);
        // The count that the last orphan releases; the 1 keeps it from reaching 0 while orphans are counted.
        core::mem::forget(Arc::clone(&exchange));
        exchange.orphans.store(1, Ordering::SeqCst);
        let mut returning = SlotTable::filled(self.high_water, false);
        let mut left = 0_usize;
        for slot in self.slots_used() {
            exchange.orphans.fetch_add(1, Ordering::AcqRel);
            let before = self.slot(slot).word.fetch_or(DEAD | ORPHAN, Ordering::AcqRel);
            if before & HANDLE == 0 {
                exchange.orphans.fetch_sub(1, Ordering::AcqRel);
            }
            if before & COMPLETING != 0 {
                returning[slot] = true;
                left += 1;
            }
        }
        while left > 0 {
            left -= self.end_completed(&mut returning);
            std::thread::yield_now();
        }
        self.ended = true;
        exchange.commands.end();
        // SAFETY: duty 1: the pointer is the `Arc`'s, and the 1 stored above is taken off here. Duty 2: that `Arc`.
        unsafe { Exchange::release_orphan(Arc::as_ptr(&exchange)) };
    }

    /// Takes what has come back, or will not come back after all, off the list. Gives how many.
    fn end_completed(&mut self, returning: &mut SlotTable<bool>) -> usize {
        let mut slots = Vec::new();
        self.take_completions(&mut slots);
        let mut count = 0;
        for completed in slots {
            let (slot, _) = self.accept(completed);
            let answer = core::mem::take(self.answered_mut(slot));
            // The handle went with its response: it is no orphan, though it was counted as one.
            if answer.flags.has(ResponseFlags::BY_HANDLE) {
                self.exchange.orphans.fetch_sub(1, Ordering::AcqRel);
            }
            count += usize::from(core::mem::take(&mut returning[slot]));
        }
        for slot in self.slots_used() {
            if returning[slot] && self.word(slot) & COMPLETING == 0 {
                returning[slot] = false;
                count += 1;
            }
        }
        count
    }
}

impl<R: Record> Drop for ShardSide<R> {
    /// Without [`end`](Self::end), after a panic or a failed ring, nobody can say which slots are still used: then the
    /// exchange stays for ever, unless no slot is.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.exchange.commands.end();
        // Nobody will bring those who wait for a body any more of it.
        for slot in self.slots_used() {
            self.body(slot).set_state(BodyState::Failed(u8::MAX));
            self.body(slot).wake_reader();
        }
        if self.in_use() > 0 {
            mem::leave(Arc::as_ptr(&self.exchange));
            core::mem::forget(Arc::clone(&self.exchange));
        }
    }
}
