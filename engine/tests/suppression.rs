//! Answers that have no body, or another framing than usual: every byte on the wire, for every way to answer, towards
//! HTTP/1.1 and HTTP/1.0 (RFC 9110 sections 6.4.1, 8.6, 9.3.2, 15.2 to 15.4; RFC 9112 section 6).

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use common::peer::{Peer, file_of, pattern};
use common::{Client, Host, StopOnDrop, WAIT_MAX, await_rest, builder, colocated_with};
use ringress::{Engine, FileRange, QueueOptions, Request, RequestQueue, Response, ResponseStream};

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

/// What becomes of one request.
type Job = Box<dyn FnOnce(&RequestQueue, Request) + Send>;

/// An application that does as it is told, and where its clients find it. Its responses have no field but Date of their
/// own accord.
struct Told {
    address: SocketAddr,
    jobs: Sender<Job>,
}

impl Told {
    /// What is to become of the request after those that were spoken of before.
    fn next(&self, job: impl FnOnce(&RequestQueue, Request) + Send + 'static) {
        self.jobs.send(Box::new(job)).expect("the application lives");
    }

    fn next_responds(&self, response: Response<'static>) {
        self.next(|_, request| request.respond(response).expect("open"));
    }
}

/// Runs a test against an application in queue mode and in co-located mode, and sees that all comes back.
fn in_both_modes(test: impl Fn(&Told)) {
    let application = |jobs: Receiver<Job>| {
        move |queue: &RequestQueue| {
            while let Ok(request) = queue.receive() {
                let job = jobs.recv_timeout(WAIT_MAX).expect("every request is spoken of");
                job(queue, request);
            }
        }
    };
    let run = |engine: &Engine, address, jobs| {
        test(&Told { address, jobs });
        await_rest(engine);
    };
    let bare = || builder().server("").deliver_connect(true);
    let host = Host::start_with(bare(), QueueOptions::default());
    let (jobs, to_do) = mpsc::channel();
    thread::scope(|scope| {
        let stop = StopOnDrop(&host.engine);
        let consumer = scope.spawn(|| application(to_do)(&host.queue));
        run(&host.engine, host.address, jobs);
        drop(stop);
        consumer.join().expect("the application ends well");
    });
    let (jobs, to_do) = mpsc::channel();
    colocated_with(bare(), application(to_do), |engine, address| run(engine, address, jobs));
}

