//! The head that nearly all requests have, in one pass: a line's end by 32 bytes, its name by 16.
//!
//! Invariants: a shortcut, not a second opinion. What passes here passes in `any`, with the same outcome (tests
//! compare the two); whatever is unusual, unfinished or wrong is left to it to judge.
//! Common are: GET or POST, a target in visible ASCII that begins with a slash, HTTP/1.1, fields with a value, at most
//! one space before it, none behind it and no tab in it, and CRLF.
//!
//! Text beyond ASCII takes a second look: what tells ASCII alone costs two instructions fewer for 16 bytes.
//!
//! A line's end is looked for from its beginning, not from its colon: what waits for what was found before takes longer
//! than all the rest.
//!
//! Not here: refusals (`any`), and what fields say of host, body and connection (`facts`).

use super::facts::{Facts, Line};
use super::{Head, Span, Version};
use crate::bytes::{is_token, offset};
use crate::header::KnownHeader;
use crate::limits::{HEADER_COUNT_MAX, Limits};
use crate::method::Method;
use crate::words::{self, block, chunk, last_text_marks, text_end, text_marks, word};
use ringress_scan::{Block, equal, name_marks, path_marks, query_marks};

// As numbers: arrays are compared byte by byte.
const GET: u32 = u32::from_le_bytes(*b"GET ");
const POST: u32 = u32::from_le_bytes(*b"POST");
const LINE_END: u32 = u16::from_le_bytes(*b"\r\n") as u32;
const HEAD_END: u32 = u32::from_le_bytes(*b"\r\n\r\n");
/// What is behind a target, in two pieces that overlap.
const VERSION: u64 = u64::from_le_bytes(*b" HTTP/1.");
const VERSION_END: u32 = u32::from_le_bytes(*b".1\r\n");
const VERSION_BYTES: u32 = 11;

/// Parses the head at the start of `input`, which is at most `head_bytes_max` long. `None`: it is not a common one.
#[inline]
pub(super) fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Option<()> {
    match four(input, 0)? {
        GET => parse_as::<false>(input, limits, head),
        POST if input.get(4) == Some(&b' ') => parse_post(input, limits, head),
        _ => None,
    }
}

/// Not inlined: what is known of GET at compile time saves as much as the call costs.
#[inline(never)]
fn parse_post(input: &[u8], limits: &Limits, head: &mut Head) -> Option<()> {
    parse_as::<true>(input, limits, head)
}

/// [`parse`] of a head that begins with GET and a space, or with POST and a space.
#[inline(always)]
fn parse_as<const IS_POST: bool>(input: &[u8], limits: &Limits, head: &mut Head) -> Option<()> {
    let target_start = if IS_POST { 5 } else { 4 };
    let (target_end, plain_path_len) = target(input, target_start)?;
    let target_len = target_end - target_start;
    let version: &[u8; VERSION_BYTES as usize] = chunk(input, target_end)?;
    if u64::from_le_bytes(*version.first_chunk()?) != VERSION
        || u32::from_le_bytes(*version.last_chunk()?) != VERSION_END
        || target_len > u32::from(limits.target_bytes_max)
    {
        return None;
    }
    let mut at = target_end + VERSION_BYTES;
    let mut facts = Facts::NONE;
    let count_max = usize::from(limits.header_count_max).min(HEADER_COUNT_MAX);
    let mut count = 0;
    loop {
        if count == count_max {
            return None;
        }
        let Field { known, name_len, mut end } = field(input, at)?;
        let behind = loop {
            let behind = four(input, end)?;
            if behind & 0xffff == LINE_END {
                break behind;
            }
            end = text_goes_on(input, end)?;
        };
        let colon = at + name_len;
        // An empty value ends here, or with the space before it.
        if colon + 1 >= end || *input.get((end as usize).checked_sub(1)?)? == b' ' {
            return None;
        }
        let start = match *chunk(input, colon + 1)? {
            [b' ', b' '] => return None,
            [b' ', _] => colon + 2,
            _ => at_once(colon + 1),
        };
        let span = Span { start: offset(start as usize), len: offset((end - start) as usize) };
        let header = head.headers.get_mut(count)?;
        header.name_start = offset(at as usize);
        header.name_len = short(name_len);
        header.known = known;
        header.value_start = span.start;
        header.value_len = span.len;
        count += 1;
        if known.is_noted() {
            facts.note(known, span, input).ok()?;
        }
        if behind == HEAD_END {
            let line = Line {
                method: if IS_POST { Method::Post } else { Method::Get },
                method_name: Span { start: 0, len: offset(target_start as usize - 1) },
                target: Span { start: offset(target_start as usize), len: offset(target_len as usize) },
                plain_path_len: offset(plain_path_len as usize),
                version: Version::Http11,
                method_is_safe: !IS_POST,
            };
            return facts.judge(input, &line, count, (end + 4) as usize, head).ok();
        }
        at = end + 2;
    }
}

