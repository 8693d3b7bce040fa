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
use super::http1::{Http1, Intake};
use super::link::Link;
use crate::driver::Io;
use crate::mem::{Area, Group, Input};
use crate::queue::{Reading, Slot};
use crate::shard::dispatch::NoCell;
use crate::shard::transport::{Awaited, Kept, Received, Reception, Resource, Way};

impl NoCell {
    /// What one that is not refused waits for.
    pub(super) fn resource(self) -> Resource {
        if self == Self::Now { Resource::CellOfRequest } else { Resource::CellBeyondShare }
    }
}

impl<I: Io> Protocol<I> {
    /// Something was received, or receiving has ended.
    #[inline(always)]
    pub(super) fn on_receive(&mut self, connection: &mut Connection, reception: Reception) {
        let mut used = None;
        match reception.what {
            Received::Bytes(share, len) => {
                let input = self.dispatch.arena().input(&share, 0, len);
                self.input_came(connection, input);
                used = Some(share);
            }
            Received::Discarded(bytes) => self.was_discarded(connection, bytes),
            Received::End => self.input_ended(connection),
            Received::Nothing => {}
            Received::PeerGone => self.client_gone(connection.link_mut()),
        }
        if reception.is_last {
            self.receives_no_more(connection);
        }
        if reception.more_at_hand && !self.dispatch.is_colocated() {
            self.delay_wake(connection);
        }
        if let Some(share) = used {
            self.dispatch.buffers_mut().release(share);
        }
    }

    /// Input that has just come: it is taken, or held behind what is held already.
    #[inline(always)]
    fn input_came(&mut self, connection: &mut Connection, input: Input<'_>) {
        if connection.socket().holds_input() {
            return self.hold(connection.link_mut(), input, false);
        }
        if let Some(rest) = self.take_input(connection, input) {
            self.hold(connection.link_mut(), rest, false);
        }
    }

