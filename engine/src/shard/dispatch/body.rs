//! Bodies on their way to readers: how much of each may come, and who is woken when something has.
//!
//! Invariants: no more than the credit is received and not read; small pieces are copied behind one another, so that a
//! client that sends byte by byte holds no more buffers than its bytes fill.
//!
//! Not here: how bodies are decoded, and who receives them.

use ringress_proto::reject::Reject;

use super::Dispatch;
use super::gather::Pace;
use super::slots::Life;
use crate::mem::{Area, Input};
use crate::queue::{Reading, Slot};

/// What the shard keeps of a slot's body while the slot has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyChain {
    wake: Wake,
    /// Of one that is awaited whole, bytes for which there are buffers: see `gather`. Else 0.
    pub(super) promised: u32,
    pub(super) pace: Pace,
    /// Bytes of the body that may still come, by its limit.
    pub(super) allowed: u64,
    /// Bytes that came behind what came with the head, framing included.
    pub(super) received: u64,
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
    pub(super) const NONE: Self = Self { wake: Wake::No, promised: 0, pace: Pace::NONE, allowed: 0, received: 0 };

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

    /// Bytes of a body that has come that may be taken now, by its credit; without any, the reader is to tell when
    /// there are. What is not taken stays in its buffers all the same: whether these are short does not matter any
    /// more.
    pub(crate) fn room_or_pause(&mut self, slot: Slot, credit: u32) -> u64 {
        match self.room_within(slot, credit) {
            0 if self.side.stop_body_until(slot, u64::from(credit / 2)) => self.room_within(slot, credit),
            room => room,
        }
    }

    /// Bytes of a body that may be received now; without any, the reader is to tell when there are, or wants more.
    pub(crate) fn receivable_or_pause(&mut self, slot: Slot, credit: u32) -> u64 {
        let room = self.receivable(slot, credit);
        if room > 0 {
            return room;
        }
        let is_over = match self.credit_left(credit) {
            0 => self.side.stop_body_until_wanted(slot),
            left => self.side.stop_body_until(slot, u64::from(left / 2)),
        };
        if is_over { self.receivable(slot, credit) } else { 0 }
    }

    /// Bytes of a body that may be received now.
    pub(crate) fn receivable(&self, slot: Slot, credit: u32) -> u64 {
        match self.credit_left(credit) {
            0 if self.side.is_body_wanted(slot) => self.room_within(slot, self.of_one_buffer(credit)),
            left => self.room_within(slot, left),
        }
    }

    fn room_within(&self, slot: Slot, credit: u32) -> u64 {
        match self.side.reading(slot) {
            // What comes is thrown away.
            Reading::Done => u64::MAX,
            _ => u64::from(credit).saturating_sub(self.side.unread_body(slot)),
        }
    }

    /// Bytes of a body that may have come and not been read before more is received: the credit while there are
    /// buffers, the bytes of one when half of the large ones are in use, and none when those are that readers who wait
    /// leave to others.
    fn credit_left(&self, credit: u32) -> u32 {
        let (small, large) = (&self.side.buffers.small, &self.side.buffers.large);
        match () {
            () if !large.is_short() => credit,
            () if !large.pressed() || !small.is_short() => self.of_one_buffer(credit),
            () => 0,
        }
    }

    fn of_one_buffer(&self, credit: u32) -> u32 {
        credit.min(self.side.arena().cell_bytes(Area::Body))
    }

    /// Nothing more of a body is received until its reader wants it: it is to tell that. `true`: it does so already.
    pub(crate) fn stop_until_wanted(&mut self, slot: Slot) -> bool {
        self.side.stop_body_until_wanted(slot)
    }

    /// Whether the reader of a body has read everything and wants more.
    pub(crate) fn is_body_wanted(&self, slot: Slot) -> bool {
        self.side.is_body_wanted(slot)
    }

    /// Whether nothing of a body waits to be read: if nothing more may come, it is for want of buffers.
    pub(crate) fn is_body_read(&self, slot: Slot) -> bool {
        self.side.unread_body(slot) == 0
    }

    /// A slot's body has been read, as far as its reader has told: its buffers come back.
    pub(crate) fn body_was_read(&mut self, slot: Slot) {
        if self.side.has_body(slot) {
            self.side.reclaim_body(slot);
        }
    }

    /// Puts received bytes behind a slot's body. Of one that is awaited whole, as few buffers as may be hold it.
    pub(crate) fn append_body(&mut self, slot: Slot, piece: Input<'_>) -> Result<(), Reject> {
        self.side.reclaim_body(slot);
        let chain = &mut self.bodies[slot];
        let left = chain.allowed.checked_sub(u64::from(piece.len())).ok_or(Reject::BodyTooLarge)?;
        chain.allowed = left;
        let is_gathered = self.slots[slot].life == Life::Gathered;
        let small = piece.len() <= self.side.last_buffer_bytes(slot) / 4;
        // It takes no further buffer where it is.
        let goes_on = || self.side.goes_on_in(slot, piece).is_some();
        // While small ones are short, requests need them.
        let is_scarce = !self.side.buffers.is_large(piece.buffer())
            && (is_gathered || self.side.buffers.small.is_short())
            && !goes_on();
        let is_copied = match is_gathered {
            true => !goes_on(),
            false => small || is_scarce,
        };
        if is_copied && self.side.copy_behind_body(slot, piece) {
            return Ok(());
        }
        if is_scarce && self.side.copy_body(slot, piece) {
            self.counters.copies.count();
        } else {
            self.side.append_body(slot, piece);
        }
        Ok(())
    }

    /// Takes back what the readers of all bodies are done with, once a turn, if buffers are short.
    pub(crate) fn reclaim_bodies_if_short(&mut self) {
        let is_short = self.side.buffers.large.pressed() || self.side.buffers.small.is_short();
        if is_short && !core::mem::replace(&mut self.reclaimed, true) {
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
