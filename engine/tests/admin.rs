//! The admin listener over real sockets: metrics by a strict parser, probes, state, the page; clients that mean ill.

#![cfg(feature = "admin")]

#[path = "admin/attacks.rs"]
mod attacks;
#[path = "admin/browser.rs"]
mod browser;
mod common;
#[path = "admin/openmetrics.rs"]
mod openmetrics;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Client, Host, Reply, Watched, builder, loopback, wait_until};
use ringress::admin::{self, Admin, AdminOptions};
use ringress::{ErrorKind, Mode, Properties, QueueOptions, Response};
use serde_json::Value;

/// An engine that measures, and what shows it.
fn shown() -> (Admin, Host) {
    let host = Host::start_with(builder(), QueueOptions::default().measured(true));
    (admin::serve(&host.engine, loopback(0)).expect("a free port"), host)
}

fn ask(admin: &Admin, path: &str) -> Reply {
    ask_at(admin.address(), "GET", path)
}

/// One request on a connection of its own, which must end with the answer.
#[track_caller]
fn ask_at(address: SocketAddr, method: &str, path: &str) -> Reply {
    let mut stream = Client::connect(address).stream;
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).expect("it is taken");
    let mut input = Vec::new();
    stream.read_to_end(&mut input).expect("it ends in order");
    let head = input.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let body = input.split_off(head + 4);
    input.truncate(head);
    let head = String::from_utf8(input).expect("a text head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    let reply = Reply { status, head, body };
    assert!(reply.closes(), "{}", reply.head);
    let length = reply.field("content-length").and_then(|length| length.parse().ok());
    assert!(method == "HEAD" || length == Some(reply.body.len()), "{}", reply.head);
    reply
}

