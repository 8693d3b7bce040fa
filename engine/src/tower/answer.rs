//! A service's response on its way to the client.
//!
//! ```text
//!   no body, or none to send ─────────────────────────────────────────▶ a whole response
//!   a look at the body ─▶ all of it is in the first frame, as promised ─▶ a whole response
//!          ▲     └─▶ else ─▶ a head; then, while there is room: a frame, a chunk; trailers; the end
//!          └─ held back while the client may wait for `100 Continue`, and there is no frame
//! ```
//!
//! Invariants: the service's body is polled only when there is room for what it gives, and never under the lock of the
//! place, since it may be the request's own body; a body of a known length has exactly that, or the response is cut.
//! `100 Continue` is sent only before a response has begun: so one that may be made of the request's body begins with
//! its first frame, unless the client leaves before.
//!
//! Trailers of a body with a Content-Length, or towards HTTP/1.0, cannot be sent and are left out (RFC 9110 section
//! 6.5.1); a service that names them beforehand (`Trailer`) has its response sent in chunks.
//!
//! Not here: calling the service, that the client has left, and what it gets when the service fails or panics
//! (`handling`); the request's body (`incoming`).

use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use ringress_proto::response::body_allowed;

use super::invalid;
use super::shared::{By, Held, SharedRequest};
use crate::api::{Response, TrySendError};
use crate::error::{Error, Result};
use crate::foreign::{self, HeldBytes};

/// Frames taken in a row before other tasks of the thread get their turn.
const IN_A_ROW: u32 = 32;
/// The longest body that is given in one call.
const WHOLE_BYTES_MAX: u64 = 1 << 30;

/// Why a response was not given to its end.
pub(super) enum SendError<E> {
    Body(E),
    Engine(Error),
}

/// What came of a part of a response; `E` is the error of the service's body.
type Given<T, E> = core::result::Result<T, SendError<E>>;

impl<E> From<Error> for SendError<E> {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// A response with a body.
pub(super) struct Answer<B> {
    body: Pin<Box<B>>,
    /// The head, which waits for a first look at the body.
    waiting: Option<Box<Waiting>>,
    in_chunks: bool,
}

/// A response that has not begun.
struct Waiting {
    parts: Parts,
    /// Bytes of the body, if that is known.
    length: Option<u64>,
}

impl Waiting {
    /// Whether the response is to wait for the first frame of its body: while the client may wait for `100 Continue`,
    /// and the service, which still has the request's body, may read it.
    fn is_held_back(place: &SharedRequest) -> Result<bool> {
        if !place.is_shared() {
            return Ok(false);
        }
        place.with(|held| Ok(held.request_mut().ok_or(Error::GONE)?.awaits_continue()))
    }
}

/// What has to be known of the request.
#[derive(Clone, Copy)]
struct Asked {
    is_head: bool,
    is_http10: bool,
}

impl<B: Body> Answer<B> {
    /// Begins with a response. `None`: that was all of it.
    pub(super) fn begin(place: &SharedRequest, response: http::Response<B>) -> Result<Option<Self>> {
        let asked = place.with(|held| {
            let request = held.request_mut().ok_or(Error::GONE)?;
            let is_http10 = request.version() == crate::Version::Http10;
            Ok::<_, Error>(Asked { is_head: request.method() == crate::Method::Head, is_http10 })
        })?;
        let (parts, body) = response.into_parts();
        let exact = body.size_hint().exact();
        let promised = promised_length(&parts.headers)?;
        let names_trailers = parts.headers.contains_key(TRAILER) && !asked.is_http10;
        let length = promised.or(exact).filter(|_| !names_trailers);
        // Reset Content has none either (RFC 9110 section 15.3.6).
        if asked.is_head || !body_allowed(parts.status.as_u16()) || parts.status == StatusCode::RESET_CONTENT {
            foreign::drop_guarded(body);
            // Without a length beside it, an empty body may be one that the service has left out.
            let is_left_out = promised.is_none() && exact == Some(0);
            give_head(place, &parts, asked, length.filter(|_| !is_left_out), is_left_out)?;
            return Ok(None);
        }
        if let (Some(promised), Some(exact)) = (promised, exact)
            && promised != exact
        {
            let text = format!("the service's Content-Length is {promised}, but its body has {exact} bytes");
            return Err(invalid(text));
        }
        if exact == Some(0) {
            respond(place, head_of(&parts))?;
            return Ok(None);
        }
        let in_chunks = length.is_none() && !asked.is_http10;
        let waiting = Some(Box::new(Waiting { parts, length }));
        Ok(Some(Self { body: Box::pin(body), waiting, in_chunks }))
    }

