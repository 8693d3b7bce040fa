//! The shard's account of the buffers it lends to the kernel: which the kernel has, which are in use, and by how many.
//! There are two pools, small ones for requests and large ones for long bodies, numbered through.
//!
//! Invariants:
//! * A buffer is posted, in use or spare, never two of these: the values that say so (`buffer`) are made and taken back
//!   here.
//! * It is in use from the completion that named it until the last share is given back.
//! * Bytes that somebody was promised are *settled*: from the buffer's first byte to there nothing is written until it
//!   is spare again. Whoever writes asks [`ReceiveBuffers::is_settled`].
//! * At least a quarter of all buffers never stays with applications ([`BufferPool::pressed`] tells when heads must be
//!   copied out instead of pinned).
//!
//! Only `posted` buffers circulate through the kernel's ring, the rest waits in a stack, last in first out: a small set
//! that stays in cache serves as long as it suffices, and doubles when the kernel runs dry.
//!
//! Not here: where the buffers lie (`arena`), and who may read what (room `queue`).

mod recall;

use super::areas::Area;
use super::arena::Arena;
use super::buffer::{Filled, Input, Share, Spare};
use super::buffer_id::{BufferId, BufferTable};
use super::poison::Poison;

/// Both pools; see the module's head.
#[derive(Debug)]
pub(crate) struct ReceiveBuffers {
    uses: BufferTable<Use>,
    /// The first large buffer, if there are any.
    first_large: BufferId,
    pub(crate) small: BufferPool,
    pub(crate) large: BufferPool,
    /// Of the small and the large ones that are not in use, those that the kernel has included.
    poison: [Poison; 2],
}

/// Who has a buffer.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// Shares that are out; 0 when it is spare or the kernel has it. Each share is in some memory, so
    /// the count cannot overflow.
    shares: u32,
    /// Its first so many bytes do not change any more.
    settled: u32,
}

/// Buffers of each pool that the kernel is given at first.
const SMALL_POSTED: u32 = 256;
const LARGE_POSTED: u32 = 8;

impl ReceiveBuffers {
    /// All buffers of an arena: for the one who has it, once.
    pub(crate) fn of(arena: &Arena) -> Self {
        let count = |area| u16::try_from(arena.count(area)).unwrap_or(u16::MAX);
        let poison = [Area::Receive, Area::Body].map(|area| arena.poison(area));
        Self { poison, ..Self::new(count(Area::Receive), count(Area::Body)) }
    }

    /// Without memory: `small` buffers, numbered from 0, and `large` ones behind them.
    pub(crate) fn new(small: u16, large: u16) -> Self {
        let count = u32::from(small) + u32::from(large);
        assert!(count < u32::from(u16::MAX), "buffers are numbered below 65,535");
        Self {
            uses: BufferTable::new(count, || Use { shares: 0, settled: 0 }),
            first_large: BufferId::new(small),
            small: BufferPool::new(0..small, SMALL_POSTED),
            large: BufferPool::new(small..small + large, LARGE_POSTED),
            poison: [Poison::NONE; 2],
        }
    }

    /// Whether a buffer is one of the large ones.
    #[inline]
    pub(crate) fn is_large(&self, buffer: BufferId) -> bool {
        buffer >= self.first_large
    }

    /// The poison of a buffer's area, and the buffer's cell there.
    #[inline(always)]
    fn poison_of(&self, buffer: BufferId) -> (&Poison, u32) {
        let [small, large] = &self.poison;
        let number = buffer.number();
        match self.is_large(buffer) {
            true => (large, u32::from(number - self.first_large.number())),
            false => (small, u32::from(number)),
        }
    }

    #[inline(always)]
    fn open(&self, buffer: BufferId) {
        let (poison, cell) = self.poison_of(buffer);
        poison.lift(cell);
    }