/// Sends a request, has it answered, and gives all bytes that come, up to the end of the connection, Date left out. On
/// HTTP/1.1 another request follows on the same connection, so that a byte too many shows.
fn exchange(
    told: &Told,
    method: &str,
    version: &str,
    answer: impl FnOnce(&RequestQueue, Request) + Send + 'static,
) -> String {
    told.next(answer);
    let mut peer = Peer::ask(told.address, method, version);
    if version == "1.1" {
        told.next_responds(Response::new(299).body("last"));
        let last = b"GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        peer.stream.write_all(last).expect("the connection goes on");
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

fn respond(queue: &RequestQueue, way: Way, request: Request, response: Response<'_>) -> ringress::Result<()> {
    match way {
        Way::Handle => request.respond(response),
        Way::Id => {
            let id = request.into_id();
            let answered = queue.respond(id, response);
            if answered.is_err() {
                // By id, a refused answer leaves the request open.
                queue.respond(id, Response::new(500)).expect("still open");
            }
            answered
        }
        Way::Completion => request.respond_with_completion(response).map(drop),
    }
}

/// Status line, Content-Length beside which nothing else is said, and whether there is a body.
fn whole<M>(told: &Told, method: &str, make: M, lines: (&str, &str), body: &[u8])
where
    M: Fn() -> Response<'static> + Copy + Send + 'static,
{
    for way in WHOLE {
        for version in ["1.1", "1.0"] {
            let got = exchange(told, method, version, move |queue, request| {
                respond(queue, way, request, make()).expect("valid");
            });
            let wanted = expected(version, &head(version, lines.0, lines.1), body);
            assert!(got == wanted, "{way:?} {method} {version} {lines:?}: {:?}", got.get(..300).unwrap_or(&got));
        }
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    in_both_modes(|told| {
        for given in BODIES {
            for (status, line) in [(200, "200 OK"), (404, "404 Not Found"), (206, "206 Partial Content")] {
                let make = move || given.put(Response::new(status));
                let length = format!("Content-Length: {}", given.len());
                whole(told, "GET", make, (line, &length), &given.content());
                whole(told, "HEAD", make, (line, &length), b"");
            }
        }
        whole(
            told,
            "HEAD",
            || Response::ok().content_length(1 << 40),
            ("200 OK", "Content-Length: 1099511627776"),
            b"",
        );
        whole(told, "HEAD", Response::ok, ("200 OK", "Content-Length: 0"), b"");
        whole(told, "GET", Response::ok, ("200 OK", "Content-Length: 0"), b"");
    });
}

#[test]
fn answers_that_have_no_body_have_no_framing_either() {
    in_both_modes(|told| {
        for method in ["GET", "HEAD", "DELETE"] {
            whole(told, method, || Response::new(204), ("204 No Content", ""), b"");
            whole(told, method, || Response::new(304), ("304 Not Modified", ""), b"");
            // The length that the response to a GET without conditions would have had.
            let with_length = || Response::new(304).content_length(9);
            whole(told, method, with_length, ("304 Not Modified", "Content-Length: 9"), b"");
            whole(told, method, || Response::new(205), ("205 Reset Content", "Content-Length: 0"), b"");
        }
    });
}

#[test]
fn bodies_and_lengths_where_none_may_be_are_refused_and_answered_500() {
    in_both_modes(|told| {
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
        for (status, given, length, why) in cases {
            for (way, method) in WHOLE.into_iter().flat_map(|way| [(way, "GET"), (way, "HEAD")]) {
                let got = exchange(told, method, "1.1", move |queue, request| {
                    let response = given.put(Response::new(status));
                    let response = length.into_iter().fold(response, Response::content_length);
                    let error = respond(queue, way, request, response).expect_err("it cannot be sent");
                    assert!(error.to_string().contains(why), "{error}");
                });
                assert!(got.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{got}");
                assert!(got.ends_with("\r\n\r\nlast"), "the next answer is found: {got}");
                assert_eq!(got.contains("\r\n\r\nHTTP/1.1 299"), method == "HEAD" || way == Way::Id, "{got}");
            }
        }
    });
}

/// As [`whole`], for a response that is started by handle or by id, given nothing, memory or a file, and finished.
/// `body` is that of five bytes.
fn streamed(told: &Told, method: &str, version: &str, response: &Response<'static>, lines: &str, body: &[u8]) {
    let givens = [Given::Nothing, Given::Borrowed, Given::File];
    for (given, by_id) in givens.into_iter().flat_map(|given| [(given, false), (given, true)]) {
        let response = response.clone();
        let got = exchange(told, method, version, move |queue, request| {
            let started = if by_id { queue.start(request.into_id(), response) } else { request.start(response) };
            let mut stream = started.expect("valid");
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
        assert_eq!(got, expected(version, lines, body), "{method} {version} {given:?}, by id: {by_id}");
    }
}

#[test]
fn streams_are_framed_as_their_client_and_their_status_allow() {
    in_both_modes(|told| {
        let chunked = "200 OK\nTransfer-Encoding: chunked";
        let (plain, known) = (Response::ok(), Response::ok().content_length(5));
        streamed(told, "GET", "1.1", &plain, chunked, b"5\r\n\0\x01\x02\x03\x04\r\n0\r\n\r\n");
        streamed(told, "HEAD", "1.1", &plain, chunked, b"");
        streamed(told, "HEAD", "1.1", &known, "200 OK\nContent-Length: 5", b"");
        let close = "\nConnection: close";
        streamed(told, "GET", "1.0", &plain, &format!("200 OK{close}"), &pattern(0, 5));
        streamed(told, "HEAD", "1.0", &plain, &format!("200 OK{close}"), b"");
        streamed(told, "HEAD", "1.0", &known, &format!("200 OK{close}\nContent-Length: 5"), b"");
        for method in ["GET", "HEAD"] {
            for (version, close) in [("1.1", ""), ("1.0", close)] {
                let response = |status| Response::new(status);
                streamed(told, method, version, &response(204), &format!("204 No Content{close}"), b"");
                streamed(told, method, version, &response(304), &format!("304 Not Modified{close}"), b"");
                let said = format!("304 Not Modified{close}\nContent-Length: 9");
                streamed(told, method, version, &response(304).content_length(9), &said, b"");
            }
        }
    });
}

#[test]
fn a_streamed_205_is_empty_and_says_so() {
    in_both_modes(|told| {
        for version in ["1.1", "1.0"] {
            let got = exchange(told, "GET", version, |_, request| {
                let mut stream = request.start(Response::new(205)).expect("valid");
                stream.send("").expect("nothing is nothing");
                stream.finish().expect("whole");
            });
            assert_eq!(got, expected(version, &head(version, "205 Reset Content", "Content-Length: 0"), b""));
        }
        told.next(|_, request| {
            let mut stream = request.start(Response::new(205)).expect("valid");
            let error = stream.send("x").expect_err("there is no body");
            assert!(error.to_string().contains("content_length is 0"), "{error}");
        });
        assert_eq!(Peer::get(told.address).rest(), None);
    });
}

#[test]
fn informational_answers_have_neither_body_nor_framing_and_old_clients_get_none() {
    in_both_modes(|told| {
        for method in ["GET", "HEAD"] {
            let got = exchange(told, method, "1.1", |_, request| {
                request.send_informational(103, &[("Link", "</a>")]).expect("open");
                request.send_informational(102, &[]).expect("open");
                request.respond(Response::ok().body("hello")).expect("open");
            });
            let body: &[u8] = if method == "GET" { b"hello" } else { b"" };
            let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
            assert_eq!(got, early.to_owned() + &expected("1.1", "200 OK\nContent-Length: 5", body));
        }
        let got = exchange(told, "GET", "1.0", |_, request| {
            request.send_informational(103, &[("Link", "</a>")]).expect_err("HTTP/1.0 has none");
            request.respond(Response::ok().body("hello")).expect("open");
        });
        assert_eq!(got, expected("1.0", &head("1.0", "200 OK", "Content-Length: 5"), b"hello"));
    });
}

#[test]
fn the_engines_own_answers_to_head_have_no_body() {
    in_both_modes(|told| {
        for version in ["1.1", "1.0"] {
            let get = exchange(told, "GET", version, |_, request| drop(request));
            let head = exchange(told, "HEAD", version, |_, request| drop(request));
            let end = get.find("\r\n\r\n").expect("a head") + 4;
            assert_eq!(head[..end], get[..end], "the same fields");
            let behind = if version == "1.1" { "HTTP/1.1 299" } else { "" };
            assert_eq!(head[end..].get(..behind.len()), Some(behind), "{head}");
            assert_eq!(head.len() == end, version == "1.0", "{head}");
            assert!(get[end..].starts_with("500 "), "{get}");
        }
    });
}

/// Asks as HTTP/1.0 and wants the connection kept; gives the head of the response.
fn ask_to_keep(peer: &mut Peer, method: &str) -> String {
    let request = format!("{method} /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    peer.stream.write_all(request.as_bytes()).expect("open");
    peer.head()
}

/// Begins a response and ends it.
fn empty(request: Request, response: Response<'_>) {
    request.start(response).and_then(ResponseStream::finish).expect("whole");
}

#[test]
fn an_old_client_that_keeps_its_connection_finds_every_end() {
    in_both_modes(|told| {
        told.next_responds(Response::new(204));
        let mut peer = Peer::get(told.address);
        peer.head();
        for method in ["HEAD", "GET"] {
            told.next_responds(Response::ok().body("hello"));
            let head = ask_to_keep(&mut peer, method);
            assert!(head.contains("\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"), "{head}");
        }
        assert_eq!(peer.take(5), b"hello");
        for status in [204, 304] {
            told.next(move |_, request| empty(request, Response::new(status)));
            let head = ask_to_keep(&mut peer, "GET");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nConnection: keep-alive\r\n") && !head.contains("Content-Length"), "{head}");
        }
        // Without a length only the end of the connection ends a body; HEAD has none to end.
        told.next(|_, request| empty(request, Response::ok()));
        let head = ask_to_keep(&mut peer, "HEAD");
        assert!(head.contains("\r\nConnection: keep-alive\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        told.next(|_, request| {
            let mut stream = request.start(Response::ok()).expect("open");
            stream.send("to the end").expect("open");
            stream.finish().expect("whole");
        });
        assert!(ask_to_keep(&mut peer, "GET").contains("\r\nConnection: close\r\n"));
        assert_eq!(peer.rest().as_deref(), Some(&b"to the end"[..]));
    });
}

#[test]
fn an_application_cannot_grant_a_tunnel_by_mistake() {
    in_both_modes(|told| {
        let ask = |job: Job| {
            told.next(job);
            let mut peer = Peer::over(Client::connect(told.address).stream);
            let request = format!("CONNECT test:{} HTTP/1.1\r\nHost: test\r\n\r\n", told.address.port());
            peer.stream.write_all(request.as_bytes()).expect("open");
            (peer.head(), peer)
        };
        for status in [200, 204, 299] {
            let (head, _) = ask(Box::new(move |_, request| {
                let refused = request.respond(Response::new(status));
                let error = refused.expect_err("what follows would be taken for the tunnel");
                assert!(error.to_string().contains("CONNECT"), "{error}");
            }));
            assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
            let (head, _) = ask(Box::new(move |_, request| {
                request.start(Response::new(status)).expect_err("the same, in pieces");
            }));
            assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        }
        let (head, mut peer) = ask(Box::new(|_, request| {
            let refusal = Response::new(405).header("Allow", "GET").body("no");
            request.respond(refusal).expect("a refusal is an answer like any");
        }));
        assert!(head.contains("\r\nContent-Length: 2\r\n"), "{head}");
        assert_eq!(peer.take(2), b"no");
    });
}
