//! Per queue and per group: what was delivered is what has ended and what is open, and each end is counted as what it
//! was.

mod common;

use std::hint;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use common::watched::Watched;
use common::{Client, End, Host, builder, loopback, receive, serve, settled, wait_until};
use ringress::{Mode, QueueOptions, Request, RequestCounters, Response};

/// Counts of requests that are not 0.
fn some(counters: &RequestCounters) -> Vec<(&'static str, u64)> {
    counters.named().filter(|(name, count)| *count > 0 && !name.starts_with("bytes_")).collect()
}

#[test]
fn each_end_counts_once_for_its_queue_and_its_group() {
    let host = Host::start();
    let other = host.session.url_group();
    other.add_url(&format!("http://*:{}/other/", host.address.port()), 0).expect("free");
    other.bind(&host.queue).expect("of one engine");
    let mut client = host.connect();
    let ask = |client: &mut Client, path: &str, act: fn(Request)| {
        client.get(path);
        act(host.receive());
    };
    let answer = |request: Request| request.respond(Response::text("answer")).expect("open");
    for path in ["/", "/other/1", "/other/2"] {
        ask(&mut client, path, answer);
        assert_eq!(client.read().status, 200);
    }
    ask(&mut client, "/", drop);
    assert_eq!(client.read().status, 500);
    let mut cancelled = host.connect();
    ask(&mut cancelled, "/", |request| request.cancel().expect("open"));
    assert_eq!(cancelled.read_end(), End::Reset);
    let mut leaving = host.connect();
    leaving.get("/");
    let kept = host.receive();
    assert_eq!((host.queue.counters().open(), host.group.counters().open(), other.counters().open()), (1, 1, 0));
    leaving.reset();
    wait_until("its end is counted", || host.queue.counters().disconnected == 1);
    drop(kept);
    let mut malformed = host.connect();
    malformed.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
    assert_eq!(malformed.read().status, 400);
    host.settled();
    let (queue, group, other) = (host.queue.counters(), host.group.counters(), other.counters());
    let ends = |answered| [("answered", answered), ("abandoned", 1), ("cancelled", 1), ("disconnected", 1)];
    assert_eq!(some(&queue), [&ends(3)[..], &[("delivered", 6), ("refused", 1)]].concat());
    assert_eq!(some(&group), [&ends(1)[..], &[("delivered", 4), ("refused", 1)]].concat());
    assert_eq!(some(&other), [("answered", 2), ("delivered", 2)]);
}

#[test]
fn a_group_counts_on_when_it_is_bound_otherwise_and_a_queue_when_its_groups_are_gone() {
    let host = Host::start();
    let second = host.engine.request_queue("second").expect("another");
    let mut client = host.connect();
    client.get("/held");
    let held = host.receive();
    host.group.bind(&second).expect("of one engine");
    // Bound and gone again, more often than anybody would.
    for _ in 0..40 {
        host.group.bind(&host.queue).expect("of one engine");
        host.group.unbind().expect("open");
        drop(host.session.url_group());
    }
    host.group.bind(&second).expect("of one engine");
    held.respond(Response::text("held")).expect("open");
    assert_eq!(client.read().text(), "held");
    client.get("/moved");
    receive(&second).respond(Response::text("moved")).expect("open");
    assert_eq!(client.read().text(), "moved");
    host.settled();
    assert_eq!(some(&host.queue.counters()), [("answered", 1), ("delivered", 1)]);
    assert_eq!(some(&second.counters()), [("answered", 1), ("delivered", 1)]);
    assert_eq!(some(&host.group.counters()), [("answered", 2), ("delivered", 2)]);
    host.group.unbind().expect("open");
    assert_eq!(client.ask("/nowhere").status, 503);
    host.settled();
    assert_eq!(some(&host.group.counters()), [("answered", 2), ("delivered", 2), ("refused", 1)]);
}

#[test]
fn what_a_full_queue_refuses_and_what_nobody_takes_is_counted_for_it() {
    let properties = ringress::Properties::new().request_queue(Duration::from_millis(100));
    let host = Host::start_with(builder().properties(properties), QueueOptions::default().length(1));
    let (mut first, mut second) = (host.connect(), host.connect());
    first.get("/");
    wait_until("it waits", || host.queue.len() == 1);
    let refused = second.ask("/").status;
    let timed_out = first.read().status;
    assert_eq!((refused, timed_out), (503, 503));
    host.settled();
    let counters = host.queue.counters();
    // On a slow machine, the first one's time is over before the second one comes.
    assert_eq!(counters.refused + counters.timed_out, 2, "{counters:?}");
    assert!(counters.timed_out >= 1 && counters.ended() == counters.delivered, "{counters:?}");
}

