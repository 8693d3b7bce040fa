//! The handle of a request that is known by its id alone is taken back: read again, its body from where it was left,
//! and answered by handle; one at a time has it.

mod common;

use std::future::Future;
use std::io::Read;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::task::{Context, Waker};
use std::thread;

use common::{Host, receive, wait_until};
use ringress::{ErrorKind, RequestId, RequestQueue, Response};

fn kind_of(queue: &RequestQueue, id: RequestId) -> ErrorKind {
    queue.request(id).map(drop).expect_err("there is no handle to be had").kind()
}

#[test]
fn a_handle_taken_back_reads_the_head_and_answers() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("GET /again?q=1 HTTP/1.1\r\nHost: test\r\nX-Word: hello\r\n\r\n");
    let mut request = receive(&host.queue);
    for _ in 0..100 {
        let id = request.into_id();
        request = host.queue.request(id).expect("nobody has it");
        assert_eq!((request.id(), request.path(), request.query()), (id, "/again", Some(&b"q=1"[..])));
        assert_eq!(request.header("x-word"), Some(&b"hello"[..]));
    }
    request.respond(Response::text("done")).expect("open");
    assert_eq!(client.read().text(), "done");
}

#[test]
fn a_body_goes_on_where_it_was_left() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 12\r\n\r\nabcd");
    let mut request = receive(&host.queue);
    let mut piece = [0; 2];
    request.body().read_exact(&mut piece).expect("it is there");
    assert_eq!(&piece, b"ab");
    let id = request.into_id();
    client.send("efgh");
    let (give, taken) = mpsc::channel();
    let queue = host.queue.clone();
    // On another thread, and what comes meanwhile.
    let reader = thread::spawn(move || {
        let mut request = queue.request(id).expect("nobody has it");
        let mut piece = [0; 6];
        request.body().read_exact(&mut piece).expect("it comes");
        give.send((piece, request.into_id())).expect("the test waits");
    });
    let (piece, id) = taken.recv_timeout(common::WAIT_MAX).expect("it reads");
    reader.join().expect("it ends");
    assert_eq!(&piece, b"cdefgh");
    client.send("ijkl");
    let mut request = host.queue.request(id).expect("nobody has it");
    assert_eq!(request.body().to_bytes(100).expect("it comes"), "ijkl");
    request.respond(Response::text("read")).expect("open");
    assert_eq!(client.read().text(), "read");
}

#[test]
fn there_is_none_of_what_is_held_over_or_of_another_queue() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    wait_until("it waits", || host.queue.len() == 1);
    let request = receive(&host.queue);
    let id = request.id();
    assert_eq!(kind_of(&host.queue, id), ErrorKind::Invalid, "a handle is out");
    let id = request.into_id();
    let other = host.engine.request_queue("other").expect("a queue");
    assert_eq!(kind_of(&other, id), ErrorKind::Gone);
    let stranger = Host::start();
    assert_eq!(kind_of(&stranger.queue, id), ErrorKind::Gone);
    drop(host.queue.request(id).expect("nobody has it"));
    assert_eq!(client.read().status, 500, "a handle that is dropped abandons its request");
    assert_eq!(kind_of(&host.queue, id), ErrorKind::Gone);
    client.get("/");
    let id = receive(&host.queue).into_id();
    client.reset();
    wait_until("its client has left", || !host.queue.is_open(id));
    assert_eq!(kind_of(&host.queue, id), ErrorKind::Gone);
    assert_eq!(host.settled().requests_disconnected, 1);
}

#[test]
fn a_body_of_which_a_part_is_gone_is_not_read_on_as_if_it_were_whole() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nabcd");
    let mut request = receive(&host.queue);
    {
        let mut body = request.body();
        let mut reading = pin!(body.to_bytes_async(100));
        assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "half of it has come");
    }
    let id = request.into_id();
    let error = host.queue.request(id).map(drop).expect_err("a part of it is gone");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("answer it by id"), "{error}");
    host.queue.respond(id, Response::text("by id")).expect("it is as open as before");
    client.send("efgh");
    assert_eq!(client.read().text(), "by id");
    // The next request in its slot is whole.
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nabcd");
    let id = receive(&host.queue).into_id();
    let mut request = host.queue.request(id).expect("nobody has it");
    assert_eq!(request.body().to_bytes(100).expect("it is there"), "abcd");
    request.respond(Response::text("whole")).expect("open");
    assert_eq!(client.read().text(), "whole");
}

/// Of several threads, one has the handle at a time; with answers by id, cancels and clients that leave, each request
/// ends once, and everything comes back.
#[test]
fn threads_that_race_for_a_handle_have_it_one_at_a_time() {
    const ROUNDS: usize = 300;
    const THREADS: usize = 4;
    let host = Host::start();
    let (had, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..ROUNDS {
        let mut client = host.connect();
        client.get("/raced");
        let id = receive(&host.queue).into_id();
        let (start, owners) = (Barrier::new(THREADS), AtomicU64::new(0));
        let count = |is_answered: bool| answered.fetch_add(u64::from(is_answered), Ordering::Relaxed);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (start, owners, host, had) = (&start, &owners, &host, &had);
                scope.spawn(move || {
                    start.wait();
                    match host.queue.request(id) {
                        Ok(request) => {
                            had.fetch_add(1, Ordering::Relaxed);
                            assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0, "somebody else has it, too");
                            assert_eq!(request.path(), "/raced");
                            owners.fetch_sub(1, Ordering::SeqCst);
                            match (round + thread) % 4 {
                                0 => drop(request.into_id()),
                                1 => drop(request.respond(Response::text("by handle")).map(|()| count(true))),
                                2 => drop(request.cancel()),
                                _ => drop(request),
                            }
                        }
                        Err(_) => drop(host.queue.respond(id, Response::text("by id")).map(|()| count(true))),
                    }
                });
            }
            if round % 3 == 0 {
                client.reset();
            }
        });
        let _ = host.queue.respond(id, Response::text("at last")).map(|()| count(true));
    }
    host.await_rest();
    let counters = host.settled();
    let ends = [counters.requests_answered, counters.responses_unsent, counters.requests_abandoned];
    let ends = ends.iter().sum::<u64>() + counters.requests_cancelled + counters.requests_disconnected;
    assert_eq!((ends, counters.requests_delivered), (ROUNDS as u64, ROUNDS as u64), "{counters:?}");
    assert!(had.into_inner() > 0 && answered.into_inner() <= ROUNDS as u64);
}
