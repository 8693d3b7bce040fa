//! How the bytes of a request arrive does not change its response; how a client leaves harms nobody else.
//!
//! A cut is made real by a round trip on another connection of the same single shard: when its response is here, the
//! shard has seen what was sent before it.

use ringress_tests::{Client, Mode, Server, Setup, both_modes};

both_modes![
    setup = |mode: Mode| Setup::new(mode).shards(1);
    a_request_sent_byte_by_byte_is_answered,
    a_head_cut_at_every_byte_is_answered,
    a_chunked_request_cut_at_every_byte_is_answered,
    a_head_and_a_body_sent_apart_are_answered,
    a_large_body_in_odd_pieces_arrives_whole,
    a_second_head_straddling_writes_is_answered,
    a_head_larger_than_a_segment_is_answered,
    half_close_after_the_request_still_gets_the_answer,
    half_close_after_pipelined_requests_still_gets_all_answers,
    half_close_inside_a_request_ends_the_connection,
    half_close_without_a_request_ends_the_connection,
    one_line_end_before_a_request_is_ignored,
    resets_leave_the_server_healthy,
    clients_gone_before_the_answer_leave_the_server_healthy,
    clients_gone_amid_a_large_answer_leave_the_server_healthy,
    idle_connections_do_not_disturb_others,
];

/// A connection whose round trips prove that the shard has read what others sent before.
struct Barrier<'a> {
    server: &'a Server,
    client: Client,
}

impl<'a> Barrier<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, client: server.connect() }
    }

    fn pass(&mut self) {
        assert_eq!(self.client.exchange(self.server.get("/pipeline")).text(), "ok");
    }
}

/// To a route that answers when it has read everything, unlike `/echo`.
fn short_post(server: &Server) -> Vec<u8> {
    server.request("POST /upload HTTP/1.1", &["Content-Type: text/x", "Content-Length: 11"], "eleven byte")
}

fn a_request_sent_byte_by_byte_is_answered(server: &Server) {
    let mut barrier = Barrier::new(server);
    let mut client = server.connect();
    for _ in 0..2 {
        for byte in short_post(server) {
            client.send([byte]);
            barrier.pass();
        }
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (200, "11"));
    }
}

/// Sends `request` once for every place it can be cut in two, each on its own connection; returns the bodies.
fn cut_everywhere(server: &Server, request: &[u8]) -> Vec<String> {
    let mut barrier = Barrier::new(server);
    let cut = |at: usize| {
        let mut client = server.connect();
        client.send(&request[..at]);
        client
    };
    let mut clients: Vec<Client> = (1..request.len()).map(cut).collect();
    barrier.pass();
    for (client, at) in clients.iter_mut().zip(1..) {
        assert!(!client.has_unread(), "answered after {at} bytes: {:?}", client.any_response());
        client.send(&request[at..]);
    }
    clients.iter_mut().map(|client| client.response().text().to_owned()).collect()
}

fn a_head_cut_at_every_byte_is_answered(server: &Server) {
    let request = server.request("GET /baseline11?a=40&b=2 HTTP/1.1", &["Accept: */*"], "");
    for (body, at) in cut_everywhere(server, &request).iter().zip(1..) {
        assert_eq!(body, "42", "cut after {at} bytes");
    }
}

fn a_chunked_request_cut_at_every_byte_is_answered(server: &Server) {
    let chunks = "5;x=y\r\nhello\r\n1\r\n \r\n005\r\nworld\r\n0\r\nX-Trailer: t\r\n\r\n";
    let request = server.request("POST /upload HTTP/1.1", &["Transfer-Encoding: chunked"], chunks);
    for (body, at) in cut_everywhere(server, &request).iter().zip(1..) {
        assert_eq!(body, "11", "cut after {at} bytes");
    }
}

fn a_head_and_a_body_sent_apart_are_answered(server: &Server) {
    let mut barrier = Barrier::new(server);
    let mut client = server.connect();
    let request = short_post(server);
    for cut in [request.len() - 11, request.len() - 10, request.len() - 1] {
        client.send(&request[..cut]);
        barrier.pass();
        assert!(!client.has_unread(), "answered before the body was complete");
        client.send(&request[cut..]);
        assert_eq!(client.response().text(), "11");
    }
}

fn a_large_body_in_odd_pieces_arrives_whole(server: &Server) {
    let mut barrier = Barrier::new(server);
    let body: Vec<u8> = (0..60_001_u32).map(|at| b'a' + u8::try_from(at % 23).expect("small")).collect();
    for piece in [997, 4_095, 16_385] {
        let mut client = server.connect();
        for part in server.post("/echo", &body).chunks(piece) {
            client.send(part);
            barrier.pass();
        }
        assert!(client.response().body == body, "pieces of {piece} bytes arrive altered");
    }
}

fn a_second_head_straddling_writes_is_answered(server: &Server) {
    let mut barrier = Barrier::new(server);
    let (first, second) = (server.get("/baseline11?a=1&b=0"), server.get("/baseline11?a=2&b=0"));
    for cut in [1, 4, 20, second.len() - 3, second.len() - 1] {
        let mut client = server.connect();
        client.send([&first[..], &second[..cut]].concat());
        barrier.pass();
        assert_eq!(client.response().text(), "1", "the first needs nothing of the second");
        client.send([&second[cut..], &first[..cut]].concat());
        assert_eq!(client.response().text(), "2");
        client.send(&first[cut..]);
        assert_eq!(client.response().text(), "1");
    }
}

