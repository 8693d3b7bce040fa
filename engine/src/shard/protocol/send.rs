//! Bytes go out, whatever they mean: how much of what was handed to the transport is taken, and what goes on behind it.
//!
//! ```text
//!   handed over ──nothing is told──▶ all is taken ──▶ what is next
//!        │ ▲                            ▲
//!        ▼ │ there is room              │
//!   so many bytes are taken ──it was the rest
//! ```
//!
//! Invariants: bytes taken are those of responses, informational ones and pipes, whatever a transport makes of them on
//! the wire; they are counted here, from what the transport tells, and nowhere read from a socket.
//!
//! Not here: what is sent (`http1`, `raw`, `stream`, `files`), and when a socket is full (`transport`).

use super::Protocol;
use super::connection::Connection;
use super::link::Out;
use super::stream::Progress;
use crate::driver::Io;
use crate::shard::transport::{RoomFound, Taken};

impl<I: Io> Protocol<I> {
    /// A silent send of which nothing was told has ended.
    #[inline(always)]
    pub(crate) fn end_silent_send(&mut self, connection: &mut Connection) {
        if connection.socket_mut().end_silent_send() {
            self.all_is_taken(connection);
        } else if connection.socket_mut().end_silent_part() {
            self.part_is_taken(connection);
        }
    }

    /// A part of what there is to send is taken: the next one follows when it has its turn.
    #[cold]
    fn part_is_taken(&mut self, connection: &mut Connection) {
        let part_max = self.transport.turns.sizes.part;
        let link = connection.link_mut();
        link.out_taken += part_max.min(link.out_len - link.out_taken);
        if !link.socket.is_closing() {
            self.transport.await_turn(&mut link.socket);
        }
    }

    /// A large send has its turn.
    #[cold]
    pub(crate) fn send_in_turn(&mut self, connection: &mut Connection) {
        let link = connection.link_mut();
        if !link.socket.takes_turn() {
            return;
        }
        // As when it was to go: something may follow it.
        self.transport.follow_up = true;
        let (streamed, has_begun) = (link.streamed(), !matches!(link.out, Out::Nothing));
        match (connection, streamed) {
            (Connection::Http1(http), Some(slot)) => self.send_stream(http, slot),
            (Connection::Http1(http), None) if has_begun => self.send_rest(http),
            (Connection::Http1(http), None) => self.flush_http1(http),
            (Connection::Raw(raw), _) => self.send_raw(raw),
        }
    }

    /// Everything handed over is taken: its memory is free again.
    #[inline(always)]
    fn all_is_taken(&mut self, connection: &mut Connection) {
        let link = connection.link_mut();
        let out = core::mem::replace(&mut link.out, Out::Nothing);
        if let Out::Stream { slot, last } = out {
            self.stream_sent(link, slot, last);
        }
        self.release_out(link, out);
        if link.socket.is_closing() {
            return;
        }
        match connection {
            Connection::Http1(http) => self.go_on(http),
            Connection::Raw(raw) => self.queue_flush(&mut raw.link),
        }
    }

    /// A send fell short, or failed.
    #[cold]
    pub(super) fn on_sent(&mut self, connection: &mut Connection, taken: Taken) {
        match self.send_progress(connection.link_mut(), taken) {
            Progress::Nothing => {}
            Progress::Short => self.is_short(connection, false),
            Progress::Ended => {
                connection.socket_mut().took_all();
                self.all_is_taken(connection);
            }
        }
    }

    /// A part of a file is reported.
    #[cold]
    pub(super) fn on_file_sent(&mut self, connection: &mut Connection, taken: Taken) {
        match (self.file_progress(connection.link_mut(), taken), connection) {
            (Progress::Nothing, _) => {}
            (Progress::Short, connection) => self.is_short(connection, true),
            (Progress::Ended, Connection::Http1(http)) => self.after_response(http),
            (Progress::Ended, Connection::Raw(raw)) => self.queue_flush(&mut raw.link),
        }
    }

    /// The rest waits for room: of a file's part, with `of_file`.
    fn is_short(&mut self, connection: &mut Connection, of_file: bool) {
        self.wait_for_room(connection.link_mut(), of_file);
        if let Connection::Http1(http) = connection {
            self.resume_unwanted(http);
        }
        self.renew_deadline(connection);
    }

    /// There is room for what is left, or the client is gone.
    #[cold]
    pub(super) fn on_room(&mut self, connection: &mut Connection, found: RoomFound) {
        let link = connection.link_mut();
        match (found, link.streamed(), &mut *connection) {
            (RoomFound::ClientGone, _, connection) => self.client_gone(connection.link_mut()),
            (RoomFound::OfFile, Some(slot), connection) => {
                self.go_on_with_file(connection.link_mut(), slot);
                self.renew_deadline(connection);
            }
            (RoomFound::OfMemory, Some(slot), Connection::Http1(http)) => self.send_stream(http, slot),
            (RoomFound::OfMemory, _, Connection::Raw(raw)) => self.send_raw(raw),
            (_, None, Connection::Http1(http)) => self.send_rest(http),
            // A pipe hands over nothing but its stream.
            (RoomFound::OfFile, None, Connection::Raw(_)) => {}
        }
    }

    /// Sets the deadline by what is waited for now.
    pub(crate) fn renew_deadline(&mut self, connection: &mut Connection) {
        match connection {
            Connection::Http1(http) => self.set_timer(http),
            Connection::Raw(raw) => self.set_raw_deadline(raw),
        }
    }
}
