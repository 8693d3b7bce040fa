//! What a shard keeps of a request slot, beside what it shares with the applications.
//!
//! Invariants: a slot that came back is freed here, or by the handle that still reads it, never both.
//!
//! Not here: how requests end (`ends`).

use super::meters::UNMETERED;
use super::{Dispatch, GONE};
use crate::clock::Tick;
use crate::id::QueuePlace;
use crate::peers::{PeerKey, Pool};
use crate::queue::{Slot, SlotUse, Tail};
use crate::record::Outcome;
use crate::slab::ConnectionKey;
use crate::stream::Outgoing;

/// How far a request has come: see `ends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It has not begun, or has ended.
    Over,
    /// It has not begun: it is delivered when its body is whole.
    Gathered,
    /// It was put into a queue, and has no response yet.
    Delivered,
    /// And now its response is in the slot, which is the shard's.
    Answered,
    /// It was not delivered: the response in the slot, which is the shard's, refuses it.
    Refused,
}

impl Life {
    #[inline(always)]
    pub(super) fn is_answered(self) -> bool {
        matches!(self, Self::Answered | Self::Refused)
    }

    /// Whether it has begun and has not ended.
    pub(super) fn has_begun(self) -> bool {
        !matches!(self, Self::Over | Self::Gathered)
    }

    #[inline(always)]
    pub(super) fn was_delivered(self) -> bool {
        matches!(self, Self::Delivered | Self::Answered)
    }
}

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotState {
    /// The connection that it came by, unless that is gone.
    pub(crate) connection: Option<ConnectionKey>,
    /// The next younger request of the connection.
    pub(crate) next: Option<Slot>,
    /// The queue it was pushed to, if to one, and where in that.
    pub(crate) queue: Option<QueuePlace>,
    pub(crate) position: u64,
    /// When it came.
    pub(crate) queued: Tick,
    /// Where its request counts: see `meters`.
    pub(super) meter: u32,
    /// How far its request has come.
    pub(super) life: Life,
    /// How its request ends if its response goes out whole.
    pub(super) outcome: Outcome,
    /// Others of its connection were before it when slots were counted last.
    pub(super) is_behind: bool,
    /// What the protocol of its connection notes of it. Nobody here reads that.
    pub(crate) note: u8,
}

impl SlotState {
    pub(crate) const FREE: Self = Self {
        connection: None,
        next: None,
        queue: None,
        position: 0,
        queued: 0,
        meter: UNMETERED,
        life: Life::Over,
        outcome: Outcome::Answered,
        is_behind: false,
        note: 0,
    };

    /// Of a request that came by a connection: it is neither delivered nor refused yet.
    #[inline(always)]
    pub(crate) fn new(connection: ConnectionKey, queued: Tick, note: u8) -> Self {
        Self { connection: Some(connection), queued, note, ..Self::FREE }
    }

    /// Whether the response is in the slot, and the slot is the shard's.
    #[inline(always)]
    pub(crate) fn is_answered(&self) -> bool {
        self.life.is_answered()
    }
}

impl Dispatch {
    /// The response of a request that was delivered is in its slot, which is the shard's from now on.
    #[inline(always)]
    pub(crate) fn answer_is_here(&mut self, slot: Slot) {
        let state = &mut self.slots[slot];
        debug_assert!(state.life == Life::Delivered, "a request is answered once, while it is under way");
        state.life = Life::Answered;
    }

    /// A response has come back whose client had gone: frees the slot, and what it pinned, unless a handle still reads
    /// it.
    #[cold]
    pub(crate) fn drop_late_response(&mut self, slot: Slot) {
        assert!(self.slots[slot].life == Life::Over, "a request that has begun ends by `request_ended`");
        if self.side.drop_late_response(slot) == SlotUse::Free {
            self.has_come_back(slot);
        } else if self.side.has_body(slot) {
            self.fail_body(slot, GONE);
        }
    }

    /// A request has ended, which came by this connection, and a handle is left that may read its slot: unless that is
    /// still in a queue, the slot counts apart until it comes back.
    #[cold]
    pub(super) fn depart(&mut self, slot: Slot, connection: Option<ConnectionKey>) {
        if self.withdraw(slot) && self.side.free_withdrawn(slot) == SlotUse::Free {
            return;
        }
        let peer = connection.map_or(PeerKey::NOBODY, |connection| self.peers.of(connection));
        self.departed[slot] = Some(peer);
        self.peers.hold(peer, Pool::Departed);
        self.side.depart();
        if self.side.has_body(slot) {
            self.fail_body(slot, GONE);
        }
    }

    /// A slot has come back for nothing else: its request had ended, and the handle that still read it is gone.
    #[cold]
    pub(crate) fn reclaim(&mut self, slot: Slot) {
        self.discard(slot);
        self.has_come_back(slot);
    }

    /// Nothing is left of what had departed. Of requests that ended with the shard nobody has noted whose they were.
    fn has_come_back(&mut self, slot: Slot) {
        if let Some(peer) = self.departed[slot].take() {
            self.peers.release(peer, Pool::Departed);
            self.side.come_back();
        }
    }

    /// The stream in a slot that the shard has taken back.
    pub(crate) fn outgoing(&mut self, slot: Slot) -> Option<&mut Outgoing> {
        match &mut self.side.answered_mut(slot).tail {
            Tail::Stream(outgoing) => Some(outgoing),
            Tail::None | Tail::Bytes(_) | Tail::Reset => None,
        }
    }

    /// The shard has failed: the senders of the streams of a connection are told, from its oldest request on.
    pub(crate) fn give_up_streams(&mut self, oldest: Option<Slot>) {
        let mut next = oldest;
        // Whatever state the list was left in, this ends.
        for _ in 0..self.slots.len() {
            let Some(slot) = next else { return };
            let state = self.slots[slot];
            if state.is_answered() {
                self.give_up_stream(slot);
            }
            next = state.next;
        }
    }

    pub(crate) fn give_up_stream(&mut self, slot: Slot) {
        if let Some(outgoing) = self.outgoing(slot) {
            outgoing.give_up();
        }
    }

    /// The shard ends. Unless it `is_whole`, connections are left, whose ring has failed: what they used cannot be told
    /// any more.
    pub(crate) fn end(mut self, is_whole: bool) {
        if is_whole { self.side.end() } else { self.side.mark_all_disconnected() }
    }

    /// Nobody sends what is still to be sent: who waits for it is told, and whoever comes later, too.
    pub(crate) fn give_up_requests(&mut self) {
        self.side.mark_all_disconnected();
        let mut completed = core::mem::take(&mut self.completed);
        completed.clear();
        self.side.take_completions(&mut completed);
        for completed in completed.drain(..) {
            let (slot, _) = self.side.accept(completed);
            self.give_up_stream(slot);
        }
    }
}
