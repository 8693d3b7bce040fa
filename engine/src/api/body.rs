//! The body of a request, read as it comes.
//!
//! Invariants: bytes are lent from the buffers that the kernel received them into, or copied once into the reader's;
//! what has been read makes room for more, so that a client is as fast as its reader; a body is read once; dropping a
//! future loses no byte: what it had collected is given back, and read again by whoever reads next.
//!
//! Not here: what the bytes mean; the futures (`body/reading.rs`).

mod reading;

use core::fmt;
use core::future::poll_fn;
use core::ops::Deref;
use core::task::{Context, Poll, Waker};
use std::io;

use bytes::{Buf, Bytes};
use ringress_proto::framing::BodyLength;
use ringress_proto::reject::Reject;
use ringress_proto::trailers::Trailers;

pub use self::reading::{FillBuffer, NextChunk, ReadBytes, ToBytes};
use super::request::Request;
use super::wait::{block_on, is_undriven, undriven};
use crate::error::{Error, ErrorKind, Result};
use crate::queue::BodyState;
use crate::record::{DISCARDED_BYTES_MAX, RequestRecord, UNTOLD};

/// What a look at a body finds.
pub(super) enum Available {
    Bytes,
    End,
    Nothing,
}

/// Received bytes on their way to their one reader: a body, or what comes on a connection that has switched protocols.
pub(super) trait BodySource {
    /// Looks for bytes.
    fn look(&mut self) -> Result<Available>;
    /// As [`look`](Self::look); with nothing there, the task is woken when there is.
    fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<Result<Available>> {
        match self.look() {
            Ok(Available::Nothing) => {}
            found => return Poll::Ready(found),
        }
        if let Err(error) = self.await_more(context.waker()) {
            return Poll::Ready(Err(error));
        }
        // The sleeper's second look.
        match self.look() {
            Ok(Available::Nothing) => Poll::Pending,
            found => Poll::Ready(found),
        }
    }

    /// Registers who waits for more, and asks for it where that has to be done.
    fn await_more(&mut self, waker: &Waker) -> Result<()>;
    /// The bytes that a look has found.
    fn found(&self) -> &[u8];
    /// So many of the bytes found have been read.
    fn consume(&mut self, bytes: usize);

    /// Copies what a look has found.
    fn copy(&mut self, buffer: &mut [u8]) -> usize {
        let found = self.found();
        let count = found.len().min(buffer.len());
        buffer[..count].copy_from_slice(&found[..count]);
        self.consume(count);
        count
    }

    /// Copies what is there; `None`: nothing yet, and 0: the end, or no room.
    fn try_copy(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        if buffer.is_empty() {
            return Ok(Some(0));
        }
        Ok(match self.look()? {
            Available::Nothing => None,
            Available::End => Some(0),
            Available::Bytes => Some(self.copy(buffer)),
        })
    }

    /// As [`try_copy`](Self::try_copy), once there is something.
    fn poll_copy(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_look(context).map(|found| {
            Ok(match found? {
                Available::Bytes => self.copy(buffer),
                Available::End | Available::Nothing => 0,
            })
        })
    }
}

impl Available {
    /// Lends what a look at this source has found.
    pub(super) fn lent_by(self, source: &mut (dyn BodySource + Send + Sync)) -> Option<Chunk<'_>> {
        match self {
            Self::Bytes => {
                let len = source.found().len();
                Some(Chunk { source, len })
            }
            Self::End | Self::Nothing => None,
        }
    }
}

/// The reader of a request's body: see [`Request::body`]. Bytes come decoded, without chunk framing, and once.
///
/// A client that asked for `100 Continue` gets it when somebody first waits for its body, and only before a response
/// has begun: one that insists on it sends nothing to who [starts](Request::start) first and reads then. While less is
/// read than comes, the engine holds no more than the request's credit, and the client is slowed down.
///
/// When the request has been answered, or its client is gone, reading gives [`Gone`](ErrorKind::Gone); when the body is
/// larger than its limit allows, [`TooLarge`](ErrorKind::TooLarge); when it was malformed, cut or too slow, `Gone` with
/// the reason. In the last two the engine has answered in the application's place, unless a response had begun: drop
/// that, which cuts it.
///
/// Blocking calls drive the shard on a thread that is attached to one, and sleep on others. On an attached thread, wait
/// for the futures with [`block_on`](crate::block_on), which drives the shard; anywhere else they fail there with
/// [`Unsupported`](ErrorKind::Unsupported) where they would have to wait, and lose no byte.
pub struct RequestBody<'r> {
    request: &'r mut Request,
}

impl fmt::Debug for RequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("id", &self.request.id()).finish_non_exhaustive()
    }
}

