//! Long files over real sockets: slow clients beside fast ones, order among memory, files that change, every end.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use common::peer::{Peer, file_of, in_both_modes, in_both_modes_with, pattern};
use common::{Client, Host, settled, within};
use ringress::{FileRange, Request, Response};

/// More than the sockets of both ends hold.
const MUCH: usize = 64 << 20;

/// A part of a file that is read into a buffer, and how many of them are more than sockets hold.
const SHORT: usize = 32 << 10;
const SHORT_PARTS: usize = 512;

/// What a file of [`MUCH`] holds.
fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| pattern(0, MUCH))
}

/// Such a file, which no name leads to.
fn file_of_much() -> Arc<File> {
    let file = file_of(0);
    (&file).write_all(whole()).expect("room");
    Arc::new(file)
}

/// Answers with the whole of a file.
fn answer(file: &Arc<File>) -> impl Fn(Request) + Clone + Send + 'static {
    let file = Arc::clone(file);
    move |request| {
        let body = FileRange::new(Arc::clone(&file), 0..MUCH as u64);
        // Some clients here are gone before.
        let _ = request.respond(Response::ok().body(body));
    }
}

/// Reads the rest of the file, from a place on. `true`: every byte was right.
fn takes_rest(peer: &mut Peer, mut at: usize) -> bool {
    let mut right = peer.input == whole()[at..][..peer.input.len()];
    at += peer.input.len();
    peer.input.clear();
    let mut buffer = vec![0; 256 * 1024];
    while at < MUCH {
        let len = peer.stream.read(&mut buffer).expect("readable");
        assert!(len > 0, "the answer ends after {at} bytes");
        right &= buffer[..len] == whole()[at..][..len];
        at += len;
    }
    right
}

/// Reads a body of [`MUCH`] pattern bytes, the first part of it in small steps with others in between.
fn read_slowly(address: SocketAddr) -> bool {
    let mut peer = Peer::get(address);
    peer.head();
    let mut right = true;
    for step in 0..200 {
        right &= peer.take(10_000) == whole()[step * 10_000..][..10_000];
        thread::yield_now();
    }
    right && takes_rest(&mut peer, 2_000_000)
}

#[test]
fn many_readers_slow_and_fast_each_get_every_byte() {
    let file = file_of_much();
    in_both_modes(answer(&file), |engine, address| {
        // These ask and do not read: they hold up nobody.
        let silent: Vec<Peer> = (0..20).map(|_| Peer::get(address)).collect();
        common::wait_until("they are under way", || engine.counters().sends_short >= 20);
        let slow: Vec<_> = (0..2).map(|_| thread::spawn(move || read_slowly(address))).collect();
        let fast: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let mut peer = Peer::get(address);
                    peer.head();
                    takes_rest(&mut peer, 0)
                })
            })
            .collect();
        for reader in fast.into_iter().chain(slow) {
            assert!(reader.join().expect("it reads all"), "every byte in its place");
        }
        drop(silent);
    });
}

#[test]
fn ranges_of_all_sizes_keep_their_order_among_memory() {
    let file = Arc::new(file_of(3_000_000));
    let handle = move |request: Request| {
        let part = |range| FileRange::new(Arc::clone(&file), range);
        let response = Response::ok()
            .body("first ")
            .chunk(part(10..1_000_010))
            .chunk(part(5..15))
            .chunk(pattern(0, 100_000))
            .chunk(part(0..40_000))
            .chunk(part(7..32_775))
            .chunk(part(0..3_000_000))
            .chunk(" last");
        request.respond(response).expect("open");
    };
    in_both_modes(handle, |_, address| {
        let expected = [
            b"first ".to_vec(),
            pattern(10, 1_000_000),
            pattern(5, 10),
            pattern(0, 100_000),
            pattern(0, 40_000),
            pattern(7, 32_768),
            pattern(0, 3_000_000),
            b" last".to_vec(),
        ]
        .concat();
        let mut peer = Peer::get(address);
        for _ in 0..3 {
            peer.head();
            assert!(peer.take(expected.len()) == expected, "every byte in its place");
            peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n").expect("the connection goes on");
        }
        peer.head();
    });
}

/// Answers with short parts of a file, each read into a buffer of its own: `/x` with more than sockets hold, others
/// with one.
fn answer_in_short_parts(file: &Arc<File>) -> impl Fn(Request) + Clone + Send + 'static {
    let file = Arc::clone(file);
    move |request| {
        let parts = if request.path() == "/x" { SHORT_PARTS } else { 1 };
        let part = |number: usize| {
            let from = (number * SHORT) as u64;
            FileRange::new(Arc::clone(&file), from..from + SHORT as u64)
        };
        let response = (0..parts).fold(Response::ok(), |response, number| response.chunk(part(number)));
        // Some clients here are gone before.
        let _ = request.respond(response);
    }
}

