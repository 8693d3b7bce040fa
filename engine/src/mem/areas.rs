//! How a shard's mapping is cut into areas of equal cells: receive and body buffers, heads, fragments and assembly
//! buffers, response areas, cooked paths, coalescing buffers and stages for files.
//!
//! Cells are laid out with a stride that is an odd number of cache lines where they would otherwise be a power of two
//! apart: heads of 4 KiB-aligned buffers all fall into the same few cache sets.
//!
//! Invariants: cells do not overlap, and each begins at a cache line.
//!
//! Not here: the memory itself (`mapping`), and who may touch it (`arena`).

const LINE: usize = 64;
/// Bytes of a page: what the system has at a time, or a part of that.
const PAGE: usize = 4096;

/// One of the arena's areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// Buffers lent to the kernel for receiving.
    Receive,
    /// Large buffers lent to the kernel for receiving long bodies.
    Body,
    /// Heads of requests, with what is there of their bodies, one a request slot.
    Head,
    /// The same that do not fit there.
    LongHead,
    /// Heads that did not arrive in one buffer, and trailer sections, as far as they are short: one a connection for
    /// the ones, one a request slot for the others.
    Fragment,
    /// The same that do not fit there or in the cell of a long head, and long heads copied out of a large buffer.
    Assembly,
    /// What applications write their response heads and small bodies into, one a request slot.
    Response,
    /// Decoded paths, one a request slot; touched only by targets that are not canonical as sent.
    Cooked,
    /// Answers of one connection put together for one send.
    Coalesce,
    /// Parts of files between the disk and a socket.
    Stage,
}

pub(super) const AREAS: usize = 10;

/// How many cells each area has, and how many bytes a cell holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArenaSizes {
    pub(crate) receive: (u32, u32),
    pub(crate) body: (u32, u32),
    pub(crate) head: (u32, u32),
    pub(crate) long_head: (u32, u32),
    pub(crate) fragment: (u32, u32),
    pub(crate) assembly: (u32, u32),
    pub(crate) response: (u32, u32),
    pub(crate) cooked: (u32, u32),
    pub(crate) coalesce: (u32, u32),
    pub(crate) stage: (u32, u32),
}

#[cfg(test)]
impl ArenaSizes {
    /// Each area has as many cells of as many bytes.
    pub(crate) fn alike(area: (u32, u32)) -> Self {
        Self {
            receive: area,
            body: area,
            head: area,
            long_head: area,
            fragment: area,
            assembly: area,
            response: area,
            cooked: area,
            coalesce: area,
            stage: area,
        }
    }
}

/// Where the cells of an area are, from the first byte of the mapping on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AreaLayout {
    /// The first one.
    pub(super) start: usize,
    /// How far they are apart.
    pub(super) stride: usize,
    pub(super) count: u32,
    /// What a cell holds.
    pub(super) bytes: u32,
}

impl ArenaSizes {
    fn each(&self) -> [(u32, u32); AREAS] {
        let Self { receive, body, head, long_head, fragment, assembly, response, cooked, coalesce, stage } = *self;
        [receive, body, head, long_head, fragment, assembly, response, cooked, coalesce, stage]
    }

    /// Where each area is, and where the last one ends.
    pub(super) fn layout(&self) -> ([AreaLayout; AREAS], usize) {
        let mut areas = [AreaLayout::default(); AREAS];
        let mut end = 0_usize;
        for (area, (count, bytes)) in areas.iter_mut().zip(self.each()) {
            let lines = (bytes as usize).div_ceil(LINE);
            let stride = (lines | 1) * LINE;
            *area = AreaLayout { start: end, stride, count, bytes };
            end += (stride * count as usize).next_multiple_of(PAGE);
        }
        (areas, end.max(PAGE))
    }

    /// Bytes of address space the arena takes.
    pub(crate) fn total(&self) -> usize {
        self.layout().1
    }
}
