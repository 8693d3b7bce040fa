//! Names and values of header fields as applications give them: borrowed where they stand still, owned where a handler
//! has computed them.
//!
//! Invariants: making one copies nothing; what is borrowed is never copied before it is written.
//!
//! Not here: whether they may be sent, which is checked when the head is written (`proto::response`); where a response
//! keeps them (`fields`); reading the fields of requests (`request`).

use std::borrow::Cow;

use bytes::Bytes;
use ringress_proto::header::ResponseHeader;

/// The name of a response's header field: a [`ResponseHeader`], or any other token as text, borrowed or owned.
///
/// Names of the crate `http` convert with the feature `http`. Whether it is a token is checked when the response is
/// given.
#[derive(Clone, Debug)]
pub struct HeaderName<'a>(pub(super) Name<'a>);

#[derive(Clone, Debug)]
pub(super) enum Name<'a> {
    Known(ResponseHeader),
    Borrowed(&'a str),
    Owned(String),
    #[cfg(feature = "http")]
    Http(http::HeaderName),
}

impl HeaderName<'_> {
    /// The name as it is sent; empty for [`ResponseHeader::Unknown`], which cannot be.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Known(known) => known.as_str(),
            Name::Borrowed(name) => name,
            Name::Owned(name) => name,
            #[cfg(feature = "http")]
            Name::Http(name) => name.as_str(),
        }
    }
}

impl From<ResponseHeader> for HeaderName<'_> {
    #[inline]
    fn from(known: ResponseHeader) -> Self {
        Self(Name::Known(known))
    }
}

impl<'a> From<&'a str> for HeaderName<'a> {
    #[inline]
    fn from(name: &'a str) -> Self {
        Self(Name::Borrowed(name))
    }
}

impl<'a> From<&'a String> for HeaderName<'a> {
    fn from(name: &'a String) -> Self {
        Self(Name::Borrowed(name))
    }
}

impl From<String> for HeaderName<'_> {
    fn from(name: String) -> Self {
        Self(Name::Owned(name))
    }
}

impl<'a> From<Cow<'a, str>> for HeaderName<'a> {
    fn from(name: Cow<'a, str>) -> Self {
        match name {
            Cow::Borrowed(name) => name.into(),
            Cow::Owned(name) => name.into(),
        }
    }
}

/// The value of a response's header field: bytes, borrowed or owned. What is owned needs no borrow: a handler returns
/// a `Response<'static>` with it.
///
/// Values of the crate `http` convert with the feature `http`. Whether it has bytes that no value may have is checked
/// when the response is given.
#[derive(Clone, Debug)]
pub struct HeaderValue<'a>(pub(super) Value<'a>);

#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
    #[cfg(feature = "http")]
    Http(http::HeaderValue),
}

impl HeaderValue<'_> {
    /// The bytes as they are sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Value::Borrowed(bytes) => bytes,
            Value::Owned(bytes) => bytes,
            Value::Shared(bytes) => bytes,
            #[cfg(feature = "http")]
            Value::Http(value) => value.as_bytes(),
        }
    }
}

impl<'a> HeaderValue<'a> {
    /// The bytes, if they are borrowed.
    #[inline(always)]
    pub(super) const fn borrowed(&self) -> Option<&'a [u8]> {
        match self.0 {
            Value::Borrowed(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Values made of what lends its bytes.
macro_rules! lent {
    ($($type:ty),* => $bytes:ident) => {$(
        impl<'a> From<&'a $type> for HeaderValue<'a> {
            #[inline]
            fn from(value: &'a $type) -> Self {
                Self(Value::Borrowed(value.$bytes()))
            }
        }
    )*};
}

lent! { str, String, Cow<'_, str> => as_bytes }
lent! { [u8], Vec<u8>, Bytes, Cow<'_, [u8]> => as_ref }

impl<'a, const N: usize> From<&'a [u8; N]> for HeaderValue<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(Value::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for HeaderValue<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Value::Owned(bytes))
    }
}

impl From<String> for HeaderValue<'_> {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Bytes> for HeaderValue<'_> {
    fn from(bytes: Bytes) -> Self {
        Self(Value::Shared(bytes))
    }
}

impl<'a> From<Cow<'a, str>> for HeaderValue<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<'a> From<Cow<'a, [u8]>> for HeaderValue<'a> {
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}
