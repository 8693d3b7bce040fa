//! Connections that have switched protocols, as byte pipes or as sockets.
//!
//! Invariants: what is read is what came behind the request's head, to the client's end of its side; what is given is
//! sent in order, to our end; each side ends by itself; a pipe that is dropped before its write side is finished is
//! reset and counted; dropping a future loses and sends nothing, but for that of a hand-over, which ends the
//! connection.
//!
//! Not here: the protocols spoken; how long a silence may last, which is theirs to say.

mod reader;
mod writer;

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ringress_proto::header::{HeaderName, ResponseHeader};

use super::body::{Chunk, NextChunk, ReadBytes};
use super::completion::Completion;
use super::request::Request;
use super::response::{self, Body, Response};
use super::sender::{SendChunk, TrySendError};
use super::wait::{block_on, is_undriven, undriven};
use crate::config::SEND_PIECES_MAX;
use crate::error::{Error, Result};
use crate::queue::{Answered, HandOver, ResponseFlags, notify_deferred};
use crate::stream::OutStream;

pub use self::reader::UpgradedReader;
pub use self::writer::UpgradedWriter;

/// A connection that has switched protocols: see [`Request::upgrade`]. `Send`; what comes is read, what is given is
/// sent, as it is.
///
/// Reading is as from a [body](crate::RequestBody), writing as to a [stream](crate::ResponseStream), with the same
/// bounds: who does not read slows the client down, and sends wait for it. There is no timer on silence; a client that
/// has vanished is reset ([`keep_alive`](crate::Properties::keep_alive)), and so is one that does not take what is sent
/// ([`send_rate_min`](crate::Properties::send_rate_min)). When the engine is [shut down](crate::Engine::shutdown),
/// pipes have its grace, and are reset then.
///
/// Dropping it before [`finish`](Self::finish) resets the connection and counts it
/// ([`responses_truncated`](crate::Counters::responses_truncated)); after that, what the client still sends is thrown
/// away, and the connection ends.
#[derive(Debug)]
#[must_use = "a connection that is dropped unfinished is reset"]
pub struct Upgraded {
    reader: UpgradedReader,
    writer: UpgradedWriter,
}

impl Request {
    /// The protocols that the client would switch to, those it likes best first, each a name and perhaps `/` and a
    /// version (RFC 9110 section 7.8). Empty unless the request can be [upgraded](Self::upgrade): in HTTP/1.1, with an
    /// Upgrade field that its Connection field names, without a body, and without `Connection: close`.
    pub fn upgrade_protocols(&self) -> impl Iterator<Item = &str> {
        let head = self.record().head.asks_upgrade().then_some(&self.record().head);
        let protocols = head.into_iter().flat_map(|head| head.upgrade_protocols(self.lease.received()));
        protocols.filter_map(|protocol| core::str::from_utf8(protocol).ok())
    }

    /// Switches the connection to another protocol, of those that the client [asks for](Self::upgrade_protocols), by a
    /// [`Response::switching`] with whatever fields that protocol needs. From then on the connection is the
    /// application's, with all that has come behind the request.
    ///
    /// ```no_run
    /// # use ringress::{Request, Response, Result};
    /// fn echo(request: Request) -> Result<()> {
    ///     if !request.upgrade_protocols().any(|protocol| protocol.eq_ignore_ascii_case("echo")) {
    ///         return request.respond(Response::new(400).body("this speaks echo alone"));
    ///     }
    ///     let mut pipe = request.upgrade(Response::switching("echo"))?;
    ///     let mut buffer = [0; 4096];
    ///     loop {
    ///         match pipe.read(&mut buffer)? {
    ///             0 => break,
    ///             count => pipe.send(&buffer[..count])?,
    ///         }
    ///     }
    ///     pipe.finish()?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the request is over; [`Unsupported`](crate::ErrorKind::Unsupported) in
    /// HTTP/1.0; [`Invalid`](crate::ErrorKind::Invalid) when the request does not ask for an upgrade, or not for this
    /// one, and [`Invalid`](crate::ErrorKind::Invalid) or [`TooLarge`](crate::ErrorKind::TooLarge) for a response that
    /// cannot be sent. But for `Gone`, the error has the request, as that of [`respond`](Self::respond).
    pub fn upgrade(mut self, response: Response<'_>) -> Result<Upgraded> {
        let stream = OutStream::new(SEND_PIECES_MAX, u64::from(self.record().send_credit));
        let checked = check(&self, &response);
        self.tell_log(&response);
        let filled = checked
            .and_then(|()| self.lease.answer(|area| fill(&self, &response, area, &stream)).unwrap_or(Err(Error::GONE)));
        if let Err(error) = filled {
            return Err(error.holding(self));
        }
        // The head goes now, also within a batch: the client waits for it.
        notify_deferred();
        let place = self.lease.take_cursor();
        let request = Arc::new(self);
        let reader = UpgradedReader::new(Arc::clone(&request), place);
        Ok(Upgraded { reader, writer: UpgradedWriter::new(request, stream) })
    }
}

