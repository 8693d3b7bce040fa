//! Sockets end: closed in order or reset, or handed over as they are.
//!
//! Invariants: a descriptor is closed or given away after the last operation on it has completed, but for a shard that
//! has failed.
//!
//! Not here: when a connection ends, and what it still owes (`protocol`), and reading the other side to its end
//! (`drains`).

use std::net::Shutdown;
use std::os::fd::OwnedFd;

use super::{Life, Polling, Sending, Socket, Transport};
use crate::driver::{Io, Op, Traffic};
use crate::timer::NEVER;

impl<I: Io> Transport<I> {
    /// Asks everything to end that names the socket; with `reset`, the other side has to go. Its end is the caller's to
    /// see to, when it [is over](Socket::is_over).
    pub(crate) fn begin_close(&mut self, socket: &mut Socket, reset: bool) {
        self.leave_drains(socket);
        self.stop_waiting(socket);
        socket.life = Life::Closing;
        if reset {
            self.io.reset_on_close(socket.fd);
        }
        match socket.sending {
            Sending::File => self.io.cancel(socket.token(Op::SendFile)),
            Sending::Room | Sending::FileRoom => self.io.cancel(socket.token(Op::Room)),
            // Its end is the moment to go on, and says nothing.
            Sending::Silent | Sending::SilentPart => self.follow_up = true,
            Sending::Turn => self.leave_turns(socket),
            Sending::No => {}
        }
        if socket.staging.is_reading() {
            // Of a file this ends soon; of what was only taken for one, perhaps never.
            self.io.cancel(socket.token(Op::ReadFile));
        }
        self.end_receive(socket);
        self.end_poll(socket);
        self.set_deadline(socket, NEVER);
    }

    /// Asks the poll for the other side's end to end.
    pub(super) fn end_poll(&mut self, socket: &mut Socket) {
        if socket.polling == Polling::Out {
            socket.polling = Polling::Stopping;
            self.io.cancel(socket.token(Op::Poll));
        }
    }

    /// It is to be handed over once all is sent and no operation names it. `false`: it has begun to end otherwise.
    pub(crate) fn begin_leaving(&mut self, socket: &mut Socket) -> bool {
        let is_open = socket.is_open();
        if is_open {
            socket.life = Life::Leaving;
            self.stop_waiting(socket);
            self.end_receive(socket);
            self.end_poll(socket);
        }
        is_open
    }

    /// Shuts our side.
    pub(crate) fn shut(&mut self, socket: &Socket) {
        self.io.shutdown(socket.fd, Shutdown::Write);
    }

    /// What has gone over the socket.
    pub(crate) fn traffic(&mut self, socket: &Socket) -> Traffic {
        self.io.traffic(socket.fd)
    }

    /// The socket's entry is gone: closes it.
    pub(crate) fn close(&mut self, socket: &Socket) {
        self.io.close(socket.fd);
        self.set_deadline(socket, NEVER);
    }

    /// The socket's entry is gone: lets it go as it is.
    pub(crate) fn release(&mut self, socket: &Socket) -> OwnedFd {
        self.set_deadline(socket, NEVER);
        self.io.release(socket.fd)
    }

    /// The transport has failed: ends the connection now. The ring's operations keep the socket alive until they are
    /// gone; one that the helper has, it closes.
    pub(crate) fn give_up(&mut self, socket: &Socket) {
        self.io.shutdown(socket.fd, Shutdown::Both);
        if socket.sending != Sending::File {
            self.io.close(socket.fd);
        }
    }
}
