//! The simulated application's streamed responses: pieces of all sizes, in memory and in a file, given as there is
//! room.
//!
//! A sender that found no room goes on only when it has been woken: a wake that is lost leaves its client waiting.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::task::{Wake, Waker};

use bytes::Bytes;

use super::rig::{BodyLength, head_of};
use crate::driver::fake::Random;
use crate::foreign::HeldBytes;
use crate::queue::{Lease, Signals, Tail};
use crate::record::RequestRecord;
use crate::stream::{Data, FileRange, Framing, OutStream, Outgoing, Piece};

/// Whether a wake has come.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    /// What puts it up. One in ten panics then, one in ten when it is dropped.
    pub(super) fn waker(self: &Arc<Self>, random: &mut Random) -> Waker {
        let flag = Arc::clone(self);
        match random.below(10) {
            0 => Waker::from(Arc::new(Odd { flag, throws_dropped: false })),
            1 => Waker::from(Arc::new(Odd { flag, throws_dropped: true })),
            _ => Waker::from(flag),
        }
    }
}

/// Panics, without a word of the panic hook.
pub(super) fn throw() -> ! {
    std::panic::resume_unwind(Box::new("meant to be thrown"))
}

/// A waker that panics when it has put its flag up, or when it is dropped.
struct Odd {
    flag: Arc<Flag>,
    throws_dropped: bool,
}

impl Wake for Odd {
    fn wake(self: Arc<Self>) {
        self.flag.0.store(true, Ordering::SeqCst);
        if !self.throws_dropped {
            throw();
        }
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        if self.throws_dropped {
            throw();
        }
    }
}

/// Bytes whose owner panics when it lets go of them.
struct OddOwner(Vec<u8>);

impl AsRef<[u8]> for OddOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for OddOwner {
    fn drop(&mut self) {
        throw();
    }
}

/// Bytes of an application's. One in ten has an owner that panics.
pub(super) fn owned(bytes: &[u8], random: &mut Random) -> HeldBytes {
    match random.below(10) {
        0 => Bytes::from_owner(OddOwner(bytes.to_vec())),
        _ => Bytes::copy_from_slice(bytes),
    }
    .into()
}

/// A file of so many bytes as [`super::app::response_body`] fills with, which no name leads to.
pub(super) fn letters(len: usize) -> Arc<File> {
    static NUMBER: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ringress-sim-{}-{number}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).expect("a new file");
    std::fs::remove_file(&path).expect("just made");
    let text: Vec<u8> = (0..len).map(|place| b'a' + u8::try_from(place % 26).expect("below 26")).collect();
    file.write_all(&text).expect("room");
    Arc::new(file)
}

/// The trailer section of some responses in chunks.
pub(super) const TRAILERS: &[u8] = b"X-Sum: 1\r\n\r\n";

/// A streamed response under way.
pub(super) struct Streaming {
    lease: Lease<RequestRecord>,
    pub(super) stream: Arc<OutStream>,
    rest: VecDeque<Piece>,
    /// Given up instead of being finished.
    cut: bool,
    /// Set while there was no room.
    waits: Option<Arc<Flag>>,
}

impl Streaming {
    /// Begins to answer. `None`: the request is over, or was answered by id.
    pub(super) fn start(
        lease: Lease<RequestRecord>,
        whole: &[u8],
        close: bool,
        rest: VecDeque<Piece>,
        cut: bool,
        random: &mut Random,
    ) -> Option<Self> {
        let stream = OutStream::new(1 + random.below(10), [1, 100, 3000, 50_000][random.below(4)]);
        let record = *lease.record();
        let is_chunked = random.chance(500);
        let filled = lease.answer(|area| {
            let length = if is_chunked { BodyLength::Chunked } else { BodyLength::Known(whole.len()) };
            let mut answered = head_of(area, length, close);
            let is_framed = is_chunked && !record.is_head();
            let framing = if is_framed { Framing::Pieces { begun: false } } else { Framing::Outside };
            answered.tail = Tail::Stream(Outgoing::framed(Arc::clone(&stream), answered.head.len, framing));
            Ok::<_, ()>(answered)
        });
        let mut rest = if record.is_head() { VecDeque::new() } else { rest };
        let cut = cut && !record.is_head();
        if is_chunked && !cut && !record.is_head() && random.chance(300) {
            rest.push_back(Piece::Trailers(Bytes::from_static(TRAILERS).into()));
        }
        filled.is_some().then_some(Self { lease, stream, rest, cut, waits: None })
    }

    /// Whether it can go on now.
    pub(super) fn can_act(&self) -> bool {
        self.waits.as_ref().is_none_or(|flag| flag.is_up())
    }

    /// Gives one piece, or ends. Gives the lease back when it is over.
    pub(super) fn act(mut self, random: &mut Random) -> Result<Self, Lease<RequestRecord>> {
        self.waits = None;
        if self.stream.is_gone() {
            return Err(self.lease);
        }
        if self.rest.is_empty() {
            if self.cut {
                self.stream.abort();
            } else {
                self.stream.finish();
            }
            self.lease.tell(Signals::SEND);
            return Err(self.lease);
        }
        if !self.stream.has_room() {
            let flag = Arc::new(Flag::default());
            self.stream.await_room(&flag.waker(random));
            if !self.stream.has_room() && !self.stream.is_gone() {
                self.waits = Some(flag);
                return Ok(self);
            }
        }
        if let Some(piece) = self.rest.pop_front() {
            self.stream.push(piece);
            self.lease.tell(Signals::SEND);
        }
        Ok(self)
    }

    /// Gives up, as an application does that ends.
    pub(super) fn abandon(self) {
        self.stream.abort();
        self.lease.tell(Signals::SEND);
    }
}

/// Cuts a text into pieces; from `filling` on it is that of [`letters`].
pub(super) fn pieces(text: &[u8], filling: usize, file: &Arc<File>, random: &mut Random) -> VecDeque<Piece> {
    let most = [3, 60, 2000, 100_000][random.below(4)].max(text.len() / 200 + 1);
    let mut pieces = VecDeque::new();
    let mut at = 0;
    while at < text.len() {
        let len = (1 + random.below(most)).min(text.len() - at);
        let (from, to) = (at, at + len);
        let data = if from >= filling && random.chance(400) {
            Data::File(FileRange::new(Arc::clone(file), (from - filling) as u64..(to - filling) as u64))
        } else {
            Data::Bytes(owned(&text[from..to], random))
        };
        pieces.push_back(Piece::Content(data));
        at = to;
    }
    pieces
}
