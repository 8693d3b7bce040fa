//! The shard's memory: ranges of its cells, to be read, written, copied and lent to the kernel.
//!
//! Invariants: a range lies within one cell, which is checked where the range is made; sizes and places are fixed when
//! the arena is made.
//!
//! Not here: where the cells of an area lie (`areas`), which are free (`cells`), which buffers the kernel has
//! (`receive`), and the memory itself (`mapping`).

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
use std::io;

use super::areas::{AREAS, Area, AreaLayout, ArenaSizes};
use super::buffer::{Input, Share, Spare};
use super::buffer_id::BufferId;
use super::cells::{Cell, CellId, FreeCells};
use super::mapping::Mapping;
use super::poison::Poison;

/// A range of the arena whose owner is borrowed meanwhile: what it lies in is in use, and neither the kernel's nor
/// another request's. Made only by [`Arena`], of a buffer's share or a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent<'a> {
    offset: u64,
    len: u32,
    owner: PhantomData<&'a ()>,
}

/// A cell that is written to, borrowed exclusively meanwhile.
#[derive(Debug)]
pub(crate) struct Blank<'a>(Extent<'a>);

impl Blank<'_> {
    /// A part of it: `len` bytes from `at` on.
    #[inline]
    pub(crate) fn part(&mut self, at: u32, len: u32) -> Extent<'_> {
        assert!(u64::from(at) + u64::from(len) <= u64::from(self.0.len), "a part ends within its cell");
        Extent { offset: self.0.offset + u64::from(at), len, owner: PhantomData }
    }
}

impl<'a> From<Input<'a>> for Extent<'a> {
    #[inline]
    fn from(input: Input<'a>) -> Self {
        Self { offset: input.offset(), len: input.len(), owner: PhantomData }
    }
}

impl Extent<'_> {
    #[inline]
    pub(crate) fn offset(self) -> u64 {
        self.offset
    }

    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.len
    }
}

/// Bytes lent to the kernel for a send: made only by [`Arena`], of static bytes and of bytes that a response keeps, and
/// given only to `ring`.
///
/// The shard keeps the cell (or the bytes) until the send that was given this has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent {
    pub(crate) address: NonNull<u8>,
    pub(crate) len: u32,
}

impl Lent {
    pub(crate) const NOTHING: Self = Self { address: NonNull::dangling(), len: 0 };

    pub(crate) fn of_static(bytes: &'static [u8]) -> Self {
        Self::of_kept(bytes)
    }

    /// Lends bytes that a response keeps where they are: its body, a piece and its frame, or an informational response.
    /// Whoever calls keeps them until the send has ended, which no type can say: docs/design.md names each place.
    pub(crate) fn of_kept(bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { address: NonNull::from(bytes).cast(), len }
    }

    /// The rest after `count` bytes; empty when `count` passes the end.
    pub(crate) fn after(self, count: u32) -> Self {
        let count = count.min(self.len);
        // SAFETY: `count` is at most `len`, so the result stays within, or one past, the bytes lent.
        let address = unsafe { self.address.add(count as usize) };
        Self { address, len: self.len - count }
    }

    /// The first `count` bytes; all when there are fewer.
    pub(crate) fn first(self, count: u32) -> Self {
        Self { len: self.len.min(count), ..self }
    }
}

/// Bytes lent to the kernel to be read into: made only by [`Arena`], given only to `ring`.
///
/// The shard neither reads nor writes the cell until the read that was given this has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landing {
    pub(crate) address: NonNull<u8>,
    pub(crate) len: u32,
}

/// Fewer bytes than this are not given back by themselves: the holes between cells in use would cost a call each.
const DISCARDED_MIN: usize = 32 * 1024;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: Mapping,
    areas: [AreaLayout; AREAS],
}

impl Arena {
    pub(crate) fn new(sizes: &ArenaSizes) -> io::Result<Self> {
        let (areas, total) = sizes.layout();
        Ok(Self { mapping: Mapping::new(total)?, areas })
    }