#[track_caller]
fn json(admin: &Admin, path: &str) -> Value {
    let reply = ask(admin, path);
    assert_eq!((reply.status, reply.field("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&reply.body).expect("JSON")
}

/// Answers so many requests.
fn answer(host: &Host, count: usize) {
    let mut client = host.connect();
    for _ in 0..count {
        client.get("/x?secret=1");
        host.receive().respond(Response::text("hello")).expect("open");
        assert_eq!(client.read().status, 200);
    }
    common::settled(&host.engine);
}

#[test]
fn metrics_pass_a_strict_parser_and_are_those_of_the_engine() {
    let (admin, host) = shown();
    answer(&host, 7);
    let odd = host.engine.request_queue_with("a \"b\"\\c\nd é", QueueOptions::default()).expect("a queue");
    host.session.url_group().bind(&odd).expect("of this engine");
    let mut waits = host.connect();
    waits.get("/y");
    wait_until("it waits", || host.queue.len() == 1);
    let reply = ask(&admin, "/metrics");
    let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((reply.status, reply.field("content-type")), (200, Some(wanted)));
    let families = openmetrics::parse(reply.text());
    let value = |name: &str, labels: &[(&str, &str)]| openmetrics::value(&families, name, labels);
    assert_eq!(value("ringress_requests_answered_total", &[("shard", "0")]), 7.0);
    assert_eq!(value("ringress_connections_open", &[("shard", "0")]), 1.0);
    let counters = host.counters();
    assert_eq!(value("ringress_received_bytes_total", &[("shard", "0")]), counters.bytes_received as f64);
    let of_queue: &[_] = &[("queue", "test"), ("queue_id", &host.queue.id().to_string())];
    assert_eq!(value("ringress_queue_requests_delivered_total", of_queue), 8.0);
    assert_eq!(value("ringress_queue_requests_waiting", of_queue), 1.0);
    assert_eq!(value("ringress_queue_requests_open", of_queue), 1.0);
    assert_eq!(value("ringress_queue_requests_ended_total", &[of_queue, &[("outcome", "answered")]].concat()), 7.0);
    assert_eq!(value("ringress_queue_request_duration_seconds_count", of_queue), 7.0);
    let total = host.queue.latency().expect("measured").total;
    let sum = value("ringress_queue_request_duration_seconds_sum", of_queue);
    let ends = |end: fn((Duration, Duration, u64)) -> f64| -> f64 { total.buckets().map(end).sum() };
    let (least, most) = (
        ends(|(least, _, count)| least.as_secs_f64() * count as f64),
        ends(|(_, beyond, count)| beyond.as_secs_f64() * count as f64),
    );
    assert!(least <= sum && sum <= most, "{least} {sum} {most}");
    for (le, at_most) in [(0.000_016, 16), (0.001_024, 1024), (1.048_576, 1 << 20), (67.108_864, 1 << 26)] {
        let truth: u64 =
            total.buckets().filter(|(_, beyond, _)| beyond.as_micros() <= at_most).map(|(.., count)| count).sum();
        assert_eq!(
            openmetrics::bucket(&families, "ringress_queue_request_duration_seconds", of_queue, le),
            truth as f64
        );
    }
    let odd_labels: &[_] = &[("queue", "a \"b\"\\c\nd é"), ("queue_id", &odd.id().to_string())];
    assert_eq!(value("ringress_queue_requests_waiting_max", odd_labels), 1000.0);
    let address = host.address.to_string();
    assert_eq!(value("ringress_listener_connections_accepted_total", &[("listener", &address)]), 2.0);
    assert_eq!(value("ringress_phase", &[("ringress_phase", "serving")]), 1.0);
    assert_eq!(value("ringress_ready", &[]), 1.0);
    // Every counter there is, is there.
    for (name, _) in counters.named() {
        let name = name.strip_prefix("bytes_").map_or_else(|| name.to_owned(), |which| format!("{which}_bytes"));
        assert!(families.contains_key(&format!("ringress_{name}")), "{name}");
    }
    host.receive().respond(Response::ok()).expect("open");
    assert_eq!(waits.read().status, 200);
}

/// By the parser of the Prometheus project's own, where there is one: Debian's python3-prometheus-client.
#[test]
fn metrics_are_read_by_the_client_library_of_prometheus() {
    let (admin, host) = shown();
    answer(&host, 3);
    let metrics = ask(&admin, "/metrics");
    let script = "import sys\n\
        try:\n from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        except ImportError: sys.exit(42)\n\
        families = list(parse(sys.stdin.read()))\n\
        print([float(s.value) for f in families for s in f.samples if s.name == 'ringress_requests_answered_total'])";
    let python = ["/usr/bin/python3", "python3"].into_iter().find_map(|python| {
        let mut command = Command::new(python);
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let mut input = child.stdin.take().expect("piped");
        input.write_all(&metrics.body).ok();
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        (output.status.code() != Some(42)).then_some(output)
    });
    let Some(output) = python else {
        eprintln!("skipped: no parser of Prometheus; apt-get install python3-prometheus-client");
        return;
    };
    let fault = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stdout)), (Some(0), "[3.0]\n"), "{fault}");
}

