//! What a shard keeps of a connection, of a request slot and of a held receive buffer.
//!
//! Invariants: an idle connection is one entry here and nothing else: no buffer, no request slot.

use std::os::fd::RawFd;

use ringress_proto::chunked::Decoder;

use super::dispatch::{NONE, SlotState};
use super::rates::Account;
use crate::clock::Tick;
use crate::conn::{Machine, Part};
use crate::mem::{BufferId, Cell, Share};
use crate::policy::{OF_ENGINE, PolicyIndex};
use crate::queue::Disconnected;
use crate::record::Address;
use crate::timer::NEVER;

/// No receive buffer.
pub(super) const NO_BUFFER: BufferId = BufferId::MAX;

/// Whether the kernel receives for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// No operation is out.
    Stopped,
    /// A multishot receive is out.
    Armed,
    /// A receive of either kind is out and has been asked to end.
    Stopping,
    /// A receive is out that ends by itself: into a large buffer, or of what is thrown away.
    Once,
}

/// Whether the kernel sends for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    No,
    /// Ends with the turn unless a completion says otherwise.
    Silent,
    /// A part of a file is handed over: ends with its completion.
    File,
    /// The rest waits for room: ends with the poll's completion.
    Room,
    /// As `Room`, of a file's part.
    FileRoom,
}

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
    },
    /// An informational answer, in the `extras` of the connection with this index.
    Informational {
        connection: u32,
    },
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

/// Whether a connection has switched protocols: see `pipe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    /// It has not.
    No,
    /// It has, with its newest request.
    Open,
    /// And our side has been ended.
    Shut,
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
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) fd: RawFd,
    pub(super) machine: Machine,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    /// The connection only waits for its operations to end.
    pub(super) closing: bool,
    /// It is in the list of connections with answers to look at.
    pub(super) flush_queued: bool,
    /// The client has ended its side.
    pub(super) input_ended: bool,
    /// It is in the list of those that wait for a receive buffer.
    pub(super) starved: bool,
    /// What is being sent has waited for room before.
    pub(super) waited: bool,
    /// Our side is shut, and it is among those whose input is read to its end.
    pub(super) drains: bool,
    /// The deadline of the head under way is set.
    pub(super) head_timed: bool,
    /// The client waits for `100 Continue`.
    pub(super) continue_owed: bool,
    /// A part of a head is in the assembly cell.
    pub(super) pending: bool,
    /// The body under way is not received, because enough of it waits to be read.
    pub(super) body_paused: bool,
    /// Its newest body is a long one, or was.
    pub(super) long: bool,
    /// A part of a file is being read for it.
    pub(super) reading: bool,
    /// It is in the list of those that wait for a cell to read into.
    pub(super) awaits_cell: bool,
    /// It was taken off that list because a cell is free.
    pub(super) was_called: bool,
    /// The shard's `extras` have an entry for it.
    pub(super) extras: bool,
    /// How it ends, once it is closing.
    pub(super) how: Disconnected,
    /// A poll for the client's end is out.
    pub(super) polled: bool,
    /// It has told that the client has ended its side, which receiving may not have come to yet.
    pub(super) half_closed: bool,
    /// Informational answers wait there.
    pub(super) informed: bool,
    /// A 503 that found no slot is owed.
    pub(super) overload_owed: bool,
    pub(super) pipe: Pipe,
    /// Its socket is handed over as soon as no operation names it.
    pub(super) leaving: bool,
    pub(super) held_count: u16,
    pub(super) held_first: BufferId,
    pub(super) held_last: BufferId,
    /// The oldest and the newest request whose answers have not been handed to the socket.
    pub(super) oldest: u32,
    pub(super) newest: u32,
    pub(super) assembly: Option<Cell>,
    pub(super) assembled: u32,
    /// The cell that a part of a file is read into, and which of its bytes are read and not sent.
    pub(super) stage: Option<Cell>,
    pub(super) staged_from: u32,
    pub(super) staged_to: u32,
    /// Bytes of `out` sent, and in all.
    pub(super) out_sent: u32,
    pub(super) out_len: u32,
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
    pub(super) policy: PolicyIndex,
    /// Whether the client keeps to the least rate at which it is to take what waits to be sent.
    pub(super) taking: Account,
    /// And to that at which it is to send a body.
    pub(super) giving: Account,
    pub(super) peer: Address,
    pub(super) local: Address,
}

const _: () =
    assert!(size_of::<Connection>() <= 256 - 16, "an idle connection costs at most 256 bytes, slab entry and all");

impl Connection {
    pub(super) fn new(fd: RawFd, peer: Address, local: Address) -> Self {
        Self {
            fd,
            machine: Machine::new(),
            receiving: Receiving::Stopped,
            sending: Sending::No,
            closing: false,
            flush_queued: false,
            input_ended: false,
            starved: false,
            waited: false,
            drains: false,
            head_timed: false,
            continue_owed: false,
            pending: false,
            body_paused: false,
            long: false,
            reading: false,
            awaits_cell: false,
            was_called: false,
            extras: false,
            how: Disconnected::Gone,
            polled: false,
            half_closed: false,
            informed: false,
            overload_owed: false,
            pipe: Pipe::No,
            leaving: false,
            held_count: 0,
            held_first: NO_BUFFER,
            held_last: NO_BUFFER,
            oldest: NONE,
            newest: NONE,
            assembly: None,
            assembled: 0,
            stage: None,
            staged_from: 0,
            staged_to: 0,
            out_sent: 0,
            out_len: 0,
            out: Out::Nothing,
            incoming: Incoming::Nothing,
            discarded: 0,
            due: NEVER,
            body_slot: NONE,
            policy: OF_ENGINE,
            taking: Account::default(),
            giving: Account::default(),
            peer,
            local,
        }
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

    /// Whether a body is under way.
    #[inline]
    pub(super) fn has_incoming(&self) -> bool {
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
            Incoming::Nothing if self.pending => Part::Head,
            Incoming::Nothing => Part::None,
            // The application is awaited.
            _ if self.body_paused => Part::None,
            // How long either side may be silent is their protocol's business.
            Incoming::Raw => Part::None,
            _ if self.body_slot == NONE => Part::Unread,
            _ => Part::Body,
        }
    }

    /// Whether the client has ended its side, though there may be input before that.
    pub(super) fn has_half_closed(&self) -> bool {
        self.input_ended || self.half_closed
    }

    /// Whether something may be sent beside answers.
    #[inline]
    pub(super) fn owes_text(&self) -> bool {
        self.continue_owed | self.overload_owed | self.informed
    }

    /// Whether a slot's answer is the switch of protocols, behind which there are no more.
    pub(super) fn is_pipe_of(&self, slot: u32) -> bool {
        self.pipe != Pipe::No && self.newest == slot
    }

    /// Whether the socket did not take all that was sent.
    #[inline]
    pub(super) fn blocked(&self) -> bool {
        matches!(self.sending, Sending::Room | Sending::FileRoom)
    }
}

/// Input of a connection that cannot take it yet: a range of a receive buffer.
#[derive(Debug)]
pub(super) struct Held {
    /// `None`: nothing of this buffer is held.
    pub(super) share: Option<Share>,
    pub(super) next: BufferId,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Held {
    pub(super) const NOTHING: Self = Self { share: None, next: NO_BUFFER, start: 0, end: 0 };
}
