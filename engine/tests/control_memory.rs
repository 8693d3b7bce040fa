//! What the control plane keeps of what is over: nothing. Counted in the whole process, so the cases are one test.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{WAIT_MAX, Watched, builder, loopback, wait_until};
use ringress::{Mode, QueueOptions};

struct Counting;

/// Bytes allocated and not yet freed.
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with its arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const KIB: usize = 1024;

/// Bytes that are live after something beyond those before it.
fn kept(doing: impl FnOnce()) -> usize {
    let before = LIVE.load(Ordering::SeqCst);
    doing();
    LIVE.load(Ordering::SeqCst).saturating_sub(before)
}

/// An engine of two shards, none of which anybody drives.
fn undriven() -> Watched {
    Watched::start(builder().shards(2), Mode::Colocated)
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let engine = undriven();
    let long = QueueOptions::default().length(1 << 20);
    let mut queues = Vec::new();
    let open = kept(|| queues.extend((0..30).map(|_| engine.request_queue_with("", long).expect("in range"))));
    println!("30 open queues of length 2^20: {} KiB", open / KIB);
    assert!(open < 64 * KIB * KIB, "{open} bytes: a queue is as large as what can be in flight");
    drop(queues);
    let closed = kept(|| {
        for _ in 0..30 {
            drop(engine.request_queue_with("", long).expect("in range"));
        }
    });
    println!("30 closed queues of length 2^20: {} KiB", closed / KIB);
    let closed = closed + kept(|| (0..2000).for_each(|_| drop(engine.request_queue("").expect("nameless"))));
    assert!(closed < 64 * KIB, "{closed} bytes are kept of closed queues");

    let session = engine.server_session();
    let group = session.url_group();
    engine.listen(loopback(0)).expect("a free port");
    let port = engine.listen(loopback(0)).expect("a free port").port();
    let changes = kept(|| {
        for number in 0..500 {
            group.add_url(&format!("http://*:{port}/some/path/{number}/"), number).expect("free");
        }
        for _ in 0..500 {
            group.set_active(false).expect("the group lives");
            group.set_active(true).expect("the group lives");
        }
    });
    assert!(engine.await_changes(Duration::ZERO).expect("not on a shard"), "nobody is waited for");
    println!("1,000 changes of 500 URLs that no shard has taken: {} KiB", changes / KIB);
    assert!(changes < 512 * KIB, "{changes} bytes: changes pile up");

    let gone = kept(|| {
        for _ in 0..500 {
            let session = engine.server_session();
            drop(session.url_group());
            let _group = session.url_group();
            session.close();
        }
    });
    println!("500 closed sessions of two groups: {} KiB", gone / KIB);
    assert!(gone < 64 * KIB, "{gone} bytes are kept of closed sessions and groups");
    drop((group, engine));

    // Shards that are driven let go of what they had taken, soon after.
    let engine = Watched::start(builder().shards(2), Mode::Queue);
    let before = LIVE.load(Ordering::SeqCst);
    for _ in 0..30 {
        let queue = engine.request_queue_with("", long).expect("in range");
        assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"), "the shards have it");
        drop(queue);
    }
    wait_until("the shards have let go of closed queues", || LIVE.load(Ordering::SeqCst) < before + 64 * KIB);
}