#[inline(always)]
fn byte(input: &[u8], at: u32) -> Option<u8> {
    input.get(at as usize).copied()
}

/// Four bytes as a number.
#[inline(always)]
fn four(input: &[u8], at: u32) -> Option<u32> {
    chunk(input, at).map(|four| u32::from_le_bytes(*four))
}

/// Where the target that begins at `start` ends, and [`Head::plain_path_len`]. `None`: it does not begin with a slash.
#[inline(always)]
fn target(input: &[u8], start: u32) -> Option<(u32, u32)> {
    // What follows a target in a head that is whole is longer than a block.
    let mut block = words::block(input, start)?;
    if block[0] != b'/' {
        return None;
    }
    let mut at = start;
    loop {
        let mut marks = path_marks(block);
        while marks != 0 {
            let place = at + marks.trailing_zeros();
            if block[marks.trailing_zeros() as usize & 15] == b' ' {
                return Some((place, place - start));
            }
            if !is_passed(input, place) {
                return unusual_target(input, start, place);
            }
            marks &= marks - 1;
        }
        at += 16;
        block = words::block(input, at)?;
    }
}

/// Whether a byte that is marked means nothing to the path that it is in.
#[inline(never)]
fn is_passed(input: &[u8], place: u32) -> bool {
    let Some([before, byte]) = chunk(input, place - 1) else { return false };
    if *byte == b'.' { *before != b'/' } else { byte.is_ascii_graphic() && !matches!(byte, b'#' | b'%' | b'?') }
}

/// [`target`] from a place on from which nothing belongs to the path, or it is not a plain one.
#[inline(never)]
fn unusual_target(input: &[u8], start: u32, place: u32) -> Option<(u32, u32)> {
    let mut path_len = if byte(input, place)? == b'?' { place - start } else { 0 };
    let mut at = place;
    loop {
        let mut marks = query_marks(block(input, at)?);
        while marks != 0 {
            let place = at + marks.trailing_zeros();
            match byte(input, place)? {
                b' ' => return Some((place, path_len)),
                b'#' => path_len = 0,
                _ => return None,
            }
            marks &= marks - 1;
        }
        at += 16;
    }
}

/// Where a value begins that has no space before it. A call: so the compiler makes a branch of it, which is foreseen,
/// and not a sum, which is waited for.
#[cold]
#[inline(never)]
fn at_once(start: u32) -> u32 {
    start
}

/// A line with a name and a colon.
struct Field {
    known: KnownHeader,
    /// Bytes before the colon, at most 255.
    name_len: u32,
    /// Where the first byte is that is no text in ASCII.
    end: u32,
}

/// The place of the first control byte behind `at`, if what is there is beyond ASCII.
#[cold]
#[inline(never)]
fn text_goes_on(input: &[u8], at: u32) -> Option<u32> {
    let rest = input.get(at as usize..).filter(|rest| !rest[0].is_ascii())?;
    let behind = rest.iter().position(u8::is_ascii_control)?;
    Some(at + u32::try_from(behind).ok()?)
}

/// Bytes before a line that are looked at with it: a name may be shorter than what is hashed of it.
const BEFORE: u32 = 4;
/// A line's first block, and what is before it.
type Start = [u8; 20];
/// A line's first two blocks, and what is before them.
type LongStart = [u8; 36];

