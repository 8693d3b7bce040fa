//! Request heads: taken apart into offsets, and the strictness that goes with it.
//!
//! Laws:
//! - Feeding growing prefixes and stopping at the first answer gives the answer of the whole.
//! - Every line ends in CRLF; at most one CRLF before the request line is skipped; one space between its parts.
//! - [`Head`] is plain data: offsets into the input, no pointers.
//! - A failed or partial parse leaves the fields of `head` outside its `headers` array untouched.
//!
//! Absent: the syntax of the target and the host, which [`crate::url::cook`] checks; bodies; responses.
//! Source: RFC 9112 sections 2.2, 3, 5, 9.3; RFC 9110 sections 5, 7.2, 7.6.1, 7.8, 10.1.1; RFC 6585 section 5.

use crate::bytes::{is_token_byte, offset, trim_ows};
use crate::framing::{self, BodyKind, FieldValues};
use crate::header::KnownHeader;
use crate::limits::{HEADER_COUNT_MAX, Limits};
use crate::method::Method;
use crate::reject::Reject;
use core::fmt;
use core::mem::MaybeUninit;

mod common;

/// Bytes of the longest method accepted.
pub const METHOD_BYTES_MAX: usize = 32;
/// Bytes of the longest field name accepted.
pub const HEADER_NAME_BYTES_MAX: usize = 255;
/// Bytes of `HTTP/1.1`.
const VERSION_BYTES: usize = 8;

/// A range of the bytes a head was parsed from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u16,
    /// Number of bytes; `start + len` is at most 65,535.
    pub len: u16,
}

impl Span {
    /// The span that stands for "absent". A present but empty span of a head has a `start` other than 0.
    pub const EMPTY: Self = Self { start: 0, len: 0 };

    /// The bytes of the span.
    ///
    /// # Panics
    /// If `base` is shorter than the bytes the span was made from.
    #[inline]
    #[must_use]
    pub fn of(self, base: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        &base[start..start + usize::from(self.len)]
    }

    /// Whether the span has no bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Offset after the last byte.
    #[inline]
    #[must_use]
    pub const fn end(self) -> usize {
        self.start as usize + self.len as usize
    }
}

/// One field of a head: where its name and value are, and which name it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HeaderSpan {
    /// Offset of the name.
    pub name_start: u16,
    /// Bytes of the name, 1 to 255.
    pub name_len: u8,
    /// The name, if it is a known one.
    pub known: KnownHeader,
    /// Offset of the value.
    pub value_start: u16,
    /// Bytes of the value without white space at its ends; may be 0.
    pub value_len: u16,
}

const _: () = assert!(size_of::<HeaderSpan>() == 8);

impl HeaderSpan {
    /// No field: what unused entries of [`Head::EMPTY`] hold.
    pub const EMPTY: Self =
        Self { name_start: 0, name_len: 0, known: KnownHeader::Unknown, value_start: 0, value_len: 0 };

    /// The name as sent.
    ///
    /// # Panics
    /// If `base` is shorter than the bytes the head was parsed from.
    #[inline]
    #[must_use]
    pub fn name(self, base: &[u8]) -> &[u8] {
        Span { start: self.name_start, len: u16::from(self.name_len) }.of(base)
    }

    /// The value, trimmed.
    ///
    /// # Panics
    /// If `base` is shorter than the bytes the head was parsed from.
    #[inline]
    #[must_use]
    pub fn value(self, base: &[u8]) -> &[u8] {
        self.value_span().of(base)
    }

    /// Where the value is.
    #[inline]
    #[must_use]
    pub const fn value_span(self) -> Span {
        Span { start: self.value_start, len: self.value_len }
    }
}

/// The protocol versions spoken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What the Connection, Expect and Upgrade fields of a head said, as a set.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct HeadFlags(u8);

impl HeadFlags {
    /// Nothing was said.
    pub const EMPTY: Self = Self(0);
    /// `Connection: close`.
    pub const CONNECTION_CLOSE: Self = Self(1);
    /// `Connection: keep-alive`.
    pub const CONNECTION_KEEP_ALIVE: Self = Self(2);
    /// `Connection: upgrade`.
    pub const CONNECTION_UPGRADE: Self = Self(4);
    /// `Expect: 100-continue`.
    pub const EXPECT_CONTINUE: Self = Self(8);
    /// There is an Upgrade field, whatever its value.
    pub const UPGRADE: Self = Self(16);
    /// What those say who ask for an upgrade.
    const ASKS_UPGRADE: Self = Self(Self::UPGRADE.0 | Self::CONNECTION_UPGRADE.0);

