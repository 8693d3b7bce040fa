//! URL groups: what may be registered, what matches, and when ports open and close.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::ports::free_port;
use common::{Client, Host, WAIT_MAX, Watched, builder, loopback, receive, serve, wait_until};
use ringress::{Error, ErrorKind, Mode, Request, RequestQueue, Response, ServerSession, TargetForm, UrlGroup};

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, WAIT_MAX).is_err()
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) -> String {
    let error = result.expect_err("this is refused");
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

/// Answers with the context and what the request says of itself.
fn describe(request: Request) {
    let text = format!("{} {} {}", request.url_context(), String::from_utf8_lossy(request.host()), request.path());
    request.respond(Response::text(text)).expect("open");
}

/// One engine whose queue is served by [`describe`], without any URL.
struct Bare {
    group: UrlGroup,
    _session: ServerSession,
    engine: Watched,
    queue: RequestQueue,
    port: u16,
}

fn bare() -> Bare {
    let engine = Watched::start(builder(), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    let port = engine.listen(loopback(0)).expect("a free port").port();
    Bare { group, _session: session, engine, queue, port }
}

impl Bare {
    fn add(&self, prefix: &str, context: u64) {
        self.group.add_url(&prefix.replace('P', &self.port.to_string()), context).expect("free");
    }

    fn ask(&self, target: &str, host: &str) -> String {
        let mut client = Client::connect(loopback(self.port));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        let reply = client.read();
        if reply.status == 200 { reply.text().to_owned() } else { reply.status.to_string() }
    }
}

#[test]
fn malformed_prefixes_are_invalid_and_https_is_unsupported() {
    let bare = bare();
    let malformed = [
        "",
        "http",
        "http:",
        "http://",
        "http:///",
        "http://:80/",
        "http://h/",
        "http://h:/",
        "http://h:0/",
        "http://h:65536/",
        "http://h:x/",
        "http://h:80",
        "ftp://h:80/",
        "h:80/",
        "http://h:80/a?b",
        "http://h:80/a#b",
        "http://h h:80/",
        "http://user@h:80/",
        "http://h:80/%zz/",
        "http://[::1:80/",
    ];
    for url in malformed {
        let text = assert_kind(bare.group.add_url(url, 0), ErrorKind::Malformed);
        assert!(text.contains(&format!("{url:?}")), "{text}");
    }
    let text = assert_kind(bare.group.add_url("https://localhost:443/", 0), ErrorKind::Unsupported);
    assert!(text.contains("https"), "{text}");
    assert_kind(bare.group.remove_url("https://localhost:443/"), ErrorKind::Unsupported);
}

#[test]
fn a_url_is_registered_once_whatever_its_case_and_final_slash() {
    let bare = bare();
    bare.add("http://Example.test:P/Foo/Bar", 1);
    let session = bare.engine.server_session();
    let other = session.url_group();
    let port = bare.port;
    for twin in [
        format!("http://example.test:{port}/Foo/Bar"),
        format!("http://EXAMPLE.TEST:{port}/foo/bar/"),
        format!("http://Example.Test:{port}/FOO/BAR/"),
    ] {
        for group in [&bare.group, &other] {
            let text = assert_kind(group.add_url(&twin, 2), ErrorKind::AlreadyExists);
            assert!(text.contains("registered already"), "{text}");
        }
        assert_kind(other.remove_url(&twin), ErrorKind::NotFound);
    }
    bare.add("http://example.test:P/foo/", 3);
    bare.add("http://+:P/Foo/Bar/", 4);
    bare.group.remove_url(&format!("http://EXAMPLE.test:{}/foo/BAR/", bare.port)).expect("it is this group's");
    assert_kind(bare.group.remove_url(&format!("http://example.test:{}/foo/bar", bare.port)), ErrorKind::NotFound);
    other.add_url(&format!("http://example.test:{}/foo/bar", bare.port), 5).expect("free again");
}

#[test]
fn of_urls_that_are_added_together_all_are_registered_or_none() {
    let bare = bare();
    let foreign = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
    let (here, free) = (bare.port, free_port());
    let taken = foreign.local_addr().expect("bound").port();
    bare.add("http://*:P/there/", 1);
    let [good, last] = ["good", "last"].map(|path| format!("http://*:{here}/{path}/"));
    let opens = format!("http://*:{free}/");
    let faults = [
        (format!("http://*:{here}"), ErrorKind::Malformed, "the path is missing"),
        (format!("http://*:{here}/There"), ErrorKind::AlreadyExists, "registered already"),
        (format!("http://*:{here}/GOOD"), ErrorKind::AlreadyExists, "registered already"),
        (format!("https://*:{here}/"), ErrorKind::Unsupported, "https"),
        (format!("http://*:{taken}/"), ErrorKind::AddrInUse, "in use"),
    ];
    for (fault, kind, why) in &faults {
        let urls = [(good.as_str(), 2), (&opens, 3), (fault, 4), (&last, 5)];
        let text = assert_kind(bare.group.add_urls(urls), *kind);
        assert!(text.contains(&format!("{fault:?}")) && text.contains(why), "{text}");
        for url in [&good, &opens, &last] {
            assert_kind(bare.group.remove_url(url), ErrorKind::NotFound);
        }
        wait_until("no port is left open", || refuses(loopback(free)));
    }
    bare.group.add_urls([]).expect("no URL, no fault");
    bare.group.add_urls([(good.as_str(), 2), (&opens, 3), (&last, 5)]).expect("without a fault");
    let consumer = serve(&bare.queue, describe);
    assert_eq!(bare.ask("/good/x", "h"), "2 h /good/x");
    assert_eq!(bare.ask("/last", "h"), "5 h /last");
    assert!(!refuses(loopback(free)));
    bare.group.remove_url(&last).expect("each is removed by itself");
    assert_eq!(bare.ask("/last", "h"), "404");
    bare.engine.shutdown(WAIT_MAX).expect("nothing failed");
    consumer.join().expect("ends");
}

/// Says how long adding and removing took: `cargo test --release -p ringress --test groups each_of -- --nocapture`.
#[test]
fn each_of_thousands_of_urls_is_found_until_its_group_is_gone() {
    const COUNT: u64 = 10_000;
    let bare = bare();
    let consumer = serve(&bare.queue, describe);
    let session = bare.engine.server_session();
    let urls = |kind: &str| (0..COUNT).map(|n| format!("http://*:{}/{kind}-{n}/", bare.port)).collect::<Vec<_>>();
    let (singly, together) = (urls("single"), urls("joint"));
    let group = session.url_group();
    group.bind(&bare.queue).expect("of this engine");
    let begun = Instant::now();
    singly.iter().zip(0..).for_each(|(url, n)| bare.group.add_url(url, n).expect("free"));
    let added_singly = begun.elapsed();
    let begun = Instant::now();
    group.add_urls(together.iter().map(String::as_str).zip(COUNT..)).expect("all are free");
    let added_together = begun.elapsed();
    let ask = |kind: &str, n: u64| bare.ask(&format!("/{kind}-{n}/x"), "h");
    for n in [0, 1, COUNT / 2, COUNT - 1] {
        assert_eq!(ask("single", n), format!("{n} h /single-{n}/x"));
        assert_eq!(ask("joint", n), format!("{} h /joint-{n}/x", COUNT + n));
    }
    group.unbind().expect("open");
    assert_eq!([ask("joint", 7), ask("single", 7)], ["503", "7 h /single-7/x"]);
    let begun = Instant::now();
    drop(group);
    let removed_together = begun.elapsed();
    assert_eq!([ask("joint", 7), ask("single", 7)], ["404", "7 h /single-7/x"]);
    let begun = Instant::now();
    singly.iter().skip(1).for_each(|url| bare.group.remove_url(url).expect("there"));
    let removed_singly = begun.elapsed();
    assert_eq!([ask("single", 0), ask("single", 7)], ["0 h /single-0/x", "404"]);
    println!("{COUNT} URLs: added singly {added_singly:?}, together {added_together:?}");
    println!("removed singly {removed_singly:?}, with their group {removed_together:?}");
    bare.engine.shutdown(WAIT_MAX).expect("nothing failed");
    consumer.join().expect("ends");
}

#[test]
fn a_port_of_a_foreign_socket_is_an_error_that_says_so() {
    let foreign = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = foreign.local_addr().expect("bound").port();
    let host = Host::start();
    let listened =
        assert_kind(host.engine.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))), ErrorKind::AddrInUse);
    let added = assert_kind(host.group.add_url(&format!("http://*:{port}/"), 0), ErrorKind::AddrInUse);
    for text in [listened, added] {
        assert!(text.contains("in use") && text.contains(&port.to_string()), "{text}");
    }
    let error = host.group.add_url(&format!("http://*:{port}/"), 0).expect_err("still");
    assert!(error.io_error().is_some(), "the system's error is there");
    assert_kind(host.group.remove_url(&format!("http://*:{port}/")), ErrorKind::NotFound);
    drop(foreign);
    host.group.add_url(&format!("http://*:{port}/"), 0).expect("a refused URL is not half registered");
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let again = assert_kind(host.engine.listen(everywhere), ErrorKind::AlreadyExists);
    assert!(again.contains("this engine does already"), "{again}");
    assert_kind(host.engine.listen(SocketAddr::from(([192, 0, 2, 1], 0))), ErrorKind::Io);
}

