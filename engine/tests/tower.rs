//! An axum router behind a request queue, seen by clients over real sockets.

mod common;
#[path = "../examples/axum/routes.rs"]
mod routes;

use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use common::peer::{Peer, pattern};
use common::{Client, End, Host, await_rest, colocated, wait_until};
use http_body_util::channel::Channel;
use ringress::RequestQueue;
use ringress::tower::{RequestInfo, Serve, handle, serve};
use tokio::runtime::Runtime;

/// More than is under way at a time.
const MUCH: usize = 4 << 20;

/// What a body does after its first frame.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    GoesOn,
    Waits,
    Fails,
    Panics,
}

/// A body that begins, and counts its end.
struct Begun {
    has_begun: bool,
    then: Then,
    dropped: Arc<AtomicU64>,
    /// The body of the request, which is not read.
    _kept: Option<Body>,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        let first = !std::mem::replace(&mut self.has_begun, true);
        match self.then {
            _ if first => Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"begun"))))),
            Then::GoesOn => Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&[b'x'; 9999]))))),
            Then::Waits => Poll::Pending,
            Then::Fails => Poll::Ready(Some(Err(std::io::Error::other("meant to fail")))),
            Then::Panics => panic!("meant to panic in a body"),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

async fn trailers() -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let fields = HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("7"))]);
        let _ = sender.send_data(Bytes::from_static(b"body")).await;
        let _ = sender.send_trailers(fields).await;
    });
    Response::new(Body::new(body))
}

/// What the service sees of a request.
async fn seen(request: Request) -> String {
    let info = *request.extensions().get::<RequestInfo>().expect("each request has it");
    assert_eq!((info.url_context, info.peer_addr.ip().is_loopback()), (7, true));
    let fields = request.headers().iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text")));
    let fields = fields.collect::<Vec<_>>().join(",");
    format!("{} {} {:?} {fields}", request.method(), request.uri(), request.version())
}

async fn fields() -> impl IntoResponse {
    let fields = [
        ("date", "yesterday"),
        ("server", "axum"),
        ("connection", "x, Close"),
        ("keep-alive", "timeout=1"),
        ("transfer-encoding", "gzip"),
        ("set-cookie", "a=1"),
        ("x-own", "kept"),
    ];
    let mut response = fields.into_response();
    response.headers_mut().append("set-cookie", HeaderValue::from_static("b=2"));
    *response.body_mut() = "text".into();
    response
}

fn router(dropped: &Arc<AtomicU64>) -> Router {
    let (dropped, of_silent) = (Arc::clone(dropped), Arc::clone(dropped));
    // A body that nothing is heard of, of a response that keeps that of its request or does not.
    let silent = move |Path(how): Path<String>, request: Request| async move {
        let _kept = (how == "keeps").then(|| request.into_body());
        Response::new(Body::new(Begun { has_begun: true, then: Then::Waits, dropped: of_silent, _kept }))
    };
    let begun = move |Path(then): Path<String>| async move {
        let then = match then.as_str() {
            "goes-on" => Then::GoesOn,
            "waits" => Then::Waits,
            "fails" => Then::Fails,
            _ => Then::Panics,
        };
        let body = Body::new(Begun { has_begun: false, then, dropped, _kept: None });
        if then == Then::Fails { ([("content-length", "9")], body).into_response() } else { Response::new(body) }
    };
    let late = |Path(millis): Path<u64>| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        millis.to_string()
    };
    routes::router()
        .route("/begun/{then}", get(begun))
        .route("/silent/{how}", post(silent))
        .route("/late/{millis}", get(late))
        .route("/panic", get(|| async { panic_now() }))
        .route("/trailers", get(trailers))
        .route("/fields", get(fields))
        .route("/seen", get(seen).options(seen))
        .route("/whole/{bytes}", get(|Path(bytes): Path<usize>| async move { pattern(0, bytes) }))
        .route(
            "/status/{status}",
            get(|Path(status): Path<u16>| async move { StatusCode::from_u16(status).expect("100 to 999") }),
        )
        .route("/wrong-length", get(|| async { ([("content-length", "9")], Body::from("text")) }))
        .route("/refuse", post(|| async { StatusCode::FORBIDDEN }))
}

fn panic_now() -> &'static str {
    panic!("meant to panic")
}

/// A router that is served on tokio.
struct Served {
    host: Host,
    runtime: Runtime,
    failures: Arc<Mutex<Vec<String>>>,
    dropped: Arc<AtomicU64>,
}

