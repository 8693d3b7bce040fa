//! The one end of a request: whatever way it took, its slot is freed with the one record of its end, and that is
//! counted by `record`: at once, or, of responses that were copied together, when their send has ended.
//!
//! ```text
//!   begin_delivered, begin_refused ──▶ under way ──answered──▶ sent, unsent ▶ request_ended
//!                                        │           └───────▶ response_copied ──▶ copied_sent, copied_unsent
//!                                        └──────────────────▶ connection gone ▶ unanswered_ended
//! ```
//!
//! Invariants:
//! * A slot whose request has begun is freed here alone, with its outcome: the rest of the shard has no [`Ended`] to
//!   free it with, and giving up a slot that has begun is asserted against.
//! * Every count of requests derives from an [`Ended`], so that those delivered are those that have ended and those
//!   that are open, at any moment, over all and for each queue.
//! * What was said of a request's end first holds: refused, abandoned, cancelled, cut, timed out. Of an application's
//!   answer, whether the socket took it whole decides.
//!
//! Not here: when a response is sent or lost (`protocol`), the record's fields (room `record`), and by which group a
//! request counts (`meters`).

use core::ops::Range;
use std::sync::Arc;

use ringress_proto::reject::Reject;

use super::Dispatch;
use super::meters::UNMETERED;
use super::slots::Life;
use crate::counters::{Counter, ShardRequestCounts};
use crate::log::LogTarget;
use crate::mem::CellId;
use crate::policy::{Page, Verbosity};
use crate::queue::{Answered, ResponseFlags, Slot, SlotUse, Tail};
use crate::record::{Ended, Moment, Outcome, Timer, Times, UnsentReason};
use crate::route::{GroupRow, Snapshot};

/// What a refusal is, if the response that says so goes out or not.
fn refused(reject: Reject) -> Outcome {
    match reject {
        Reject::Abandoned => Outcome::Abandoned,
        Reject::QueueTimeout => Outcome::TimedOut(Timer::Queue),
        Reject::HeaderTimeout => Outcome::TimedOut(Timer::Head),
        Reject::BodyTimeout => Outcome::TimedOut(Timer::Body),
        reject => Outcome::Refused(reject),
    }
}

/// What has been counted since it was written last, of requests that count in one place: most that end one after the
/// other do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    meter: u32,
    answered: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// What a shard notes of a request under way, in microseconds; 0 for what has not come to pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    pub(super) first_byte: u64,
    delivered: u64,
    answered: u64,
    /// Where it is logged.
    pub(super) log: LogTarget,
}

impl Stamps {
    /// Of a request that is not delivered yet.
    pub(super) fn of_first_byte(first_byte: u64) -> Self {
        Self { first_byte, ..Self::default() }
    }

    /// When the first byte came, if that is known.
    pub(super) fn first_byte(self) -> Option<u64> {
        (self.first_byte > 0).then_some(self.first_byte)
    }
}

/// Bytes of a response; of a stream, those that the socket has taken.
#[inline]
pub(super) fn response_bytes(answer: &Answered) -> u64 {
    match &answer.tail {
        Tail::None => u64::from(answer.area_len()),
        Tail::Bytes(tail) => u64::from(answer.area_len()) + tail.len() as u64,
        Tail::Stream(outgoing) => outgoing.taken(),
        Tail::Reset => 0,
    }
}

impl Dispatch {
    /// A request is refused before it is anybody's. Its slot is the shard's own, and becomes the response's.
    #[cold]
    pub(crate) fn begin_refused(&mut self, slot: Slot, reject: Reject) {
        let state = &mut self.slots[slot];
        assert!(state.life == Life::Over, "a request begins once");
        (state.life, state.outcome) = (Life::Refused, refused(reject));
        // Also if it is refused for its body, or was of a group that was switched off.
        state.meter = self.side.record(slot).group.row().map_or(UNMETERED, |(row, _)| self.meters.of_group(row));
        self.meters.begin_refusal(state.meter);
        if self.measures {
            self.stamp(slot, Life::Refused);
        }
    }

