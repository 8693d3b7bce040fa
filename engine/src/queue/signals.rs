//! What an application tells a shard about a request under way: that it has read of the body, waits for more of it, or
//! has something to send.
//!
//! A slot is in its exchange's list of signals at most once, however often it is told of: the bits say what about.
//! Invariants: bits are set before the slot is listed, and the slot is off the list before its bits are taken, so none
//! is lost; a slot that is freed while it is listed stays so, and what is found there then is of a later request or
//! nothing.
//!
//! Not here: what the signals mean (room `shard`).

use core::sync::atomic::{AtomicU32, Ordering};

use super::slot::SlotLink;

/// One thing to tell, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals(u32);

const LISTED: u32 = 1;

impl Signals {
    /// A streamed response has something to send, or has ended.
    pub(crate) const SEND: Self = Self(2);
    /// As much of the body has been read as the shard waits for, or all of it, or its reader wants more.
    pub(crate) const READ: Self = Self(4);
    /// Somebody waits for more of the body.
    pub(crate) const WANTED: Self = Self(8);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A slot's place in the list, and its signals.
#[derive(Debug, Default)]
pub(super) struct SlotSignals {
    bits: AtomicU32,
    pub(super) link: SlotLink,
}

impl SlotSignals {
    /// Adds signals. `true`: the caller puts the slot into the list.
    pub(super) fn add(&self, signals: Signals) -> bool {
        self.bits.fetch_or(signals.0 | LISTED, Ordering::AcqRel) & LISTED == 0
    }

    /// Takes what has been told; for the shard, after it has taken the slot off the list.
    pub(super) fn take(&self) -> Signals {
        Signals(self.bits.swap(0, Ordering::AcqRel) & !LISTED)
    }
}
