//! The shard's account of the buffers it lends to the kernel: which the kernel has, which are in use, and by how many.
//! There are two pools, small ones for requests and large ones for long bodies, numbered through.
//!
//! Laws: a buffer is posted, in use or spare, never two of these; it is in use from the completion that named it until
//! the last of its users lets go; at least a quarter of all buffers never stays with applications
//! ([`ReceiveBuffers::pressed`] tells when heads must be copied out instead of pinned).
//!
//! Only `posted` buffers circulate through the kernel's ring, the rest waits in a stack, last in first out: a small set
//! that stays in cache serves as long as it suffices, and doubles when the kernel runs dry.

/// A receive buffer's number, as the kernel names it in a completion.
pub(crate) type BufferId = u16;

/// Both pools; see the module's head.
#[derive(Debug)]
pub(crate) struct ReceiveBuffers {
    /// Users of each buffer; 0 while the kernel has it or it is spare.
    users: Vec<u16>,
    /// The number of the first large buffer.
    first_large: BufferId,
    pub(crate) small: BufferPool,
    pub(crate) large: BufferPool,
}

/// Buffers of each pool that the kernel is given at first.
const SMALL_POSTED: u32 = 256;
const LARGE_POSTED: u32 = 8;

impl ReceiveBuffers {
    /// `small` buffers, numbered from 0, and `large` ones behind them.
    pub(crate) fn new(small: u16, large: u16) -> Self {
        Self {
            users: vec![0; usize::from(small) + usize::from(large)],
            first_large: small,
            small: BufferPool::new(0..small, SMALL_POSTED),
            large: BufferPool::new(small..small + large, LARGE_POSTED),
        }
    }

    /// Whether a buffer is one of the large ones.
    #[inline]
    pub(crate) fn is_large(&self, buffer: BufferId) -> bool {
        buffer >= self.first_large
    }

    #[inline]
    fn pool(&mut self, buffer: BufferId) -> &mut BufferPool {
        if self.is_large(buffer) { &mut self.large } else { &mut self.small }
    }

    /// Whether a part of a long body may be received into a small buffer: requests need the last ones. Whoever does not
    /// keep what comes gives its buffer back at once.
    pub(crate) fn spares_small(&self, keeps: bool) -> bool {
        !(keeps && self.small.pressed_by(1))
    }

    /// The kernel has filled a buffer: its first user is the caller.
    #[inline]
    pub(crate) fn take(&mut self, buffer: BufferId) {
        let users = &mut self.users[usize::from(buffer)];
        assert!(*users == 0, "the kernel filled a buffer that it did not have");
        *users = 1;
        self.pool(buffer).posted -= 1;
    }

    /// One more user of a buffer in use.
    #[inline]
    pub(crate) fn share(&mut self, buffer: BufferId) {
        let users = &mut self.users[usize::from(buffer)];
        debug_assert!(*users > 0, "only a buffer in use can be shared");
        *users += 1;
    }

    /// Whether a buffer in use has users besides the one that is looking at it.
    pub(crate) fn is_shared(&self, buffer: BufferId) -> bool {
        self.users[usize::from(buffer)] > 1
    }

    /// A user lets go; the last one makes the buffer spare.
    #[inline]
    pub(crate) fn release(&mut self, buffer: BufferId) {
        let users = &mut self.users[usize::from(buffer)];
        assert!(*users > 0, "a buffer was released twice");
        *users -= 1;
        if *users == 0 {
            self.pool(buffer).spare.push(buffer);
        }
    }

    /// The next buffer to give to the kernel, while it has fewer than it should.
    #[inline]
    pub(crate) fn next_to_post(&mut self) -> Option<BufferId> {
        self.small.next_to_post().or_else(|| self.large.next_to_post())
    }

    /// A spare large buffer for the caller to fill: its first user. `None` when the kernel or others have them all.
    pub(crate) fn take_spare_large(&mut self) -> Option<BufferId> {
        let buffer = self.large.spare.pop()?;
        self.users[usize::from(buffer)] = 1;
        Some(buffer)
    }
}

/// What of a pool is where.
#[derive(Debug)]
pub(crate) struct BufferPool {
    spare: Vec<BufferId>,
    posted: u32,
    /// How many the kernel is to have.
    target: u32,
    count: u32,
    /// The target was raised and nothing has been posted since.
    raised: bool,
}

