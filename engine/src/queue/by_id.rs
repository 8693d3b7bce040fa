//! What applications do with a request by its id, on any thread, with or without its handle.
//!
//! Invariants: an id whose request is over, or that was never issued, touches nothing.
//!
//! Not here: what a handle does with its request (`lease`), which shard an id belongs to (room `session`), and what a
//! shard does once it is told (room `shard`).

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use super::answered::{Answered, NotSent, ResponseFlags};
use super::commands::{Command, Informational};
use super::exchange::{Exchange, Record, SharedSlot};
use super::lease::{Lease, NotRegained};
use super::signals::Signals;
use super::word::{
    ANSWERED, CANCELLED, CLOSED, DEAD, INFORMATIONAL, INFORMATIONAL_MAX, INFORMATIONAL_ONE, OPEN, ORPHAN, SENT,
    generation_of,
};
use crate::id::{QueueNumber, RequestId};

/// Counts among those who refer to a slot without a handle.
struct Visit<'e>(&'e AtomicU32);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A slot that stays as long as this.
pub(super) struct Visited<'e, R> {
    pub(super) place: &'e SharedSlot<R>,
    _visit: Visit<'e>,
}

impl<R: Record> Exchange<R> {
    /// Answers a request by id. See [`Lease::fill`](super::Lease::fill).
    pub(crate) fn respond_by_id<E>(
        &self,
        id: RequestId,
        fill: impl FnOnce(&R, &mut [u8]) -> Result<Answered, E>,
    ) -> Option<Result<(), E>> {
        let visited = self.known(id)?;
        let filled = self.fill(visited.place, id.generation(), ResponseFlags::default(), fill);
        if let Some(Ok(())) = filled {
            // SAFETY: duty 1: `fill` has set ANSWERED and COMPLETING, and nobody else does. Duty 2: `self` is borrowed
            // of an `Arc`, by who came with the id. Duty 3: `known` has found it here.
            unsafe { Self::give_back(self, NonNull::from(visited.place)) };
        }
        filled
    }

    /// The handle of a request that was given up: see [`Lease::detach`].
    pub(crate) fn regain(self: &Arc<Self>, id: RequestId) -> Result<Lease<R>, NotRegained> {
        let visited = self.known(id).ok_or(NotRegained::Over)?;
        // SAFETY: duty 1: `known` has found it here, and it stays as long as `visited`.
        unsafe { Lease::regain(self, NonNull::from(visited.place), id.generation()) }
    }

    /// Whether the request can still be answered.
    pub(crate) fn is_open(&self, id: RequestId) -> bool {
        let Some(visited) = self.known(id) else { return false };
        let word = visited.place.word.load(Ordering::Acquire);
        generation_of(word) == id.generation() && word & (OPEN | CLOSED) == OPEN
    }

    /// The slot of an id, if it is one that is used: of which request, the caller sees to. It stays, free or not, as
    /// long as the caller has this.
    fn known(&self, id: RequestId) -> Option<Visited<'_, R>> {
        self.visit(self.origin.slot(id))
    }

    /// The slot of a number: see [`known`](Self::known).
    pub(super) fn visit(&self, number: u32) -> Option<Visited<'_, R>> {
        // The shard gives slots up (`trim`) if it finds nobody here when it has lowered the mark.
        self.visitors.fetch_add(1, Ordering::SeqCst);
        let visit = Visit(&self.visitors);
        // SAFETY: duty 1: counted above, until the result is dropped.
        let place = unsafe { self.find(number) }?;
        Some(Visited { place, _visit: visit })
    }

    /// Whether a request came through a queue, by its number, and its slot serves no other one yet. Of a request that
    /// is over by the next call this holds no more, which that finds by the generation.
    pub(crate) fn is_of_queue(&self, id: RequestId, queue: QueueNumber) -> bool {
        let Some(visited) = self.known(id) else { return false };
        let slot = visited.place;
        // With the generation comes the queue of its request, or of a later one; then that later one is not answered.
        let word = slot.word.load(Ordering::Acquire);
        generation_of(word) == id.generation() && word & OPEN != 0 && slot.queue.load(Ordering::Relaxed) == queue.0
    }

    /// As [`tell`](Self::tell), without the handle: nothing is told of a request that is over. Of one that ends in this
    /// very moment, the signals are found with the next request in its slot, or none, which does no harm.
    pub(crate) fn tell_by_id(&self, id: RequestId, signals: Signals) {
        let Some(visited) = self.known(id) else { return };
        if generation_of(visited.place.word.load(Ordering::Acquire)) == id.generation() {
            self.tell(visited.place, signals);
        }
    }

    /// Cancels a request at any stage. `false`: it is over.
    ///
    /// What was answered and handed to the socket in this very moment may still arrive whole: then the shard finds the
    /// request over when it reads the command, and leaves its connection alone.
    pub(crate) fn cancel(&self, id: RequestId) -> bool {
        let Some(visited) = self.known(id) else { return false };
        let slot = visited.place;
        let word = &slot.word;
        let mut seen = word.load(Ordering::Acquire);
        loop {
            let over = seen & (OPEN | DEAD | SENT | ORPHAN | CANCELLED) != OPEN;
            if over || generation_of(seen) != id.generation() {
                return false;
            }
            // Not sequentially consistent: what is withdrawn is DEAD or ANSWERED by then (`word`).
            match word.compare_exchange(seen, seen | CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.command(Command::Cancel(id));
        true
    }

    /// Cancels the requests of a queue that nobody has answered. Gives how many. Looks at all slots: queues end seldom.
    pub(crate) fn cancel_of(&self, queue: QueueNumber) -> u64 {
        let mut cancelled = 0;
        for number in 0.. {
            let Some(visited) = self.visit(number) else { break };
            let word = visited.place.word.load(Ordering::Acquire);
            // As in `is_of_queue`: if it is a later request's queue by now, the generation is not this one's.
            if word & (OPEN | ANSWERED) == OPEN && visited.place.queue.load(Ordering::Relaxed) == queue.0 {
                cancelled += u64::from(self.cancel(self.origin.request(generation_of(word), number)));
            }
        }
        cancelled
    }

    /// Gives the shard an informational response for a request that is not answered yet.
    pub(super) fn send_informational(&self, id: RequestId, answer: Informational) -> Result<(), NotSent> {
        let Some(visited) = self.known(id) else { return Err(NotSent::Over) };
        let slot = visited.place;
        let word = &slot.word;
        let mut seen = word.load(Ordering::Acquire);
        loop {
            if seen & (OPEN | CLOSED) != OPEN || generation_of(seen) != id.generation() {
                return Err(NotSent::Over);
            }
            if seen & INFORMATIONAL == INFORMATIONAL_ONE * u64::from(INFORMATIONAL_MAX) {
                return Err(NotSent::Full);
            }
            match word.compare_exchange(seen, seen + INFORMATIONAL_ONE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.command(Command::Informational(id, answer));
        Ok(())
    }
}
