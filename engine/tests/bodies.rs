//! Request bodies as streams: every way to read them, what bounds them, and what becomes of those that end badly.

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{Client, End, Host, StopOnDrop, WAIT_MAX, await_rest, builder, colocated_with, wait_until};
use ringress::{ErrorKind, Properties, QueueOptions, Request, Response, UrlGroup, block_on};

/// What does not fit sockets and credit together.
const MUCH: usize = 24 << 20;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], chunk: usize, trailers: &str) -> Vec<u8> {
    let mut framed = b"POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for part in body.chunks(chunk) {
        framed.extend(format!("{:x}\r\n", part.len()).bytes());
        framed.extend_from_slice(part);
        framed.extend(b"\r\n");
    }
    framed.extend(format!("0\r\n{trailers}\r\n").bytes());
    framed
}

/// A message of those above, to another path.
fn to(path: &str, message: &[u8]) -> Vec<u8> {
    [b"POST ", path.as_bytes(), &message[b"POST /x".len()..]].concat()
}

/// A group beside a host's own, for what begins with `path`, with properties and the context 8.
fn group_beside(host: &Host, path: &str, properties: Properties) -> UrlGroup {
    let group = host.session.url_group();
    group.set_properties(properties).expect("in range");
    group.bind(&host.queue).expect("of this engine");
    group.add_url(&format!("http://*:{}{path}", host.address.port()), 8).expect("free");
    group
}

fn host_with(properties: Properties) -> Host {
    Host::start_with(builder().properties(properties), QueueOptions::default())
}

type Read = fn(&mut Request) -> Vec<u8>;

/// Each way to read a whole body.
const WAYS: [(&str, Read); 6] = [
    ("read", |request| {
        let (mut whole, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            match request.body().read(&mut buffer).expect("it comes") {
                0 => return whole,
                count => whole.extend_from_slice(&buffer[..count]),
            }
        }
    }),
    ("fill", |request| {
        let mut whole = vec![0; 2 * MUCH];
        let count = request.body().fill(&mut whole).expect("it comes");
        whole.truncate(count);
        whole
    }),
    ("next_chunk", |request| {
        let mut whole = Vec::new();
        while let Some(chunk) = request.body().next_chunk().expect("it comes") {
            whole.extend_from_slice(&chunk);
        }
        whole
    }),
    ("to_bytes", |request| request.body().to_bytes(MUCH).expect("it comes").to_vec()),
    ("io::Read", |request| {
        let mut whole = Vec::new();
        std::io::Read::read_to_end(&mut request.body(), &mut whole).expect("it comes");
        whole
    }),
    ("futures", |request| {
        block_on(async {
            let (mut whole, mut buffer) = (Vec::new(), [0; 777]);
            loop {
                let count = request.body().read_async(&mut buffer).await.expect("it comes");
                whole.extend_from_slice(&buffer[..count]);
                match request.body().next_chunk_async().await.expect("it comes") {
                    Some(chunk) => whole.extend_from_slice(&chunk),
                    None => return whole,
                }
            }
        })
    }),
];

#[test]
fn every_way_to_read_gives_every_byte_once_in_both_modes() {
    let sizes = [0, 1, 100, 4096, 65_536, 1_000_000];
    let check = |mut request: Request, way: usize| {
        let (name, read) = WAYS[way];
        let body = read(&mut request);
        let len = body.len();
        assert!(body == pattern(len), "{name}: {len} bytes, each in its place");
        assert_eq!(request.body().read(&mut [0; 9]).expect("the end stays"), 0, "{name}");
        assert!(request.body().next_chunk().expect("the end stays").is_none(), "{name}");
        request.respond(Response::text(len.to_string())).expect("open");
    };
    let ask = |client: &mut Client| {
        for len in sizes {
            let body = pattern(len);
            for message in [with_length(&body), chunked(&body, 1, ""), chunked(&body, 70_000, "X-T: 1\r\n")] {
                if len > 100_000 && message.len() > 2 * len {
                    continue;
                }
                client.send(message);
                assert_eq!(client.read().text(), len.to_string());
            }
        }
    };
    for way in 0..WAYS.len() {
        let application = |queue: &ringress::RequestQueue| {
            while let Ok(request) = queue.receive() {
                check(request, way);
            }
        };
        colocated_with(builder(), application, |engine, address| {
            ask(&mut Client::connect(address));
            await_rest(engine);
        });
        let host = Host::start();
        let server = common::serve(&host.queue, move |request| check(request, way));
        {
            let _stop = StopOnDrop(&host.engine);
            ask(&mut host.connect());
            host.await_rest();
        }
        server.join().expect("the application ends well");
    }
}

