//! What a slot owns for its request: received bytes, links of a body's chain, a trailer section; and the pools of the
//! shard that these come from.
//!
//! Invariants:
//! * What a slot holds it owns, by values that move (`mem::Share`, `mem::Cell`), and gives back when it is free.
//! * Of the assembly cells, connections have at most the one half, for heads that come in pieces, and requests the
//!   other ([`HeadCell`], [`Cell`]): so none of the two ever waits for the other.
//! * Each link of a chain has a share of its own. A buffer has at most two: in one a body ends and a pipe begins. So
//!   there are twice as many links as buffers, and none is ever missing.
//!
//! Not here: when a slot gets these and gives them back (`holdings`), and how a chain is read (`body`).

use super::body::LinkId;
use super::slot::Slot;
use crate::mem::{Area, Arena, Cell, CellId, Extent, FreeCells, Share};

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
    pub(crate) fn bytes(&self) -> &Extent<'a> {
        &self.0
    }
}

/// The cell of a head that comes in pieces: its connection's.
#[derive(Debug)]
#[must_use = "a cell that is dropped is lost"]
pub(crate) struct HeadCell(Cell);

impl HeadCell {
    #[inline]
    pub(crate) fn cell(&self) -> &Cell {
        &self.0
    }

    #[inline]
    pub(super) fn cell_mut(&mut self) -> &mut Cell {
        &mut self.0
    }

    /// Whether it is one of those that can run out.
    #[inline]
    pub(crate) fn is_scarce(&self) -> bool {
        self.0.is_in(Area::Assembly)
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
    assembly: FreeCells,
    /// Of those in use, the heads', and how many may be.
    of_heads: u32,
    of_heads_max: u32,
    /// How many requests may have.
    of_requests_max: u32,
    /// Those that requests have given back, until whoever counts them takes note.
    returned: Vec<CellId>,
    pub(crate) coalesce: FreeCells,
    pub(crate) stage: FreeCells,
}

impl CellPools {
    pub(super) fn of(arena: &Arena) -> Self {
        let all = |area| arena.free_cells(area);
        let count = arena.count(Area::Assembly);
        Self {
            long_head: all(Area::LongHead),
            fragment: all(Area::Fragment),
            fragment_bytes: arena.cell_bytes(Area::Fragment),
            assembly: all(Area::Assembly),
            of_heads: 0,
            of_heads_max: count - count / 2,
            of_requests_max: count / 2,
            returned: Vec::with_capacity(count as usize),
            coalesce: all(Area::Coalesce),
            stage: all(Area::Stage),
        }
    }

    pub(crate) fn assembly(&self) -> &FreeCells {
        &self.assembly
    }

    /// Assembly cells that requests have, and how many they may have.
    pub(crate) fn of_requests(&self) -> (u32, u32) {
        let in_use = u32::try_from(self.assembly.in_use()).unwrap_or(u32::MAX);
        (in_use - self.of_heads, self.of_requests_max)
    }

    /// Whether there is an assembly cell for a head.
    pub(crate) fn has_for_head(&self) -> bool {
        self.of_heads < self.of_heads_max
    }

    /// ... for a request.
    pub(crate) fn has_for_request(&self) -> bool {
        let (used, most) = self.of_requests();
        used < most
    }

    /// A cell for so many bytes of a head: a fragment, of which there is always one, or, for more, an assembly cell.
    #[cold]
    pub(super) fn take_for_head(&mut self, bytes: u32) -> Option<HeadCell> {
        if bytes <= self.fragment_bytes {
            return self.fragment.take().map(HeadCell);
        }
        let cell = if self.has_for_head() { self.assembly.take() } else { None };
        self.of_heads += u32::from(cell.is_some());
        cell.map(HeadCell)
    }

    /// The cell of a head comes back.
    #[cold]
    pub(crate) fn give_head(&mut self, HeadCell(cell): HeadCell) {
        if cell.is_in(Area::Assembly) {
            self.of_heads -= 1;
            self.assembly.give(cell);
        } else {
            self.fragment.give(cell);
        }
    }

    /// The cell of a head becomes a request's, for which there is one.
    #[cold]
    pub(super) fn keep_head(&mut self, HeadCell(cell): HeadCell) -> Cell {
        if cell.is_in(Area::Assembly) {
            assert!(self.has_for_request(), "requests have at most their half");
            self.of_heads -= 1;
        }
        cell
    }

    /// An assembly cell for a request. Of those that were [returned](Self::take_returned) note is taken before.
    #[cold]
    pub(crate) fn take_for_request(&mut self) -> Option<Cell> {
        debug_assert!(self.returned.is_empty(), "a cell is counted once");
        if self.has_for_request() { self.assembly.take() } else { None }
    }

    /// An assembly cell that a request has given back since that was asked last.
    #[inline]
    pub(crate) fn take_returned(&mut self) -> Option<CellId> {
        self.returned.pop()
    }

    /// A cell for so many bytes of a trailer section, if that is short: there is one for every request.
    #[cold]
    pub(super) fn take_fragment(&mut self, bytes: u32) -> Option<Cell> {
        if bytes <= self.fragment_bytes { self.fragment.take() } else { None }
    }

    /// A request's cell with received bytes comes back.
    #[cold]
    pub(crate) fn give_received(&mut self, cell: Cell) {
        match [Area::LongHead, Area::Fragment].map(|area| cell.is_in(area)) {
            [true, _] => self.long_head.give(cell),
            [_, true] => self.fragment.give(cell),
            _ => {
                self.returned.push(cell.id());
                self.assembly.give(cell);
            }
        }
    }

    /// All that received bytes and responses are in, to be looked at together.
    pub(super) fn each_mut(&mut self) -> [&mut FreeCells; 5] {
        let Self { long_head, fragment, assembly, coalesce, stage, .. } = self;
        [long_head, fragment, assembly, coalesce, stage]
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