impl Request {
    /// The reader of the body. It keeps its place in the request: a later one goes on where this one stopped.
    pub fn body(&mut self) -> RequestBody<'_> {
        RequestBody { request: self }
    }

    /// The body, if all of it came with the head, or there is none: without waiting and without copying, also after it
    /// has been read. `None`: it has to be [read](Self::body).
    #[inline]
    #[must_use]
    pub fn whole_body(&self) -> Option<&[u8]> {
        let whole = !self.record().body_open
            || (self.lease.body_arrived() == u64::from(self.record().body_len) && self.body_has_come());
        whole.then(|| self.body_with_head())
    }

    /// Bytes of the body, if that is known beforehand: 0 without a body, `None` in chunks.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        match self.record().head.body {
            BodyLength::None => Some(0),
            BodyLength::Length(length) => Some(length),
            BodyLength::Chunked => None,
        }
    }

    /// The fields of the trailer section behind a chunked body that has come to its end; fields that RFC 9110 section
    /// 6.5.1 forbids there are left out.
    #[must_use]
    pub fn trailers(&self) -> Trailers<'_> {
        let open = self.record().body_open;
        Trailers::new(if open { self.lease.trailers() } else { &[] })
    }

    /// Whether the rest of the body has come to its end, of one that did not come whole with the head.
    fn body_has_come(&self) -> bool {
        matches!(self.lease.body_state(), BodyState::Ended { .. })
    }

    /// Whether a response given now leaves so much of the body unread that the connection ends with it; a whole
    /// response says so.
    #[inline]
    pub(super) fn leaves_body(&self) -> bool {
        let record = self.record();
        record.body_open && {
            let reader = self.lease.reader();
            !reader.ended
                && Self::leaves_too_much(record, reader.asked, self.lease.body_arrived())
                && !self.body_has_come()
        }
    }

    // Without the request: lent to a call, it would be put together in memory for every response, and read back in
    // pieces that have not arrived there.
    #[cold]
    fn leaves_too_much(record: &RequestRecord, asked: bool, arrived: u64) -> bool {
        let missing = match record.head.body {
            BodyLength::Length(length) => length.saturating_sub(arrived),
            BodyLength::None | BodyLength::Chunked => 0,
        };
        // It has said that it would wait for `100 Continue`, and no byte of its body has come.
        let awaits_continue = record.head.expects_continue() && arrived == 0;
        (!asked && awaits_continue) || missing > u64::from(DISCARDED_BYTES_MAX)
    }

    /// Whether the client may be waiting for `100 Continue`: it has said that it would, and nothing of its body has
    /// come, not even its end.
    #[cfg(feature = "tower")]
    pub(crate) fn awaits_continue(&self) -> bool {
        let record = self.record();
        let none_has_come = self.lease.body_arrived() == 0 && !self.body_has_come();
        record.body_open && record.head.expects_continue() && none_has_come
    }

    /// What came of the body with the head.
    fn body_with_head(&self) -> &[u8] {
        let record = self.record();
        let (start, len) = (record.body_start as usize, record.body_len as usize);
        &self.lease.received()[start..start + len]
    }

    /// What came with the head and has not been read.
    fn prefix(&self) -> &[u8] {
        match self.body_with_head() {
            [] => &[],
            whole => &whole[self.lease.reader().prefix as usize..],
        }
    }

    /// Puts back what was read last, to be read again.
    #[cold]
    fn give_back(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.lease.reader_mut().taken -= bytes.len() as u64;
        let all = match self.given_back.take() {
            Some(behind) => Bytes::from([&bytes[..], &behind[..]].concat()),
            None => bytes,
        };
        self.given_back = Some(Box::new(all));
    }
}

