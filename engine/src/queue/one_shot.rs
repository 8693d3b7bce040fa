//! One question and its one answer: a future's side and the answerer's.
//!
//! Invariants: the first answer counts; what the application does on it (its waker) is not done under the lock, may
//! panic and harms nobody.
//!
//! Not here: what is asked, and what an answerer that is dropped says (`watch`, `handover`).

use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::foreign;

#[derive(Debug)]
enum State<T> {
    Asked(Option<Waker>),
    Answered(T),
}

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The asker's side.
#[derive(Debug)]
pub(super) struct Question<T>(Arc<Shared<T>>);

/// The answerer's side.
#[derive(Debug)]
pub(super) struct Answerer<T>(Arc<Shared<T>>);

/// A question, and who is to answer it.
pub(super) fn one_shot<T>() -> (Question<T>, Answerer<T>) {
    let shared = Arc::new(Shared(Mutex::new(State::Asked(None))));
    (Question(Arc::clone(&shared)), Answerer(shared))
}

impl<T> Question<T> {
    /// What `read` makes of the answer, if that is there.
    pub(super) fn answer<R>(&self, read: impl FnOnce(&mut T) -> R) -> Option<R> {
        match &mut *self.0.state() {
            State::Answered(answer) => Some(read(answer)),
            State::Asked(_) => None,
        }
    }

    /// As [`answer`](Self::answer); until then the task is woken by it.
    pub(super) fn poll<R>(&self, context: &mut Context<'_>, read: impl FnOnce(&mut T) -> R) -> Poll<R> {
        if matches!(&*self.0.state(), State::Asked(Some(waker)) if waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        // Wakers are the application's code: not under the lock.
        let waker = context.waker().clone();
        let replaced = match &mut *self.0.state() {
            State::Answered(answer) => Err(read(answer)),
            State::Asked(place) => Ok(place.replace(waker)),
        };
        match replaced {
            Ok(old) => {
                foreign::drop_guarded(old);
                Poll::Pending
            }
            Err(answer) => Poll::Ready(answer),
        }
    }
}

impl<T> Answerer<T> {
    /// Answers, unless that was done.
    pub(super) fn tell(&self, answer: T) {
        let waker = match &mut *self.0.state() {
            State::Answered(_) => return,
            state => match core::mem::replace(state, State::Answered(answer)) {
                State::Asked(waker) => waker,
                State::Answered(_) => None,
            },
        };
        if let Some(waker) = waker {
            foreign::wake(waker);
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
