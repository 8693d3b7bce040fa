//! A listening socket that a shard and the control plane share.
//!
//! Invariants: a socket that the control plane has closed never listens again; a lock sees to that, which no request
//! takes. What others listen on as well is shut down by nobody who only leaves it.
//!
//! Not here: binding and which addresses are open (room `session`), and accepting (`accept`).

use std::io;
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admission::Gate;
use crate::counters::Counter;
use crate::driver::{Io, handed, net};
use crate::proxied::ProxyProtocol;

/// Who else takes clients of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Nobody.
    No,
    /// All shards of this engine.
    Shards,
    /// It was handed over, to this engine or by it: other shards, and other processes, too. It is not this engine's to
    /// shut.
    HandedOver,
}

/// What a shard has to know of an address that it accepts on: the same for all that come in there.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    /// The one address that it is; `None` when it is all of them.
    pub(crate) ip: Option<IpAddr>,
    /// By which URLs are looked for.
    pub(crate) port: u16,
    /// Who comes in there is of this host, and has no address.
    pub(crate) is_unix: bool,
    /// Whether a connection may begin with what a proxy says of it.
    pub(crate) proxy: ProxyProtocol,
    /// Where they count, if there is a limit.
    pub(crate) gate: Option<Arc<Gate>>,
}

/// A listening socket of one shard. The control plane has it, too: it can close an address at once, whatever the shard
/// is doing, and bind the address anew. The descriptor is closed when both have let go of it.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    socket: OwnedFd,
    /// How many may wait to be accepted; `None`: as many as may.
    backlog: Option<u32>,
    state: Mutex<State>,
    /// Connections that have come in by it, whatever became of them: written by its shard.
    pub(crate) accepted: Counter,
}

#[derive(Debug)]
struct State {
    sharing: Sharing,
    is_closed: bool,
}

impl ListenSocket {
    pub(crate) fn new(socket: OwnedFd, sharing: Sharing, backlog: Option<u32>) -> Self {
        let state = Mutex::new(State { sharing, is_closed: false });
        Self { socket, backlog, state, accepted: Counter::default() }
    }

    /// That listens already, and nobody else has.
    #[cfg(any(test, feature = "bench-door"))]
    pub(crate) fn alone(socket: OwnedFd) -> Self {
        Self::new(socket, Sharing::No, None)
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody comes in any more: who waits to be accepted is reset, and the address can be bound again, though not all
    /// have let go of this socket. But of one that was handed over, who else has it takes them. Done twice, it does no
    /// harm.
    pub(crate) fn close(&self) {
        let sharing = {
            let mut state = self.state();
            state.is_closed = true;
            state.sharing
        };
        if sharing != Sharing::HandedOver {
            net::shutdown(self.descriptor(), Shutdown::Both);
        }
    }

    /// Another descriptor of it, for another process.
    pub(crate) fn another(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Another process has it, too: from now on, this one only lets go of it.
    pub(crate) fn was_handed_over(&self) {
        self.state().sharing = Sharing::HandedOver;
    }

    /// Whether clients can wait there by now.
    pub(crate) fn listens(&self) -> bool {
        handed::family_of(self.socket.as_fd()).is_ok()
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.state().sharing != Sharing::No
    }

    /// Whether who is accepted in the moment of the end comes in all the same: others take clients of this socket, too,
    /// so that the address is not closed.
    pub(super) fn keeps_the_last(&self) -> bool {
        let State { sharing, is_closed } = *self.state();
        match sharing {
            Sharing::No => false,
            Sharing::Shards => !is_closed,
            Sharing::HandedOver => true,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Has a socket listen that the control plane has not closed. `false`: it is closed, or the kernel refuses.
    pub(crate) fn listen(&self, io: &mut impl Io) -> bool {
        // Locked meanwhile: a socket that is closed never begins to listen again.
        let state = self.state();
        !state.is_closed && io.listen(self.descriptor(), self.backlog).is_ok()
    }
}
