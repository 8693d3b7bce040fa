//! Waiting for a time: one thread and a heap of the wakers that are due, for the tasks of all consumers.
//!
//! Not here: taking a waker back. One whose task has ended wakes nobody.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

struct Due {
    at: Instant,
    waker: Waker,
}

impl Ord for Due {
    /// The heap gives its largest first, which is to be the one that is due first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

#[derive(Default)]
struct Waiting {
    due: BinaryHeap<Due>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of the tasks. Dropping it ends its thread, and wakes nobody any more.
pub(crate) struct Timers {
    shared: Arc<Shared>,
}

impl Timers {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || wake_due(&of_thread));
        Self { shared }
    }

    /// Waits for so long. To be polled by one task only, whose waker stays the same.
    pub(crate) async fn sleep(&self, delay: Duration) {
        let at = Instant::now() + delay;
        let mut asked = false;
        poll_fn(|context| {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut asked, true) {
                self.wake_at(Due { at, waker: context.waker().clone() });
            }
            Poll::Pending
        })
        .await;
    }

    fn wake_at(&self, due: Due) {
        let mut waiting = self.shared.lock();
        let is_first = waiting.due.peek().is_none_or(|first| due.at < first.at);
        waiting.due.push(due);
        drop(waiting);
        if is_first {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

fn wake_due(shared: &Shared) {
    let mut waiting = shared.lock();
    while !waiting.ended {
        let now = Instant::now();
        let next = waiting.due.peek().map(|due| due.at.saturating_duration_since(now));
        waiting = match next {
            Some(Duration::ZERO) => {
                let due = waiting.due.pop();
                drop(waiting);
                // Without the lock: who wakes may run what sleeps again.
                if let Some(due) = due {
                    due.waker.wake();
                }
                shared.lock()
            }
            Some(left) => shared.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
