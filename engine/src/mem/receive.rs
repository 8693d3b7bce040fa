//! The shard's account of the buffers it lends to the kernel: which the kernel has, which are in use, and by how many.
//! There are two pools, small ones for requests and large ones for long bodies, numbered through.
//!
//! Invariants:
//! * A buffer is posted, in use or spare, never two of these: the values that say so (`buffer`) are made and taken back
//!   here.
//! * It is in use from the completion that named it until the last share is given back.
//! * Bytes that somebody was promised are *settled*: from the buffer's first byte to there nothing is written until it
//!   is spare again. Whoever writes asks [`ReceiveBuffers::is_settled`].
//! * No more small buffers are posted than are left besides: what comes in one turn, however much of it cannot be taken
//!   yet, leaves half of those that were free.
//! * An eighth of the small ones is kept back for clients that have few, and posted to a [group](Group) of its own.
//! * A quarter of the large ones is kept back for readers that wait, and posted to a [group](Group) of its own: all
//!   other receives and copies together never have more than the rest.
//!
//! Only `posted` buffers circulate through the kernel's rings, the rest waits in a stack, last in first out: a small
//! set that stays in cache serves as long as it suffices, and doubles when the kernel runs dry.
//!
//! Not here: where the buffers lie (`arena`), and who may read what (room `queue`).

mod recall;

use super::areas::Area;
use super::arena::Arena;
use super::buffer::{Filled, Group, Input, Share, Spare};
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
    /// Shares that are out; 0 when it is spare or the kernel has it. Each is of some bytes of the buffer, a few hundred
    /// at least but for two or three, so that the count cannot overflow.
    shares: u16,
    /// The kernel has it as one that is kept back.
    is_reserved: bool,
    /// Its first so many bytes do not change any more.
    settled: u32,
}

