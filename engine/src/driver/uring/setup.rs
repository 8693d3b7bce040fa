//! Creating a ring: from what the newest kernels offer down to what the engine cannot do without.
//!
//! Invariants: what a kernel offers is found by asking it for a ring, never by its version; a ring that does not fit
//! the memory that may be locked is made smaller, down to 64 entries, before that is an error.
//!
//! Not here: using the ring (`uring`), and filling its rings of buffers (`buffers`).
//!
//! The floor is Linux 6.1 (DEFER_TASKRUN). When no ring can be had, the error names the cause and the remedy.

use std::io;
use std::time::Duration;

use io_uring::{Builder, IoUring, Parameters, cqueue, squeue};

use super::buffers::BufferRing;
use crate::clock;
use crate::error::{Error, Result};

pub(super) type Ring = IoUring<squeue::Entry, cqueue::Entry>;
type Settings = Builder<squeue::Entry, cqueue::Entry>;

/// Submission entries; when they are full, they are submitted early.
const SQ_ENTRIES: u32 = 1024;
/// Completion entries: several for each submission, since multishot operations complete many times.
const CQ_ENTRIES: u32 = 8 * SQ_ENTRIES;

/// Fewer are of no use.
pub(super) const SQ_ENTRIES_MIN: u32 = 64;

/// How long a smaller ring is waited for before it is asked for again, twice as long each time, at most; and the
/// smallest. The kernel takes a ring down some milliseconds after it was closed, more on a busy machine, and counts its
/// memory until then: also that of a ring which was made and whose buffers were refused.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(32);
const LAST_PAUSE_MAX: Duration = Duration::from_millis(512);

type Feature = (&'static str, &'static str, fn(&Parameters) -> bool);

/// What a ring must say that it has, and the first Linux whose rings do.
pub(super) const FEATURES: [Feature; 3] = [
    ("NODROP", "5.5", Parameters::is_feature_nodrop),
    ("EXT_ARG", "5.11", Parameters::is_feature_ext_arg),
    ("CQE_SKIP", "5.17", Parameters::is_feature_skip_cqe_on_success),
];

/// A group of provided buffers: how many, and the setting that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) id: u16,
    pub(super) count: u16,
    pub(super) setting: &'static str,
}

/// A system call that was refused.
pub(super) enum Refusal {
    SetUp(io::Error),
    Register(Group, io::Error),
}

impl Refusal {
    fn is_of_memory(&self) -> bool {
        let (Self::SetUp(error) | Self::Register(_, error)) = self;
        error.raw_os_error() == Some(libc::ENOMEM)
    }
}

/// Makes the ring of the current thread, with its groups of buffers. All of that may be charged to RLIMIT_MEMLOCK;
/// where it does not fit, a smaller ring works as well.
pub(super) fn create(groups: [Group; 4]) -> Result<([BufferRing; 4], Ring)> {
    let mut entries = SQ_ENTRIES;
    // The first to be refused finds nothing that was let go of.
    let mut pause = Duration::MAX;
    loop {
        let refusal = match create_of(entries, groups) {
            Ok(made) => return Ok(made),
            Err(refusal) => refusal,
        };
        let is_last = entries <= SQ_ENTRIES_MIN;
        if refusal.is_of_memory() && pause <= if is_last { LAST_PAUSE_MAX } else { PAUSE_MAX } {
            clock::pause(pause);
            pause *= 2;
        } else if refusal.is_of_memory() && !is_last {
            entries /= 2;
            pause = PAUSE_MIN;
        } else {
            return Err(explain(refusal, &groups));
        }
    }
}

/// The ring comes last in what this gives, so that it goes first.
fn create_of(entries: u32, groups: [Group; 4]) -> std::result::Result<([BufferRing; 4], Ring), Refusal> {
    let ring = ring_of(entries).map_err(Refusal::SetUp)?;
    let register = |group: Group| {
        let made = BufferRing::register(&ring.submitter(), group.count, group.id);
        made.map_err(|error| Refusal::Register(group, error))
    };
    let [one, two, three, four] = groups;
    let buffers = [register(one)?, register(two)?, register(three)?, register(four)?];
    Ok((buffers, ring))
}

fn ring_of(entries: u32) -> io::Result<Ring> {
    let settings = settings(entries);
    match without_array(settings.clone()).build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => settings.build(entries),
        ring => ring,
    }
}

