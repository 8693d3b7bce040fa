//! Reads under way, as futures.
//!
//! Invariants: one that is dropped before it is ready, or that fails, has read nothing: what it had is given back, and
//! read again by whoever reads next. All are `Send`, and none needs to be pinned.
//!
//! Not here: what there is to read (`body`, `upgrade/reader.rs`).

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::{Available, BodySource, Chunk};
use crate::api::request::Request;
use crate::error::{Error, ErrorKind, Result};

/// What futures read from.
type Source<'f> = &'f mut (dyn BodySource + Send + Sync);

/// Bytes to come, to be copied: see [`RequestBody::read_async`](crate::RequestBody::read_async) and
/// [`UpgradedReader::read_async`](crate::UpgradedReader::read_async). Gives how many.
#[must_use = "a future does nothing unless polled"]
pub struct ReadBytes<'f> {
    source: Source<'f>,
    buffer: &'f mut [u8],
}

impl<'f> ReadBytes<'f> {
    pub(in crate::api) fn new(source: Source<'f>, buffer: &'f mut [u8]) -> Self {
        Self { source, buffer }
    }
}

impl fmt::Debug for ReadBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBytes").field("room", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Future for ReadBytes<'_> {
    type Output = Result<usize>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        let Self { source, buffer } = &mut *self;
        source.poll_copy(context, buffer)
    }
}

/// Bytes to come, to be lent: see [`RequestBody::next_chunk_async`](crate::RequestBody::next_chunk_async) and
/// [`UpgradedReader::next_chunk_async`](crate::UpgradedReader::next_chunk_async). `None`: there are no more.
#[must_use = "a future does nothing unless polled"]
pub struct NextChunk<'f>(Option<Source<'f>>);

impl<'f> NextChunk<'f> {
    pub(in crate::api) fn new(source: Source<'f>) -> Self {
        Self(Some(source))
    }
}

impl fmt::Debug for NextChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextChunk").finish_non_exhaustive()
    }
}

impl<'f> Future for NextChunk<'f> {
    type Output = Result<Option<Chunk<'f>>>;

    /// # Panics
    /// When polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let source = self.0.take().expect("a future is polled no more after it was ready");
        match source.poll_look(context) {
            Poll::Ready(found) => Poll::Ready(found.map(|found| found.lent_by(source))),
            Poll::Pending => {
                self.0 = Some(source);
                Poll::Pending
            }
        }
    }
}

/// A buffer to be filled: see [`RequestBody::fill_async`](crate::RequestBody::fill_async). Gives how many bytes there
/// were: fewer than it has room for at the end of the body.
#[must_use = "a future does nothing unless polled"]
pub struct FillBuffer<'f> {
    request: &'f mut Request,
    buffer: &'f mut [u8],
    filled: usize,
}

impl<'f> FillBuffer<'f> {
    pub(super) fn new(request: &'f mut Request, buffer: &'f mut [u8]) -> Self {
        Self { request, buffer, filled: 0 }
    }

    fn poll_all(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while self.filled < self.buffer.len() {
            match ready!(self.request.poll_copy(context, &mut self.buffer[self.filled..]))? {
                0 => break,
                count => self.filled += count,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn give_back(&mut self) {
        let read = &self.buffer[..core::mem::take(&mut self.filled)];
        self.request.give_back(Bytes::copy_from_slice(read));
    }
}

impl fmt::Debug for FillBuffer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FillBuffer").field("filled", &self.filled).finish_non_exhaustive()
    }
}

impl Future for FillBuffer<'_> {
    type Output = Result<usize>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        let filled = ready!(self.poll_all(context));
        if filled.is_err() {
            self.give_back();
        }
        Poll::Ready(filled.map(|()| core::mem::take(&mut self.filled)))
    }
}

impl Drop for FillBuffer<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// All that is left of a body, to be read into one piece of memory: see
/// [`RequestBody::to_bytes_async`](crate::RequestBody::to_bytes_async).
#[must_use = "a future does nothing unless polled"]
pub struct ToBytes<'f> {
    request: &'f mut Request,
    limit: usize,
    whole: BytesMut,
}

/// What is taken for a body before any of it has come: a client's word is no reason to take more.
const BEFOREHAND_BYTES: usize = 64 * 1024;

impl<'f> ToBytes<'f> {
    pub(super) fn new(request: &'f mut Request, limit: usize) -> Self {
        Self { request, limit, whole: BytesMut::new() }
    }

    /// Makes room for what is known to come.
    fn prepare(&mut self) -> Result<()> {
        let left = |length: u64| length.saturating_sub(self.request.lease.reader().taken);
        let known = usize::try_from(self.request.content_length().map_or(0, left)).unwrap_or(usize::MAX);
        if known > self.limit {
            return Err(self.too_large());
        }
        self.whole.reserve(known.min(BEFOREHAND_BYTES));
        Ok(())
    }

    fn poll_all(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.whole.is_empty() {
            self.prepare()?;
        }
        loop {
            match ready!(self.request.poll_look(context))? {
                Available::End | Available::Nothing => return Poll::Ready(Ok(())),
                Available::Bytes => {}
            }
            let found = self.request.found();
            if found.len() > self.limit - self.whole.len() {
                return Poll::Ready(Err(self.too_large()));
            }
            let count = found.len();
            self.whole.extend_from_slice(found);
            self.request.consume(count);
        }
    }

    #[cold]
    fn too_large(&self) -> Error {
        let limit = self.limit;
        let text = format!("the request's body is longer than the {limit} bytes asked for; give to_bytes more");
        Error::new(ErrorKind::TooLarge, text)
    }

    fn give_back(&mut self) {
        self.request.give_back(core::mem::take(&mut self.whole).freeze());
    }
}

impl fmt::Debug for ToBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToBytes").field("limit", &self.limit).field("read", &self.whole.len()).finish_non_exhaustive()
    }
}

impl Future for ToBytes<'_> {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Bytes>> {
        let read = ready!(self.poll_all(context));
        if read.is_err() {
            self.give_back();
        }
        Poll::Ready(read.map(|()| core::mem::take(&mut self.whole).freeze()))
    }
}

impl Drop for ToBytes<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}
