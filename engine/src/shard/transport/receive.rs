//! Bytes come in: into small buffers until told to stop, once into one of a kind, or into none.
//!
//! Invariants: one receive at most is out for a socket; one that found no buffer is not begun again before the kernel
//! has one for what is awaited.
//!
//! Not here: what is awaited, and what the bytes mean (`protocol`); input that is held (`held`); which buffers the
//! kernel has (room `mem`).

use super::{Polling, Receiving, Resource, Socket, Transport};
use crate::driver::{Io, Op};
use crate::mem::{Group, ReceiveBuffers};

/// What becomes of a part of a body that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is thrown away, once it has been looked at.
    No,
    /// It stays in its buffers until its reader comes.
    Ahead,
    /// Its reader, who has read everything before, waits for it.
    Wanted,
}

/// What more is awaited, as far as it says how that is best received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// What is thrown away, which takes no buffer.
    Unwanted,
    /// Heads.
    Head,
    /// Heads, of a client that has few.
    HeadOfFew,
    /// Of a body, what is short.
    Short(Kept),
    /// Of a body, or of a pipe, what may be much.
    Long(Kept),
}

/// How something is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into small buffers, until told to stop.
    Many,
    /// Once, into a buffer of a group.
    Once(Group),
}

impl Awaited {
    /// How it is received with the buffers that the kernel has: armed for one that is not there, a receive would only
    /// come back at once. Or what has run out.
    ///
    /// While small ones are short, nobody gets more than one at a time, and bodies none that they keep. What is kept
    /// back of the small ones is for clients that have few, and of the large ones for readers that wait.
    pub(crate) fn way(self, buffers: &ReceiveBuffers) -> Result<Way, Resource> {
        let (small, large) = (&buffers.small, &buffers.large);
        let has_small = small.any_posted();
        let has_many = has_small && !small.is_short();
        match self {
            Self::Unwanted => Ok(Way::Many),
            Self::Head | Self::HeadOfFew | Self::Short(_) if has_many => Ok(Way::Many),
            Self::Head | Self::HeadOfFew if has_small => Ok(Way::Once(Group::Small)),
            Self::HeadOfFew if small.any_reserved() => Ok(Way::Once(Group::ReservedSmall)),
            Self::HeadOfFew => Err(Resource::ReservedSmall),
            Self::Head => Err(Resource::SmallBuffer),
            Self::Short(_) | Self::Long(_) if large.any_posted() => Ok(Way::Once(Group::Large)),
            Self::Long(_) if has_many => Ok(Way::Many),
            Self::Short(Kept::No) | Self::Long(Kept::No) if has_small => Ok(Way::Once(Group::Small)),
            // Not behind bodies that are kept: those may wait for their readers.
            Self::Short(Kept::No) | Self::Long(Kept::No) => Err(Resource::SmallBuffer),
            Self::Short(Kept::Wanted) | Self::Long(Kept::Wanted) if large.any_reserved() => {
                Ok(Way::Once(Group::Reserved))
            }
            Self::Short(Kept::Wanted) | Self::Long(Kept::Wanted) => Err(Resource::ReservedBuffer),
            Self::Short(_) | Self::Long(_) => Err(Resource::LargeBuffer),
        }
    }
}

impl<I: Io> Transport<I> {
    /// Receives into small buffers until told to stop.
    pub(crate) fn receive_many(&mut self, socket: &mut Socket) {
        socket.receiving = Receiving::Armed;
        self.io.receive(socket.fd, socket.token(Op::Receive));
    }

    /// Receives in a way; of what is received once, at most so many bytes.
    pub(crate) fn receive_by(&mut self, socket: &mut Socket, way: Way, most: u32) {
        match way {
            Way::Many => self.receive_many(socket),
            Way::Once(group) => self.receive_once(socket, group, most),
        }
    }

    /// Receives once into a buffer of a group, at most so many bytes.
    pub(crate) fn receive_once(&mut self, socket: &mut Socket, group: Group, most: u32) {
        socket.receiving = Receiving::Once(group);
        socket.borrows |= group == Group::ReservedSmall;
        self.io.receive_once(socket.fd, socket.token(Op::Receive), group, most);
    }

    /// Receives once what is thrown away, at most so many bytes.
    pub(crate) fn receive_and_discard(&mut self, socket: &mut Socket, most: u32) {
        socket.receiving = Receiving::Once(Group::Small);
        self.io.receive_and_discard(socket.fd, socket.token(Op::Receive), most);
    }

    /// Receives no more for now, if that does not end by itself.
    pub(crate) fn stop_receive(&mut self, socket: &mut Socket) {
        if socket.receiving == Receiving::Armed {
            self.end_receive(socket);
        }
    }

    /// Asks whatever receives to end.
    pub(super) fn end_receive(&mut self, socket: &mut Socket) {
        if matches!(socket.receiving, Receiving::Armed | Receiving::Once(_)) {
            socket.receiving = Receiving::Stopping;
            self.io.cancel(socket.token(Op::Receive));
        }
    }

    /// A receive has found no buffer of a group.
    pub(super) fn starve(&mut self, socket: &mut Socket, group: Group, buffers: &mut ReceiveBuffers) {
        self.counters.buffers_ran_out.count();
        let resource = match group {
            Group::Small => Resource::SmallBuffer,
            Group::Large => Resource::LargeBuffer,
            Group::Reserved => Resource::ReservedBuffer,
            Group::ReservedSmall => Resource::ReservedSmall,
        };
        match group {
            Group::Small => buffers.small.ran_out(),
            Group::Large => buffers.large.ran_out(),
            Group::Reserved | Group::ReservedSmall => {}
        }
        self.await_resource(socket, resource);
    }

    /// While nothing is received, the other side's end is noticed by a poll. It stays until the socket closes, since
    /// receiving may stop again.
    pub(crate) fn poll_end(&mut self, socket: &mut Socket) {
        let is_free = socket.polling == Polling::No && !socket.receives();
        if is_free && !socket.is_closing() && !socket.is_leaving() {
            socket.polling = Polling::Out;
            self.io.watch_end(socket.fd, socket.token(Op::Poll));
        }
    }

    /// Receives no more for a socket, and puts it behind those that wait for the same. Who waits for it keeps its
    /// place.
    #[cold]
    pub(crate) fn await_resource(&mut self, socket: &mut Socket, resource: Resource) {
        if socket.waits_for == Some(resource) || socket.is_closing() || socket.is_leaving() {
            return;
        }
        let counter = match resource {
            Resource::SmallBuffer | Resource::ReservedSmall => &self.counters.waits_for_buffer,
            Resource::LargeBuffer | Resource::ReservedBuffer => &self.counters.waits_for_buffer,
            Resource::ReservedPromise | Resource::Promise => &self.counters.waits_for_promise,
            Resource::ReservedSlot | Resource::Slot => &self.counters.waits_for_slot,
            Resource::CellOfRequest | Resource::CellBeyondShare | Resource::Cell => &self.counters.waits_for_cell,
        };
        counter.count();
        if resource == Resource::Slot {
            self.counters.share_waits.count();
        }
        self.stop_waiting(socket);
        self.stop_receive(socket);
        socket.giving.stop(self.tick);
        socket.waits_for = Some(resource);
        self.waiting.join(resource, socket.key.index);
        // Others are looked through for it when all that has come is handled: once more if that has been done.
        self.follow_up |= resource.is_given_up();
    }

    /// A socket waits for nothing any more.
    pub(crate) fn stop_waiting(&mut self, socket: &mut Socket) {
        if let Some(resource) = socket.waits_for.take() {
            self.waiting.leave(resource, socket.key.index);
        }
    }
}
