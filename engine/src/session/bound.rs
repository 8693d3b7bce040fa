//! The sockets of one address, one for each shard: bound, or made of one that was handed over.
//!
//! Invariants: what is refused leaves nothing behind; a socket that was handed over is neither bound nor shut down.
//!
//! Not here: which addresses are open (`listeners`), and what may be said of one (`listener`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::listener::{Endpoint, Listener};
use super::refused::Refused;
use super::socket_file::{self, SocketFile};
use crate::driver::handed::{self, Family, Unusable};
use crate::driver::unix::{self as unix_socket, NAME_BYTES_MAX, Name};
use crate::driver::{listen, net};
use crate::error::{Error, ErrorKind};
use crate::policy::SocketOptions;
use crate::shard::{Entrance, ListenSocket, Sharing};

/// What a shard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShardState {
    /// No thread has taken it yet.
    Waits,
    /// A thread runs it, or, co-located, has it, and runs it while it receives.
    Runs,
    /// It has ended, with its engine, with the thread that had it, or because it failed.
    Ended,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: Endpoint,
    pub(super) entrance: Entrance,
    /// By shard; `None` for those that have ended.
    pub(super) sockets: Vec<Option<ListenSocket>>,
    /// What is to be removed with the address.
    pub(super) file: Option<SocketFile>,
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
    Ok(Bound { address: bound.into(), entrance: entrance(bound, listener), sockets, file: None })
}

fn entrance(address: SocketAddr, listener: &Listener) -> Entrance {
    let ip = (!address.ip().is_unspecified()).then(|| address.ip().to_canonical());
    Entrance { ip, port: address.port(), is_unix: false, proxy: listener.proxy(), gate: None }
}

fn unix_entrance(listener: &Listener) -> Entrance {
    Entrance { ip: None, port: listener.port_or_usual(), is_unix: true, proxy: listener.proxy(), gate: None }
}

/// Binds a Unix socket, of which all shards take clients; it listens at once.
pub(super) fn bind_path(path: &Path, listener: &Listener, shards: &[ShardState]) -> Result<Bound, Refused> {
    let cannot = |error| Error::io(format!("cannot listen on {}", path.display()), error);
    // Found again wherever the process is by then.
    let path = std::path::absolute(path).map_err(cannot)?;
    let (socket, file) = socket_file::listen(&path, listener.file_options(), listener.backlog_or_usual())?;
    let made = unix(socket.as_fd(), Endpoint::Unix(path), listener, shards);
    match made {
        Ok(bound) => Ok(Bound { file: Some(file), ..bound }),
        Err(error) => {
            file.remove();
            Err(error.into())
        }
    }
}

/// Binds an abstract name.
pub(super) fn bind_name(name: &[u8], listener: &Listener, shards: &[ShardState]) -> Result<Bound, Refused> {
    let address = Endpoint::Abstract(name.to_owned());
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let text = format!("cannot listen on {address}: an abstract name has from 1 to {NAME_BYTES_MAX} bytes");
        return Err(Error::invalid(format!("{text}, and this one has {}", name.len())).into());
    }
    let bound = unix_socket::bind(Name::Abstract(name), None).and_then(|socket| {
        listen::start_listening(socket.as_raw_fd(), listener.backlog_or_usual())?;
        Ok(socket)
    });
    match bound {
        Ok(socket) => Ok(unix(socket.as_fd(), address, listener, shards)?),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let text =
                format!("cannot listen on {address}: another socket has the name; stop that or choose another one");
            Err(Refused { error: Error::of_system(ErrorKind::AddrInUse, text, error), may_pass: true })
        }
        Err(error) => Err(Error::io(format!("cannot listen on {address}"), error).into()),
    }
}

/// A socket of this engine's that listens, for all shards.
fn unix(socket: BorrowedFd<'_>, address: Endpoint, listener: &Listener, shards: &[ShardState]) -> Result<Bound, Error> {
    let entrance = unix_entrance(listener);
    let cannot = |error| Error::io(format!("cannot have a descriptor of {address} for each shard"), error);
    let sockets = share(socket, Sharing::Shards, shards).map_err(cannot)?;
    Ok(Bound { address, entrance, sockets, file: None })
}

/// Makes of a socket that listens already one for each shard.
pub(super) fn adopt(
    socket: &OwnedFd,
    listener: &Listener,
    shards: &[ShardState],
    inherited: SocketOptions,
) -> Result<Bound, Error> {
    let subject = || format!("descriptor {}, which was handed over", socket.as_raw_fd());
    let family = handed::family_of(socket.as_fd()).map_err(|why| unusable(why, subject()))?;
    let mut file = None;
    let (address, entrance) = match family {
        Family::Tcp if listener.port_wanted().is_some() || listener.file.is_some() => {
            let name = if listener.file.is_some() { "file" } else { "port" };
            let text = format!("{name} is set for {}, but is for Unix sockets: an address has its own port", subject());
            return Err(Error::invalid(text));
        }
        Family::Tcp => {
            let address = net::local_address(socket.as_raw_fd())
                .ok_or_else(|| Error::invalid(format!("{} has no address", subject())))?;
            handed::adopt(socket.as_fd(), &listener.tcp_options(inherited), listener.backlog_wanted())
                .map_err(|error| Error::io(format!("cannot set the options of {}", subject()), error))?;
            (address.into(), entrance(address, listener))
        }
        Family::Unix => {
            listener.check_unix()?;
            let cannot = |error| Error::io(format!("cannot take {}", subject()), error);
            handed::adopt_unix(socket.as_fd(), listener.backlog_wanted()).map_err(cannot)?;
            let address = match (&listener.file, unix_socket::name_of(socket.as_fd()).map_err(cannot)?) {
                (Some(path), Ok(_)) => {
                    let path = std::path::absolute(path).map_err(cannot)?;
                    let left = SocketFile::left(&path, socket.as_fd());
                    file = Some(left.map_err(|why| Error::invalid(format!("{why} ({})", subject())))?);
                    Endpoint::Unix(path)
                }
                (Some(path), Err(_)) => {
                    let text = format!("file is set ({}), but the name of {} is no file", path.display(), subject());
                    return Err(Error::invalid(text + "; leave it out"));
                }
                (None, Ok(path)) => Endpoint::Unix(path),
                (None, Err(name)) => Endpoint::Abstract(name),
            };
            (address, unix_entrance(listener))
        }
    };
    let sockets = share(socket.as_fd(), Sharing::HandedOver, shards)
        .map_err(|error| Error::io(format!("cannot have another descriptor of {} for each shard", subject()), error))?;
    Ok(Bound { address, entrance, sockets, file })
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
    let wanted = "a socket for TCP or Unix streams that listens is wanted";
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
