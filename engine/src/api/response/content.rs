//! What a body consists of: memory, borrowed or shared, and parts of files.
//!
//! Invariants: making one, or a part of one, copies no bytes.
//! Not here: reading files, which the engine does when their bytes are sent (room `shard`).

use core::ops::Range;
use std::borrow::Cow;

use bytes::Bytes;

use crate::foreign::HeldBytes;
use crate::stream::{Data, FileRange};

/// A response body, or a chunk of one.
///
/// What is copied: a body in memory that is given whole and fits beside its head into the request's
/// [`response_area_bytes`](crate::EngineBuilder::response_area_bytes) (4,096, unless set otherwise) is copied there,
/// since both then go in one piece. A larger one, and whatever is given in pieces, is sent from where it is if it is
/// shared ([`Bytes`], `Vec<u8>`, `String`, [`from_static`](Self::from_static)), and copied to the heap if it is
/// borrowed (`&[u8]`, `&str`, static ones too).
///
/// ```
/// use ringress::{Body, Response};
///
/// static PAGE: [u8; 100_000] = [b'x'; 100_000];
/// // Sent from where it lies; `body(&PAGE)` would copy it for every response.
/// let response = Response::ok().body(Body::from_static(&PAGE));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Body<'a> {
    /// Bytes that are copied, always.
    Borrowed(&'a [u8]),
    /// Reference-counted or static bytes: not copied, unless they fit beside the head.
    Shared(Bytes),
    /// A part of a file, read by the engine when it is sent, without blocking the shard.
    File(FileRange),
}

impl Body<'static> {
    /// Static bytes, which are sent from where they are; without this they are copied like all that is borrowed.
    #[must_use]
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self::Shared(Bytes::from_static(bytes))
    }
}

impl Body<'_> {
    /// Bytes in memory or in a file.
    pub(in crate::api) fn len(&self) -> u64 {
        match self {
            Self::Borrowed(bytes) => bytes.len() as u64,
            Self::Shared(bytes) => bytes.len() as u64,
            Self::File(range) => range.len(),
        }
    }

    /// What a stream sends of it. Borrowed bytes are copied.
    pub(in crate::api) fn into_data(self) -> Data {
        match self {
            Self::Borrowed(bytes) => Data::Bytes(Bytes::copy_from_slice(bytes).into()),
            Self::Shared(bytes) => Data::Bytes(bytes.into()),
            Self::File(range) => Data::File(range),
        }
    }
}

impl<'a> Body<'a> {
    /// A part of it, counted from its beginning, which must be within it.
    pub(super) fn part(&self, range: Range<u64>) -> Self {
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        match self {
            Self::Borrowed(bytes) => {
                Self::Borrowed(bytes.get(place(range.start)..place(range.end)).unwrap_or_default())
            }
            Self::Shared(bytes) => Self::Shared(bytes.slice(place(range.start)..place(range.end))),
            Self::File(file) => Self::File(file.part(range)),
        }
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Body<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a str> for Body<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl From<Bytes> for Body<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

impl From<Vec<u8>> for Body<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Shared(bytes.into())
    }
}

impl From<String> for Body<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl<'a> From<&'a String> for Body<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}

impl<'a> From<&'a Vec<u8>> for Body<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<Cow<'a, str>> for Body<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<'a> From<Cow<'a, [u8]>> for Body<'a> {
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl From<FileRange> for Body<'_> {
    fn from(range: FileRange) -> Self {
        Self::File(range)
    }
}
/// A body in memory.
#[derive(Clone, Debug)]
pub(super) enum Memory<'a> {
    Borrowed(&'a [u8]),
    Shared(HeldBytes),
}

impl Memory<'_> {
    pub(super) const NONE: Self = Self::Borrowed(&[]);

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    pub(super) fn into_held(self) -> HeldBytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes).into(),
            Self::Shared(bytes) => bytes,
        }
    }
}
