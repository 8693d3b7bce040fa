//! A connection as the shard keeps it: of one protocol, of a closed set, with the few calls by which the shard lends
//! it.
//!
//! Invariants: an idle connection is one entry and nothing else: no buffer, no request slot. A protocol that ends in
//! another says so by its state, and the change is made here.
//!
//! Not here: what a protocol does in these calls (`http1`, `raw`), what they have in common (`link`, `receive`,
//! `stream`, `files`), and the table of connections (`shard`).

use core::mem::offset_of;

use ringress_proto::reject::Reject;

use super::Protocol;
use super::http1::{Http1, Intake, Rest, Stall};
use super::link::{Link, Out};
use super::raw::{Pipe, Raw};
use crate::clock::Tick;
use crate::driver::Io;
use crate::queue::{Informational, Registration, ResponseFlags, Slot, SocketReceiver};
use crate::record::UnsentReason;
use crate::shard::dispatch::Dispatch;
use crate::shard::transport::{Accepted, OtherSide, Resource, Socket, SocketEvent};
use crate::slab::ConnectionKey;

/// See the module's head.
#[derive(Debug)]
#[repr(u8)]
pub(crate) enum Connection {
    Http1(Http1),
    /// It has switched protocols: bytes go both ways between the client and an application.
    Raw(Raw),
}

const _: () =
    assert!(size_of::<Connection>() <= 256 - 16, "an idle connection costs at most 256 bytes, slab entry and all");
// So that finding the link, which each event does a few times, needs no look at which protocol it is: behind a tag of
// its own, each begins at the same place.
const _: () = assert!(offset_of!(Http1, link) == offset_of!(Raw, link), "each protocol's state begins with the link");

impl Connection {
    pub(crate) fn new(accepted: &Accepted, key: ConnectionKey) -> Self {
        Self::Http1(Http1::new(accepted, key))
    }

    #[inline]
    pub(super) fn link(&self) -> &Link {
        match self {
            Self::Http1(http) => &http.link,
            Self::Raw(raw) => &raw.link,
        }
    }

    #[inline]
    pub(super) fn link_mut(&mut self) -> &mut Link {
        match self {
            Self::Http1(http) => &mut http.link,
            Self::Raw(raw) => &mut raw.link,
        }
    }

    #[inline]
    pub(crate) fn socket(&self) -> &Socket {
        &self.link().socket
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.link_mut().socket
    }

    /// The way in of its pipe, if what comes is for one.
    #[inline]
    pub(super) fn pipe_mut(&mut self) -> Option<(&mut Link, &mut Pipe)> {
        match self {
            Self::Http1(Http1 { link, intake: Intake::Pipe(pipe), .. }) => Some((link, pipe)),
            Self::Http1(_) => None,
            Self::Raw(raw) => Some((&mut raw.link, &mut raw.pipe)),
        }
    }

    /// Whether a proxy has said whose it is.
    fn is_proxied(&self) -> bool {
        match self {
            Self::Http1(http) => http.is_proxied,
            Self::Raw(raw) => raw.is_proxied,
        }
    }

    /// The slot of its oldest request.
    fn first(&self) -> Option<Slot> {
        match self {
            Self::Http1(http) => http.oldest,
            Self::Raw(raw) => Some(raw.pipe.slot),
        }
    }

    /// What becomes of what is owed on it, once it is closing.
    fn why_unsent(&self) -> UnsentReason {
        match (self, self.link().why_unsent()) {
            (Self::Raw(_), UnsentReason::Client) => UnsentReason::PipeEnded,
            (_, why) => why,
        }
    }

    /// The slot whose body is received.
    pub(super) fn reader(&self) -> Option<Slot> {
        match self {
            Self::Http1(http) => http.reading_slot(),
            Self::Raw(raw) => raw.pipe.reader(),
        }
    }

    /// Since when it has had nothing to do, if that is so. How long a pipe may be silent is its protocol's business.
    pub(crate) fn rest(&self) -> Option<Rest> {
        match self {
            Self::Http1(http) => http.rest(),
            Self::Raw(_) => None,
        }
    }

    /// The kernel says that its client has sent something.
    pub(crate) fn is_heard_of(&mut self, now: Tick) {
        if let Self::Http1(http) = self {
            http.is_heard_of(now);
        }
    }

    /// Whether it waits for a cell to put a head together in.
    pub(crate) fn waits_for_cell(&self) -> bool {
        self.socket().waits_for() == Some(Resource::Cell)
    }

