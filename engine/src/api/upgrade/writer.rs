//! The side of a pipe that is written to.
//!
//! Invariants: what was collected goes out before a later chunk; a writer that is dropped before it is finished resets
//! the connection; a future that is dropped before it is ready has sent nothing.
//!
//! Not here: collecting, and waiting for room (`sender`); the switch of protocols (`upgrade`); when bytes are sent
//! (room `shard`).

use core::fmt;
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::completion::Completion;
use crate::api::request::Request;
use crate::api::response::Body;
use crate::api::sender::{SendChunk, Sender, Sends, TrySendError, poll_send};
use crate::api::wait::block_on;
use crate::error::Result;
use crate::foreign;
use crate::queue::{Command, HandOver, Signals};
use crate::stream::OutStream;

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
    sender: Sender,
}

impl fmt::Debug for UpgradedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradedWriter")
            .field("request", &self.request)
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

impl UpgradedWriter {
    pub(super) fn new(request: Arc<Request>, stream: Arc<OutStream>) -> Self {
        let sender = Sender::new(stream, request.lease().engine());
        Self { request, sender }
    }

    /// The request that was upgraded.
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

    /// As [`write`](std::io::Write::write), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.sender.is_full() {
            ready!(self.poll_flush(context))?;
        }
        Poll::Ready(self.collect(bytes))
    }

    /// As [`flush`](Self::flush), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        poll_send(self, context, "poll_flush", &mut Some(Bytes::new().into()))
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
        self.sender.check_open()?;
        let completion = self.sender.finish();
        self.tell();
        Ok(completion)
    }

    /// Asks for the socket, behind what was collected.
    pub(super) fn ask_for_socket(&mut self) -> Result<HandOver> {
        self.sender.check_reachable()?;
        self.sender.push_written();
        self.tell();
        let (asked, taker) = HandOver::new();
        self.request.command(Command::HandOver(self.request.id(), taker));
        Ok(asked)
    }

    /// The connection is another one's now.
    pub(super) fn release(&mut self) {
        self.sender.release();
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<usize> {
        self.sender.check_open()?;
        let count = self.sender.collects(bytes.len());
        self.sender.collect(&bytes[..count]);
        Ok(count)
    }

    fn tell(&self) {
        self.request.lease().tell(Signals::SEND);
    }
}

impl io::Write for UpgradedWriter {
    /// Collects up to 16 KiB, and waits as [`send`](UpgradedWriter::send) when there are more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sender.is_full() {
            io::Write::flush(self)?;
        }
        self.collect(bytes).map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self).map_err(io::Error::from)
    }
}

impl Sends for UpgradedWriter {
    fn sender(&self) -> &Sender {
        &self.sender
    }

    fn offer<'a>(&mut self, chunk: Body<'a>) -> core::result::Result<(), TrySendError<'a>> {
        let open = self.sender.check_open();
        if open.is_err() || chunk.len() == 0 && !self.sender.has_written() {
            foreign::drop_guarded(chunk);
            return open.map_err(TrySendError::Error);
        }
        if !self.sender.has_room() {
            return Err(TrySendError::Full(chunk));
        }
        self.sender.push(chunk);
        self.tell();
        Ok(())
    }
}

impl Drop for UpgradedWriter {
    fn drop(&mut self) {
        if self.sender.abort() {
            self.tell();
        }
    }
}
