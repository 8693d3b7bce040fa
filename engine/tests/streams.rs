//! Answers given piece by piece, over real sockets, in both modes: framing, lengths, files, and what
//! becomes of mistakes.

mod common;

use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use common::peer::{Peer, file_of, in_both_modes, pattern, start};
use common::{Client, Host, settled, wait_until};
use ringress::{ErrorKind, FileRange, Request, Response};

#[test]
fn a_stream_of_known_length_arrives_whole_and_the_connection_goes_on() {
    let handle = |request: Request| {
        let mut stream = start(request, 300_000);
        assert_eq!(stream.request().expect("by handle").path(), "/x", "the request can be read while it is answered");
        stream.send(&pattern(0, 10)[..]).expect("open");
        stream.send(Vec::new()).expect("nothing is nothing");
        stream.send(pattern(10, 199_990)).expect("open");
        stream.send(Bytes::from(pattern(200_000, 100_000))).expect("open");
        let sent = stream.finish().expect("whole").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (300_000, true));
    };
    in_both_modes(handle, |engine, address| {
        let mut client = Client::connect(address);
        for _ in 0..3 {
            let reply = client.ask("/x");
            assert_eq!(reply.field("transfer-encoding"), None);
            assert!(reply.body == pattern(0, 300_000) && !reply.closes());
        }
        assert_eq!(settled(engine).responses_truncated, 0);
    });
}

/// The client of such a response gets a reset, and the engine counts it.
fn assert_cut(handle: fn(Request)) {
    in_both_modes(handle, |engine, address| {
        assert_eq!(Peer::get(address).rest(), None);
        assert_eq!(settled(engine).responses_truncated, 1);
    });
}

#[test]
fn a_body_that_ends_early_is_an_error_and_a_reset() {
    let handle = |request: Request| {
        let mut stream = start(request, 10);
        stream.send("123456789").expect("open");
        let error = stream.finish().expect_err("a byte is missing");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("content_length is 10") && error.to_string().contains("9 bytes"), "{error}");
    };
    assert_cut(handle);
}

#[test]
fn a_body_that_passes_its_length_is_an_error_and_a_reset() {
    let handle = |request: Request| {
        let mut stream = start(request, 10);
        stream.send("123456789").expect("open");
        let error = stream.send("01").expect_err("a byte too many");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains("content_length is 10") && error.to_string().contains("11 bytes"),
            "{error}"
        );
        assert!(stream.send("0").expect_err("it is over").is_gone());
        assert!(stream.finish().expect_err("it is over").is_gone());
    };
    assert_cut(handle);
}

#[test]
fn a_stream_that_is_dropped_unfinished_is_cut() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("some").expect("open");
    };
    assert_cut(handle);
}

#[test]
fn a_stream_without_a_length_is_chunked_and_the_connection_goes_on() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok().header("x-a", "b")).expect("open");
        for len in [1, 15, 16, 17, 255, 256, 70_000] {
            stream.send(pattern(0, len)).expect("open");
        }
        let sent = stream.finish().expect("open").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (70_560, true));
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        for round in 0..3 {
            let head = peer.head();
            assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n") && head.contains("\r\nx-a: b\r\n"), "{head}");
            assert!(!head.contains("Content-Length") && !head.contains("Connection"), "{head}");
            let (body, trailers) = peer.chunked();
            let expected: Vec<u8> = [1, 15, 16, 17, 255, 256, 70_000].iter().flat_map(|len| pattern(0, *len)).collect();
            assert!(body == expected && trailers.is_empty());
            if round < 2 {
                peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n").expect("the connection is open");
            }
        }
    });
}

#[test]
fn an_empty_stream_is_an_empty_chunked_body() {
    let handle = |request: Request| {
        request.start(Response::ok()).expect("open").finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert_eq!(peer.chunked(), (Vec::new(), String::new()));
        assert_eq!(peer.input, b"");
    });
}

#[test]
fn to_an_old_client_a_stream_ends_with_the_connection() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("one ").expect("open");
        stream.flush().expect("open");
        stream.send("two").expect("open");
        let refused = stream.finish_with_trailers(&[("a", "b")]).map(drop);
        if let Err(error) = refused {
            assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("HTTP/1.0"), "{error}");
        }
    };
    // Trailers are refused, which cuts the response.
    in_both_modes(handle, |engine, address| {
        assert_eq!(Peer::ask(address, "GET", "1.0").rest(), None);
        assert_eq!(settled(engine).responses_truncated, 1);
    });
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("one ").expect("open");
        stream.send("two").expect("open");
        stream.finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::ask(address, "GET", "1.0");
        let head = peer.head();
        assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(peer.rest().as_deref(), Some(&b"one two"[..]));
    });
}

