//! Statuses, names and values of the crate `http` in responses.
//!
//! Invariants: converting copies no bytes.
//!
//! Not here: whole requests and responses of that crate (room `tower`).

use super::header::{HeaderName, HeaderValue, Name, Value};
use super::status::StatusCode;

impl From<http::StatusCode> for StatusCode {
    #[inline]
    fn from(status: http::StatusCode) -> Self {
        status.as_u16().into()
    }
}

impl From<http::HeaderName> for HeaderName<'_> {
    fn from(name: http::HeaderName) -> Self {
        Self(Name::Http(name))
    }
}

impl<'a> From<&'a http::HeaderName> for HeaderName<'a> {
    #[inline]
    fn from(name: &'a http::HeaderName) -> Self {
        name.as_str().into()
    }
}

impl From<http::HeaderValue> for HeaderValue<'_> {
    fn from(value: http::HeaderValue) -> Self {
        Self(Value::Http(value))
    }
}

impl<'a> From<&'a http::HeaderValue> for HeaderValue<'a> {
    #[inline]
    fn from(value: &'a http::HeaderValue) -> Self {
        value.as_bytes().into()
    }
}
