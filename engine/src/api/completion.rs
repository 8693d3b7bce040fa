//! What became of a response.
//!
//! Invariants: it is ready once, when the response is handed to the socket whole or never will be; dropping it changes
//! nothing.
//!
//! Not here: how the response is given (`request`, `stream`), and what is sent of it when (room `shard`).

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use super::wait::{self, is_undriven, undriven};
use crate::error::Result;
use crate::queue::notify_deferred;
use crate::stream::OutStream;

/// What was handed to the socket of a response. The client need not have read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Bytes of the body, without framing.
    pub bytes: u64,
    /// The whole response. `false`, of a response that is over: the client left first, or the response was cut.
    pub complete: bool,
}

/// What becomes of a response: a future, or waited for by [`wait`](Self::wait). Dropping it changes nothing.
#[derive(Debug)]
pub struct Completion {
    stream: Arc<OutStream>,
    engine: u64,
}

impl Completion {
    pub(super) fn new(stream: Arc<OutStream>, engine: u64) -> Self {
        Self { stream, engine }
    }

    /// Waits until the response is handed to the socket whole, or never will be. On a thread that is attached to a
    /// shard, this drives the shard.
    ///
    /// # Errors
    /// None so far; a client that left is no error: [`Sent::complete`].
    pub fn wait(self) -> Result<Sent> {
        wait::block_on(self)
    }

    /// What is handed to the socket so far: a moment's view.
    #[must_use]
    pub fn sent(&self) -> Sent {
        // In this order: what is complete has its last figure.
        let complete = self.stream.is_complete();
        Sent { bytes: self.stream.sent(), complete }
    }

    fn look(&self) -> Option<Sent> {
        (self.stream.is_complete() || self.stream.is_gone()).then(|| self.sent())
    }
}

impl Future for Completion {
    type Output = Result<Sent>;

    /// On a thread that is attached to a shard, wait for it with [`block_on`](crate::block_on); anywhere else it fails
    /// there with [`Unsupported`](crate::ErrorKind::Unsupported).
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Sent>> {
        if let Some(sent) = self.look() {
            return Poll::Ready(Ok(sent));
        }
        if is_undriven(self.engine) {
            return Poll::Ready(Err(undriven("a Completion")));
        }
        notify_deferred();
        self.stream.await_end(context.waker());
        self.look().map_or(Poll::Pending, |sent| Poll::Ready(Ok(sent)))
    }
}
