//! Clients that leave, break off or end their side in any state: the end is clean and nothing stays behind.
//!
//! Each server is asked afterwards what it still holds, so these tests fail when a state is forgotten.

use std::time::Duration;

use ringress_tests::{Client, Gauges, Mode, Server, Setup, both_modes, comes_out_once};

both_modes![
    setup = |mode: Mode| Setup::new(mode).with_folder();
    clients_may_leave_in_every_state,
    clients_may_leave_at_once_in_every_state,
    clients_may_leave_amid_every_answer,
    clients_may_leave_a_pipe_that_is_half_shut,
    a_body_that_ends_too_soon_gets_400,
    an_echo_whose_body_ends_too_soon_does_not_look_whole,
    half_close_after_a_request_with_a_large_body_is_answered,
    half_close_before_a_stream_gets_all_of_it,
    a_fault_behind_a_body_is_found_when_it_comes,
    cancelled_requests_are_reset,
    what_is_behind_a_cancelled_request_is_not_answered,
    a_hanging_request_is_told_of_a_reset,
    a_hanging_request_is_told_of_an_end,
    a_hanging_request_holds_up_nobody_else,
    clients_that_come_and_go_by_the_hundred_leave_nothing,
];

/// Beginnings of requests, with what a server does of them: every state that a client can leave a connection in.
fn states(server: &Server) -> Vec<(&'static str, Vec<u8>)> {
    let head = server.get("/pipeline");
    let body =
        |target: &str, framing: &str, part: &[u8]| server.request(&format!("POST {target} HTTP/1.1"), &[framing], part);
    let half = vec![b'h'; 100_000];
    let chunk = [b"20000\r\n", &half[..]].concat();
    let trailing = b"2\r\nab\r\n0\r\nX-Echo: a\r\n\r\n";
    let whole_with_trailers = body("/trailers", "Transfer-Encoding: chunked", trailing);
    server.folder().write("large", vec![b'f'; 20_000_000]);
    vec![
        ("nothing", Vec::new()),
        ("half a head", head[..head.len() / 2].to_vec()),
        ("half a short body, counted", body("/upload", "Content-Length: 10", b"half")),
        ("half a body, counted", body("/upload", "Content-Length: 200000", &half)),
        ("half a chunk, counted", body("/upload", "Transfer-Encoding: chunked", &chunk)),
        ("half a chunk's size, counted", body("/upload", "Transfer-Encoding: chunked", b"2")),
        ("half the trailers", body("/trailers", "Transfer-Encoding: chunked", b"0\r\nX-Echo: a\r\nX-")),
        ("half a body, echoed", body("/echo", "Content-Length: 200000", &half)),
        ("half a chunk, echoed", body("/echo", "Transfer-Encoding: chunked", &chunk)),
        ("half a body, unread", body("/nowhere", "Content-Length: 200000", &half)),
        ("half a body of a GET", server.request("GET /slow/100 HTTP/1.1", &["Content-Length: 200000"], &half)),
        (
            "a continue not followed",
            server.request("POST /upload HTTP/1.1", &["Content-Length: 10", "Expect: 100-continue"], ""),
        ),
        ("a slow answer", server.get("/slow/200")),
        ("a large answer", server.get("/bytes/1000000000")),
        ("a long stream", server.get("/stream/1000000?chunk=1000")),
        ("a drip", server.get("/drip/30?ms=30")),
        ("a file", server.get("/file/large")),
        ("a hang", server.get("/hang")),
        ("a cancel", server.get("/cancel")),
        ("hints", server.get("/hints")),
        ("several of them", [server.get("/slow/100"), server.get("/bytes/5000000"), server.get("/hang")].concat()),
        ("a body behind others", [server.get("/slow/100"), body("/upload", "Content-Length: 200000", &half)].concat()),
        ("an upgraded pipe", upgrade(server, b"")),
        ("a pipe with bytes unread", upgrade(server, &half)),
        ("an answer with trailers", whole_with_trailers.clone()),
        ("trailers behind a large answer", [server.get("/bytes/1000000000"), whole_with_trailers].concat()),
        ("a refused head, drained", [&b"G(T / HTTP/1.1\r\n\r\n"[..], &half].concat()),
        (
            "a refused body, drained",
            body("/upload", "Transfer-Encoding: chunked", &[b"nonsense\r\n", &half[..]].concat()),
        ),
        ("a refused upgrade", server.request("GET /upgrade HTTP/1.1", &["Connection: Upgrade", "Upgrade: h2c"], &half)),
        ("requests behind one that is worked on", [server.get("/work/20"), head.repeat(20)].concat()),
    ]
}

