//! What names a request queue to the shards of its engine.
//!
//! Invariants: a queue's place in their tables is another queue's when it has ended; its number no other queue of the
//! engine ever has.
//!
//! Not here: the ids that applications see (`records`).

use core::num::NonZeroU32;

/// A queue's place in the tables of its engine and its shards, where routes look for it; "none" costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuePlace(NonZeroU32);

impl QueuePlace {
    /// Counted from 0.
    pub(crate) fn new(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    /// Counted from 0.
    #[inline]
    pub(crate) fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }
}

/// What slots know their requests' queue by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueNumber(pub(crate) u32);
