//! Answers given piece by piece.
//!
//! Invariants: what is given is sent in the order given; a sender waits while its `send_credit` of bytes is under way,
//! so a client that does not read stops it; a response that is not finished, or not of the length it said, is cut by a
//! reset and counted; when the client has gone, everything is `Gone`; dropping a future sends nothing.
//!
//! Not here: what became of a response (`completion`), and which bytes of it are sent when (room `shard`).

mod ending;

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ringress_proto::response::HeadTemplate;

use self::ending::trailers_of;
use super::body::RequestBody;
use super::completion::Completion;
use super::request::Request;
use super::response::{self, Body, Response, ResponseBodyLength};
use super::sender::{SendChunk, Sender, Sends, TrySendError, poll_room};
use super::wait;
use crate::config::SEND_PIECES_MAX;
use crate::error::{Error, Result};
use crate::foreign;
use crate::id::RequestId;
use crate::queue::{self, Command, Exchange, Signals, notify_deferred};
use crate::record::RequestRecord;
use crate::session::RequestQueue;
use crate::stream::OutStream;

/// How the body is framed, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    /// There is none: what is given is dropped.
    Discarded,
    /// So many bytes are still to be given.
    Length { left: u64, of: u64 },
    /// In chunks.
    Chunked,
    /// Up to the connection's end.
    Close,
}

/// A response under way, made by [`Request::start`] or [`RequestQueue::start`]. `Send`.
///
/// Dropping it before [`finish`](Self::finish) cuts the response: the connection is reset, and the response counted
/// ([`responses_truncated`](crate::Counters::responses_truncated)).
///
/// Small pieces are best given by [`write`](std::io::Write::write), which collects up to 16 KiB; other chunks are
/// handed over at once, borrowed ones as a copy, [`Bytes`] and files as they are.
///
/// That the client has left is an error of the next chunk. While you have none to send, keep an
/// [`on_half_close`](Request::on_half_close) of the [request](Self::request), made now or before the start, and ask for
/// its [`reason`](crate::Disconnect::reason).
#[must_use = "a response that is dropped unfinished is cut"]
pub struct ResponseStream {
    of: Answering,
    sender: Sender,
    remaining: Remaining,
}

/// What is answered, and the way to its shard.
#[derive(Debug)]
enum Answering {
    ByHandle(Request),
    ById(Arc<Exchange<RequestRecord>>, RequestId),
}

impl Answering {
    fn engine(&self) -> u64 {
        match self {
            Self::ByHandle(request) => request.lease().engine(),
            Self::ById(exchange, _) => exchange.engine(),
        }
    }

    fn tell(&self, signals: Signals) {
        match self {
            Self::ByHandle(request) => request.lease().tell(signals),
            Self::ById(exchange, id) => exchange.tell_by_id(*id, signals),
        }
    }
}

impl fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream")
            .field("of", &self.of)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Makes the stream, writes the head, and finds out how the body is framed.
fn begin(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &Response<'_>,
    area: &mut [u8],
    begun: &mut Option<(Arc<OutStream>, Remaining)>,
) -> Result<queue::Answered> {
    let stream = OutStream::new(SEND_PIECES_MAX, u64::from(record.send_credit));
    let (answered, framing) = response::fill_start(record, template, response, area, &stream)?;
    let remaining = match framing {
        _ if record.is_head() => Remaining::Discarded,
        None => Remaining::Discarded,
        Some(ResponseBodyLength::Length(length)) => Remaining::Length { left: length, of: length },
        Some(ResponseBodyLength::Chunked) => Remaining::Chunked,
        Some(ResponseBodyLength::Close) => Remaining::Close,
    };
    *begun = Some((stream, remaining));
    Ok(answered)
}

