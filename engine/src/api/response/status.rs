//! The status of a response, as applications give it.
//!
//! Invariants: none; a number that is no status is refused when the response is given.
//!
//! Not here: what a status means for the body (`proto::response`).

use core::fmt;

/// A status code: a number, `404`, or an `http::StatusCode` with the feature `http`. Final ones are 200 to 999
/// (RFC 9110 section 15); others are refused when the response is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(u16);

impl StatusCode {
    /// The number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl From<u16> for StatusCode {
    #[inline]
    fn from(status: u16) -> Self {
        Self(status)
    }
}

impl From<StatusCode> for u16 {
    #[inline]
    fn from(status: StatusCode) -> Self {
        status.0
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
