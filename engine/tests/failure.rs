//! A ring that the kernel refuses, at the start or later, by a seccomp filter on the thread of a shard: the engine says
//! so, and no client waits for it.
//!
//! Not here: rings that fail in any other way (`shard::sim`), shards that panic (`session`).

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::program::built;
use common::seccomp::Filter;
use common::{Client, Host, WAIT_MAX, Watched, holds_within, loopback, receive, wait_until, within};
use ringress::{Driver, Engine, EngineBuilder, Error, ErrorKind, Mode, QueueOptions, Response};

/// One shard, over a ring or nothing.
fn builder() -> EngineBuilder {
    common::builder().driver(Driver::IoUring)
}

/// From now on `io_uring_enter` is refused to the current thread, and to what it starts, when it submits at least so
/// many entries. `false` where filters cannot be had.
fn refuse_enter(entries: u32) -> bool {
    refuse(libc::SYS_io_uring_enter, entries)
}

/// As [`refuse_enter`], of any call whose second argument is at least so much.
fn refuse(call: libc::c_long, at_least: u32) -> bool {
    Filter::new(libc::EPERM).deny(call, at_least).install()
}

/// Runs something on a thread that may not enter a ring, if there can be one.
fn refused<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    within(WAIT_MAX, "a refused thread", || refuse_enter(0).then(work))
}

#[track_caller]
fn assert_refusal(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.starts_with("io_uring_enter was refused") && text.contains("Remedy: allow io_uring_enter"), "{text}");
}

fn lets_nobody_in(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, WAIT_MAX).is_err()
}

/// Everything that an engine which has failed is asked for says why it is not given.
#[track_caller]
fn assert_given_up(engine: &Engine) {
    assert_refusal(&engine.failure().expect("it has failed"));
    assert_refusal(&engine.wait().expect_err("it has failed"));
    assert_refusal(&engine.listen(loopback(0)).expect_err("it has failed"));
    assert_refusal(&engine.request_queue("late").expect_err("it has failed"));
    let session = engine.server_session();
    let group = session.url_group();
    assert_refusal(&group.add_url("http://*:1/", 0).expect_err("it has failed"));
    assert_refusal(&engine.shutdown(WAIT_MAX).expect_err("it has failed"));
    assert_refusal(&engine.shutdown(WAIT_MAX).expect_err("it still has"));
}

#[test]
fn a_shard_that_could_not_be_made_is_free_for_another_thread() {
    let engine = Watched::start(builder().shards(2), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    thread::scope(|scope| {
        // Neither can a file be opened where the process has as many as it may.
        let attach = || refuse(libc::SYS_openat, 0).then(|| engine.attach(0).map(drop).expect_err("it needs a file"));
        let Some(error) = scope.spawn(attach).join().expect("ends") else { return };
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        let address = engine.listen(loopback(0)).expect("a free port");
        group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
        let (attached, is_attached) = mpsc::channel();
        let (engine, queue) = (&engine, &queue);
        for index in [0, 1] {
            let attached = attached.clone();
            scope.spawn(move || {
                let shard = engine.attach(index);
                attached.send(shard.as_ref().map(drop).map_err(Error::clone)).expect("the test waits");
                while let Ok(request) = queue.receive() {
                    request.respond(Response::text("served")).expect("open");
                }
            });
        }
        let outcomes = [0, 1].map(|_| is_attached.recv_timeout(WAIT_MAX).expect("it ends"));
        // Clients are dealt to all who listen, by their ports.
        let serves = || (0..20).for_each(|_| assert_eq!(Client::connect(address).ask("/").text(), "served"));
        let served = outcomes.iter().all(Result::is_ok).then(serves);
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        assert!(served.is_some(), "{outcomes:?}");
    });
}

#[test]
fn a_ring_that_may_not_be_entered_is_found_at_the_start() {
    if let Some(error) = refused(|| builder().start().expect_err("no ring can be entered")) {
        assert_refusal(&error);
    }
    let engine = Watched::start(builder(), Mode::Colocated);
    let attached = thread::scope(|scope| {
        let attach = || refuse_enter(0).then(|| engine.attach(0).map(drop).expect_err("no ring can be entered"));
        scope.spawn(attach).join().expect("ends")
    });
    if let Some(error) = attached {
        assert_refusal(&error);
        drop(engine.attach(0).expect("another thread may, since nothing was lost"));
    }
}

#[test]
fn each_call_that_is_refused_is_named_with_its_remedy() {
    let calls = [
        (libc::SYS_io_uring_setup, "io_uring_setup was refused although the sysctl allows it", "io_uring_setup"),
        (libc::SYS_io_uring_register, "io_uring_register was refused although io_uring_setup", "io_uring_register"),
    ];
    for (call, begins, remedy) in calls {
        let start = move || refuse(call, 0).then(|| builder().start().expect_err("no ring can be had"));
        let Some(error) = within(WAIT_MAX, "the start", start) else { return };
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}");
        assert!(text.starts_with(begins) && text.contains(&format!("Remedy: allow {remedy}")), "{text}");
    }
}