/// A switch of protocols with the first bytes of the other one, which are sent back.
fn upgrade(server: &Server, early: &[u8]) -> Vec<u8> {
    server.request("GET /upgrade HTTP/1.1", &["Connection: Upgrade", "Upgrade: echo"], early)
}

/// Leaves in each state, by a reset and in order, after `until` has seen what it waits for.
fn leave_in_every_state(server: &Server, until: impl Fn(&mut Client)) {
    for (state, beginning) in states(server) {
        for reset in [true, false] {
            let mut client = server.connect().about(state);
            // A cancelled request may have taken the connection with it already.
            let _ = client.try_send(&beginning);
            until(&mut client);
            if reset {
                client.reset();
            }
        }
        server.assert_healthy();
    }
    server.assert_at_rest();
}

fn clients_may_leave_in_every_state(server: &Server) {
    // Round trips to all shards: what was sent before has been seen.
    leave_in_every_state(server, |_| (0..4).for_each(|_| server.assert_healthy()));
    let gauges = server.gauges();
    let broken = ["requests_disconnected", "responses_unsent"];
    for reached in ["connections_upgraded", "requests_rejected", "requests_cancelled"].into_iter().chain(broken) {
        assert!(gauges.of(reached) > 0, "{reached}: {gauges:?}");
    }
}

fn clients_may_leave_at_once_in_every_state(server: &Server) {
    leave_in_every_state(server, |_| {});
}

fn clients_may_leave_amid_every_answer(server: &Server) {
    server.folder().write("large", vec![b'f'; 20_000_000]);
    for target in ["/bytes/100000000", "/stream/100000?chunk=1000", "/drip/20?ms=20", "/file/large"] {
        for (reset, some) in [(true, 1), (false, 1), (true, 300_000), (false, 300_000)] {
            if some > 1 && target.starts_with("/drip") {
                continue;
            }
            let mut client = server.connect().about(target);
            client.send(server.get(target));
            assert_eq!(client.head().status, 200, "{target}");
            let mut came = 0;
            while came < some {
                came += client.some(some - came).len();
            }
            if reset {
                client.reset();
            }
        }
        server.assert_healthy();
    }
    server.assert_at_rest();
}

/// Sends into a pipe and takes nothing back, until the server's socket has refused a part, and so much more; the bytes
/// sent. What the kernel makes of the rest is its own: it may take all of that, now or later.
fn fill_pipe(server: &Server, client: &mut Client, more: usize) -> usize {
    let short = || server.gauges().of("sends_short");
    let before = short();
    let piece = [b'p'; 20_000];
    let mut sent = 0;
    while short() == before {
        assert!(sent < 10_000_000, "a socket with a narrow client is never full");
        client.send(piece);
        sent += piece.len();
    }
    client.send(vec![b'p'; more]);
    sent + more
}

/// The client has ended its side, and does not take what is still sent back: whether that is still the engine's, or
/// all the kernel's, nothing of it is lost, and nothing stays.
fn clients_may_leave_a_pipe_that_is_half_shut(server: &Server) {
    let mut pipes = 0;
    for more in [0, 100_000, 200_000] {
        for reset in [true, false] {
            let mut client = Client::connect_narrow(server.address(), 4 * 1024);
            client.send(upgrade(server, b"early"));
            assert_eq!(client.any_response().status, 101);
            let sent = fill_pipe(server, &mut client, more);
            client.finish_sending();
            // Round trips to all shards: the end of the client's side has been seen, where nothing holds it up.
            (0..4).for_each(|_| server.assert_healthy());
            if reset {
                client.reset();
            } else {
                // It takes all of it after all.
                assert_eq!(client.read_to_end().len(), b"early".len() + sent);
                drop(client);
            }
            server.assert_at_rest();
            pipes += 1;
        }
    }
    assert_eq!(server.gauges().of("connections_upgraded"), pipes);
}

