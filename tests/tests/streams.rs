//! Answers in pieces: chunked or ended by the close, in time, with trailers, after hints, in order.

use std::time::{Duration, Instant};

use ringress_tests::{Client, Mode, Server, Setup, both_modes, comes_out_once};

both_modes![
    streams_have_all_their_chunks,
    streams_end_with_the_connection_on_http10,
    heads_of_streams_have_no_body,
    streams_keep_their_place_among_other_answers,
    many_streams_run_side_by_side,
    drips_come_one_by_one,
    drips_do_not_hold_up_others,
    trailers_go_both_ways,
    trailers_are_for_chunked_bodies_only,
    hints_come_before_the_answer,
    hints_are_not_for_http10,
    requests_behind_bodies_that_are_read_are_answered_in_order,
    requests_behind_bodies_that_nobody_reads_are_answered_in_order,
    parameters_out_of_range_are_refused,
];

fn streams_have_all_their_chunks(server: &Server) {
    let mut client = server.connect();
    for (count, chunk) in [(0, 10), (1, 1), (3, 100), (1_000, 1), (100, 4_096), (40, 65_536)] {
        let answer = client.exchange(server.get(&format!("/stream/{count}?chunk={chunk}")));
        assert_eq!((answer.status, answer.body.len()), (200, count * chunk), "{count} of {chunk}: {answer:?}");
        assert!(answer.lists("Transfer-Encoding", "chunked"), "{answer:?}");
    }
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

fn streams_end_with_the_connection_on_http10(server: &Server) {
    for fields in [&[][..], &["Connection: keep-alive"]] {
        let mut client = server.connect();
        let answer = client.exchange(server.request("GET /stream/50?chunk=10000 HTTP/1.0", fields, ""));
        assert_eq!((answer.status, answer.body.len(), answer.closes()), (200, 500_000, true), "{answer:?}");
        assert_eq!((answer.field("Transfer-Encoding"), answer.field("Content-Length")), (None, None));
    }
}

fn heads_of_streams_have_no_body(server: &Server) {
    let mut client = server.connect();
    for target in ["/stream/10?chunk=10", "/drip/3?ms=1", "/trailers"] {
        let head = server.request(&format!("HEAD {target} HTTP/1.1"), &[], "");
        client.send([head, server.get("/pipeline")].concat());
        let answer = client.response_to_head();
        // Whether a route knows HEAD is its own affair, but no body may follow.
        assert!([200, 405].contains(&answer.status), "{target}: {answer:?}");
        assert_eq!(client.response().text(), "ok", "{target}");
    }
}

fn streams_keep_their_place_among_other_answers(server: &Server) {
    let mut client = server.connect();
    let targets = ["/stream/9?chunk=1000", "/pipeline", "/drip/3?ms=20", "/bytes/100000", "/stream/0?chunk=1", "/json"];
    client.send(targets.iter().flat_map(|target| server.get(target)).collect::<Vec<u8>>());
    assert_eq!(client.response().body.len(), 9_000);
    assert_eq!(client.response().text(), "ok");
    assert!(client.response().lists("Transfer-Encoding", "chunked"));
    assert_eq!(client.response().body.len(), 100_000);
    assert_eq!(client.response().body.len(), 0);
    assert_eq!(client.response().text(), r#"{"message":"Hello, World!"}"#);
}

fn many_streams_run_side_by_side(server: &Server) {
    let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    for (client, number) in clients.iter_mut().zip(1..) {
        client.send(server.get(&format!("/stream/{number}?chunk=9999")));
    }
    for (client, number) in clients.iter_mut().zip(1..) {
        assert_eq!(client.response().body.len(), number * 9_999);
    }
}

fn drips_come_one_by_one(server: &Server) {
    let mut client = server.connect();
    let one_by_one = comes_out_once(|| {
        let started = Instant::now();
        client.send(server.get("/drip/5?ms=60"));
        assert_eq!(client.head().status, 200);
        let first = client.chunk();
        assert!(!first.is_empty());
        let first_came = started.elapsed();
        let mut chunks = 1;
        while !client.chunk().is_empty() {
            chunks += 1;
        }
        let (took, between) = (started.elapsed(), Duration::from_millis(60));
        assert_eq!(chunks, 5);
        assert!(took >= between * 4, "five chunks came within {took:?}");
        first_came + between * 3 <= took
    });
    assert!(one_by_one, "the first chunk never came long before the last");
}

fn drips_do_not_hold_up_others(server: &Server) {
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(server.get("/drip/3?ms=300"));
    }
    let started = Instant::now();
    for _ in 0..10 {
        server.assert_healthy();
    }
    let took = started.elapsed();
    // One after the other, the drips alone take thirty seconds.
    assert!(took < Duration::from_secs(8), "ten quick answers beside fifty drips took {took:?}");
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "drips run side by side, these took {took:?}");
}

