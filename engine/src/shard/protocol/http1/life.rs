//! How connections end, and the timers that see to it.
//!
//! Invariants: whatever a connection still had is given back; requests of a gone connection answer `Gone`.
//!
//! Not here: closing the socket (`link`, `transport`), timers that need more than the clock to judge (`waits`), and
//! which timer runs (room `conn`).

use ringress_proto::method::Method;
use ringress_proto::reject::Reject;

use super::Http1;
use super::state::{Intake, PendingWrites, Reader};
use crate::clock::Tick;
use crate::conn::{Expiry, WaitReason};
use crate::driver::Io;
use crate::shard::dispatch::View;
use crate::shard::protocol::Protocol;
use crate::shard::transport::Resource;
use crate::timer::NEVER;

impl<I: Io> Protocol<I> {
    /// The client has ended its side.
    #[cold]
    pub(crate) fn end_of_input(&mut self, connection: &mut Http1) {
        if connection.link.socket.holds_input() {
            // Held requests come first; `resume_input` comes back here.
            return self.dispatch.half_closed(connection.key());
        }
        if connection.reader() != Reader::Nobody {
            self.body_failed(connection, Reject::BodyCut);
        }
        let busy = connection.link.socket.sends() || connection.owed.has(PendingWrites::OVERLOAD);
        // The send's end is the moment to close.
        self.transport.follow_up |= connection.link.socket.sends_silently();
        if connection.machine.end_of_input(busy) {
            self.close(&mut connection.link);
        } else {
            self.dispatch.half_closed(connection.key());
        }
    }

    /// What was a pipe is over: the connection takes no more requests, and ends.
    pub(crate) fn end_http1(&mut self, connection: &mut Http1) {
        connection.machine.finish();
        self.after_response(connection);
    }

    /// Lets a connection end as soon as it owes nothing: the engine is stopping. A request that is not delivered yet
    /// will be, and then is its last ([`read_request`](Self::read_request)).
    #[cold]
    pub(crate) fn finish_http1(&mut self, connection: &mut Http1) {
        if connection.has_undelivered() {
            return;
        }
        let busy = connection.link.socket.sends() || connection.owed.has(PendingWrites::OVERLOAD);
        self.transport.follow_up |= connection.link.socket.sends_silently();
        connection.machine.finish();
        self.drop_head(connection);
        // A draining client is reading its last response: it has its few seconds.
        if connection.machine.in_flight() == 0 && !busy && !connection.link.socket.is_draining() {
            self.close(&mut connection.link);
        }
    }

    /// Sets a connection's deadline by what it waits for now.
    #[inline]
    pub(crate) fn set_timer(&mut self, connection: &mut Http1) {
        let reason = connection.machine.wait_reason(connection.part(), connection.link.socket.blocked());
        let mut from = self.transport.tick;
        if connection.link.socket.giving.runs() && reason != WaitReason::Body {
            connection.link.socket.giving.stop(from);
        }
        let ticks = match reason {
            WaitReason::Queue => match self.dispatch.find_state(connection.oldest) {
                Some(oldest) => {
                    // One that is answered leaves at once.
                    from = if oldest.is_answered() { from } else { oldest.queued };
                    self.dispatch.policy(connection.link.policy).queue
                }
                None => NEVER,
            },
            WaitReason::Idle if connection.link.socket.waits_for().is_none() => {
                connection.quiet_since = from;
                self.dispatch.policy(connection.link.policy).idle
            }
            _ => return self.set_uncommon_timer(connection, reason),
        };
        self.transport.set_deadline(&connection.link.socket, from.saturating_add(ticks));
    }

    /// The same, while there is a part of a request, or it is not the application or the next request that is awaited.
    #[inline(never)]
    fn set_uncommon_timer(&mut self, connection: &mut Http1, reason: WaitReason) {
        if reason == WaitReason::Head {
            return self.set_head_timer(connection);
        }
        if let Intake::Head(head) = &mut connection.intake {
            // Its deadline is another one afterwards.
            head.is_timed = false;
        }
        let deadline = match reason {
            WaitReason::Body => self.body_deadline(connection),
            WaitReason::Drain => self.drain_deadline(connection),
            WaitReason::Send => self.send_deadline(&connection.link),
            _ => self.transport.tick.saturating_add(self.wait_limit(connection)),
        };
        self.transport.set_deadline(&connection.link.socket, deadline);
    }

