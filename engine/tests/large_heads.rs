//! Heads of responses larger than their area, and with a Server field of the application's own: sent like any other.

mod common;

use std::fs::File;
use std::io::{Read, Write};

use bytes::Bytes;
use common::peer::Peer;
use common::{Client, Host, Reply, builder};
use ringress::{EngineBuilder, ErrorKind, FileRange, QueueOptions, Response};

/// The least that a response area can be.
const AREA_BYTES: u32 = 512;
/// The most that a head can be.
const HEAD_BYTES_MAX: usize = 262_144;
/// Sizes of fields around the area's, and far beyond.
const SIZES: [usize; 8] = [300, 350, 400, 430, 600, 5_000, 70_000, 260_000];

fn host(builder: EngineBuilder) -> Host {
    Host::start_with(builder, QueueOptions::default())
}

fn small_area() -> Host {
    host(builder().response_area_bytes(AREA_BYTES))
}

fn with(bytes: usize) -> Response<'static> {
    Response::new(207).header("X-First", "1").header("X-Large", "v".repeat(bytes)).header("X-Last", "2")
}

/// Asserts that a head is whole, and once.
fn assert_head(reply: &Reply, bytes: usize) {
    let about = &reply.head[..reply.head.len().min(300)];
    assert_eq!((reply.status, reply.field("x-first"), reply.field("x-last")), (207, Some("1"), Some("2")), "{about}");
    assert_eq!(reply.field("x-large").map(str::len), Some(bytes), "{about}");
    assert_eq!(reply.head.matches("\r\nDate: ").count(), 1, "{about}");
    assert!(reply.field("date").is_some_and(|date| date.ends_with(" GMT")), "{about}");
}

fn answer(host: &Host, client: &mut Client, request: &str, response: Response<'_>) -> Reply {
    client.send(format!("{request}\r\nHost: test\r\n\r\n"));
    host.receive().respond(response).expect("it is no larger than a head may be");
    client.read()
}

#[test]
fn a_head_beyond_its_area_is_sent_before_whatever_body() {
    let host = small_area();
    let mut client = host.connect();
    let (large, mut file) = ("b".repeat(100_000), tempfile());
    file.write_all(b"of a file").expect("room on the disk");
    for bytes in SIZES {
        for body in ["", "short", &large] {
            let bodies = [with(bytes).body(body), with(bytes).body(Bytes::copy_from_slice(body.as_bytes()))];
            for response in bodies {
                let reply = answer(&host, &mut client, "GET / HTTP/1.1", response);
                assert_head(&reply, bytes);
                assert!(reply.text() == body && !reply.closes());
            }
        }
        let range = FileRange::new(file.try_clone().expect("a descriptor"), 0..9);
        let reply = answer(&host, &mut client, "GET / HTTP/1.1", with(bytes).body(range).chunk(", and more"));
        assert_head(&reply, bytes);
        assert_eq!(reply.text(), "of a file, and more");
    }
    let counters = host.settled();
    assert_eq!(counters.requests_answered, SIZES.len() as u64 * 7);
}

#[test]
fn what_the_connection_does_is_said_in_it() {
    let host = small_area();
    for bytes in SIZES {
        let reply = answer(&host, &mut host.connect(), "GET / HTTP/1.1", with(bytes).body("x").close());
        assert_head(&reply, bytes);
        assert!(reply.closes() && reply.text() == "x");
        let mut old = host.connect();
        for _ in 0..2 {
            old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            host.receive().respond(with(bytes).body("x")).expect("open");
            let reply = old.read();
            assert_head(&reply, bytes);
            assert_eq!((reply.field("connection"), reply.text()), (Some("keep-alive"), "x"));
        }
        let mut client = host.connect();
        client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
        host.receive().respond(with(bytes).body("four")).expect("open");
        host.receive().respond(Response::text("next")).expect("open");
        let text = Peer { stream: client.stream, input: Vec::new() }.head();
        assert!(text.contains("\r\nContent-Length: 4\r\n") && text.contains("X-Last: 2"));
    }
}

#[test]
fn pipelined_responses_with_large_heads_stay_in_order() {
    let host = small_area();
    let mut client = host.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(SIZES.len() * 2));
    let requests: Vec<_> = (0..SIZES.len() * 2).map(|_| host.receive()).collect();
    // The first one last, so that all wait for it.
    for (number, request) in requests.into_iter().enumerate().rev() {
        let bytes = SIZES[number / 2];
        let response = if number % 2 == 0 { with(bytes).body(number.to_string()) } else { Response::text("between") };
        request.respond(response).expect("open");
    }
    for (number, bytes) in (0..).step_by(2).zip(SIZES) {
        let reply = client.read();
        assert_head(&reply, bytes);
        assert_eq!(reply.text(), number.to_string());
        assert_eq!(client.read().text(), "between");
    }
}