const SWITCHING_PROTOCOLS: u16 = 101;

/// Whether a request can be answered with a switch of protocols.
fn check(request: &Request, response: &Response<'_>) -> Result<()> {
    let record = request.record();
    if !response::has_informational(record) {
        let text = "an upgrade of a request in HTTP/1.0, which has none: answer it some other way";
        return Err(Error::unsupported(text));
    }
    if !response.is_bare_switch() {
        let text = "upgrade takes a response of status 101 with header fields alone: begin with Response::switching";
        return Err(Error::invalid(text));
    }
    if !record.head.asks_upgrade() {
        let text = "the request asks for no upgrade (an Upgrade field, named by Connection, without a body and without \
            close): see Request::upgrade_protocols";
        return Err(Error::invalid(text));
    }
    let mut named =
        response.fields().filter(|(name, _)| is_upgrade(*name)).flat_map(|(_, value)| value.split(is_comma));
    let (first, rest) = (named.next(), named);
    let Some(first) = first else {
        return Err(Error::invalid("the response names no protocol: begin with Response::switching"));
    };
    for protocol in core::iter::once(first).chain(rest).map(<[u8]>::trim_ascii) {
        if !request.upgrade_protocols().any(|asked| asked.as_bytes().eq_ignore_ascii_case(protocol)) {
            let asked: Vec<&str> = request.upgrade_protocols().collect();
            let (protocol, asked) = (String::from_utf8_lossy(protocol), asked.join(", "));
            let text =
                format!("the client did not ask for the protocol {protocol:?}, but for {asked:?}: switch to those");
            return Err(Error::invalid(text));
        }
    }
    Ok(())
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

fn is_upgrade(name: HeaderName<'_>) -> bool {
    match name {
        HeaderName::Known(known) => known == ResponseHeader::Upgrade,
        HeaderName::Custom(name) => name.eq_ignore_ascii_case("upgrade"),
    }
}

/// Writes the head of the response into a request's response area.
fn fill(request: &Request, response: &Response<'_>, area: &mut [u8], stream: &Arc<OutStream>) -> Result<Answered> {
    let (written, _) = response::alone(request.record(), &request.lease.facts().template, response, None, area)?;
    Ok(response::before((written, ResponseFlags::SWITCHES), SWITCHING_PROTOCOLS, stream, false))
}

impl Upgraded {
    /// The request that was upgraded: its head can be read, and its connection [watched](Request::on_disconnect).
    pub fn request(&self) -> &Request {
        self.writer.request()
    }

    /// The two sides, for two threads or tasks. A writer that is dropped unfinished resets the connection; a reader
    /// that is dropped has what comes thrown away from then on.
    pub fn split(self) -> (UpgradedReader, UpgradedWriter) {
        (self.reader, self.writer)
    }

    /// As [`UpgradedReader::read`].
    ///
    /// # Errors
    /// As [`UpgradedReader::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.reader.read(buffer)
    }

    /// As [`UpgradedReader::try_read`].
    ///
    /// # Errors
    /// As [`UpgradedReader::read`].
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.reader.try_read(buffer)
    }

    /// As [`UpgradedReader::read_async`].
    ///
    /// # Errors
    /// As [`UpgradedReader::read_async`].
    pub fn read_async<'f>(&'f mut self, buffer: &'f mut [u8]) -> ReadBytes<'f> {
        self.reader.read_async(buffer)
    }

    /// As [`UpgradedReader::poll_read`].
    ///
    /// # Errors
    /// As [`UpgradedReader::read_async`].
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        self.reader.poll_read(context, buffer)
    }

    /// As [`UpgradedReader::next_chunk`].
    ///
    /// # Errors
    /// As [`UpgradedReader::read`].
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>> {
        self.reader.next_chunk()
    }

    /// As [`UpgradedReader::next_chunk_async`].
    ///
    /// # Errors
    /// As [`UpgradedReader::read_async`].
    pub fn next_chunk_async(&mut self) -> NextChunk<'_> {
        self.reader.next_chunk_async()
    }

    /// As [`UpgradedWriter::send`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::send`].
    pub fn send<'a>(&mut self, chunk: impl Into<Body<'a>>) -> Result<()> {
        self.writer.send(chunk)
    }

    /// As [`UpgradedWriter::send_async`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::send`].
    pub fn send_async<'a>(&mut self, chunk: impl Into<Body<'a>>) -> SendChunk<'_, 'a> {
        self.writer.send_async(chunk)
    }

    /// As [`UpgradedWriter::try_send`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::try_send`].
    pub fn try_send<'a>(&mut self, chunk: impl Into<Body<'a>>) -> core::result::Result<(), TrySendError<'a>> {
        self.writer.try_send(chunk)
    }

    /// As [`UpgradedWriter::poll_write`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::send`].
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.writer.poll_write(context, bytes)
    }

    /// As [`UpgradedWriter::poll_flush`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::send`].
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.writer.poll_flush(context)
    }

    /// As [`UpgradedWriter::flush`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::send`].
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }

    /// As [`UpgradedWriter::finish`].
    ///
    /// # Errors
    /// As [`UpgradedWriter::finish`].
    pub fn finish(&mut self) -> Result<Completion> {
        self.writer.finish()
    }

    /// Takes the connection's socket out of the engine, and gives it with what had been received and not read. Waits
    /// until everything given is sent, and until no operation of the kernel's names the socket.
    ///
    /// The socket is as the engine accepted it: blocking, close-on-exec and without delay (TCP_NODELAY). From now on
    /// its end, its timers and its limits are the caller's. Who watches the connection is told
    /// [`Taken`](crate::Disconnected::Taken).
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the connection ends first.
    pub fn into_fd(self) -> Result<(OwnedFd, Bytes)> {
        block_on(self.into_fd_async())
    }

    /// As [`into_fd`](Self::into_fd), as a future. Dropped before it is ready, it ends the connection.
    ///
    /// On a thread attached to a shard, wait for it with [`block_on`](crate::block_on); anywhere else it fails there
    /// with [`Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// # Errors
    /// As [`into_fd`](Self::into_fd).
    pub fn into_fd_async(self) -> IntoFd {
        IntoFd { pipe: Some(self), asked: None }
    }
}

