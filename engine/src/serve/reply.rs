//! What a handler returns: a response, an error, or what is still to be done with the request.
//!
//! Invariants: a handler that returns has said what becomes of its request; nothing it returns leaves the thread.
//!
//! Not here: who calls the handler, and what is answered for an error (`pool`).

use std::error::Error as StdError;
use std::{fmt, io};

use ringress_proto::method::Method;

use crate::api::{Request, Response, ResponseStream};
use crate::error::{Error, ErrorKind, Result};

/// What a handler of [`RequestQueue::serve`](crate::RequestQueue::serve) returns.
///
/// A [`Response`] is one, and so is a `Result` of two of these: with `?`, a handler gives errors as well as responses.
///
/// ```
/// use ringress::{IntoReply, Method, Request, Response};
///
/// fn handle(request: &mut Request) -> Result<Response<'static>, Box<dyn std::error::Error>> {
///     if request.method() != Method::Put {
///         return Ok(Response::new(405));
///     }
///     let body = request.body().to_bytes(1 << 20)?; // a longer one is answered 413
///     std::fs::write("uploaded", &body)?; // an error is answered 500
///     Ok(Response::new(204))
/// }
/// # let _ = |request: &mut Request| handle(request).into_reply();
/// ```
pub trait IntoReply {
    /// What becomes of the request.
    fn into_reply(self) -> Reply;
}

/// What becomes of a request when its handler has returned. See [`IntoReply`].
#[must_use = "a reply does something only when a handler returns it"]
pub struct Reply(pub(super) Next);

/// What a handler leaves to be done.
#[expect(clippy::large_enum_variant, reason = "nearly all are responses, and a box would cost each an allocation")]
pub(super) enum Next {
    Respond(Response<'static>),
    Then(Then),
    Fail(Box<dyn StdError>),
}

type Then = Box<dyn FnOnce(Request) -> core::result::Result<(), Box<dyn StdError>>>;

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Next::Respond(response) => f.debug_tuple("Reply").field(response).finish(),
            Next::Then(_) => f.write_str("Reply::then(..)"),
            Next::Fail(error) => f.debug_tuple("Reply::fail").field(error).finish(),
        }
    }
}

impl Reply {
    /// Hands the request over to `answer`, on the same thread: for what takes the whole request, as
    /// [`Request::upgrade`], [`Request::start`] or [`Request::cancel`].
    ///
    /// ```
    /// use ringress::{Reply, Request};
    ///
    /// fn handle(request: &mut Request) -> Reply {
    ///     match request.path() {
    ///         "/cancel" => Reply::then(Request::cancel),
    ///         _ => ringress::Response::new(404).into(),
    ///     }
    /// }
    /// ```
    pub fn then<E: Into<Box<dyn StdError>>>(
        answer: impl FnOnce(Request) -> core::result::Result<(), E> + 'static,
    ) -> Self {
        Self(Next::Then(Box::new(|request| answer(request).map_err(Into::into))))
    }

    /// Begins a response, has `write` write its body, and ends it. An error of `write` cuts the response. The response
    /// to HEAD has no body: then `write` is not called.
    ///
    /// ```
    /// use std::io::Write;
    /// use ringress::{Reply, Request, Response};
    ///
    /// fn numbers(_request: &mut Request) -> Reply {
    ///     Reply::stream(Response::text(""), |body| (1..=1000).try_for_each(|number| writeln!(body, "{number}")))
    /// }
    /// ```
    pub fn stream<E: Into<Box<dyn StdError>>>(
        response: Response<'static>,
        write: impl FnOnce(&mut ResponseStream) -> core::result::Result<(), E> + 'static,
    ) -> Self {
        Self::then(move |request| {
            let has_body = request.method() != Method::Head;
            let mut stream = request.start(response)?;
            if has_body {
                write(&mut stream).map_err(Into::into)?;
            }
            stream.finish()?;
            Ok::<(), Box<dyn StdError>>(())
        })
    }

    /// The handler has failed. Its client gets 500; 413 or 415 if the cause is an [`Error`] of the kind
    /// [`TooLarge`](crate::ErrorKind::TooLarge) or [`UnsupportedMediaType`](crate::ErrorKind::UnsupportedMediaType),
    /// which reading a body gives; nothing if it has left. The pool is told
    /// ([`Pool::on_error`](crate::Pool::on_error)), but not of a client that has left.
    pub fn fail(error: impl Into<Box<dyn StdError>>) -> Self {
        Self(Next::Fail(error.into()))
    }
}

impl From<Response<'static>> for Reply {
    fn from(response: Response<'static>) -> Self {
        Self(Next::Respond(response))
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Reply {
        self
    }
}

impl IntoReply for Response<'static> {
    fn into_reply(self) -> Reply {
        self.into()
    }
}

impl<T: IntoReply, E: IntoReply> IntoReply for core::result::Result<T, E> {
    fn into_reply(self) -> Reply {
        match self {
            Ok(reply) => reply.into_reply(),
            Err(error) => error.into_reply(),
        }
    }
}

impl IntoReply for Error {
    fn into_reply(self) -> Reply {
        Reply::fail(self)
    }
}

impl IntoReply for io::Error {
    fn into_reply(self) -> Reply {
        Reply::fail(self)
    }
}

impl IntoReply for Box<dyn StdError> {
    fn into_reply(self) -> Reply {
        Reply::fail(self)
    }
}

impl IntoReply for Box<dyn StdError + Send + Sync> {
    fn into_reply(self) -> Reply {
        let error: Box<dyn StdError> = self;
        Reply::fail(error)
    }
}

/// The engine's error that this one is, or stands on.
pub(super) fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = error.downcast_ref::<Error>().or_else(|| inner?.downcast_ref::<Error>());
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

/// Answers a request as its handler has said; an error is the handler's, or says why that could not be.
pub(super) fn carry_out(request: Request, reply: Reply) -> core::result::Result<(), Box<dyn StdError>> {
    match reply.0 {
        Next::Respond(response) => Ok(request.respond(response)?),
        Next::Then(answer) => answer(request),
        Next::Fail(error) => {
            let status = match cause(&*error).map(Error::kind) {
                Some(ErrorKind::TooLarge) => Some(413),
                Some(ErrorKind::UnsupportedMediaType) => Some(415),
                _ => None,
            };
            if let Some(status) = status {
                // Whether it arrives is not what has gone wrong.
                let _: Result<()> = request.respond(Response::new(status));
            }
            Err(error)
        }
    }
}
