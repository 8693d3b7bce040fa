//! Where the engine runs code that applications made: it wakes wakers, makes calls it was asked for, and lets go of
//! what belongs to them.
//!
//! Invariants:
//! * A panic in such code ends here. Rust's panic hook has reported it, here it is counted, and what the engine was
//!   about goes on.
//! * Such code runs without a lock of the engine's, and when everything is as it should be: it may call the engine.
//! * Nothing else of the engine wakes, or drops a waker or an application's bytes (`tests/tests/tidy.rs` looks for it):
//!   whoever keeps them has a [`Waiter`] or [`HeldBytes`], which know how to let go.
//!
//! Not of this kind is what runs in a call of the application's own, on its thread, as a part of what it asked for: a
//! closure that makes a response, a future that is waited for, a waker that is cloned to be kept. A panic there goes to
//! the caller, who finds the engine as if the call had not been made, or the request dropped.
//!
//! Not here: which code is called when (docs/design.md has the list).

use core::cell::Cell;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use crossbeam_utils::atomic::AtomicCell;

std::thread_local! {
    /// The engine whose shard this thread runs at this moment; 0 for none.
    static RUNS: Cell<u64> = const { Cell::new(0) };
    /// Panics that ended on this thread while it ran a shard, and that the shard has not counted yet.
    static CAUGHT: Cell<u64> = const { Cell::new(0) };
}

/// Panics that ended on threads that ran no shard.
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);

/// While it lives, the current thread runs a shard of an engine. Not `Send`.
#[derive(Debug)]
pub(crate) struct OnShard {
    outer: u64,
    _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl OnShard {
    pub(crate) fn enter(engine: u64) -> Self {
        Self { outer: RUNS.replace(engine), _of_this_thread: core::marker::PhantomData }
    }
}

impl Drop for OnShard {
    fn drop(&mut self) {
        RUNS.set(self.outer);
    }
}

/// Whether the current thread is in a shard of this engine: what it waits for there, nobody would bring.
pub(crate) fn is_on_shard_of(engine: u64) -> bool {
    RUNS.get() == engine
}

/// Whether the current thread is in a shard of any engine.
pub(crate) fn is_on_shard() -> bool {
    RUNS.get() != 0
}

/// The panics that have ended on this thread while it ran a shard, for that shard to count.
#[inline]
pub(crate) fn take_caught() -> u64 {
    CAUGHT.take()
}

/// The panics that have ended on all threads of the process that ran no shard.
pub(crate) fn caught_elsewhere() -> u64 {
    ELSEWHERE.load(Ordering::Relaxed)
}

/// Runs code of an application's. `false`: it has panicked.
#[inline]
pub(crate) fn call(code: impl FnOnce()) -> bool {
    let ended = attempt(code).is_some();
    if !ended {
        count();
    }
    ended
}

/// Runs code of the engine's own, whose panic is a fault. `None`: it has panicked.
#[inline]
pub(crate) fn attempt<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).map_err(forget_thrown).ok()
}

#[cold]
fn forget_thrown(thrown: Box<dyn core::any::Any + Send>) {
    // It may be the application's; what is thrown when it is dropped would go on so for ever.
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(thrown))) {
        core::mem::forget(again);
    }
}