    /// What the client of a refused request is told of a 503.
    #[cold]
    pub(crate) fn verbosity(&self, slot: Slot) -> Verbosity {
        self.group_of(slot).map_or_else(Verbosity::default, |group| group.verbosity.get())
    }

    /// What the client of a refused request is sent instead of the engine's own text.
    #[cold]
    pub(crate) fn refusal_page(&self, slot: Slot, status: u16) -> Option<&Page> {
        self.group_of(slot)?.refusals.of(status)
    }

    /// The group that a request was routed to, unless another one has its place by now.
    pub(super) fn group_of(&self, slot: Slot) -> Option<&GroupRow> {
        let (row, owner) = self.side.record(slot).group.row()?;
        Some(self.routes.group(row)).filter(|group| group.owner == owner)
    }

    /// From now on these routes hold.
    pub(crate) fn take_routes(&mut self, routes: Arc<Snapshot>) {
        self.write_tally();
        self.meters.take_groups(&self.routes, &routes, usize::from(self.id.0));
        self.routes = routes;
    }

    /// A slot holds no request that is under way: there is none yet, or it is refused without the slot.
    #[inline]
    pub(crate) fn discard(&mut self, slot: Slot) {
        assert!(self.slots[slot].life == Life::Over, "a request that has begun ends with an outcome");
        self.side.free(slot);
    }

    /// The engine answers a request in the application's place.
    #[cold]
    pub(crate) fn decide(&mut self, slot: Slot, reject: Reject) {
        self.slots[slot].outcome = refused(reject);
        self.note_answered(slot);
    }

    /// The application has cancelled a request that is under way, or its response is to be cut: nothing that happens to
    /// it afterwards is of interest.
    #[cold]
    pub(crate) fn set_outcome(&mut self, slot: Slot, outcome: Outcome) {
        let state = &mut self.slots[slot];
        if state.life.has_begun() {
            state.outcome = outcome;
        }
    }

    /// A body that came too late came too slowly.
    #[cold]
    pub(crate) fn body_was_too_slow(&mut self, slot: Slot) {
        let state = &mut self.slots[slot];
        if state.outcome == Outcome::TimedOut(Timer::Body) {
            state.outcome = Outcome::TimedOut(Timer::ReceiveRate);
        }
    }

    /// The response of a request, of so many bytes, has been copied into this cell, to be sent with others.
    #[inline(always)]
    pub(crate) fn response_copied(&mut self, slot: Slot, cell: CellId, len: u32) {
        if self.measures {
            return self.response_copied_timed(slot, cell);
        }
        let ended = self.leave_slot(slot, self.slots[slot].outcome, Some(u64::from(len)));
        self.copied.put(cell, ended);
    }

    // A call of its own before there is an `Ended`: to be lent to one, each would be put together in memory.
    #[cold]
    fn response_copied_timed(&mut self, slot: Slot, cell: CellId) {
        self.log_end(slot, None);
        let ended = self.leave_slot(slot, self.slots[slot].outcome, None);
        if !self.log.latency {
            return self.copied.put(cell, ended);
        }
        let times = self.times_of(slot, ended.status);
        self.copied.put_timed(cell, ended, times);
    }

    /// The newest response in a cell has grown.
    #[cold]
    pub(crate) fn copied_has_grown(&mut self, cell: CellId, bytes: u32) {
        self.copied.grow_newest(cell, bytes);
    }

    /// The socket has taken the responses in a cell whole.
    #[inline]
    pub(crate) fn copied_sent(&mut self, cell: CellId) {
        let mut places = self.copied.take(cell);
        if self.measures {
            return places.for_each(|place| self.copied_ended(place));
        }
        // Nearly always all of them.
        let (count, meter, bytes_in, bytes_out) = self.copied.answered_together(places.clone());
        #[cfg(test)]
        places.clone().take(count).for_each(|place| crate::shard::sim::ends::saw(&self.copied.at(place), None));
        self.tally(meter, count as u64, bytes_in, bytes_out);
        places.start += count;
        for place in places {
            let ended = self.copied.at(place);
            self.record(ended);
        }
    }

