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

use std::net::Shutdown;

use super::Shard;
use super::connection::{Incoming, NO_BUFFER, Pipe, Receiving, Sending};
use super::dispatch::NONE;
use crate::id::RequestId;
use crate::queue::{Disconnected, Reading, Taker};
use crate::ring::{Io, Op, Token};
use crate::slab::Key;
use crate::timer::NEVER;

impl<I: Io> Shard<I> {
    /// The application has answered a request with a switch of protocols.
    #[cold]
    pub(super) fn begin_pipe(&mut self, key: Key, slot: u32) {
        debug_assert!(self.dispatch.side.has_body(slot), "only who asked for an upgrade gets one");
        self.counters.connections_upgraded.count();
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.pipe = Pipe::Open;
        connection.machine.finish();
        // As of every answer that is taken back; input may end the connection before the caller comes to it.
        self.dispatch.slots[slot as usize].answered = true;
        self.begin_body(key, slot, Incoming::Raw);
        self.resume_input(key);
    }

    /// The client has ended its side.
    pub(super) fn pipe_input_ended(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let slot = core::mem::replace(&mut connection.body_slot, NONE);
        (connection.incoming, connection.body_paused) = (Incoming::Nothing, false);
        // Never over by itself: our side may go on.
        let _ = connection.machine.end_of_input(true);
        self.dispatch.side.finish_body(slot);
        self.dispatch.side.wake_reader(slot);
        self.dispatch.half_closed(key.index);
        self.end_pipe_if_over(key);
    }

    /// Everything that was given is sent; with `is_last`, there will be no more.
    pub(super) fn pipe_is_sent(&mut self, key: Key, slot: u32, is_last: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if is_last && connection.pipe == Pipe::Open {
            connection.pipe = Pipe::Shut;
            self.io.shutdown(connection.fd, Shutdown::Write);
            if let Some(outgoing) = self.dispatch.outgoing(slot) {
                outgoing.complete();
            }
            self.end_pipe_if_over(key);
        }
        self.release_socket(key);
    }

    /// Ends a connection whose pipe nobody uses any more: both sides have ended, or ours and nobody reads the other.
    pub(super) fn end_pipe_if_over(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.pipe != Pipe::Shut || connection.leaving || connection.closing {
            return;
        }
        let slot = connection.newest;
        if connection.has_incoming() && self.dispatch.side.reading(slot) != Reading::Done {
            return;
        }
        connection.pipe = Pipe::No;
        (connection.incoming, connection.body_slot, connection.body_paused) = (Incoming::Nothing, NONE, false);
        let resume = self.unlink(key, 1, NONE, true).resume;
        debug_assert!(!resume, "a pipe that is over holds no input back");
        self.dispatch.finish_slot(slot);
        self.after_answer(key);
    }

    /// The application wants the socket of a connection that has switched.
    pub(super) fn hand_over(&mut self, id: RequestId, taker: Taker) {
        // A taker that is dropped tells that there is no socket.
        let Some(slot) = self.dispatch.side.under_way(id) else { return };
        let key = self.dispatch.slots[slot as usize].connection;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.closing || connection.leaving || !connection.is_pipe_of(slot) {
            return;
        }
        (connection.leaving, connection.extras) = (true, true);
        self.dispatch.extras.set_taker(key.index, taker);
        // What is held is the reader's.
        self.resume_input(key);
        let Some(connection) = self.connections.get_mut(key).filter(|connection| !connection.closing) else { return };
        if matches!(connection.receiving, Receiving::Armed | Receiving::Once) {
            connection.receiving = Receiving::Stopping;
            self.io.cancel(Self::receive_token(key));
        }
        if connection.polled {
            self.io.cancel(Token::new(Op::Poll, key.generation, key.index));
        }
        self.queue_flush(key);
    }

    /// Lets a socket go that is to be handed over and that no operation names. Everything is sent.
    fn release_socket(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let in_use = connection.receiving != Receiving::Stopped || connection.sending != Sending::No;
        let is_busy = in_use || connection.polled || connection.reading || connection.held_first != NO_BUFFER;
        if !connection.leaving || connection.closing || is_busy {
            return;
        }
        self.give_stage(key);
        self.leave_cell_waiters(key);
        let Some(connection) = self.connections.remove(key) else { return };
        let socket = self.io.release(connection.fd);
        self.wheel.set(key.index, NEVER);
        self.dispatch.end_requests_of(connection.oldest);
        let taker = self.dispatch.extras.taker(key.index);
        self.dispatch.end_extras(key.index, Disconnected::Taken);
        // Last, so that whoever has it finds the request over and everybody told.
        if let Some(taker) = taker {
            taker.give(socket);
        }
    }
}
