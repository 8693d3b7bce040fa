//! The free cells of an area whose cells are taken one by one: long heads, assembly, coalescing and stage cells.
//!
//! Invariants: who may touch a cell has it as a value that moves and that nobody else can make; last in, first out, so
//! that few are ever touched.
//!
//! Not here: where cells lie (`areas`), receive and body buffers (`receive`), and cells that each belong to one request
//! slot.

use core::num::NonZeroU32;
use core::ops::Range;

use super::areas::Area;
use super::poison::Poison;
use super::room::give_back_room;

/// Which cell of which area: names it, and gives no right to it. "None" costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(NonZeroU32);

/// Bits of a cell's number; those above are its area's.
const NUMBER_BITS: u32 = 28;

impl CellId {
    fn new(area: Area, number: u32) -> Self {
        assert!(number < (1 << NUMBER_BITS) - 1, "an area has fewer than 2^28 cells");
        Self(NonZeroU32::MIN.saturating_add((area as u32) << NUMBER_BITS | number))
    }

    /// In an integer that threads share; 0 for none.
    pub(crate) fn bits(cell: Option<Self>) -> u32 {
        cell.map_or(0, |cell| cell.0.get())
    }

    /// What [`bits`](Self::bits) was given.
    pub(crate) fn of_bits(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }

    /// Its number in its area, counted from 0.
    #[inline]
    pub(super) fn number(self) -> u32 {
        (self.0.get() - 1) & ((1 << NUMBER_BITS) - 1)
    }

    /// Its place in a table with an entry for each cell of its area.
    #[inline]
    pub(crate) fn place(self) -> usize {
        self.number() as usize
    }

    /// Its area, as a number.
    #[inline]
    pub(super) fn area(self) -> usize {
        ((self.0.get() - 1) >> NUMBER_BITS) as usize
    }
}

/// The right to a cell of the arena. Moved from owner to owner, and given back to its area.
#[derive(Debug)]
#[must_use = "a cell that is dropped is lost"]
pub(crate) struct Cell(CellId);

impl Cell {
    #[inline]
    pub(crate) fn id(&self) -> CellId {
        self.0
    }

    /// Whether it is one of an area's.
    #[inline]
    pub(crate) fn is_in(&self, area: Area) -> bool {
        self.0.area() == area as usize
    }
}

/// One area's free cells.
#[derive(Debug)]
pub(crate) struct FreeCells {
    area: Area,
    free: Vec<u32>,
    /// Cells never used yet begin here.
    high_water: u32,
    count: u32,
    /// The most in use at a time since memory was given back.
    most: u64,
    poison: Poison,
}

/// Sorts the numbers of what is free, so that the lowest are taken first, and gives those behind the first `warm`, in
/// runs that lie side by side.
pub(crate) fn cold_runs<T: Copy + Ord>(
    free: &mut [T],
    warm: u64,
    number: impl Fn(T) -> u32 + Copy,
) -> impl Iterator<Item = Range<u32>> {
    // What is taken first is at the end.
    free.sort_unstable_by(|one, other| other.cmp(one));
    let cold = free.len().saturating_sub(usize::try_from(warm).unwrap_or(usize::MAX));
    let runs = free[..cold].chunk_by(move |one, other| number(*one) == number(*other) + 1);
    runs.map(move |run| number(run[run.len() - 1])..number(run[0]) + 1)
}

impl FreeCells {
    /// `count` cells, none of them in use.
    pub(super) fn new(area: Area, count: u32, poison: Poison) -> Self {
        Self { area, free: Vec::with_capacity(count as usize), high_water: 0, count, most: 0, poison }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Cell> {
        let number = self.free.pop().or_else(|| {
            let fresh = (self.high_water < self.count).then_some(self.high_water)?;
            self.high_water += 1;
            Some(fresh)
        })?;
        self.most = self.most.max(self.in_use());
        self.poison.lift(number);
        Some(Cell(CellId::new(self.area, number)))
    }

    /// The free cells but as many as have come into use at a time since the last call, which are taken first from now
    /// on.
    pub(super) fn cold(&mut self) -> impl Iterator<Item = Range<u32>> {
        let in_use = self.in_use();
        let warm = core::mem::replace(&mut self.most, in_use) - in_use;
        cold_runs(&mut self.free, warm, |number| number)
    }

    /// The area that they are of.
    pub(super) fn of(&self) -> Area {
        self.area
    }

    /// The memory of the list that it does not use goes back to the system.
    pub(super) fn give_back_room(&mut self) {
        give_back_room(&mut self.free);
    }

    pub(crate) fn in_use(&self) -> u64 {
        u64::from(self.high_water) - self.free.len() as u64
    }

    #[inline]
    pub(crate) fn give(&mut self, cell: Cell) {
        assert!(cell.is_in(self.area), "a cell goes back to its own area");
        self.poison.put(cell.id().number());
        self.free.push(cell.id().number());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_to_their_area_and_are_taken_again_first() {
        let mut cells = FreeCells::new(Area::Stage, 2, Poison::NONE);
        let (first, second) = (cells.take().expect("two"), cells.take().expect("two"));
        assert_eq!((first.id().number(), second.id().number(), first.is_in(Area::Stage)), (0, 1, true));
        assert!(cells.take().is_none());
        cells.give(first);
        assert_eq!((cells.in_use(), cells.take().map(|cell| cell.id().number())), (1, Some(0)));
    }

    #[test]
    #[should_panic(expected = "its own area")]
    fn a_cell_of_another_area_is_refused() {
        let cell = FreeCells::new(Area::Stage, 1, Poison::NONE).take().expect("one");
        FreeCells::new(Area::Assembly, 1, Poison::NONE).give(cell);
    }
}