#[test]
fn answers_without_a_body_drop_what_is_given() {
    let handle = |request: Request| {
        let status = if request.method_name() == b"HEAD" { 200 } else { 204 };
        let known = request.header("x-length").is_some();
        let response = Response::new(status);
        let response = if known { response.content_length(5) } else { response };
        let mut stream = request.start(response).expect("open");
        stream.send("more than five bytes").expect("it is dropped");
        stream.write_all(b"and more").expect("it is dropped");
        let sent = stream.finish().expect("open").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (0, true));
    };
    in_both_modes(handle, |engine, address| {
        let mut peer = Peer::ask(address, "HEAD", "1.1");
        let head = peer.head();
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n") && !head.contains("Connection"), "{head}");
        peer.stream.write_all(b"HEAD /x HTTP/1.1\r\nHost: t\r\nx-length: 1\r\n\r\n").expect("open");
        let head = peer.head();
        assert!(head.contains("\r\nContent-Length: 5\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").expect("open");
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 204 ") && !head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(peer.rest(), Some(Vec::new()), "no body anywhere");
        assert_eq!(settled(engine).responses_truncated, 0);
    });
}

#[test]
fn trailers_follow_a_chunked_body() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("body").expect("open");
        stream.finish_with_trailers(&[("x-sum", "42"), ("x-more", "")]).expect("valid");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert_eq!(peer.chunked(), (b"body".to_vec(), "x-sum: 42\r\nx-more: \r\n".to_owned()));
    });
}

#[test]
fn trailers_follow_an_empty_body_and_one_that_was_only_written() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    let stream = host.receive().start(Response::ok()).expect("open");
    stream.finish_with_trailers(&[("x-sum", "0")]).expect("valid");
    peer.head();
    assert_eq!(String::from_utf8_lossy(&peer.take(15)), "0\r\nx-sum: 0\r\n\r\n");
    peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").expect("open");
    let mut stream = host.receive().start(Response::ok()).expect("open");
    stream.write_all(b"body").expect("open");
    stream.finish_with_trailers(&[("x-sum", "4")]).expect("valid");
    peer.head();
    let rest = peer.rest().expect("an orderly end");
    assert_eq!(String::from_utf8_lossy(&rest), "4\r\nbody\r\n0\r\nx-sum: 4\r\n\r\n");
}

#[test]
fn trailers_beyond_16_kib_are_refused() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    let stream = host.receive().start(Response::ok()).expect("open");
    let error = stream.finish_with_trailers(&[("x", &"v".repeat(16 * 1024))]).expect_err("too much");
    assert!(error.kind() == ErrorKind::TooLarge && error.to_string().contains("16384"), "{error}");
    assert_eq!(peer.rest(), None);
}

#[test]
fn trailers_that_cannot_be_sent_are_refused_by_name() {
    let host = Host::start();
    let cases: [(&str, &str, &str); 6] = [
        ("a b", "1", "a b"),
        ("x", "1\r\ny: 2", "\"x\""),
        ("Content-Length", "3", "Content-Length"),
        ("set-cookie", "a=b", "set-cookie cannot be a trailer field"),
        ("Authorization", "x", "Authorization cannot be a trailer field"),
        ("", "1", "\"\""),
    ];
    for (name, value, told) in cases {
        let mut peer = Peer::get(host.address);
        let stream = host.receive().start(Response::ok()).expect("open");
        let fields = [("x-before", "1"), (name, value), ("x-behind", "2")];
        let error = stream.finish_with_trailers(&fields).expect_err("it cannot be sent");
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(told), "{error}");
        assert_eq!(peer.rest(), None);
    }
    let mut peer = Peer::get(host.address);
    let stream = start(host.receive(), 0);
    let error = stream.finish_with_trailers(&[("a", "b")]).expect_err("the length is known");
    assert!(error.to_string().contains("content_length"), "{error}");
    assert_eq!(peer.rest(), None);
    host.await_rest();
}

#[test]
fn files_and_memory_make_one_answer() {
    let file = Arc::new(file_of(500_000));
    let handle = move |request: Request| {
        let part = |range| FileRange::new(Arc::clone(&file), range);
        let response = Response::ok().body("start,").chunk(part(0..10)).chunk(",").chunk(part(100..400_000));
        let response = response.chunk(part(7..7)).chunk(part(499_999..500_000)).chunk(vec![b'e'; 100_000]);
        let is_head = request.method_name() == b"HEAD";
        let sent = request.respond_with_completion(response).expect("open").wait().expect("driven");
        if is_head {
            assert_eq!((sent.bytes, sent.complete), (0, true));
            return;
        }
        assert_eq!((sent.bytes, sent.complete), (6 + 10 + 1 + 399_900 + 1 + 100_000, true));
    };
    let mut expected = b"start,".to_vec();
    expected.extend([pattern(0, 10), b",".to_vec(), pattern(100, 399_900), pattern(499_999, 1)].concat());
    expected.extend([b'e'; 100_000]);
    in_both_modes(handle, |_, address| {
        let mut client = Client::connect(address);
        for _ in 0..3 {
            assert!(client.ask("/x").body == expected, "every byte in its place");
        }
        let mut peer = Peer::ask(address, "HEAD", "1.1");
        assert!(peer.head().contains(&format!("\r\nContent-Length: {}\r\n", expected.len())));
    });
}

