//! What long files, and connections that end in every state, leave behind in the process: no descriptor, no thread.
//!
//! The tests take turns, since each looks at the whole process; elsewhere tests that run beside each other open and
//! close what they like, so descriptors are counted here alone.

mod common;

use std::any::Any;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::peer::{Peer, consumed_in_both_modes, file_of};
use common::{Client, Host, WAIT_MAX, holds_within, wait_until};
use ringress::{Engine, FileRange, Request, RequestQueue, Response, Upgraded};

const LEN: usize = 16 << 20;

/// The turn of a test.
fn turn() -> MutexGuard<'static, ()> {
    static PROCESS: Mutex<()> = Mutex::new(());
    let turn = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    // The bell of a shard is kept for the next one: it is to be there before descriptors are counted.
    drop(Host::start());
    turn
}

/// Threads of this process that send files.
fn helpers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("it is there").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("ringress-file")).count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("it is there").count()
}

/// Waits until no more descriptors are open than before, and no fewer.
#[track_caller]
fn await_descriptors(before: usize) {
    if !holds_within(WAIT_MAX, || descriptors() == before) {
        let open = fs::read_dir("/proc/self/fd").expect("it is there").flatten();
        let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        panic!("{} descriptors are open, {before} were before: {open:?}", open.len());
    }
}

/// Whether the file with this number is still held by anybody.
fn is_open(number: i32, name: &std::path::Path) -> bool {
    fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|link| link == name)
}

#[test]
fn no_thread_descriptor_or_deleted_file_is_left() {
    let _turn = turn();
    let before = descriptors();
    for _ in 0..2 {
        let host = Host::start();
        assert_eq!(helpers(), 0, "none before the first file");
        for (len, reads) in [(LEN, true), (LEN, false), (1000, true)] {
            let file = Arc::new(file_of(len));
            let number = file.as_raw_fd();
            let name = fs::read_link(format!("/proc/self/fd/{number}")).expect("it is open");
            let mut peers: Vec<Peer> = (0..8).map(|_| Peer::get(host.address)).collect();
            for _ in &peers {
                let body = FileRange::new(Arc::clone(&file), 0..len as u64);
                host.receive().respond(Response::ok().body(body)).expect("open");
            }
            drop(file);
            for mut peer in peers.drain(..) {
                if reads {
                    peer.head();
                    peer.take(len);
                } else {
                    Client::over(peer.stream).reset();
                }
            }
            host.await_rest();
            wait_until("the file is closed", || !is_open(number, &name));
            assert_eq!(helpers(), 1, "one a shard");
        }
        drop(host);
        wait_until("the helper has ended", || helpers() == 0);
    }
    await_descriptors(before);
}

/// An application that does what paths say, and keeps what it is asked to until it is told to let go.
fn consume(queue: &RequestQueue, file: &Arc<File>) {
    let mut kept: Vec<Box<dyn Any>> = Vec::new();
    let mut sending = None;
    let upgrade = |request: Request| -> Upgraded { request.upgrade(Response::switching("echo/1")).expect("asked for") };
    while let Ok(request) = queue.receive() {
        match request.path() {
            "/file" => {
                sending = Some(request.id());
                let body = FileRange::new(Arc::clone(file), 0..LEN as u64);
                request.respond(Response::ok().body(body)).expect("open");
            }
            "/cancel" => {
                queue.cancel(sending.take().expect("one was asked for")).expect("it is being sent");
                request.respond(Response::ok()).expect("open");
            }
            "/taken" => drop(upgrade(request).into_fd().expect("the client stays")),
            "/pipe" => kept.push(Box::new(upgrade(request))),
            "/stream" => {
                let mut stream = request.start(Response::ok()).expect("open");
                stream.send(FileRange::new(Arc::clone(file), 0..1000)).expect("open");
                kept.push(Box::new(stream));
            }
            "/kept" => kept.push(Box::new(request)),
            _ => {
                kept.clear();
                request.respond(Response::ok()).expect("open");
            }
        }
    }
}

fn asking(address: SocketAddr, path: &str) -> Peer {
    let mut client = Client::connect(address);
    // A file is not to fit in between.
    client.set_receive_buffer(128 * 1024);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"));
    Peer::over(client.stream)
}

/// A client that is in the middle of what it asked for.
fn in_the_middle(address: SocketAddr, path: &str) -> Peer {
    let mut peer = asking(address, path);
    peer.head();
    match path {
        "/file" => drop(peer.take(100_000)),
        // The application has given it all when the first of it is here: it has not to reckon with a client that left.
        "/stream" => drop(peer.take(1000)),
        _ => {}
    }
    peer
}

/// Connections that are opened and come to their ends.
fn end_in_every_way(engine: &Engine, address: SocketAddr) {
    let mut taken = in_the_middle(address, "/taken");
    assert_eq!(taken.rest().expect("in order"), b"");

    let mut cancelled = in_the_middle(address, "/file");
    assert_eq!(Client::connect(address).ask("/cancel").status, 200);
    assert_eq!(cancelled.rest(), None, "a reset");

    for path in ["/file", "/pipe", "/stream"] {
        Client::over(in_the_middle(address, path).stream).reset();
    }
    let (delivered, orphaned) = (engine.counters().requests_delivered, engine.counters().requests_disconnected);
    let left = asking(address, "/kept");
    wait_until("it is kept", || engine.counters().requests_delivered > delivered);
    Client::over(left.stream).reset();
    wait_until("its client has left", || engine.counters().requests_disconnected > orphaned);
    assert_eq!(Client::connect(address).ask("/let-go").status, 200);
}

#[test]
fn no_descriptor_is_left_of_connections_that_end_in_every_way() {
    let _turn = turn();
    let file = Arc::new(file_of(LEN));
    let before = descriptors();
    consumed_in_both_modes(
        |queue| consume(queue, &file),
        |engine, address| {
            // What an engine with one client needs, when its helper runs.
            let mut present = in_the_middle(address, "/file");
            present.take(LEN - 100_000);
            let needed = descriptors();
            for _ in 0..3 {
                end_in_every_way(engine, address);
                await_descriptors(needed);
            }
        },
    );
    await_descriptors(before);
}

#[test]
fn no_descriptor_is_left_of_an_engine_that_is_stopped_with_connections_open() {
    let _turn = turn();
    let file = Arc::new(file_of(LEN));
    let before = descriptors();
    for grace in [Duration::ZERO, Duration::from_millis(100)] {
        consumed_in_both_modes(
            |queue| consume(queue, &file),
            |engine, address| {
                let mut open: Vec<Peer> = ["/file", "/pipe", "/stream"].map(|path| in_the_middle(address, path)).into();
                let mut half = Client::connect(address);
                half.send("GET / HTTP/1.1\r\nHo");
                let mut idle = Client::connect(address);
                assert_eq!(idle.ask("/let-go").status, 200);
                open.extend([half, idle].map(|client| Peer::over(client.stream)));
                let delivered = engine.counters().requests_delivered;
                open.push(asking(address, "/kept"));
                wait_until("it is kept", || engine.counters().requests_delivered > delivered);
                engine.shutdown(grace).expect("no shard failed");
                open.iter_mut().for_each(|peer| drop(peer.rest()));
            },
        );
        await_descriptors(before);
    }
}
