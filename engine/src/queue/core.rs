//! One request queue: a ring for each shard, and the consumers that sleep on them.
//!
//! Invariants: a ring has an entry for every slot of its shard, so that pushing never fails; consumers see an id once
//! it is published, and one of them claims it; a request that is over is not given to a consumer that claims it;
//! closing a queue wakes all who wait.
//!
//! Not here: the rings (`request_ring`), how consumers sleep (`sleepers`), when a shard pushes, publishes and wakes
//! (`shard::dispatch`), and a queue's handles and name (room `session`).

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::Arc;

use super::exchange::{Exchange, Record};
use super::lease::{Lease, PassedOver};
use super::request_ring::{Producer, RequestRing};
use super::shard_side::ShardSide;
use super::sleepers::Sleepers;
use crate::counters::CountsRegister;
use crate::foreign;
use crate::id::{QueueNumber, RequestId};

/// What consumers and shards share of a request queue.
#[derive(Debug)]
pub(crate) struct QueueCore<R: Record> {
    number: QueueNumber,
    pub(super) rings: Box<[Arc<RequestRing>]>,
    exchanges: Arc<[Arc<Exchange<R>>]>,
    pub(super) sleepers: Sleepers,
    /// For each ring, up to where a call on demand was made for its requests.
    pub(super) demanded: Box<[AtomicU64]>,
    /// The most undelivered requests, over all shards; changes live.
    length_max: AtomicU32,
    /// A shard's part of that.
    share: AtomicU32,
    closed: AtomicBool,
    /// It was closed by a shutdown: what waits in it is refused, not abandoned.
    shut_down: AtomicBool,
    active: AtomicBool,
    /// Where its requests are counted.
    counts: CountsRegister,
    /// It is measured how long its requests take.
    measured: bool,
    /// Where the next consumer begins to look, so that no shard is always last.
    turn: AtomicU32,
}

/// What one shard has published for a queue: where consumers claim. Found once by who claims many.
#[derive(Debug)]
pub(crate) struct Source<'q, R: Record> {
    ring: &'q RequestRing,
    exchange: &'q Arc<Exchange<R>>,
}

impl<R: Record> Clone for Source<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Record> Copy for Source<'_, R> {}

impl<R: Record> Source<'_, R> {
    /// Claims a request. A claimed request whose client is gone is passed over.
    ///
    /// Inlined in any case: as a call it hands the lease over in memory, 48 instructions (`turn/colocated-64/16`).
    #[inline(always)]
    fn claim(self) -> Option<Lease<R>> {
        while let Some(id) = self.ring.claim() {
            let id = RequestId::from_u64(id)?;
            // SAFETY: duty 1: the ring holds only what this exchange published, since both are of one shard (`source`,
            // `producer`) and each `Published` is pushed once; and it gives each id out once, but to the shard when it
            // compacts the ring, which makes no lease of it. Of what was withdrawn the slot may be free, but it stays
            // until `remove_leftover` (`trim`).
            match unsafe { Lease::claim(self.exchange, id) } {
                Ok(lease) => return Some(lease),
                Err(PassedOver::Handle) => {}
                Err(PassedOver::Leftover) => {
                    self.ring.passed_leftover();
                    self.exchange.remove_leftover();
                }
            }
        }
        None
    }
}

impl<R: Record> QueueCore<R> {
    pub(crate) fn new(number: QueueNumber, length_max: u32, exchanges: Arc<[Arc<Exchange<R>>]>) -> Self {
        let share = share_of(length_max, exchanges.len());
        Self {
            number,
            // Whatever the length: a request that waits has its slot until it is claimed, so no more can wait. Twice as
            // many: a ring that is full is half full of what was withdrawn.
            rings: exchanges.iter().map(|exchange| Arc::new(RequestRing::new(2 * exchange.capacity()))).collect(),
            sleepers: Sleepers::new(exchanges.len()),
            demanded: exchanges.iter().map(|_| AtomicU64::new(0)).collect(),
            exchanges,
            length_max: AtomicU32::new(length_max),
            share: AtomicU32::new(share),
            closed: AtomicBool::new(false),
            shut_down: AtomicBool::new(false),
            active: AtomicBool::new(true),
            counts: CountsRegister::default(),
            measured: false,
            turn: AtomicU32::new(0),
        }
    }

    pub(crate) fn sleepers(&self) -> &Sleepers {
        &self.sleepers
    }

    pub(crate) fn exchanges(&self) -> &Arc<[Arc<Exchange<R>>]> {
        &self.exchanges
    }

