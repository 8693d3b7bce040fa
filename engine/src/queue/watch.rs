//! A question about a connection's end, and its one answer: a future's side and the shard's.
//!
//! Invariants: whoever asks is answered once, also when the shard ends or fails with the question unread; what the
//! application does on the answer (its waker, its callback) may panic and harms nobody.
//!
//! Not here: when a connection ends, and how (room `shard`).

use core::task::{Context, Poll};

use super::one_shot::{Answerer, Question, one_shot};
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

/// The asker's side.
#[derive(Debug)]
pub(crate) struct Watch(Question<Disconnected>);

/// The shard's side: dropped untold, it says that the engine has stopped.
pub(crate) struct Registration {
    end_notifier: Option<EndNotifier>,
    half_close: bool,
}

enum EndNotifier {
    Future(Answerer<Disconnected>),
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
        let (question, answerer) = one_shot();
        (Self(question), Registration { end_notifier: Some(EndNotifier::Future(answerer)), half_close })
    }

    /// The answer, if it is there.
    pub(crate) fn reason(&self) -> Option<Disconnected> {
        self.0.answer(|how| *how)
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Disconnected> {
        self.0.poll(context, |how| *how)
    }
}

impl Registration {
    /// A question answered by a call, on the thread that knows the answer.
    pub(crate) fn call(call: impl FnOnce(Disconnected) + Send + 'static) -> Self {
        Self { end_notifier: Some(EndNotifier::Call(Box::new(call))), half_close: false }
    }

    /// Whether the client's end of its side is an answer.
    pub(crate) fn wants_half_close(&self) -> bool {
        self.half_close
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(&self.end_notifier, Some(EndNotifier::Future(answerer)) if answerer.is_forgotten())
    }

    /// Answers.
    pub(crate) fn tell(mut self, how: Disconnected) {
        self.finish(how);
    }

    fn finish(&mut self, how: Disconnected) {
        let Some(end_notifier) = self.end_notifier.take() else { return };
        match end_notifier {
            EndNotifier::Call(call) => drop(foreign::call(move || call(how))),
            EndNotifier::Future(answerer) => answerer.tell(how),
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
    use core::task::Waker;

    use super::*;

    #[test]
    fn a_question_is_answered_once_and_by_its_first_answer() {
        let (watch, registration) = Watch::new(false);
        let mut context = Context::from_waker(Waker::noop());
        assert!(watch.poll(&mut context).is_pending() && watch.reason().is_none() && !registration.is_forgotten());
        registration.tell(Disconnected::Reset);
        assert_eq!(watch.poll(&mut context), Poll::Ready(Disconnected::Reset));
        assert_eq!(watch.reason(), Some(Disconnected::Reset), "asking again gives the same");
    }

    #[test]
    fn a_registration_that_is_lost_says_that_the_engine_has_stopped() {
        let (watch, registration) = Watch::new(true);
        drop(registration);
        assert_eq!(watch.reason(), Some(Disconnected::Stopped));
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