fn a_head_larger_than_a_segment_is_answered(server: &Server) {
    let mut barrier = Barrier::new(server);
    let long = format!("X-Long: {}", "v".repeat(7_000));
    let request = server.request("GET /headers HTTP/1.1", &[&long], "");
    let mut client = server.connect();
    assert!(client.exchange(&request).text().contains(&long), "sent at once");
    for part in request.chunks(1_448) {
        client.send(part);
        barrier.pass();
    }
    assert!(client.response().text().contains(&long), "sent in segments");
}

fn half_close_after_the_request_still_gets_the_answer(server: &Server) {
    for request in [server.get("/baseline11?a=3&b=4"), server.post("/baseline11?a=3", "4"), server.get("/slow/200")] {
        let mut client = server.connect();
        client.send(&request);
        client.finish_sending();
        let answer = client.response();
        assert_eq!(answer.status, 200);
        assert!(answer.text() == "7" || request.starts_with(b"GET /slow"), "{answer:?}");
        client.expect_eof();
    }
}

fn half_close_after_pipelined_requests_still_gets_all_answers(server: &Server) {
    let mut client = server.connect();
    client.send([server.get("/slow/100"), server.get("/bytes/200000"), server.get("/pipeline")].concat());
    client.finish_sending();
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().body.len(), 200_000);
    assert_eq!(client.response().text(), "ok");
    client.expect_eof();
}

fn half_close_inside_a_request_ends_the_connection(server: &Server) {
    let request = short_post(server);
    for sent in [10, request.len() - 12, request.len() - 5] {
        let mut client = server.connect();
        client.send(&request[..sent]);
        client.finish_sending();
        let rest = client.read_to_end();
        let refused = rest.starts_with(b"HTTP/1.1 400 ") || rest.starts_with(b"HTTP/1.1 408 ");
        assert!(rest.is_empty() || refused, "after {sent} bytes: {:?}", String::from_utf8_lossy(&rest));
    }
    server.assert_healthy();
}

fn half_close_without_a_request_ends_the_connection(server: &Server) {
    let mut fresh = server.connect();
    fresh.finish_sending();
    fresh.expect_eof();
    let mut used = server.connect();
    assert_eq!(used.exchange(server.get("/pipeline")).text(), "ok");
    used.finish_sending();
    used.expect_eof();
}

fn one_line_end_before_a_request_is_ignored(server: &Server) {
    let mut client = server.connect();
    for before in ["\r\n", "", "\r\n"] {
        let answer = client.exchange([before.as_bytes(), &server.get("/pipeline")].concat());
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{before:?}");
    }
    // Old browsers end a POST with a line end that is no part of it.
    client.send([&server.post("/echo", "body")[..], b"\r\n", &server.get("/pipeline")].concat());
    assert_eq!(client.response().text(), "body");
    assert_eq!(client.response().text(), "ok");
}

/// What clients leave behind: nothing, part of a head, part of a body, a request that waits, requests after it.
fn beginnings(server: &Server) -> Vec<Vec<u8>> {
    let post = short_post(server);
    let slow = server.get("/slow/150");
    let chunk = server.request("POST /echo HTTP/1.1", &["Transfer-Encoding: chunked"], "5\r\nhel");
    let queue = [&slow[..], &slow, &server.get("/bytes/100000"), &post[..20]].concat();
    vec![Vec::new(), post[..10].to_vec(), post[..post.len() - 3].to_vec(), chunk, slow, queue]
}

fn resets_leave_the_server_healthy(server: &Server) {
    let mut barrier = Barrier::new(server);
    for beginning in beginnings(server) {
        for seen_first in [true, false] {
            let mut client = server.connect();
            client.send(&beginning);
            if seen_first {
                barrier.pass();
            }
            client.reset();
            server.assert_healthy();
        }
    }
    // The slow requests of the dead have been answered into the void by now.
    assert_eq!(server.answer("/slow/300").status, 200);
    barrier.pass();
}

fn clients_gone_before_the_answer_leave_the_server_healthy(server: &Server) {
    let mut barrier = Barrier::new(server);
    for _ in 0..20 {
        for beginning in beginnings(server) {
            let mut client = server.connect();
            client.send(&beginning);
        }
    }
    barrier.pass();
    assert_eq!(server.answer("/slow/300").status, 200);
    server.assert_healthy();
}

fn clients_gone_amid_a_large_answer_leave_the_server_healthy(server: &Server) {
    for reset in [true, false] {
        for _ in 0..8 {
            let mut client = server.connect();
            client.send([server.get("/bytes/1000000"), server.get("/bytes/1000000")].concat());
            assert_eq!(client.response().body.len(), 1_000_000);
            if reset {
                client.reset();
            }
        }
        server.assert_healthy();
    }
}

fn idle_connections_do_not_disturb_others(server: &Server) {
    let mut idle: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for _ in 0..20 {
        server.assert_healthy();
    }
    for client in &mut idle {
        assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
    }
}
