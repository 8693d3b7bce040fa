//! A request's body on its way from the shard to the application: a chain of links, each a range of a received buffer,
//! that the shard extends at one end and the reader walks from the other.
//!
//! ```text
//!   slot.first ─▶ link: buffer 7 [start..end] ─▶ link: buffer 2 [start..end] ─▶ link: buffer 9 [start..end]
//!                     │ done, the shard's              │ at: being read              │ end grows
//! ```
//!
//! Invariants:
//! * A link is in one chain, and has a share of its buffer of its own ([`Share`](crate::mem::Share), kept in
//!   `holdings`): one buffer may have links in several chains, as that in which one body ends and a pipe begins.
//! * Bytes between a link's start and its end do not change; the shard writes beyond the end only, before it moves it.
//! * A link that has a successor does not grow any more. The reader looks for a successor before it looks at the end.
//! * Links before the one that the reader is at belong to the shard again. A reader that finds nothing more parks: it
//!   looks at no link before it has taken its mark back, and while everything has been read, the shard may take the
//!   mark instead and with it the last link; then the chain begins anew. So a body that is waited for holds no buffer.
//!   Without a reader all links belong to the shard once the slot is freed.
//! * The state is set after the last bytes are in the chain, and read before they are looked for.
//!
//! Not here: what is received, decoded and counted (room `shard`), and how the bytes are read (room `api`).

use core::cell::UnsafeCell;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use core::task::Waker;

use crate::foreign::Waiter;
use crate::mem::{BufferId, CellId};

/// Which link of a shard; "none" costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(NonZeroU32);

impl LinkId {
    /// By its number, counted from 0.
    pub(super) fn new(number: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(number))
    }

    /// Its place in a table with an entry for each link.
    pub(super) fn place(self) -> usize {
        (self.0.get() - 1) as usize
    }

    /// In an integer that threads share, below [`PARKED`]; 0 for none.
    fn bits(link: Option<Self>) -> u32 {
        link.map_or(0, |link| link.0.get())
    }

    /// What [`bits`](Self::bits) was given.
    fn of_bits(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }
}

/// In the place of a reader's link: it is behind all.
const DONE: u32 = u32::MAX;
/// With a reader's link: it has read that to the end and looks away until it comes back.
const PARKED: u32 = 1 << 30;

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    NotYet,
    /// In this link: those before it are done with.
    At(LinkId),
    /// It has read the last link to its end, as far as that was when it looked.
    Parked,
    /// Behind all links.
    Done,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyState {
    /// More may come.
    Open,
    /// Everything is in the chain, and, if there is a trailer section, so many bytes of it in a cell.
    Ended { trailers: Option<(CellId, u32)> },
    /// No more will come, for a reason that the shard and its readers know by this number.
    Failed(u8),
}

/// A range of a buffer in a chain.
#[derive(Debug)]
struct ChainLink {
    /// `BufferId::bits`: none of a link that is in no chain.
    buffer: AtomicU16,
    /// `LinkId::bits`.
    next: AtomicU32,
    start: AtomicU32,
    end: AtomicU32,
}

/// The links of a shard, in whatever chains they are.
#[derive(Debug)]
pub(super) struct Chain(Box<[ChainLink]>);

impl Chain {
    pub(super) fn new(links: u32) -> Self {
        let zero = || AtomicU32::new(0);
        let link = || ChainLink { buffer: AtomicU16::new(0), next: zero(), start: zero(), end: zero() };
        assert!(links < PARKED, "links are numbered below the marks of readers");
        Self((0..links).map(|_| link()).collect())
    }

