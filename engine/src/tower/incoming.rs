//! A request as the crate `http` has it, and its body.
//!
//! Invariants: nothing is left out but Transfer-Encoding, since the body comes decoded; what `http` cannot hold is
//! refused with 400, never changed.
//!
//! Not here: locking (`shared`), sending the 400 (`handling`), and how bytes are received and decoded (rooms `api` and
//! `shard`).

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use http_body::{Body, Frame, SizeHint};

use super::invalid;
use super::shared::{By, SharedRequest};
use crate::api::Request;
use crate::error::{Error, Result};
use crate::id::{ConnectionId, RequestId};

/// What the engine knows of a request beside its head: an extension of each `http::Request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The request's id: to cancel it, for example.
    pub id: RequestId,
    /// The connection it came on: what
    /// [`RequestQueue::on_disconnect`](crate::RequestQueue::on_disconnect) takes.
    pub connection: ConnectionId,
    /// The client's address.
    pub peer_addr: SocketAddr,
    /// The address the client connected to.
    pub local_addr: SocketAddr,
    /// The context given with the URL prefix that matched.
    pub url_context: u64,
}

/// The body of a request: data as it comes, and its trailer fields, if any, in a frame of their own. Copied once, out
/// of the buffers that it was received into; not read ahead of who polls it.
///
/// Dropping it leaves the rest unread, which the engine skips, or ends the connection after the response. Once the
/// response is given whole, there is nothing more to read: [`Gone`](crate::ErrorKind::Gone); while it is streamed,
/// reading goes on.
pub struct IncomingBody {
    /// `None` once it is at its end.
    place: Option<SharedRequest>,
    /// Bytes to come, if that is known.
    left: Option<u64>,
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBody").field("left", &self.left).finish_non_exhaustive()
    }
}

/// One look at the body.
type Look = Option<Result<Frame<Bytes>>>;

fn poll_request(request: &mut Request, context: &mut Context<'_>) -> Poll<Look> {
    match request.body().poll_chunk(context) {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
        Poll::Ready(Ok(Some(chunk))) => return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&chunk))))),
        Poll::Ready(Ok(None)) => {}
    }
    let mut trailers = HeaderMap::new();
    for (name, value) in request.trailers() {
        match field(name, value) {
            Ok((name, value)) => drop(trailers.append(name, value)),
            Err(error) => return Poll::Ready(Some(Err(error))),
        }
    }
    Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Look> {
        let Some(place) = &self.place else { return Poll::Ready(None) };
        let look = place.poll(By::Reader, context, |held, context| match held.request_mut() {
            Some(request) => poll_request(request, context),
            None => Poll::Ready(Some(Err(Error::GONE))),
        });
        let Poll::Ready(found) = look else { return Poll::Pending };
        match found.as_ref().and_then(|found| found.as_ref().ok()).and_then(Frame::data_ref) {
            Some(data) => self.left = self.left.map(|left| left.saturating_sub(data.len() as u64)),
            // The end, trailers or an error: nothing comes behind them.
            None => self.place = None,
        }
        Poll::Ready(found)
    }

    fn is_end_stream(&self) -> bool {
        self.place.is_none() || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match (self.left, &self.place) {
            (_, None) => SizeHint::with_exact(0),
            (Some(left), Some(_)) => SizeHint::with_exact(left),
            (None, Some(_)) => SizeHint::new(),
        }
    }
}

fn field(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue)> {
    let refused = |what| invalid(format!("the {what} of the field {} is not valid", String::from_utf8_lossy(name)));
    let known = HeaderName::from_bytes(name).map_err(|_| refused("name"))?;
    Ok((known, HeaderValue::from_bytes(value).map_err(|_| refused("value"))?))
}

/// The head of a request, with its body in a place.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for what `http` cannot hold, though the engine takes it: a target with bytes
/// that are not of URIs, for example.
pub(super) fn convert(request: &Request, place: SharedRequest) -> Result<http::Request<IncomingBody>> {
    let left = request.content_length();
    let place = (left != Some(0)).then_some(place);
    let mut converted = http::Request::new(IncomingBody { place, left });
    let target = request.raw_url();
    *converted.method_mut() = Method::from_bytes(request.method_name())
        .map_err(|_| invalid(format!("the method {} is not valid", String::from_utf8_lossy(request.method_name()))))?;
    *converted.uri_mut() = Uri::try_from(target)
        .map_err(|_| invalid(format!("the target {} is not a URI", String::from_utf8_lossy(target))))?;
    *converted.version_mut() = match request.version() {
        crate::Version::Http10 => Version::HTTP_10,
        // There is no other: `api/response/text.rs` would not compile.
        _ => Version::HTTP_11,
    };
    for (name, value) in request.headers() {
        let (name, value) = field(name, value)?;
        converted.headers_mut().append(name, value);
    }
    converted.extensions_mut().insert(RequestInfo {
        id: request.id(),
        connection: request.connection_id(),
        peer_addr: request.peer_addr(),
        local_addr: request.local_addr(),
        url_context: request.url_context(),
    });
    #[cfg(feature = "axum")]
    converted.extensions_mut().insert(::axum::extract::ConnectInfo(request.peer_addr()));
    Ok(converted)
}