#[test]
fn a_port_conflict_at_the_start_does_not_hang_the_program() {
    let foreign = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = foreign.local_addr().expect("bound").port();
    let kind = common::within(WAIT_MAX, "the failed start", move || {
        let start = || {
            let engine = Watched::start(builder(), Mode::Queue);
            let queue = engine.request_queue("test")?;
            let session = engine.server_session();
            let group = session.url_group();
            group.bind(&queue)?;
            group.add_url(&format!("http://*:{port}/"), 0)
        };
        start().expect_err("the port is taken").kind()
    });
    assert_eq!(kind, ErrorKind::AddrInUse);
}

#[test]
fn queues_of_other_engines_and_second_names_are_refused() {
    let (one, other) = (Host::start(), Host::start());
    let text = assert_kind(one.group.bind(&other.queue), ErrorKind::Invalid);
    assert!(text.contains("another engine"), "{text}");
    let text = assert_kind(one.engine.request_queue("test"), ErrorKind::AlreadyExists);
    assert!(text.contains("test"), "{text}");
    let _nameless = ["", ""].map(|none| one.engine.request_queue(none).expect("as many as you like"));
    let options = ringress::QueueOptions::default();
    assert_kind(one.engine.request_queue_with("none", options.length(0)), ErrorKind::Invalid);
    assert_kind(one.engine.request_queue_with("huge", options.length(u32::MAX)), ErrorKind::Invalid);
    let mut client = one.connect();
    client.get("/");
    let request = one.receive();
    assert!(other.queue.respond(request.id(), Response::ok()).is_err(), "an id of another engine");
    request.respond(Response::text("right")).expect("open");
    assert_eq!(client.read().text(), "right");
}

