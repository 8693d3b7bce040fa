//! Connections that have switched protocols: bytes go both ways between a client and an application.
//!
//! ```text
//!   101 has its turn ──▶ Open ──(the application has ended its side, all is sent: FIN)──▶ Shut
//!                         │                                                                │
//!                         │ the socket is asked for                (the client has ended its side, or nobody reads)
//!                         ▼                                                                ▼
//!                       leaving ──(all is sent, no operation names the socket)──▶ let go   closed or drained
//! ```
//!
//! Invariants: the request whose response switches has its slot to the end: it holds what has come, and its stream what
//! is to go; what comes once the response is taken back, and what was held until then, goes into the slot's chain as it
//! is; each side ends by itself; a pipe has no timer but that of a client that does not take what is sent.
//!
//! Not here: what the bytes mean; how they are read (rooms `queue`, `api`).

use super::Protocol;
use super::link::Link;
use super::stream::Next;
use crate::driver::Io;
use crate::mem::Input;
use crate::queue::{Disconnected, Reading, Slot, SocketReceiver};
use crate::record::UnsentReason;
use crate::shard::transport::{Awaited, Resource};
use crate::timer::NEVER;

/// What comes from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FromClient {
    Open,
    /// Enough of it waits to be read.
    Paused,
    /// It has ended its side.
    Ended,
}

/// The way in of a pipe: what has come is in the chain of its request's slot. It is open from when the switch is
/// answered, also while earlier answers are still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pipe {
    pub(super) slot: Slot,
    from_client: FromClient,
}

impl Pipe {
    pub(super) fn new(slot: Slot) -> Self {
        Self { slot, from_client: FromClient::Open }
    }

    /// The slot into whose chain goes what comes.
    pub(super) fn reader(&self) -> Option<Slot> {
        (self.from_client != FromClient::Ended).then_some(self.slot)
    }

    fn note_room(&mut self, room: u64) {
        self.from_client = if room == 0 { FromClient::Paused } else { FromClient::Open };
    }

    #[cfg(test)]
    pub(super) fn is_paused(&self) -> bool {
        self.from_client == FromClient::Paused
    }
}

/// What goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Open,
    /// It has been ended.
    Shut,
}

/// See the module's head. The link is at the beginning: see `Connection`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Raw {
    pub(super) link: Link,
    pub(super) pipe: Pipe,
    ours: Side,
    /// A proxy has said whose it is.
    pub(super) is_proxied: bool,
}

impl Raw {
    pub(super) fn new(link: Link, pipe: Pipe, is_proxied: bool) -> Self {
        Self { link, pipe, ours: Side::Open, is_proxied }
    }
}

impl<I: Io> Protocol<I> {
    /// A request is answered with a switch: what comes is the application's.
    pub(super) fn begin_pipe(&mut self, link: &mut Link) {
        // What is armed may be of the wrong kind for what may be much.
        self.transport.stop_receive(&mut link.socket);
        self.queue_resume(link);
    }

