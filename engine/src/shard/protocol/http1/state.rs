//! What HTTP/1 knows of a connection.
//!
//! Invariants: an idle connection is one entry here and nothing else: no buffer, no request slot.
//!
//! Not here: what is done with it (the other files beside this), what every protocol knows of a connection (`link`),
//! and what it may do next (room `conn`).

use ringress_proto::chunked::Decoder;
use ringress_proto::framing::BodyLength;
use ringress_proto::reject::Reject;

use super::partial::{PartialHead, Preface};
use crate::clock::Tick;
use crate::conn::{Machine, Part};
use crate::proxied::ProxyProtocol;
use crate::queue::Slot;
use crate::record::{Address, DISCARDED_BYTES_MAX};
use crate::shard::dispatch::Dispatch;
use crate::shard::protocol::link::Link;
use crate::shard::protocol::raw::Pipe;
use crate::shard::transport::{Accepted, Resource, Socket};
use crate::slab::ConnectionKey;
use crate::timer::NEVER;

/// What is being received.
///
/// ```text
///             a head's first part            whole, a body follows
///   Nothing ────────────────────▶ Head ──────────────────────────▶ Body ──its end──▶ Nothing
///     │ └──a whole head, a body follows───────────────────────────▶ │
///     │                 answered with a switch of protocols         │
///     ├──────────────────────────────────▶ Pipe ◀───────────────────┘
///     │                                     └──earlier answers are sent──▶ Switched
///     └──(from any but a pipe) all is sent behind which the connection ends──▶ Unwanted
/// ```
// Asked for by each request: with a number of its own for each case that is one comparison, else several.
#[repr(u8)]
#[derive(Debug)]
pub(crate) enum Intake {
    /// Of no request a part is here.
    Nothing,
    Head(PartialHead),
    Body(RestOfBody),
    /// Before everything else: a header of the PROXY protocol is awaited.
    Preface(Box<Preface>),
    /// Our side is shut, and what comes is thrown away: until then at the latest; `NEVER`: not known yet.
    Unwanted {
        due: Tick,
    },
    /// The newest request is answered with a switch of protocols, behind which there are no more. What comes is the
    /// pipe's, also while earlier answers are still to be sent.
    Pipe(Pipe),
    /// And these are sent: the connection is another protocol's from now on.
    Switched(Pipe),
}

/// A body of which not all is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestOfBody {
    pub(super) incoming: Incoming,
    pub(super) reader: Reader,
    /// When more of it has to have come at the latest; `NEVER`: not known yet.
    pub(super) due: Tick,
    pub(super) go_ahead: GoAhead,
}

/// What of a body is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Incoming {
    /// So many bytes, more than none.
    Length { missing: u64 },
    /// Chunks.
    Chunked { decoder: Decoder },
}

/// Who gets what is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Nobody: it is thrown away.
    Nobody,
    /// The reader of this slot's body.
    Slot(Slot),
    /// It, when less waits to be read: until then nothing is received.
    Paused(Slot),
    /// The engine, which delivers the request in this slot when it is whole.
    Engine(Slot),
}

/// How it is about the `100 Continue` of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoAhead {
    /// Its client does not wait for it, or no more.
    NotAwaited,
    /// It does, if anybody reads the body: nothing of that has come, and nobody has asked for it.
    Awaited,
    /// And somebody has asked: the client is owed it.
    Owed,
}

/// How long the newest body is, or was, that did not come with its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodySize {
    Short,
    /// It is best received into large buffers.
    Long,
}

impl Reader {
    #[inline]
    pub(crate) fn slot(self) -> Option<Slot> {
        match self {
            Self::Nobody | Self::Engine(_) => None,
            Self::Slot(slot) | Self::Paused(slot) => Some(slot),
        }
    }

    #[inline]
    pub(crate) fn is(self, slot: Slot) -> bool {
        self.slot() == Some(slot)
    }

    #[inline]
    pub(super) fn is_paused(self) -> bool {
        matches!(self, Self::Paused(_))
    }
}

