//! The ways to consume a queue: many threads, many shards, blocking, spinning, timed, in batches and as futures.

mod common;

use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use common::{Client, Host, WAIT_MAX, builder, colocated, receive, wait_until};
use ringress::{ErrorKind, QueueOptions, Request, RequestId, RequestQueue, Response, Result, WaitStrategy};

fn answer(request: Request) -> RequestId {
    let id = request.id();
    request.respond_with(|request| Response::text(request.path())).expect("open");
    id
}

/// Many clients ask many times each, keep-alive and pipelined; every response is the right one.
fn ask_much(host: &Host, clients: usize, rounds: usize) -> usize {
    const DEPTH: usize = 8;
    thread::scope(|scope| {
        for name in 0..clients {
            scope.spawn(move || {
                let mut client = host.connect();
                for round in 0..rounds {
                    let paths: Vec<String> = (0..DEPTH).map(|number| format!("/{name}/{round}/{number}")).collect();
                    let all = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
                    client.send(all.collect::<String>());
                    for path in paths {
                        assert_eq!(client.read().text(), path);
                    }
                }
            });
        }
    });
    clients * rounds * DEPTH
}

/// Starts consumers that note every id they see.
fn consumers(
    host: &Host,
    count: usize,
    way: fn(&RequestQueue, &mut Vec<RequestId>),
) -> Vec<JoinHandle<Vec<RequestId>>> {
    let consumer = |_| {
        let queue = host.queue.clone();
        thread::spawn(move || {
            let mut seen = Vec::new();
            way(&queue, &mut seen);
            seen
        })
    };
    (0..count).map(consumer).collect()
}

fn blocking(queue: &RequestQueue, seen: &mut Vec<RequestId>) {
    while let Ok(request) = queue.receive() {
        seen.push(answer(request));
    }
}

/// Checks that each request was seen by one consumer, once.
fn assert_seen_once(host: Host, expected: usize, consumers: Vec<JoinHandle<Vec<RequestId>>>) {
    host.await_rest();
    let counters = host.counters();
    let expected = u64::try_from(expected).expect("a count");
    assert_eq!((counters.requests_delivered, counters.requests_answered), (expected, expected));
    assert_eq!((counters.requests_abandoned, counters.queue_full), (0, 0));
    drop(host);
    let seen: Vec<RequestId> = consumers.into_iter().flat_map(|consumer| consumer.join().expect("ends")).collect();
    assert_eq!(seen.len() as u64, expected);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len() as u64, expected, "an id was given out twice");
}

#[test]
fn many_consumers_share_one_queue_and_see_each_request_once() {
    for wait in [WaitStrategy::Park, WaitStrategy::SpinThenPark(200)] {
        let host = Host::start_with(builder(), QueueOptions::default().wait(wait));
        let consumers = consumers(&host, 8, blocking);
        let asked = ask_much(&host, 6, 100);
        assert_seen_once(host, asked, consumers);
    }
}

#[test]
fn several_shards_feed_several_consumers() {
    let host = Host::start_with(builder().shards(3), QueueOptions::default());
    let consumers = consumers(&host, 4, blocking);
    let asked = ask_much(&host, 12, 40);
    assert_seen_once(host, asked, consumers);
}

#[test]
fn spinning_consumers_see_each_request_once() {
    let host = Host::start_with(builder(), QueueOptions::default().wait(WaitStrategy::Spin));
    let consumers = consumers(&host, 2, blocking);
    let asked = ask_much(&host, 2, 40);
    assert_seen_once(host, asked, consumers);
}

#[test]
fn batches_timeouts_and_futures_share_a_queue_with_blocking_consumers() {
    let host = Host::start();
    let mut all = consumers(&host, 2, blocking);
    all.extend(consumers(&host, 2, |queue, seen| {
        while let Ok(batch) = queue.receive_batch(5) {
            seen.extend(batch.map(answer));
        }
    }));
    all.extend(consumers(&host, 2, |queue, seen| {
        while let Ok(received) = queue.receive_timeout(Duration::from_millis(2)) {
            seen.extend(received.map(answer));
        }
    }));
    all.extend(consumers(&host, 2, |queue, seen| {
        while let Ok(request) = block_on(queue.receive_async()) {
            seen.push(answer(request));
        }
    }));
    all.extend(consumers(&host, 2, |queue, seen| {
        while let Ok(batch) = block_on(queue.receive_batch_async(5)) {
            seen.extend(batch.map(answer));
        }
    }));
    let asked = ask_much(&host, 6, 100);
    assert_seen_once(host, asked, all);
}