    fn cells(&self, area: Area) -> &AreaLayout {
        &self.areas[area as usize]
    }

    /// The free cells of an area, which are all: for the one who has the arena, once.
    pub(crate) fn free_cells(&self, area: Area) -> FreeCells {
        FreeCells::new(area, self.count(area), self.poison(area))
    }

    /// The poison of an area of which no cell is in use: for the one who keeps the account of them.
    pub(crate) fn poison(&self, area: Area) -> Poison {
        let cells = *self.cells(area);
        Poison::of(AreaLayout { start: self.mapping.base().addr().get() + cells.start, ..cells })
    }

    /// Where the first cell of an area is, how far they are apart, and the bytes of each.
    #[cfg(all(ringress_asan, test))]
    pub(super) fn layout_of(&self, area: Area) -> (usize, usize, usize) {
        let AreaLayout { start, stride, bytes, .. } = *self.cells(area);
        (self.mapping.base().addr().get() + start, stride, bytes as usize)
    }

    /// Lays a buffer open that is poisoned since a kernel has it, for a driver that is to fill it itself.
    #[cfg(ringress_asan)]
    pub(crate) fn open_to_write(&self, spare: &Spare) {
        super::poison::lift(self.give(spare).address.addr().get(), self.buffer_bytes(spare.buffer()) as usize);
    }