#[cold]
fn count() {
    if is_on_shard() {
        CAUGHT.set(CAUGHT.get() + 1);
    } else {
        ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
}

/// Wakes. `false`: it has panicked, and perhaps nobody comes.
pub(crate) fn wake(waker: Waker) -> bool {
    // Apart: what is dropped while it panics must not panic, or the process would end.
    let woken = call(|| waker.wake_by_ref());
    drop_guarded(waker);
    woken
}

/// Drops what belongs to an application.
#[inline]
pub(crate) fn drop_guarded<T>(value: T) {
    if core::mem::needs_drop::<T>() {
        call(move || drop(value));
    }
}

/// A place for the waker of one who waits: registered by one thread at a time, woken by any.
///
/// Who waits registers and looks again; who brings something publishes it and wakes. Both take the place for a moment,
/// one after the other, so either the wake finds the waker or the look finds what was brought. No foreign code runs in
/// that moment.
#[derive(Default)]
pub(crate) struct Waiter(AtomicCell<Option<Waker>>);

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

impl Waiter {
    pub(crate) const fn new() -> Self {
        Self(AtomicCell::new(None))
    }

    /// Keeps a waker, in the place of the one before. A panic in its `clone` goes to the caller; then none is kept.
    pub(crate) fn register(&self, waker: &Waker) {
        let known = self.0.take();
        let kept = if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            known
        } else {
            drop_guarded(known);
            Some(waker.clone())
        };
        drop_guarded(self.0.swap(kept));
    }

    /// Wakes whoever waits, if somebody does.
    pub(crate) fn notify(&self) {
        if let Some(waker) = self.0.take() {
            wake(waker);
        }
    }

    /// Nobody is waited for any more.
    pub(crate) fn clear(&self) {
        drop_guarded(self.0.take());
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Bytes that an application has given, and may own in a way of its own: what happens when they are let go of is its
/// code.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldBytes(Bytes);

impl From<Bytes> for HeldBytes {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl HeldBytes {
    /// Gives them back to who takes care of them otherwise.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        core::mem::take(&mut self.0)
    }
}

impl Deref for HeldBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        drop_guarded(core::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Panics when it is woken, dropped, or neither.
    struct Odd {
        wakes: Arc<AtomicU64>,
        panics_woken: bool,
        panics_dropped: bool,
    }

    impl Wake for Odd {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics_woken, "meant to panic");
        }
    }

    impl Drop for Odd {
        fn drop(&mut self) {
            assert!(!self.panics_dropped, "meant to panic");
        }
    }

    fn odd(wakes: &Arc<AtomicU64>, panics_woken: bool, panics_dropped: bool) -> Waker {
        Waker::from(Arc::new(Odd { wakes: Arc::clone(wakes), panics_woken, panics_dropped }))
    }

    fn caught_by(run: impl FnOnce()) -> u64 {
        let shard = OnShard::enter(7);
        assert!(is_on_shard_of(7) && !is_on_shard_of(8));
        assert_eq!(take_caught(), 0);
        run();
        drop(shard);
        assert!(!is_on_shard());
        take_caught()
    }

    #[test]
    fn a_place_wakes_once_and_serves_on_whatever_its_wakers_do() {
        let wakes = Arc::new(AtomicU64::new(0));
        let caught = caught_by(|| {
            let place = Waiter::new();
            for (panics_woken, panics_dropped) in [(true, false), (false, true), (true, true), (false, false)] {
                place.register(&odd(&wakes, panics_woken, panics_dropped));
                place.notify();
                place.notify();
            }
            place.register(&odd(&wakes, false, false));
            drop(place);
        });
        assert_eq!((wakes.load(Ordering::Relaxed), caught), (4, 4));
    }

    #[test]
    fn a_waker_that_is_dropped_for_another_or_with_its_place_may_panic() {
        let wakes = Arc::new(AtomicU64::new(0));
        let caught = caught_by(|| {
            let place = Waiter::new();
            place.register(&odd(&wakes, false, true));
            place.register(&odd(&wakes, false, true));
            place.clear();
            place.register(&odd(&wakes, false, true));
            drop(place);
        });
        assert_eq!((wakes.load(Ordering::Relaxed), caught), (0, 3));
    }

    #[test]
    fn no_wake_is_lost_between_who_waits_and_who_brings() {
        const ITEMS: u64 = 100_000;
        let (brought, wakes, place) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)), Waiter::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for item in 1..=ITEMS {
                    brought.store(item, Ordering::Release);
                    place.notify();
                }
            });
            let (mut seen, mut kept) = (0, odd(&wakes, false, false));
            while seen < ITEMS {
                if seen % 3 == 0 {
                    kept = odd(&wakes, false, false);
                }
                let before = wakes.load(Ordering::SeqCst);
                place.register(&kept);
                // The second look.
                if brought.load(Ordering::Acquire) == seen {
                    let begun = std::time::Instant::now();
                    while wakes.load(Ordering::SeqCst) == before {
                        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "after {seen} nobody was woken");
                        std::thread::yield_now();
                    }
                }
                seen = brought.load(Ordering::Acquire);
            }
        });
    }

    #[test]
    fn one_waker_that_is_registered_again_is_kept() {
        let wakes = Arc::new(AtomicU64::new(0));
        let (place, waker) = (Waiter::new(), odd(&wakes, false, false));
        place.register(&waker);
        place.register(&waker);
        place.notify();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_thrown_may_throw_again_and_again() {
        struct Thrown(u32);
        impl Drop for Thrown {
            fn drop(&mut self) {
                std::panic::panic_any(Self(self.0 + 1));
            }
        }
        let caught = caught_by(|| assert!(!call(|| std::panic::panic_any(Thrown(0)))));
        assert_eq!(caught, 1);
    }

    #[test]
    fn held_bytes_let_go_of_an_owner_that_panics_also_while_a_thread_unwinds() {
        struct Owner;
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                b"bytes"
            }
        }
        impl Drop for Owner {
            fn drop(&mut self) {
                panic!("meant to panic");
            }
        }
        let caught = caught_by(|| {
            let held = HeldBytes::from(Bytes::from_owner(Owner));
            assert_eq!(&held.clone()[..], b"bytes");
            drop(held);
            let unwinding = catch_unwind(|| {
                let _held = [Owner, Owner].map(|owner| HeldBytes::from(Bytes::from_owner(owner)));
                panic!("meant to panic");
            });
            assert!(unwinding.is_err());
        });
        assert_eq!(caught, 3);
    }
}
