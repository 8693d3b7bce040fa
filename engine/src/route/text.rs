//! Host names and segments of paths as keys, compared without regard to ASCII case.
//!
//! Invariants: texts that differ in case alone have the same hash; a segment within a path has the hash of that text by
//! itself; equal hashes prove nothing, the registered bytes decide.
//!
//! Not here: the map that is asked by these hashes (`map`), and the decoding of paths (`proto::url`).

/// The golden ratio in 64 bits: odd, and without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The bit in which the cases of a letter differ, in every byte.
const CASE: u64 = u64::from_ne_bytes([0x20; 8]);
const SLASHES: u64 = u64::from_ne_bytes([b'/'; 8]);
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

/// A text that was registered, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// Of all bytes, the same for either case of a letter.
    pub(super) hash: u64,
    /// The first eight bytes, or as many as there are, and which bits of these count.
    first: u64,
    mask: u64,
    /// The last eight bytes, if there are so many.
    last: u64,
    bytes: Box<[u8]>,
}

impl Text {
    pub(super) fn new(text: &[u8]) -> Self {
        let bytes = text.to_ascii_lowercase().into_boxed_slice();
        let mask = u64::MAX >> (64 - 8 * bytes.len().clamp(1, 8));
        let (first, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => (last_bytes(&bytes, bytes.len()), 0),
        };
        Self { hash: hash_of_text(&bytes), first, mask: if bytes.is_empty() { 0 } else { mask }, last, bytes }
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

    /// Whether another text begins with this one. At most three loads tell, unless it is longer than 16 bytes, or the
    /// other one has letters in upper case.
    #[inline(always)]
    pub(super) fn begins(&self, other: &[u8]) -> bool {
        let Some(word) = other.first_chunk() else { return self.begins_slowly(other) };
        let difference = (u64::from_le_bytes(*word) ^ self.first) & self.mask;
        if difference & !CASE != 0 {
            return false;
        }
        let len = self.len();
        if len <= 8 {
            return difference == 0 || self.begins_slowly(other);
        }
        let Some(word) = other.get(len - 8..).and_then(<[u8]>::first_chunk) else { return false };
        let same = difference == 0 && u64::from_le_bytes(*word) == self.last;
        (same && len <= 16) || self.begins_slowly(other)
    }

    #[inline(never)]
    fn begins_slowly(&self, other: &[u8]) -> bool {
        other.get(..self.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.bytes))
    }
}

/// The hash of a whole text.
#[inline]
pub(super) fn hash_of_text(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks();
    let hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, last_bytes(text, rest.len()))
}

/// The hash and the length of a path's segment, with which the text begins.
#[inline]
pub(super) fn segment(text: &[u8]) -> (u64, usize) {
    let (mut hash, mut left) = (0, text);
    let (word, slashes) = loop {
        let Some((word, behind)) = left.split_first_chunk() else {
            let word = last_bytes(text, left.len());
            break (word, slashes_in(word));
        };
        let word = u64::from_le_bytes(*word);
        let slashes = slashes_in(word);
        if slashes != 0 {
            break (word, slashes);
        }
        hash = mix(hash, word);
        left = behind;
    };
    if slashes == 0 {
        return (mix(hash, word), text.len());
    }
    let len = text.len() - left.len() + slashes.trailing_zeros() as usize / 8;
    (mix(hash, word & below(slashes)), len)
}

/// The top bit of the first byte that is a slash; what is set above it means nothing.
#[inline]
fn slashes_in(word: u64) -> u64 {
    let difference = word ^ SLASHES;
    difference.wrapping_sub(ONES) & !difference & TOPS
}

/// The bytes before the first that is marked.
#[inline]
fn below(marks: u64) -> u64 {
    (marks ^ marks.wrapping_sub(1)) >> 8
}

/// The last so many bytes of a text, at most 7, the first in the lowest place.
#[inline]
fn last_bytes(text: &[u8], count: usize) -> u64 {
    match text.last_chunk() {
        _ if count == 0 => 0,
        Some(word) => u64::from_le_bytes(*word) >> (64 - 8 * count),
        None => text.iter().rev().take(count).fold(0, |word, byte| word << 8 | u64::from(*byte)),
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
