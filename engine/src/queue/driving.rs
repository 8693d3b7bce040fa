//! Answers given on the thread that drives their shard (co-located mode): a plain list, without atomics or notifier.
//!
//! Invariants: one thread at most drives a shard; while one does, the list is that thread's alone, and the shard side
//! stays there; without one it is the shard side's.
//!
//! Not here: answers given on other threads (`completions`).

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use super::completions::Completion;
use super::slot::Slot;

std::thread_local! {
    /// Of the shard that this thread drives, the mark that its [`Driving`] keeps: no other shard has it meanwhile, also
    /// not one in the place of a shard that has gone.
    static DRIVEN: Cell<*const AtomicBool> = const { Cell::new(core::ptr::null()) };
}

/// See the module's head.
pub(super) struct LocalCompletions {
    slots: UnsafeCell<Vec<Completion>>,
    /// Some thread drives the shard.
    driven: Arc<AtomicBool>,
}

/// Marks the current thread as the one that drives a shard, until dropped.
#[derive(Debug)]
pub(crate) struct Driving {
    outer: *const AtomicBool,
    driven: Arc<AtomicBool>,
}

impl Drop for Driving {
    fn drop(&mut self) {
        DRIVEN.with(|driven| driven.set(self.outer));
        self.driven.store(false, Ordering::Release);
    }
}

impl LocalCompletions {
    pub(super) fn with_capacity(slots: u32) -> Self {
        Self { slots: UnsafeCell::new(Vec::with_capacity(slots as usize)), driven: Arc::default() }
    }

    #[inline]
    fn is_here(&self) -> bool {
        DRIVEN.with(Cell::get) == Arc::as_ptr(&self.driven)
    }

    /// See [`ShardSide::drive_here`](super::ShardSide::drive_here).
    pub(super) fn drive_here(&self) -> Driving {
        let driven = Arc::clone(&self.driven);
        assert!(!driven.swap(true, Ordering::AcqRel), "one thread drives a shard");
        Driving { outer: DRIVEN.with(|own| own.replace(Arc::as_ptr(&driven))), driven }
    }

    /// Puts a slot back, if this thread drives its shard. `false`: it does not.
    #[inline]
    pub(super) fn push(&self, slot: Slot) -> bool {
        if !self.is_here() {
            return false;
        }
        // SAFETY: only the thread that drives the shard comes here, of which there is one (`drive_here`), and neither
        // this nor the shard side, which is on this thread (`of_side`), keeps the borrow over a call.
        unsafe { (*self.slots.get()).push(Completion(slot)) };
        true
    }

    /// The list, for the one shard side: nobody else has it while that uses it in one go.
    ///
    /// # Panics
    /// When another thread drives the shard.
    #[inline]
    pub(super) fn of_side(&self) -> *mut Vec<Completion> {
        assert!(self.is_here() || !self.driven.load(Ordering::Acquire), "a shard stays on the thread that drives it");
        self.slots.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_drives_a_shard_and_has_its_list() {
        let local = LocalCompletions::with_capacity(1);
        assert!(!local.push(Slot::new(0)), "nobody drives it");
        let driving = local.drive_here();
        assert!(local.push(Slot::new(0)));
        assert!(std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| local.drive_here())).is_err());
        let place = local.of_side().addr();
        let elsewhere = Shared(&local);
        std::thread::scope(|scope| {
            let other = scope.spawn(move || elsewhere.get().of_side().addr());
            assert!(other.join().is_err(), "another thread drives it");
        });
        drop(driving);
        assert!(!local.push(Slot::new(0)));
        assert_eq!(local.of_side().addr(), place);
    }

    #[test]
    fn who_drives_a_shard_that_is_gone_has_not_the_list_of_one_in_its_place() {
        let mut local = LocalCompletions::with_capacity(1);
        let driving = local.drive_here();
        assert!(local.push(Slot::new(0)));
        // At the same address.
        local = LocalCompletions::with_capacity(1);
        assert!(!local.push(Slot::new(0)), "nobody drives this one");
        drop(driving);
        let _driving = local.drive_here();
        assert!(local.push(Slot::new(0)));
    }

    struct Shared<'a>(&'a LocalCompletions);

    impl<'a> Shared<'a> {
        fn get(&self) -> &'a LocalCompletions {
            self.0
        }
    }

    // SAFETY: as of an exchange, which is shared between threads: the list is looked at by who drives alone.
    unsafe impl Send for Shared<'_> {}
}
