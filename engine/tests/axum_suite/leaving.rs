//! Clients that leave, and servers that end, under both servers or as the documentation of ringress says.

use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, WebSocketUpgrade};
use axum::response::sse::Sse;
use axum::routing::{any, get};
use futures_util::stream;
use ringress::QueueOptions;
use tokio::sync::oneshot;

use crate::common::peer::Peer;
use crate::common::{Client, Host, WAIT_MAX, builder, holds_within, wait_until, within};

/// What has begun and ended in handlers.
#[derive(Clone, Default)]
struct Counts {
    begun: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

/// One that has begun, until it is dropped.
struct Held(Counts);

impl Counts {
    fn hold(&self) -> Held {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Held(self.clone())
    }

    fn await_begun(&self, count: u64) {
        wait_until("it has begun", || self.begun.load(Ordering::SeqCst) == count);
    }

    fn await_dropped(&self, count: u64) {
        wait_until("it is dropped", || self.dropped.load(Ordering::SeqCst) == count);
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Handlers that never answer, events that never come, and an answer that waits to be let out.
fn silent(counts: &Counts) -> Router {
    let (of_answer, of_events, of_body) = (counts.clone(), counts.clone(), counts.clone());
    let never = move |_: Request| async move {
        let _held = of_answer.hold();
        std::future::pending::<&str>().await
    };
    let events = move || async move {
        let held = of_events.hold();
        Sse::new(stream::once(async move {
            let _held = held;
            std::future::pending::<Result<axum::response::sse::Event, std::convert::Infallible>>().await
        }))
    };
    let body = move |request: Request| async move {
        let _held = of_body.hold();
        let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        std::future::pending::<Body>().await
    };
    Router::new().route("/never", get(never)).route("/events", get(events)).route("/body", get(body.clone()).post(body))
}

/// A host whose queue is served on a runtime.
fn host_of(router: Router, half_close: bool) -> (Host, tokio::runtime::Runtime) {
    let host = Host::start_with(builder(), QueueOptions::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.spawn(ringress::axum::serve(host.queue.clone(), router).half_close(half_close).into_future());
    (host, runtime)
}

/// Under `axum::serve`.
fn axum_of(router: Router, runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move { axum::serve(listener, router).await });
    address
}

fn asks(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[test]
fn a_client_that_ends_its_side_ends_its_handler_and_its_silent_events() {
    let counts = Counts::default();
    let (host, runtime) = host_of(silent(&counts), false);
    let of_axum = Counts::default();
    let axum = axum_of(silent(&of_axum), &runtime);
    for (address, counts) in [(axum, &of_axum), (host.address, &counts)] {
        for (number, path) in (1..).zip(["/never", "/events"]) {
            let mut client = Client::connect(address);
            client.send(asks(path));
            counts.await_begun(number);
            if path == "/events" {
                let mut peer = Peer::over(client.stream.try_clone().expect("a descriptor"));
                assert!(peer.head().starts_with("HTTP/1.1 200"));
            }
            assert_eq!(counts.dropped(), number - 1, "the client is still there");
            client.stream.shutdown(Shutdown::Write).expect("open");
            counts.await_dropped(number);
            // No response any more, nor the end of one.
            let mut rest = Vec::new();
            let _reset_or_closed = client.stream.read_to_end(&mut rest);
            assert_eq!(rest, b"");
        }
    }
    host.await_rest();
    assert_eq!(host.counters().requests_abandoned, 0);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
}

#[test]
fn a_client_that_ends_its_side_is_answered_if_that_is_allowed() {
    let (answer, answered) = oneshot::channel::<()>();
    let answered = Arc::new(std::sync::Mutex::new(Some(answered)));
    let handler = move || async move {
        let answered = answered.lock().expect("not poisoned").take().expect("one request");
        answered.await.expect("let out");
        "answered"
    };
    let (host, _runtime) = host_of(Router::new().route("/", get(handler)), true);
    let mut client = host.connect();
    client.get("/");
    client.stream.shutdown(Shutdown::Write).expect("open");
    wait_until("it is delivered", || host.counters().requests_open == 1 && host.queue.is_empty());
    answer.send(()).expect("waited for");
    assert_eq!(client.read().text(), "answered");
    drop(client);
    host.await_rest();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
}

#[test]
fn what_a_client_held_is_free_at_once_when_it_leaves() {
    let counts = Counts::default();
    let (host, _runtime) = host_of(silent(&counts), false);
    let whole = format!("POST /body HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(90_000));
    for (number, request) in (1..).zip([asks("/never"), asks("/events"), whole]) {
        // Others stay: only what the one held is free.
        let mut client = Client::connect(host.address);
        client.send(request);
        counts.await_begun(number);
        client.reset();
        counts.await_dropped(number);
        wait_until("its slot is free", || host.counters().requests_open == 0);
    }
    host.await_rest();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
}

#[test]
fn a_graceful_shutdown_answers_what_is_under_way_and_ends() {
    let (answer, answered) = oneshot::channel::<()>();
    let answered = Arc::new(std::sync::Mutex::new(Some(answered)));
    let counts = Counts::default();
    let of_handler = counts.clone();
    let handler = move || async move {
        let _held = of_handler.hold();
        let answered = answered.lock().expect("not poisoned").take().expect("one request");
        answered.await.expect("let out");
        "answered"
    };
    let host = Host::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = ringress::axum::serve(host.queue.clone(), Router::new().route("/", get(handler)))
        .with_graceful_shutdown(async { stopped.await.expect("told") })
        .grace(10 * WAIT_MAX);
    let serving = runtime.spawn(serving.into_future());
    let mut idle = host.connect();
    idle.send("GET /none HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(idle.read().status, 404);
    let mut client = host.connect();
    client.get("/");
    counts.await_begun(1);
    stop.send(()).expect("served");
    assert_eq!(idle.stream.read(&mut [0]).expect("in order"), 0, "who asks for nothing is let go");
    let refuses = || std::net::TcpStream::connect_timeout(&host.address, WAIT_MAX).is_err();
    wait_until("nobody can connect", refuses);
    assert!(!serving.is_finished());
    answer.send(()).expect("waited for");
    let reply = client.read();
    assert_eq!((reply.text(), reply.closes()), ("answered", true));
    let ended = within(WAIT_MAX, "serving", move || runtime.block_on(serving));
    ended.expect("no panic").expect("the end in order");
    assert!(host.queue.receive().is_err_and(|error| error.is_closed()));
}

#[test]
fn a_graceful_shutdown_ends_with_its_grace() {
    let counts = Counts::default();
    let host = Host::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let (stop, stopped) = oneshot::channel::<()>();
    let of_socket = counts.clone();
    let socket = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            let _held = of_socket.hold();
            while socket.recv().await.is_some_and(|message| message.is_ok()) {}
        })
    };
    let serving = ringress::axum::serve(host.queue.clone(), silent(&counts).route("/socket", any(socket)))
        .with_graceful_shutdown(async { stopped.await.expect("told") })
        .grace(Duration::from_millis(50));
    let serving = runtime.spawn(serving.into_future());
    let mut clients = ["/never", "/events"].map(|path| {
        let mut client = host.connect();
        client.send(asks(path));
        client
    });
    let (mut socket, _) =
        tungstenite::client(format!("ws://{}/socket", host.address), host.connect().stream).expect("a good handshake");
    counts.await_begun(3);
    assert!(!holds_within(Duration::from_millis(100), || counts.dropped() > 0), "nothing ends before the signal");
    stop.send(()).expect("served");
    let (ended, runtime) = within(WAIT_MAX, "serving", move || (runtime.block_on(serving), runtime));
    ended.expect("no panic").expect("the end in order");
    assert!(counts.dropped() >= 2, "when serving has ended, so have the handlers");
    // What was upgraded is a task of axum's.
    counts.await_dropped(3);
    assert!(socket.read().is_err(), "it is cut");
    drop(runtime);
    assert_eq!(host.counters().requests_stopped, 3);
    for client in &mut clients {
        let _reset = client.stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn what_goes_wrong_is_told() {
    let host = Host::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let router = Router::new()
        .route("/panic", get(|| async { panic_now() }))
        .route("/length", get(|| async { ([("content-length", "9")], Body::from("text")) }));
    let (told, failures) = std::sync::mpsc::channel();
    let serving = ringress::axum::serve(host.queue.clone(), router)
        .on_error(move |error| told.send(error.to_string()).expect("heard"));
    runtime.spawn(serving.into_future());
    let mut client = host.connect();
    for (path, text) in [("/panic", "the service panicked: meant to panic"), ("/length", "Content-Length is 9")] {
        assert_eq!(client.ask(path).status, 500, "{path}");
        let told = failures.recv_timeout(WAIT_MAX).expect("told");
        assert!(told.contains(text), "{told}");
    }
    drop(client);
    host.await_rest();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
}

fn panic_now() -> &'static str {
    panic!("meant to panic")
}
