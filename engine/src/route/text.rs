//! Host names and segments of paths as keys, compared without regard to ASCII case.
//!
//! Invariants: texts that differ in case alone have the same hash; a segment within a path has the key of that text by
//! itself; equal hashes prove nothing, the registered bytes decide.
//!
//! What is hashed of a text is what it is compared by: its length, its first and its last eight bytes; only of longer
//! ones than sixteen bytes the rest counts, too.
//!
//! Not here: the map that is asked by these hashes (`map`), and the decoding of paths (`proto::url`).

use ringress_proto::url::{segment_len, segment_len_within};

/// The golden ratio in 64 bits: odd, and without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The bit in which the cases of a letter differ, in every byte.
const CASE: u64 = u64::from_ne_bytes([0x20; 8]);

/// What most segments end in.
type Block = [u8; 16];

/// The ends of a text that is looked for, in the case it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) len: usize,
    /// The first eight bytes, or as many as there are.
    first: u64,
    /// The last eight bytes; of a text that is shorter, which bits of `first` count.
    last: u64,
}

/// A text that was registered, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// As in [`Ends`].
    first: u64,
    last: u64,
    bytes: Box<[u8]>,
}

impl Ends {
    /// Of a text's first so many bytes.
    #[inline]
    pub(super) fn of(text: &[u8], len: usize) -> Self {
        if len < 8 {
            return Self { len, first: short_word(text) & mask(len), last: mask(len) };
        }
        Self { len, first: word(text), last: word(text.get(len - 8..).unwrap_or_default()) }
    }

    /// Of a path's segment, with which the block begins, and which ends in it.
    #[inline(always)]
    pub(super) fn of_segment(block: &Block) -> Option<Self> {
        let len = segment_len_within(block)?;
        let first = word(&block[..8]);
        if len < 8 {
            return Some(Self { len, first: first & mask(len), last: mask(len) });
        }
        // Eight less than the length, which is below 16.
        let last = word(&block[len & 7..][..8]);
        Some(Self { len, first, last })
    }

    /// The hash of the text with these ends, where it has at most 16 bytes.
    #[inline(always)]
    pub(super) fn short_hash(self) -> u64 {
        mix(hash_of((self.first | CASE) ^ self.len as u64), self.last)
    }

    /// The hash of the text with these ends; `text` begins with it.
    #[inline]
    pub(super) fn hash(self, text: &[u8]) -> u64 {
        let hash = self.short_hash();
        if self.len <= 16 { hash } else { hash_of_middle(hash, text.get(8..self.len - 8).unwrap_or_default()) }
    }
}

impl Text {
    pub(super) fn new(text: &[u8]) -> Self {
        let bytes = text.to_ascii_lowercase().into_boxed_slice();
        let Ends { first, last, .. } = Ends::of(&bytes, bytes.len());
        Self { first, last, bytes }
    }

    /// Of all bytes, the same for either case of a letter.
    pub(super) fn hash(&self) -> u64 {
        hash_of_text(&self.bytes)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether this is all of another text.
    #[inline]
    pub(super) fn is(&self, other: &[u8]) -> bool {
        self.len() == other.len() && self.begins(other)
    }

    /// Whether another text begins with this one.
    #[inline]
    pub(super) fn begins(&self, other: &[u8]) -> bool {
        self.begins_quickly(other).unwrap_or_else(|| self.begins_slowly(other))
    }

    /// As [`begins`](Self::begins), by three loads. `None`: they do not tell.
    #[inline(always)]
    pub(super) fn begins_quickly(&self, other: &[u8]) -> Option<bool> {
        let len = self.len();
        let first = u64::from_le_bytes(*other.first_chunk()?) ^ self.first;
        if len < 8 {
            return self.verdict(first & self.last);
        }
        let last = other.get(len - 8..len)?;
        self.verdict(first | (word(last) ^ self.last))
    }

    /// Whether this is the text with these ends; `other` begins with it.
    #[inline]
    pub(super) fn is_with(&self, ends: Ends, other: &[u8]) -> bool {
        self.is_quickly(ends).unwrap_or_else(|| self.begins_slowly(other))
    }

    /// Whether this is the text with these ends. `None`: they do not tell.
    #[inline(always)]
    pub(super) fn is_quickly(&self, ends: Ends) -> Option<bool> {
        if self.len() != ends.len {
            return Some(false);
        }
        self.verdict((self.first ^ ends.first) | (self.last ^ ends.last))
    }

    /// What it means that the ends of another text differ in these bits: it tells, unless the text is longer than they
    /// are, or they may differ in case alone.
    #[inline(always)]
    fn verdict(&self, differs: u64) -> Option<bool> {
        match differs {
            0 if self.len() <= 16 => Some(true),
            _ if differs & !CASE != 0 => Some(false),
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn begins_slowly(&self, other: &[u8]) -> bool {
        other.get(..self.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.bytes))
    }
}

/// The hash of a whole text.
pub(super) fn hash_of_text(text: &[u8]) -> u64 {
    Ends::of(text, text.len()).hash(text)
}

/// The ends of a path's segment, with which the text begins.
#[inline]
pub(super) fn segment(text: &[u8]) -> Ends {
    Ends::of(text, segment_len(text))
}

#[inline(never)]
fn hash_of_middle(hash: u64, middle: &[u8]) -> u64 {
    let (words, rest) = middle.as_chunks();
    let hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, short_word(rest))
}

/// The bits of so many bytes, fewer than eight.
#[inline(always)]
const fn mask(len: usize) -> u64 {
    (1 << (8 * (len & 7))) - 1
}

/// The first eight bytes.
#[inline(always)]
fn word(text: &[u8]) -> u64 {
    text.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// The first eight bytes, or as many as there are: the first in the lowest place.
#[inline]
fn short_word(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    hash_of(hash.rotate_left(5) ^ (word | CASE))
}

/// A number's hash; all of its bits count in the upper ones of the result.
#[inline]
pub(super) fn hash_of(number: u64) -> u64 {
    number.wrapping_mul(FACTOR)
}
