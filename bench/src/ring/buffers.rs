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

/// The only buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

/// How many buffers, and how large.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many; a power of two, at most 32,768.
    pub count: u16,
    /// Bytes of one, at least 1.
    pub buffer_bytes: u32,
    /// Bytes from one buffer's start to the next one's; at least `buffer_bytes`.
    pub stride: u32,
    /// Ask for huge pages under the buffers.
    pub huge_pages: bool,
}

/// Owns both mappings. They stay for the life of the process, so that the kernel is never left with a dangling
/// address, unless [`Buffers::unmap`] is called by one who knows that no receive is under way.
#[derive(Debug)]
pub struct Buffers {
    data: *const u8,
    /// The whole mappings as they were made: the buffers and the ring's entries.
    mappings: [Mapping; 2],
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
    /// Maps the buffers and lends all of them to the kernel, as the ring's only group.
    ///
    /// # Errors
    /// The kernel refuses the memory or the buffer ring.
    ///
    /// # Panics
    /// When the count is no power of two, or the stride is below the size.
    pub fn register(ring: &IoUring, shape: &Shape) -> io::Result<Self> {
        let Shape { count, buffer_bytes, .. } = *shape;
        assert!(count.is_power_of_two(), "the ring's index is a mask");
        assert!(shape.stride >= buffer_bytes, "buffers do not overlap");
        let stride = shape.stride as usize;
        let (data, data_mapping) = map(stride * usize::from(count), shape.huge_pages)?;
        let (entries, entries_mapping) = map(size_of::<BufRingEntry>() * usize::from(count), false)?;
        let entries = entries.cast::<BufRingEntry>();
        for bid in 0..count {
            // SAFETY: the mapping has `count` entries and `bid` is below; pages are 4096-aligned.
            let entry = unsafe { entries.add(usize::from(bid)) };
            // SAFETY: `entry` is inside the zeroed mapping, all-zero bits are a value of the
            // integers it is made of, and nobody else knows the mapping before registration.
            let entry = unsafe { &mut *entry };
            entry.set_addr(data as u64 + u64::from(bid) * stride as u64);
            entry.set_len(buffer_bytes);
            entry.set_bid(bid);
        }
        // SAFETY: the mapping holds `count` entries, page-aligned, and outlives the ring's use.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, count, GROUP, 0) }?;
        // SAFETY: `entries` is the first entry of the ring, initialised above.
        let tail_shared = unsafe { BufRingEntry::tail(entries) }.cast::<AtomicU16>();
        let mut buffers = Self {
            data,
            mappings: [data_mapping, entries_mapping],
            tail_shared,
            stride,
            buffer_bytes: buffer_bytes as usize,
            count,
            tail: 0,
            taken: count,
        };
        buffers.give_back();
        Ok(buffers)
    }

    /// Notes that the kernel has filled the next buffer of the ring, as a completion of this ring says.
    ///
    /// # Panics
    /// When it is not the next one, or none is lent: the completion is none of this ring, or was noted before.
    #[inline]
    pub fn take(&mut self, bid: u16) {
        let next = self.tail.wrapping_add(self.taken) & (self.count - 1);
        assert!(
            bid == next && self.taken < self.count,
            "the kernel fills buffers in order, each once while it is lent"
        );
        self.taken += 1;
    }

    /// The bytes received into a buffer that was taken and not yet given back.
    ///
    /// # Panics
    /// When the buffer is lent to the kernel, or does not have so many bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self, bid: u16, len: usize) -> &[u8] {
        // Those that are taken lie from the tail on, in ring order.
        let place = bid.wrapping_sub(self.tail) & (self.count - 1);
        assert!(bid < self.count && place < self.taken, "the buffer is taken, and not lent to the kernel");
        assert!(len <= self.buffer_bytes, "the kernel stays inside the buffer");
        // SAFETY: `bid` is below `count`, so the address is inside the mapping.
        let start = unsafe { self.data.add(usize::from(bid) * self.stride) };
        // SAFETY: buffer `bid` reaches `buffer_bytes` (at most the stride) from `start`, mapped
        // while `self` lives and zeroed. It is taken, asserted above, so the kernel does not write it before
        // `give_back`, which needs `&mut self` and so cannot happen while this slice lives.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Lends every taken buffer to the kernel again, and no other.
    #[inline]
    pub fn give_back(&mut self) {
        self.tail = self.tail.wrapping_add(self.taken);
        self.taken = 0;
        // SAFETY: points into the registered ring, mapped while `self` lives, aligned for a u16, and only
        // this thread writes it; the kernel reads it.
        let tail_shared = unsafe { &*self.tail_shared };
        // Release: what was read from the buffers was read before they are lent again.
        tail_shared.store(self.tail, Ordering::Release);
    }

