//! Where a request is while its service has it: shared by the body that the service reads and by who answers.
//!
//! Laws: the place is locked for moments only, never while code of the application runs, but for its wakers: so who
//! gives up on the request does not wait for the lock, which its own thread may hold, but leaves word.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crate::api::{Request, ResponseStream};

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
pub(super) struct Place(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Whoever had the lock when this was set drops what is held.
    given_up: AtomicBool,
}

/// When the lock is free again, who failed to get it before that has left word, and who comes later gets it.
struct Heard<'p>(&'p Place);

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        if self.0.0.given_up.load(Ordering::SeqCst) {
            self.0.try_clear();
        }
    }
}

impl Place {
    pub(super) fn new(request: Request) -> Self {
        Self(Arc::new(Shared { held: Mutex::new(Held::Request(request)), given_up: AtomicBool::new(false) }))
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        // Also when a waker panics that is cloned to be kept.
        let _heard = Heard(self);
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut held)
    }

    /// Whether somebody else can still look: the service, by the request's body.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Gives up: a request that is not answered gets 500, an answer that is not finished is cut.
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
