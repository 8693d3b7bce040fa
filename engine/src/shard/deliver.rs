//! A whole request finds its queue.

use ringress_proto::reject::Reject;

use super::Shard;
use super::connection::{Connection, SlotState, Source};
use crate::id::ConnectionId;
use crate::policy::PolicyIndex;
use crate::queue::Scratch;
use crate::record::RequestRecord;
use crate::ring::Io;
use crate::route::{Host, Snapshot};
use crate::slab::Key;

/// Where a whole request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressed {
    queue: Result<u32, Reject>,
    policy: PolicyIndex,
    safe: bool,
    keep_alive: bool,
}

/// Writes into the record of a whole request what its connection and the routes know of it.
///
/// Inlined in any case: a call with so much to pass costs 40 of the 130 instructions (`turn/colocated-64/16`).
#[inline(always)]
pub(super) fn address(
    origin: (&Connection, ConnectionId),
    routes: &Snapshot,
    stopping: bool,
    bytes: &[u8],
    record: &mut RequestRecord,
    mut scratch: Scratch<'_, RequestRecord>,
) -> Addressed {
    let (connection, id) = origin;
    record.connection = id;
    (record.peer, record.local) = (connection.peer, connection.local);
    record.keep_alive = record.head.keep_alive() && !stopping;
    let path = record.cooked.path(bytes, || scratch.bytes());
    let (queue, policy) = match routes.find(&connection.local, record.cooked.host.of(bytes), path) {
        Ok(route) if !route.target.active => (Err(Reject::Disabled), route.target.policy),
        Ok(route) => {
            record.url_context = route.target.context;
            record.ip_routed = matches!(route.host, Host::Ip(_));
            (route.target.queue.ok_or(Reject::Unbound), route.target.policy)
        }
        Err(reject) => (Err(reject), connection.policy),
    };
    Addressed { queue, policy, safe: record.head.method_is_safe, keep_alive: record.keep_alive }
}

impl<I: Io> Shard<I> {
    /// Queues a whole request, or refuses it. `false`: nothing was taken, because the queue is full and an answer under
    /// way will bring the connection back.
    #[inline(always)]
    pub(super) fn deliver(&mut self, key: Key, slot: u32, source: Source, addressed: Addressed) -> bool {
        let Addressed { queue, policy, safe, keep_alive } = addressed;
        let mut state = SlotState { connection: key.index, generation: key.generation, source, ..SlotState::FREE };
        let pushed = queue.and_then(|queue| {
            (state.queue, state.queued) = (queue, self.tick);
            self.enqueue(queue, slot)
        });
        state.position = pushed.unwrap_or(0);
        self.slots[slot as usize] = state;
        match pushed {
            Ok(_) => {
                let Some(connection) = self.connections.get_mut(key) else { return true };
                connection.machine.request(safe, keep_alive);
                connection.head_timed = false;
                connection.policy = policy;
                let first = connection.append(slot, &mut self.slots);
                if matches!(source, Source::Assembly(_)) {
                    // The timer of its arrival in pieces is over.
                    self.set_timer(key);
                } else if first {
                    // With a request under way before it, that one's timer runs. A deadline that comes earlier, of the
                    // rest before, stays: what it means is asked then.
                    let queue_wait = self.routes.policy(policy).queue;
                    self.wheel.set_at_latest(key.index, self.tick.saturating_add(queue_wait));
                }
                true
            }
            Err(Reject::QueueFull) if self.can_wait(key, source) => {
                self.release_slot(slot);
                false
            }
            Err(reject) => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.policy = policy;
                }
                self.refuse(key, slot, reject, keep_alive && !reject.closes());
                true
            }
        }
    }

    /// Whether a request that finds its queue full can wait in its receive buffer for an answer of its own connection.
    fn can_wait(&mut self, key: Key, source: Source) -> bool {
        let in_flight = self.connections.get_mut(key).map_or(0, |connection| connection.machine.in_flight());
        in_flight > 0 && matches!(source, Source::Receive(_))
    }

    /// Pushes a request to its queue, and gives its position there.
    #[inline]
    fn enqueue(&mut self, queue: u32, slot: u32) -> Result<u64, Reject> {
        let end = self.queues.get_mut(queue as usize).ok_or(Reject::Unbound)?;
        if !end.core.is_active() || end.core.is_closed() {
            return Err(Reject::Disabled);
        }
        let shard = usize::from(self.id.0);
        if !end.core.has_room(shard, &mut end.producer) {
            return Err(Reject::QueueFull);
        }
        // Published only when nothing can stop it any more: from here on the id can be answered.
        let id = self.side.publish(slot);
        let position = end.core.push(shard, &mut end.producer, id);
        if !end.touched {
            end.touched = true;
            self.touched.push(queue);
        }
        self.fresh += 1;
        Ok(position)
    }
}
