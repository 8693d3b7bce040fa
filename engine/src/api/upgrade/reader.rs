//! The side of a pipe that is read.
//!
//! Invariants: bytes are read once, in the order in which they came; what came before the connection was lost is read
//! before the loss is told; a future that is dropped before it is ready has read nothing.
//!
//! Not here: the switch of protocols and the hand-over of the socket (`upgrade`), and the side that is written to
//! (`writer`).

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::Arc;

use bytes::BytesMut;

use crate::api::body::{Available, BodySource, Chunk, NextChunk, ReadBytes, failed};
use crate::api::request::Request;
use crate::api::wait::{block_on, is_undriven, undriven};
use crate::error::Result;
use crate::queue::{BodyState, ReadCursor};

/// What comes on a connection that has switched protocols: see [`Upgraded`](crate::Upgraded). It is lent from the
/// buffers that it was received into, or copied once.
///
/// Dropped, what comes is thrown away from then on.
pub struct UpgradedReader {
    request: Arc<Request>,
    place: ReadCursor,
    ended: bool,
}

impl fmt::Debug for UpgradedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradedReader")
            .field("request", &self.request)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl BodySource for UpgradedReader {
    fn look(&mut self) -> Result<Available> {
        if self.ended {
            return Ok(Available::End);
        }
        // Asked for first: what was there when it was said is found now.
        let state = self.request.lease.body_state();
        if self.request.lease.next_at(&mut self.place) {
            return Ok(Available::Bytes);
        }
        match state {
            BodyState::Open => Ok(Available::Nothing),
            BodyState::Ended { .. } => {
                self.ended = true;
                self.request.lease.leave_at(&mut self.place);
                Ok(Available::End)
            }
            BodyState::Failed(reason) => Err(failed(reason)),
        }
    }

    fn await_more(&mut self, waker: &Waker) -> Result<()> {
        if is_undriven(self.request.lease.engine()) {
            return Err(undriven("reading"));
        }
        self.request.lease.await_body(waker);
        Ok(())
    }

    fn found(&self) -> &[u8] {
        self.request.lease.cursor_bytes(&self.place)
    }

    fn consume(&mut self, bytes: usize) {
        self.request.lease.consume_at(&mut self.place, u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

impl UpgradedReader {
    pub(super) fn new(request: Arc<Request>, place: ReadCursor) -> Self {
        Self { request, place, ended: false }
    }

    /// The request that was upgraded.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Waits for bytes, and copies as many as there are and fit into `buffer`. 0: the client has ended its side, or the
    /// buffer is empty.
    ///
    /// # Errors
    /// [`Gone`](crate::ErrorKind::Gone) when the connection is gone, after all that came before.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.try_copy(buffer)? {
            Some(count) => Ok(count),
            None => block_on(self.read_async(buffer)),
        }
    }

    /// As [`read`](Self::read) without waiting; `None`: nothing is there yet.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.try_copy(buffer)
    }

    /// As [`read`](Self::read), as a future. Dropped before it is ready, it has read nothing.
    ///
    /// On a thread attached to a shard, wait for it with [`block_on`](crate::block_on), which drives the shard.
    ///
    /// # Errors
    /// As [`read`](Self::read); anywhere else on such a thread [`Unsupported`](crate::ErrorKind::Unsupported), where it
    /// would have to wait.
    pub fn read_async<'f>(&'f mut self, buffer: &'f mut [u8]) -> ReadBytes<'f> {
        ReadBytes::new(self, buffer)
    }

    /// As [`read_async`](Self::read_async), for those who write futures by hand.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        self.poll_copy(context, buffer)
    }

    /// Waits for bytes, and lends them from the buffer that they were received into. `None`: the client has ended its
    /// side.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>> {
        let found = match self.look()? {
            Available::Nothing => block_on(poll_fn(|context| self.poll_look(context)))?,
            found => found,
        };
        Ok(found.lent_by(self))
    }

    /// As [`next_chunk`](Self::next_chunk), as a future. Dropped before it is ready, it has read nothing.
    ///
    /// # Errors
    /// As [`read_async`](Self::read_async).
    pub fn next_chunk_async(&mut self) -> NextChunk<'_> {
        NextChunk::new(self)
    }

    /// Takes all that is there, whatever becomes of the connection.
    pub(super) fn take_rest(&mut self, into: &mut BytesMut) {
        while !self.ended && self.request.lease.next_at(&mut self.place) {
            let len = self.found().len();
            into.extend_from_slice(self.found());
            self.consume(len);
        }
    }
}

impl io::Read for UpgradedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::read(self, buffer).map_err(io::Error::from)
    }
}

impl Drop for UpgradedReader {
    fn drop(&mut self) {
        self.request.lease.leave_at(&mut self.place);
    }
}
