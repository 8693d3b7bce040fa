//! How a shard that sleeps in the kernel is woken: an eventfd that its ring polls, rung only when it sleeps.
//!
//! Within a [`BellScope`] a thread owes its bells instead of ringing them at once, and rings each shard at most once
//! when the scope ends: one wake-up a batch.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    /// The thread that drives the shard is to look at something else than the shard.
    called: AtomicBool,
    eventfd: OwnedFd,
}

/// Bells that no shard has.
static FREE: Mutex<Vec<&'static Bell>> = Mutex::new(Vec::new());

/// What a thread owes.
struct Owed {
    /// The engine whose bells are deferred; 0 for none.
    engine: u64,
    /// Scopes open.
    depth: u32,
    /// Those to be rung: few, and the memory is kept.
    bells: Vec<&'static Bell>,
}

thread_local! {
    static OWED: RefCell<Owed> = const { RefCell::new(Owed { engine: 0, depth: 0, bells: Vec::new() }) };
}

/// Rings the bells that this thread owes: before it sleeps, for the shards may be what it sleeps for.
pub(crate) fn settle() {
    with_owed(|owed| owed.bells.drain(..).for_each(Bell::ring));
}

/// `None` on a thread that ends and whose thread-locals are gone: requests may be kept in others of them. It owes
/// nothing any more.
fn with_owed<T>(look: impl FnOnce(&mut Owed) -> T) -> Option<T> {
    OWED.try_with(|owed| look(&mut owed.borrow_mut())).ok()
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
        let state = CachePadded::new(AtomicU32::new(AWAKE));
        Ok(Box::leak(Box::new(Self { state, called: AtomicBool::new(false), eventfd })))
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
    pub(crate) fn ring_or_owe(&'static self, engine: u64) {
        if self.state.load(Ordering::SeqCst) == ASLEEP {
            self.owe(engine);
        }
    }

    fn owe(&'static self, engine: u64) {
        let owes = with_owed(|owed| {
            let owes = owed.engine == engine && owed.depth > 0;
            if owes && !owed.bells.iter().any(|bell| core::ptr::eq(*bell, self)) {
                owed.bells.push(self);
            }
            owes
        });
        if owes != Some(true) {
            self.ring();
        }
    }

    /// Ends the sleep of the thread that drives the shard, now or the next time it would sleep.
    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Whether there was a call since this was asked the last time. Sequentially consistent, for the second look.
    pub(crate) fn take_call(&self) -> bool {
        self.called.swap(false, Ordering::SeqCst)
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
    /// Begins to defer. Who enters also [settles](settle) before it drops the scope.
    pub(crate) fn enter(engine: u64) -> Self {
        let counted = with_owed(|owed| {
            let counted = owed.depth == 0 || owed.engine == engine;
            if counted {
                owed.engine = engine;
                owed.depth += 1;
            }
            counted
        });
        Self { counted: counted == Some(true), _of_this_thread: core::marker::PhantomData }
    }
}

impl Drop for BellScope {
    fn drop(&mut self) {
        if self.counted {
            with_owed(|owed| owed.depth -= 1);
        }
    }
}
