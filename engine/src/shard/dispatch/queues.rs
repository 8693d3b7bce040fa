//! The queues as a shard sees them: requests are pushed, then published together, and who sleeps is woken.
//!
//! Invariants: a request can be answered only from when its queue is sure to take it; a queue that was pushed to is
//! listed until it is published and its sleepers are woken; what nobody has taken from a queue that ends is abandoned.
//!
//! Not here: the rings and the sleepers (room `queue`), which queue a request goes to (room `route`), and what a client
//! is told when its queue takes nothing (`protocol`).

use std::sync::Arc;

use ringress_proto::reject::Reject;

use super::displace::{YIELDING_MAX, Yielding};
use super::pace::Showing;
use super::slots::Life;
use super::{Dispatch, SlotState};
use crate::clock;
use crate::id::{QueueNumber, QueuePlace, RequestId};
use crate::policy::PolicyIndex;
use crate::queue::{Producer, QueueCore, ShardSide, ShortBytes, Slot, SlotTable};
use crate::record::RequestRecord;

/// What a shard does when it has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It enters the kernel.
    Enters,
    /// It handles more completions when it has looked at responses.
    HandlesMore,
    /// All that had come is handled.
    Ends,
}

/// Queues from which nobody receives any more.
#[derive(Debug, Default)]
pub(crate) struct EndedQueues {
    /// Their last handles are gone.
    pub(crate) ended: Vec<QueueNumber>,
    /// They were shut down, and are there still.
    pub(crate) shut_down: Vec<QueuePlace>,
}

/// A queue as a shard sees it.
#[derive(Debug)]
pub(super) struct QueueEnd {
    core: Arc<QueueCore<RequestRecord>>,
    producer: Producer,
    /// It was shut down, and what waited in it is refused.
    is_over: bool,
    /// It has been pushed to since it was last published and its sleepers woken.
    touched: bool,
    /// Requests published for which nobody has been woken yet.
    unannounced: u64,
    /// Requests that it is sure to take before it is published next.
    room: u64,
    /// Of what waits in it, what makes room next.
    pub(super) yielding: Yielding,
}

impl QueueEnd {
    /// Sees how many requests it takes now. Once in many requests: inlined, it takes registers from the others.
    #[inline(never)]
    fn look(&mut self, shard: usize) -> Result<(), Reject> {
        if self.core.is_closed() {
            return Err(Reject::NoConsumer);
        }
        if !self.core.is_active() {
            return Err(Reject::Disabled);
        }
        self.room = self.core.room(shard, &mut self.producer);
        if self.room == 0 { Err(Reject::QueueFull) } else { Ok(()) }
    }

    /// Whether one place would not do for a request more.
    pub(super) fn is_overfull(&self) -> bool {
        self.core.is_overfull()
    }

    /// Takes what was withdrawn out of the queue's ring. What is left has other places there, and as much of it is
    /// shown as before. Gives how many requests are published by this.
    fn compact(&mut self, shard: usize, side: &ShardSide<RequestRecord>, slots: &mut SlotTable<SlotState>) -> u64 {
        let (fresh, moved) = self.core.compact(shard, &mut self.producer, |id, position| {
            side.queued(id).map(|slot| slots[slot].position = position).is_some()
        });
        self.unannounced += moved;
        fresh
    }
}

/// Whether what is in a ring is not left of a request that was withdrawn.
fn is_left(side: &ShardSide<RequestRecord>, id: u64) -> bool {
    RequestId::from_u64(id).is_some_and(|id| side.queued(id).is_some())
}

