//! Blocks of notes on their way from a shard to the writer and back.
//!
//! Invariants: a shard has as many blocks as it was given, and allocates none; a block is with the shard, on its way,
//! or with the writer. A note that finds no room is not kept, and whoever put it is told. Nobody here waits.
//!
//! Not here: notes (`note`), and what becomes of a block (`writer`).

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::note::{self, LogNote, NOTE_BYTES_MAX};
use crate::clock::Tick;
use crate::queue::LogText;
use crate::record::Address;

/// Bytes of a block: of such size, memory is resident as it is touched.
const BLOCK_BYTES: usize = 128 << 10;
/// Blocks of a shard: what it notes while a disk is slow.
pub(super) const BLOCKS: usize = 16;

const _: () = assert!(NOTE_BYTES_MAX <= BLOCK_BYTES);

/// Memory for notes.
pub(super) type Block = Box<[u8]>;

/// What comes to the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// A shard's block, and how many bytes of notes it has.
    Notes { shard: usize, block: Block, len: usize },
    /// There are commands.
    Look,
}

/// A shard's end of its log.
#[derive(Debug)]
pub(crate) struct LogEnd {
    shard: usize,
    /// Those that are free, the last one used first.
    free: Vec<Block>,
    current: Block,
    /// Bytes of notes that `current` has.
    len: usize,
    /// The tick of the last turn, and of the turn before the first note of `current`.
    now: Tick,
    begun: Tick,
    back: Receiver<Block>,
    writer: SyncSender<Message>,
}

/// The ends of all shards, each to be taken once.
#[derive(Debug)]
pub(crate) struct LogEnds(Vec<Mutex<Option<LogEnd>>>);

impl LogEnds {
    /// For so many shards. Gives where the writer gives blocks back, too.
    pub(super) fn new(shards: usize, writer: &SyncSender<Message>) -> (Self, Vec<SyncSender<Block>>) {
        let end = |shard| {
            let (give, back) = sync_channel(BLOCKS);
            let block = || vec![0; BLOCK_BYTES].into_boxed_slice();
            let mut free = Vec::with_capacity(BLOCKS);
            free.extend((1..BLOCKS).map(|_| block()));
            let end = LogEnd { shard, free, current: block(), len: 0, now: 0, begun: 0, back, writer: writer.clone() };
            (Mutex::new(Some(end)), give)
        };
        let (ends, back): (Vec<_>, Vec<_>) = (0..shards).map(end).unzip();
        (Self(ends), back)
    }

