//! Which logs an engine has, and where.
//!
//! Invariants: no two of them have the same directory, and each has a number of its own.
//!
//! Not here: whose they are, and how they change (`logging`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::log::{LogTarget, LogWriter, Logging};

/// A log that is set somewhere.
#[derive(Clone, Debug)]
pub(super) struct OwnLog {
    pub(super) logging: Logging,
    pub(super) target: LogTarget,
}

/// All logs of an engine.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// The id of the last one.
    last: u32,
    directories: BTreeSet<PathBuf>,
}

impl Logs {
    /// Opens a log, in the place of one before if there is any.
    pub(super) fn open<'w>(
        &mut self,
        writer: impl FnOnce() -> Result<&'w LogWriter>,
        logging: Logging,
        before: Option<&OwnLog>,
    ) -> Result<OwnLog> {
        if logging.format().is_none() {
            return Ok(OwnLog { logging, target: LogTarget::NONE });
        }
        let is_own = before.is_some_and(|before| before.logging.directory() == logging.directory());
        if !is_own && self.directories.contains(logging.directory()) {
            let directory = logging.directory().display();
            let text = format!("log directory {directory} is another log's of this engine: give each its own");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        if self.last == LogTarget::ID_MAX {
            let text = format!("the engine has had {} logs, and has no number for another one", LogTarget::ID_MAX);
            return Err(Error::invalid(text));
        }
        let writer = writer()?;
        self.last += 1;
        writer.open(self.last, logging.clone());
        self.directories.insert(logging.directory().to_owned());
        let target = LogTarget::new(self.last, logging.which());
        Ok(OwnLog { logging, target })
    }

    /// The directory of a log that is to be closed is free, unless what has come in its place has it.
    pub(super) fn free_directory(&mut self, before: &OwnLog, now: Option<&OwnLog>) {
        let directory = before.logging.directory();
        if now.is_none_or(|now| now.logging.directory() != directory) {
            self.directories.remove(directory);
        }
    }

    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        !self.directories.is_empty()
    }
}
