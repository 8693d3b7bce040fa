//! What is measured: by Criterion in time, by `instructions` in instructions. One case serves both.
//!
//! Invariants: a case checks the answer of every run, in full before the first or afterwards where each time would cost
//! more than the work itself; what is not to be measured is done in `prepare`.
//!
//! Not here: how it is measured.

#![allow(dead_code, reason = "several targets share this file, and each uses a part of it")]

/// Something to run again and again.
pub(crate) trait Case {
    /// What a run needs, done before each and not measured.
    fn prepare(&mut self) {}
    /// What is measured.
    fn run(&mut self);
    /// After the last run: checks what could not be checked before.
    fn finish(&mut self) {}
}

impl<F: FnMut()> Case for F {
    #[inline]
    fn run(&mut self) {
        self();
    }
}

/// How much one run of a case does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// One thing.
    One,
    /// One thing, to so many bytes.
    Bytes(usize),
    /// So many requests.
    Requests(usize),
}

/// A case by its name.
pub(crate) struct Entry {
    /// `room/case/size`.
    pub(crate) name: &'static str,
    pub(crate) amount: Amount,
    /// Whether `prepare` and `finish` have something to do.
    pub(crate) prepared: bool,
    pub(crate) make: fn() -> Box<dyn Case>,
}

/// An entry whose runs need no preparation.
pub(crate) const fn entry(name: &'static str, amount: Amount, make: fn() -> Box<dyn Case>) -> Entry {
    Entry { name, amount, prepared: false, make }
}
