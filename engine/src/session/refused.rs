//! Why an address is not opened, and whether that may pass.
//!
//! Invariants: what may pass is that another process has the address.
//!
//! Not here: asking again (`changes`).

use crate::error::Error;

/// Why an address was not opened.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// A socket of another process has it, which may be about to be closed.
    pub(super) may_pass: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, may_pass: false }
    }
}

impl Refused {
    /// With what the error is about before its text.
    pub(super) fn about(self, subject: impl std::fmt::Display) -> Self {
        Self { error: self.error.about(subject), ..self }
    }
}
