//! What a head says about its host, its body and its connection, put together while its fields are found.
//!
//! Invariants: both ways to parse a head judge by this; the order in which fields are noted is the order in which they
//! came. Not here: the syntax of lines.

use super::{Head, HeadFlags, HeaderSpan, Span, Version};
use crate::bytes::{is_word, offset, trim_ows};
use crate::framing::{self, BodyLength, FieldValues};
use crate::header::KnownHeader;
use crate::method::Method;
use crate::reject::Reject;

/// A request line taken apart.
pub(super) struct Line {
    pub(super) method: Method,
    pub(super) method_name: Span,
    pub(super) target: Span,
    /// See [`Head::plain_path_len`].
    pub(super) plain_path_len: u16,
    pub(super) version: Version,
    pub(super) method_is_safe: bool,
}

/// What the fields of one head say about its host, its body and its connection.
pub(super) struct Facts {
    /// Where the value of the Host field is: its length in the upper half; 0: none has come. One number, so that it
    /// has one register.
    host: u32,
    flags: HeadFlags,
    /// Content-Length or Transfer-Encoding has come.
    frames: bool,
}

impl Facts {
    pub(super) const NONE: Self = Self { host: 0, flags: HeadFlags::EMPTY, frames: false };

    /// Takes note of a field that [`KnownHeader::is_noted`], with its value at `span` of `input`.
    #[inline(always)]
    pub(super) fn note(&mut self, known: KnownHeader, span: Span, input: &[u8]) -> Result<(), Reject> {
        if known == KnownHeader::Host {
            if self.host != 0 {
                return Err(Reject::DuplicateHost);
            }
            self.host = u32::from(span.start) | u32::from(span.len) << 16;
            return Ok(());
        }
        let value = span.of(input);
        if known == KnownHeader::Connection && is_word(value, b"keep-alive") {
            self.flags.insert(HeadFlags::CONNECTION_KEEP_ALIVE);
            return Ok(());
        }
        self.note_rare(known, value)
    }

    #[inline(never)]
    fn note_rare(&mut self, known: KnownHeader, value: &[u8]) -> Result<(), Reject> {
        match known {
            KnownHeader::ContentLength | KnownHeader::TransferEncoding => self.frames = true,
            KnownHeader::Connection => self.flags.insert(connection_options(value)),
            KnownHeader::Expect => self.flags.insert(expectation(value)?),
            KnownHeader::Upgrade => self.flags.insert(HeadFlags::UPGRADE),
            _ => {}
        }
        Ok(())
    }

    /// Judges a head of so many fields, which are in its `headers` and have all been noted, and stores the rest.
    #[inline(always)]
    pub(super) fn judge(
        self,
        input: &[u8],
        line: &Line,
        field_count: usize,
        head_len: usize,
        head: &mut Head,
    ) -> Result<(), Reject> {
        if self.host == 0 && line.version == Version::Http11 {
            return Err(Reject::MissingHost);
        }
        let body =
            if self.frames { frame(input, line.version, &head.headers[..field_count])? } else { BodyLength::None };
        head.target = line.target;
        head.host = Span { start: offset(self.host as usize & 0xffff), len: offset(self.host as usize >> 16) };
        head.method_name = line.method_name;
        head.head_len = offset(head_len);
        head.header_count = offset(field_count);
        head.method = line.method;
        head.version = line.version;
        head.flags = self.flags;
        head.body = body;
        head.method_is_safe = line.method_is_safe;
        head.plain_path_len = line.plain_path_len;
        Ok(())
    }
}

/// Where the body ends, by the fields that say so.
#[inline(never)]
fn frame(input: &[u8], version: Version, headers: &[HeaderSpan]) -> Result<BodyLength, Reject> {
    let (mut lengths, mut codings) = (FieldValues::NONE, FieldValues::NONE);
    for header in headers {
        match header.known {
            KnownHeader::ContentLength => lengths.push(header.value(input)),
            KnownHeader::TransferEncoding => codings.push(header.value(input)),
            _ => {}
        }
    }
    framing::decide(version, lengths, codings)
}

/// The only expectation there is.
fn expectation(value: &[u8]) -> Result<HeadFlags, Reject> {
    if is_word(value, b"100-continue") { Ok(HeadFlags::EXPECT_CONTINUE) } else { Err(Reject::BadExpect) }
}

/// Connection options: a comma list, in any case.
fn connection_options(value: &[u8]) -> HeadFlags {
    let mut flags = HeadFlags::EMPTY;
    for option in value.split(|&byte| byte == b',') {
        let option = trim_ows(option);
        if is_word(option, b"keep-alive") {
            flags.insert(HeadFlags::CONNECTION_KEEP_ALIVE);
        } else if is_word(option, b"close") {
            flags.insert(HeadFlags::CONNECTION_CLOSE);
        } else if is_word(option, b"upgrade") {
            flags.insert(HeadFlags::CONNECTION_UPGRADE);
        }
    }
    flags
}