#[test]
fn clients_that_do_not_read_keep_no_file_buffer_from_others() {
    let file = Arc::new(file_of(SHORT * SHORT_PARTS));
    let few = || common::builder().file_buffers(2);
    in_both_modes_with(few, answer_in_short_parts(&file), |engine, address| {
        let slow: Vec<Peer> = (0..12).map(|_| Peer::get(address)).collect();
        common::wait_until("they take no more", || engine.counters().sends_short >= 12);
        let mut other = Client::connect(address);
        for _ in 0..100 {
            assert!(other.ask("/other").body == pattern(0, SHORT), "others are served");
        }
        for mut peer in slow.into_iter().take(2) {
            peer.head();
            assert!(peer.take(SHORT * SHORT_PARTS) == pattern(0, SHORT * SHORT_PARTS), "every byte in its place");
        }
    });
}

#[test]
fn what_can_be_read_only_once_is_not_read_again() {
    let host = Host::start();
    let (reader, mut writer) = std::io::pipe().expect("two descriptors");
    let bytes = pattern(0, SHORT * SHORT_PARTS);
    let expected = bytes.clone();
    let writing = thread::spawn(move || writer.write_all(&bytes));
    let pipe = Arc::new(File::from(OwnedFd::from(reader)));
    let mut peer = Peer::get(host.address);
    let body = FileRange::new(pipe, 0..(SHORT * SHORT_PARTS) as u64);
    host.receive().respond(Response::ok().body(body)).expect("open");
    common::wait_until("the socket is full", || host.counters().sends_short > 0);
    peer.head();
    assert!(peer.take(expected.len()) == expected, "every byte in its place");
    writing.join().expect("it ends").expect("all is read");
}

#[test]
fn a_file_that_shrinks_under_way_cuts_the_answer() {
    let host = Host::start();
    let file = file_of_much();
    let mut peer = Peer::get(host.address);
    let body = FileRange::new(Arc::clone(&file), 0..MUCH as u64);
    let completion = host.receive().respond_with_completion(Response::ok().body(body)).expect("open");
    common::wait_until("the socket is full", || host.counters().sends_short > 0);
    file.set_len(1_000_000).expect("it shrinks");
    assert_eq!(peer.rest(), None, "a reset");
    let sent = completion.wait().expect("driven");
    assert!(!sent.complete && sent.bytes < MUCH as u64, "{sent:?}");
    host.await_rest();
    assert_eq!(host.settled().responses_truncated, 1);
}

#[test]
fn clients_leave_in_every_state() {
    let file = file_of_much();
    in_both_modes(answer(&file), |engine, address| {
        for taken in [0, 1, 100_000, 5_000_000] {
            let peers: Vec<Peer> = (0..4).map(|_| Peer::get(address)).collect();
            for (number, mut peer) in peers.into_iter().enumerate() {
                if taken > 0 {
                    peer.head();
                    peer.take(taken);
                }
                if number % 2 == 0 {
                    Client::over(peer.stream).reset();
                }
            }
            common::await_rest(engine);
        }
        assert_eq!(settled(engine).responses_truncated, 0, "it is the clients that left");
    });
}

#[test]
fn a_client_that_has_ended_its_side_gets_the_whole_file() {
    let file = file_of_much();
    in_both_modes(answer(&file), |engine, address| {
        let mut peer = Peer::get(address);
        peer.stream.shutdown(Shutdown::Write).expect("a connection");
        common::wait_until("the socket is full", || engine.counters().sends_short > 0);
        peer.head();
        assert!(takes_rest(&mut peer, 0), "every byte in its place");
        assert_eq!(peer.rest(), Some(Vec::new()));
    });
}

#[test]
fn a_pipe_is_read_and_given_up_when_its_client_leaves() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    let (pipe, _writer) = std::io::pipe().expect("two descriptors");
    let pipe = File::from(OwnedFd::from(pipe));
    let body = FileRange::new(pipe, 0..1_000_000);
    host.receive().respond(Response::ok().body(body)).expect("open");
    // Nobody writes to the pipe: what waits for it is cancelled.
    peer.head();
    Client::over(peer.stream).reset();
    host.await_rest();
}

#[test]
fn a_shutdown_ends_files_that_are_under_way() {
    for grace in [0, 50] {
        let host = Host::start();
        let file = file_of_much();
        let peers: Vec<Peer> = (0..20).map(|_| Peer::get(host.address)).collect();
        for _ in &peers {
            let body = FileRange::new(Arc::clone(&file), 0..MUCH as u64);
            host.receive().respond(Response::ok().body(body)).expect("open");
        }
        let host = within(Duration::from_secs(20), "the shutdown", move || {
            host.engine.shutdown(Duration::from_millis(grace)).expect("no shard failed");
            host
        });
        assert_eq!(host.counters().connections_open, 0);
    }
}
