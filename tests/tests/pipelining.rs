//! Pipelined requests are all answered, in the order they were sent, however they are cut into segments.

use std::io::Write;
use std::thread;

use ringress_tests::{Client, Server, both_modes, comes_out_once};

both_modes![
    sixty_four_gets_are_answered_in_order,
    different_routes_are_answered_in_order,
    fast_answers_wait_for_a_slow_one_before_them,
    slow_requests_of_one_connection_overlap,
    requests_after_a_post_are_answered_after_it,
    answers_around_unsafe_requests_keep_their_order,
    heads_between_gets_have_no_bodies,
    a_thousand_in_one_write_are_answered_in_order,
    requests_cut_across_writes_are_answered_in_order,
    large_answers_keep_their_order,
    requests_after_connection_close_are_not_answered,
    requests_before_a_bad_one_are_answered_first,
];

/// A GET whose response is `number`.
fn numbered(server: &Server, number: usize) -> Vec<u8> {
    server.get(&format!("/baseline11?a={number}&b=0"))
}

fn numbered_many(server: &Server, count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| numbered(server, number)).collect()
}

fn expect_numbers(client: &mut Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (200, number.to_string().as_str()));
    }
}

fn sixty_four_gets_are_answered_in_order(server: &Server) {
    let mut client = server.connect();
    for _ in 0..4 {
        client.send(numbered_many(server, 64));
        expect_numbers(&mut client, 0..64);
    }
    assert!(!client.has_unread(), "more answers than requests");
}

fn different_routes_are_answered_in_order(server: &Server) {
    let mut client = server.connect();
    let routes = [("/plaintext", 200), ("/nowhere", 404), ("/json", 200), ("/bytes/9000", 200), ("/pipeline", 200)];
    let alone: Vec<Vec<u8>> = routes.iter().map(|(target, _)| client.exchange(server.get(target)).body).collect();
    for _ in 0..10 {
        client.send(routes.iter().flat_map(|(target, _)| server.get(target)).collect::<Vec<u8>>());
        for ((target, status), body) in routes.iter().zip(&alone) {
            let answer = client.response();
            assert_eq!((answer.status, &answer.body), (*status, body), "{target}");
        }
    }
}

fn fast_answers_wait_for_a_slow_one_before_them(server: &Server) {
    let mut client = server.connect();
    let slow_first = [server.get("/slow/300"), server.get("/json"), server.get("/pipeline"), numbered(server, 7)];
    client.send(slow_first.concat());
    let slow = client.response();
    assert_eq!(slow.status, 200);
    assert!(!slow.text().contains("message") && slow.text() != "ok", "a fast answer came first: {slow:?}");
    assert_eq!(client.response().text(), r#"{"message":"Hello, World!"}"#);
    assert_eq!(client.response().text(), "ok");
    assert_eq!(client.response().text(), "7");
}

fn slow_requests_of_one_connection_overlap(server: &Server) {
    let mut client = server.connect();
    let overlap = comes_out_once(|| {
        let started = std::time::Instant::now();
        client.send(server.get("/slow/600").repeat(3));
        for _ in 0..3 {
            assert_eq!(client.response().status, 200);
        }
        started.elapsed().as_millis() < 1_500
    });
    assert!(overlap, "safe requests are delivered concurrently, these took as long as one after the other");
}

fn requests_after_a_post_are_answered_after_it(server: &Server) {
    let mut client = server.connect();
    let (before, after) = (numbered_many(server, 3), numbered_many(server, 3));
    let chunked = ["Transfer-Encoding: chunked"];
    let posts = [
        server.post("/echo", "a body with\r\n\r\nGET / HTTP/1.1\r\n inside"),
        server.request("POST /echo HTTP/1.1", &chunked, "A\r\nGET / HTTP\r\n0\r\nTrailer: x\r\n\r\n"),
        server.post("/echo", ""),
    ];
    for (post, body) in posts.iter().zip(["a body with\r\n\r\nGET / HTTP/1.1\r\n inside", "GET / HTTP", ""]) {
        client.send([&before[..], post, &after].concat());
        expect_numbers(&mut client, 0..3);
        assert_eq!(client.response().text(), body);
        expect_numbers(&mut client, 0..3);
    }
}

fn answers_around_unsafe_requests_keep_their_order(server: &Server) {
    let mut client = server.connect();
    client.send([server.post("/echo", "first"), server.get("/slow/200"), server.post("/echo", "third")].concat());
    assert_eq!(client.response().text(), "first");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().text(), "third");
}

fn heads_between_gets_have_no_bodies(server: &Server) {
    let mut client = server.connect();
    let head = server.request("HEAD /plaintext HTTP/1.1", &[], "");
    client.send([&server.get("/pipeline")[..], &head, &head, &server.get("/pipeline")].concat());
    assert_eq!(client.response().text(), "ok");
    for _ in 0..2 {
        assert_eq!(client.response_to_head().field("Content-Length"), Some("13"));
    }
    assert_eq!(client.response().text(), "ok");
}

fn a_thousand_in_one_write_are_answered_in_order(server: &Server) {
    let mut client = server.connect();
    let mut writer = client.writer();
    let requests = numbered_many(server, 1_000);
    thread::scope(|scope| {
        // The server may stop reading until responses are taken, so both directions run at once.
        scope.spawn(|| writer.write_all(&requests).expect("the server takes them all in the end"));
        expect_numbers(&mut client, 0..1_000);
    });
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

fn requests_cut_across_writes_are_answered_in_order(server: &Server) {
    let requests = numbered_many(server, 12);
    for step in [1, 7, 64, 97, 300] {
        let mut client = server.connect();
        for part in requests.chunks(step) {
            client.send(part);
        }
        expect_numbers(&mut client, 0..12);
    }
}

fn large_answers_keep_their_order(server: &Server) {
    let mut client = server.connect();
    let lengths = [100_000, 1, 300_000, 0, 65_537, 20];
    let requests: Vec<u8> = lengths.iter().flat_map(|length| server.get(&format!("/bytes/{length}"))).collect();
    client.send(requests);
    for length in lengths {
        let answer = client.response();
        assert_eq!((answer.status, answer.body.len()), (200, length));
    }
}

fn requests_after_connection_close_are_not_answered(server: &Server) {
    let mut client = server.connect();
    let last = server.request("GET /pipeline HTTP/1.1", &["Connection: close"], "");
    client.send([&numbered(server, 0)[..], &numbered(server, 1), &last, &numbered(server, 2)].concat());
    expect_numbers(&mut client, 0..2);
    let answer = client.response();
    assert_eq!((answer.text(), answer.closes()), ("ok", true));
    client.expect_eof();
}

fn requests_before_a_bad_one_are_answered_first(server: &Server) {
    let mut client = server.connect();
    let bad = b"GET /pipeline HTTP/1.1\r\nno colon\r\n\r\n";
    client.send([&server.get("/slow/200")[..], &numbered(server, 0), bad, &numbered(server, 1)].concat());
    assert_eq!(client.response().status, 200);
    expect_numbers(&mut client, 0..1);
    let answer = client.response();
    assert_eq!((answer.status, answer.closes()), (400, true));
    client.expect_eof();
}