/// Ten clients leave two requests each behind what holds the only consumer; how many were told to be left.
fn leave_the_queue(server: &Server, reset: bool) -> u64 {
    let orphaned = server.gauges().of("requests_disconnected");
    // Co-located, the second comes to the queue with what is behind it, when the first is done.
    let mut holders = [server.connect(), server.connect()];
    holders.iter_mut().for_each(|holder| holder.send(server.get("/work/500")));
    let mut waiting: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send([server.get("/pipeline"), server.get("/slow/10")].concat());
    }
    for client in waiting {
        // A slow test may come when the work is done.
        assert!(!client.has_unread() || holders[0].has_unread(), "answered while the only consumer was held");
        if reset {
            client.reset();
        }
    }
    for holder in &mut holders {
        assert_eq!(holder.response().text(), "worked\n");
    }
    drop(holders);
    server.assert_healthy();
    server.assert_at_rest();
    server.gauges().of("requests_disconnected") - orphaned
}

/// One shard, and one consumer that is held: what comes behind waits in its queue.
#[test]
fn clients_may_leave_while_their_requests_wait_in_the_queue() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode).shards(1).consumers(1));
        leave_the_queue(&server, false);
        // Only a shard of its own sees the resets before the requests are taken.
        let told = comes_out_once(|| leave_the_queue(&server, true) == 20 || mode == Mode::Colocated);
        assert!(told, "never 20 of 20 told to be left");
        server.finish();
    }
}

fn a_body_that_ends_too_soon_gets_400(server: &Server) {
    for (framing, part) in [
        ("Content-Length: 10", &b"half"[..]),
        ("Content-Length: 10", b""),
        ("Content-Length: 1000000", &[b'x'; 300_000]),
        ("Transfer-Encoding: chunked", b""),
        ("Transfer-Encoding: chunked", b"5\r\nhal"),
        ("Transfer-Encoding: chunked", b"5\r\nwhole\r\n"),
        ("Transfer-Encoding: chunked", b"5\r\nwhole\r\n0\r\n"),
    ] {
        let mut client = server.connect().about(framing);
        client.send(server.request("POST /upload HTTP/1.1", &[framing], part));
        client.finish_sending();
        let answer = client.response();
        assert_eq!((answer.status, answer.closes()), (400, true), "{framing}: {answer:?}");
        client.expect_eof();
    }
    server.assert_healthy();
}

fn an_echo_whose_body_ends_too_soon_does_not_look_whole(server: &Server) {
    for (framing, part) in [
        ("Content-Length: 300000", vec![b'x'; 150_000]),
        ("Transfer-Encoding: chunked", [&b"100000\r\n"[..], &vec![b'x'; 150_000]].concat()),
    ] {
        let mut client = server.connect().about(framing);
        client.send(server.request("POST /echo HTTP/1.1", &[framing], part));
        client.finish_sending();
        let (got, _) = client.read_until_gone();
        let text = String::from_utf8_lossy(&got);
        if text.starts_with("HTTP/1.1 200 ") {
            assert!(!text.ends_with("\r\n0\r\n\r\n") && got.len() < 300_000, "{framing}: {} bytes", got.len());
        } else {
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{framing}: {text}");
        }
    }
    server.assert_healthy();
}

fn half_close_after_a_request_with_a_large_body_is_answered(server: &Server) {
    let body = vec![b'b'; 1_000_000];
    let mut client = server.connect();
    client.send(server.post("/upload", &body));
    client.finish_sending();
    assert_eq!(client.response().text(), "1000000");
    client.expect_eof();
    let mut client = server.connect();
    // Small enough to be on its way whole before anything is read.
    client.send(server.post("/echo", &body[..100_000]));
    client.finish_sending();
    assert!(client.response().body == body[..100_000]);
    client.expect_eof();
}

fn half_close_before_a_stream_gets_all_of_it(server: &Server) {
    for (target, length) in [("/stream/300?chunk=10000", 3_000_000), ("/bytes/3000000", 3_000_000)] {
        let mut client = server.connect().about(target);
        client.send(server.get(target));
        client.finish_sending();
        assert_eq!(client.response().body.len(), length, "{target}");
        client.expect_eof();
    }
    let mut client = server.connect();
    client.send(server.get("/drip/4?ms=30"));
    client.finish_sending();
    assert_eq!(client.response().status, 200);
    client.expect_eof();
}

