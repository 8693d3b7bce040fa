//! Clients of the admin listener that mean ill, or do not know better; and many at once, under load.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringress::Response;

use crate::common::{Client, serve, wait_until};
use crate::{ask, ask_at, openmetrics, shown};

#[test]
fn what_is_no_get_or_head_is_refused() {
    let (admin, _host) = shown();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let reply = ask_at(admin.address(), method, "/metrics");
        assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let mut client = Client::connect(admin.address());
    client.send("POST /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    client.send([b'x'; 100_000]);
    assert_eq!(client.read().status, 405, "an answer, not a reset");
}

#[test]
fn paths_lead_nowhere_else() {
    let (admin, _host) = shown();
    for path in [
        "/../metrics",
        "/metrics/",
        "/metrics/..",
        "//metrics",
        "/state/../../etc/passwd",
        "/%2e%2e/",
        "/METRICS",
        "/metrics%00",
        "/healthz;x",
        "*",
        "/.",
    ] {
        let status = ask(&admin, path).status;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
    assert_eq!(ask(&admin, "/metrics?name=../../x").status, 200);
    assert_eq!(ask(&admin, "http://localhost/healthz").status, 200);
}

#[test]
fn what_is_no_request_is_refused() {
    let (admin, _host) = shown();
    for wrong in [
        "GET / HTTP/1.1\nHost: localhost\n\n",
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
    ] {
        let mut client = Client::connect(admin.address());
        client.send(wrong);
        let status = client.read().status;
        assert!((400..=505).contains(&status), "{wrong:?}: {status}");
    }
    assert_eq!(ask(&admin, "/healthz").status, 200);
}

#[test]
fn a_head_without_an_end_is_cut_off() {
    let (admin, _host) = shown();
    let mut client = Client::connect(admin.address());
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    let piece = [b'a'; 64 * 1024];
    let mut sent = 0;
    // Whether it may send all of it, or is reset first, is the kernel's to say.
    while sent < 10 << 20 && client.stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    if sent >= 10 << 20 {
        assert_eq!(client.read().status, 431);
    }
    assert_eq!(ask(&admin, "/healthz").status, 200);
}

/// Half a request, and nothing: each such client goes when its time is over, or as soon as others need its place; and
/// none holds others up meanwhile.
#[test]
fn silent_clients_hold_nobody_up_and_are_let_go_of() {
    let (admin, _host) = shown();
    let mut silent: Vec<Client> = (0..100).map(|_| Client::connect(admin.address())).collect();
    for client in silent.iter_mut().step_by(2) {
        // Who made room for others has been reset.
        let _ = client.stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc");
    }
    for path in ["/healthz", "/metrics", "/"] {
        assert_eq!(ask(&admin, path).status, 200, "{path}");
    }
    let metric = |name: &str| openmetrics::value(&openmetrics::parse(ask(&admin, "/metrics").text()), name, &[]);
    assert!(metric("ringress_admin_connections_evicted_total") > 0.0);
    for client in &mut silent {
        client.read_end();
    }
    wait_until("they are counted", || {
        let gone =
            metric("ringress_admin_connections_evicted_total") + metric("ringress_admin_connections_timed_out_total");
        gone >= 100.0
    });
}

/// One byte at a time is no way to stay.
#[test]
fn a_head_that_drips_is_timed_out() {
    let (admin, _host) = shown();
    let mut client = Client::connect(admin.address());
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    wait_until("it is let go of", || client.stream.write_all(b"x").is_err());
    assert_eq!(ask(&admin, "/healthz").status, 200);
}

/// A client that takes nothing of its answer holds nobody up.
#[test]
fn who_reads_nothing_holds_nobody_up() {
    let (admin, host) = shown();
    let groups: Vec<_> = (0..1500).map(|_| host.session.url_group()).collect();
    let slow: Vec<Client> = (0..80)
        .map(|_| {
            let mut client = Client::connect(admin.address());
            client.set_receive_buffer(1024);
            // More than its socket takes.
            let _ = client.stream.write_all(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    assert_eq!(ask(&admin, "/healthz").status, 200);
    let state = ask(&admin, "/state");
    assert!(state.status == 200 && state.body.len() > 1 << 20, "{}", state.body.len());
    drop((slow, groups));
}

#[test]
fn many_scrape_at_once_under_load() {
    let (admin, host) = shown();
    let consumer = serve(&host.queue, |request| drop(request.respond(Response::text("hello"))));
    let stops = AtomicBool::new(false);
    let _stop = crate::common::StopOnDrop(&host.engine);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = host.connect();
                while !stops.load(Ordering::Relaxed) {
                    assert_eq!(client.ask("/").status, 200);
                }
            });
        }
        let scrapers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut before = 0.0;
                    for path in ["/metrics", "/live", "/state"].iter().cycle().take(30) {
                        let reply = ask(&admin, path);
                        assert_eq!(reply.status, 200);
                        if *path == "/metrics" {
                            let families = openmetrics::parse(reply.text());
                            let answered =
                                openmetrics::value(&families, "ringress_requests_answered_total", &[("shard", "0")]);
                            assert!(answered >= before, "counts grow");
                            before = answered;
                        }
                    }
                    before
                })
            })
            .collect();
        let seen: Vec<_> = scrapers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stops.store(true, Ordering::Relaxed);
        for seen in seen {
            assert!(seen.expect("no panic") > 0.0);
        }
    });
    host.await_rest();
    drop(_stop);
    consumer.join().expect("no panic");
}
