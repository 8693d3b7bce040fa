//! What can only be brought about from within: a shard that panics, by routes that no control plane sends, so that the
//! engine is given up and nobody waits for it; shards that begin, or do not; what many URLs leave behind.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::Engine;
use crate::api::Response;
use crate::config::Mode;
use crate::counters::RequestCounts;
use crate::error::ErrorKind;
use crate::id::{QueueNumber, QueuePlace};
use crate::log::LogTarget;
use crate::policy::{Policy, Properties, Refusals, SharedVerbosity};
use crate::queue::QueueCore;
use crate::route::{GroupRow, Host, Prefix, Snapshot};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < WAIT_MAX, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Asks for a response, and waits for one or for the end.
fn ask(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
    assert_ne!(ended, Err(std::io::ErrorKind::WouldBlock), "the client waits for a shard that is no more");
}

/// Whatever the shard 0 routes from now on, it panics.
fn arm(engine: &Engine, address: SocketAddr) {
    // A queue of an engine that has no shards.
    let core = Arc::new(QueueCore::new(QueueNumber(u32::MAX), 16, Arc::from([])));
    let policy = Policy::of(&Properties::new());
    let mut routes = Snapshot::new(policy);
    routes.put_group(
        1,
        GroupRow {
            queue: Ok(QueuePlace::new(0)),
            owner: 1,
            policy,
            counts: RequestCounts::none(),
            verbosity: SharedVerbosity::default(),
            refusals: Refusals::new(),
            log: LogTarget::NONE,
        },
    );
    let prefix = Prefix { port: address.port(), host: Host::Strong, path: "/".into() };
    assert!(routes.insert(&prefix, 0, 1));
    let control = &mut *engine.shared.control();
    control.desired.advance();
    let mut desired = control.desired.clone();
    desired.set_queues(vec![Some(core)]);
    desired.routes = Arc::new(routes);
    engine.shared.inboxes[0].put(desired);
    engine.shared.exchanges[0].notifier().notify();
}

fn listen(engine: &Engine) -> SocketAddr {
    engine.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port")
}

#[test]
fn a_shard_that_panics_gives_its_engine_up() {
    for shards in [1, 3] {
        let engine = Engine::builder().shards(shards).start().expect("it starts");
        let queue = engine.request_queue("test").expect("a queue");
        let address = listen(&engine);
        arm(&engine, address);
        // Of several shards, the others answer until the one that panics has its turn.
        wait_until("it panics", || {
            ask(address);
            engine.failure().is_some()
        });
        let failure = engine.wait().expect_err("a shard has panicked");
        assert_eq!((failure.kind(), failure.to_string().as_str()), (ErrorKind::Io, "shard 0 panicked"));
        wait_until("nobody is let in", || TcpStream::connect(address).is_err());
        assert!(queue.receive().expect_err("closed").is_closed());
        assert_eq!(engine.shutdown(WAIT_MAX).expect_err("it has failed").to_string(), failure.to_string());
    }
}

#[test]
fn a_shard_that_panics_in_a_turn_of_its_thread_is_given_up() {
    let engine = Engine::builder().mode(Mode::Colocated).shards(1).start().expect("it starts");
    let queue = engine.request_queue("test").expect("a queue");
    let address = listen(&engine);
    let other = engine.request_queue("other").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let consumer = scope.spawn(|| other.receive().map(drop));
        let driver = scope.spawn(|| {
            let attached = engine.attach(0).expect("the shard is free");
            let first = queue.receive().expect("open");
            arm(&engine, address);
            tell.send(()).expect("the test waits");
            let failed = queue.receive().expect_err("it panics");
            let again = queue.receive().expect_err("it has ended");
            let answered = first.respond(Response::ok()).expect_err("its shard has ended");
            drop(attached);
            (failed, again, answered)
        });
        let early = scope.spawn(|| ask(address));
        told.recv_timeout(WAIT_MAX).expect("a request has come");
        ask(address);
        early.join().expect("its connection ends");
        assert!(consumer.join().expect("no panic").is_err_and(|error| error.is_closed()));
        let (failed, again, answered) = driver.join().expect("the panic is not the driver's");
        assert_eq!((failed.kind(), failed.to_string().as_str()), (ErrorKind::Io, "shard 0 panicked"));
        assert!(again.is_closed() && answered.is_gone());
    });
    wait_until("nobody is let in", || TcpStream::connect(address).is_err());
    assert_eq!(engine.wait().expect_err("it has failed").to_string(), "shard 0 panicked");
    assert_eq!(engine.shutdown(WAIT_MAX).expect_err("it has failed").to_string(), "shard 0 panicked");
}

#[test]
fn what_many_urls_leave_behind_is_freed_by_who_changes_urls_and_not_by_a_shard() {
    let engine = Engine::builder().mode(Mode::Colocated).shards(1).start().expect("it starts");
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let (address, group, other) = (listen(&engine), session.url_group(), session.url_group());
    let _attached = engine.attach(0).expect("the shard is free");
    // The shard has a turn.
    let turn = || assert!(queue.try_receive().expect("open").is_none(), "nobody asks");
    let urls: Vec<String> = (0..1000).map(|n| format!("http://*:{}/{n}/", address.port())).collect();
    group.add_urls(urls.iter().map(String::as_str).zip(0..)).expect("the URLs are free");
    turn();
    let many = Arc::downgrade(&engine.shared.control().desired.routes);
    drop(group);
    assert_eq!(many.strong_count(), 2, "the shard has them, and who removed the URLs keeps them");
    turn();
    assert_eq!(many.strong_count(), 1, "the shard was not the last");
    other.set_active(false).expect("its session is open");
    assert_eq!(many.strong_count(), 0, "the next change frees them");
}

#[test]
fn a_thread_that_gets_no_shard_runs_where_it_ran() {
    let core = core_affinity::get_core_ids().expect("known")[0].id;
    let engine = Engine::builder().mode(Mode::Colocated).shards(1).cores(&[core]).start().expect("it starts");
    let may_run_on = || core_affinity::get_core_ids().expect("known").len();
    let before = may_run_on();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let engine = &engine;
        scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            tell.send(may_run_on()).expect("the test waits");
            let _ = ended.recv_timeout(WAIT_MAX);
        });
        assert_eq!(told.recv_timeout(WAIT_MAX), Ok(1), "who drives the shard is pinned");
        assert!(engine.attach(0).is_err() && engine.attach(7).is_err(), "one is taken, one is not there");
        drop(end);
    });
    assert!(engine.attach(0).is_err(), "it has ended");
    assert_eq!(may_run_on(), before);
}

#[test]
fn an_engine_is_not_over_while_a_shard_begins() {
    let engine = Engine::builder().mode(Mode::Colocated).shards(2).start().expect("it starts");
    let beginning = engine.shared.take_side(1).expect("the shard is free");
    drop(engine.attach(0).expect("the shard is free"));
    assert!(engine.request_queue("test").is_ok(), "a shard is there, though another one has ended");
    drop(beginning);
    engine.shared.running.state().shards -= 1;
}
