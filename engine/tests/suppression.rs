//! Answers that have no body, or another framing than usual: every byte on the wire, for every way to answer, towards
//! HTTP/1.1 and HTTP/1.0 (RFC 9110 sections 6.4.1, 8.6, 9.3.2, 15.2 to 15.4; RFC 9112 section 6).

mod common;

use std::fmt::Write as _;

use common::peer::{Peer, file_of, pattern};
use common::{Host, builder};
use ringress::{FileRange, QueueOptions, Request, Response};

/// How an application answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Handle,
    Id,
    Completion,
}

const WHOLE: [Way; 3] = [Way::Handle, Way::Id, Way::Completion];

/// What an application gives as the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    Borrowed,
    /// More than the response area holds.
    Large,
    File,
    /// Memory and a file.
    Mixed,
}

const BODIES: [Given; 4] = [Given::Borrowed, Given::Large, Given::File, Given::Mixed];
const LARGE: usize = 70_000;

impl Given {
    fn len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Borrowed | Self::File => 5,
            Self::Large => LARGE,
            Self::Mixed => 10,
        }
    }

    fn content(self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Borrowed | Self::File => pattern(0, 5),
            Self::Large => pattern(0, LARGE),
            Self::Mixed => [pattern(0, 5), pattern(0, 5)].concat(),
        }
    }

    fn put(self, response: Response<'static>) -> Response<'static> {
        let file = || FileRange::new(file_of(5), 0..5);
        match self {
            Self::Nothing => response,
            Self::Borrowed => response.body(b"\0\x01\x02\x03\x04"),
            Self::Large => response.body(pattern(0, LARGE)),
            Self::File => response.body(file()),
            Self::Mixed => response.body(pattern(0, 5)).chunk(file()),
        }
    }
}

/// A host whose answers have no field but Date of their own accord.
fn host() -> Host {
    Host::start_with(builder().server(""), QueueOptions::default())
}

