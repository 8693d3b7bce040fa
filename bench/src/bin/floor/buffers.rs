//! The receive buffers the kernel picks from, returned by one tail store per turn.
//!
//! The kernel takes buffers in ring order, and a turn gives back every buffer it got. So the slot
//! at the tail always already holds the number, address and length of the buffer that is due:
//! returning `n` buffers is adding `n` to the tail, nothing is written into the ring after set-up.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::options::Options;

/// The only buffer group.
pub(crate) const GROUP: u16 = 0;

/// Owns both mappings for the life of the process: they are never unmapped, so the kernel can
/// never be left with a dangling address.
#[derive(Debug)]
pub(crate) struct Buffers {
    data: *const u8,
    tail_shared: *const AtomicU16,
    stride: usize,
    buffer_bytes: usize,
    count: u16,
    /// What `tail_shared` holds.
    tail: u16,
    /// Buffers the kernel has filled since the last [`Buffers::give_back`].
    taken: u16,
}

impl Buffers {
    pub(crate) fn register(ring: &IoUring, options: &Options) -> io::Result<Self> {
        let stride = options.stride as usize;
        let count = options.buffers;
        let data = map(stride * usize::from(count), options.huge_pages)?;
        let entries = map(size_of::<BufRingEntry>() * usize::from(count), false)?;
        let entries = entries.cast::<BufRingEntry>();
        for bid in 0..count {
            // SAFETY: the mapping has `count` entries and `bid` is below; pages are 4096-aligned.
            let entry = unsafe { entries.add(usize::from(bid)) };
            // SAFETY: `entry` is inside the zeroed mapping, all-zero bits are a value of the
            // integers it is made of, and nobody else knows the mapping before registration.
            let entry = unsafe { &mut *entry };
            entry.set_addr(data as u64 + u64::from(bid) * stride as u64);
            entry.set_len(options.buffer_bytes);
            entry.set_bid(bid);
        }
        // SAFETY: the mapping holds `count` entries, page-aligned, and is never unmapped.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, count, GROUP, 0) }?;
        // SAFETY: `entries` is the first entry of the ring, initialised above.
        let tail_shared = unsafe { BufRingEntry::tail(entries) }.cast::<AtomicU16>();
        let mut buffers = Self {
            data,
            tail_shared,
            stride,
            buffer_bytes: options.buffer_bytes as usize,
            count,
            tail: 0,
            taken: count,
        };
        buffers.give_back();
        Ok(buffers)
    }

    /// Notes that the kernel has filled the next buffer of the ring.
    #[inline]
    pub(crate) fn take(&mut self, bid: u16) {
        debug_assert_eq!(bid, self.tail.wrapping_add(self.taken) & (self.count - 1));
        self.taken += 1;
    }

    /// The bytes received into a buffer that was taken and not yet given back.
    pub(crate) fn bytes(&self, bid: u16, len: usize) -> &[u8] {
        assert!(bid < self.count, "the kernel names a buffer it was lent");
        assert!(len <= self.buffer_bytes, "the kernel stays inside the buffer");
        // SAFETY: `bid` is below `count`, so the address is inside the mapping.
        let start = unsafe { self.data.add(usize::from(bid) * self.stride) };
        // SAFETY: buffer `bid` reaches `buffer_bytes` (at most the stride) from `start`, mapped
        // for ever and zeroed. The kernel does not write it before `give_back`, which needs
        // `&mut self` and so cannot happen while this slice lives.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Lends every taken buffer to the kernel again.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        self.tail = self.tail.wrapping_add(self.taken);
        self.taken = 0;
        // SAFETY: points into the registered ring, mapped for ever, aligned for a u16, and only
        // this thread writes it; the kernel reads it.
        let tail_shared = unsafe { &*self.tail_shared };
        // Release: what was read from the buffers was read before they are lent again.
        tail_shared.store(self.tail, Ordering::Release);
    }
}

/// Anonymous zeroed pages that are never given back.
fn map(len: usize, huge_pages: bool) -> io::Result<*mut u8> {
    const HUGE_PAGE: usize = 2 << 20;
    let (len, slack) = if huge_pages { (len.next_multiple_of(HUGE_PAGE), HUGE_PAGE) } else { (len, 0) };
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len + slack,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = start.cast::<u8>();
    if !huge_pages {
        return Ok(start);
    }
    // SAFETY: the mapping is a huge page longer than `len`, so the next boundary plus `len` is
    // inside it.
    let start = unsafe { start.add(start.align_offset(HUGE_PAGE)) };
    // SAFETY: the range is inside the mapping made above; the advice changes no contents.
    let rc = unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) };
    if rc == 0 { Ok(start) } else { Err(io::Error::last_os_error()) }
}
