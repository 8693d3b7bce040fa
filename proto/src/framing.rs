//! The framing decision: where a request's body ends.
//!
//! Invariants: decided once per request, here and nowhere else. Anything two readers could understand differently is
//! refused: Content-Length beside Transfer-Encoding, repeated or list lengths even if equal, any coding but one
//! final `chunked`, any coding in HTTP/1.0.
//! Not here: reading the body ([`crate::chunked`] does that), body size limits.
//! Source: RFC 9112 sections 6.1 to 6.3 and 11.2.

use crate::bytes::{is_token, is_word, trim_ows};
use crate::reject::Reject;
use crate::version::Version;

/// How a request's body is delimited.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(C, u8)]
pub enum BodyLength {
    /// No body: no framing field, or a length of zero.
    None,
    /// Exactly this many bytes follow the head; never 0.
    Length(u64),
    /// Chunks follow the head.
    Chunked,
}

/// The values of one field name, as far as framing cares: the first, and whether there were more.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValues<'a> {
    /// Value of the first field of that name.
    pub first: Option<&'a [u8]>,
    /// Whether the name occurred again.
    pub repeated: bool,
}

impl<'a> FieldValues<'a> {
    /// No field of this name.
    pub const NONE: Self = Self { first: None, repeated: false };

    /// Notes one more field of this name.
    #[inline]
    pub const fn push(&mut self, value: &'a [u8]) {
        if self.first.is_some() {
            self.repeated = true;
        } else {
            self.first = Some(value);
        }
    }
}

/// Decides how the body of a request is delimited, from its version, its Content-Length fields and its
/// Transfer-Encoding fields.
///
/// # Errors
/// The refusals of the module's laws: 501 for a well-formed coding that is not understood, else 400.
#[inline]
pub fn decide(version: Version, lengths: FieldValues<'_>, codings: FieldValues<'_>) -> Result<BodyLength, Reject> {
    match (lengths.first, codings.first) {
        (None, None) => Ok(BodyLength::None),
        (Some(_), None) if lengths.repeated => Err(Reject::DuplicateContentLength),
        (Some(value), None) => length(value),
        (Some(_), Some(_)) => Err(Reject::LengthWithCoding),
        (None, Some(_)) if codings.repeated => Err(Reject::BadTransferEncoding),
        (None, Some(value)) => coding(version, value),
    }
}

/// One Content-Length value: digits only, fitting 64 bits.
fn length(value: &[u8]) -> Result<BodyLength, Reject> {
    if value.is_empty() {
        return Err(Reject::BadContentLength);
    }
    let mut length: u64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(Reject::BadContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .ok_or(Reject::BadContentLength)?;
    }
    Ok(if length == 0 { BodyLength::None } else { BodyLength::Length(length) })
}

/// One Transfer-Encoding value: exactly `chunked`, in any case.
fn coding(version: Version, value: &[u8]) -> Result<BodyLength, Reject> {
    if version == Version::Http10 {
        Err(Reject::CodingInHttp10)
    } else if is_word(value, b"chunked") {
        Ok(BodyLength::Chunked)
    } else {
        Err(refuse_coding(value))
    }
}

