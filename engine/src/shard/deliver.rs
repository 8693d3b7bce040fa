//! A whole request finds its queue.

use ringress_proto::reject::Reject;

use super::Shard;
use super::connection::{SlotState, Source};
use crate::id::ConnectionId;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Routes a whole request and queues it, or refuses it. `false`: nothing was taken, because the queue is full and
    /// an answer under way will bring the connection back.
    #[inline]
    pub(super) fn deliver(&mut self, key: Key, slot: u32, source: Source) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return true };
        let (bytes, record, scratch) = {
            let (base, len) = (self.side.record(slot).base, self.side.record(slot).len);
            self.side.parse_view(base, len, slot)
        };
        record.connection = ConnectionId::new(self.id, key.generation, key.index);
        (record.peer, record.local) = (connection.peer, connection.local);
        record.keep_alive = record.head.keep_alive() && self.stopping.is_none();
        let (safe, keep_alive) = (record.head.method.is_safe(), record.keep_alive);
        let path = record.cooked.path(bytes, scratch);
        let found = self.routes.find(connection.local, record.cooked.host.of(bytes), path);
        let queue = match found {
            Ok(found) if !found.target.active => Err(Reject::Disabled),
            Ok(found) => {
                (record.url_context, record.ip_routed) = (found.target.context, found.ip_routed);
                found.target.queue.ok_or(Reject::Unbound)
            }
            Err(reject) => Err(reject),
        };
        self.slots[slot as usize] =
            SlotState { connection: key.index, generation: key.generation, source, ..SlotState::FREE };
        match queue.and_then(|queue| self.enqueue(queue, slot)) {
            Ok(()) => {
                let Some(connection) = self.connections.get_mut(key) else { return true };
                connection.machine.request(safe, keep_alive);
                connection.head_timed = false;
                let first = connection.append(slot, &mut self.slots);
                // With a request under way before it there is no timer to stop.
                if first {
                    self.set_timer(key);
                }
                true
            }
            Err(Reject::QueueFull) if self.can_wait(key, source) => {
                self.release_slot(slot);
                false
            }
            Err(reject) => {
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

    /// Pushes a request to its queue.
    #[inline]
    fn enqueue(&mut self, queue: u32, slot: u32) -> Result<(), Reject> {
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
        end.core.push(shard, &mut end.producer, id);
        if !end.touched {
            end.touched = true;
            self.touched.push(queue);
        }
        self.fresh += 1;
        Ok(())
    }
}
