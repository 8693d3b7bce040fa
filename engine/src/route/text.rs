//! Host names and segments of paths as keys, compared without regard to ASCII case.

/// Distinct odd numbers would do as well: the golden ratio, in 64 bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The bit in which the cases of a letter differ, in every byte.
const CASE: u64 = u64::from_ne_bytes([0x20; 8]);
const SLASHES: u64 = u64::from_ne_bytes([b'/'; 8]);
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

/// A text to be looked up, as somebody sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'a> {
    bytes: &'a [u8],
    /// The bytes behind the last whole eight, 0 to 7 of them, the first in the lowest place.
    rest: u64,
    /// Of all bytes, the same for either case of a letter.
    pub(super) hash: u64,
}

/// A text that was registered, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) hash: u64,
    rest: u64,
    bytes: Box<[u8]>,
}

impl<'a> Sought<'a> {
    /// All of a text.
    #[inline]
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        let (words, tail) = bytes.as_chunks();
        let hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        let rest = last_bytes(bytes, tail.len());
        Self { bytes, rest, hash: mix(hash, rest) }
    }

    /// The segment of a path that begins at `from`, behind a slash.
    #[inline]
    pub(super) fn segment(path: &'a [u8], from: usize) -> Self {
        let (mut hash, mut at) = (0, from);
        loop {
            let left = path.get(at..).unwrap_or_default();
            let word =
                left.first_chunk().map_or_else(|| last_bytes(path, left.len()), |word| u64::from_le_bytes(*word));
            let differing = word ^ SLASHES;
            let slashes = differing.wrapping_sub(ONES) & !differing & TOPS;
            // Without a slash the eight bytes, or those that are left.
            let len = (slashes.trailing_zeros() as usize / 8).min(left.len());
            if len < 8 {
                let rest = word & !(u64::MAX << (8 * len));
                return Self { bytes: path.get(from..at + len).unwrap_or_default(), rest, hash: mix(hash, rest) };
            }
            hash = mix(hash, word);
            at += 8;
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl From<Sought<'_>> for Text {
    fn from(sought: Sought<'_>) -> Self {
        let bytes = sought.bytes.to_ascii_lowercase().into_boxed_slice();
        let Sought { rest, hash, .. } = Sought::whole(&bytes);
        Self { hash, rest, bytes }
    }
}

impl Text {
    /// Whether this is the text that somebody has sent.
    #[inline]
    pub(super) fn is(&self, sought: &Sought<'_>) -> bool {
        if self.hash != sought.hash || self.bytes.len() != sought.bytes.len() {
            return false;
        }
        let (own, theirs) = (self.bytes.as_chunks::<8>().0, sought.bytes.as_chunks::<8>().0);
        // Most clients send what was registered. Where they do not, upper case may make the difference, or a hash that
        // somebody has chosen.
        let as_registered = self.rest == sought.rest && own.iter().zip(theirs).all(|(own, their)| own == their);
        as_registered || self.is_in_other_case(sought)
    }

    #[cold]
    fn is_in_other_case(&self, sought: &Sought<'_>) -> bool {
        self.bytes.eq_ignore_ascii_case(sought.bytes)
    }
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
    hash_of(hash ^ (word | CASE))
}

/// A number's hash; all of its bits count in the upper ones of the result.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
pub(super) fn hash_of(number: u64) -> u64 {
    let product = u128::from(number) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}
