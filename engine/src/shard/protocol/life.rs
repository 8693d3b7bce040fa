//! How connections end, and the timers that see to it.
//!
//! Invariants: whatever a connection still had is given back; requests of a gone connection answer `Gone`.

use ringress_proto::method::Method;
use ringress_proto::reject::Reject;

use super::connection::{Connection, Incoming, Out, Owed};
use super::{Protocol, Stopping};
use crate::conn::{Expiry, WaitReason};
use crate::queue::Disconnected;
use crate::ring::Io;
use crate::shard::dispatch::NONE;
use crate::shard::transport::{End, Life, Sending};
use crate::timer::NEVER;

impl<I: Io> Protocol<I> {
    /// The client has ended its side.
    #[cold]
    pub(super) fn end_of_input(&mut self, connection: &mut Connection) {
        connection.socket.end = End::Reached;
        if connection.socket.holds_input() {
            // Held requests come first; `resume_input` comes back here.
            return self.dispatch.half_closed(connection.key().index);
        }
        if matches!(connection.incoming, Incoming::Raw) {
            return self.pipe_input_ended(connection);
        }
        if connection.has_incoming() && connection.body_slot != NONE {
            self.body_failed(connection, Reject::BodyCut);
        }
        let sending = connection.socket.sending;
        let busy = sending != Sending::No || connection.owed.has(Owed::OVERLOAD);
        // The send's end is the moment to close.
        self.transport.follow_up |= sending == Sending::Silent;
        if connection.machine.end_of_input(busy) {
            self.close(connection);
        } else if connection.extras {
            self.dispatch.half_closed(connection.key().index);
        }
    }

    /// Closes a connection in order: what is in the socket's buffer still goes out.
    pub(super) fn close(&mut self, connection: &mut Connection) {
        let how = match connection.socket.has_ended() {
            true => Disconnected::Ended,
            false if self.stopping != Stopping::No => Disconnected::Stopped,
            false => Disconnected::Aborted,
        };
        self.end_connection(connection, how, false);
    }

    /// Closes a connection at once: the client has to go.
    #[cold]
    pub(crate) fn abort(&mut self, connection: &mut Connection) {
        let is_stop = self.stopping == Stopping::Aborted;
        let how = if is_stop { Disconnected::Stopped } else { Disconnected::Aborted };
        self.end_connection(connection, how, true);
    }

    /// Closes a connection at once: the client is gone.
    #[cold]
    pub(super) fn client_gone(&mut self, connection: &mut Connection) {
        self.end_connection(connection, Disconnected::Reset, true);
    }

    fn end_connection(&mut self, connection: &mut Connection, how: Disconnected, reset: bool) {
        if !connection.socket.is_closing() {
            connection.how = how;
            self.transport.begin_close(&mut connection.socket, reset);
        }
    }

    /// A connection's entry is gone: gives back what it still had.
    #[cold]
    pub(crate) fn ended(&mut self, mut connection: Connection) {
        self.transport.drop_held(&mut connection.socket, &mut self.dispatch.side.buffers);
        self.drop_head(&mut connection);
        self.transport.leave_stage(&mut connection.socket, &mut self.dispatch.side.cells.stage);
        if connection.socket.life == Life::Left {
            return self.hand_out(&connection);
        }
        self.transport.close(&connection.socket);
        let out = core::mem::replace(&mut connection.out, Out::Nothing);
        self.lose_out(&connection, out);
        self.dispatch.answers_lost(connection.oldest, connection.lost(), 0);
        // Last, so that whoever is told finds the requests gone.
        if connection.extras {
            self.dispatch.end_extras(connection.key().index, connection.how);
        }
    }

    /// The shard has failed: the senders of a connection's streams are told, and its client sees its end. What the
    /// kernel was lent stays where it is.
    pub(crate) fn give_up(&mut self, connection: &Connection) {
        if let Out::Stream { slot, .. } = connection.out {
            self.dispatch.give_up_stream(slot);
        }
        self.dispatch.give_up_streams(connection.oldest);
        self.transport.give_up(&connection.socket);
    }

    /// Lets a connection end as soon as it owes nothing: the engine is stopping.
    #[cold]
    pub(crate) fn finish(&mut self, connection: &mut Connection) {
        let sending = connection.socket.sending;
        let busy = sending != Sending::No || connection.owed.has(Owed::OVERLOAD);
        self.transport.follow_up |= sending == Sending::Silent;
        connection.machine.finish();
        // A draining client is reading its last answer: it has its few seconds.
        if connection.machine.in_flight() == 0 && !busy && !connection.machine.is_draining() {
            self.close(connection);
        }
    }

    /// Sets a connection's deadline by what it waits for now.
    #[inline]
    pub(super) fn set_timer(&mut self, connection: &mut Connection) {
        let reason = connection.machine.wait_reason(connection.part(), connection.socket.blocked());
        let policy = self.dispatch.policy(connection.policy);
        let mut from = self.transport.tick;
        if connection.socket.giving.runs() && reason != WaitReason::Body {
            connection.socket.giving.stop(from);
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
            WaitReason::Body | WaitReason::Drain | WaitReason::Send => {
                // The head's deadline is another one afterwards.
                connection.head_timed = false;
                let deadline = match reason {
                    WaitReason::Body => self.body_deadline(connection),
                    WaitReason::Drain => self.drain_deadline(connection),
                    _ => self.send_deadline(connection),
                };
                return self.transport.set_deadline(&connection.socket, deadline);
            }
        };
        connection.head_timed = reason == WaitReason::Head;
        self.transport.set_deadline(&connection.socket, from.saturating_add(ticks));
    }

    /// A connection's deadline has come.
    #[cold]
    pub(crate) fn on_deadline(&mut self, connection: &mut Connection) {
        if connection.socket.is_closing() {
            return;
        }
        let expiry = connection.machine.expired(connection.part(), connection.socket.blocked());
        if !matches!(expiry, Expiry::Queue | Expiry::Send | Expiry::Body) {
            self.counters.timeouts.count();
        }
        match expiry {
            Expiry::Queue => self.expire_queued(connection),
            Expiry::Send => self.judge_send(connection),
            Expiry::Close => self.close(connection),
            Expiry::Reset => self.abort(connection),
            Expiry::Head => self.answer_timeout(connection),
            Expiry::Body => self.judge_body(connection),
        }
    }

    /// A head was begun and not finished in time.
    fn answer_timeout(&mut self, connection: &mut Connection) {
        let Some(slot) = self.dispatch.side.allocate() else { return self.abort(connection) };
        self.dispatch.side.record_mut(slot).head.method = Method::Unknown;
        if let Some(cell) = &connection.assembly {
            let begun = self.dispatch.side.arena().cell(cell, 0, connection.assembled);
            let (bytes, record, _) = self.dispatch.side.parse_view(begun, slot);
            record.head.method = Method::begun(bytes);
        }
        self.refuse_begun(connection, slot, Reject::HeaderTimeout);
    }

    /// A connection that has come in is received from.
    pub(crate) fn begin(&mut self, connection: &mut Connection) {
        self.arm_receive(connection);
        let header_wait = self.dispatch.policy(connection.policy).header_wait;
        self.transport.set_deadline(&connection.socket, self.transport.after(header_wait));
    }
}