    /// So many answered requests, and bytes received and sent of these or of one that ended otherwise.
    #[inline(always)]
    fn tally(&mut self, meter: u32, answered: u64, bytes_in: u64, bytes_out: u64) {
        if meter != self.tally.meter {
            self.write_tally();
            self.tally.meter = meter;
        }
        self.tally.answered += answered;
        self.tally.bytes_in += bytes_in;
        self.tally.bytes_out += bytes_out;
    }

    #[cold]
    fn copied_ended(&mut self, place: usize) {
        let (ended, times) = (self.copied.at(place), self.copied.times_at(place));
        self.record_timed(ended, times);
    }

    /// The responses in a cell go with their connection, whose socket has taken `sent` bytes of them.
    #[cold]
    pub(crate) fn copied_unsent(&mut self, cell: CellId, why: UnsentReason, sent: u64) {
        let places = self.copied.take(cell);
        self.unsent_at(places, why, sent);
    }

    fn unsent_at(&mut self, places: Range<usize>, why: UnsentReason, sent: u64) {
        let mut left = sent;
        for place in places {
            let (ended, times) = (self.copied.at(place), self.copied.times_at(place));
            let bytes_out = left.min(ended.bytes_out);
            left -= bytes_out;
            let outcome = match ended.outcome {
                Outcome::Answered if bytes_out < ended.bytes_out => why.outcome(true),
                decided => decided,
            };
            self.record_timed(Ended { outcome, bytes_out, ..ended }, times);
        }
    }

    /// The socket has taken the response of a request whole.
    #[inline(always)]
    pub(crate) fn response_sent(&mut self, slot: Slot) {
        let outcome = self.slots[slot].outcome;
        self.request_ended(slot, outcome, None);
    }

    /// A request goes with its connection, whose socket has taken `sent` bytes from the beginning of its response on.
    /// Gives how many of those belong to later ones.
    #[cold]
    pub(crate) fn response_unsent(&mut self, slot: Slot, why: UnsentReason, sent: u64) -> u64 {
        let state = &self.slots[slot];
        let outcome = state.outcome;
        if !state.is_answered() {
            let outcome = if outcome == Outcome::Answered { why.outcome(false) } else { outcome };
            self.unanswered_ended(slot, outcome);
            return sent;
        }
        let whole = response_bytes(self.side.answered_mut(slot));
        let flags = self.side.answered_mut(slot).flags;
        let (sent, rest, is_whole) = match self.outgoing(slot) {
            Some(outgoing) => {
                let is_whole = outgoing.is_whole();
                if is_whole {
                    outgoing.complete();
                }
                (whole, 0, is_whole || whole > 0 && why == UnsentReason::PipeEnded)
            }
            None => (sent.min(whole), sent.saturating_sub(whole), whole > 0 && sent >= whole),
        };
        let outcome = match outcome {
            // Dropped while its connection went, it has not even been given 500.
            Outcome::Answered if flags.has(ResponseFlags::ABANDONED) => why.outcome(false),
            Outcome::Answered if is_whole => Outcome::Answered,
            Outcome::Answered => why.outcome(true),
            decided => decided,
        };
        self.request_ended(slot, outcome, Some(sent));
        rest
    }

    /// As [`response_unsent`](Self::response_unsent), of all from `oldest` on.
    #[cold]
    pub(crate) fn responses_unsent(&mut self, oldest: Option<Slot>, why: UnsentReason, sent: u64) {
        let (mut next, mut sent) = (oldest, sent);
        while let Some(slot) = next {
            next = self.slots[slot].next;
            sent = self.response_unsent(slot, why, sent);
        }
    }

    /// An answered request has ended, and is counted: see [`leave_slot`](Self::leave_slot).
    #[inline(always)]
    fn request_ended(&mut self, slot: Slot, outcome: Outcome, sent: Option<u64>) {
        if self.measures {
            return self.request_ended_timed(slot, outcome, sent);
        }
        let ended = self.leave_slot(slot, outcome, sent);
        self.record(ended);
    }

    // As for `response_copied_timed`.
    #[cold]
    fn request_ended_timed(&mut self, slot: Slot, outcome: Outcome, sent: Option<u64>) {
        self.log_end(slot, sent);
        let ended = self.leave_slot(slot, outcome, sent);
        if !self.log.latency {
            return self.record(ended);
        }
        self.record_timed(ended, self.times_of(slot, ended.status));
    }

