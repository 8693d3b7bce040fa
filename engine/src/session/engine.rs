//! Engines and request queues: what is made at the start and ends with the shutdown.
//!
//! Invariants: how many shards there are is settled at the start, and memory for their requests is reserved then; no
//! call waits for a shard in code that this shard runs: it is refused, or, as a shutdown, begins and does not wait.
//!
//! Not here: settings (`builder`), the state and how a shard is made and ends (`control`), co-located shards
//! (`attached`), lists of what there is (`listing`), and the handles of queues, sessions and groups (`request_queue`,
//! `url_groups`).

use core::sync::atomic::{AtomicU64, Ordering};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::attached::{self, Attached};
use super::control::{Control, EngineShared};
use super::drivers::Refused;
use super::events::{Event, EventListener};
use super::groups::Groups;
use super::listener::{Endpoint, Listener};
use super::queue_options::QueueOptions;
use super::request_queue::RequestQueue;
use super::stopped::Stopped;
use super::url_groups::ServerSession;
use crate::admission::Gates;
use crate::clock;
use crate::config::{Config, Driver, Mode};
use crate::counters::Counters;
use crate::driver::net;
use crate::error::{Error, Result};
use crate::foreign::{self, OnShard};
use crate::id::{PLACES_MAX, Places, ShardId};
use crate::policy::Properties;
use crate::queue::Exchange;
use crate::shard::Leave;

/// Engines of this process are told apart by a number.
static ENGINES: AtomicU64 = AtomicU64::new(1);

/// What the ids of an engine begin from: see `id`.
fn places_of(config: &Config) -> Result<Places> {
    let slots = config.slots().max(config.connections_max);
    let refused = || {
        let count = Places::count(config.shards, slots);
        Error::invalid(format!(
            "the engines of this process have no ids left: {count} places are wanted (shards x the larger of \
            connections_max and twice requests_max, rounded up to a power of two) of {PLACES_MAX} for all; lower these"
        ))
    };
    Places::take(config.shards, slots).ok_or_else(refused)
}

/// A running engine: its shards own the sockets, parse, route and time; applications own their request queues.
///
/// Dropping it stops it without grace; [`shutdown`](Self::shutdown) lets requests under way be answered first. Its
/// methods take `&self`, on any thread: share it in an [`Arc`].
#[must_use = "an engine stops when it is dropped"]
pub struct Engine {
    pub(super) shared: Arc<EngineShared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    io_uring_refusal: Option<Error>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses().into_iter().map(|info| info.address).collect();
        let (mode, shards) = (self.mode(), self.shards());
        let mut engine = f.debug_struct("Engine");
        engine.field("mode", &mode).field("shards", &shards).field("addresses", &addresses).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn start_with(mut config: Config) -> Result<Self> {
        if config.raise_descriptor_limit {
            net::raise_descriptor_limit()?;
        }
        let wanted = config.driver.wanted()?;
        config.driver = if wanted == Driver::Auto { Driver::IoUring } else { wanted };
        match Self::start_as(config.clone(), wanted) {
            Err(refused) if wanted == Driver::Auto && refused.leaves_others() => {
                config.driver = Driver::Epoll;
                let mut engine = Self::start_as(config, Driver::Epoll)?;
                engine.io_uring_refusal = Some(refused.into());
                Ok(engine)
            }
            started => Ok(started?),
        }
        .inspect(Self::tell_driver)
    }

    /// Once, who drives it, and why that is not io_uring.
    fn tell_driver(&self) {
        #[cfg(feature = "tracing")]
        match &self.io_uring_refusal {
            None => tracing::info!(driver = %self.driver(), "engine started"),
            Some(refusal) => tracing::warn!(driver = %self.driver(), %refusal, "engine started without io_uring"),
        }
    }

