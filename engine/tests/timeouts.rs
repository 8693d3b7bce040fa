//! What slow clients cost: a timeout each, of the right kind, and nothing that does not come back.

mod common;

use std::io::Read;
use std::time::{Duration, Instant};

use common::{Client, End, Host, builder, colocated_with, holds_within, wait_until};
use ringress::{Properties, QueueOptions, RequestQueue, Response};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
/// For what a test has to do in time: a busy machine may not run it for a good part of a second.
const AMPLE: Duration = Duration::from_secs(2);
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

/// A short time for connections that rest, and for clients that do not take their responses.
fn short_idle() -> Host {
    host(long().idle_connection(SHORT).send_rate_min(0))
}

/// Runs `wait`, which starts a timer and must take at least [`SHORT`], but for a step of the engine's clock.
fn takes_its_time<R>(wait: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = wait();
    assert!(begun.elapsed() >= SHORT - Duration::from_millis(70), "too early: {:?}", begun.elapsed());
    result
}

/// The connection that `connect` makes ends, in time and without a response, by the only timeout of the host.
fn assert_closed_without_a_word(host: &Host, connect: impl FnOnce() -> Client) {
    assert_eq!(takes_its_time(|| connect().read_end()), End::Closed);
    host.await_rest();
    assert_eq!((host.settled().timeouts, host.settled().requests_refused), (1, 0));
}

#[test]
fn a_connection_that_sends_nothing_is_closed_without_a_word() {
    let host = short_header();
    assert_closed_without_a_word(&host, || host.connect());
}

#[test]
fn a_begun_head_gets_408_and_the_end() {
    let host = short_header();
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: test\r\n"] {
        let mut client = host.connect();
        let reply = takes_its_time(|| {
            client.send(begun);
            client.read()
        });
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
        let reply = takes_its_time(|| {
            client.send(begun);
            client.read()
        });
        assert_eq!((reply.status, reply.closes()), (408, true), "{begun:?}");
        assert_eq!(client.read_end(), End::Closed, "{begun:?}");
        // Delivered before its body was whole, it is over before anybody has asked for it.
        let over = host.queue.try_receive().expect("the queue is open");
        assert!(over.is_none_or(|request| request.respond(Response::ok()).is_err_and(|error| error.is_gone())));
    }
    host.await_rest();
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
    assert_closed_without_a_word(&host, || {
        let mut client = host.connect();
        client.get("/");
        host.receive().respond(Response::text("answered")).expect("open");
        assert_eq!(client.read().text(), "answered");
        client
    });
}

#[test]
fn an_idle_timeout_begins_anew_with_every_request() {
    let host = host(long().idle_connection(AMPLE));
    let mut client = host.connect();
    let begun = Instant::now();
    while begun.elapsed() < AMPLE * 2 {
        client.get("/");
        host.receive().respond(Response::text("answered")).expect("open");
        assert_eq!(client.read().text(), "answered");
        assert!(!client.is_readable_within(SHORT / 2), "no end and no 408");
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
    let host = host(long().idle_connection(AMPLE).send_rate_min(0));
    let mut client = host.connect();
    client.get("/large");
    host.receive().respond(Response::ok().body(vec![7; LARGE])).expect("open");
    wait_until("a part was sent", || host.counters().sends_short > 0);
    client.get("/another");
    let another = host.receive();
    another.respond(Response::text("small")).expect("open");
    wait_until("the engine gave up on it", || host.counters().timeouts == 1);
    host.await_rest();
    drop(client);
}

#[test]
fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let host = host(long().idle_connection(AMPLE).send_rate_min(0));
    let mut client = host.connect();
    client.get("/large");
    host.receive().respond(Response::ok().body(vec![7; LARGE])).expect("open");
    let mut buffer = vec![0; 1 << 20];
    let begun = Instant::now();
    let mut read = 0;
    while read < LARGE {
        let slowly = begun + SHORT * u32::try_from(read >> 21).expect("few");
        holds_within(slowly.saturating_duration_since(Instant::now()), || false);
        match client.stream.read(&mut buffer) {
            Ok(len @ 1..) => read += len,
            broken_off => panic!("{broken_off:?} after {read} bytes and {:?}", begun.elapsed()),
        }
    }
    assert!(begun.elapsed() > AMPLE, "so fast that nothing was timed");
    assert_eq!(host.counters().timeouts, 0);
}

