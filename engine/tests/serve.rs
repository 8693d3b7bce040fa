//! Pools of consumers, and servers in one call: what handlers return is sent, and what goes wrong costs one request.

mod common;

use std::error::Error as StdError;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::ports::free_port;
use common::{Client, Host, WAIT_MAX, Watched, await_rest, builder, loopback, receive, settled, wait_until, within};
use ringress::{Engine, ErrorKind, IntoReply, Method, Mode, Pool, QueueOptions, Reply, Request, Response, Server};

/// The errors that a pool has told of.
type Told = Arc<Mutex<Vec<String>>>;

fn listening(pool: Pool) -> (Pool, Told) {
    let told = Told::default();
    let listener = Arc::clone(&told);
    let pool = pool.on_error(move |error| listener.lock().expect("no panic").push(error.to_string()));
    (pool, told)
}

fn taken(told: &Told) -> Vec<String> {
    std::mem::take(&mut *told.lock().expect("no panic"))
}

/// Ends the engine, and sees the pool end with its queue.
fn end(host: &Host, pool: Pool) {
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    within(WAIT_MAX, "the pool", move || pool.join()).expect("it ends with its queue");
}

fn put(path: &str, bytes: usize) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
}

/// What an application's own error is answered with.
struct Teapot;

impl IntoReply for Teapot {
    fn into_reply(self) -> Reply {
        Response::new(418).into()
    }
}

fn fails_as_asked(request: &mut Request) -> Result<Response<'static>, Box<dyn StdError>> {
    match request.path() {
        "/io" => Ok(Response::text(std::fs::read("/nowhere")?)),
        "/number" => Ok(Response::text("x".parse::<u32>()?.to_string())),
        "/body" => Ok(Response::text(request.body().to_bytes(10)?)),
        "/read" => {
            let copied = io::copy(&mut request.body(), &mut io::sink())?;
            Ok(Response::text(copied.to_string()))
        }
        "/early" => Err("enough".into()),
        path => Ok(Response::text(path.to_owned())),
    }
}

#[test]
fn what_a_handler_returns_is_sent_and_its_errors_are_answered_and_told() {
    let host = Host::start();
    let (pool, told) = listening(host.queue.serve(2, fails_as_asked).expect("two threads"));
    assert_eq!(pool.threads(), 2);
    let mut client = host.connect();
    assert_eq!(client.ask("/some").text(), "/some");
    for path in ["/io", "/number", "/early"] {
        assert_eq!(client.ask(path).status, 500, "{path}");
    }
    wait_until("all are told of", || told.lock().expect("no panic").len() == 3);
    let mut said = taken(&told);
    said.sort_unstable();
    assert!(said[0].contains("No such file") && said[1] == "enough" && said[2].contains("invalid digit"), "{said:?}");
    client.send(put("/body", 10));
    assert_eq!(client.read().text(), "x".repeat(10));
    client.send(put("/read", 5000));
    assert_eq!(client.read().text(), "5000");
    client.send(put("/body", 11));
    assert_eq!(client.read().status, 413, "a body over the handler's limit is the client's to mend");
    // The same behind an error of the standard library's.
    host.group.set_properties(ringress::Properties::new().request_body_max(100)).expect("in range");
    let mut client = host.connect();
    client.send("PUT /read HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n80\r\n");
    client.send("x".repeat(128));
    assert_eq!(client.read().status, 413);
    end(&host, pool);
}

#[test]
fn a_client_that_has_left_is_no_error_of_the_handler() {
    let host = Host::start();
    let (began, begins) = mpsc::channel();
    let handler = move |request: &mut Request| {
        began.send(()).expect("the test runs");
        request.body().to_bytes(100).map(|body| Response::text(body.to_vec()))
    };
    let (pool, told) = listening(host.queue.serve(1, handler).expect("a thread"));
    let mut client = host.connect();
    client.send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    begins.recv_timeout(WAIT_MAX).expect("it is handled");
    client.reset();
    let mut next = host.connect();
    next.send(put("/", 3));
    assert_eq!(next.read().text(), "xxx");
    assert_eq!(taken(&told), [""; 0]);
    end(&host, pool);
}