impl RestOfBody {
    pub(super) fn new(incoming: Incoming, reader: Reader, go_ahead: GoAhead) -> Self {
        Self { incoming, reader, due: NEVER, go_ahead }
    }

    /// Whether the client waits for `100 Continue` to send what somebody is to read.
    #[inline]
    pub(super) fn waits_to_continue(&self) -> bool {
        self.go_ahead == GoAhead::Awaited && self.reader != Reader::Nobody
    }

    #[cfg(test)]
    pub(crate) fn is_paused(&self) -> bool {
        self.reader.is_paused()
    }
}

/// What is noted of a request, beside its slot (`SlotState::note`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerNote(pub(super) u8);

impl AnswerNote {
    const LAST: u8 = 1;
    const HTTP10: u8 = 2;

    #[inline]
    pub(super) fn new(is_last: bool, is_http10: bool) -> Self {
        Self((u8::from(is_last) * Self::LAST) | (u8::from(is_http10) * Self::HTTP10))
    }

    /// The connection ends after this response, as far as is known: the request or the application wants it so.
    #[inline]
    pub(super) fn is_last(self) -> bool {
        self.0 & Self::LAST != 0
    }

    /// The request came by HTTP/1.0.
    #[inline]
    pub(super) fn is_http10(self) -> bool {
        self.0 & Self::HTTP10 != 0
    }

    #[inline]
    pub(super) fn with_last(self, is_last: bool) -> Self {
        Self((self.0 & !Self::LAST) | (u8::from(is_last) * Self::LAST))
    }
}

/// What is owed to a client beside answers, and beside `100 Continue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PendingWrites(u8);

impl PendingWrites {
    /// A 503 that found no slot.
    pub(super) const OVERLOAD: Self = Self(1);
    /// Informational responses, in the dispatch's `extras`.
    pub(super) const INFORMATIONAL: Self = Self(2);

    #[inline]
    fn any(self) -> bool {
        self.0 != 0
    }

    #[inline]
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[inline]
    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Takes it off. `true`: it was owed.
    pub(super) fn take(&mut self, other: Self) -> bool {
        let was_owed = self.has(other);
        self.remove(other);
        was_owed
    }
}

/// A body of which more than this is to come is received into large buffers.
const LONG: u64 = 16 * 1024;

impl Incoming {
    pub(super) fn size(&self) -> BodySize {
        match self {
            Self::Length { missing } if *missing <= LONG => BodySize::Short,
            Self::Length { .. } | Self::Chunked { .. } => BodySize::Long,
        }
    }

    /// All of a body.
    #[inline]
    pub(super) fn of(body: BodyLength) -> Option<Self> {
        match body {
            BodyLength::None => None,
            BodyLength::Length(missing) => Self::of_length(missing),
            BodyLength::Chunked => Some(Self::Chunked { decoder: Decoder::new() }),
        }
    }

    /// So many bytes, if there are any.
    #[inline]
    pub(super) fn of_length(missing: u64) -> Option<Self> {
        (missing > 0).then_some(Self::Length { missing })
    }
}

/// What came in pieces and is not whole, in a cell that others may need: the one that is less makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stall {
    pub(crate) awaits: Awaits,
    /// When it grew last.
    pub(crate) since: Tick,
}

impl Stall {
    /// What it is answered when it makes room: for the client who is awaited, this.
    pub(crate) fn reject(self, of_client: Reject) -> Reject {
        if matches!(self.awaits, Awaits::Client | Awaits::Body) { of_client } else { Reject::Overloaded }
    }
}

/// What something that is not whole waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Awaits {
    Client,
    /// The same, for a body that is awaited whole and comes at a pace.
    Body,
    /// What its client has sent, or will: there is no buffer for it.
    Buffers,
    /// A cell that its request may keep, or the promise of buffers, beyond its client's share: but for that it is
    /// whole.
    Share,
    /// The promise of buffers for its body.
    Promise,
    /// A slot, beyond its client's share or behind others of its connection.
    SlotBeyondShare,
    /// The same of one of those kept back.
    Slot,
    /// A cell that its request may keep.
    Cell,
}

