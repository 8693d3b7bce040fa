//! The one end of a request: whatever way it took, it passes [`Dispatch::request_ended`], which counts it and frees its
//! slot.
//!
//! ```text
//!   begin_delivered, begin_refused ──▶ under way ──answered, refused, abandoned ──▶ sent ──▶ request_ended
//!                                          └───────────────────────────────────────▶ lost ──▶ request_ended
//! ```
//!
//! Invariants:
//! * A slot whose request has begun is freed by [`Dispatch::request_ended`] alone, which takes the outcome: the rest of
//!   the shard has no [`Ended`] to free it with, and giving up a slot that has begun is asserted against.
//! * Every count of requests derives from an [`Ended`], so that those delivered are those that have ended and those
//!   that are open, at any moment, over all and for each queue.
//! * What was said of a request's end first holds: refused, abandoned, cancelled, cut, timed out. Of an application's
//!   answer, whether the socket took it whole decides.

use ringress_proto::reject::Reject;

use super::{Dispatch, GONE, NONE, SlotState};
use crate::id::UrlGroupId;
use crate::queue::{AnswerFlags, Answered, Fate, Tail};
use crate::record::{Ended, Lost, Outcome, Timer};
use crate::slab::Key;

/// What a refusal is, if the answer that says so goes out or not.
fn refused(reject: Reject) -> Outcome {
    match reject {
        Reject::Abandoned => Outcome::Abandoned,
        Reject::QueueTimeout => Outcome::TimedOut(Timer::Queue),
        Reject::HeaderTimeout => Outcome::TimedOut(Timer::Head),
        Reject::BodyTimeout => Outcome::TimedOut(Timer::Body),
        reject => Outcome::Refused(reject),
    }
}

/// Bytes of an answer; of a stream, those that the socket has taken.
#[inline]
fn answer_bytes(answer: &Answered) -> u64 {
    match &answer.tail {
        Tail::None => u64::from(answer.area_len()),
        Tail::Bytes(tail) => u64::from(answer.area_len()) + tail.len() as u64,
        Tail::Stream(outgoing) => outgoing.taken(),
    }
}

impl Dispatch {
    /// A request is refused before it is anybody's. Its slot is the shard's own, and becomes the answer's.
    #[cold]
    pub(crate) fn begin_refused(&mut self, slot: u32, reject: Reject) {
        let state = &mut self.slots[slot as usize];
        assert!(!state.begun, "a request begins once");
        (state.begun, state.answered, state.outcome) = (true, true, refused(reject));
    }

    /// A slot that was taken for a request is not needed, because there is none yet, or it is refused without it.
    #[inline]
    pub(crate) fn discard(&mut self, slot: u32) {
        assert!(!self.slots[slot as usize].begun, "a request that has begun ends by `request_ended`");
        self.side.free(slot);
    }

    /// The handle of a request that had ended was dropped: the slot is free.
    #[inline]
    pub(crate) fn reclaim(&mut self, slot: u32) {
        self.discard(slot);
    }

    /// The engine answers a request in the application's place.
    #[cold]
    pub(crate) fn decide(&mut self, slot: u32, reject: Reject) {
        self.slots[slot as usize].outcome = refused(reject);
    }

    /// The application has cancelled a request that is under way, or its answer is to be cut: nothing that happens to
    /// it afterwards is of interest.
    #[cold]
    pub(crate) fn doom(&mut self, slot: u32, outcome: Outcome) {
        if let Some(state) = self.slots.get_mut(slot as usize).filter(|state| state.begun) {
            state.outcome = outcome;
        }
    }

    /// A body that came too late came too slowly.
    #[cold]
    pub(crate) fn body_was_too_slow(&mut self, slot: u32) {
        if let Some(state) = self.slots.get_mut(slot as usize)
            && state.outcome == Outcome::TimedOut(Timer::Body)
        {
            state.outcome = Outcome::TimedOut(Timer::ReceiveRate);
        }
    }

    /// The socket has taken the answers of these requests whole: from `oldest` on.
    #[inline]
    pub(crate) fn answers_sent(&mut self, oldest: u32) {
        let mut next = oldest;
        while next != NONE {
            let slot = next;
            next = self.slots[slot as usize].next;
            self.answer_sent(slot);
        }
    }

    /// The socket has taken the answer of a request whole.
    #[inline(always)]
    pub(crate) fn answer_sent(&mut self, slot: u32) {
        let outcome = self.slots[slot as usize].outcome;
        self.request_ended(slot, outcome, None);
    }

    /// A request is lost with its connection, whose socket has taken `sent` bytes from the beginning of its answer on.
    /// Gives how many of those belong to later ones.
    #[cold]
    pub(crate) fn answer_lost(&mut self, slot: u32, lost: Lost, sent: u64) -> u64 {
        let SlotState { outcome, answered, .. } = self.slots[slot as usize];
        if !answered {
            let outcome = if outcome == Outcome::Answered { lost.outcome(false) } else { outcome };
            self.request_ended(slot, outcome, Some(0));
            return sent;
        }
        let whole = answer_bytes(self.side.answer_mut(slot));
        let is_stream = self.outgoing(slot).is_some();
        let (sent, rest) = if is_stream { (whole, 0) } else { (sent.min(whole), sent.saturating_sub(whole)) };
        let flags = self.side.answer_mut(slot).flags;
        let is_switched = flags.has(AnswerFlags::SWITCHES) && sent > 0 && lost == Lost::Client;
        let outcome = match outcome {
            // Dropped while its connection went, it has not even been given 500.
            Outcome::Answered if flags.has(AnswerFlags::ABANDONED) => lost.outcome(false),
            Outcome::Answered if is_switched || !is_stream && whole > 0 && sent == whole => Outcome::Answered,
            Outcome::Answered => lost.outcome(true),
            decided => decided,
        };
        self.request_ended(slot, outcome, Some(sent));
        rest
    }