    /// How many links there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(PARKED)
    }

    fn link(&self, link: LinkId) -> &ChainLink {
        &self.0[link.place()]
    }

    /// Where the bytes of a link end, in its buffer. For the shard.
    pub(super) fn end(&self, link: LinkId) -> u32 {
        self.link(link).end.load(Ordering::Relaxed)
    }

    /// So many more bytes of the chain's last link are there. For the shard.
    pub(super) fn grow(&self, link: LinkId, by: u32) {
        let end = &self.link(link).end;
        end.store(end.load(Ordering::Relaxed) + by, Ordering::Release);
    }

    /// Puts a link that is in no chain behind the last of a slot's, or makes it the first. For the shard.
    pub(super) fn append(
        &self,
        body: &SlotBody,
        last: Option<LinkId>,
        link: LinkId,
        (buffer, start, end): (BufferId, u32, u32),
    ) {
        let new = self.link(link);
        assert!(new.buffer.load(Ordering::Relaxed) == 0, "a link is in one chain");
        new.buffer.store(BufferId::bits(Some(buffer)), Ordering::Relaxed);
        new.next.store(LinkId::bits(None), Ordering::Relaxed);
        new.start.store(start, Ordering::Relaxed);
        new.end.store(end, Ordering::Relaxed);
        let before = last.map_or(&body.first, |last| &self.link(last).next);
        before.store(LinkId::bits(Some(link)), Ordering::Release);
    }

    /// Takes a link out of its chain, whose reader is not before it, and gives the one behind it. For the shard.
    pub(super) fn remove(&self, link: LinkId) -> Option<LinkId> {
        let link = self.link(link);
        link.buffer.store(BufferId::bits(None), Ordering::Relaxed);
        LinkId::of_bits(link.next.load(Ordering::Relaxed))
    }

    /// Moves a reader on to bytes that it has not read. `false`: none are there yet.
    pub(super) fn advance(&self, body: &SlotBody, reader: &mut Cursor) -> bool {
        let mut at = match reader.place {
            Place::In(link) => link,
            Place::Before => {
                let Some(first) = LinkId::of_bits(body.first.load(Ordering::Acquire)) else { return false };
                self.enter(body, reader, first)
            }
            Place::Parked(link) => {
                let bits = LinkId::bits(Some(link));
                if body.at.compare_exchange(PARKED | bits, bits, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    *reader = Cursor::START;
                    return self.advance(body, reader);
                }
                reader.place = Place::In(link);
                link
            }
            Place::Behind => return false,
        };
        loop {
            let link = self.link(at);
            let next = LinkId::of_bits(link.next.load(Ordering::Acquire));
            if reader.at < link.end.load(Ordering::Acquire) {
                return true;
            }
            let Some(next) = next else {
                reader.place = Place::Parked(at);
                // Release: what is in the buffer has been read.
                body.at.store(PARKED | LinkId::bits(Some(at)), Ordering::Release);
                return false;
            };
            at = self.enter(body, reader, next);
        }
    }

    /// Moves a reader to the beginning of a link.
    fn enter(&self, body: &SlotBody, reader: &mut Cursor, link: LinkId) -> LinkId {
        (reader.place, reader.at) = (Place::In(link), self.link(link).start.load(Ordering::Relaxed));
        // Release: what was read from the buffer before has been read.
        body.at.store(LinkId::bits(Some(link)), Ordering::Release);
        link
    }

    /// What a reader can read in the link that it is in: buffer, start and length there.
    pub(super) fn peek(&self, reader: &Cursor) -> Option<(BufferId, u32, u32)> {
        let Place::In(link) = reader.place else { return None };
        let link = self.link(link);
        let end = link.end.load(Ordering::Acquire);
        // A reader that was moved past the end has nothing to read.
        let len = end.checked_sub(reader.at)?;
        Some((BufferId::of_bits(link.buffer.load(Ordering::Relaxed))?, reader.at, len))
    }
}

/// How far a body has been read: in the slot, so that requests without one carry nothing of it about.
#[derive(Debug)]
pub(crate) struct Reader {
    cursor: Cursor,
    /// Bytes read of what came with the head.
    pub(crate) prefix: u32,
    /// The end has been found.
    pub(crate) ended: bool,
    /// The shard knows that somebody waits.
    pub(crate) asked: bool,
    /// Bytes read in all, but for those given back.
    pub(crate) taken: u64,
    /// What was given back is gone with the handle that had it.
    pub(crate) is_torn: bool,
}

impl Reader {
    pub(super) const START: Self =
        Self { cursor: Cursor::START, prefix: 0, ended: false, asked: false, taken: 0, is_torn: false };
}

impl Reader {
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    pub(super) fn cursor_mut(&mut self) -> &mut Cursor {
        &mut self.cursor
    }
}

/// A reader's place in a chain. A body has one.
#[derive(Debug)]
pub(super) struct Cursor {
    place: Place,
    /// Where in its link's buffer it reads next.
    at: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first link.
    Before,
    In(LinkId),
    /// At the end of this link, and looks away: see [`PARKED`].
    Parked(LinkId),
    /// Behind all links.
    Behind,
}