impl Request {
    /// Begins a response whose body is given piece by piece: its head is sent now.
    ///
    /// With [`content_length`](Response::content_length) the body has that many bytes; without, it is sent in chunks
    /// (HTTP/1.1) or ended by the connection's end (HTTP/1.0). Where there is no body (HEAD, 204, 304), what is given
    /// to the stream is dropped.
    ///
    /// Where the response is made of the request's body, read some of it first: `100 Continue` is sent only before a
    /// response has begun, and a client that waits for it (`Expect: 100-continue`) would never send its body.
    ///
    /// ```no_run
    /// # use ringress::{Request, Response, Result};
    /// fn count(request: Request) -> Result<()> {
    ///     let mut stream = request.start(Response::ok().content_type("text/plain"))?;
    ///     for number in 0..1_000_000 {
    ///         // Waits for a client that is slow to read.
    ///         stream.send(format!("{number}\n"))?;
    ///     }
    ///     stream.finish()?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`respond`](Self::respond); [`Invalid`](crate::ErrorKind::Invalid) also for a response with a body.
    pub fn start(self, response: Response<'_>) -> Result<ResponseStream> {
        ResponseStream::start(self, &response)
    }
}

impl RequestQueue {
    /// Begins a response whose body is given piece by piece by the request's id, from any thread: see
    /// [`Request::start`], and [`respond`](Self::respond) for ids. The handle, if somebody has it, still reads the
    /// request.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) as [`respond`](Self::respond); as [`Request::start`] for a response that cannot
    /// be sent: the request then stays open.
    pub fn start(&self, id: RequestId, response: Response<'_>) -> Result<ResponseStream> {
        let exchange = self.exchange_of(id).ok_or(Error::GONE)?;
        ResponseStream::start_by_id(exchange, id, &response)
    }
}

impl ResponseStream {
    fn start(request: Request, response: &Response<'_>) -> Result<Self> {
        let mut begun = None;
        let lease = request.lease();
        request.tell_log(response);
        let filled = lease.answer(|area| begin(lease.record(), &lease.facts().template, response, area, &mut begun));
        if let Err(error) = filled.unwrap_or(Err(Error::GONE)) {
            return Err(error.holding(request));
        }
        Self::begun(Answering::ByHandle(request), begun)
    }

    fn start_by_id(exchange: &Arc<Exchange<RequestRecord>>, id: RequestId, response: &Response<'_>) -> Result<Self> {
        let mut begun = None;
        let template = &exchange.facts().template;
        if let Some(text) = response.log_text() {
            exchange.command(Command::LogText(id, text.into()));
        }
        let filled = exchange.respond_by_id(id, |record, area| begin(record, template, response, area, &mut begun));
        filled.unwrap_or(Err(Error::GONE))?;
        Self::begun(Answering::ById(Arc::clone(exchange), id), begun)
    }

    fn begun(of: Answering, begun: Option<(Arc<OutStream>, Remaining)>) -> Result<Self> {
        // The head goes now, also within a batch: the rest may take its time.
        notify_deferred();
        let (stream, remaining) = begun.ok_or(Error::GONE)?;
        let sender = Sender::new(stream, of.engine());
        Ok(Self { of, sender, remaining })
    }

    /// The request that is being answered; it can be read until the stream is finished or dropped. `None` where the
    /// response was begun [by id](RequestQueue::start).
    pub fn request(&self) -> Option<&Request> {
        match &self.of {
            Answering::ByHandle(request) => Some(request),
            Answering::ById(..) => None,
        }
    }