    pub(super) fn poll(&mut self, place: &SharedRequest, context: &mut Context<'_>) -> Poll<Given<(), B::Error>> {
        if let Some(waiting) = &mut self.waiting {
            let first = self.body.as_mut().poll_frame(context);
            if first.is_pending() && Waiting::is_held_back(place)? {
                return Poll::Pending;
            }
            let is_over = match waiting.length {
                Some(length) => begin_with(place, &waiting.parts, length, first)?,
                None => begin_in_pieces(place, &waiting.parts, first, self.in_chunks)?,
            };
            if is_over {
                return Poll::Ready(Ok(()));
            }
            self.waiting = None;
        }
        for _ in 0..IN_A_ROW {
            match self.poll_chunk(place, context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(cut)) => return Poll::Ready(Err(cut)),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives one frame. `false`: that was the end.
    fn poll_chunk(&mut self, place: &SharedRequest, context: &mut Context<'_>) -> Poll<Given<bool, B::Error>> {
        let room = place.poll(By::Answerer, context, |held, context| match held.stream_mut() {
            Some(stream) => stream.poll_ready(context),
            None => Poll::Ready(Err(Error::GONE)),
        });
        match room {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) => {}
        }
        let Poll::Ready(frame) = self.body.as_mut().poll_frame(context) else { return Poll::Pending };
        let frame = frame.transpose().map_err(SendError::Body)?;
        Poll::Ready(give(place, frame, self.in_chunks).map_err(SendError::Engine))
    }
}

/// Gives a frame, for which there is room. `false`: that was the end.
fn give<D: Buf>(place: &SharedRequest, frame: Option<Frame<D>>, in_chunks: bool) -> Result<bool> {
    match frame.map(Frame::into_data) {
        None => finish(place, None).map(|()| false),
        Some(Ok(data)) => send(place, into_bytes(data)).map(|()| true),
        Some(Err(frame)) => {
            let trailers = frame.into_trailers().ok().filter(|_| in_chunks);
            finish(place, trailers).map(|()| false)
        }
    }
}

/// Begins with the response of a body of an unknown length, after a first look at the body. `true`: that was all of it.
fn begin_in_pieces<D: Buf, E>(
    place: &SharedRequest,
    parts: &Parts,
    first: Poll<Option<core::result::Result<Frame<D>, E>>>,
    in_chunks: bool,
) -> Given<bool, E> {
    let first = match first {
        Poll::Pending => None,
        Poll::Ready(first) => Some(first.transpose().map_err(SendError::Body)?),
    };
    start(place, head_of(parts))?;
    match first {
        None => Ok(false),
        Some(first) => Ok(!give(place, first, in_chunks)?),
    }
}

/// Begins with the response of a body of a known length, after a first look at the body. `true`: that was all of it.
fn begin_with<D: Buf, E>(
    place: &SharedRequest,
    parts: &Parts,
    length: u64,
    first: Poll<Option<core::result::Result<Frame<D>, E>>>,
) -> Given<bool, E> {
    let first = match first {
        Poll::Pending => None,
        Poll::Ready(None) => Some(Bytes::new()),
        // Trailers: the body is over.
        Poll::Ready(Some(Ok(frame))) => Some(frame.into_data().map_or_else(|_| Bytes::new(), into_bytes)),
        Poll::Ready(Some(Err(error))) => return Err(SendError::Body(error)),
    };
    match first {
        Some(bytes) if bytes.len() as u64 == length && length <= WHOLE_BYTES_MAX => {
            respond(place, head_of(parts).body(bytes))?;
            return Ok(true);
        }
        first => {
            start(place, head_of(parts).content_length(length))?;
            send(place, first.unwrap_or_default())?;
        }
    }
    Ok(false)
}

fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

/// Gives a response that has no body; to HEAD, with the framing of the response to GET as far as it is known.
fn give_head(place: &SharedRequest, parts: &Parts, asked: Asked, length: Option<u64>, is_left_out: bool) -> Result<()> {
    match length {
        // The length of what has not been modified (RFC 9110 section 8.6).
        Some(length @ 1..) if parts.status == StatusCode::NOT_MODIFIED => {
            respond(place, head_of(parts).content_length(length))
        }
        _ if !asked.is_head || !body_allowed(parts.status.as_u16()) => respond(place, head_of(parts)),
        Some(length) => respond(place, head_of(parts).content_length(length)),
        // Of unknown length, as the response to GET would be, or left out: nothing is said (RFC 9110 section 8.6).
        None => {
            let head = head_of(parts);
            start(place, if is_left_out { head.unframed() } else { head })?;
            finish(place, None)
        }
    }
}

/// What the engine is to send of a service's head.
pub(super) fn head_of(parts: &Parts) -> Response<'_> {
    let mut response = Response::new(parts.status.as_u16());
    #[cfg(feature = "axum")]
    if let Some(reason) = parts.extensions.get::<hyper::ext::ReasonPhrase>()
        && let Ok(reason) = core::str::from_utf8(reason.as_bytes())
    {
        response = response.reason(reason);
    }
    for (name, value) in &parts.headers {
        if *name == CONNECTION {
            if says_close(value) {
                response = response.close();
            }
        } else if !is_engines(name) {
            response = response.header(name.as_str(), value);
        }
    }
    response
}

/// Whether a field is the engine's or the connection's.
fn is_engines(name: &HeaderName) -> bool {
    let engines = [CONTENT_LENGTH, DATE, TRANSFER_ENCODING];
    engines.contains(name) || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

fn says_close(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// What the service has said of its body's length.
fn promised_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = lengths.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(length) if lengths.all(|other| other == value) => Ok(Some(length)),
        _ => Err(invalid(format!("the service's Content-Length {value:?} is not one number"))),
    }
}

/// Answers the request in a place whole.
fn respond(place: &SharedRequest, response: Response<'_>) -> Result<()> {
    match place.with(Held::take) {
        Held::Request(request) => request.respond(response).map_err(without_request),
        Held::Nothing | Held::Stream(_) => Err(Error::GONE),
    }
}

/// Begins the response to the request in a place. Under its lock: whoever reads the request finds it before and after.
fn start(place: &SharedRequest, response: Response<'_>) -> Result<()> {
    place.with(|held| {
        let Held::Request(request) = held.take() else { return Err(Error::GONE) };
        *held = Held::Stream(request.start(response).map_err(without_request)?);
        Ok(())
    })
}

/// An error that does not hold its request any more: it is answered with 500 now, however long the failure is kept.
pub(super) fn without_request(mut error: Error) -> Error {
    drop(error.take_request());
    error
}

/// Sends a chunk, for which there is room.
fn send(place: &SharedRequest, chunk: Bytes) -> Result<()> {
    // The service's, if it is refused: to be dropped outside of the lock.
    let _kept = HeldBytes::from(chunk.clone());
    place.with(|held| match held.stream_mut().ok_or(Error::GONE)?.try_send(chunk) {
        Ok(()) => Ok(()),
        Err(TrySendError::Error(error)) => Err(error),
        Err(TrySendError::Full(_)) => unreachable!("there was room, and nobody else sends"),
    })
}

fn finish(place: &SharedRequest, trailers: Option<HeaderMap>) -> Result<()> {
    let Held::Stream(stream) = place.with(Held::take) else { return Err(Error::GONE) };
    let Some(trailers) = trailers else { return stream.finish().map(drop) };
    let fields = trailers.iter().map(|(name, value)| match core::str::from_utf8(value.as_bytes()) {
        Ok(value) => Ok((name.as_str(), value)),
        Err(_) => Err(invalid(format!("the value of the trailer field {name} is not UTF-8"))),
    });
    let fields: Vec<(&str, &str)> = fields.collect::<Result<_>>()?;
    stream.finish_with_trailers(&fields).map(drop)
}
