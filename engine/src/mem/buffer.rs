//! Who may touch a receive buffer.
//!
//! Invariants: who may touch a buffer has a value that moves and that nobody else can make: [`Spare`] on its way to the
//! kernel, [`Filled`] on its way back, [`Share`] for each of its users.
//!
//! Not here: which buffers there are, and who has them (`receive`); their numbers (`buffer_id`); where they lie
//! (`arena`).

use core::marker::PhantomData;

use super::buffer_id::BufferId;

/// Which receives the kernel has a buffer for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Group {
    /// A small one: for all that is short, or may be.
    #[default]
    Small,
    /// A large one: for bodies.
    Large,
    /// A large one that is kept back: for bodies whose readers wait.
    Reserved,
    /// A small one that is kept back: for clients that have few.
    ReservedSmall,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Small, Self::Large, Self::Reserved, Self::ReservedSmall];

    pub(crate) fn is_small(self) -> bool {
        matches!(self, Self::Small | Self::ReservedSmall)
    }
}

/// A buffer that nobody uses, on its way to the kernel.
#[derive(Debug)]
#[must_use = "a spare buffer that is dropped is lost"]
pub(crate) struct Spare(pub(super) BufferId, pub(super) Group);

impl Spare {
    #[inline]
    pub(crate) fn buffer(&self) -> BufferId {
        self.0
    }

    /// For which receives it is.
    #[inline]
    pub(crate) fn group(&self) -> Group {
        self.1
    }
}

/// A buffer that the kernel has filled and given back.
#[derive(Debug)]
#[must_use = "a filled buffer that is dropped is lost"]
pub(crate) struct Filled(pub(super) BufferId);

impl Filled {
    /// For who reads the kernel's completions.
    ///
    /// # Safety
    /// 1. The kernel (or who stands in for it) had the buffer, has given it back with the completion at hand, and
    ///    touches it no more.
    #[inline]
    pub(crate) unsafe fn new(buffer: BufferId) -> Self {
        Self(buffer)
    }

    /// For the benchmark of an account without a kernel and without memory.
    #[cfg(feature = "bench-door")]
    pub(crate) fn pretended(buffer: BufferId) -> Self {
        Self(buffer)
    }

    #[inline]
    pub(crate) fn buffer(&self) -> BufferId {
        self.0
    }
}

/// One user's share of a buffer in use: while there is one, neither the kernel nor another request gets the buffer.
///
/// Made by [`ReceiveBuffers`](super::ReceiveBuffers) alone, moved from owner to owner, and given back to it. One that
/// is dropped instead keeps its buffer in use for ever, which harms nobody but the pool.
#[derive(Debug)]
#[must_use = "a share that is dropped keeps its buffer in use"]
pub(crate) struct Share(pub(super) BufferId);

impl Share {
    #[inline]
    pub(crate) fn buffer(&self) -> BufferId {
        self.0
    }
}

/// A range of a buffer in use, whose share is borrowed meanwhile. It is within the buffer: what is made of it is a part
/// of it, or begins further to the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    /// Where the buffer is in the arena.
    base: u64,
    buffer: BufferId,
    start: u32,
    end: u32,
    share: PhantomData<&'a Share>,
}

impl<'a> Input<'a> {
    /// From `start` to before `end`. For the arena, which has checked that the buffer has them and knows where it is;
    /// and for accounts without an arena.
    pub(super) fn new(share: &'a Share, base: u64, start: u32, end: u32) -> Self {
        assert!(start <= end, "a range ends behind its start");
        Self { base, buffer: share.0, start, end, share: PhantomData }
    }

    /// Nothing of a buffer, for the benchmark of an account without an arena.
    #[cfg(feature = "bench-door")]
    pub(crate) fn nothing(share: &'a Share) -> Self {
        Self::new(share, 0, 0, 0)
    }

    /// Where the range is in the arena.
    #[inline]
    pub(super) fn offset(self) -> u64 {
        self.base + u64::from(self.start)
    }

    #[inline]
    pub(crate) fn buffer(self) -> BufferId {
        self.buffer
    }

    /// From `start` in the buffer, which is not behind its end, to its end.
    pub(crate) fn from(self, start: u32) -> Self {
        assert!(start <= self.end, "a range ends behind its start");
        Self { start, ..self }
    }

    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.end - self.start
    }

    #[inline]
    pub(crate) fn start(self) -> u32 {
        self.start
    }

    #[inline]
    pub(crate) fn end(self) -> u32 {
        self.end
    }

    /// A copy for a call that is seldom made: what a call is lent is put together in memory, before it is known whether
    /// the call is made.
    #[inline(always)]
    pub(crate) fn apart(self) -> Self {
        Self { ..self }
    }

    /// Its first so many bytes.
    #[inline]
    pub(crate) fn first(self, len: u32) -> Self {
        Self { end: self.end.min(self.start + len), ..self }
    }

    /// What is behind its first so many bytes.
    #[inline]
    pub(crate) fn after(self, len: u32) -> Self {
        Self { start: self.end.min(self.start + len), ..self }
    }

    /// A part of it, as decoders name parts.
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.after(narrow(start)).first(narrow(len))
    }
}
