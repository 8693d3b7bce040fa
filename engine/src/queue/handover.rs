//! A socket that an application asks of a shard, and gets: a future's side and the shard's.
//!
//! Invariants: whoever asks is answered once, also when the shard ends or fails first; a socket that nobody waits for
//! any more is closed.
//!
//! Not here: when a socket may be let go (room `shard`).

use core::task::{Context, Poll};
use std::os::fd::OwnedFd;

use super::one_shot::{Answerer, Question, one_shot};

/// The requester's side.
#[derive(Debug)]
pub(crate) struct HandOver(Question<Option<OwnedFd>>);

/// The shard's side: dropped, it says that there is no socket any more.
#[derive(Debug)]
pub(crate) struct SocketReceiver(Answerer<Option<OwnedFd>>);

impl HandOver {
    /// A question.
    pub(crate) fn new() -> (Self, SocketReceiver) {
        let (question, answerer) = one_shot();
        (Self(question), SocketReceiver(answerer))
    }

    /// The socket, once; `None`: it is gone, or was taken.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<OwnedFd>> {
        self.0.poll(context, Option::take)
    }
}

impl SocketReceiver {
    /// Hands the socket over.
    pub(crate) fn give(self, socket: OwnedFd) {
        self.0.tell(Some(socket));
    }
}

impl Drop for SocketReceiver {
    fn drop(&mut self) {
        self.0.tell(None);
    }
}

#[cfg(test)]
mod tests {
    use core::task::Waker;

    use super::*;

    #[test]
    fn a_socket_is_given_once_and_a_lost_question_says_so() {
        let mut context = Context::from_waker(Waker::noop());
        let (requester, taker) = HandOver::new();
        assert!(requester.poll(&mut context).is_pending());
        taker.give(std::fs::File::open("/dev/null").expect("it is there").into());
        assert!(matches!(requester.poll(&mut context), Poll::Ready(Some(_))));
        assert!(matches!(requester.poll(&mut context), Poll::Ready(None)));
        let (requester, taker) = HandOver::new();
        drop(taker);
        assert!(matches!(requester.poll(&mut context), Poll::Ready(None)));
    }
}
