//! A listening socket that a shard and the control plane share.
//!
//! Invariants: a socket that the control plane has closed never listens again; a lock sees to that, which no request
//! takes.
//!
//! Not here: binding and which addresses are open (room `session`), and accepting (`accept`).

use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::driver::{Io, net};

/// A listening socket of one shard. The control plane has it, too: it can close an address at once, whatever the shard
/// is doing, and bind the address anew. The descriptor is closed when both have let go of it.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    socket: OwnedFd,
    is_closed: Mutex<bool>,
}

impl ListenSocket {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, is_closed: Mutex::new(false) }
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.is_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody comes in any more: who waits to be accepted is reset, and the address can be bound again, though not all
    /// have let go of this socket. Done twice, it does no harm.
    pub(crate) fn close(&self) {
        *self.closed() = true;
        net::shutdown(self.descriptor(), Shutdown::Both);
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed()
    }

    /// Has a socket listen that the control plane has not closed. `false`: it is closed, or the kernel refuses.
    pub(crate) fn listen(&self, io: &mut impl Io) -> bool {
        // Locked meanwhile: a socket that is closed never begins to listen again.
        let closed = self.closed();
        !*closed && io.listen(self.descriptor()).is_ok()
    }
}