    /// An answered request needs its slot no more: frees that, and what it pinned, unless a handle still reads it. Of
    /// its response the socket has taken `sent` bytes; `None`: all. Its times are still to be told.
    // What is not answered goes another way: an end that came of both would be put together in memory each time.
    #[inline(always)]
    fn leave_slot(&mut self, slot: Slot, outcome: Outcome, sent: Option<u64>) -> Ended {
        let (life, meter, bytes_in) = self.end_life(slot);
        assert!(life.is_answered(), "an answer is sent, or will never be, once it is there; and once");
        let delivered = life.was_delivered();
        let tell = |answer: &Answered| {
            let bytes_out = sent.unwrap_or_else(|| response_bytes(answer));
            Ended { outcome, status: answer.status, delivered, meter, bytes_in, bytes_out }
        };
        let (ended, fate) = self.side.end_answered(slot, tell);
        if fate == SlotUse::Held {
            self.depart(slot, self.slots[slot].connection);
        }
        ended
    }

    /// A request has ended that nobody has answered yet.
    #[cold]
    fn unanswered_ended(&mut self, slot: Slot, outcome: Outcome) {
        let (life, meter, bytes_in) = self.end_life(slot);
        assert!(life == Life::Delivered, "a request ends once");
        let times = self.times_of(slot, 0);
        self.leave_log(slot);
        let ended = Ended { outcome, status: 0, delivered: true, meter, bytes_in, bytes_out: 0 };
        // A response already on its way back finds no connection.
        let connection = self.slots[slot].connection.take();
        if self.side.end_unanswered(slot, &ended) == SlotUse::Held {
            self.depart(slot, connection);
        }
        self.record_timed(ended, times);
    }

    /// The life of a request is over: how far it had come, where it counts, and bytes received of it.
    #[inline(always)]
    fn end_life(&mut self, slot: Slot) -> (Life, u32, u64) {
        let state = &mut self.slots[slot];
        (core::mem::replace(&mut state.life, Life::Over), state.meter, self.request_bytes(slot))
    }

    /// A request that has no slot is refused, for want of one.
    #[cold]
    pub(crate) fn refused_without_slot(&mut self) {
        self.meters.begin_refusal(UNMETERED);
        self.counters.requests_overloaded.count();
        let outcome = Outcome::Refused(Reject::Overloaded);
        let status = Reject::Overloaded.status();
        let (first_byte, now) = (Moment::new(self.arrived), Moment::new(self.now));
        let times = first_byte.zip(now).filter(|_| self.measures).map(|(first_byte, now)| Times {
            first_byte,
            delivered: None,
            taken: None,
            answered: Some(now),
            sent: now,
        });
        let (delivered, meter) = (false, UNMETERED);
        let ended = Ended { outcome, status, delivered, meter, bytes_in: 0, bytes_out: 0 };
        self.record_timed(ended, times);
    }

    /// A request is delivered, or refused: that is its first moment here.
    #[cold]
    pub(super) fn stamp(&mut self, slot: Slot, life: Life) {
        let is_refused = life == Life::Refused;
        let (delivered, answered) = if is_refused { (0, self.now) } else { (self.now, 0) };
        // What is refused is logged at once.
        let log = if is_refused { LogTarget::NONE } else { self.begin_log(slot) };
        self.times[slot] = Stamps { first_byte: self.arrived, delivered, answered, log };
        self.side.forget_taken(slot);
    }

    /// A response has come back, or the engine has made one.
    #[cold]
    pub(crate) fn note_answered(&mut self, slot: Slot) {
        self.times[slot].answered = self.now;
    }

