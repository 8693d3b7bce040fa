//! Bodies on their way to readers: how much of each may come, and who is woken when something has.
//!
//! Invariants: no more than the credit is received and not read; small pieces are copied behind one another, so that a
//! client that sends byte by byte holds no more buffers than its bytes fill.
//!
//! Not here: how bodies are decoded, and who receives them.

use ringress_proto::reject::Reject;

use super::Dispatch;
use crate::mem::Input;
use crate::queue::{NoRoom, Reading, Slot};

/// What the shard keeps of a slot's body while the slot has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyChain {
    wake: Wake,
    /// Bytes of the body that may still come, by its limit.
    allowed: u64,
    /// Bytes that came behind what came with the head, framing included.
    received: u64,
}

/// Whether a body's reader is to be woken when the completions are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    No,
    /// It is: the slot is in `readers`, once.
    Due,
    /// It is, but not this turn: there is more at hand.
    PutOff,
}

impl Wake {
    /// If the reader is to be woken, it is in this turn.
    fn end_putting_off(&mut self) {
        if *self == Self::PutOff {
            *self = Self::Due;
        }
    }
}

impl BodyChain {
    pub(super) const NONE: Self = Self { wake: Wake::No, allowed: 0, received: 0 };

    /// Forgets everything but that the slot is in the list of those to be woken.
    fn begin_anew(&mut self) {
        self.wake.end_putting_off();
        *self = Self { wake: self.wake, ..Self::NONE };
    }
}

impl Dispatch {
    /// The slot gets a body, if it has none yet, of which up to `allowed` more bytes may come.
    pub(crate) fn open_body(&mut self, slot: Slot, allowed: u64) {
        let chain = &mut self.bodies[slot];
        if self.side.open_body(slot) {
            chain.begin_anew();
        }
        chain.allowed = allowed;
    }

    /// Something of a slot's body comes: its reader is put off no longer.
    pub(crate) fn body_comes(&mut self, slot: Slot) {
        self.bodies[slot].wake.end_putting_off();
    }

    /// So many bytes of a slot's body have come, framing included, or its end: its reader is to be woken.
    pub(crate) fn body_has_come(&mut self, slot: Slot, bytes: u32) {
        self.bodies[slot].received += u64::from(bytes);
        let wake = &mut self.bodies[slot].wake;
        if *wake == Wake::No {
            *wake = Wake::Due;
            self.readers.push(slot);
        }
    }

    /// Bytes of a body that may be received now.
    fn body_room(&self, slot: Slot, credit: u32) -> u64 {
        if self.side.reading(slot) == Reading::Done {
            // What comes is thrown away.
            return u64::MAX;
        }
        let unread = self.side.unread_body(slot);
        if self.side.buffers.large.pressed() && unread > 0 {
            return 0;
        }
        u64::from(credit).saturating_sub(unread)
    }

    /// As [`body_room`](Self::body_room); without any, the reader is to tell when there is.
    pub(crate) fn room_or_pause(&mut self, slot: Slot, credit: u32) -> u64 {
        let room = self.body_room(slot, credit);
        if room > 0 {
            return room;
        }
        let target = if self.side.buffers.large.pressed() { 0 } else { u64::from(credit / 2) };
        if self.side.stop_body_until(slot, target) { self.body_room(slot, credit) } else { 0 }
    }

    /// A slot's body has been read, as far as its reader has told: its buffers come back.
    pub(crate) fn body_was_read(&mut self, slot: Slot) {
        if self.side.has_body(slot) {
            self.side.reclaim_body(slot);
        }
    }

    /// Puts received bytes behind a slot's body.
    pub(crate) fn append_body(&mut self, slot: Slot, piece: Input<'_>) -> Result<(), Reject> {
        self.side.reclaim_body(slot);
        let chain = &mut self.bodies[slot];
        let left = chain.allowed.checked_sub(u64::from(piece.len())).ok_or(Reject::BodyTooLarge)?;
        chain.allowed = left;
        let small = piece.len() <= self.side.last_buffer_bytes(slot) / 4;
        if small && self.side.copy_behind_body(slot, piece) {
            return Ok(());
        }
        let is_scarce = !self.side.buffers.is_large(piece.buffer()) && self.side.buffers.small.pressed();
        let done = if is_scarce && self.side.goes_on_in(slot, piece).is_none() {
            // Requests need the small ones.
            self.reclaim_bodies_if_dry();
            self.counters.copies.count();
            self.side.copy_body(slot, piece)
        } else {
            self.side.append_body(slot, piece)
        };
        done.map_err(|NoRoom| Reject::Overloaded)
    }

    /// Keeps a part of a trailer section for the reader.
    pub(crate) fn keep_trailers(&mut self, slot: Slot, piece: Input<'_>) -> Result<(), Reject> {
        self.side.keep_trailers(slot, piece).map_err(|NoRoom| Reject::Overloaded)
    }

    /// Takes back what the readers of all bodies are done with, once a turn, if large buffers have run out.
    pub(crate) fn reclaim_bodies_if_dry(&mut self) {
        if self.side.buffers.large.is_dry() && !core::mem::replace(&mut self.reclaimed, true) {
            self.reclaim_bodies();
        }
    }

    #[cold]
    fn reclaim_bodies(&mut self) {
        for slot in self.side.slots_used() {
            if self.side.has_body(slot) {
                self.side.reclaim_body(slot);
            }
        }
    }

    /// Nothing more comes of a slot's body, because its request is over.
    #[cold]
    pub(crate) fn fail_body(&mut self, slot: Slot, reason: u8) {
        self.side.fail_body(slot, reason);
        self.side.wake_reader(slot);
    }

    /// More of a body is at hand than was received: its reader is woken when that has come, too. A wake costs more than
    /// to receive a piece, and a reader that waits would wait again behind each. Three quarters of the credit are
    /// enough to wake for, so that the client goes on sending meanwhile. Not in co-located mode, where the
    /// application may keep the thread before the next turn.
    pub(crate) fn delay_wake(&mut self, slot: Slot, credit: u32) {
        let enough = u64::from(credit / 4 * 3);
        let wake = &mut self.bodies[slot].wake;
        if *wake != Wake::No {
            *wake = if self.side.unread_body(slot) < enough { Wake::PutOff } else { Wake::Due };
        }
    }

    /// Wakes who waits for what has come, but for those put off.
    pub(crate) fn wake_readers(&mut self) {
        let (bodies, side) = (&mut self.bodies, &self.side);
        self.readers.retain(|slot| {
            let wake = &mut bodies[*slot].wake;
            let is_put_off = *wake == Wake::PutOff;
            if !is_put_off {
                *wake = Wake::No;
                side.wake_reader(*slot);
            }
            is_put_off
        });
    }

    /// Bytes of a slot's body that came behind what came with the head.
    pub(super) fn later_bytes(&self, slot: Slot) -> u64 {
        if self.side.has_body(slot) { self.bodies[slot].received } else { 0 }
    }

    /// Whether readers are to be woken: those that were put off for a turn.
    pub(crate) fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// A turn has begun: those put off are woken in it, unless more has come and is at hand again.
    pub(super) fn end_putting_off(&mut self) {
        for slot in &self.readers {
            self.bodies[*slot].wake.end_putting_off();
        }
    }
}
