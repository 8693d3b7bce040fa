//! One request on its way through a service: until the service is ready, until it has answered, until its response is
//! given.
//!
//! Invariants: however this ends, dropped or by a panic, the request is answered or its response cut before anything
//! else of the application is dropped; a service or a body whose client has left is dropped the next time it is waited
//! for.
//!
//! Not here: taking requests from a queue (`tower`), their conversion (`incoming`), the body of the response
//! (`answer`), and where the request is meanwhile (`shared`).

use core::any::Any;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};

use http_body::Body;
use tower_service::Service;

use super::answer::{Answer, SendError};
#[cfg(feature = "axum")]
use super::answer::{head_of, without_request};
use super::incoming::{IncomingBody, convert};
use super::shared::{Held, SharedRequest};
use crate::api::{Disconnect, Request, Response};
use crate::error::Error;
use crate::foreign;
#[cfg(feature = "axum")]
use crate::promise::Promise;

/// Why a request was not answered, or not to the end, as its service wanted. `E` is the service's error, `B` that of
/// its body.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<E, B> {
    /// The service failed. The client got 500.
    Service(E),
    /// The service or its body panicked; here is what was thrown. The client got 500, or its response was cut.
    Panic(Box<dyn Any + Send>),
    /// The body failed. The response was cut, or, had it not begun, was 500.
    Body(B),
    /// The engine could not do it. [`Gone`](crate::ErrorKind::Gone): the client left, and what was under way for it was
    /// dropped.
    /// [`Invalid`](crate::ErrorKind::Invalid), [`TooLarge`](crate::ErrorKind::TooLarge): the response cannot be sent,
    /// and the client got 500, or a cut response; or `http` cannot hold the request, and the client got 400.
    Engine(Error),
}

impl<E: fmt::Display, B: fmt::Display> fmt::Display for Failure<E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(error) => write!(f, "the service failed: {error}"),
            Self::Panic(thrown) => {
                let text = thrown.downcast_ref::<&str>().copied();
                let text = text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str));
                write!(f, "the service panicked: {}", text.unwrap_or("not with a text"))
            }
            Self::Body(error) => write!(f, "the body of the response failed: {error}"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display, B: fmt::Debug + fmt::Display> core::error::Error for Failure<E, B> {}

impl<E, B> From<SendError<B>> for Failure<E, B> {
    fn from(error: SendError<B>) -> Self {
        match error {
            SendError::Body(error) => Self::Body(error),
            SendError::Engine(error) => Self::Engine(error),
        }
    }
}

/// What came of a request.
type Handled<E, B> = Result<(), Failure<E, B>>;

enum State<S, B>
where
    S: Service<http::Request<IncomingBody>>,
{
    /// The service has not been called.
    New(S),
    /// The service has the request.
    Called(Pin<Box<S::Future>>),
    /// The response is being given.
    Answering(Answer<B>),
    Over,
}

impl<S, B> State<S, B>
where
    S: Service<http::Request<IncomingBody>>,
{
    /// What was before is the application's, and may panic when it is dropped.
    fn become_next(&mut self, next: Self) {
        foreign::drop_guarded(core::mem::replace(self, next));
    }
}

/// A request given to a service, as a future: see [`handle`](super::handle). It is ready when the whole response is on
/// its way, or when the client has left. Dropped before that, the request gets 500, or its response is cut.
#[must_use = "a future does nothing unless polled"]
pub struct Handling<S, B>
where
    S: Service<http::Request<IncomingBody>>,
{
    place: SharedRequest,
    state: State<S, B>,
    /// Whether a client that has ended its side is still there.
    half_close: bool,
    /// Tells that the client has left; asked for when something is waited for.
    gone: Option<Disconnect>,
    /// Of a request that may be upgraded.
    #[cfg(feature = "axum")]
    promise: Option<Box<Promise>>,
}

// What must not move is in boxes of its own.
impl<S: Service<http::Request<IncomingBody>>, B> Unpin for Handling<S, B> {}

impl<S: Service<http::Request<IncomingBody>>, B> fmt::Debug for Handling<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handling").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<S: Service<http::Request<IncomingBody>>, B> Drop for Handling<S, B> {
    fn drop(&mut self) {
        self.place.give_up();
        self.state.become_next(State::Over);
    }
}

