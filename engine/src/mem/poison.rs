//! Poison: in builds that AddressSanitizer watches, memory that nobody may touch now, so that whoever does ends the
//! process with a report. Elsewhere nothing of this is left when it is compiled.
//!
//! Invariants:
//! * A cell is poisoned from the making of its arena until it is taken, and again from when it is given back. That of a
//!   receive buffer stays so while the kernel has it: what the kernel writes is not watched.
//! * Of a cell in use its bytes are laid open and no more: what lies between two cells is always poisoned.
//! * Who makes a mapping lays all of it open before it is unmapped: the addresses will be somebody else's.
//!
//! Built by `scripts/sanitize`, with `--cfg ringress_asan`. Not here: bytes of a cell in use that are not its reader's.
//! Source: `sanitizer/asan_interface.h`, `sanitizer/lsan_interface.h`.

#[cfg(ringress_asan)]
use core::ffi::c_void;

use super::areas::AreaLayout;

#[cfg(ringress_asan)]
unsafe extern "C" {
    fn __asan_poison_memory_region(address: *const c_void, len: usize);
    fn __asan_unpoison_memory_region(address: *const c_void, len: usize);
    fn __lsan_ignore_object(address: *const c_void);
}

/// The poison of one area: for the one who keeps the account of its cells, which lives no longer than their arena.
#[derive(Debug)]
pub(crate) struct Poison {
    #[cfg(ringress_asan)]
    cells: Option<AreaLayout>,
}

impl Poison {
    /// For an account without memory.
    pub(super) const NONE: Self = Self {
        #[cfg(ringress_asan)]
        cells: None,
    };

    /// Poisons all cells of an area, none of which is in use. `area` begins at an address.
    #[cfg_attr(not(ringress_asan), expect(unused_variables, reason = "nothing is poisoned"))]
    pub(super) fn of(area: AreaLayout) -> Self {
        #[cfg(ringress_asan)]
        {
            put(area.start, area.stride * area.count as usize);
            Self { cells: Some(area) }
        }
        #[cfg(not(ringress_asan))]
        Self::NONE
    }

    /// A cell comes into use.
    #[inline(always)]
    #[cfg_attr(not(ringress_asan), expect(unused_variables, clippy::unused_self, reason = "nothing is poisoned"))]
    pub(crate) fn lift(&self, cell: u32) {
        #[cfg(ringress_asan)]
        if let Some(AreaLayout { start, stride, bytes, .. }) = self.cells {
            lift(start + stride * cell as usize, bytes as usize);
        }
    }

    /// A cell is not in use any more.
    #[inline(always)]
    #[cfg_attr(not(ringress_asan), expect(unused_variables, clippy::unused_self, reason = "nothing is poisoned"))]
    pub(crate) fn put(&self, cell: u32) {
        #[cfg(ringress_asan)]
        if let Some(AreaLayout { start, stride, .. }) = self.cells {
            put(start + stride * cell as usize, stride);
        }
    }
}

/// What is left allocated on purpose is told from leaks: `address` is within it.
#[cfg_attr(not(ringress_asan), expect(unused_variables, reason = "nobody looks for leaks"))]
pub(crate) fn leave<T>(address: *const T) {
    // SAFETY: notes an address in the sanitizer's own memory, and touches nothing else, whatever the address.
    #[cfg(ringress_asan)]
    unsafe {
        __lsan_ignore_object(address.cast());
    }
}

#[cfg(ringress_asan)]
fn put(address: usize, len: usize) {
    // SAFETY: marks addresses in the sanitizer's own memory; those named are of a mapping, and are not touched.
    unsafe { __asan_poison_memory_region(address as *const c_void, len) };
}

/// Lays a range of a mapping open.
#[cfg(ringress_asan)]
pub(super) fn lift(address: usize, len: usize) {
    // SAFETY: as in `put`.
    unsafe { __asan_unpoison_memory_region(address as *const c_void, len) };
}

#[cfg(ringress_asan)]
#[cfg(test)]
mod tests {
    use core::ffi::{c_int, c_void};
    use std::process::Command;

    use crate::mem::{Area, Arena, ArenaSizes, Filled, Input, ReceiveBuffers, Share};

    unsafe extern "C" {
        fn __asan_address_is_poisoned(address: *const c_void) -> c_int;
    }

    /// Tells this program that it is the one to die.
    const ROLE: &str = "RINGRESS_READS_A_RELEASED_BUFFER";