impl Dispatch {
    /// From now on these are the queues, where routes look for them: lets go of those that have ended.
    pub(crate) fn take_queues(&mut self, queues: &[Option<Arc<QueueCore<RequestRecord>>>]) -> EndedQueues {
        let (mut ended, mut shut_down) = (Vec::new(), Vec::new());
        let places = self.queues.len().max(queues.len());
        self.queues.resize_with(places, || None);
        for (place, index) in (0..).map(QueuePlace::new).zip(0..places) {
            let wanted = queues.get(index).and_then(Option::as_ref);
            if self.queues[index].as_ref().map(|end| Arc::as_ptr(&end.core)) != wanted.map(Arc::as_ptr) {
                ended.extend(self.release_queue(index));
                self.queues[index] = wanted.map(|core| {
                    let (core, producer) = (Arc::clone(core), core.producer(&self.side));
                    let yielding = Yielding::new(YIELDING_MAX);
                    QueueEnd { core, producer, is_over: false, touched: false, unannounced: 0, room: 0, yielding }
                });
            }
            if let Some(end) = self.queues[index].as_mut().filter(|end| !end.is_over && end.core.is_shut_down()) {
                // What comes from now on is refused, too.
                (end.is_over, end.room) = (true, 0);
                shut_down.push(place);
            }
        }
        let latency = self.queues.iter().flatten().any(|end| end.core.is_measured());
        self.set_measures(latency, self.log.logs);
        EndedQueues { ended, shut_down }
    }

    /// Whether a request is in a queue, and no consumer has claimed it; a moment's view.
    pub(crate) fn waits_in(&self, slot: Slot, queue: QueuePlace) -> bool {
        let state = &self.slots[slot];
        state.queue == Some(queue) && state.life == Life::Delivered && self.is_queued(state)
    }

    /// A queue has ended: what this shard has pushed and not yet shown is abandoned, and no slot names it any more.
    fn release_queue(&mut self, index: usize) -> Option<QueueNumber> {
        let mut end = self.queues[index].take()?;
        let shard = usize::from(self.id.0);
        let count = end.producer.publish_all();
        self.counters.requests_delivered.add(count);
        end.core.abandon_of(shard);
        self.touched.retain(|touched| touched.index() != index);
        if self.touched.is_empty() {
            self.pace.catch_up();
        }
        for slot in self.side.slots_used() {
            let state = &mut self.slots[slot];
            state.queue = state.queue.filter(|queue| queue.index() != index);
        }
        Some(end.core.number())
    }

    /// Whether a queue takes no request at this moment.
    pub(crate) fn is_full(&mut self, queue: QueuePlace) -> bool {
        let shard = usize::from(self.id.0);
        let end = self.queues.get_mut(queue.index()).and_then(Option::as_mut);
        if end.is_some_and(|end| end.producer.is_full()) {
            self.compact(queue);
        }
        let end = self.queues.get_mut(queue.index()).and_then(Option::as_mut);
        let full = end.is_some_and(|end| end.core.room(shard, &mut end.producer) == 0);
        #[cfg(test)]
        crate::shard::sim::shared_queue::between_looks();
        full
    }

    /// Takes what was withdrawn out of a queue's ring.
    #[cold]
    fn compact(&mut self, queue: QueuePlace) {
        let Some(end) = self.queues.get_mut(queue.index()).and_then(Option::as_mut) else { return };
        let fresh = end.compact(usize::from(self.id.0), &self.side, &mut self.slots);
        if self.pace.showing() != Showing::InPieces {
            end.unannounced += end.producer.publish_up_to(u64::MAX, |id| is_left(&self.side, id)).1;
        }
        self.counters.requests_delivered.add(fresh);
        // Who went to sleep because nothing was to be seen for a moment is woken.
        if end.unannounced > 0 && !end.touched {
            end.touched = true;
            self.touched.push(queue);
        }
    }

    /// Nothing is left in the rings of requests that were withdrawn.
    pub(super) fn compact_all(&mut self) {
        for (place, index) in (0..).map(QueuePlace::new).zip(0..self.queues.len()) {
            if self.queues[index].as_ref().is_some_and(|end| end.producer.has_leftovers()) {
                self.compact(place);
            }
        }
    }