    /// As [`answer_lost`](Self::answer_lost), of all from `oldest` on.
    #[cold]
    pub(crate) fn answers_lost(&mut self, oldest: u32, lost: Lost, sent: u64) {
        let (mut next, mut sent) = (oldest, sent);
        while next != NONE {
            let slot = next;
            next = self.slots[slot as usize].next;
            sent = self.answer_lost(slot, lost, sent);
        }
    }

    /// A request has ended: counts it, and frees its slot and what it pinned, unless a handle still reads it. The one
    /// way out for a request that had begun. Of its answer the socket has taken `sent` bytes; `None`: all.
    #[inline(always)]
    fn request_ended(&mut self, slot: u32, outcome: Outcome, sent: Option<u64>) {
        let state = &mut self.slots[slot as usize];
        assert!(core::mem::take(&mut state.begun), "a request ends once");
        let (answered, queue) = (state.answered, state.queue);
        let (bytes_in, group) = (self.request_bytes(slot), self.side.record(slot).group);
        let end = |status, bytes_out| Ended { outcome, status, queue, group, bytes_in, bytes_out };
        let (ended, fate) = if answered {
            let tell = |answer: &Answered| end(answer.status, sent.unwrap_or_else(|| answer_bytes(answer)));
            self.side.end_answered(slot, tell)
        } else {
            self.end_unanswered(slot, end(0, 0))
        };
        self.record(&ended);
        if fate == Fate::Held && self.side.has_body(slot) {
            self.forget_body(slot, GONE);
        }
    }

    #[cold]
    fn end_unanswered(&mut self, slot: u32, ended: Ended) -> (Ended, Fate) {
        // An answer already on its way back finds no connection.
        self.slots[slot as usize].connection = Key::NOWHERE;
        let fate = self.side.end_unanswered(slot, &ended);
        (ended, fate)
    }

    /// A request that has no slot is refused, for want of one.
    #[cold]
    pub(crate) fn refused_without_slot(&mut self) {
        let outcome = Outcome::Refused(Reject::Overloaded);
        let status = Reject::Overloaded.status();
        self.record(&Ended { outcome, status, queue: NONE, group: UrlGroupId::NONE, bytes_in: 0, bytes_out: 0 });
    }

    /// Bytes received of the request in a slot.
    #[inline]
    fn request_bytes(&self, slot: u32) -> u64 {
        let record = self.side.record(slot);
        let later = match self.side.has_body(slot) {
            true => self.side.arrived_body(slot).saturating_sub(u64::from(record.body_len)),
            false => 0,
        };
        record.wire_bytes + later
    }

    /// The shard has failed, and nobody can say any more what is under way: what has begun has ended, though its slots
    /// stay.
    pub(crate) fn end_left(&mut self) {
        self.side.mark_all_disconnected();
        for slot in 0..self.side.slots_used() {
            let Some(state) = self.slots.get_mut(slot as usize).filter(|state| state.begun) else { continue };
            state.begun = false;
            let queue = state.queue;
            let (outcome, group) = (Outcome::Stopped, self.side.record(slot).group);
            let bytes_in = self.request_bytes(slot);
            self.record(&Ended { outcome, status: 0, queue, group, bytes_in, bytes_out: 0 });
        }
    }

    /// All that is counted of requests that have ended.
    #[inline(always)]
    fn record(&mut self, ended: &Ended) {
        if ended.outcome == Outcome::Answered {
            self.counters.requests_answered.count();
        } else {
            self.record_uncommon(ended);
        }
    }

    #[cold]
    fn record_uncommon(&self, ended: &Ended) {
        let counters = &self.counters;
        let counter = match ended.outcome {
            Outcome::Answered => &counters.requests_answered,
            Outcome::Unsent => &counters.responses_unsent,
            Outcome::Truncated => &counters.responses_truncated,
            Outcome::Abandoned => &counters.requests_abandoned,
            Outcome::Cancelled => &counters.requests_cancelled,
            Outcome::Disconnected => &counters.requests_disconnected,
            Outcome::TimedOut(Timer::Send | Timer::SendRate) => &counters.responses_timed_out,
            Outcome::Refused(_) | Outcome::TimedOut(_) => &counters.requests_rejected,
            Outcome::Stopped => &counters.requests_stopped,
            Outcome::Cut => &counters.requests_cut,
        };
        counter.count();
        match ended.outcome {
            Outcome::Refused(Reject::QueueFull) => counters.queue_full.count(),
            Outcome::TimedOut(Timer::Queue) => counters.queue_timeouts.count(),
            _ => {}
        }
    }
}
