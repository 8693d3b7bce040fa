//! How an engine ends: with grace, without, by its drop; and what becomes of consumers, clients, requests and shards.

mod common;

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{Client, End, Host, StopOnDrop, WAIT_MAX, Watched, builder, holds_within, loopback, wait_until, within};
use ringress::{Engine, ErrorKind, Mode, QueueOptions, Request, Response, WaitStrategy};

const LONG: Duration = Duration::from_secs(60);

fn refused(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, WAIT_MAX).is_err()
}

/// Shuts the engine down on another thread; the host comes back with the time that took.
fn stopping(host: Host, grace: Duration) -> JoinHandle<(Host, Duration)> {
    thread::spawn(move || {
        let begun = Instant::now();
        host.engine.shutdown(grace).expect("no shard failed");
        (host, begun.elapsed())
    })
}

#[test]
fn requests_under_way_are_answered_within_the_grace() {
    let host = Host::start();
    let (queue, address) = (host.queue.clone(), host.address);
    let mut busy = host.connect();
    busy.get("/taken");
    let taken = host.receive();
    let mut queued = host.connect();
    queued.get("/queued");
    wait_until("it waits in the queue", || queue.len() == 1);
    let mut idle = host.connect();
    idle.send("\r\n");
    // A connection that nobody has accepted would be reset with its listener, and so would one with input unread.
    wait_until("what it sent is there", || host.counters().assembly_cells_in_use == 1);
    let stopping = stopping(host, LONG);
    wait_until("new connections are refused", || refused(address));
    taken.respond(Response::text("in time")).expect("open");
    let reply = busy.read();
    assert_eq!(reply.text(), "in time");
    assert_eq!(busy.read_end(), End::Closed);
    common::receive(&queue).respond(Response::text("also in time")).expect("open");
    assert_eq!(queued.read().text(), "also in time");
    assert_eq!(queued.read_end(), End::Closed);
    drop((busy, queued));
    let (host, took) = stopping.join().expect("ends");
    assert!(took < LONG, "it ends as soon as nothing is under way");
    assert_eq!(idle.read_end(), End::Closed);
    assert_eq!(host.queue.receive().expect_err("closed").kind(), ErrorKind::Closed);
    host.await_rest();
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let host = Host::start();
    let mut fresh = host.connect();
    let mut used = host.connect();
    used.get("/");
    host.receive().respond(Response::text("answered")).expect("open");
    assert_eq!(used.read().text(), "answered");
    wait_until("both are open", || host.counters().connections_open == 2);
    let (host, took) = stopping(host, LONG).join().expect("ends");
    assert!(took < LONG / 2, "{took:?}");
    assert_eq!((fresh.read_end(), used.read_end()), (End::Closed, End::Closed));
    assert!(refused(host.address));
}

#[test]
fn what_was_cut_is_reported_exactly() {
    let host = Host::start();
    let mut answered = host.connect();
    answered.get("/answered");
    host.receive().respond(Response::text("answered")).expect("open");
    assert_eq!(answered.read().text(), "answered");
    // Two requests on one connection, and half a body behind one.
    let mut two = host.connect();
    two.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\nGET /b HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut half = host.connect();
    half.send("POST /c HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf");
    let held: Vec<Request> = (0..3).map(|_| host.receive()).collect();
    let stopped = host.engine.shutdown(Duration::from_millis(100)).expect("no shard failed");
    assert_eq!((stopped.requests_cut, stopped.connections_cut, stopped.shards_left), (3, 2, 0), "{stopped}");
    assert!(!stopped.is_clean());
    let counters = host.counters();
    assert_eq!((counters.requests_stopped, counters.connections_stopped), (3, 2));
    assert_eq!((answered.read_end(), two.read_end(), half.read_end()), (End::Closed, End::Reset, End::Reset));
    drop(held);
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    host.receive().respond(Response::text("all")).expect("open");
    assert_eq!(client.read().text(), "all");
    let stopped = host.engine.shutdown(LONG).expect("no shard failed");
    assert!(stopped.is_clean(), "{stopped}");
}

