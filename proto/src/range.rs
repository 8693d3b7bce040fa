//! Byte ranges: which part of a representation a request asks for, and the fields and part heads of the response.
//!
//! Invariants: a selected range lies within the representation; what a request asks for together is never more than all
//! of it; a Range field that is malformed or asks for too much is ignored, as the standard allows, never refused.
//! Not here: the bytes, the choice of a boundary, merging and sorting ranges, units other than bytes.
//! Source: RFC 9110 sections 13.1.5, 14, 15.3.7, 15.5.17; RFC 2046 section 5.1.1.

mod answer;

pub use answer::{Multipart, Text, content_range, unsatisfied_range};

use crate::bytes::trim_ows;
use crate::date::parse_imf_fixdate;
use crate::etag::EntityTag;
use crate::method::Method;

/// The most ranges that are selected for one request. A request for more gets the whole.
pub const RANGES_MAX: usize = 16;

/// A range of bytes, both ends included.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte; not before `first`.
    pub last: u64,
}

impl ByteRange {
    /// The number of bytes.
    #[must_use]
    pub const fn byte_count(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// The ranges of one request, in the order of the request: 2 to 16 (`RANGES_MAX`).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    list: [ByteRange; RANGES_MAX],
    count: usize,
}

impl Ranges {
    /// The ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.list[..self.count]
    }
}

/// What a request asks for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is no allocation here, and it is looked at once")]
#[non_exhaustive]
pub enum Selection {
    /// All: there is no Range field, or it is to be ignored. The response is 200.
    Whole,
    /// One range: 206 with a Content-Range (`content_range`).
    Single(ByteRange),
    /// Several: 206 with the parts of a `Multipart`.
    Multiple(Ranges),
    /// None of the ranges has a byte of the representation: 416 with a Content-Range of its own (`unsatisfied_range`).
    Unsatisfiable,
}

/// What a request asks for of a representation of `length` bytes. `range` is the value of its Range field; of a field
/// that is repeated give none, since it is not a list.
///
/// Ignored are: Range in methods other than GET; units other than bytes; malformed sets; more than 16 ranges
/// ([`RANGES_MAX`]); and ranges that together have more bytes than the representation, which they can only by
/// overlapping. The last two are how a short request makes a server send, or prepare to send, a file many times over
/// (RFC 9110 section 17.15); with these bounds a response is never larger than the whole and the heads of a few parts.
///
/// Also `Whole`: a suffix of an empty representation, since no Content-Range can say that.
#[must_use]
pub fn select(method: Method, range: Option<&[u8]>, length: u64) -> Selection {
    match range {
        Some(value) if method == Method::Get => read(value, length).unwrap_or(Selection::Whole),
        _ => Selection::Whole,
    }
}

/// The ranges that are asked for; `None` if the field is to be ignored.
fn read(value: &[u8], length: u64) -> Option<Selection> {
    let (unit, set) = value.split_at(memchr::memchr(b'=', value)?);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut ranges = Ranges { list: [ByteRange::default(); RANGES_MAX], count: 0 };
    let (mut spec_count, mut byte_count) = (0, 0_u64);
    let mut is_empty_suffix = false;
    for spec in set[1..].split(|&byte| byte == b',').map(trim_ows).filter(|spec| !spec.is_empty()) {
        spec_count += 1;
        if spec_count > RANGES_MAX {
            return None;
        }
        match Spec::read(spec)?.of(length) {
            Part::Range(range) => {
                byte_count = byte_count.checked_add(range.byte_count()).filter(|count| *count <= length)?;
                ranges.list[ranges.count] = range;
                ranges.count += 1;
            }
            Part::EmptySuffix => is_empty_suffix = true,
            Part::Nothing => {}
        }
    }
    match ranges.as_slice() {
        _ if spec_count == 0 || is_empty_suffix => None,
        [] => Some(Selection::Unsatisfiable),
        [range] => Some(Selection::Single(*range)),
        _ => Some(Selection::Multiple(ranges)),
    }
}

/// One range as it is asked for. Numbers beyond 64 bits are as good as the largest: no representation has that byte.
#[derive(Copy, Clone, Debug)]
enum Spec {
    /// `first-last`, or `first-` with the largest number.
    From(u64, u64),
    /// `-count`
    Suffix(u64),
}

/// What a representation has of it.
enum Part {
    Range(ByteRange),
    EmptySuffix,
    Nothing,
}

impl Spec {
    fn read(spec: &[u8]) -> Option<Self> {
        let (first, last) = spec.split_at(memchr::memchr(b'-', spec)?);
        let last = &last[1..];
        if !first.iter().chain(last).all(u8::is_ascii_digit) {
            return None;
        }
        match (first, last) {
            ([], []) => None,
            ([], count) => Some(Self::Suffix(number(count))),
            (first, []) => Some(Self::From(number(first), u64::MAX)),
            // Compared as written, so that it makes no difference how large they are.
            (first, last) if significant(last) < significant(first) => None,
            (first, last) => Some(Self::From(number(first), number(last))),
        }
    }

    fn of(self, length: u64) -> Part {
        match (self, length.checked_sub(1)) {
            (Self::Suffix(0), _) => Part::Nothing,
            (Self::Suffix(_), None) => Part::EmptySuffix,
            (Self::Suffix(count), Some(end)) => Part::Range(ByteRange { first: length - count.min(length), last: end }),
            (Self::From(first, last), Some(end)) if first <= end => {
                Part::Range(ByteRange { first, last: last.min(end) })
            }
            (Self::From(..), _) => Part::Nothing,
        }
    }
}

/// Digits in the order of the numbers that they are: how many there are, then which.
fn significant(digits: &[u8]) -> (usize, &[u8]) {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    (digits.len() - zeros, &digits[zeros..])
}

/// The number, or the largest if it is beyond 64 bits.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// Whether a Range field counts, given the value of the If-Range field beside it: `false` means that the client has
/// parts of another representation, and gets the whole. True without If-Range.
///
/// `etag` is the representation's entity tag, quotes included; tags compare strongly. `last_modified`, in seconds since
/// 1970, must be exactly the date given; give none unless it is a strong validator, which it is if the representation
/// cannot have changed twice in that second (RFC 9110 section 8.8.2.2).
#[must_use]
pub fn if_range(value: Option<&[u8]>, etag: Option<&[u8]>, last_modified: Option<u64>) -> bool {
    let Some(value) = value else { return true };
    // A tag has its quote among the first three bytes, a date has not.
    if value.iter().take(3).any(|&byte| byte == b'"') {
        let tags = EntityTag::parse(value).zip(etag.and_then(EntityTag::parse));
        return tags.is_some_and(|(wanted, current)| wanted.strongly_equals(current));
    }
    parse_imf_fixdate(value).is_some_and(|date| last_modified == Some(date))
}

#[cfg(test)]
mod tests;
