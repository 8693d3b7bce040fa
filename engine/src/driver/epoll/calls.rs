//! The system calls that operations come to. None of them waits.
//!
//! Invariants: a failure is its error number; EINTR is none, since the call is made again.
//!
//! Not here: when each is made (`epoll`), and calls that both drivers make (`net`).
//!
//! Source: accept(2), recv(2), send(2), sendmsg(2), poll(2), lseek(2).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::poller::Bits;
use crate::driver::{SEND_PARTS_MAX, net};
use crate::mem::{Landing, Lent};

/// Makes a call until no signal interrupts it.
#[inline]
fn again(mut call: impl FnMut() -> isize) -> Result<usize, i32> {
    loop {
        let result = call();
        if let Ok(result) = usize::try_from(result) {
            return Ok(result);
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            errno => return Err(errno.unwrap_or(libc::EIO)),
        }
    }
}

/// Accepts a connection that does not wait, of a listener that does not either: others may have accepted what it was
/// told of.
pub(super) fn accept(listener: RawFd) -> Result<RawFd, i32> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null address and length are allowed: the address is not asked for.
    let call = || unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    again(|| call() as isize).map(|fd| RawFd::try_from(fd).unwrap_or(-1))
}

/// Receives what is there, at most as much as there is room for.
#[inline]
pub(super) fn receive(socket: RawFd, into: Landing) -> Result<usize, i32> {
    let address = into.address.as_ptr().cast();
    // SAFETY: a `Landing` is memory of the arena, so many bytes, that was lent to be written; the call writes no more,
    // and has done so when it returns.
    again(|| unsafe { libc::recv(socket, address, into.len as usize, libc::MSG_DONTWAIT) })
}

/// Throws away what is there, at most so many bytes. Gives how many there may have been, too.
pub(super) fn discard(socket: RawFd, most: u32) -> Result<(usize, usize), i32> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    let (into, most) = net::discarded(most);
    // SAFETY: there are so many bytes of a static that has interior mutability, which nobody reads.
    again(|| unsafe { libc::recv(socket, into, most as usize, flags) }).map(|bytes| (bytes, most as usize))
}

/// Sends as much as there is room for, in order.
#[inline]
pub(super) fn send(socket: RawFd, parts: &[Lent], flags: i32) -> Result<usize, i32> {
    match parts {
        [one] => {
            let address = one.address.as_ptr().cast();
            // SAFETY: a `Lent` is so many bytes that stay as they are until the send has ended, which is when the call
            // returns.
            again(|| unsafe { libc::send(socket, address, one.len as usize, flags) })
        }
        _ => send_parts(socket, parts, flags),
    }
}

fn send_parts(socket: RawFd, parts: &[Lent], flags: i32) -> Result<usize, i32> {
    let mut places = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SEND_PARTS_MAX];
    for (place, part) in places.iter_mut().zip(parts) {
        *place = libc::iovec { iov_base: part.address.as_ptr().cast(), iov_len: part.len as usize };
    }
    // SAFETY: a msghdr is pointers and lengths, for which zero is a valid value.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = places.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the message and its places outlive the call; each of them is a `Lent`, as above.
    again(|| unsafe { libc::sendmsg(socket, &raw const message, flags) })
}

/// What of these holds for a descriptor now, or that it has failed. What does not will be an edge (epoll(7)).
pub(super) fn poll(descriptor: RawFd, bits: Bits) -> Bits {
    let mut poll = libc::pollfd { fd: descriptor, events: bits, revents: 0 };
    // SAFETY: the pointer is that of one `pollfd`, which outlives the call.
    match again(|| unsafe { libc::poll(&raw mut poll, 1, 0) } as isize) {
        Ok(_) => poll.revents,
        Err(_) => libc::POLLERR,
    }
}

/// Whether a file's bytes have places, as those of a pipe have not.
pub(super) fn has_places(file: RawFd) -> bool {
    // SAFETY: the call takes no pointers, and does not move anything.
    unsafe { libc::lseek(file, 0, libc::SEEK_CUR) >= 0 }
}

/// Another descriptor of the same open file.
pub(super) fn duplicate(file: RawFd) -> Result<OwnedFd, i32> {
    // SAFETY: the call takes no pointers.
    let call = || unsafe { libc::fcntl(file, libc::F_DUPFD_CLOEXEC, 0) };
    let fd = again(|| call() as isize)?;
    // SAFETY: it was opened by the call above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}
