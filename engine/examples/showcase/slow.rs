//! Answers that are due later: one thread and a heap, so that waiting requests hold up no other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringress::{Request, Response};

#[derive(Default)]
struct Waiting {
    /// When each is due, and its place in `requests`.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    requests: Vec<Option<Request>>,
    free: Vec<usize>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Requests to be answered later. Dropping it lets go of those that are left.
pub(crate) struct Slow {
    shared: Arc<Shared>,
}

impl Slow {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || answer_due(&of_thread));
        Self { shared }
    }

    pub(crate) fn answer_after(&self, delay: Duration, request: Request) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waiting.free.pop().unwrap_or(waiting.requests.len());
        if place == waiting.requests.len() {
            waiting.requests.push(None);
        }
        waiting.requests[place] = Some(request);
        waiting.due.push(Reverse((Instant::now() + delay, place)));
        drop(waiting);
        self.shared.changed.notify_one();
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.shared.changed.notify_one();
    }
}

fn answer_due(shared: &Shared) {
    let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while !waiting.ended {
        let now = Instant::now();
        let next = waiting.due.peek().map(|Reverse((due, _))| due.saturating_duration_since(now));
        waiting = match next {
            Some(Duration::ZERO) => {
                if let Some(Reverse((_, place))) = waiting.due.pop() {
                    waiting.free.push(place);
                    if let Some(request) = waiting.requests[place].take() {
                        // A client that left meanwhile is no fault.
                        let _ = request.respond(Response::text("slow\n"));
                    }
                }
                waiting
            }
            Some(left) => shared.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
