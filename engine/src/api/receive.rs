//! The ways to wait for a request: blocked, not at all, for a time, in batches, or as a future.
//!
//! Invariants: a thread that is attached to a shard drives it while it waits; code that a shard runs never waits here,
//! but gets an error; dropping a future loses no request, and a wake that it did not use goes to another consumer.
//!
//! Not here: the order of requests, and who of those that sleep is woken (room `queue`); what drives a shard (room
//! `session`); waiting for any future (`wait`).

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant;

use super::request::Request;
use super::response::{self, Response};
use super::wait;
use crate::clock;
use crate::error::{Error, Result};
use crate::foreign;
use crate::id::RequestId;
use crate::queue::{Command, NotRegained, NotifyScope, Receiving, Source, WaitStrategy, Woken, notify_deferred};
use crate::record::RequestRecord;
use crate::session::{self, RequestQueue};

/// How often a spinning consumer looks at the clock, in looks at the queue.
const SPINS_PER_CLOCK: u32 = 64;

impl RequestQueue {
    /// Waits for the next request.
    ///
    /// In co-located mode, on a thread that is attached to a shard, this drives the shard while its queue is empty.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the engine's shutdown; [`Io`](crate::ErrorKind::Io) when the kernel
    /// refuses to go on; [`Unsupported`](crate::ErrorKind::Unsupported) in code that a shard runs (a waker, a call on a
    /// connection's end, a destructor), where it would have to wait; [`Invalid`](crate::ErrorKind::Invalid) in
    /// co-located mode, when no thread has begun to drive a shard after it has waited for 5 seconds.
    #[inline]
    pub fn receive(&self) -> Result<Request> {
        match self.next(None, None)? {
            Some(request) => Ok(request),
            None => Err(Error::CLOSED),
        }
    }

    /// As [`receive`](Self::receive), until `is_over` is set and the queue's sleepers, and the shard that this thread
    /// drives, are woken: then `None`.
    #[inline]
    pub(crate) fn receive_unless(&self, is_over: &AtomicBool) -> Result<Option<Request>> {
        if is_over.load(Ordering::Relaxed) { Ok(None) } else { self.next(None, Some(is_over)) }
    }

