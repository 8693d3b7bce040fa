//! What a slot owns for its request: received bytes, links of a body's chain, a trailer section; and the pools of the
//! shard that these come from.
//!
//! Invariants:
//! * What a slot holds it owns, by values that move (`mem::Share`, `mem::Cell`), and gives back when it is free.
//! * Each link of a chain has a share of its own. A buffer has at most two: in one a body ends and a pipe begins. So
//!   there are twice as many links as buffers, and none is ever missing.
//!
//! Not here: when a slot gets these and gives them back (`holdings`), and how a chain is read (`body`).

use super::body::LinkId;
use super::slot::Slot;
use crate::mem::{Area, Arena, Cell, Extent, FreeCells, Share};

/// Which memory the received bytes of a request are in.
#[derive(Debug, Default)]
pub(super) enum Backing {
    #[default]
    Nothing,
    /// The slot's own.
    Own,
    Cell(Cell),
    Buffer(Share),
}

/// Received bytes that have room in the own memory of every slot.
#[derive(Clone, Copy)]
pub(crate) struct ShortBytes<'a>(Extent<'a>);

impl<'a> ShortBytes<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: Extent<'a>, arena: &Arena) -> Option<Self> {
        (bytes.len() <= arena.cell_bytes(Area::Head)).then_some(Self(bytes))
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> &Extent<'a> {
        &self.0
    }
}

/// Whose a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The shard's alone: it is free, or was not published yet.
    Ours,
    /// Published: leases read it, and one of them, or who has the id, may write its response.
    Out,
    /// It has come back with its response, or the shard has won that: the response and the response area are the
    /// shard's, and a handle may read the rest.
    Back,
}

/// What one slot holds. Aligned to find the one of a slot by a shift: that happens ten times a request.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Holding {
    pub(super) stage: Stage,
    /// The slot has a body of its own: a chain that may be empty.
    pub(super) has_body: bool,
    pub(super) source: Backing,
    /// The oldest link that the slot still has, and the newest.
    pub(super) first: Option<LinkId>,
    pub(super) last: Option<LinkId>,
    /// The trailer section of a body, and its bytes.
    pub(super) trailer_cell: Option<Cell>,
    pub(super) trailers: u32,
}

/// Bytes of a slot's entries beside itself: what it holds, its places in lists, and in the ring of one queue.
pub(crate) const SLOT_TABLE_BYTES: usize = size_of::<Holding>() + 2 * size_of::<Slot>() + size_of::<u64>();

impl Holding {
    pub(super) const NOTHING: Self = Self {
        stage: Stage::Ours,
        has_body: false,
        source: Backing::Nothing,
        first: None,
        last: None,
        trailer_cell: None,
        trailers: 0,
    };
}

/// The cells that are taken one by one.
#[derive(Debug)]
pub(crate) struct CellPools {
    pub(crate) long_head: FreeCells,
    pub(crate) fragment: FreeCells,
    fragment_bytes: u32,
    pub(crate) assembly: FreeCells,
    pub(crate) coalesce: FreeCells,
    pub(crate) stage: FreeCells,
}

impl CellPools {
    pub(super) fn of(arena: &Arena) -> Self {
        let all = |area| arena.free_cells(area);
        let (long_head, fragment, assembly) = (all(Area::LongHead), all(Area::Fragment), all(Area::Assembly));
        let fragment_bytes = arena.cell_bytes(Area::Fragment);
        Self { long_head, fragment, fragment_bytes, assembly, coalesce: all(Area::Coalesce), stage: all(Area::Stage) }
    }

    /// A cell for so many bytes of what comes in pieces: a fragment, of which there is always one, or, for more, an
    /// assembly buffer.
    #[cold]
    pub(crate) fn take_for_pieces(&mut self, bytes: u32) -> Option<Cell> {
        let fragment = if bytes <= self.fragment_bytes { self.fragment.take() } else { None };
        fragment.or_else(|| self.assembly.take())
    }

    /// A cell with received bytes comes back.
    #[cold]
    pub(crate) fn give_received(&mut self, cell: Cell) {
        match [Area::LongHead, Area::Fragment].map(|area| cell.is_in(area)) {
            [true, _] => self.long_head.give(cell),
            [_, true] => self.fragment.give(cell),
            _ => self.assembly.give(cell),
        }
    }
}

/// Links by what they have: the share of a link that is in a chain, and the numbers of the others.
#[derive(Debug)]
pub(super) struct Links {
    shares: Vec<Option<Share>>,
    free: Vec<LinkId>,
    count: u32,
}

impl Links {
    /// `count` links, none of them in a chain.
    pub(super) fn new(count: u32) -> Self {
        Self { shares: Vec::with_capacity(count as usize), free: Vec::with_capacity(count as usize), count }
    }

    /// Gives a share to a link that is in no chain.
    pub(super) fn take(&mut self, share: Share) -> LinkId {
        if let Some(link) = self.free.pop() {
            self.shares[link.place()] = Some(share);
            return link;
        }
        let number = u32::try_from(self.shares.len()).unwrap_or(u32::MAX);
        assert!(number < self.count, "there are links for every use of a buffer");
        self.shares.push(Some(share));
        LinkId::new(number)
    }

    /// The share of a link in a chain.
    pub(super) fn share(&self, link: LinkId) -> &Share {
        self.shares[link.place()].as_ref().expect("a link in a chain has a share")
    }

    pub(super) fn give(&mut self, link: LinkId) -> Share {
        let share = self.shares[link.place()].take().expect("a link in a chain has a share");
        self.free.push(link);
        share
    }
}
