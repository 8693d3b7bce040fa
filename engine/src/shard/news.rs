//! What applications tell of requests under way: see `queue::news`.

use super::Shard;
use super::connection::SlotState;
use crate::queue::News;
use crate::ring::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Takes the news, and sees to what they are about.
    #[inline]
    pub(super) fn collect_news(&mut self) {
        if self.side.has_news() {
            self.take_news();
        }
    }

    #[cold]
    fn take_news(&mut self) {
        let mut told = core::mem::take(&mut self.told);
        self.side.take_news(&mut told);
        for slot in told.drain(..) {
            let news = self.side.read_news(slot);
            // Of a request that is over, the connection is another one's or nobody's: a look at it does no harm.
            let SlotState { connection, generation, .. } = self.slots[slot as usize];
            let key = Key { index: connection, generation };
            if news.has(News::SEND) {
                self.on_stream_news(key, slot);
            }
            if news.has(News::READ) {
                self.body_was_read(key, slot);
            }
            if news.has(News::WANTED) {
                self.body_is_wanted(key, slot);
            }
        }
        self.told = told;
    }
}
