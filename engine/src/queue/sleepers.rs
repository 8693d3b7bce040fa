//! Consumers that wait for requests: blocked threads (futex) and pending futures (wakers); and who wants to know when
//! there are none.
//!
//! A waker grants one permit for each sleeper it takes off the count, so that a sleeper already granted is not woken
//! twice while it is on its way: between two batches a shard makes at most one futex call a sleeping consumer.
//!
//! A future on a thread that drives a shard can use the requests of that shard only, so it is woken for no other's.
//!
//! Invariants: who is about to sleep is counted first and then looks for work once more, and who publishes work looks
//! at the count after that, so that no wake is lost; wakers are woken and dropped outside the lock.
//!
//! Not here: the work itself (`core`), looking again before a sleep as `WaitStrategy` says (room `api`), and shards
//! that sleep (`notifier`).

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use core::task::Waker;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::clock;
use crate::foreign;

/// How a consumer waits on an empty queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Sleeps at once. Costs no CPU time while idle; the default.
    #[default]
    Park,
    /// Looks again up to this many times, about 10 ns apart, then sleeps. Saves a wake-up where requests come quickly.
    SpinThenPark(u32),
    /// Never sleeps: takes a core, answers soonest.
    Spin,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There may be work.
    Look,
    /// The time is up.
    TimedOut,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    /// Threads that sleep, or are about to, and have not been granted a permit.
    parked: CachePadded<AtomicU32>,
    /// The CPU on which the last of them went to sleep.
    last_cpu: AtomicU32,
    /// Permits granted and not yet taken: the futex word.
    permits: AtomicU32,
    /// How many futures there are in `waiting`; and [`ARMED`], if there is a call on demand.
    pending: AtomicU32,
    waiting: Mutex<Waiting>,
    tickets: AtomicU64,
    /// Threads that wait for a request, asleep or spinning; and those that drive a shard and take that one's alone, for
    /// each shard.
    receiving: AtomicU32,
    driving: Box<[AtomicU32]>,
}

/// See [`Sleepers::pending`].
const ARMED: u32 = 1 << 31;

/// Code of an application's that is called once.
pub(crate) type Call = Box<dyn FnOnce() + Send>;

/// Who is told by a call.
#[derive(Default)]
struct Waiting {
    futures: VecDeque<Pending>,
    /// Called when a request is there and nobody receives.
    demand: Option<Call>,
}

impl Waiting {
    fn state(&self) -> u32 {
        let futures = u32::try_from(self.futures.len()).unwrap_or(u32::MAX).min(ARMED - 1);
        futures | if self.demand.is_some() { ARMED } else { 0 }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("futures", &self.futures).finish_non_exhaustive()
    }
}

/// While it lives, a thread waits for a request.
#[derive(Debug)]
pub(crate) struct Receiving<'s>(&'s AtomicU32);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Names one pending future among the sleepers.
pub(crate) type Ticket = u64;

/// A future that waits.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    /// The shard that its thread drives: it takes no other's requests.
    shard: Option<usize>,
    waker: Waker,
}

impl Sleepers {
    /// Wakes up to `count` sleepers that take requests of this shard, where the requests have been published.
    #[inline]
    pub(crate) fn wake(&self, shard: usize, count: u64) {
        self.wake_those(count, |pending| pending.shard.is_none_or(|own| own == shard));
    }

    /// Wakes everybody: the queue is closed.
    pub(crate) fn wake_all(&self) {
        self.wake_those(u64::MAX, |_| true);
    }