    /// Puts what has come into the slot's chain; gives back what can only be taken later.
    pub(super) fn take_raw<'a>(&mut self, link: &mut Link, pipe: &mut Pipe, all: Input<'a>) -> Option<Input<'a>> {
        let mut used = 0;
        while used < all.len() {
            let input = all.after(used);
            let room = self.pipe_room(link, pipe);
            if room == 0 {
                return Some(input);
            }
            let input = input.first(u32::try_from(room).unwrap_or(u32::MAX).min(input.len()));
            self.dispatch.body_comes(pipe.slot);
            let is_read = self.dispatch.reading(pipe.slot) != Reading::Done;
            // A pipe has no limit that it could pass.
            let taken = if is_read { self.dispatch.append_body(pipe.slot, input) } else { Ok(()) };
            debug_assert!(taken.is_ok(), "what comes of a pipe is not limited");
            self.dispatch.body_has_come(pipe.slot, input.len());
            used += input.len();
        }
        None
    }

    /// Bytes that have come that may be taken now; without any, the reader is to tell when there is room.
    fn pipe_room(&mut self, link: &Link, pipe: &mut Pipe) -> u64 {
        if link.socket.is_leaving() {
            // The last that comes, whatever the credit.
            return u64::MAX;
        }
        let room = self.dispatch.room_or_pause(pipe.slot, self.dispatch.policy(link.policy).body_credit);
        pipe.note_room(room);
        room
    }

    /// Receives, unless the connection does or nothing more comes.
    pub(super) fn arm_pipe(&mut self, link: &mut Link, pipe: &mut Pipe) {
        if !link.socket.may_receive() || pipe.from_client == FromClient::Ended {
            return;
        }
        let room = self.dispatch.receivable_or_pause(pipe.slot, self.dispatch.policy(link.policy).body_credit);
        pipe.note_room(room);
        if room > 0 {
            let reader = Some(pipe.slot);
            self.receive_piece(link, room, reader, Awaited::Long(self.kept_for(reader)));
        } else if self.dispatch.is_body_read(pipe.slot) {
            self.transport.await_resource(&mut link.socket, Resource::LargeBuffer);
        }
        self.transport.poll_end(&mut link.socket);
    }

    /// The client has ended its side.
    pub(super) fn pipe_input_ends(&mut self, link: &mut Link, pipe: &mut Pipe) {
        if !link.socket.holds_input() && pipe.from_client != FromClient::Ended {
            pipe.from_client = FromClient::Ended;
            self.dispatch.finish_body(pipe.slot);
            self.dispatch.wake_reader(pipe.slot);
        }
        self.dispatch.half_closed(link.key());
    }

    /// The switch has its turn: its response goes out.
    pub(super) fn begin_raw(&mut self, raw: &mut Raw) {
        self.set_raw_deadline(raw);
        self.send_raw(raw);
    }

    /// The one deadline that there is: of a client that does not take what is sent.
    pub(super) fn set_raw_deadline(&mut self, raw: &Raw) {
        let deadline = if raw.link.socket.blocked() { self.send_deadline(&raw.link) } else { NEVER };
        self.transport.set_deadline(&raw.link.socket, deadline);
    }

    /// Hands what is next to the socket, if it is free.
    pub(super) fn flush_raw(&mut self, raw: &mut Raw) {
        if raw.link.socket.sends() || raw.link.socket.is_closing() {
            // A silent send's end is the moment to look again.
            self.transport.follow_up = true;
            return;
        }
        self.send_raw(raw);
    }

    pub(super) fn send_raw(&mut self, raw: &mut Raw) {
        let slot = raw.pipe.slot;
        match self.next_of_stream(&mut raw.link, slot) {
            Next::Nothing => {}
            Next::Later => self.set_raw_deadline(raw),
            Next::AllSent { is_last } => self.raw_is_sent(raw, is_last),
            Next::Batch(mut batch) => {
                if batch.is_fresh {
                    let grown = self.finish_switch_head(slot);
                    self.grow_head(&mut batch, slot, grown);
                }
                self.send_batch(&mut raw.link, &batch, (slot, false));
                self.set_raw_deadline(raw);
            }
        }
    }

    /// Everything that was given is sent; with `is_last`, there will be no more.
    fn raw_is_sent(&mut self, raw: &mut Raw, is_last: bool) {
        if is_last && raw.ours == Side::Open {
            raw.ours = Side::Shut;
            // As wherever a client may see an end.
            self.dispatch.write_tally();
            self.transport.shut(&raw.link.socket);
            if let Some(outgoing) = self.dispatch.outgoing(raw.pipe.slot) {
                outgoing.complete();
            }
        }
        raw.link.socket.leave_if_quiet();
    }

    /// Whether nobody uses a pipe any more: both sides have ended, or ours and nobody reads the other.
    pub(super) fn is_pipe_over(&self, raw: &Raw) -> bool {
        let is_unread =
            || raw.pipe.from_client == FromClient::Ended || self.dispatch.reading(raw.pipe.slot) == Reading::Done;
        raw.ours == Side::Shut && raw.link.socket.is_open() && is_unread()
    }

    /// The socket is to be handed over once all is sent and no operation names it.
    pub(super) fn begin_leaving(&mut self, link: &mut Link, taker: SocketReceiver) {
        if !self.transport.begin_leaving(&mut link.socket) {
            return;
        }
        self.dispatch.set_taker(link.key(), taker);
        // What is held is the reader's; the socket is let go after that, when it is looked at.
        self.queue_resume(link);
        self.queue_flush(link);
    }

    /// A socket has been let go: gives it to who wants it, last, so that whoever has it finds the request over and
    /// everybody told.
    pub(super) fn hand_out(&mut self, link: &Link, oldest: Option<Slot>) {
        let socket = self.transport.release(&link.socket);
        self.dispatch.responses_unsent(oldest, UnsentReason::PipeEnded, 0);
        self.dispatch.write_tally();
        let taker = self.dispatch.take_taker(link.key());
        self.dispatch.end_extras(link.key(), Disconnected::Taken);
        if let Some(taker) = taker {
            taker.give(socket);
        }
    }
}
