//! Which requests are under way, and how far: for who shows it.
//!
//! Invariants: a look at a slot is one load of its word; nothing is changed, and no shard is held up.
//!
//! Not here: what the word says (`word`), and when anything happened to a request, which its shard alone knows.

use core::sync::atomic::Ordering;

use super::exchange::{Exchange, Record};
use super::word::{ANSWERED, CANCELLED, DEAD, OPEN, SENT, generation_of};
use crate::id::{QueueNumber, RequestId};

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits for a consumer, or one has it.
    Open,
    /// Its response is on its way.
    Answered,
    /// It was cancelled, and its connection ends.
    Cancelled,
    /// Its client has left or has its response, and a consumer still has it in its hands.
    Departed,
}

impl<R: Record> Exchange<R> {
    /// Tells of each request that was delivered and whose slot is not free yet.
    pub(crate) fn each_under_way(&self, tell: &mut impl FnMut(RequestId, QueueNumber, Stage)) {
        for number in 0.. {
            let Some(visited) = self.visit(number) else { break };
            let word = visited.place.word.load(Ordering::Acquire);
            let stage = match word {
                _ if word & OPEN == 0 => continue,
                _ if word & (DEAD | SENT) != 0 => Stage::Departed,
                _ if word & CANCELLED != 0 => Stage::Cancelled,
                _ if word & ANSWERED != 0 => Stage::Answered,
                _ => Stage::Open,
            };
            let queue = QueueNumber(visited.place.queue.load(Ordering::Relaxed));
            tell(self.origin.request(generation_of(word), number), queue, stage);
        }
    }
}
