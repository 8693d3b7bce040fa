//! What a streamed response is between the application, which gives it piece by piece, and the shard, which sends it.
//!
//! ```text
//!   application ──push──▶ OutStream ──refill──▶ Outgoing's window ──▶ the socket
//!        ▲                 bounded                8 pieces                │
//!        └──── room, end: two wakers ◀───────── advance, complete ◀──────┘
//! ```
//!
//! Invariants: one application handle pushes and one shard pops; what is queued is bounded in pieces and, but for one
//! chunk, in bytes of payload; the ending is set after the last push, so who sees it finds every piece; a stream ends
//! in one of two ways, complete or gone, after which nothing is sent; both wakers are woken at the end; no locks.
//!
//! Not here: framing (what a frame holds is the business of the protocol that sends), files being read and memory being
//! lent (room `shard`), and who tells the shard that something was pushed (`queue::Signals`).

mod closing;
mod outgoing;
mod piece;

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use core::task::Waker;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

pub(crate) use self::closing::ClosingElsewhere;
pub(crate) use self::outgoing::{Ending, Framing, Outgoing};
pub use self::piece::FileRange;
pub(crate) use self::piece::{Data, Frame, Framed, Piece};
use crate::foreign::Waiter;

/// Pieces a stream may be given beyond those it has room for, so that finishing never waits: what `write` collected,
/// a chunk, what `write` collected again, and trailers.
const SPARE: usize = 4;

/// The application has given everything.
const FINISHED: u8 = 1;
/// The application has given up.
const ABORTED: u8 = 2;
/// Everything is handed to the socket.
const DONE: u8 = 4;
/// The client is gone, or the response was cut.
const GONE: u8 = 8;

/// See the module's head.
pub(crate) struct OutStream {
    pieces: ArrayQueue<Piece>,
    /// Pieces from which on there is no room.
    pieces_max: usize,
    /// Bytes of payload under way from which on there is no room.
    watermark: u64,
    /// Bytes of payload pushed; written by the application alone.
    given: AtomicU64,
    /// Bytes of payload handed to the socket; written by the shard alone.
    sent: AtomicU64,
    state: AtomicU8,
    /// Who waits for room.
    room: Waiter,
    /// Who waits for the end.
    end: Waiter,
}

impl core::fmt::Debug for OutStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("OutStream").field("state", &state).field("sent", &self.sent()).finish_non_exhaustive()
    }
}

impl OutStream {
    /// A stream that is to be filled.
    pub(crate) fn new(pieces_max: usize, watermark: u64) -> Arc<Self> {
        Arc::new(Self::with(pieces_max, watermark))
    }

    /// A stream that is whole: everything is given, and it is finished.
    pub(crate) fn whole(pieces: Vec<Piece>) -> Arc<Self> {
        let stream = Self::with(pieces.len(), u64::MAX);
        for piece in pieces {
            stream.push(piece);
        }
        stream.finish();
        Arc::new(stream)
    }