/// Reads at a rate, in bytes a second, for a time; `false`: the connection has ended before.
fn read_slowly(client: &mut Client, rate: usize, time: Duration) -> bool {
    const PIECE: Duration = Duration::from_millis(100);
    let mut piece = vec![0; rate / 10];
    let begun = Instant::now();
    for pieces in 1.. {
        if client.stream.read_exact(&mut piece).is_err() {
            return false;
        }
        let due = begun + PIECE * pieces;
        holds_within(due.saturating_duration_since(Instant::now()), || false);
        if begun.elapsed() >= time {
            break;
        }
    }
    true
}

/// A client whose kernel takes little in advance, and a response that waits for it.
fn slow_reader(host: &Host) -> Client {
    let mut client = host.connect();
    client.set_receive_buffer(16 << 10);
    client.get("/large");
    host.receive().respond(Response::ok().body(vec![7; LARGE])).expect("open");
    wait_until("a part was sent", || host.counters().sends_short > 0);
    client
}

#[test]
fn a_client_that_reads_slowly_but_above_the_least_rate_lives() {
    let host = host(long().send_rate_min(20_000));
    let mut client = slow_reader(&host);
    assert!(read_slowly(&mut client, 100_000, Duration::from_secs(11)), "two looks have been taken");
    assert_eq!((host.counters().timeouts, host.counters().send_rate_timeouts), (0, 0));
}

#[test]
fn a_request_that_nobody_takes_gets_503_and_is_not_delivered_later() {
    let host = host(long().request_queue(AMPLE));
    let mut client = host.connect();
    let reply = takes_its_time(|| {
        client.get("/first");
        client.read()
    });
    assert_eq!((reply.status, reply.field("retry-after"), reply.closes()), (503, Some("1"), false));
    assert!(host.queue.try_receive().expect("open").is_none(), "it is over");
    client.get("/second");
    let request = host.receive();
    assert_eq!(request.path(), "/second");
    assert!(!client.is_readable_within(AMPLE + SHORT), "a request that was taken is not timed");
    request.respond(Response::text("second")).expect("open");
    assert_eq!(client.read().text(), "second");
    drop(client);
    host.await_rest();
    assert_eq!((host.settled().queue_timeouts, host.settled().timeouts), (1, 0));
}

#[test]
fn with_many_consumers_too_slow_for_the_queue_every_client_is_answered_once() {
    // Half a second of work for two consumers, and so more than they get.
    const CLIENTS: usize = 200;
    const ROUNDS: usize = 3;
    let host = host(long().request_queue(Duration::from_millis(64)));
    let slow = |request: ringress::Request| {
        holds_within(Duration::from_millis(5), || false);
        // Answered by the engine in the same moment, at the most.
        let answered = request.respond(Response::text("taken"));
        assert!(answered.is_ok() || answered.is_err_and(|error| error.is_gone()));
    };
    let consumers = [common::serve(&host.queue, slow), common::serve(&host.queue, slow)];
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| host.connect()).collect();
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..ROUNDS {
        clients.iter_mut().for_each(|client| client.get("/"));
        for client in &mut clients {
            let reply = client.read();
            assert!(reply.status == 503 || reply.text() == "taken", "{reply:?}");
            *statuses.entry(reply.status).or_insert(0_usize) += 1;
        }
    }
    wait_until("nothing is under way", || host.counters().requests_open == 0);
    assert!(clients.iter_mut().all(|client| !client.is_readable_within(Duration::from_millis(1))), "answered twice");
    assert_eq!(statuses.values().sum::<usize>(), ROUNDS * CLIENTS);
    assert_eq!(host.settled().queue_timeouts, *statuses.get(&503).unwrap_or(&0) as u64);
    assert!(statuses.contains_key(&200) && statuses.contains_key(&503), "{statuses:?}");
    drop(clients);
    host.await_rest();
    let Host { group, session, queue, engine, .. } = host;
    drop((group, session, queue));
    engine.shutdown(Duration::ZERO).expect("no shard failed");
    assert!(consumers.into_iter().all(|consumer| consumer.join().is_ok()));
}