#[test]
fn a_thread_that_does_not_receive_leaves_its_shard_behind() {
    let engine = Watched::start(builder(), Mode::Colocated);
    let (attached, is_attached) = mpsc::channel();
    let (stopped, is_stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let engine = &engine;
        scope.spawn(move || {
            let _shard = engine.attach(0).expect("the shard is free");
            attached.send(()).expect("the test waits");
            is_stopped.recv_timeout(WAIT_MAX).expect("the test goes on");
        });
        is_attached.recv_timeout(WAIT_MAX).expect("it begins");
        let report = engine.shutdown(Duration::ZERO).expect("no shard failed");
        assert_eq!((report.shards_left, report.is_clean()), (1, false), "{report}");
        stopped.send(()).expect("it waits");
    });
}

#[test]
fn what_exceeds_the_grace_is_cut() {
    let host = Host::start();
    let queue = host.queue.clone();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    let grace = Duration::from_millis(200);
    let (host, took) = stopping(host, grace).join().expect("ends");
    assert!(took >= grace - Duration::from_millis(70), "the grace was given: {took:?}");
    client.read_end();
    assert!(!queue.is_open(request.id()));
    let levels = || {
        let counters = host.counters();
        (counters.connections_open, counters.requests_open, counters.requests_departed)
    };
    assert_eq!(levels(), (0, 0, 1), "it is still held");
    assert!(request.respond(Response::text("late")).expect_err("cut").is_gone());
    assert_eq!(levels(), (0, 0, 0));
    drop(host);
}

/// A WebSocket, for example, whose two sides keep it open.
#[test]
fn a_pipe_that_both_sides_keep_ends_with_the_grace_and_is_counted() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    let mut pipe = host.receive().upgrade(Response::switching("echo")).expect("asked for");
    assert_eq!(client.read().status, 101);
    let grace = Duration::from_millis(200);
    let stopping = stopping(host, grace);
    // It may be used meanwhile.
    client.send("ping");
    let mut bytes = [0; 4];
    let got = pipe.read(&mut bytes);
    assert!(got.as_ref().map_or_else(ringress::Error::is_gone, |got| bytes[..*got] == b"ping"[..*got]), "{got:?}");
    let (host, took) = stopping.join().expect("it does not wait for the pipe");
    assert!(took >= grace - Duration::from_millis(70), "the grace was given: {took:?}");
    assert_eq!(client.read_end(), End::Reset);
    let counters = host.counters();
    assert_eq!((counters.connections_open, counters.requests_open, counters.requests_stopped), (0, 0, 1));
    assert!(pipe.send("late").expect_err("cut").is_gone());
    drop(pipe);
    host.await_rest();
}

#[test]
fn every_consumer_is_told_however_it_waits() {
    for wait in [WaitStrategy::Park, WaitStrategy::SpinThenPark(100), WaitStrategy::Spin] {
        let host = Host::start_with(builder(), QueueOptions::default().wait(wait));
        let ways: [fn(&ringress::RequestQueue) -> ErrorKind; 4] = [
            |queue| queue.receive().expect_err("closed").kind(),
            |queue| queue.receive_timeout(LONG).expect_err("closed").kind(),
            |queue| queue.receive_batch(8).expect_err("closed").kind(),
            |queue| ringress::block_on(queue.receive_batch_async(8)).expect_err("closed").kind(),
        ];
        let consume = |way: fn(&ringress::RequestQueue) -> ErrorKind| {
            let queue = host.queue.clone();
            thread::spawn(move || way(&queue))
        };
        let consumers: Vec<JoinHandle<ErrorKind>> = (0..2).flat_map(|_| ways).map(consume).collect();
        host.engine.shutdown(Duration::ZERO).expect("no shard failed");
        within(WAIT_MAX, "a consumer", move || {
            for consumer in consumers {
                assert_eq!(consumer.join().expect("ends"), ErrorKind::Closed, "{wait:?}");
            }
        });
        assert!(host.queue.try_receive().expect_err("closed").is_closed());
    }
}

