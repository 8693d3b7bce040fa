//! Threads that consume a queue: each takes a request, calls the handler, and answers as that says.
//!
//! ```text
//!   RequestQueue::serve ──▶ threads ──┬─ receive ─▶ handler(&mut Request) ─▶ Reply ─▶ answered ─┐
//!                                     └──────────◀───── a panic costs this request: 500 ◀───────┘
//!   end: the queue closes, or the pool is dropped; each thread finishes the request that it has
//! ```
//!
//! Invariants: a thread ends with the queue or the pool, and never by a panic of the handler; the threads have handles
//! of the queue, the pool has none, so that a queue that nobody can receive from closes.
//!
//! Not here: what a handler may return (`reply`), and taking requests by hand (room `api`).

use core::sync::atomic::{AtomicBool, Ordering};
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::reply::{IntoReply, Reply, carry_out, cause};
use crate::api::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::queue::QueueCore;
use crate::record::RequestRecord;
use crate::session::RequestQueue;

/// The most threads of a pool.
const THREADS_MAX: usize = 4096;

type Report = dyn Fn(&(dyn StdError + 'static)) + Send + Sync;

/// What the threads of a pool share.
struct Shared {
    handler: Box<dyn Fn(&mut Request) -> Reply + Send + Sync>,
    report: Mutex<Option<Arc<Report>>>,
    /// The pool has been dropped.
    is_over: AtomicBool,
}

impl Shared {
    /// Takes requests until the queue is closed or the pool is dropped.
    fn consume(&self, queue: &RequestQueue) -> Result<()> {
        loop {
            match queue.receive_unless(&self.is_over) {
                Ok(Some(request)) => {
                    foreign::call(|| self.answer(request));
                }
                Ok(None) => return Ok(()),
                Err(error) if error.is_closed() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    fn answer(&self, mut request: Request) {
        let reply = (self.handler)(&mut request);
        if let Err(error) = carry_out(request, reply) {
            self.tell(&*error);
        }
    }

    #[cold]
    fn tell(&self, error: &(dyn StdError + 'static)) {
        if cause(error).is_some_and(Error::is_gone) {
            return;
        }
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(report) = report {
            report(error);
        }
    }
}

/// The threads that serve a queue: see [`RequestQueue::serve`].
///
/// Dropping it ends them: each finishes the request that it has, and takes no other. It does not wait for them;
/// [`join`](Self::join) does.
#[must_use = "a pool takes no more requests once it is dropped"]
pub struct Pool {
    shared: Arc<Shared>,
    /// No handle: see the module's head.
    core: Arc<QueueCore<RequestRecord>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl RequestQueue {
    /// Starts threads that take requests from this queue, call `handler` with each, and answer as it says: with the
    /// [`Response`](crate::Response) that it returns, or for its error (see [`IntoReply`]). They end with the queue, or
    /// when the [`Pool`] is dropped. Other consumers may receive from the queue beside them.
    ///
    /// A handler may block: on its client, a file, a database. So many requests are handled at a time as there are
    /// threads, 1 to 4,096. If it panics, its request is answered 500, the panic is counted
    /// ([`foreign_panics`](crate::Counters::foreign_panics)), and the thread takes the next one.
    ///
    /// In co-located mode the threads are the shards: as many as the engine has, of which none is attached.
    ///
    /// ```no_run
    /// # fn run(engine: &ringress::Engine, queue: &ringress::RequestQueue) -> ringress::Result<()> {
    /// use ringress::Response;
    ///
    /// let pool = queue.serve(16, |request| Response::text(format!("You asked for {}\n", request.path())))?;
    /// let pool = pool.on_error(|error| eprintln!("{error}"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a number of threads out of range;
    /// [`Closed`](crate::ErrorKind::Closed) when the queue is closed; [`Io`](crate::ErrorKind::Io) when a thread cannot
    /// be had; in co-located mode as [`Engine::attach`](crate::Engine::attach). Then no thread is left.
    pub fn serve<R: IntoReply>(
        &self,
        threads: usize,
        handler: impl Fn(&mut Request) -> R + Send + Sync + 'static,
    ) -> Result<Pool> {
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(Error::invalid(format!("serve: {threads} threads, but must be from 1 to {THREADS_MAX}")));
        }
        if self.core.is_closed() {
            return Err(Error::CLOSED);
        }
        match self.shards_to_drive() {
            Some(shards) if shards != threads => {
                return Err(Error::invalid(format!(
                    "serve: {threads} threads, but in co-located mode each drives one shard, of which there are \
                    {shards}: give as many"
                )));
            }
            _ => {}
        }
        let handler = Box::new(move |request: &mut Request| handler(request).into_reply());
        let shared = Arc::new(Shared { handler, report: Mutex::default(), is_over: AtomicBool::new(false) });
        let mut pool = Pool { shared, core: Arc::clone(&self.core), threads: Vec::with_capacity(threads) };
        let (started, all_started) = mpsc::channel();
        for index in 0..threads {
            pool.start(index, self.clone(), started.clone())?;
        }
        drop(started);
        // Each says how it began before it takes a request.
        all_started.iter().collect::<Result<()>>()?;
        Ok(pool)
    }
}

impl Pool {
    fn start(&mut self, index: usize, queue: RequestQueue, started: mpsc::Sender<Result<()>>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let seat = match queue.take_seat(index) {
                Ok(seat) => seat,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ok(());
                }
            };
            let _ = started.send(Ok(()));
            drop(started);
            let outcome = shared.consume(&queue);
            // The shard ends before its queue's handle goes.
            drop(seat);
            outcome
        };
        let thread = thread::Builder::new().name(format!("serve-{index}")).spawn(run);
        let refused = |error| Error::io(format!("cannot start thread {index} of a pool"), error);
        self.threads.push(thread.map_err(refused)?);
        Ok(())
    }

    /// Has `report` told what goes wrong from now on, on the thread where it does: errors that the handler returns, and
    /// responses of its that cannot be sent. Not that a client has left, which is nobody's fault; nor panics, of which
    /// the panic hook tells.
    pub fn on_error(self, report: impl Fn(&(dyn StdError + 'static)) + Send + Sync + 'static) -> Self {
        *self.shared.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(report));
        self
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Waits until the queue is closed and every handler has returned. Not on a thread of the pool, which would wait
    /// for itself.
    ///
    /// # Errors
    /// In co-located mode, what a shard has failed of ([`Engine::failure`](crate::Engine::failure)).
    pub fn join(mut self) -> Result<()> {
        let mut outcome = Ok(());
        for thread in core::mem::take(&mut self.threads) {
            let panicked = |_| Err(Error::new(ErrorKind::Io, "a thread of a pool panicked outside of its handler"));
            let ended = thread.join().unwrap_or_else(panicked);
            outcome = outcome.and(ended);
        }
        outcome
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Those that sleep, and those that drive a shard.
        self.core.sleepers().wake_all();
        self.core.exchanges().iter().for_each(|exchange| exchange.notifier().interrupt());
    }
}