/// Sends these pieces in as many writes, and reads until the end: bytes sent and got.
fn exchange(host: &Host, pieces: &[&str]) -> (u64, u64) {
    let mut stream = host.connect().stream;
    for piece in pieces {
        stream.write_all(piece.as_bytes()).expect("the engine reads");
        thread::yield_now();
    }
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the engine closes behind the last answer");
    (pieces.iter().map(|piece| piece.len() as u64).sum(), got.len() as u64)
}

#[test]
fn bytes_are_counted_as_clients_send_and_get_them() {
    let host = Host::start();
    let consumer = serve(&host.queue, |mut request| match request.path() {
        "/informed" => {
            request.send_informational(103, &[("Link", "</a>")]).expect("open");
            request.respond(Response::text("informed")).expect("open");
        }
        "/streamed" => {
            let mut stream = request.start(Response::ok()).expect("open");
            (0..3).for_each(|_| stream.send("some of it").expect("open"));
            stream.finish().expect("open");
        }
        "/large" => request.respond(Response::text("l".repeat(1 << 20))).expect("open"),
        _ => {
            let body = request.body().to_bytes(1 << 20).expect("it comes whole");
            request.respond(Response::text(body)).expect("open");
        }
    });
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let last = "HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".to_owned();
    let post = |field: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n{body}");
    let chunked = "Transfer-Encoding: chunked";
    let whole = "5;a=b\r\nwhole\r\n0\r\nX-Trailer: it\r\n\r\n";
    let long = "l".repeat(100_000);
    let exchanges: [&[&str]; 7] = [
        &[&(get("/").repeat(20) + &last)],
        &[&get("/informed"), &get("/streamed"), &get("/large"), &last],
        &[&post("Content-Length: 5", "whole"), &post(chunked, whole), &last],
        &[&post(chunked, ""), "5;a=b\r\nwh", "ole\r", "\n0\r\nX-Trail", "er: it\r\n\r\n", &last],
        &[&post("Content-Length: 100000", ""), &long, &last],
        &[&post("Content-Length: 5\r\nExpect: 100-continue", ""), "whole", &last],
        // A head in pieces, and one that goes nowhere.
        &["GET / HTTP/1.1\r\nHo", "st: test\r\n\r\n", "GET http://other:1/\u{0} HTTP/1.1\r\n\r\n"],
    ];
    let (mut sent, mut got) = (0, 0);
    for pieces in exchanges {
        let (up, down) = exchange(&host, pieces);
        (sent, got) = (sent + up, got + down);
    }
    // Of a head that cannot be read, nothing.
    sent -= "GET http://other:1/\u{0} HTTP/1.1\r\n\r\n".len() as u64;
    host.await_rest();
    let all = host.counters();
    assert_eq!((all.bytes_received, all.bytes_sent), (sent, got));
    let (queue, group) = (host.queue.counters(), host.group.counters());
    assert_eq!((queue.bytes_received, queue.bytes_sent), (group.bytes_received, group.bytes_sent));
    assert_eq!(queue.bytes_received, sent, "what was refused had no bytes");
    assert!(queue.bytes_sent < got, "one was not of the queue");
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends well");
}

/// How long a request is worked on.
const WORK: Duration = Duration::from_millis(20);

#[test]
fn how_long_requests_take_is_measured_where_that_is_asked_for() {
    for mode in [Mode::Queue, Mode::Colocated] {
        let engine = Watched::start(builder(), mode);
        let queue = engine.request_queue_with("measured", QueueOptions::default().measured(true)).expect("a queue");
        let plain = engine.request_queue("plain").expect("another");
        let address = engine.listen(loopback(0)).expect("a free port");
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue).expect("of one engine");
        group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
        thread::scope(|scope| {
            let consumer = scope.spawn(|| {
                let attached = (mode == Mode::Colocated).then(|| engine.attach(0).expect("free"));
                for request in (0..4).flat_map(|_| queue.receive_batch(1).expect("open")) {
                    let begun = Instant::now();
                    while begun.elapsed() < WORK {
                        hint::spin_loop();
                    }
                    request.respond(Response::text("worked")).expect("open");
                }
                // Whoever drives the shard goes on until the last response is sent.
                while attached.is_some() && queue.counters().answered < 4 {
                    let _ = queue.try_receive();
                }
            });
            let mut client = Client::connect(address);
            (0..4).for_each(|_| assert_eq!(client.ask("/").text(), "worked"));
            consumer.join().expect("ends");
        });
        if mode == Mode::Queue {
            settled(&engine);
        }
        let latency = queue.latency().expect("asked for");
        for part in [&latency.waiting, &latency.serving, &latency.sending, &latency.total] {
            assert_eq!(part.count(), 4, "{mode:?}: {latency:?}");
        }
        let least = |part: &ringress::Histogram| part.quantile(0.0).expect("recorded");
        assert!(least(&latency.serving) >= WORK && least(&latency.total) >= WORK, "{mode:?}: {latency:?}");
        assert_eq!(plain.latency(), None, "not asked for");
    }
}
