//! The header fields of a request.
//!
//! Invariants: names compare without regard to case; fields come in the order sent; Transfer-Encoding is never there.
//!
//! Not here: the grammar of values.

use core::fmt;

use ringress_proto::head::HeaderSpan;
use ringress_proto::header::KnownHeader;

use super::Request;

/// The name of a header field to look for, in any case. A [`KnownHeader`] is one, and so is text:
/// `request.header("user-agent")`.
#[derive(Clone, Copy)]
pub struct FieldName<'a> {
    known: KnownHeader,
    /// Of a name without a number.
    text: &'a str,
}

impl fmt::Debug for FieldName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(if self.known == KnownHeader::Unknown { self.text } else { self.known.as_str() }, f)
    }
}

impl From<KnownHeader> for FieldName<'_> {
    #[inline(always)]
    fn from(known: KnownHeader) -> Self {
        Self { known, text: "" }
    }
}

impl<'a> From<&'a str> for FieldName<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self { known: KnownHeader::lookup(text.as_bytes()), text }
    }
}

impl<'a> From<&'a String> for FieldName<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

#[cfg(feature = "http")]
impl<'a> From<&'a http::HeaderName> for FieldName<'a> {
    #[inline]
    fn from(name: &'a http::HeaderName) -> Self {
        Self::from(name.as_str())
    }
}

impl FieldName<'_> {
    #[inline(always)]
    fn is_of(self, span: &HeaderSpan, bytes: &[u8]) -> bool {
        span.known == self.known
            && (self.known != KnownHeader::Unknown || span.name(bytes).eq_ignore_ascii_case(self.text.as_bytes()))
    }

    /// Whether no field of this name is shown, whatever was sent.
    #[inline(always)]
    fn is_hidden(self) -> bool {
        self.known == KnownHeader::TransferEncoding
    }
}

impl Request {
    /// The header fields in the order sent, Transfer-Encoding left out (the body is decoded).
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers { spans: self.record().head.headers().iter(), bytes: self.lease.received() }
    }

    /// The value of the first field of a name, in any case, without surrounding white space. Transfer-Encoding is never
    /// there: the body is decoded.
    ///
    /// ```no_run
    /// # use ringress::{KnownHeader, Request};
    /// # fn read(request: &Request) {
    /// let agent = request.header("user-agent");
    /// // The same, and a comparison of numbers.
    /// assert_eq!(request.header(KnownHeader::UserAgent), agent);
    /// # }
    /// ```
    #[inline]
    #[must_use]
    pub fn header<'n>(&self, name: impl Into<FieldName<'n>>) -> Option<&[u8]> {
        let name = name.into();
        if name.is_hidden() {
            return None;
        }
        let bytes = self.lease.received();
        let found = self.record().head.headers().iter().find(|span| name.is_of(span, bytes));
        found.map(|span| span.value(bytes))
    }

    /// The values of all fields of a name, in the order sent: see [`header`](Self::header).
    #[inline]
    #[must_use]
    pub fn header_values<'a>(&'a self, name: impl Into<FieldName<'a>>) -> HeaderValues<'a> {
        HeaderValues { name: name.into(), spans: self.record().head.headers().iter(), bytes: self.lease.received() }
    }
}

/// The header fields of a request: names and values, in the order sent. See [`Request::headers`].
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    spans: core::slice::Iter<'a, HeaderSpan>,
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.find(|span| span.known != KnownHeader::TransferEncoding)?;
        Some((span.name(self.bytes), span.value(self.bytes)))
    }
}

/// The values of all fields of one name, in the order sent. See [`Request::header_values`].
#[derive(Clone, Debug)]
pub struct HeaderValues<'a> {
    name: FieldName<'a>,
    spans: core::slice::Iter<'a, HeaderSpan>,
    bytes: &'a [u8],
}

impl<'a> Iterator for HeaderValues<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (name, bytes) = (self.name, self.bytes);
        let span = self.spans.find(|span| name.is_of(span, bytes) && !name.is_hidden())?;
        Some(span.value(bytes))
    }
}
