//! What a transport keeps of a socket: the half of a connection that knows bytes and time.
//!
//! Invariants: an idle socket is one entry and nothing else: no buffer, no cell.
//!
//! Not here: receiving, sending and closing (`receive`, `send`, `closing`).

use std::os::fd::RawFd;

use super::{Account, Resource, Staging};
use crate::driver::{Op, Token};
use crate::mem::{BufferId, Group};
use crate::slab::ConnectionKey;

/// Whether the kernel receives for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// No operation is out.
    Stopped,
    /// A multishot receive is out.
    Armed,
    /// A receive of either kind is out and has been asked to end.
    Stopping,
    /// A receive is out that ends by itself: into a buffer of a group, or, of what is thrown away, into none.
    Once(Group),
}

/// Whether the kernel sends for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    No,
    /// Ends with the turn unless a completion says otherwise.
    Silent,
    /// As `Silent`, of a part of what there is.
    SilentPart,
    /// Nothing is handed over: it waits for its turn among large sends.
    Turn,
    /// A part of a file is handed over: ends with its completion.
    File,
    /// The rest waits for room: ends with the poll's completion.
    Room,
    /// As `Room`, of a file's part.
    FileRoom,
}

/// Whether what is being sent has waited for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    No,
    /// It has, which is counted once.
    Counted,
}

/// Whether a socket is known to take what is much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    /// It has had no large send yet, or was full since.
    Unknown,
    /// It has taken the last one whole, or that is under way.
    Good,
}

/// Whether a poll for the other side's end is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polling {
    No,
    Out,
    /// It has been asked to end.
    Stopping,
}

/// What is known of the end of the other side's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Unknown,
    /// A poll has told of it: there may be input before it.
    Noticed,
    /// Everything before it was received.
    Reached,
}

/// How far a socket's life has come.
///
/// ```text
///   Open ──our side is shut──▶ Draining
///    │  └──it is handed over──▶ Leaving ──no operation names it──▶ Left
///    └──────┴──────────┴──▶ Closing: it only waits for its operations to end
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Open,
    /// Our side is shut, and the other's is read to its end.
    Draining,
    /// It is handed over as soon as no operation names it and all is sent.
    Leaving,
    /// That is so.
    Left,
    /// It only waits for its operations to end.
    Closing,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) key: ConnectionKey,
    pub(crate) fd: RawFd,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) shortage: Shortage,
    pub(super) appetite: Appetite,
    pub(super) life: Life,
    pub(super) end: End,
    pub(super) polling: Polling,
    /// What its input waits for: it is in the list of those that do.
    pub(super) waits_for: Option<Resource>,
    pub(super) held_count: u16,
    pub(super) held_first: Option<BufferId>,
    pub(super) held_last: Option<BufferId>,
    /// A receive was begun for it that may have a small buffer of those kept back.
    pub(super) borrows: bool,
    /// The kernel does not count what goes over it, as it does for TCP: no rate can be told.
    pub(crate) is_uncounted: bool,
    pub(crate) staging: Staging,
    /// Whether the other side keeps to the least rate at which it is to take what waits to be sent.
    pub(crate) taking: Account,
    /// And to that at which it is to send what is awaited.
    pub(crate) giving: Account,
}

impl Socket {
    pub(crate) fn new(fd: RawFd, key: ConnectionKey, is_uncounted: bool) -> Self {
        Self {
            key,
            fd,
            receiving: Receiving::Stopped,
            sending: Sending::No,
            shortage: Shortage::No,
            appetite: Appetite::Unknown,
            life: Life::Open,
            end: End::Unknown,
            polling: Polling::No,
            waits_for: None,
            held_count: 0,
            held_first: None,
            held_last: None,
            borrows: false,
            is_uncounted,
            staging: Staging::No,
            taking: Account::default(),
            giving: Account::default(),
        }
    }

    #[inline]
    pub(super) fn token(&self, op: Op) -> Token {
        Token::new(op, self.key.generation(), self.key.index)
    }

    /// Whether nothing has begun to end it.
    pub(crate) fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// Whether our side is shut, and the other's is read to its end.
    pub(crate) fn is_draining(&self) -> bool {
        self.life == Life::Draining
    }

