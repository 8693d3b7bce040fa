//! Identities: which request, which connection, which shard.
//!
//! Laws: an id is never 0 and is never issued twice for one slot within 2^32 uses, because it carries the slot's
//! generation; a late completion or a late answer therefore meets another generation and is refused.
//!
//! Absent: what the ids stand for. This room knows integers only.

use core::fmt;
use core::num::NonZeroU64;

/// Bits of an id that name the slot: at most 16,777,216 connections or requests a shard.
pub(crate) const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_BITS: u32 = 32;

/// Which shard of an engine, counted from 0; at most 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ShardId(pub(crate) u8);

/// Packs `shard | generation | slot`; the generation is at least 1, so the result is never 0.
fn pack(shard: ShardId, generation: u32, slot: u32) -> NonZeroU64 {
    debug_assert!(u64::from(slot) <= SLOT_MASK);
    let packed =
        (u64::from(shard.0) << (GENERATION_BITS + SLOT_BITS)) | (u64::from(generation) << SLOT_BITS) | u64::from(slot);
    NonZeroU64::new(packed).unwrap_or(NonZeroU64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the shifts and masks leave 8, 32 and 24 bits")]
fn unpack(packed: u64) -> (ShardId, u32, u32) {
    (
        ShardId((packed >> (GENERATION_BITS + SLOT_BITS)) as u8),
        (packed >> SLOT_BITS) as u32,
        (packed & SLOT_MASK) as u32,
    )
}

/// One request, for as long as it lives: from its delivery until it is answered, cancelled or its client is gone.
///
/// Any thread may answer by id ([`RequestQueue::respond`](crate::RequestQueue::respond)). An id whose request is over
/// is refused with [`ErrorKind::Gone`](crate::ErrorKind::Gone), also when its slot serves another request by then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(NonZeroU64);

impl RequestId {
    pub(crate) fn new(shard: ShardId, generation: u32, slot: u32) -> Self {
        Self(pack(shard, generation, slot))
    }

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

    /// The shard, generation and slot.
    #[inline]
    pub(crate) fn parts(self) -> (ShardId, u32, u32) {
        unpack(self.0.get())
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

/// One client connection, from accept to close. Never 0, and not reused for another connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// Of a record that describes no request yet.
    pub(crate) const NONE: Self = Self(NonZeroU64::MAX);

    pub(crate) fn new(shard: ShardId, generation: u32, slot: u32) -> Self {
        Self(pack(shard, generation, slot))
    }

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

    /// The shard, generation and slot.
    pub(crate) fn parts(self) -> (ShardId, u32, u32) {
        unpack(self.0.get())
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
        for (shard, generation, slot) in [(0, 1, 0), (255, u32::MAX, (1 << SLOT_BITS) - 1), (3, 7, 9)] {
            let id = RequestId::new(ShardId(shard), generation, slot);
            assert_eq!(id.parts(), (ShardId(shard), generation, slot));
            assert_eq!(RequestId::from_u64(id.to_u64()), Some(id));
        }
        assert_eq!(RequestId::from_u64(0), None);
    }
}
