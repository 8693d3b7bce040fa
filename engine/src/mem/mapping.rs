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

    /// Gives the pages between two places, each at the beginning of one, back to the system, which has them zeroed when
    /// they are touched next. Where it takes none (locked memory), they stay as they are.
    ///
    /// # Safety
    /// 1. Nobody uses what is between the places, nor has lent it to the kernel, and nobody wants what it holds.
    pub(super) unsafe fn discard(&self, from: usize, to: usize) {
        assert!(to <= self.len, "a place outside the mapping");
        if from >= to || cfg!(miri) {
            return;
        }
        // SAFETY: within the mapping, since `to` is (asserted above).
        let start = unsafe { self.base.add(from) };
        // SAFETY: pages of this private anonymous mapping, which stay mapped; nobody uses them (duty 1).
        unsafe { libc::madvise(start.as_ptr().cast(), to - from, libc::MADV_DONTNEED) };
    }

    /// Bytes reserved.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
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