fn a_fault_behind_a_body_is_found_when_it_comes(server: &Server) {
    let mut client = server.connect();
    let body = "x".repeat(100_000);
    client.send(server.post("/upload", &body));
    client.send("G(T / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().text(), "100000");
    let answer = client.response();
    assert_eq!((answer.status, answer.closes()), (400, true));
    client.expect_eof();
    let mut client = server.connect();
    let framed = format!("{:x}\r\n{body}\r\nnonsense\r\n", body.len());
    client.send(server.request("POST /upload HTTP/1.1", &["Transfer-Encoding: chunked"], framed));
    let answer = client.response();
    assert_eq!((answer.status, answer.closes()), (400, true), "{answer:?}");
    client.expect_eof();
}

fn cancelled_requests_are_reset(server: &Server) {
    let before = server.gauges().of("requests_cancelled");
    for _ in 0..20 {
        let mut client = server.connect();
        client.send(server.get("/cancel"));
        client.expect_reset();
    }
    let after = server.gauges().of("requests_cancelled");
    assert_eq!(after - before, 20);
    server.assert_healthy();
}

fn what_is_behind_a_cancelled_request_is_not_answered(server: &Server) {
    let mut client = server.connect();
    client.send([server.get("/pipeline"), server.get("/cancel"), server.get("/json"), server.get("/slow/50")].concat());
    let (got, in_order) = client.read_until_gone();
    let text = String::from_utf8_lossy(&got);
    assert!(!in_order, "{text}");
    assert!(!text.contains("message") && !text.contains("slow"), "answered out of turn: {text}");
}

fn how_often(text: &str) -> usize {
    text.matches("showcase: /hang: ").count()
}

/// Until the application has one request beside the one that asks.
fn wait_for_hang(server: &Server) {
    let under_way = |gauges: &Gauges| gauges.of("requests_delivered") - gauges.of("requests_answered");
    server.wait_for_gauges("a request that hangs", |gauges| under_way(gauges) == 2);
}

fn a_hanging_request_is_told_of_a_reset(server: &Server) {
    let mut client = server.connect();
    client.send(server.get("/hang"));
    wait_for_hang(server);
    assert!(!client.has_unread(), "a request that hangs is not answered");
    client.reset();
    let said = server.wait_for_stderr(|text| how_often(text) == 1);
    // Gone: the reset came between the delivery and the asking.
    assert!(said.contains("/hang: Reset") || said.contains("/hang: Gone"), "{said}");
}

fn a_hanging_request_is_told_of_an_end(server: &Server) {
    let mut client = server.connect();
    client.send(server.get("/hang"));
    wait_for_hang(server);
    drop(client);
    let said = server.wait_for_stderr(|text| how_often(text) == 1);
    assert!(said.contains("showcase: /hang: "), "{said}");
}

fn a_hanging_request_holds_up_nobody_else(server: &Server) {
    let hanging: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = server.connect();
            client.send([server.get("/hang"), server.get("/pipeline")].concat());
            client
        })
        .collect();
    for _ in 0..20 {
        server.assert_healthy();
    }
    for client in &hanging {
        assert!(!client.has_unread(), "answered before the request that hangs");
    }
    drop(hanging);
    server.wait_for_stderr(|text| how_often(text) == 40);
}

fn clients_that_come_and_go_by_the_hundred_leave_nothing(server: &Server) {
    let states = states(server);
    for round in 0..5 {
        let mut clients: Vec<Client> = Vec::new();
        for (state, beginning) in &states {
            for _ in 0..6 {
                let mut client = server.connect().waiting(Duration::from_secs(20)).about(*state);
                let _ = client.try_send(beginning);
                clients.push(client);
            }
        }
        for (client, number) in clients.into_iter().zip(round..) {
            match number % 3 {
                0 => client.reset(),
                1 => client.finish_sending_if_open(),
                _ => {}
            }
        }
        server.assert_healthy();
    }
}