#[test]
fn a_port_closes_with_its_last_url_and_opens_again() {
    let host = Host::start();
    let port = free_port();
    let (first, second) = (format!("http://*:{port}/one/"), format!("http://*:{port}/two/"));
    for _ in 0..3 {
        assert!(refuses(loopback(port)));
        host.group.add_url(&first, 0).expect("free");
        host.group.add_url(&second, 0).expect("free");
        let mut client = Client::connect(loopback(port));
        host.group.remove_url(&first).expect("registered");
        let mut still = Client::connect(loopback(port));
        still.get("/two/");
        host.receive().respond(Response::text("two")).expect("open");
        assert_eq!(still.read().text(), "two");
        host.group.remove_url(&second).expect("registered");
        wait_until("the port is closed", || refuses(loopback(port)));
        // A connection that was open keeps going, but nothing is registered for it any more.
        wait_until("the routes are gone", || {
            client.get("/two/");
            if let Some(request) = host.queue.receive_timeout(Duration::from_millis(20)).expect("open") {
                request.respond(Response::ok()).expect("open");
            }
            client.read().status >= 400
        });
    }
    assert!(!refuses(host.address), "a port opened by listen stays");
    host.group.remove_url(&format!("http://*:{}/", host.address.port())).expect("registered");
    assert!(!refuses(host.address), "also without any URL");
}

