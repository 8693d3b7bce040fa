//! What a stream consists of: content and trailers as they are given, and as they are sent, with a short frame before
//! each.
//!
//! Invariants: a clone copies no content: it shares the bytes or the file; a frame has at most 24 bytes; a file is
//! neither read nor checked here.
//!
//! Not here: the order of pieces and how many may wait (`stream`), the window of those being sent (`outgoing`), the
//! text of frames and reading files (room `shard`).

use std::fs::File;
use std::sync::Arc;

use super::closing::HeldFile;
use crate::foreign::HeldBytes;

/// Bytes of a frame at most: the line end behind a chunk, a size of 16 digits and a line end take 20.
const FRAME_BYTES_MAX: usize = 24;

/// A few bytes that go before data, as the protocol of the connection wants it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame {
    bytes: [u8; FRAME_BYTES_MAX],
    len: u8,
}

impl Frame {
    /// A frame of these parts, one behind the other; what is beyond 24 bytes is left out.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut frame = Self::default();
        for byte in parts.iter().copied().flatten() {
            debug_assert!(usize::from(frame.len) < FRAME_BYTES_MAX, "frames are short");
            if let Some(place) = frame.bytes.get_mut(usize::from(frame.len)) {
                *place = *byte;
                frame.len += 1;
            }
        }
        frame
    }

    /// A frame that `write` writes; it gives the bytes written, at most 24.
    pub(crate) fn written(write: impl FnOnce(&mut [u8; FRAME_BYTES_MAX]) -> usize) -> Self {
        let mut bytes = [0; FRAME_BYTES_MAX];
        let len = write(&mut bytes).min(FRAME_BYTES_MAX);
        Self { bytes, len: u8::try_from(len).unwrap_or_default() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A part of a file, to be read when it is its turn to be sent.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub(crate) file: HeldFile,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl FileRange {
    /// The bytes of `file` from `range.start` to before `range.end`, counted from the file's beginning; an end before
    /// the start is an empty range. The file's own position is neither used nor changed.
    ///
    /// Nothing is read here, and nothing is checked: a response whose file turns out shorter, or cannot be read, is cut
    /// ([`responses_truncated`](crate::Counters::responses_truncated)).
    ///
    /// A file that is written while it is sent is sent in part as it was and in part as it is: above 32 KiB the socket
    /// borrows the file's own pages (sendfile(2)), and what a slow client has not taken is read again. To replace a
    /// file, rename another over it.
    ///
    /// What has no positions, as a pipe, is read as its bytes come, wherever the range begins; each such response that
    /// its client does not take keeps one of the [`file_buffers`](crate::EngineBuilder::file_buffers).
    #[must_use]
    pub fn new(file: impl Into<Arc<File>>, range: core::ops::Range<u64>) -> Self {
        Self { file: HeldFile::new(file.into()), offset: range.start, len: range.end.saturating_sub(range.start) }
    }

    /// A part of the range, counted from its beginning, which must be within it.
    pub(crate) fn part(&self, range: core::ops::Range<u64>) -> Self {
        let offset = self.offset.saturating_add(range.start);
        Self { file: self.file.clone(), offset, len: range.end.saturating_sub(range.start) }
    }

    /// Bytes of the range.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the range has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Bytes of memory or of a file, or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) enum Data {
    #[default]
    Nothing,
    Bytes(HeldBytes),
    File(FileRange),
}

impl Data {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.len,
        }
    }
}

/// What an application gives.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// A part of the content.
    Content(Data),
    /// The trailer section, as its protocol writes it: the end.
    Trailers(HeldBytes),
}

impl Piece {
    /// Bytes of content.
    pub(crate) fn content_len(&self) -> u64 {
        match self {
            Self::Content(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

/// What a frame goes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// So many bytes of content: not none.
    Content(u64),
    /// The trailer section.
    Trailers,
    /// Nothing: the content has ended, and there are no trailers.
    End,
}

/// A frame and its data, on their way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutPiece {
    frame: Frame,
    data: Data,
    /// The data is framing, too: a trailer section.
    is_framing: bool,
}

impl OutPiece {
    pub(super) fn new(frame: Frame, piece: Piece) -> Self {
        match piece {
            Piece::Content(data) => Self { frame, data, is_framing: false },
            Piece::Trailers(section) => Self { frame, data: Data::Bytes(section), is_framing: true },
        }
    }

    /// Bytes that are no content, and no frame goes before.
    pub(super) fn framing(bytes: HeldBytes) -> Self {
        Self { frame: Frame::default(), data: Data::Bytes(bytes), is_framing: true }
    }

    /// A frame alone.
    pub(super) fn end(frame: Frame) -> Self {
        Self { frame, data: Data::Nothing, is_framing: true }
    }

    pub(crate) fn frame(&self) -> &[u8] {
        self.frame.as_bytes()
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> u64 {
        self.data.len().saturating_add(u64::from(self.frame.len))
    }

    /// Bytes of content among those from `from` to before `to` on the wire, and whether they are a file's.
    pub(super) fn content_between(&self, from: u64, to: u64) -> (u64, bool) {
        let frame = u64::from(self.frame.len);
        let bytes = to.max(frame) - from.max(frame);
        let is_file = matches!(self.data, Data::File(_));
        (if self.is_framing { 0 } else { bytes }, is_file)
    }
}