    /// Starts with the driver of the configuration. Where anything is `wanted`, that it can be had is known behind
    /// this.
    fn start_as(config: Config, wanted: Driver) -> std::result::Result<Self, Refused> {
        let id = ENGINES.fetch_add(1, Ordering::Relaxed);
        let sizes = config.sizes();
        let places = places_of(&config)?;
        let (mut exchanges, mut sides) = (Vec::new(), Vec::new());
        for index in 0..config.shards {
            let shard = ShardId(u8::try_from(index).unwrap_or(u8::MAX));
            let (exchange, side) =
                Exchange::new(id, shard, places.origin(shard), config.facts()?, &sizes).map_err(|error| {
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
        let groups = Groups::new(&config.properties, config.shards as usize);
        let gates = Gates::new(config.connection_limits, config.shards, config.connections_max);
        let shared = Arc::new(EngineShared {
            id,
            inboxes: sides.iter().map(|_| Arc::default()).collect(),
            counters: sides.iter().map(|_| Arc::default()).collect(),
            exchanges: exchanges.into(),
            control: Mutex::new(Control::new(sides, groups, gates)),
            running: Arc::default(),
            log_writer: OnceLock::new(),
            listener: EventListener::default(),
            caught_before: foreign::caught_elsewhere(),
            config,
            places: Arc::new(places),
        });
        let engine = Self { shared, threads: Mutex::default(), io_uring_refusal: None };
        match engine.shared.config.mode {
            Mode::Queue => engine.start_threads()?,
            // Its shards are made when it listens already.
            Mode::Colocated if wanted == Driver::Auto => engine.shared.try_rings()?,
            Mode::Colocated => {}
        }
        Ok(engine)
    }

    fn start_threads(&self) -> std::result::Result<(), Refused> {
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
            let mut builder = thread::Builder::new().name(format!("ringress-{index}"));
            if let Some(bytes) = self.shared.config.stack_bytes {
                builder = builder.stack_size(bytes);
            }
            let thread = builder.spawn(run);
            let thread =
                thread.map_err(|error| Error::io(format!("cannot start the thread of shard {index}"), error))?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            let outcome = outcome.recv();
            // A channel parks the thread: a wake for its executor may have been taken for the shard's.
            thread::current().unpark();
            outcome.unwrap_or_else(|_| Err(Error::invalid("a shard's thread ended while it started").into()))?;
        }
        Ok(())
    }

    /// A new server session: the container of URL groups.
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
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another queue of this engine has the name;
    /// [`Invalid`](crate::ErrorKind::Invalid) when an option is out of range, or the engine has 65,536 queues (or has
    /// had 4,294,967,295 in all); [`Closed`](crate::ErrorKind::Closed) after the shutdown; [`failure`](Self::failure)
    /// after that.
    pub fn request_queue_with(&self, name: &str, options: QueueOptions) -> Result<RequestQueue> {
        RequestQueue::open(&self.shared, name, options)
    }

    /// Opens listening sockets on an address, one a shard, and gives the address they got (port 0: a free one).
    ///
    /// URLs registered for a port that is listened on this way use these addresses alone; for another port, registering
    /// opens the port on all addresses. Until the first of them is registered, requests get 400: clients should be told
    /// of the address behind that. An address that is taken is asked for again for 750 ms, since the sockets of a
    /// process that was killed are closed a little after its end; but once alone on a thread that drives a shard and in
    /// code that a shard runs, since clients would wait meanwhile. Listen before you attach.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when this engine listens on the address, or on one that
    /// covers it or is covered by it; [`AddrInUse`](crate::ErrorKind::AddrInUse) when another socket has it, also of
    /// another process of the same user; [`PermissionDenied`](crate::ErrorKind::PermissionDenied) when the port needs a
    /// privilege (below `net.ipv4.ip_unprivileged_port_start`); [`Io`](crate::ErrorKind::Io) when the address is not
    /// this host's, or the process has as many descriptors as it may; [`Invalid`](crate::ErrorKind::Invalid) when
    /// 65,536 addresses are listened on; [`Closed`](crate::ErrorKind::Closed) after the shutdown;
    /// [`failure`](Self::failure) after that.
    pub fn listen(&self, address: SocketAddr) -> Result<SocketAddr> {
        Ok(self.listen_on(address)?.tcp().unwrap_or(address))
    }

    /// Listens as [`listen`](Self::listen), with what a [`Listener`] says: on a TCP address with options of its own, on
    /// a Unix socket, or on a socket that was handed over, by this program or by a service manager
    /// ([`Listener::activated`]), which listens already.
    ///
    /// A Unix socket stands for a port, 80 unless [`Listener::port`] says otherwise. All shards take clients of it, who
    /// count as trusted proxies ([`EngineBuilder::trusted_proxies`](crate::EngineBuilder::trusted_proxies)): each
    /// connection is a client by itself. The kernel does not count what goes over one, so that
    /// [`send_rate_min`](crate::Properties::send_rate_min) and `receive_rate_min` do not hold there, but the time
    /// without any progress does; nor does `socket_buffer`. It knows no reset: a response that is cut ends early.
    ///
    /// Of a socket that was handed over, all shards take clients, and so does whoever else has it. Its options are set
    /// as those of the engine's own (TCP_NODELAY, [`keep_alive`](crate::Properties::keep_alive),
    /// [`socket_buffer`](crate::Properties::socket_buffer), and whether it waits, O_NONBLOCK, as the driver needs it),
    /// for all who have it. It is never shut down: when it is listened on no more, who else has it goes on.
    ///
    /// # Errors
    /// As [`listen`](Self::listen), and [`Invalid`](crate::ErrorKind::Invalid) when a setting is out of range, or of no
    /// meaning for what is listened on, or the descriptor that was handed over is no socket for TCP or Unix streams
    /// that listens, or is of an engine with another driver; that is closed then. For a Unix socket,
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) also when its path is that of something else than a socket,
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) when a stale file is another user's, when its folder
    /// cannot be written in, and when it cannot be given to its owner, and [`Io`](crate::ErrorKind::Io) when there is
    /// no such folder.
    pub fn listen_on(&self, listener: impl Into<Listener>) -> Result<Endpoint> {
        let listener = listener.into();
        listener.check_proxies(&self.shared.config.trusted_proxies)?;
        listener.check_driver(self.driver())?;
        self.shared.once_free(|control| {
            control.check_open()?;
            let bound = control.listen(&listener)?;
            self.shared.publish(control);
            Ok(bound)
        })
    }

