//! Files below a root directory, which the kernel lets no path leave. The showcase has this module, too.
//!
//! Invariants: a path is resolved by openat2 with RESOLVE_BENEATH, so that neither dot segments nor symbolic links nor
//! a rename meanwhile lead out; what is neither a regular file nor a directory is not there; a response is known by
//! what the open file is, not by what its path is meanwhile.
//!
//! Not here: which paths are asked for, files as they were before a change, and the rules of conditions and ranges
//! (`Response::select`).

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::path::Path;

use ringress::{FileRange, Request, Response, Validators};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a path is tried whose directories are renamed meanwhile.
const TRIES_MAX: usize = 8;

/// A directory whose files are served.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

/// What there is at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file, open.
    File(File, Metadata),
    Directory,
    /// Nothing that a client is to see: it is not there, not below the root, no file, or not for us.
    Nothing,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty());
        let directory = directory.map_err(|error| format!("a directory is wanted, but: {error}"))?;
        // Said at the start, rather than with every file.
        match rustix::fs::openat2(CWD, ".", flags, Mode::empty(), ResolveFlags::BENEATH) {
            Err(Errno::NOSYS | Errno::PERM) => {
                Err("openat2 is wanted, which this kernel or a filter refuses. Remedy: \
                run Linux 5.6 or later, and allow openat2 in the container's seccomp profile"
                    .into())
            }
            _ => Ok(Self { directory }),
        }
    }

    /// What there is at a path below the root.
    ///
    /// # Errors
    /// When that cannot be told now: for want of descriptors or memory, or because the disk fails.
    pub(crate) fn find(&self, path: &str) -> Result<Found, Errno> {
        // Opening a FIFO would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve);
        let again = |opened: &Result<OwnedFd, Errno>| matches!(opened, Err(Errno::AGAIN | Errno::INTR));
        let mut opened = open();
        for _ in 1..TRIES_MAX {
            if !again(&opened) {
                break;
            }
            opened = open();
        }
        match opened {
            Ok(descriptor) => {
                // The engine's reads are to wait for the disk.
                rustix::fs::fcntl_setfl(&descriptor, OFlags::empty())?;
                let file = File::from(descriptor);
                let metadata = file.metadata().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                Ok(match metadata.file_type() {
                    kind if kind.is_file() => Found::File(file, metadata),
                    kind if kind.is_dir() => Found::Directory,
                    _ => Found::Nothing,
                })
            }
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO)) => Err(error),
            Err(_) => Ok(Found::Nothing),
        }
    }
}

/// What a request asks for of a file that is open: all of it, ranges, or nothing that is new to the client.
pub(crate) fn response(request: &Request, path: &str, file: File, metadata: &Metadata) -> Response<'static> {
    let response = Response::ok().content_type(content_type(path)).body(FileRange::new(file, 0..metadata.len()));
    response.select(request, &Validators::of(metadata))
}

/// By the end of a name. Text is taken for UTF-8.
fn content_type(path: &str) -> Cow<'static, str> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    match mime_guess::from_ext(end).first_raw() {
        Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8").into(),
        Some(known) => known.into(),
        None => "application/octet-stream".into(),
    }
}
