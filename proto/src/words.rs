//! Words of eight bytes and blocks of sixteen, also where the bytes end in the middle of one.
//!
//! Invariants: beyond the end there are zeros. A word is little-endian, so that its lowest byte comes first; what is
//! found in one is named by the high bit of its byte, the lowest one exactly, those above it perhaps by a borrow.
//! Not here: anything that knows what a field means.

use ringress_scan::{self as scan, Block};

/// Eight times the same byte.
#[inline]
pub(crate) const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each of eight bytes that is zero, and perhaps of bytes above it; the other bits mean nothing.
#[inline]
pub(crate) const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word
}

/// The bytes from `at` on.
#[inline(always)]
pub(crate) const fn word(bytes: &[u8], at: usize) -> u64 {
    if let Some((_, rest)) = bytes.split_at_checked(at)
        && let Some(word) = rest.first_chunk()
    {
        return u64::from_le_bytes(*word);
    }
    last_word(bytes, at)
}

/// [`word`] where fewer than eight bytes are left.
#[inline]
const fn last_word(bytes: &[u8], at: usize) -> u64 {
    let left = bytes.len().saturating_sub(at);
    match bytes.last_chunk() {
        // All eight bytes are shifted out where none is left.
        Some(word) if left < 8 => (u64::from_le_bytes(*word) >> (8 * (7 - left))) >> 8,
        Some(_) => 0,
        None => short_word(bytes.split_at(bytes.len() - left).1),
    }
}

/// Up to seven bytes: two pieces that overlap, or three bytes.
#[inline]
const fn short_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk(), bytes.last_chunk(), bytes) {
        (Some(first), Some(last), _) => {
            u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << (8 * (bytes.len() - 4))
        }
        (.., [first]) => *first as u64,
        (.., [first, second]) => *first as u64 | (*second as u64) << 8,
        (.., [first, second, third]) => *first as u64 | (*second as u64) << 8 | (*third as u64) << 16,
        _ => 0,
    }
}

/// The block at `at`, if there are as many bytes. Places are numbers of 32 bits, so that a sum cannot overflow, and one
/// comparison is enough.
#[inline(always)]
pub(crate) fn block(bytes: &[u8], at: u32) -> Option<&Block> {
    chunk(bytes, at)
}

/// So many bytes at `at`.
#[inline(always)]
pub(crate) fn chunk<const N: usize>(bytes: &[u8], at: u32) -> Option<&[u8; N]> {
    bytes.get(at as usize..at as usize + N)?.first_chunk()
}

/// Which of 32 bytes are no text in ASCII.
#[inline(always)]
pub(crate) fn text_marks(pair: &[u8; 32]) -> u32 {
    match pair.as_chunks() {
        ([first, second], []) => scan::text_marks(first) | scan::text_marks(second) << 16,
        _ => 0,
    }
}

/// [`text_marks`] of the bytes from `at` on where fewer than 32 are left. `None`: none are.
#[inline(always)]
pub(crate) fn last_text_marks(bytes: &[u8], at: u32) -> Option<u32> {
    let left = u32::try_from(bytes.len()).ok()?.checked_sub(at)?;
    match bytes.last_chunk() {
        Some(pair) => text_marks(pair).checked_shr(32 - left),
        None => short_text_marks(bytes.get(at as usize..)?),
    }
}

#[cold]
#[inline(never)]
fn short_text_marks(bytes: &[u8]) -> Option<u32> {
    let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
    Some(bytes.iter().rev().fold(0, |marks, byte| marks << 1 | u32::from(!is_text(byte))))
}

/// The place of the first byte from `at` on that is no text in ASCII, if there is one.
#[inline(always)]
pub(crate) fn text_end(bytes: &[u8], mut at: u32) -> Option<u32> {
    while let Some(pair) = chunk(bytes, at) {
        let marks = text_marks(pair);
        if marks != 0 {
            return Some(at + marks.trailing_zeros());
        }
        at += 32;
    }
    let marks = last_text_marks(bytes, at)?;
    (marks != 0).then_some(at + marks.trailing_zeros())
}

/// Whether one of eight bytes is below SP or is DEL.
#[inline]
pub(crate) const fn has_control(word: u64) -> bool {
    let below_space = word.wrapping_sub(each(0x20)) & !word;
    (below_space | zeros(word ^ each(0x7f))) & each(0x80) != 0
}

/// Names what may mean something to a path: `%`, `#`, `.`, `?`, controls, SP, DEL and whatever is beyond ASCII. May
/// name a few more (`!`, `'`, and bytes after one that is named), never fewer.
#[inline]
pub(crate) const fn path_marks(word: u64) -> u64 {
    let controls = word.wrapping_sub(each(0x21)) | word;
    // 0x23 `#` and 0x25 `%` differ in the bits 0x06.
    let marks = zeros((word ^ each(0x21)) & each(0xf9));
    let dots = zeros(word ^ each(b'.'));
    // 0x3f `?` and 0x7f differ in the bit 0x40.
    let ends = zeros((word ^ each(b'?')) & each(0xbf));
    (controls | marks | dots | ends) & each(0x80)
}

/// Whether all eight bytes are letters, digits, `-` or `.`.
#[inline]
pub(crate) const fn is_plain_name(word: u64) -> bool {
    // With the high bits clear no sum carries into the next byte: its high bit tells "not less than".
    let seven_bits = word & each(0x7f);
    let folded = seven_bits | each(0x20);
    let letters = (folded + each(0x80 - b'a')) & !(folded + each(0x7f - b'z'));
    let dash_to_nine = (seven_bits + each(0x80 - b'-')) & !(seven_bits + each(0x7f - b'9'));
    let not_slash = (seven_bits ^ each(b'/')) + each(0x7f);
    (letters | (dash_to_nine & not_slash)) & !word & each(0x80) == each(0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_end_there_are_zeros() {
        let bytes: [u8; 40] = core::array::from_fn(|at| u8::try_from(at + 1).expect("a small number"));
        for len in 0..=bytes.len() {
            let bytes = &bytes[..len];
            let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
            for at in 0..=len + 9 {
                let want = u64::from_le_bytes(core::array::from_fn(|place| byte(at + place)));
                assert_eq!(word(bytes, at), want, "{len} bytes, from {at} on");
                let place = u32::try_from(at).expect("a small number");
                let want: Block = core::array::from_fn(|place| byte(at + place));
                let whole = at + 16 <= len;
                assert_eq!(block(bytes, place), whole.then_some(&want), "{len} bytes, from {at} on");
            }
        }
    }

    #[test]
    fn text_ends_at_the_first_byte_that_is_none_wherever_it_stands() {
        for byte in [0, b'\t', b'\n', 0x1f, b' ', b'~', 0x7f, 0x80, 0xff] {
            for len in 1..100_usize {
                for at in 0..len {
                    let mut bytes = [b'a'; 100];
                    bytes[at] = byte;
                    let bytes = &bytes[..len];
                    for from in [0, 1, 15, 16, 17, 31, 32, 33, at.saturating_sub(1), at, at + 1, len, len + 1] {
                        let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
                        let found = bytes.iter().enumerate().skip(from).find(|(_, byte)| !is_text(byte));
                        let want = found.map(|(at, _)| at);
                        let end = text_end(bytes, u32::try_from(from).expect("a small number"));
                        assert_eq!(end.map(|end| end as usize), want, "{byte:#x} at {at} of {len}, from {from} on");
                    }
                }
            }
        }
    }
}