impl BodySource for Request {
    fn found(&self) -> &[u8] {
        match (&self.given_back, self.prefix()) {
            (Some(bytes), _) => bytes,
            (None, []) => self.lease.body_bytes(),
            (None, prefix) => prefix,
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.lease.reader_mut().taken += bytes as u64;
        if let Some(back) = &mut self.given_back {
            back.advance(bytes);
            if back.is_empty() {
                self.given_back = None;
            }
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.prefix().is_empty() {
            self.lease.consume_body(bytes);
        } else if self.record().body_open {
            self.lease.consume_prefix(bytes);
        } else {
            self.lease.reader_mut().prefix += bytes;
        }
    }

    fn look(&mut self) -> Result<Available> {
        if self.given_back.is_some() || !self.prefix().is_empty() {
            return Ok(Available::Bytes);
        }
        if !self.record().body_open || self.lease.reader().ended {
            return Ok(Available::End);
        }
        // Asked for first: what was there when it was said is found now.
        let state = self.lease.body_state();
        if self.lease.next_body() {
            return Ok(Available::Bytes);
        }
        match state {
            BodyState::Open => Ok(Available::Nothing),
            BodyState::Ended { .. } => {
                self.lease.reader_mut().ended = true;
                self.lease.leave_body();
                Ok(Available::End)
            }
            BodyState::Failed(reason) => Err(failed(reason)),
        }
    }

    fn await_more(&mut self, waker: &Waker) -> Result<()> {
        if is_undriven(self.lease.engine()) {
            return Err(undriven("reading a body"));
        }
        self.lease.await_body(waker);
        if self.record().head.expects_continue() && !core::mem::replace(&mut self.lease.reader_mut().asked, true) {
            self.lease.ask_for_body();
        }
        Ok(())
    }
}

#[cold]
pub(super) fn failed(reason: u8) -> Error {
    let Some(reject) = Reject::ALL.get(usize::from(reason & !UNTOLD)) else { return Error::GONE };
    let said = match (reason & UNTOLD, reject.status()) {
        (0, status) => format!("Its client has been answered {status}"),
        (_, status) => {
            format!("A response had begun, so its client is not told {status}; the connection ends behind it")
        }
    };
    let (kind, what) = match reject {
        Reject::BodyTooLarge => {
            (ErrorKind::TooLarge, "the request's body is larger than it may be (request_body_max).".to_owned())
        }
        reject => (ErrorKind::Gone, format!("the request is over: {}", reject.detail())),
    };
    Error::new(kind, format!("{what} {said}"))
}

impl<'r> RequestBody<'r> {
    pub(super) fn request(&self) -> &Request {
        self.request
    }

    /// Waits for bytes, and copies as many as there are and fit into `buffer`. 0: the body is at its end, or the buffer
    /// is empty.
    ///
    /// # Errors
    /// [`Gone`](ErrorKind::Gone), [`TooLarge`](ErrorKind::TooLarge): see [`RequestBody`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.try_read(buffer)? {
            Some(count) => Ok(count),
            None => block_on(self.read_async(buffer)),
        }
    }

    /// As [`read`](Self::read) without waiting; `None`: nothing is there yet.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.request.try_copy(buffer)
    }

    /// As [`read`](Self::read), as a future. Dropped before it is ready, it has read nothing.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Unsupported`](ErrorKind::Unsupported) where nobody drives the shard: see
    /// [`RequestBody`].
    pub fn read_async<'f>(&'f mut self, buffer: &'f mut [u8]) -> ReadBytes<'f> {
        ReadBytes::new(self.request, buffer)
    }

    /// As [`read_async`](Self::read_async), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        self.request.poll_copy(context, buffer)
    }

    /// Reads until `buffer` is full or the body at its end, and gives how many bytes that are.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        block_on(self.fill_async(buffer))
    }

    /// As [`fill`](Self::fill), as a future. Dropped before it is ready, or with an error, it has read nothing: what it
    /// had is read again by the next call, though the buffer may hold it.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn fill_async<'f>(&'f mut self, buffer: &'f mut [u8]) -> FillBuffer<'f> {
        FillBuffer::new(self.request, buffer)
    }

    /// Waits for bytes, and lends them from the buffer that they were received into. `None`: the body is at its end.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>> {
        let found = match self.request.look()? {
            Available::Nothing => block_on(poll_fn(|context| self.request.poll_look(context)))?,
            found => found,
        };
        Ok(found.lent_by(self.request))
    }

    /// As [`next_chunk`](Self::next_chunk), as a future. Dropped before it is ready, it has read nothing.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn next_chunk_async(&mut self) -> NextChunk<'_> {
        NextChunk::new(self.request)
    }

    /// As [`next_chunk_async`](Self::next_chunk_async), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Chunk<'_>>>> {
        match self.request.poll_look(context) {
            Poll::Ready(Ok(found)) => Poll::Ready(Ok(found.lent_by(self.request))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads what is left of the body into one piece of memory of its own, at most `limit` bytes.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) when it is longer, after which all of it can still be read; else as
    /// [`read`](Self::read).
    pub fn to_bytes(&mut self, limit: usize) -> Result<Bytes> {
        block_on(self.to_bytes_async(limit))
    }

    /// As [`to_bytes`](Self::to_bytes), as a future. Dropped before it is ready, or with an error, it has read nothing:
    /// what it had is read again by the next call.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes) and [`read_async`](Self::read_async).
    pub fn to_bytes_async(&mut self, limit: usize) -> ToBytes<'_> {
        ToBytes::new(self.request, limit)
    }
}

impl io::Read for RequestBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        RequestBody::read(self, buffer).map_err(io::Error::from)
    }
}

/// Bytes of a body, or of a connection that has switched protocols, lent from the buffer that they were received into.
/// They are read when this is dropped.
#[must_use = "the bytes of a chunk count as read when it is dropped"]
pub struct Chunk<'b> {
    source: &'b mut (dyn BodySource + Send + Sync),
    /// More may come behind them in the meantime.
    len: usize,
}

impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chunk").field(&self.len).finish()
    }
}

impl Deref for Chunk<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.source.found()[..self.len]
    }
}

impl Drop for Chunk<'_> {
    fn drop(&mut self) {
        self.source.consume(self.len);
    }
}
