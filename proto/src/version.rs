//! The versions of HTTP that are spoken: what a head states, and framing goes by.
//!
//! Invariants: there are two and no other; the older compares as less.
//! Not here: how a version is written (`head`).
//! Source: RFC 9112 section 2.3.

/// The protocol versions spoken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::Http10, Self::Http11];
}