/// See the module's head. The link is at the beginning, as in every protocol's state: see `Connection`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Http1 {
    pub(crate) link: Link,
    pub(crate) intake: Intake,
    /// The oldest and the newest request whose responses have not been handed to the socket.
    pub(crate) oldest: Option<Slot>,
    pub(crate) newest: Option<Slot>,
    /// Bytes thrown away of the body under way, and behind a last request.
    pub(super) discarded: u32,
    pub(super) machine: Machine,
    /// Since when a request is awaited, while one is; when something came last of a body in chunks, while one comes.
    pub(super) quiet_since: Tick,
    pub(super) peer: Address,
    pub(super) local: Address,
    /// A proxy has said whose it is.
    pub(in crate::shard::protocol) is_proxied: bool,
    pub(super) body_size: BodySize,
    pub(super) owed: PendingWrites,
}

impl Http1 {
    pub(crate) fn new(accepted: &Accepted, key: ConnectionKey) -> Self {
        let mut new = Self::over(Link::new(Socket::new(accepted.fd, key, accepted.is_unix)));
        (new.peer, new.local) = (Address::from(accepted.peer), Address::from(accepted.local));
        if accepted.proxy != ProxyProtocol::Off {
            new.intake = Intake::Preface(Box::new(Preface::of(accepted.proxy)));
        }
        new
    }

    /// Without anything under way.
    pub(crate) fn over(link: Link) -> Self {
        Self {
            link,
            machine: Machine::new(),
            quiet_since: 0,
            intake: Intake::Nothing,
            body_size: BodySize::Short,
            owed: PendingWrites::default(),
            oldest: None,
            newest: None,
            discarded: 0,
            peer: Address::NONE,
            local: Address::NONE,
            is_proxied: false,
        }
    }

    #[inline]
    pub(super) fn key(&self) -> ConnectionKey {
        self.link.key()
    }

    /// Appends a slot to the responses owed. `true`: it is the only one.
    #[inline]
    pub(super) fn append(&mut self, slot: Slot, dispatch: &mut Dispatch) -> bool {
        let newest = self.newest.replace(slot).filter(|_| self.oldest.is_some());
        match newest {
            Some(newest) => dispatch.put_behind(newest, Some(slot)),
            None => self.oldest = Some(slot),
        }
        newest.is_none()
    }

    /// The slot whose body is received, or for whose pipe.
    pub(crate) fn reading_slot(&self) -> Option<Slot> {
        match &self.intake {
            Intake::Body(body) => body.reader.slot(),
            Intake::Pipe(pipe) | Intake::Switched(pipe) => pipe.reader(),
            Intake::Nothing | Intake::Head(_) | Intake::Preface(_) | Intake::Unwanted { .. } => None,
        }
    }

    /// Whether a header of the PROXY protocol is awaited.
    pub(crate) fn awaits_preface(&self) -> bool {
        matches!(self.intake, Intake::Preface(_))
    }

    /// Whether a part of a head is here that is not whole.
    #[inline]
    pub(crate) fn has_head(&self) -> bool {
        matches!(self.intake, Intake::Head(_))
    }

    /// Whether what comes next does not begin a request: a part of a head or of a body is here, and more of it is to
    /// come, or a header of the PROXY protocol is.
    #[inline]
    pub(super) fn is_within_request(&self) -> bool {
        matches!(self.intake, Intake::Head(_) | Intake::Body(_) | Intake::Preface(_))
    }

    /// Takes that part, for whoever puts it back or gives its cell back.
    pub(super) fn take_head(&mut self) -> Option<PartialHead> {
        match core::mem::replace(&mut self.intake, Intake::Nothing) {
            Intake::Head(head) => Some(head),
            other => {
                self.intake = other;
                None
            }
        }
    }

    /// Whether a body is under way.
    #[inline]
    pub(crate) fn has_incoming(&self) -> bool {
        matches!(self.intake, Intake::Body(_))
    }

    /// Who reads the body under way: nobody, if none is.
    #[inline]
    pub(super) fn reader(&self) -> Reader {
        if let Intake::Body(body) = &self.intake { body.reader } else { Reader::Nobody }
    }

