//! What goes wrong by mistake says what it is: settings out of range, handles let go of, waits that nobody ends.

mod common;

use std::error::Error as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::ports::free_port;
use common::{Client, Host, WAIT_MAX, Watched, builder, loopback, receive, settled};
use ringress::{Engine, Error, ErrorKind, Event, Mode, Properties, Response, Result};

fn kind<T>(outcome: Result<T>) -> ErrorKind {
    outcome.err().expect("it is refused").kind()
}

#[test]
fn no_shards_are_out_of_range() {
    for shards in [0, 256] {
        let refused = Engine::builder().shards(shards).start().expect_err("out of range");
        let said = format!("shards is {shards}, but must be from 1 to 255");
        assert!(refused.kind() == ErrorKind::Invalid && refused.to_string() == said, "{refused}");
    }
    let unsaid = Engine::builder().capacity().expect("the default");
    assert!(unsaid.shards >= 1);
}

#[test]
fn who_waits_for_a_colocated_engine_that_nobody_drives_is_told() {
    let engine = Watched::start(builder(), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    std::thread::scope(|scope| {
        let waits = [
            scope.spawn(|| queue.receive().err()),
            scope.spawn(|| queue.receive_timeout(WAIT_MAX).err()),
            scope.spawn(|| queue.receive_batch(8).err()),
            scope.spawn(|| pollster::block_on(queue.receive_async()).err()),
            scope.spawn(|| ringress::block_on(queue.receive_batch_async(8)).err()),
            scope.spawn(|| engine.wait().err()),
        ];
        for wait in waits {
            let refused = wait.join().expect("no panic").expect("nobody drives the shard");
            let text = refused.to_string();
            assert!(refused.kind() == ErrorKind::Invalid && text.contains("Engine::attach"), "{text}");
        }
    });
    assert!(queue.try_receive().expect("which does not wait").is_none());
    assert!(queue.receive_timeout(Duration::from_millis(20)).expect("not for ever").is_none());
    assert_eq!(kind(pollster::block_on(queue.receive_async())), ErrorKind::Invalid, "it has been waited for");
    // With a thread that drives, another one may wait, whichever begins.
    let (address, session) = (engine.listen(loopback(0)).expect("a free port"), engine.server_session());
    let group = session.url_group();
    group.bind(&queue).expect("one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    let idle = engine.request_queue("idle").expect("a queue");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _attached = engine.attach(0).expect("free");
            assert!(idle.receive().expect_err("shut down").is_closed());
        });
        let mut client = Client::connect(address);
        client.get("/");
        receive(&queue).respond(Response::text("by another thread")).expect("open");
        assert_eq!(client.read().text(), "by another thread");
        let waiting = scope.spawn(|| pollster::block_on(queue.receive_async()));
        client.get("/");
        let request = waiting.join().expect("no panic").expect("a thread drives the shard by now");
        request.respond(Response::text("by a task")).expect("open");
        assert_eq!(client.read().text(), "by a task");
        drop(client);
        engine.shutdown(WAIT_MAX).expect("no shard failed");
        assert!(queue.receive().expect_err("over").is_closed());
        engine.wait().expect("it has ended in order");
    });
}

#[test]
fn what_is_dropped_is_closed_with_what_is_in_it() {
    let host = Host::start();
    // A refusal for want of URLs ends the connection.
    let status = |path: &str| host.connect().ask(path).status;
    let base = format!("http://*:{}/", host.address.port());
    let url = |path: &str| format!("{base}{path}/");
    let serve = |path: &str| {
        let mut client = host.connect();
        client.get(path);
        receive(&host.queue).respond(Response::text("served")).expect("open");
        assert_eq!(client.read().text(), "served");
    };
    host.group.remove_all_urls().expect("open");
    // A group.
    let group = host.session.url_group();
    group.bind(&host.queue).expect("one engine");
    group.add_url(&url("group"), 0).expect("free");
    serve("/group/");
    drop(group);
    assert_eq!(status("/group/"), 400, "the port is free of URLs");
    // A session, whether it is dropped or closed.
    for closed in [false, true] {
        let session = host.engine.server_session();
        let group = session.url_group();
        group.bind(&host.queue).expect("one engine");
        group.add_url(&url("session"), 0).expect("free");
        serve("/session/");
        if closed {
            session.close()
        } else {
            drop(session)
        }
        assert_eq!(status("/session/"), 400);
        let after = [
            group.add_url(&url("more"), 0).expect_err("closed"),
            group.bind(&host.queue).expect_err("closed"),
            group.urls().expect_err("closed"),
            group.set_properties(Properties::new()).expect_err("closed"),
        ];
        for error in after {
            let text = error.to_string();
            assert!(error.is_closed() && text.contains("session"), "{text}");
            assert!(!text.contains("engine") && !text.contains("shut down"), "the engine serves: {text}");
        }
    }
    // A queue.
    let queue = host.engine.request_queue("other").expect("free");
    host.group.bind(&queue).expect("one engine");
    host.group.add_url(&url("queue"), 0).expect("free");
    drop(queue);
    assert_eq!(status("/queue/"), 503);
    assert_eq!(settled(&host.engine).without_consumer, 1);
    assert_eq!(host.engine.url_groups().len(), 1, "only the one that is held");
}

