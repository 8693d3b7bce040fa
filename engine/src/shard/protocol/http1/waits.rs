//! Timers that need more than the clock to judge: requests that nobody takes, and bodies that come too slowly.
//!
//! Invariants:
//! * A request is answered 503 here only while it waits in its queue's ring; the shard wins its response by the same
//!   word as everybody, so nobody answers twice. What it leaves in the ring, consumers pass over.
//!
//! Not here: which of the timers runs (`life`, room `conn`), how long they are (room `policy`), and how rates are kept
//! account of (`transport`).

use ringress_proto::reject::Reject;

use super::Http1;
use super::state::{Intake, RestOfBody};
use crate::clock::Tick;
use crate::driver::Io;
use crate::queue::Slot;
use crate::shard::protocol::Protocol;
use crate::shard::transport::{LOOK_EVERY, Socket};
use crate::timer::NEVER;

/// How far a client may fall behind the least rate at which it sends a body, in milliseconds: consumers may be waiting
/// for that.
const GIVING_BEHIND_MAX: u32 = 30_000;

impl<I: Io> Protocol<I> {
    /// The deadline of a body under way, anew with each piece and each pause.
    #[inline(never)]
    pub(super) fn body_deadline(&mut self, connection: &mut Http1) -> Tick {
        if connection.link.socket.is_starved() {
            // It is not the client who is awaited.
            connection.link.socket.giving.stop(self.transport.tick);
            return NEVER;
        }
        let due = self.transport.after(self.dispatch.policy(connection.link.policy).entity_body);
        if let Some(of_body) = connection.due_mut() {
            *of_body = due;
        }
        // Who waits for `100 Continue`, or for a cell, is not to blame.
        let expects = matches!(&connection.intake, Intake::Body(body) if body.waits_to_continue());
        let socket = &mut connection.link.socket;
        if expects || socket.waits_for().is_some() {
            socket.giving.stop(self.transport.tick);
        } else {
            socket.giving.run(self.transport.tick);
        }
        self.next_look_at_body(connection, due)
    }

    /// When a client that sends a body is to be looked at next.
    fn next_look_at_body(&self, connection: &Http1, due: Tick) -> Tick {
        let Socket { giving, is_uncounted, .. } = &connection.link.socket;
        let is_judged = giving.runs() && !is_uncounted && self.dispatch.policy(connection.link.policy).receive_rate > 0;
        let look = if is_judged { giving.from().saturating_add(LOOK_EVERY) } else { NEVER };
        due.min(look)
    }

    /// The deadline of a body under way has come: has it paused for too long, or does it come too slowly?
    pub(super) fn judge_body(&mut self, connection: &mut Http1) {
        let Intake::Body(RestOfBody { due, reader, .. }) = connection.intake else { return };
        // Under other properties meanwhile, it may not have come.
        let next = self.next_look_at_body(connection, due);
        if next > self.transport.tick {
            return self.transport.set_deadline(&connection.link.socket, next);
        }
        let is_too_slow = due > self.transport.tick;
        if is_too_slow {
            let rate = self.dispatch.policy(connection.link.policy).receive_rate;
            let given = self.transport.traffic(&connection.link.socket).received;
            if connection.link.socket.giving.look(self.transport.tick, given, rate, GIVING_BEHIND_MAX) {
                let next = self.next_look_at_body(connection, due);
                return self.transport.set_deadline(&connection.link.socket, next);
            }
            self.counters.receive_rate_timeouts.count();
        }
        self.counters.timeouts.count();
        // Who has found no cell for a trailer section in all the time is not to blame.
        let waits = connection.link.socket.waits_for().is_some();
        self.body_failed(connection, if waits { Reject::Overloaded } else { Reject::BodyTimeout });
        if let Some(slot) = reader.slot().filter(|_| is_too_slow) {
            self.dispatch.body_was_too_slow(slot);
        }
    }

    /// When the oldest request is answered 503, if nobody has taken it by then; one that is answered leaves at once.
    pub(super) fn queue_due(&self, connection: &Http1) -> Tick {
        let limit = self.dispatch.policy(connection.link.policy).queue;
        let oldest = self.dispatch.find_state(connection.oldest).filter(|oldest| !oldest.is_answered());
        oldest.map_or(NEVER, |oldest| oldest.queued.saturating_add(limit))
    }

    /// Answers 503 to what nobody has taken in time, and sets the deadline of what is left.
    pub(super) fn expire_queued(&mut self, connection: &mut Http1) {
        let (mut next, limit) = (connection.oldest, self.dispatch.policy(connection.link.policy).queue);
        let mut deadline = NEVER;
        let mut any = false;
        while let Some(slot) = next {
            let state = *self.dispatch.state(slot);
            next = state.next;
            if state.is_answered() {
                continue;
            }
            let due = state.queued.saturating_add(limit);
            if due > self.transport.tick {
                // Those behind it came later.
                deadline = due;
                break;
            }
            if self.refuse_queued(slot, Reject::QueueTimeout) {
                any = true;
                self.take_no_more_behind(connection, slot);
            }
        }
        if connection.head_due() > self.transport.tick {
            deadline = deadline.min(connection.head_due());
        }
        self.transport.set_deadline(&connection.link.socket, deadline);
        if any {
            self.queue_flush(&mut connection.link);
        }
    }

    /// Answers 503 to a request whose queue nobody receives from any more, unless a consumer has it.
    #[cold]
    pub(crate) fn http1_lost_consumers(&mut self, connection: &mut Http1, slot: Slot) {
        if self.refuse_queued(slot, Reject::NoConsumer) {
            self.take_no_more_behind(connection, slot);
            self.queue_flush(&mut connection.link);
        }
    }

    /// Nothing is answered behind a refusal that ends the connection, so that nothing more is taken.
    #[cold]
    pub(super) fn take_no_more_behind(&mut self, connection: &mut Http1, slot: Slot) {
        if self.note_of(slot).is_last() {
            connection.machine.finish();
        }
    }

    /// Answers 503 to a request, unless a consumer has it. `true`: it did.
    pub(super) fn refuse_queued(&mut self, slot: Slot, reject: Reject) -> bool {
        let is_won = self.dispatch.win_queued(slot);
        if is_won {
            self.refuse_published(slot, reject);
        }
        is_won
    }
}
