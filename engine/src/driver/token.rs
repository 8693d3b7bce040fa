//! What an operation is and whom it serves, in the 64 bits that come back with its completion.
//!
//! Invariants: kind, generation and slot come back as they were put in; bits of no known kind are `Ignored`; a token is
//! never one of the largest numbers, which the ring keeps for operations of its own.
//!
//! Not here: comparing generations, which those who handle completions do (room `shard`).

use crate::id::SLOT_BITS;

/// The kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Nobody waits for it.
    Ignored = 0,
    Accept = 1,
    Receive = 2,
    Send = 3,
    Notifier = 4,
    ReadFile = 5,
    Poll = 6,
    SendFile = 7,
    Room = 8,
    /// A buffer that the kernel was asked for.
    Recall = 9,
}

impl Op {
    fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Notifier,
            5 => Self::ReadFile,
            6 => Self::Poll,
            7 => Self::SendFile,
            8 => Self::Room,
            9 => Self::Recall,
            _ => Self::Ignored,
        }
    }
}

/// `op | generation | slot`: a completion that comes late finds another generation in its slot, and is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

const GENERATION_BITS: u32 = 32;

impl Token {
    pub(crate) const IGNORED: Self = Self(0);

    #[inline]
    pub(crate) fn new(op: Op, generation: u32, slot: u32) -> Self {
        debug_assert!(slot >> SLOT_BITS == 0);
        let op = u64::from(op as u8) << (GENERATION_BITS + SLOT_BITS);
        Self(op | (u64::from(generation) << SLOT_BITS) | u64::from(slot))
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn op(self) -> Op {
        Op::from_bits((self.0 >> (GENERATION_BITS + SLOT_BITS)) as u8)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> SLOT_BITS) as u32
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        (self.0 & ((1 << SLOT_BITS) - 1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_parts() {
        let common = [Op::Accept, Op::Receive, Op::Send, Op::Notifier, Op::ReadFile, Op::Poll];
        for op in common.into_iter().chain([Op::SendFile, Op::Room, Op::Recall]) {
            let token = Token::new(op, u32::MAX, (1 << SLOT_BITS) - 1);
            let back = Token::from_bits(token.bits());
            assert_eq!((back.op(), back.generation(), back.slot()), (op, u32::MAX, (1 << SLOT_BITS) - 1));
        }
        assert_eq!(Token::IGNORED.op(), Op::Ignored);
    }
}
