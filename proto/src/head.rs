//! Request heads: taken apart into offsets, and the strictness that goes with it.
//!
//! Invariants:
//! - Feeding growing prefixes and stopping at the first verdict gives the verdict of the whole.
//! - Every line ends in CRLF; at most one CRLF before the request line is skipped; one space between its parts.
//! - [`Head`] is plain data: offsets into the input, no pointers.
//! - A failed or partial parse leaves the fields of `head` outside its `headers` array untouched.
//!
//! Not here: the syntax of the target and the host, which [`crate::url::cook`] checks; bodies; responses.
//! Source: RFC 9112 sections 2.2, 3, 5, 9.3; RFC 9110 sections 5, 7.2, 7.6.1, 7.8, 10.1.1; RFC 6585 section 5.

mod any;
mod common;
mod facts;
mod parsed;

pub use crate::version::Version;
pub use parsed::{Head, HeadFlags, HeaderSpan, Span};

use crate::limits::Limits;
use crate::reject::Reject;

/// Bytes of the longest method accepted.
pub const METHOD_BYTES_MAX: usize = 32;
/// Bytes of the longest field name accepted.
pub const HEADER_NAME_BYTES_MAX: usize = 255;

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
    any::parse(input, limits, head)
}

#[cfg(test)]
mod tests;
