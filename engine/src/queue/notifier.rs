//! How a shard that sleeps in the kernel is woken: an eventfd that its ring polls, written to only when it sleeps.
//!
//! Within a [`NotifyScope`] a thread defers its notifications and wakes each shard at most once:
//! whoever entered the scope sends them before it drops it (`notify_deferred`).
//!
//! Invariants: the eventfd is written once a sleep at most, by whoever turns "asleep" into "awake"; a notifier is never
//! freed, so that one who notifies after the shard's end touches no memory that is gone.
//!
//! Not here: the sleep and the look for work before it (room `shard`), the poll (room `ring`), and consumers that sleep
//! (`sleepers`).

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// One shard's notifier. Never freed, only put back for other shards: who gives a slot away notifies after that,
/// when the shard may have ended. A notification that comes too late wakes the next owner for nothing.
#[derive(Debug)]
pub(crate) struct Notifier {
    state: CachePadded<AtomicU32>,
    /// The thread that drives the shard is to look at something else than the shard.
    interrupted: AtomicBool,
    eventfd: OwnedFd,
}

/// Notifiers that no shard has.
static FREE: Mutex<Vec<&'static Notifier>> = Mutex::new(Vec::new());

/// What a thread has deferred.
struct Deferred {
    /// The engine whose notifiers are deferred; 0 for none.
    engine: u64,
    /// Scopes open.
    depth: u32,
    /// Those to be notified: few, and the memory is kept.
    notifiers: Vec<&'static Notifier>,
}

impl Deferred {
    const NONE: Self = Self { engine: 0, depth: 0, notifiers: Vec::new() };
}

thread_local! {
    static DEFERRED: RefCell<Deferred> = const { RefCell::new(Deferred::NONE) };
}

/// Sends the notifications that this thread has deferred: before it sleeps, for the shards may be what it sleeps for.
pub(crate) fn notify_deferred() {
    with_deferred(|deferred| deferred.notifiers.drain(..).for_each(Notifier::notify));
}

/// `None` on a thread that ends and whose thread-locals are gone: requests may be kept in others of them. It has
/// deferred nothing any more.
fn with_deferred<T>(look: impl FnOnce(&mut Deferred) -> T) -> Option<T> {
    DEFERRED.try_with(|deferred| look(&mut deferred.borrow_mut())).ok()
}

impl Notifier {
    /// A notifier for a new shard.
    pub(crate) fn take() -> io::Result<&'static Self> {
        if let Some(notifier) = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            notifier.end_sleep();
            return Ok(notifier);
        }
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened by the call above and belongs to nobody else.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        let state = CachePadded::new(AtomicU32::new(AWAKE));
        Ok(Box::leak(Box::new(Self { state, interrupted: AtomicBool::new(false), eventfd })))
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
    pub(crate) fn begin_sleep(&self) {
        self.state.swap(ASLEEP, Ordering::SeqCst);
    }

    /// The shard is up.
    #[inline]
    pub(crate) fn end_sleep(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Wakes the shard if it sleeps. What it is woken for must have been published sequentially consistently.
    #[inline]
    pub(crate) fn notify(&self) {
        if self.state.load(Ordering::SeqCst) == ASLEEP
            && self.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.write_eventfd();
        }
    }

    /// As [`notify`](Self::notify), but deferred until the scope of this thread ends, if it is in one of this engine.
    #[inline]
    pub(crate) fn notify_or_defer(&'static self, engine: u64) {
        if self.state.load(Ordering::SeqCst) == ASLEEP {
            self.defer(engine);
        }
    }

    fn defer(&'static self, engine: u64) {
        let is_deferred = with_deferred(|deferred| {
            let is_deferred = deferred.engine == engine && deferred.depth > 0;
            if is_deferred && !deferred.notifiers.iter().any(|notifier| core::ptr::eq(*notifier, self)) {
                deferred.notifiers.push(self);
            }
            is_deferred
        });
        if is_deferred != Some(true) {
            self.notify();
        }
    }

    /// Ends the sleep of the thread that drives the shard, now or the next time it would sleep.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Whether it was interrupted since this was asked the last time. Sequentially consistent, for the second look.
    pub(crate) fn take_interrupt(&self) -> bool {
        self.interrupted.swap(false, Ordering::SeqCst)
    }

    fn write_eventfd(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the pointer and length are those of `one`, which outlives the call.
        // A result is not needed: the only failures are a full counter, which still reads as set, and EINTR, which a
        // non-blocking eventfd does not give.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// While it lives, notifications of one engine by this thread are deferred; see the module's head. Not `Send`.
///
/// Scopes of one engine may overlap in any order; one of another engine, opened meanwhile, defers nothing.
#[derive(Debug)]
pub(crate) struct NotifyScope {
    counted: bool,
    _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl NotifyScope {
    /// Begins to defer. Who enters also [sends](notify_deferred) them before it drops the scope.
    pub(crate) fn enter(engine: u64) -> Self {
        let counted = with_deferred(|deferred| {
            let counted = deferred.depth == 0 || deferred.engine == engine;
            if counted {
                deferred.engine = engine;
                deferred.depth += 1;
            }
            counted
        });
        Self { counted: counted == Some(true), _of_this_thread: core::marker::PhantomData }
    }
}

impl Drop for NotifyScope {
    fn drop(&mut self) {
        if self.counted {
            with_deferred(|deferred| deferred.depth -= 1);
        }
    }
}
