//! Connections come in: listeners, accepting, and what happens when slots or descriptors run out.
//!
//! Invariants: a listener has at most one accept under way; a connection that has come in is given to the shard or
//! closed; once descriptors have run out, accepting pauses until some are free, or for a time.
//!
//! Not here: opening an address (room `session`), closing it at once (`listen_socket`), whether the shard has a place
//! for a connection, and which others end to make room (`shard`).

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Entrance, ListenSocket, Transport};
use crate::admission::Gate;
use crate::clock::Tick;
use crate::driver::{Event, Io, Op, Token, Wait, net};
use crate::error::{Error, Result};
use crate::id::SLOT_BITS;
use crate::proxied::ProxyProtocol;
use crate::slab::{Key, Slab};

/// Ticks to wait before accepting again after descriptors ran out: about a tenth of a second.
const ACCEPT_PAUSE: Tick = 2;

/// A listening socket.
#[derive(Debug)]
struct Listener {
    socket: Arc<ListenSocket>,
    /// Of its address.
    id: u64,
    entrance: Entrance,
    accept: Accept,
}

/// The one accept of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accept {
    /// None is under way: accepting pauses.
    Paused,
    UnderWay,
    /// It was asked to end: the listener goes with it.
    Ending,
    /// It takes who is left, where others take clients, too: the listener goes with it.
    Last,
}

/// How connections come in.
#[derive(Debug)]
pub(crate) struct Accepting {
    listeners: Slab<Listener>,
    /// Opened only to be closed when descriptors run out.
    reserve: Option<File>,
    resumes: Option<Tick>,
    /// A listener that has found no descriptor, until it is decided what to do about it.
    short: Option<Key<Listener>>,
}

impl Accepting {
    /// # Errors
    /// When no descriptor can be had.
    pub(crate) fn new() -> Result<Self> {
        let reserve = File::open("/dev/null")
            .map_err(|error| Error::io("cannot open /dev/null to hold a descriptor in reserve", error))?;
        let listeners = Slab::growing(1 << SLOT_BITS);
        Ok(Self { listeners, reserve: Some(reserve), resumes: None, short: None })
    }

    /// Whether anything listens.
    pub(crate) fn listens(&self) -> bool {
        self.listeners.len() > 0
    }

    /// When a pause is over.
    pub(crate) fn resumes(&self) -> Option<Tick> {
        self.resumes
    }

    /// Whether clients wait for a descriptor, and nobody has decided yet what to do about it.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.short.is_some()
    }
}

/// A connection that has come in.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) fd: RawFd,
    /// `[::]:0` over a Unix socket.
    pub(crate) peer: SocketAddr,
    /// `[::]` over a Unix socket, with the port that this stands for.
    pub(crate) local: SocketAddr,
    pub(crate) is_unix: bool,
    /// Whether it may begin with what a proxy says of it.
    pub(crate) proxy: ProxyProtocol,
    /// Where it is to count, if there is a limit.
    pub(crate) gate: Option<Arc<Gate>>,
}

impl Accepted {
    /// Whose connection it is; `None`: of nobody who has an address.
    pub(crate) fn origin(&self) -> Option<IpAddr> {
        (!self.is_unix).then(|| self.peer.ip())
    }
}

impl<I: Io> Transport<I> {
    /// Takes the connections of a socket that listens.
    pub(crate) fn accept_on(&mut self, id: u64, entrance: Entrance, socket: Arc<ListenSocket>) {
        let listener = Listener { socket, id, entrance, accept: Accept::Paused };
        let key = self.accepting.listeners.insert(listener);
        self.arm_accept(key.expect("the control plane opens no more addresses than tokens tell apart"));
    }

    /// Stops listening on addresses, by their ids. `takes_left`: there is time for who waits there.
    pub(crate) fn unlisten(&mut self, closed: impl Fn(u64) -> bool, takes_left: bool) {
        for key in self.accepting.listeners.keys() {
            let Some(listener) = self.accepting.listeners.get_mut(key) else { continue };
            if !closed(listener.id) {
                continue;
            }
            match listener.accept {
                Accept::UnderWay => {
                    listener.accept = Accept::Ending;
                    self.io.cancel(Token::new(Op::Accept, key.generation(), key.index));
                }
                Accept::Paused => self.let_go(key, takes_left),
                Accept::Ending | Accept::Last => {}
            }
        }
    }

