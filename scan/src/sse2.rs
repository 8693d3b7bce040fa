//! The classes in vector instructions that every x86-64 CPU has.
//!
//! Invariants: exactly one block is read, wherever it lies; nothing beyond SSE2 is used; every bit is exact.
//! Not here: what the classes are (`lib.rs`), and other CPUs (`portable`).
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. Bytes compare as signed numbers: a
//! range is told by one comparison once a sum has brought its end to the greatest of them.

use core::arch::x86_64::{
    __m128i, _mm_add_epi8, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8,
    _mm_or_si128, _mm_set1_epi8, _mm_subs_epi8,
};

use crate::Block;

#[inline]
#[target_feature(enable = "sse2")]
fn load(block: &Block) -> __m128i {
    // SAFETY: the block's 16 bytes may be read, and the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(core::ptr::from_ref(block).cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn each(byte: u8) -> __m128i {
    _mm_set1_epi8(byte.cast_signed())
}

#[inline]
#[target_feature(enable = "sse2")]
fn is(bytes: __m128i, byte: u8) -> __m128i {
    _mm_cmpeq_epi8(bytes, each(byte))
}

#[inline]
#[target_feature(enable = "sse2")]
fn is_between(bytes: __m128i, first: u8, last: u8) -> __m128i {
    let up = 0x7f - last;
    _mm_cmpgt_epi8(_mm_add_epi8(bytes, each(up)), each((first + up).wrapping_sub(1)))
}

#[inline]
#[target_feature(enable = "sse2")]
fn bits(bytes: __m128i) -> u32 {
    _mm_movemask_epi8(bytes).cast_unsigned()
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn equal(block: &Block, ascii: u8) -> u32 {
    bits(is(load(block), ascii))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn controls(block: &Block) -> u32 {
    let bytes = load(block);
    bits(_mm_or_si128(is_between(bytes, 0, 0x1f), is(bytes, 0x7f)))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn text_marks(block: &Block) -> u32 {
    // One more than each, as signed numbers: DEL and what is beyond ASCII are then below 1, controls at most 0x20. What
    // is less than 0x21 is negative without it, and none wraps around.
    bits(_mm_subs_epi8(_mm_add_epi8(load(block), each(1)), each(0x21)))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn name_marks(block: &Block) -> u32 {
    let bytes = load(block);
    let letters = is_between(_mm_or_si128(bytes, each(0x20)), b'a', b'z');
    let others = _mm_or_si128(is_between(bytes, b'0', b'9'), is(bytes, b'-'));
    bits(_mm_or_si128(letters, others)) ^ 0xffff
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn path_marks(block: &Block) -> u32 {
    let bytes = load(block);
    let plain = _mm_or_si128(is_between(bytes, b'/', b'~'), is(bytes, b'-'));
    bits(_mm_andnot_si128(is(bytes, b'?'), plain)) ^ 0xffff
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn query_marks(block: &Block) -> u32 {
    let bytes = load(block);
    bits(_mm_andnot_si128(is(bytes, b'#'), is_between(bytes, b'!', b'~'))) ^ 0xffff
}
