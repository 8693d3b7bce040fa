//! The system calls that the standard library has no safe form for: signals, process descriptors, the clock's ticks.
//!
//! Invariants: signals go to processes and groups that were started here; what runs between fork and exec allocates
//! nothing.
//!
//! Not here: cores and the descriptor limit, which [`crate::ring::host`] has for the generator, too.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Makes the calling process be asked to end when the thread that started it does: asked and not killed, since it may
/// have processes of its own to end. Fit for use between fork and exec.
///
/// # Errors
/// If that thread's process, `parent`, has ended already.
pub(super) fn end_with_parent(parent: u32) -> io::Result<()> {
    // Until the exec it has the parent's handler, which would take note of the signal for nobody.
    // SAFETY: takes numbers; the default action runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
    done(if before == libc::SIG_ERR { -1 } else { 0 })?;
    // SAFETY: takes numbers, no memory.
    done(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
    // SAFETY: takes nothing, cannot fail.
    let now = unsafe { libc::getppid() };
    if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// Sends a signal to a process, or to its whole group.
///
/// # Errors
/// If there is none.
pub(super) fn signal(process: u32, group: bool, signal: libc::c_int) -> io::Result<()> {
    let id = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: takes numbers, no memory.
    done(unsafe { libc::kill(if group { -id } else { id }, signal) })
}

/// A descriptor that becomes readable when the process has ended.
///
/// # Errors
/// If there is no such process, or no descriptor left.
pub(super) fn process_descriptor(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers, no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    done(fd)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until the descriptor is readable: true, or the time is over or a signal came: false.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the kernel reads and writes one pollfd, and there is one.
    let ready = unsafe { libc::poll(&raw mut poll, 1, ms) };
    ready > 0
}

/// Nanoseconds of one tick, in which `/proc` counts CPU time.
pub(super) fn tick_ns() -> u64 {
    // SAFETY: takes a number, no memory.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / u64::try_from(a_second).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// The signal that asked us to end, 0 if none did.
static ASKED_TO_END: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(signal: libc::c_int) {
    ASKED_TO_END.store(signal, Ordering::Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP set what [`interrupted`] reads; a second one ends the process.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn catch_interrupts() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a sigaction is integers and an optional function pointer, for which all zero bits are a value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the action is live, and its handler does one atomic store, which any context allows.
        done(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })?;
    }
    Ok(())
}

/// The signal that asked us to end.
pub(super) fn interrupted() -> Option<i32> {
    Some(ASKED_TO_END.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

fn done(rc: libc::c_int) -> io::Result<()> {
    if rc >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
