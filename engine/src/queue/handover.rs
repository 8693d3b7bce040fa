//! A socket that an application asks of a shard, and gets: a future's side and the shard's.
//!
//! Invariants: whoever asks is answered once, also when the shard ends or fails first; a socket that nobody waits for
//! any more is closed.
//!
//! Not here: when a socket may be let go (room `shard`).

use core::task::{Context, Poll, Waker};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::foreign;

#[derive(Debug)]
enum State {
    Asked(Option<Waker>),
    /// `None`: there is no socket any more.
    Given(Option<OwnedFd>),
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
pub(crate) struct HandOver(Arc<Shared>);

/// The shard's side: dropped, it says that there is no socket any more.
#[derive(Debug)]
pub(crate) struct Taker(Arc<Shared>);

impl HandOver {
    /// A question.
    pub(crate) fn new() -> (Self, Taker) {
        let shared = Arc::new(Shared(Mutex::new(State::Asked(None))));
        (Self(Arc::clone(&shared)), Taker(shared))
    }

    /// The socket, once; `None`: it is gone, or was taken.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<OwnedFd>> {
        // Wakers are the application's code: not under the lock.
        let waker = context.waker().clone();
        let old = match &mut *self.0.state() {
            State::Given(socket) => Err(socket.take()),
            State::Asked(place) => Ok(place.replace(waker)),
        };
        match old {
            Ok(old) => foreign::drop_guarded(old),
            Err(socket) => return Poll::Ready(socket),
        }
        Poll::Pending
    }
}

impl Taker {
    /// Hands the socket over.
    pub(crate) fn give(self, socket: OwnedFd) {
        self.answer(Some(socket));
    }

    fn answer(&self, socket: Option<OwnedFd>) {
        let mut state = self.0.state();
        if matches!(*state, State::Given(_)) {
            return;
        }
        let before = core::mem::replace(&mut *state, State::Given(socket));
        drop(state);
        if let State::Asked(Some(waker)) = before {
            foreign::wake(waker);
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.answer(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_given_once_and_a_lost_question_says_so() {
        let mut context = Context::from_waker(Waker::noop());
        let (asker, taker) = HandOver::new();
        assert!(asker.poll(&mut context).is_pending());
        taker.give(std::fs::File::open("/dev/null").expect("it is there").into());
        assert!(matches!(asker.poll(&mut context), Poll::Ready(Some(_))));
        assert!(matches!(asker.poll(&mut context), Poll::Ready(None)));
        let (asker, taker) = HandOver::new();
        drop(taker);
        assert!(matches!(asker.poll(&mut context), Poll::Ready(None)));
    }
}
