//! Bytes come in: into small buffers until told to stop, once into a large one, or into none.
//!
//! Invariants: one receive at most is out for a socket; one that found no buffer is not begun again before the kernel
//! has one for what is awaited.
//!
//! Not here: what is awaited, and what the bytes mean (`protocol`); input that is held (`held`); which buffers the
//! kernel has (room `mem`).

use super::{Polling, Receiving, Resource, Socket, Transport};
use crate::mem::ReceiveBuffers;
use crate::ring::{Io, Op};

/// What more is awaited, as far as it says how that is best received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// What is thrown away, which takes no buffer.
    Unwanted,
    /// What is short, or may be.
    Short,
    /// What may be much; with `keeps`, it stays in its buffers until it is read.
    Long { keeps: bool },
}

impl Awaited {
    /// Whether small buffers do for it: also for what is long, while the kernel has no large one and there are enough
    /// small ones for others.
    fn is_for_small(self, buffers: &ReceiveBuffers) -> bool {
        match self {
            Self::Unwanted | Self::Short => true,
            Self::Long { keeps } => !buffers.large.any_posted() && buffers.spares_small(keeps),
        }
    }

    /// Whether the kernel has a buffer for it, of the kind that [is chosen](Self::is_for_small): armed for one that is
    /// not there, a receive would only come back at once.
    pub(crate) fn has_buffer(self, buffers: &ReceiveBuffers) -> bool {
        let has_small = |keeps| buffers.small.any_posted() && buffers.spares_small(keeps);
        match self {
            Self::Unwanted => true,
            Self::Short => has_small(false),
            Self::Long { keeps } => has_small(keeps) || buffers.large.any_posted(),
        }
    }
}

impl<I: Io> Transport<I> {
    /// Receives into small buffers until told to stop.
    pub(crate) fn receive_many(&mut self, socket: &mut Socket) {
        socket.receiving = Receiving::Armed;
        self.io.receive(socket.fd, socket.token(Op::Receive));
    }

    /// Receives what is awaited; into a large buffer, at most so many bytes.
    pub(crate) fn receive_awaited(
        &mut self,
        socket: &mut Socket,
        awaited: Awaited,
        most: u32,
        buffers: &ReceiveBuffers,
    ) {
        match awaited.is_for_small(buffers) {
            true => self.receive_many(socket),
            false => self.receive_large(socket, most),
        }
    }

    /// Receives once into a large buffer, at most so many bytes.
    pub(crate) fn receive_large(&mut self, socket: &mut Socket, most: u32) {
        socket.receiving = Receiving::Once;
        self.io.receive_once(socket.fd, socket.token(Op::Receive), most);
    }

    /// Receives once what is thrown away, at most so many bytes.
    pub(crate) fn receive_and_discard(&mut self, socket: &mut Socket, most: u32) {
        socket.receiving = Receiving::Once;
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
        if matches!(socket.receiving, Receiving::Armed | Receiving::Once) {
            socket.receiving = Receiving::Stopping;
            self.io.cancel(socket.token(Op::Receive));
        }
    }

    /// A receive has found no buffer, of the large ones if `is_large`.
    pub(super) fn starve(&mut self, socket: &mut Socket, is_large: bool, buffers: &mut ReceiveBuffers) {
        self.counters.buffers_ran_out.count();
        let pool = if is_large { &mut buffers.large } else { &mut buffers.small };
        pool.ran_out();
        self.await_resource(socket, if is_large { Resource::LargeBuffer } else { Resource::SmallBuffer });
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
        self.stop_waiting(socket);
        self.stop_receive(socket);
        socket.giving.stop(self.tick);
        socket.waits_for = Some(resource);
        self.waiting.join(resource, socket.key.index);
    }

    /// A socket waits for nothing any more.
    pub(crate) fn stop_waiting(&mut self, socket: &mut Socket) {
        if let Some(resource) = socket.waits_for.take() {
            self.waiting.leave(resource, socket.key.index);
        }
    }
}