#[test]
fn dropping_a_group_or_closing_its_session_unregisters_its_urls() {
    let host = Host::start();
    let port = free_port();
    let url = format!("http://*:{port}/");
    let group = host.session.url_group();
    group.add_url(&url, 0).expect("free");
    assert!(!refuses(loopback(port)));
    drop(group);
    wait_until("the port is closed", || refuses(loopback(port)));
    let session = host.engine.server_session();
    let group = session.url_group();
    group.add_url(&url, 0).expect("free again");
    session.close();
    wait_until("the port is closed", || refuses(loopback(port)));
    assert!(group.add_url(&url, 0).expect_err("its session is closed").is_closed());
    assert!(group.bind(&host.queue).expect_err("its session is closed").is_closed());
    assert!(refuses(loopback(port)), "a closed group opens nothing");
}

#[test]
fn categories_are_asked_in_order_and_the_longest_path_wins_in_each() {
    let bare = bare();
    let consumer = serve(&bare.queue, describe);
    bare.add("http://+:P/strong/", 1);
    bare.add("http://Localhost:P/", 2);
    bare.add("http://localhost:P/strong/deeper/", 3);
    bare.add("http://127.0.0.1:P/ip/", 4);
    bare.add("http://*:P/", 5);
    bare.add("http://*:P/ip/", 6);
    let cases = [
        ("/strong/deeper/x", "localhost", "1"),
        ("/STRONG", "any.test", "1"),
        ("/strongest", "localhost", "2"),
        ("/ip/", "localhost", "2"),
        ("/ip/x", "any.test", "4"),
        ("/ip", "127.0.0.1", "4"),
        ("/ipx", "any.test", "5"),
        ("/", "any.test", "5"),
        ("/a", "LOCALHOST", "2"),
    ];
    wait_until("the routes are known", || bare.ask("/ip/", "any.test").starts_with('4'));
    for (target, host, context) in cases {
        let told = bare.ask(target, host);
        assert_eq!(told.split(' ').next(), Some(context), "{target} at {host}: {told}");
    }
    drop(bare);
    consumer.join().expect("ends");
}

#[test]
fn contexts_come_back_with_requests_also_the_largest() {
    let bare = bare();
    bare.add("http://*:P/", u64::MAX);
    bare.add("http://127.0.0.1:P/ip/", 0);
    let mut client = Client::connect(loopback(bare.port));
    client.get("/");
    let request = receive(&bare.queue);
    assert_eq!((request.url_context(), request.is_ip_routed()), (u64::MAX, false));
    assert_eq!(
        (request.local_addr(), request.peer_addr()),
        (loopback(bare.port), client.stream.local_addr().expect("open"))
    );
    request.respond(Response::ok()).expect("open");
    client.read();
    client.get("/ip/");
    let request = receive(&bare.queue);
    assert_eq!((request.url_context(), request.is_ip_routed()), (0, true));
    request.respond(Response::ok()).expect("open");
}

