//! Identities: which request, which connection, which shard; which session, group and queue.
//!
//! An id is `generation | place`. A place is one slot of one shard of one engine: those of all engines that live in
//! this process are different numbers. So whose an id is, is certain: an id of another engine names no place of this.
//!
//! Invariants: an id is never 0, and is not issued twice for one slot within 2^37 uses (38 hours of a million a second,
//! all in this one slot), because it carries the slot's generation; a late completion or a late response therefore
//! meets another generation and is refused. Of a connection's id that is 2^32 connections in one entry. The places of
//! an engine that has ended are given out again when the 2^27 there are have had their turn, and the generations of
//! each engine begin at random (one of 2^36): an id of an engine of the past is as good as never one of a later engine.
//!
//! Not here: what the ids stand for. This room knows integers only.

mod queues;
mod records;

use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::num::NonZeroU64;
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError};

pub(crate) use self::queues::{QueueNumber, QueuePlace};
pub use self::records::{QueueId, SessionId, UrlGroupId};

/// Bits of a token that name a slot: at most 16,777,216 connections or requests a shard.
pub(crate) const SLOT_BITS: u32 = 24;
/// Bits of an id that name its place.
pub(crate) const PLACE_BITS: u32 = 27;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
/// Places there are: for the slots of all engines of this process.
pub(crate) const PLACES_MAX: u64 = 1 << PLACE_BITS;

/// Which shard of an engine, counted from 0; at most 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ShardId(pub(crate) u8);

/// How often a slot has been used: 37 bits, never 0. Kept where an id has them, with the lower bits 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

impl Generation {
    pub(crate) const FIRST: Self = Self(1 << PLACE_BITS);

    /// That of a word with anything in the lower bits.
    #[inline]
    pub(crate) const fn of(word: u64) -> Self {
        Self(word & !PLACE_MASK)
    }

    /// With the lower bits 0.
    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(Self::FIRST.0).max(Self::FIRST.0))
    }

    fn plus(self, uses: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(uses) << PLACE_BITS))
    }
}

/// Places taken by engines that live, in ascending order, and where to look for the next ones.
struct Taken {
    ranges: Vec<(u64, u64)>,
    next: u64,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { ranges: Vec::new(), next: 0 });

impl Taken {
    /// The first `count` places together that are free, from `next` on and then from 0.
    fn take(&mut self, count: u64) -> Option<u64> {
        let first = self.find(self.next, count).or_else(|| self.find(0, count))?;
        let at = self.ranges.partition_point(|(taken, _)| *taken < first);
        self.ranges.insert(at, (first, first + count));
        self.next = first + count;
        Some(first)
    }

    fn find(&self, from: u64, count: u64) -> Option<u64> {
        let mut first = from;
        for (taken, end) in &self.ranges {
            if first + count <= *taken {
                break;
            }
            first = first.max(*end);
        }
        (first + count <= PLACES_MAX).then_some(first)
    }
}

/// The places of one engine: no other one of this process has any of them while this lives.
#[derive(Debug)]
pub(crate) struct Places {
    first: u64,
    shards: u64,
    /// A shard has two to the power of this many places.
    shift: u32,
    generation: Generation,
}

impl Places {
    /// Places for so many shards with so many slots each: see [`count`](Self::count). `None`: the engines that live
    /// have too many.
    pub(crate) fn take(shards: u32, slots: u32) -> Option<Self> {
        let count = Self::count(shards, slots);
        let first = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take(count)?;
        // The topmost bit stays 0: of a connection's id the generation is a sum, which does not wrap.
        let random = RandomState::new().build_hasher().finish() >> 1;
        let generation = Generation(Generation::of(random).0.max(Generation::FIRST.0));
        Some(Self { first, shards: u64::from(shards), shift: shift_of(slots), generation })
    }

    /// Places that engines of this size take.
    pub(crate) fn count(shards: u32, slots: u32) -> u64 {
        u64::from(shards) << shift_of(slots)
    }

    /// The origin of a shard's ids.
    pub(crate) fn origin(&self, shard: ShardId) -> Origin {
        Origin { base: self.first + (u64::from(shard.0) << self.shift), generation: self.generation }
    }

    /// The shard that has a place, if this engine has it.
    #[inline]
    fn shard_of(&self, place: u64) -> Option<usize> {
        let shard = place.checked_sub(self.first)? >> self.shift;
        if shard < self.shards { usize::try_from(shard).ok() } else { None }
    }

    /// The shard that has issued an id of a request, if it is one of this engine.
    pub(crate) fn shard_of_request(&self, id: RequestId) -> Option<usize> {
        self.shard_of(id.place())
    }

    /// The shard that has issued an id of a connection, if it is one of this engine.
    pub(crate) fn shard_of_connection(&self, id: ConnectionId) -> Option<usize> {
        self.shard_of(id.0.get() & PLACE_MASK)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.ranges.retain(|(first, _)| *first != self.first);
    }
}

fn shift_of(slots: u32) -> u32 {
    slots.max(1).next_power_of_two().trailing_zeros()
}

/// What the ids of one shard begin from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    base: u64,
    generation: Generation,
}

impl Origin {
    /// Of a shard alone in its process: for tests and benchmarks.
    #[cfg(any(test, feature = "bench-door"))]
    pub(crate) const LONE: Self = Self { base: 0, generation: Generation::FIRST };

    /// The generation that a slot has at first.
    pub(crate) fn generation(self) -> Generation {
        self.generation
    }

    #[inline]
    pub(crate) fn request(self, generation: Generation, slot: u32) -> RequestId {
        RequestId(pack(generation, self.base + u64::from(slot)))
    }

