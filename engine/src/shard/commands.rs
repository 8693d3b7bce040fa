//! What applications tell in commands: requests to be cancelled or informed, connections to be watched or let go. See
//! `queue::commands`.
//!
//! Invariants: commands are read after the answers of a turn have been taken back and before any of them is sent, so
//! that nothing that was cancelled by then begins to leave.

use super::Shard;
use crate::id::RequestId;
use crate::queue::Command;
use crate::ring::Io;

impl<I: Io> Shard<I> {
    /// Reads the commands, if there are any.
    #[inline]
    pub(super) fn collect_commands(&mut self) {
        if self.dispatch.side.has_commands() {
            self.read_commands();
        }
    }

    #[cold]
    fn read_commands(&mut self) {
        self.dispatch.side.open_commands();
        while let Some(command) = self.dispatch.side.take_command() {
            match command {
                Command::Cancel(id) => self.cancel(id),
                Command::QueueEnded(queue) => self.end_queue(queue),
                Command::Informational(id, text) => self.send_informational(id, text),
                Command::Watch(id, registration) => self.watch(id, registration),
                Command::HandOver(id, taker) => self.hand_over(id, taker),
            }
        }
    }

    /// Nobody can answer by id any more what came through a queue. Looks at all slots: queues end seldom.
    fn end_queue(&mut self, queue: u32) {
        for slot in 0..self.dispatch.side.slots_used() {
            if let Some(completed) = self.dispatch.side.close_to_ids(slot, queue) {
                self.take_back(completed);
            }
        }
    }

    /// Ends the connection of a cancelled request, and with it whatever else is under way on it.
    fn cancel(&mut self, id: RequestId) {
        self.counters.requests_cancelled.count();
        if let Some(slot) = self.dispatch.side.cancelled(id) {
            let key = self.dispatch.slots[slot as usize].connection;
            self.abort(key);
        }
    }
}