#[test]
fn files_go_through_a_stream_in_chunks() {
    let file = Arc::new(file_of(300_000));
    let handle = move |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        for place in (0..300_000).step_by(100_000) {
            stream.send("-").expect("open");
            stream.send(FileRange::new(Arc::clone(&file), place..place + 100_000)).expect("open");
        }
        stream.finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        let expected: Vec<u8> = (0..3).flat_map(|n| [b"-".to_vec(), pattern(n * 100_000, 100_000)].concat()).collect();
        assert!(peer.chunked().0 == expected, "every byte in its place");
    });
}

#[test]
fn an_answer_whose_file_is_too_short_is_cut() {
    let host = Host::start();
    let file = Arc::new(file_of(100_000));
    let mut peer = Peer::get(host.address);
    let whole = Response::ok().body(FileRange::new(Arc::clone(&file), 0..100_001));
    let completion = host.receive().respond_with_completion(whole).expect("open");
    assert_eq!(peer.rest(), None);
    let sent = completion.wait().expect("driven");
    assert_eq!((sent.bytes, sent.complete), (100_000, false));

    let mut peer = Peer::get(host.address);
    let mut stream = start(host.receive(), 100_000);
    stream.send(FileRange::new(Arc::clone(&file), 0..50_000)).expect("open");
    peer.head();
    peer.take(50_000);
    file.set_len(60_000).expect("it shrinks under way");
    stream.send(FileRange::new(file, 50_000..100_000)).expect("nobody knows yet");
    match stream.finish() {
        Ok(completion) => {
            let sent = completion.wait().expect("driven");
            assert!(!sent.complete && sent.bytes <= 60_000, "{sent:?}");
        }
        Err(error) => assert!(error.is_gone(), "the shard was quick: {error}"),
    }
    assert_eq!(peer.rest(), None);

    let mut peer = Peer::get(host.address);
    let write_only = File::options().write(true).open("/dev/null").expect("it is there");
    let unreadable = Response::ok().body(FileRange::new(write_only, 0..1));
    host.receive().respond_with_completion(unreadable).expect("open");
    assert_eq!(peer.rest(), None);
    assert_eq!(host.settled().responses_truncated, 3);
    host.await_rest();
}

#[test]
fn many_small_writes_are_collected() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        for number in 0..10_000 {
            writeln!(stream, "line {number}").expect("open");
        }
        stream.send("end").expect("open");
        stream.finish().expect("open");
    };
    let mut expected: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
    expected += "end";
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert!(peer.chunked().0 == expected.as_bytes(), "every line in its place");
    });
}

#[test]
fn what_is_written_counts_towards_the_length() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/x");
    let mut stream = start(host.receive(), 9);
    write!(stream, "one ").expect("open");
    stream.send("two").expect("open");
    write!(stream, " 3").expect("open");
    let error = stream.write(b"!").expect_err("a byte too many");
    assert_eq!(error.kind(), IoErrorKind::InvalidInput);
    drop(stream);
    // It is reset, perhaps already.
    let _ = client.stream.write_all(b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    drop(client);
    host.await_rest();

    let mut client = host.connect();
    client.get("/x");
    let mut stream = start(host.receive(), 9);
    write!(stream, "one ").expect("open");
    stream.send("two").expect("open");
    write!(stream, " 3").expect("open");
    stream.finish().expect("whole");
    assert_eq!(client.read().text(), "one two 3");
}

#[test]
fn mistakes_at_the_start_are_told_and_answered_500() {
    let host = Host::start();
    let mut client = host.connect();
    let cases = [Response::ok().body("x"), Response::new(100), Response::new(204).content_length(3)];
    for response in cases {
        client.get("/x");
        let error = host.receive().start(response).expect_err("it cannot be sent");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        // It has the request.
        drop(error);
        assert_eq!(client.read().status, 500);
    }
    client.get("/x");
    let mixed = Response::ok().body("123").chunk("45").content_length(6);
    let error = host.receive().respond(mixed).expect_err("the length is wrong");
    assert!(error.to_string().contains("content_length is 6"), "{error}");
    drop(error);
    assert_eq!(client.read().status, 500);
}

#[test]
fn what_only_looks_like_a_file_does_not_hold_the_engine_up() {
    let host = Host::start();
    let peer = Peer::get(host.address);
    let (silent, _writer) = std::io::pipe().expect("two descriptors");
    let file = File::from(OwnedFd::from(silent));
    let mut stream = start(host.receive(), 10);
    stream.send(FileRange::new(file, 0..10)).expect("nobody looks");
    wait_until("the pipe is being read", || {
        let counters = host.counters();
        counters.stage_cells_in_use == 1 || counters.responses_truncated == 1
    });
    drop(peer);
    drop(stream);
    host.await_rest();
}