#[test]
fn a_stream_begins_with_a_large_head_which_is_no_content() {
    let host = small_area();
    for bytes in SIZES {
        let mut peer = Peer::get(host.address);
        let mut stream = host.receive().start(with(bytes)).expect("open");
        stream.send("begun").expect("the client is there");
        let head = peer.head();
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n") && head.contains("\r\nX-Last: 2\r\n"));
        stream.send(", ended").expect("the client is there");
        let sent = stream.finish().expect("open").wait().expect("it is told");
        assert_eq!((sent.bytes, sent.complete), (12, true));
        assert_eq!(peer.chunked().0, b"begun, ended");
    }
}

#[test]
fn a_switch_of_protocols_may_have_one_too() {
    let host = small_area();
    let mut client = host.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    let mut pipe =
        host.receive().upgrade(Response::switching("echo").header("X-Large", "v".repeat(5_000))).expect("asked");
    pipe.send("first").expect("open");
    pipe.finish().expect("open");
    let mut all = String::new();
    client.stream.read_to_string(&mut all).expect("to its end");
    assert!(all.starts_with("HTTP/1.1 101 ") && all.ends_with("v\r\n\r\nfirst"), "{} bytes", all.len());
}

#[test]
fn what_is_larger_than_any_head_is_refused_with_its_size_and_gives_the_request_back() {
    let host = small_area();
    let mut client = host.connect();
    client.get("/");
    let many = (0..20_000).fold(Response::ok(), |response, number| response.header(format!("X-{number}"), "of many"));
    let mut request = host.receive();
    for response in [with(HEAD_BYTES_MAX), with(1 << 20), many] {
        let mut refused = request.respond(response).expect_err("too large");
        let text = refused.to_string();
        assert!(refused.kind() == ErrorKind::TooLarge && text.contains("262144") && text.contains("X-"), "{text}");
        request = refused.take_request().expect("it is not answered");
    }
    // What goes into a head when it is sent has its place behind the reason.
    let mut refused = request.respond(Response::ok().reason("r".repeat(600))).expect_err("too long");
    let text = refused.to_string();
    assert!(refused.kind() == ErrorKind::TooLarge && text.contains("response_area_bytes"), "{text}");
    request = refused.take_request().expect("it is not answered");
    request.respond(Response::text("small")).expect("open");
    assert_eq!(client.read().text(), "small");
}

#[test]
fn a_server_field_of_the_application_takes_the_place_of_the_engines() {
    let host = host(builder().server("engine").response_area_bytes(AREA_BYTES));
    let mut client = host.connect();
    assert_eq!(answer(&host, &mut client, "GET / HTTP/1.1", Response::text("x")).field("server"), Some("engine"));
    for name in ["Server", "server"] {
        for bytes in SIZES {
            let response = with(bytes).header(name, "own/1.0").body("four");
            let reply = answer(&host, &mut client, "GET / HTTP/1.1", response);
            assert_head(&reply, bytes);
            assert_eq!((reply.field("server"), reply.text()), (Some("own/1.0"), "four"));
            assert!(!reply.head.contains("engine"));
        }
    }
    let reply = answer(&host, &mut client, "GET / HTTP/1.1", Response::text("b".repeat(5_000)).header("Server", "own"));
    assert_eq!((reply.field("server"), reply.body.len(), reply.closes()), (Some("own"), 5_000, false));
    client.get("/");
    let mut refused = host.receive().respond(Response::ok().header("Server", "a\nb")).expect_err("two lines");
    assert!(refused.to_string().contains("\"Server\" has the byte 0x0a"), "{refused}");
    let request = refused.take_request().expect("it is not answered");
    let mut refused =
        request.respond(Response::ok().header("Server", "own").header("Date", "today")).expect_err("ours");
    assert!(refused.to_string().contains("\"Date\" is written by the engine"), "{refused}");
    refused.take_request().expect("it is not answered").respond(Response::ok()).expect("open");
    assert_eq!(client.read().status, 200);
}

fn tempfile() -> File {
    tempfile::tempfile().expect("a directory for temporary files")
}
