//! Who waits for something that had run out goes on, oldest first; and who waits for a slot or a small buffer because
//! its client had its share, when that is not so any more.
//!
//! Invariants: who is called goes on, or waits for what it lacks, and keeps its place while that is the same.
//!
//! Not here: what a share is (`dispatch::shares`), and who waits for what (`protocol::receive`).

use super::Shard;
use super::protocol::Protocol;
use super::transport::Resource;
use crate::driver::Io;

impl<I: Io> Shard<I> {
    /// Goes on with the input of those that wait for something, oldest first, as far as it is there.
    pub(super) fn call_waiting(&mut self) {
        if self.protocol.transport.waiting.starved() > 0 {
            self.protocol.dispatch.reclaim_bodies_if_short();
            self.protocol.post_buffers();
        }
        self.look_at_shares();
        for resource in Resource::ALL {
            // Who waits again is behind those that wait now.
            let waiting = self.protocol.transport.waiting.count(resource);
            // More receives than there are buffers would only find out that there are none.
            let most = self.protocol.posted_for(resource).unwrap_or(waiting);
            let is_cut_short = waiting > most;
            if (0..waiting.min(most)).all(|_| self.call_first(resource)) && is_cut_short && most > 0 {
                // Clients may be silent, and leave their buffers to those behind them.
                self.protocol.transport.follow_up = true;
            }
        }
    }

    /// Calls the first of those that wait for something. `false`: it is not there.
    pub(super) fn call_first(&mut self, resource: Resource) -> bool {
        let first = self.protocol.transport.waiting.first(resource);
        let Some(key) = first.and_then(|place| self.connections.key_of(place)) else { return false };
        self.visit(key, Protocol::call);
        self.protocol.transport.waiting.first(resource) != first
    }

    /// Calls all that wait above their shares.
    fn look_at_shares(&mut self) {
        let Protocol { transport, dispatch, .. } = &mut self.protocol;
        let lacks_small = !dispatch.buffers().small.any_posted() && dispatch.buffers().small.any_reserved();
        let small = if lacks_small { transport.waiting.count(Resource::SmallBuffer) } else { 0 };
        if dispatch.looks_at_shares(transport.waiting.count(Resource::Slot) + small, transport.tick) {
            self.call_each(Resource::Slot);
            if small > 0 {
                self.call_each(Resource::SmallBuffer);
            }
        }
        let Protocol { transport, dispatch, .. } = &mut self.protocol;
        if transport.waiting.count(Resource::Promise) > 0 && dispatch.looks_at_promises(transport.tick) {
            self.call_each(Resource::Promise);
        }
    }

    /// Calls all that wait for something: each goes on, keeps its place, or waits for something else.
    pub(super) fn call_each(&mut self, resource: Resource) {
        let mut next = self.protocol.transport.waiting.first(resource);
        while let Some(place) = next {
            next = self.protocol.transport.waiting.behind(place);
            if let Some(key) = self.connections.key_of(place) {
                self.visit(key, Protocol::call);
            }
        }
    }
}