    fn with(pieces_max: usize, watermark: u64) -> Self {
        Self {
            pieces: ArrayQueue::new(pieces_max + SPARE),
            pieces_max,
            watermark,
            given: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            state: AtomicU8::new(0),
            room: Waiter::new(),
            end: Waiter::new(),
        }
    }

    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Acquire) & state != 0
    }

    /// Bytes of payload pushed and not yet handed to the socket.
    fn under_way(&self) -> u64 {
        self.given.load(Ordering::Relaxed).saturating_sub(self.sent.load(Ordering::Acquire))
    }

    /// Whether a chunk may be pushed now. For the application.
    pub(crate) fn has_room(&self) -> bool {
        self.pieces.len() < self.pieces_max && self.under_way() < self.watermark
    }

    /// Gives the next piece. For the application, which sees to [room](Self::has_room) first and has pushed at most
    /// four pieces since.
    pub(crate) fn push(&self, piece: Piece) {
        debug_assert!(!matches!(&piece, Piece::Content(data) if data.len() == 0), "a piece has something to send");
        let given = self.given.load(Ordering::Relaxed).saturating_add(piece.content_len());
        self.given.store(given, Ordering::Relaxed);
        let pushed = self.pieces.push(piece);
        debug_assert!(pushed.is_ok(), "there was room, and some to spare");
    }

    /// Everything is given. For the application.
    pub(crate) fn finish(&self) {
        self.state.fetch_or(FINISHED, Ordering::AcqRel);
    }

    /// The application gives up: the response is cut. For the application.
    pub(crate) fn abort(&self) {
        self.state.fetch_or(ABORTED, Ordering::AcqRel);
    }

    /// Whether nothing more will be sent because the client is gone or the response was cut.
    pub(crate) fn is_gone(&self) -> bool {
        self.is(GONE)
    }

    /// Whether everything given was handed to the socket and the response is whole.
    pub(crate) fn is_complete(&self) -> bool {
        self.is(DONE)
    }

    /// Bytes of payload handed to the socket; final once the stream is complete or gone.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Whom to wake when there is room, or none will come. Look again after this.
    pub(crate) fn await_room(&self, waker: &Waker) {
        self.room.register(waker);
    }

    /// Whom to wake at the end. Look again after this.
    pub(crate) fn await_end(&self, waker: &Waker) {
        self.end.register(waker);
    }

    /// Half of the room is free: who waits for it goes on. For the shard.
    fn wake_for_room(&self) {
        if self.under_way() <= self.watermark / 2 && self.pieces.len() <= self.pieces_max / 2 {
            self.room.notify();
        }
    }

    fn end(&self, state: u8) {
        self.state.fetch_or(state, Ordering::AcqRel);
        self.room.notify();
        self.end.notify();
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use bytes::Bytes;

    use super::*;

    fn piece(data: &str) -> Piece {
        Piece::Content(Data::Bytes(Bytes::copy_from_slice(data.as_bytes()).into()))
    }

    /// A frame that says all it knows.
    fn tagged(what: Framed, first: bool) -> Frame {
        let tag = match what {
            Framed::Content(len) => format!("<{len}{}>", if first { " first" } else { "" }),
            Framed::Trailers => "<trailers>".to_owned(),
            Framed::End => "<end>".to_owned(),
        };
        Frame::of(&[tag.as_bytes()])
    }

    fn refill(outgoing: &mut Outgoing) {
        let ending = outgoing.ending();
        outgoing.refill(ending, tagged);
    }

    /// What is in the window and not sent.
    fn waiting(outgoing: &Outgoing) -> Vec<u8> {
        let mut all = Vec::new();
        for (piece, sent) in outgoing.pieces() {
            let mut whole = piece.frame().to_vec();
            if let Data::Bytes(bytes) = piece.data() {
                whole.extend_from_slice(bytes);
            }
            all.extend_from_slice(&whole[usize::try_from(sent).expect("short")..]);
        }
        all
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    #[test]
    fn any_split_of_sends_gives_all_bytes_in_order_with_their_frames_and_counts_the_content() {
        let framings = [Framing::Outside, Framing::Pieces { begun: false }];
        for (step, framing) in (1..40).flat_map(|step| framings.map(|framing| (step, framing))) {
            let is_framed = framing != Framing::Outside;
            let stream = OutStream::new(100, 1000);
            let mut outgoing = Outgoing::framed(Arc::clone(&stream), 7, framing);
            let mut expected = String::new();
            for number in 0..30 {
                let data = "d".repeat(number % 4 + 1);
                if is_framed {
                    expected += &format!("<{}{}>", data.len(), if number == 0 { " first" } else { "" });
                }
                expected += &data;
                stream.push(piece(&data));
            }
            expected += if is_framed { "<end>" } else { "" };
            stream.finish();
            let (mut got, mut head) = (Vec::new(), 7);
            loop {
                refill(&mut outgoing);
                let mut there = vec![b'h'; outgoing.head_left() as usize];
                there.extend(waiting(&outgoing));
                if there.is_empty() {
                    break;
                }
                let count = step.min(there.len());
                head -= count.min(head);
                got.extend_from_slice(&there[..count]);
                outgoing.advance(u32::try_from(count).expect("short"));
                assert_eq!(outgoing.head_left() as usize, head);
            }
            assert!(outgoing.has_all());
            outgoing.complete();
            drop(outgoing);
            assert_eq!(String::from_utf8_lossy(&got[7..]), expected, "in steps of {step}");
            let content: usize = (0..30).map(|number| number % 4 + 1).sum();
            assert_eq!((stream.sent(), stream.is_complete(), stream.is_gone()), (content as u64, true, false));
        }
    }

    #[test]
    fn the_end_of_framed_content_waits_for_a_place_in_the_window() {
        let stream = OutStream::new(100, 1000);
        let mut outgoing = Outgoing::framed(Arc::clone(&stream), 0, Framing::Pieces { begun: false });
        refill(&mut outgoing);
        assert!(waiting(&outgoing).is_empty() && !outgoing.has_all(), "it has not ended");
        (0..outgoing::WINDOW).for_each(|_| stream.push(piece("d")));
        stream.finish();
        refill(&mut outgoing);
        assert!(!outgoing.has_all());
        outgoing.advance(u32::try_from(waiting(&outgoing).len()).expect("short"));
        refill(&mut outgoing);
        assert_eq!((waiting(&outgoing).as_slice(), outgoing.has_all()), (&b"<end>"[..], true));
    }

    #[test]
    fn a_sender_is_woken_when_half_of_the_room_is_free() {
        let stream = OutStream::new(100, 100);
        let mut outgoing = Outgoing::new(Arc::clone(&stream), 0);
        let (woken, waker) = waker();
        while stream.has_room() {
            stream.push(piece(&"d".repeat(10)));
        }
        assert_eq!(stream.under_way(), 100);
        stream.await_room(&waker);
        refill(&mut outgoing);
        outgoing.advance(49);
        assert_eq!((woken.0.load(Ordering::SeqCst), stream.has_room()), (0, true));
        outgoing.advance(1);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn many_small_pieces_fill_the_queue_before_the_watermark_and_a_few_more_always_fit() {
        let stream = OutStream::new(16, 1 << 20);
        let mut outgoing = Outgoing::new(Arc::clone(&stream), 0);
        let (woken, waker) = waker();
        (0..16).for_each(|_| stream.push(piece("f")));
        assert!(!stream.has_room());
        stream.await_room(&waker);
        (0..SPARE).for_each(|_| stream.push(piece("f")));
        for _ in 0..3 {
            refill(&mut outgoing);
            outgoing.advance(u32::try_from(waiting(&outgoing).len()).expect("short"));
        }
        assert_eq!((woken.0.load(Ordering::SeqCst), stream.has_room()), (1, true));
    }

    #[test]
    fn a_stream_that_is_dropped_by_its_shard_is_gone_and_wakes_everybody() {
        let stream = OutStream::new(4, 100);
        let outgoing = Outgoing::new(Arc::clone(&stream), 0);
        let ((room, one), (end, other)) = (waker(), waker());
        stream.push(piece("left behind"));
        stream.await_room(&one);
        stream.await_end(&other);
        drop(outgoing);
        assert_eq!((room.0.load(Ordering::SeqCst), end.0.load(Ordering::SeqCst)), (1, 1));
        assert!(stream.is_gone() && !stream.is_complete() && stream.pieces.is_empty());
    }

    #[test]
    fn a_trailer_section_is_no_content_and_ends_it() {
        let section = Piece::Trailers(Bytes::from_static(b"a: b\r\n\r\n").into());
        let stream = OutStream::whole(vec![piece("x"), section]);
        let mut outgoing = Outgoing::framed(Arc::clone(&stream), 0, Framing::Pieces { begun: false });
        refill(&mut outgoing);
        assert_eq!(waiting(&outgoing), b"<1 first>x<trailers>a: b\r\n\r\n");
        let len = u32::try_from(waiting(&outgoing).len()).expect("short");
        assert_eq!((outgoing.advance(len), stream.sent(), outgoing.has_all()), (0, 1, true));
    }
}
