//! What happens in an engine that who runs it should know of, told as it happens.
//!
//! Invariants: a listener is called behind the change that it is told of, without a lock, on the thread that has made
//! it; its panic is counted and stops nothing.
//!
//! Not here: what becomes of requests, which is counted (room `counters`), and a pool's errors (room `serve`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::foreign;

/// What an engine tells: see [`Engine::on_event`](crate::Engine::on_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The last handle of a request queue is gone while URL groups are bound to it: nobody can receive their requests,
    /// which are answered 503 and counted ([`without_consumer`](crate::Counters::without_consumer)) until the groups
    /// are bound to another queue.
    #[non_exhaustive]
    WithoutConsumer {
        /// The queue's name.
        queue: &'a str,
        /// How many groups are bound to it.
        url_groups: usize,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutConsumer { queue, url_groups } => write!(
                f,
                "nobody can receive from the request queue {queue:?} any more, since its last handle is gone: requests \
                of {url_groups} URL groups are answered 503"
            ),
        }
    }
}

type Call = dyn Fn(&Event<'_>) + Send + Sync;

/// Who is told, if anybody.
#[derive(Default)]
pub(super) struct EventListener(Mutex<Option<Arc<Call>>>);

impl fmt::Debug for EventListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventListener").finish_non_exhaustive()
    }
}

impl EventListener {
    /// Tells `listener` from now on, in the place of an earlier one.
    pub(super) fn set(&self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(Arc::new(listener));
        foreign::drop_guarded(before);
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(call) = call {
            foreign::call(|| call(event));
            foreign::drop_guarded(call);
        }
    }
}
