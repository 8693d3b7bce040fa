//! The framing of chunked bodies: size lines, and what ends the body.
//!
//! Invariants: a chunk is never of size 0, since that would end the body. A trailer field is one that may stand there,
//! its name a token, its value without control bytes but HTAB. An error writes nothing that counts. Not here: the data,
//! extensions, the choice of trailer fields. Source: RFC 9112 sections 7.1, 7.1.2; RFC 9110 section 6.5.1.

use super::{checked, copy_short, is_reserved};
use crate::bytes::is_value;
use crate::header::HeaderName;
use crate::trailers::is_forbidden;
use core::fmt;

/// Memory for any chunk-size line: at most 20 bytes of it are used.
pub const CHUNK_LINE_BYTES: usize = 24;

/// The last chunk, behind another one. What follows it is a trailer section, which ends in a blank line.
const LAST_CHUNK: &[u8; 5] = b"\r\n0\r\n";

/// The last chunk: with the CRLF that ends the chunk before it, unless there is none (`first`). A trailer section
/// follows, which may be the blank line alone.
#[inline]
pub fn last_chunk(first: bool) -> &'static [u8] {
    if first { &LAST_CHUNK[2..] } else { LAST_CHUNK }
}

/// Why a trailer section was not written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrailerError {
    /// The memory is full.
    NoSpace,
    /// A field's name is not a token.
    BadName,
    /// A field's value has a control byte other than HTAB.
    BadValue,
    /// A field must not stand in trailers ([`is_forbidden`]), or is written by the server itself.
    Forbidden,
}

impl fmt::Display for TrailerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "the trailers do not fit their memory",
            Self::BadName => "the name of a trailer field is not a token",
            Self::BadValue => "the value of a trailer field has a control byte",
            Self::Forbidden => "the field must stand in the head, not in the trailers",
        })
    }
}

impl core::error::Error for TrailerError {}

/// Writes what comes before the data of a chunk of `len` bytes: the CRLF that ends the chunk before, unless this is the
/// first, the size and CRLF. Returns the bytes written: 0 if `len` is 0, since there is no such chunk.
#[inline]
pub fn chunk_line(len: u64, first: bool, out: &mut [u8; CHUNK_LINE_BYTES]) -> usize {
    if len == 0 {
        return 0;
    }
    let mut at = 0;
    if !first {
        out[..2].copy_from_slice(b"\r\n");
        at = 2;
    }
    let digit_count = u64::BITS.div_ceil(4) - len.leading_zeros() / 4;
    for place in (0..digit_count).rev() {
        out[at] = b"0123456789abcdef"[(len >> (4 * place) & 0xf) as usize];
        at += 1;
    }
    out[at..at + 2].copy_from_slice(b"\r\n");
    at + 2
}

/// The bytes that [`trailer_section`] needs for the same fields.
pub fn trailer_section_len<'f>(trailers: impl IntoIterator<Item = (HeaderName<'f>, &'f [u8])>) -> usize {
    let line = |(name, value): (HeaderName<'_>, &[u8])| {
        name.as_str().len().saturating_add(value.len()).saturating_add(b": \r\n".len())
    };
    trailers.into_iter().map(line).fold(b"\r\n".len(), usize::saturating_add)
}

/// Writes a trailer section, which follows the [last chunk](last_chunk): the fields and a blank line. Returns the bytes
/// written.
///
/// # Errors
/// A field that may not be written; memory of less than [`trailer_section_len`] bytes. What is in `out` then means
/// nothing.
pub fn trailer_section<'f>(
    trailers: impl IntoIterator<Item = (HeaderName<'f>, &'f [u8])>,
    out: &mut [u8],
) -> Result<usize, TrailerError> {
    let mut at = 0;
    for (name, value) in trailers {
        let (known, name) = checked(name).ok_or(TrailerError::BadName)?;
        if is_reserved(known) || is_forbidden(name.as_bytes()) {
            return Err(TrailerError::Forbidden);
        }
        if !is_value(value) {
            return Err(TrailerError::BadValue);
        }
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            at = put(out, at, part)?;
        }
    }
    put(out, at, b"\r\n")
}