#[test]
fn heads_say_what_browsers_may_do_and_head_has_no_body() {
    let (admin, _host) = shown();
    for path in ["/", "/metrics", "/healthz", "/readyz", "/state", "/live"] {
        let (head, get) = (ask_at(admin.address(), "HEAD", path), ask(&admin, path));
        assert_eq!((head.status, get.status), (200, 200), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        for name in ["cache-control", "x-content-type-options", "content-security-policy", "date"] {
            assert!(get.field(name).is_some(), "{path}: {name}");
        }
        let policy = get.field("content-security-policy").expect("asserted");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let nonce = |reply: &Reply| {
        let policy = reply.field("content-security-policy").expect("it has one").to_owned();
        policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce").to_owned()
    };
    let (one, other) = (ask(&admin, "/"), ask(&admin, "/"));
    assert_ne!(nonce(&one), nonce(&other));
    assert!(one.text().contains(&format!("<script nonce=\"{}\">", nonce(&one))) && !one.text().contains("NONCE"));
    for elsewhere in ["src=", "href=\"http", "url(", "@import"] {
        assert!(!one.text().contains(elsewhere), "the page has all that it needs: {elsewhere}");
    }
}

#[test]
fn probes_follow_the_engine_to_its_end() {
    let engine = Watched::start(builder(), Mode::Queue);
    let admin = admin::serve(&engine, loopback(0)).expect("a free port");
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    common::add(&group, address.port());
    let probes = || (ask(&admin, "/healthz").status, ask(&admin, "/readyz").status);
    assert_eq!(probes(), (200, 200));
    let mut client = Client::connect(address);
    client.get("/");
    let request = common::receive(&queue);
    std::thread::scope(|scope| {
        let stops = scope.spawn(|| engine.shutdown(common::WAIT_MAX));
        wait_until("it is not ready", || ask(&admin, "/readyz").status == 503);
        assert_eq!(ask(&admin, "/healthz").status, 200, "a request is under way");
        assert_eq!(ask(&admin, "/readyz").text(), "the engine stops\n");
        request.respond(Response::ok()).expect("open");
        assert_eq!(client.read().status, 200);
        drop(client);
        stops.join().expect("no panic").expect("no shard failed");
    });
    assert_eq!(probes(), (503, 503));
    assert_eq!(ask(&admin, "/metrics").status, 200, "what it has counted");
    drop((group, session, queue, engine));
    assert_eq!(probes(), (503, 503));
    assert_eq!((ask(&admin, "/metrics").status, ask(&admin, "/state").status), (503, 503), "it is gone");
    assert_eq!(ask(&admin, "/").status, 200, "the page says so");
}

#[test]
fn an_engine_that_nobody_drives_is_not_ready() {
    let engine = Watched::start(builder(), Mode::Colocated);
    let admin = admin::serve(&engine, loopback(0)).expect("a free port");
    assert_eq!((ask(&admin, "/healthz").status, ask(&admin, "/readyz").status), (200, 503));
    let attached = engine.attach(0).expect("the shard is free");
    assert_eq!(ask(&admin, "/readyz").status, 200);
    drop(attached);
    assert_eq!(ask(&admin, "/readyz").status, 503);
}

#[test]
fn state_has_what_there_is_and_nothing_that_requests_say() {
    let (admin, host) = shown();
    let port = host.address.port();
    host.group.add_url(&format!("http://+:{port}/strong/"), u64::MAX).expect("free");
    host.group.set_properties(Properties::new().idle_connection(Duration::from_secs(90))).expect("in range");
    answer(&host, 2);
    let mut clients: Vec<Client> = (0..3).map(|_| host.connect()).collect();
    clients[0].send("GET /secret-path?secret-query HTTP/1.1\r\nHost: secret-host\r\nX-Key: secret-value\r\n\r\n");
    let held = host.receive();
    clients[1].get("/secret-waits");
    wait_until("it waits", || host.queue.len() == 1);
    let state = json(&admin, "/state");
    assert_eq!((&state["phase"], &state["ready"], &state["mode"]), (&"serving".into(), &true.into(), &"queue".into()));
    let group = &state["url_groups"][0];
    assert_eq!(group["id"], host.group.id().to_string());
    let urls: BTreeMap<&str, &str> = group["urls"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|url| (url["url"].as_str().expect("text"), url["context"].as_str().expect("text")))
        .collect();
    let (weak, strong) = (format!("http://*:{port}/"), format!("http://+:{port}/strong/"));
    assert_eq!(urls, [(&*weak, "7"), (&*strong, "18446744073709551615")].into());
    assert_eq!(
        (&group["own_properties"]["idle_connection"], &group["own_properties"]["header_wait"]),
        (&"90s".into(), &Value::Null)
    );
    assert_eq!(
        (&group["properties"]["idle_connection"], &group["properties"]["header_wait"]),
        (&"90s".into(), &"2m".into())
    );
    assert_eq!(state["sessions"][0]["id"], host.session.id().to_string());
    let queue = &state["queues"][0];
    assert_eq!(
        (&queue["name"], &queue["url_groups"][0], &queue["verbosity"]),
        (&"test".into(), &group["id"], &"bare".into())
    );
    assert_eq!(state["listeners"][0]["address"], host.address.to_string());
    let requests: BTreeMap<&str, &str> = state["requests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|request| {
            assert_eq!(request["queue"], queue["id"]);
            (request["stage"].as_str().expect("text"), request["id"].as_str().expect("text"))
        })
        .collect();
    assert_eq!(requests.keys().copied().collect::<Vec<_>>(), ["taken", "waiting"]);
    assert_eq!(requests["taken"], held.id().to_string());
    for path in ["/", "/state", "/live", "/metrics"] {
        assert!(!ask(&admin, path).text().contains("secret"), "{path}");
    }
    held.respond(Response::ok()).expect("open");
    host.receive().respond(Response::ok()).expect("open");
    assert_eq!((clients[0].read().status, clients[1].read().status), (200, 200));
}

#[test]
fn ages_of_what_waits_are_told_and_never_too_long() {
    let (admin, host) = shown();
    let mut client = host.connect();
    let age = || json(&admin, "/live")["queues"][0]["oldest_waiting_seconds"].as_f64().expect("a number");
    assert_eq!(age(), 0.0);
    let before = Instant::now();
    client.get("/");
    wait_until("it has waited for a while", || {
        let (told, waited) = (age(), before.elapsed().as_secs_f64());
        assert!(told <= waited, "{told} of {waited}");
        told > 0.0
    });
    host.receive().respond(Response::ok()).expect("open");
    assert_eq!(age(), 0.0);
    assert_eq!(client.read().status, 200);
}

#[test]
fn only_loopback_is_listened_on_unless_the_options_say_otherwise() {
    let engine = Watched::start(builder(), Mode::Queue);
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let error = admin::serve(&engine, everywhere).expect_err("others could reach it");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("AdminOptions::beyond_loopback"), "{error}");
    let open = AdminOptions::new().beyond_loopback(true);
    let admin = admin::serve_with(&engine, everywhere, open).expect("a free port");
    let reach = loopback(admin.address().port());
    let by_name = |address: SocketAddr, host: &str| {
        let mut client = Client::connect(address);
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.read().status
    };
    assert_eq!(by_name(reach, "app.example.test"), 200);
    let taken = admin::serve_with(&engine, admin.address(), open).expect_err("the port is taken");
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    // A name of elsewhere that leads here: what a page of another site could ask by.
    let closed = admin::serve(&engine, loopback(0)).expect("a free port");
    assert_eq!((by_name(closed.address(), "evil.example.test"), by_name(closed.address(), "127.0.0.1:1")), (421, 200));
}

#[test]
fn the_showcase_is_shown() {
    let mut command = Command::new(common::program::built("showcase"));
    command.args(["--listen", "127.0.0.1:0", "--shards", "1", "--admin", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut child = Killed(command.spawn().expect("it starts"));
    let lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let page =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("status page: http://").map(str::to_owned));
    let address: SocketAddr = page.expect("it says where").trim_end_matches('/').parse().expect("an address");
    assert_eq!(ask_at(address, "GET", "/readyz").status, 200);
    let families = openmetrics::parse(ask_at(address, "GET", "/metrics").text());
    assert_eq!(families["ringress_queue_requests_waiting"].samples[0].1["queue"], "showcase");
}

/// A program that is ended with its test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_thread_and_the_port_go_with_the_handle() {
    let engine = Watched::start(builder(), Mode::Queue);
    let admin = admin::serve(&engine, loopback(0)).expect("a free port");
    let address = admin.address();
    // Somebody who has asked for nothing does not hold it up.
    let mut silent = Client::connect(address);
    assert_eq!(ask(&admin, "/healthz").status, 200);
    drop(admin);
    silent.read_end();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
    let again = admin::serve(&engine, address).expect("the port is free");
    assert_eq!(ask(&again, "/healthz").status, 200);
}