/// One small buffer of so many is kept back.
const SMALL_RESERVE_OF: u32 = 8;
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
            uses: BufferTable::new(count, || Use { shares: 0, settled: 0, is_reserved: false }),
            first_large: BufferId::new(small),
            small: BufferPool {
                halves: true,
                ..BufferPool::new(0..small, SMALL_POSTED, Self::small_reserve(u32::from(small)))
            },
            large: BufferPool::new(small..small + large, LARGE_POSTED, u32::from(large / 4)),
            poison: [Poison::NONE; 2],
        }
    }

    /// How many of so many small ones are kept back.
    pub(crate) const fn small_reserve(count: u32) -> u32 {
        count / SMALL_RESERVE_OF
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

    /// The kernel has filled a buffer: the caller gets its first share.
    #[inline]
    pub(crate) fn take(&mut self, filled: Filled) -> Share {
        let buffer = filled.buffer();
        let place = &mut self.uses[buffer];
        assert!(place.shares == 0, "the kernel filled a buffer that it did not have");
        (place.shares, place.settled) = (1, 0);
        let is_reserved = core::mem::take(&mut place.is_reserved);
        self.open(buffer);
        let pool = self.pool(buffer);
        let posting = if is_reserved { &mut pool.reserved } else { &mut pool.general };
        posting.posted -= 1;
        posting.taken = posting.taken.wrapping_add(1);
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

    /// The next buffer to give to the kernel, while it has fewer than it should, and for which receives.
    #[inline]
    pub(crate) fn next_to_post(&mut self) -> Option<Spare> {
        if let Some(buffer) = self.small.next_reserved() {
            self.uses[buffer].is_reserved = true;
            return Some(Spare(buffer, Group::ReservedSmall));
        }
        match self.small.next_to_post() {
            Some(buffer) => Some(Spare(buffer, Group::Small)),
            None => self.next_large_to_post(),
        }
    }

    #[inline]
    fn next_large_to_post(&mut self) -> Option<Spare> {
        let reserved = self.large.next_reserved();
        let is_reserved = reserved.is_some();
        let buffer = reserved.or_else(|| self.large.next_to_post())?;
        self.uses[buffer].is_reserved = is_reserved;
        Some(Spare(buffer, if is_reserved { Group::Reserved } else { Group::Large }))
    }

    /// A spare large buffer for the caller to fill: its first share. `None` when there is none but for readers that
    /// wait.
    pub(crate) fn take_spare_large(&mut self) -> Option<Share> {
        if !self.large.may_lend() {
            return None;
        }
        let buffer = self.large.spare.pop()?;
        self.uses[buffer] = Use { shares: 1, settled: 0, is_reserved: false };
        self.open(buffer);
        Some(Share(buffer))
    }
}

/// What of a pool is where.
#[derive(Debug)]
pub(crate) struct BufferPool {
    spare: Vec<BufferId>,
    count: u32,
    /// Of those for everybody, and of those that are kept back.
    general: Posting,
    reserved: Posting,
    /// The most that were seen in use.
    most: u32,
    /// No more are posted than are left besides, instead of all but those that are kept back.
    halves: bool,
}

/// What the kernel has of one group.
#[derive(Debug)]
struct Posting {
    posted: u32,
    /// How many it is to have, and how many at first.
    target: u32,
    first: u32,
    /// The target was raised and nothing has been posted since.
    raised: bool,
    /// Buffers that the kernel has filled since this was last looked at.
    taken: u32,
    /// The most of those posted that may have been written to since they were posted cold.
    touched: u32,
    /// How many the kernel has been asked for.
    recalled: u32,
}

impl Posting {
    fn new(first: u32) -> Self {
        Self { posted: 0, target: first, first, raised: false, taken: 0, touched: 0, recalled: 0 }
    }
}

impl BufferPool {
    fn new(numbers: core::ops::Range<u16>, posted: u32, reserve: u32) -> Self {
        let count = u32::from(numbers.end - numbers.start);
        Self {
            spare: numbers.rev().map(BufferId::new).collect(),
            count,
            general: Posting::new(posted.min(count)),
            reserved: Posting::new(reserve),
            most: 0,
            halves: false,
        }
    }

    #[inline]
    fn next_to_post(&mut self) -> Option<BufferId> {
        if self.general.posted >= self.general.target || !self.may_lend() {
            return None;
        }
        let buffer = self.spare.pop()?;
        self.general.posted += 1;
        self.general.raised = false;
        Some(buffer)
    }

    #[inline]
    fn next_reserved(&mut self) -> Option<BufferId> {
        if self.reserved.posted >= self.reserved.target {
            return None;
        }
        let buffer = self.spare.pop()?;
        self.reserved.posted += 1;
        Some(buffer)
    }

    /// Whether one more may be posted or filled. Those that are kept back have been posted before.
    #[inline]
    fn may_lend(&self) -> bool {
        match self.halves {
            true => self.spare.len() > self.general.posted as usize,
            false => self.in_use() + self.general.posted + self.reserved.first < self.count,
        }
    }

    /// How many are kept back.
    pub(crate) fn reserve(&self) -> u32 {
        self.reserved.first
    }

    /// The kernel ran out of buffers: from now on it gets twice as many. However many operations found none at a time:
    /// what is posted goes round, and more than is needed pushes itself out of the caches.
    pub(crate) fn ran_out(&mut self) {
        if !self.general.raised {
            (self.general.target, self.general.raised) = ((self.general.target * 2).min(self.count), true);
        }
    }

    /// Whether half of the buffers are in use: from then on nobody gets more than one ahead of need.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.in_use() * 2 >= self.count
    }

    /// Whether three quarters of the buffers are in use.
    #[inline]
    pub(crate) fn pressed(&self) -> bool {
        self.free() <= self.count / 4
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
        self.general.posted + self.reserved.posted + spare
    }

    /// Buffers that the kernel has, but for those that are kept back.
    pub(crate) fn posted(&self) -> usize {
        self.general.posted as usize
    }

    /// Those of the kernel's that are kept back.
    pub(crate) fn reserved_posted(&self) -> usize {
        self.reserved.posted as usize
    }

    /// Whether the kernel has any buffer but those that are kept back.
    #[inline]
    pub(crate) fn any_posted(&self) -> bool {
        self.general.posted > 0
    }

    /// Whether the kernel has any of those that are kept back.
    pub(crate) fn any_reserved(&self) -> bool {
        self.reserved.posted > 0
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
        let mut buffers = ReceiveBuffers::new(8, 0);
        assert_eq!(post(&mut buffers), [0, 1, 2, 3, 4]);
        let first = take(&mut buffers, 2);
        let second = buffers.share(Input::new(&first, 0, 0, 0));
        buffers.release(first);
        assert_eq!((buffers.small.in_use(), post(&mut buffers)), (1, vec![]));
        buffers.release(second);
        assert_eq!((buffers.small.in_use(), post(&mut buffers)), (0, vec![2]), "last in, first out");
    }

    #[test]
    fn what_was_promised_is_settled_until_the_buffer_comes_round() {
        let mut buffers = ReceiveBuffers::new(1, 0);
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
    fn whatever_comes_at_once_leaves_half_of_the_small_ones() {
        let mut buffers = ReceiveBuffers::new(1024, 0);
        // Those that are kept back come first.
        let posted = post(&mut buffers).split_off(128);
        assert_eq!((buffers.small.posted(), buffers.small.reserved_posted()), (256, 128));
        let mut shares: Vec<_> = posted.into_iter().map(|buffer| take(&mut buffers, buffer)).collect();
        assert!(!buffers.small.any_posted() && !buffers.small.is_short());
        // Three operations found none.
        (0..3).for_each(|_| buffers.small.ran_out());
        let posted = post(&mut buffers);
        assert_eq!(posted.len(), 320, "twice as many, not eight times, and no more than are left");
        shares.extend(posted.into_iter().map(|number| take(&mut buffers, number)));
        assert!(buffers.small.is_short() && !buffers.small.pressed());
        let mut rounds = 0;
        while buffers.small.in_use() < 1024 - 128 {
            let free = buffers.small.free() - 128;
            let posted = post(&mut buffers);
            assert_eq!(u32::try_from(posted.len()).expect("few"), free.div_ceil(2));
            shares.extend(posted.into_iter().map(|number| take(&mut buffers, number)));
            rounds += 1;
        }
        assert!(rounds >= 9 && buffers.small.pressed(), "{rounds}");
        let few = take(&mut buffers, 0);
        assert_eq!((buffers.small.reserved_posted(), post(&mut buffers).len()), (127, 0));
        buffers.release(shares.pop().expect("many"));
        assert_eq!(
            (post(&mut buffers).len(), buffers.small.reserved_posted()),
            (1, 128),
            "what comes back is kept back"
        );
        shares.into_iter().chain([few]).for_each(|share| buffers.release(share));
    }

    #[test]
    fn a_quarter_of_the_large_ones_is_for_readers_that_wait() {
        let mut buffers = ReceiveBuffers::new(1, 16);
        let groups = |buffers: &mut ReceiveBuffers| {
            let mut posted: [Vec<u16>; Group::ALL.len()] = Default::default();
            while let Some(spare) = buffers.next_to_post() {
                posted[spare.group() as usize].push(spare.buffer().number());
            }
            posted
        };
        let [small, large, reserved, _] = groups(&mut buffers);
        assert_eq!((small.len(), large.len(), reserved.len()), (1, 8, 4));
        let mut held: Vec<_> = large.into_iter().map(|number| take(&mut buffers, number)).collect();
        assert!(buffers.large.is_short() && !buffers.large.pressed() && buffers.large.any_reserved());
        let [_, large, ..] = groups(&mut buffers);
        held.extend(large.into_iter().map(|number| take(&mut buffers, number)));
        assert_eq!((held.len(), groups(&mut buffers)[1].len()), (12, 0), "and no more");
        assert!(buffers.large.pressed() && buffers.take_spare_large().is_none());
        let waits: Vec<_> = reserved.into_iter().map(|number| take(&mut buffers, number)).collect();
        assert_eq!(buffers.large.in_use(), 16);
        // What comes back first is for readers that wait again.
        buffers.release(held.pop().expect("twelve"));
        assert_eq!(groups(&mut buffers).map(|group| group.len()), [0, 0, 1, 0]);
        waits.into_iter().for_each(|share| buffers.release(share));
        buffers.release(held.pop().expect("eleven"));
        assert_eq!(groups(&mut buffers).map(|group| group.len()), [0, 2, 3, 0]);
        held.into_iter().for_each(|share| buffers.release(share));
    }

    #[test]
    fn the_pools_are_numbered_through() {
        let mut buffers = ReceiveBuffers::new(2, 16);
        assert_eq!(post(&mut buffers), (0..1).chain(2..14).collect::<Vec<u16>>());
        let (_small, large) = (take(&mut buffers, 0), take(&mut buffers, 2));
        assert_eq!((buffers.small.in_use(), buffers.large.in_use()), (1, 1));
        buffers.release(large);
        let spare: Vec<_> = core::iter::from_fn(|| buffers.take_spare_large()).collect();
        assert_eq!(spare.iter().map(|share| share.buffer().number()).collect::<Vec<_>>(), [2, 14, 15, 16]);
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
