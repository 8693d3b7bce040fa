//! The number of a receive buffer, and tables that have an entry for each.
//!
//! Invariants: a [`BufferId`] names a buffer and gives no right to it, which those have alone who own one of the values
//! of `buffer`; a table of buffers is indexed by nothing else.
//!
//! Not here: who has a buffer (`receive`), and where it lies (`arena`).

use core::num::NonZeroU16;
use core::ops::{Index, IndexMut};

/// Which receive buffer of its shard, small ones first; "none" costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BufferId(NonZeroU16);

const _: () = assert!(size_of::<Option<BufferId>>() == size_of::<u16>());

impl BufferId {
    /// By its number, below 65,535: as the kernel names it in a completion.
    #[inline]
    pub(crate) fn new(number: u16) -> Self {
        Self(NonZeroU16::MIN.saturating_add(number))
    }

    #[inline]
    pub(crate) fn number(self) -> u16 {
        self.0.get() - 1
    }

    /// In an integer that threads share; 0 for none.
    pub(crate) fn bits(buffer: Option<Self>) -> u16 {
        buffer.map_or(0, |buffer| buffer.0.get())
    }

    /// What [`bits`](Self::bits) was given.
    pub(crate) fn of_bits(bits: u16) -> Option<Self> {
        NonZeroU16::new(bits).map(Self)
    }
}

/// A table with an entry for each receive buffer of a shard.
#[derive(Debug)]
pub(crate) struct BufferTable<T>(Vec<T>);

impl<T> BufferTable<T> {
    /// Of so many buffers, each with what is made for it.
    pub(crate) fn new(buffers: u32, entry: impl FnMut() -> T) -> Self {
        Self(core::iter::repeat_with(entry).take(buffers as usize).collect())
    }
}

impl<T> Index<BufferId> for BufferTable<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, buffer: BufferId) -> &T {
        &self.0[usize::from(buffer.number())]
    }
}

impl<T> IndexMut<BufferId> for BufferTable<T> {
    #[inline(always)]
    fn index_mut(&mut self, buffer: BufferId) -> &mut T {
        &mut self.0[usize::from(buffer.number())]
    }
}
