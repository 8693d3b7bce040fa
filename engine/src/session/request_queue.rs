//! A request queue's handles, and what ends with the last one.
//!
//! Invariants: the queue is closed when its last handle is dropped, and no earlier by a handle; a handle does not keep
//! the engine; a request's id from another queue or engine finds nothing.
//!
//! Not here: receiving and answering (room `api`), what waits and who sleeps (room `queue`), and names and places
//! (`queues`).

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::attached::{self, Attached};
use super::control::EngineShared;
use super::events::Event;
use super::queue_options::{QueueOptions, check_length};
use super::queues::{QueueKey, queue_id};
use crate::clock;
use crate::config::Mode;
use crate::counters::{Latency, RequestCounters};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::id::{ConnectionId, Places, QueueId, RequestId};
use crate::policy::{SharedVerbosity, Verbosity};
use crate::queue::{Exchange, QueueCore, WaitStrategy, notify_deferred};
use crate::record::RequestRecord;

/// Between two looks at whether what was received is answered: longer each time.
const PAUSE_MIN: Duration = Duration::from_micros(250);
const PAUSE_MAX: Duration = Duration::from_millis(16);

/// By then shards that run have refused what waits in a queue that is shut down, whatever its deadline.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// The handles of a queue.
struct Consumers {
    core: Arc<QueueCore<RequestRecord>>,
    key: QueueKey,
    name: Arc<str>,
    /// A handle that outlives its engine keeps nothing of that but the exchanges.
    shared: Weak<EngineShared>,
    places: Arc<Places>,
    is_colocated: bool,
    verbosity: SharedVerbosity,
}

impl Drop for Consumers {
    /// Requests that wait or are held by id, and those to come, will never be answered: their clients get 500 and 503.
    /// The queue's memory goes as soon as the shards have let go of it.
    fn drop(&mut self) {
        self.core.close_and_abandon();
        if let Some(shared) = self.shared.upgrade() {
            let url_groups = shared.control().close_queue(&shared, self.key);
            if url_groups > 0 {
                shared.listener.tell(&Event::WithoutConsumer { queue: &self.name, url_groups });
            }
        }
    }
}

/// A request queue: what an application consumes. Clones are handles to one queue, for as many threads as you like.
///
/// Dropping the last handle closes it: requests that wait in it or are held by their id alone are answered 500 and
/// counted ([`requests_abandoned`](crate::Counters::requests_abandoned)), later ones are answered 503. Who holds a
/// [`Request`](crate::Request) can still answer it.
#[derive(Clone)]
#[must_use = "a request queue is closed when its last handle is dropped"]
pub struct RequestQueue {
    pub(crate) core: Arc<QueueCore<RequestRecord>>,
    /// Shared by all handles: the last one to go closes the queue.
    consumers: Arc<Consumers>,
    pub(crate) wait: WaitStrategy,
}