    /// Closes an address that [`listen`](Self::listen) or [`listen_on`](Self::listen_on) has opened, given as that gave
    /// it back. When this returns, nobody can connect to it any more; connections that were accepted go on, those that
    /// were not yet are reset. A socket that was handed over is let go of instead: connections that were not accepted
    /// wait for whoever else has it.
    ///
    /// URLs of its port stay registered: they are reached by the port's other addresses, if there are any. The next URL
    /// that is registered for a port that is open nowhere opens it on all addresses.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when this address is not listened on;
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is open for URLs, and not by `listen`;
    /// [`Closed`](crate::ErrorKind::Closed) after the shutdown; [`failure`](Self::failure) after that.
    pub fn unlisten(&self, address: impl Into<Endpoint>) -> Result<()> {
        let address = address.into();
        let control = &mut *self.shared.control();
        control.check_open()?;
        control.unlisten(&address)?;
        self.shared.publish(control);
        Ok(())
    }

    /// Waits until every change that was made before this call (of URLs, groups, queues, addresses and properties)
    /// holds for whatever the shards do from now on. `false`: not within this time.
    ///
    /// A request that a client sends after a change goes by it in any case. This is for who lets go of something that
    /// requests are still delivered with, such as what a context stands for: those that a shard was handling when the
    /// URL was removed have been delivered when this returns. A shard that no thread drives at the moment is not waited
    /// for: it takes the newest state before it does anything else.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) in code that a shard runs (a waker, a call on a connection's end,
    /// a destructor), which would wait for itself.
    pub fn await_changes(&self, timeout: Duration) -> Result<bool> {
        if foreign::is_on_shard_of(self.shared.id) {
            return Err(attached::in_turn("waiting for changes"));
        }
        Ok(self.shared.await_changes(timeout))
    }

    /// Makes the current thread the shard `index` of a co-located engine: from now on, receiving on this thread drives
    /// the shard. It ends when the result is dropped.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such shard; [`Invalid`](crate::ErrorKind::Invalid)
    /// when the engine is not co-located, the shard is attached already, its core cannot be had, or this thread drives
    /// another one or ends; [`Closed`](crate::ErrorKind::Closed) when the shard has ended, or after the shutdown;
    /// [`failure`](Self::failure) after that;
    /// [`Io`](crate::ErrorKind::Io) when a descriptor cannot be had; otherwise as
    /// [`EngineBuilder::start`](crate::EngineBuilder::start). A shard that could not be made can be attached again.
    pub fn attach(&self, index: usize) -> Result<Attached> {
        if self.shared.config.mode != Mode::Colocated {
            return Err(Error::invalid("attach: this engine's mode is Queue; start it with mode(Mode::Colocated)"));
        }
        attached::attach(&self.shared, index)
    }

    /// What sessions and URL groups inherit: every property is there, as set by
    /// [`EngineBuilder::properties`](crate::EngineBuilder::properties) or its default.
    #[must_use]
    pub fn properties(&self) -> Properties {
        self.shared.control().groups.inherited()
    }

    /// What was set by [`EngineBuilder::properties`](crate::EngineBuilder::properties), without the defaults of what
    /// was not.
    #[must_use]
    pub fn own_properties(&self) -> Properties {
        self.shared.config.properties
    }

