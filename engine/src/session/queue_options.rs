//! What a request queue is told when it is made.
//!
//! Invariants: an option that is not given has its default; a length is from 1 to 1,048,576, when a queue is made as
//! later.
//!
//! Not here: the queue's handles (`request_queue`), and what is kept of it (`queues`).

use crate::error::{Error, Result};
use crate::policy::Verbosity;
use crate::queue::WaitStrategy;

/// What a request queue is told when it is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueOptions {
    /// The most requests that wait undelivered, 1 to 1,048,576; 1,000 by default. When it is full, the engine answers
    /// 503, except that a pipelined request waits for the responses before it. Changed live by
    /// [`RequestQueue::set_length`](crate::RequestQueue::set_length). What a queue takes in memory goes by
    /// [`requests_max`](crate::EngineBuilder::requests_max), not by its length.
    pub length: u32,
    /// How consumers wait while the queue is empty.
    pub wait: WaitStrategy,
    /// Whether it is measured how long the queue's requests take; not by default. Costs 15 KiB for each shard and each
    /// binding of a group to the queue, and a read of the clock for each batch of requests and of responses. See
    /// [`RequestQueue::latency`](crate::RequestQueue::latency).
    pub measured: bool,
    /// What clients are told when the engine answers 503 in the queue's place; [`Verbosity::Bare`] by default. Changed
    /// live by [`RequestQueue::set_verbosity`](crate::RequestQueue::set_verbosity).
    pub verbosity: Verbosity,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { length: 1000, wait: WaitStrategy::Park, measured: false, verbosity: Verbosity::Bare }
    }
}

impl QueueOptions {
    /// With another [`length`](Self::length).
    #[must_use]
    pub const fn length(mut self, length: u32) -> Self {
        self.length = length;
        self
    }

    /// With another way to [`wait`](Self::wait).
    #[must_use]
    pub const fn wait(mut self, wait: WaitStrategy) -> Self {
        self.wait = wait;
        self
    }

    /// With another [`verbosity`](Self::verbosity).
    #[must_use]
    pub const fn verbosity(mut self, verbosity: Verbosity) -> Self {
        self.verbosity = verbosity;
        self
    }

    /// With another choice of [`measured`](Self::measured).
    #[must_use]
    pub const fn measured(mut self, measured: bool) -> Self {
        self.measured = measured;
        self
    }
}

/// The longest a queue can be.
const LENGTH_MAX: u32 = 1 << 20;

pub(super) fn check_length(name: &str, length: u32) -> Result<()> {
    if (1..=LENGTH_MAX).contains(&length) {
        return Ok(());
    }
    Err(Error::invalid(format!("the length of queue {name:?} is {length}, but must be from 1 to 1,048,576")))
}
