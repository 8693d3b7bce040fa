//! A router of axum's, or another service of the crate `http`, served on tokio as by `axum::serve`. Feature `axum`.
//!
//! ```no_run
//! # async fn all(router: axum::Router) -> ringress::Result<()> {
//! let site = ringress::Engine::open("http://127.0.0.1:8080/")?;
//! ringress::axum::serve(site.queue().clone(), router).await
//! # }
//! ```
//!
//! Handlers need no change: `ConnectInfo<SocketAddr>` is there without a make-service of its own, `WebSocketUpgrade`
//! and whatever else takes hyper's `OnUpgrade` work, and a handler whose client has left is dropped.
//! `docs/reference.md` lists what differs.
//!
//! Invariants: each request is a task of tokio's; the future ends when the queue is closed and every task has ended.
//!
//! Not here: how a service is called and its response given (room `tower`), which works with any runtime; HTTP/2.

use core::fmt;
use core::future::{Future, IntoFuture, Pending, pending, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::error::Error as StdError;
use std::sync::Arc;

use http_body::Body;
use tokio::sync::mpsc;
use tower_service::Service;

use crate::error::Result;
use crate::session::RequestQueue;
use crate::tower::{self, Failure, Handling, IncomingBody};

/// How long requests under way may take after the signal, unless said otherwise.
const GRACE: Duration = Duration::from_secs(30);

/// Who is told of requests that were not answered as their service wanted.
type Report = dyn Fn(&(dyn StdError + 'static)) + Send + Sync;

/// Serves the requests of a queue by a service, such as an axum router: a future, to be awaited on tokio.
///
/// Each request gets a clone of the service and a task of its own; they are taken as fast as they come, up to the
/// engine's [`requests_max`](crate::EngineBuilder::requests_max).
///
/// # Panics
/// When it is awaited on a thread without a runtime of tokio's, and a request comes.
pub fn serve<S, B>(queue: RequestQueue, service: S) -> Serve<S>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + Send + 'static,
    B: Body,
{
    Serve { queue, service, signal: pending(), grace: GRACE, half_close: false, report: None }
}

/// A service that is served when this is awaited: see [`serve`]. `F` is the signal that ends it.
#[must_use = "nothing is served until it is awaited"]
pub struct Serve<S, F = Pending<()>> {
    queue: RequestQueue,
    service: S,
    signal: F,
    grace: Duration,
    half_close: bool,
    report: Option<Arc<Report>>,
}

impl<S, F> fmt::Debug for Serve<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("queue", &self.queue).field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl<S, F> Serve<S, F> {
    /// When the signal is ready, the queue's engine is shut down, all of it, as by
    /// [`Engine::shutdown`](crate::Engine::shutdown): nobody can connect any more, and requests under way may still be
    /// answered for the [grace](Self::grace). Then their connections are reset, and their handlers dropped.
    ///
    /// Without a signal, it is served until the queue closes: by the engine's shutdown, or its failure.
    pub fn with_graceful_shutdown<G>(self, signal: G) -> Serve<S, G>
    where
        G: Future<Output = ()> + Send + 'static,
    {
        let Self { queue, service, grace, half_close, report, signal: _ } = self;
        Serve { queue, service, signal, grace, half_close, report }
    }

    /// How long requests under way may take after the signal, WebSockets included: 30 s by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// As [`Handling::half_close`]: no by default, as with `axum::serve`, so that a client that ends its side while it
    /// listens to silent events is noticed at once.
    pub fn half_close(mut self, allowed: bool) -> Self {
        self.half_close = allowed;
        self
    }

    /// Has `report` told of requests that were not answered as their service wanted, each as a [`Failure`]: a handler
    /// or a body panicked or failed, or the response cannot be sent. Not of clients that left. Without it, the engine's
    /// counters tell how many there were.
    pub fn on_error(mut self, report: impl Fn(&(dyn StdError + 'static)) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }
}

/// The future of [`Serve`]: ready when the queue is closed and every request is over. Dropped, no more requests are
/// taken, and those under way go on.
#[must_use = "a future does nothing unless polled"]
pub struct ServeFuture(Pin<Box<dyn Future<Output = Result<()>> + Send>>);

impl fmt::Debug for ServeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFuture").finish_non_exhaustive()
    }
}

impl Future for ServeFuture {
    /// # Errors
    /// The [engine's failure](crate::Engine::failure); its shutdown is the end in order.
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<S, B, F> IntoFuture for Serve<S, F>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: fmt::Debug + fmt::Display + Send + 'static,
    B: Body + Send + 'static,
    B::Error: fmt::Debug + fmt::Display + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = Result<()>;
    type IntoFuture = ServeFuture;

    fn into_future(self) -> ServeFuture {
        ServeFuture(Box::pin(async move {
            let Self { queue, service, signal, grace, half_close, report } = self;
            // Nothing is sent: it closes when the last task has ended.
            let (under_way, mut all_over) = mpsc::channel::<()>(1);
            let spawn = move |handling: Handling<S, B>| {
                let (under_way, report) = (under_way.clone(), report.clone());
                tokio::spawn(async move {
                    match (handling.half_close(half_close).await, report) {
                        (Err(Failure::Engine(error)), _) if error.is_gone() => {}
                        (Err(failure), Some(report)) => report(&failure),
                        _ => {}
                    }
                    drop(under_way);
                });
            };
            let outcome = {
                let mut signal = pin!(signal);
                let mut serving = tower::serve(queue.clone(), service, spawn);
                let mut stops = false;
                poll_fn(|context| {
                    if !stops && signal.as_mut().poll(context).is_ready() {
                        stops = true;
                        queue.begin_shutdown(grace);
                    }
                    Pin::new(&mut serving).poll(context)
                })
                .await
            };
            all_over.recv().await;
            outcome.and_then(|()| queue.engine_failure().map_or(Ok(()), Err))
        }))
    }
}
