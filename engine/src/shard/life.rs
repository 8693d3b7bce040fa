//! How connections end, and the timers that see to it.
//!
//! Laws: a descriptor is closed, and its entry freed, after the last operation on it has completed; whatever a
//! connection still had is given back; requests of a gone connection answer `Gone`.

use std::net::Shutdown;

use ringress_proto::reject::Reject;

use super::Shard;
use super::connection::{NONE, Pending, Receiving, Sending, SlotState};
use crate::conn::{Expiry, Patience};
use crate::queue::Fate;
use crate::ring::{Io, Op, Token};
use crate::slab::Key;
use crate::timer::NEVER;

impl<I: Io> Shard<I> {
    /// The client has ended its side.
    #[cold]
    pub(super) fn end_of_input(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.input_ended = true;
        if connection.held_first != super::connection::NO_BUFFER {
            // Held requests come first; `resume_input` comes back here.
            return;
        }
        let busy = connection.sending != Sending::No || connection.overload_owed;
        // The send's end is the moment to close.
        self.follow_up |= connection.sending == Sending::Silent;
        if connection.machine.end_of_input(busy) {
            self.close(key);
        }
    }

    /// Our side is shut; the client's is read to its end, within bounds.
    #[cold]
    pub(super) fn drain(&mut self, key: Key) {
        self.drop_input(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.input_ended {
            return self.close(key);
        }
        self.io.shutdown(connection.fd, Shutdown::Write);
        if !connection.starved {
            self.arm_receive(key);
        }
        self.set_timer(key);
    }

    /// Throws held input away.
    fn drop_input(&mut self, key: Key) {
        while let Some(input) = self.pop_held(key) {
            self.buffers.release(input.buffer());
        }
    }

    /// Closes a connection in order: what is in the socket's buffer still goes out.
    pub(super) fn close(&mut self, key: Key) {
        self.end_connection(key, false);
    }

    /// Closes a connection at once: the client is gone, or has to go.
    #[cold]
    pub(super) fn abort(&mut self, key: Key) {
        self.end_connection(key, true);
    }

    fn end_connection(&mut self, key: Key, reset: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.closing {
            return;
        }
        connection.closing = true;
        let (fd, receiving) = (connection.fd, connection.receiving);
        if reset {
            self.io.reset_on_close(fd);
        }
        if connection.sending == Sending::Waiting {
            if reset {
                // No shutdown: an end in order before the reset would make a part of an answer look whole.
                self.io.cancel(Token::new(Op::Send, key.generation, key.index));
            } else {
                self.io.shutdown(fd, Shutdown::Both);
            }
        }
        if connection.reading {
            // Of a file this ends soon; of what was only taken for one, perhaps never.
            self.io.cancel(Token::new(Op::ReadFile, key.generation, key.index));
        }
        if receiving == Receiving::Armed {
            connection.receiving = Receiving::Stopping;
            self.io.cancel(Token::new(Op::Receive, key.generation, key.index));
        }
        self.wheel.set(key.index, NEVER);
        self.destroy_if_quiet(key);
    }

    /// Frees a closing connection once no operation names it.
    pub(super) fn destroy_if_quiet(&mut self, key: Key) {
        let quiet = |connection: &mut super::Connection| {
            let is_idle = connection.sending == Sending::No && !connection.reading;
            connection.closing && connection.receiving == Receiving::Stopped && is_idle
        };
        if !self.connections.get_mut(key).is_some_and(quiet) {
            return;
        }
        self.drop_input(key);
        self.drop_pending(key);
        self.give_stage(key);
        self.leave_cell_waiters(key);
        let Some(connection) = self.connections.remove(key) else { return };
        self.io.close(connection.fd);
        self.wheel.set(key.index, NEVER);
        self.release_out(connection.out);
        self.orphan(connection.oldest);
    }

    /// The requests of a connection that is gone, from the oldest on.
    pub(super) fn orphan(&mut self, oldest: u32) {
        let mut next = oldest;
        while next != NONE {
            let slot = next;
            let SlotState { answered, next: younger, .. } = self.slots[slot as usize];
            next = younger;
            if answered {
                self.finish_slot(slot);
                continue;
            }
            self.counters.requests_orphaned.count();
            // An answer already on its way back finds no connection.
            self.slots[slot as usize].connection = NONE;
            if self.side.kill(slot) == Fate::Free {
                self.release_source(slot);
            }
        }
    }

    /// Lets a connection end as soon as it owes nothing: the engine is stopping.
    #[cold]
    pub(super) fn finish_connection(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let busy = connection.sending != Sending::No || connection.overload_owed;
        self.follow_up |= connection.sending == Sending::Silent;
        connection.machine.finish();
        // A draining client is reading its last answer: it has its few seconds.
        if connection.machine.in_flight() == 0 && !busy && !connection.machine.is_draining() {
            self.close(key);
        }
    }

    /// Sets a connection's deadline by what it waits for now.
    #[inline]
    pub(super) fn set_timer(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let patience = connection.machine.patience(connection.begun(), connection.blocked());
        let ticks = match patience {
            Patience::Unlimited => return self.wheel.set(key.index, NEVER),
            Patience::Idle => self.settings.idle_ticks,
            // The whole head has one deadline, from its first bytes; a body's starts anew with each piece.
            Patience::Request if matches!(connection.pending, Pending::Head) && connection.head_timed => return,
            Patience::Request => self.settings.header_ticks,
            Patience::Peer if connection.blocked() => self.settings.idle_ticks,
            Patience::Peer => self.settings.peer_ticks,
        };
        connection.head_timed = matches!(connection.pending, Pending::Head);
        self.wheel.set(key.index, self.tick.saturating_add(ticks));
    }

    /// Ends what has run out of time.
    pub(super) fn run_timers(&mut self) {
        while let Some(index) = self.wheel.pop_due(self.tick) {
            if let Some(key) = self.connections.key_of(index) {
                self.expire(key);
            }
        }
        self.resume_accepting();
        if self.is_overdue() {
            self.aborted = true;
            for key in self.connections.keys() {
                self.abort(key);
            }
        }
    }

    #[cold]
    fn expire(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let expiry = connection.machine.expired(connection.begun(), connection.blocked());
        if expiry == Expiry::Stale || connection.closing {
            return;
        }
        self.counters.timeouts.count();
        match expiry {
            Expiry::Stale => {}
            Expiry::Close => self.close(key),
            Expiry::Reset => self.abort(key),
            Expiry::Answer => self.answer_timeout(key),
        }
    }

    /// A request was begun and not finished in time.
    fn answer_timeout(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let reject =
            if matches!(connection.pending, Pending::Head) { Reject::HeaderTimeout } else { Reject::BodyTimeout };
        let slot = match connection.pending {
            Pending::Length { slot, .. } | Pending::Chunked { slot, .. } => Some(slot),
            Pending::Head | Pending::Nothing => self.side.allocate(),
        };
        match slot {
            Some(slot) => self.refuse_pending(key, slot, reject),
            None => self.abort(key),
        }
        self.flush_all();
    }
}