    /// The slot of a request that is not delivered before its body is whole.
    #[inline]
    pub(super) fn gathered(&self) -> Option<Slot> {
        if let Reader::Engine(slot) = self.reader() { Some(slot) } else { None }
    }

    /// Whether a request is under way that nobody was given yet: its body is awaited whole, or, as far as can be seen,
    /// it is whole, and waits for what the shard lacks.
    pub(super) fn has_undelivered(&self) -> bool {
        use Resource::{CellBeyondShare, CellOfRequest, Promise, ReservedPromise, ReservedSlot, Slot};
        let waits = matches!(
            self.link.socket.waits_for(),
            Some(ReservedSlot | Slot | CellOfRequest | CellBeyondShare | ReservedPromise | Promise)
        );
        let is_next = waits && self.machine.in_flight() == 0;
        !self.machine.takes_no_more() && (is_next || self.gathered().is_some())
    }

    /// No more comes of the body under way, or is wanted. Gives who has read it.
    pub(super) fn end_body(&mut self) -> Reader {
        let reader = self.reader();
        if self.has_incoming() {
            self.intake = Intake::Nothing;
        }
        reader
    }

    /// This is still to come of the body under way.
    pub(super) fn body_goes_on(&mut self, incoming: Option<Incoming>) {
        if incoming.is_none() {
            self.end_body();
        }
        if let (Intake::Body(body), Some(incoming)) = (&mut self.intake, incoming) {
            body.incoming = incoming;
        }
    }

    /// Something of a body in chunks has come.
    pub(super) fn note_growth(&mut self, now: Tick) {
        self.quiet_since = now;
    }

    /// When what is received has to be done at the latest, of what has such a moment.
    pub(super) fn due_mut(&mut self) -> Option<&mut Tick> {
        match &mut self.intake {
            Intake::Body(RestOfBody { due, .. }) | Intake::Unwanted { due } => Some(due),
            Intake::Nothing | Intake::Head(_) | Intake::Preface(_) | Intake::Pipe(_) | Intake::Switched(_) => None,
        }
    }

    /// Whether something is owed beside answers.
    #[inline]
    pub(super) fn owes_more(&self) -> bool {
        self.owed.any() || matches!(&self.intake, Intake::Body(body) if body.go_ahead == GoAhead::Owed)
    }

    /// The client of the body under way is told `100 Continue`, if it is owed that and its request is the oldest one.
    pub(super) fn take_go_ahead(&mut self) -> bool {
        let Intake::Body(body) = &mut self.intake else { return false };
        let has_turn = match body.reader {
            Reader::Engine(_) => self.oldest.is_none(),
            reader => self.oldest.is_some_and(|oldest| reader.is(oldest)),
        };
        let is_told = has_turn && body.go_ahead == GoAhead::Owed;
        if is_told {
            body.go_ahead = GoAhead::NotAwaited;
        }
        is_told
    }

    /// Whether the client of the body of this slot waits for `100 Continue`.
    pub(super) fn waits_to_continue(&self, slot: Slot) -> bool {
        matches!(&self.intake, Intake::Body(body) if body.reader.is(slot) && body.waits_to_continue())
    }

    /// Whether what is awaited is best received into a large buffer: a long body to its last byte. Its end, received
    /// into small buffers, would leave those armed for the next request, and thus for the beginning of its body.
    #[inline]
    pub(crate) fn receives_long(&self) -> bool {
        self.body_size == BodySize::Long && self.has_incoming()
    }

    /// Whether all that comes is of no use.
    #[inline]
    pub(crate) fn takes_nothing(&self) -> bool {
        self.machine.takes_no_more() && !self.has_incoming()
    }

    /// Which part of a request is awaited.
    #[inline]
    pub(super) fn part(&self) -> Part {
        match &self.intake {
            Intake::Nothing | Intake::Pipe(_) | Intake::Switched(_) => Part::None,
            // One is on its way.
            Intake::Head(_) | Intake::Preface(_) => Part::Head,
            Intake::Body(body) => match body.reader {
                // The application is awaited.
                Reader::Paused(_) => Part::None,
                Reader::Nobody => Part::Unread,
                Reader::Slot(_) | Reader::Engine(_) => Part::Body,
            },
            Intake::Unwanted { .. } => Part::Unread,
        }
    }

