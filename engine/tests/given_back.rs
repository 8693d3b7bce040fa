//! Requests that come back from responses which cannot be sent: by every way to answer, still readable, with what came
//! of their bodies, and answered once in the end.

mod common;

use common::{Host, wait_until};
use ringress::{Error, ErrorKind, Request, Response};

const UPGRADE: &str = "GET /x HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";

/// Every way to answer a request by its handle, with what it cannot be answered with.
type Way = (&'static str, fn(Request) -> Error, ErrorKind);

const WAYS: [Way; 9] = [
    ("respond", |request| request.respond(bad()).expect_err("LF"), ErrorKind::Invalid),
    (
        "respond with a body of its own",
        |request| request.respond(bad().body(vec![7; 9000])).expect_err("LF"),
        ErrorKind::Invalid,
    ),
    ("respond in pieces", |request| request.respond(bad().chunk("x")).expect_err("LF"), ErrorKind::Invalid),
    (
        "respond short",
        |request| request.respond(Response::ok().content_length(5)).expect_err("no body"),
        ErrorKind::Invalid,
    ),
    ("respond large", |request| request.respond(large()).expect_err("too large"), ErrorKind::TooLarge),
    ("respond_with", |request| request.respond_with(|_| bad()).expect_err("LF"), ErrorKind::Invalid),
    ("respond_with_completion", |request| request.respond_with_completion(bad()).expect_err("LF"), ErrorKind::Invalid),
    ("start", |request| request.start(bad()).expect_err("LF"), ErrorKind::Invalid),
    ("start with a body", |request| request.start(Response::text("x")).expect_err("body"), ErrorKind::Invalid),
];

fn bad() -> Response<'static> {
    Response::ok().header("Location", format!("/a{}b", '\n'))
}

fn large() -> Response<'static> {
    Response::ok().header("X-Large", "v".repeat(300_000))
}

#[test]
fn a_request_comes_back_from_every_way_to_answer_it_and_is_answered_then() {
    let host = Host::start();
    let mut client = host.connect();
    for (name, way, kind) in WAYS {
        client.get(&format!("/{}", name.len()));
        let request = host.receive();
        let id = request.id();
        let mut error = way(request);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(host.queue.is_open(id), "{name}");
        let request = error.take_request().unwrap_or_else(|| panic!("{name}: the request comes back"));
        assert!(error.take_request().is_none(), "{name}: once");
        assert_eq!((request.id(), request.path()), (id, format!("/{}", name.len()).as_str()));
        // And again.
        let request = way(request).take_request().unwrap_or_else(|| panic!("{name}: it comes back again"));
        request.respond(Response::new(500).body(error.to_string())).expect("open");
        let reply = client.read();
        assert_eq!((reply.status, reply.closes()), (500, false), "{name}: {}", reply.head);
        assert_eq!(reply.text(), error.to_string(), "{name}");
    }
    drop(client);
    host.await_rest();
    assert_eq!((host.settled().requests_abandoned, host.settled().requests_answered), (0, WAYS.len() as u64));
}

#[test]
fn a_body_is_read_on_after_its_request_has_come_back() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf");
    let mut request = host.receive();
    let mut first = [0; 4];
    request.body().fill(&mut first).expect("four bytes");
    let mut request = request.respond(bad()).expect_err("LF").take_request().expect("it comes back");
    client.send("more");
    let rest = request.body().to_bytes(100).expect("the rest");
    request.respond(Response::ok().body([&first[..], &rest].concat())).expect("open");
    assert_eq!(client.read().text(), "halfmore");
}

#[test]
fn what_can_be_no_upgrade_is_answered_some_other_way() {
    let host = Host::start();
    let mut client = host.connect();
    // A request that asks for none, a protocol that was not asked for, and a field that cannot be sent.
    for (asks, response) in [
        ("GET /x HTTP/1.1\r\nHost: test\r\n\r\n", Response::switching("echo/1")),
        (UPGRADE, Response::switching("other".to_owned())),
        (UPGRADE, Response::switching("echo/1").header("x-a", "1\n")),
    ] {
        client.send(asks);
        let mut error = host.receive().upgrade(response).expect_err("not this");
        let request = error.take_request().expect("it comes back");
        request.respond(Response::new(400).body(error.to_string())).expect("open");
        assert_eq!(client.read().status, 400, "{error}");
    }
    client.send(UPGRADE);
    let mut error = host.receive().upgrade(Response::switching("other")).expect_err("not asked for");
    let mut pipe =
        error.take_request().expect("it comes back").upgrade(Response::switching("echo/1")).expect("asked for");
    pipe.finish().expect("open");
}

#[test]
fn a_request_that_is_over_does_not_come_back() {
    let host = Host::start();
    for (name, way, _) in WAYS {
        let client = host.connect();
        let mut second = host.connect();
        second.get("/");
        let request = host.receive();
        host.queue.respond(request.id(), Response::ok()).expect("open");
        let mut error = way(request);
        assert!(error.is_gone(), "{name}: {error}");
        assert!(error.take_request().is_none(), "{name}");
        drop((client, second));
    }
    host.await_rest();
}

#[test]
fn a_request_that_nobody_takes_from_the_error_is_answered_500() {
    let host = Host::start();
    let mut client = host.connect();
    for (name, way, _) in WAYS {
        client.get("/");
        let error = way(host.receive());
        // A clone does not have it.
        assert!(error.clone().take_request().is_none(), "{name}");
        drop(error);
        assert_eq!(client.read().status, 500, "{name}");
    }
    assert_eq!(host.settled().requests_abandoned, WAYS.len() as u64);
}

#[test]
fn a_client_may_leave_while_an_error_has_its_request() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let mut error = host.receive().respond(bad()).expect_err("LF");
    client.reset();
    wait_until("its client is gone", || host.counters().connections_open == 0);
    let request = error.take_request().expect("it comes back");
    assert!(request.respond(Response::ok()).expect_err("nobody is there").is_gone());
    host.await_rest();
}