/// [`Start`] or [`LongStart`] of the line at `at` where fewer bytes are left.
#[cold]
#[inline(never)]
fn last_start<const N: usize>(input: &[u8], at: u32) -> [u8; N] {
    let mut start = [0; N];
    let rest = input.get((at - BEFORE) as usize..).unwrap_or_default();
    start.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    start
}

/// The field at `at`.
#[inline(always)]
fn field(input: &[u8], at: u32) -> Option<Field> {
    let last;
    let (start, marks): (&Start, u32) = match chunk::<{ size_of::<LongStart>() }>(input, at - BEFORE) {
        Some(line) => (line.first_chunk()?, text_marks(line.last_chunk()?)),
        None => {
            let start = match chunk(input, at - BEFORE) {
                Some(start) => start,
                None => {
                    last = last_start(input, at);
                    &last
                }
            };
            (start, last_text_marks(input, at)?)
        }
    };
    let end = if marks == 0 { text_end(input, at + 32)? } else { at + marks.trailing_zeros() };
    let block: &Block = start.last_chunk()?;
    let colons = equal(block, b':');
    if colons == 0 {
        let (known, name_len) = long_name(input, at)?;
        return Some(Field { known, name_len, end });
    }
    let name_len = colons.trailing_zeros();
    let last_four = u32::from_le_bytes(*start.get(name_len as usize & 15..)?.first_chunk()?);
    let known = match KnownHeader::lookup_words(last_four, name_len, [word(block, 0), word(block, 8)]) {
        // It is a token, in whatever case.
        Some(known) => known,
        None => {
            let is_plain = name_len > 0 && name_marks(block) & ((1 << name_len) - 1) == 0;
            if !is_plain && !is_token(input.get(at as usize..(at + name_len) as usize)?) {
                return None;
            }
            KnownHeader::Unknown
        }
    };
    Some(Field { known, name_len, end })
}

/// A length below 256 as it is stored.
#[inline(always)]
const fn short(len: u32) -> u8 {
    debug_assert!(len <= 0xff);
    #[expect(clippy::cast_possible_truncation, reason = "asserted")]
    let short = len as u8;
    short
}

/// Which name of more than 15 bytes is at `at`, and its length.
#[cold]
#[inline(never)]
fn long_name(input: &[u8], at: u32) -> Option<(KnownHeader, u32)> {
    let Some(start) = chunk::<{ size_of::<LongStart>() }>(input, at - BEFORE) else {
        return last_long_name(input, at);
    };
    long_name_in(start, input, at)
}

/// [`long_name`] where fewer bytes than two blocks are left.
#[cold]
#[inline(never)]
fn last_long_name(input: &[u8], at: u32) -> Option<(KnownHeader, u32)> {
    long_name_in(&last_start(input, at), input, at)
}

/// [`long_name`] of a line that begins with `start`.
#[inline(always)]
fn long_name_in(start: &LongStart, input: &[u8], at: u32) -> Option<(KnownHeader, u32)> {
    let first: &Block = start[BEFORE as usize..].first_chunk()?;
    let second: &Block = start.last_chunk()?;
    let colons = equal(second, b':');
    if colons == 0 {
        return longer_name(input, at);
    }
    let len = colons.trailing_zeros();
    // None that is known is longer.
    if len < 8 {
        let last_four = u32::from_le_bytes(*start.get(16 + (len as usize & 7)..)?.first_chunk()?);
        let words = [word(first, 0), word(first, 8), word(second, 0)];
        if let Some(known) = KnownHeader::lookup_words(last_four, 16 + len, words) {
            return Some((known, 16 + len));
        }
    }
    let marks = name_marks(first) | name_marks(second) & ((1 << len) - 1);
    if marks == 0 {
        return Some((KnownHeader::Unknown, 16 + len));
    }
    longer_name(input, at)
}

/// [`long_name`] of any bytes; not a known one.
#[cold]
#[inline(never)]
fn longer_name(input: &[u8], at: u32) -> Option<(KnownHeader, u32)> {
    let rest = input.get(at as usize..)?;
    let name = &rest[..memchr::memchr(b':', rest)?];
    let len = u32::from(u8::try_from(name.len()).ok()?);
    is_token(name).then_some((KnownHeader::Unknown, len))
}
