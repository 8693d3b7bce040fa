//! The shard's end of a stream: the pieces that are being sent, and how far.
//!
//! Invariants: a piece does not move while it is in the window, so what is lent of it stays where it is; it is dropped
//! when its last byte is sent, or with the whole.
//!
//! Not here: what is given and not yet in the window (`OutStream`), the text of frames, and sending (room `shard`).

use core::sync::atomic::Ordering;
use std::sync::Arc;

use super::closing::HeldFile;
use super::piece::{Data, Frame, Framed, OutPiece, Piece};
use super::{ABORTED, DONE, FINISHED, GONE, OutStream};
use crate::foreign::HeldBytes;

/// Pieces in the window at most.
pub(super) const WINDOW: usize = 8;

/// What the application has said about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There may be more.
    Open,
    /// Everything has been given.
    Finished,
    /// The response is to be cut.
    Aborted,
}

/// How a client finds the end of the content, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By something else: pieces go out as they are given.
    Outside,
    /// By a frame before each piece, and one that ends it. `begun`: there was one.
    Pieces { begun: bool },
    /// The frame that ends it is made.
    Ended,
}

/// See the module's head. Always boxed: its address does not change.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: Arc<OutStream>,
    /// A ring: `count` pieces from `first` on.
    window: [OutPiece; WINDOW],
    first: usize,
    count: usize,
    /// Bytes of the response's head that are not sent.
    head_left: u32,
    /// Bytes of the first piece that are sent.
    sent: u64,
    framing: Framing,
    /// Bytes that the socket has taken, the head's among them.
    taken: u64,
    /// A file of it can be sent only by being read.
    pub(crate) reads_only: bool,
}

impl Outgoing {
    /// The way out of a stream, behind a head of so many bytes.
    #[cfg(test)]
    pub(crate) fn new(stream: Arc<OutStream>, head_len: u32) -> Box<Self> {
        Self::framed(stream, head_len, Framing::Outside)
    }

    /// As [`new`](Self::new), with frames where the content needs them.
    pub(crate) fn framed(stream: Arc<OutStream>, head_len: u32, framing: Framing) -> Box<Self> {
        let window = core::array::from_fn(|_| OutPiece::default());
        let (first, count, sent, taken) = (0, 0, 0, 0);
        Box::new(Self { stream, window, first, count, head_left: head_len, sent, framing, taken, reads_only: false })
    }

    /// Before anything that was given, this goes out: what of a head has no room where the rest of it is.
    pub(crate) fn put_head_rest(&mut self, rest: HeldBytes) {
        debug_assert!(self.count == 0 && self.taken == 0, "it has begun");
        self.put(OutPiece::framing(rest));
    }

    /// What the application says about the end: to be asked before [`refill`](Self::refill), which then finds all that
    /// was given before.
    pub(crate) fn ending(&self) -> Ending {
        match self.stream.state.load(Ordering::Acquire) {
            state if state & ABORTED != 0 => Ending::Aborted,
            state if state & FINISHED != 0 => Ending::Finished,
            _ => Ending::Open,
        }
    }

    /// Takes pieces off the queue as far as the window has room, and puts before each the frame that `frame` makes,
    /// where the content needs them; `true` says to it that there was none before. Everything that was given before
    /// the `ending` is there.
    pub(crate) fn refill(&mut self, ending: Ending, frame: impl Fn(Framed, bool) -> Frame) {
        while self.count < WINDOW
            && let Some(piece) = self.stream.pieces.pop()
        {
            let what = match &piece {
                Piece::Content(data) => Framed::Content(data.len()),
                Piece::Trailers(_) => Framed::Trailers,
            };
            let frame = self.frame(what, &frame);
            self.put(OutPiece::new(frame, piece));
        }
        let is_all = ending == Ending::Finished && self.stream.pieces.is_empty();
        if is_all && self.count < WINDOW && matches!(self.framing, Framing::Pieces { .. }) {
            let frame = self.frame(Framed::End, &frame);
            self.put(OutPiece::end(frame));
        }
    }

    fn frame(&mut self, what: Framed, frame: impl Fn(Framed, bool) -> Frame) -> Frame {
        let Framing::Pieces { begun } = self.framing else { return Frame::default() };
        self.framing = match what {
            Framed::Content(_) => Framing::Pieces { begun: true },
            Framed::Trailers | Framed::End => Framing::Ended,
        };
        frame(what, !begun)
    }

    fn put(&mut self, piece: OutPiece) {
        self.window[(self.first + self.count) % WINDOW] = piece;
        self.count += 1;
    }

    /// Whether everything given is in the window, with the end of the content where that needs a frame.
    pub(crate) fn has_all(&self) -> bool {
        self.stream.pieces.is_empty() && !matches!(self.framing, Framing::Pieces { .. })
    }

    /// Bytes of the head that are not sent.
    pub(crate) fn head_left(&self) -> u32 {
        self.head_left
    }

    /// The head, of which nothing has been sent, has so many bytes more.
    pub(crate) fn grow_head(&mut self, bytes: u32) {
        self.head_left += bytes;
    }

    /// The pieces in the window, each with the bytes of it that are sent.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (&OutPiece, u64)> {
        (0..self.count).map(|index| {
            let sent = if index == 0 { self.sent } else { 0 };
            (&self.window[(self.first + index) % WINDOW], sent)
        })
    }

    /// Whether what was read of the first file in the window can be read again.
    pub(crate) fn can_read_again(&self) -> bool {
        let file = self.pieces().find_map(|(piece, _)| match piece.data() {
            Data::File(range) => Some(&range.file),
            Data::Nothing | Data::Bytes(_) => None,
        });
        file.is_none_or(HeldFile::can_read_again)
    }

    /// Bytes that the socket has taken, head and frames among them.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the socket has taken everything, to the end that the application has given.
    pub(crate) fn is_whole(&self) -> bool {
        self.count == 0 && self.head_left == 0 && self.ending() == Ending::Finished && self.has_all()
    }

    /// So many bytes more are in the socket. Gives how many of them were a file's.
    pub(crate) fn advance(&mut self, bytes: u32) -> u64 {
        self.taken += u64::from(bytes);
        let of_head = bytes.min(self.head_left);
        self.head_left -= of_head;
        let mut left = u64::from(bytes - of_head);
        let (mut payload, mut of_files) = (0, 0);
        while left > 0 && self.count > 0 {
            let piece = &mut self.window[self.first];
            let to = piece.len().min(self.sent + left);
            let (more, is_file) = piece.content_between(self.sent, to);
            payload += more;
            of_files += if is_file { more } else { 0 };
            left -= to - self.sent;
            self.sent = to;
            if to == piece.len() {
                *piece = OutPiece::default();
                self.first = (self.first + 1) % WINDOW;
                self.count -= 1;
                self.sent = 0;
            }
        }
        debug_assert!(left == 0, "more was sent than there was");
        self.stream.sent.fetch_add(payload, Ordering::AcqRel);
        self.stream.wake_for_room();
        of_files
    }

    /// Everything is sent, and the response is whole.
    pub(crate) fn complete(&self) {
        debug_assert!(self.count == 0 && self.head_left == 0, "something is left");
        self.stream.end(DONE);
    }

    /// Nothing more will be sent. What is being sent stays where it is.
    pub(crate) fn give_up(&self) {
        if !self.stream.is_complete() {
            self.stream.end(GONE);
        }
    }
}

impl Drop for Outgoing {
    /// What was not sent never will be.
    fn drop(&mut self) {
        self.give_up();
        // The application may keep its end for long; the pieces are of no use any more.
        while self.stream.pieces.pop().is_some() {}
    }
}
