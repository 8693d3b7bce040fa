//! Byte classes and small conversions shared by the parsers.
//!
//! Invariants: tables are built at compile time; every function is total.
//! Not here: anything that knows what a field means.
//! Source: RFC 9110 section 5.6.2 (token), section 5.5 (field-value).

use crate::words::{each, has_control, is_plain_name};
use ringress_scan::controls;

/// `tchar` of RFC 9110 section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stops at 0x80")]
        let ascii = byte as u8;
        table[byte] = ascii.is_ascii_alphanumeric()
            || matches!(
                ascii,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a method or field name.
#[inline]
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether `bytes` is a token: one or more `tchar`. Eight bytes at a time while they are letters, digits and the like.
#[inline(never)]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        if !is_plain_name(u64::from_le_bytes(*word)) {
            break;
        }
        rest = after;
    }
    !bytes.is_empty() && rest.iter().all(|&byte| is_token_byte(byte))
}

/// Whether a value is this word, which is of 4 to 16 bytes, none of them a capital, in any case. A value has no control
/// bytes: but for these, what differs from a byte of the word in the bit 0x20 alone is the same letter.
#[inline]
pub(crate) const fn is_word<const N: usize>(value: &[u8], word: &[u8; N]) -> bool {
    const { assert!(4 <= N && N <= 16) };
    if value.len() != N {
        return false;
    }
    // Two pieces that overlap.
    if let (Some(first), Some(last), Some(word_first), Some(word_last)) =
        (value.first_chunk(), value.last_chunk(), word.first_chunk(), word.last_chunk())
    {
        let differs = (u64::from_le_bytes(*first) | each(0x20)) ^ u64::from_le_bytes(*word_first);
        return differs | (u64::from_le_bytes(*last) | each(0x20)) ^ u64::from_le_bytes(*word_last) == 0;
    }
    if let (Some(first), Some(last), Some(word_first), Some(word_last)) =
        (value.first_chunk(), value.last_chunk(), word.first_chunk(), word.last_chunk())
    {
        let differs = (u32::from_le_bytes(*first) | 0x2020_2020) ^ u32::from_le_bytes(*word_first);
        return differs | (u32::from_le_bytes(*last) | 0x2020_2020) ^ u32::from_le_bytes(*word_last) == 0;
    }
    false
}

/// Whether `byte` may stand in a field value: HTAB, SP, VCHAR or obs-text.
#[inline]
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20) & (byte != 0x7f) | (byte == b'\t')
}

/// Whether every byte may stand in a field value: in pieces of 16 or 8 bytes, the last two of which overlap, while they
/// have no control bytes.
#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let has_none = match (bytes.first_chunk(), bytes.last_chunk(), bytes.last_chunk()) {
        (_, _, Some(last)) => {
            let (blocks, _) = bytes.as_chunks();
            controls(last) == 0 && blocks.iter().all(|block| controls(block) == 0)
        }
        (Some(first), Some(last), _) => {
            !has_control(u64::from_le_bytes(*first)) && !has_control(u64::from_le_bytes(*last))
        }
        _ => false,
    };
    has_none || bytes.iter().all(|&byte| is_value_byte(byte))
}

/// `bytes` without SP and HTAB at either end (OWS, RFC 9110 section 5.6.3).
#[inline]
pub(crate) const fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The value of one hexadecimal digit.
#[inline]
pub(crate) const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// An offset into a head as it is stored: heads are at most 65,535 bytes, so nothing is lost.
#[inline]
pub(crate) const fn offset(index: usize) -> u16 {
    debug_assert!(index <= u16::MAX as usize);
    #[expect(clippy::cast_possible_truncation, reason = "head_bytes_max is a u16 and only that many bytes are read")]
    let narrow = index as u16;
    narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_judged_alike_at_every_length_and_place() {
        for byte in 0..=255_u8 {
            for at in 0..20 {
                let mut text = [b'x'; 20];
                text[at] = byte;
                assert_eq!(is_token(&text), is_token_byte(byte), "{byte:#x} at {at}");
                assert_eq!(is_token(&text[..=at]), is_token_byte(byte), "{byte:#x} last");
            }
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn a_word_is_itself_in_any_case_and_nothing_else() {
        fn check<const N: usize>(word: &[u8; N]) {
            assert!(is_word(word, word) && is_word(&word.to_ascii_uppercase(), word));
            assert!(!is_word(&word[1..], word) && !is_word(&[&word[..], b"x"].concat(), word));
            for at in 0..N {
                for byte in (b' '..=b'~').chain([b'\t']).chain(0x80..=0xff) {
                    let mut value = *word;
                    value[at] = byte;
                    assert_eq!(is_word(&value, word), value.eq_ignore_ascii_case(word), "{byte:#x} at {at}");
                }
            }
        }
        check(b"gzip");
        check(b"close");
        check(b"chunked");
        check(b"12345678");
        check(b"keep-alive");
        check(b"100-continue");
    }

    #[test]
    fn a_value_is_judged_alike_at_every_length_and_place() {
        for byte in 0..=255_u8 {
            for at in 0..20 {
                let mut text = [b'x'; 20];
                text[at] = byte;
                assert_eq!(is_value(&text), is_value_byte(byte), "{byte:#x} at {at}");
                assert_eq!(is_value(&text[at..]), is_value_byte(byte), "{byte:#x} first");
                text[0] = b'\t';
                assert_eq!(is_value(&text), at == 0 || is_value_byte(byte), "{byte:#x} at {at}, after a tab");
            }
        }
    }
}
