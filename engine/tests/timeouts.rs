//! What slow clients cost: a timeout each, of the right kind, and nothing that does not come back.

mod common;

use std::io::Read;
use std::time::{Duration, Instant};

use common::{Client, End, Host, builder, colocated_with, holds_within, wait_until};
use ringress::{Properties, QueueOptions, RequestQueue, Response};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
/// A body larger than what the kernel takes for a client that does not read.
const LARGE: usize = 32 << 20;

fn host(properties: Properties) -> Host {
    Host::start_with(builder().properties(properties), QueueOptions::default())
}

/// All timers long, but for what a test makes short.
fn long() -> Properties {
    Properties::new().idle_connection(LONG).header_wait(LONG).entity_body(LONG).request_queue(LONG)
}

/// A short time for whatever is to arrive of a request.
fn short_header() -> Host {
    host(long().header_wait(SHORT).entity_body(SHORT))
}

/// A short time for connections that rest, and for clients that do not take their answers.
fn short_idle() -> Host {
    host(long().idle_connection(SHORT).min_send_rate(0))
}

/// Runs `wait`, which must take at least [`SHORT`], less the grain of the wheel.
fn takes_its_time<R>(wait: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = wait();
    assert!(begun.elapsed() >= SHORT - Duration::from_millis(70), "too early: {:?}", begun.elapsed());
    result
}

/// The connection ends, in time and without an answer, by the only timeout of the host.
fn assert_closed_without_a_word(host: &Host, client: &mut Client) {
    assert_eq!(takes_its_time(|| client.read_end()), End::Closed);
    host.await_rest();
    assert_eq!((host.counters().timeouts, host.counters().requests_rejected), (1, 0));
}

#[test]
fn a_connection_that_sends_nothing_is_closed_without_a_word() {
    let host = short_header();
    let mut client = host.connect();
    assert_closed_without_a_word(&host, &mut client);
}

#[test]
fn a_begun_head_gets_408_and_the_end() {
    let host = short_header();
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: test\r\n"] {
        let mut client = host.connect();
        client.send(begun);
        let reply = takes_its_time(|| client.read());
        assert_eq!((reply.status, reply.closes()), (408, true), "{begun:?}");
        assert_eq!(client.read_end(), End::Closed, "{begun:?}");
    }
    host.await_rest();
    assert_eq!(host.counters().timeouts, 3);
}

#[test]
fn a_head_has_one_deadline_however_its_bytes_trickle_in() {
    let host = short_header();
    let mut client = host.connect();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nX: ");
    while !client.is_readable_within(Duration::from_millis(50)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "trickling bytes keep a head alive");
        client.send("x");
    }
    assert_eq!(client.read().status, 408);
}

#[test]
fn a_begun_body_gets_408_and_the_end() {
    let host = short_header();
    for begun in [
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ] {
        let mut client = host.connect();
        client.send(begun);
        let reply = takes_its_time(|| client.read());
        assert_eq!((reply.status, reply.closes()), (408, true), "{begun:?}");
        assert_eq!(client.read_end(), End::Closed, "{begun:?}");
    }
    host.await_rest();
    assert!(host.queue.is_empty(), "nothing was delivered");
}

#[test]
fn a_begun_second_request_is_timed_behind_an_answer_under_way() {
    let host = short_header();
    let mut client = host.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /second");
    let request = host.receive();
    wait_until("the second head has run out of time", || host.counters().timeouts == 1);
    assert!(!client.is_readable_within(Duration::from_millis(100)), "the first answer comes first");
    request.respond(Response::text("first")).expect("open");
    assert_eq!(client.read().text(), "first");
    assert_eq!(client.read().status, 408);
    assert_eq!(client.read_end(), End::Closed);
    drop(client);
    host.await_rest();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let host = short_idle();
    let mut client = host.connect();
    client.get("/");
    host.receive().respond(Response::text("answered")).expect("open");
    assert_eq!(client.read().text(), "answered");
    assert_closed_without_a_word(&host, &mut client);
}

