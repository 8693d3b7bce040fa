//! Bodies and responses of any size pass through a bounded amount of memory.
//!
//! The sizes of the issue, 1 GiB each way, in release builds; a quarter of that in debug builds:
//!
//! ```console
//! $ cargo test --release -p ringress-tests --test large -- --nocapture
//! ```
//!
//! shows by how much memory grew.

use std::thread;

use ringress_tests::{Client, Pattern, Server, both_modes};

both_modes![
    a_large_upload_takes_little_memory,
    a_large_chunked_upload_takes_little_memory,
    a_large_download_takes_little_memory,
    a_large_stream_takes_little_memory,
    an_echo_is_read_while_it_is_written,
    a_chunked_echo_is_read_while_it_is_written,
    an_echo_waits_for_who_does_not_read_it,
    ten_gib_are_announced_and_can_be_left,
    more_than_can_be_given_is_refused,
    the_next_request_is_served_after_a_large_one,
];

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Debug builds take four times as long.
const LARGE: u64 = if cfg!(debug_assertions) { GIB / 4 } else { GIB };

/// By how much memory may grow while a body passes through.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// Fails when the server's memory grows too much while `pass` is under way.
#[track_caller]
fn assert_little_growth(server: &Server, pass: impl FnOnce()) {
    server.assert_healthy();
    let before = server.resident_kib_from_now();
    pass();
    let growth = server.resident_kib_max().saturating_sub(before);
    let test = thread::current();
    println!("{}: resident memory grew by {growth} KiB, from {before}", test.name().unwrap_or("large"));
    assert!(growth < GROWTH_KIB_MAX, "resident memory grew by {growth} KiB, from {before}");
}

fn a_large_upload_takes_little_memory(server: &Server) {
    let mut client = server.connect();
    assert_little_growth(server, || {
        client.send(server.request("POST /upload HTTP/1.1", &[&format!("Content-Length: {LARGE}")], ""));
        Pattern::counting().write(&mut client.writer(), LARGE).expect("the server reads it all");
        assert_eq!(client.response().text(), LARGE.to_string());
    });
}

fn a_large_chunked_upload_takes_little_memory(server: &Server) {
    let mut client = server.connect();
    assert_little_growth(server, || {
        client.send(server.request("POST /upload HTTP/1.1", &["Transfer-Encoding: chunked"], ""));
        Pattern::counting().write_chunked(&mut client.writer(), LARGE, 50_000).expect("the server reads it all");
        assert_eq!(client.response().text(), LARGE.to_string());
    });
}

fn a_large_download_takes_little_memory(server: &Server) {
    let mut client = server.connect();
    assert_little_growth(server, || {
        client.send(server.get(&format!("/bytes/{LARGE}")));
        let (answer, length) = client.expect_content(&Pattern::of(b'x'));
        assert_eq!((answer.status, length), (200, LARGE));
        assert_eq!(answer.field("Content-Length"), Some(LARGE.to_string().as_str()));
    });
}

fn a_large_stream_takes_little_memory(server: &Server) {
    let mut client = server.connect();
    let chunks = LARGE / 65_536;
    assert_little_growth(server, || {
        client.send(server.get(&format!("/stream/{chunks}?chunk=65536")));
        let mut length = 0;
        let (answer, total) = client.response_in_pieces(|_, piece| length += piece.len() as u64);
        assert_eq!((answer.status, length, total), (200, LARGE, LARGE));
        assert!(answer.lists("Transfer-Encoding", "chunked"), "{answer:?}");
    });
}

/// Writes a body on a thread of its own and reads the response meanwhile.
fn echo(server: &Server, client: &mut Client, length: u64, chunk: Option<usize>) {
    let pattern = Pattern::counting();
    let framing = match chunk {
        Some(_) => "Transfer-Encoding: chunked".to_owned(),
        None => format!("Content-Length: {length}"),
    };
    client.send(server.request("POST /echo HTTP/1.1", &[&framing], ""));
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(|| {
            let written = match chunk {
                Some(chunk) => pattern.write_chunked(&mut writer, length, chunk),
                None => pattern.write(&mut writer, length),
            };
            written.expect("the server reads it all");
        });
        let (answer, came) = client.expect_content(&pattern);
        assert_eq!((answer.status, came), (200, length), "{answer:?}");
    });
}

fn an_echo_is_read_while_it_is_written(server: &Server) {
    let mut client = server.connect();
    assert_little_growth(server, || echo(server, &mut client, 64 * MIB, None));
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

fn a_chunked_echo_is_read_while_it_is_written(server: &Server) {
    let mut client = server.connect();
    assert_little_growth(server, || echo(server, &mut client, 64 * MIB, Some(10_007)));
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

/// Nobody reads the echo, so the server must stop reading the body, and everything goes on once it is read.
fn an_echo_waits_for_who_does_not_read_it(server: &Server) {
    let mut client = Client::connect_narrow(server.address(), 16 * 1024);
    let length = 64 * MIB;
    assert_little_growth(server, || {
        client.send(server.request("POST /echo HTTP/1.1", &[&format!("Content-Length: {length}")], ""));
        let mut writer = client.writer();
        let pattern = Pattern::counting();
        let write = || pattern.write(&mut writer, length);
        thread::scope(|scope| {
            let written = scope.spawn(write);
            // Until what the kernel holds for both sides is full: nothing may have passed the server's bounds.
            let full = server.wait_for_gauges("a send that waits", |gauges| gauges.of("sends_short") > 0);
            assert!(full.of("requests_open") > 0, "the echo is under way: {full:#?}");
            assert!(!written.is_finished(), "{length} bytes were taken although nobody reads the echo");
            let (answer, came) = client.expect_content(&pattern);
            assert_eq!((answer.status, came), (200, length), "{answer:?}");
            written.join().expect("the writer lives").expect("the server reads it all in the end");
        });
    });
}

fn ten_gib_are_announced_and_can_be_left(server: &Server) {
    let target = format!("/bytes/{}", 10 * GIB);
    let length = (10 * GIB).to_string();
    let mut client = server.connect();
    client.send([server.request(&format!("HEAD {target} HTTP/1.1"), &[], ""), server.get("/pipeline")].concat());
    let answer = client.response_to_head();
    assert_eq!((answer.status, answer.field("Content-Length")), (200, Some(length.as_str())));
    assert_eq!(client.response().text(), "ok");
    for reset in [false, true] {
        let mut client = server.connect();
        client.send(server.get(&target));
        assert_eq!(client.head().field("Content-Length"), Some(length.as_str()));
        let (pattern, mut came) = (Pattern::of(b'x'), 0);
        while came < 3 * MIB {
            let piece = client.some(usize::MAX);
            assert!(!piece.is_empty(), "ended after {came} bytes");
            pattern.check(came, &piece);
            came += piece.len() as u64;
        }
        if reset {
            client.reset();
        }
    }
    server.assert_healthy();
}

fn more_than_can_be_given_is_refused(server: &Server) {
    for count in [10 * GIB + 1, u64::MAX] {
        let answer = server.answer(&format!("/bytes/{count}"));
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().contains(&(10 * GIB).to_string()) || answer.text().contains("10 GiB"), "{answer:?}");
    }
}

fn the_next_request_is_served_after_a_large_one(server: &Server) {
    let mut client = server.connect();
    client.send([server.get("/bytes/9000000"), server.get("/pipeline"), server.get("/bytes/0")].concat());
    assert_eq!(client.expect_content(&Pattern::of(b'x')).1, 9_000_000);
    assert_eq!(client.response().text(), "ok");
    assert_eq!(client.response().body.len(), 0);
}
