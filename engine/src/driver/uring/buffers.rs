//! The ring of provided buffers: memory shared with the kernel, in which we say which receive buffers it may fill.
//!
//! Invariants: the kernel sees an entry only after `post`; an entry that it has not taken yet is not written over,
//! since each buffer is given once; the memory outlives the kernel's ring.
//!
//! Not here: which buffers are given (`mem::ReceiveBuffers`), and where they lie (`mem::Arena`).
//!
//! Source: `io_uring_provided_buffers(7)`, `io_uring_register(2)` (IORING_REGISTER_PBUF_RING, Linux 5.19).

use core::sync::atomic::{AtomicU16, Ordering};
use std::io;

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::mem::{BufferId, Mapping};

/// See the module's head.
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: Mapping,
    mask: u16,
    /// One past the last entry written; shown to the kernel by [`post`](Self::post).
    tail: u16,
}

impl BufferRing {
    /// Makes a ring for `count` buffers, a power of two up to 32,768, and registers it as a group.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16, group: u16) -> io::Result<Self> {
        assert!(count.is_power_of_two(), "the kernel takes powers of two only");
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let address = entries.base().as_ptr() as u64;
        // SAFETY: the mapping is page-aligned and large enough for `count` entries. It lives as long as `Uring`, whose
        // field order closes the kernel's ring before it drops this.
        unsafe { submitter.register_buf_ring_with_flags(address, count, group, 0)? };
        Ok(Self { entries, mask: count - 1, tail: 0 })
    }

    /// Writes an entry that gives `len` bytes at `address` to the kernel, not visible before [`post`](Self::post).
    #[inline]
    pub(super) fn give(&mut self, buffer: BufferId, address: u64, len: u32) {
        let place = usize::from(self.tail & self.mask);
        let first = self.entries.base().cast::<BufRingEntry>();
        // SAFETY: `place` is at most the mask, so within the entries mapped.
        let entry = unsafe { first.add(place) };
        // SAFETY: entries from the kernel's head up to our tail are the kernel's; this one is behind the tail, since no
        // more buffers are given than the ring has entries (each buffer is given once, and of those that are kept back
        // no more than that are posted: `ReceiveBuffers`). The reserved
        // field of entry 0, which holds the tail, is not touched by these setters.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(buffer.number());
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel everything given: one store.
    #[inline]
    pub(super) fn post(&mut self) {
        let first = self.entries.base().cast::<BufRingEntry>().as_ptr();
        // SAFETY: `first` is the first entry of a ring that lives as long as `self`.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail is 2 aligned bytes of the mapping that the kernel reads and we alone write.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