    /// The queue's number in its engine.
    pub(crate) fn number(&self) -> QueueNumber {
        self.number
    }

    /// With measuring how long requests take, or without.
    pub(crate) fn measured(mut self, measured: bool) -> Self {
        self.measured = measured;
        self
    }

    #[inline]
    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }

    pub(crate) fn counts(&self) -> &CountsRegister {
        &self.counts
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    pub(crate) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
    }

    /// The most undelivered requests, over all shards.
    pub(crate) fn length_max(&self) -> u32 {
        self.length_max.load(Ordering::Relaxed)
    }

    /// From now on at most so many wait; more that wait already stay.
    pub(crate) fn set_length_max(&self, length_max: u32) {
        self.length_max.store(length_max, Ordering::Relaxed);
        self.share.store(share_of(length_max, self.rings.len()), Ordering::Relaxed);
    }

    /// Ends the queue: consumers that wait are told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        foreign::drop_guarded(self.sleepers.take_demand());
        self.sleepers.wake_all();
    }

    /// Wakes up to `count` sleepers for as many requests of a shard's, which have been published.
    #[inline]
    pub(crate) fn wake(&self, shard: usize, count: u64) {
        if self.sleepers.is_armed() {
            self.look_for_demand();
        }
        self.sleepers.wake(shard, count);
    }

    /// Nobody receives from now on: the shards refuse what waits. `false`: it had ended before.
    pub(crate) fn shut_down(&self) -> bool {
        if self.is_closed() {
            return false;
        }
        self.shut_down.store(true, Ordering::SeqCst);
        self.close();
        true
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }

    /// Whether shards abandon what they publish.
    pub(crate) fn abandons(&self) -> bool {
        self.is_closed() && !self.is_shut_down()
    }

    /// Cancels the requests that came through it and that nobody has answered, over all shards. Gives how many.
    pub(crate) fn cancel_all(&self) -> u64 {
        self.exchanges.iter().map(|exchange| exchange.cancel_of(self.number)).sum()
    }

    /// The last consumer has gone: what waits is abandoned, and shards abandon what they publish from now on.
    pub(crate) fn close_and_abandon(&self) {
        self.shut_down.store(false, Ordering::SeqCst);
        self.close();
        (0..self.rings.len()).for_each(|shard| self.abandon_of(shard));
    }

    /// Undelivered requests, over all shards.
    pub(crate) fn len(&self) -> u64 {
        self.rings.iter().map(|ring| ring.len()).sum()
    }

    /// So many of each shard at most of the ids of requests that wait, with some that are over; a moment's view.
    #[cfg(feature = "admin")]
    pub(crate) fn waiting(&self, most: usize) -> impl Iterator<Item = u64> {
        self.rings.iter().flat_map(move |ring| ring.waiting(most))
    }

    /// Whether there is something that a consumer could claim.
    pub(crate) fn shows_any(&self) -> bool {
        self.rings.iter().any(|ring| ring.shows_any())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes others for what is there: a future was woken for it and did not take it.
    pub(crate) fn pass_on(&self) {
        // The caller was among those who receive until now: what was published meanwhile is seen here.
        fence(Ordering::SeqCst);
        let waiting = self.rings.iter().enumerate().filter(|(_, ring)| ring.shows_any());
        waiting.for_each(|(shard, _)| self.wake(shard, 1));
    }

    /// What one shard has published.
    #[inline(always)]
    fn source(&self, shard: usize) -> Source<'_, R> {
        Source { ring: &self.rings[shard], exchange: &self.exchanges[shard] }
    }

    /// Claims a request of one shard.
    #[inline(always)]
    pub(crate) fn claim_of(&self, shard: usize) -> Option<Lease<R>> {
        self.source(shard).claim()
    }

    /// Where a thread takes requests that drives this shard, if any; `None`: of every shard in turn.
    #[inline(always)]
    pub(crate) fn source_for(&self, own: Option<usize>) -> Option<Source<'_, R>> {
        let only = if self.rings.len() == 1 { Some(0) } else { None };
        own.or(only).map(|shard| self.source(shard))
    }

    /// Takes what one shard has undelivered and drops it unanswered: the queue is closed.
    pub(crate) fn abandon_of(&self, shard: usize) {
        while let Some(lease) = self.claim_of(shard) {
            drop(lease);
        }
    }

    /// Claims a request of any shard.
    #[cfg(any(test, feature = "bench-door"))]
    pub(crate) fn claim(&self) -> Option<Lease<R>> {
        self.claim_from(self.source_for(None))
    }

    /// Claims a request of this queue: where `source` says, which is of this queue, or else of any shard.
    #[inline(always)]
    pub(crate) fn claim_from(&self, source: Option<Source<'_, R>>) -> Option<Lease<R>> {
        match source {
            Some(source) => source.claim(),
            None => self.claim_any(),
        }
    }

    #[inline(never)]
    fn claim_any(&self) -> Option<Lease<R>> {
        let shards = self.rings.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        (0..shards).find_map(|next| self.claim_of((first + next) % shards))
    }

    /// The engine this queue belongs to.
    pub(crate) fn engine(&self) -> u64 {
        self.exchanges.first().map_or(0, |exchange| exchange.engine())
    }

    /// The one end by which a shard pushes what it has published to this queue, once there is [room](Self::room). Who
    /// sleeps is to be [woken](Sleepers::wake) for what it publishes.
    ///
    /// # Panics
    /// When the queue has no ring for this shard.
    pub(crate) fn producer(&self, side: &ShardSide<R>) -> Producer {
        let own = self.exchanges.iter().position(|exchange| core::ptr::eq(&raw const **exchange, side.exchange()));
        Producer::new(Arc::clone(&self.rings[own.expect("a shard pushes to queues of its engine")]))
    }

    /// The producing side, for one shard: how many ids the queue is sure to take from it, by its length now. What is
    /// left of its share; beyond that other shards may fill the queue at any moment, and it is one at a time. None
    /// while its ring is full of what was withdrawn: that is to be [compacted](Self::compact) before.
    pub(crate) fn room(&self, shard: usize, producer: &mut Producer) -> u64 {
        // While every shard is within its share, so is the sum within the limit; only beyond it are the others asked.
        let share = u64::from(self.share.load(Ordering::Relaxed));
        let len = producer.len(share);
        if len < share {
            return (share - len).min(producer.space(share - len));
        }
        if producer.is_full() {
            return 0;
        }
        let others = self.rings.iter().enumerate().filter(|(other, _)| *other != shard);
        let others: u64 = others.map(|(_, ring)| ring.len()).sum();
        u64::from(producer.len(0) + others < u64::from(self.length_max()))
    }

    /// Whether more wait than may: the queue was shortened meanwhile.
    pub(crate) fn is_overfull(&self) -> bool {
        self.len() > u64::from(self.length_max())
    }

    /// Whether a consumer has claimed what a shard pushed at a position; a moment's view.
    pub(crate) fn is_claimed(&self, shard: usize, position: u64) -> bool {
        self.rings[shard].has_claimed(position)
    }

    /// Takes the handle of a request that a shard pushed at a position, which `take` does, unless a consumer has
    /// claimed it. The request is over, whichever way: what is left of it in the queue counts no more, and is passed
    /// over.
    pub(crate) fn withdraw(&self, shard: usize, position: u64, take: impl FnOnce() -> bool) -> bool {
        let exchange = &self.exchanges[shard];
        exchange.add_leftover();
        let is_taken = self.rings[shard].withdraw(position, take);
        if !is_taken {
            exchange.remove_leftover();
        }
        is_taken
    }

    /// Takes what was withdrawn out of a shard's ring: see [`Producer::compact`].
    pub(crate) fn compact(
        &self,
        shard: usize,
        producer: &mut Producer,
        mut position: impl FnMut(RequestId, u64) -> bool,
    ) -> (u64, u64) {
        producer.compact(|id, place| {
            let is_left = RequestId::from_u64(id).is_some_and(|id| position(id, place));
            if !is_left {
                self.exchanges[shard].remove_leftover();
            }
            is_left
        })
    }

    /// Whether the wake-up for so many published requests can wait until the shard has nothing else to do: a consumer
    /// that sleeps on its CPU could only run instead of it. Not once they are a good part of what the queue holds,
    /// since the next requests would find it full.
    #[inline]
    pub(crate) fn may_sleep_on(&self, unannounced: u64) -> bool {
        unannounced * 4 <= u64::from(self.length_max()) && self.sleepers.one_sleeps_here()
    }
}