#[test]
fn who_runs_an_engine_is_told_when_a_queue_has_no_consumer_left() {
    let Host { group, session, queue, engine, address } = Host::start();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let listener = Arc::clone(&told);
    engine.on_event(|_| panic!("replaced"));
    engine.on_event(move |event| {
        let Event::WithoutConsumer { queue, url_groups, .. } = event else { panic!("no other: {event}") };
        listener.lock().expect("no panic").push(format!("{queue}: {url_groups}"));
        assert_ne!(*queue, "other", "meant to panic");
    });
    let told = || told.lock().expect("no panic").clone();
    drop(queue.clone());
    drop(engine.request_queue("unbound").expect("free"));
    assert_eq!(told(), [""; 0], "none of them was the last that clients need");
    let second = session.url_group();
    second.bind(&queue).expect("one engine");
    drop(queue);
    assert_eq!(told(), ["test: 2"]);
    assert_eq!(Client::connect(address).ask("/").status, 503);
    let other = engine.request_queue("other").expect("free");
    group.bind(&other).expect("one engine");
    drop(other);
    assert_eq!((told(), engine.counters().foreign_panics), (vec!["test: 2".to_owned(), "other: 1".to_owned()], 1));
    let last = engine.request_queue("last").expect("free");
    group.bind(&last).expect("one engine");
    engine.shutdown(Duration::ZERO).expect("no shard failed");
    drop(last);
    assert_eq!(told().len(), 2, "the engine serves no more");
}

#[test]
fn kinds_tell_what_can_be_done() {
    let host = Host::start();
    let (engine, group) = (&host.engine, &host.group);
    let here = format!("http://*:{}/", host.address.port());
    assert_eq!(kind(group.add_url("http://*:8080", 0)), ErrorKind::Malformed);
    assert_eq!(kind(group.remove_url("nonsense")), ErrorKind::Malformed);
    assert_eq!(kind(group.add_url("https://*:8443/", 0)), ErrorKind::Unsupported);
    assert_eq!(kind(group.add_url(&here, 0)), ErrorKind::AlreadyExists);
    assert_eq!(kind(engine.request_queue("test")), ErrorKind::AlreadyExists);
    assert_eq!(kind(engine.listen(host.address)), ErrorKind::AlreadyExists);
    assert_eq!(kind(group.remove_url(&format!("{here}none/"))), ErrorKind::NotFound);
    assert_eq!(kind(engine.unlisten(loopback(1))), ErrorKind::NotFound);
    assert_eq!(kind(Properties::new().set("NoSuchThing", "1s")), ErrorKind::NotFound);
    assert_eq!(kind(Properties::new().set("HeaderWait", "soon")), ErrorKind::Invalid);
    let held = TcpListener::bind(loopback(0)).expect("a free port");
    let port = held.local_addr().expect("bound").port();
    assert_eq!(kind(engine.listen(loopback(port))), ErrorKind::AddrInUse);
    assert_eq!(kind(group.add_url(&format!("http://*:{port}/"), 0)), ErrorKind::AddrInUse);
    assert_eq!(kind(engine.listen(SocketAddr::from(([192, 0, 2, 1], 0)))), ErrorKind::Io);
    // Who may open it, here, is asked first.
    if let Err(refused) = TcpListener::bind((Ipv4Addr::LOCALHOST, 1))
        && refused.kind() == io::ErrorKind::PermissionDenied
    {
        assert_eq!(kind(engine.listen(loopback(1))), ErrorKind::PermissionDenied);
    }
    let colocated = Watched::start(builder(), Mode::Colocated);
    assert_eq!(kind(colocated.attach(1)), ErrorKind::NotFound);
    engine.shutdown(Duration::ZERO).expect("no shard failed");
    let after = engine.request_queue("late").expect_err("closed");
    assert!(after.is_closed() && after.to_string().contains("shut down"), "{after}");
}

#[test]
fn an_error_says_the_systems_once() {
    let host = Host::start();
    let held = TcpListener::bind(loopback(0)).expect("a free port");
    let error = host.engine.listen(held.local_addr().expect("bound")).expect_err("taken");
    let told = error.io_error().expect("the system's").to_string();
    assert!(told.contains("in use") && error.to_string().ends_with(&told), "{error}");
    // As whoever prints an error with all that is behind it.
    let (mut chain, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        chain += &format!(": {source}");
        next = source.source();
    }
    assert_eq!(chain.matches(&told).count(), 1, "{chain}");
    let as_io = io::Error::from(error);
    assert_eq!(as_io.kind(), io::ErrorKind::AddrInUse);
    let back = as_io.get_ref().and_then(|error| error.downcast_ref::<Error>());
    assert_eq!(back.expect("it is kept").kind(), ErrorKind::AddrInUse);
}

#[test]
fn what_is_shown_for_debugging_fits_a_line() {
    let host = Host::start();
    let engine = format!("{:?}", *host.engine);
    let said = format!("Engine {{ mode: Queue, shards: 1, addresses: [Tcp({})], .. }}", host.address);
    assert_eq!(engine, said);
    let port = free_port();
    let server = builder().serve(&format!("http://127.0.0.1:{port}/"), |_| Response::ok()).expect("it serves");
    let others = [
        format!("{:?}", host.queue),
        format!("{:?}", host.group),
        format!("{:?}", host.session),
        format!("{server:?}"),
        format!("{:?}", host.queue.receive_async()),
    ];
    for text in others {
        assert!(text.len() <= 120, "{} bytes: {text}", text.len());
    }
}
