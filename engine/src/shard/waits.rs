//! Timers that need more than the clock to judge: requests that nobody takes, and answers that clients do not take.
//!
//! Laws:
//! * A request is answered 503 here only while it waits in its queue's ring; the shard wins its answer by the same word
//!   as everybody, so nobody answers twice. What it leaves in the ring, consumers pass over.
//! * A client is judged by what it has acknowledged, not by when a send goes on: the kernel reports room only once a
//!   good part of a large socket buffer is free.
//!
//! Absent: which of the timers runs (`life`, room `conn`) and how long they are (room `policy`).

use ringress_proto::reject::Reject;

use super::Shard;
use super::connection::{Connection, NONE, Pace};
use crate::clock::{TICK_MS, Tick};
use crate::ring::Io;
use crate::slab::Key;
use crate::timer::NEVER;

/// How often a client that does not take all at once is judged: 5 seconds.
pub(super) const JUDGED_EVERY: Tick = 5_000_u32.div_ceil(TICK_MS);
/// How far a client may fall behind the least rate: 10 seconds, within which the default rate is worth a segment of a
/// full Ethernet frame. Clients acknowledge whole segments.
const BEHIND_MAX: Tick = 10_000 / TICK_MS;

/// Bytes at a rate in a time.
fn bytes_in(rate: u32, ticks: Tick) -> u64 {
    u64::from(rate) * u64::from(ticks) * u64::from(TICK_MS) / 1000
}

/// What a client may fall behind from now on, having acknowledged so much in so many ticks; `None`: it has fallen
/// behind further than it may. Of what it took beyond the rate, as much counts for later as it may fall behind.
fn judge(credit: u64, acknowledged: u64, rate: u32, elapsed: Tick) -> Option<u32> {
    let left = (credit + acknowledged).checked_sub(bytes_in(rate, elapsed))?;
    Some(u32::try_from(left.min(bytes_in(rate, BEHIND_MAX))).unwrap_or(u32::MAX))
}

impl<I: Io> Shard<I> {
    /// The socket has taken so many bytes of what waits; `began`: it has just become full.
    #[cold]
    pub(super) fn note_pace(&mut self, key: Key, began: bool, bytes: u32) {
        let tick = self.tick;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pace = &mut connection.pace;
        if began || self.routes.policy(connection.policy).send_rate == 0 {
            *pace = Pace { judged: tick, ..Pace::default() };
        } else if let Some(unacknowledged) = &mut pace.unacknowledged {
            *unacknowledged = unacknowledged.saturating_add(bytes);
        }
    }

    /// The rest of a file's part is handed over again: while it is out, the client is not judged.
    pub(super) fn pause_pace(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.pace.handed = self.tick;
        }
    }

    /// It has come back.
    pub(super) fn resume_pace(&mut self, key: Key) {
        let tick = self.tick;
        if let Some(Connection { pace, .. }) = self.connections.get_mut(key) {
            pace.judged = pace.judged.saturating_add(tick.saturating_sub(pace.handed));
        }
    }

    /// The deadline of a send that waits for its client.
    pub(super) fn send_deadline(&mut self, key: Key) -> Tick {
        let Some(connection) = self.connections.get_mut(key) else { return NEVER };
        let policy = self.routes.policy(connection.policy);
        let patience = if policy.send_rate == 0 { policy.idle } else { JUDGED_EVERY };
        connection.pace.judged.saturating_add(patience)
    }

    /// The deadline of a send has come: does the client take enough?
    pub(super) fn judge_send(&mut self, key: Key) {
        // Under other properties meanwhile, it may not have come.
        let deadline = self.send_deadline(key);
        if deadline > self.tick {
            return self.wheel.set(key.index, deadline);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (rate, elapsed) = (self.routes.policy(connection.policy).send_rate, self.tick - connection.pace.judged);
        let now = self.io.unacknowledged(connection.fd);
        let judged = match connection.pace.unacknowledged {
            _ if rate == 0 => None,
            // The first look: it has not been seen to take anything, and is as far behind as that says.
            None => Some(u32::try_from(bytes_in(rate, BEHIND_MAX.saturating_sub(elapsed))).unwrap_or(u32::MAX)),
            Some(before) => {
                judge(u64::from(connection.pace.credit), u64::from(before.saturating_sub(now)), rate, elapsed)
            }
        };
        if let Some(credit) = judged {
            connection.pace = Pace { judged: self.tick, unacknowledged: Some(now), credit, ..Pace::default() };
            return self.set_timer(key);
        }
        self.counters.timeouts.count();
        if rate > 0 {
            self.counters.send_rate_timeouts.count();
        }
        self.abort(key);
    }

    /// Answers 503 to what nobody has taken in time, and sets the deadline of what is left.
    pub(super) fn expire_queued(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (mut next, limit) = (connection.oldest, self.routes.policy(connection.policy).queue);
        let mut deadline = NEVER;
        let mut any = false;
        while next != NONE {
            let (slot, state) = (next, self.slots[next as usize]);
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
        let state = self.slots[slot as usize];
        let shard = usize::from(self.id.0);
        let Some(queue) = self.queues.get(state.queue as usize) else { return false };
        // A consumer that claims it between here and there finds it answered, or finds out when it answers: `Gone`.
        if queue.core.is_claimed(shard, state.position) || !self.side.overtake(slot) {
            return false;
        }
        self.counters.queue_timeouts.count();
        self.refuse_published(slot, Reject::QueueTimeout);
        self.drop_settled(slot);
        true
    }

    /// Takes what is over off the front of a slot's queue.
    pub(super) fn drop_settled(&self, slot: u32) {
        if let Some(queue) = self.queues.get(self.slots[slot as usize].queue as usize) {
            queue.core.drop_settled(usize::from(self.id.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a client survives that acknowledges `step` bytes whenever its rate has made so many, for ten minutes.
    fn survives(least: u32, rate: u64, step: u64) -> bool {
        let mut credit = bytes_in(least, BEHIND_MAX - JUDGED_EVERY);
        let mut acknowledged = 0;
        for check in 1..120_u64 {
            let taken = rate * check * u64::from(JUDGED_EVERY) * u64::from(TICK_MS) / 1000 / step * step;
            match judge(credit, taken - acknowledged, least, JUDGED_EVERY) {
                Some(left) => (credit, acknowledged) = (u64::from(left), taken),
                None => return false,
            }
        }
        true
    }

    #[test]
    fn a_client_above_the_rate_survives_also_in_steps_of_a_segment() {
        assert!(survives(150, 160, 1) && survives(150, 310, 1460) && survives(100_000, 101_000, 65_536));
        assert!(!survives(150, 140, 1) && !survives(150, 0, 1460) && !survives(100_000, 90_000, 65_536));
    }

    #[test]
    fn taking_much_at_once_buys_ten_seconds_and_no_more() {
        let credit = judge(0, 1 << 30, 150, JUDGED_EVERY).expect("far ahead");
        assert_eq!(u64::from(credit), bytes_in(150, BEHIND_MAX));
        let credit = judge(u64::from(credit), 0, 150, JUDGED_EVERY).expect("5 seconds behind");
        assert_eq!(judge(u64::from(credit), 0, 150, JUDGED_EVERY), None);
    }
}
