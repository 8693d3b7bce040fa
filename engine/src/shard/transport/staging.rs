//! How far a socket is with a part of a file that is read before it is sent.
//!
//! ```text
//!   No ──no cell──▶ Waits ──one is free──▶ Called
//!    │                                       │
//!    └──a cell──▶ Reads ──▶ Holds ──sent, or the socket is full──▶ No: the next that waits is called
//! ```
//!
//! Invariants: a socket has one cell at most, and has it until what was read is sent, the socket is full, or it ends.
//!
//! Not here: who gets a cell, and when (`stage`).

use crate::mem::Cell;

/// What a socket has of a file in memory.
#[derive(Debug)]
pub(crate) enum Staging {
    No,
    /// It is in the list of those that wait for a cell.
    Waits,
    /// It was taken off that list because a cell is free.
    Called,
    /// A part of a file is being read into the cell.
    Reads(Cell),
    /// These bytes of the cell are read and not sent.
    Holds {
        cell: Cell,
        from: u32,
        to: u32,
    },
}

impl Staging {
    #[inline]
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self, Self::Reads(_))
    }

    /// The read has ended, of so many bytes.
    pub(super) fn was_read(&mut self, bytes: u32) {
        *self = match core::mem::replace(self, Self::No) {
            Self::Reads(cell) => Self::Holds { cell, from: 0, to: bytes },
            other => other,
        };
    }
}