    #[inline(always)]
    fn shut(&self, buffer: BufferId) {
        let (poison, cell) = self.poison_of(buffer);
        poison.put(cell);
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

    /// The kernel has filled a buffer: the caller gets its first share.
    #[inline]
    pub(crate) fn take(&mut self, filled: Filled) -> Share {
        let buffer = filled.buffer();
        let place = &mut self.uses[buffer];
        assert!(place.shares == 0, "the kernel filled a buffer that it did not have");
        *place = Use { shares: 1, settled: 0 };
        self.open(buffer);
        let pool = self.pool(buffer);
        pool.posted -= 1;
        pool.taken = pool.taken.wrapping_add(1);
        Share(filled.0)
    }

    /// One more share of a buffer in use.
    #[inline(always)]
    pub(crate) fn share(&mut self, input: Input<'_>) -> Share {
        let place = &mut self.uses[input.buffer()];
        debug_assert!(place.shares > 0, "who has a range has a share");
        place.shares += 1;
        Share(input.buffer())
    }

    /// As [`share`](Self::share), and the bytes up to the end of the range do not change any more.
    #[inline(always)]
    pub(crate) fn share_settled(&mut self, input: Input<'_>) -> Share {
        let place = &mut self.uses[input.buffer()];
        debug_assert!(place.shares > 0, "who has a range has a share");
        place.shares += 1;
        place.settled = place.settled.max(input.end());
        Share(input.buffer())
    }

    /// Whether a buffer in use has users besides the one whose range this is.
    pub(crate) fn is_shared(&self, input: Input<'_>) -> bool {
        self.uses[input.buffer()].shares > 1
    }

    /// The bytes of a buffer before `end` do not change any more while it is in use.
    #[inline]
    pub(crate) fn settle(&mut self, share: &Share, end: u32) {
        let settled = &mut self.uses[share.buffer()].settled;
        *settled = end.max(*settled);
    }

    /// Whether some byte of a range, or behind it in its buffer, is one that may not change.
    pub(crate) fn is_settled(&self, input: Input<'_>) -> bool {
        input.start() < self.uses[input.buffer()].settled
    }

    /// A share comes back; with the last one the buffer is spare.
    #[inline]
    pub(crate) fn release(&mut self, share: Share) {
        let buffer = share.buffer();
        let shares = &mut self.uses[buffer].shares;
        debug_assert!(*shares > 0, "each share was counted");
        *shares -= 1;
        if *shares == 0 {
            self.shut(buffer);
            self.pool(buffer).spare.push(buffer);
        }
    }

    /// The next buffer to give to the kernel, while it has fewer than it should.
    #[inline]
    pub(crate) fn next_to_post(&mut self) -> Option<Spare> {
        let buffer = self.small.next_to_post().or_else(|| self.large.next_to_post())?;
        Some(Spare(buffer))
    }

    /// A spare large buffer for the caller to fill: its first share. `None` when the kernel or others have them all.
    pub(crate) fn take_spare_large(&mut self) -> Option<Share> {
        let buffer = self.large.spare.pop()?;
        self.uses[buffer] = Use { shares: 1, settled: 0 };
        self.open(buffer);
        Some(Share(buffer))
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
    /// How many the kernel has at first.
    first: u32,
    /// Buffers that the kernel has filled since this was last looked at, and the most that were seen in use.
    taken: u32,
    most: u32,
    /// The most of those posted that may have been written to since they were posted cold.
    touched: u32,
    /// How many the kernel has been asked for.
    recalled: u32,
}

impl BufferPool {
    fn new(numbers: core::ops::Range<u16>, posted: u32) -> Self {
        let count = u32::from(numbers.end - numbers.start);
        Self {
            spare: numbers.rev().map(BufferId::new).collect(),
            posted: 0,
            target: posted.min(count),
            count,
            raised: false,
            first: posted.min(count),
            taken: 0,
            most: 0,
            touched: 0,
            recalled: 0,
        }
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
        // As (in use + more) * 4 >= count * 3, in fewer steps.
        self.free() <= self.count / 4 + more
    }

    /// Buffers neither posted nor spare.
    #[inline]
    pub(crate) fn in_use(&self) -> u32 {
        self.count - self.free()
    }

    /// Buffers posted or spare.
    #[inline]
    fn free(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 32,768 buffers")]
        let spare = self.spare.len() as u32;
        self.posted + spare
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

    /// Gives the kernel what it is to have.
    fn post(buffers: &mut ReceiveBuffers) -> Vec<u16> {
        core::iter::from_fn(|| buffers.next_to_post()).map(|spare| spare.buffer().number()).collect()
    }

    /// The kernel fills a buffer.
    fn take(buffers: &mut ReceiveBuffers, number: u16) -> Share {
        // SAFETY: there is no kernel here, and the account checks that it would have the buffer.
        buffers.take(unsafe { Filled::new(BufferId::new(number)) })
    }

    #[test]
    fn a_buffer_returns_with_its_last_share() {
        let mut buffers = ReceiveBuffers::new(4, 0);
        assert_eq!(post(&mut buffers), [0, 1, 2, 3]);
        let first = take(&mut buffers, 2);
        let second = buffers.share(Input::new(&first, 0, 0, 0));
        buffers.release(first);
        assert_eq!((buffers.small.in_use(), post(&mut buffers)), (1, vec![]));
        buffers.release(second);
        assert_eq!((buffers.small.in_use(), post(&mut buffers)), (0, vec![2]));
    }

    #[test]
    fn what_was_promised_is_settled_until_the_buffer_comes_round() {
        let mut buffers = ReceiveBuffers::new(2, 0);
        post(&mut buffers);
        let share = take(&mut buffers, 0);
        assert!(!buffers.is_settled(Input::new(&share, 0, 0, 20)));
        buffers.settle(&share, 10);
        buffers.settle(&share, 5);
        assert!(buffers.is_settled(Input::new(&share, 0, 9, 20)) && !buffers.is_settled(Input::new(&share, 0, 10, 20)));
        buffers.release(share);
        post(&mut buffers);
        let share = take(&mut buffers, 0);
        assert!(!buffers.is_settled(Input::new(&share, 0, 0, 20)));
        let other = buffers.share_settled(Input::new(&share, 0, 3, 7));
        assert!(buffers.is_settled(Input::new(&other, 0, 6, 20)) && !buffers.is_settled(Input::new(&other, 0, 7, 20)));
        buffers.release(share);
        buffers.release(other);
    }

    #[test]
    fn pressure_begins_at_three_quarters_and_the_target_doubles() {
        let mut buffers = ReceiveBuffers::new(1024, 0);
        post(&mut buffers);
        assert_eq!(buffers.small.posted, 256);
        let mut shares: Vec<_> = (0..256).map(|buffer| take(&mut buffers, buffer)).collect();
        assert!(!buffers.small.any_posted() && !buffers.small.pressed());
        // Three operations found none.
        (0..3).for_each(|_| buffers.small.ran_out());
        post(&mut buffers);
        assert_eq!(buffers.small.posted, 512, "twice, not eight times as many");
        shares.extend((256..767).map(|buffer| take(&mut buffers, buffer)));
        assert!(buffers.small.pressed_by(1) && !buffers.small.pressed());
        shares.push(take(&mut buffers, 767));
        assert!(buffers.small.pressed());
    }

    #[test]
    fn the_pools_are_numbered_through() {
        let mut buffers = ReceiveBuffers::new(2, 2);
        assert_eq!(post(&mut buffers), [0, 1, 2, 3]);
        let (_small, large) = (take(&mut buffers, 1), take(&mut buffers, 2));
        assert_eq!((buffers.small.in_use(), buffers.large.in_use()), (1, 1));
        buffers.release(large);
        let spare = buffers.take_spare_large().map(|share| share.buffer().number());
        assert_eq!((spare, buffers.take_spare_large().is_none()), (Some(2), true));
    }

    #[test]
    #[should_panic(expected = "did not have")]
    fn a_buffer_that_the_kernel_does_not_have_is_not_taken() {
        let mut buffers = ReceiveBuffers::new(2, 0);
        post(&mut buffers);
        let _first = take(&mut buffers, 0);
        let _second = take(&mut buffers, 0);
    }
}