    /// Whether every flag of `other` is set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets every flag of `other`.
    #[inline]
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The flags as a number, for records and logs.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// A parsed request head: offsets into the input it was parsed from.
#[derive(Copy, Clone)]
#[repr(C)]
pub struct Head {
    /// The request target as sent.
    pub target: Span,
    /// Value of the Host field; [`Span::EMPTY`] if there is none.
    pub host: Span,
    /// The method as sent, 1 to 32 bytes.
    pub method_name: Span,
    /// Bytes from the start of the input to after the blank line, a skipped leading CRLF included.
    pub head_len: u16,
    /// Meaningful entries of `headers`.
    pub header_count: u16,
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// What the Connection, Expect and Upgrade fields said.
    pub flags: HeadFlags,
    /// Where the body ends.
    pub body: BodyKind,
    /// [`Method::is_safe`] of the method: known when it is parsed, so that nobody reads the method back to ask.
    pub method_is_safe: bool,
    /// The target has no byte that means anything to a path but slashes: no query, escape, dot or fragment. May be
    /// false of one that has none either.
    pub target_is_plain: bool,
    /// The fields in the order sent; only the first `header_count` are meaningful.
    pub headers: [HeaderSpan; HEADER_COUNT_MAX],
}

impl Head {
    /// A head to parse into.
    pub const EMPTY: Self = Self {
        target: Span::EMPTY,
        host: Span::EMPTY,
        method_name: Span::EMPTY,
        head_len: 0,
        header_count: 0,
        method: Method::Unknown,
        version: Version::Http11,
        flags: HeadFlags::EMPTY,
        body: BodyKind::None,
        method_is_safe: false,
        target_is_plain: false,
        headers: [HeaderSpan::EMPTY; HEADER_COUNT_MAX],
    };

    /// The fields in the order sent.
    #[inline]
    #[must_use]
    pub fn headers(&self) -> &[HeaderSpan] {
        &self.headers[..usize::from(self.header_count)]
    }

    /// The first field of a known name.
    #[inline]
    #[must_use]
    pub fn find(&self, known: KnownHeader) -> Option<HeaderSpan> {
        self.headers().iter().find(|header| header.known == known).copied()
    }

    /// The first field of this name, ignoring case. `base` is the input the head was parsed from.
    #[must_use]
    pub fn find_name(&self, base: &[u8], name: &str) -> Option<HeaderSpan> {
        let same_name = |header: &&HeaderSpan| header.name(base).eq_ignore_ascii_case(name.as_bytes());
        self.headers().iter().find(same_name).copied()
    }

    /// Whether the client wants the connection to persist (RFC 9112 section 9.3): in HTTP/1.1 unless it said
    /// close, in HTTP/1.0 only if it said keep-alive and not close.
    #[inline]
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        !self.flags.contains(HeadFlags::CONNECTION_CLOSE)
            && (self.version == Version::Http11 || self.flags.contains(HeadFlags::CONNECTION_KEEP_ALIVE))
    }

    /// Whether the client waits for `100 Continue`: it said so, in HTTP/1.1, and a body follows.
    #[inline]
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.flags.contains(HeadFlags::EXPECT_CONTINUE)
            && self.version == Version::Http11
            && self.body != BodyKind::None
    }

    /// Whether the client asks for another protocol on this connection (RFC 9110 section 7.8), in a way that can be
    /// followed: in HTTP/1.1, with an Upgrade field that its Connection field names, without a body, and without asking
    /// for the connection's end. Which protocols: [`Head::upgrade_protocols`].
    #[inline]
    #[must_use]
    pub fn asks_upgrade(&self) -> bool {
        self.flags.contains(HeadFlags::ASKS_UPGRADE) && self.may_upgrade()
    }

    #[cold]
    fn may_upgrade(&self) -> bool {
        self.version == Version::Http11
            && self.body == BodyKind::None
            && !self.flags.contains(HeadFlags::CONNECTION_CLOSE)
    }

    /// The protocols that the Upgrade fields name, in the order of the client's preference, each a name and perhaps `/`
    /// and a version. `base` is the input the head was parsed from.
    pub fn upgrade_protocols<'a>(&'a self, base: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.headers().iter().filter(|header| header.known == KnownHeader::Upgrade);
        let protocols = fields.flat_map(|header| header.value(base).split(|&byte| byte == b',').map(trim_ows));
        protocols.filter(|protocol| !protocol.is_empty())
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Head {
    /// Compares what was sent: neither entries beyond `header_count` nor `target_is_plain`, a hint, count.
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target
            && self.host == other.host
            && self.method_name == other.method_name
            && self.head_len == other.head_len
            && self.method == other.method
            && self.version == other.version
            && self.flags == other.flags
            && self.body == other.body
            && self.method_is_safe == other.method_is_safe
            && self.headers() == other.headers()
    }
}