/// A client of a shard, and what it was answered with.
fn client_of(host: &Host, shard: usize) -> Client {
    loop {
        let mut client = host.connect();
        client.get("/");
        let request = host.receive();
        let found = request.shard() == shard;
        request.respond(Response::text("found")).expect("open");
        client.read();
        if found {
            return client;
        }
    }
}

#[test]
fn a_shard_that_fails_gives_its_engine_up_and_no_client_waits() {
    let host = Host::start_with(builder().shards(2), QueueOptions::default());
    let untaken = host.engine.request_queue("untaken").expect("a queue");
    let group = host.session.url_group();
    group.bind(&untaken).expect("of this engine");
    group.add_url(&format!("http://*:{}/untaken/", host.address.port()), 0).expect("free");
    let [mut idle, mut trigger, mut dead] = [0, 0, 0].map(|shard| client_of(&host, shard));
    let [mut held, mut waiting, mut rested] = [1, 1, 1].map(|shard| client_of(&host, shard));
    held.get("/held");
    let request = host.receive();
    dead.get("/dead");
    let lost = host.receive();
    waiting.get("/untaken/");
    wait_until("it waits in its queue", || untaken.len() == 1);
    trigger.get("/trigger");
    let (tell, told) = mpsc::channel();
    // On the shard's own thread: see `on_disconnect_call`.
    let fall = move |_| {
        let name = thread::current().name().map(str::to_owned);
        assert_eq!(name.as_deref(), Some("ringress-0"), "on the thread of the shard");
        tell.send(refuse_enter(0)).expect("the test runs");
    };
    let request_of_trigger = host.receive();
    request_of_trigger.on_disconnect_call(fall);
    request_of_trigger.respond(Response::text("ready")).expect("open");
    trigger.read();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| host.engine.wait());
        trigger.reset();
        if !told.recv_timeout(WAIT_MAX).expect("it is told") {
            return host.engine.shutdown(Duration::ZERO).map(|_| ()).expect("no shard failed");
        }
        assert_refusal(&waiter.join().expect("ends").expect_err("the engine has failed"));
        wait_until("nobody is let in", || lets_nobody_in(host.address));
        assert_eq!(waiting.read().status, 500, "nobody will take it");
        assert!(host.queue.receive().expect_err("closed").is_closed());
        for client in [&mut idle, &mut dead, &mut rested] {
            client.read_end();
        }
        assert!(lost.respond(Response::text("late")).expect_err("its shard is gone").is_gone());
        request.respond(Response::text("still answered")).expect("its shard runs");
        assert_eq!(held.read().text(), "still answered");
        held.read_end();
        // Who stays is given some seconds to read its last response.
        drop((held, waiting));
        assert_given_up(&host.engine);
    });
    host.drop_unwatched();
}

#[test]
fn colocated_a_shard_that_fails_gives_its_engine_up_though_its_thread_stays() {
    let engine = Watched::start(builder().shards(2), Mode::Colocated).unwatched();
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    thread::scope(|scope| {
        let (engine, queue) = (&engine, &queue);
        let (ready, is_ready) = mpsc::channel();
        let (stay, until) = mpsc::channel::<()>();
        let (fall, falls) = mpsc::channel::<()>();
        let (refusing, is_refusing) = mpsc::channel();
        let of_other = ready.clone();
        let other = scope.spawn(move || {
            let _attached = engine.attach(1).expect("the shard is free");
            assert_eq!(engine.wait().expect_err("it would wait for itself").kind(), ErrorKind::Invalid);
            of_other.send(()).expect("the test runs");
            queue.receive_timeout(WAIT_MAX).expect_err("the engine fails")
        });
        let failing = scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            ready.send(()).expect("the test runs");
            // When both have their shards.
            let _ = falls.recv();
            let refuses = refuse_enter(0);
            refusing.send(refuses).expect("the test runs");
            let failed = refuses.then(|| queue.receive().expect_err("the ring is refused"));
            let then = refuses.then(|| queue.receive().expect_err("and stays so"));
            // It lets go of its shard long after.
            let _ = until.recv();
            failed.zip(then)
        });
        (0..2).for_each(|_| is_ready.recv_timeout(WAIT_MAX).expect("attached"));
        drop(fall);
        if !is_refusing.recv_timeout(WAIT_MAX).expect("it is told") {
            drop(stay);
            return engine.shutdown(Duration::ZERO).map(|_| ()).expect("no shard failed");
        }
        assert_refusal(&engine.wait().expect_err("the engine has failed"));
        assert!(other.join().expect("ends").is_closed());
        wait_until("nobody is let in", || lets_nobody_in(address));
        drop(stay);
        let (failed, then) = failing.join().expect("ends").expect("it was refused");
        assert_refusal(&failed);
        assert!(then.is_closed());
        assert_given_up(engine);
    });
}

#[test]
fn waiting_ends_well_with_the_engine() {
    let host = Host::start();
    let engine = &host.engine;
    assert!(engine.failure().is_none());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| engine.wait());
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        waiter.join().expect("ends").expect("it was shut down");
    });
    engine.wait().expect("it still is");
    assert!(engine.failure().is_none());
    let colocated = Watched::start(builder(), Mode::Colocated);
    drop(colocated.attach(0).expect("the shard is free"));
    colocated.wait().expect("its only shard has ended");
}