#[test]
fn a_timeout_passes_and_a_later_request_is_received() {
    for wait in [WaitStrategy::Park, WaitStrategy::SpinThenPark(100), WaitStrategy::Spin] {
        let host = Host::start_with(builder(), QueueOptions::default().wait(wait));
        for timeout in [Duration::ZERO, Duration::from_millis(30)] {
            let begun = Instant::now();
            assert!(host.queue.receive_timeout(timeout).expect("open").is_none());
            assert!(begun.elapsed() >= timeout, "{wait:?}: {:?}", begun.elapsed());
        }
        let mut client = host.connect();
        client.get("/timed");
        answer(host.queue.receive_timeout(WAIT_MAX).expect("open").expect("it comes"));
        assert_eq!(client.read().text(), "/timed");
        client.get("/forever");
        answer(host.queue.receive_timeout(Duration::MAX).expect("open").expect("it comes"));
        assert_eq!(client.read().text(), "/forever");
        assert!(host.queue.receive_timeout(Duration::from_millis(5)).expect("open").is_none());
    }
}

#[test]
fn colocated_a_timeout_passes_and_a_later_request_is_received() {
    let application = |queue: &RequestQueue| {
        for timeout in [Duration::ZERO, Duration::from_millis(30)] {
            let begun = Instant::now();
            // Requests may be there already: the time is only measured when none is.
            match queue.receive_timeout(timeout).expect("open") {
                Some(request) => drop(answer(request)),
                None => assert!(begun.elapsed() >= timeout),
            }
        }
        assert_eq!(
            block_on(queue.receive_async()).expect_err("it would never be driven").kind(),
            ErrorKind::Unsupported
        );
        while let Ok(received) = queue.receive_timeout(Duration::from_millis(20)) {
            received.map(answer);
            while let Some(request) = queue.try_receive().unwrap_or(None) {
                answer(request);
            }
        }
    };
    colocated(application, |_, address| {
        let mut client = Client::connect(address);
        for _ in 0..100 {
            assert_eq!(client.ask("/timed").text(), "/timed");
        }
    });
}

#[test]
fn trying_never_waits_and_finds_what_is_there() {
    let host = Host::start();
    assert!(host.queue.try_receive().expect("open").is_none());
    assert!(host.queue.is_empty());
    let mut client = host.connect();
    client.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\nGET /b HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until("both are queued", || host.queue.len() == 2);
    for path in ["/a", "/b"] {
        let request = host.queue.try_receive().expect("open").expect("it is there");
        assert_eq!(request.path(), path);
        answer(request);
        assert_eq!(client.read().text(), path);
    }
    assert!(host.queue.try_receive().expect("open").is_none());
}

#[test]
fn a_batch_gives_no_more_than_asked_and_leaves_the_rest() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(10));
    wait_until("all are queued", || host.queue.len() == 10);
    for (max, given) in [(0, 1), (1, 1), (3, 3), (100, 5)] {
        let batch: Vec<Request> = host.queue.receive_batch(max).expect("open").collect();
        assert_eq!(batch.len(), given, "of at most {max}");
        for request in batch {
            answer(request);
        }
    }
    (0..10).for_each(|_| assert_eq!(client.read().text(), "/"));

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(10));
    wait_until("all are queued", || host.queue.len() == 10);
    for (max, given) in [(0, 1), (1, 1), (3, 3), (100, 5)] {
        let batch: Vec<Request> = block_on(host.queue.receive_batch_async(max)).expect("open").collect();
        assert_eq!(batch.len(), given, "of at most {max}, as a future");
        for request in batch {
            answer(request);
        }
    }
    (0..10).for_each(|_| assert_eq!(client.read().text(), "/"));

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(4));
    wait_until("all are queued", || host.queue.len() == 4);
    // A batch dropped half way loses nothing but what it claimed: the others stay for anybody.
    let mut batch = host.queue.receive_batch(4).expect("open");
    answer(batch.next().expect("the first"));
    drop(batch);
    let mut left = 0;
    while let Some(request) = host.queue.try_receive().expect("open") {
        answer(request);
        left += 1;
    }
    assert_eq!(left, 3);
    (0..4).for_each(|_| assert_eq!(client.read().status, 200));
    assert_eq!(host.settled().requests_abandoned, 0);
}

