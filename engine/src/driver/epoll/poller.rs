//! The kernel's list of what is ready: an epoll instance, asked once a turn.
//!
//! Invariants: everything is watched for edges, so that what nobody asks for any more wakes the thread once at most; an
//! edge that comes while its kind is not awaited is told all the same, to be remembered by who watches.
//!
//! Not here: what is ready for what (`sockets`, `accepts`), and doing it (`calls`).
//!
//! Source: epoll(7), epoll_ctl(2), epoll_wait(2).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::driver::{Token, Wait};

/// Descriptors that one wait tells of at most; the kernel tells of the others next, in turn.
const FOUND_MAX: usize = 512;

/// See the module's head.
pub(super) struct Poller {
    descriptor: OwnedFd,
    found: Box<[libc::epoll_event; FOUND_MAX]>,
}

/// What the kernel says of a descriptor, by poll(2)'s names: the numbers are the same.
pub(super) type Bits = i16;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened by the call above and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { descriptor, found: Box::new([libc::epoll_event { events: 0, u64: 0 }; FOUND_MAX]) })
    }

    /// Watches a descriptor for what is said and for errors, under a name.
    pub(super) fn watch(&self, descriptor: RawFd, bits: Bits, token: Token) -> io::Result<()> {
        self.add(descriptor, u32::from(bits.cast_unsigned()), token)
    }

    /// Watches one that others may watch as well, for what comes there: of those that sleep, one is told.
    pub(super) fn watch_with_others(&self, descriptor: RawFd, token: Token) -> io::Result<()> {
        self.add(descriptor, (libc::EPOLLIN | libc::EPOLLEXCLUSIVE).cast_unsigned(), token)
    }

    fn add(&self, descriptor: RawFd, bits: u32, token: Token) -> io::Result<()> {
        let events = bits | libc::EPOLLET.cast_unsigned();
        let mut event = libc::epoll_event { events, u64: token.bits() };
        let epoll = self.descriptor.as_raw_fd();
        // SAFETY: the pointer is that of `event`, which outlives the call.
        let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Watches a descriptor no more. One that is closed, and that nobody else has, is forgotten by itself.
    pub(super) fn forget(&self, descriptor: RawFd) {
        let epoll = self.descriptor.as_raw_fd();
        // SAFETY: this form of the call takes no pointer. It fails only for what is not watched, which is what is
        // wanted.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, descriptor, std::ptr::null_mut()) };
    }

    /// Waits as told, and gives how many are [found](Self::found) ready; none when the time is up or a signal came.
    pub(super) fn wait(&mut self, wait: Wait) -> io::Result<usize> {
        let (epoll, most) = (self.descriptor.as_raw_fd(), i32::try_from(FOUND_MAX).unwrap_or(i32::MAX));
        // SAFETY: the pointer is that of `FOUND_MAX` events, which outlive the call.
        let found = unsafe { libc::epoll_wait(epoll, self.found.as_mut_ptr(), most, milliseconds(wait)) };
        match usize::try_from(found) {
            Ok(found) => Ok(found),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// One of those that the last wait has found.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "what was asked for is among the low bits")]
    pub(super) fn found(&self, place: usize) -> (Token, Bits) {
        let libc::epoll_event { events, u64: token } = self.found[place];
        (Token::from_bits(token), (events as u16).cast_signed())
    }
}

/// As epoll_wait(2) takes it; what is less than a millisecond is one, so that nobody is woken before the time.
fn milliseconds(wait: Wait) -> i32 {
    match wait {
        Wait::No => 0,
        Wait::Forever => -1,
        Wait::AtMost(time) => i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_wait_is_shorter_than_was_said() {
        assert_eq!((milliseconds(Wait::No), milliseconds(Wait::Forever)), (0, -1));
        let at_most = |micros| milliseconds(Wait::AtMost(Duration::from_micros(micros)));
        assert_eq!((at_most(1), at_most(1000), at_most(1001)), (1, 1, 2));
        assert_eq!(milliseconds(Wait::AtMost(Duration::MAX)), i32::MAX);
    }
}