impl Cursor {
    /// Before the first link.
    pub(super) const START: Self = Self { place: Place::Before, at: 0 };
    /// Behind all links: where nothing is found.
    pub(super) const NOWHERE: Self = Self { place: Place::Behind, at: 0 };

    /// Moves over bytes that have been read.
    pub(super) fn advance(&mut self, bytes: u32) {
        self.at = self.at.saturating_add(bytes);
    }

    /// Leaves the chain. `true`: it was in a link, which is the shard's now.
    pub(super) fn leave(&mut self, body: &SlotBody) -> bool {
        if self.place == Place::Behind {
            return false;
        }
        let was_in = self.place != Place::Before;
        self.place = Place::Behind;
        body.at.store(DONE, Ordering::Release);
        was_in
    }
}

/// What a slot has of its body.
#[derive(Debug)]
pub(super) struct SlotBody {
    /// `LinkId::bits`.
    first: AtomicU32,
    /// The link that the reader is at, as `LinkId::bits`, with [`PARKED`] or not, or [`DONE`]; 0 before the first.
    /// Those before it are the shard's again.
    at: AtomicU32,
    state: AtomicU32,
    trailers: AtomicU32,
    /// `CellId::bits`.
    trailer_cell: AtomicU32,
    /// Bytes that came with the head or were put into the chain.
    arrived: AtomicU64,
    /// Bytes of those that have been read.
    read: AtomicU64,
    /// The shard has stopped receiving until so many bytes have been read, or until more [is wanted](WANTED).
    resume_at: AtomicU64,
    /// Its reader has found nothing, and has not been woken since.
    wanted: AtomicBool,
    waiting: Waiter,
    /// The lease's alone once the slot is published with a body, the shard's before.
    reader: UnsafeCell<Reader>,
}

const OPEN: u32 = 0;
const ENDED: u32 = 1;
const FAILED: u32 = 2;
const NEVER: u64 = u64::MAX;
/// In the place of a number of bytes: until the reader finds nothing.
const WANTED: u64 = u64::MAX - 1;

impl SlotBody {
    pub(super) const fn new() -> Self {
        Self {
            first: AtomicU32::new(0),
            at: AtomicU32::new(0),
            state: AtomicU32::new(OPEN),
            trailers: AtomicU32::new(0),
            trailer_cell: AtomicU32::new(0),
            arrived: AtomicU64::new(0),
            read: AtomicU64::new(0),
            resume_at: AtomicU64::new(NEVER),
            wanted: AtomicBool::new(false),
            waiting: Waiter::new(),
            reader: UnsafeCell::new(Reader::START),
        }
    }

    /// The reader's progress: for the slot's shard until it publishes the slot, for the slot's one lease afterwards.
    pub(super) fn reader(&self) -> *mut Reader {
        self.reader.get()
    }

