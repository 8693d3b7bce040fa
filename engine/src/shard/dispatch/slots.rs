//! What a shard keeps of a request slot, beside what it shares with the applications.
//!
//! Invariants: a slot that came back is freed here, or by the handle that still reads it, never both.

use super::{Dispatch, GONE};
use crate::clock::Tick;
use crate::queue::{AnswerFlags, Fate, Tail};
use crate::slab::Key;
use crate::stream::Outgoing;

/// No slot, buffer or cell.
pub(crate) const NONE: u32 = u32::MAX;

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotState {
    pub(crate) connection: Key,
    /// The next younger request of the connection.
    pub(crate) next: u32,
    /// The queue it was pushed to, `NONE` if to none; where in that, and when.
    pub(crate) queue: u32,
    pub(crate) position: u64,
    pub(crate) queued: Tick,
    /// The answer is in the slot, and the slot is the shard's.
    pub(crate) answered: bool,
    /// The connection ends after this answer, as far as is known: the request or the application wants it so.
    pub(crate) last: bool,
    /// The request came by HTTP/1.0.
    pub(crate) is_http10: bool,
}

impl SlotState {
    pub(crate) const FREE: Self = Self {
        connection: Key::NOWHERE,
        next: NONE,
        queue: NONE,
        position: 0,
        queued: 0,
        answered: false,
        last: false,
        is_http10: false,
    };
}

impl Dispatch {
    /// The answer of a slot is dealt with: frees the slot, and what it pinned, unless a handle still reads it.
    #[inline]
    pub(crate) fn finish_slot(&mut self, slot: u32) {
        if self.side.finish(slot) == Fate::Held && self.side.has_body(slot) {
            self.forget_body(slot, GONE);
        }
    }

    /// The requests of a connection that is gone, from the oldest on. Gives how many had been answered.
    pub(crate) fn end_requests_of(&mut self, oldest: u32) -> u64 {
        let (mut next, mut unsent) = (oldest, 0);
        while next != NONE {
            let slot = next;
            let SlotState { answered, next: younger, .. } = self.slots[slot as usize];
            next = younger;
            if answered {
                let answer = self.side.answer_mut(slot);
                // Dropped while its connection went, it has not even been given 500.
                if answer.flags.has(AnswerFlags::ABANDONED) && answer.area_len == 0 {
                    self.counters.requests_disconnected.count();
                } else {
                    unsent += 1;
                }
                self.finish_slot(slot);
                continue;
            }
            if !self.side.is_cancelled(slot) {
                self.counters.requests_disconnected.count();
            }
            // An answer already on its way back finds no connection.
            self.slots[slot as usize].connection = Key::NOWHERE;
            match self.side.mark_disconnected(slot) {
                Fate::Held if self.side.has_body(slot) => self.forget_body(slot, GONE),
                Fate::Held | Fate::Free => {}
            }
        }
        unsent
    }

    /// The stream in a slot that the shard has taken back.
    pub(crate) fn outgoing(&mut self, slot: u32) -> Option<&mut Outgoing> {
        match &mut self.side.answer_mut(slot).tail {
            Tail::Stream(outgoing) => Some(outgoing),
            Tail::None | Tail::Bytes(_) => None,
        }
    }

    /// The shard has failed: the senders of the streams of a connection are told, from its oldest request on.
    pub(crate) fn give_up_streams(&mut self, oldest: u32) {
        let mut next = oldest;
        // Whatever state the list was left in, this ends.
        for _ in 0..self.slots.len() {
            let Some(state) = self.slots.get(next as usize).copied() else { return };
            if state.answered {
                self.give_up_stream(next);
            }
            next = state.next;
        }
    }

    pub(crate) fn give_up_stream(&mut self, slot: u32) {
        if let Some(outgoing) = self.outgoing(slot) {
            outgoing.give_up();
        }
    }

    /// The shard ends. Unless it `is_whole`, connections are left, whose ring has failed: what they used cannot be told
    /// any more.
    pub(crate) fn end(mut self, is_whole: bool) {
        if is_whole { self.side.end() } else { self.side.mark_all_disconnected() }
    }

    /// Nobody sends what is still to be sent: who waits for it is told, and whoever comes later, too.
    pub(crate) fn give_up_requests(&mut self) {
        self.side.mark_all_disconnected();
        let mut completed = core::mem::take(&mut self.completed);
        completed.clear();
        self.side.take_completions(&mut completed);
        for completed in completed.drain(..) {
            let (slot, _) = self.side.accept(completed);
            self.give_up_stream(slot);
        }
    }
}