#[test]
fn answers_of_an_unfinished_batch_go_out_when_the_thread_waits() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/one");
    let mut batch = host.queue.receive_batch(8).expect("open");
    answer(batch.next().expect("the first"));
    let asking = thread::spawn(move || {
        assert_eq!(client.read().text(), "/one");
        client.ask("/two").text().to_owned()
    });
    answer(receive(&host.queue));
    drop(batch);
    assert_eq!(asking.join().expect("ends"), "/two");
}

/// Wakes the thread that blocks on a future.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>, count: &Arc<Count>) -> Poll<T> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(count))))
}

#[test]
fn a_future_needs_no_runtime() {
    let host = Host::start();
    let mut client = host.connect();
    for _ in 0..50 {
        client.get("/future");
        answer(block_on(host.queue.receive_async()).expect("open"));
        assert_eq!(client.read().text(), "/future");
    }
}

#[test]
fn several_futures_wait_on_one_thread_and_each_gets_a_request() {
    let host = Host::start();
    let count = Arc::new(Count::default());
    let mut futures: Vec<_> = (0..4).map(|_| Box::pin(host.queue.receive_async())).collect();
    for future in &mut futures {
        assert!(poll_once(future.as_mut(), &count).is_pending());
        // Polled twice, a future waits once.
        assert!(poll_once(future.as_mut(), &count).is_pending());
    }
    let mut clients: Vec<Client> = (0..4).map(|_| host.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/each"));
    wait_until("all are woken", || count.0.load(Ordering::SeqCst) == 4);
    for future in &mut futures {
        match poll_once(future.as_mut(), &count) {
            Poll::Ready(received) => drop(answer(received.expect("open"))),
            Poll::Pending => panic!("woken for nothing"),
        }
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/each"));
}

#[test]
fn a_woken_future_that_is_dropped_passes_its_wake_on() {
    for _ in 0..50 {
        let host = Host::start();
        let count = Arc::new(Count::default());
        let mut dropped = Box::pin(host.queue.receive_async());
        assert!(poll_once(dropped.as_mut(), &count).is_pending());
        let second_count = Arc::new(Count::default());
        let mut second = Box::pin(host.queue.receive_async());
        assert!(poll_once(second.as_mut(), &second_count).is_pending());
        let mut client = host.connect();
        client.get("/passed-on");
        wait_until("the first is woken", || count.0.load(Ordering::SeqCst) == 1);
        drop(dropped);
        wait_until("the second is woken", || second_count.0.load(Ordering::SeqCst) == 1);
        match poll_once(second.as_mut(), &second_count) {
            Poll::Ready(received) => drop(answer(received.expect("open"))),
            Poll::Pending => panic!("the request was lost"),
        }
        assert_eq!(client.read().text(), "/passed-on");
    }
}

#[test]
fn a_pending_future_that_is_dropped_wakes_a_blocked_consumer_for_its_request() {
    let host = Host::start();
    let mut client = host.connect();
    for _ in 0..100 {
        let count = Arc::new(Count::default());
        let mut dropped = Box::pin(host.queue.receive_async());
        assert!(poll_once(dropped.as_mut(), &count).is_pending());
        let queue = host.queue.clone();
        let blocked = thread::spawn(move || answer(receive(&queue)));
        client.get("/to-anybody");
        drop(dropped);
        blocked.join().expect("the request is not lost");
        assert_eq!(client.read().text(), "/to-anybody");
    }
}

#[test]
fn futures_are_told_when_the_engine_ends() {
    let host = Host::start();
    let count = Arc::new(Count::default());
    let queue = host.queue.clone();
    let mut futures: Vec<_> = (0..3).map(|_| Box::pin(queue.receive_async())).collect();
    for future in &mut futures {
        assert!(poll_once(future.as_mut(), &count).is_pending());
    }
    drop(host);
    assert_eq!(count.0.load(Ordering::SeqCst), 3);
    for future in &mut futures {
        let ended: Poll<Result<Request>> = poll_once(future.as_mut(), &count);
        assert!(matches!(ended, Poll::Ready(Err(error)) if error.is_closed()));
    }
}