#[test]
fn a_panic_costs_one_request_and_no_thread() {
    let host = Host::start();
    let handler = |request: &mut Request| match request.path() {
        "/panic" => panic!("meant to panic"),
        "/later" => Reply::then(|_request| -> ringress::Result<()> { panic!("meant to panic") }),
        "/stream" => Reply::stream(Response::text(""), |_body| -> io::Result<()> { panic!("meant to panic") }),
        _ => Response::text("fine").into(),
    };
    let pool = host.queue.serve(1, handler).expect("a thread");
    let mut client = host.connect();
    for round in 1..=20 {
        assert_eq!(client.ask(if round % 2 == 0 { "/panic" } else { "/later" }).status, 500);
        assert_eq!(client.ask("/").text(), "fine", "round {round}");
    }
    assert_eq!((settled(&host.engine).foreign_panics, host.counters().requests_abandoned), (20, 20));
    let mut cut = host.connect();
    cut.get("/stream");
    wait_until("it is cut", || host.counters().responses_truncated == 1);
    assert_eq!(client.ask("/").text(), "fine");
    end(&host, pool);
}

#[test]
fn a_response_that_cannot_be_sent_is_told_of_and_answered_500() {
    let host = Host::start();
    let handler = |_request: &mut Request| Response::ok().header("Bad Name", "x");
    let (pool, told) = listening(host.queue.serve(1, handler).expect("a thread"));
    assert_eq!(host.connect().ask("/").status, 500);
    wait_until("it is told of", || !told.lock().expect("no panic").is_empty());
    end(&host, pool);
}

#[test]
fn streams_and_whole_requests_are_for_handlers_too() {
    let host = Host::start();
    let handler = |request: &mut Request| match request.path() {
        "/numbers" => {
            let last = 2000;
            Reply::stream(Response::text(""), move |body| (1..=last).try_for_each(|number| writeln!(body, "{number}")))
        }
        "/cancel" => Reply::then(Request::cancel),
        "/echo" => Reply::then(|request| {
            let mut pipe = request.upgrade(Response::switching("echo"))?;
            let mut buffer = [0; 64];
            let count = pipe.read(&mut buffer)?;
            pipe.send(&buffer[..count])?;
            pipe.finish().map(drop)
        }),
        _ => Err::<Response<'_>, _>(Teapot).into_reply(),
    };
    let pool = host.queue.serve(1, handler).expect("a thread");
    let mut client = host.connect();
    assert_eq!(client.ask("/").status, 418);
    client.send("HEAD /numbers HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read().status, 200);
    assert_eq!(client.ask("/").status, 418, "nothing came behind the head");
    let mut streamed = common::peer::Peer { stream: host.connect().stream, input: Vec::new() };
    streamed.stream.write_all(b"GET /numbers HTTP/1.1\r\nHost: test\r\n\r\n").expect("taken");
    streamed.head();
    let expected: String = (1..=2000).map(|number| format!("{number}\n")).collect();
    assert!(streamed.chunked().0 == expected.as_bytes());
    streamed
        .stream
        .write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi")
        .expect("taken");
    streamed.head();
    assert_eq!(streamed.rest(), Some(b"hi".to_vec()));
    client.get("/cancel");
    assert_eq!(client.read_end(), common::End::Reset);
    end(&host, pool);
}

#[test]
fn a_pool_serves_beside_other_consumers_and_ends_alone_when_it_is_dropped() {
    let host = Host::start();
    let (began, begins) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let handler = move |_request: &mut Request| {
        began.send(()).expect("the test runs");
        goes.lock().expect("no panic").recv().expect("the test runs");
        Response::text("by the pool")
    };
    let pool = host.queue.serve(2, handler).expect("two threads");
    let mut client = host.connect();
    client.get("/");
    begins.recv_timeout(WAIT_MAX).expect("it is handled");
    // One thread sleeps, the other has a request: both end, and the request is answered.
    drop(pool);
    go.send(()).expect("it waits");
    assert_eq!(client.read().text(), "by the pool");
    client.get("/");
    receive(&host.queue).respond(Response::text("by hand")).expect("open");
    assert_eq!(client.read().text(), "by hand");
}

#[test]
fn requests_that_nobody_can_receive_get_503_and_are_counted() {
    let host = Host::start();
    let mut client = host.connect();
    assert_eq!(host.counters().without_consumer, 0);
    let pool = host.queue.serve(2, |_request| Response::text("served")).expect("two threads");
    let Host { group, session, queue, engine, .. } = host;
    // The pool's threads are consumers; the last one to go closes the queue.
    drop(queue);
    assert_eq!(client.ask("/").text(), "served");
    drop(pool);
    wait_until("nobody is left", || client.ask("/").status == 503);
    let refused = client.ask("/");
    assert!(refused.status == 503 && refused.text().is_empty(), "{refused:?}");
    let counters = settled(&engine);
    assert!(counters.without_consumer >= 2 && counters.without_consumer == counters.requests_refused, "{counters:?}");
    // Switched off is another matter, and so is unbound.
    group.set_active(false).expect("open");
    assert_eq!(client.ask("/").status, 503);
    group.set_active(true).expect("open");
    group.unbind().expect("open");
    assert_eq!(client.ask("/").status, 503);
    let after = settled(&engine);
    assert_eq!(
        (after.requests_refused, after.without_consumer),
        (counters.requests_refused + 2, counters.without_consumer)
    );
    let again = engine.request_queue("again").expect("open");
    group.bind(&again).expect("one engine");
    client.get("/");
    receive(&again).respond(Response::text("again")).expect("open");
    assert_eq!(client.read().text(), "again");
    drop((client, group, session));
}

#[test]
fn threads_are_from_one_to_4096_and_none_for_a_queue_that_is_closed() {
    let host = Host::start();
    for threads in [0, 4097] {
        let refused = host.queue.serve(threads, |_request| Response::ok()).expect_err("out of range");
        assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("1 to 4096"), "{refused}");
    }
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    assert!(host.queue.serve(1, |_request| Response::ok()).expect_err("closed").is_closed());
}