#[test]
fn a_port_does_not_outlive_its_engine_for_shards_that_nobody_ran() {
    let engine = Watched::start(builder(), Mode::Colocated);
    let session = engine.server_session();
    let address = engine.listen(loopback(0)).expect("a free port");
    let mut early = Client::connect(address);
    engine.shutdown(Duration::ZERO).expect("no shard failed");
    early.read_end();
    assert!(lets_nobody_in(address), "while a session is kept: {session:?}");
    assert!(engine.attach(0).map(drop).expect_err("it is over").is_closed());
}

#[test]
fn messages_to_a_shard_that_has_ended_leave_no_port_open() {
    let engine = Watched::start(builder(), Mode::Colocated);
    drop(engine.attach(0).expect("the shard is free"));
    if let Ok(address) = engine.listen(loopback(0)) {
        assert!(lets_nobody_in(address));
    }
}

/// Runs the showcase under a filter, to its end.
fn showcase(entries: u32, mode: &'static str, meet: impl FnOnce(u32, SocketAddr) + Send + 'static) -> Option<Output> {
    let path = built("showcase");
    let free = std::net::TcpListener::bind(loopback(0)).expect("a free port").local_addr().expect("bound");
    within(2 * WAIT_MAX, "the showcase", move || {
        if !refuse_enter(entries) {
            return None;
        }
        let mut command = Command::new(path);
        command.args(["--listen", &free.to_string(), "--shards", "1", "--mode", mode, "--driver", "io_uring"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        meet(child.id(), free);
        Some(child.wait_with_output().expect("it ends"))
    })
}

/// One line that says why, and the status of what cannot run.
#[track_caller]
fn assert_ended(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.status.signal()), (Some(2), None), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("showcase: io_uring_enter was refused"), "{said}");
}

#[test]
fn the_showcase_says_at_once_that_it_cannot_run() {
    for mode in ["queue", "colocated"] {
        let Some(output) = showcase(0, mode, |_, _| {}) else { return };
        assert_ended(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "it never says that it listens");
    }
}

fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a pid");
    // SAFETY: the call takes two numbers; the child has not been waited for, so that the pid is still its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Entries that a shard with little to do does not submit together, and one with many clients at once does.
const MANY: u32 = 16;

#[test]
fn the_showcase_ends_at_once_when_its_ring_fails_later() {
    for mode in ["queue", "colocated"] {
        let meet = |pid, address| {
            let listens = || TcpStream::connect(address).is_ok();
            assert!(holds_within(WAIT_MAX, listens), "it starts");
            // It listens before its URLs are registered.
            wait_until("it answers", || Client::connect(address).ask("/pipeline").status == 200);
            let mut served = Client::connect(address);
            assert_eq!(served.ask("/pipeline").status, 200, "a few entries are allowed");
            // While it is stopped, clients gather: then it takes them in one turn, with a receive for each.
            signal(pid, libc::SIGSTOP);
            // It stops a little after the signal, and may have had enough of them by then.
            let mut clients: Vec<TcpStream> = (0..100).map_while(|_| TcpStream::connect(address).ok()).collect();
            for client in &mut clients {
                client.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
                let _ = client.write_all(b"GET /pipeline HTTP/1.1\r\nHost: test\r\n\r\n");
            }
            signal(pid, libc::SIGCONT);
            served.read_end();
            for client in &mut clients {
                let ended = client.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
                assert_ne!(ended, Err(std::io::ErrorKind::WouldBlock), "nobody waits, served or not");
            }
            wait_until("nobody is let in", || lets_nobody_in(address));
        };
        let Some(output) = showcase(MANY, mode, meet) else { return };
        assert_ended(&output);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("driver: io_uring\nlistening on "), "{output:?}");
    }
}

#[test]
fn requests_that_wait_for_a_failed_shard_are_told() {
    let host = Host::start_with(builder(), QueueOptions::default());
    let mut client = client_of(&host, 0);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nbegun");
    let mut reading = receive(&host.queue);
    let mut other = client_of(&host, 0);
    other.get("/");
    let request = host.receive();
    let disconnect = request.on_disconnect();
    let mut trigger = client_of(&host, 0);
    trigger.get("/");
    let last = host.receive();
    let (tell, told) = mpsc::channel();
    last.on_disconnect_call(move |_| tell.send(refuse_enter(0)).expect("the test runs"));
    trigger.reset();
    if !told.recv_timeout(WAIT_MAX).expect("it is told") {
        drop((reading, request, last));
        return;
    }
    within(WAIT_MAX, "the end of a body", move || {
        let mut body = Vec::new();
        assert!(reading.body().read_to_end(&mut body).is_err(), "{} bytes", body.len());
    });
    within(WAIT_MAX, "the end of a connection", move || disconnect.wait());
    drop((request, last));
    host.drop_unwatched();
}
