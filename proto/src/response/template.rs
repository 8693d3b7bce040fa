//! What the heads of a server have in common, made once and copied into each.
//!
//! Invariants: what is copied was checked when it was made: at start, or when the program was compiled.
//! Not here: fields that differ from one response to the next.
//! Source: RFC 9110 sections 6.6.1, 8.3, 10.2.4.

use super::{HeadWriter, WriteError, copy_short};
use crate::bytes::is_value_byte;
use crate::date::IMF_LEN;
use core::fmt;

/// The most bytes a Server field's value may have in an [`HeadTemplate`].
pub const SERVER_BYTES_MAX: usize = 128;
pub(super) const TEMPLATE_BYTES_MAX: usize = SERVER_BYTES_MAX + 64;

/// The most bytes of a head that is kept ready.
const READY_BYTES: usize = 144;
/// Of these, what the compiler moves itself: more in one piece would be a call.
const MOVED_BYTES: usize = 128;
/// Behind a ready head: at most three digits of a length, its line's end, and the blank line.
const LENGTH_BYTES: usize = 8;

/// A head up to the digits of its Content-Length.
#[derive(Copy, Clone)]
struct Ready {
    bytes: [u8; READY_BYTES],
    /// 0: it is too long to be kept.
    len: u8,
}

/// The lines that every response of a server begins with after its status: Server and Date, checked once and copied
/// in one piece.
#[derive(Copy, Clone)]
pub struct HeadTemplate {
    /// `HTTP/1.1 200 OK` and the lines, so that the most common status is one copy with them.
    pub(super) bytes: [u8; TEMPLATE_BYTES_MAX],
    pub(super) len: u16,
    pub(super) date_at: u16,
    /// The same without a line, and with each there is, up to the length.
    ready: [Ready; 1 + LINES.len()],
}

pub(super) const OK_LINE: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";

impl fmt::Debug for HeadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadTemplate").field("len", &self.len).finish_non_exhaustive()
    }
}

impl HeadTemplate {
    /// Lines with this Server value, or without a Server field if it is empty, and with a blank Date to be filled in.
    ///
    /// # Errors
    /// [`WriteError::BadValue`]; [`WriteError::NoSpace`] beyond [`SERVER_BYTES_MAX`] bytes.
    pub fn new(server: &str) -> Result<Self, WriteError> {
        if server.len() > SERVER_BYTES_MAX {
            return Err(WriteError::NoSpace);
        }
        let mut bytes = [0; TEMPLATE_BYTES_MAX];
        let mut head = HeadWriter::new(&mut bytes);
        head.status(200, None)?;
        if !server.is_empty() {
            head.server(server)?;
        }
        let date_at = head.date(&[b' '; IMF_LEN])?;
        let len = u16::try_from(head.len).map_err(|_| WriteError::NoSpace)?;
        let mut ready = [Ready { bytes: [0; READY_BYTES], len: 0 }; 1 + LINES.len()];
        for (ready, line) in ready.iter_mut().zip([""].into_iter().chain(LINES)) {
            let parts = [&bytes[..usize::from(len)], line.as_bytes(), b"Content-Length: "];
            let whole = parts.iter().map(|part| part.len()).sum();
            let Some(mut room) = ready.bytes.get_mut(..whole) else { continue };
            for part in parts {
                let (start, rest) = room.split_at_mut(part.len());
                start.copy_from_slice(part);
                room = rest;
            }
            ready.len = u8::try_from(whole).map_err(|_| WriteError::NoSpace)?;
        }
        Ok(Self { bytes, len, date_at, ready })
    }

    /// Writes a whole response at the start of `out`, as [`HeadWriter`] would: status 200, Server and Date, `line` if
    /// there is one, the length of `body`, and `body`. Returns the bytes written, and the offset of the date's 29
    /// bytes. `None`: it is not short enough for this, and `out` has anything in it.
    #[inline]
    pub fn short_answer(&self, line: Option<FieldLine>, body: &[u8], out: &mut [u8]) -> Option<(usize, u16)> {
        let Ready { bytes, len } = &self.ready[line.map_or(0, |line| 1 + usize::from(line.0))];
        let start = usize::from(*len);
        let head = out.first_chunk_mut::<{ READY_BYTES + LENGTH_BYTES }>()?;
        if start == 0 || body.len() > LENGTH_MAX {
            return None;
        }
        // All of it: a few moves of known size. What is beyond `start` is written over.
        *head.first_chunk_mut::<MOVED_BYTES>()? = *bytes.first_chunk()?;
        head[MOVED_BYTES..READY_BYTES].copy_from_slice(&bytes[MOVED_BYTES..]);
        let (length, length_len) = length_and_end(body.len());
        *head.get_mut(start..)?.first_chunk_mut()? = length;
        let head_len = start + length_len;
        let end = head_len + body.len();
        copy_short(out.get_mut(head_len..end)?, body);
        Some((end, self.date_at))
    }
}

