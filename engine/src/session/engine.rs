//! Engines and request queues: what is made at the start and ends with the shutdown.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::attached;
use super::builder::EngineBuilder;
use super::groups::{Groups, ServerSession};
use super::listeners::Listeners;
use super::request_queue::{QueueOptions, RequestQueue, check_length};
use crate::clock;
use crate::config::{Config, Mode};
use crate::counters::{Counters, ShardCounters};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign::{self, OnShard};
use crate::id::{PLACES_MAX, Places, ShardId};
use crate::policy::Properties;
use crate::queue::{Exchange, QueueCore, ShardSide};
use crate::record::RequestRecord;
use crate::ring::Uring;
use crate::shard::{ControlMessage, Inbox, Shard};

pub(super) type LiveShard = Shard<Uring>;

/// What the control plane knows, behind one lock.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) queues: Vec<(String, Arc<QueueCore<RequestRecord>>)>,
    pub(super) groups: Groups,
    pub(super) listeners: Listeners,
    /// Shard sides that no thread has taken yet.
    sides: Vec<Option<ShardSide<RequestRecord>>>,
    /// Shards that have ended.
    ended: Vec<usize>,
    pub(super) stopped: bool,
    /// Why the engine no longer serves.
    failure: Option<Error>,
}

/// What an engine's handles share.
#[derive(Debug)]
pub(crate) struct EngineShared {
    pub(super) id: u64,
    pub(super) config: Config,
    /// Which ids are of this engine.
    places: Arc<Places>,
    pub(super) exchanges: Arc<[Arc<Exchange<RequestRecord>>]>,
    inbox: Vec<Arc<Inbox>>,
    counters: Vec<Arc<ShardCounters>>,
    control: Mutex<Control>,
    running: Mutex<Running>,
    stopped_running: Condvar,
    /// Panics of applications' code on threads that drive no shard, before the start.
    caught_before: u64,
}

/// What those who wait for the engine's end look at.
#[derive(Debug, Default)]
struct Running {
    /// Shards that run.
    shards: usize,
    /// The engine serves no more: it has been shut down, it has failed, or its last shard has ended.
    over: bool,
}

/// Engines of this process are told apart by a number.
static ENGINES: AtomicU64 = AtomicU64::new(1);

impl Control {
    fn new(sides: Vec<Option<ShardSide<RequestRecord>>>, groups: Groups) -> Self {
        let (queues, listeners, ended) = (Vec::new(), Listeners::default(), Vec::new());
        Self { queues, groups, listeners, sides, ended, stopped: false, failure: None }
    }

    /// Which shards a thread runs; the others will read their messages when one does.
    pub(super) fn running(&self) -> Vec<bool> {
        self.sides.iter().map(Option::is_none).collect()
    }

    /// # Errors
    /// Why no thread can take a shard: it is taken, or has been, or the engine has failed or is shut down.
    fn check_free(&self, index: usize) -> Result<()> {
        if self.failure.is_none() && self.ended.contains(&index) {
            let text = format!("shard {index} has ended, with what drove it, and does not begin again");
            return Err(Error::told(ErrorKind::Closed, text + ": start another engine"));
        }
        self.check_open()?;
        match self.sides.get(index) {
            Some(Some(_)) => Ok(()),
            _ => Err(Error::invalid(format!("shard {index} is attached already"))),
        }
    }

    /// # Errors
    /// Why the engine takes nothing new: it has failed, or it is shut down.
    pub(super) fn check_open(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.stopped => Err(Error::CLOSED),
            None => Ok(()),
        }
    }
}

