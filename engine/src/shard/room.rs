//! Waiting for a socket to have room for what it did not take at once.
//!
//! ```text
//!   a send falls short ──▶ poll ──▶ room ──▶ the next send, or the file's rest
//!                           │ ▲
//!                           ▼ │ the client has only ended its side
//!                      a poll that lasts
//! ```
//!
//! Invariants: no send waits in the kernel. io_uring adds POLLRDHUP to every poll, also to those it arms for an
//! operation that would block; of a client that has ended its side, each of these is answered at once, and such a send
//! is tried again and again for as long as its socket is full. A poll that lasts is answered when something changes.
//!
//! Not here: how long a client may take (`waits`).

use super::Shard;
use super::connection::{Out, Sending};
use super::rates::Account;
use crate::ring::{Event, Io, Op, SendMode, Token};
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// The socket is full: of a file's part, with `of_file`, or of what is in memory the rest waits for room.
    #[cold]
    pub(super) fn await_room(&mut self, key: Key, of_file: bool) {
        let tick = self.tick;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.sending = if of_file { Sending::FileRoom } else { Sending::Room };
        if !core::mem::replace(&mut connection.waited, true) {
            self.counters.sends_short.count();
        }
        if self.dispatch.policy(connection.policy).send_rate == 0 {
            // Then each progress begins the time anew.
            connection.taking = Account::default();
        }
        connection.taking.run(tick);
        let lasting = connection.has_half_closed();
        self.poll_room(key, lasting);
        self.resume_unwanted(key);
        self.set_timer(key);
    }

    fn poll_room(&mut self, key: Key, lasting: bool) {
        if let Some(connection) = self.connections.get_mut(key) {
            self.io.await_room(connection.fd, Token::new(Op::Room, key.generation, key.index), lasting);
        }
    }

    /// There is room in a socket, or an end, or the client has only ended its side.
    #[cold]
    pub(super) fn on_room(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let Some(connection) = self.connections.get_mut(key) else {
            return self.counters.completions_stale.count();
        };
        let closing = connection.closing;
        let found = event.result < 0 || event.result & i32::from(libc::POLLOUT | libc::POLLERR | libc::POLLHUP) != 0;
        match (event.more, found) {
            // A lasting one has done what it was for; it is over when it says so.
            (true, true) if !closing => self.io.cancel(event.token),
            (true, _) => {}
            (false, false) if !closing => self.poll_room(key, true),
            (false, _) => self.room_found(key, event.result),
        }
    }

    /// The poll for room has ended.
    fn room_found(&mut self, key: Key, result: i32) {
        let tick = self.tick;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let of_file = core::mem::replace(&mut connection.sending, Sending::No) == Sending::FileRoom;
        if connection.closing {
            return self.destroy_if_quiet(key);
        }
        // Cancelled where it had found room. Whatever else it fails with, it would again.
        if result < 0 && result != -libc::ECANCELED {
            return self.client_gone(key);
        }
        connection.taking.stop(tick);
        match connection.out {
            Out::Stream { slot, .. } if of_file => self.go_on_with_file(key, slot),
            Out::Stream { slot, .. } => self.send_stream(key, slot, SendMode::Silent),
            _ => self.send_rest(key),
        }
    }
}
