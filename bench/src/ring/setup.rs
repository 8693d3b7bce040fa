//! Sets a ring up with the best flags the kernel takes.

use std::io;

use io_uring::IoUring;

/// What a ring should be like.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Submission entries; clamped to what the kernel allows.
    pub sq_entries: u32,
    /// Completion entries; clamped to what the kernel allows.
    pub cq_entries: u32,
    /// Keep the submission index array even if the kernel can drop it.
    pub sqarray: bool,
    /// Have the kernel flag pending task work.
    pub taskrun_flag: bool,
    /// Cooperative instead of deferred task work.
    pub coop: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { sq_entries: 256, cq_entries: 4096, sqarray: false, taskrun_flag: false, coop: false }
    }
}

/// A way to set the ring up; [`LADDER`] lists them from best to plainest.
#[derive(Clone, Copy, Debug)]
struct Setup {
    name: &'static str,
    /// `SINGLE_ISSUER | DEFER_TASKRUN` (6.1): task work runs when we wait, never between.
    deferred: bool,
    /// `NO_SQARRAY` (6.6): one index load less per submission.
    no_sqarray: bool,
}

const LADDER: [Setup; 3] = [
    Setup { name: "deferred task work, no index array", deferred: true, no_sqarray: true },
    Setup { name: "deferred task work", deferred: true, no_sqarray: false },
    Setup { name: "cooperative task work", deferred: false, no_sqarray: false },
];

/// The ring of the calling thread, and the name of the set-up that was accepted.
///
/// # Errors
/// The last refusal, if the kernel takes none of the set-ups.
pub fn build(wishes: &Wishes) -> io::Result<(IoUring, &'static str)> {
    let mut refusal = io::Error::from(io::ErrorKind::Unsupported);
    let wanted = |setup: &&Setup| !(setup.no_sqarray && wishes.sqarray || setup.deferred && wishes.coop);
    for setup in LADDER.iter().filter(wanted) {
        match attempt(*setup, wishes) {
            Ok(ring) => return Ok((ring, setup.name)),
            Err(error) => refusal = error,
        }
    }
    Err(io::Error::new(
        refusal.kind(),
        format!("io_uring: {refusal} (is it allowed here, and the kernel 6.0 or later?)"),
    ))
}

fn attempt(setup: Setup, wishes: &Wishes) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    // One refused entry must not hold back the rest of the batch.
    builder.setup_submit_all();
    // A multishot ends when the completion queue overflows, so that one is made large.
    builder.setup_cqsize(wishes.cq_entries).setup_clamp();
    if setup.deferred {
        builder.setup_single_issuer().setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    if setup.no_sqarray {
        builder.setup_no_sqarray();
    }
    if wishes.taskrun_flag {
        builder.setup_taskrun_flag();
    }
    builder.build(wishes.sq_entries)
}
