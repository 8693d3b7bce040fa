//! The files of Unix sockets: put in place whole, in the place of a stale one if need be, and removed with the address.
//!
//! ```text
//!   bind another name in the folder ──▶ mode, owner, listen ──▶ link it to the name, which is free
//!                                            ▲                     │ it is not
//!                                            └──take it away◀──stale, and this user's or the owner's
//! ```
//!
//! Invariants: a file that appears under its name listens already, with its mode and owner, so that nobody takes it for
//! a stale one; of several processes that want a name one has it, and the others find it listened on; what is no
//! socket, or another user's, is left alone; only what this engine has put there, or was left, is removed, while it
//! listens.
//!
//! Not here: sockets and their names (`driver::unix`), and when an address closes (`listeners`).

use std::fs::{self, FileType, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::refused::Refused;
use crate::driver::listen::start_listening;
use crate::driver::unix::{self, NAME_BYTES_MAX, Name};
use crate::error::{Error, ErrorKind};

/// How often a name is tried for that others take and leave meanwhile.
const ATTEMPTS: usize = 16;
/// Bytes of a name in between, where there is room for so many.
const BETWEEN_BYTES: usize = 10;

/// What a file is to be like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FileOptions {
    /// Its permissions; `None`: all, but for what the umask takes.
    pub(super) mode: Option<u32>,
    /// User and group; `None`: the process's.
    pub(super) owner: (Option<u32>, Option<u32>),
}

/// One file, as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// When it was made: numbers are given again.
    made: (i64, i64),
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), made: (file.mtime(), file.mtime_nsec()) }
    }
}

/// The file of a socket that this engine has bound, or was handed.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// Another engine has made it.
    was_left: bool,
}

impl SocketFile {
    /// One that another engine has made, and leaves to this one with its socket, which listens.
    pub(super) fn left(path: &Path, socket: BorrowedFd<'_>) -> Result<Self, String> {
        let wrong = |what| format!("file is {}, but {what}: that of this socket is wanted", path.display());
        let file = fs::symlink_metadata(path).map_err(|error| wrong(error.to_string()))?;
        if !file.file_type().is_socket() {
            return Err(wrong(format!("that is {}", kind_of(file.file_type()))));
        }
        let behind = unix::name_behind(path);
        match (&behind, unix::name_of(socket)) {
            (Ok(behind), Ok(ours)) if *behind != ours => Err(wrong("another socket listens there".to_owned())),
            (Err(error), _) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(wrong("nobody listens there".to_owned()))
            }
            // Or it cannot be said: as many wait there as may, or this user may not connect.
            _ => Ok(Self { path: path.to_owned(), identity: Identity::of(&file), was_left: true }),
        }
    }

    /// Whether another engine has made it.
    pub(super) fn was_left(&self) -> bool {
        self.was_left
    }

    /// Removes it, unless another one has its name by now. While its socket listens: then nobody takes it for a stale
    /// one, and puts another in its place meanwhile.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| Identity::of(&file) == self.identity) {
            // Nobody could do anything about it; the next one finds a stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that is gone when this is.
struct Between(PathBuf);

impl Drop for Between {
    fn drop(&mut self) {
        // It may have been given another name.
        let _ = fs::remove_file(&self.0);
    }
}

/// A path for a name in between, beside another one.
fn beside(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let room = NAME_BYTES_MAX.saturating_sub(folder.as_os_str().len() + 1).clamp(1, BETWEEN_BYTES);
    let mut bits = RandomState::new().hash_one(path);
    let name: String = (0..room)
        .map(|_| {
            let digit = char::from_digit(u32::try_from(bits % 36).unwrap_or(0), 36).unwrap_or('0');
            bits /= 36;
            digit
        })
        .collect();
    folder.join(name)
}

/// Has a socket listen under a path, which replaces a stale file.
pub(super) fn listen(path: &Path, options: FileOptions, backlog: u32) -> Result<(OwnedFd, SocketFile), Refused> {
    check_length(path)?;
    // Before anything is made.
    find_stale(path, options)?;
    let (socket, between) = bind_beside(path, options).map_err(|error| cannot_bind(path, error))?;
    let identity = set_mode(&between.0, options.mode).map_err(|error| failed(path, "set its mode", error))?;
    set_owner(path, &between.0, options)?;
    start_listening(socket.as_raw_fd(), backlog).map_err(|error| failed(path, "listen", error))?;
    for _ in 0..ATTEMPTS {
        match link(&between.0, path) {
            Ok(()) => return Ok((socket, SocketFile { path: path.to_owned(), identity, was_left: false })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Some(stale) = find_stale(path, options)? {
                    take_away(path, stale).map_err(|error| failed(path, "replace a stale file", error))?;
                }
            }
            Err(error) => return Err(cannot_bind(path, error)),
        }
    }
    Err(listened_on(path))
}