#[test]
fn a_request_is_delivered_before_its_body_which_comes_as_it_is_sent() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    let mut request = host.receive();
    assert_eq!((request.content_length(), request.whole_body()), (Some(10), None));
    assert_eq!(request.body().try_read(&mut [0; 4]).expect("open"), None, "nothing is there yet");
    client.send("hello");
    let mut buffer = [0; 20];
    assert_eq!(request.body().read(&mut buffer).expect("it comes"), 5);
    client.send("world");
    assert_eq!(request.body().fill(&mut buffer[5..]).expect("it comes"), 5);
    assert_eq!(&buffer[..10], b"helloworld");
    request.respond(Response::text("ok")).expect("open");
    assert_eq!(client.read().text(), "ok");
}

#[test]
fn a_body_that_came_with_its_head_is_there_at_once_also_after_it_was_read() {
    let host = Host::start();
    let mut client = host.connect();
    for message in [with_length(b"small"), chunked(b"small", 2, ""), chunked(b"small", 2, "X-A: 1\r\n")] {
        client.send(message);
        let mut request = host.receive();
        assert_eq!(request.whole_body(), Some(&b"small"[..]));
        assert_eq!(&request.body().to_bytes(5).expect("it is there")[..], b"small");
        assert_eq!(request.whole_body(), Some(&b"small"[..]));
        request.respond_with(|request| Response::ok().body(request.whole_body().unwrap_or_default())).expect("open");
        assert_eq!(client.read().body, b"small");
    }
}

#[test]
fn trailers_are_there_after_the_end() {
    let host = Host::start();
    let mut client = host.connect();
    for (body, cut) in [(pattern(10), 0), (pattern(10), 3), (pattern(300_000), 5)] {
        let message = chunked(&body, 1000, "X-Sum: 42\r\nContent-Length: 7\r\nx-more:  b  \r\n");
        let (first, rest) = message.split_at(message.len() - cut);
        let (first, rest) = (first.to_vec(), rest.to_vec());
        let sent = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                client.send(first);
                client
            });
            let mut request = host.receive();
            if cut > 0 {
                assert!(request.trailers().next().is_none(), "not before the end");
            }
            let mut client = sending.join().expect("sent, or the credit holds it");
            client.send(rest);
            assert!(request.body().to_bytes(body.len()).expect("it comes") == body);
            let trailers: Vec<(&[u8], &[u8])> = request.trailers().collect();
            assert_eq!(trailers, [(&b"X-Sum"[..], &b"42"[..]), (&b"x-more"[..], &b"b"[..])], "none that is forbidden");
            request.respond(Response::text("ok")).expect("open");
            client
        });
        client = sent;
        assert_eq!(client.read().text(), "ok");
    }
    drop(client);
    host.await_rest();
}

#[test]
fn no_more_than_the_credit_is_held_for_a_reader_that_stops() {
    let credit = 64 * 1024;
    let host = host_with(Properties::new().request_body_credit(credit));
    let mut client = host.connect();
    let body = pattern(MUCH);
    let message = with_length(&body);
    let sending = std::thread::spawn(move || {
        client.send(message);
        client
    });
    let mut request = host.receive();
    let most = u64::from(credit) / 65_536 + 1;
    wait_until("some of it is there", || host.counters().body_buffers_in_use + host.counters().buffers_in_use > 1);
    let too_much = common::holds_within(Duration::from_millis(300), || {
        let held = host.counters();
        // The multishot receive may have brought some small ones before it ended.
        sending.is_finished() || held.body_buffers_in_use > most || held.buffers_in_use > 40
    });
    assert!(!too_much, "more than the credit is held: {:?}", host.counters());
    assert!(request.body().to_bytes(MUCH).expect("it goes on") == body);
    request.respond(Response::text("ok")).expect("open");
    let mut client = sending.join().expect("all was taken");
    assert_eq!(client.read().text(), "ok");
    drop(client);
    host.await_rest();
}

