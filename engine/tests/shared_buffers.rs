//! One receive buffer in which a body ends and a pipe begins: each reader gets its own bytes, whatever the other does
//! and whoever uploads meanwhile, and what was lent does not change.

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;

use common::peer::Peer;
use common::{Host, StopOnDrop, builder, colocated_with, receive, wait_until};
use ringress::{Engine, EngineBuilder, QueueOptions, Request, RequestQueue, Response, Upgraded};

const UPGRADE: &str = "GET /two HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const VICTIM_BYTES: usize = 100_000;

/// What becomes of the request before the upgrade, and when.
#[derive(Clone, Copy, Debug)]
enum First {
    /// Its body is read before the pipe begins.
    ReadBefore,
    /// ... once the pipe has been read from.
    ReadBehind,
    /// ... when another client has uploaded.
    ReadLast,
    /// It is dropped unread while a piece of the pipe is lent.
    Dropped,
    /// It is answered by id and kept, then read.
    AnsweredAndKept,
}

const FIRSTS: [First; 5] =
    [First::ReadBefore, First::ReadBehind, First::ReadLast, First::Dropped, First::AnsweredAndKept];

fn small() -> EngineBuilder {
    // So few that what is given back is filled again at once.
    builder().receive_buffers(16, 4096).body_buffers(16, 4096)
}

fn read(first: &mut Option<Request>) {
    let body = first.as_mut().expect("it is kept").body().to_bytes(100).expect("all of it has come");
    assert_eq!(body, "hello", "the body is its client's");
}

fn take(pipe: &mut Upgraded, count: usize) {
    let mut bytes = vec![0; count];
    pipe.read_exact(&mut bytes).expect("the client has sent them");
    assert!(bytes.iter().all(|byte| *byte == b'R'), "the pipe's bytes are its client's");
}

fn application(queue: &RequestQueue, first: First) {
    let mut one = Some(receive(queue));
    let two = receive(queue);
    assert_eq!(two.path(), "/two");
    if matches!(first, First::ReadBefore) {
        read(&mut one);
    }
    let mut pipe = two.upgrade(Response::switching("echo")).expect("asked for");
    take(&mut pipe, 9);
    match first {
        First::ReadBehind => read(&mut one),
        First::AnsweredAndKept => {
            let id = one.as_ref().map(Request::id).expect("it is kept");
            queue.respond(id, Response::text("answered")).expect("it is open");
        }
        _ => {}
    }
    let chunk = pipe.next_chunk().expect("the client stays").expect("more comes");
    let before = chunk.to_vec();
    if matches!(first, First::Dropped) {
        drop(one.take());
    }
    let mut post = receive(queue);
    assert_eq!(post.body().to_bytes(1 << 20).expect("it comes whole").len(), VICTIM_BYTES);
    post.respond(Response::text("kept")).expect("the client waits");
    assert!(chunk[..] == before[..] && before.iter().all(|byte| *byte == b'R'), "what is lent does not change");
    drop(chunk);
    if matches!(first, First::ReadLast | First::AnsweredAndKept) {
        read(&mut one);
    }
    if let Some(one) = one.filter(|_| !matches!(first, First::AnsweredAndKept)) {
        one.respond(Response::text("one")).expect("the client waits");
    }
    // Its client learns by the reset that all is over.
    drop(pipe);
}

fn client(engine: &Engine, address: SocketAddr) {
    let delivered = |count| wait_until("the requests are delivered", || engine.counters().requests_delivered >= count);
    let mut peer = Peer::over(std::net::TcpStream::connect(address).expect("the engine listens"));
    peer.stream.set_nodelay(true).expect("a socket");
    peer.stream.write_all(b"GET /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").expect("open");
    delivered(1);
    peer.stream.write_all(format!("hello{UPGRADE}RRRRRRRRR").as_bytes()).expect("open");
    wait_until("the pipe begins", || engine.counters().connections_upgraded >= 1);
    peer.stream.write_all(&[b'R'; 3000]).expect("open");
    let mut victim = Peer::over(std::net::TcpStream::connect(address).expect("the engine listens"));
    let head = format!("POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: {VICTIM_BYTES}\r\n\r\n");
    victim.stream.write_all(head.as_bytes()).expect("open");
    // Then large buffers are for it, and no burst needs all the small ones.
    delivered(3);
    victim.stream.write_all(&[b'Z'; VICTIM_BYTES]).expect("open");
    let head = victim.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut all = Vec::new();
    // It ends by a reset or not.
    let _ = peer.stream.read_to_end(&mut all);
    assert!(!all.contains(&b'Z'), "nobody gets another's bytes");
}

#[test]
fn a_body_and_the_pipe_behind_it_in_one_buffer_keep_apart_in_queue_mode() {
    for first in FIRSTS {
        let host = Host::start_with(small(), QueueOptions::default());
        thread::scope(|scope| {
            let stop = StopOnDrop(&host.engine);
            let consumer = scope.spawn(|| application(&host.queue, first));
            client(&host.engine, host.address);
            consumer.join().expect("the application ends well");
            drop(stop);
        });
    }
}

#[test]
fn a_body_and_the_pipe_behind_it_in_one_buffer_keep_apart_in_colocated_mode() {
    for first in FIRSTS {
        let application = |queue: &RequestQueue| {
            application(queue, first);
            while queue.receive().is_ok() {}
        };
        colocated_with(small(), application, client);
    }
}