fn trailers_go_both_ways(server: &Server) {
    let mut client = server.connect();
    let fields = ["Transfer-Encoding: chunked", "TE: trailers", "Trailer: X-Echo"];
    for (body, trailer, length) in [("3\r\nabc\r\n", "X-Echo: back", "3"), ("", "x-echo: a, b", "0")] {
        let framed = format!("{body}0\r\n{trailer}\r\nX-Other: no\r\n\r\n");
        let answer = client.exchange(server.request("POST /trailers HTTP/1.1", &fields, framed));
        assert_eq!((answer.status, answer.text()), (200, "trailers\n"), "{answer:?}");
        assert_eq!(answer.trailer("X-Sum"), Some(length), "{:?}", answer.trailers);
        assert_eq!(answer.trailer("X-Echo"), trailer.split_once(": ").map(|(_, value)| value));
        assert_eq!(answer.trailer("X-Other"), None);
    }
    let large = format!("{:x}\r\n{}\r\n0\r\nX-Echo: end\r\n\r\n", 300_000, "b".repeat(300_000));
    let answer = client.exchange(server.request("POST /trailers HTTP/1.1", &fields, large));
    assert_eq!((answer.trailer("X-Sum"), answer.trailer("X-Echo")), (Some("300000"), Some("end")));
    let answer = client.exchange(server.get("/trailers"));
    assert_eq!((answer.text(), answer.trailer("X-Sum")), ("trailers\n", Some("0")), "{:?}", answer.trailers);
}

/// HTTP/1.0 has no place for them: the response comes without.
fn trailers_are_for_chunked_bodies_only(server: &Server) {
    let mut client = server.connect();
    let answer = client.exchange(server.request("POST /trailers HTTP/1.0", &["Content-Length: 2"], "ab"));
    assert_eq!((answer.status, answer.text(), answer.closes()), (200, "trailers\n", true));
    let mut client = server.connect();
    let answer = client.exchange(server.post("/trailers", "four"));
    assert_eq!((answer.text(), answer.trailer("X-Sum")), ("trailers\n", Some("4")));
    assert!(matches!(answer.trailer("X-Echo"), None | Some("")), "{:?}", answer.trailers);
}

fn hints_come_before_the_answer(server: &Server) {
    let mut client = server.connect();
    client.send([server.get("/slow/50"), server.get("/hints"), server.get("/pipeline")].concat());
    assert_eq!(client.response().status, 200);
    let hints = client.any_response();
    assert_eq!(hints.status, 103, "{hints:?}");
    assert!(hints.field("Link").is_some(), "{hints:?}");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().text(), "ok");
}

/// RFC 9110 section 15.2: an HTTP/1.0 client must not be sent a 1xx.
fn hints_are_not_for_http10(server: &Server) {
    let mut client = server.connect();
    let answer = client.exchange(server.request("GET /hints HTTP/1.0", &[], ""));
    assert_eq!((answer.status, answer.closes()), (200, true));
    client.expect_eof();
}

fn requests_behind_bodies_that_are_read_are_answered_in_order(server: &Server) {
    let mut client = server.connect();
    for length in [10, 10_000, 200_000] {
        let body = vec![b'b'; length];
        let requests = [server.get("/json"), server.post("/upload", &body), server.get("/pipeline")];
        client.send([requests.concat(), server.post("/echo", &body), server.get("/pipeline")].concat());
        assert_eq!(client.response().text(), r#"{"message":"Hello, World!"}"#);
        assert_eq!(client.response().text(), length.to_string());
        assert_eq!(client.response().text(), "ok");
        assert!(client.response().body == body);
        assert_eq!(client.response().text(), "ok");
    }
}

fn requests_behind_bodies_that_nobody_reads_are_answered_in_order(server: &Server) {
    let mut client = server.connect();
    for length in [10, 10_000, 60_000, 200_000] {
        let chunked = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "b".repeat(length));
        let unread = server.request("GET /slow/20 HTTP/1.1", &["Transfer-Encoding: chunked"], chunked);
        client.send([server.post("/nowhere", vec![b'b'; length]), server.get("/pipeline"), unread].concat());
        client.send(server.get("/pipeline"));
        assert_eq!(client.response().status, 404, "{length}");
        assert_eq!(client.response().text(), "ok", "{length}");
        let unread = client.response();
        assert_eq!((unread.status, unread.closes()), (200, false), "{length}: {unread:?}");
        assert_eq!(client.response().text(), "ok", "{length}");
    }
}

fn parameters_out_of_range_are_refused(server: &Server) {
    for target in ["/stream/1?chunk=99999999999", "/stream/99999999999999999999", "/drip/1?ms=x", "/drip/x?ms=1"] {
        let answer = server.answer(target);
        assert!([400, 404].contains(&answer.status), "{target}: {answer:?}");
    }
}

/// One consumer and one shard are enough for many that wait.
mod narrow {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).shards(1).consumers(1);
        drips_do_not_hold_up_others,
        bodies_that_do_not_come_hold_up_nobody,
        many_streams_run_side_by_side,
    ];
}

fn bodies_that_do_not_come_hold_up_nobody(server: &Server) {
    let begin = |target: &str| {
        let mut client = server.connect();
        client.send(server.request(&format!("POST {target} HTTP/1.1"), &["Content-Length: 10"], "first"));
        client
    };
    let mut waiting: Vec<Client> = (0..20).flat_map(|_| [begin("/upload"), begin("/echo")]).collect();
    for _ in 0..10 {
        server.assert_healthy();
    }
    for (client, number) in waiting.iter_mut().zip(0..) {
        let answer = client.exchange("later");
        assert_eq!(answer.text(), if number % 2 == 0 { "10" } else { "firstlater" });
    }
}
