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
//! account of (`rates`).

use ringress_proto::reject::Reject;

use super::Shard;
use super::dispatch::NONE;
use super::rates::LOOK_EVERY;
use crate::clock::Tick;
use crate::ring::Io;
use crate::slab::Key;
use crate::timer::NEVER;

/// How far a client may fall behind the least rate at which it takes what waits for it, in milliseconds: a client that
/// pauses wholly has a minute.
const TAKING_BEHIND_MAX: u32 = 60_000;
/// As `TAKING_BEHIND_MAX`, of a client that sends a body: consumers may be waiting for that.
const GIVING_BEHIND_MAX: u32 = 30_000;

impl<I: Io> Shard<I> {
    /// The deadline of what waits for room.
    #[cold]
    pub(super) fn send_deadline(&mut self, key: Key) -> Tick {
        let Some(connection) = self.connections.get_mut(key) else { return NEVER };
        let policy = self.dispatch.policy(connection.policy);
        let wait_max = if policy.send_rate == 0 { policy.idle } else { LOOK_EVERY };
        connection.taking.from().saturating_add(wait_max)
    }

    /// The deadline of what waits for room has come: does the client take enough?
    pub(super) fn judge_send(&mut self, key: Key) {
        // Under other properties meanwhile, it may not have come.
        let deadline = self.send_deadline(key);
        if deadline > self.tick {
            return self.wheel.set(key.index, deadline);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let rate = self.dispatch.policy(connection.policy).send_rate;
        if rate > 0 {
            let taken = self.io.traffic(connection.fd).acknowledged;
            if connection.taking.look(self.tick, taken, rate, TAKING_BEHIND_MAX) {
                return self.set_timer(key);
            }
            self.counters.send_rate_timeouts.count();
        }
        self.counters.timeouts.count();
        self.abort(key);
    }

    /// The deadline of a body under way, anew with each piece and each pause.
    #[inline(never)]
    pub(super) fn body_deadline(&mut self, key: Key) -> Tick {
        let Some(connection) = self.connections.get_mut(key) else { return NEVER };
        connection.due = self.tick.saturating_add(self.dispatch.policy(connection.policy).entity_body);
        // Who waits for `100 Continue`, or for a buffer, is not to blame.
        let expects = self.dispatch.expects(connection.body_slot) == Some(true);
        if expects || connection.starved {
            connection.giving.stop(self.tick);
        } else {
            connection.giving.run(self.tick);
        }
        self.next_look_at_body(key)
    }

    /// When a client that sends a body is to be looked at next.
    fn next_look_at_body(&mut self, key: Key) -> Tick {
        let Some(connection) = self.connections.get_mut(key) else { return NEVER };
        let is_judged = connection.giving.runs() && self.dispatch.policy(connection.policy).receive_rate > 0;
        let look = if is_judged { connection.giving.from().saturating_add(LOOK_EVERY) } else { NEVER };
        connection.due.min(look)
    }

    /// The deadline of a body under way has come: has it paused for too long, or does it come too slowly?
    pub(super) fn judge_body(&mut self, key: Key) {
        // Under other properties meanwhile, it may not have come.
        let next = self.next_look_at_body(key);
        if next > self.tick {
            return self.wheel.set(key.index, next);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.due > self.tick {
            let rate = self.dispatch.policy(connection.policy).receive_rate;
            let given = self.io.traffic(connection.fd).received;
            if connection.giving.look(self.tick, given, rate, GIVING_BEHIND_MAX) {
                let next = self.next_look_at_body(key);
                return self.wheel.set(key.index, next);
            }
            self.counters.receive_rate_timeouts.count();
        }
        self.counters.timeouts.count();
        // Who has found no buffer for so long is not to blame.
        let reject = if connection.starved { Reject::Overloaded } else { Reject::BodyTimeout };
        self.body_failed(key, reject);
        self.flush_all();
    }

    /// Answers 503 to what nobody has taken in time, and sets the deadline of what is left.
    pub(super) fn expire_queued(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
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
            if due > self.tick {
                // Those behind it came later.
                deadline = due;
                break;
            }
            any |= self.time_out_queued(slot);
        }
        self.wheel.set(key.index, deadline);
        if any {
            self.queue_flush(key);
            self.flush_all();
        }
    }

    /// Answers 503 to a request, unless a consumer has it. `true`: it did.
    fn time_out_queued(&mut self, slot: u32) -> bool {
        if !self.dispatch.win_queued(slot) {
            return false;
        }
        self.counters.queue_timeouts.count();
        self.refuse_published(slot, Reject::QueueTimeout);
        self.dispatch.drop_settled(slot);
        true
    }
}