impl Served {
    fn start() -> Self {
        let host = Host::start();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("threads");
        let (failures, dropped) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let (queue, told) = (host.queue.clone(), Arc::clone(&failures));
        runtime.spawn(serve(queue, router(&dropped), move |handling| {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                if let Err(failure) = handling.await {
                    told.lock().expect("not poisoned").push(failure.to_string());
                }
            });
        }));
        Self { host, runtime, failures, dropped }
    }

    fn peer(&self, request: &str) -> Peer {
        let mut client = self.host.connect();
        client.send(request);
        Peer { stream: client.stream, input: Vec::new() }
    }

    /// Waits until so many requests have failed, and gives why.
    fn failures(&self, count: usize) -> Vec<String> {
        let told = || self.failures.lock().expect("not poisoned").clone();
        wait_until("the failures are told", || told().len() >= count);
        told()
    }

    /// Nothing is lent or lost.
    fn end(self) {
        self.host.await_rest();
        self.host.engine.shutdown(Duration::ZERO).expect("no shard failed");
        drop(self.runtime);
    }
}

fn post_json(path: &str, json: &str) -> String {
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}", json.len());
    format!("POST {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n{json}")
}

#[test]
fn routes_answer_on_one_connection() {
    let served = Served::start();
    let mut client = served.host.connect();
    let reply = client.ask("/hello/ada");
    assert_eq!((reply.status, reply.text()), (200, r#"{"hello":"ada"}"#));
    assert_eq!(reply.field("content-type"), Some("application/json"));
    client.send("HEAD /hello/ada HTTP/1.1\r\nHost: test\r\n\r\nHEAD /download/7 HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(post_json("/sum", "[1,2,39]"));
    let mut peer = Peer { stream: client.stream.try_clone().expect("a descriptor"), input: Vec::new() };
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-length: 15"), "{head}");
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 200") && !head.to_lowercase().contains("content-length"), "{head}");
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(peer.take(10), br#"{"sum":42}"#);
    let mut others = Vec::new();
    for target in ["/none", "/sum", "/hello/ada", "/status/418", "/status/204", "/download/9"] {
        peer.stream.write_all(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).expect("open");
        let of_head = peer.head();
        // It stays: a client that left with all it wanted, but before the service was done, would be told as a failure.
        let mut other = Client::connect(served.host.address);
        let of_get = other.ask(target);
        others.push(other);
        for (name, field) in [("Content-Length: ", "content-length"), ("Transfer-Encoding: ", "transfer-encoding")] {
            let said = of_head.lines().find_map(|line| line.strip_prefix(name));
            // Of a body that axum has left out nothing is known.
            assert!(said.is_none() || said == of_get.field(field), "{target}: {of_head}");
        }
    }
    assert_eq!(client.ask("/none").status, 404);
    let reply = client.ask("/sum");
    assert_eq!((reply.status, reply.field("allow")), (405, Some("POST")));
    client.send(post_json("/sum", "nonsense"));
    assert_eq!(client.read().status, 400);
    for status in [204, 304, 418] {
        let reply = client.ask(&format!("/status/{status}"));
        assert_eq!((reply.status, reply.body.len()), (status, 0));
    }
    assert_eq!(client.ask(&format!("/whole/{MUCH}")).body, pattern(0, MUCH));
    assert_eq!(served.failures(0), [""; 0]);
    drop((client, peer, others));
    served.end();
}

#[test]
fn the_service_sees_the_head_as_it_was_sent() {
    let served = Served::start();
    let mut client = served.host.connect();
    client.send("GET /seen?q=%20a HTTP/1.1\r\nHost: test\r\nX-Two: 1\r\nx-two: 2\r\n\r\n");
    assert_eq!(client.read().text(), "GET /seen?q=%20a HTTP/1.1 host=test,x-two=1,x-two=2");
    client.send("OPTIONS http://other:81/seen HTTP/1.1\r\nHost: other:81\r\n\r\n");
    assert_eq!(client.read().text(), "OPTIONS http://other:81/seen HTTP/1.1 host=other:81");
    client.send("GET /seen HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.read().text(), "GET /seen HTTP/1.0 connection=keep-alive");
    drop(client);
    served.end();
}

#[test]
fn fields_of_the_engine_and_the_connection_do_not_pass() {
    let served = Served::start();
    let mut client = served.host.connect();
    let reply = client.ask("/fields");
    assert_eq!((reply.status, reply.text(), reply.closes()), (200, "text", true));
    assert_eq!((reply.field("x-own"), reply.field("server")), (Some("kept"), Some("axum")));
    assert!(reply.head.contains("a=1") && reply.head.contains("b=2"), "{}", reply.head);
    for absent in ["yesterday", "timeout", "gzip"] {
        assert!(!reply.head.contains(absent), "{}", reply.head);
    }
    assert_eq!(client.read_end(), End::Closed);
    drop(client);
    served.end();
}

#[test]
fn long_bodies_are_read_as_they_come() {
    let served = Served::start();
    let mut client = served.host.connect();
    client.send(format!("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {MUCH}\r\n\r\n"));
    client.send(pattern(0, MUCH));
    assert_eq!(client.read().text(), format!(r#"{{"bytes":{MUCH},"trailers":0}}"#));
    client.send("POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in pattern(0, MUCH).chunks(50_000) {
        client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send("0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n");
    assert_eq!(client.read().text(), format!(r#"{{"bytes":{MUCH},"trailers":2}}"#));
    drop(client);
    served.end();
}

#[test]
fn long_answers_come_in_chunks_and_with_trailers() {
    let served = Served::start();
    let mut peer = served.peer(&format!("GET /download/{MUCH} HTTP/1.1\r\nHost: test\r\n\r\n"));
    assert!(peer.head().to_lowercase().contains("transfer-encoding: chunked"));
    assert!(peer.chunked().0 == vec![b'x'; MUCH]);
    peer.stream.write_all(b"GET /trailers HTTP/1.1\r\nHost: test\r\n\r\n").expect("taken");
    peer.head();
    assert_eq!(peer.chunked(), (b"body".to_vec(), "x-sum: 7\r\n".to_owned()));
    let mut old = served.peer(&format!("GET /download/{MUCH} HTTP/1.0\r\nHost: test\r\n\r\n"));
    assert!(!old.head().to_lowercase().contains("transfer-encoding"));
    assert!(old.rest().expect("in order") == vec![b'x'; MUCH]);
    drop((peer, old));
    served.end();
}

fn echo_much(address: SocketAddr, framing: &str) {
    let mut peer = Peer { stream: Client::connect(address).stream, input: Vec::new() };
    let mut sender = peer.stream.try_clone().expect("a descriptor");
    let chunked = framing.contains("chunked");
    let head = format!("POST /echo HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n");
    let sending = thread::spawn(move || {
        sender.write_all(head.as_bytes()).expect("taken");
        for piece in pattern(0, MUCH).chunks(70_000) {
            let line = if chunked { format!("{:x}\r\n", piece.len()) } else { String::new() };
            let end: &[u8] = if chunked { b"\r\n" } else { b"" };
            sender.write_all(&[line.as_bytes(), piece, end].concat()).expect("taken");
        }
        sender.write_all(if chunked { b"0\r\nx-end: here\r\n\r\n" } else { b"" }).expect("taken");
    });
    let head = peer.head().to_lowercase();
    if chunked {
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let (body, trailers) = peer.chunked();
        assert!(body == pattern(0, MUCH));
        assert_eq!(trailers, "x-end: here\r\n");
    } else {
        assert!(head.contains(&format!("content-length: {MUCH}")), "{head}");
        assert!(peer.take(MUCH) == pattern(0, MUCH));
    }
    sending.join().expect("all is sent");
}

#[test]
fn a_body_goes_back_while_it_comes() {
    let served = Served::start();
    echo_much(served.host.address, "Transfer-Encoding: chunked");
    echo_much(served.host.address, &format!("Content-Length: {MUCH}"));
    served.end();
}

#[test]
fn pipelined_answers_come_in_order() {
    let served = Served::start();
    let mut client = served.host.connect();
    let delays = [30_u64, 0, 20, 1, 10, 0];
    let ask = |millis: u64| format!("GET /late/{millis} HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(delays.map(ask).concat());
    let told: [u64; 6] = delays.map(|_| client.read().text().parse().expect("a number"));
    assert_eq!(told, delays);
    drop(client);
    served.end();
}

#[test]
fn a_client_that_leaves_ends_the_body_of_its_answer() {
    let served = Served::start();
    for (number, path) in (1..).zip(["/begun/goes-on", "/begun/waits"]) {
        let mut peer = served.peer(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        peer.take_to(b"begun");
        assert_eq!(served.dropped.load(Ordering::SeqCst), number - 1, "the client is still there");
        Client::over(peer.stream).reset();
        wait_until("the body is dropped", || served.dropped.load(Ordering::SeqCst) == number);
    }
    assert!(served.failures(2).iter().all(|text| text.contains("its client is gone")));
    served.end();
}

/// A router whose handlers never answer, and what was begun there and dropped.
fn endless(begun: &Arc<AtomicU64>, dropped: &Arc<AtomicU64>) -> Router {
    struct Counted(Arc<AtomicU64>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (begun, dropped) = (Arc::clone(begun), Arc::clone(dropped));
    let endless = move |request: Request| async move {
        let _counted = Counted(dropped);
        begun.fetch_add(1, Ordering::SeqCst);
        // Of a body that does not come it sees no end before it is dropped.
        let _body = axum::body::to_bytes(request.into_body(), MUCH).await;
        std::future::pending::<&str>().await
    };
    Router::new().route("/", get(endless.clone()).post(endless))
}

/// Clients of `endless` leave: each future is dropped.
fn leave(address: SocketAddr, begun: &AtomicU64, dropped: &AtomicU64) {
    let whole = ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx"];
    let in_part = ["POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nx"];
    for (number, request) in (1..).zip(whole.into_iter().chain(in_part)) {
        let mut client = Client::connect(address);
        client.send(request);
        wait_until("it has begun", || begun.load(Ordering::SeqCst) == number);
        assert_eq!(dropped.load(Ordering::SeqCst), number - 1, "the client is still there");
        client.reset();
        wait_until("it is dropped", || dropped.load(Ordering::SeqCst) == number);
    }
}

#[test]
fn a_client_that_leaves_ends_the_future_that_was_to_answer() {
    let (host, begun, dropped) = (Host::start(), Arc::default(), Arc::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("threads");
    let (failures, told) = std::sync::mpsc::channel();
    runtime.spawn(serve(host.queue.clone(), endless(&begun, &dropped), move |handling| {
        let failures = failures.clone();
        tokio::spawn(async move { failures.send(handling.await.expect_err("never answered").to_string()) });
    }));
    leave(host.address, &begun, &dropped);
    assert!(told.iter().take(3).all(|text| text.contains("its client is gone")));
    host.await_rest();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
}

#[test]
fn what_goes_wrong_is_500_or_cut_and_told() {
    let served = Served::start();
    let mut client = served.host.connect();
    for path in ["/panic", "/status/101", "/wrong-length"] {
        assert_eq!(client.ask(path).status, 500, "{path}");
    }
    let told = served.failures(3);
    assert!(told.iter().any(|text| text == "the service panicked: meant to panic"), "{told:?}");
    assert!(told.iter().any(|text| text.contains("status 101 is not final")), "{told:?}");
    assert!(told.iter().any(|text| text.contains("Content-Length is 9, but its body has 4")), "{told:?}");
    assert_eq!(client.ask("/hello/x").status, 200, "the connection goes on");
    for path in ["/begun/fails", "/begun/panics"] {
        let mut peer = served.peer(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(peer.rest(), None, "{path}: a reset");
    }
    let told = served.failures(5).split_off(3);
    assert!(told.iter().any(|text| text == "the service panicked: meant to panic in a body"), "{told:?}");
    assert!(told.iter().any(|text| text == "the body of the response failed: meant to fail"), "{told:?}");
    assert_eq!(served.dropped.load(Ordering::SeqCst), 2);
    drop(client);
    served.end();
}

#[test]
fn only_a_body_that_is_read_is_asked_for() {
    let served = Served::start();
    let ask = |path| format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let mut peer = served.peer(&ask("/upload"));
    assert_eq!(peer.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    peer.stream.write_all(b"body").expect("taken");
    assert!(peer.head().starts_with("HTTP/1.1 200"));
    drop(peer);
    let mut peer = served.peer(&ask("/refuse"));
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 403") && head.to_lowercase().contains("connection: close"), "{head}");
    drop(peer);
    served.end();
}

#[test]
fn a_body_that_goes_back_is_asked_for_before_the_answer_begins() {
    let served = Served::start();
    for (framing, body) in [("Content-Length: 4", "body"), ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n")] {
        let head = format!("POST /echo HTTP/1.1\r\nHost: test\r\n{framing}\r\nExpect: 100-continue\r\n\r\n");
        let mut peer = served.peer(&head);
        assert_eq!(peer.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        peer.stream.write_all(body.as_bytes()).expect("taken");
        assert!(peer.head().starts_with("HTTP/1.1 200"));
        let echoed = if framing.contains("chunked") { peer.chunked().0 } else { peer.take(4) };
        assert_eq!(echoed, b"body");
    }
    served.end();
}

#[test]
fn an_answer_is_held_back_only_for_a_body_that_may_be_read_and_a_client_that_stays() {
    let served = Served::start();
    let ask = |how| {
        let fields = "Content-Length: 4\r\nExpect: 100-continue";
        served.peer(&format!("POST /silent/{how} HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n"))
    };
    let mut begun = ask("drops");
    assert!(begun.head().starts_with("HTTP/1.1 200"), "nobody can read the request's body");
    let mut held_back = Client::over(ask("keeps").stream);
    assert!(!held_back.is_readable_within(Duration::from_millis(100)), "its body may still be read");
    assert_eq!(served.dropped.load(Ordering::SeqCst), 0);
    held_back.reset();
    wait_until("the body is dropped", || served.dropped.load(Ordering::SeqCst) == 1);
    Client::over(begun.stream).reset();
    wait_until("the other is dropped, too", || served.dropped.load(Ordering::SeqCst) == 2);
    assert!(served.failures(2).iter().all(|text| text.contains("its client is gone")));
    served.end();
}

#[test]
fn a_body_that_nobody_reads_is_skipped() {
    let served = Served::start();
    let mut client = served.host.connect();
    client.send("POST /refuse HTTP/1.1\r\nHost: test\r\nContent-Length: 50000\r\n\r\n");
    client.send(pattern(0, 50_000));
    assert_eq!(client.read().status, 403);
    assert_eq!(client.ask("/hello/x").status, 200);
    drop(client);
    served.end();
}

#[test]
fn a_future_that_is_dropped_answers_500() {
    let host = Host::start();
    let mut client = host.connect();
    let service = router(&Arc::default());
    client.get("/late/60000");
    drop(handle(host.receive(), service.clone()));
    assert_eq!(client.read().status, 500);
    client.get("/late/60000");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("threads");
    runtime.block_on(async {
        let handling = handle(host.receive(), service);
        assert!(tokio::time::timeout(Duration::from_millis(1), handling).await.is_err());
    });
    assert_eq!(client.read().status, 500);
    drop(client);
    host.await_rest();
}

#[test]
fn serving_is_a_future_to_be_kept_and_loses_no_request_when_it_is_dropped() {
    let host = Host::start();
    let mut serving: Serve<_, fn(_)> =
        serve(host.queue.clone(), routes::router(), |_| unreachable!("never polled again"));
    let polled = Pin::new(&mut serving).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    let mut client = host.connect();
    client.get("/");
    wait_until("it waits", || host.queue.len() == 1);
    drop(serving);
    host.receive().respond(ringress::Response::text("kept")).expect("open");
    assert_eq!(client.read().text(), "kept");
}

#[test]
fn one_thread_serves_a_router_and_drives_its_shard() {
    let application = |queue: &RequestQueue| {
        let executor = async_executor::LocalExecutor::new();
        let serving = serve(queue.clone(), routes::router(), |handling| {
            executor.spawn(async { handling.await.expect("all goes well") }).detach();
        });
        ringress::block_on(executor.run(serving)).expect("closed in order");
    };
    colocated(application, |engine, address| {
        let mut client = Client::connect(address);
        assert_eq!(client.ask("/hello/ada").text(), r#"{"hello":"ada"}"#);
        thread::scope(|scope| {
            scope.spawn(|| echo_much(address, "Transfer-Encoding: chunked"));
            scope.spawn(|| echo_much(address, &format!("Content-Length: {MUCH}")));
        });
        drop(client);
        await_rest(engine);
    });
}

#[test]
fn on_one_thread_a_client_that_leaves_ends_the_future_that_was_to_answer() {
    let (begun, dropped) = (Arc::default(), Arc::default());
    let service = endless(&begun, &dropped);
    let application = move |queue: &RequestQueue| {
        let executor = async_executor::LocalExecutor::new();
        let serving = serve(queue.clone(), service, |handling| {
            executor.spawn(async { assert!(handling.await.is_err(), "never answered") }).detach();
        });
        ringress::block_on(executor.run(serving)).expect("closed in order");
    };
    colocated(application, |engine, address| {
        leave(address, &begun, &dropped);
        await_rest(engine);
    });
}

#[test]
fn a_response_that_cannot_be_sent_is_answered_500_while_its_failure_is_kept() {
    let host = Host::start();
    let mut client = host.connect();
    for whole in [true, false] {
        let answer = move || async move {
            let body = if whole {
                Body::from("x")
            } else {
                Body::from_stream(futures_lite::stream::pending::<Result<Bytes, std::io::Error>>())
            };
            ([("x-large", "v".repeat(300_000))], body)
        };
        client.get("/");
        let failure = pollster::block_on(handle(host.receive(), Router::new().route("/", get(answer))));
        assert_eq!(client.read().status, 500, "{failure:?}");
        assert!(failure.is_err());
    }
}