    /// When what happened to the request that is, or was last, in a slot. None: nobody noted its beginning.
    #[cold]
    fn times_of(&self, slot: Slot, status: u16) -> Option<Times> {
        let Stamps { first_byte, delivered, answered, .. } = self.times[slot];
        let first_byte = Moment::new(first_byte).filter(|_| self.measures)?;
        let delivered = Moment::new(delivered);
        // Of a batch, consumers say when that began; and the shard may have seen a response by a time that it had read
        // before that was given.
        let taken = Moment::new(self.side.taken(slot)).map(|taken| taken.max(delivered.unwrap_or(taken)));
        let answered = Moment::new(answered).filter(|_| status > 0);
        let answered = answered.map(|answered| answered.max(taken.unwrap_or(answered)));
        let sent = Moment::new(self.now)?.max(answered.or(taken).unwrap_or(first_byte));
        Some(Times { first_byte, delivered, taken, answered, sent })
    }

    /// Something uses the times of requests from now on: the latency of a queue's, or their logs.
    pub(super) fn set_measures(&mut self, latency: bool, logs: bool) {
        let measures = latency || logs;
        if measures && !self.measures {
            // Of those that are under way nobody knows them.
            for slot in self.side.slots_used() {
                self.times[slot] = Stamps::default();
            }
            self.copied.reserve_times();
        }
        if measures != self.measures {
            self.copied.forget_times();
        }
        (self.log.latency, self.log.logs, self.measures) = (latency, logs, measures);
    }

    /// As [`record`](Self::record), with times, as far as they are known.
    #[cold]
    fn record_timed(&mut self, ended: Ended, times: Option<Times>) {
        // Of responses that were copied together it was not known before.
        let sent = |times: Times| Moment::new(self.now).unwrap_or(times.sent).max(times.sent);
        let times = times.map(|times| Times { sent: sent(times), ..times });
        if let (Outcome::Answered, Some(times), Some(latency)) =
            (ended.outcome, &times, &self.meters.at(ended.meter).latency)
        {
            times.record(latency);
        }
        #[cfg(test)]
        crate::shard::sim::ends::saw(&ended, times.as_ref());
        self.count_end(ended);
    }

    /// Bytes received of the request in a slot.
    #[inline]
    pub(crate) fn request_bytes(&self, slot: Slot) -> u64 {
        self.side.record(slot).wire_bytes + self.later_bytes(slot)
    }

    /// The socket has taken so many bytes that are no response: informational ones for the request in a slot, or
    /// a refusal that has found none.
    #[cold]
    pub(crate) fn sent_aside(&mut self, slot: Option<Slot>, bytes: u32) {
        let meter = self.slots.find(slot).map_or(UNMETERED, |state| state.meter);
        self.meters.at(meter).bytes_sent.add(u64::from(bytes));
        self.counters.bytes_sent.add(u64::from(bytes));
    }

    /// The shard has failed, and nobody can say any more what is under way: what has begun has ended, though its slots
    /// stay.
    pub(crate) fn end_left(&mut self) {
        self.side.mark_all_disconnected();
        for slot in self.side.slots_used() {
            let (life, meter, bytes_in) = self.end_life(slot);
            if !life.has_begun() {
                continue;
            }
            self.leave_log(slot);
            let (outcome, delivered) = (Outcome::Stopped, life.was_delivered());
            let times = self.times_of(slot, 0);
            let ended = Ended { outcome, status: 0, delivered, meter, bytes_in, bytes_out: 0 };
            self.record_timed(ended, times);
        }
        while let Some(places) = self.copied.take_any() {
            self.unsent_at(places, UnsentReason::Stopped, 0);
        }
    }

    /// All that is told of a request that has ended.
    #[inline(always)]
    fn record(&mut self, ended: Ended) {
        #[cfg(test)]
        crate::shard::sim::ends::saw(&ended, None);
        self.count_end(ended);
    }

    #[inline(always)]
    fn count_end(&mut self, ended: Ended) {
        let Ended { outcome, delivered, meter, bytes_in, bytes_out, .. } = ended;
        let is_answered = outcome == Outcome::Answered;
        self.tally(meter, u64::from(is_answered), bytes_in, bytes_out);
        if !is_answered {
            self.record_uncommon(outcome, delivered, meter);
        }
    }

