//! How connections end, and the timers that see to it.
//!
//! Invariants: a descriptor is closed, and its entry freed, after the last operation on it has completed; whatever a
//! connection still had is given back; requests of a gone connection answer `Gone`.

use ringress_proto::method::Method;
use ringress_proto::reject::Reject;

use super::Shard;
use super::connection::{Incoming, Out, Pipe, Receiving, Sending};
use super::dispatch::NONE;
use super::output::CONTINUE;
use crate::conn::{Expiry, WaitReason};
use crate::queue::Disconnected;
use crate::ring::{Io, Op, Token};
use crate::slab::Key;
use crate::timer::NEVER;

impl<I: Io> Shard<I> {
    /// The client has ended its side.
    #[cold]
    pub(super) fn end_of_input(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.input_ended = true;
        let watched = connection.extras;
        if connection.held_first != super::connection::NO_BUFFER {
            // Held requests come first; `resume_input` comes back here.
            return self.dispatch.half_closed(key.index);
        }
        if matches!(connection.incoming, Incoming::Raw) {
            return self.pipe_input_ended(key);
        }
        if connection.has_incoming() && connection.body_slot != NONE {
            self.body_failed(key, Reject::BodyCut);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let busy = connection.sending != Sending::No || connection.overload_owed;
        // The send's end is the moment to close.
        self.follow_up |= connection.sending == Sending::Silent;
        if connection.machine.end_of_input(busy) {
            self.close(key);
        } else if watched {
            self.dispatch.half_closed(key.index);
        }
    }

    /// Throws held input away.
    pub(super) fn drop_input(&mut self, key: Key) {
        while let Some((share, ..)) = self.pop_held(key) {
            self.dispatch.side.buffers.release(share);
        }
    }

    /// Closes a connection in order: what is in the socket's buffer still goes out.
    pub(super) fn close(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let how = match connection.input_ended {
            true => Disconnected::Ended,
            false if self.stopping.is_some() => Disconnected::Stopped,
            false => Disconnected::Aborted,
        };
        self.end_connection(key, how, false);
    }

    /// Closes a connection at once: the client has to go.
    #[cold]
    pub(super) fn abort(&mut self, key: Key) {
        let how = if self.aborted { Disconnected::Stopped } else { Disconnected::Aborted };
        self.end_connection(key, how, true);
    }

    /// Closes a connection at once: the client is gone.
    #[cold]
    pub(super) fn client_gone(&mut self, key: Key) {
        self.end_connection(key, Disconnected::Reset, true);
    }

    fn end_connection(&mut self, key: Key, how: Disconnected, reset: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.closing {
            return;
        }
        connection.closing = true;
        connection.how = how;
        if core::mem::take(&mut connection.drains) {
            self.drains.ended();
        }
        let (fd, receiving, polled) = (connection.fd, connection.receiving, connection.polled);
        let sending = connection.sending;
        if reset {
            self.io.reset_on_close(fd);
        }
        match sending {
            Sending::File => self.io.cancel(Token::new(Op::SendFile, key.generation, key.index)),
            Sending::Room | Sending::FileRoom => self.io.cancel(Token::new(Op::Room, key.generation, key.index)),
            // Its end is the moment to go on, and says nothing.
            Sending::Silent => self.follow_up = true,
            Sending::No => {}
        }
        if connection.reading {
            // Of a file this ends soon; of what was only taken for one, perhaps never.
            self.io.cancel(Token::new(Op::ReadFile, key.generation, key.index));
        }
        if matches!(receiving, Receiving::Armed | Receiving::Once) {
            connection.receiving = Receiving::Stopping;
            self.io.cancel(Token::new(Op::Receive, key.generation, key.index));
        }
        if polled {
            self.io.cancel(Token::new(Op::Poll, key.generation, key.index));
        }
        self.wheel.set(key.index, NEVER);
        self.destroy_if_quiet(key);
    }

    /// Frees a closing connection once no operation names it.
    pub(super) fn destroy_if_quiet(&mut self, key: Key) {
        let quiet = |connection: &mut super::Connection| {
            let still = connection.receiving == Receiving::Stopped && connection.sending == Sending::No;
            connection.closing && still && !connection.polled && !connection.reading
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
        let is_last = match &connection.out {
            // That of a stream which has not ended is in the list still.
            Out::Nothing | Out::Stream { last: false, .. } | Out::Informational { .. } => false,
            Out::Text { text } => *text != CONTINUE,
            Out::Area { .. } | Out::AreaAndTail { .. } | Out::Stream { .. } | Out::Cell { .. } => true,
        };
        self.release_out(connection.out);
        let unsent = self.dispatch.end_requests_of(connection.oldest) + u64::from(is_last);
        if connection.how == Disconnected::Reset && connection.pipe == Pipe::No {
            self.counters.responses_unsent.add(unsent);
        }
        // Last, so that whoever is told finds the requests gone.
        if connection.extras {
            self.dispatch.end_extras(key.index, connection.how);
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
        let reason = connection.machine.wait_reason(connection.part(), connection.blocked());
        let policy = self.dispatch.policy(connection.policy);
        let mut from = self.tick;
        if connection.giving.runs() && reason != WaitReason::Body {
            connection.giving.stop(from);
        }
        let ticks = match reason {
            WaitReason::Queue => match self.dispatch.slots.get(connection.oldest as usize) {
                Some(oldest) => {
                    // One that is answered leaves at once.
                    from = if oldest.answered { from } else { oldest.queued };
                    policy.queue
                }
                None => NEVER,
            },
            WaitReason::Idle => policy.idle,
            // The whole head has one deadline, from its first bytes; a body's starts anew with each piece.
            WaitReason::Head if connection.head_timed => return,
            WaitReason::Head => policy.header_wait,
            WaitReason::Body => {
                connection.head_timed = false;
                let deadline = self.body_deadline(key);
                return self.wheel.set(key.index, deadline);
            }
            WaitReason::Drain => {
                connection.head_timed = false;
                let deadline = self.drain_deadline(key);
                return self.wheel.set(key.index, deadline);
            }
            WaitReason::Send => {
                // The head's deadline is another one afterwards.
                connection.head_timed = false;
                let deadline = self.send_deadline(key);
                return self.wheel.set(key.index, deadline);
            }
        };
        connection.head_timed = reason == WaitReason::Head;
        self.wheel.set(key.index, from.saturating_add(ticks));
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
        if connection.closing {
            return;
        }
        let expiry = connection.machine.expired(connection.part(), connection.blocked());
        if !matches!(expiry, Expiry::Queue | Expiry::Send | Expiry::Body) {
            self.counters.timeouts.count();
        }
        match expiry {
            Expiry::Queue => self.expire_queued(key),
            Expiry::Send => self.judge_send(key),
            Expiry::Close => self.close(key),
            Expiry::Reset => self.abort(key),
            Expiry::Head => self.answer_timeout(key),
            Expiry::Body => self.judge_body(key),
        }
    }

    /// A head was begun and not finished in time.
    fn answer_timeout(&mut self, key: Key) {
        let (Some(connection), Some(slot)) = (self.connections.get_mut(key), self.dispatch.side.allocate()) else {
            self.abort(key);
            return self.flush_all();
        };
        self.dispatch.side.record_mut(slot).head.method = Method::Unknown;
        if let Some(cell) = &connection.assembly {
            let begun = self.dispatch.side.arena().cell(cell, 0, connection.assembled);
            let (bytes, record, _) = self.dispatch.side.parse_view(begun, slot);
            record.head.method = Method::begun(bytes);
        }
        self.refuse_pending(key, slot, Reject::HeaderTimeout);
        self.flush_all();
    }
}
