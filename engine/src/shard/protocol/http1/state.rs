//! What HTTP/1 knows of a connection.
//!
//! Invariants: an idle connection is one entry here and nothing else: no buffer, no request slot.
//!
//! Not here: what is done with it (the other files beside this), what every protocol knows of a connection (`link`),
//! and what it may do next (room `conn`).

use ringress_proto::chunked::Decoder;

use crate::clock::Tick;
use crate::conn::{Machine, Part};
use crate::mem::Cell;
use crate::queue::{Slot, SlotTable};
use crate::record::{Address, DISCARDED_BYTES_MAX};
use crate::shard::dispatch::SlotState;
use crate::shard::protocol::link::Link;
use crate::shard::protocol::raw::Pipe;
use crate::shard::transport::{Accepted, Awaited, Socket};
use crate::slab::ConnectionKey;
use crate::timer::NEVER;

/// What of a body is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Incoming {
    Nothing,
    /// So many bytes.
    Length {
        missing: u64,
    },
    /// Chunks.
    Chunked {
        decoder: Decoder,
    },
}

/// Who gets what is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Nobody: it is thrown away, or none is under way.
    Nobody,
    /// The reader of this slot's body.
    Slot(Slot),
    /// It, when less waits to be read: until then nothing is received.
    Paused(Slot),
}

impl Reader {
    #[inline]
    pub(crate) fn slot(self) -> Option<Slot> {
        match self {
            Self::Nobody => None,
            Self::Slot(slot) | Self::Paused(slot) => Some(slot),
        }
    }

    #[inline]
    pub(crate) fn is(self, slot: Slot) -> bool {
        self.slot() == Some(slot)
    }

    #[inline]
    pub(crate) fn is_paused(self) -> bool {
        matches!(self, Self::Paused(_))
    }
}

/// Whether the newest request is answered with a switch of protocols, behind which there are no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    No,
    /// It is, behind earlier answers. What comes is the pipe's.
    Later(Pipe),
    /// And these are sent: the connection is another protocol's from now on.
    Now(Pipe),
}

/// What is noted of a request, beside its slot (`SlotState::note`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerNote(pub(super) u8);

impl AnswerNote {
    const LAST: u8 = 1;
    const HTTP10: u8 = 2;

    #[inline]
    pub(super) fn new(is_last: bool, is_http10: bool) -> Self {
        Self(u8::from(is_last) * Self::LAST | u8::from(is_http10) * Self::HTTP10)
    }

    /// The connection ends after this answer, as far as is known: the request or the application wants it so.
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
        Self(self.0 & !Self::LAST | u8::from(is_last) * Self::LAST)
    }
}

/// What is owed to a client beside answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PendingWrites(u8);

impl PendingWrites {
    /// `100 Continue`, for which it waits.
    pub(super) const CONTINUE: Self = Self(1);
    /// A 503 that found no slot.
    pub(super) const OVERLOAD: Self = Self(2);
    /// Informational answers, in the dispatch's `extras`.
    pub(super) const INFORMATIONAL: Self = Self(4);

    #[inline]
    pub(super) fn any(self) -> bool {
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
    /// Whether it is best received into large buffers.
    pub(super) fn is_long(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Length { missing } => *missing > LONG,
            Self::Chunked { .. } => true,
        }
    }

