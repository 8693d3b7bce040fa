//! What is told beside an engine's own state: what does not change of it, and what its showing has counted.
//!
//! Invariants: plain data.
//!
//! Not here: who writes it (`answer`, `server`) and who tells it (`metrics`, `state`).

use std::time::Instant;

/// What does not change of an engine.
#[derive(Debug)]
pub(super) struct About {
    pub(super) version: &'static str,
    pub(super) driver: String,
    /// Why that is not io_uring.
    pub(super) refusal: Option<String>,
    pub(super) mode: &'static str,
    /// When it was shown first.
    pub(super) began: Instant,
}

/// What the thread that shows it has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    pub(super) accepted: u64,
    /// Connections that were closed for newer ones.
    pub(super) evicted: u64,
    pub(super) timed_out: u64,
    /// Requests answered 400 or above, but for 503.
    pub(super) refused: u64,
}
