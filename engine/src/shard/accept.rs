//! Connections come in: listeners, accepting, and what happens when slots or descriptors run out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Shard;
use super::connection::Connection;
use super::control::{ListenAddress, ListenSocket};
use crate::clock::Tick;
use crate::policy::OF_ENGINE;
use crate::record::Address;
use crate::ring::{Event, Io, Op, Token, net};
use crate::slab::Key;

/// Ticks to wait before accepting again after descriptors ran out: about a tenth of a second.
const ACCEPT_PAUSE: Tick = 2;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Arc<ListenSocket>,
    /// Of its address.
    id: u64,
    /// The one address it is bound to; `None` when it takes any.
    ip: Option<IpAddr>,
    port: u16,
    armed: bool,
    closing: bool,
}

impl<I: Io> Shard<I> {
    /// Takes the connections of a socket that listens.
    pub(super) fn accept_on(&mut self, address: &ListenAddress, socket: Arc<ListenSocket>) {
        let ListenAddress { id, ip, port, .. } = *address;
        let listener = Listener { socket, id, ip, port, armed: false, closing: false };
        let key = self.listeners.insert(listener);
        self.arm_accept(key.expect("the control plane opens no more addresses than tokens tell apart"));
    }

    /// Stops listening on addresses, by their ids.
    pub(super) fn unlisten(&mut self, closed: impl Fn(u64) -> bool) {
        for key in self.listeners.keys() {
            let Some(listener) = self.listeners.get_mut(key) else { continue };
            if listener.closing || !closed(listener.id) {
                continue;
            }
            listener.closing = true;
            if listener.armed {
                self.io.cancel(Token::new(Op::Accept, key.generation, key.index));
            } else {
                self.listeners.remove(key);
            }
        }
    }

    /// Closes the listeners of a shard that accepts no more. A ring that goes lets go of a socket later: until then its
    /// clients would be let in and never served, so it stops listening first.
    #[cold]
    pub(super) fn close_listeners(&mut self) {
        for key in self.listeners.keys() {
            if let Some(listener) = self.listeners.remove(key) {
                listener.socket.close();
            }
        }
    }

    fn arm_accept(&mut self, key: Key) {
        if let Some(listener) = self.listeners.get_mut(key).filter(|listener| !listener.armed && !listener.closing) {
            listener.armed = true;
            self.io.accept(listener.socket.descriptor(), Token::new(Op::Accept, key.generation, key.index));
        }
    }

    pub(super) fn on_accept(&mut self, event: Event) {
        let key = Key { index: event.token.slot(), generation: event.token.generation() };
        let Some(listener) = self.listeners.get_mut(key) else {
            self.counters.completions_stale.count();
            if event.result >= 0 {
                self.io.close(event.result);
            }
            return;
        };
        let (ip, port) = (listener.ip, listener.port);
        if !event.more {
            listener.armed = false;
        }
        // The control plane may have closed it before it says so.
        if listener.closing || (event.result < 0 && listener.socket.is_closed()) {
            if event.result >= 0 {
                self.io.close(event.result);
            }
            if !event.more {
                self.listeners.remove(key);
            }
            return;
        }
        if event.result >= 0 {
            self.open(event.result, ip, port);
        }
        match -event.result {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => return self.out_of_descriptors(key),
            // Of one client, or asked for.
            libc::ECONNABORTED | libc::ECANCELED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {}
            // Of the host: tried again, but not at once.
            errno if errno > 0 => return self.pause_accepting(),
            _ => {}
        }
        if !event.more {
            self.arm_accept(key);
        }
    }

    /// Serves a new connection, or refuses it.
    fn open(&mut self, fd: i32, ip: Option<IpAddr>, port: u16) {
        self.counters.connections_accepted.count();
        // A client that is gone already has no address; its receive will say so.
        let unknown = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
        let (peer, local) = match ip {
            Some(ip) => (self.io.addresses(fd).map_or(unknown, |(peer, _)| peer), SocketAddr::new(ip, port)),
            None => self.io.addresses(fd).unwrap_or_else(|| (unknown, SocketAddr::new(unknown.ip(), port))),
        };
        let connection = Connection::new(fd, Address::from(peer), Address::from(local));
        match self.connections.insert(connection) {
            Some(key) => {
                self.arm_receive(key);
                let header_wait = self.dispatch.policy(OF_ENGINE).header_wait;
                self.wheel.set(key.index, self.tick.saturating_add(header_wait));
            }
            None => {
                self.counters.connections_refused.count();
                self.io.close(fd);
            }
        }
    }

    /// No descriptor is left: the reserve lets one waiting client be turned away instead of hanging, then accepting
    /// pauses, since the listener stays readable and would spin.
    #[cold]
    fn out_of_descriptors(&mut self, key: Key) {
        drop(self.reserve.take());
        if let Some(listener) = self.listeners.get_mut(key)
            && net::accept_now(listener.socket.descriptor()).is_ok()
        {
            self.counters.connections_refused.count();
        }
        self.reserve = std::fs::File::open("/dev/null").ok();
        self.pause_accepting();
    }

    #[cold]
    fn pause_accepting(&mut self) {
        self.counters.accept_pauses.count();
        self.accept_resumes = Some(self.tick.saturating_add(ACCEPT_PAUSE));
    }

    /// Accepts again after a pause.
    pub(super) fn resume_accepting(&mut self) {
        if self.accept_resumes.is_some_and(|tick| tick <= self.tick) {
            self.accept_resumes = None;
            if self.reserve.is_none() {
                self.reserve = std::fs::File::open("/dev/null").ok();
            }
            for key in self.listeners.keys() {
                self.arm_accept(key);
            }
        }
    }
}
