//! One request queue: a ring for each shard, and the consumers that sleep on them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;

use super::exchange::{Exchange, Record};
use super::lease::Lease;
use super::request_ring::{Producer, RequestRing};
use super::sleepers::Sleepers;
use crate::id::RequestId;

/// What consumers and shards share of a request queue.
#[derive(Debug)]
pub(crate) struct QueueCore<R: Record> {
    rings: Box<[RequestRing]>,
    exchanges: Arc<[Arc<Exchange<R>>]>,
    sleepers: Sleepers,
    /// The most undelivered requests, over all shards.
    length_max: u64,
    /// A shard's part of that.
    share: u64,
    closed: AtomicBool,
    active: AtomicBool,
    /// Where the next consumer begins to look, so that no shard is always last.
    turn: AtomicU32,
}

impl<R: Record> QueueCore<R> {
    pub(crate) fn new(length_max: u32, exchanges: Arc<[Arc<Exchange<R>>]>) -> Self {
        let share = u64::from(length_max) / exchanges.len().max(1) as u64;
        Self {
            rings: exchanges.iter().map(|_| RequestRing::new(length_max)).collect(),
            exchanges,
            sleepers: Sleepers::default(),
            length_max: u64::from(length_max),
            share,
            closed: AtomicBool::new(false),
            active: AtomicBool::new(true),
            turn: AtomicU32::new(0),
        }
    }

    pub(crate) fn sleepers(&self) -> &Sleepers {
        &self.sleepers
    }

    pub(crate) fn exchanges(&self) -> &Arc<[Arc<Exchange<R>>]> {
        &self.exchanges
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

    /// Ends the queue: consumers that wait are told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.sleepers.wake(u64::MAX);
    }

    /// The last consumer has gone: what waits is abandoned, and shards abandon what they publish from now on.
    pub(crate) fn close_and_abandon(&self) {
        self.close();
        (0..self.rings.len()).for_each(|shard| self.abandon_of(shard));
    }

    /// Undelivered requests, over all shards.
    pub(crate) fn len(&self) -> u64 {
        self.rings.iter().map(RequestRing::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rings.iter().all(|ring| ring.len() == 0)
    }

    /// Claims a request of one shard. A claimed request whose client is gone is passed over.
    #[inline]
    pub(crate) fn claim_of(&self, shard: usize) -> Option<Lease<R>> {
        while let Some(id) = self.rings[shard].claim() {
            let id = RequestId::from_u64(id)?;
            // SAFETY: duty 1: the ring holds only what this shard's exchange published, and gives each id out once.
            if let Some(lease) = unsafe { Lease::claim(&self.exchanges[shard], id) } {
                return Some(lease);
            }
        }
        None
    }

    /// Takes what one shard has undelivered and drops it unanswered: the queue is closed.
    pub(crate) fn abandon_of(&self, shard: usize) {
        while let Some(lease) = self.claim_of(shard) {
            drop(lease);
        }
    }

    /// Claims a request of any shard.
    #[inline]
    pub(crate) fn claim(&self) -> Option<Lease<R>> {
        let shards = self.rings.len();
        if shards == 1 {
            return self.claim_of(0);
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        (0..shards).find_map(|next| self.claim_of((first + next) % shards))
    }

    /// The engine this queue belongs to.
    pub(crate) fn engine(&self) -> u64 {
        self.exchanges.first().map_or(0, |exchange| exchange.engine())
    }

    /// The producing side, for one shard: whether the queue takes another id. One producer a shard: it stays so until
    /// that pushes.
    #[inline]
    pub(crate) fn has_room(&self, shard: usize, producer: &mut Producer) -> bool {
        // While every shard is within its share, so is the sum within the limit; only beyond it are the others asked.
        if producer.len(&self.rings[shard], self.share) < self.share {
            return true;
        }
        let others = self.rings.iter().enumerate().filter(|(other, _)| *other != shard);
        let others: u64 = others.map(|(_, ring)| ring.len()).sum();
        producer.len(&self.rings[shard], 0) + others < self.length_max
    }

    /// Queues an id for consumers, not yet visible to them; there must be [room](Self::has_room). Gives its position
    /// among all that this shard has ever pushed.
    #[inline]
    pub(crate) fn push(&self, shard: usize, producer: &mut Producer, id: RequestId) -> u64 {
        producer.push(&self.rings[shard], id.to_u64()).expect("a ring holds the queue's whole length")
    }

    /// Whether a consumer has claimed what a shard pushed at a position; a moment's view.
    pub(crate) fn is_claimed(&self, shard: usize, position: u64) -> bool {
        self.rings[shard].has_claimed(position)
    }

    /// Takes what no consumer would be given, because it is over, off the front of a shard's ring: the room is wanted,
    /// and so is what those requests pin.
    #[cold]
    pub(crate) fn drop_settled(&self, shard: usize) {
        let exchange = &self.exchanges[shard];
        let settled = |id: u64| RequestId::from_u64(id).is_some_and(|id| !exchange.is_open(id));
        while let Some(id) = self.rings[shard].claim_if(settled).and_then(RequestId::from_u64) {
            // SAFETY: duty 1: as in `claim_of`.
            drop(unsafe { Lease::claim(exchange, id) });
        }
    }

    /// Whether the wake-up for so many published requests can wait until the shard has nothing else to do: a consumer
    /// that sleeps on its CPU could only run instead of it. Not once they are a good part of what the queue holds,
    /// since the next requests would find it full.
    #[inline]
    pub(crate) fn may_sleep_on(&self, unannounced: u64) -> bool {
        unannounced * 4 <= self.length_max && self.sleepers.one_sleeps_here()
    }

    /// Shows consumers what one shard has pushed since the last time, and says how many requests. Who sleeps is to be
    /// [woken](Sleepers::wake) for them.
    #[inline]
    pub(crate) fn publish(&self, shard: usize, producer: &mut Producer) -> u64 {
        producer.publish(&self.rings[shard])
    }
}
