//! Bytes come in, whatever they mean: into which buffers, what of them is held, and what is told of their end.
//!
//! Invariants: the share of a buffer that an event brings is given back with the event: who keeps bytes for longer
//! copies them or takes a share of their own; a receive that found no buffer is not begun again before the kernel has
//! one, unless it no longer needs any.
//!
//! Not here: what the bytes mean (`http1`, `raw`), the operations (`transport`), and which buffers the kernel has (room
//! `mem`).

use super::Protocol;
use super::connection::Connection;
use super::http1::Switch;
use super::link::Link;
use crate::mem::{Area, Input};
use crate::ring::{Event, Io};
use crate::shard::transport::Receiving;

/// What has come.
pub(crate) enum Received<'a> {
    Bytes(Input<'a>),
    /// So many bytes, that were thrown away.
    Discarded(u32),
    /// The client has ended its side.
    End,
}

impl<I: Io> Protocol<I> {
    pub(super) fn on_receive(&mut self, connection: &mut Connection, event: Event) {
        let share = event.buffer.map(|filled| self.dispatch.side.buffers.take(filled));
        let link = connection.link_mut();
        let large = link.socket.receiving == Receiving::Once;
        if !event.more {
            link.socket.receiving = Receiving::Stopped;
        }
        if !link.socket.is_closing() {
            match (event.result, &share) {
                (1.., Some(share)) => {
                    let input = self.dispatch.side.arena().input(share, 0, event.result.cast_unsigned());
                    self.received(connection, Received::Bytes(input));
                }
                (1.., None) => self.received(connection, Received::Discarded(event.result.cast_unsigned())),
                (0, _) => self.received(connection, Received::End),
                (error, _) => self.receive_failed(link, -error, large),
            }
        }
        if !event.more {
            self.receives_no_more(connection);
        }
        if event.more_at_hand && !self.settings.colocated {
            self.delay_wake(connection);
        }
        if let Some(share) = share {
            self.dispatch.side.buffers.release(share);
        }
    }

    #[inline(always)]
    fn received(&mut self, connection: &mut Connection, received: Received<'_>) {
        if let Some((link, pipe)) = connection.pipe_mut() {
            self.pipe_received(link, pipe, received);
        } else if let Connection::Http1(http) = connection {
            self.http1_received(http, received);
        }
    }

    #[cold]
    fn receive_failed(&mut self, link: &mut Link, errno: i32, large: bool) {
        match errno {
            libc::ENOBUFS => {
                self.transport.starve(&mut link.socket, large, &mut self.dispatch.side.buffers);
            }
            // Asked for, or of no consequence: armed again when input is wanted.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            _ => self.client_gone(link),
        }
    }

    /// A receive has ended: goes on with it.
    #[cold]
    fn receives_no_more(&mut self, connection: &mut Connection) {
        let link = connection.link_mut();
        if link.socket.is_closing() {
            return;
        }
        if link.socket.is_leaving() {
            return self.queue_flush(link);
        }
        if link.socket.is_starved() {
            // It waits for a buffer.
            return;
        }
        let goes_on = !link.socket.holds_input() && !link.socket.has_ended();
        match goes_on {
            true => self.receive(connection),
            false => self.poll_connection_end(connection),
        }
    }

    /// More of a body is at hand than was received: its reader is woken when that has come, too.
    fn delay_wake(&mut self, connection: &Connection) {
        let link = connection.link();
        if let Some(slot) = connection.reader().filter(|_| link.socket.receives()) {
            self.dispatch.delay_wake(slot, self.dispatch.policy(link.policy).body_credit);
        }
    }

    /// Receives again for a connection whose receive ended for want of buffers, if the kernel has some. `false`: not
    /// yet.
    pub(crate) fn feed(&mut self, connection: &mut Connection) -> bool {
        let socket = &connection.link().socket;
        if !socket.is_starved() || socket.is_closing() {
            return true;
        }
        let (any, long, keeps) = match connection {
            Connection::Http1(http) if matches!(http.switch, Switch::No) => {
                (http.takes_nothing(), http.receives_long(), http.keeps_long())
            }
            Connection::Http1(_) | Connection::Raw(_) => (false, true, true),
        };
        if !(any || self.has_buffer_for(long, keeps)) {
            // It may take long: a client that leaves is to be noticed.
            self.poll_connection_end(connection);
            return false;
        }
        connection.link_mut().socket.receiving = Receiving::Stopped;
        self.receive(connection);
        if let Connection::Http1(http) = connection {
            // Its client has all its time again.
            self.set_timer(http);
        }
        true
    }

    /// Receives, unless the connection does or takes no more.
    fn receive(&mut self, connection: &mut Connection) {
        if let Some((link, pipe)) = connection.pipe_mut() {
            self.arm_pipe(link, pipe);
        } else if let Connection::Http1(http) = connection {
            self.arm_receive(http);
        }
    }

    /// While receiving is stopped, a client that leaves is noticed by a poll, if that matters to anybody.
    pub(super) fn poll_connection_end(&mut self, connection: &mut Connection) {
        match connection {
            Connection::Http1(http) => self.poll_end(http),
            Connection::Raw(raw) => self.transport.poll_end(&mut raw.link.socket),
        }
    }

    /// Whether the kernel has a buffer for what is awaited: as [`receive_piece`](Self::receive_piece) chooses, since
    /// armed for a kind that is not there, it would only come back at once.
    fn has_buffer_for(&self, long: bool, keeps: bool) -> bool {
        let buffers = &self.dispatch.side.buffers;
        let small = buffers.small.any_posted() && buffers.spares_small(keeps);
        small || (long && buffers.large.any_posted())
    }

    /// Receives more of something that may be `long`, at most so many bytes, which will be kept if it `keeps` them.
    pub(super) fn receive_piece(&mut self, link: &mut Link, most: u64, (long, keeps): (bool, bool)) {
        // Without a large buffer, small ones do, while there are enough of them for others.
        let small = !long || (!self.has_large() && self.dispatch.side.buffers.spares_small(keeps));
        if small {
            return self.transport.receive_many(&mut link.socket);
        }
        let most = most.min(u64::from(self.dispatch.side.arena().cell_bytes(Area::Body)));
        self.transport.receive_large(&mut link.socket, u32::try_from(most).unwrap_or(u32::MAX));
    }

    /// Whether the kernel has a large buffer to receive into, or gets one now.
    pub(super) fn has_large(&mut self) -> bool {
        if !self.dispatch.side.buffers.large.any_posted() {
            self.dispatch.reclaim_bodies_if_dry();
            self.post_buffers();
        }
        self.dispatch.side.buffers.large.any_posted()
    }

    /// Keeps input that cannot be taken yet, in front of or behind what is held already.
    #[cold]
    pub(super) fn hold(&mut self, link: &mut Link, input: Input<'_>, in_front: bool) {
        let buffers = &mut self.dispatch.side.buffers;
        if !self.transport.hold(&mut link.socket, buffers, input, in_front) {
            self.abort(link);
        }
    }
}