    /// Why the head under way does not go on, if it could make room for others.
    pub(crate) fn head_stall(&self) -> Option<Stall> {
        match self {
            Self::Http1(http) => http.head_stall(),
            Self::Raw(_) => None,
        }
    }

    /// ... the trailer section.
    pub(crate) fn body_stall(&self, dispatch: &Dispatch) -> Option<Stall> {
        match self {
            Self::Http1(http) => http.body_stall(dispatch),
            Self::Raw(_) => None,
        }
    }

    /// The slot of the body under way, if it is awaited whole and could make room for others.
    pub(crate) fn awaited_whole(&self) -> Option<Slot> {
        match self {
            Self::Http1(http) => http.awaited_whole(),
            Self::Raw(_) => None,
        }
    }

    /// When something came last of what is under way, if that is in pieces.
    pub(crate) fn grown(&self) -> Tick {
        match self {
            Self::Http1(http) => http.grown(),
            Self::Raw(_) => 0,
        }
    }

    /// Whether what has come of a body is enough for now.
    #[cfg(test)]
    pub(crate) fn is_paused(&self) -> bool {
        match self {
            Self::Http1(Http1 { intake: Intake::Pipe(pipe), .. }) => pipe.is_paused(),
            Self::Http1(Http1 { intake: Intake::Body(body), .. }) => body.is_paused(),
            Self::Http1(_) => false,
            Self::Raw(raw) => raw.pipe.is_paused(),
        }
    }

    /// Whether more of a body, or of a pipe, may come.
    #[cfg(test)]
    pub(crate) fn has_incoming(&self) -> bool {
        match self {
            Self::Http1(http) => http.has_incoming() || http.reading_slot().is_some(),
            Self::Raw(raw) => raw.pipe.reader().is_some(),
        }
    }
}

impl<I: Io> Protocol<I> {
    /// A connection has come in: it is received from.
    pub(crate) fn begin(&mut self, connection: &mut Connection) {
        if let Connection::Http1(http) = connection {
            self.begin_http1(http);
        }
    }

    /// Something has come of an operation of a connection's.
    #[inline(always)]
    pub(crate) fn on_event(&mut self, connection: &mut Connection, event: SocketEvent) {
        match event {
            SocketEvent::Received(reception) => self.on_receive(connection, reception),
            SocketEvent::Sent(taken) => self.on_sent(connection, taken),
            SocketEvent::FileSent(taken) => self.on_file_sent(connection, taken),
            SocketEvent::FileRead(got) => {
                let slot = connection.first();
                self.on_read(connection.link_mut(), slot, got);
            }
            SocketEvent::OtherSide { found, again } => self.on_other_side(connection, found, again),
            SocketEvent::Room(found) => self.on_room(connection, found),
            SocketEvent::Nothing => {}
        }
        self.end_pipe_if_over(connection);
    }

    /// The client has ended its side or is gone, or the poll that looks for that is over: it is set again where the
    /// client's end still matters.
    #[cold]
    fn on_other_side(&mut self, connection: &mut Connection, found: OtherSide, again: bool) {
        let link = connection.link_mut();
        if link.socket.is_leaving() {
            self.queue_flush(link);
        }
        match found {
            OtherSide::Same => {}
            OtherSide::Ended => self.dispatch.half_closed(link.key()),
            OtherSide::Gone => self.client_gone(link),
        }
        if again {
            self.poll_connection_end(connection);
        }
    }

    /// The response in a slot is there, and the slot is the shard's.
    #[inline(always)]
    pub(crate) fn on_response(&mut self, connection: &mut Connection, slot: Slot, flags: ResponseFlags) {
        // Behind a switch of protocols there are no responses.
        if let Connection::Http1(http) = connection {
            self.http1_response(http, slot, flags);
        }
    }

    /// Hands what is next to the socket, if it is free and there is something.
    #[inline]
    pub(crate) fn flush(&mut self, connection: &mut Connection) {
        connection.link_mut().in_flush.taken_off();
        match connection {
            Connection::Http1(http) => {
                self.flush_http1(http);
                if let Intake::Switched(pipe) = http.intake {
                    self.switch(connection, pipe);
                }
            }
            Connection::Raw(raw) => {
                self.flush_raw(raw);
                self.end_pipe_if_over(connection);
            }
        }
    }