#[test]
fn nested_prefixes_go_to_their_own_queues() {
    let host = Host::start();
    let inner_queue = host.engine.request_queue("inner").expect("a queue");
    let (outer, inner) = (host.session.url_group(), host.session.url_group());
    outer.bind(&host.queue).expect("of this engine");
    inner.bind(&inner_queue).expect("of this engine");
    let port = host.address.port();
    outer.add_url(&format!("http://+:{port}/foobar/"), 0).expect("free");
    inner.add_url(&format!("http://+:{port}/foobar/foo/"), 0).expect("free");
    let consumers = [
        serve(&host.queue, |request| request.respond(Response::text("outer")).expect("open")),
        serve(&inner_queue, |request| request.respond(Response::text("inner")).expect("open")),
    ];
    let mut client = host.connect();
    wait_until("the routes are known", || client.ask("/foobar/foo").text() == "inner");
    let cases = [
        ("/foobar/", "outer"),
        ("/foobar", "outer"),
        ("/foobar/foobar", "outer"),
        ("/foobar/foo/bar", "inner"),
        ("/FooBar/FOO/", "inner"),
    ];
    for (path, owner) in cases {
        assert_eq!(client.ask(path).text(), owner, "{path}");
    }
    // Pipelined requests to two queues are answered in order.
    client.send("GET /foobar/ HTTP/1.1\r\nHost: a\r\n\r\nGET /foobar/foo/ HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
    for _ in 0..20 {
        assert_eq!((client.read().text(), client.read().text()), ("outer", "inner"));
    }
    drop(inner);
    wait_until("the outer one takes over", || client.ask("/foobar/foo/").text() == "outer");
    drop(client);
    drop(host.engine);
    consumers.into_iter().for_each(|consumer| assert!(consumer.join().expect("ends") > 0));
}

#[test]
fn targets_of_every_form_are_routed() {
    let bare = bare();
    bare.add("http://*:P/", 1);
    bare.add("http://named.test:P/", 2);
    let mut client = Client::connect(loopback(bare.port));
    let cases = [
        ("GET http://named.test/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n", 2, "named.test", "/a", TargetForm::Absolute),
        ("GET http://other.test/a HTTP/1.1\r\nHost: named.test\r\n\r\n", 1, "other.test", "/a", TargetForm::Absolute),
        ("GET /a HTTP/1.1\r\nHost: named.test\r\n\r\n", 2, "named.test", "/a", TargetForm::Origin),
        ("OPTIONS * HTTP/1.1\r\nHost: other.test\r\n\r\n", 1, "other.test", "*", TargetForm::Asterisk),
        ("OPTIONS * HTTP/1.1\r\nHost: named.test\r\n\r\n", 2, "named.test", "*", TargetForm::Asterisk),
    ];
    for (text, context, host, path, form) in cases {
        client.send(text);
        let request = receive(&bare.queue);
        assert_eq!((request.url_context(), request.path(), request.target_form()), (context, path, form), "{text}");
        assert_eq!(String::from_utf8_lossy(request.host()), host, "{text}");
        request.respond(Response::ok()).expect("open");
        assert_eq!(client.read().status, 200);
    }
}

#[test]
fn an_address_of_each_family_may_share_a_port_and_tells_its_own() {
    let host = Host::start();
    let port = free_port();
    host.group.add_url(&format!("http://*:{port}/"), 9).expect("free");
    for ip in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
        let Ok(stream) = TcpStream::connect_timeout(&ip, WAIT_MAX) else {
            assert!(ip.is_ipv6(), "a host without IPv6");
            continue;
        };
        let mut client = Client::over(stream);
        client.get("/");
        let request = host.receive();
        assert_eq!((request.local_addr(), request.peer_addr()), (ip, client.stream.local_addr().expect("open")));
        request.respond(Response::ok()).expect("open");
        assert_eq!(client.read().status, 200);
    }
}
