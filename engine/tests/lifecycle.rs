//! The ends of ranges in an engine's life: no grace and endless grace, ports opened again at once, shards that nobody
//! drives, threads that wait beside work that is not theirs, and clients of the older protocol.

mod common;

use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::ports::free_port;
use common::{Client, Host, StopOnDrop, WAIT_MAX, Watched, builder, loopback, receive, wait_until, within};
use ringress::{Engine, Mode, RequestQueue, Response, ServerSession, UrlGroup};

fn group_of(engine: &Engine, queue: &RequestQueue) -> (UrlGroup, ServerSession) {
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(queue).expect("of this engine");
    (group, session)
}

/// The time this thread has spent on a processor.
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

#[test]
fn an_endless_grace_ends_at_once_when_nothing_is_under_way() {
    for shards in [1, 2] {
        let host = Host::start_with(builder().shards(shards), ringress::QueueOptions::default());
        let mut idle = host.connect();
        within(WAIT_MAX, "the shutdown", move || host.engine.shutdown(Duration::MAX).expect("no shard failed"));
        idle.read_end();
    }
    within(WAIT_MAX, "the shutdown of a shard nobody drives", || {
        let engine = Watched::start(builder(), Mode::Colocated);
        engine.shutdown(Duration::MAX).expect("no shard failed");
    });
}

#[test]
fn no_grace_ends_at_once_with_a_request_under_way_and_no_port_open() {
    let engine = Watched::start(builder(), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let (group, _session) = group_of(&engine, &queue);
    let port = free_port();
    group.add_url(&format!("http://*:{port}/"), 0).expect("free");
    let mut client = Client::connect(loopback(port));
    client.get("/");
    let request = receive(&queue);
    group.remove_url(&format!("http://*:{port}/")).expect("registered");
    wait_until("the port is closed", || TcpStream::connect_timeout(&loopback(port), WAIT_MAX).is_err());
    let (_engine, took) = within(WAIT_MAX, "the shutdown", move || {
        let begun = Instant::now();
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        (engine, begun.elapsed())
    });
    assert!(took < WAIT_MAX, "{took:?}");
    client.read_end();
    assert!(request.respond(Response::ok()).expect_err("cut").is_gone());
}

#[test]
fn a_port_is_opened_again_as_soon_as_it_was_closed() {
    for shards in [1, 3] {
        let engine = Watched::start(builder().shards(shards), Mode::Queue);
        let queue = engine.request_queue("test").expect("a queue");
        let (group, _session) = group_of(&engine, &queue);
        let port = free_port();
        let urls = [format!("http://*:{port}/"), format!("http://*:{port}/deeper/")];
        group.add_url(&urls[0], 0).expect("free");
        for round in 0..20 {
            group.remove_url(&urls[round % 2]).expect("registered");
            group.add_url(&urls[(round + 1) % 2], 0).expect("the port is free again");
        }
        let mut client = Client::connect(loopback(port));
        client.get("/deeper/");
        receive(&queue).respond(Response::text("open")).expect("open");
        assert_eq!(client.read().text(), "open");
    }
}

#[test]
fn every_connection_is_served_though_a_shard_is_not_driven() {
    let engine = &Watched::start(builder().shards(2), Mode::Colocated);
    let queue = &engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let (group, _session) = group_of(engine, queue);
    let port = free_port();
    for port in [address.port(), port] {
        group.add_url(&format!("http://*:{port}/"), 0).expect("free");
    }
    thread::scope(|scope| {
        let _stop = StopOnDrop(engine);
        let (tell, told) = mpsc::channel();
        scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            tell.send(()).expect("the test runs");
            while let Ok(request) = queue.receive() {
                request.respond(Response::text("served")).expect("open");
            }
        });
        told.recv_timeout(WAIT_MAX).expect("attached");
        let later = engine.listen(loopback(0)).expect("a free port");
        group.add_url(&format!("http://*:{}/", later.port()), 0).expect("free");
        for address in [address, loopback(port), later] {
            for _ in 0..16 {
                assert_eq!(Client::connect(address).ask("/").text(), "served");
            }
        }
    });
}

#[test]
fn waiting_on_one_queue_costs_no_time_while_another_holds_requests() {
    let engine = Watched::start(builder(), Mode::Colocated);
    let (idle, busy) = (engine.request_queue("idle").expect("a queue"), engine.request_queue("busy").expect("a queue"));
    let address = engine.listen(loopback(0)).expect("a free port");
    let (group, _session) = group_of(&engine, &busy);
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    let _attached = engine.attach(0).expect("the shard is free");
    let mut client = Client::connect(address);
    client.get("/");
    wait_until("it is queued", || {
        assert!(idle.receive_timeout(Duration::from_millis(10)).expect("open").is_none());
        busy.len() == 1
    });
    let (begun, before) = (Instant::now(), thread_time());
    assert!(idle.receive_timeout(Duration::from_millis(500)).expect("open").is_none());
    let (took, spent) = (begun.elapsed(), thread_time() - before);
    assert!(took >= Duration::from_millis(500) && spent < took / 5, "{spent:?} of {took:?}");
    receive(&busy).respond(Response::text("kept")).expect("open");
    // The shard is driven until the response has gone out.
    wait_until("it is answered", || {
        assert!(idle.receive_timeout(Duration::from_millis(1)).expect("open").is_none());
        engine.counters().requests_answered == 1
    });
    assert_eq!(client.read().text(), "kept");
}

#[test]
fn a_refusal_keeps_an_old_clients_connection_and_says_so() {
    let host = Host::start();
    let mut client = host.connect();
    let ask = |connection: &str| format!("GET / HTTP/1.0\r\nHost: test\r\n{connection}\r\n");
    host.queue.set_active(false);
    for _ in 0..3 {
        client.send(ask("Connection: keep-alive\r\n"));
        let refused = client.read();
        assert_eq!((refused.status, refused.field("connection")), (503, Some("keep-alive")), "{}", refused.head);
    }
    // The newer protocol keeps connections unsaid.
    let refused = client.ask("/");
    assert_eq!((refused.status, refused.field("connection")), (503, None), "{}", refused.head);
    let root = format!("http://*:{}/", host.address.port());
    host.group.add_url(&format!("{root}only/"), 0).expect("free");
    host.group.remove_url(&root).expect("registered");
    client.send(ask("Connection: keep-alive\r\n"));
    let unknown = client.read();
    assert_eq!((unknown.status, unknown.field("connection")), (404, Some("keep-alive")), "{}", unknown.head);
    client.send(ask(""));
    assert!(client.read().closes());
    client.read_end();
}

#[test]
fn a_change_of_urls_holds_for_every_request_sent_after_it() {
    let host = Host::start();
    let mut client = host.connect();
    let root = format!("http://*:{}/", host.address.port());
    host.group.add_url(&format!("{root}only/"), 0).expect("free");
    // Found, and then refused: nobody needs to answer.
    host.queue.set_active(false);
    for round in 0..500 {
        assert_eq!(client.ask("/").status, 503, "round {round}: registered");
        host.group.remove_url(&root).expect("registered");
        assert_eq!(client.ask("/").status, 404, "round {round}: removed");
        host.group.add_url(&root, 0).expect("free");
    }
}
