//! Request bodies arrive whole in either framing, whatever their size; with a limit, larger ones are refused in order.

use std::fmt::Write as _;

use ringress_tests::{Mode, Response, Server, Setup, both_modes};

both_modes![
    bodies_of_every_magnitude_are_echoed,
    bodies_with_every_byte_value_are_echoed,
    bodies_larger_than_any_buffer_are_echoed,
    chunks_of_every_size_are_echoed,
    what_an_upload_counts_is_what_was_sent,
    many_tiny_chunks_arrive_whole,
    chunk_extensions_and_trailers_are_skipped,
    bodies_nobody_reads_do_not_disturb_the_next_request,
    bodies_follow_bodies_on_one_connection,
    uploads_follow_uploads_on_one_connection,
];

/// As many bytes of a body as the limited showcase takes.
const BODY_BYTES_MAX: usize = 64 * 1024;

mod limited {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("request_body_max", "65536");
        the_largest_body_with_length_is_echoed,
        the_largest_chunked_body_is_echoed,
        one_byte_more_with_length_gets_413,
        one_byte_more_in_chunks_gets_413,
        a_far_too_large_length_gets_413_at_once,
        a_far_too_large_chunk_gets_413_when_the_limit_is_passed,
    ];
}

mod limited_under_way {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("request_body_max", "200000");
        an_echo_under_way_is_cut_when_the_limit_is_passed,
    ];
}

/// A body that repeats with a period no buffer size shares.
fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

fn chunked(server: &Server, body: &[u8], chunk: usize) -> Vec<u8> {
    chunked_to(server, "/echo", body, chunk)
}

fn chunked_to(server: &Server, target: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for part in body.chunks(chunk) {
        framed.extend(format!("{:x}\r\n", part.len()).bytes());
        framed.extend_from_slice(part);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\n\r\n");
    server.request(&format!("POST {target} HTTP/1.1"), &["Transfer-Encoding: chunked"], framed)
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

fn bodies_larger_than_any_buffer_are_echoed(server: &Server) {
    let mut client = server.connect();
    for length in [65_537, 262_143, 262_145, 1_000_000] {
        let body = patterned(length);
        assert_echo(&client.exchange(server.post("/echo", &body)), &body);
        assert_echo(&client.exchange(chunked(server, &body, 10_000)), &body);
    }
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

fn chunks_of_every_size_are_echoed(server: &Server) {
    let mut client = server.connect();
    let body = patterned(300_000);
    for chunk in [1_000, 4_096, 16_384, 65_535, 65_537, 300_000] {
        assert_echo(&client.exchange(chunked(server, &body, chunk)), &body);
    }
}

#[track_caller]
fn assert_counted(answer: &Response, length: usize) {
    assert_eq!((answer.status, answer.text()), (200, length.to_string().as_str()), "{answer:?}");
}

fn what_an_upload_counts_is_what_was_sent(server: &Server) {
    let mut client = server.connect();
    for length in [0, 1, 8_191, 65_536, 65_537, 1_000_000] {
        let body = patterned(length);
        assert_counted(&client.exchange(server.post("/upload", &body)), length);
        assert_counted(&client.exchange(chunked_to(server, "/upload", &body, 5_000)), length);
    }
}

fn uploads_follow_uploads_on_one_connection(server: &Server) {
    let mut client = server.connect();
    let lengths: Vec<usize> = (0..30).map(|number| number * 1_777).collect();
    let requests = lengths.iter().zip(0..).map(|(length, number)| match number % 2 {
        0 => server.post("/upload", patterned(*length)),
        _ => chunked_to(server, "/upload", &patterned(*length), 999),
    });
    client.send(requests.flatten().collect::<Vec<u8>>());
    for length in lengths {
        assert_counted(&client.response(), length);
    }
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
        expect_413(server, &chunked_to(server, "/upload", &body, chunk));
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
        expect_413(server, &server.request("POST /upload HTTP/1.1", &["Transfer-Encoding: chunked"], body));
    }
}

/// A response that has begun cannot become another: it must not look whole.
fn an_echo_under_way_is_cut_when_the_limit_is_passed(server: &Server) {
    let body = patterned(200_001);
    let framed = chunked(server, &body, 1_000);
    // More than the echo holds before it begins, and less than the limit.
    let (first, rest) = framed.split_at(100_000);
    let mut client = server.connect();
    client.send(first);
    assert_eq!(client.head().status, 200);
    let begun = client.chunk();
    assert!(!begun.is_empty() && body.starts_with(&begun), "{} bytes", begun.len());
    // The reset may come while this is sent, and is not told twice.
    let sent = client.try_send(rest);
    let (got, in_order) = client.read_until_gone();
    assert!(!in_order || sent.is_err(), "an end in order after {} bytes", got.len());
    assert!(!got.ends_with(b"\r\n0\r\n\r\n"), "a last chunk after {} bytes", got.len());
    assert_eq!(server.gauges().of("responses_truncated"), 1);
    server.assert_healthy();
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
    let long = smuggled.repeat(1_000);
    for body in [&smuggled, &long] {
        for line in ["GET /pipeline HTTP/1.1", "POST /nowhere HTTP/1.1", "DELETE /plaintext HTTP/1.1"] {
            let field = format!("Content-Length: {}", body.len());
            client.send([server.request(line, &[&field], body), server.get("/plaintext")].concat());
            assert!(client.response().text() != "Hello, World!", "{line}");
            assert_eq!(client.response().text(), "Hello, World!", "{line}");
        }
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