    /// Takes what can be taken; gives back what can only be taken later.
    #[inline(always)]
    fn take_input<'a>(&mut self, connection: &mut Connection, input: Input<'a>) -> Option<Input<'a>> {
        if let Some((link, pipe)) = connection.pipe_mut() {
            self.take_raw(link, pipe, input)
        } else if let Connection::Http1(http) = connection {
            self.take_requests(http, input)
        } else {
            None
        }
    }

    /// So many bytes are thrown away.
    #[cold]
    fn was_discarded(&mut self, connection: &mut Connection, bytes: u32) {
        // Of a pipe, it was asked for before the switch.
        if connection.pipe_mut().is_none()
            && let Connection::Http1(http) = connection
        {
            self.thrown_away(http, bytes);
        }
    }

    /// The client has ended its side.
    #[cold]
    fn input_ended(&mut self, connection: &mut Connection) {
        if let Some((link, pipe)) = connection.pipe_mut() {
            self.pipe_input_ends(link, pipe);
        } else if let Connection::Http1(http) = connection {
            self.end_of_input(http);
        }
    }

    /// Goes on with held input after responses have made room, and with receiving once none is left.
    #[cold]
    pub(crate) fn resume_input(&mut self, connection: &mut Connection) {
        connection.link_mut().in_resume.taken_off();
        // Before it takes for itself what others have left.
        self.dispatch.refill_reserve();
        self.call(connection);
    }

    /// Goes on with a connection's input, unless that waits for what is not there.
    pub(crate) fn call(&mut self, connection: &mut Connection) {
        match connection.socket().waits_for() {
            None => self.go_on_with_input(connection),
            Some(resource) => match self.lacks(connection, resource) {
                None => {
                    self.transport.stop_waiting(connection.socket_mut());
                    self.turn_of = Some(connection.link().key());
                    self.go_on_with_input(connection);
                    self.turn_of = None;
                    // Its client has all its time again.
                    if let Connection::Http1(http) = connection
                        && !http.link.socket.is_closing()
                    {
                        self.set_timer(http);
                    }
                }
                Some(lacking) if lacking != resource => self.begin_waiting(connection, lacking),
                Some(_) => self.poll_connection_end(connection),
            },
        }
        self.end_pipe_if_over(connection);
    }

    /// A connection waits for something, for however long: a client that leaves is to be noticed.
    fn begin_waiting(&mut self, connection: &mut Connection, resource: Resource) {
        let reader = connection.reader();
        self.await_buffer(connection.link_mut(), reader, resource);
        self.poll_connection_end(connection);
        if let Connection::Http1(http) = connection
            && http.link.socket.is_starved()
        {
            self.set_timer(http);
        }
    }

    /// Input waits for a buffer, unless its reader waits: then it goes on with what is kept back.
    fn await_buffer(&mut self, link: &mut Link, reader: Option<Slot>, resource: Resource) {
        self.transport.await_resource(&mut link.socket, resource);
        if resource == Resource::LargeBuffer
            && let Some(slot) = reader
            && self.dispatch.stop_until_wanted(slot)
        {
            self.queue_resume(link);
        }
    }

    /// What a connection that waits for something lacks by now.
    fn lacks(&mut self, connection: &Connection, resource: Resource) -> Option<Resource> {
        match resource {
            Resource::ReservedSlot | Resource::Slot => match connection {
                Connection::Http1(http) => self.lacks_slot(http),
                Connection::Raw(_) => None,
            },
            Resource::Cell => (!self.dispatch.cells().has_for_head()).then_some(resource),
            Resource::CellOfRequest | Resource::CellBeyondShare => {
                // One of a crowd is told so.
                let lack = self.dispatch.may_assemble(connection.link().key()).err();
                lack.filter(|lack| *lack != NoCell::Crowd).map(NoCell::resource)
            }
            Resource::ReservedPromise | Resource::Promise => match connection {
                Connection::Http1(http) => self.lacks_promise(http),
                Connection::Raw(_) => None,
            },
            Resource::SmallBuffer | Resource::ReservedSmall | Resource::LargeBuffer | Resource::ReservedBuffer => {
                let link = connection.link();
                let credit = self.dispatch.policy(link.policy).body_credit;
                let receivable = |slot| self.dispatch.receivable(slot, credit);
                match connection.reader() {
                    _ if link.socket.holds_input() => None,
                    // What waits to be read is what it waits for: its reader says so.
                    Some(slot) if receivable(slot) == 0 && !self.dispatch.is_body_read(slot) => None,
                    Some(slot) if receivable(slot) == 0 => Some(Resource::LargeBuffer),
                    _ => {
                        let awaited = self.awaited_by_few(connection);
                        self.way_for(link, awaited).err()
                    }
                }
            }
        }
    }

    /// How something is received for a connection. Of what is kept back, who has waited longer comes first.
    fn way_for(&self, link: &Link, awaited: Awaited) -> Result<Way, Resource> {
        let way = awaited.way(self.dispatch.buffers())?;
        let is_behind = |resource| {
            let first = self.transport.waiting.first(resource);
            first.is_some_and(|first| first != link.key().index) && self.turn_of != Some(link.key())
        };
        let reserved = match way {
            Way::Once(Group::Reserved) => Resource::ReservedBuffer,
            Way::Once(Group::ReservedSmall) => Resource::ReservedSmall,
            Way::Many | Way::Once(Group::Small | Group::Large) => return Ok(way),
        };
        if is_behind(reserved) { Err(reserved) } else { Ok(way) }
    }

    /// What more is awaited, and whether of who has few.
    fn awaited_by_few(&mut self, connection: &Connection) -> Awaited {
        match (self.awaited(connection), connection) {
            (Awaited::Head, Connection::Http1(http)) => self.head_awaited(http),
            (awaited, _) => awaited,
        }
    }

    /// What more is awaited.
    fn awaited(&self, connection: &Connection) -> Awaited {
        match connection {
            Connection::Http1(http) if http.pipe().is_none() => self.http1_awaited(http),
            Connection::Http1(_) | Connection::Raw(_) => Awaited::Long(self.kept_for(connection.reader())),
        }
    }

    /// What becomes of what comes for a reader.
    pub(super) fn kept_for(&self, reader: Option<Slot>) -> Kept {
        match reader {
            None => Kept::No,
            Some(slot) if self.dispatch.reading(slot) == Reading::Done => Kept::No,
            Some(slot) if self.dispatch.is_body_wanted(slot) => Kept::Wanted,
            Some(_) => Kept::Ahead,
        }
    }

    /// Whether those that wait for cells beyond their share are to be looked at.
    #[inline]
    pub(crate) fn looks_beyond_shares(&mut self) -> bool {
        self.transport.waiting.count(Resource::CellBeyondShare) > 0 && self.dispatch.looks_beyond_shares()
    }

    /// Whether a connection would have to wait for a slot beyond its client's share.
    pub(crate) fn is_beyond_share_of_slots(&mut self, connection: &Connection) -> bool {
        match connection {
            Connection::Http1(http) => self.lacks_slot(http) == Some(Resource::Slot),
            Connection::Raw(_) => true,
        }
    }

    /// How many buffers the kernel has of a kind that connections wait for, if that is what they wait for.
    pub(crate) fn posted_for(&self, resource: Resource) -> Option<usize> {
        let buffers = self.dispatch.buffers();
        match resource {
            Resource::SmallBuffer => Some(buffers.small.posted()),
            Resource::ReservedSmall => Some(buffers.small.reserved_posted()),
            Resource::LargeBuffer => Some(buffers.large.posted() + buffers.small.posted()),
            Resource::ReservedBuffer => Some(buffers.large.reserved_posted()),
            Resource::ReservedSlot
            | Resource::Slot
            | Resource::CellOfRequest
            | Resource::CellBeyondShare
            | Resource::Cell
            | Resource::ReservedPromise
            | Resource::Promise => None,
        }
    }

    /// Whether a slot, a cell, or what may be promised to a body is there for somebody who waits for one.
    #[inline]
    pub(crate) fn has_for_waiting(&mut self) -> bool {
        !self.transport.waiting.is_empty() && self.has_for_some()
    }

    #[cold]
    fn has_for_some(&mut self) -> bool {
        self.dispatch.refill_reserve();
        let waits = |resource| self.transport.waiting.count(resource) > 0;
        let (any, reserved) = (self.dispatch.has_slot(), self.dispatch.has_reserved_slot());
        let cells = self.dispatch.cells();
        let has_cell =
            waits(Resource::CellOfRequest) && cells.has_for_request() || waits(Resource::Cell) && cells.has_for_head();
        let waits_for_promise = waits(Resource::ReservedPromise) || waits(Resource::Promise);
        let has_slot = waits(Resource::Slot) && any || waits(Resource::ReservedSlot) && (any || reserved);
        let promises = waits_for_promise && self.dispatch.promises_have_changed();
        promises || has_slot || has_cell
    }

    fn go_on_with_input(&mut self, connection: &mut Connection) {
        while !connection.socket().is_closing() && connection.socket().holds_input() {
            if !self.may_take(connection) {
                return;
            }
            let Some((share, start, end)) = self.transport.pop_held(connection.socket_mut()) else { break };
            self.dispatch.release_input(connection.link().key());
            let input = self.dispatch.arena().input(&share, start, end);
            let rest = self.take_input(connection, input);
            let is_left = rest.is_some();
            if let Some(rest) = rest {
                self.hold(connection.link_mut(), rest, true);
            }
            self.dispatch.buffers_mut().release(share);
            if is_left {
                return;
            }
        }
        if connection.socket().has_ended() && !connection.socket().is_closing() {
            self.input_ended(connection);
        } else {
            self.receive(connection);
        }
    }

    /// Whether input that is held can be taken by now.
    fn may_take(&self, connection: &Connection) -> bool {
        match connection {
            Connection::Http1(Http1 { intake: Intake::Pipe(_), .. }) | Connection::Raw(_) => true,
            Connection::Http1(http) => self.http1_may_take(http),
        }
    }

    /// A receive has ended: goes on with it.
    #[cold]
    fn receives_no_more(&mut self, connection: &mut Connection) {
        let link = connection.link_mut();
        self.return_borrowed(link);
        if link.socket.is_closing() {
            return;
        }
        if link.socket.is_leaving() {
            return self.queue_flush(link);
        }
        if let Some(mut resource) = link.socket.waits_for() {
            if resource == Resource::SmallBuffer && self.awaited_by_few(connection) == Awaited::HeadOfFew {
                resource = Resource::ReservedSmall;
            }
            return self.begin_waiting(connection, resource);
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

    /// Receives what is awaited, at most so many bytes of it where that can be said, or waits for a buffer.
    pub(super) fn receive_piece(&mut self, link: &mut Link, most: u64, reader: Option<Slot>, awaited: Awaited) {
        self.has_large();
        let most = most.min(u64::from(self.dispatch.arena().cell_bytes(Area::Body)));
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        match self.way_for(link, awaited) {
            Ok(way) => {
                if way == Way::Once(Group::ReservedSmall) {
                    self.dispatch.hold_input(link.key());
                }
                self.transport.receive_by(&mut link.socket, way, most);
            }
            Err(lacking) => self.await_buffer(link, reader, lacking),
        }
    }

    /// Whether the kernel has a large buffer for whoever sends, or gets one now.
    pub(super) fn has_large(&mut self) -> bool {
        if !self.dispatch.buffers().large.any_posted() {
            self.dispatch.reclaim_bodies_if_short();
            self.post_buffers();
        }
        self.dispatch.buffers().large.any_posted()
    }

    /// Keeps input that cannot be taken yet, in front of or behind what is held already.
    #[cold]
    pub(super) fn hold(&mut self, link: &mut Link, input: Input<'_>, in_front: bool) {
        self.transport.hold(&mut link.socket, self.dispatch.buffers_mut(), input, in_front);
        self.dispatch.hold_input(link.key());
    }

    /// Throws held input away.
    pub(super) fn drop_held(&mut self, link: &mut Link) {
        for _ in 0..self.transport.drop_held(&mut link.socket, self.dispatch.buffers_mut()) {
            self.dispatch.release_input(link.key());
        }
    }

    /// A connection may have no small buffer of those kept back any more that it has not got.
    pub(super) fn return_borrowed(&mut self, link: &mut Link) {
        if link.socket.borrows_no_more() {
            self.dispatch.release_input(link.key());
        }
    }
}
