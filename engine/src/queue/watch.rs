//! A question about a connection's end, and its one answer: a future's side and the shard's.
//!
//! Invariants: whoever asks is answered once, also when the shard ends or fails with the question unread; what the
//! application does on the answer (its waker, its callback) may panic and harms nobody.
//!
//! Not here: when a connection ends, and how (room `shard`).

use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::foreign;

/// How a connection ended, or that its client has ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disconnected {
    /// The client has ended its side (FIN) and can still be answered. Only
    /// [`on_half_close`](crate::Request::on_half_close) tells this.
    HalfClosed,
    /// In order: the client has ended its side, and was owed nothing any more.
    Ended,
    /// The client, or the network, has broken it.
    Reset,
    /// The engine has ended it: a timeout, a limit, or a request that was cancelled.
    Aborted,
    /// The engine has stopped.
    Stopped,
    /// It has not ended: the application took its socket ([`Upgraded::into_fd`](crate::Upgraded::into_fd)).
    Taken,
    /// It was over before it was asked about, or there never was one of this id; how it ended is not kept.
    Gone,
}

#[derive(Debug)]
enum State {
    Open(Option<Waker>),
    Told(Disconnected),
}

#[derive(Debug)]
struct Shared(Mutex<State>);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The asker's side.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Shared>);

/// The shard's side: dropped untold, it says that the engine has stopped.
pub(crate) struct Registration {
    teller: Option<Teller>,
    half_close: bool,
}

enum Teller {
    Future(Arc<Shared>),
    Call(Box<dyn FnOnce(Disconnected) + Send>),
}

impl core::fmt::Debug for Registration {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Registration").field("half_close", &self.half_close).finish_non_exhaustive()
    }
}

impl Watch {
    /// A question; with `half_close`, the client's end of its side answers it, too.
    pub(crate) fn new(half_close: bool) -> (Self, Registration) {
        let shared = Arc::new(Shared(Mutex::new(State::Open(None))));
        let registration = Registration { teller: Some(Teller::Future(Arc::clone(&shared))), half_close };
        (Self(shared), registration)
    }

    /// The answer, if it is there.
    pub(crate) fn told(&self) -> Option<Disconnected> {
        match *self.0.state() {
            State::Told(how) => Some(how),
            State::Open(_) => None,
        }
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Disconnected> {
        match &*self.0.state() {
            State::Told(how) => return Poll::Ready(*how),
            State::Open(Some(waker)) if waker.will_wake(context.waker()) => return Poll::Pending,
            State::Open(_) => {}
        }
        // Wakers are the application's code: not under the lock.
        let waker = context.waker().clone();
        let old = match &mut *self.0.state() {
            // The answer has come meanwhile.
            State::Told(how) => Err(*how),
            State::Open(place) => Ok(place.replace(waker)),
        };
        match old {
            Ok(old) => foreign::drop_guarded(old),
            Err(how) => return Poll::Ready(how),
        }
        Poll::Pending
    }
}

impl Registration {
    /// A question answered by a call, on the thread that knows the answer.
    pub(crate) fn call(call: impl FnOnce(Disconnected) + Send + 'static) -> Self {
        Self { teller: Some(Teller::Call(Box::new(call))), half_close: false }
    }

    /// Whether the client's end of its side is an answer.
    pub(crate) fn wants_half_close(&self) -> bool {
        self.half_close
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(&self.teller, Some(Teller::Future(shared)) if Arc::strong_count(shared) == 1)
    }

    /// Answers.
    pub(crate) fn tell(mut self, how: Disconnected) {
        self.finish(how);
    }

    fn finish(&mut self, how: Disconnected) {
        let Some(teller) = self.teller.take() else { return };
        match teller {
            Teller::Call(call) => drop(foreign::call(move || call(how))),
            Teller::Future(shared) => {
                let before = core::mem::replace(&mut *shared.state(), State::Told(how));
                if let State::Open(Some(waker)) = before {
                    foreign::wake(waker);
                }
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.finish(Disconnected::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_and_by_its_first_answer() {
        let (watch, registration) = Watch::new(false);
        let mut context = Context::from_waker(Waker::noop());
        assert!(watch.poll(&mut context).is_pending() && watch.told().is_none() && !registration.is_forgotten());
        registration.tell(Disconnected::Reset);
        assert_eq!(watch.poll(&mut context), Poll::Ready(Disconnected::Reset));
        assert_eq!(watch.told(), Some(Disconnected::Reset), "asking again gives the same");
    }

    #[test]
    fn a_registration_that_is_lost_says_that_the_engine_has_stopped() {
        let (watch, registration) = Watch::new(true);
        drop(registration);
        assert_eq!(watch.told(), Some(Disconnected::Stopped));
        let (watch, registration) = Watch::new(true);
        drop(watch);
        assert!(registration.is_forgotten());
    }

    #[test]
    fn a_call_that_panics_ends_there() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        Registration::call(|_| panic!("meant to")).tell(Disconnected::Aborted);
        std::panic::set_hook(hook);
    }
}