#[test]
fn a_groups_properties_override_the_sessions_and_the_engines_live() {
    let host = host(long());
    let other = host.session.url_group();
    other.bind(&host.queue).expect("both are of one engine");
    other.add_url(&format!("http://*:{}/other/", host.address.port()), 8).expect("the URL is free");
    // Whether connections end that rest: of each group in turn.
    let assert_ended = |ended: [bool; 2], why: &str| {
        for (path, ended) in ["/", "/other/"].into_iter().zip(ended) {
            let mut client = host.connect();
            client.get(path);
            host.receive().respond(Response::text("answered")).expect("open");
            assert_eq!(client.read().text(), "answered");
            let most = if ended { common::WAIT_MAX } else { SHORT * 4 };
            assert_eq!(client.is_readable_within(most), ended, "{path}: {why}");
        }
    };
    let short = Properties::new().idle_connection(SHORT);
    assert_ended([false, false], "the engine's");
    host.session.set_properties(short).expect("in range");
    assert_ended([true, true], "the session's");
    other.set_properties(Properties::new().idle_connection(Properties::OFF)).expect("in range");
    assert_ended([true, false], "the group's");
    host.session.set_properties(Properties::new()).expect("in range");
    other.set_properties(short).expect("in range");
    assert_ended([false, true], "the other way round");
}

#[test]
fn properties_in_force_can_be_read_and_bad_ones_change_nothing() {
    let host = host(Properties::new().send_rate_min(7));
    host.session.set_properties(Properties::new().entity_body(SHORT)).expect("in range");
    host.group.set_properties(Properties::new().request_body_max(100)).expect("in range");
    let (engine, session, group) =
        (host.engine.properties(), host.session.properties(), host.group.properties().expect("open"));
    assert_eq!((engine.send_rate_min, engine.entity_body), (Some(7), Some(Duration::from_secs(120))));
    assert_eq!((session.entity_body, session.request_body_max), (Some(SHORT), Some(u64::MAX)));
    assert_eq!((group.send_rate_min, group.entity_body, group.request_body_max), (Some(7), Some(SHORT), Some(100)));
    let bad = Properties::new().header_wait(Duration::from_millis(1));
    for refused in [host.session.set_properties(bad), host.group.set_properties(bad)] {
        let error = refused.expect_err("out of range");
        assert!(error.to_string().starts_with("header_wait is \"1ms\", but must be a time from 64ms"), "{error}");
    }
    assert_eq!(host.group.properties().expect("open"), group);
    let refused = builder().properties(bad).start().expect_err("out of range");
    assert!(refused.to_string().starts_with("header_wait is"), "{refused}");
}

#[test]
fn timers_that_are_off_never_end_anything() {
    let off = Properties::OFF;
    let properties = Properties::new().idle_connection(off).header_wait(off).entity_body(off).request_queue(off);
    let host = host(properties.send_rate_min(0));
    let mut silent = host.connect();
    let mut begun = host.connect();
    begun.send("GET / HT");
    let mut half = host.connect();
    half.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbo");
    let mut waiting = host.connect();
    waiting.get("/waiting");
    for client in [&mut silent, &mut begun, &mut half, &mut waiting] {
        assert!(!client.is_readable_within(SHORT), "neither an answer nor an end");
    }
    assert_eq!((host.counters().timeouts, host.counters().queue_timeouts), (0, 0));
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
