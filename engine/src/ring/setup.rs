//! Creating a ring: from what the newest kernels offer down to what the engine cannot do without.
//!
//! The floor is Linux 6.1 (DEFER_TASKRUN). When no ring can be had, the error names the cause and the remedy.

use std::io;

use io_uring::{IoUring, cqueue, squeue};

use crate::error::{Error, Result};

pub(super) type Ring = IoUring<squeue::Entry, cqueue::Entry>;

/// Submission entries; when they are full, they are submitted early.
const SQ_ENTRIES: u32 = 1024;
/// Completion entries: several for each submission, since multishot operations complete many times.
const CQ_ENTRIES: u32 = 8 * SQ_ENTRIES;

/// Makes the ring of the current thread.
pub(super) fn create() -> Result<Ring> {
    let mut entries = SQ_ENTRIES;
    loop {
        match create_of(entries) {
            Ok(ring) => return Ok(ring),
            // Rings may be charged to RLIMIT_MEMLOCK; a smaller one works as well.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && entries > 64 => entries /= 2,
            Err(error) => return Err(explain(error)),
        }
    }
}

fn create_of(entries: u32) -> io::Result<Ring> {
    let mut builder = IoUring::builder();
    // Only this thread submits: the kernel skips locks (6.0).
    builder.setup_single_issuer();
    // Completion work runs when we enter, in batches, not at any moment (6.1).
    builder.setup_defer_taskrun();
    // One bad entry does not hold up those behind it (5.18).
    builder.setup_submit_all();
    builder.setup_cqsize(entries * (CQ_ENTRIES / SQ_ENTRIES));
    builder.setup_clamp();
    let plain = builder.clone();
    // One indirection less a submission (6.6).
    builder.setup_no_sqarray();
    match builder.build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => plain.build(entries),
        ring => ring,
    }
}

#[cold]
fn explain(error: io::Error) -> Error {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::EPERM), "2") => Error::unsupported(
            "io_uring is switched off on this host: sysctl kernel.io_uring_disabled is 2. Remedy: sysctl -w \
            kernel.io_uring_disabled=0 (as root)",
        ),
        (Some(libc::EPERM), "1") => Error::unsupported(
            "io_uring is reserved to privileged processes: sysctl kernel.io_uring_disabled is 1. Remedy: set it \
            to 0, or add this user's group to kernel.io_uring_group",
        ),
        (Some(libc::EPERM | libc::EACCES), _) => Error::unsupported(
            "io_uring_setup was refused although the sysctl allows it: a seccomp filter or security module \
            (container profiles do this by default). Remedy: allow io_uring_setup, io_uring_enter and \
            io_uring_register in the container's seccomp profile",
        ),
        (Some(libc::ENOSYS), _) => Error::unsupported(
            "this kernel has no io_uring, or a seccomp filter hides it. Remedy: run Linux 6.1 or later with \
            CONFIG_IO_URING, and allow the io_uring_* system calls in the container's seccomp profile",
        ),
        (Some(libc::EINVAL), _) => Error::unsupported(
            "this kernel's io_uring lacks DEFER_TASKRUN, which the engine needs. Remedy: run Linux 6.1 or later",
        ),
        (Some(libc::ENOMEM), _) => Error::io(
            "the kernel could not lock memory for the ring, not even for 64 entries. Remedy: raise RLIMIT_MEMLOCK \
            (ulimit -l, or LimitMEMLOCK= in a systemd unit)",
            error,
        ),
        _ => Error::io("io_uring_setup failed", error),
    }
}

/// Says why a ring that could be made cannot be entered: it is refused from the start on, or fails later.
#[cold]
pub(crate) fn explain_enter(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Error::unsupported(
            "io_uring_enter was refused although io_uring_setup was not: a seccomp filter or security module lets only \
            a part of io_uring through. Remedy: allow io_uring_enter beside io_uring_setup and io_uring_register, in \
            the container's seccomp profile for example",
        ),
        _ => Error::io("io_uring_enter failed", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_remedy() {
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EINVAL, libc::ENOMEM] {
            let text = explain(io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains("Remedy: "), "{text}");
        }
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            let text = explain_enter(io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains("io_uring_enter was refused") && text.contains("Remedy: "), "{text}");
        }
    }
}