    /// So many bytes, or nothing.
    #[inline]
    pub(super) fn of_length(missing: u64) -> Self {
        if missing == 0 { Self::Nothing } else { Self::Length { missing } }
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Http1 {
    pub(crate) link: Link,
    pub(super) machine: Machine,
    /// The deadline of the head under way is set.
    pub(super) head_timed: bool,
    /// Its newest body is a long one, or was.
    pub(super) long: bool,
    pub(super) owed: PendingWrites,
    pub(crate) switch: Switch,
    /// The oldest and the newest request whose answers have not been handed to the socket.
    pub(crate) oldest: Option<Slot>,
    pub(crate) newest: Option<Slot>,
    /// A part of a head that is not whole, and its bytes.
    pub(super) assembly: Option<Cell>,
    pub(super) assembled: u32,
    /// When its first byte came: see `Dispatch::arrived`.
    pub(super) head_since: u32,
    /// Of the body under way.
    pub(super) incoming: Incoming,
    /// Bytes thrown away of it, and behind a last request.
    pub(super) discarded: u32,
    /// When what arrives has to be done at the latest; `NEVER`: not known yet.
    pub(super) due: Tick,
    pub(crate) reader: Reader,
    /// Its client waits for `100 Continue`, if anybody reads it: nothing of it has come, and nobody has asked for it.
    pub(super) expects: bool,
    pub(super) peer: Address,
    pub(super) local: Address,
}

impl Http1 {
    pub(crate) fn new(accepted: &Accepted, key: ConnectionKey) -> Self {
        let mut new = Self::over(Link::new(Socket::new(accepted.fd, key)));
        (new.peer, new.local) = (Address::from(accepted.peer), Address::from(accepted.local));
        new
    }

    /// Without anything under way.
    pub(crate) fn over(link: Link) -> Self {
        Self {
            link,
            machine: Machine::new(),
            head_timed: false,
            long: false,
            owed: PendingWrites::default(),
            switch: Switch::No,
            oldest: None,
            newest: None,
            assembly: None,
            assembled: 0,
            head_since: 0,
            incoming: Incoming::Nothing,
            discarded: 0,
            due: NEVER,
            reader: Reader::Nobody,
            expects: false,
            peer: Address::NONE,
            local: Address::NONE,
        }
    }

    #[inline]
    pub(super) fn key(&self) -> ConnectionKey {
        self.link.key()
    }

    /// Appends a slot to the answers owed. `true`: it is the only one.
    #[inline]
    pub(super) fn append(&mut self, slot: Slot, slots: &mut SlotTable<SlotState>) -> bool {
        let newest = self.newest.replace(slot).filter(|_| self.oldest.is_some());
        match newest {
            Some(newest) => slots[newest].next = Some(slot),
            None => self.oldest = Some(slot),
        }
        newest.is_none()
    }

    /// The slot whose body is received.
    pub(crate) fn reading_slot(&self) -> Option<Slot> {
        match &self.switch {
            Switch::No => self.reader.slot(),
            Switch::Later(pipe) | Switch::Now(pipe) => pipe.reader(),
        }
    }

    /// Whether a part of a head is here that is not whole.
    #[inline]
    pub(crate) fn has_head(&self) -> bool {
        self.assembly.is_some()
    }

    /// Whether a body is under way.
    #[inline]
    pub(crate) fn has_incoming(&self) -> bool {
        !matches!(self.incoming, Incoming::Nothing)
    }

    /// Whether what is awaited is best received into a large buffer: a long body to its last byte. Its end, received
    /// into small buffers, would leave those armed for the next request, and thus for the beginning of its body.
    #[inline]
    pub(crate) fn receives_long(&self) -> bool {
        self.long && self.has_incoming()
    }

    /// Whether the client waits for `100 Continue` to send what somebody is to read.
    #[inline]
    pub(super) fn waits_to_continue(&self) -> bool {
        self.expects && self.reader != Reader::Nobody
    }

    /// Whether what is awaited is a part of a long body that will be kept until it is read.
    #[inline]
    pub(crate) fn keeps_long(&self) -> bool {
        self.receives_long() && self.reader != Reader::Nobody
    }

    /// What more is awaited.
    pub(crate) fn awaited(&self) -> Awaited {
        match (self.takes_nothing(), self.receives_long()) {
            (true, _) => Awaited::Unwanted,
            (false, true) => Awaited::Long { keeps: self.keeps_long() },
            (false, false) => Awaited::Short,
        }
    }

    /// Whether all that comes is of no use.
    #[inline]
    pub(crate) fn takes_nothing(&self) -> bool {
        self.machine.takes_no_more() && !self.has_incoming()
    }

    /// Which part of a request is awaited.
    #[inline]
    pub(super) fn part(&self) -> Part {
        match self.incoming {
            Incoming::Nothing if self.has_head() => Part::Head,
            Incoming::Nothing => Part::None,
            _ => match self.reader {
                // The application is awaited.
                Reader::Paused(_) => Part::None,
                Reader::Nobody => Part::Unread,
                Reader::Slot(_) => Part::Body,
            },
        }
    }

    /// Whether a slot's answer is the switch of protocols.
    pub(crate) fn switches_by(&self, slot: Slot) -> bool {
        matches!(self.switch, Switch::Later(pipe) | Switch::Now(pipe) if pipe.slot == slot)
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
