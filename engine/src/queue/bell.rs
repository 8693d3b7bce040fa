//! How a shard that sleeps in the kernel is woken: an eventfd that its ring polls, rung only when it sleeps.
//!
//! Within a [`BellScope`] a thread owes its bells instead of ringing them at once, and rings each shard at most once
//! when the scope ends: one wake-up a batch.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crossbeam_utils::CachePadded;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// One shard's bell.
#[derive(Debug)]
pub(crate) struct Bell {
    state: CachePadded<AtomicU32>,
    eventfd: OwnedFd,
}

thread_local! {
    /// The engine whose bells this thread defers, and those it owes: a bit a shard, 64 at the most. Engine 0: none.
    static OWED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened by the call above and belongs to nobody else.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { state: CachePadded::new(AtomicU32::new(AWAKE)), eventfd })
    }

    /// The descriptor to poll for reading. Its count is never read: a poll that reports edges needs no reset.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// The shard is about to sleep; it must look for work once more after this and before it sleeps.
    #[inline]
    pub(crate) fn doze(&self) {
        self.state.swap(ASLEEP, Ordering::SeqCst);
    }

    /// The shard is up.
    #[inline]
    pub(crate) fn rise(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Wakes the shard if it sleeps. What it is woken for must have been published sequentially consistently.
    #[inline]
    pub(crate) fn ring(&self) {
        if self.state.load(Ordering::SeqCst) == ASLEEP
            && self.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.strike();
        }
    }

    /// As [`ring`](Self::ring), but owed until the scope of this thread ends, if it is in one of this engine.
    #[inline]
    pub(crate) fn ring_or_owe(&self, engine: u64, shard: u8) {
        if self.state.load(Ordering::SeqCst) != ASLEEP {
            return;
        }
        let (scope, owed) = OWED.with(Cell::get);
        if scope == engine && shard < 64 {
            OWED.with(|cell| cell.set((scope, owed | 1 << shard)));
        } else {
            self.ring();
        }
    }

    fn strike(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the pointer and length are those of `one`, which outlives the call.
        // A result is not needed: the only failures are a full counter, which still reads as rung, and EINTR, which a
        // non-blocking eventfd does not give.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// While it lives, the bells of one engine rung by this thread are owed; see the module's head. Not `Send`.
#[derive(Debug)]
pub(crate) struct BellScope {
    outer: (u64, u64),
    _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl BellScope {
    /// Begins to defer. Who enters also settles, with the bells of the same engine, before it drops the scope.
    pub(crate) fn enter(engine: u64) -> Self {
        Self { outer: OWED.with(|cell| cell.replace((engine, 0))), _of_this_thread: core::marker::PhantomData }
    }

    /// Gives the shards that this thread owes a bell to `ring`; also to be called before the thread sleeps in a scope.
    pub(crate) fn settle(engine: u64, mut ring: impl FnMut(u8)) {
        let (scope, mut owed) = OWED.with(Cell::get);
        if scope != engine || owed == 0 {
            return;
        }
        OWED.with(|cell| cell.set((scope, 0)));
        while owed != 0 {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            ring(owed.trailing_zeros() as u8);
            owed &= owed - 1;
        }
    }
}

impl Drop for BellScope {
    fn drop(&mut self) {
        OWED.with(|cell| cell.set(self.outer));
    }
}
