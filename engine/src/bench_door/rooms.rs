//! The small rooms that a shard uses for every request or connection: timer wheel, slab, receive buffers.
//!
//! Invariants: each type calls the room's own functions, without a kernel, socket or thread; a benchmark can check
//! what was done by what they give back.
//!
//! Not here: whole turns of a shard (`turns`).

use crate::mem::{BufferId, Filled, Input, ReceiveBuffers, Share};
use crate::slab::{Key, Slab};
use crate::timer::Wheel;

/// A timer wheel with a deadline for each connection. Ticks are counted from 0.
#[derive(Debug)]
pub struct Timers(Wheel);

impl Timers {
    /// For connections numbered below `capacity`.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self(Wheel::new(capacity))
    }

    /// Sets a connection's deadline.
    #[inline]
    pub fn set(&mut self, connection: u32, tick: u32) {
        self.0.set(connection, tick);
    }

    /// Lets time pass up to a tick, and gives how many deadlines came.
    #[inline]
    pub fn pass(&mut self, tick: u32) -> usize {
        core::iter::from_fn(|| self.0.pop_due(tick)).count()
    }
}

/// A slab of numbers, and the keys of all that are in it.
#[derive(Debug)]
pub struct Slots {
    slab: Slab<u64>,
    keys: Vec<Key<u64>>,
}

impl Slots {
    /// A slab full of so many numbers, counted from 0.
    ///
    /// # Panics
    /// When the memory is refused.
    #[must_use]
    pub fn filled(count: u32) -> Self {
        let mut slab = Slab::new(count);
        let keys = (0..count).map(|number| slab.insert(u64::from(number)).expect("within the capacity")).collect();
        Self { slab, keys }
    }

    /// The sum of all numbers, each found by its key.
    #[inline]
    pub fn find_all(&mut self) -> u64 {
        self.keys.iter().map(|key| *self.slab.get_mut(*key).expect("a key of the present")).sum()
    }

    /// Takes every number out and puts it back in, under another key. Gives how many old keys still find something.
    ///
    /// # Panics
    /// When the slab has lost a number.
    #[inline]
    pub fn renew_all(&mut self) -> usize {
        let mut found = 0;
        for key in &mut self.keys {
            let number = self.slab.remove(*key).expect("a key of the present");
            let old = core::mem::replace(key, self.slab.insert(number).expect("a slot is free"));
            found += usize::from(self.slab.get_mut(old).is_some());
        }
        found
    }
}

/// The account of receive buffers.
#[derive(Debug)]
pub struct Buffers {
    account: ReceiveBuffers,
    /// What the kernel has, in no order of meaning.
    posted: Vec<BufferId>,
    /// What is under way of a round.
    shares: Vec<Share>,
}

impl Buffers {
    /// So many buffers; the kernel has the first 256 of them, or all.
    #[must_use]
    pub fn new(count: u16) -> Self {
        let mut account = ReceiveBuffers::new(count, 0);
        let posted = core::iter::from_fn(|| account.next_to_post()).map(|spare| spare.buffer()).collect();
        Self { account, posted, shares: Vec::with_capacity(2 * usize::from(count)) }
    }

    /// The kernel fills so many buffers; each gets a second user, both let go, and spare ones are given back. Gives how
    /// many buffers are in use in between.
    ///
    /// # Panics
    /// When the kernel has fewer.
    #[inline]
    pub fn round(&mut self, count: usize) -> u32 {
        let first = self.posted.len().checked_sub(count).expect("as many as the kernel has");
        for buffer in self.posted.drain(first..) {
            let share = self.account.take(Filled::pretended(buffer));
            self.shares.push(self.account.share(Input::nothing(&share)));
            self.shares.push(share);
        }
        let in_use = self.account.small.in_use();
        self.shares.drain(..).for_each(|share| self.account.release(share));
        self.posted.extend(core::iter::from_fn(|| self.account.next_to_post()).map(|spare| spare.buffer()));
        in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_does_what_it_says() {
        let mut timers = Timers::new(4);
        (0..4).for_each(|connection| timers.set(connection, 100 + connection));
        assert_eq!((timers.pass(99), timers.pass(101), timers.pass(500)), (0, 2, 2));

        let mut slots = Slots::filled(4);
        assert_eq!((slots.find_all(), slots.renew_all(), slots.find_all()), (6, 0, 6));

        let mut buffers = Buffers::new(512);
        assert_eq!((buffers.round(3), buffers.round(256), buffers.round(1)), (3, 256, 1));
    }
}