    /// The switch of protocols has its turn.
    #[cold]
    fn switch(&mut self, connection: &mut Connection, pipe: Pipe) {
        let is_proxied = connection.is_proxied();
        let mut raw = Raw::new(connection.link_mut().take(), pipe, is_proxied);
        self.begin_raw(&mut raw);
        *connection = Connection::Raw(raw);
        self.end_pipe_if_over(connection);
    }

    /// A pipe that nobody uses any more ends as HTTP/1 does.
    #[inline(always)]
    pub(super) fn end_pipe_if_over(&mut self, connection: &mut Connection) {
        if let Connection::Raw(raw) = connection
            && self.is_pipe_over(raw)
        {
            self.end_pipe(connection);
        }
    }

    #[cold]
    fn end_pipe(&mut self, connection: &mut Connection) {
        let Connection::Raw(raw) = connection else { return };
        let (link, slot, is_proxied) = (raw.link.take(), raw.pipe.slot, raw.is_proxied);
        self.dispatch.response_sent(slot);
        let mut http = Http1::over(link);
        http.is_proxied = is_proxied;
        self.end_http1(&mut http);
        *connection = Connection::Http1(http);
    }

    /// A connection's deadline has come.
    #[cold]
    pub(crate) fn on_deadline(&mut self, connection: &mut Connection) {
        if connection.socket().is_closing() {
            return;
        }
        match connection {
            Connection::Http1(http) => self.http1_deadline(http),
            Connection::Raw(raw) if raw.link.socket.blocked() => self.judge_send(&mut raw.link),
            // How long either side may be silent is their protocol's business.
            Connection::Raw(_) => {}
        }
    }

    /// The application has told something of a slot's answer in pieces, or of its side of a pipe.
    pub(crate) fn on_stream_signal(&mut self, connection: &mut Connection, slot: Slot) {
        let is_first = connection.first() == Some(slot);
        self.stream_signalled(connection.link_mut(), slot, is_first);
    }

    /// A body, or what a pipe has brought, has been read: receiving goes on.
    pub(crate) fn body_was_read(&mut self, connection: &mut Connection, slot: Slot) {
        if connection.reader() == Some(slot) {
            self.queue_resume(connection.link_mut());
        }
        self.end_pipe_if_over(connection);
    }

    /// Somebody waits for a body: its client may do so, too.
    pub(crate) fn body_is_wanted(&mut self, connection: &mut Connection, slot: Slot) {
        if let Connection::Http1(http) = connection {
            self.http1_body_is_wanted(http, slot);
        }
    }

    /// A cell is free for a connection that waited for one. `false`: it waits no more.
    pub(crate) fn on_cell(&mut self, connection: &mut Connection) -> bool {
        self.cell_is_free(connection.link_mut())
    }

    /// Somebody is to be told of a connection's end.
    pub(crate) fn watch(&mut self, connection: &mut Connection, registration: Registration) {
        self.add_watcher(connection.link_mut(), registration);
    }

    /// An informational response for a request under way.
    pub(crate) fn send_informational(&mut self, connection: &mut Connection, slot: Slot, answer: Informational) {
        match connection {
            Connection::Http1(http) => self.http1_informational(http, slot, answer),
            // The response has begun.
            Connection::Raw(_) => self.counters.informational_dropped.count(),
        }
    }

    /// The application wants the socket of a connection that has switched. A taker that is dropped tells that there is
    /// none.
    pub(crate) fn hand_over(&mut self, connection: &mut Connection, slot: Slot, taker: SocketReceiver) {
        let switches = match connection {
            Connection::Http1(http) => http.pipe().is_some_and(|pipe| pipe.slot == slot),
            Connection::Raw(raw) => raw.pipe.slot == slot,
        };
        if switches {
            self.begin_leaving(connection.link_mut(), taker);
        }
    }

    /// Closes a connection at once.
    pub(crate) fn reset(&mut self, connection: &mut Connection) {
        self.abort(connection.link_mut());
    }

    /// Closes a connection that [rests](Connection::rest), as its timer would: others need its place. A client that has
    /// just sent a request on it sends that again (RFC 9112 section 9.3.1).
    pub(crate) fn evict(&mut self, connection: &mut Connection) {
        self.close(connection.link_mut());
    }

