//! Timers that need more than the clock to judge: requests that nobody takes, answers that clients
//! do not take, and bodies that come too slowly.
//!
//! Invariants:
//! * A request is answered 503 here only while it waits in its queue's ring; the shard wins its answer by the same word
//!   as everybody, so nobody answers twice. What it leaves in the ring, consumers pass over.
//! * A client that takes an answer is judged by what it has acknowledged, not by when there is room: the kernel reports
//!   that only once a good part of a large socket buffer is free.
//!
//! Not here: which of the timers runs (`life`, room `conn`), how long they are (room `policy`), and how rates are kept
//! account of (`transport`).

use ringress_proto::reject::Reject;

use super::Protocol;
use super::connection::{Connection, Out};
use crate::clock::Tick;
use crate::record::Timer;
use crate::ring::{Event, Io, SendMode};
use crate::shard::dispatch::NONE;
use crate::shard::transport::{Account, LOOK_EVERY, RoomFound};
use crate::timer::NEVER;

/// How far a client may fall behind the least rate at which it takes what waits for it, in milliseconds: a client that
/// pauses wholly has a minute.
const TAKING_BEHIND_MAX: u32 = 60_000;
/// As `TAKING_BEHIND_MAX`, of a client that sends a body: consumers may be waiting for that.
const GIVING_BEHIND_MAX: u32 = 30_000;

impl<I: Io> Protocol<I> {
    /// The socket is full: of a file's part, with `of_file`, or of what is in memory the rest waits for room.
    #[cold]
    pub(super) fn await_room(&mut self, connection: &mut Connection, of_file: bool) {
        if self.dispatch.policy(connection.policy).send_rate == 0 {
            // Then each progress begins the time anew.
            connection.socket.taking = Account::default();
        }
        self.transport.await_room(&mut connection.socket, of_file);
        self.resume_unwanted(connection);
        self.set_timer(connection);
    }

    /// A poll for room has told something.
    #[cold]
    pub(super) fn on_room(&mut self, connection: &mut Connection, event: &Event) {
        let Some(found) = self.transport.on_room(&mut connection.socket, event) else { return };
        let streamed = if let Out::Stream { slot, .. } = connection.out { Some(slot) } else { None };
        match (found, streamed) {
            (RoomFound::Lost, _) => self.client_gone(connection),
            (RoomFound::OfFile, Some(slot)) => self.go_on_with_file(connection, slot),
            (RoomFound::OfMemory, Some(slot)) => self.send_stream(connection, slot, SendMode::Silent),
            (RoomFound::OfFile | RoomFound::OfMemory, None) => self.send_rest(connection),
        }
    }

    /// The deadline of what waits for room.
    #[cold]
    pub(super) fn send_deadline(&self, connection: &Connection) -> Tick {
        let policy = self.dispatch.policy(connection.policy);
        let wait_max = if policy.send_rate == 0 { policy.idle } else { LOOK_EVERY };
        connection.socket.taking.from().saturating_add(wait_max)
    }

    /// The deadline of what waits for room has come: does the client take enough?
    pub(super) fn judge_send(&mut self, connection: &mut Connection) {
        // Under other properties meanwhile, it may not have come.
        let deadline = self.send_deadline(connection);
        if deadline > self.transport.tick {
            return self.transport.set_deadline(&connection.socket, deadline);
        }
        let rate = self.dispatch.policy(connection.policy).send_rate;
        if rate > 0 {
            let taken = self.transport.traffic(&connection.socket).acknowledged;
            if connection.socket.taking.look(self.transport.tick, taken, rate, TAKING_BEHIND_MAX) {
                return self.set_timer(connection);
            }
            self.counters.send_rate_timeouts.count();
        }
        connection.timer = Some(if rate > 0 { Timer::SendRate } else { Timer::Send });
        self.counters.timeouts.count();
        self.abort(connection);
    }

    /// The deadline of a body under way, anew with each piece and each pause.
    #[inline(never)]
    pub(super) fn body_deadline(&mut self, connection: &mut Connection) -> Tick {
        connection.due = self.transport.after(self.dispatch.policy(connection.policy).entity_body);
        // Who waits for `100 Continue`, or for a buffer, is not to blame.
        let expects = self.dispatch.expects(connection.body_slot) == Some(true);
        let socket = &mut connection.socket;
        if expects || socket.is_starved() {
            socket.giving.stop(self.transport.tick);
        } else {
            socket.giving.run(self.transport.tick);
        }
        self.next_look_at_body(connection)
    }

    /// When a client that sends a body is to be looked at next.
    fn next_look_at_body(&self, connection: &Connection) -> Tick {
        let giving = &connection.socket.giving;
        let is_judged = giving.runs() && self.dispatch.policy(connection.policy).receive_rate > 0;
        let look = if is_judged { giving.from().saturating_add(LOOK_EVERY) } else { NEVER };
        connection.due.min(look)
    }

    /// The deadline of a body under way has come: has it paused for too long, or does it come too slowly?
    pub(super) fn judge_body(&mut self, connection: &mut Connection) {
        // Under other properties meanwhile, it may not have come.
        let next = self.next_look_at_body(connection);
        if next > self.transport.tick {
            return self.transport.set_deadline(&connection.socket, next);
        }
        if connection.due > self.transport.tick {
            let rate = self.dispatch.policy(connection.policy).receive_rate;
            let given = self.transport.traffic(&connection.socket).received;
            if connection.socket.giving.look(self.transport.tick, given, rate, GIVING_BEHIND_MAX) {
                let next = self.next_look_at_body(connection);
                return self.transport.set_deadline(&connection.socket, next);
            }
            self.counters.receive_rate_timeouts.count();
        }
        let (slot, is_too_slow) = (connection.body_slot, connection.due > self.transport.tick);
        self.counters.timeouts.count();
        // Who has found no buffer for so long is not to blame.
        let reject = if connection.socket.is_starved() { Reject::Overloaded } else { Reject::BodyTimeout };
        self.body_failed(connection, reject);
        if is_too_slow {
            self.dispatch.body_was_too_slow(slot);
        }
    }

    /// Answers 503 to what nobody has taken in time, and sets the deadline of what is left.
    pub(super) fn expire_queued(&mut self, connection: &mut Connection) {
        let (mut next, limit) = (connection.oldest, self.dispatch.policy(connection.policy).queue);
        let mut deadline = NEVER;
        let mut any = false;
        while next != NONE {
            let (slot, state) = (next, self.dispatch.slots[next as usize]);
            next = state.next;
            if state.answered {
                continue;
            }
            let due = state.queued.saturating_add(limit);
            if due > self.transport.tick {
                // Those behind it came later.
                deadline = due;
                break;
            }
            any |= self.time_out_queued(slot);
        }
        self.transport.set_deadline(&connection.socket, deadline);
        if any {
            self.queue_flush(connection);
        }
    }

    /// Answers 503 to a request, unless a consumer has it. `true`: it did.
    fn time_out_queued(&mut self, slot: u32) -> bool {
        if !self.dispatch.win_queued(slot) {
            return false;
        }
        self.refuse_published(slot, Reject::QueueTimeout);
        self.dispatch.drop_settled(slot);
        true
    }
}