    /// The next request, if one is there. On a thread that drives a shard, the shard takes one turn without waiting if
    /// its queue is empty.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&self) -> Result<Option<Request>> {
        if let Some(request) = self.claim() {
            return Ok(Some(request));
        }
        if session::attached_shard(self.core.engine()).is_some() {
            session::drive(Some(Duration::ZERO))?;
        }
        match self.claim() {
            None if self.core.is_closed() => Err(Error::CLOSED),
            claimed => Ok(claimed),
        }
    }

    /// Waits for the next request for at most `timeout`; `None` when none came.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Option<Request>> {
        // A deadline beyond what the clock can say is none.
        self.next(clock::now().checked_add(timeout), None)
    }

    /// Waits for the next request, and gives it with up to `max` in all of those that are there by then.
    ///
    /// Answers given on this thread while the batch lives wake a sleeping shard only when the batch ends: the cheapest
    /// way to consume where handlers are short. With long ones, use [`receive`](Self::receive).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_batch(&self, max: usize) -> Result<Batch<'_>> {
        let first = self.receive()?;
        Ok(self.batch(first, max))
    }

    /// The next request as a future, for any executor or none: it needs no runtime, and dropping it loses nothing.
    ///
    /// On a thread attached to a shard, wait for it with [`block_on`](crate::block_on), which drives the shard;
    /// anywhere else it fails there with [`Unsupported`](crate::ErrorKind::Unsupported). On other threads in co-located
    /// mode it fails with [`Invalid`](crate::ErrorKind::Invalid) once tasks have waited for 5 seconds, and no thread
    /// has begun to drive a shard.
    pub fn receive_async(&self) -> Receive<'_> {
        Receive { queue: self, place: Place::default() }
    }

    /// As [`receive_batch`](Self::receive_batch), as a future, under the terms of
    /// [`receive_async`](Self::receive_async). Dropping the future loses nothing.
    ///
    /// End the batch before awaiting anything: until it ends, or this thread waits in a future of this crate, responses
    /// of all tasks on this thread may lie unsent.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); [`Unsupported`](crate::ErrorKind::Unsupported) as
    /// [`receive_async`](Self::receive_async).
    pub fn receive_batch_async(&self, max: usize) -> ReceiveBatch<'_> {
        ReceiveBatch { first: self.receive_async(), max }
    }

    /// Answers a request of this queue by its id, from any thread.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over or came from another queue or engine,
    /// [`Invalid`](crate::ErrorKind::Invalid) or
    /// [`TooLarge`](crate::ErrorKind::TooLarge) for a response that cannot be sent: the request then stays open.
    pub fn respond(&self, id: RequestId, mut response: Response<'_>) -> Result<()> {
        let exchange = self.exchange_of(id).ok_or(Error::GONE)?;
        if let Some(text) = response.log_text() {
            exchange.command(Command::LogText(id, text.into()));
        }
        let filled = exchange
            .respond_by_id(id, |record, area| response::fill(record, &exchange.facts().template, &mut response, area));
        filled.unwrap_or(Err(Error::GONE))
    }

    /// The handle of a request of this queue whose handle was given up ([`Request::into_id`]): to read it, its body
    /// from where that was left, answer it in pieces, upgrade it, or whatever else takes a handle. From any thread; one
    /// at a time has it. As `HttpReceiveHttpRequest` with the id of a request.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over, is being answered by id at this moment, or came from
    /// another queue or engine; [`Invalid`](crate::ErrorKind::Invalid) while somebody has its handle (also one that
    /// waits in the queue: receive it), and when a part of its body is gone, since it was read by a future that was
    /// dropped ([`body`](Request::body)) and its handle was given up then: answer it by id.
    pub fn request(&self, id: RequestId) -> Result<Request> {
        let exchange = self.exchange_of(id).ok_or(Error::GONE)?;
        let request = match exchange.regain(id) {
            Ok(lease) => Request::new(lease),
            Err(NotRegained::Over) => return Err(Error::GONE),
            Err(NotRegained::Held) => {
                return Err(Error::invalid(format!(
                    "request {id}: its handle is held, by a consumer or by the queue that it waits in; it can be taken \
                     back after Request::into_id"
                )));
            }
        };
        if request.has_torn_body() {
            let id = request.into_id();
            return Err(Error::invalid(format!(
                "request {id}: a part of its body was read by a future that was dropped, and is gone since its handle \
                 was given up; answer it by id"
            )));
        }
        Ok(request)
    }

    /// Cancels a request of this queue by its id, from any thread and at any stage: waiting in the queue, delivered,
    /// detached, answered and not yet sent, being sent. The connection is reset, and what else is under way on it is
    /// lost: HTTP/1.1 has no other way to end one request.
    ///
    /// After `Ok` every later call on the id gives [`Gone`](crate::ErrorKind::Gone), on any thread, and a consumer does
    /// not get the request any more. A response that goes to the socket in the very moment of the call may still arrive
    /// whole; then the connection goes on.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over: answered and sent, cancelled before, or its client
    /// gone; and when it came from another queue or engine.
    pub fn cancel(&self, id: RequestId) -> Result<()> {
        let cancelled = self.exchange_of(id).is_some_and(|exchange| exchange.cancel(id));
        if cancelled { Ok(()) } else { Err(Error::GONE) }
    }

    /// Whether a request of this queue can still be answered: a moment's view.
    #[must_use]
    pub fn is_open(&self, id: RequestId) -> bool {
        self.exchange_of(id).is_some_and(|exchange| exchange.is_open(id))
    }

    #[inline]
    fn batch(&self, first: Request, max: usize) -> Batch<'_> {
        // Its requests are taken with the first one.
        let taken = if self.core.is_measured() { clock::micros(clock::now()) } else { 0 };
        let (first, left, _scope) = (Some(first), max.max(1), NotifyScope::enter(self.core.engine()));
        Batch { queue: self, source: self.source(), first, left, taken, _scope }
    }

    #[inline(always)]
    fn claim(&self) -> Option<Request> {
        self.claim_from(self.source(), || clock::micros(clock::now()))
    }

    /// Where this thread takes requests: of the shard that it drives, or else of any.
    #[inline(always)]
    fn source(&self) -> Option<Source<'_, RequestRecord>> {
        self.core.source_for(session::attached_shard(self.core.engine()))
    }

    /// Claims a request, and notes when, if that is measured.
    #[inline(always)]
    fn claim_from(&self, source: Option<Source<'_, RequestRecord>>, taken: impl FnOnce() -> u64) -> Option<Request> {
        let lease = self.core.claim_from(source)?;
        if self.core.is_measured() {
            lease.note_taken(taken());
        }
        Some(Request::new(lease))
    }

    #[inline]
    fn next(&self, deadline: Option<Instant>, is_over: Option<&AtomicBool>) -> Result<Option<Request>> {
        if let Some(request) = self.claim() {
            return Ok(Some(request));
        }
        match session::attached_shard(self.core.engine()) {
            Some(own) => self.drive(own, deadline, is_over),
            None => self.wait(deadline, is_over),
        }
    }

    /// Drives this thread's shard until a request is there.
    fn drive(&self, own: usize, deadline: Option<Instant>, is_over: Option<&AtomicBool>) -> Result<Option<Request>> {
        let receiving = self.core.sleepers().receive(Some(own));
        loop {
            let wait_max = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
            session::drive(wait_max)?;
            if is_set(is_over) {
                return Ok(self.leave(receiving, None));
            }
            if let Some(request) = self.claim() {
                return Ok(self.leave(receiving, Some(request)));
            }
            if self.core.is_closed() {
                return Err(Error::CLOSED);
            }
            if wait_max == Some(Duration::ZERO) {
                return Ok(self.leave(receiving, None));
            }
        }
    }

    /// Ends a wait. What has come while this thread was among those who receive, and is not what it takes, is for
    /// somebody else.
    #[inline]
    fn leave(&self, receiving: Receiving<'_>, request: Option<Request>) -> Option<Request> {
        drop(receiving);
        if request.is_none() {
            self.core.pass_on();
        } else if self.core.sleepers().is_armed() {
            self.core.look_for_demand();
        }
        request
    }

    /// Waits as the queue's strategy says until a request is there.
    fn wait(&self, deadline: Option<Instant>, is_over: Option<&AtomicBool>) -> Result<Option<Request>> {
        if foreign::is_on_shard_of(self.core.engine()) {
            return if self.core.is_closed() { Err(Error::CLOSED) } else { Err(session::in_turn("receiving")) };
        }
        if self.is_colocated() {
            self.await_driver(deadline.map(|deadline| deadline.saturating_duration_since(clock::now())))?;
        }
        // A shard that sleeps on what this thread owes it would keep its clients waiting.
        notify_deferred();
        let mut spins = 0_u32;
        let receiving = self.core.sleepers().receive(None);
        loop {
            if is_set(is_over) {
                // What this thread was woken for may be a request.
                return Ok(self.leave(receiving, None));
            }
            if let Some(request) = self.claim() {
                return Ok(self.leave(receiving, Some(request)));
            }
            if self.core.is_closed() {
                return Err(Error::CLOSED);
            }
            spins = spins.wrapping_add(1);
            let spin = match self.wait {
                WaitStrategy::Park => false,
                WaitStrategy::SpinThenPark(limit) => spins < limit,
                WaitStrategy::Spin => true,
            };
            if spin {
                core::hint::spin_loop();
                if spins.is_multiple_of(SPINS_PER_CLOCK) && deadline.is_some_and(|deadline| clock::now() >= deadline) {
                    return Ok(self.leave(receiving, None));
                }
                continue;
            }
            let look = || self.core.shows_any() || self.core.is_closed() || is_set(is_over);
            if self.core.sleepers().sleep(deadline, look) == Woken::TimedOut {
                let request = self.claim();
                return Ok(self.leave(receiving, request));
            }
        }
    }
}

