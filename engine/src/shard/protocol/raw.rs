//! Connections that have switched protocols: bytes go both ways between a client and an application.
//!
//! ```text
//!   101 is taken back ──▶ Open ──(the application has ended its side, all is sent: FIN)──▶ Shut
//!                          │                                                                │
//!                          │ the socket is asked for                (the client has ended its side, or nobody reads)
//!                          ▼                                                                ▼
//!                        leaving ──(all is sent, no operation names the socket)──▶ let go   closed or drained
//! ```
//!
//! Invariants: the request whose answer switches stays its connection's newest, and its oldest once earlier answers are
//! sent, to the end, so that its slot holds what has come and its stream what is to go; what comes once the answer is
//! taken back, and what was held until then, goes into the slot's chain as it is; each side ends by itself; a pipe has
//! no timer but that of a client that does not take what is sent.
//!
//! Not here: what the bytes mean; how they are read (rooms `queue`, `api`).

use super::Protocol;
use super::connection::{Connection, Incoming, Pipe};
use crate::queue::{Disconnected, Reading, Taker};
use crate::record::Lost;
use crate::ring::Io;
use crate::shard::dispatch::NONE;
use crate::shard::transport::Life;

impl<I: Io> Protocol<I> {
    /// The application has answered a request with a switch of protocols.
    #[cold]
    pub(super) fn begin_pipe(&mut self, connection: &mut Connection, slot: u32) {
        debug_assert!(self.dispatch.side.has_body(slot), "only who asked for an upgrade gets one");
        self.counters.connections_upgraded.count();
        connection.pipe = Pipe::Open;
        connection.machine.finish();
        self.begin_body(connection, slot, Incoming::Raw);
        self.queue_resume(connection);
    }

    /// The client has ended its side.
    pub(super) fn pipe_input_ended(&mut self, connection: &mut Connection) {
        let slot = core::mem::replace(&mut connection.body_slot, NONE);
        (connection.incoming, connection.body_paused) = (Incoming::Nothing, false);
        // Never over by itself: our side may go on.
        let _ = connection.machine.end_of_input(true);
        self.dispatch.side.finish_body(slot);
        self.dispatch.side.wake_reader(slot);
        self.dispatch.half_closed(connection.key().index);
        self.end_pipe_if_over(connection);
    }

    /// Everything that was given is sent; with `is_last`, there will be no more.
    pub(super) fn pipe_is_sent(&mut self, connection: &mut Connection, slot: u32, is_last: bool) {
        if is_last && connection.pipe == Pipe::Open {
            connection.pipe = Pipe::Shut;
            self.transport.shut(&connection.socket);
            if let Some(outgoing) = self.dispatch.outgoing(slot) {
                outgoing.complete();
            }
            self.end_pipe_if_over(connection);
        }
        self.release_socket(connection);
    }

    /// Ends a connection whose pipe nobody uses any more: both sides have ended, or ours and nobody reads the other.
    pub(crate) fn end_pipe_if_over(&mut self, connection: &mut Connection) {
        let socket = &connection.socket;
        if connection.pipe != Pipe::Shut || socket.is_leaving() || socket.is_closing() {
            return;
        }
        let slot = connection.newest;
        if connection.has_incoming() && self.dispatch.side.reading(slot) != Reading::Done {
            return;
        }
        connection.pipe = Pipe::No;
        (connection.incoming, connection.body_slot, connection.body_paused) = (Incoming::Nothing, NONE, false);
        self.unlink(connection, 1, NONE, true);
        self.dispatch.answer_sent(slot);
        self.after_answer(connection);
    }

    /// The application wants the socket of a connection that has switched. A taker that is dropped tells that there is
    /// none.
    pub(crate) fn hand_over(&mut self, connection: &mut Connection, slot: u32, taker: Taker) {
        if connection.socket.life != Life::Open || !connection.is_pipe_of(slot) {
            return;
        }
        connection.socket.life = Life::Leaving;
        connection.extras = true;
        self.dispatch.extras.set_taker(connection.key().index, taker);
        self.transport.end_receive(&mut connection.socket);
        self.transport.end_poll(&connection.socket);
        // What is held is the reader's; the socket is let go after that, when it is looked at.
        self.queue_resume(connection);
        self.queue_flush(connection);
    }

    /// Releases a socket that is to be handed over and that no operation names. Everything is sent.
    fn release_socket(&mut self, connection: &mut Connection) {
        let socket = &mut connection.socket;
        if socket.is_leaving() && socket.is_quiet() && !socket.holds_input() {
            socket.life = Life::Left;
        }
    }

    /// A socket has been let go: gives it to who wants it, last, so that whoever has it finds the request over and
    /// everybody told.
    pub(super) fn hand_out(&mut self, connection: &Connection) {
        let socket = self.transport.release(&connection.socket);
        self.dispatch.answers_lost(connection.oldest, Lost::Client, 0);
        let index = connection.key().index;
        let taker = self.dispatch.extras.taker(index);
        self.dispatch.end_extras(index, Disconnected::Taken);
        if let Some(taker) = taker {
            taker.give(socket);
        }
    }
}