#[test]
fn a_client_that_sends_byte_by_byte_fills_one_buffer() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 20000\r\n\r\n");
    let mut request = host.receive();
    for byte in pattern(500) {
        client.send([byte]);
    }
    wait_until("it is there", || {
        let counters = host.counters();
        counters.body_buffers_in_use + counters.buffers_in_use > 0
    });
    assert!(host.counters().body_buffers_in_use + host.counters().buffers_in_use <= 3, "{:?}", host.counters());
    client.send(&pattern(20_000)[500..]);
    assert!(request.body().to_bytes(20_000).expect("it comes") == pattern(20_000));
    request.respond(Response::text("ok")).expect("open");
    assert_eq!(client.read().text(), "ok");
}

#[test]
fn behind_a_begun_answer_a_failed_body_does_not_claim_that_its_client_was_told() {
    let host = host_with(Properties::new().request_body_max(1000));
    let mut client = host.connect();
    let message = chunked(&pattern(1001), 500, "");
    client.send(&message[..300]);
    let mut stream = host.receive().start(Response::ok()).expect("open");
    client.send(&message[300..]);
    let error = stream.body().expect("by handle").to_bytes(5000).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.to_string().contains("A response had begun") && !error.to_string().contains("answered"), "{error}");
    drop(stream);
    wait_until("the answer is cut", || host.counters().responses_truncated == 1);
}

#[test]
fn a_body_beyond_its_limit_is_refused_or_cut_with_413() {
    let host = host_with(Properties::new().request_body_max(1000));
    let mut client = host.connect();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(client.read().status, 413, "before anybody has seen it");
    assert_eq!(client.read_end(), End::Closed);
    assert!(host.queue.try_receive().expect("open").is_none());

    for early in [true, false] {
        let mut client = host.connect();
        let message = chunked(&pattern(1001), 500, "");
        let cut = if early { message.len() } else { 300 };
        client.send(&message[..cut]);
        if early {
            assert_eq!(client.read().status, 413);
        } else {
            let mut request = host.receive();
            client.send(&message[cut..]);
            let error = request.body().to_bytes(5000).expect_err("too long");
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
            assert!(error.to_string().contains("request_body_max"), "{error}");
            assert!(request.respond(Response::ok()).expect_err("answered").is_gone());
            assert_eq!(client.read().status, 413);
        }
        assert_eq!(client.read_end(), End::Closed);
    }
    let mut client = host.connect();
    client.send(chunked(&pattern(1000), 500, ""));
    let mut request = host.receive();
    assert_eq!(request.body().to_bytes(1000).expect("as much as there may be").len(), 1000);
    request.respond(Response::text("ok")).expect("open");
    assert_eq!(client.read().text(), "ok");
    drop(client);
    host.await_rest();
}

#[test]
fn the_limit_of_a_body_is_its_groups_own() {
    let host = Host::start();
    let _limited = group_beside(&host, "/limited/", Properties::new().request_body_max(1000));
    let server = common::serve(&host.queue, |mut request| match request.body().to_bytes(5000) {
        Ok(body) => {
            let text = format!("{} {}", request.url_context(), body.len());
            request.respond(Response::text(text)).expect("open");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}"),
    });
    {
        let _stop = StopOnDrop(&host.engine);
        let mut client = host.connect();
        wait_until("the route is known", || client.ask("/limited/").text() == "8 0");
        let (fits, body) = (pattern(1000), pattern(1001));
        for message in [with_length(&body), chunked(&body, 500, "")] {
            client.send(&message);
            assert_eq!(client.read().text(), "7 1001");
            let mut refused = host.connect();
            refused.send(to("/limited/", &message));
            assert_eq!(refused.read().status, 413);
        }
        for message in [with_length(&fits), chunked(&fits, 500, "")] {
            client.send(to("/limited/", &message));
            assert_eq!(client.read().text(), "8 1000");
        }
        drop(client);
        host.await_rest();
    }
    server.join().expect("ends well");
}

