//! Waiting for a future on the current thread: parked, or, on a thread that drives a shard, driving it.
//!
//! Invariants: every blocking call of this room is its async form waited for here, so there is one way to wait; before
//! a thread waits it sends the notifications it has deferred; waiting allocates once a thread.
//!
//! Not here: tasks, spawning and time: an executor has those.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};

use crate::error::Error;
use crate::foreign;
use crate::queue::{Notifier, notify_deferred};
use crate::session;

/// Wakes a thread that waits here.
struct Alarm {
    woken: AtomicBool,
    thread: Thread,
    /// Of the shard that the thread drives.
    notifier: Option<&'static Notifier>,
}

impl Alarm {
    fn ring(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(notifier) = self.notifier {
            // A thread that is between two turns looks at `woken` first; one in a turn is called out of its sleep.
            notifier.interrupt();
        }
        self.thread.unpark();
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

thread_local! {
    static ALARM: RefCell<Option<Arc<Alarm>>> = const { RefCell::new(None) };
    /// Waits under way on this thread, one in another.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether the current thread waits in [`block_on`], so that its shard, if it has one, is driven.
fn is_waiting() -> bool {
    DEPTH.with(Cell::get) > 0
}

/// Whether nobody would drive the shard of this engine while the current thread waited for it: see [`block_on`].
pub(super) fn is_undriven(engine: u64) -> bool {
    session::attached_shard(engine).is_some() && !is_waiting()
}

#[cold]
pub(super) fn undriven(what: &str) -> Error {
    Error::unsupported(format!(
        "{what} on a thread that is attached to a shard, which nobody drives meanwhile. Remedy: wait for it with \
        ringress::block_on"
    ))
}

fn alarm(notifier: Option<&'static Notifier>) -> Arc<Alarm> {
    let same = |alarm: &Arc<Alarm>| match (alarm.notifier, notifier) {
        (Some(one), Some(other)) => core::ptr::eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    let fresh = || Arc::new(Alarm { woken: AtomicBool::new(false), thread: thread::current(), notifier });
    let kept = ALARM.try_with(|kept| match &mut *kept.borrow_mut() {
        Some(alarm) if same(alarm) => Arc::clone(alarm),
        kept => Arc::clone(kept.insert(fresh())),
    });
    // A thread that ends waits once more: something of its thread-locals does.
    kept.unwrap_or_else(|_| fresh())
}

/// A wait under way.
struct Waiting(Arc<Alarm>);

impl Waiting {
    fn enter(alarm: Arc<Alarm>) -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(alarm)
    }
}

impl Drop for Waiting {
    /// Also when the future has panicked.
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        // A wake for a wait around this one may have been taken for ours.
        self.0.ring();
    }
}

/// Waits for a future on the current thread.
///
/// On a thread that is [attached](crate::Engine::attach) to a shard, the shard is driven meanwhile, so that one thread
/// can run a shard and any number of tasks: give this a future that runs them. On other threads it sleeps between
/// polls. It needs no runtime and can be called from within itself.
///
/// # Panics
/// In code that a shard runs (a waker, a call on a connection's end, a destructor), when it would have to wait; and as
/// the future does.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let notifier = session::driven_notifier();
    let mut driven = notifier.is_some();
    let alarm = alarm(notifier);
    let waker = Waker::from(Arc::clone(&alarm));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let _waiting = Waiting::enter(Arc::clone(&alarm));
    loop {
        alarm.woken.store(false, Ordering::SeqCst);
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(!foreign::is_on_shard(), "{}", session::in_turn("waiting"));
        notify_deferred();
        if driven && alarm.woken.load(Ordering::SeqCst) {
            // A future that wakes itself may wait for what the shard is to do: it has a turn each time.
            let _ = session::drive(Some(Duration::ZERO));
        }
        while !alarm.woken.load(Ordering::SeqCst) {
            if !driven {
                thread::park();
            } else if session::drive(None).is_err() {
                // The shard has ended, which is news to whoever waits for its requests; it is driven no more.
                driven = false;
                break;
            }
        }
    }
}
