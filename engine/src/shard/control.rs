//! Messages of the control plane to a shard: rare, and the only place where a shard takes a lock.

use core::sync::atomic::{AtomicBool, Ordering};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Shard;
use crate::clock::ticks;
use crate::policy::OF_ENGINE;
use crate::queue::QueueCore;
use crate::record::RequestRecord;
use crate::ring::Io;
use crate::route::Snapshot;

/// One message.
#[derive(Debug)]
pub(crate) enum ControlMessage {
    /// A new queue; the number of queues before it is its index in routes.
    Queue(Arc<QueueCore<RequestRecord>>),
    /// The routes from now on.
    Routes(Arc<Snapshot>),
    /// A listening socket of this shard. `ip` is `None` when it is bound to all addresses.
    /// `open` is let go with the socket.
    Listen { socket: OwnedFd, ip: Option<IpAddr>, port: u16, open: Arc<()> },
    /// Stop listening on a port.
    Unlisten { port: u16 },
    /// Take no more connections, answer what is under way for at most this long, then end.
    Stop { grace: Duration },
}

/// A shard's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    any: AtomicBool,
    /// `None` when nobody will read any more.
    messages: Mutex<Option<Vec<ControlMessage>>>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { any: AtomicBool::new(false), messages: Mutex::new(Some(Vec::new())) }
    }
}

impl Inbox {
    /// Puts a message in; the sender notifies the shard afterwards. One for a shard that has ended is dropped,
    /// and a listening socket in it is closed.
    pub(crate) fn put(&self, message: ControlMessage) {
        if let Some(messages) = self.messages().as_mut() {
            messages.push(message);
            self.any.store(true, Ordering::SeqCst);
        }
    }

    /// Nobody will read any more: what is there and what comes is dropped.
    pub(crate) fn close(&self) {
        let unread = self.messages().take();
        drop(unread);
    }

    fn messages(&self) -> MutexGuard<'_, Option<Vec<ControlMessage>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn has_messages(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    fn take(&self, into: &mut Vec<ControlMessage>) {
        self.any.store(false, Ordering::SeqCst);
        if let Some(messages) = self.messages().as_mut() {
            into.append(messages);
        }
    }
}

impl<I: Io> Shard<I> {
    #[cold]
    pub(crate) fn read_messages(&mut self) {
        let mut messages = core::mem::take(&mut self.messages);
        self.inbox.take(&mut messages);
        for message in messages.drain(..) {
            match message {
                ControlMessage::Queue(core) => {
                    self.dispatch.add_queue(core);
                }
                ControlMessage::Routes(routes) => self.take_routes(routes),
                ControlMessage::Listen { socket, ip, port, open } => self.listen(socket, ip, port, open),
                ControlMessage::Unlisten { port } => self.unlisten(Some(port)),
                ControlMessage::Stop { grace } => self.stop(grace),
            }
        }
        self.messages = messages;
    }

    /// From now on these routes hold, with their timers and limits. Connections that went by those of a group which is
    /// gone go by the engine's own.
    fn take_routes(&mut self, routes: Arc<Snapshot>) {
        let before = core::mem::replace(&mut self.dispatch.routes, routes);
        let (before, now) = (before.groups(), self.dispatch.routes.groups());
        if now.same_owners(before) {
            return;
        }
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key)
                && !now.same_owner(before, connection.policy)
            {
                connection.policy = OF_ENGINE;
            }
        }
    }

    /// Begins to stop: see [`ControlMessage::Stop`].
    pub(crate) fn stop(&mut self, grace: Duration) {
        let deadline = if grace.is_zero() { self.tick } else { self.tick.saturating_add(ticks(grace)) };
        self.stopping = Some(self.stopping.map_or(deadline, |earlier| earlier.min(deadline)));
        self.unlisten(None);
        for key in self.connections.keys() {
            self.finish_connection(key);
        }
    }
}
