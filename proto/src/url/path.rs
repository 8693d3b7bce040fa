//! Canonical paths: one decoding, no dot segments.
//!
//! Invariants: escapes are decoded once; `%2F` stays escaped and is written in upper case; a backslash is an ordinary
//! byte; empty segments stay; the result is UTF-8 without control characters and begins with a slash.
//! Not here: case folding, Unicode normalisation.
//! Source: RFC 3986 sections 2.1, 3.3 and 5.2.4; RFC 3629 (UTF-8).

use crate::bytes::{hex_value, offset};
use crate::reject::Reject;
use crate::words::{each, path_marks, word, zeros};

/// What a byte means to a path that might already be canonical.
#[derive(Copy, Clone, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Plain,
    /// A dot: matters after a slash.
    Dot,
    /// `?` ends the path of a target, and is plain in a path alone.
    Question,
    /// The path must be looked at closely: `%`, beyond ASCII, or a byte that must not be there.
    Special,
}

static CLASS: [Class; 256] = {
    let mut table = [Class::Special; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte {
            0x23 | 0x25 => Class::Special,
            0x2e => Class::Dot,
            0x3f => Class::Question,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

/// How far a target's path is obviously canonical.
pub(super) struct Survey {
    /// Bytes looked at.
    pub(super) len: usize,
    /// Whether these are the whole path, up to the end or to a `?`.
    pub(super) plain: bool,
}

/// Looks for the end of the path, or for the first byte that asks for a closer look: eight bytes at a time while
/// none of them is remarkable.
#[inline]
pub(super) fn survey(target: &[u8]) -> Survey {
    let mut from = 0;
    while let Some(word) = target[from..].first_chunk() {
        if path_marks(u64::from_le_bytes(*word)) != 0
            && let Some(survey) = survey_bytes(target, from, from + 8)
        {
            return survey;
        }
        from += 8;
    }
    // The last eight bytes, some of them a second time, instead of the last few one by one.
    if target.last_chunk().is_none_or(|word| path_marks(u64::from_le_bytes(*word)) != 0)
        && let Some(survey) = survey_bytes(target, from, target.len())
    {
        return survey;
    }
    Survey { len: target.len(), plain: true }
}

/// [`survey`] byte by byte over `target[from..to]`; `None` if the path is canonical so far and goes on.
#[inline]
fn survey_bytes(target: &[u8], from: usize, to: usize) -> Option<Survey> {
    let at = from + target[from..to].iter().position(|&byte| CLASS[usize::from(byte)] != Class::Plain)?;
    survey_remarkable(target, at, to)
}

/// [`survey_bytes`] from a byte that is not plain.
fn survey_remarkable(target: &[u8], from: usize, to: usize) -> Option<Survey> {
    let mut last = if from == 0 { 0 } else { target[from - 1] };
    for (at, &byte) in target[from..to].iter().enumerate() {
        let len = from + at;
        match CLASS[usize::from(byte)] {
            Class::Plain => {}
            Class::Dot if last != b'/' => {}
            Class::Question => return Some(Survey { len, plain: true }),
            Class::Dot | Class::Special => return Some(Survey { len, plain: false }),
        }
        last = byte;
    }
    None
}

/// Offset of the first `?` at or after `from`, or the length.
#[inline]
pub(super) fn query_start(target: &[u8], from: usize) -> usize {
    memchr::memchr(b'?', &target[from..]).map_or(target.len(), |at| from + at)
}

/// Makes a path canonical: decodes its escapes once and removes its dot segments. `None` if it already is;
/// otherwise the canonical path is the first so many bytes of `scratch`.
///
/// # Errors
/// 400 for a path that does not begin with a slash, a broken escape, a control character, SP or `#` as sent, a decoded
/// control character, or text that is not UTF-8; 414 if `scratch` is shorter than `raw`.
pub fn canonical_path(raw: &[u8], scratch: &mut [u8]) -> Result<Option<u16>, Reject> {
    if raw.first() != Some(&b'/') {
        return Err(Reject::BadTarget);
    }
    rewrite(raw, scratch)
}

/// [`canonical_path`] for a path known to begin with a slash.
#[cold]
pub(super) fn rewrite(raw: &[u8], scratch: &mut [u8]) -> Result<Option<u16>, Reject> {
    if raw.len() > scratch.len() || raw.len() > usize::from(u16::MAX) {
        return Err(Reject::TargetTooLong);
    }
    core::str::from_utf8(raw).map_err(|_| Reject::BadTarget)?;
    let decoded_len = decode(raw, scratch)?;
    let decoded = &mut scratch[..decoded_len];
    core::str::from_utf8(decoded).map_err(|_| Reject::BadTarget)?;
    let len = remove_dot_segments(decoded);
    if &scratch[..len] == raw { Ok(None) } else { Ok(Some(offset(len))) }
}

/// Decodes escapes into `out`, which is no shorter than `raw`. Returns the bytes written.
fn decode(raw: &[u8], out: &mut [u8]) -> Result<usize, Reject> {
    let mut read = 0;
    let mut written = 0;
    while let Some(&byte) = raw.get(read) {
        match byte {
            b'%' => {
                let (decoded, kept) = unescape(&raw[read..])?;
                if ends_control(decoded[0], &out[..written]) {
                    return Err(Reject::BadTarget);
                }
                out[written..written + kept].copy_from_slice(&decoded[..kept]);
                written += kept;
                read += 3;
            }
            0..=b' ' | b'#' | 0x7f => return Err(Reject::BadTarget),
            0x80.. if ends_control(byte, &out[..written]) => return Err(Reject::BadTarget),
            _ => {
                out[written] = byte;
                written += 1;
                read += 1;
            }
        }
    }
    Ok(written)
}

/// Whether a byte of UTF-8 text makes a control character, U+0080 to U+009F, of the byte before it.
#[inline]
fn ends_control(byte: u8, before: &[u8]) -> bool {
    matches!(byte, 0x80..=0x9f) && before.last() == Some(&0xc2)
}

/// What the escape at the start of `text` becomes: bytes, of which so many count.
fn unescape(text: &[u8]) -> Result<([u8; 3], usize), Reject> {
    let &[b'%', high, low, ..] = text else {
        return Err(Reject::BadTarget);
    };
    let (Some(high), Some(low)) = (hex_value(high), hex_value(low)) else {
        return Err(Reject::BadTarget);
    };
    match high << 4 | low {
        0..=0x1f | 0x7f => Err(Reject::BadTarget),
        b'/' => Ok((*b"%2F", 3)),
        byte => Ok(([byte, 0, 0], 1)),
    }
}

/// Removes dot segments in place from a path that begins with a slash (RFC 3986 section 5.2.4). Returns the bytes
/// that remain.
///
/// `path[..kept]` is the output so far: whole segments, each with the slash before it.
fn remove_dot_segments(path: &mut [u8]) -> usize {
    let mut kept = 0;
    let mut read = 0;
    while read < path.len() {
        let segment = read + 1;
        let end = memchr::memchr(b'/', &path[segment..]).map_or(path.len(), |at| segment + at);
        let is_last = end == path.len();
        match &path[segment..end] {
            b"." | b".." => {
                if end - segment == 2 {
                    kept = memchr::memrchr(b'/', &path[..kept]).unwrap_or(0);
                }
                if is_last {
                    path[kept] = b'/';
                    kept += 1;
                }
            }
            _ => {
                path.copy_within(read..end, kept);
                kept += end - read;
            }
        }
        read = end;
    }
    kept
}

/// Bytes of the segment with which a text begins: as many as are before its first slash.
#[inline(always)]
#[must_use]
pub fn segment_len(text: &[u8]) -> usize {
    let Some(block) = text.first_chunk() else { return short_segment_len(text) };
    segment_len_within(block).unwrap_or_else(|| long_segment_len(text))
}

/// As [`segment_len`], if the slash is in the block; below 16.
#[inline(always)]
#[must_use]
pub fn segment_len_within(block: &[u8; 16]) -> Option<usize> {
    let slashes = ringress_scan::equal(block, b'/');
    (slashes != 0).then_some(slashes.trailing_zeros() as usize)
}

/// [`segment_len`] of fewer than 16 bytes.
#[inline]
fn short_segment_len(text: &[u8]) -> usize {
    let slashes = |word: u64| zeros(word ^ each(b'/')) & each(0x80);
    let in_first = slashes(word(text, 0));
    if in_first != 0 {
        return in_first.trailing_zeros() as usize / 8;
    }
    match text.last_chunk() {
        // What of it was in the first word has no slash. There are 64 zeros where none is.
        Some(last) => text.len() - 8 + slashes(u64::from_le_bytes(*last)).trailing_zeros() as usize / 8,
        None => text.len(),
    }
}

#[inline(never)]
fn long_segment_len(text: &[u8]) -> usize {
    memchr::memchr(b'/', text).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec;

    fn canonical(raw: &str) -> Result<String, Reject> {
        let mut scratch = vec![0; raw.len()];
        Ok(match canonical_path(raw.as_bytes(), &mut scratch)? {
            None => raw.into(),
            Some(len) => String::from_utf8(scratch[..usize::from(len)].to_vec()).expect("canonical paths are UTF-8"),
        })
    }

    #[test]
    fn dot_segments_go_as_in_rfc_3986() {
        let cases = [
            ("/", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../", "/"),
            ("/../../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("/..a/b..", "/..a/b.."),
            ("/a.b/c.", "/a.b/c."),
            ("//a//b/", "//a//b/"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("//../..", "/"),
            ("/.//a", "//a"),
        ];
        for (raw, want) in cases {
            assert_eq!(canonical(raw).as_deref(), Ok(want), "{raw}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        let cases = [
            ("/%61", "/a"),
            ("/a%20b", "/a b"),
            ("/%2e%2E/x", "/x"),
            ("/a/%2e%2e%2fb", "/a/..%2Fb"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%252F", "/%2F"),
            ("/%2525", "/%25"),
            ("/%5C", "/\\"),
            ("/a\\..\\b", "/a\\..\\b"),
            ("/%C3%A9", "/\u{e9}"),
            ("/%C2%A0", "/\u{a0}"),
            ("/%C3%80%C3%9F", "/\u{c0}\u{df}"),
            ("/%E0%A0%80", "/\u{800}"),
            ("/\u{e9}", "/\u{e9}"),
            ("/%3F%23", "/?#"),
            ("/%7E", "/~"),
            ("/%F0%9F%98%80", "/\u{1f600}"),
        ];
        for (raw, want) in cases {
            assert_eq!(canonical(raw).as_deref(), Ok(want), "{raw}");
        }
    }

    #[test]
    fn a_word_is_plain_only_if_every_byte_is() {
        for byte in 0..=255_u8 {
            for at in 0..8 {
                let mut word = *b"abcdefgh";
                word[at] = byte;
                let plain = CLASS[usize::from(byte)] == Class::Plain;
                let judged = path_marks(u64::from_le_bytes(word)) == 0;
                assert!(plain || !judged, "{byte:#x} at {at}");
                assert!(!plain || judged || b"!'".contains(&byte), "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn broken_paths_are_refused() {
        let cases: &[&[u8]] = &[
            b"",
            b"a",
            b"/%",
            b"/%4",
            b"/%4g",
            b"/%g4",
            b"/%%41",
            b"/% 1",
            b"/%+1",
            b"/%00",
            b"/%0a",
            b"/%0D",
            b"/%1f",
            b"/%7f",
            b"/%C2%80",
            b"/a%c2%85/",
            b"/%C2%9F",
            b"/\xc2\x80",
            b"/%c2\x9f",
            b"/#",
            b"/a b",
            b"/\t",
            b"/\x00",
            b"/\x7f",
            b"/\xff",
            b"/\xc3",
            b"/%C3",
            b"/%c0%af",
            b"/%C0%80",
            b"/%e0%80%af",
            b"/%ed%a0%80",
            b"/%f8%88%80%80%80",
            b"/%f4%90%80%80",
            b"/\xc3%a9",
            b"/%c3\xa9",
            b"/%u0041",
        ];
        for raw in cases {
            let mut scratch = [0; 64];
            assert_eq!(canonical_path(raw, &mut scratch), Err(Reject::BadTarget), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn a_canonical_path_stays_where_it_is() {
        let mut scratch = [0; 16];
        for raw in ["/", "/pipeline", "/a.b/c-d_e", "/%2F"] {
            assert_eq!(canonical_path(raw.as_bytes(), &mut scratch), Ok(None), "{raw}");
        }
        assert_eq!(canonical_path(b"/0123456789abcdef", &mut scratch), Err(Reject::TargetTooLong));
    }
}