#[test]
fn dropping_the_engine_ends_it_without_grace() {
    let host = Host::start();
    let Host { engine, queue, address, group, session } = host;
    let mut idle = Client::connect(address);
    let mut busy = Client::connect(address);
    busy.get("/");
    let request = common::receive(&queue);
    let waiting = thread::spawn({
        let queue = queue.clone();
        move || queue.receive().expect_err("closed").kind()
    });
    // Its clients are there and a request is held: it is the drop that ends them.
    within(WAIT_MAX, "the drop", move || drop(engine.unwatched()));
    assert_eq!(waiting.join().expect("ends"), ErrorKind::Closed);
    idle.read_end();
    busy.read_end();
    assert!(refused(address));
    assert!(request.respond(Response::ok()).expect_err("over").is_gone());
    // What is left of the control plane is of no use, and does no harm.
    drop(group);
    drop(session);
}

#[test]
fn requests_that_outlive_the_engine_are_read_and_dropped_safely() {
    let host = Host::start_with(builder().shards(2), QueueOptions::default());
    let queue = host.queue.clone();
    let mut clients: Vec<Client> = (0..6).map(|_| host.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let head = format!(
            "POST /caf%C3%A9/{number} HTTP/1.1\r\nHost: test\r\nX-Number: {number}\r\nContent-Length: 4\r\n\r\n"
        );
        client.send(head + "body");
    }
    let mut held: Vec<Request> = (0..6).map(|_| host.receive()).collect();
    let id = held.pop().expect("six").into_id();
    host.drop_unwatched();
    drop(clients);
    assert!(queue.respond(id, Response::ok()).expect_err("over").is_gone());
    for request in &held {
        let number = request.header("x-number").expect("sent");
        assert_eq!(request.path(), format!("/café/{}", String::from_utf8_lossy(number)));
        assert_eq!((request.whole_body(), request.host()), (Some(&b"body"[..]), &b"test"[..]));
        assert!(queue.respond(request.id(), Response::ok()).expect_err("over").is_gone());
        assert!(!queue.is_open(request.id()));
    }
    assert!(held.remove(0).respond(Response::ok().body(vec![1; 100_000])).expect_err("over").is_gone());
    let late = held.remove(0).into_id();
    assert!(queue.respond(late, Response::ok()).expect_err("over").is_gone());
    // The last handles go on another thread, after the last of the engine's own.
    drop(queue);
    thread::spawn(move || drop(held)).join().expect("dropping is safe");
}

#[test]
fn answers_racing_with_the_end_are_sent_or_gone() {
    for round in 0..20 {
        let host = Host::start();
        let mut clients: Vec<Client> = (0..8).map(|_| host.connect()).collect();
        clients.iter_mut().for_each(|client| client.get("/"));
        let requests: Vec<Request> = (0..8).map(|_| host.receive()).collect();
        let answering = thread::spawn(move || {
            for request in requests {
                if let Err(error) = request.respond(Response::ok().body(vec![1; 8000])) {
                    assert!(error.is_gone(), "{error}");
                }
            }
        });
        if round % 2 == 0 {
            host.engine.shutdown(Duration::ZERO).expect("no shard failed");
            answering.join().expect("no answer fails otherwise");
        } else {
            // Nothing else keeps the shard: then there is nothing to look at.
            host.drop_unwatched();
            answering.join().expect("no answer fails otherwise");
        }
    }
}

#[test]
fn an_engine_that_never_listened_ends() {
    within(WAIT_MAX, "the drop", || drop(Watched::start(builder(), Mode::Queue)));
    let took = within(WAIT_MAX, "the shutdown", || {
        let engine = Watched::start(builder().shards(2), Mode::Queue);
        let begun = Instant::now();
        engine.shutdown(LONG).expect("no shard failed");
        begun.elapsed()
    });
    assert!(took < WAIT_MAX, "nothing was under way: {took:?}");
}

#[test]
fn a_shutdown_may_be_repeated_and_ends_the_control_plane() {
    let host = Host::start();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    host.engine.shutdown(Duration::ZERO).expect("once is enough");
    assert!(host.engine.request_queue("late").expect_err("stopped").is_closed());
    host.group.remove_url(&format!("http://*:{}/", host.address.port())).expect("it was registered");
}

#[test]
fn a_stopped_engine_opens_no_ports() {
    let host = Host::start();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    // A port that nobody will ever accept on would let clients connect and hang.
    let listened = host.engine.listen(loopback(0));
    assert!(listened.as_ref().is_err_and(ringress::Error::is_closed), "{listened:?}");
}

