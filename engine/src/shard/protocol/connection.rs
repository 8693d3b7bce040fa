//! What a shard keeps of a connection: its socket, and what its protocol knows.
//!
//! Invariants: an idle connection is one entry here and nothing else: no buffer, no request slot.

use ringress_proto::chunked::Decoder;

use crate::clock::Tick;
use crate::conn::{Machine, Part};
use crate::mem::Cell;
use crate::policy::PolicyKey;
use crate::queue::Disconnected;
use crate::record::{Address, DISCARDED_BYTES_MAX, Lost, Timer};
use crate::shard::dispatch::{NONE, SlotState};
use crate::shard::transport::{Accepted, Socket};
use crate::slab::Key;
use crate::timer::NEVER;

/// What is being sent, and which memory that is in.
#[derive(Debug)]
pub(super) enum Out {
    Nothing,
    /// A slot's response area.
    Area {
        slot: u32,
    },
    /// A slot's response area and then the tail of its answer.
    AreaAndTail {
        slot: u32,
    },
    /// Parts of a streamed answer; with `last`, its end is among them, and the slot is no longer in the list.
    Stream {
        slot: u32,
        last: bool,
    },
    /// A coalescing cell.
    Cell {
        cell: Cell,
        /// The first of the answers in it; the others follow.
        oldest: u32,
    },
    /// An informational answer, in the dispatch's `extras` of this connection.
    Informational,
    /// Text of the engine's own.
    Text {
        text: &'static [u8],
    },
}

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
    /// Whatever comes, to the client's end of its side: the connection has switched protocols.
    Raw,
}

/// Whether a connection has switched protocols: see `raw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    /// It has not.
    No,
    /// It has, with its newest request.
    Open,
    /// And our side has been ended.
    Shut,
}

/// What is owed to a client beside answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owed(u8);

impl Owed {
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
            Self::Chunked { .. } | Self::Raw => true,
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
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(super) machine: Machine,
    /// It is in the list of connections with answers to look at.
    pub(super) flush_queued: bool,
    /// It is in the list of connections whose input goes on.
    pub(super) resume_queued: bool,
    /// The deadline of the head under way is set.
    pub(super) head_timed: bool,
    /// The body under way is not received, because enough of it waits to be read.
    pub(crate) body_paused: bool,
    /// Its newest body is a long one, or was.
    pub(super) long: bool,
    /// The dispatch's `extras` have an entry for it.
    pub(super) extras: bool,
    /// How it ends, once it is closing.
    pub(super) how: Disconnected,
    /// The timer that has ended it, if one has while something was owed.
    pub(super) timer: Option<Timer>,
    pub(super) owed: Owed,
    pub(super) pipe: Pipe,
    /// The oldest and the newest request whose answers have not been handed to the socket.
    pub(super) oldest: u32,
    pub(super) newest: u32,
    /// A part of a head that is not whole, and its bytes.
    pub(super) assembly: Option<Cell>,
    pub(super) assembled: u32,
    pub(super) out: Out,
    /// Of the body under way.
    pub(super) incoming: Incoming,
    /// Bytes thrown away of it, and behind a last request.
    pub(super) discarded: u32,
    /// When what arrives has to be done at the latest; `NEVER`: not known yet.
    pub(super) due: Tick,
    /// Whose body is under way; none for one that is thrown away.
    pub(super) body_slot: u32,
    /// The timers and limits that hold: those of the group of the last routed request.
    pub(crate) policy: PolicyKey,
    pub(super) peer: Address,
    pub(super) local: Address,
}

const _: () =
    assert!(size_of::<Connection>() <= 256 - 16, "an idle connection costs at most 256 bytes, slab entry and all");

impl Connection {
    pub(crate) fn new(accepted: &Accepted) -> Self {
        Self {
            socket: Socket::new(accepted.fd),
            machine: Machine::new(),
            flush_queued: false,
            resume_queued: false,
            head_timed: false,
            body_paused: false,
            long: false,
            extras: false,
            how: Disconnected::Gone,
            timer: None,
            owed: Owed::default(),
            pipe: Pipe::No,
            oldest: NONE,
            newest: NONE,
            assembly: None,
            assembled: 0,
            out: Out::Nothing,
            incoming: Incoming::Nothing,
            discarded: 0,
            due: NEVER,
            body_slot: NONE,
            policy: PolicyKey::OF_ENGINE,
            peer: Address::from(accepted.peer),
            local: Address::from(accepted.local),
        }
    }

    #[inline]
    pub(super) fn key(&self) -> Key {
        self.socket.key
    }

    /// Appends a slot to the answers owed. `true`: it is the only one.
    #[inline]
    pub(super) fn append(&mut self, slot: u32, slots: &mut [SlotState]) -> bool {
        let first = self.oldest == NONE;
        if first {
            self.oldest = slot;
        } else {
            slots[self.newest as usize].next = slot;
        }
        self.newest = slot;
        first
    }

    /// Whether a part of a head is here that is not whole.
    #[inline]
    pub(super) fn has_head(&self) -> bool {
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
    pub(super) fn receives_long(&self) -> bool {
        self.long && self.has_incoming()
    }

    /// Whether what is awaited is a part of a long body that will be kept until it is read.
    #[inline]
    pub(super) fn keeps_long(&self) -> bool {
        self.receives_long() && self.body_slot != NONE
    }

    /// Whether all that comes is of no use.
    #[inline]
    pub(super) fn takes_nothing(&self) -> bool {
        self.machine.takes_no_more() && !self.has_incoming()
    }

    /// Which part of a request is awaited.
    #[inline]
    pub(super) fn part(&self) -> Part {
        match self.incoming {
            Incoming::Nothing if self.has_head() => Part::Head,
            Incoming::Nothing => Part::None,
            // The application is awaited.
            _ if self.body_paused => Part::None,
            // How long either side may be silent is their protocol's business.
            Incoming::Raw => Part::None,
            _ if self.body_slot == NONE => Part::Unread,
            _ => Part::Body,
        }
    }

    /// What becomes of what is owed on it, once it is closing.
    pub(super) fn lost(&self) -> Lost {
        match (self.timer, self.how) {
            (Some(timer), _) => Lost::Timer(timer),
            (None, Disconnected::Stopped) => Lost::Stopped,
            (None, Disconnected::Aborted) => Lost::Cut,
            (None, _) => Lost::Client,
        }
    }

    /// Whether a slot's answer is the switch of protocols, behind which there are no more.
    pub(super) fn is_pipe_of(&self, slot: u32) -> bool {
        self.pipe != Pipe::No && self.newest == slot
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

    /// Whether parts of this slot's stream are being sent.
    pub(super) fn streams(&self, slot: u32) -> bool {
        matches!(self.out, Out::Stream { slot: streamed, .. } if streamed == slot)
    }
}
