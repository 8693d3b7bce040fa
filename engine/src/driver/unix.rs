//! Unix sockets that listen: their names, and whether somebody listens on one.
//!
//! Invariants: a descriptor opened here is closed on exec and belongs to the caller; nothing here waits, also for a
//! server that accepts nobody.
//!
//! Not here: whose file may be replaced, and when one is removed (room `session`).
//!
//! Source: unix(7).

use std::fs::{File, Permissions};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::listen::open;
use super::net::check;

/// The longest name (`sun_path`, of which a path has one byte behind it, and an abstract name one before).
pub(crate) const NAME_BYTES_MAX: usize = 107;

/// What a Unix socket is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name<'a> {
    Path(&'a Path),
    /// In a space of its own: no file, and gone with the last descriptor.
    Abstract(&'a [u8]),
}

fn raw(name: Name<'_>) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let (bytes, first) = match name {
        Name::Path(path) => (path.as_os_str().as_bytes(), 0),
        Name::Abstract(name) => (name, 1),
    };
    if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX || (first == 0 && bytes.contains(&0)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or(0);
    let mut address = libc::sockaddr_un { sun_family: family, sun_path: [0; size_of::<libc::sockaddr_un>() - 2] };
    for (place, byte) in address.sun_path[first..].iter_mut().zip(bytes) {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    let len = match first {
        0 => size_of::<libc::sockaddr_un>(),
        _ => offset_of!(libc::sockaddr_un, sun_path) + first + bytes.len(),
    };
    Ok((address, libc::socklen_t::try_from(len).unwrap_or(0)))
}

/// Binds a socket. A path is that of a new file, which nobody may use beyond `mode` from the first on; the process's
/// umask may take from that.
pub(crate) fn bind(name: Name<'_>, mode: Option<u32>) -> io::Result<OwnedFd> {
    let socket = open(libc::AF_UNIX)?;
    if let Some(mode) = mode {
        // The file gets the permissions that the socket has when it is bound.
        File::from(socket.try_clone()?).set_permissions(Permissions::from_mode(mode))?;
    }
    let (address, len) = raw(name)?;
    // SAFETY: the pointer is that of `address`, which outlives the call and has at least `len` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// A client of who listens on a name.
fn connect(name: Name<'_>) -> io::Result<UnixStream> {
    let socket = open(libc::AF_UNIX)?;
    super::listen::never_wait(socket.as_raw_fd())?;
    let (address, len) = raw(name)?;
    // SAFETY: as above.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket.into())
}

/// Whether somebody listens on a name, which they notice: as a client that leaves at once.
///
/// # Errors
/// When that cannot be said: nothing is there, it is not for streams, or this user may not connect.
pub(crate) fn is_listened_on(name: Name<'_>) -> io::Result<bool> {
    match connect(name) {
        Ok(_) => Ok(true),
        // As many wait there as may.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a listening socket is bound to: a path, or else an abstract name.
pub(crate) fn name_of(socket: BorrowedFd<'_>) -> io::Result<Result<PathBuf, Vec<u8>>> {
    Ok(name(&UnixListener::from(socket.try_clone_to_owned()?).local_addr()?))
}

fn name(address: &SocketAddr) -> Result<PathBuf, Vec<u8>> {
    match address.as_pathname() {
        Some(path) => Ok(path.to_owned()),
        None => Err(address.as_abstract_name().unwrap_or_default().to_owned()),
    }
}

/// What the socket is bound to that listens where a path leads, which may be another name of its file: as a client that
/// leaves at once.
///
/// # Errors
/// As [`is_listened_on`], and when nobody listens there, or as many wait as may.
pub(crate) fn name_behind(path: &Path) -> io::Result<Result<PathBuf, Vec<u8>>> {
    Ok(name(&connect(Name::Path(path))?.peer_addr()?))
}

/// The user whose rights this process has.
pub(crate) fn user() -> u32 {
    // SAFETY: the call takes nothing, and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_any_bytes_up_to_their_most() {
        for name in [&b"ringress\0test"[..], &[7; NAME_BYTES_MAX]] {
            let socket = bind(Name::Abstract(name), None).expect("a new name");
            assert!(!is_listened_on(Name::Abstract(name)).expect("it is bound"));
            crate::driver::listen::start_listening(socket.as_raw_fd(), 1).expect("bound");
            assert!(is_listened_on(Name::Abstract(name)).expect("it listens"));
            assert_eq!(name_of(std::os::fd::AsFd::as_fd(&socket)).expect("bound"), Err(name.to_vec()));
            let taken = bind(Name::Abstract(name), None).expect_err("taken");
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        }
        let refused = |name| bind(name, None).expect_err("no name").kind();
        assert_eq!(refused(Name::Abstract(&[7; NAME_BYTES_MAX + 1])), io::ErrorKind::InvalidInput);
        assert_eq!(refused(Name::Abstract(b"")), io::ErrorKind::InvalidInput);
        assert_eq!(refused(Name::Path(Path::new("a\0b"))), io::ErrorKind::InvalidInput);
    }
}
