//! Which request gets an assembly cell: for a head that came in pieces and is longer than the cells of long heads, or
//! for such a trailer section.
//!
//! Invariants: requests have at most half of the cells (`queue::CellPools`), of which an eighth, at least one, is kept
//! for addresses that have fewer than their share of that: what is kept by the number of addresses that have any. Who
//! has its share, and finds no other, waits behind those that have not; one of a crowd is refused, since each that
//! waits keeps a buffer.
//!
//! Not here: heads that are not whole (`protocol::http1::assembly`), and who makes room for others (`shard::pieces`).

use super::Dispatch;
use crate::mem::{Cell, CellId, Input};
use crate::peers::{PeerKey, Pool};
use crate::queue::{HeadCell, Slot};
use crate::slab::ConnectionKey;

/// Why a request gets no cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCell {
    /// All that requests may have are in use.
    Now,
    /// But for those that are kept for addresses that have few: its has its share.
    BeyondShare,
    /// And its address has many connections.
    Crowd,
}

/// Whose the assembly cells of requests are.
#[derive(Debug)]
pub(super) struct CellShares {
    /// By their places.
    owners: Vec<PeerKey>,
    /// Addresses that have some.
    holders: u32,
    /// Some have come back since those that wait beyond their share were looked at.
    any_back: bool,
}

impl CellShares {
    /// Of so many cells.
    pub(super) fn new(assembly_buffers: u32) -> Self {
        Self { owners: Vec::with_capacity(assembly_buffers as usize), holders: 0, any_back: false }
    }
}

impl Dispatch {
    /// Whether a request of a connection may have an assembly cell.
    pub(crate) fn may_assemble(&mut self, connection: ConnectionKey) -> Result<(), NoCell> {
        self.count_returned();
        let (used, most) = self.side.cells.of_requests();
        let kept = Self::reserve_of(most);
        let peer = self.peers.of(connection);
        let held = self.peers.held(peer, Pool::Cells);
        let holders = self.cell_shares.holders + u32::from(held == 0);
        let is_below = held < (kept / holders.max(1)).max(1);
        match used < most {
            true if is_below || used + kept < most => Ok(()),
            false if is_below => Err(NoCell::Now),
            _ if self.peers.is_crowd(peer) => Err(NoCell::Crowd),
            _ => Err(NoCell::BeyondShare),
        }
    }

    /// Whether those that wait beyond their share are to be looked at: cells have come back.
    #[cold]
    pub(crate) fn looks_beyond_shares(&mut self) -> bool {
        self.count_returned();
        core::mem::take(&mut self.cell_shares.any_back)
    }

    /// Takes note of the cells that requests have given back.
    #[inline]
    pub(crate) fn count_returned(&mut self) {
        while let Some(cell) = self.side.cells.take_returned() {
            self.has_returned(cell);
        }
    }

    #[cold]
    fn has_returned(&mut self, cell: CellId) {
        self.cell_shares.any_back = true;
        let owner = self.cell_shares.owners[cell.place()];
        self.peers.release(owner, Pool::Cells);
        self.cell_shares.holders -= u32::from(owner != PeerKey::NOBODY && self.peers.held(owner, Pool::Cells) == 0);
    }

    fn has_assembled(&mut self, cell: CellId, owner: PeerKey) {
        let CellShares { owners, holders, .. } = &mut self.cell_shares;
        if cell.place() >= owners.len() {
            owners.resize(cell.place() + 1, PeerKey::NOBODY);
        }
        owners[cell.place()] = owner;
        *holders += u32::from(owner != PeerKey::NOBODY && self.peers.held(owner, Pool::Cells) == 0);
        self.peers.hold(owner, Pool::Cells);
    }

    /// The request in a slot is the first bytes of its connection's head in pieces, whose cell it gets: it
    /// [may](Self::may_assemble).
    pub(crate) fn keep_head(&mut self, slot: Slot, cell: HeadCell, len: u32, connection: ConnectionKey) {
        self.has_assembled(cell.cell().id(), self.peers.of(connection));
        self.side.keep_head(slot, cell, len);
    }

    /// A cell for a head that came in a large buffer, while a quarter of those that requests may have, at least one, is
    /// left besides: its request may wait for a promise, and who has one for a cell.
    pub(crate) fn take_for_longest(&mut self) -> Option<Cell> {
        self.count_returned();
        let (used, most) = self.side.cells.of_requests();
        let cell = if (used + 1) * 4 <= most * 3 { self.side.cells.take_for_request() } else { None };
        let cell = cell?;
        self.has_assembled(cell.id(), PeerKey::NOBODY);
        Some(cell)
    }

    /// Keeps a part of a trailer section for the reader. `false`: there is no cell for it, as
    /// [`may_assemble`](Self::may_assemble) says, or it needs one that can run out, and is no `connection`'s that gets
    /// such by now.
    pub(crate) fn keep_trailers(&mut self, slot: Slot, piece: Input<'_>, connection: Option<ConnectionKey>) -> bool {
        if self.side.keep_trailers(slot, piece, false) {
            return true;
        }
        let Some(connection) = connection else { return false };
        let is_kept = self.may_assemble(connection).is_ok() && self.side.keep_trailers(slot, piece, true);
        if let Some(cell) = self.side.assembly_of_trailers(slot).filter(|_| is_kept) {
            self.has_assembled(cell, self.peers.of(connection));
        }
        is_kept
    }

    /// Whether a slot's trailer section is in an assembly cell.
    pub(crate) fn assembles_trailers(&self, slot: Slot) -> bool {
        self.side.assembly_of_trailers(slot).is_some()
    }
    /// Whether the head of a slot's request is.
    pub(crate) fn assembles_head(&self, slot: Slot) -> bool {
        self.side.is_assembled(slot)
    }
}
