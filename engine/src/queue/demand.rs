//! When a queue's call on demand is made: requests are there that nobody receives.
//!
//! Invariants: it is made once at most for each request, and once for each time that it is armed; without a lock.
//!
//! Not here: who arms it (room `session`), where it is kept, and who receives (`sleepers`).

use core::sync::atomic::{Ordering, fence};

use super::core::QueueCore;
use super::exchange::Record;
use crate::foreign;

impl<R: Record> QueueCore<R> {
    /// Makes the call on demand if there are more requests than those take who receive: one at most for each request,
    /// so that a call that is armed again from within itself is not made again for the same.
    #[cold]
    #[inline(never)]
    pub(crate) fn look_for_demand(&self) {
        // Who receives is counted before it looks, and looks here when it is no more: of the two, one sees the other.
        fence(Ordering::SeqCst);
        if self.is_closed() {
            return;
        }
        let mut missing = 0;
        for (shard, (ring, demanded)) in self.rings.iter().zip(&self.demanded).enumerate() {
            let (waiting, end) = ring.unclaimed();
            if end > demanded.load(Ordering::Relaxed) {
                missing += waiting.saturating_sub(self.sleepers.driving(shard));
            }
        }
        if missing <= self.sleepers.receiving() {
            return;
        }
        if let Some(call) = self.sleepers.take_demand() {
            for (ring, demanded) in self.rings.iter().zip(&self.demanded) {
                demanded.fetch_max(ring.unclaimed().1, Ordering::Relaxed);
            }
            foreign::call(call);
        }
    }
}
