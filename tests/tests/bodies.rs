//! Request bodies up to 64 KiB arrive whole in either framing; larger ones are refused in order.

use std::fmt::Write as _;

use ringress_tests::{Response, Server, both_modes};

both_modes![
    the_largest_body_with_length_is_echoed,
    the_largest_chunked_body_is_echoed,
    bodies_of_every_magnitude_are_echoed,
    bodies_with_every_byte_value_are_echoed,
    one_byte_more_with_length_gets_413,
    one_byte_more_in_chunks_gets_413,
    a_far_too_large_length_gets_413_at_once,
    a_far_too_large_chunk_gets_413_when_the_limit_is_passed,
    many_tiny_chunks_arrive_whole,
    chunk_extensions_and_trailers_are_skipped,
    bodies_nobody_reads_do_not_disturb_the_next_request,
    bodies_follow_bodies_on_one_connection,
];

/// The largest request body delivered whole.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A body that repeats with a period no buffer size shares.
fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

fn chunked(server: &Server, body: &[u8], chunk: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for part in body.chunks(chunk) {
        framed.extend(format!("{:x}\r\n", part.len()).bytes());
        framed.extend_from_slice(part);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\n\r\n");
    server.request("POST /echo HTTP/1.1", &["Transfer-Encoding: chunked"], framed)
}

#[track_caller]
fn assert_echo(answer: &Response, body: &[u8]) {
    assert_eq!((answer.status, answer.body.len()), (200, body.len()), "{answer:?}");
    assert!(answer.body == body, "the body came back altered");
}

fn the_largest_body_with_length_is_echoed(server: &Server) {
    let mut client = server.connect();
    let body = patterned(BODY_BYTES_MAX);
    for _ in 0..5 {
        assert_echo(&client.exchange(server.post("/echo", &body)), &body);
    }
}

fn the_largest_chunked_body_is_echoed(server: &Server) {
    let mut client = server.connect();
    let body = patterned(BODY_BYTES_MAX);
    for chunk in [BODY_BYTES_MAX, 1_000, 4_096, 65_535] {
        assert_echo(&client.exchange(chunked(server, &body, chunk)), &body);
    }
}

fn bodies_of_every_magnitude_are_echoed(server: &Server) {
    let mut client = server.connect();
    for exponent in 0..=16 {
        for length in [(1 << exponent) - 1, 1 << exponent] {
            let body = patterned(length);
            assert_echo(&client.exchange(server.post("/echo", &body)), &body);
            assert_echo(&client.exchange(chunked(server, &body, 777)), &body);
        }
    }
}

fn bodies_with_every_byte_value_are_echoed(server: &Server) {
    let mut client = server.connect();
    let body: Vec<u8> = (0..=255).cycle().take(1_024).collect();
    assert_echo(&client.exchange(server.post("/echo", &body)), &body);
    assert_echo(&client.exchange(chunked(server, &body, 100)), &body);
}

/// Sends all of `request` and expects 413 and an orderly end all the same.
#[track_caller]
fn expect_413(server: &Server, request: &[u8]) {
    let mut client = server.connect();
    client.send(request);
    let answer = client.response();
    assert_eq!((answer.status, answer.closes()), (413, true), "{answer:?}");
    assert!(answer.field("Content-Type").is_some_and(|kind| kind.starts_with("text/plain")), "{answer:?}");
    client.expect_eof();
    client.assert_not_reset();
    server.assert_healthy();
}

fn one_byte_more_with_length_gets_413(server: &Server) {
    expect_413(server, &server.post("/echo", patterned(BODY_BYTES_MAX + 1)));
    expect_413(server, &server.post("/nowhere", patterned(BODY_BYTES_MAX + 1)));
}

fn one_byte_more_in_chunks_gets_413(server: &Server) {
    let body = patterned(BODY_BYTES_MAX + 1);
    for chunk in [BODY_BYTES_MAX, BODY_BYTES_MAX + 1, 1_000] {
        expect_413(server, &chunked(server, &body, chunk));
    }
}

fn a_far_too_large_length_gets_413_at_once(server: &Server) {
    for length in ["1000000000", "4294967296", "9223372036854775807", "18446744073709551615"] {
        let field = format!("Content-Length: {length}");
        expect_413(server, &server.request("POST /echo HTTP/1.1", &[&field], "only this"));
    }
}

fn a_far_too_large_chunk_gets_413_when_the_limit_is_passed(server: &Server) {
    for size in ["10001", "ffffffff", "7fffffffffffffff", "ffffffffffffffff"] {
        let body = format!("{size}\r\n{}", "x".repeat(BODY_BYTES_MAX + 1));
        expect_413(server, &server.request("POST /echo HTTP/1.1", &["Transfer-Encoding: chunked"], body));
    }
}

fn many_tiny_chunks_arrive_whole(server: &Server) {
    let mut client = server.connect();
    let body = patterned(10_000);
    assert_echo(&client.exchange(chunked(server, &body, 1)), &body);
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

fn chunk_extensions_and_trailers_are_skipped(server: &Server) {
    let mut client = server.connect();
    let mut framed = String::new();
    for (extension, part) in ["", ";a", ";a=b", ";a=\"b;c\"", " ; a = b", ";a;b;c"].iter().zip(b'a'..) {
        let part = char::from(part);
        write!(framed, "1{extension}\r\n{part}\r\n").expect("strings take all");
    }
    framed.push_str("0;last\r\nX-Trailer: one\r\nX-Trailer: two\r\nContent-Length: 5\r\n\r\n");
    let request = server.request("POST /echo HTTP/1.1", &["Transfer-Encoding: chunked"], &framed);
    assert_echo(&client.exchange(&request), b"abcdef");
    assert_echo(&client.exchange(&request), b"abcdef");
}

fn bodies_nobody_reads_do_not_disturb_the_next_request(server: &Server) {
    let mut client = server.connect();
    let smuggled = server.get("/json");
    for line in ["GET /pipeline HTTP/1.1", "POST /nowhere HTTP/1.1", "DELETE /plaintext HTTP/1.1"] {
        let field = format!("Content-Length: {}", smuggled.len());
        client.send([server.request(line, &[&field], &smuggled), server.get("/plaintext")].concat());
        assert!(client.response().text() != "Hello, World!", "{line}");
        assert_eq!(client.response().text(), "Hello, World!", "{line}");
    }
}

fn bodies_follow_bodies_on_one_connection(server: &Server) {
    let mut client = server.connect();
    let bodies: Vec<Vec<u8>> = (0..40).map(|number| patterned(number * 97)).collect();
    let requests = bodies.iter().zip(0..).map(|(body, number)| match number % 2 {
        0 => server.post("/echo", body),
        _ => chunked(server, body, 50),
    });
    client.send(requests.flatten().collect::<Vec<u8>>());
    for body in &bodies {
        assert_echo(&client.response(), body);
    }
}