/// The longest body of a short response: of three digits.
const LENGTH_MAX: usize = 999;

/// The digits of a length, at most [`LENGTH_MAX`], its line's end and the blank line, and how many bytes that is.
#[inline]
fn length_and_end(length: usize) -> ([u8; LENGTH_BYTES], usize) {
    const END: u64 = u64::from_le_bytes(*b"\r\n\r\n\0\0\0\0");
    const ZERO: u64 = b'0' as u64;
    let value = length as u64;
    let ones = ZERO + value % 10;
    let (text, digits) = match value {
        0..10 => (END << 8 | ones, 1),
        10..100 => (END << 16 | ones << 8 | (ZERO + value / 10), 2),
        _ => (END << 24 | ones << 16 | (ZERO + value / 10 % 10) << 8 | (ZERO + value / 100), 3),
    };
    (text.to_le_bytes(), digits + 4)
}

/// One field of a response as a line, checked when the program is compiled and copied in one piece.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FieldLine(u8);

/// The lines there are.
const LINES: [&str; 6] = [
    content_type("Content-Type: text/plain\r\n"),
    content_type("Content-Type: text/plain; charset=utf-8\r\n"),
    content_type("Content-Type: text/html\r\n"),
    content_type("Content-Type: text/html; charset=utf-8\r\n"),
    content_type("Content-Type: application/json\r\n"),
    content_type("Content-Type: application/octet-stream\r\n"),
];

impl FieldLine {
    /// `Content-Type: text/plain`.
    pub const TEXT_PLAIN: Self = Self(0);

    /// The line of this content type, in these very bytes, if there is one. Inlined: of a literal it is known when the
    /// program is compiled.
    #[inline]
    #[must_use]
    pub fn content_type(value: &[u8]) -> Option<Self> {
        match value {
            b"text/plain" => Some(Self::TEXT_PLAIN),
            b"text/plain; charset=utf-8" => Some(Self(1)),
            b"text/html" => Some(Self(2)),
            b"text/html; charset=utf-8" => Some(Self(3)),
            b"application/json" => Some(Self(4)),
            b"application/octet-stream" => Some(Self(5)),
            _ => None,
        }
    }

    /// The whole line.
    #[inline]
    pub(super) fn text(self) -> &'static str {
        LINES[usize::from(self.0)]
    }

    /// The value of the field.
    #[must_use]
    pub fn value(self) -> &'static str {
        let line = self.text();
        let colon = line.find(": ").map_or(0, |at| at + 2);
        line[colon..].trim_end_matches("\r\n")
    }
}

/// A Content-Type line, its name, colon, space and line end included.
///
/// # Panics
/// If it is not one, or its value has a control byte: when compiling, in a constant.
const fn content_type(line: &'static str) -> &'static str {
    const NAME: &[u8] = b"Content-Type: ";
    let bytes = line.as_bytes();
    let end = bytes.len() - 2;
    assert!(end > NAME.len(), "the field has a value");
    assert!(bytes[end] == b'\r' && bytes[end + 1] == b'\n', "a line ends in CRLF");
    let mut at = 0;
    while at < end {
        assert!(at >= NAME.len() || bytes[at] == NAME[at], "the field is Content-Type");
        assert!(is_value_byte(bytes[at]), "a value has no control bytes");
        at += 1;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_found_by_its_value_alone() {
        for number in 0..LINES.len() {
            let line = FieldLine(u8::try_from(number).expect("a few"));
            assert_eq!(FieldLine::content_type(line.value().as_bytes()), Some(line));
        }
        for value in ["", "text/plain ", "Text/plain", "text/plain;charset=utf-8", "image/png"] {
            assert_eq!(FieldLine::content_type(value.as_bytes()), None);
        }
    }
}