    /// Lays bytes open that are poisoned since a kernel has them, for the one in its place to write.
    #[cfg(all(ringress_asan, any(test, feature = "bench-door")))]
    pub(crate) fn open_for_fake(&self, offset: u64, len: u32) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        super::poison::lift(self.mapping.base().addr().get().saturating_add(offset), len as usize);
    }

    /// Cells of an area.
    pub(crate) fn count(&self, area: Area) -> u32 {
        self.cells(area).count
    }

    /// Bytes a cell of an area holds.
    pub(crate) fn cell_bytes(&self, area: Area) -> u32 {
        self.cells(area).bytes
    }

    /// Buffers that are lent to the kernel for receiving, small and large.
    pub(crate) fn buffers(&self) -> u32 {
        self.count(Area::Receive) + self.count(Area::Body)
    }

    /// The area of a buffer, and its cell there: large buffers are numbered behind the small ones.
    #[inline]
    pub(crate) fn buffer_cell(&self, buffer: BufferId) -> (Area, u32) {
        let (number, small) = (u32::from(buffer.number()), self.cells(Area::Receive).count);
        if number < small { (Area::Receive, number) } else { (Area::Body, number - small) }
    }

    /// The offset of a buffer's first byte in the mapping.
    #[inline]
    pub(crate) fn buffer_offset(&self, buffer: BufferId) -> u64 {
        let (area, cell) = self.buffer_cell(buffer);
        self.offset(area, cell)
    }

    /// A range of a buffer in use, from `start` to before `end`.
    #[inline]
    pub(crate) fn input<'a>(&self, share: &'a Share, start: u32, end: u32) -> Input<'a> {
        let (area, cell) = self.buffer_cell(share.buffer());
        assert!(end <= self.cell_bytes(area), "a range ends within its buffer");
        Input::new(share, self.offset(area, cell), start, end)
    }

    /// A whole cell, to be written to.
    #[inline]
    pub(crate) fn blank<'a>(&self, cell: &'a mut Cell) -> Blank<'a> {
        Blank(self.cell(cell, 0, self.cell_bytes_of(cell)))
    }

    /// Bytes that a cell holds.
    #[inline]
    pub(crate) fn cell_bytes_of(&self, cell: &Cell) -> u32 {
        self.areas[cell.id().area()].bytes
    }

    /// Where `len` bytes of a cell are, from `from` on.
    #[inline]
    pub(crate) fn cell<'a>(&self, cell: &'a Cell, from: u32, len: u32) -> Extent<'a> {
        assert!(
            u64::from(from) + u64::from(len) <= u64::from(self.cell_bytes_of(cell)),
            "a range ends within its cell"
        );
        Extent { offset: self.cell_offset(cell.id()) + u64::from(from), len, owner: PhantomData }
    }

    /// The offset in the mapping of the first byte of a cell that is taken.
    #[inline]
    pub(crate) fn cell_offset(&self, cell: CellId) -> u64 {
        let cells = &self.areas[cell.area()];
        assert!(cell.number() < cells.count, "no such cell");
        (cells.start + cells.stride * cell.place()) as u64
    }

    /// Bytes that a buffer holds.
    #[inline]
    pub(crate) fn buffer_bytes(&self, buffer: BufferId) -> u32 {
        self.cell_bytes(self.buffer_cell(buffer).0)
    }

    /// The offset in the mapping of the first byte of a cell that each request slot has, or that is a buffer.
    #[inline]
    pub(crate) fn offset(&self, area: Area, cell: u32) -> u64 {
        let cells = self.cells(area);
        assert!(cell < cells.count, "no such cell");
        (cells.start + cells.stride * cell as usize) as u64
    }

    /// # Safety
    /// 1. The bytes are in cells of the arena.
    #[inline]
    unsafe fn address(&self, offset: u64, len: u32) -> NonNull<u8> {
        debug_assert!(offset + u64::from(len) <= self.mapping.len() as u64, "bytes outside the arena");
        #[expect(clippy::cast_possible_truncation, reason = "an offset within a mapping")]
        let offset = offset as usize;
        // SAFETY: `offset` is within the mapping, as all cells are by the layout (duty 1).
        unsafe { self.mapping.base().add(offset) }
    }

    /// Reads bytes at an offset.
    ///
    /// # Safety
    /// 1. The caller owns the bytes, or shares them with readers only, for as long as the result lives: neither the
    ///    kernel nor another thread writes them.
    /// 2. They are in one cell: that of an [`Extent`], or the first of a cell at its [`offset`](Self::offset) or
    ///    [`cell_offset`](Self::cell_offset).
    #[inline]
    pub(crate) unsafe fn read(&self, offset: u64, len: u32) -> &[u8] {
        // SAFETY: in a cell by duty 2.
        let address = unsafe { self.address(offset, len) };
        // SAFETY: within the mapping, as cells are, and initialised (anonymous mappings are zeroed); not written
        // meanwhile by duty 1.
        unsafe { core::slice::from_raw_parts(address.as_ptr(), len as usize) }
    }

    /// Writes bytes at an offset.
    ///
    /// # Safety
    /// 1. The caller is the only owner of the bytes for as long as the result lives.
    /// 2. They are in one cell, as for [`read`](Self::read).
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "the arena hands out disjoint cells, whose owners are told apart by duty 1"
    )]
    pub(crate) unsafe fn write(&self, offset: u64, len: u32) -> &mut [u8] {
        // SAFETY: in a cell by duty 2.
        let address = unsafe { self.address(offset, len) };
        // SAFETY: within the mapping, as cells are, and initialised (zeroed); exclusive by duty 1.
        unsafe { core::slice::from_raw_parts_mut(address.as_ptr(), len as usize) }
    }

    /// Copies bytes from one offset to another.
    ///
    /// # Safety
    /// 1. The caller may [read](Self::read) the bytes at `from`, and is the only owner of those at `to`.
    /// 2. The two ranges are disjoint, and each is in one cell, as for [`read`](Self::read).
    #[inline]
    pub(crate) unsafe fn copy(&self, from: u64, to: u64, len: u32) {
        // SAFETY: in a cell by duty 2.
        let from = unsafe { self.address(from, len) };
        // SAFETY: as above.
        let to = unsafe { self.address(to, len) };
        // SAFETY: within the mapping, disjoint (duty 2), readable and exclusive (duty 1).
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), len as usize) };
    }

    /// Gives the memory of cells that lie side by side back to the system, unless it is too little to be worth a call.
    ///
    /// # Safety
    /// 1. Nobody uses these cells, nor has lent one to the kernel, and nobody wants what they hold.
    pub(crate) unsafe fn discard(&self, area: Area, cells: Range<u32>) {
        let AreaLayout { start, stride, count, .. } = *self.cells(area);
        assert!(cells.start <= cells.end && cells.end <= count, "no such cells");
        let (from, to) = (start + stride * cells.start as usize, start + stride * cells.end as usize);
        if to - from >= DISCARDED_MIN {
            // SAFETY: these cells of this area alone are between these places (duty 1).
            unsafe { self.mapping.discard(from, to) };
        }
    }

    /// Gives the memory of free cells back to the system, but of as many as have come into use at a time since the last
    /// call.
    pub(crate) fn give_back(&self, cells: &mut FreeCells) {
        let area = cells.of();
        for run in cells.cold() {
            // SAFETY: these cells are free: there is no `Cell` of them, which who uses or lends one has.
            unsafe { self.discard(area, run) };
        }
        cells.give_back_room();
    }

    /// Where the bytes of an extent begin.
    #[inline]
    fn start(&self, extent: Extent<'_>) -> NonNull<u8> {
        // SAFETY: an extent is in a cell.
        unsafe { self.address(extent.offset, extent.len) }
    }

    /// Lends the first bytes of a cell to the kernel to be read into. Whoever gave the cell keeps it meanwhile.
    pub(crate) fn landing(&self, cell: &mut Cell, len: u32) -> Landing {
        Landing { address: self.start(self.cell(cell, 0, len)), len }
    }

    /// Gives a whole receive buffer to the kernel.
    #[inline]
    pub(crate) fn give(&self, spare: &Spare) -> Landing {
        let (area, cell) = self.buffer_cell(spare.buffer());
        let (offset, len) = (self.offset(area, cell), self.cell_bytes(area));
        Landing { address: self.start(Extent { offset, len, owner: PhantomData }), len }
    }

    /// Lends a part of a cell to the kernel for a send. Whoever has the cell keeps it until the send has ended.
    #[inline]
    pub(crate) fn lend(&self, cell: &Cell, from: u32, len: u32) -> Lent {
        Lent { address: self.start(self.cell(cell, from, len)), len }
    }

    /// Lends the first bytes of a slot's response area to the kernel for a send.
    #[inline]
    pub(crate) fn lend_response(&self, slot: u32, len: u32) -> Lent {
        assert!(len <= self.cell_bytes(Area::Response), "an answer ends within its area");
        let extent = Extent { offset: self.offset(Area::Response, slot), len, owner: PhantomData };
        Lent { address: self.start(extent), len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_disjoint_and_strides_avoid_powers_of_two() {
        let sizes = ArenaSizes {
            receive: (4, 4096),
            body: (2, 64),
            head: (3, 128),
            long_head: (3, 200),
            fragment: (3, 32),
            assembly: (2, 100),
            response: (3, 64),
            cooked: (1, 1),
            coalesce: (1, 8192),
            stage: (2, 4096),
        };
        let arena = Arena::new(&sizes).expect("a small mapping");
        assert_eq!(arena.offset(Area::Receive, 1), 4160);
        let mut ends = Vec::new();
        let first = [Area::Receive, Area::Body, Area::Head, Area::LongHead, Area::Fragment, Area::Assembly];
        for area in first.into_iter().chain([Area::Response, Area::Cooked, Area::Coalesce, Area::Stage]) {
            for cell in 0..arena.count(area) {
                let start = arena.offset(area, cell);
                ends.push((start, start + u64::from(arena.cell_bytes(area))));
            }
        }
        ends.sort_unstable();
        assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        assert!(ends[ends.len() - 1].1 <= sizes.total() as u64);
    }

    #[test]
    #[should_panic(expected = "within its cell")]
    fn lending_past_the_end_of_a_cell_is_refused() {
        let sizes = ArenaSizes::alike((1, 64));
        let arena = Arena::new(&sizes).expect("a small mapping");
        let cell = FreeCells::new(Area::Stage, 1, Poison::NONE).take().expect("one");
        let _ = arena.lend(&cell, 63, 2);
    }
}