/// Writes `part` at `at`. Returns the offset behind it.
fn put(out: &mut [u8], at: usize, part: &[u8]) -> Result<usize, TrailerError> {
    let room = out[at..].get_mut(..part.len()).ok_or(TrailerError::NoSpace)?;
    copy_short(room, part);
    Ok(at + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::ResponseHeader;
    use std::string::String;
    use std::vec::Vec;

    fn line(len: u64, first: bool) -> String {
        let mut out = [0xff; CHUNK_LINE_BYTES];
        let len = chunk_line(len, first, &mut out);
        String::from_utf8(out[..len].to_vec()).expect("ASCII")
    }

    #[test]
    fn sizes_are_written_with_as_many_digits_as_they_need() {
        let powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for len in powers.chain([u64::MAX, 0x1234_5678_9abc_def0]).filter(|len| *len > 0) {
            assert_eq!(line(len, true), std::format!("{len:x}\r\n"));
            assert_eq!(line(len, false), std::format!("\r\n{len:x}\r\n"));
        }
    }

    #[test]
    fn no_data_makes_no_chunk_and_so_no_end() {
        assert_eq!((line(0, true), line(0, false)), (String::new(), String::new()));
    }

    type Field = (HeaderName<'static>, &'static [u8]);

    fn section(trailers: &[Field]) -> Result<Vec<u8>, TrailerError> {
        let mut out = std::vec![0xff; 256];
        let len = trailer_section(trailers.iter().copied(), &mut out)?;
        assert_eq!(trailer_section_len(trailers.iter().copied()), len);
        out.truncate(len);
        Ok(out)
    }

    #[test]
    fn a_body_ends_in_its_last_chunk_its_trailers_and_a_blank_line() {
        assert_eq!((last_chunk(false), last_chunk(true)), (&b"\r\n0\r\n"[..], &b"0\r\n"[..]));
        assert_eq!(section(&[]).as_deref(), Ok(&b"\r\n"[..]));
        let trailers: [Field; 3] = [("X-Sum".into(), b"1"), ("a".into(), b""), (ResponseHeader::ETag.into(), b"\"x\"")];
        assert_eq!(section(&trailers).as_deref(), Ok(&b"X-Sum: 1\r\na: \r\nETag: \"x\"\r\n\r\n"[..]));
    }

    #[test]
    fn trailer_fields_that_could_break_the_message_are_refused() {
        let cases: &[(HeaderName<'static>, &'static [u8], TrailerError)] = &[
            ("".into(), b"x", TrailerError::BadName),
            ("a b".into(), b"x", TrailerError::BadName),
            ("a\r\nb".into(), b"x", TrailerError::BadName),
            (ResponseHeader::Unknown.into(), b"x", TrailerError::BadName),
            ("a".into(), b"x\r\ny: z", TrailerError::BadValue),
            ("a".into(), b"x\0", TrailerError::BadValue),
            ("content-length".into(), b"0", TrailerError::Forbidden),
            (ResponseHeader::TransferEncoding.into(), b"chunked", TrailerError::Forbidden),
            (ResponseHeader::SetCookie.into(), b"a=b", TrailerError::Forbidden),
            (ResponseHeader::Server.into(), b"s", TrailerError::Forbidden),
            ("Proxy-Status".into(), b"x", TrailerError::Forbidden),
        ];
        for &(name, value, want) in cases {
            assert_eq!(section(&[("ok".into(), b"1"), (name, value)]), Err(want), "{name:?}");
        }
    }

    #[test]
    fn a_section_fits_exactly_the_length_it_says() {
        let trailers: [Field; 1] = [("X-Sum".into(), b"0123456789")];
        let len = trailer_section_len(trailers);
        for room in 0..len {
            let mut out = std::vec![0; room];
            assert_eq!(trailer_section(trailers, &mut out), Err(TrailerError::NoSpace), "{room}");
        }
        assert_eq!(trailer_section(trailers, &mut std::vec![0; len]), Ok(len));
    }
}