    /// That of a shard, if nobody has it.
    pub(crate) fn take(&self, shard: usize) -> Option<LogEnd> {
        self.0.get(shard)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl LogEnd {
    /// Keeps a note. `false`: there is no room.
    #[inline(always)]
    pub(crate) fn put(
        &mut self,
        note: &LogNote,
        addresses: (&Address, &Address),
        head: &[u8],
        text: Option<&LogText>,
    ) -> bool {
        if self.len == 0 {
            self.begun = self.now;
        }
        let place = self.current.get_mut(self.len..).unwrap_or_default();
        match note::put(place, note, addresses, head, text) {
            Some(bytes) => {
                self.len += bytes;
                true
            }
            None => self.put_into_next(note, addresses, head, text),
        }
    }

    #[cold]
    #[inline(never)]
    fn put_into_next(
        &mut self,
        note: &LogNote,
        addresses: (&Address, &Address),
        head: &[u8],
        text: Option<&LogText>,
    ) -> bool {
        self.hand_over();
        if self.len > 0 {
            return false;
        }
        self.begun = self.now;
        self.len = note::put(&mut self.current, note, addresses, head, text).unwrap_or(0);
        self.len > 0
    }

    /// When the first note is a tick old that the writer has not got, if there is one.
    #[inline]
    pub(crate) fn due(&self) -> Option<Tick> {
        (self.len > 0).then(|| self.begun.saturating_add(1))
    }

    /// Hands what it has over to the writer, unless that has all other blocks.
    #[inline(never)]
    fn hand_over(&mut self) {
        if self.len == 0 {
            return;
        }
        self.free.extend(self.back.try_iter());
        let Some(next) = self.free.pop() else { return };
        let (block, len) = (core::mem::replace(&mut self.current, next), core::mem::take(&mut self.len));
        // There is room for all blocks of all shards.
        let sent = self.writer.try_send(Message::Notes { shard: self.shard, block, len });
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) = sent
            && let Message::Notes { block, len, .. } = message
        {
            self.free.push(core::mem::replace(&mut self.current, block));
            self.len = len;
        }
    }
}

impl LogEnd {
    /// A turn has ended: hands over to the writer what is a tick old.
    #[inline(never)]
    pub(crate) fn end_turn(&mut self, now: Tick) {
        self.now = now;
        if self.due().is_some_and(|due| due <= now) {
            self.hand_over();
            // The writer may have all others: that is looked at again in a tick.
            self.begun = now;
        }
    }
}

impl Drop for LogEnd {
    /// What it has left goes to the writer in any case: it needs no block in the place of this one, and there is room
    /// for all of them.
    fn drop(&mut self) {
        let (block, len) = (core::mem::take(&mut self.current), self.len);
        if len > 0 {
            let _ = self.writer.try_send(Message::Notes { shard: self.shard, block, len });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> LogNote {
        LogNote { log: 1, status: 200, ended: 2, took: 3, bytes_in: 4, bytes_out: 5 }
    }

    fn put(end: &mut LogEnd, head: &[u8]) -> bool {
        end.put(&note(), (&Address::NONE, &Address::NONE), head, None)
    }

    #[test]
    fn what_finds_no_room_is_not_kept_and_room_that_comes_back_is_used() {
        let (sender, receiver) = sync_channel(BLOCKS);
        let (ends, back) = LogEnds::new(1, &sender);
        let mut end = ends.take(0).expect("the first to ask");
        assert!(ends.take(0).is_none() && ends.take(1).is_none(), "each is taken once");
        let mut kept = 0;
        while put(&mut end, &[b'x'; 4000]) {
            kept += 1;
        }
        let each = BLOCK_BYTES / (NOTE_BYTES_MAX - note::HEAD_BYTES_MAX - note::USER_BYTES_MAX + 4000);
        assert_eq!(kept, BLOCKS * each);
        let blocks = || {
            receiver.try_iter().filter_map(|message| match message {
                Message::Notes { block, len, .. } => Some((block, len)),
                Message::Look => None,
            })
        };
        let taken: Vec<_> = blocks().collect();
        assert_eq!(taken.len(), BLOCKS - 1);
        assert!(taken.iter().all(|(block, len)| block.len() == BLOCK_BYTES && *len > BLOCK_BYTES - 4100));
        taken.into_iter().take(2).for_each(|(block, _)| back[0].send(block).expect("the shard is there"));
        for _ in 0..2 * each {
            assert!(put(&mut end, &[b'x'; 4000]));
        }
        assert!(!put(&mut end, &[b'x'; 4000]));
        drop(end);
        assert_eq!(blocks().count(), 3, "what it has left goes with it, also where the writer has all other blocks");
    }

    #[test]
    fn a_note_waits_for_a_tick_at_most() {
        let (sender, receiver) = sync_channel(BLOCKS);
        let (ends, _back) = LogEnds::new(1, &sender);
        let mut end = ends.take(0).expect("the first to ask");
        end.end_turn(7);
        assert_eq!(end.due(), None);
        assert!(put(&mut end, b"GET / HTTP/1.1\r\n\r\n"));
        assert_eq!(end.due(), Some(8));
        end.end_turn(7);
        assert!(receiver.try_recv().is_err());
        end.end_turn(8);
        assert!(receiver.try_recv().is_ok() && end.due().is_none());
    }
}