/// A socket to come; see [`Upgraded::into_fd_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct IntoFd {
    /// `None` once it is ready.
    pipe: Option<Upgraded>,
    /// `None` until it is asked for.
    asked: Option<HandOver>,
}

impl Future for IntoFd {
    type Output = Result<(OwnedFd, Bytes)>;

    /// # Panics
    /// When polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { pipe, asked } = &mut *self;
        let writer = &mut pipe.as_mut().expect("a future is polled no more after it was ready").writer;
        let asked = match asked {
            Some(asked) => asked,
            asked => asked.insert(writer.ask_for_socket()?),
        };
        let socket = match asked.poll(context) {
            Poll::Ready(socket) => socket.ok_or(Error::GONE),
            Poll::Pending if is_undriven(writer.request().lease().engine()) => Err(undriven("into_fd_async")),
            Poll::Pending => {
                notify_deferred();
                return Poll::Pending;
            }
        };
        let Upgraded { mut reader, mut writer } = pipe.take().expect("it is there, as above");
        Poll::Ready(socket.map(|socket| {
            writer.release();
            let mut received = BytesMut::new();
            reader.take_rest(&mut received);
            (socket, received.freeze())
        }))
    }
}

impl io::Read for Upgraded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.reader, buffer)
    }
}

impl io::Write for Upgraded {
    /// Collects up to 16 KiB, and waits as [`send`](Self::send) when there are more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.writer, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut self.writer)
    }
}