impl Eq for Head {}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("method_name", &self.method_name)
            .field("target", &self.target)
            .field("version", &self.version)
            .field("host", &self.host)
            .field("head_len", &self.head_len)
            .field("flags", &self.flags)
            .field("body", &self.body)
            .field("headers", &self.headers())
            .finish()
    }
}

/// How far a parse got.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The head is complete: see [`Head::head_len`].
    Complete,
    /// More bytes are needed. Parse again from the same first byte once they are there.
    Partial,
}

/// Parses the request head at the start of `input`.
///
/// # Errors
/// The cause of the refusal; the rest of the input cannot be trusted.
#[inline]
pub fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Parse, Reject> {
    let input = input.get(..usize::from(limits.head_bytes_max)).unwrap_or(input);
    if common::parse(input, limits, head).is_some() {
        return Ok(Parse::Complete);
    }
    parse_any(input, limits, head)
}

/// A request line taken apart.
struct Line {
    method: Method,
    method_name: Span,
    target: Span,
    /// See [`Head::target_is_plain`].
    target_is_plain: bool,
    version: Version,
}

/// Everything but the common way: httparse reads the whole head. `input` is at most `head_bytes_max` long.
///
/// Never inlined: its memory would be the common way's, too.
#[inline(never)]
fn parse_any(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Parse, Reject> {
    let skipped = match input {
        [b'\r' | b'\n', ..] | [] => match leading_line(input)? {
            Some(skipped) => skipped,
            None => return partial(input, limits),
        },
        _ => 0,
    };
    let mut fields = [const { MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let field_count_max = usize::from(limits.header_count_max).min(HEADER_COUNT_MAX);
    let mut request = httparse::Request::new(&mut []);
    let outcome = request.parse_with_uninit_headers(&input[skipped..], &mut fields[..field_count_max]);
    let (Some(method), Some(target), Ok(httparse::Status::Complete(len))) = (request.method, request.path, outcome)
    else {
        return unfinished(input, skipped, &request, outcome.err(), limits);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(Reject::BadMethod);
    }
    if target.len() > usize::from(limits.target_bytes_max) {
        return Err(Reject::TargetTooLong);
    }
    if !is_allowed(target, limits) {
        return Err(Reject::BadTarget);
    }
    let method_name = Span { start: offset(skipped), len: offset(method.len()) };
    let target = Span { start: offset(method_name.end() + 1), len: offset(target.len()) };
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let method = Method::from_bytes(method.as_bytes());
    let line = Line { method, method_name, target, target_is_plain: false, version };
    complete(input, &line, request.headers, skipped + len, head).map(|()| Parse::Complete)
}

/// Whether a target has only bytes that may be in one (RFC 3986 section 2; what is not ASCII is escaped).
fn is_allowed(target: &str, limits: &Limits) -> bool {
    limits.raw_target_bytes || target.is_ascii()
}

/// Judges a head that is whole, `head_len` bytes of `input`, and stores it.
#[inline]
fn complete(
    input: &[u8],
    line: &Line,
    fields: &[httparse::Header<'_>],
    head_len: usize,
    head: &mut Head,
) -> Result<(), Reject> {
    let mut facts = Facts::NONE;
    for (field, header) in fields.iter().zip(&mut head.headers) {
        place(input, field, header)?;
        facts.note(header.known, header.value_span(), field.value)?;
    }
    if input.get(..head_len).and_then(<[u8]>::last_chunk) != Some(b"\r\n\r\n") {
        return Err(Reject::BareLineFeed);
    }
    facts.judge(line, fields.len(), head_len, head)
}

/// Checks the end of the line before `field` and stores where the field is.
fn place(input: &[u8], field: &httparse::Header<'_>, header: &mut HeaderSpan) -> Result<(), Reject> {
    let base = input.as_ptr().addr();
    let name = field.name.as_bytes();
    let name_start = name.as_ptr().addr() - base;
    if input.get(..name_start).and_then(<[u8]>::last_chunk) != Some(b"\r\n") {
        return Err(Reject::BareLineFeed);
    }
    let Ok(name_len) = u8::try_from(name.len()) else {
        return Err(Reject::HeaderNameTooLong);
    };
    header.name_start = offset(name_start);
    header.name_len = name_len;
    header.known = KnownHeader::lookup(name);
    header.value_start = offset(field.value.as_ptr().addr() - base);
    header.value_len = offset(field.value.len());
    Ok(())
}

/// What the fields of one head say about its host, its body and its connection.
struct Facts<'a> {
    host: Span,
    lengths: FieldValues<'a>,
    codings: FieldValues<'a>,
    flags: HeadFlags,
}

impl<'a> Facts<'a> {
    const NONE: Self =
        Self { host: Span::EMPTY, lengths: FieldValues::NONE, codings: FieldValues::NONE, flags: HeadFlags::EMPTY };

    /// Takes note of a field; `value` is its value, `span` where that is.
    #[inline]
    fn note(&mut self, known: KnownHeader, span: Span, value: &'a [u8]) -> Result<(), Reject> {
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
    fn judge(self, line: &Line, field_count: usize, head_len: usize, head: &mut Head) -> Result<(), Reject> {
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

/// Bytes to skip before the request line: 0 or one CRLF; `None` if more bytes are needed to tell.
#[cold]
fn leading_line(input: &[u8]) -> Result<Option<usize>, Reject> {
    match input {
        [] | [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Reject::BadRequestLine),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r', ..] => Err(Reject::BareCarriageReturn),
        [b'\n', ..] => Err(Reject::BareLineFeed),
        _ => Ok(Some(0)),
    }
}

/// More bytes are needed: answers whether more are allowed.
fn partial(input: &[u8], limits: &Limits) -> Result<Parse, Reject> {
    if input.len() >= usize::from(limits.head_bytes_max) {
        return Err(Reject::HeadTooLarge);
    }
    Ok(Parse::Partial)
}

/// Everything but a complete head. `error` is `None` if the input ended first.
///
/// The order of the checks is the order in which the bytes arrive, so that the verdict does not depend on how much
/// of the input beyond the decisive byte is already there.
#[cold]
fn unfinished(
    input: &[u8],
    skipped: usize,
    request: &httparse::Request<'_, '_>,
    error: Option<httparse::Error>,
    limits: &Limits,
) -> Result<Parse, Reject> {
    let rest = &input[skipped..];
    let Some(method) = request.method else {
        let method_len = rest.iter().take_while(|&&byte| is_token_byte(byte)).count();
        let wrong = error.is_some() || method_len > METHOD_BYTES_MAX;
        return if wrong { Err(Reject::BadMethod) } else { partial(input, limits) };
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(Reject::BadMethod);
    }
    let target = &rest[method.len() + 1..];
    let target_len = target.iter().take_while(|&&byte| byte > b' ' && byte != 0x7f).count();
    if target_len > usize::from(limits.target_bytes_max) {
        return Err(Reject::TargetTooLong);
    }
    if request.path.is_some_and(|target| !is_allowed(target, limits)) {
        return Err(Reject::BadTarget);
    }
    let Some(error) = error else {
        return partial(input, limits);
    };
    if request.path.is_none() {
        return Err(match target.get(target_len) {
            Some(b'\r' | b'\n') => Reject::BadRequestLine,
            _ => Reject::BadTarget,
        });
    }
    match error {
        httparse::Error::Version => bad_version(&target[target_len + 1..]).map_or_else(|| partial(input, limits), Err),
        httparse::Error::TooManyHeaders => Err(Reject::TooManyHeaders),
        httparse::Error::HeaderName if has_fold(rest) => Err(Reject::ObsoleteFold),
        httparse::Error::HeaderName => Err(Reject::BadHeaderName),
        httparse::Error::HeaderValue => Err(Reject::BadHeaderValue),
        _ => Err(match target.get(target_len + 1 + VERSION_BYTES) {
            Some(b'\r') => Reject::BareCarriageReturn,
            _ => Reject::BadRequestLine,
        }),
    }
}

/// Judges a version that is not 1.0 or 1.1; `None` while it may still become well-formed.
fn bad_version(text: &[u8]) -> Option<Reject> {
    const FORM: &[u8; VERSION_BYTES] = b"HTTP/d.d";
    let fits = |(&byte, &form): (&u8, &u8)| if form == b'd' { byte.is_ascii_digit() } else { byte == form };
    if !text.iter().zip(FORM).all(fits) {
        return Some(Reject::BadVersion);
    }
    (text.len() >= VERSION_BYTES).then_some(Reject::UnsupportedVersion)
}

/// Whether a line of the head begins with white space.
fn has_fold(input: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', input).any(|at| matches!(input.get(at + 1), Some(b' ' | b'\t')))
}

#[cfg(test)]
mod tests;
