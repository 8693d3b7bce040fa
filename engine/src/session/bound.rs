//! The sockets of one address, one for each shard: bound, or made of one that was handed over.
//!
//! Invariants: what is refused leaves nothing behind; a socket that was handed over is neither bound nor shut down.
//!
//! Not here: which addresses are open (`listeners`), and what may be said of one (`listener`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::listener::{Endpoint, Listener};
use crate::driver::handed::{self, Family, Unusable};
use crate::driver::{listen, net};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::SocketOptions;
use crate::shard::{Entrance, ListenSocket, Sharing};

/// What a shard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardState {
    /// No thread has taken it yet.
    Waits,
    Runs,
    Ended,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: Endpoint,
    pub(super) entrance: Entrance,
    /// By shard; `None` for those that have ended.
    pub(super) sockets: Vec<Option<ListenSocket>>,
}

/// Binds an address. Among several shards, those that do not run yet begin to listen when they do: clients must not be
/// dealt to them before. An only one listens at once: its clients wait for it.
pub(super) fn bind(
    address: SocketAddr,
    listener: &Listener,
    shards: &[ShardState],
    inherited: SocketOptions,
) -> io::Result<Bound> {
    let count = shards.iter().filter(|state| **state != ShardState::Ended).count();
    let mut sockets = listen::bind_all(address, count, &listener.tcp_options(inherited))?.into_iter();
    let backlog = listener.backlog_or_usual();
    let mut bound = address;
    let for_shard = |state: &ShardState| {
        let socket = if *state == ShardState::Ended { None } else { sockets.next() };
        let Some(socket) = socket else { return Ok(None) };
        if *state == ShardState::Runs || count == 1 {
            listen::start_listening(socket.as_raw_fd(), backlog)?;
        }
        bound = net::local_address(socket.as_raw_fd()).unwrap_or(bound);
        Ok(Some(ListenSocket::new(socket, Sharing::No, Some(backlog))))
    };
    let sockets = shards.iter().map(for_shard).collect::<io::Result<_>>()?;
    Ok(Bound { address: bound.into(), entrance: entrance(bound), sockets })
}

fn entrance(address: SocketAddr) -> Entrance {
    let ip = (!address.ip().is_unspecified()).then(|| address.ip().to_canonical());
    Entrance { ip, port: address.port() }
}

/// Makes of a socket that listens already one for each shard.
pub(super) fn adopt(
    socket: &OwnedFd,
    listener: &Listener,
    shards: &[ShardState],
    inherited: SocketOptions,
) -> Result<Bound> {
    let subject = || format!("descriptor {}, which was handed over", socket.as_raw_fd());
    let family = handed::family_of(socket.as_fd()).map_err(|why| unusable(why, subject()))?;
    let (address, entrance) = match family {
        Family::Tcp => {
            let address = net::local_address(socket.as_raw_fd())
                .ok_or_else(|| Error::invalid(format!("{} has no address", subject())))?;
            handed::adopt(socket.as_fd(), &listener.tcp_options(inherited), listener.backlog_wanted())
                .map_err(|error| Error::io(format!("cannot set the options of {}", subject()), error))?;
            (address.into(), entrance(address))
        }
        Family::Unix => return Err(unusable(Unusable::Foreign, subject())),
    };
    let sockets = share(socket.as_fd(), Sharing::HandedOver, shards)
        .map_err(|error| Error::io(format!("cannot have another descriptor of {} for each shard", subject()), error))?;
    Ok(Bound { address, entrance, sockets })
}

/// A descriptor of a socket for each shard, all of the same.
fn share(socket: BorrowedFd<'_>, sharing: Sharing, shards: &[ShardState]) -> io::Result<Vec<Option<ListenSocket>>> {
    let for_shard = |state: &ShardState| match state {
        ShardState::Ended => Ok(None),
        _ => Ok(Some(ListenSocket::new(socket.try_clone_to_owned()?, sharing, None))),
    };
    shards.iter().map(for_shard).collect()
}

/// Why a descriptor cannot be listened on.
#[cold]
pub(super) fn unusable(why: Unusable, subject: impl std::fmt::Display) -> Error {
    let wanted = "a socket for TCP streams that listens is wanted";
    match why {
        Unusable::NoSocket(error) => {
            Error::of_system(ErrorKind::Invalid, format!("{subject}, is not a socket: {wanted}"), error)
        }
        Unusable::NoStream => Error::invalid(format!(
            "{subject}, is not for streams (SO_TYPE): {wanted} (ListenStream= in a socket unit)"
        )),
        Unusable::Foreign => Error::invalid(format!("{subject}, is of another family or protocol: {wanted}")),
        Unusable::Deaf => Error::invalid(format!(
            "{subject}, does not listen (SO_ACCEPTCONN): {wanted}; call listen(2) before it is handed over (Accept=no \
            in a socket unit)"
        )),
    }
}