    /// Gives both mappings back to the system.
    ///
    /// # Safety
    /// 1. No receive of the ring is under way any more, and none will be begun.
    pub unsafe fn unmap(self) {
        for mapping in self.mappings {
            // SAFETY: made by `map` with this address and length, and nobody uses it any more: not the kernel (1.),
            // and not this value, which ends here.
            unsafe { libc::munmap(mapping.start.cast(), mapping.len) };
        }
    }
}

/// Pages as `mmap` gave them.
#[derive(Debug)]
struct Mapping {
    start: *mut u8,
    len: usize,
}

/// Anonymous zeroed pages: where to use them, and the whole mapping.
fn map(len: usize, huge_pages: bool) -> io::Result<(*mut u8, Mapping)> {
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
    let mapping = Mapping { start, len: len + slack };
    if !huge_pages {
        return Ok((start, mapping));
    }
    // SAFETY: the mapping is a huge page longer than `len`, so the next boundary plus `len` is
    // inside it.
    let start = unsafe { start.add(start.align_offset(HUGE_PAGE)) };
    // SAFETY: the range is inside the mapping made above; the advice changes no contents.
    let rc = unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) };
    if rc == 0 { Ok((start, mapping)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Wishes, setup};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const SHAPE: Shape = Shape { count: 4, buffer_bytes: 64, stride: 128, huge_pages: false };

    fn panics(buffers: &mut Buffers, misuse: impl FnOnce(&mut Buffers)) -> bool {
        catch_unwind(AssertUnwindSafe(|| misuse(buffers))).is_err()
    }

    fn read(bid: u16, len: usize) -> impl FnOnce(&mut Buffers) {
        move |buffers| assert!(buffers.bytes(bid, len).iter().all(|byte| *byte == 0))
    }

    #[test]
    fn a_buffer_that_is_lent_is_neither_read_nor_lent_again() {
        let Ok((ring, _)) = setup::build(&Wishes::default()) else {
            eprintln!("skipped: no ring here");
            return;
        };
        let mut buffers = Buffers::register(&ring, &SHAPE).expect("a new ring takes a group");
        // Twice round, so that the ring's order wraps.
        for lap in 0..2 {
            for bid in 0..4 {
                assert!(panics(&mut buffers, read(bid, 1)), "lap {lap}: buffer {bid} was read while lent");
                assert!(
                    panics(&mut buffers, |buffers| buffers.take((bid + 1) % 4)),
                    "lap {lap}: {bid} was passed over"
                );
                buffers.take(bid);
                assert!(!panics(&mut buffers, read(bid, 64)), "lap {lap}: buffer {bid} is taken");
                assert!(panics(&mut buffers, read(bid, 65)), "lap {lap}: more than buffer {bid} has");
                assert!(panics(&mut buffers, |buffers| buffers.take(bid)), "lap {lap}: {bid} was taken twice");
                if bid != 1 {
                    buffers.give_back();
                    assert!(panics(&mut buffers, read(bid, 1)), "lap {lap}: buffer {bid} was read when given back");
                }
            }
        }
        (0..4).for_each(|bid| buffers.take(bid));
        assert!(panics(&mut buffers, |buffers| buffers.take(0)), "none was left to be filled");
        assert!(panics(&mut buffers, read(4, 1)), "there are four");
        drop(ring);
        // SAFETY: no receive was ever begun.
        unsafe { buffers.unmap() };
    }
}
