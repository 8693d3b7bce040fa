//! What a head says about its host, its body and its connection, put together while its fields are found.
//!
//! Invariants: both ways to parse a head judge by this; the order in which fields are noted is the order in which they
//! came. Not here: the syntax of lines.

use super::{Head, HeadFlags, Span, Version};
use crate::bytes::{offset, trim_ows};
use crate::framing::{self, FieldValues};
use crate::header::KnownHeader;
use crate::method::Method;
use crate::reject::Reject;

/// A request line taken apart.
pub(super) struct Line {
    pub(super) method: Method,
    pub(super) method_name: Span,
    pub(super) target: Span,
    /// See [`Head::target_is_plain`].
    pub(super) target_is_plain: bool,
    pub(super) version: Version,
}

/// What the fields of one head say about its host, its body and its connection.
pub(super) struct Facts<'a> {
    host: Span,
    lengths: FieldValues<'a>,
    codings: FieldValues<'a>,
    flags: HeadFlags,
}

impl<'a> Facts<'a> {
    pub(super) const NONE: Self =
        Self { host: Span::EMPTY, lengths: FieldValues::NONE, codings: FieldValues::NONE, flags: HeadFlags::EMPTY };

    /// Takes note of a field; `value` is its value, `span` where that is.
    #[inline]
    pub(super) fn note(&mut self, known: KnownHeader, span: Span, value: &'a [u8]) -> Result<(), Reject> {
        match known {
            KnownHeader::Host if self.host == Span::EMPTY => self.host = span,
            KnownHeader::Host => return Err(Reject::DuplicateHost),
            KnownHeader::ContentLength => self.lengths.push(value),
            KnownHeader::TransferEncoding => self.codings.push(value),
            KnownHeader::Connection => self.flags.insert(connection_options(value)),
            KnownHeader::Expect => self.flags.insert(expectation(value)?),
            KnownHeader::Upgrade => self.flags.insert(HeadFlags::UPGRADE),
            _ => {}
        }
        Ok(())
    }

    /// Judges a head whose fields have all been noted, and stores all but the fields.
    #[inline]
    pub(super) fn judge(self, line: &Line, field_count: usize, head_len: usize, head: &mut Head) -> Result<(), Reject> {
        if self.host == Span::EMPTY && line.version == Version::Http11 {
            return Err(Reject::MissingHost);
        }
        let body = framing::decide(line.version, self.lengths, self.codings)?;
        head.target = line.target;
        head.host = self.host;
        head.method_name = line.method_name;
        head.head_len = offset(head_len);
        head.header_count = offset(field_count);
        head.method = line.method;
        head.version = line.version;
        head.flags = self.flags;
        head.body = body;
        head.method_is_safe = line.method.is_safe();
        head.target_is_plain = line.target_is_plain;
        Ok(())
    }
}

/// The only expectation there is.
fn expectation(value: &[u8]) -> Result<HeadFlags, Reject> {
    if value.eq_ignore_ascii_case(b"100-continue") { Ok(HeadFlags::EXPECT_CONTINUE) } else { Err(Reject::BadExpect) }
}

/// Connection options: a comma list, in any case.
fn connection_options(value: &[u8]) -> HeadFlags {
    let mut flags = HeadFlags::EMPTY;
    for option in value.split(|&byte| byte == b',') {
        let option = trim_ows(option);
        if option.eq_ignore_ascii_case(b"keep-alive") {
            flags.insert(HeadFlags::CONNECTION_KEEP_ALIVE);
        } else if option.eq_ignore_ascii_case(b"close") {
            flags.insert(HeadFlags::CONNECTION_CLOSE);
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            flags.insert(HeadFlags::CONNECTION_UPGRADE);
        }
    }
    flags
}
