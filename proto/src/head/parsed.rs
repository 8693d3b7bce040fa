//! A parsed head: offsets and small numbers, and what follows from them.
//!
//! Invariants: plain data without pointers; offsets are from the start of the input that was parsed; only the first
//! `header_count` fields mean anything; `plain_path_len` may be 0 for any target.
//!
//! Not here: how it comes about (`any`, `common`).

use crate::bytes::trim_ows;
use crate::framing::BodyLength;
use crate::header::KnownHeader;
use crate::limits::HEADER_COUNT_MAX;
use crate::method::Method;
use crate::version::Version;
use core::fmt;

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
    pub body: BodyLength,
    /// [`Method::is_safe`] of the method: known when it is parsed, so that nobody reads the method back to ask.
    pub method_is_safe: bool,
    /// Bytes of the path with which the target begins, if it is canonical as it is, and what follows is nothing or a
    /// query. 0: not known; [`crate::url::cook`] looks closely.
    pub plain_path_len: u16,
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
        body: BodyLength::None,
        method_is_safe: false,
        plain_path_len: 0,
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
            && self.body != BodyLength::None
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
            && self.body == BodyLength::None
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
    /// Compares what was sent: neither entries beyond `header_count` nor `plain_path_len`, a hint, count.
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