#[test]
fn an_idle_timeout_begins_anew_with_every_request() {
    let host = short_idle();
    let mut client = host.connect();
    let begun = Instant::now();
    while begun.elapsed() < SHORT * 4 {
        client.get("/");
        host.receive().respond(Response::text("answered")).expect("open");
        assert_eq!(client.read().text(), "answered");
        assert!(!client.is_readable_within(SHORT / 4), "no end and no 408");
    }
    assert_eq!(host.counters().timeouts, 0);
}

#[test]
fn a_request_under_way_in_the_application_is_not_timed() {
    let host = host(long().header_wait(SHORT).idle_connection(SHORT).request_queue(SHORT));
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    assert!(!client.is_readable_within(SHORT * 5), "neither an answer nor an end");
    assert_eq!(host.counters().timeouts, 0);
    request.respond(Response::text("at last")).expect("open");
    assert_eq!(client.read().text(), "at last");
}

#[test]
fn colocated_timeouts_run_while_the_application_receives() {
    let settings = builder().properties(long().header_wait(SHORT).idle_connection(SHORT));
    let application = |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            request.respond(Response::text("answered")).expect("open");
        }
    };
    colocated_with(settings, application, |engine, address| {
        let mut silent = Client::connect(address);
        let mut begun = Client::connect(address);
        begun.send("GET / HT");
        let mut idle = Client::connect(address);
        assert_eq!(idle.ask("/").text(), "answered");
        assert_eq!(idle.read_end(), End::Closed);
        assert_eq!(silent.read_end(), End::Closed);
        assert_eq!(begun.read().status, 408);
        drop(begun);
        common::await_rest(engine);
        assert_eq!(engine.counters().timeouts, 3);
    });
}

#[test]
fn a_client_that_does_not_read_is_reset_and_everything_comes_back() {
    let host = short_idle();
    let client = {
        let mut client = host.connect();
        client.get("/large");
        client
    };
    host.receive().respond(Response::ok().body(vec![7; LARGE])).expect("open");
    wait_until("the engine gave up on it", || host.counters().timeouts == 1);
    host.await_rest();
    drop(client);
}

#[test]
fn a_client_that_asks_on_without_reading_is_reset_too() {
    let host = short_idle();
    let mut client = host.connect();
    client.get("/large");
    host.receive().respond(Response::ok().body(vec![7; LARGE])).expect("open");
    wait_until("the socket is full", || host.counters().sends_short == 1);
    client.get("/another");
    let another = host.receive();
    another.respond(Response::text("small")).expect("open");
    wait_until("the engine gave up on it", || host.counters().timeouts == 1);
    host.await_rest();
    drop(client);
}

#[test]
fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let host = host(long().idle_connection(Duration::from_millis(500)).min_send_rate(0));
    let mut client = host.connect();
    client.get("/large");
    host.receive().respond(Response::ok().body(vec![7; LARGE])).expect("open");
    wait_until("the socket is full", || host.counters().sends_short == 1);
    let mut buffer = vec![0; 1 << 20];
    let begun = Instant::now();
    let mut read = 0;
    while read < LARGE {
        let slowly = begun + SHORT * u32::try_from(read >> 21).expect("few") / 4;
        holds_within(slowly.saturating_duration_since(Instant::now()), || false);
        match client.stream.read(&mut buffer) {
            Ok(len @ 1..) => read += len,
            broken_off => panic!("{broken_off:?} after {read} bytes and {:?}", begun.elapsed()),
        }
    }
    assert_eq!(host.counters().timeouts, 0);
}

#[test]
fn a_refused_client_that_does_not_end_its_side_is_cut() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("BAD\r\n\r\n");
    assert_eq!(client.read().status, 400);
    assert_eq!(client.read_end(), End::Closed, "the engine shuts its side");
    // The client keeps its own side open and says nothing.
    wait_until("the engine cut it", || host.counters().connections_open == 0);
    assert_eq!(host.counters().timeouts, 1);
    host.await_rest();
}