impl EngineShared {
    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message to every shard.
    pub(super) fn post(&self, mut message: impl FnMut(usize) -> Option<ControlMessage>) {
        for (index, (inbox, exchange)) in self.inbox.iter().zip(self.exchanges.iter()).enumerate() {
            if let Some(message) = message(index) {
                inbox.put(message);
                exchange.notifier().notify();
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the shard `index` on the current thread.
    pub(super) fn make_shard(&self, index: usize) -> Result<LiveShard> {
        if let Some(core) = self.config.core_of(index) {
            let id = core_affinity::CoreId { id: core };
            if !core_affinity::set_for_current(id) {
                return Err(Error::invalid(format!("cores: the kernel refused to pin shard {index} to core {core}")));
            }
        }
        let no_such = || Error::invalid(format!("there is no shard {index}: the engine has {}", self.exchanges.len()));
        let exchange = self.exchanges.get(index).ok_or_else(no_such)?;
        self.control().check_free(index)?;
        // The ring first: if the kernel refuses it, the shard can be tried again.
        let id = ShardId(u8::try_from(index).unwrap_or(u8::MAX));
        let ring = Uring::new(Arc::clone(exchange.arena()), id)?;
        let side = self.take_side(index)?;
        let (inbox, counters) = (Arc::clone(&self.inbox[index]), Arc::clone(&self.counters[index]));
        let mut shard = Shard::new(ring, id, side, &self.config, inbox, counters)?;
        // What was said before the shard ran, so that it listens when this completions.
        shard.read_messages();
        self.running().shards += 1;
        Ok(shard)
    }

    fn take_side(&self, index: usize) -> Result<ShardSide<RequestRecord>> {
        let mut control = self.control();
        control.check_free(index)?;
        control.sides.get_mut(index).and_then(Option::take).ok_or(Error::CLOSED)
    }

    /// Nobody will read the messages of shards that no thread has taken: with them their listening sockets go.
    fn close_untaken(&self, control: &Control) {
        let untaken = self.inbox.iter().zip(&control.sides).filter(|(_, side)| side.is_some());
        untaken.for_each(|(inbox, _)| inbox.close());
    }

    /// Ends a shard on its thread, and gives why, if it is not a shutdown. No outcome: it has panicked, which is a
    /// fault of the engine's own, and must not leave anybody waiting for a shard that is no more.
    pub(super) fn end_shard(&self, index: usize, shard: LiveShard, outcome: Option<Result<()>>) -> Result<()> {
        let ended = match outcome {
            Some(result) => foreign::attempt(move || shard.end()).map(|()| result),
            None => foreign::attempt(move || shard.give_up()).and(None),
        };
        let result = ended.unwrap_or_else(|| Err(Error::told(ErrorKind::Io, format!("shard {index} panicked"))));
        self.shard_ended(index, result.clone());
        result
    }

    /// A shard has ended on this thread, for a reason if it is not a shutdown: then the engine is of no more use.
    fn shard_ended(&self, index: usize, result: Result<()>) {
        let failed = result.is_err();
        if let Err(error) = result {
            self.give_up(error);
        }
        let is_last = {
            let mut control = self.control();
            control.ended.push(index);
            let is_last = {
                let mut running = self.running();
                running.shards -= 1;
                running.shards == 0
            };
            // Without a shard, and without one to come, an engine serves no more.
            control.stopped |= is_last && control.sides.iter().all(Option::is_none);
            is_last && control.stopped
        };
        // Who began the stop on a shard's thread did not wait for this.
        if is_last {
            self.close_queues();
        }
        // What wakers did on the end: the shard counts no more.
        self.counters[index].foreign_panics.add(foreign::take_caught());
        self.running().over |= failed || is_last;
        self.stopped_running.notify_all();
    }

    /// Gives the engine up, whose clients a part of it serves no more: so that they are refused and turn elsewhere, all
    /// listeners and queues close. Who holds a request of a shard that runs can still answer it, until the shutdown.
    #[cold]
    fn give_up(&self, error: Error) {
        let mut control = self.control();
        control.failure.get_or_insert(error);
        self.close_untaken(&control);
        self.post(|_| Some(ControlMessage::Stop { grace: Duration::MAX }));
        let queues: Vec<_> = control.queues.iter().map(|(_, queue)| Arc::clone(queue)).collect();
        drop(control);
        // Nobody has to take what waits in them.
        queues.iter().for_each(|queue| queue.close_and_abandon());
    }

    fn close_queues(&self) {
        let queues: Vec<_> = self.control().queues.iter().map(|(_, queue)| Arc::clone(queue)).collect();
        // Wakers are the application's code: not under the lock.
        queues.iter().for_each(|queue| queue.close());
    }
}

/// What the ids of an engine begin from: see `id`.
fn places_of(config: &Config) -> Result<Places> {
    let slots = config.requests_max.max(config.connections_max);
    let refused = || {
        let count = Places::count(config.shards, slots);
        Error::invalid(format!(
            "the engines of this process have no ids left: {count} places are wanted (shards x the larger of \
            connections_max and requests_max, rounded up to a power of two) of {PLACES_MAX} for all; lower these"
        ))
    };
    Places::take(config.shards, slots).ok_or_else(refused)
}

/// A running engine: its shards own the sockets, parse, route and time; applications own their request queues.
///
/// Dropping it stops it without grace; [`shutdown`](Self::shutdown) lets requests under way be answered first. Its
/// methods take `&self`, on any thread: share it in an [`Arc`].
#[derive(Debug)]
pub struct Engine {
    pub(super) shared: Arc<EngineShared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// An engine's settings, to be [started](EngineBuilder::start).
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Starts an engine with the default settings: queue mode, one shard for each physical core.
    ///
    /// # Errors
    /// As [`EngineBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    pub(super) fn start_with(config: Config) -> Result<Self> {
        let id = ENGINES.fetch_add(1, Ordering::Relaxed);
        let (sizes, template) = (config.sizes(), config.template()?);
        let places = places_of(&config)?;
        let (mut exchanges, mut sides) = (Vec::new(), Vec::new());
        for index in 0..config.shards {
            let shard = ShardId(u8::try_from(index).unwrap_or(u8::MAX));
            let (exchange, side) =
                Exchange::new(id, shard, places.origin(shard), template, &sizes).map_err(|error| {
                    let bytes = config.shard_bytes();
                    Error::io(
                        format!(
                            "cannot reserve {bytes} bytes for shard {index} (requests_max, \
                response_area_bytes, receive_buffers, assembly_buffers)"
                        ),
                        error,
                    )
                })?;
            exchanges.push(exchange);
            sides.push(Some(side));
        }
        let shared = Arc::new(EngineShared {
            id,
            inbox: sides.iter().map(|_| Arc::default()).collect(),
            counters: sides.iter().map(|_| Arc::default()).collect(),
            exchanges: exchanges.into(),
            control: Mutex::new(Control::new(sides, Groups::new(&config.properties))),
            running: Mutex::default(),
            stopped_running: Condvar::new(),
            caught_before: foreign::caught_elsewhere(),
            config,
            places: Arc::new(places),
        });
        let engine = Self { shared, threads: Mutex::default() };
        if engine.shared.config.mode == Mode::Queue {
            engine.start_threads()?;
        }
        Ok(engine)
    }

    fn start_threads(&self) -> Result<()> {
        for index in 0..self.shared.exchanges.len() {
            let shared = Arc::clone(&self.shared);
            let (started, outcome) = mpsc::sync_channel(1);
            let run = move || match shared.make_shard(index) {
                Ok(mut shard) => {
                    let _on_shard = OnShard::enter(shared.id);
                    let _ = started.send(Ok(()));
                    let outcome = foreign::attempt(|| shard.run());
                    let _ = shared.end_shard(index, shard, outcome);
                }
                Err(error) => drop(started.send(Err(error))),
            };
            let thread = thread::Builder::new().name(format!("ringress-{index}")).spawn(run);
            let thread =
                thread.map_err(|error| Error::io(format!("cannot start the thread of shard {index}"), error))?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            outcome.recv().unwrap_or_else(|_| Err(Error::invalid("a shard's thread ended while it started")))?;
        }
        Ok(())
    }

    /// A new server session: the container of URL groups.
    #[must_use]
    pub fn server_session(&self) -> ServerSession {
        ServerSession::new(Arc::clone(&self.shared))
    }

    /// A new request queue with the default [`QueueOptions`].
    ///
    /// # Errors
    /// As [`request_queue_with`](Self::request_queue_with).
    pub fn request_queue(&self, name: &str) -> Result<RequestQueue> {
        self.request_queue_with(name, QueueOptions::default())
    }

    /// A new request queue. The name is for logs and for finding the queue again; it may be empty.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when another queue of this engine has the name, or an option is out of
    /// range; [`Closed`](crate::ErrorKind::Closed) after the shutdown; [`failure`](Self::failure) after that.
    pub fn request_queue_with(&self, name: &str, options: QueueOptions) -> Result<RequestQueue> {
        check_length(name, options.length)?;
        let mut control = self.shared.control();
        control.check_open()?;
        if !name.is_empty() && control.queues.iter().any(|(known, core)| known == name && !core.is_closed()) {
            return Err(Error::invalid(format!("a request queue named {name:?} exists already in this engine")));
        }
        let core = Arc::new(QueueCore::new(options.length, Arc::clone(&self.shared.exchanges)));
        let index = u32::try_from(control.queues.len()).unwrap_or(u32::MAX);
        control.queues.push((name.to_owned(), Arc::clone(&core)));
        self.shared.post(|_| Some(ControlMessage::Queue(Arc::clone(&core))));
        drop(control);
        Ok(RequestQueue::new(core, index, Arc::clone(&self.shared.places), name, options.wait))
    }

    /// Opens listening sockets on an address, one a shard, and gives the address they got (port 0: a free one).
    ///
    /// URLs registered for a port that is listened on this way use these addresses alone; for another port, registering
    /// opens the port on all addresses. Until the first of them is registered, requests get 400: clients should be told
    /// of the address behind that. An address that is taken is asked for again for 750 ms, since the sockets of a
    /// process that was killed are closed a little after its end.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) when the address is taken, also by another process of the same user, or not ours;
    /// [`Closed`](crate::ErrorKind::Closed) after the shutdown; [`failure`](Self::failure) after that.
    pub fn listen(&self, address: std::net::SocketAddr) -> Result<std::net::SocketAddr> {
        let mut control = self.shared.control();
        control.check_open()?;
        let running = control.running();
        control.listeners.open(&self.shared, &running, address, true)
    }

    /// Makes the current thread the shard `index` of a co-located engine: from now on, receiving on this thread drives
    /// the shard. It ends when the result is dropped.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the engine is not co-located, the shard is attached or this thread
    /// drives another one; otherwise as [`EngineBuilder::start`].
    pub fn attach(&self, index: usize) -> Result<Attached> {
        if self.shared.config.mode != Mode::Colocated {
            return Err(Error::invalid("attach: this engine's mode is Queue; start it with mode(Mode::Colocated)"));
        }
        attached::attach(&self.shared, index)
    }

    /// What sessions and URL groups inherit: every property is there, as set by
    /// [`EngineBuilder::properties`] or its default.
    #[must_use]
    pub fn properties(&self) -> Properties {
        self.shared.control().groups.inherited()
    }

    /// Shards of this engine.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shared.exchanges.len()
    }

    /// What has been counted since the start.
    ///
    /// After the shutdown, `requests_open` counts the requests that applications still hold; when they have dropped the
    /// last one, all levels are 0, unless a shard has failed.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for (shard, exchange) in self.shared.counters.iter().zip(self.shared.exchanges.iter()) {
            counters.add(shard, exchange.orphans());
        }
        counters.foreign_panics += foreign::caught_elsewhere() - self.shared.caught_before;
        counters
    }

    /// Stops: no more connections are taken, idle ones are closed, requests under way may still be answered for
    /// `grace`; then everything ends and every `receive` gives [`Closed`](crate::ErrorKind::Closed).
    ///
    /// Call it from a thread that is not attached to a shard. In code that a shard runs (a waker, a call on a
    /// connection's end, a destructor) it begins the stop and does not wait for it. A consumer that ends with it:
    ///
    /// ```no_run
    /// # fn consume(queue: &ringress::RequestQueue) -> ringress::Result<()> {
    /// loop {
    ///     match queue.receive() {
    ///         Ok(request) => drop(request.respond(ringress::Response::text("Hello, World!"))),
    ///         Err(error) => return if error.is_closed() { Ok(()) } else { Err(error) },
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`failure`](Self::failure), if the engine has failed: before, or while it stopped.
    pub fn shutdown(&self, grace: Duration) -> Result<()> {
        self.stop(grace);
        self.failure().map_or(Ok(()), Err)
    }

    /// Why the engine no longer serves, when it has failed; `None` while it serves, and after an orderly
    /// [`shutdown`](Self::shutdown).
    ///
    /// An engine fails when the kernel no longer lets one of its shards go on ([`Io`](crate::ErrorKind::Io);
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when a seccomp filter refuses `io_uring_enter`), or when a shard
    /// panics ([`Io`](crate::ErrorKind::Io)). Then it is given up as a whole: no address is listened on any more, the
    /// failed shard's connections have ended, every `receive` gives [`Closed`](crate::ErrorKind::Closed) (on the thread
    /// that drives the failed shard first the failure), and requests that nobody had taken are answered 500. Requests
    /// that are held and of other shards can still be answered, until the shutdown or the drop of the engine. It cannot
    /// be started again: make another one.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.shared.control().failure.clone()
    }

    /// Waits until the engine serves no more, on a thread that has nothing else to do: until another thread's
    /// [`shutdown`](Self::shutdown) has ended, the last shard has been detached, or the engine has failed.
    ///
    /// # Errors
    /// [`failure`](Self::failure), at once, when the engine has failed;
    /// [`Invalid`](crate::ErrorKind::Invalid) on a thread that drives a shard, which would wait for itself.
    pub fn wait(&self) -> Result<()> {
        if attached::drives(self.shared.id) || foreign::is_on_shard_of(self.shared.id) {
            return Err(Error::invalid("wait: this thread drives a shard, which it would wait for; receive instead"));
        }
        let running = self.shared.running();
        let waited = self.shared.stopped_running.wait_while(running, |running| !running.over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.failure().map_or(Ok(()), Err)
    }

    fn stop(&self, grace: Duration) {
        let is_first = {
            let mut control = self.shared.control();
            self.shared.close_untaken(&control);
            !core::mem::replace(&mut control.stopped, true)
        };
        if is_first {
            self.shared.post(|_| Some(ControlMessage::Stop { grace }));
        }
        if foreign::is_on_shard_of(self.shared.id) {
            // It would wait for itself. The last shard to end closes the queues.
            return;
        }
        let threads = core::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if !is_first && threads.is_empty() {
            return;
        }
        for thread in threads {
            // A shard's panic is a fault of the engine; it has been printed, and its queues must close all the same.
            let _ = thread.join();
        }
        self.await_attached(grace);
        self.shared.close_queues();
        self.shared.running().over = true;
        self.shared.stopped_running.notify_all();
    }

    /// Waits for the shards that application threads drive; those have to receive for that, so only for so long.
    fn await_attached(&self, grace: Duration) {
        let deadline = grace.checked_add(Duration::from_secs(1)).and_then(|left| clock::now().checked_add(left));
        let mut running = self.shared.running();
        while running.shards > 0 && !attached::drives(self.shared.id) {
            // A grace beyond what the clock can say is waited for as long as it takes.
            let left = deadline.map_or(Duration::from_secs(3600), |end| end.saturating_duration_since(clock::now()));
            if left.is_zero() {
                return;
            }
            let waited = self.shared.stopped_running.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// The shard that the current thread drives; the shard ends when this is dropped. Not `Send`.
#[derive(Debug)]
pub struct Attached {
    pub(super) _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        attached::detach();
    }
}