    /// The slot of a request of this shard; for an id of another one, no slot there is.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a slot of this shard has 24 bits; others become no slot")]
    pub(crate) fn slot(self, id: RequestId) -> u32 {
        id.place().wrapping_sub(self.base) as u32
    }

    /// The id of the connection in an entry of a [`Slab`](crate::slab::Slab) of that generation.
    #[inline]
    pub(crate) fn connection(self, generation: u32, entry: u32) -> ConnectionId {
        ConnectionId(pack(self.generation.plus(generation), self.base + u64::from(entry)))
    }

    /// The entry and its generation; `None` if this shard has not issued the id.
    pub(crate) fn entry(self, id: ConnectionId) -> Option<(u32, u32)> {
        let uses = (Generation::of(id.0.get()).0.checked_sub(self.generation.0)?) >> PLACE_BITS;
        let entry = (id.0.get() & PLACE_MASK).checked_sub(self.base)?;
        Some((u32::try_from(entry).ok()?, u32::try_from(uses).ok()?))
    }
}

/// A generation is never 0, and so the result is not.
#[inline]
fn pack(generation: Generation, place: u64) -> NonZeroU64 {
    debug_assert!(place <= PLACE_MASK && generation.0 & PLACE_MASK == 0);
    NonZeroU64::new(generation.0 | place).expect("a generation is never 0")
}

/// One request, for as long as it lives: from its delivery until it is answered, cancelled or its client is gone.
///
/// Any thread may answer by id, through the queue that the request came from
/// ([`RequestQueue::respond`](crate::RequestQueue::respond)). An id whose request is over is refused with
/// [`ErrorKind::Gone`](crate::ErrorKind::Gone), also when its slot serves another request by then, and so is one that
/// came from another queue or another engine.
///
/// An id that is kept is not mistaken for that of a later request before its slot has served 2^37 more: 38 hours at a
/// million requests a second in this slot alone. It means nothing in another process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(NonZeroU64);

impl RequestId {
    /// The id as an integer, never 0: for logs, and for carrying it through code that knows integers only.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The id that [`to_u64`](Self::to_u64) gave; `None` for 0. Any other integer is taken: a made-up id is refused
    /// when it is used.
    #[must_use]
    pub fn from_u64(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    #[inline]
    pub(crate) fn generation(self) -> Generation {
        Generation::of(self.0.get())
    }

    #[inline]
    fn place(self) -> u64 {
        self.0.get() & PLACE_MASK
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({:#x})", self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// One client connection, from accept to close. Never 0, and not used for another connection of this process before its
/// entry has served 2^32 more. An id of another engine is that of a connection which is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// Of a record that describes no request yet.
    pub(crate) const NONE: Self = Self(NonZeroU64::MAX);

    /// The id as an integer, never 0.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The id that [`to_u64`](Self::to_u64) gave; `None` for 0. Any other integer is taken: a made-up id is that of a
    /// connection which is over.
    #[must_use]
    pub fn from_u64(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({:#x})", self.0)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_parts_and_are_never_zero() {
        let places = Places::take(3, 100).expect("a few");
        for (shard, slot, uses) in [(0, 0, 0), (1, 99, 5), (2, 127, u32::MAX)] {
            let origin = places.origin(ShardId(shard));
            let generation = origin.generation().plus(uses);
            let id = origin.request(generation, slot);
            assert_eq!((origin.slot(id), id.generation()), (slot, generation));
            assert_eq!(places.shard_of_request(id), Some(usize::from(shard)));
            assert_eq!(RequestId::from_u64(id.to_u64()), Some(id));
            let id = origin.connection(uses, slot);
            assert_eq!(origin.entry(id), Some((slot, uses)));
            assert_eq!(places.shard_of_connection(id), Some(usize::from(shard)));
        }
        assert_eq!(RequestId::from_u64(0), None);
    }

    #[test]
    fn an_id_of_another_engine_names_no_place_of_this_one() {
        let engines: Vec<Places> = (1..5).map(|shards| Places::take(shards, 1000).expect("a few")).collect();
        for (one, places) in engines.iter().enumerate() {
            for shard in 0..places.shards {
                let origin = places.origin(ShardId(u8::try_from(shard).expect("four")));
                let (first, last) = (origin.request(Generation::FIRST, 0), origin.request(Generation::FIRST, 1023));
                let connection = origin.connection(1, 1023);
                for (other, engine) in engines.iter().enumerate() {
                    let own = usize::try_from(shard).ok().filter(|_| one == other);
                    assert_eq!(engine.shard_of_request(first), own);
                    assert_eq!(engine.shard_of_request(last), own);
                    assert_eq!(engine.shard_of_connection(connection), own);
                }
            }
        }
    }

    #[test]
    fn places_are_given_in_turn_and_taken_again_when_their_engine_has_ended() {
        let mut taken = Taken { ranges: Vec::new(), next: 0 };
        let half = PLACES_MAX / 2;
        assert_eq!((taken.take(half), taken.take(half - 1), taken.take(2)), (Some(0), Some(half), None));
        taken.ranges.remove(0);
        assert_eq!((taken.take(1), taken.take(half)), (Some(PLACES_MAX - 1), Some(0)), "not at once those that ended");
        assert_eq!(taken.take(1), None);
        assert!(taken.ranges.is_sorted());
    }

    #[test]
    fn generations_last_for_a_day_and_pass_over_0() {
        const A_DAY_AT_A_MILLION_A_SECOND: u64 = 24 * 3600 * 1_000_000;
        const { assert!(u64::MAX >> PLACE_BITS > A_DAY_AT_A_MILLION_A_SECOND) };
        assert_eq!(Generation::of(u64::MAX).next(), Generation::FIRST);
        let begin = || Places::take(1, 1).expect("one").generation;
        assert_ne!(begin(), begin(), "nobody knows where they begin");
    }
}
