//! The head that nearly all requests have, in one pass of eight bytes at a time.
//!
//! Invariants: a shortcut, not a second opinion. What passes here passes in `any`, with the same outcome (tests
//! compare the two); whatever is unusual, unfinished or wrong is left to it to judge.
//! Common are: GET or POST, a target in visible ASCII, HTTP/1.1, fields with a value, at most one space before it,
//! none behind it and no tab in it, and CRLF.

use super::facts::{Facts, Line};
use super::{Head, HeaderSpan, Span, Version};
use crate::bytes::{is_token, offset, position, text_len, visible_len};
use crate::header::KnownHeader;
use crate::limits::Limits;
use crate::method::Method;

/// Parses the head at the start of `input`, which is at most `head_bytes_max` long. `None`: it is not a common one.
#[inline]
pub(super) fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Option<()> {
    let (line, mut at) = request_line(input)?;
    if line.target.len > limits.target_bytes_max {
        return None;
    }
    let mut facts = Facts::NONE;
    let mut count = 0;
    while input.get(at..)?.first_chunk() != Some(b"\r\n") {
        if count == usize::from(limits.header_count_max) {
            return None;
        }
        let header = head.headers.get_mut(count)?;
        let (known, span, value) = field(input, at, header)?;
        facts.note(known, span, value).ok()?;
        at = span.end() + 2;
        count += 1;
    }
    facts.judge(&line, count, at + 2, head).ok()
}

/// The request line, and where the next one begins.
#[inline]
fn request_line(input: &[u8]) -> Option<(Line, usize)> {
    // As numbers: arrays are compared byte by byte.
    const GET: u32 = u32::from_le_bytes(*b"GET ");
    const POST: u32 = u32::from_le_bytes(*b"POST");
    let (method, method_len) = match u32::from_le_bytes(*input.first_chunk()?) {
        GET => (Method::Get, 3),
        POST if input.get(4) == Some(&b' ') => (Method::Post, 4),
        _ => return None,
    };
    let start = method_len + 1;
    let (target_len, target_is_plain) = visible_len(&input[start..]);
    let end = start + target_len;
    if end == start || input.get(end..)?.first_chunk() != Some(b" HTTP/1.1\r\n") {
        return None;
    }
    let line = Line {
        method,
        method_name: Span { start: 0, len: offset(method_len) },
        target: Span { start: offset(start), len: offset(end - start) },
        target_is_plain,
        version: Version::Http11,
    };
    Some((line, end + b" HTTP/1.1\r\n".len()))
}

/// Stores where the field at `at` is. Gives which it is and where its value is, as the parts they are: what has just
/// been stored in parts and is read back whole costs a stalled load for every field.
#[inline]
fn field<'a>(input: &'a [u8], at: usize, header: &mut HeaderSpan) -> Option<(KnownHeader, Span, &'a [u8])> {
    let rest = &input[at..];
    let name_len = position(rest, b':')?;
    let name = &rest[..name_len];
    let known = KnownHeader::lookup(name);
    // A known name is a token, in whatever case.
    if known == KnownHeader::Unknown && !is_token(name) {
        return None;
    }
    header.name_start = offset(at);
    header.name_len = u8::try_from(name_len).ok()?;
    header.known = known;
    let gap = 1 + usize::from(rest.get(name_len + 1) == Some(&b' '));
    let value = &rest[name_len + gap..];
    let value_len = text_len(value);
    if value.get(value_len..)?.first_chunk() != Some(b"\r\n") {
        return None;
    }
    let value = &value[..value_len];
    if matches!(value, [] | [b' ', ..] | [.., b' ']) {
        return None;
    }
    let span = Span { start: offset(at + name_len + gap), len: offset(value_len) };
    header.value_start = span.start;
    header.value_len = span.len;
    Some((known, span, value))
}
