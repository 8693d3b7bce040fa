//! How a shard that sleeps in the kernel is woken: an eventfd that its ring polls, rung only when it sleeps.
//!
//! Within a [`BellScope`] a thread owes its bells instead of ringing them at once, and rings each shard at most once
//! when the scope ends: one wake-up a batch.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// One shard's bell. Bells are never freed, only put back for other shards: who gives a slot away rings after that,
/// when the shard may have ended. A ring that comes too late wakes the bell's next owner for nothing.
#[derive(Debug)]
pub(crate) struct Bell {
    state: CachePadded<AtomicU32>,
    eventfd: OwnedFd,
}

/// Bells that no shard has.
static FREE: Mutex<Vec<&'static Bell>> = Mutex::new(Vec::new());

/// The engine whose bells a thread defers (0: none), those it owes (a bit a shard, 64 at the most), and how many scopes
/// are open.
type Owed = (u64, u64, u32);

thread_local! {
    static OWED: Cell<Owed> = const { Cell::new((0, 0, 0)) };
}

impl Bell {
    /// A bell for a new shard.
    pub(crate) fn take() -> io::Result<&'static Self> {
        if let Some(bell) = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            bell.rise();
            return Ok(bell);
        }
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened by the call above and belongs to nobody else.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Box::leak(Box::new(Self { state: CachePadded::new(AtomicU32::new(AWAKE)), eventfd })))
    }

    /// The shard is no more.
    pub(crate) fn put_back(&'static self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self);
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
        let (scope, owed, depth) = OWED.with(Cell::get);
        if scope == engine && shard < 64 {
            OWED.with(|cell| cell.set((scope, owed | 1 << shard, depth)));
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
///
/// Scopes of one engine may overlap in any order; one of another engine, opened meanwhile, defers nothing.
#[derive(Debug)]
pub(crate) struct BellScope {
    counted: bool,
    _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl BellScope {
    /// Begins to defer. Who enters also settles, with the bells of the same engine, before it drops the scope.
    pub(crate) fn enter(engine: u64) -> Self {
        let (scope, owed, depth) = OWED.with(Cell::get);
        let counted = depth == 0 || scope == engine;
        if counted {
            OWED.with(|cell| cell.set((engine, owed, depth + 1)));
        }
        Self { counted, _of_this_thread: core::marker::PhantomData }
    }

    /// Gives the shards that this thread owes a bell to `ring`; also to be called before the thread sleeps in a scope.
    pub(crate) fn settle(engine: u64, mut ring: impl FnMut(u8)) {
        let (scope, mut owed, depth) = OWED.with(Cell::get);
        if scope != engine || owed == 0 {
            return;
        }
        OWED.with(|cell| cell.set((scope, 0, depth)));
        while owed != 0 {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            ring(owed.trailing_zeros() as u8);
            owed &= owed - 1;
        }
    }
}

impl Drop for BellScope {
    fn drop(&mut self) {
        if self.counted {
            let (scope, owed, depth) = OWED.with(Cell::get);
            OWED.with(|cell| cell.set(if depth > 1 { (scope, owed, depth - 1) } else { (0, 0, 0) }));
        }
    }
}