/// Of a ring as any kernel must give it.
pub(super) fn settings(entries: u32) -> Settings {
    let mut builder = IoUring::builder();
    // Only this thread submits: the kernel skips locks (6.0).
    builder.setup_single_issuer();
    // Completion work runs when we enter, in batches, not at any moment (6.1).
    builder.setup_defer_taskrun();
    // One bad entry does not hold up those behind it (5.18).
    builder.setup_submit_all();
    builder.setup_cqsize(entries * (CQ_ENTRIES / SQ_ENTRIES));
    builder.setup_clamp();
    builder
}

/// One indirection less a submission (6.6).
pub(super) fn without_array(mut settings: Settings) -> Settings {
    settings.setup_no_sqarray();
    settings
}

/// Whether a ring has what it must.
pub(super) fn check_features(ring: &Ring) -> Result<()> {
    FEATURES.iter().try_for_each(|(name, _, has)| check_feature(name, has(ring.params())))
}

pub(super) fn check_feature(name: &str, is_there: bool) -> Result<()> {
    let lacks = || {
        Error::unsupported(format!(
            "this kernel's io_uring lacks {name}, which the engine needs. Remedy: run Linux 6.1 or later"
        ))
    };
    if is_there { Ok(()) } else { Err(lacks()) }
}

#[cold]
pub(super) fn explain(refusal: Refusal, groups: &[Group; 4]) -> Error {
    match refusal {
        refusal if refusal.is_of_memory() => explain_memory(refusal, groups),
        Refusal::SetUp(error) => explain_set_up(error),
        Refusal::Register(group, error) => explain_register(group, error),
    }
}

#[cold]
fn explain_memory(refusal: Refusal, groups: &[Group; 4]) -> Error {
    let [one, other, ..] = groups.map(|Group { count, setting, .. }| format!("{count} buffers ({setting})"));
    let (Refusal::SetUp(error) | Refusal::Register(_, error)) = refusal;
    Error::io(
        format!(
            "the kernel could not lock memory for the ring, not even for {SQ_ENTRIES_MIN} entries with {one} and \
            {other}. Remedy: raise RLIMIT_MEMLOCK (ulimit -l, or LimitMEMLOCK= in a systemd unit), to which all rings \
            of a user count together, or have fewer shards or buffers"
        ),
        error,
    )
}

#[cold]
fn explain_register(Group { count, setting, .. }: Group, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Error::unsupported(
            "io_uring_register was refused although io_uring_setup was not: a seccomp filter or security module lets \
            only a part of io_uring through. Remedy: allow io_uring_register beside io_uring_setup and \
            io_uring_enter, in the container's seccomp profile for example",
        ),
        Some(libc::EINVAL) => Error::unsupported(
            "this kernel's io_uring lacks rings of provided buffers, which the engine needs. Remedy: run Linux 6.1 \
            or later",
        ),
        _ => Error::io(
            format!("the kernel refused a ring of {count} buffers. Remedy: lower {setting}, or run a later kernel"),
            error,
        ),
    }
}

#[cold]
fn explain_set_up(error: io::Error) -> Error {
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
        _ => Error::io("io_uring_setup failed", error),
    }
}

/// Says why a ring that could be made cannot be entered: it is refused from the start on, or fails later.
#[cold]
pub(super) fn explain_enter(error: io::Error) -> Error {
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
        let group = |setting| Group { id: 0, count: 16, setting };
        let groups = ["receive_buffers", "body_buffers", "body_buffers", "receive_buffers"].map(group);
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EINVAL, libc::ENOMEM] {
            let error = || io::Error::from_raw_os_error(errno);
            for refusal in [Refusal::SetUp(error()), Refusal::Register(groups[1], error())] {
                let text = explain(refusal, &groups).to_string();
                assert!(text.contains("Remedy: "), "{text}");
                assert_eq!(text.contains("RLIMIT_MEMLOCK"), errno == libc::ENOMEM, "{text}");
            }
        }
        let lacks = check_feature("NODROP", false).expect_err("it is not there").to_string();
        assert!(lacks.contains("lacks NODROP") && lacks.contains("Remedy: "), "{lacks}");
        let text = explain(Refusal::Register(groups[1], io::ErrorKind::Other.into()), &groups).to_string();
        assert!(text.contains("Remedy: lower body_buffers"), "{text}");
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            let text = explain_enter(io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains("io_uring_enter was refused") && text.contains("Remedy: "), "{text}");
        }
    }
}