#[test]
fn colocated_shutdown_with_grace_answers_and_closes() {
    let engine = Watched::start(builder(), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    let engine = &engine;
    thread::scope(|scope| {
        let _stop = StopOnDrop(engine);
        let (tell, told) = mpsc::channel();
        let driver = scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            let mut held = Vec::new();
            loop {
                match queue.receive() {
                    Ok(request) if request.path() == "/hold" => {
                        held.push(request);
                        tell.send(()).expect("the client runs");
                    }
                    Ok(request) => {
                        held.drain(..).for_each(|held: Request| held.respond(Response::text("held")).expect("open"));
                        request.respond(Response::text("direct")).expect("open");
                    }
                    Err(error) => return error.kind(),
                }
            }
        });
        let (mut holding, mut other, mut idle) =
            (Client::connect(address), Client::connect(address), Client::connect(address));
        assert_eq!((other.ask("/").text(), idle.ask("/").text()), ("direct", "direct"));
        holding.get("/hold");
        told.recv_timeout(WAIT_MAX).expect("it is held");
        // Its own connection is not idle while this request is under way, so it may still ask.
        other.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
        told.recv_timeout(WAIT_MAX).expect("it is held");
        let stopping = scope.spawn(|| engine.shutdown(Duration::from_secs(1)));
        assert_eq!(idle.read_end(), End::Closed);
        assert!(refused(address));
        stopping.join().expect("ends").expect("no shard failed");
        assert_eq!(driver.join().expect("ends"), ErrorKind::Closed);
        holding.read_end();
    });
}

#[test]
fn colocated_an_engine_dropped_on_its_own_thread_ends() {
    within(WAIT_MAX, "the drop", || {
        let engine = Watched::start(builder(), Mode::Colocated);
        let queue = engine.request_queue("test").expect("a queue");
        let attached = engine.attach(0).expect("the shard is free");
        assert!(queue.receive_timeout(Duration::from_millis(10)).expect("open").is_none());
        drop(attached);
        drop(engine);
        assert!(queue.try_receive().expect_err("closed").is_closed());
    });
    within(WAIT_MAX, "the drop in the other order", || {
        let engine = Watched::start(builder(), Mode::Colocated);
        let queue = engine.request_queue("test").expect("a queue");
        let attached = engine.attach(0).expect("the shard is free");
        drop(engine);
        drop(attached);
        assert!(queue.try_receive().expect_err("closed").is_closed());
        assert!(queue.receive().expect_err("closed").is_closed());
    });
}

#[test]
fn attaching_wrongly_is_an_error_that_says_what() {
    let kind = |engine: &Engine, shard| engine.attach(shard).map(drop).expect_err("wrong").kind();
    let queue_mode = Host::start().engine;
    assert_eq!(kind(&queue_mode, 0), ErrorKind::Invalid);
    assert!(queue_mode.attach(0).expect_err("wrong mode").to_string().contains("Colocated"));

    let engine = Watched::start(builder().shards(2), Mode::Colocated);
    assert_eq!(kind(&engine, 2), ErrorKind::NotFound);
    assert_eq!(kind(&engine, usize::MAX), ErrorKind::NotFound);
    let attached = engine.attach(0).expect("the shard is free");
    assert_eq!(kind(&engine, 1), ErrorKind::Invalid);
    let elsewhere = thread::scope(|scope| scope.spawn(|| kind(&engine, 0)).join().expect("ends"));
    assert_eq!(elsewhere, ErrorKind::Invalid);
    let other = thread::scope(|scope| scope.spawn(|| engine.attach(1).map(drop).is_ok()).join().expect("ends"));
    assert!(other, "the second shard is free for another thread");
    drop(attached);
    assert!(engine.attach(0).is_err(), "a shard that ended is not attached again");
}

#[test]
fn colocated_a_thread_that_stops_receiving_does_not_hang_the_shutdown() {
    let engine = Watched::start(builder(), Mode::Colocated);
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let engine = &engine;
        scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            tell.send(()).expect("the test runs");
            let _ = gone.recv();
        });
        told.recv_timeout(WAIT_MAX).expect("attached");
        let begun = Instant::now();
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        assert!(begun.elapsed() < WAIT_MAX);
        drop(go);
    });
    assert!(holds_within(WAIT_MAX, || engine.counters().connections_open == 0));
}