    /// When the part of a head that is here has to go on at the latest; 0 without one.
    pub(super) fn head_due(&self) -> Tick {
        if let Intake::Head(head) = &self.intake { head.due } else { 0 }
    }

    /// Why the head under way does not go on, if it is in a cell of those that can run out.
    pub(crate) fn head_stall(&self) -> Option<Stall> {
        let Intake::Head(head) = &self.intake else { return None };
        let socket = &self.link.socket;
        let awaits = match socket.waits_for() {
            None if socket.holds_input() => return None,
            None => Awaits::Client,
            Some(Resource::ReservedSlot) => Awaits::Slot,
            Some(Resource::Slot) => Awaits::SlotBeyondShare,
            Some(Resource::CellBeyondShare | Resource::Promise) => Awaits::Share,
            Some(Resource::ReservedPromise) => Awaits::Promise,
            Some(Resource::Cell | Resource::CellOfRequest) => Awaits::Cell,
            Some(_) => Awaits::Buffers,
        };
        let can_go = socket.is_open() && !self.machine.takes_no_more() && head.cell.is_scarce();
        can_go.then_some(Stall { awaits, since: head.grown })
    }

    /// When something came last of a head, or of a body in chunks.
    pub(crate) fn grown(&self) -> Tick {
        if let Intake::Head(head) = &self.intake { head.grown } else { self.quiet_since }
    }

    /// Why the body under way does not go on, if its request has a cell that can run out: for its trailer section, or,
    /// where it is awaited whole, for a long head.
    pub(crate) fn body_stall(&self, dispatch: &Dispatch) -> Option<Stall> {
        let Intake::Body(body) = &self.intake else { return None };
        let slot = match body.reader {
            Reader::Slot(slot) | Reader::Engine(slot) => slot,
            // The application is awaited.
            Reader::Paused(_) | Reader::Nobody => return None,
        };
        let socket = &self.link.socket;
        let awaits = match socket.waits_for() {
            None if socket.holds_input() => return None,
            None => Awaits::Client,
            Some(_) => Awaits::Buffers,
        };
        if !socket.is_open() {
            return None;
        }
        if dispatch.assembles_trailers(slot) {
            return Some(Stall { awaits, since: self.quiet_since });
        }
        let is_awaited = awaits == Awaits::Client && self.gathered().is_some() && dispatch.assembles_head(slot);
        dispatch.going(slot).filter(|_| is_awaited).map(|going| Stall { awaits: Awaits::Body, since: going.since })
    }

    /// The slot of the body under way, if it is awaited whole, and its client for it, or a cell for its trailer
    /// section: who has one may wait for an application for longer than others do for what this one has.
    pub(crate) fn awaited_whole(&self) -> Option<Slot> {
        let socket = &self.link.socket;
        let is_awaited = match socket.waits_for() {
            None => !socket.holds_input(),
            other => matches!(other, Some(Resource::CellOfRequest | Resource::CellBeyondShare)),
        };
        self.gathered().filter(|_| is_awaited && socket.is_open())
    }

    /// The pipe for which is what comes, or will be.
    pub(crate) fn pipe(&self) -> Option<&Pipe> {
        match &self.intake {
            Intake::Pipe(pipe) | Intake::Switched(pipe) => Some(pipe),
            Intake::Nothing | Intake::Head(_) | Intake::Body(_) | Intake::Preface(_) | Intake::Unwanted { .. } => None,
        }
    }

    /// So many bytes are thrown away that nobody has said the length of. `false`: more than may be.
    pub(super) fn discard(&mut self, bytes: u32) -> bool {
        self.discarded = self.discarded.saturating_add(bytes);
        self.discarded <= DISCARDED_BYTES_MAX
    }

    /// Whether as many bytes are thrown away as may be.
    pub(super) fn has_discarded_enough(&self) -> bool {
        self.discarded >= DISCARDED_BYTES_MAX
    }
}