    /// The reader of the request's body, which can be read while the response is given. `None` as for
    /// [`request`](Self::request).
    ///
    /// A [`Chunk`](crate::Chunk) of it borrows the stream, which can then not send: read into a buffer of your own.
    ///
    /// ```no_run
    /// # use ringress::{Request, Response, Result};
    /// fn upper(mut request: Request) -> Result<()> {
    ///     let mut buffer = vec![0; 16 * 1024];
    ///     // First, since a client that waits for `100 Continue` gets it only before the response has begun.
    ///     let mut count = request.body().read(&mut buffer)?;
    ///     let mut stream = request.start(Response::ok().content_type("text/plain"))?;
    ///     while count > 0 {
    ///         stream.send(buffer[..count].to_ascii_uppercase())?;
    ///         let Some(mut body) = stream.body() else { break };
    ///         count = body.read(&mut buffer)?;
    ///     }
    ///     stream.finish().map(drop)
    /// }
    /// ```
    pub fn body(&mut self) -> Option<RequestBody<'_>> {
        self.request_mut().map(Request::body)
    }

    /// Not for applications: with another request in its place, the shard would hear nothing of this stream any more.
    pub(crate) fn request_mut(&mut self) -> Option<&mut Request> {
        match &mut self.of {
            Answering::ByHandle(request) => Some(request),
            Answering::ById(..) => None,
        }
    }

    /// Gives a chunk of the body; waits while the group's [`send_credit`](crate::Properties::send_credit) is under way.
    /// An empty chunk gives what [`write`](std::io::Write::write) has collected, and nothing else.
    ///
    /// On a thread that is attached to a shard, waiting drives the shard.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the client has left, or after an error;
    /// [`Invalid`](crate::ErrorKind::Invalid) when the chunk passes the length given at the start: then the response is
    /// cut.
    pub fn send<'a>(&mut self, chunk: impl Into<Body<'a>>) -> Result<()> {
        match self.try_send(chunk) {
            Ok(()) => Ok(()),
            Err(TrySendError::Error(error)) => Err(error),
            Err(TrySendError::Full(chunk)) => wait::block_on(self.send_async(chunk)),
        }
    }

    /// As [`send`](Self::send), as a future, for any executor or none. Dropped before it is ready it has sent nothing,
    /// and nothing is lost but the chunk it owns: where that matters, [`ready_async`](Self::ready_async) waits first.
    ///
    /// On a thread attached to a shard, wait for it with [`block_on`](crate::block_on), which drives the shard;
    /// anywhere else it fails there with [`Unsupported`](crate::ErrorKind::Unsupported) where it would have to wait.
    pub fn send_async<'a>(&mut self, chunk: impl Into<Body<'a>>) -> SendChunk<'_, 'a> {
        SendChunk::new(self, chunk.into())
    }

    /// Gives a chunk, if it need not wait. On a thread that is attached to a shard, room comes only while something
    /// drives it: a call of `receive`, or [`block_on`](crate::block_on).
    ///
    /// # Errors
    /// [`TrySendError::Full`] with the chunk; else as [`send`](Self::send).
    pub fn try_send<'a>(&mut self, chunk: impl Into<Body<'a>>) -> core::result::Result<(), TrySendError<'a>> {
        self.offer(chunk.into())
    }

    /// Gives what [`write`](std::io::Write::write) has collected, without waiting for a later chunk; waits as
    /// [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn flush(&mut self) -> Result<()> {
        self.send(Bytes::new())
    }

    /// As [`flush`](Self::flush), as a future, under the conditions of [`send_async`](Self::send_async). Dropped before
    /// it is ready, it loses nothing.
    pub fn flush_async(&mut self) -> SendChunk<'_, 'static> {
        self.send_async(Bytes::new())
    }

    /// Waits until there is room: then the next [`try_send`](Self::try_send) takes its chunk. So nothing is lost where
    /// the future is dropped, and the chunk need not be made before it can be sent. Under the conditions of
    /// [`send_async`](Self::send_async).
    ///
    /// # Errors
    /// As [`poll_ready`](Self::poll_ready).
    pub fn ready_async(&mut self) -> StreamReady<'_> {
        StreamReady(self)
    }

    /// As [`ready_async`](Self::ready_async), for those who write futures by hand.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the client has left, or after an error;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) as for [`send_async`](Self::send_async).
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        poll_room(self, context, "ready_async", Self::look_for_room)
    }

    /// Ready when nothing more can be sent, because the client has left or the response was cut: for who waits for
    /// something else before there is a chunk to give. One task at a time; it is noticed at the next bytes that do not
    /// get through, or when the connection is reset.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.sender.poll_gone(context)
    }

    fn look_for_room(&mut self) -> Option<Result<()>> {
        match self.accept(0) {
            Ok(()) => (self.remaining == Remaining::Discarded || self.sender.has_room()).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Ends the body, and with it the response. Does not wait until everything is sent: see [`Completion`].
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the client has left, or after an error;
    /// [`Invalid`](crate::ErrorKind::Invalid) when the body is shorter than the length given at the start: then the
    /// response is cut.
    pub fn finish(mut self) -> Result<Completion> {
        self.finish_by(None)
    }

    /// As [`finish`](Self::finish), with trailer fields behind the body (RFC 9110 section 6.5). Only a body in chunks
    /// has them; a client that did not ask for them (`TE: trailers`) may drop them.
    ///
    /// # Errors
    /// As [`finish`](Self::finish); [`Invalid`](crate::ErrorKind::Invalid) also for a name or value that is not valid,
    /// for a field that is the engine's or must stand in the head (RFC 9110 section 6.5.1), and where the body is not
    /// sent in chunks; [`TooLarge`](crate::ErrorKind::TooLarge) beyond 16 KiB: then the response is cut.
    pub fn finish_with_trailers(mut self, trailers: &[(&str, &str)]) -> Result<Completion> {
        if let Remaining::Length { .. } | Remaining::Close = self.remaining {
            let why = match self.remaining {
                Remaining::Close => "the client speaks HTTP/1.0",
                _ => "the response has a content_length",
            };
            return Err(Error::invalid(format!("trailers follow only a body sent in chunks, but {why}: use finish")));
        }
        let section = trailers_of(trailers)?;
        self.finish_by(Some(section))
    }

    /// Ends the body; in chunks, with trailers if there are any.
    fn finish_by(&mut self, trailers: Option<Bytes>) -> Result<Completion> {
        self.accept(0)?;
        if let Remaining::Length { left: left @ 1.., of } = self.remaining {
            self.truncate();
            let given = of - left;
            let text = format!("content_length is {of}, but the body ended after {given} bytes: the response was cut");
            return Err(Error::invalid(text));
        }
        self.sender.push_written();
        if let (Remaining::Chunked, Some(trailers)) = (self.remaining, trailers) {
            self.sender.push_trailers(trailers);
        }
        let completion = self.sender.finish();
        self.tell();
        Ok(completion)
    }

    /// Whether so many bytes more are in order.
    fn accept(&mut self, bytes: u64) -> Result<()> {
        self.sender.check_open()?;
        match self.remaining {
            Remaining::Length { left, of } if bytes > left => {
                self.truncate();
                let given = (of - left).saturating_add(bytes);
                let text =
                    format!("content_length is {of}, but the body has {given} bytes or more: the response was cut");
                Err(Error::invalid(text))
            }
            _ => Ok(()),
        }
    }

    /// So many bytes more are given.
    fn count(&mut self, bytes: u64) {
        if let Remaining::Length { left, .. } = &mut self.remaining {
            *left -= bytes;
        }
    }

    fn tell(&self) {
        self.of.tell(Signals::SEND);
    }

    fn truncate(&mut self) {
        if self.sender.abort() {
            self.tell();
        }
    }
}

impl Sends for ResponseStream {
    fn sender(&self) -> &Sender {
        &self.sender
    }

    fn offer<'a>(&mut self, chunk: Body<'a>) -> core::result::Result<(), TrySendError<'a>> {
        let accepted = self.accept(chunk.len());
        let is_nothing = chunk.len() == 0 && !self.sender.has_written();
        if accepted.is_err() || is_nothing || self.remaining == Remaining::Discarded {
            foreign::drop_guarded(chunk);
            return accepted.map_err(TrySendError::Error);
        }
        if !self.sender.has_room() {
            return Err(TrySendError::Full(chunk));
        }
        self.count(chunk.len());
        self.sender.push(chunk);
        self.tell();
        Ok(())
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        self.truncate();
    }
}

impl io::Write for ResponseStream {
    /// Collects up to 16 KiB, and waits as [`send`](ResponseStream::send) when there are more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sender.is_full() {
            io::Write::flush(self)?;
        }
        let count = self.sender.collects(bytes.len());
        self.accept(count as u64).map_err(io::Error::from)?;
        if self.remaining != Remaining::Discarded {
            self.count(count as u64);
            self.sender.collect(&bytes[..count]);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self).map_err(io::Error::from)
    }
}

/// Room to come; see [`ResponseStream::ready_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct StreamReady<'s>(&'s mut ResponseStream);

impl Future for StreamReady<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(context)
    }
}
