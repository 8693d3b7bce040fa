//! An anonymous private mapping that is unmapped when dropped.
//!
//! Invariants: all of it stays at one address until it is dropped; nothing is read or written here, but what is
//! discarded.
//!
//! Not here: who may touch which byte (`arena`, `cells`, `receive`).

use core::ptr::NonNull;
use std::io;

/// See the module's head. Zeroed, page-aligned, resident only where touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory owned by this value; every access goes through the raw pointer of `base`, and
// those who dereference it state why nobody else does at the time.
unsafe impl Send for Mapping {}
// SAFETY: as for Send: `&Mapping` gives out only the address and the length.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes, which must not be 0.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        // Miri knows no other flags than the first two.
        let reserved = if cfg!(miri) { 0 } else { libc::MAP_NORESERVE };
        // SAFETY: an anonymous mapping at an address of the kernel's choosing touches no memory that exists.
        let address = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | reserved,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// The first byte. Valid for `len` bytes for as long as `self` lives.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Gives the pages that are wholly between two places back to the system: see [`discard_pages`].
    ///
    /// # Safety
    /// 1. Nobody uses what is between the places, nor has lent it to the kernel, and nobody wants what it holds.
    pub(super) unsafe fn discard(&self, from: usize, to: usize) {
        assert!(from <= to && to <= self.len, "a place outside the mapping");
        // SAFETY: within the mapping, since `from` is (asserted above).
        let start = unsafe { self.base.add(from) };
        // SAFETY: bytes of this private anonymous mapping, of which duty 1 is the same.
        unsafe { discard_pages(start, to - from) };
    }

    /// Bytes reserved.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Gives the pages that are wholly among some bytes back to the system, which has them zeroed when they are touched
/// next. Where it takes none (locked memory), they stay as they are.
///
/// # Safety
/// 1. Nobody uses the bytes, nor has lent them to the kernel, and nobody wants what they hold.
pub(super) unsafe fn discard_pages(start: NonNull<u8>, bytes: usize) {
    let address = start.addr().get();
    let (from, to) = whole_pages(address, address.saturating_add(bytes), page_bytes());
    if from >= to || cfg!(miri) {
        return;
    }
    let page = start.as_ptr().with_addr(from);
    // SAFETY: pages of memory that is had, and stay so; nobody uses them (duty 1).
    unsafe { libc::madvise(page.cast(), to - from, libc::MADV_DONTNEED) };
}

/// Bytes of a page of this system: 4 KiB, or more.
fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("every system has pages")
}

/// Where the pages begin and end that are wholly between two places: the system takes more where an end is within one.
fn whole_pages(from: usize, to: usize, page: usize) -> (usize, usize) {
    (from.next_multiple_of(page), to / page * page)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[cfg(ringress_asan)]
        super::poison::lift(self.base.as_ptr().addr(), self.len);
        // SAFETY: `base` and `len` are those of the mapping made in `new`, which nobody else unmaps; users of the
        // address hold a borrow or an owner of this value.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_pages_that_are_larger_than_usual_only_whole_ones_are_given_back() {
        const LARGE: usize = 64 * 1024;
        assert_eq!(whole_pages(4096, 3 * LARGE + 4096, LARGE), (LARGE, 3 * LARGE));
        assert_eq!(whole_pages(LARGE, 2 * LARGE - 1, LARGE), (LARGE, LARGE), "none");
        assert_eq!(whole_pages(4096, 3 * 4096, 4096), (4096, 3 * 4096));
    }

    #[test]
    fn what_is_beside_the_pages_that_are_given_back_stays() {
        let page = page_bytes();
        let mapping = Mapping::new(4 * page).expect("a small mapping");
        // SAFETY: within the mapping, which nobody else has.
        let bytes = unsafe { core::slice::from_raw_parts_mut(mapping.base().as_ptr(), 4 * page) };
        bytes.fill(7);
        // SAFETY: `bytes` is not used meanwhile, and nothing is wanted of what is between.
        unsafe { mapping.discard(page - 1, 3 * page + 1) };
        assert_eq!((bytes[page - 1], bytes[page], bytes[3 * page - 1], bytes[3 * page]), (7, 0, 0, 7));
    }
}