    /// The same, while a part of a head is here: that has a deadline, and so has the oldest request before it.
    #[cold]
    #[inline(never)]
    fn set_head_timer(&mut self, connection: &mut Http1) {
        let policy = self.dispatch.policy(connection.link.policy);
        let limit = match &mut connection.intake {
            _ if connection.link.socket.waits_for().is_some() => Some(self.wait_limit(connection)),
            // The whole head has one deadline, from its first bytes; a body's starts anew with each piece.
            Intake::Head(head) if !head.is_timed => {
                head.is_timed = true;
                Some(policy.header_wait)
            }
            Intake::Preface(preface) if !preface.is_timed => {
                preface.is_timed = true;
                Some(policy.proxy_header)
            }
            _ => None,
        };
        let due = limit.map(|limit| self.transport.tick.saturating_add(limit));
        if let Intake::Head(head) = &mut connection.intake {
            head.due = due.unwrap_or(head.due);
            let due = head.due.min(self.queue_due(connection));
            self.transport.set_deadline(&connection.link.socket, due);
        } else if let Some(due) = due {
            self.transport.set_deadline(&connection.link.socket, due);
        }
    }

    /// How long a connection that owes nothing, or has a part of a head, may wait for a slot or a cell: as long as for
    /// a consumer. For a buffer it waits as long as that takes.
    #[cold]
    fn wait_limit(&self, connection: &mut Http1) -> Tick {
        if let Intake::Head(head) = &mut connection.intake {
            // When it goes on, it has all its time again.
            head.is_timed = false;
        } else if let Intake::Preface(preface) = &mut connection.intake {
            preface.is_timed = false;
        }
        match connection.link.socket.is_starved() {
            true => NEVER,
            false => self.dispatch.policy(connection.link.policy).queue,
        }
    }

    /// A connection's deadline has come.
    #[cold]
    pub(crate) fn http1_deadline(&mut self, connection: &mut Http1) {
        if connection.link.socket.has_more_to_send() {
            // What it waits for is the shard.
            return self.transport.set_deadline(&connection.link.socket, self.transport.after(1));
        }
        let reason = connection.machine.wait_reason(connection.part(), connection.link.socket.blocked());
        if reason == WaitReason::Head && connection.head_due() > self.transport.tick {
            // It is that of a request before the head.
            return self.expire_queued(connection);
        }
        let waits = match connection.link.socket.waits_for() {
            Some(Resource::ReservedSlot | Resource::Slot | Resource::Cell) => true,
            // Others have a request that is answered.
            Some(Resource::CellOfRequest | Resource::CellBeyondShare) => connection.has_head(),
            _ => false,
        };
        let owes_nothing = connection.machine.in_flight() == 0;
        if waits && !connection.link.socket.blocked() && (owes_nothing || connection.has_head()) {
            return self.refuse_waiting(connection);
        }
        let expiry = connection.machine.expired(connection.part(), connection.link.socket.blocked());
        if !matches!(expiry, Expiry::Queue | Expiry::Send | Expiry::Body) {
            self.counters.timeouts.count();
        }
        match expiry {
            Expiry::Queue => self.expire_queued(connection),
            Expiry::Send => self.judge_send(&mut connection.link),
            Expiry::Close => self.close(&mut connection.link),
            Expiry::Reset => self.abort(&mut connection.link),
            Expiry::Head if connection.awaits_preface() => self.preface_is_missing(connection),
            Expiry::Head => self.give_head_up(connection, Reject::HeaderTimeout),
            Expiry::Body => self.judge_body(connection),
        }
    }

    /// A head was begun and is not awaited any more: it was not finished in time, or others need its cell.
    pub(crate) fn give_head_up(&mut self, connection: &mut Http1, reject: Reject) {
        let Some(slot) = self.dispatch.allocate() else { return self.refuse_waiting(connection) };
        self.forget_input(connection);
        let record = self.dispatch.request_mut(slot);
        record.head.method = Method::Unknown;
        record.unroute();
        if let Intake::Head(head) = &connection.intake {
            let begun = self.dispatch.arena().cell(head.cell.cell(), 0, head.len);
            let View { bytes, record, .. } = self.dispatch.view(begun, slot);
            record.head.method = Method::begun(bytes);
        }
        self.refuse_begun(connection, slot, reject);
    }

    /// A connection that has come in is received from.
    pub(crate) fn begin_http1(&mut self, connection: &mut Http1) {
        self.arm_receive(connection);
        if connection.awaits_preface() {
            connection.quiet_since = self.transport.tick;
            return self.set_timer(connection);
        }
        self.await_first_request(connection);
    }

    /// The first request of a connection is awaited.
    pub(super) fn await_first_request(&mut self, connection: &mut Http1) {
        connection.quiet_since = self.transport.tick;
        let header_wait = self.dispatch.policy(connection.link.policy).header_wait;
        self.transport.set_deadline(&connection.link.socket, self.transport.after(header_wait));
    }
}