fn is_set(flag: Option<&AtomicBool>) -> bool {
    flag.is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Requests that were there together; see [`RequestQueue::receive_batch`]. Not `Send`.
///
/// Requests are claimed one by one as the batch is iterated, so that other consumers are not kept from them.
#[derive(Debug)]
#[must_use = "a batch gives requests as it is iterated: its first one is answered 500 when it is dropped"]
pub struct Batch<'a> {
    queue: &'a RequestQueue,
    /// Of the thread that has the batch.
    source: Option<Source<'a, RequestRecord>>,
    first: Option<Request>,
    left: usize,
    /// When they are taken, in microseconds, if that is measured.
    taken: u64,
    _scope: NotifyScope,
}

impl Iterator for Batch<'_> {
    type Item = Request;

    #[inline]
    fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        // Taking nothing out of there would move it all the same.
        if self.first.is_some() { self.first.take() } else { self.queue.claim_from(self.source, || self.taken) }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.first = None;
        notify_deferred();
    }
}

/// A future's place in a queue while it waits for a request: of those here, and of others that own their queue.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The future's name among the sleepers, once it has had to wait.
    ticket: Option<u64>,
}

impl Place {
    /// Looks for a request; if there is none, the task of `context` is woken when one may be there.
    pub(crate) fn poll(&mut self, queue: &RequestQueue, context: &Context<'_>) -> Poll<Result<Request>> {
        if wait::is_undriven(queue.core.engine()) {
            let text = "receive_async on a thread that is attached to a shard, which nobody drives meanwhile. Remedy: \
                wait for it with ringress::block_on, or use receive";
            return Poll::Ready(Err(Error::unsupported(text)));
        }
        if let Some(found) = self.look(queue) {
            return Poll::Ready(found);
        }
        notify_deferred();
        let ticket = *self.ticket.get_or_insert_with(|| queue.core.sleepers().ticket());
        let shard = session::attached_shard(queue.core.engine());
        queue.core.sleepers().register(ticket, shard, context.waker());
        // The sleeper's second look.
        if let Some(found) = self.look(queue) {
            return Poll::Ready(found);
        }
        if shard.is_none()
            && queue.is_colocated()
            && let Err(error) = queue.expect_driver()
        {
            self.leave(queue);
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }

    fn look(&mut self, queue: &RequestQueue) -> Option<Result<Request>> {
        let core = &queue.core;
        let found = match queue.claim() {
            Some(request) => Ok(request),
            // The engine waits for the threads of its shards to leave before it closes the queues.
            None if core.is_closed() || session::is_over(core.engine()) => Err(Error::CLOSED),
            None => return None,
        };
        self.leave(queue);
        Some(found)
    }

    /// Waits no more; a wake that came for this future and was not used goes to another consumer. At once when it is
    /// ready, since a future that is ready may be kept.
    pub(crate) fn leave(&mut self, queue: &RequestQueue) {
        if let Some(ticket) = self.ticket.take()
            && !queue.core.sleepers().unregister(ticket)
        {
            queue.core.pass_on();
        }
    }
}

/// A request to come; see [`RequestQueue::receive_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct Receive<'a> {
    queue: &'a RequestQueue,
    place: Place,
}

impl Future for Receive<'_> {
    type Output = Result<Request>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let queue = self.queue;
        self.place.poll(queue, context)
    }
}

impl Drop for Receive<'_> {
    fn drop(&mut self) {
        self.place.leave(self.queue);
    }
}

/// A batch to come; see [`RequestQueue::receive_batch_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct ReceiveBatch<'a> {
    first: Receive<'a>,
    max: usize,
}

impl<'a> Future for ReceiveBatch<'a> {
    type Output = Result<Batch<'a>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (queue, max) = (self.first.queue, self.max);
        Pin::new(&mut self.first).poll(context).map(|first| Ok(queue.batch(first?, max)))
    }
}
