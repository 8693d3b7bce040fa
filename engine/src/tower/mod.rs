//! Requests and responses as the types of the crate `http`, so that whatever is a `tower_service::Service` of them, an
//! axum router among others, can be served from a request queue. Feature `tower`.
//!
//! ```no_run
//! # #[derive(Clone)] struct Service;
//! # impl tower_service::Service<http::Request<ringress::tower::IncomingBody>> for Service {
//! #     type Response = http::Response<ringress::tower::IncomingBody>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
//! #         std::task::Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, request: http::Request<ringress::tower::IncomingBody>) -> Self::Future {
//! #         std::future::ready(Ok(http::Response::new(request.into_body())))
//! #     }
//! # }
//! # async fn all(queue: ringress::RequestQueue, service: Service) -> ringress::Result<()> {
//! ringress::tower::serve(queue, service, |handling| {
//!     // A task for each request: here is the place to log what went wrong, and to bound how many there are.
//!     tokio::spawn(async move {
//!         match handling.await {
//!             Err(ringress::tower::Failure::Engine(error)) if error.is_gone() => {} // the client left
//!             Err(failure) => eprintln!("{failure}"),
//!             Ok(()) => {}
//!         }
//!     });
//! })
//! .await
//! # }
//! ```
//!
//! Invariants:
//! * Each request is answered once: by the service, or with 500 when it fails, panics, gives what cannot be sent, or is
//!   dropped. A response that has begun and cannot be ended is cut. Who runs the future is told why.
//! * A body is read as the service polls it, and the service's body is polled while the client takes it.
//! * A response to a client that waits for `100 Continue` begins with the first frame of its body, as long as the
//!   service has the request's body and may read it: that is sent only before.
//! * A service may keep, read or drop the body of its request as it likes, before and after its response; dropping it
//!   abandons nothing.
//! * When a client leaves before its response has begun, the service's future is dropped, with all that it has, as soon
//!   as it waits for something; so is, later, the body of its response. What must not end there belongs into a task of
//!   its own. A client that has ended its side has left, unless [`Handling::half_close`] says otherwise.
//! * Fields that are the connection's or the engine's do not pass: of the service's Connection only `close` is heeded,
//!   its Content-Length is a promise that is kept, and Keep-Alive, Proxy-Connection, Transfer-Encoding and Date are
//!   left out.
//!
//! * A response of status 101 gives 500. With the feature `axum`, it switches the connection where the client asked for
//!   that, and who took hyper's `OnUpgrade` from the request gets it; and each request has axum's
//!   `ConnectInfo<SocketAddr>`.
//!
//! Not here: spawning, which is the runtime's business; CONNECT tunnels; HTTP/2.

mod answer;
mod handling;
mod incoming;
mod shared;

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use tower_service::Service;

use crate::api::{Place, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::session::RequestQueue;

pub use self::handling::{Failure, Handling};
pub use self::incoming::{IncomingBody, RequestInfo};

/// Requests taken in a row before other tasks of the thread get their turn.
const IN_A_ROW: u32 = 32;

/// Takes requests from a queue until it is closed, and gives a clone of the service each, as futures to be spawned.
///
/// Requests are taken as fast as they come: bound their number in `spawn`, by the queue's consumers or by the engine's
/// `requests_max`.
pub fn serve<S, B, F>(queue: RequestQueue, service: S, spawn: F) -> Serve<S, F>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone,
    B: http_body::Body,
    F: FnMut(Handling<S, B>),
{
    Serve { queue, service, spawn, place: Place::default() }
}

/// The future of [`serve`]: ready when the queue is closed. Dropped, it takes no more requests, and loses none.
#[must_use = "a future does nothing unless polled"]
pub struct Serve<S, F> {
    queue: RequestQueue,
    service: S,
    spawn: F,
    place: Place,
}

impl<S, F> fmt::Debug for Serve<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("queue", &self.queue).finish_non_exhaustive()
    }
}

// Nothing in it is pinned.
impl<S, F> Unpin for Serve<S, F> {}

impl<S, B, F> Future for Serve<S, F>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone,
    B: http_body::Body,
    F: FnMut(Handling<S, B>),
{
    /// # Errors
    /// As [`RequestQueue::receive_async`], but for [`Closed`](ErrorKind::Closed), which is the end in order.
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        for _ in 0..IN_A_ROW {
            match ready!(this.place.poll(&this.queue, context)) {
                Ok(request) => (this.spawn)(handle(request, this.service.clone())),
                Err(error) if error.is_closed() => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, F> Drop for Serve<S, F> {
    fn drop(&mut self) {
        self.place.leave(&self.queue);
    }
}

/// Gives one request to a service, and its response to the client.
pub fn handle<S, B>(request: Request, service: S) -> Handling<S, B>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>>,
    B: http_body::Body,
{
    Handling::new(request, service)
}

/// What the types of `http` cannot say, or the engine cannot send.
#[cold]
fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}