#[test]
fn the_credit_of_a_body_is_its_groups_own() {
    let host = Host::start();
    host.group.set_properties(Properties::new().request_body_credit(16 * 1024)).expect("in range");
    let _wide = group_beside(&host, "/wide/", Properties::new().request_body_credit(2 << 20));
    let mut client = host.connect();
    wait_until("the route is known", || {
        client.get("/wide/");
        let request = host.receive();
        let context = request.url_context();
        request.respond(Response::ok()).expect("open");
        client.read();
        context == 8
    });
    let held = || host.counters().body_buffers_in_use;
    let body = pattern(MUCH);
    for path in ["/x", "/wide/"] {
        let message = to(path, &with_length(&body));
        let sending = std::thread::spawn(move || {
            client.send(message);
            client
        });
        let mut request = host.receive();
        // Of 64 KiB each; the engine's own credit would hold four or five.
        if path == "/wide/" {
            wait_until("much of it is there", || held() >= 16);
        } else {
            assert!(!common::holds_within(Duration::from_millis(300), || held() > 1), "more than the credit is held");
        }
        assert!(request.body().to_bytes(MUCH).expect("it goes on") == body);
        request.respond(Response::text("ok")).expect("open");
        client = sending.join().expect("all was taken");
        assert_eq!(client.read().text(), "ok");
    }
    drop(client);
    host.await_rest();
}

#[test]
fn to_bytes_takes_no_more_than_it_is_told() {
    let host = Host::start();
    for message in [with_length(&pattern(200_000)), chunked(&pattern(200_000), 1000, "")] {
        let mut client = host.connect();
        client.send(message);
        let mut request = host.receive();
        let error = request.body().to_bytes(100_000).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().contains("100000"), "{error}");
        request.respond(Response::new(413)).expect("it is the application's to answer");
        assert_eq!(client.read().status, 413);
    }
}

#[test]
fn a_malformed_body_is_answered_400_and_its_reader_told_why() {
    let host = Host::start();
    let head = "POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (bad, word) in [("zz\r\n", "chunked body"), ("5\r\nhello!", "chunked body"), ("5;a\nhello", "LF")] {
        let mut client = host.connect();
        client.send(head);
        let mut request = host.receive();
        client.send(bad);
        let error = request.body().to_bytes(100).expect_err("malformed");
        assert!(error.is_gone() && error.to_string().contains(word), "{bad:?}: {error}");
        assert!(request.respond(Response::ok()).expect_err("it was answered").is_gone());
        let reply = client.read();
        assert_eq!((reply.status, reply.closes()), (400, true), "{bad:?}");
        assert_eq!(client.read_end(), End::Closed);
    }
    host.await_rest();
}

#[test]
fn a_body_that_is_cut_ends_its_reader() {
    let host = Host::start();
    // The client ends its side: it can still be told.
    let mut client = host.connect();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    let mut request = host.receive();
    client.stream.shutdown(std::net::Shutdown::Write).expect("open");
    let error = request.body().to_bytes(100).expect_err("cut");
    assert!(error.is_gone(), "{error}");
    assert_eq!(client.read().status, 400);
    assert_eq!(client.read_end(), End::Closed);
    drop(request);

    // The client is gone, while a thread waits.
    let mut client = host.connect();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    let mut request = host.receive();
    let (waiting, waits) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4];
        request.body().fill(&mut buffer).expect("it is there");
        waiting.send(()).expect("the test runs");
        request.body().read(&mut buffer).expect_err("the client is gone").is_gone()
    });
    waits.recv_timeout(WAIT_MAX).expect("it waits");
    client.reset();
    assert!(reader.join().expect("ends"));
    host.await_rest();
}

