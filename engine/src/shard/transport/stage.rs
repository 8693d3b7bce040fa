//! Short parts of files are read into cells before they are sent; who finds no cell waits for one, in order.
//!
//! Invariants: a cell that is read into is given back after the read has ended; a call that is not followed goes to the
//! next.
//!
//! Not here: how far a socket is in this (`staging`), which parts of files are read (`protocol::stream`), sending
//! longer ones (`ring::files`), and where cells lie (room `mem`).

use std::os::fd::RawFd;

use super::{Socket, Staging, Transport};
use crate::driver::{Io, Op};
use crate::mem::{Cell, FreeCells, Landing};

/// A part of a file that is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileRead {
    pub(crate) file: RawFd,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl<I: Io> Transport<I> {
    /// Whether a socket may take a free cell: nobody waits before it.
    pub(crate) fn may_read(&self, socket: &Socket) -> bool {
        self.cell_waiters.is_empty() || matches!(socket.staging, Staging::Called)
    }

    /// Reads a part of a file into a cell.
    pub(crate) fn begin_read(&mut self, socket: &mut Socket, read: FileRead, cell: Cell, into: Landing) {
        socket.staging = Staging::Reads(cell);
        self.io.read_file(read.file, read.offset, into, socket.token(Op::ReadFile));
    }

    /// Waits for a cell. Who was called before gets the next one.
    pub(crate) fn await_cell(&mut self, socket: &mut Socket) {
        match core::mem::replace(&mut socket.staging, Staging::Waits) {
            Staging::Called => self.cell_waiters.push_front(socket.key),
            Staging::No => self.cell_waiters.push_back(socket.key),
            other => socket.staging = other,
        }
    }

    /// So many bytes of files are sent: of those read, if any are.
    pub(crate) fn read_sent(&mut self, socket: &mut Socket, cells: &mut FreeCells, bytes: u32) {
        if let Staging::Holds { from, to, .. } = &mut socket.staging {
            *from = from.saturating_add(bytes);
            if from >= to {
                self.give_stage(socket, cells);
            }
        }
    }

    /// Gives a socket's cell back, if it has one, and lets the next that waits go on.
    pub(crate) fn give_stage(&mut self, socket: &mut Socket, cells: &mut FreeCells) {
        match core::mem::replace(&mut socket.staging, Staging::No) {
            Staging::Reads(cell) | Staging::Holds { cell, .. } => {
                cells.give(cell);
                self.call_cell_waiter();
            }
            other => socket.staging = other,
        }
    }

    /// A socket waits for no cell any more, and gives back what it has.
    pub(crate) fn leave_stage(&mut self, socket: &mut Socket, cells: &mut FreeCells) {
        self.give_stage(socket, cells);
        match core::mem::replace(&mut socket.staging, Staging::No) {
            Staging::Waits => self.cell_waiters.retain(|waiter| *waiter != socket.key),
            // It was called in vain: the next one is.
            Staging::Called => self.call_cell_waiter(),
            Staging::No | Staging::Reads(_) | Staging::Holds { .. } => {}
        }
    }

    /// The next that waits for a cell is to try again.
    pub(crate) fn call_cell_waiter(&mut self) {
        if let Some(next) = self.cell_waiters.pop_front() {
            self.called.push(next);
        }
    }

    /// A socket of those that are to try again. `false`: it waits no more.
    pub(crate) fn called(&mut self, socket: &mut Socket) -> bool {
        let waits = matches!(socket.staging, Staging::Waits);
        if waits {
            socket.staging = Staging::Called;
        }
        waits
    }
}
