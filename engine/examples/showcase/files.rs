//! Files below a root directory, which the kernel lets no path leave.
//!
//! Invariants: a path is resolved by openat2 with RESOLVE_BENEATH, so that neither dot segments nor symbolic links nor
//! a rename meanwhile lead out; what is no regular file is not there; a response is known by what the open file is, not
//! by what its path is meanwhile.
//!
//! Not here: listings of directories, files as they were before a change, and the rules of conditions and ranges
//! (`Response::select`).

use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;

use ringress::{FileRange, Request, Response, Validators};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a path is tried whose directories are renamed meanwhile.
const TRIES_MAX: usize = 8;

/// Content types by the ends of names.
const TYPES: [(&str, &str); 19] = [
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webp", "image/webp"),
];

/// The directory of `--root`.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

impl Root {
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty());
        let directory = directory.map_err(|error| format!("a directory is wanted, but: {error}"))?;
        // Said at the start, rather than with every file.
        match rustix::fs::openat2(CWD, ".", flags, Mode::empty(), ResolveFlags::BENEATH) {
            Err(Errno::NOSYS | Errno::PERM) => Err("openat2 is wanted, which this kernel or a filter refuses".into()),
            _ => Ok(Self { directory }),
        }
    }

    /// A regular file; `None` where there is none.
    fn file(&self, path: &str) -> Result<Option<File>, Errno> {
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
                Ok(Some(File::from(descriptor)))
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO) => Err(opened.err().unwrap_or(Errno::IO)),
            // Not there, not below the root, no file, or not for us: a client is told the same of all of them.
            Err(_) => Ok(None),
        }
    }
}

/// Answers with the file of a path below the root, which the engine has decoded and freed of dot segments.
pub(crate) fn answer(request: Request, root: &Root, path: &str) -> ringress::Result<()> {
    let found = root.file(path).map_err(|errno| errno.to_string()).and_then(|file| {
        let Some(file) = file else { return Ok(None) };
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        Ok(metadata.is_file().then_some((file, metadata)))
    });
    match found {
        Ok(Some((file, metadata))) => send(request, file, &metadata, content_type(path)),
        Ok(None) => request.respond(crate::routes::not_found()),
        Err(error) => {
            eprintln!("showcase: /file/{path}: {error}");
            request.respond(crate::routes::status_text(503, "the file cannot be opened now\n"))
        }
    }
}

/// Answers with what is asked for of a file that is open.
fn send(request: Request, file: File, metadata: &Metadata, content_type: &'static str) -> ringress::Result<()> {
    let validators = Validators::of(metadata);
    let response = Response::ok().content_type(content_type).body(FileRange::new(file, 0..metadata.len()));
    let response = response.select(&request, &validators);
    request.respond(response)
}

fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let known = TYPES.iter().find(|(known, _)| end.eq_ignore_ascii_case(known));
    known.map_or("application/octet-stream", |(_, content_type)| content_type)
}