    /// Before the slot is published with a body of which more may come.
    pub(super) fn reset(&self) {
        self.first.store(0, Ordering::Relaxed);
        self.at.store(0, Ordering::Relaxed);
        self.state.store(OPEN, Ordering::Relaxed);
        self.arrived.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
        self.resume_at.store(NEVER, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        self.waiting.clear();
    }

    /// Where the reader is. For the shard.
    pub(super) fn reading(&self) -> Reading {
        match self.at.load(Ordering::Acquire) {
            DONE => Reading::Done,
            at if at & PARKED != 0 => Reading::Parked,
            at => LinkId::of_bits(at).map_or(Reading::NotYet, Reading::At),
        }
    }

    /// Takes the chain from a parked reader that has read everything. `true`: all its links are the shard's.
    pub(super) fn detach(&self) -> bool {
        let at = self.at.load(Ordering::Acquire);
        if at & PARKED == 0 || at == DONE || self.unread() > 0 {
            return false;
        }
        // Before the mark is taken: a reader that has lost it begins here.
        self.first.store(0, Ordering::Relaxed);
        self.at.compare_exchange(at, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn state(&self) -> BodyState {
        let state = self.state.load(Ordering::Acquire);
        match state & 0xff {
            OPEN => BodyState::Open,
            ENDED => {
                let cell = CellId::of_bits(self.trailer_cell.load(Ordering::Relaxed));
                BodyState::Ended { trailers: cell.map(|cell| (cell, self.trailers.load(Ordering::Relaxed))) }
            }
            _ => BodyState::Failed(u8::try_from(state >> 8).unwrap_or(u8::MAX)),
        }
    }

    /// Says how the body has ended, unless that is known. For the shard, which wakes the reader afterwards.
    pub(super) fn set_state(&self, state: BodyState) {
        if self.state.load(Ordering::Relaxed) != OPEN {
            return;
        }
        let bits = match state {
            BodyState::Open => OPEN,
            BodyState::Ended { trailers } => {
                self.trailers.store(trailers.map_or(0, |(_, bytes)| bytes), Ordering::Relaxed);
                self.trailer_cell.store(CellId::bits(trailers.map(|(cell, _)| cell)), Ordering::Relaxed);
                ENDED
            }
            BodyState::Failed(reason) => FAILED | u32::from(reason) << 8,
        };
        self.state.store(bits, Ordering::Release);
    }

    /// More bytes are there. For the shard.
    pub(super) fn add_arrived(&self, bytes: u64) {
        self.arrived.store(self.arrived.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Bytes that have arrived and not been read. For the shard.
    pub(super) fn unread(&self) -> u64 {
        self.arrived() - self.read.load(Ordering::Acquire).min(self.arrived())
    }

    /// The shard has stopped: it is to be told when no more than so many bytes are unread. `true`: it is so already.
    pub(super) fn stop_until(&self, unread: u64) -> bool {
        let resume_at = self.arrived() - unread.min(self.arrived());
        // Either the reader sees this, or the shard what has been read: both sides write first and look then.
        self.resume_at.store(resume_at, Ordering::SeqCst);
        let enough = self.read.load(Ordering::SeqCst) >= resume_at;
        if enough {
            self.resume_at.store(NEVER, Ordering::Relaxed);
        }
        enough
    }

    /// The shard has stopped: it is to be told when a reader that has read everything wants more. `true`: it does so
    /// already.
    pub(super) fn stop_until_wanted(&self) -> bool {
        // Both sides write first and look then, as above.
        self.resume_at.store(WANTED, Ordering::SeqCst);
        let enough = self.is_wanted();
        if enough {
            self.resume_at.store(NEVER, Ordering::Relaxed);
        }
        enough
    }

    /// Whether the reader has read everything and wants more. For the shard.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) && self.unread() == 0
    }

    /// The reader has found nothing, and wants more. `true`: the shard waits to be told.
    pub(super) fn want(&self) -> bool {
        self.wanted.store(true, Ordering::SeqCst);
        self.resume_at.compare_exchange(WANTED, NEVER, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Bytes have been read. `true`: the shard waits to be told.
    pub(super) fn add_read(&self, bytes: u64) -> bool {
        let read = self.read.load(Ordering::Relaxed) + bytes;
        self.read.store(read, Ordering::SeqCst);
        let waited = read >= self.resume_at.load(Ordering::SeqCst);
        if waited {
            self.resume_at.store(NEVER, Ordering::Relaxed);
        }
        waited
    }

    /// A reader waits; it looks once more after this.
    pub(super) fn register(&self, waker: &Waker) {
        self.waiting.register(waker);
    }

    pub(super) fn wake_reader(&self) {
        // Before it is woken: it may find nothing again at once.
        self.wanted.store(false, Ordering::SeqCst);
        self.waiting.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_wants_more_is_noticed_by_one_side() {
        let body = SlotBody::new();
        assert!(!body.want() && body.stop_until_wanted(), "the shard comes second, and finds it");
        assert!(!body.want(), "and waits for nothing any more");
        body.wake_reader();
        assert!(!body.stop_until_wanted() && body.want(), "the reader comes second, and tells");
        assert!(!body.want(), "once");
    }

    #[test]
    fn who_has_something_to_read_wants_nothing() {
        let body = SlotBody::new();
        body.add_arrived(3);
        assert!(!body.want() && !body.is_wanted() && !body.stop_until_wanted());
        assert!(!body.add_read(3) && body.is_wanted() && body.want(), "it has read all, and looks again");
        body.wake_reader();
        assert!(!body.is_wanted(), "until it has looked again");
    }
}