    /// Closes the listeners of a shard that accepts no more. A ring that goes lets go of a socket later: until then its
    /// clients would be let in and never served, so it stops listening first, or, where others listen, accepting. Who
    /// has come in meanwhile is among the events.
    #[cold]
    pub(crate) fn close_listeners(&mut self, events: &mut Vec<Event>) {
        let mut shared = Vec::new();
        for key in self.accepting.listeners.keys() {
            let Some(Listener { socket, accept, .. }) = self.accepting.listeners.remove(key) else { continue };
            if socket.is_shared() {
                if accept == Accept::UnderWay {
                    self.io.cancel(Token::new(Op::Accept, key.generation(), key.index));
                }
                shared.push(socket);
            } else {
                socket.close();
            }
        }
        if !shared.is_empty() {
            // Where the kernel refuses, the shard has failed, and the engine with it.
            let _ = self.io.turn(Wait::No, events);
        }
    }

    fn arm_accept(&mut self, key: Key<Listener>) {
        let listener = self.accepting.listeners.get_mut(key);
        if let Some(listener) = listener.filter(|listener| listener.accept == Accept::Paused) {
            listener.accept = Accept::UnderWay;
            self.io.accept(listener.socket.descriptor(), Token::new(Op::Accept, key.generation(), key.index));
        }
    }

    /// Something has come to a listener. Gives the connection that has, to be kept or [turned away](Self::turn_away).
    /// `takes_left`: there is time for who waits at a socket that is let go of.
    pub(crate) fn on_accept(&mut self, event: &Event, takes_left: bool) -> Option<Accepted> {
        let key = Key::of(event.token.slot(), event.token.generation());
        let found = key.and_then(|key| Some((key, self.accepting.listeners.get_mut(key)?)));
        let Some((key, listener)) = found else {
            self.counters.completions_stale.count();
            if event.result >= 0 {
                self.io.close(event.result);
            }
            return None;
        };
        let entrance = listener.entrance.clone();
        let is_closing = matches!(listener.accept, Accept::Ending | Accept::Last);
        if !event.more && !is_closing {
            listener.accept = Accept::Paused;
        }
        // The control plane may have closed it before it says so.
        if is_closing || (event.result < 0 && listener.socket.is_closed()) {
            let comes_in = event.result >= 0 && listener.socket.keeps_the_last();
            if comes_in {
                listener.socket.accepted.count();
            }
            if !event.more {
                self.let_go(key, takes_left);
            }
            if comes_in {
                return Some(self.accepted(event.result, entrance));
            }
            if event.result >= 0 {
                self.io.close(event.result);
            }
            return None;
        }
        if event.result >= 0 {
            listener.socket.accepted.count();
        }
        let accepted = (event.result >= 0).then(|| self.accepted(event.result, entrance));
        match -event.result {
            libc::EMFILE | libc::ENFILE => {
                self.accepting.short = Some(key);
                return None;
            }
            libc::ENOBUFS | libc::ENOMEM => {
                self.turn_one_away(key);
                return None;
            }
            // Of one client, or asked for.
            libc::ECONNABORTED | libc::ECANCELED | libc::EINTR | libc::EPROTO => {}
            // Of the host, or of another who has had the socket not wait (EAGAIN): tried again, but not at once.
            errno if errno > 0 => {
                self.pause_accepting();
                return None;
            }
            _ => {}
        }
        if !event.more {
            self.arm_accept(key);
        }
        accepted
    }