impl BufferPool {
    fn new(buffers: core::ops::Range<BufferId>, posted: u32) -> Self {
        let count = u32::from(buffers.end - buffers.start);
        Self { spare: buffers.rev().collect(), posted: 0, target: posted.min(count), count, raised: false }
    }

    #[inline]
    fn next_to_post(&mut self) -> Option<BufferId> {
        if self.posted >= self.target {
            return None;
        }
        let buffer = self.spare.pop()?;
        self.posted += 1;
        self.raised = false;
        Some(buffer)
    }

    /// The kernel ran out of buffers: from now on it gets twice as many. However many operations found none at a time:
    /// what is posted goes round, and more than is needed pushes itself out of the caches.
    pub(crate) fn ran_out(&mut self) {
        if !self.raised {
            (self.target, self.raised) = ((self.target * 2).min(self.count), true);
        }
    }

    /// Whether three quarters of the buffers are in use: then heads are copied out instead of pinning one more.
    #[inline]
    pub(crate) fn pressed(&self) -> bool {
        self.pressed_by(0)
    }

    /// Whether so many more in use would make it so. What heads do not pin at three quarters leaves it one short of
    /// them: so far, and no farther, a pool stays in use between completions.
    #[inline]
    pub(crate) fn pressed_by(&self, more: u32) -> bool {
        (self.in_use() + more) * 4 >= self.count * 3
    }

    /// Buffers neither posted nor spare.
    #[inline]
    pub(crate) fn in_use(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 32,768 buffers")]
        let spare = self.spare.len() as u32;
        self.count - self.posted - spare
    }

    /// Whether all buffers are in use.
    pub(crate) fn is_dry(&self) -> bool {
        self.posted == 0 && self.spare.is_empty()
    }

    /// Whether the kernel has any buffer.
    #[inline]
    pub(crate) fn any_posted(&self) -> bool {
        self.posted > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_after_its_last_user() {
        let mut buffers = ReceiveBuffers::new(4, 0);
        let posted: Vec<_> = core::iter::from_fn(|| buffers.next_to_post()).collect();
        assert_eq!(posted, [0, 1, 2, 3]);
        buffers.take(2);
        buffers.share(2);
        buffers.release(2);
        assert_eq!((buffers.small.in_use(), buffers.next_to_post()), (1, None));
        buffers.release(2);
        assert_eq!((buffers.small.in_use(), buffers.next_to_post()), (0, Some(2)));
    }

    #[test]
    fn pressure_begins_at_three_quarters_and_the_target_doubles() {
        let mut buffers = ReceiveBuffers::new(1024, 0);
        while buffers.next_to_post().is_some() {}
        assert_eq!(buffers.small.posted, 256);
        (0..256).for_each(|buffer| buffers.take(buffer));
        assert!(!buffers.small.any_posted() && !buffers.small.pressed());
        // Three operations found none.
        (0..3).for_each(|_| buffers.small.ran_out());
        while buffers.next_to_post().is_some() {}
        assert_eq!(buffers.small.posted, 512, "twice, not eight times as many");
        (256..767).for_each(|buffer| buffers.take(buffer));
        assert!(buffers.small.pressed_by(1) && !buffers.small.pressed());
        buffers.take(767);
        assert!(buffers.small.pressed());
    }

    #[test]
    fn the_pools_are_numbered_through() {
        let mut buffers = ReceiveBuffers::new(2, 2);
        let posted: Vec<_> = core::iter::from_fn(|| buffers.next_to_post()).collect();
        assert_eq!(posted, [0, 1, 2, 3]);
        buffers.take(1);
        buffers.take(2);
        assert_eq!((buffers.small.in_use(), buffers.large.in_use()), (1, 1));
        buffers.release(2);
        assert_eq!((buffers.take_spare_large(), buffers.take_spare_large()), (Some(2), None));
    }

    #[test]
    #[should_panic(expected = "released twice")]
    fn releasing_twice_is_caught() {
        let mut buffers = ReceiveBuffers::new(2, 0);
        buffers.next_to_post();
        buffers.take(0);
        buffers.release(0);
        buffers.release(0);
    }
}