/// A shard's part of a queue's length.
fn share_of(length_max: u32, shards: usize) -> u32 {
    u32::try_from(length_max as usize / shards.max(1)).unwrap_or(length_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Origin, ShardId};
    use crate::mem::ArenaSizes;
    use crate::queue::{Answered, ResponseFlags, Sizes, Slot, SlotUse};
    use std::collections::VecDeque;

    #[derive(Clone, Copy)]
    struct Nothing;

    impl Record for Nothing {
        type Facts = ();
        type End = ();
        const EMPTY: Self = Self;

        fn cooked_bytes(&self) -> u32 {
            0
        }
    }

    const SLOTS: u32 = 64;

    fn queue() -> (QueueCore<Nothing>, ShardSide<Nothing>) {
        let arena = ArenaSizes {
            receive: (16, 512),
            body: (1, 64),
            head: (SLOTS, 64),
            long_head: (SLOTS, 64),
            fragment: (1, 64),
            assembly: (1, 512),
            response: (SLOTS, 512),
            cooked: (SLOTS, 64),
            coalesce: (1, 512),
            stage: (1, 64),
        };
        let (exchange, side) =
            Exchange::new(1, ShardId(0), Origin::LONE, (), &Sizes { slots: SLOTS, departed: 0, arena }).expect("small");
        (QueueCore::new(QueueNumber(0), SLOTS, Arc::from([exchange])), side)
    }

    /// What a shard does with a queue, and counts.
    struct Shard<'a> {
        queue: &'a QueueCore<Nothing>,
        side: ShardSide<Nothing>,
        producer: Producer,
        waiting: VecDeque<(Slot, u64)>,
        overtaken: u64,
        answered: u64,
        abandoned: u64,
    }

    impl Shard<'_> {
        fn push(&mut self) -> bool {
            let Some(slot) = self.side.allocate(|| ()) else { return false };
            // There are no more requests than slots, but entries that were withdrawn beside them.
            if self.queue.room(0, &mut self.producer) == 0 {
                self.side.free(slot);
                return false;
            }
            let position = self.producer.push(self.side.publish(slot, QueueNumber(0)));
            self.producer.publish();
            self.waiting.push_back((slot, position));
            true
        }

        /// Answers the oldest if nobody has claimed it, as its time were up.
        fn time_out_unclaimed(&mut self) {
            let Some((slot, position)) = self.waiting.pop_front() else { return };
            if !self.queue.is_claimed(0, position) && self.side.claim_response(slot) {
                self.overtaken += 1;
                *self.side.answered_mut(slot) = Answered::default();
                let is_withdrawn = self.withdraw(slot, position);
                let (_, slot_use) = self.side.end_answered(slot, |_| ());
                assert!(slot_use == SlotUse::Free || !is_withdrawn, "nobody has it");
            }
        }

        fn withdraw(&self, slot: Slot, position: u64) -> bool {
            self.queue.withdraw(0, position, || self.side.take_handle(slot))
        }

        fn take_back(&mut self) {
            let mut completed = Vec::new();
            self.side.take_completions(&mut completed);
            for completed in completed {
                let (slot, flags) = self.side.accept(completed);
                if flags.only_reclaims() {
                    self.side.free(slot);
                    continue;
                }
                let abandoned = self.side.answered_mut(slot).flags.has(ResponseFlags::ABANDONED);
                self.answered += u64::from(!abandoned);
                self.abandoned += u64::from(abandoned);
                self.side.end_answered(slot, |_| ());
            }
        }
    }

    /// Claims, and answers or drops, until told to stop. Counts what it has answered.
    fn consume(queue: &QueueCore<Nothing>, answers: &AtomicU64) {
        let mut seed = 1_u32;
        while !queue.is_closed() || !queue.is_empty() {
            let Some(lease) = queue.claim() else {
                std::thread::yield_now();
                continue;
            };
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 30 == 0 {
                drop(lease);
            } else if let Some(Ok(filled)) = lease.fill(|_| Ok::<_, ()>(Answered::default())) {
                answers.fetch_add(1, Ordering::Relaxed);
                lease.submit(filled);
            }
        }
    }

    #[test]
    fn shard_and_consumers_answer_each_request_once_and_every_slot_comes_back() {
        const REQUESTS: u64 = 60_000;
        let (queue, side) = queue();
        let (queue, answers) = (&queue, AtomicU64::new(0));
        let producer = queue.producer(&side);
        let mut shard =
            Shard { queue, side, producer, waiting: VecDeque::new(), overtaken: 0, answered: 0, abandoned: 0 };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| consume(queue, &answers));
            }
            let mut pushed = 0;
            while pushed < REQUESTS {
                pushed += u64::from(shard.push());
                if shard.waiting.len() > (pushed % 8) as usize {
                    shard.time_out_unclaimed();
                }
                shard.take_back();
            }
            queue.close();
        });
        shard.take_back();
        assert_eq!(shard.overtaken + shard.answered + shard.abandoned, REQUESTS, "each is answered once");
        assert_eq!(answers.into_inner(), shard.answered, "who answered is believed");
        assert!(shard.overtaken > 0 && shard.answered > 0, "both have tried");
        assert_eq!(shard.side.in_use(), 0, "a slot is lost");
    }

    #[test]
    fn an_answer_goes_with_the_lease_that_it_was_filled_in_for() {
        let (queue, mut side) = queue();
        let mut producer = queue.producer(&side);
        for _ in 0..2 {
            let slot = side.allocate(|| ()).expect("a free slot");
            producer.push(side.publish(slot, QueueNumber(0)));
        }
        producer.publish();
        let (one, other) = (queue.claim().expect("pushed"), queue.claim().expect("pushed"));
        let filled = one.fill(|_| Ok::<_, ()>(Answered::default()));
        let filled = filled.and_then(Result::ok).expect("it is open");
        let submitted = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| other.submit(filled)));
        assert!(submitted.is_err(), "the other one is not answered");
    }

    #[test]
    fn what_is_withdrawn_counts_no_more_and_nothing_else_is() {
        let (queue, side) = queue();
        let producer = queue.producer(&side);
        let mut shard =
            Shard { queue: &queue, side, producer, waiting: VecDeque::new(), overtaken: 0, answered: 0, abandoned: 0 };
        assert!((0..4).all(|_| shard.push()));
        let second = shard.waiting[1];
        assert!(shard.side.claim_response(second.0) && !shard.side.claim_response(second.0), "won once");
        assert!(shard.withdraw(second.0, second.1) && !shard.withdraw(second.0, second.1), "withdrawn once");
        assert_eq!((queue.len(), shard.side.in_use()), (3, 4), "its answer is not sent yet");
        shard.time_out_unclaimed();
        assert_eq!((queue.len(), shard.side.in_use()), (2, 3));
        assert_eq!(shard.side.end_answered(second.0, |_| ()).1, SlotUse::Free);
        let leases = [queue.claim(), queue.claim()];
        assert!(leases.iter().all(Option::is_some) && queue.claim().is_none() && queue.is_empty());
        let (slot, position) = shard.waiting[2];
        assert!(queue.is_claimed(0, position) && !shard.withdraw(slot, position), "a consumer has it");
        drop(leases);
        shard.take_back();
        assert_eq!((queue.len(), shard.side.in_use(), shard.abandoned), (0, 0, 2));
    }

    #[test]
    fn a_ring_full_of_what_was_withdrawn_is_cleared_in_order() {
        let (queue, mut side) = queue();
        let mut producer = queue.producer(&side);
        let push = |side: &mut ShardSide<Nothing>, producer: &mut Producer| {
            let slot = side.allocate(|| ()).expect("a few");
            let published = side.publish(slot, QueueNumber(0));
            (published.id(), slot, producer.push(published))
        };
        let mut kept: Vec<_> = (0..3).map(|_| push(&mut side, &mut producer)).collect();
        producer.publish();
        let mut fresh = 0;
        while !producer.is_full() {
            let (_, slot, position) = push(&mut side, &mut producer);
            fresh += 1;
            assert_eq!(side.end_unanswered(slot, &()), SlotUse::Held);
            assert!(queue.withdraw(0, position, || side.take_handle(slot)));
            assert_eq!(side.free_withdrawn(slot), SlotUse::Free);
        }
        assert_eq!((queue.room(0, &mut producer), fresh), (0, u64::from(2 * SLOTS) - 3), "there is no entry left");
        let compacted = queue.compact(0, &mut producer, |id, position| {
            let found = kept.iter_mut().find(|(kept, _, _)| *kept == id);
            found.map(|(_, _, place)| *place = position).is_some()
        });
        assert_eq!((compacted, queue.len(), producer.is_full()), ((fresh, 3), 3, false));
        kept.push(push(&mut side, &mut producer));
        producer.publish();
        for (id, _, position) in kept {
            assert!(!queue.is_claimed(0, position));
            assert_eq!(queue.claim().map(|lease| lease.detach()), Some(id));
            assert!(queue.is_claimed(0, position));
        }
        assert!(queue.claim().is_none() && queue.room(0, &mut producer) > 0);
        side.mark_all_disconnected();
    }
}