    fn arena() -> Arena {
        let sizes = ArenaSizes {
            receive: (4, 100),
            body: (2, 1000),
            head: (3, 100),
            long_head: (1, 100),
            fragment: (3, 32),
            assembly: (2, 100),
            response: (3, 64),
            cooked: (1, 1),
            coalesce: (1, 8192),
            stage: (2, 4096),
        };
        Arena::new(&sizes).expect("a small mapping")
    }

    fn is_poisoned(arena: &Arena, area: Area, cell: u32, at: usize) -> bool {
        let (start, stride, _) = arena.layout_of(area);
        let address = (start + stride * cell as usize + at) as *const c_void;
        // SAFETY: looks into the sanitizer's own memory.
        unsafe { __asan_address_is_poisoned(address) != 0 }
    }

    /// The kernel has filled the buffer it was given first, which is the first of all.
    fn filled(buffers: &mut ReceiveBuffers) -> Share {
        let spare = buffers.next_to_post().expect("some are spare");
        // SAFETY: nobody else has the buffer, in the place of a kernel.
        buffers.take(unsafe { Filled::new(spare.buffer()) })
    }

    #[test]
    fn a_buffer_is_open_while_somebody_uses_it_and_no_farther_than_its_end() {
        let arena = arena();
        let mut buffers = ReceiveBuffers::of(&arena);
        assert!((0..4).all(|cell| is_poisoned(&arena, Area::Receive, cell, 0)));
        assert!((0..2).all(|cell| is_poisoned(&arena, Area::Body, cell, 999)));
        let first = filled(&mut buffers);
        let second = buffers.share(Input::new(&first, 0, 0, 8));
        let is_open = |arena: &Arena| !is_poisoned(arena, Area::Receive, 0, 0);
        assert!(is_open(&arena) && !is_poisoned(&arena, Area::Receive, 0, 99));
        assert!(is_poisoned(&arena, Area::Receive, 0, 100) && is_poisoned(&arena, Area::Receive, 1, 0));
        buffers.release(first);
        assert!(is_open(&arena), "somebody still reads it");
        buffers.release(second);
        assert!(!is_open(&arena));
        let large = buffers.take_spare_large().expect("two");
        assert_eq!([0, 1].map(|cell| is_poisoned(&arena, Area::Body, cell, 500)), [false, true]);
        buffers.release(large);
        assert!(is_poisoned(&arena, Area::Body, 0, 500));
    }

    #[test]
    fn a_cell_is_open_while_it_is_taken() {
        let arena = arena();
        let mut cells = arena.free_cells(Area::Stage);
        assert!(is_poisoned(&arena, Area::Stage, 0, 0));
        let cell = cells.take().expect("two");
        assert_eq!([0, 1].map(|cell| is_poisoned(&arena, Area::Stage, cell, 4095)), [false, true]);
        cells.give(cell);
        assert!(is_poisoned(&arena, Area::Stage, 0, 4095));
    }

    #[test]
    fn addresses_are_open_again_when_their_mapping_is_gone() {
        let arena = arena();
        let buffers = ReceiveBuffers::of(&arena);
        let (start, ..) = arena.layout_of(Area::Receive);
        drop((buffers, arena));
        // SAFETY: looks into the sanitizer's own memory.
        assert_eq!(unsafe { __asan_address_is_poisoned(start as *const c_void) }, 0);
    }

    /// Not a test by itself: the body of the process that reads what it has given back.
    #[test]
    fn reads_a_released_buffer() {
        if std::env::var_os(ROLE).is_none() {
            return;
        }
        let arena = arena();
        let mut buffers = ReceiveBuffers::of(&arena);
        let share = filled(&mut buffers);
        let offset = arena.buffer_offset(share.buffer());
        // SAFETY: only the first look keeps the duty of `read`; it is the purpose of this process to break it then.
        let bytes = unsafe { arena.read(offset, 8) };
        let read = std::hint::black_box(bytes)[0];
        println!("read while it was in use: {read}");
        buffers.release(share);
        // Read here: the standard library's code, to which a reference would go, is not watched.
        let read = std::hint::black_box(bytes)[0];
        println!("read after that: {read}");
    }

    #[test]
    fn who_reads_a_released_buffer_dies_of_it() {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "mem::poison::tests::reads_a_released_buffer", "--nocapture"]).env(ROLE, "");
        let output = command.output().expect("it starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(stdout.contains("read while it was in use: 0"), "{stdout}{stderr}");
        assert!(!output.status.success() && !stdout.contains("read after that"), "{stdout}");
        assert!(stderr.contains("use-after-poison"), "{stderr}");
    }
}
