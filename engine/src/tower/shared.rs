//! Where a request is while its service has it: shared by the body that the service reads and by who answers.
//!
//! Invariants: the place is locked for moments only, and never while code of the application runs: what waits is a
//! relay, in which the application's waker is kept outside of the lock, and what a service gave is dropped behind it.
//! Who gives up on the request does not wait for the lock, but leaves word.
//!
//! Not here: when a request is answered or given up (`handling`, `answer`), and keeping wakers (room `foreign`).

use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::task::Wake;

use crate::api::{Request, ResponseStream};
use crate::foreign::Waiter;

/// What is there.
#[derive(Debug)]
pub(super) enum Held {
    /// Nothing any more: it is answered whole, or given up.
    Nothing,
    /// Not answered yet.
    Request(Request),
    /// Being answered; the request can still be read.
    Stream(ResponseStream),
}

impl Held {
    pub(super) fn request(&self) -> Option<&Request> {
        match self {
            Self::Nothing => None,
            Self::Request(request) => Some(request),
            Self::Stream(stream) => stream.request(),
        }
    }

    pub(super) fn request_mut(&mut self) -> Option<&mut Request> {
        match self {
            Self::Nothing => None,
            Self::Request(request) => Some(request),
            Self::Stream(stream) => stream.request_mut(),
        }
    }

    pub(super) fn stream_mut(&mut self) -> Option<&mut ResponseStream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Nothing | Self::Request(_) => None,
        }
    }

    pub(super) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::Nothing)
    }
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct SharedRequest(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Whoever had the lock when this was set drops what is held.
    given_up: AtomicBool,
    reads: OnceLock<Arc<Relay>>,
    answers: OnceLock<Arc<Relay>>,
}

/// Wakes in the place of an application's waker.
#[derive(Debug)]
struct Relay(Waiter);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify();
    }
}

/// Who waits for what is in a place: each by one task at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Who reads the request's body.
    Reader,
    /// Who gives the response.
    Answerer,
}

/// When the lock is free again, who failed to get it before that has left word, and who comes later gets it.
struct Heard<'p>(&'p SharedRequest);

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        if self.0.0.given_up.load(Ordering::SeqCst) {
            self.0.try_clear();
        }
    }
}

impl SharedRequest {
    pub(super) fn new(request: Request) -> Self {
        let (reads, answers) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Shared {
            held: Mutex::new(Held::Request(request)),
            given_up: AtomicBool::new(false),
            reads,
            answers,
        }))
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        let _heard = Heard(self);
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut held)
    }

    /// Looks whether something is ready; if not, the task of `context` is woken when it may be.
    pub(super) fn poll<T>(
        &self,
        by: By,
        context: &Context<'_>,
        mut look: impl FnMut(&mut Held, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Most often it is, and nobody has to be woken.
        let found = self.with(|held| look(held, &mut Context::from_waker(Waker::noop())));
        if found.is_ready() {
            return found;
        }
        let relay = match by {
            By::Reader => &self.0.reads,
            By::Answerer => &self.0.answers,
        };
        let relay = relay.get_or_init(|| Arc::new(Relay(Waiter::new())));
        relay.0.register(context.waker());
        let waker = Waker::from(Arc::clone(relay));
        self.with(|held| look(held, &mut Context::from_waker(&waker)))
    }

    /// Whether somebody else can still look: the service, by the request's body.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Gives up: a request that is not answered gets 500, a response that is not finished is cut.
    pub(super) fn give_up(&self) {
        self.0.given_up.store(true, Ordering::SeqCst);
        self.try_clear();
    }

    fn try_clear(&self) {
        let held = match self.0.held.try_lock() {
            Ok(mut held) => held.take(),
            Err(TryLockError::Poisoned(held)) => held.into_inner().take(),
            Err(TryLockError::WouldBlock) => return,
        };
        // Dropped here, outside the lock.
        drop(held);
    }
}