impl<S, B> Handling<S, B>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>>,
    B: Body,
{
    pub(super) fn new(request: Request, service: S) -> Self {
        Self {
            place: SharedRequest::new(request),
            state: State::New(service),
            half_close: false,
            gone: None,
            #[cfg(feature = "axum")]
            promise: None,
        }
    }

    /// Whether a client that ends its side of the connection (FIN) still gets its response; no by default, as with
    /// hyper: clients that give up end their side, and few others do before they have their response. Then the future
    /// of the service or the body of its response is dropped and the connection reset, once something is waited for.
    pub fn half_close(mut self, allowed: bool) -> Self {
        self.half_close = allowed;
        self
    }

    /// Whether the client has left, for which the task is woken as well.
    fn has_left(&mut self, context: &mut Context<'_>) -> bool {
        let half_close = self.half_close;
        let watch = |request: &Request| if half_close { request.on_disconnect() } else { request.on_half_close() };
        if self.gone.is_none() {
            self.gone = self.place.with(|held| held.request().map(watch));
        }
        self.gone.as_mut().is_some_and(|gone| Pin::new(gone).poll(context).is_ready())
    }

    /// Ends a request whose client has left; one that has ended its side alone gets no response any more.
    fn let_go(&mut self) -> Handled<S::Error, B::Error> {
        if let Held::Request(request) = self.place.with(Held::take) {
            let _over_already = request.cancel();
        }
        Err(Failure::Engine(Error::GONE))
    }

    /// Begins with the service's response. `None`: that was all of it.
    fn answer(&mut self, response: http::Response<B>) -> Result<Option<Answer<B>>, Error> {
        #[cfg(feature = "axum")]
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS
            && let Some(promise) = self.promise.take()
        {
            return switch(&self.place, promise, response).map(|()| None);
        }
        Answer::begin(&self.place, response)
    }

    fn step(&mut self, context: &mut Context<'_>) -> Poll<Handled<S::Error, B::Error>> {
        loop {
            let next = match &mut self.state {
                State::New(service) => match service.poll_ready(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Service(error))),
                    Poll::Ready(Ok(())) => match converted(&self.place) {
                        Ok(request) => {
                            #[cfg(feature = "axum")]
                            let request = with_promise(&self.place, request, &mut self.promise);
                            State::Called(Box::pin(service.call(request)))
                        }
                        Err(error) => return Poll::Ready(Err(Failure::Engine(error))),
                    },
                },
                State::Called(future) => match future.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Service(error))),
                    Poll::Ready(Ok(response)) => match self.answer(response) {
                        Ok(Some(answer)) => State::Answering(answer),
                        Ok(None) => return Poll::Ready(Ok(())),
                        Err(error) => return Poll::Ready(Err(Failure::Engine(error))),
                    },
                },
                State::Answering(answer) => return answer.poll(&self.place, context).map_err(Failure::from),
                State::Over => return Poll::Ready(Err(Failure::Engine(Error::GONE))),
            };
            self.state.become_next(next);
        }
    }
}

/// The request for the service; one that `http` cannot hold is answered 400.
fn converted(place: &SharedRequest) -> Result<http::Request<IncomingBody>, Error> {
    let converted = place.with(|held| match held.request() {
        Some(request) => convert(request, place.clone()),
        None => Err(Error::GONE),
    });
    if converted.is_err()
        && let Held::Request(request) = place.with(Held::take)
    {
        request.respond(Response::new(400))?;
    }
    converted
}

/// The request with a promise of its connection, if the client asks for another protocol.
#[cfg(feature = "axum")]
fn with_promise(
    place: &SharedRequest,
    mut request: http::Request<IncomingBody>,
    promise: &mut Option<Box<Promise>>,
) -> http::Request<IncomingBody> {
    if place.with(|held| held.request().is_some_and(|request| request.upgrade_protocols().next().is_some()))
        && let Some((made, on_upgrade)) = Promise::new()
    {
        request.extensions_mut().insert(on_upgrade);
        *promise = Some(made);
    }
    request
}

/// Switches to what the service's response says, and hands the connection over.
#[cfg(feature = "axum")]
fn switch<B>(place: &SharedRequest, promise: Box<Promise>, response: http::Response<B>) -> Result<(), Error> {
    let (parts, body) = response.into_parts();
    foreign::drop_guarded(body);
    let Held::Request(request) = place.with(Held::take) else { return Err(Error::GONE) };
    promise.keep(request.upgrade(head_of(&parts)).map_err(without_request)?)
}

impl<S, B> Future for Handling<S, B>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>>,
    B: Body,
{
    type Output = Handled<S::Error, B::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let step = || match this.step(context) {
            Poll::Pending if this.has_left(context) => Poll::Ready(this.let_go()),
            stepped => stepped,
        };
        let outcome = match catch_unwind(AssertUnwindSafe(step)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(thrown) => Err(Failure::Panic(thrown)),
        };
        this.place.give_up();
        this.state.become_next(State::Over);
        Poll::Ready(outcome)
    }
}