/// Sends a request, has it answered, and gives all bytes that come, up to the end of the connection, Date left out. On
/// HTTP/1.1 another request follows on the same connection, so that a byte too many shows.
fn exchange(host: &Host, method: &str, version: &str, answer: impl Fn(Request)) -> String {
    let mut peer = Peer::ask(host.address, method, version);
    answer(host.receive());
    if version == "1.1" {
        let last = b"GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut peer.stream, last).expect("the connection goes on");
        host.receive().respond(Response::new(299).body("last")).expect("open");
    }
    let mut text = String::new();
    for byte in peer.rest().expect("an orderly end") {
        text.push(char::from(byte));
    }
    while let Some(at) = text.find("Date: ") {
        text.replace_range(at..at + "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len(), "");
    }
    text
}

/// What [`exchange`] gives for a head of these lines and a body.
fn expected(version: &str, head: &str, body: &[u8]) -> String {
    let mut text = String::from("HTTP/1.1 ");
    head.lines().for_each(|line| write!(text, "{line}\r\n").expect("a string"));
    text += "\r\n";
    text.extend(body.iter().copied().map(char::from));
    if version == "1.1" {
        text += "HTTP/1.1 299 \r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast";
    }
    text
}

/// A head: status line, and the framing field if there is one, behind what HTTP/1.0 is told of the connection.
fn head(version: &str, status: &str, framing: &str) -> String {
    let connection = if version == "1.0" { "\nConnection: close" } else { "" };
    format!("{status}{connection}\n{framing}")
}

fn respond(host: &Host, way: Way, request: Request, response: Response<'_>) -> ringress::Result<()> {
    match way {
        Way::Handle => request.respond(response),
        Way::Id => {
            let id = request.into_id();
            let answered = host.queue.respond(id, response);
            if answered.is_err() {
                // By id, a refused answer leaves the request open.
                host.queue.respond(id, Response::new(500)).expect("still open");
            }
            answered
        }
        Way::Completion => request.respond_with_completion(response).map(drop),
    }
}

/// Status line, Content-Length beside which nothing else is said, and whether there is a body.
fn whole(host: &Host, method: &str, make: impl Fn() -> Response<'static>, lines: (&str, &str), body: &[u8]) {
    for way in WHOLE {
        for version in ["1.1", "1.0"] {
            let got = exchange(host, method, version, |request| {
                respond(host, way, request, make()).expect("valid");
            });
            let wanted = expected(version, &head(version, lines.0, lines.1), body);
            assert!(got == wanted, "{way:?} {method} {version} {lines:?}: {:?}", got.get(..300).unwrap_or(&got));
        }
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let host = host();
    for given in BODIES {
        for (status, line) in [(200, "200 OK"), (404, "404 Not Found"), (206, "206 Partial Content")] {
            let make = || given.put(Response::new(status));
            let length = format!("Content-Length: {}", given.len());
            whole(&host, "GET", make, (line, &length), &given.content());
            whole(&host, "HEAD", make, (line, &length), b"");
        }
    }
    whole(&host, "HEAD", || Response::ok().content_length(1 << 40), ("200 OK", "Content-Length: 1099511627776"), b"");
    whole(&host, "HEAD", Response::ok, ("200 OK", "Content-Length: 0"), b"");
    whole(&host, "GET", Response::ok, ("200 OK", "Content-Length: 0"), b"");
    host.await_rest();
}

#[test]
fn answers_that_have_no_body_have_no_framing_either() {
    let host = host();
    for method in ["GET", "HEAD", "DELETE"] {
        whole(&host, method, || Response::new(204), ("204 No Content", ""), b"");
        whole(&host, method, || Response::new(304), ("304 Not Modified", ""), b"");
        // The length that the answer to a GET without conditions would have had.
        let with_length = || Response::new(304).content_length(9);
        whole(&host, method, with_length, ("304 Not Modified", "Content-Length: 9"), b"");
        whole(&host, method, || Response::new(205), ("205 Reset Content", "Content-Length: 0"), b"");
    }
    host.await_rest();
}

#[test]
fn bodies_and_lengths_where_none_may_be_are_refused_and_answered_500() {
    let host = host();
    let mut cases: Vec<(u16, Given, Option<u64>, &str)> = vec![
        (100, Given::Nothing, None, "status 100 is not final"),
        (101, Given::Nothing, None, "status 101 is not final"),
        (199, Given::Borrowed, None, "status 199 is not final"),
        (204, Given::Nothing, Some(0), "status 204 has no content_length"),
        (204, Given::Nothing, Some(5), "status 204 has no content_length"),
        (205, Given::Nothing, Some(5), "status 205 has no content_length"),
        (200, Given::Borrowed, Some(6), "content_length is 6, but the body has 5 bytes"),
        (200, Given::Mixed, Some(9), "content_length is 9, but the body has 10 bytes"),
    ];
    for status in [204, 205, 304] {
        cases.extend(BODIES.map(|given| (status, given, None, "has no body, but this one has")));
    }
    for (status, given, length, told) in cases {
        for (way, method) in WHOLE.into_iter().flat_map(|way| [(way, "GET"), (way, "HEAD")]) {
            let got = exchange(&host, method, "1.1", |request| {
                let response = given.put(Response::new(status));
                let response = length.into_iter().fold(response, Response::content_length);
                let error = respond(&host, way, request, response).expect_err("it cannot be sent");
                assert!(error.to_string().contains(told), "{error}");
            });
            assert!(got.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{got}");
            assert!(got.ends_with("\r\n\r\nlast"), "the next answer is found: {got}");
            assert_eq!(got.contains("\r\n\r\nHTTP/1.1 299"), method == "HEAD" || way == Way::Id, "{got}");
        }
    }
    host.await_rest();
}

/// As [`whole`], for an answer that is started, given nothing, memory or a file, and finished. `body` is that of five
/// bytes.
fn streamed(host: &Host, method: &str, version: &str, response: &Response<'static>, lines: &str, body: &[u8]) {
    for given in [Given::Nothing, Given::Borrowed, Given::File] {
        let got = exchange(host, method, version, |request| {
            let mut stream = request.start(response.clone()).expect("valid");
            let sent = match given {
                Given::Nothing => Ok(()),
                Given::File => stream.send(FileRange::new(file_of(5), 0..5)),
                _ => stream.send(pattern(0, 5)),
            };
            sent.and_then(|()| stream.finish()).map(drop).expect("it is sent, or dropped");
        });
        let body = match given {
            Given::Nothing if body.starts_with(b"5\r\n") => b"0\r\n\r\n",
            Given::Nothing => &[][..],
            _ => body,
        };
        assert_eq!(got, expected(version, lines, body), "{method} {version} {given:?}");
    }
}

#[test]
fn streams_are_framed_as_their_client_and_their_status_allow() {
    let host = host();
    let chunked = "200 OK\nTransfer-Encoding: chunked";
    let (plain, known) = (Response::ok(), Response::ok().content_length(5));
    streamed(&host, "GET", "1.1", &plain, chunked, b"5\r\n\0\x01\x02\x03\x04\r\n0\r\n\r\n");
    streamed(&host, "HEAD", "1.1", &plain, chunked, b"");
    streamed(&host, "HEAD", "1.1", &known, "200 OK\nContent-Length: 5", b"");
    let close = "\nConnection: close";
    streamed(&host, "GET", "1.0", &plain, &format!("200 OK{close}"), &pattern(0, 5));
    streamed(&host, "HEAD", "1.0", &plain, &format!("200 OK{close}"), b"");
    streamed(&host, "HEAD", "1.0", &known, &format!("200 OK{close}\nContent-Length: 5"), b"");
    for method in ["GET", "HEAD"] {
        for (version, close) in [("1.1", ""), ("1.0", close)] {
            let response = |status| Response::new(status);
            streamed(&host, method, version, &response(204), &format!("204 No Content{close}"), b"");
            streamed(&host, method, version, &response(304), &format!("304 Not Modified{close}"), b"");
            let said = format!("304 Not Modified{close}\nContent-Length: 9");
            streamed(&host, method, version, &response(304).content_length(9), &said, b"");
        }
    }
    host.await_rest();
}

#[test]
fn a_streamed_205_is_empty_and_says_so() {
    let host = host();
    for version in ["1.1", "1.0"] {
        let got = exchange(&host, "GET", version, |request| {
            let mut stream = request.start(Response::new(205)).expect("valid");
            stream.send("").expect("nothing is nothing");
            stream.finish().expect("whole");
        });
        assert_eq!(got, expected(version, &head(version, "205 Reset Content", "Content-Length: 0"), b""));
    }
    let mut peer = Peer::get(host.address);
    let mut stream = host.receive().start(Response::new(205)).expect("valid");
    let error = stream.send("x").expect_err("there is no body");
    assert!(error.to_string().contains("content_length is 0"), "{error}");
    drop(stream);
    assert_eq!(peer.rest(), None);
    host.await_rest();
}

#[test]
fn informational_answers_have_neither_body_nor_framing_and_old_clients_get_none() {
    let host = host();
    for method in ["GET", "HEAD"] {
        let got = exchange(&host, method, "1.1", |request| {
            request.inform(103, &[("Link", "</a>")]).expect("open");
            request.inform(102, &[]).expect("open");
            request.respond(Response::ok().body("hello")).expect("open");
        });
        let body: &[u8] = if method == "GET" { b"hello" } else { b"" };
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        assert_eq!(got, early.to_owned() + &expected("1.1", "200 OK\nContent-Length: 5", body));
    }
    let got = exchange(&host, "GET", "1.0", |request| {
        request.inform(103, &[("Link", "</a>")]).expect_err("HTTP/1.0 has none");
        request.respond(Response::ok().body("hello")).expect("open");
    });
    assert_eq!(got, expected("1.0", &head("1.0", "200 OK", "Content-Length: 5"), b"hello"));
    host.await_rest();
}

#[test]
fn the_engines_own_answers_to_head_have_no_body() {
    let host = host();
    for version in ["1.1", "1.0"] {
        let get = exchange(&host, "GET", version, drop);
        let head = exchange(&host, "HEAD", version, drop);
        let end = get.find("\r\n\r\n").expect("a head") + 4;
        assert_eq!(head[..end], get[..end], "the same fields");
        let behind = if version == "1.1" { "HTTP/1.1 299" } else { "" };
        assert_eq!(head[end..].get(..behind.len()), Some(behind), "{head}");
        assert_eq!(head.len() == end, version == "1.0", "{head}");
        assert!(get[end..].starts_with("500 "), "{get}");
    }
}

#[test]
fn an_old_client_that_keeps_its_connection_finds_every_end() {
    let host = host();
    let mut peer = Peer::get(host.address);
    host.receive().respond(Response::new(204)).expect("open");
    peer.head();
    for method in ["HEAD", "GET"] {
        let request = format!("{method} /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        std::io::Write::write_all(&mut peer.stream, request.as_bytes()).expect("open");
        host.receive().respond(Response::ok().body("hello")).expect("open");
        let head = peer.head();
        assert!(head.contains("\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"), "{head}");
    }
    assert_eq!(peer.take(5), b"hello");
    for status in [204, 304] {
        let request = b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        std::io::Write::write_all(&mut peer.stream, request).expect("open");
        host.receive().start(Response::new(status)).expect("open").finish().expect("whole");
        let head = peer.head();
        assert!(head.contains("\r\nConnection: keep-alive\r\n") && !head.contains("Content-Length"), "{head}");
    }
    // Without a length only the end of the connection ends a body; HEAD has none to end.
    std::io::Write::write_all(&mut peer.stream, b"HEAD /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("open");
    host.receive().start(Response::ok()).expect("open").finish().expect("whole");
    let head = peer.head();
    assert!(head.contains("\r\nConnection: keep-alive\r\n") && !head.contains("Transfer-Encoding"), "{head}");
    std::io::Write::write_all(&mut peer.stream, b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("open");
    let mut stream = host.receive().start(Response::ok()).expect("open");
    stream.send("to the end").expect("open");
    stream.finish().expect("whole");
    assert!(peer.head().contains("\r\nConnection: close\r\n"));
    assert_eq!(peer.rest().as_deref(), Some(&b"to the end"[..]));
    drop(peer);
    host.await_rest();
}

#[test]
fn an_application_cannot_grant_a_tunnel_by_mistake() {
    let host = host();
    let ask = || {
        let mut peer = Peer { stream: host.connect().stream, input: Vec::new() };
        let request = format!("CONNECT test:{} HTTP/1.1\r\nHost: test\r\n\r\n", host.address.port());
        std::io::Write::write_all(&mut peer.stream, request.as_bytes()).expect("open");
        (peer, host.receive())
    };
    for status in [200, 204, 299] {
        let (mut peer, request) = ask();
        let error = request.respond(Response::new(status)).expect_err("what follows would be taken for the tunnel");
        assert!(error.to_string().contains("CONNECT"), "{error}");
        assert!(peer.head().starts_with("HTTP/1.1 500 "));
        let (mut peer, request) = ask();
        request.start(Response::new(status)).expect_err("the same, in pieces");
        assert!(peer.head().starts_with("HTTP/1.1 500 "));
    }
    let (mut peer, request) = ask();
    request.respond(Response::new(405).header("Allow", "GET").body("no")).expect("a refusal is an answer like any");
    assert!(peer.head().contains("\r\nContent-Length: 2\r\n"));
    assert_eq!(peer.take(2), b"no");
}