fn colocated(shards: u32) -> (Watched, SocketAddr, impl Sized, ringress::RequestQueue) {
    let engine = Watched::start(builder().shards(shards), Mode::Colocated);
    let queue = engine.request_queue_with("test", QueueOptions::default()).expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    (engine, address, (group, session), queue)
}

#[test]
fn in_colocated_mode_the_threads_are_the_shards() {
    let (engine, address, _groups, queue) = colocated(2);
    let refused = queue.serve(3, |_request| Response::ok()).expect_err("two shards");
    assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("of which there are 2"), "{refused}");
    let pool = queue.serve(2, fails_as_asked).expect("a thread for each shard");
    for _ in 0..20 {
        let mut client = Client::connect(address);
        assert_eq!(client.ask("/some").text(), "/some");
        client.send(put("/body", 11));
        assert_eq!(client.read().status, 413);
    }
    let refused = queue.serve(2, |_request| Response::ok()).expect_err("they are attached");
    assert!(refused.to_string().contains("attached already"), "{refused}");
    engine.shutdown(WAIT_MAX).expect("no shard failed");
    within(WAIT_MAX, "the pool", move || pool.join()).expect("it ends with its queue");
}

#[test]
fn a_colocated_pool_that_is_dropped_lets_go_of_its_shards() {
    let (engine, address, _groups, queue) = colocated(1);
    let pool = queue.serve(1, |_request| Response::text("served")).expect("one shard");
    let mut client = Client::connect(address);
    assert_eq!(client.ask("/").text(), "served");
    drop(pool);
    // The last shard is gone, and with it the engine.
    within(WAIT_MAX, "the engine", move || {
        engine.wait().expect("no shard failed");
        drop((client, _groups, queue, engine));
    });
}

/// A server on this URL, and what it gives for `/`.
fn served(url: &str, address: impl Fn(u16) -> SocketAddr) -> (Server, Client) {
    let server = builder().serve(url, |request| Response::text(request.path().to_owned())).expect("it serves");
    let port = server.url().rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port");
    let client = Client::connect(address(port.parse().expect("a number")));
    (server, client)
}