    /// A listener has no accept under way any more. The kernel may have told this one alone of who waits there, where
    /// others take clients, too: that one is taken here, or would wait until somebody else comes. But without time for
    /// it: it would only be cut, and others may be told in time.
    #[cold]
    fn let_go(&mut self, key: Key<Listener>, takes_left: bool) {
        let Some(listener) = self.accepting.listeners.get_mut(key) else { return };
        if listener.accept != Accept::Last && takes_left && listener.socket.keeps_the_last() {
            listener.accept = Accept::Last;
            let token = Token::new(Op::Accept, key.generation(), key.index);
            self.io.accept_left(listener.socket.descriptor(), token);
        } else {
            self.accepting.listeners.remove(key);
        }
    }

    fn accepted(&mut self, fd: RawFd, Entrance { ip, port, is_unix, proxy, gate }: Entrance) -> Accepted {
        self.counters.connections_accepted.count();
        if is_unix {
            let of = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            return Accepted { fd, peer: of(0), local: of(port), is_unix, proxy, gate };
        }
        // A client that is gone already has no address; its receive will say so.
        let unknown = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
        let (peer, local) = match ip {
            Some(ip) => (self.io.addresses(fd).map_or(unknown, |(peer, _)| peer), SocketAddr::new(ip, port)),
            None => self.io.addresses(fd).unwrap_or_else(|| (unknown, SocketAddr::new(unknown.ip(), port))),
        };
        Accepted { fd, peer, local, is_unix, proxy, gate }
    }

    /// There is no place for a connection that has come in.
    pub(crate) fn turn_away(&mut self, fd: RawFd) {
        self.counters.connections_refused.count();
        self.io.close(fd);
    }

    /// Somebody has come in who may not.
    #[cold]
    pub(crate) fn refuse_stranger(&mut self, fd: RawFd) {
        self.counters.proxy_strangers.count();
        self.io.close(fd);
    }

    /// Descriptors are free again: clients that wait are let in.
    #[cold]
    pub(crate) fn accept_again(&mut self) {
        (self.accepting.short, self.accepting.resumes) = (None, None);
        self.arm_accepts();
    }

    /// Descriptors will be free at this tick: until then clients wait.
    #[cold]
    pub(crate) fn accept_again_at(&mut self, tick: Tick) {
        self.accepting.short = None;
        self.pause_accepting_until(tick);
    }

    /// No descriptor is left, and nobody can be made to give one up.
    #[cold]
    pub(crate) fn out_of_descriptors(&mut self) {
        if let Some(key) = self.accepting.short.take() {
            self.turn_one_away(key);
        }
    }

    /// The reserve lets one waiting client be turned away instead of hanging, then accepting pauses, since the listener
    /// stays readable and would spin.
    #[cold]
    fn turn_one_away(&mut self, key: Key<Listener>) {
        drop(self.accepting.reserve.take());
        if let Some(listener) = self.accepting.listeners.get_mut(key)
            && net::accept_now(listener.socket.descriptor()).is_ok()
        {
            self.counters.connections_refused.count();
        }
        self.accepting.reserve = File::open("/dev/null").ok();
        self.pause_accepting();
    }

    #[cold]
    fn pause_accepting(&mut self) {
        self.pause_accepting_until(self.tick.saturating_add(ACCEPT_PAUSE));
    }

    fn pause_accepting_until(&mut self, tick: Tick) {
        self.counters.accept_pauses.count();
        self.accepting.resumes = Some(tick);
    }

    /// Accepts again after a pause.
    pub(crate) fn resume_accepting(&mut self) {
        if self.accepting.resumes.is_some_and(|tick| tick <= self.tick) {
            self.accepting.resumes = None;
            if self.accepting.reserve.is_none() {
                self.accepting.reserve = File::open("/dev/null").ok();
            }
            self.arm_accepts();
        }
    }

    /// What limits count in gives its memory back that is not used.
    #[cold]
    pub(super) fn give_gates_room_back(&mut self) {
        for key in self.accepting.listeners.keys() {
            let gate = self.accepting.listeners.get(key).and_then(|listener| listener.entrance.gate.as_ref());
            if let Some(gate) = gate {
                gate.give_back_room(self.clock.micros());
            }
        }
    }

    fn arm_accepts(&mut self) {
        for key in self.accepting.listeners.keys() {
            self.arm_accept(key);
        }
    }
}
