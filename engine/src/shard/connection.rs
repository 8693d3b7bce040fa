//! What a shard keeps of a connection, of a request slot and of a held receive buffer.
//!
//! Laws: an idle connection is one entry here and nothing else: no buffer, no request slot.

use std::os::fd::RawFd;

use ringress_proto::chunked::Decoder;

use crate::conn::Machine;
use crate::mem::BufferId;
use crate::queue::Disconnected;
use crate::record::Address;

/// No slot, buffer or cell.
pub(super) const NONE: u32 = u32::MAX;
/// No receive buffer.
pub(super) const NO_BUFFER: BufferId = BufferId::MAX;

/// Whether the kernel receives for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// No operation is out.
    Stopped,
    /// A multishot receive is out.
    Armed,
    /// A multishot receive is out and has been asked to end.
    Stopping,
}

/// Whether the kernel sends for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    No,
    /// Ends with the turn unless a completion says otherwise.
    Silent,
    /// Ends with its completion.
    Waiting,
}

/// What is being sent, and which memory that is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A coalescing cell.
    Cell {
        cell: u32,
    },
    /// An informational answer, in the `extras` of the connection with this index.
    Interim {
        connection: u32,
    },
    /// Text of the engine's own.
    Text {
        text: &'static [u8],
    },
}

/// A request that is not whole yet; its bytes are in the connection's assembly cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    Nothing,
    /// A part of a head.
    Head,
    /// A head and a part of a body of known length.
    Length {
        slot: u32,
        missing: u32,
    },
    /// A head and a part of a chunked body, decoded.
    Chunked {
        slot: u32,
        decoder: Decoder,
    },
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
    /// The deadline of the head under way is set.
    pub(super) head_timed: bool,
    /// The client waits for `100 Continue`.
    pub(super) continue_owed: bool,
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
    pub(super) held_count: u16,
    pub(super) held_first: BufferId,
    pub(super) held_last: BufferId,
    /// The oldest and the newest request whose answers have not been handed to the socket.
    pub(super) oldest: u32,
    pub(super) newest: u32,
    pub(super) assembly: u32,
    pub(super) assembled: u32,
    /// Bytes of `out` sent, and in all.
    pub(super) out_sent: u32,
    pub(super) out_len: u32,
    pub(super) out: Out,
    pub(super) pending: Pending,
    /// Bytes on the wire of the pending request.
    pub(super) pending_wire: u64,
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
            head_timed: false,
            continue_owed: false,
            extras: false,
            how: Disconnected::Gone,
            polled: false,
            half_closed: false,
            informed: false,
            overload_owed: false,
            held_count: 0,
            held_first: NO_BUFFER,
            held_last: NO_BUFFER,
            oldest: NONE,
            newest: NONE,
            assembly: NONE,
            assembled: 0,
            out_sent: 0,
            out_len: 0,
            out: Out::Nothing,
            pending: Pending::Nothing,
            pending_wire: 0,
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

    /// Whether a part of a request is here.
    #[inline]
    pub(super) fn begun(&self) -> bool {
        !matches!(self.pending, Pending::Nothing)
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

    /// Whether the socket did not take all that was sent.
    #[inline]
    pub(super) fn blocked(&self) -> bool {
        self.sending == Sending::Waiting
    }
}

/// Which memory the received bytes of a request are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Nothing,
    /// A share of a receive buffer.
    Receive(BufferId),
    /// An assembly cell of its own.
    Assembly(u32),
}

/// What the shard keeps of a request slot, beside what it shares with the applications.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotState {
    /// Index and generation of the connection.
    pub(super) connection: u32,
    pub(super) generation: u32,
    /// The next younger request of the connection.
    pub(super) next: u32,
    pub(super) source: Source,
    /// The answer is in the slot, and the slot is the shard's.
    pub(super) answered: bool,
    /// The connection ends after this answer.
    pub(super) last: bool,
}

impl SlotState {
    pub(super) const FREE: Self =
        Self { connection: NONE, generation: 0, next: NONE, source: Source::Nothing, answered: false, last: false };
}

/// Input of a connection that cannot take it yet: a range of a receive buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) next: BufferId,
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Held {
    pub(super) const NOTHING: Self = Self { next: NO_BUFFER, start: 0, end: 0 };
}