    /// Writes what the turn has counted so far, for everybody to read: at its end, and before a client or an
    /// application can see that something has ended.
    #[inline]
    pub(crate) fn write_tally(&mut self) {
        let Tally { answered, bytes_in, bytes_out, .. } = self.tally;
        if answered | bytes_in | bytes_out != 0 {
            self.write_whole_tally();
        }
    }

    #[inline(never)]
    fn write_whole_tally(&mut self) {
        let Tally { meter, answered, bytes_in, bytes_out } = self.tally;
        self.tally = Tally { meter, ..Tally::default() };
        let counts = self.meters.at(meter);
        counts.answered.add(answered);
        counts.bytes_received.add(bytes_in);
        counts.bytes_sent.add(bytes_out);
        self.counters.requests_answered.add(answered);
        self.counters.bytes_received.add(bytes_in);
        self.counters.bytes_sent.add(bytes_out);
    }

    #[cold]
    // Part by part: to be passed by reference, the whole would be put together in memory for every request.
    fn record_uncommon(&mut self, outcome: Outcome, delivered: bool, meter: u32) {
        // It may have been delivered a moment ago.
        self.meters.settle();
        let counters = &self.counters;
        if !delivered {
            // Whatever became of the refusal.
            self.meters.end_refusal(meter);
            counters.requests_refused.count();
            counters.queue_full.add(u64::from(outcome == Outcome::Refused(Reject::QueueFull)));
            counters.without_consumer.add(u64::from(outcome == Outcome::Refused(Reject::NoConsumer)));
            return self.note_displaced(outcome);
        }
        counter_of(outcome, self.meters.at(meter)).count();
        let counter = match outcome {
            Outcome::Answered => &counters.requests_answered,
            Outcome::Unsent => &counters.responses_unsent,
            Outcome::Truncated => &counters.responses_truncated,
            Outcome::Abandoned => &counters.requests_abandoned,
            Outcome::Cancelled => &counters.requests_cancelled,
            Outcome::Disconnected => &counters.requests_disconnected,
            Outcome::TimedOut(Timer::Send | Timer::SendRate) => &counters.responses_timed_out,
            Outcome::TimedOut(_) => &counters.requests_timed_out,
            Outcome::Refused(_) => &counters.requests_rejected,
            Outcome::Stopped => &counters.requests_stopped,
            Outcome::Aborted => &counters.requests_aborted,
        };
        counter.count();
        counters.queue_timeouts.add(u64::from(outcome == Outcome::TimedOut(Timer::Queue)));
        self.note_displaced(outcome);
    }

    fn note_displaced(&mut self, outcome: Outcome) {
        if outcome == Outcome::Refused(Reject::AboveShare) {
            self.counters.share_refusals.count();
            self.shares.note_made_room();
        }
    }
}

#[cfg(test)]
impl Dispatch {
    /// Of what was delivered, for each queue and each group, what has not ended is open, and nothing else is.
    pub(crate) fn assert_conserved(&self) {
        let slots = || self.side.slots_used().map(|slot| &self.slots[slot]);
        for place in 1..self.meters.len() {
            let open = |delivered: bool| {
                let begun = slots().filter(|slot| slot.life.has_begun() && slot.meter == place);
                let copied = self.copied.iter().filter(|copied| *copied == (place, delivered));
                (begun.filter(|slot| slot.life.was_delivered() == delivered).count() + copied.count()) as u64
            };
            let open = (open(true), open(false));
            assert_eq!(self.meters.under_way(place), open, "delivered and refused at {place}, {:?}", self.meters);
        }
    }
}

/// Where an outcome counts among those of a queue or a group.
fn counter_of(outcome: Outcome, counts: &ShardRequestCounts) -> &Counter {
    match outcome {
        Outcome::Answered => &counts.answered,
        Outcome::Unsent => &counts.unsent,
        Outcome::Truncated => &counts.truncated,
        Outcome::Abandoned => &counts.abandoned,
        Outcome::Cancelled => &counts.cancelled,
        Outcome::Disconnected => &counts.disconnected,
        Outcome::Refused(_) => &counts.rejected,
        Outcome::TimedOut(_) => &counts.timed_out,
        Outcome::Stopped => &counts.stopped,
        Outcome::Aborted => &counts.aborted,
    }
}
