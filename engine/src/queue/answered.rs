//! What an application has given as the response to a request: status, head, the beginning of the body, and the rest.
//!
//! Invariants: it is free of any version of HTTP, but for the text of a head that goes out by HTTP/1.
//!
//! Not here: who may write it, and when (`exchange`), and how it is sent (room `shard`).

use crate::foreign::HeldBytes;
use crate::stream::Outgoing;

/// What the application tells the shard about its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseFlags(u8);

impl ResponseFlags {
    /// No response was given: the handle was dropped.
    pub(crate) const ABANDONED: Self = Self(1);
    /// The handle that answered is gone with its response.
    pub(super) const BY_HANDLE: Self = Self(2);
    /// No handle is left that could read the request.
    pub(super) const HANDLE_IS_GONE: Self = Self::BY_HANDLE.with(Self::ABANDONED);
    /// The slot only returns to be freed.
    pub(super) const RECLAIM: Self = Self(4);
    /// The application wants the connection closed after this response.
    pub(crate) const CLOSE: Self = Self(8);
    /// It switches protocols: what follows on the connection, both ways, is the application's.
    pub(crate) const SWITCHES: Self = Self(16);

    /// Whether the slot returns only to be freed.
    #[inline]
    pub(crate) const fn only_reclaims(self) -> bool {
        self.has(Self::RECLAIM)
    }

    /// Whether any flag of `other` is set.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What is to be sent after the response area: the two pointers that travel.
#[derive(Debug, Default)]
pub(crate) enum Tail {
    #[default]
    None,
    /// A body too large for the area.
    Bytes(HeldBytes),
    /// A body in pieces, of which there may be more to come.
    Stream(Box<Outgoing>),
    /// There is no response: the connection is reset in its place.
    Reset,
}

impl Tail {
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Why an informational response is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The request is over.
    Over,
    /// [`INFORMATIONAL_MAX`] of them wait already.
    Full,
}

/// Bytes of a response cell behind its area: for a line that the shard puts into the head when it sends it.
pub(crate) const LINE_BYTES: u32 = 24;

/// The head of a response to a request that came by HTTP/1: text at the beginning of the response area, written by who
/// answers. What only the connection knows when it sends has its place: the date's, and [`LINE_BYTES`] behind the area
/// for what is said of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadText {
    pub(crate) len: u32,
    /// Where in the text the Date value goes, filled in by the shard; 0 for nowhere.
    pub(crate) date_at: u16,
}

/// What an application filled in: see [`Exchange::fill`](super::Exchange::fill). A status, a head and a body, whatever
/// version of HTTP they go out by.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// The response's status; 0 for none.
    pub(crate) status: u16,
    pub(crate) head: HeadText,
    /// Bytes of the body that are in the response area, behind the head.
    pub(crate) body_len: u32,
    pub(crate) flags: ResponseFlags,
    /// What is to be sent after the area: more of the body.
    pub(crate) tail: Tail,
}

impl Answered {
    /// Bytes of the response area that are to be sent.
    #[inline]
    pub(crate) fn area_len(&self) -> u32 {
        self.head.len + self.body_len
    }
}