impl fmt::Debug for RequestQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.len();
        f.debug_struct("RequestQueue").field("name", &self.name()).field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl RequestQueue {
    pub(super) fn open(shared: &Arc<EngineShared>, name: &str, options: QueueOptions) -> Result<Self> {
        check_length(name, options.length)?;
        let name: Arc<str> = name.into();
        let verbosity = SharedVerbosity::new(options.verbosity);
        let (key, core) = shared.control().open_queue(shared, &name, (&options, &verbosity))?;
        let is_colocated = shared.config.mode == Mode::Colocated;
        let (places, shared) = (Arc::clone(&shared.places), Arc::downgrade(shared));
        let kept = Arc::clone(&core);
        let consumers = Arc::new(Consumers { core: kept, key, name, shared, places, is_colocated, verbosity });
        Ok(Self { core, consumers, wait: options.wait })
    }

    pub(super) fn key(&self) -> QueueKey {
        self.consumers.key
    }

    /// Where a request is that came through this queue, and perhaps is over by now; `None` for one of another queue or
    /// engine.
    pub(crate) fn exchange_of(&self, id: RequestId) -> Option<&Arc<Exchange<RequestRecord>>> {
        let exchange = self.core.exchanges().get(self.consumers.places.shard_of_request(id)?)?;
        exchange.is_of_queue(id, self.core.number()).then_some(exchange)
    }

    /// Where a connection of this engine is, or was.
    pub(crate) fn exchange_of_connection(&self, id: ConnectionId) -> Option<&Arc<Exchange<RequestRecord>>> {
        self.core.exchanges().get(self.consumers.places.shard_of_connection(id)?)
    }

    /// In co-located mode, how many shards application threads drive.
    pub(crate) fn shards_to_drive(&self) -> Option<usize> {
        self.consumers.is_colocated.then(|| self.core.exchanges().len())
    }

    /// In co-located mode, makes the current thread the shard `index`, so that receiving drives it.
    ///
    /// # Errors
    /// As [`Engine::attach`](crate::Engine::attach).
    pub(crate) fn take_seat(&self, index: usize) -> Result<Option<Attached>> {
        if !self.consumers.is_colocated {
            return Ok(None);
        }
        let shared = self.consumers.shared.upgrade().ok_or(Error::CLOSED)?;
        attached::attach(&shared, index).map(Some)
    }

    /// Waits, in co-located mode, until somebody drives a shard, for at most so long.
    ///
    /// # Errors
    /// That nobody does after some seconds: who waits for a request would do so for ever.
    pub(crate) fn await_driver(&self, wait_max: Option<Duration>) -> Result<()> {
        match self.consumers.shared.upgrade() {
            Some(shared) if self.consumers.is_colocated => shared.await_driver("receiving", wait_max),
            _ => Ok(()),
        }
    }

    /// As [`await_driver`](Self::await_driver), for a task that is registered with the queue's sleepers: it is woken
    /// when the time is up.
    ///
    /// # Errors
    /// As there, and when there is nobody to wake it.
    pub(crate) fn expect_driver(&self) -> Result<()> {
        match self.consumers.shared.upgrade() {
            Some(shared) if self.consumers.is_colocated => shared.expect_driver("receiving"),
            _ => Ok(()),
        }
    }

    /// Whether application threads drive the shards.
    #[inline]
    pub(crate) fn is_colocated(&self) -> bool {
        self.consumers.is_colocated
    }

    /// Begins the end of the queue's engine, as [`Engine::shutdown`](crate::Engine::shutdown) in code of a shard's.
    #[cfg(feature = "axum")]
    pub(crate) fn begin_shutdown(&self, grace: core::time::Duration) {
        if let Some(shared) = self.consumers.shared.upgrade() {
            shared.begin_stop(crate::shard::Leave::within(grace));
        }
    }

    /// Why the queue's engine no longer serves, if it has failed.
    #[cfg(feature = "axum")]
    pub(crate) fn engine_failure(&self) -> Option<crate::Error> {
        self.consumers.shared.upgrade().and_then(|shared| shared.control().failure.clone())
    }

    /// Which queue this is in lists.
    #[must_use]
    pub fn id(&self) -> QueueId {
        queue_id(self.consumers.key)
    }

    /// The name given when it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.consumers.name
    }

    /// The most requests that wait undelivered: see [`QueueOptions::length`].
    #[must_use]
    pub fn length(&self) -> u32 {
        self.core.length_max()
    }

    /// Sets the most requests that wait undelivered, 1 to 1,048,576, live: it holds for every request sent after this.
    /// Those that wait already stay, also beyond it.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a length out of range; then nothing has changed.
    pub fn set_length(&self, length: u32) -> Result<()> {
        check_length(self.name(), length)?;
        self.core.set_length_max(length);
        Ok(())
    }

    /// Has `call` made, once, when a request waits here that nobody receives: there are more of them than threads in a
    /// receive of this queue (asleep, spinning or driving a shard) and futures that wait for one. Threads that are busy
    /// with a request do not count, so that more can be started for the next one. Where a request waits already, it is
    /// made at once, here; else on the thread of the shard that has the request, or of who takes another one: so it
    /// should do no more than wake or start a thread. If it panics, that is counted
    /// ([`foreign_panics`](crate::Counters::foreign_panics)). Arm it again for the next time, from within the call or
    /// later; for one request it is made once at most. `HttpWaitForDemandStart`, within a process.
    ///
    /// ```no_run
    /// # fn work(queue: &ringress::RequestQueue) {}
    /// fn start_on_demand(queue: &ringress::RequestQueue) -> ringress::Result<()> {
    ///     let of_call = queue.clone();
    ///     queue.on_demand(move || {
    ///         let (worker, again) = (of_call.clone(), of_call);
    ///         std::thread::spawn(move || work(&worker));
    ///         let _ = start_on_demand(&again);
    ///     })
    /// }
    /// ```
    ///
    /// A handle of the queue that the call owns keeps the queue open until it is made or
    /// [taken back](Self::cancel_demand).
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) while there is another one that has not been made;
    /// [`Closed`](crate::ErrorKind::Closed) when the queue has been shut down or the engine has ended, which also lets
    /// go of one that has not been made; where that happens in this very moment, it may have been.
    pub fn on_demand(&self, call: impl FnOnce() + Send + 'static) -> Result<()> {
        if self.core.is_closed() {
            return Err(Error::CLOSED);
        }
        if let Err(call) = self.core.sleepers().demand(Box::new(call)) {
            foreign::drop_guarded(call);
            let text = format!("request queue {:?} has a call on demand that was not made yet", self.name());
            return Err(Error::new(ErrorKind::AlreadyExists, text + "; cancel_demand takes it back"));
        }
        self.core.look_for_demand();
        if self.core.is_closed() {
            // Closed meanwhile, perhaps before it was there to be let go of.
            let _ = self.cancel_demand();
            return Err(Error::CLOSED);
        }
        Ok(())
    }

    /// Takes a call [on demand](Self::on_demand) back. `false`: there is none, or it is made.
    pub fn cancel_demand(&self) -> bool {
        let call = self.core.sleepers().take_demand();
        let is_taken = call.is_some();
        foreign::drop_guarded(call);
        is_taken
    }

    /// Shuts the queue down for good, from any thread: no request is delivered any more, every receive that waits, in
    /// whatever form, ends with [`Closed`](crate::ErrorKind::Closed), and clients whose requests wait here (counted as
    /// [`requests_rejected`](crate::Counters::requests_rejected)) or come later
    /// ([`without_consumer`](crate::Counters::without_consumer)) get 503. What was received can still be answered, by
    /// handle or by id, for as long as `deadline`: the call returns when all of it is, responses sent included, or else
    /// cancels what is unanswered then, as by [`cancel`](Self::cancel), and gives how many requests that were.
    /// Responses that are being sent at the deadline go on. Who receives while it is called may still get what waited;
    /// what waits at a shard that no thread drives within a second is cancelled with the rest.
    ///
    /// What is left to be done then: unbind its groups or bind them elsewhere (live: this is how a service is moved to
    /// another queue), and drop the handles. Its name is free at once. Called again, it waits for what is left, with
    /// the time given then. A thread that is attached to a shard drives it meanwhile.
    ///
    /// `HttpShutdownRequestQueue` cancels what was received and is not answered at once: that is `Duration::ZERO`.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) in code that a shard runs (a waker, a call on a connection's
    /// end, a destructor), which would wait for itself; then nothing has changed.
    pub fn shutdown(&self, deadline: Duration) -> Result<u64> {
        if foreign::is_on_shard_of(self.core.engine()) {
            return Err(attached::in_turn("shutting a queue down"));
        }
        notify_deferred();
        let begun = clock::now();
        let shared = self.consumers.shared.upgrade();
        if let Some(shared) = shared.as_ref().filter(|_| self.core.shut_down()) {
            shared.control().queue_shut_down(shared);
        }
        // Every shard knows of it, and has refused what waited: nothing more is put in.
        let is_refused = || self.is_empty() && shared.as_ref().is_none_or(|shared| shared.has_changed());
        let is_over = || is_refused() && self.counters().open() == 0;
        if self.await_long(begun.checked_add(deadline), is_over) {
            return Ok(0);
        }
        self.await_long(begun.checked_add(deadline.max(REFUSED_WITHIN)), is_refused);
        Ok(self.core.cancel_all())
    }

    /// Waits for something that takes as long as applications and clients do, until a moment at most; a thread that
    /// drives a shard does so meanwhile. `false`: not in time.
    fn await_long(&self, end: Option<Instant>, is_over: impl Fn() -> bool) -> bool {
        let mut pause = PAUSE_MIN;
        while !is_over() {
            let left = end.map_or(PAUSE_MAX, |end| end.saturating_duration_since(clock::now()));
            if left.is_zero() {
                return false;
            }
            pause = (pause * 2).min(PAUSE_MAX).min(left);
            if !attached::drives(self.core.engine()) || attached::drive(Some(pause)).is_err() {
                clock::pause(pause);
            }
        }
        true
    }

    /// Whether nobody receives from it any more: it was [shut down](Self::shutdown), or its engine has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// What clients are told of 503: see [`Verbosity`].
    #[must_use]
    pub fn verbosity(&self) -> Verbosity {
        self.consumers.verbosity.get()
    }

    /// Sets what clients are told of 503, live: for every request that is refused from now on.
    pub fn set_verbosity(&self, verbosity: Verbosity) {
        self.consumers.verbosity.set(verbosity);
    }

    /// As the groups that are bound to it have it.
    pub(super) fn shared_verbosity(&self) -> SharedVerbosity {
        self.consumers.verbosity.clone()
    }

    /// Requests that wait undelivered, over all shards; a moment's view.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.core.len()
    }

    /// What has been counted of the queue's requests, over all shards.
    #[must_use]
    pub fn counters(&self) -> RequestCounters {
        self.core.counts().read()
    }

    /// How long the queue's requests have taken, over all shards; `None` unless it was made to be
    /// [measured](QueueOptions::measured).
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.core.is_measured().then(|| self.core.counts().latency())
    }

    /// Whether no request waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Takes requests or not: while inactive, the engine answers 503 in the queue's place.
    pub fn set_active(&self, active: bool) {
        self.core.set_active(active);
    }
}