    /// Pushes a request to its queue, and notes with the rest of its `state` where it is there, and where it counts, by
    /// its group's row. Whether the queue is on and has room is looked at for the first one behind a publication, or
    /// for each once shards fill it together. With `bytes`, these are its own, and are not [kept](Self::keep) yet.
    /// Its `state` is asked for once it is sure to be taken.
    #[inline(always)]
    pub(crate) fn enqueue(
        &mut self,
        queue: QueuePlace,
        (slot, bytes): (Slot, Option<ShortBytes<'_>>),
        row: PolicyIndex,
        state: impl FnOnce() -> SlotState,
    ) -> Result<(), Reject> {
        let mut end = self.queues.get_mut(queue.index()).and_then(Option::as_mut).ok_or(Reject::Unbound)?;
        let shard = usize::from(self.id.0);
        if end.room == 0 {
            if end.producer.is_full() {
                self.compact(queue);
                end = self.queues.get_mut(queue.index()).and_then(Option::as_mut).ok_or(Reject::Unbound)?;
            }
            end.look(shard)?;
        }
        end.room -= 1;
        // Published only when nothing can stop it any more: from here on the id can be answered.
        let published = match bytes {
            Some(bytes) => self.side.publish_copied(slot, &bytes, end.core.number()),
            None => self.side.publish(slot, end.core.number()),
        };
        let position = end.producer.push(published);
        if !end.touched {
            end.touched = true;
            self.touched.push(queue);
        }
        self.fresh += 1;
        if self.measures {
            self.stamp(slot, Life::Delivered);
        }
        let meter = self.meters.deliver(row);
        let place = &mut self.slots[slot];
        assert!(place.life == Life::Over, "a request begins once");
        *place = SlotState { queue: Some(queue), position, meter, life: Life::Delivered, ..state() };
        Ok(())
    }

    /// Shows consumers what has been pushed since the last time, and wakes those that sleep: once a queue. `true`:
    /// there was something.
    ///
    /// In queue mode, while there are more completions to handle, a consumer that sleeps on this very CPU is left
    /// asleep: it could only run instead of the shard, and each change of threads costs as much as several requests.
    /// The loop comes back here before it enters the kernel; in co-located mode the application may come between, so
    /// there it is woken at once.
    pub(crate) fn publish(&mut self, then: Then) -> bool {
        // Also where nothing is left to be shown, because the queue has ended meanwhile.
        self.fresh = 0;
        self.meters.settle();
        if self.touched.is_empty() {
            return false;
        }
        let can_wait = match self.pace.showing() {
            Showing::AtOnce => false,
            Showing::MayWait => then == Then::HandlesMore,
            Showing::InPieces => return self.publish_piece(then),
        };
        let shard = usize::from(self.id.0);
        self.touched.retain(|place| {
            let Some(queue) = &mut self.queues[place.index()] else { return false };
            let count = queue.producer.publish();
            queue.room = 0;
            self.counters.requests_delivered.add(count);
            queue.unannounced += count;
            if can_wait && queue.core.may_sleep_on(queue.unannounced) {
                return true;
            }
            queue.touched = false;
            queue.core.wake(shard, core::mem::take(&mut queue.unannounced));
            // Nobody will ever take them: their clients get 500.
            if queue.core.abandons() {
                queue.core.abandon_of(shard);
            }
            false
        });
        true
    }

    /// The shard is [behind](super::pace): before it gives the thread back, it shows consumers what they are about to
    /// take; when it has it again, it looks at what they have taken, and shows all if that is nothing.
    #[cold]
    #[inline(never)]
    fn publish_piece(&mut self, then: Then) -> bool {
        if then == Then::Enters {
            let (mut taken, mut seen) = (0, 0);
            for queue in self.queues.iter_mut().flatten() {
                let of_queue = queue.producer.taken(|id| is_left(&self.side, id));
                (taken, seen) = (taken + of_queue.0, seen + of_queue.1);
            }
            if !self.pace.look((taken, seen), clock::micros_now()) {
                self.show_up_to(u64::MAX);
            }
            for place in &self.touched {
                if let Some(queue) = &mut self.queues[place.index()] {
                    queue.room = 0;
                }
            }
        } else {
            self.show_up_to((self.pace.piece() / self.touched.len() as u64).max(1));
            self.pace.shown(clock::micros_now());
        }
        true
    }

    /// Shows consumers so many requests of each queue that nobody has claimed, and that were not withdrawn.
    fn show_up_to(&mut self, most: u64) {
        let (shard, mut any_left) = (usize::from(self.id.0), false);
        self.touched.retain(|place| {
            let Some(queue) = &mut self.queues[place.index()] else { return false };
            let is_closed = queue.core.is_closed();
            // Those who sleep are not on this shard's thread: each takes one beside what that takes.
            let most = most.saturating_add(queue.core.sleepers().sleeping());
            let most = if is_closed { u64::MAX } else { most };
            let (fresh, shown) = queue.producer.publish_up_to(most, |id| is_left(&self.side, id));
            queue.room = 0;
            self.counters.requests_delivered.add(fresh);
            queue.core.wake(shard, shown + core::mem::take(&mut queue.unannounced));
            if queue.core.abandons() {
                queue.core.abandon_of(shard);
            }
            queue.touched = queue.producer.has_unshown();
            any_left |= queue.touched;
            queue.touched
        });
        if !any_left {
            self.pace.catch_up();
        }
    }

    /// Completions have been left over for too long.
    #[cold]
    #[inline(never)]
    pub(crate) fn fall_behind(&mut self) {
        if !self.pace.fall_behind() {
            return;
        }
        // While it is behind, what holds something back is listed, and each is looked at in this turn.
        for (place, end) in (0..).map(QueuePlace::new).zip(&mut self.queues) {
            if let Some(end) = end.as_mut().filter(|end| !end.touched) {
                end.touched = true;
                self.touched.push(place);
            }
        }
    }

    /// The shard ends: what has been pushed counts as delivered, though nobody is woken for it.
    pub(crate) fn count_pushed(&mut self) {
        self.meters.settle();
        for end in self.queues.iter_mut().flatten() {
            self.counters.requests_delivered.add(end.producer.publish_all());
        }
    }

    /// Wins the response of a request that nobody has taken from its queue yet. `false`: a consumer has it, or it is
    /// answered.
    pub(crate) fn win_queued(&mut self, slot: Slot) -> bool {
        // A consumer that claims it between here and there finds it answered, or finds out when it answers: `Gone`.
        self.is_queued(&self.slots[slot]) && self.side.claim_response(slot)
    }

    /// Whether no consumer has claimed a request that was put into a queue; a moment's view.
    pub(super) fn is_queued(&self, state: &SlotState) -> bool {
        let Some(queue) = self.queue_of(state) else { return false };
        let is_claimed = queue.core.is_claimed(usize::from(self.id.0), state.position);
        #[cfg(test)]
        let is_claimed = is_claimed && !self.overlooks_claims;
        !is_claimed
    }

    /// Takes the handle of a request that is over out of its queue, unless a consumer has claimed it: what is left of
    /// it there counts no more. `false`: there is none, or a consumer has it.
    pub(crate) fn withdraw(&mut self, slot: Slot) -> bool {
        let state = self.slots[slot];
        let Some(queue) = self.queue_of(&state) else { return false };
        queue.core.withdraw(usize::from(self.id.0), state.position, || self.side.take_handle(slot))
    }

    /// The queue that a slot's request was pushed to, if that has not ended.
    fn queue_of(&self, state: &SlotState) -> Option<&QueueEnd> {
        self.queues.get(state.queue?.index())?.as_ref()
    }

    /// Drops the requests that wait in queues.
    pub(crate) fn abandon_queued(&mut self) {
        self.count_pushed();
        for queue in self.queues.iter().flatten() {
            queue.core.abandon_of(usize::from(self.id.0));
        }
    }

    /// Whether completions were left over for too long, and what came of them is not all shown yet.
    #[inline]
    pub(crate) fn is_behind(&self) -> bool {
        self.pace.showing() == Showing::InPieces
    }

    /// Requests pushed and not yet published.
    #[cfg(test)]
    pub(crate) fn fresh(&self) -> u32 {
        self.fresh
    }

    /// From now on so many requests are published in a turn.
    #[cfg(test)]
    pub(crate) fn set_publish_max(&mut self, most: u32) {
        self.pace.set_usual(most);
    }

    /// Whether requests are published for which nobody has been woken.
    #[cfg(test)]
    pub(crate) fn is_unannounced(&self) -> bool {
        self.queues.iter().flatten().any(|queue| queue.unannounced > 0)
    }
}