/// Tells codings that are not understood (501) from lists that are malformed, repeat `chunked`, or do not end in it, so
/// that the body has no end (400, RFC 9112 section 6.3).
#[cold]
fn refuse_coding(value: &[u8]) -> Reject {
    let mut chunked_count = 0_u32;
    let mut last_is_chunked = false;
    for element in value.split(|&byte| byte == b',') {
        let mut parts = trim_ows(element).split(|&byte| byte == b';');
        let name = trim_ows(parts.next().unwrap_or_default());
        if !is_token(name) {
            return Reject::BadTransferEncoding;
        }
        last_is_chunked = name.eq_ignore_ascii_case(b"chunked");
        if last_is_chunked {
            chunked_count += 1;
            if chunked_count > 1 || parts.next().is_some() {
                return Reject::BadTransferEncoding;
            }
        }
    }
    if last_is_chunked { Reject::UnknownCoding } else { Reject::BadTransferEncoding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(all: &[&'a str]) -> FieldValues<'a> {
        let mut values = FieldValues::default();
        for value in all {
            values.push(value.as_bytes());
        }
        values
    }

    #[test]
    fn lengths_are_plain_decimal_numbers() {
        let cases: [(&[&str], Result<BodyLength, Reject>); 19] = [
            (&[], Ok(BodyLength::None)),
            (&["0"], Ok(BodyLength::None)),
            (&["000"], Ok(BodyLength::None)),
            (&["5"], Ok(BodyLength::Length(5))),
            (&["0005"], Ok(BodyLength::Length(5))),
            (&["18446744073709551615"], Ok(BodyLength::Length(u64::MAX))),
            (&["18446744073709551616"], Err(Reject::BadContentLength)),
            (&["99999999999999999999999"], Err(Reject::BadContentLength)),
            (&[""], Err(Reject::BadContentLength)),
            (&["+5"], Err(Reject::BadContentLength)),
            (&["-5"], Err(Reject::BadContentLength)),
            (&["5,5"], Err(Reject::BadContentLength)),
            (&["5, 5"], Err(Reject::BadContentLength)),
            (&["5 5"], Err(Reject::BadContentLength)),
            (&["0x5"], Err(Reject::BadContentLength)),
            (&["5_0"], Err(Reject::BadContentLength)),
            (&["5.0"], Err(Reject::BadContentLength)),
            (&["5", "5"], Err(Reject::DuplicateContentLength)),
            (&["0", "5"], Err(Reject::DuplicateContentLength)),
        ];
        for (lengths, verdict) in cases {
            assert_eq!(decide(Version::Http11, values(lengths), values(&[])), verdict, "{lengths:?}");
            assert_eq!(decide(Version::Http10, values(lengths), values(&[])), verdict, "{lengths:?}");
        }
    }

    #[test]
    fn the_only_coding_is_one_chunked() {
        let cases: [(&[&str], Result<BodyLength, Reject>); 17] = [
            (&["chunked"], Ok(BodyLength::Chunked)),
            (&["CHUNKED"], Ok(BodyLength::Chunked)),
            (&["gzip"], Err(Reject::BadTransferEncoding)),
            (&["identity"], Err(Reject::BadTransferEncoding)),
            (&["xchunked"], Err(Reject::BadTransferEncoding)),
            (&["gzip, chunked"], Err(Reject::UnknownCoding)),
            (&["chunked, gzip"], Err(Reject::BadTransferEncoding)),
            (&["chunked, identity"], Err(Reject::BadTransferEncoding)),
            (&["gzip;q=1"], Err(Reject::BadTransferEncoding)),
            (&["chunked, chunked"], Err(Reject::BadTransferEncoding)),
            (&["chunked;x=1"], Err(Reject::BadTransferEncoding)),
            (&["chunked,"], Err(Reject::BadTransferEncoding)),
            (&[",chunked"], Err(Reject::BadTransferEncoding)),
            (&[""], Err(Reject::BadTransferEncoding)),
            (&["\"chunked\""], Err(Reject::BadTransferEncoding)),
            (&["chunked foo"], Err(Reject::BadTransferEncoding)),
            (&["chunked", "chunked"], Err(Reject::BadTransferEncoding)),
        ];
        for (codings, verdict) in cases {
            assert_eq!(decide(Version::Http11, values(&[]), values(codings)), verdict, "{codings:?}");
        }
        assert_eq!(decide(Version::Http10, values(&[]), values(&["chunked"])), Err(Reject::CodingInHttp10));
        assert_eq!(decide(Version::Http11, values(&["5"]), values(&["chunked"])), Err(Reject::LengthWithCoding));
        assert_eq!(decide(Version::Http11, values(&["5", "6"]), values(&["x"])), Err(Reject::LengthWithCoding));
    }
}
