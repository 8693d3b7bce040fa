//! How clients come in over the kernel in memory.
//!
//! Invariants: a listener has one accept at most; who is accepted has a descriptor that nobody else has.
//!
//! Not here: clients (`link`), and when anything goes on (`fake`).

use std::os::fd::RawFd;

use super::link::Multishot;
use super::{FIRST_DESCRIPTOR, Fake};
use crate::driver::Token;

impl Fake {
    pub(super) fn progress_accept(&mut self, listener: RawFd, all: bool) {
        while let Some(listening) = self.listeners.get_mut(&listener)
            && let Some(Multishot { token, cancelled, .. }) = listening.accept.take()
        {
            if cancelled && self.random.chance(self.faults.clients_left) {
                return self.finish(token, -libc::ECANCELED, false, None);
            }
            if let Some(client) = listening.backlog.pop_front() {
                let is_short = self.descriptors.len() >= self.descriptors_max;
                if is_short || self.random.chance(self.faults.descriptors_missing) {
                    listening.backlog.push_front(client);
                    return self.finish(token, -libc::EMFILE, false, None);
                }
                let more = !self.random.chance(self.faults.more_lost);
                listening.accept = more.then_some(Multishot { token, once: None, cancelled });
                let descriptor = self.let_in(client);
                self.finish(token, descriptor, more, None);
            } else if cancelled && (all || !self.random.chance(self.faults.cancel_late)) {
                return self.finish(token, -libc::ECANCELED, false, None);
            } else if self.never_waits {
                return self.finish(token, -libc::EAGAIN, false, None);
            } else {
                listening.accept = Some(Multishot { token, once: None, cancelled });
                return;
            }
        }
    }

    pub(super) fn accept_who_is_left(&mut self, listener: RawFd, token: Token) {
        let listening = self.listeners.entry(listener).or_default();
        assert!(listening.accept.is_none(), "listener {listener} still accepts");
        let free = self.descriptors_max.saturating_sub(self.descriptors.len());
        let waiting: Vec<usize> = listening.backlog.drain(..free.min(listening.backlog.len())).collect();
        let ended = if listening.backlog.is_empty() { libc::ECANCELED } else { libc::EMFILE };
        for client in waiting {
            let descriptor = self.let_in(client);
            self.finish(token, descriptor, true, None);
        }
        self.finish(token, -ended, false, None);
    }

    /// A client is accepted.
    pub(super) fn let_in(&mut self, client: usize) -> RawFd {
        let descriptor = (FIRST_DESCRIPTOR..).find(|number| !self.descriptors.contains_key(number));
        let descriptor = descriptor.expect("numbers do not run out");
        self.descriptors.insert(descriptor, client);
        self.links[client].descriptor = Some(descriptor);
        descriptor
    }
}