    /// Who runs the shards.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.config.mode
    }

    /// Has `listener` told what happens in the engine from now on, in the place of an earlier one. It is called on the
    /// thread that made it happen, which waits for it, and may use the engine. If it panics, that is counted
    /// ([`foreign_panics`](crate::Counters::foreign_panics)).
    ///
    /// ```no_run
    /// # fn run(engine: &ringress::Engine) {
    /// engine.on_event(|event| eprintln!("{event}"));
    /// # }
    /// ```
    pub fn on_event(&self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        self.shared.listener.set(listener);
    }

    /// What of the kernel's its shards are driven by: [`Driver::IoUring`] or [`Driver::Epoll`].
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.shared.config.driver
    }

    /// Why its driver is not io_uring, where that was tried first ([`Driver::Auto`]) and refused; the text names the
    /// cause and the remedy.
    #[must_use]
    pub fn io_uring_refusal(&self) -> Option<&Error> {
        self.io_uring_refusal.as_ref()
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
        self.shared.counters()
    }

    /// Stops: no more connections are taken, idle ones are closed, requests under way may still be answered for
    /// `grace`; then everything ends and every `receive` gives [`Closed`](crate::ErrorKind::Closed).
    ///
    /// Called again meanwhile, the end comes as soon as the shorter of both times says.
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
    /// Gives what it had to cut, by which time the counters have all of it.
    ///
    /// # Errors
    /// [`failure`](Self::failure), if the engine has failed: before, or while it stopped.
    pub fn shutdown(&self, grace: Duration) -> Result<Stopped> {
        self.stop(Leave::within(grace));
        self.stopped()
    }

    /// Stops as [`shutdown`](Self::shutdown), and nobody loses a request by it: no more connections are taken, but each
    /// one that is there may send one more request. Its response says `Connection: close`, and ends it, so that the
    /// client sends the next request over a new connection, to whoever [has the socket](Self::hand_over) by then. When
    /// no connection is left, or when `linger` has passed, the rest is a shutdown with this grace: connections that
    /// are idle then are closed.
    ///
    /// HTTP/1.1 cannot tell a client that is idle. One that sends a request in the moment in which its connection is
    /// closed gets no answer, and has to send it again, which it may do by itself only if the method is idempotent (RFC
    /// 9112, section 9.3.1). So make `linger` longer than clients pause between two requests, as far as they are to see
    /// nothing of it; a connection that stays idle costs nothing but the wait.
    ///
    /// A TCP socket of the engine's own that was not handed over is closed at once, and clients that wait to be
    /// accepted there are reset. Where others serve in this one's place, as behind a load balancer, have them chosen
    /// first.
    ///
    /// Another call of `shutdown` or `drain` meanwhile, on another thread, has the end come sooner.
    ///
    /// # Errors
    /// [`failure`](Self::failure), if the engine has failed: before, or while it stopped.
    pub fn drain(&self, linger: Duration, grace: Duration) -> Result<Stopped> {
        self.stop(Leave::after(linger, grace));
        self.stopped()
    }

    fn stopped(&self) -> Result<Stopped> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        // In this order: what a shard that ends in this moment has cut is counted before.
        let shards_left = self.shared.running.state().shards;
        let counters = self.counters();
        let (requests_cut, connections_cut) = (counters.requests_stopped, counters.connections_stopped);
        Ok(Stopped { requests_cut, connections_cut, shards_left })
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
    /// [`Invalid`](crate::ErrorKind::Invalid) on a thread that drives a shard, which would wait for itself, and in
    /// co-located mode when no thread has begun to drive one after 5 seconds.
    pub fn wait(&self) -> Result<()> {
        self.check_may_wait()?;
        self.shared.running.await_end();
        self.failure().map_or(Ok(()), Err)
    }

    /// # Errors
    /// As [`wait`](Self::wait), when the current thread must not wait, or nobody would end that.
    pub(crate) fn check_may_wait(&self) -> Result<()> {
        if attached::drives(self.shared.id) || foreign::is_on_shard_of(self.shared.id) {
            return Err(Error::invalid("wait: this thread drives a shard, which it would wait for; receive instead"));
        }
        self.shared.await_driver("waiting for the engine's end", None)
    }

    fn stop(&self, leave: Leave) {
        let is_first = self.shared.begin_stop(leave);
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
        self.await_attached(leave.all());
        self.shared.close_queues();
        self.shared.end_logs();
        self.shared.running.ended(true);
    }

    /// Waits for the shards that application threads drive; those have to receive for that, so only for so long.
    fn await_attached(&self, grace: Duration) {
        let deadline = grace.checked_add(Duration::from_secs(1)).and_then(|left| clock::now().checked_add(left));
        let mut running = self.shared.running.state();
        while running.shards > 0 && !attached::drives(self.shared.id) {
            // A grace beyond what the clock can say is waited for as long as it takes.
            let left = deadline.map_or(Duration::from_secs(3600), |end| end.saturating_duration_since(clock::now()));
            if left.is_zero() {
                return;
            }
            running = self.shared.running.await_change(running, left);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop(Leave::within(Duration::ZERO));
    }
}
