//! The side of a pipe that is written to.

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::request::Request;
use crate::api::response::Body;
use crate::api::stream::{Completion, TrySendError, into_io, is_undriven, undriven};
use crate::api::wait::block_on;
use crate::config::WRITE_BYTES;
use crate::error::{Error, Result};
use crate::foreign;
use crate::queue::{Signals, notify_deferred};
use crate::stream::{Data, OutStream, Piece};

/// What goes out on a connection that has switched protocols: see [`Upgraded`](crate::Upgraded).
///
/// Small pieces are best given by [`write`](std::io::Write::write), which collects up to 16 KiB until they are
/// [flushed](Self::flush); other chunks are handed over at once, borrowed ones as a copy, [`Bytes`] and files as they
/// are.
///
/// Dropping it before [`finish`](Self::finish) resets the connection.
#[must_use = "a connection whose writer is dropped unfinished is reset"]
pub struct UpgradedWriter {
    request: Arc<Request>,
    stream: Arc<OutStream>,
    /// What `write` has collected; it is part of what was given.
    written: Vec<u8>,
    /// Finished or cut.
    is_over: bool,
}

impl fmt::Debug for UpgradedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradedWriter")
            .field("request", &self.request)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl UpgradedWriter {
    pub(super) fn new(request: Arc<Request>, stream: Arc<OutStream>) -> Self {
        Self { request, stream, written: Vec::new(), is_over: false }
    }

    /// The request that was upgraded.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Gives a chunk; waits while the group's [`send_credit`](crate::Properties::send_credit) is under way. An empty
    /// chunk gives what [`write`](std::io::Write::write) has collected, and nothing else.
    ///
    /// On a thread that is attached to a shard, waiting drives the shard.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the connection is gone, or after [`finish`](Self::finish).
    pub fn send<'a>(&mut self, chunk: impl Into<Body<'a>>) -> Result<()> {
        match self.try_send(chunk) {
            Ok(()) => Ok(()),
            Err(TrySendError::Error(error)) => Err(error),
            Err(TrySendError::Full(chunk)) => block_on(self.send_async(chunk)),
        }
    }

    /// As [`send`](Self::send), as a future. Dropped before it is ready it has sent nothing.
    ///
    /// On a thread attached to a shard, wait for it with [`block_on`](crate::block_on), which drives the shard;
    /// anywhere else it fails there with [`Unsupported`](crate::ErrorKind::Unsupported) where it would have to wait.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async<'a>(&mut self, chunk: impl Into<Body<'a>>) -> Result<()> {
        let mut chunk = Some(chunk.into());
        poll_fn(|context| self.poll_send(context, &mut chunk)).await
    }

    /// Gives a chunk, if it need not wait. On a thread that is attached to a shard, room comes only while something
    /// drives it: a call of `receive`, or [`block_on`](crate::block_on).
    ///
    /// # Errors
    /// [`TrySendError::Full`] with the chunk; else as [`send`](Self::send).
    pub fn try_send<'a>(&mut self, chunk: impl Into<Body<'a>>) -> core::result::Result<(), TrySendError<'a>> {
        let chunk = chunk.into();
        let open = self.check_open();
        if open.is_err() || chunk.len() == 0 && self.written.is_empty() {
            foreign::drop_guarded(chunk);
            return open.map_err(TrySendError::Error);
        }
        if !self.stream.has_room() {
            return Err(TrySendError::Full(chunk));
        }
        self.push_written();
        if chunk.len() > 0 {
            self.stream.push(Piece::Content(chunk.into_data()));
        }
        self.tell();
        Ok(())
    }

    /// One attempt at a chunk, and another one when there is room.
    fn poll_send(&mut self, context: &mut Context<'_>, chunk: &mut Option<Body<'_>>) -> Poll<Result<()>> {
        if let Some(done) = self.attempt(chunk) {
            return Poll::Ready(done);
        }
        if is_undriven(self.request.lease().engine()) {
            return Poll::Ready(Err(undriven("sending")));
        }
        notify_deferred();
        self.stream.await_room(context.waker());
        // The sleeper's second look.
        self.attempt(chunk).map_or(Poll::Pending, Poll::Ready)
    }

    /// `None`: there is no room.
    fn attempt(&mut self, chunk: &mut Option<Body<'_>>) -> Option<Result<()>> {
        match self.try_send(chunk.take()?) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Error(error)) => Some(Err(error)),
            Err(TrySendError::Full(again)) => {
                *chunk = Some(again);
                None
            }
        }
    }

    /// As [`write`](std::io::Write::write), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.written.len() >= WRITE_BYTES {
            ready!(self.poll_flush(context))?;
        }
        Poll::Ready(self.collect(bytes))
    }

    /// As [`flush`](Self::flush), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_send(context, &mut Some(Bytes::new().into()))
    }

    /// Gives what [`write`](std::io::Write::write) has collected, without waiting for a later chunk; waits as
    /// [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn flush(&mut self) -> Result<()> {
        self.send(Bytes::new())
    }

    /// Ends our side: the client sees its end behind all that was given (FIN). Does not wait until everything is sent:
    /// see [`Completion`]. The other side can be read on, and the connection ends when the client has ended it, too.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the connection is gone, or when it was finished before.
    pub fn finish(&mut self) -> Result<Completion> {
        self.check_open()?;
        self.push_written();
        self.is_over = true;
        self.stream.finish();
        self.tell();
        Ok(Completion::new(Arc::clone(&self.stream), self.request.lease().engine()))
    }

    /// Gives what was collected, before the socket is asked for.
    pub(super) fn give_written(&mut self) -> Result<()> {
        if self.stream.is_gone() {
            return Err(Error::GONE);
        }
        self.push_written();
        self.tell();
        Ok(())
    }

    /// The connection is another one's now.
    pub(super) fn release(&mut self) {
        self.is_over = true;
    }

    fn check_open(&self) -> Result<()> {
        if self.is_over || self.stream.is_gone() { Err(Error::GONE) } else { Ok(()) }
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<usize> {
        self.check_open()?;
        let count = bytes.len().min(WRITE_BYTES - self.written.len());
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn push_written(&mut self) {
        if !self.written.is_empty() {
            let written = core::mem::take(&mut self.written);
            self.stream.push(Piece::Content(Data::Bytes(Bytes::from(written).into())));
        }
    }

    fn tell(&self) {
        self.request.lease().tell(Signals::SEND);
    }
}

impl io::Write for UpgradedWriter {
    /// Collects up to 16 KiB, and waits as [`send`](UpgradedWriter::send) when there are more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len() >= WRITE_BYTES {
            io::Write::flush(self)?;
        }
        self.collect(bytes).map_err(into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self).map_err(into_io)
    }
}

impl Drop for UpgradedWriter {
    fn drop(&mut self) {
        if !self.is_over {
            self.is_over = true;
            self.stream.abort();
            self.tell();
        }
    }
}
