//! Load of a bounded size: many connections, few threads.

use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::Client;

/// One connection and a number that sets it apart from the others.
#[derive(Debug)]
pub struct Job {
    /// Counts from 0.
    pub index: usize,
    /// Already open.
    pub client: Client,
}

/// Splits the jobs over `threads` threads, each working its own share to the end.
///
/// # Panics
/// When any thread does.
pub fn run_in_threads(mut jobs: Vec<Job>, threads: usize, work: impl Fn(&mut [Job]) + Sync) {
    let share = jobs.len().div_ceil(threads);
    thread::scope(|scope| {
        for part in jobs.chunks_mut(share) {
            scope.spawn(|| work(part));
        }
    });
}

/// Raises this process's soft limit of open descriptors to `needed`; servers started later inherit it.
///
/// # Panics
/// When fewer than `needed` are allowed.
pub fn raise_descriptor_limit(needed: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "needs {needed} descriptors, {maximum:?} are allowed");
    if current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).expect("a soft limit may be raised");
    }
}

/// Raises this process's soft limit of open descriptors as far as it may, and gives it.
///
/// # Panics
/// When the kernel refuses.
pub fn raise_descriptor_limit_to_the_most() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.or(current).unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a soft limit may be raised");
    most
}
