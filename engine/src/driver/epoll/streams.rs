//! Files without places, as pipes, that are to be read: they wait until they have bytes, and keep nobody from a disk.
//!
//! Invariants: each has a descriptor of its own, so that two reads of one pipe are watched apart and none names a
//! descriptor that is closed; it is watched once, and leaves the list with its first edge.
//!
//! Not here: the read itself, which is the helper's (`files`): another process may take the bytes first, where the
//! kernel has no read that does not wait.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::calls;
use super::poller::Poller;
use crate::driver::Token;
use crate::mem::Landing;

/// A read that waits for bytes.
pub(super) struct Stream {
    pub(super) token: Token,
    pub(super) file: OwnedFd,
    pub(super) into: Landing,
}

/// See the module's head.
#[derive(Default)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    /// Begins to wait for bytes; gives back what cannot wait, since it always has some, or why there is nothing to wait
    /// for.
    pub(super) fn begin(
        &mut self,
        poller: &Poller,
        token: Token,
        (file, into): (RawFd, Landing),
    ) -> Result<Option<Stream>, i32> {
        let stream = Stream { token, file: calls::duplicate(file)?, into };
        match poller.watch(stream.file.as_raw_fd(), libc::POLLIN, token) {
            Ok(()) => {
                self.0.push(stream);
                Ok(None)
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(Some(stream)),
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    /// It waits no more: there is something to read, or nobody wants it.
    pub(super) fn end(&mut self, poller: &Poller, token: Token) -> Option<Stream> {
        let place = self.0.iter().position(|stream| stream.token == token)?;
        let stream = self.0.swap_remove(place);
        poller.forget(stream.file.as_raw_fd());
        Some(stream)
    }
}
