//! The classes for any CPU: eight bytes at a time in one word.
//!
//! Invariants: sums are made with the high bits clear, so that none carries into the next byte and every bit is exact.
//! Not here: what the classes are (`lib.rs`), and vector instructions (`sse2`).

use crate::Block;

/// The high bit of each byte.
const HIGH: u64 = each(0x80);

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The bits of a block, from those of its words: the high bit of each byte counts.
#[inline]
fn bits(block: &Block, class: impl Fn(u64) -> u64) -> u32 {
    let (words, _) = block.as_chunks();
    let mut all = 0;
    for (word, place) in words.iter().zip([0, 8]) {
        // The product brings the eight bits, seven places apart each, side by side to its top.
        let high = (class(u64::from_le_bytes(*word)) & HIGH) >> 7;
        all |= (high.wrapping_mul(0x0102_0408_1020_4080) >> 56) << place;
    }
    u32::try_from(all).unwrap_or_default()
}

/// Bytes of at least `first`, which is ASCII and not 0; nothing is said of those beyond ASCII.
const fn at_least(word: u64, first: u8) -> u64 {
    (word & !HIGH) + each(0x80 - first)
}

/// Bytes equal to an ASCII one.
const fn is(word: u64, ascii: u8) -> u64 {
    !(((word & !HIGH) ^ each(ascii)) + each(0x7f)) & !word
}

/// Bytes from `first` to `last`, both ASCII, `first` not 0 and `last` not DEL.
const fn is_between(word: u64, first: u8, last: u8) -> u64 {
    at_least(word, first) & !at_least(word, last + 1) & !word
}

pub(crate) fn equal(block: &Block, ascii: u8) -> u32 {
    bits(block, |word| is(word, ascii))
}

pub(crate) fn controls(block: &Block) -> u32 {
    bits(block, |word| (!at_least(word, b' ') | is(word, 0x7f)) & !word)
}

pub(crate) fn text_marks(block: &Block) -> u32 {
    bits(block, |word| !is_between(word, b' ', b'~'))
}

pub(crate) fn name_marks(block: &Block) -> u32 {
    let is_letter = |word| is_between(word | each(0x20), b'a', b'z');
    bits(block, |word| !(is_letter(word) | is_between(word, b'0', b'9') | is(word, b'-')))
}

pub(crate) fn path_marks(block: &Block) -> u32 {
    bits(block, |word| !(is_between(word, b'/', b'~') | is(word, b'-')) | is(word, b'?'))
}

pub(crate) fn query_marks(block: &Block) -> u32 {
    bits(block, |word| !is_between(word, b'!', b'~') | is(word, b'#'))
}