    /// Gives a [stalled](Connection::head_stall) head up, since others need its cell: answers 408, as its timer would,
    /// or 503, if it is not its client who is awaited or no slot is left.
    pub(crate) fn evict_head(&mut self, connection: &mut Connection) {
        if let Connection::Http1(http) = connection
            && let Some(stall) = http.head_stall()
        {
            self.counters.heads_evicted.count();
            self.give_head_up(http, stall.reject(Reject::HeaderTimeout));
        }
    }

    /// Gives up what waits for a cell beyond its share: others need the buffers that it keeps.
    pub(crate) fn refuse_beyond_share(&mut self, connection: &mut Connection) {
        if let Connection::Http1(http) = connection {
            self.counters.cell_shares_refused.count();
            if http.has_head() {
                self.give_head_up(http, Reject::Overloaded);
            } else {
                self.body_failed(http, Reject::Overloaded);
            }
        }
    }

    /// Gives a request up whose body is [stalled](Connection::body_stall), in the same way; its reader is told.
    pub(crate) fn evict_stalled_body(&mut self, connection: &mut Connection) {
        if let Connection::Http1(http) = connection
            && let Some(stall) = http.body_stall(&self.dispatch)
        {
            self.counters.trailers_evicted.count();
            self.body_failed(http, stall.reject(Reject::BodyTimeout));
        }
    }

    /// Answers 408 or 503 to a [body awaited whole](Connection::awaited_whole), as its timer would: others need the
    /// buffers that are promised to it.
    pub(crate) fn evict_body(&mut self, connection: &mut Connection) {
        if let Connection::Http1(http) = connection {
            self.give_gathered_up(http);
        }
    }

    /// Lets a connection end as soon as it owes nothing: the engine is stopping.
    #[cold]
    pub(crate) fn finish(&mut self, connection: &mut Connection) {
        if let Connection::Http1(http) = connection {
            self.finish_http1(http);
        }
    }

    /// A request of a connection has made room for another client's, which it has not been lent for.
    // Inlined, it grows the loop over all lists: 40 instructions a request of turn/colocated-4096/1.
    #[cold]
    #[inline(never)]
    pub(crate) fn was_displaced(&mut self, connection: &mut Connection, slot: Slot) {
        match connection {
            Connection::Http1(http) if !http.link.socket.is_closing() => self.http1_was_displaced(http, slot),
            Connection::Http1(_) | Connection::Raw(_) => {}
        }
    }

    /// Nobody receives any more from the queue that a request of a connection waits in.
    #[cold]
    #[inline(never)]
    pub(crate) fn lost_consumers(&mut self, connection: &mut Connection, slot: Slot) {
        match connection {
            Connection::Http1(http) if !http.link.socket.is_closing() => self.http1_lost_consumers(http, slot),
            Connection::Http1(_) | Connection::Raw(_) => {}
        }
    }

    /// A connection's entry is gone: gives back what it still had.
    #[cold]
    pub(crate) fn ended(&mut self, mut connection: Connection) {
        if let Connection::Http1(http) = &mut connection {
            self.drop_head(http);
            self.drop_gathered(http);
        }
        if connection.is_proxied() {
            self.dispatch.is_proxied_no_more(connection.link().key());
        }
        let (oldest, why) = (connection.first(), connection.why_unsent());
        let link = connection.link_mut();
        self.drop_held(link);
        self.return_borrowed(link);
        self.transport.leave_stage(&mut link.socket, &mut self.dispatch.cells_mut().stage);
        self.admitted.leave(link.key());
        if link.socket.has_left() {
            self.hand_out(link, oldest);
            return self.dispatch.peers_mut().leave(link.key());
        }
        let out = core::mem::replace(&mut link.out, Out::Nothing);
        self.lose_out(link, out);
        self.dispatch.responses_unsent(oldest, why, 0);
        self.dispatch.peers_mut().leave(link.key());
        // A client that sees the end finds its requests counted.
        self.dispatch.write_tally();
        self.transport.close(&link.socket);
        // Last, so that whoever is told finds the requests gone.
        self.dispatch.end_extras(link.key(), link.how);
    }

    /// The shard has failed: the senders of a connection's streams are told, and its client sees its end. What the
    /// kernel was lent stays where it is.
    pub(crate) fn give_up(&mut self, connection: &Connection) {
        let link = connection.link();
        if let Some(slot) = link.streamed() {
            self.dispatch.give_up_stream(slot);
        }
        self.dispatch.give_up_streams(connection.first());
        self.transport.give_up(&link.socket);
    }
}
