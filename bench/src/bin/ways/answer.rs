//! The one answer: its head, and its body as a file or as memory.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use ringress_bench::ring::files::Message;
use ringress_bench::ring::host;

use crate::Way;

/// Completions tell a length in 31 bits; a test needs no more than this.
const BYTES_MAX: usize = 1 << 30;
const PIECE: usize = 64 << 10;

/// What every request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) way: Way,
    pub(crate) head: &'static [u8],
    pub(crate) file: File,
    /// Bytes of the body, at least 1.
    pub(crate) bytes: usize,
    /// Bytes sent at once, at least 1 and at most `bytes`.
    pub(crate) piece: usize,
    /// The body, for the ways that send memory.
    pub(crate) body: &'static [u8],
    /// The head and the first piece of `body`.
    pub(crate) first: Message,
    /// Head and body in one, for the way that registers them.
    pub(crate) joined: &'static [u8],
}

impl Answer {
    /// Opens the file, and reads or maps it if the way wants that. Lives for ever, as the kernel may read it.
    ///
    /// # Errors
    /// The file cannot be read, or is empty or larger than 1 GiB.
    pub(crate) fn new(way: Way, path: &Path, piece: Option<u32>) -> Result<&'static Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("{name} cannot be opened"))?;
        let bytes = usize::try_from(file.metadata()?.len())?;
        ensure!((1..=BYTES_MAX).contains(&bytes), "{name} has {bytes} bytes: 1 to {BYTES_MAX} are possible");
        let head: &'static [u8] = head(bytes).leak();
        let body: &'static [u8] = match way {
            // SAFETY: (1.) is asked of whoever runs this: the file is to stay as it is, see `--help`.
            Way::Mapped => unsafe { host::map(&file, bytes) }?,
            Way::Memory | Way::Copy | Way::SendZc | Way::SendZcFixed => fs::read(path)?.leak(),
            _ => &[],
        };
        let whole = matches!(way, Way::Mapped | Way::Memory | Way::Copy | Way::SendZc | Way::SendZcFixed);
        let has_pieces = way.reads() || matches!(way, Way::Splice | Way::Mapped | Way::Memory);
        ensure!(has_pieces || piece.is_none(), "this way sends everything at once. Remedy: no piece (--piece)");
        let wanted = piece.map_or(Ok(if whole { bytes } else { PIECE }), usize::try_from)?;
        ensure!(wanted > 0, "a piece of 0 bytes (--piece) sends nothing. Remedy: at least 1");
        let piece = wanted.min(bytes);
        let first = Message::of_bytes(head, &body[..piece.min(body.len())]);
        let joined: &'static [u8] = if way == Way::SendZcFixed { [head, body].concat().leak() } else { &[] };
        Ok(Box::leak(Box::new(Self { way, head, file, bytes, piece, body, first, joined })))
    }
}

fn head(bytes: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n\
         Server: ringress\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/octet-stream\r\n\
         Content-Length: {bytes}\r\n\
         \r\n",
    )
    .into_bytes()
}