#[test]
fn a_body_nobody_reads_does_not_disturb_the_next_request() {
    let host = Host::start();
    let mut client = host.connect();
    for message in [with_length(&pattern(500_000)), chunked(&pattern(500_000), 3000, "X-T: 1\r\n")] {
        client.send([message, b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n".to_vec()].concat());
        host.receive().respond(Response::text("unread")).expect("open");
        assert_eq!(client.read().text(), "unread");
        let next = host.receive();
        assert_eq!(next.path(), "/next");
        next.respond(Response::text("next")).expect("open");
        assert_eq!(client.read().text(), "next");
    }
    drop(client);
    host.await_rest();
}

#[test]
fn an_answer_that_leaves_too_much_unread_ends_the_connection_and_says_so() {
    let host = Host::start();
    let mut client = host.connect();
    client.send(format!("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 100 << 20));
    host.receive().respond(Response::text("no")).expect("open");
    let reply = client.read();
    assert_eq!((reply.text(), reply.closes()), ("no", true));
    assert_eq!(client.read_end(), End::Closed);
    drop(client);
    host.await_rest();
}

#[test]
fn continue_is_sent_when_somebody_waits_and_never_after_the_answer() {
    let host = Host::start();
    let head = "POST /x HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = host.connect();
    client.send(head);
    let mut request = host.receive();
    assert_eq!(request.body().try_read(&mut [0; 5]).expect("open"), None);
    assert!(!client.is_readable_within(Duration::from_millis(100)), "nobody has waited for the body");
    let reader = std::thread::spawn(move || {
        let body = request.body().to_bytes(5).expect("it comes");
        request.respond(Response::ok().body(body)).expect("open");
    });
    assert_eq!(client.read().status, 100);
    client.send("hello");
    assert_eq!(client.read().text(), "hello");
    reader.join().expect("ends well");

    // Answered unread: nobody knows whether the body comes, so nothing can follow.
    client.send(head);
    host.receive().respond(Response::new(403)).expect("open");
    let reply = client.read();
    assert_eq!((reply.status, reply.closes()), (403, true));
    assert_eq!(client.read_end(), End::Closed);
    drop(client);
    host.await_rest();
}

#[test]
fn a_reader_is_gone_when_its_request_was_answered() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    let mut request = host.receive();
    host.queue.respond(request.id(), Response::text("by id")).expect("open");
    assert_eq!(client.read().text(), "by id");
    let mut buffer = [0; 10];
    assert_eq!(request.body().read(&mut buffer).expect("what came with the head stays"), 4);
    assert!(request.body().read(&mut buffer).expect_err("over").is_gone());
    drop((request, client));
    host.await_rest();
}

#[test]
fn many_bodies_at_once_share_few_large_buffers() {
    let host = Host::start_with(builder().body_buffers(4, 65_536), QueueOptions::default());
    let body = pattern(1 << 20);
    let server = common::serve(&host.queue, |mut request| {
        let whole = request.body().to_bytes(1 << 20).expect("it comes");
        assert!(whole == pattern(1 << 20));
        request.respond(Response::text("ok")).expect("open");
    });
    {
        let _stop = StopOnDrop(&host.engine);
        std::thread::scope(|scope| {
            for _ in 0..12 {
                let (mut client, body) = (host.connect(), &body);
                scope.spawn(move || {
                    for _ in 0..3 {
                        client.send(with_length(body));
                        assert_eq!(client.read().text(), "ok");
                    }
                });
            }
        });
        host.await_rest();
    }
    assert_eq!(server.join().expect("ends well"), 36);
}

#[test]
fn streams_can_be_echoed_at_any_size() {
    let host = Host::start();
    let server = common::serve(&host.queue, |request| {
        let mut stream = request.start(Response::ok()).expect("open");
        let mut buffer = vec![0; 50_000];
        loop {
            match stream.body().expect("by handle").read(&mut buffer).expect("it comes") {
                0 => break,
                count => stream.send(&buffer[..count]).expect("open"),
            }
        }
        stream.finish().expect("open");
    });
    {
        let _stop = StopOnDrop(&host.engine);
        let (reader, body) = (host.connect(), pattern(MUCH));
        let mut writer = Client::over(reader.stream.try_clone().expect("a socket"));
        std::thread::scope(|scope| {
            let message = with_length(&body);
            scope.spawn(move || writer.send(message));
            let mut peer = common::peer::Peer::over(reader.stream);
            assert!(peer.head().contains("chunked"));
            assert!(peer.chunked().0 == body, "every byte in its place");
        });
        host.await_rest();
    }
    server.join().expect("ends well");
}

#[test]
fn a_client_that_leaves_while_nobody_reads_its_body_is_noticed() {
    let host = Host::start();
    let mut client = host.connect();
    client.stream.set_nonblocking(true).expect("a socket");
    let head = format!("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {MUCH}\r\n\r\n");
    std::io::Write::write_all(&mut client.stream, head.as_bytes()).expect("the socket is empty");
    let body = pattern(1 << 20);
    wait_until("no more is taken", || std::io::Write::write(&mut client.stream, &body).is_err());
    let request = host.receive();
    let gone = request.on_disconnect();
    client.reset();
    let told = common::within(WAIT_MAX, "being told", move || gone.wait());
    assert_eq!(told, ringress::Disconnected::Reset);
    assert!(request.respond(Response::ok()).expect_err("the client is gone").is_gone());
    host.await_rest();
}
