//! The giving side of a stream, as responses in pieces and pipes have it: what is collected, what is handed over, how
//! its user waits for room, and its end.
//!
//! Invariants: what was collected goes before what is handed over; one that is dropped before its end gives the stream
//! up.
//!
//! Not here: how much may be given (`stream`), and what is told to the shard.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use bytes::Bytes;

use super::completion::Completion;
use super::response::Body;
use super::wait::{is_undriven, undriven};
use crate::config::WRITE_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::notify_deferred;
use crate::stream::{Data, OutStream, Piece};

/// Why a chunk was not sent. Converts to an [`Error`], without the chunk, for `?`.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrySendError<'a> {
    /// Too much is under way; here is the chunk again.
    Full(Body<'a>),
    /// As [`ResponseStream::send`](crate::ResponseStream::send).
    Error(Error),
}

impl From<TrySendError<'_>> for Error {
    fn from(refused: TrySendError<'_>) -> Self {
        match refused {
            TrySendError::Full(_) => Self::new(ErrorKind::Full, FULL),
            TrySendError::Error(error) => error,
        }
    }
}

impl fmt::Display for TrySendError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str(FULL),
            Self::Error(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TrySendError<'_> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Full(_) => None,
            Self::Error(error) => error.source(),
        }
    }
}

const FULL: &str = "as much of the body is under way as may be (send_credit): wait until there is room";

/// See the module's head.
#[derive(Debug)]
pub(super) struct Sender {
    stream: Arc<OutStream>,
    engine: u64,
    /// What was collected and not handed over.
    written: Vec<u8>,
    /// Finished or given up.
    is_over: bool,
}

impl Sender {
    pub(super) fn new(stream: Arc<OutStream>, engine: u64) -> Self {
        Self { stream, engine, written: Vec::new(), is_over: false }
    }

    /// Whether nothing more can be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.is_over || self.stream.is_gone()
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::GONE) } else { Ok(()) }
    }

    /// As [`check_open`](Self::check_open), also of what was finished.
    pub(super) fn check_reachable(&self) -> Result<()> {
        if self.stream.is_gone() { Err(Error::GONE) } else { Ok(()) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.stream.has_room()
    }

    /// Whether anything was collected.
    pub(super) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// How many of so many bytes can be collected now: none when that is full.
    pub(super) fn collects(&self, bytes: usize) -> usize {
        bytes.min(WRITE_BYTES - self.written.len())
    }

    /// Whether what was collected has to be handed over before more is.
    pub(super) fn is_full(&self) -> bool {
        self.written.len() >= WRITE_BYTES
    }

    /// Collects bytes, which [fit](Self::collects).
    pub(super) fn collect(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
    }

    /// Hands over what was collected.
    pub(super) fn push_written(&mut self) {
        if self.has_written() {
            let written = core::mem::take(&mut self.written);
            self.stream.push(Piece::Content(Data::Bytes(Bytes::from(written).into())));
        }
    }

    /// Hands over what was collected, and a chunk.
    pub(super) fn push(&mut self, chunk: Body<'_>) {
        self.push_written();
        if chunk.len() > 0 {
            self.stream.push(Piece::Content(chunk.into_data()));
        }
    }

    pub(super) fn push_trailers(&mut self, section: Bytes) {
        self.stream.push(Piece::Trailers(section.into()));
    }

    /// Everything is given.
    pub(super) fn finish(&mut self) -> Completion {
        self.push_written();
        self.is_over = true;
        self.stream.finish();
        Completion::new(Arc::clone(&self.stream), self.engine)
    }

    /// Gives the stream up. `false`: it was over.
    pub(super) fn abort(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        self.is_over = true;
        self.stream.abort();
        true
    }

    /// It is another one's from now on.
    pub(super) fn release(&mut self) {
        self.is_over = true;
    }

    /// Ready when nothing more can be sent. One task at a time.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_closed() {
            notify_deferred();
            self.stream.await_end(context.waker());
        }
        // The sleeper's second look.
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Who gives by a [`Sender`].
pub(super) trait Sends {
    fn sender(&self) -> &Sender;

    /// Gives a chunk, if it need not wait.
    fn offer<'a>(&mut self, chunk: Body<'a>) -> core::result::Result<(), TrySendError<'a>>;
}

/// One look, and another one when there is room. `look` gives `None` without any.
pub(super) fn poll_room<S: Sends + ?Sized>(
    this: &mut S,
    context: &mut Context<'_>,
    what: &str,
    mut look: impl FnMut(&mut S) -> Option<Result<()>>,
) -> Poll<Result<()>> {
    if let Some(found) = look(this) {
        return Poll::Ready(found);
    }
    if is_undriven(this.sender().engine) {
        return Poll::Ready(Err(undriven(what)));
    }
    notify_deferred();
    this.sender().stream.await_room(context.waker());
    // The sleeper's second look.
    look(this).map_or(Poll::Pending, Poll::Ready)
}

/// One attempt at a chunk, and another one when there is room.
pub(super) fn poll_send<S: Sends + ?Sized>(
    this: &mut S,
    context: &mut Context<'_>,
    what: &str,
    chunk: &mut Option<Body<'_>>,
) -> Poll<Result<()>> {
    poll_room(this, context, what, |this| match this.offer(chunk.take()?) {
        Ok(()) => Some(Ok(())),
        Err(TrySendError::Error(error)) => Some(Err(error)),
        Err(TrySendError::Full(again)) => {
            *chunk = Some(again);
            None
        }
    })
}

/// A chunk to be sent; see [`ResponseStream::send_async`](crate::ResponseStream::send_async) and
/// [`UpgradedWriter::send_async`](crate::UpgradedWriter::send_async).
#[must_use = "a future does nothing unless polled"]
pub struct SendChunk<'s, 'a> {
    by: &'s mut (dyn Sends + Send + Sync),
    chunk: Option<Body<'a>>,
}

impl<'s, 'a> SendChunk<'s, 'a> {
    pub(super) fn new(by: &'s mut (dyn Sends + Send + Sync), chunk: Body<'a>) -> Self {
        Self { by, chunk: Some(chunk) }
    }
}

impl fmt::Debug for SendChunk<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendChunk").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

impl Future for SendChunk<'_, '_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { by, chunk } = &mut *self;
        poll_send(&mut **by, context, "send_async", chunk)
    }
}
