//! Byte classes and small conversions shared by the parsers.
//!
//! Invariants: tables are built at compile time; every function is total.
//! Not here: anything that knows what a field means.
//! Source: RFC 9110 section 5.6.2 (token), section 5.5 (field-value).

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

/// Whether `bytes` is a token: one or more `tchar`.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand in a field value: HTAB, SP, VCHAR or obs-text.
#[inline]
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20) & (byte != 0x7f) | (byte == b'\t')
}

/// Whether every byte may stand in a field value: eight bytes at a time while there are no control bytes.
#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        if has_control(u64::from_le_bytes(*word)) {
            return rest.iter().all(|&byte| is_value_byte(byte));
        }
        rest = after;
    }
    rest.iter().all(|&byte| is_value_byte(byte))
}

/// Length of the longest start of `bytes` that is visible ASCII, `!` to `~`, and whether none of it means anything to a
/// path. Of what means nothing to one it only knows what has its place from `/` on, the question mark left out:
/// letters, digits and a few more.
#[inline]
pub(crate) fn visible_len(bytes: &[u8]) -> (usize, bool) {
    let (words, rest) = bytes.as_chunks();
    let mut len = 0;
    let mut marks = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let low = low_marks(word);
        // Whatever is not visible is low, or has its high bit set: most words are neither.
        if low | (word & each(0x80)) != 0 {
            // Not visible: a byte below `!`, DEL, or one with its high bit set. Exact up to the first such byte, since
            // a borrow only reaches bytes after it.
            let strange = (word.wrapping_sub(each(0x21)) | word | zeros(word ^ each(0x7f))) & each(0x80);
            if strange != 0 {
                let before_first = (strange & strange.wrapping_neg()) - 1;
                let is_plain = marks | (low & before_first) == 0;
                return (len + strange.trailing_zeros() as usize / 8, is_plain);
            }
            marks |= low;
        }
        len += 8;
    }
    let visible = |byte: &u8| (b'!'..=b'~').contains(byte);
    let end = rest.iter().position(|byte| !visible(byte));
    // A target at the very end of the input is not a whole one: nobody asks.
    (end.map_or(bytes.len(), |at| len + at), false)
}

/// The high bit of each of eight bytes that is below `/`, or is `?` or DEL, and perhaps of others after one that is.
#[inline]
const fn low_marks(word: u64) -> u64 {
    // 0x3f `?` and 0x7f differ in the bit 0x40.
    (word.wrapping_sub(each(b'/')) | zeros((word ^ each(b'?')) & each(0xbf))) & each(0x80)
}

/// The high bit of each of eight bytes that may mean something to a path: `%`, `#`, `.`, `?`, controls, SP, DEL and
/// whatever is beyond ASCII. May name a few more (`!`, `'`, and bytes after one that is named), never fewer.
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

/// Length of the longest start of `bytes` without control bytes: SP and more but DEL, obs-text included.
#[inline]
pub(crate) fn text_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    let mut len = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // Exact up to the first control byte, since a borrow only reaches bytes after it.
        let control = ((word.wrapping_sub(each(0x20)) & !word) | zeros(word ^ each(0x7f))) & each(0x80);
        if control != 0 {
            return len + control.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let control = |byte: &u8| *byte < 0x20 || *byte == 0x7f;
    rest.iter().position(control).map_or(bytes.len(), |at| len + at)
}

/// Offset of the first `wanted` byte: for those that are near.
#[inline]
pub(crate) fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    let mut len = 0;
    for word in words {
        let found = zeros(u64::from_le_bytes(*word) ^ each(wanted)) & each(0x80);
        if found != 0 {
            return Some(len + found.trailing_zeros() as usize / 8);
        }
        len += 8;
    }
    rest.iter().position(|byte| *byte == wanted).map(|at| len + at)
}

/// Whether one of eight bytes is below SP or is DEL. May say so of others that stand beside one.
#[inline]
const fn has_control(word: u64) -> bool {
    let below_space = word.wrapping_sub(each(0x20)) & !word;
    (below_space | zeros(word ^ each(0x7f))) & each(0x80) != 0
}

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
    fn visible_text_ends_at_the_first_other_byte_wherever_it_stands() {
        for other in (0..=0x20).chain(0x7f..=0xff) {
            for at in 0..20 {
                for behind in [b'!', b'~', b'?', 0, 0x7f, 0xff] {
                    let mut bytes = [b'a'; 32];
                    bytes[at] = other;
                    bytes[at + 1] = behind;
                    bytes[..at].iter_mut().step_by(2).for_each(|byte| *byte = b'~');
                    assert_eq!(visible_len(&bytes), (at, true), "{other:#x} then {behind:#x}");
                    for (mark, marked) in b"%#.?".iter().flat_map(|mark| (0..at).map(move |place| (*mark, place))) {
                        let mut bytes = bytes;
                        bytes[marked] = mark;
                        assert_eq!(visible_len(&bytes), (at, false), "{mark:#x} at {marked}, {other:#x} at {at}");
                    }
                }
            }
        }
        assert_eq!(visible_len(b"abcdefghij"), (10, false));
    }

    #[test]
    fn text_ends_at_the_first_control_byte_wherever_it_stands() {
        for other in (0..0x20).chain([0x7f]) {
            for at in 0..20 {
                for behind in [b' ', b'~', 0, 0x7f, 0x80, 0xff] {
                    let mut bytes = [b'!'; 24];
                    bytes[at] = other;
                    bytes[at + 1] = behind;
                    bytes[..at].iter_mut().step_by(2).for_each(|byte| *byte = 0x80);
                    bytes[..at].iter_mut().step_by(3).for_each(|byte| *byte = b' ');
                    bytes[..at].iter_mut().step_by(5).for_each(|byte| *byte = 0xff);
                    assert_eq!(text_len(&bytes), at, "{other:#x} then {behind:#x}");
                    assert_eq!(position(&bytes, other), Some(at), "{other:#x} then {behind:#x}");
                }
            }
        }
        assert_eq!(text_len(b"abcde fghij"), 11);
        assert_eq!(position(b"abcde fghij", b'z'), None);
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