    #[inline]
    fn wake_those(&self, count: u64, who: impl Fn(&Pending) -> bool) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) > 0 {
            self.grant(u32::try_from(count).unwrap_or(u32::MAX));
        }
        if self.futures() > 0 {
            self.wake_futures(count, who);
        }
    }

    /// Whether waking now would only take the CPU from the caller: the one that sleeps went to sleep where the caller
    /// runs, and is likely to be woken there. A guess, for who can as well wake it a little later. With more than one,
    /// or with futures, nobody knows where they would run: then it is `false`.
    #[inline]
    pub(crate) fn one_sleeps_here(&self) -> bool {
        self.parked.load(Ordering::Relaxed) == 1
            && self.futures() == 0
            && self.last_cpu.load(Ordering::Relaxed) == current_cpu()
    }

    /// For a queue of so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { driving: (0..shards).map(|_| AtomicU32::new(0)).collect(), ..Self::default() }
    }

    /// Futures that wait.
    #[inline]
    fn futures(&self) -> u32 {
        self.pending.load(Ordering::Relaxed) & !ARMED
    }

    /// The current thread waits for a request, of its own shard alone if it drives one: nobody need be called for that.
    #[inline]
    pub(crate) fn receive(&self, own: Option<usize>) -> Receiving<'_> {
        let count = own.and_then(|own| self.driving.get(own)).unwrap_or(&self.receiving);
        count.fetch_add(1, Ordering::SeqCst);
        Receiving(count)
    }

    /// How many requests those take that receive, of any shard.
    pub(super) fn receiving(&self) -> u64 {
        u64::from(self.receiving.load(Ordering::SeqCst)) + u64::from(self.futures())
    }

    /// How many requests those take that receive, of one shard alone.
    pub(super) fn driving(&self, shard: usize) -> u64 {
        self.driving.get(shard).map_or(0, |count| u64::from(count.load(Ordering::SeqCst)))
    }

    /// Whether there is a call on demand.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.pending.load(Ordering::Relaxed) & ARMED != 0
    }

    /// Keeps a call on demand; the caller looks whether it is to be made. Gives it back if another one is there.
    pub(crate) fn demand(&self, call: Call) -> Result<(), Call> {
        let mut waiting = self.waiting();
        if waiting.demand.is_some() {
            return Err(call);
        }
        waiting.demand = Some(call);
        self.pending.store(waiting.state(), Ordering::Relaxed);
        drop(waiting);
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Takes the call back that has not been made.
    pub(crate) fn take_demand(&self) -> Option<Call> {
        let mut waiting = self.waiting();
        let call = waiting.demand.take();
        self.pending.store(waiting.state(), Ordering::Relaxed);
        call
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sleep, threads and tasks; a moment's view.
    pub(crate) fn sleeping(&self) -> u64 {
        u64::from(self.parked.load(Ordering::Relaxed)) + u64::from(self.futures())
    }

    /// A sleeper that never wakes up: for tests of those who wake.
    #[cfg(test)]
    pub(crate) fn pretend_sleep(&self) {
        self.last_cpu.store(current_cpu(), Ordering::Relaxed);
        self.parked.fetch_add(1, Ordering::SeqCst);
    }

    /// Sleepers that nobody has woken.
    #[cfg(test)]
    pub(crate) fn asleep(&self) -> u32 {
        self.parked.load(Ordering::SeqCst)
    }

    fn grant(&self, count: u32) {
        let mut parked = self.parked.load(Ordering::Relaxed);
        while parked > 0 {
            let granted = parked.min(count);
            match self.parked.compare_exchange(parked, parked - granted, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    self.permits.fetch_add(granted, Ordering::Release);
                    futex_wake(&self.permits, granted);
                    return;
                }
                Err(now) => parked = now,
            }
        }
    }

    #[cold]
    fn wake_futures(&self, count: u64, who: impl Fn(&Pending) -> bool) {
        let mut left = count;
        while left > 0 {
            let pending = {
                let mut waiting = self.waiting();
                let first = waiting.futures.iter().position(&who);
                let pending = first.and_then(|place| waiting.futures.remove(place));
                self.pending.store(waiting.state(), Ordering::Relaxed);
                pending
            };
            match pending {
                // Where one has panicked nobody may come: another one is woken in its place.
                Some(pending) => left -= u64::from(foreign::wake(pending.waker)),
                None => break,
            }
        }
    }

    /// Sleeps until woken, until `deadline`, or not at all if `look` finds something after the flag is up.
    pub(crate) fn sleep(&self, deadline: Option<Instant>, look: impl Fn() -> bool) -> Woken {
        self.last_cpu.store(current_cpu(), Ordering::Relaxed);
        self.parked.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if look() {
            self.leave();
            return Woken::Look;
        }
        loop {
            if self.take_permit() {
                return Woken::Look;
            }
            let left = match deadline.map(|deadline| deadline.saturating_duration_since(clock::now())) {
                Some(Duration::ZERO) => {
                    return if self.leave() { Woken::Look } else { Woken::TimedOut };
                }
                left => left,
            };
            futex_wait(&self.permits, left);
        }
    }

    fn take_permit(&self) -> bool {
        let take = |permits: u32| permits.checked_sub(1);
        self.permits.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }

    /// Takes this thread off the count; `true` when it had been granted a permit meanwhile, which it then takes.
    fn leave(&self) -> bool {
        loop {
            let uncount = |parked: u32| parked.checked_sub(1);
            if self.parked.fetch_update(Ordering::AcqRel, Ordering::Relaxed, uncount).is_ok() {
                return false;
            }
            // Nobody is counted, so this thread has been granted a permit, or is within an instruction of it.
            if self.take_permit() {
                return true;
            }
            core::hint::spin_loop();
        }
    }

    /// A name for a future that may come to wait here.
    pub(crate) fn ticket(&self) -> Ticket {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers a future's waker, and the shard that its thread drives, if it drives one. The caller looks for work
    /// once more after this.
    pub(crate) fn register(&self, ticket: Ticket, shard: Option<usize>, waker: &Waker) {
        // Outside the lock: a waker may own a task with a future that comes here.
        let waker = waker.clone();
        let mut waiting = self.waiting();
        let old = match waiting.futures.iter_mut().find(|known| known.ticket == ticket) {
            Some(known) => {
                known.shard = shard;
                Some(core::mem::replace(&mut known.waker, waker))
            }
            None => {
                waiting.futures.push_back(Pending { ticket, shard, waker });
                None
            }
        };
        self.pending.store(waiting.state(), Ordering::Relaxed);
        drop(waiting);
        foreign::drop_guarded(old);
        fence(Ordering::SeqCst);
    }

    /// Takes a future's waker back; `false` when it had been woken already (and must pass the wake on if it does not
    /// use it).
    pub(crate) fn unregister(&self, ticket: Ticket) -> bool {
        let mut waiting = self.waiting();
        let place = waiting.futures.iter().position(|known| known.ticket == ticket);
        let old = place.and_then(|place| waiting.futures.remove(place));
        self.pending.store(waiting.state(), Ordering::Relaxed);
        drop(waiting);
        let was_here = old.is_some();
        foreign::drop_guarded(old);
        was_here
    }
}

/// The CPU that the calling thread runs on, at least a moment ago.
fn current_cpu() -> u32 {
    // SAFETY: the call takes no arguments and has no effect.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).unwrap_or(u32::MAX)
}

fn futex_wake(word: &AtomicU32, count: u32) {
    // SAFETY: the address is that of a live atomic; FUTEX_WAKE reads no other argument.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
}

/// Waits while the word is 0, at most `left`; may return early.
fn futex_wait(word: &AtomicU32, left: Option<Duration>) {
    let timeout = left.map(|left| libc::timespec {
        tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(left.subsec_nanos()),
    });
    let timeout_address = timeout.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: the address is that of a live atomic, and the timeout is null or lives until the call returns.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, timeout_address)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_work_times_out_and_leaves_no_trace() {
        let sleepers = Sleepers::default();
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(sleepers.sleep(Some(deadline), || false), Woken::TimedOut);
        assert!(Instant::now() >= deadline);
        assert_eq!(sleepers.parked.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_second_look_prevents_sleeping() {
        assert_eq!(Sleepers::default().sleep(None, || true), Woken::Look);
    }

    #[test]
    fn a_future_that_takes_one_shard_s_requests_is_woken_for_no_other_s() {
        struct Count(AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let sleepers = Sleepers::default();
        let counts: [_; 3] = std::array::from_fn(|_| std::sync::Arc::new(Count(AtomicU32::new(0))));
        for (count, shard) in counts.iter().zip([Some(0), Some(1), None]) {
            sleepers.register(sleepers.ticket(), shard, &std::sync::Arc::clone(count).into());
        }
        let woken = || counts.each_ref().map(|count| count.0.load(Ordering::Relaxed));
        sleepers.wake(1, 1);
        assert_eq!(woken(), [0, 1, 0], "the first in line has no use for it");
        sleepers.wake(1, 5);
        assert_eq!(woken(), [0, 1, 1], "who drives no shard takes any shard's");
        sleepers.wake_all();
        assert_eq!(woken(), [1, 1, 1]);
    }

    #[test]
    fn no_wake_is_lost_between_one_producer_and_many_sleepers() {
        const ITEMS: u64 = 20_000;
        let (sleepers, made, taken) = (Sleepers::default(), AtomicU64::new(0), AtomicU64::new(0));
        let take = || {
            let claim = |taken: u64| (taken < made.load(Ordering::Acquire)).then_some(taken + 1);
            taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim).is_ok()
        };
        let done = || taken.load(Ordering::Acquire) >= ITEMS;
        let ready = || done() || taken.load(Ordering::Acquire) < made.load(Ordering::Acquire);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done() {
                        if !take() {
                            // A lost wake would stop the test here: the deadline turns that into a failure.
                            let deadline = Instant::now() + Duration::from_secs(20);
                            assert_eq!(sleepers.sleep(Some(deadline), ready), Woken::Look);
                        } else if done() {
                            sleepers.wake_all();
                        }
                    }
                });
            }
            for item in 1..=ITEMS {
                made.store(item, Ordering::Release);
                sleepers.wake(0, 1);
                if item % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(taken.load(Ordering::Relaxed), ITEMS);
    }
}