    /// Whether it only waits for its operations to end.
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.life == Life::Closing
    }

    /// Whether it is to be handed over.
    #[inline]
    pub(crate) fn is_leaving(&self) -> bool {
        self.life == Life::Leaving
    }

    /// Whether it can be handed over now.
    pub(crate) fn has_left(&self) -> bool {
        self.life == Life::Left
    }

    /// It is handed over, if no operation names it and no input of it is held. All is sent.
    pub(crate) fn leave_if_quiet(&mut self) {
        if self.is_leaving() && self.is_quiet() && !self.holds_input() {
            self.life = Life::Left;
        }
    }

    /// Whether its entry can go.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        match self.life {
            Life::Open | Life::Draining | Life::Leaving => false,
            Life::Left => true,
            Life::Closing => self.is_quiet(),
        }
    }

    /// Whether no operation names it.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_still = !self.receives() && self.sending == Sending::No;
        is_still && self.polling == Polling::No && !self.staging.is_reading()
    }

    /// What its input waits for.
    #[inline]
    pub(crate) fn waits_for(&self) -> Option<Resource> {
        self.waits_for
    }

    /// Whether it waits for a buffer for what is short.
    pub(crate) fn waits_for_small(&self) -> bool {
        matches!(self.waits_for, Some(Resource::SmallBuffer | Resource::ReservedSmall))
    }

    /// Whether it waits for a buffer, or the promise of some: then it is not its client who is awaited.
    #[inline]
    pub(crate) fn is_starved(&self) -> bool {
        match self.waits_for {
            Some(Resource::SmallBuffer | Resource::ReservedSmall) => true,
            Some(Resource::LargeBuffer | Resource::ReservedBuffer) => true,
            Some(Resource::ReservedPromise | Resource::Promise) => true,
            Some(Resource::ReservedSlot | Resource::Slot | Resource::Cell) => false,
            Some(Resource::CellOfRequest | Resource::CellBeyondShare) | None => false,
        }
    }

    /// How much input is held for it, or may come to be.
    pub(crate) fn inputs(&self) -> u32 {
        u32::from(self.held_count) + u32::from(self.borrows)
    }

    /// A receive into a small buffer of those kept back is over. `false`: there was none.
    pub(crate) fn borrows_no_more(&mut self) -> bool {
        core::mem::take(&mut self.borrows)
    }

    /// Whether receiving may begin.
    #[inline]
    pub(crate) fn may_receive(&self) -> bool {
        let is_free = self.receiving == Receiving::Stopped && self.waits_for.is_none();
        is_free && !self.is_closing() && !self.is_leaving()
    }

    /// Whether something is being sent, or waits for room.
    #[inline]
    pub(crate) fn sends(&self) -> bool {
        self.sending != Sending::No
    }

    /// Whether what is being sent ends without being told.
    pub(crate) fn sends_silently(&self) -> bool {
        matches!(self.sending, Sending::Silent | Sending::SilentPart)
    }

    /// A turn has ended in which nothing was told of a silent send: the socket has taken all of it. `false`: there was
    /// none.
    #[inline(always)]
    pub(crate) fn end_silent_send(&mut self) -> bool {
        let was_silent = self.sending == Sending::Silent;
        if was_silent {
            self.took_all();
        }
        was_silent
    }

    /// It has taken all that it was given.
    #[inline(always)]
    pub(crate) fn took_all(&mut self) {
        (self.sending, self.shortage) = (Sending::No, Shortage::No);
    }

    /// The helper has given back what it had of a shard that has failed.
    pub(crate) fn is_given_back(&mut self) {
        self.sending = Sending::No;
    }

    /// Whether an operation is out that receives.
    #[inline]
    pub(crate) fn receives(&self) -> bool {
        match self.receiving {
            Receiving::Stopped => false,
            Receiving::Armed | Receiving::Stopping | Receiving::Once(_) => true,
        }
    }

    /// Whether the other side has ended its own, and everything before that was received.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.end == End::Reached
    }

    /// Whether input is held that could not be taken yet.
    #[inline]
    pub(crate) fn holds_input(&self) -> bool {
        self.held_first.is_some()
    }

    /// Whether its input has stopped before its end: it is held, or nothing receives, or soon will.
    #[inline]
    pub(crate) fn has_stopped(&self) -> bool {
        let receives = matches!(self.receiving, Receiving::Armed | Receiving::Once(_));
        self.held_first.is_some() || !receives && self.end != End::Reached
    }

    /// Whether the other side has ended its own, though there may be input before that.
    pub(crate) fn has_half_closed(&self) -> bool {
        self.end != End::Unknown
    }

    /// Whether it did not take all that was sent.
    #[inline]
    pub(crate) fn blocked(&self) -> bool {
        matches!(self.sending, Sending::Room | Sending::FileRoom)
    }
}
