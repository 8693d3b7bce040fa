//! What applications tell in notes: requests to be cancelled or informed, connections to be watched or let go. See
//! `queue::notes`.
//!
//! Laws: notes are read after the answers of a turn have been taken back and before any of them is sent, so that
//! nothing that was cancelled by then begins to leave.

use super::Shard;
use super::connection::SlotState;
use crate::id::RequestId;
use crate::queue::Note;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Reads the notes, if there are any.
    #[inline]
    pub(super) fn collect_notes(&mut self) {
        if self.side.has_notes() {
            self.read_notes();
        }
    }

    #[cold]
    fn read_notes(&mut self) {
        self.side.open_notes();
        while let Some(note) = self.side.take_note() {
            match note {
                Note::Cancel(id) => self.cancel(id),
                Note::QueueEnded(queue) => self.end_queue(queue),
                Note::Inform(id, text) => self.inform(id, text),
                Note::Watch(id, registration) => self.watch(id, registration),
                Note::HandOver(id, taker) => self.hand_over(id, taker),
            }
        }
    }

    /// Nobody can answer by id any more what came through a queue. Looks at all slots: queues end seldom.
    fn end_queue(&mut self, queue: u32) {
        for slot in 0..self.side.slots_used() {
            if let Some(returned) = self.side.close_to_ids(slot, queue) {
                self.take_back(returned);
            }
        }
    }

    /// Ends the connection of a cancelled request, and with it whatever else is under way on it.
    fn cancel(&mut self, id: RequestId) {
        self.counters.requests_cancelled.count();
        if let Some(slot) = self.side.cancelled(id) {
            let SlotState { connection, generation, .. } = self.slots[slot as usize];
            self.abort(Key { index: connection, generation });
        }
    }
}