/// A socket under a name in between.
fn bind_beside(path: &Path, options: FileOptions) -> io::Result<(OwnedFd, Between)> {
    let mut attempt = 0;
    loop {
        let between = beside(path);
        attempt += 1;
        match unix::bind(Name::Path(&between), options.mode) {
            Ok(socket) => return Ok((socket, Between(between))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

/// Gives a file a name that is free.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // A file system without links: nothing is replaced, but for what comes in this moment.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS))
                && fs::symlink_metadata(to).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) =>
        {
            fs::rename(from, to)
        }
        linked => linked,
    }
}

/// Takes a stale file away, and leaves alone what has come into its place.
fn take_away(path: &Path, stale: Identity) -> io::Result<()> {
    let aside = Between(beside(path));
    match fs::rename(path, &aside.0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    if Identity::of(&fs::symlink_metadata(&aside.0)?) != stale {
        // Another process was here before: it is put back.
        return link(&aside.0, path);
    }
    Ok(())
}

/// The mode is at most what was said when the file was made; what the umask has taken is given back. By a descriptor,
/// so that nobody can put another file in its place. Gives which file it is.
fn set_mode(path: &Path, mode: Option<u32>) -> io::Result<Identity> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if let Some(mode) = mode.filter(|mode| found.mode() & 0o777 != *mode) {
        fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(mode))?;
    }
    Ok(Identity::of(&found))
}

fn set_owner(
    path: &Path,
    between: &Path,
    FileOptions { owner: (user, group), .. }: FileOptions,
) -> Result<(), Refused> {
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    lchown(between, user, group).map_err(|error| {
        let text = format!(
            "cannot listen on {}: owner is {}, but the system does not let this user ({}) give the file away: that \
            needs CAP_CHOWN, or for a group alone to be in it",
            path.display(),
            of_owner(user, group),
            unix::user()
        );
        Error::of_system(ErrorKind::PermissionDenied, text, error).into()
    })
}

fn of_owner(user: Option<u32>, group: Option<u32>) -> String {
    let named = |what, id: Option<u32>| id.map(|id| format!("{what} {id}"));
    [named("user", user), named("group", group)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The stale file that has a name, if there is any.
///
/// # Errors
/// That the name is not to be had: somebody listens there, or it is not this user's to replace.
fn find_stale(path: &Path, options: FileOptions) -> Result<Option<Identity>, Refused> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_bind(path, error)),
    };
    if !found.file_type().is_socket() {
        let what = kind_of(found.file_type());
        let text = format!("cannot listen on {}: {what} has this name, and is left alone", path.display());
        let text = text + "; remove it, or choose another name";
        return Err(Error::new(ErrorKind::AlreadyExists, text).into());
    }
    match unix::is_listened_on(Name::Path(path)) {
        Ok(true) => Err(listened_on(path)),
        Ok(false) if [Some(unix::user()), options.owner.0].contains(&Some(found.uid())) => {
            Ok(Some(Identity::of(&found)))
        }
        Ok(false) => Err(of_another(path, found.uid(), "a stale socket file").into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(of_another(path, found.uid(), "a socket file that this user may not connect to").into())
        }
        Err(error) => Err(failed(path, "find out whether somebody listens there", error)),
    }
}

fn kind_of(file: FileType) -> &'static str {
    match file {
        file if file.is_dir() => "a folder",
        file if file.is_symlink() => "a symbolic link",
        _ => "a file that is no socket",
    }
}

fn check_length(path: &Path) -> Result<(), Error> {
    let bytes = path.as_os_str().as_bytes();
    match (bytes.len(), path.file_name()) {
        (NAME_BYTES_MAX.., _) if bytes.len() > NAME_BYTES_MAX => Err(Error::invalid(format!(
            "cannot listen on {}: its path has {} bytes, but that of a Unix socket has at most {NAME_BYTES_MAX} \
            (unix(7)); choose a shorter one",
            path.display(),
            bytes.len()
        ))),
        (_, Some(_)) if !bytes.contains(&0) => Ok(()),
        _ => Err(Error::invalid(format!("cannot listen on {path:?}: that is no path of a file"))),
    }
}

#[cold]
fn listened_on(path: &Path) -> Refused {
    let text =
        format!("cannot listen on {}: a socket of another process, or of this one, listens there", path.display());
    let error = Error::new(ErrorKind::AddrInUse, text + "; stop that or choose another name");
    Refused { error, may_pass: true }
}

#[cold]
fn of_another(path: &Path, user: u32, what: &str) -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "cannot listen on {}: {what} of user {user} has this name, and is left alone by user {}; remove it, or run \
            as that user",
            path.display(),
            unix::user()
        ),
    )
}

#[cold]
fn cannot_bind(path: &Path, error: io::Error) -> Refused {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let (kind, why) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::Io, "is not there; make it first".to_owned()),
        io::ErrorKind::PermissionDenied => {
            let why = format!("is not user {}'s to reach and to write in; change its mode or owner", unix::user());
            (ErrorKind::PermissionDenied, why)
        }
        io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::PermissionDenied, "cannot be written in".to_owned()),
        io::ErrorKind::NotADirectory => (ErrorKind::Io, "is no folder".to_owned()),
        _ => return failed(path, "make it", error),
    };
    Error::of_system(
        kind,
        format!("cannot listen on {}: its folder {why} ({})", path.display(), folder.display()),
        error,
    )
    .into()
}

#[cold]
fn failed(path: &Path, what: &str, error: io::Error) -> Refused {
    Error::io(format!("cannot listen on {}: the kernel refused to {what}", path.display()), error).into()
}
