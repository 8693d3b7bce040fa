//! What a response with ranges is framed in: Content-Range values, and the heads and the end of multipart bodies.
//!
//! Invariants: the length of a multipart body is known exactly before its first byte is written. Nothing written can
//! end a part's head early or pass for a boundary. An error writes nothing that counts. Not here: the bytes of the
//! parts; making sure that the boundary is not among them, which its maker does by choosing it at random. Source: RFC
//! 9110 sections 14.4, 14.6; RFC 2046 section 5.1.1.

use super::ByteRange;
use crate::bytes::is_value;
use crate::response::WriteError;

/// Bytes of a boundary at most (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
const MULTIPART: &[u8] = b"multipart/byteranges; boundary=";
/// `bytes 18446744073709551613-18446744073709551614/18446744073709551615`
const CONTENT_RANGE_BYTES: usize = 68;

/// A short ASCII text of at most `CAPACITY` bytes, 255 at most, in place: the value of a field.
#[derive(Copy, Clone)]
pub struct Text<const CAPACITY: usize> {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl<const CAPACITY: usize> Text<CAPACITY> {
    const EMPTY: Self = Self { bytes: [0; CAPACITY], len: 0 };

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// With more text. The makers choose a capacity for all of it.
    fn with(mut self, text: &[u8]) -> Self {
        let end = self.len + text.len();
        self.bytes[self.len..end].copy_from_slice(text);
        self.len = end;
        self
    }

    fn with_number(mut self, mut number: u64) -> Self {
        let digit_count = number.checked_ilog10().map_or(1, |log| log as usize + 1);
        for digit in self.bytes[self.len..self.len + digit_count].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len += digit_count;
        self
    }
}

impl<const CAPACITY: usize> AsRef<[u8]> for Text<CAPACITY> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<const CAPACITY: usize> core::fmt::Debug for Text<CAPACITY> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The value of Content-Range in a 206 for one range, and in each part of several: `bytes 0-499/1234`.
#[must_use]
pub fn content_range(range: ByteRange, length: u64) -> Text<CONTENT_RANGE_BYTES> {
    let text = Text::EMPTY.with(b"bytes ").with_number(range.first).with(b"-").with_number(range.last);
    text.with(b"/").with_number(length)
}

/// The value of Content-Range in a 416: `bytes */1234`.
#[must_use]
pub fn unsatisfied_range(length: u64) -> Text<CONTENT_RANGE_BYTES> {
    Text::EMPTY.with(b"bytes */").with_number(length)
}

/// A body of several ranges: for each a head and its bytes, then the end.
#[derive(Copy, Clone, Debug)]
pub struct Multipart<'a> {
    boundary: &'a str,
    content_type: Option<&'a [u8]>,
    length: u64,
}

impl<'a> Multipart<'a> {
    /// A body of parts of a representation of `length` bytes and of this content type. The boundary must not be in the
    /// parts; 1 to 70 letters, digits and `'+_-.`, of which none needs quotes.
    ///
    /// # Errors
    /// [`WriteError::BadName`] for another boundary, [`WriteError::BadValue`] for a content type with a control byte.
    pub fn new(boundary: &'a str, content_type: Option<&'a [u8]>, length: u64) -> Result<Self, WriteError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX || !boundary.bytes().all(allowed) {
            return Err(WriteError::BadName);
        }
        if !content_type.is_none_or(is_value) {
            return Err(WriteError::BadValue);
        }
        Ok(Self { boundary, content_type, length })
    }

    /// The value of the response's Content-Type field.
    #[must_use]
    pub fn content_type(&self) -> Text<{ MULTIPART.len() + BOUNDARY_BYTES_MAX }> {
        Text::EMPTY.with(MULTIPART).with(self.boundary.as_bytes())
    }

    /// The bytes that [`Multipart::part_head`] needs for the same arguments.
    #[must_use]
    pub fn part_head_len(&self, range: ByteRange, first: bool) -> usize {
        let content_range = content_range(range, self.length);
        self.part_head_parts(first, content_range.as_bytes()).iter().map(|part| part.len()).sum()
    }

    /// Writes what comes before the bytes of a part, which is the body's first or not. Returns the bytes written.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`].
    pub fn part_head(&self, range: ByteRange, first: bool, out: &mut [u8]) -> Result<usize, WriteError> {
        let content_range = content_range(range, self.length);
        put(&self.part_head_parts(first, content_range.as_bytes()), out)
    }

    fn part_head_parts<'b>(&'b self, first: bool, content_range: &'b [u8]) -> [&'b [u8]; 7] {
        let (name, value) = self.content_type.map_or((&b""[..], &b""[..]), |value| (b"\r\nContent-Type: ", value));
        let start = if first { &b"--"[..] } else { b"\r\n--" };
        [start, self.boundary.as_bytes(), name, value, b"\r\nContent-Range: ", content_range, b"\r\n\r\n"]
    }

    /// The bytes that [`Multipart::end`] needs.
    #[must_use]
    pub fn end_len(&self) -> usize {
        self.end_parts().iter().map(|part| part.len()).sum()
    }

    /// Writes what comes behind the bytes of the last part. Returns the bytes written.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`].
    pub fn end(&self, out: &mut [u8]) -> Result<usize, WriteError> {
        put(&self.end_parts(), out)
    }

    const fn end_parts(&self) -> [&[u8]; 3] {
        [b"\r\n--", self.boundary.as_bytes(), b"--\r\n"]
    }

    /// The bytes of the whole body with these parts, at least one; `None` beyond 64 bits.
    #[must_use]
    pub fn body_len(&self, ranges: &[ByteRange]) -> Option<u64> {
        let mut len = self.end_len() as u64;
        for (index, range) in ranges.iter().enumerate() {
            let head_len = self.part_head_len(*range, index == 0) as u64;
            len = len.checked_add(head_len)?.checked_add(range.byte_count())?;
        }
        Some(len)
    }
}

/// Writes all parts, or nothing.
fn put(parts: &[&[u8]], out: &mut [u8]) -> Result<usize, WriteError> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut room = out.get_mut(..len).ok_or(WriteError::NoSpace)?;
    for part in parts {
        let (place, rest) = room.split_at_mut(part.len());
        place.copy_from_slice(part);
        room = rest;
    }
    Ok(len)
}