fn address(info: &ringress::AddressInfo) -> SocketAddr {
    info.address.tcp().expect("a TCP one")
}

fn stop(server: Server, client: Client) {
    drop(client);
    await_rest(server.engine());
    server.engine().shutdown(Duration::ZERO).expect("no shard failed");
    server.wait().expect("it has ended in order");
}

#[test]
fn a_server_listens_where_its_url_says() {
    let (server, mut client) = served("http://127.0.0.1:0/app/", loopback);
    assert!(server.url().starts_with("http://127.0.0.1:") && server.url().ends_with("/app/"), "{}", server.url());
    assert_eq!((client.ask("/app/x").text(), client.ask("/x").status), ("/app/x", 404));
    let addresses = server.engine().addresses();
    assert!(addresses.len() == 1 && address(&addresses[0]).ip() == Ipv4Addr::LOCALHOST, "{addresses:?}");
    stop(server, client);
    // Any host name, where the address says all.
    let (server, mut client) = served("http://0.0.0.0:0/", loopback);
    assert!(server.url().starts_with("http://*:"), "{}", server.url());
    assert_eq!(client.ask("/any").text(), "/any");
    stop(server, client);
    let (server, mut client) = served("http://localhost:0/", loopback);
    assert!(server.engine().addresses().iter().all(|info| address(info).ip().is_loopback()));
    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\nGET /x HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!((client.read().status, client.read().status), (200, 400));
    stop(server, client);
    let port = free_port();
    let (server, mut client) = served(&format!("http://*:{port}/"), loopback);
    assert_eq!(client.ask("/any").text(), "/any");
    let more = format!("http://*:{port}/more/");
    server.url_group().add_url(&more, 0).expect("free");
    assert_eq!(
        (server.queue().name(), server.session().id()),
        (format!("http://*:{port}/").as_str(), server.session().id())
    );
    stop(server, client);
}

#[test]
fn a_site_is_for_whoever_receives() {
    let site = builder().open("http://127.0.0.1:0/").expect("it listens");
    let mut client = Client::connect(address(&site.engine().addresses()[0]));
    client.get("/x");
    receive(site.queue()).respond(Response::text("x")).expect("open");
    assert_eq!(client.read().text(), "x");
    drop(client);
    await_rest(site.engine());
    site.engine().shutdown(Duration::ZERO).expect("no shard failed");
    assert!(site.queue().receive().is_err_and(|error| error.is_closed()));
}

#[test]
fn a_server_that_cannot_serve_says_why_and_leaves_nothing() {
    let handler = |_request: &mut Request| Response::ok();
    let held = TcpListener::bind(loopback(0)).expect("a free port");
    let port = held.local_addr().expect("bound").port();
    for (url, said) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://a b:0/", "http://a b:0/"),
        ("https://127.0.0.1:8443/", "https"),
        (&format!("http://127.0.0.1:{port}/"), "another socket has it"),
        ("http://192.0.2.1:0/", "no interface of this host has it"),
    ] {
        let refused = builder().serve(url, handler).expect_err("not servable").to_string();
        assert!(refused.contains(said), "{url}: {refused}");
    }
}

#[test]
fn a_colocated_server_serves_too() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = move |request: &mut Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        if request.method() == Method::Get { Ok(Response::text("served")) } else { Err("no".to_owned().into()) }
    };
    let told = Told::default();
    let listener = Arc::clone(&told);
    let handler =
        move |request: &mut Request| -> Result<Response<'static>, Box<dyn StdError + Send + Sync>> { handler(request) };
    let server = builder().mode(Mode::Colocated).serve("http://127.0.0.1:0/", handler).expect("it serves");
    let server = server.on_error(move |error| listener.lock().expect("no panic").push(error.to_string()));
    let address = address(&server.engine().addresses()[0]);
    let mut client = Client::connect(address);
    assert_eq!(client.ask("/").text(), "served");
    client.send("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read().status, 500);
    assert_eq!((taken(&told), calls.load(Ordering::Relaxed)), (vec!["no".to_owned()], 2));
    let engine: &Engine = server.engine();
    engine.shutdown(WAIT_MAX).expect("no shard failed");
    server.wait().expect("it has ended in order");
}
