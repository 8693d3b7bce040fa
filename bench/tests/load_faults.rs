//! The load generator against servers that are wrong on purpose: each fault is reported as what it is, and right
//! answers, however odd, are not reported.

mod load_support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use load_support::{BODY, RIGHT, Server, Then, assert_clean, assert_only, comes_out_once, on_time, plan, report};
use ringress_bench::load::{Exchange, Expectation, Pace, Phase, Plan, Progress, Report, run};

fn against(answer: &str, then: Then) -> Report {
    let server = Server::always(answer, then);
    report(&plan(&server))
}

#[test]
fn wrong_answers_are_told_by_what_is_wrong() {
    let length = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_only(&against("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Then::KeepOpen), "wrong status");
    assert_only(&against(&length("Hello"), Then::KeepOpen), "wrong length");
    assert_only(&against(&length("Hello, World!!"), Then::KeepOpen), "wrong length");
    assert_only(&against(&length("Hello, Wordl!"), Then::KeepOpen), "wrong content");
    assert_only(&against("HTTP/1.1 200 OK\r\n\r\nHello", Then::Close), "wrong length");
}

#[test]
fn a_wrong_answer_among_right_ones_is_found_although_right_ones_are_recognised_unread() {
    let asked = AtomicU32::new(0);
    let server = Server::start(move |_, stream| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let wrong = RIGHT.replace("World", "Wordl");
        let _ = stream.write_all(if number == 100 { wrong.as_bytes() } else { RIGHT.as_bytes() });
        Then::KeepOpen
    });
    let report = report(&plan(&server));
    assert_only(&report, "wrong content");
    assert_eq!(report.faults.wrong_content, 1);
    assert!(report.answers > 100, "the load went on");
}

#[test]
fn faults_before_the_measured_time_are_counted_apart() {
    // The first answers of each connection are wrong, and then the server is there.
    let asked = AtomicU32::new(0);
    let server = Server::start(move |_, stream| {
        let is_early = asked.fetch_add(1, Ordering::Relaxed) < 20;
        let early = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(if is_early { early } else { RIGHT }.as_bytes());
        Then::KeepOpen
    });
    let warmed = report(&Plan { warm_up: Duration::from_millis(500), ..plan(&server) });
    assert_only(&warmed, "wrong status");
    assert_eq!((warmed.faults.wrong_status, warmed.faults.warm_up), (20, 20));
}

#[test]
fn bytes_that_are_no_answer_are_garbage() {
    for garbage in [
        "SSH-2.0-OpenSSH\r\n",
        "\r\n\r\n",
        "HTTP/1.1 banana\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nContent-Length: 14\r\n\r\nHello, World!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHello, World!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nHello, W\r\n0\r\n\r\n",
    ] {
        assert_only(&against(garbage, Then::KeepOpen), "garbage");
    }
    let bytes: Vec<u8> = (0..20_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let server = Server::always(bytes, Then::KeepOpen);
    assert_only(&report(&plan(&server)), "garbage");
}

#[test]
fn bytes_that_nobody_asked_for_are_garbage() {
    assert_only(&against(&format!("{RIGHT}!"), Then::KeepOpen), "garbage");
    assert_only(&against(&RIGHT.repeat(2), Then::KeepOpen), "garbage");
    let closing = RIGHT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_only(&against(&format!("{closing}!"), Then::Close), "garbage");
}

#[test]
fn answers_that_end_early_are_truncated() {
    for at in ["HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
        assert_only(&against(at, Then::Close), "truncated");
    }
    assert_only(&against(RIGHT.strip_suffix('!').expect("it ends so"), Then::Close), "truncated");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n";
    assert_only(&against(chunked, Then::Close), "truncated");
}

#[test]
fn connections_that_end_without_an_answer_are_told_from_those_that_are_reset() {
    assert_only(&against("", Then::Close), "unanswered");
    assert_only(&against("", Then::Reset), "resets");
    assert_only(&against("HTTP/1.1 200 OK\r\n", Then::Reset), "resets");
}

#[test]
fn answers_that_do_not_come_are_timeouts_and_the_load_ends_in_time() {
    for part in ["", "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nHello, World!"] {
        let server = Server::always(part, Then::Hang);
        let plan = Plan { timeout: Duration::from_millis(200), ..plan(&server) };
        let begun = Instant::now();
        assert_only(&report(&plan), "timeouts");
        assert!(begun.elapsed() < Duration::from_secs(8), "took {:?}", begun.elapsed());
    }
}

#[test]
fn requests_behind_one_that_is_never_answered_are_lost_with_it() {
    // The load is over before the time-out: each of the two connections is given up once, with all that is on it.
    let plan_of = |server: &Server| Plan { depth: 16, timeout: Duration::from_secs(1), ..plan(server) };
    let hanging = report(&plan_of(&Server::always("", Then::Hang)));
    assert_only(&hanging, "timeouts");
    assert_eq!((hanging.faults.timeouts, hanging.faults.lost), (2, 30), "{:?}", hanging.faults);
    // The same when the hanging answer has begun, and when the connection is closed or reset instead.
    for (then, kind) in [(Then::Hang, "timeouts"), (Then::Close, "truncated"), (Then::Reset, "resets")] {
        let report = report(&plan_of(&Server::always("HTTP/1.1 200", then)));
        assert_only(&report, kind);
        assert_eq!(report.faults.lost, 15 * report.faults.count(), "{:?}", report.faults);
    }
}

#[test]
fn nothing_is_lost_where_requests_are_not_pipelined_or_the_end_was_announced() {
    for then in [Then::Close, Then::Reset] {
        assert_eq!(against("", then).faults.lost, 0);
    }
    // An answer that ends with its connection: those behind it are asked again elsewhere.
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{BODY}").as_bytes());
        stream.shutdown(std::net::Shutdown::Write).expect("connected");
        Then::Hang
    });
    comes_out_once(|| {
        let report = on_time(report(&Plan { depth: 4, pace: Pace::Rate(500.0), ..plan(&server) }))?;
        assert_clean(&report);
        assert_eq!((report.faults.lost, report.latency.0.len()), (0, 200));
        Ok(())
    });
}

#[test]
fn informational_answers_without_end_are_timeouts() {
    let server = Server::start(|_, stream| {
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
        Then::Close
    });
    let plan = Plan { timeout: Duration::from_millis(200), ..plan(&server) };
    let begun = Instant::now();
    assert_only(&report(&plan), "timeouts");
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(20), "the server was not told to stop sending");
}

/// A port that nobody listens on, and that nobody is given while the listener of another test is bound.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound")
}

#[test]
fn connections_that_cannot_be_made_are_refused() {
    let plan = Plan { connections: 3, ..Plan::new(closed_port()) };
    let plan = Plan { exchanges: vec![Exchange::get("h", "/")], ..plan };
    let begun = Instant::now();
    let report = report(&plan);
    assert_only(&report, "refused");
    assert_eq!((report.faults.refused, report.answers), (3, 0));
    assert!(begun.elapsed() < Duration::from_secs(10), "a load without a server ends at once");
}

#[test]
fn slow_but_right_answers_are_right() {
    let server = Server::start(|_, stream| {
        for byte in RIGHT.as_bytes() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        Then::KeepOpen
    });
    assert_clean(&report(&plan(&server)));
}

#[test]
fn odd_but_right_answers_are_right() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n6;x=y\r\nWorld!\r\n0\r\nA: b\r\n\r\n";
    assert_clean(&against(chunked, Then::KeepOpen));
    assert_clean(&against(&format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{RIGHT}"), Then::KeepOpen));
    assert_clean(&against(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{BODY}"), Then::Close));
    assert_clean(&against(&format!("HTTP/1.0 200 OK\r\n\r\n{BODY}"), Then::Close));
    assert_clean(&against(&RIGHT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), Then::Close));
}

#[test]
fn answers_to_head_have_no_body() {
    let server = Server::always("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n", Then::KeepOpen);
    let exchange = Exchange::head("h", "/").expecting_body(200, BODY);
    assert_clean(&report(&Plan { exchanges: vec![exchange], ..plan(&server) }));
}

#[test]
fn connections_are_made_anew_after_so_many_requests() {
    for requests in [1, 3] {
        let server = Server::always(RIGHT, Then::KeepOpen);
        let report = report(&Plan { requests_per_connection: Some(requests), ..plan(&server) });
        assert_clean(&report);
        let expected = report.answers / u64::from(requests);
        assert!(report.reconnects.abs_diff(expected) <= 4, "{} for {}", report.reconnects, report.answers);
    }
}

#[test]
fn a_server_that_closes_after_each_answer_in_order_has_no_fault_even_when_requests_were_pipelined() {
    let answer = RIGHT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let server = Server::always(answer, Then::Close);
    comes_out_once(|| {
        let report = on_time(report(&Plan { depth: 4, pace: Pace::Rate(1_000.0), ..plan(&server) }))?;
        // Unread requests reset the connection after the answer, and may do so before it was received.
        assert_eq!(report.faults.count(), report.faults.resets, "{:?}", report.faults);
        assert!(report.reconnects > 0 && report.answers > 0);
        Ok(())
    });
}

#[test]
fn a_rotation_gets_the_answers_that_belong_to_its_requests() {
    let server = Server::start(|request, stream| {
        let path = request.split(|byte| *byte == b' ').nth(1).expect("a request line");
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path.len()).into_bytes();
        answer.extend_from_slice(path);
        let _ = stream.write_all(&answer);
        Then::KeepOpen
    });
    let exchange = |path: &'static str| Exchange::get("h", path).expecting_body(200, path);
    let exchanges: Vec<Exchange> = ["/a", "/bb", "/ccc"].map(exchange).to_vec();
    let plan = Plan { depth: 7, requests_per_connection: Some(20), exchanges: exchanges.clone(), ..plan(&server) };
    assert_clean(&report(&plan));
    // The same against answers in another order.
    let exchanges = exchanges.iter().map(|exchange| exchange.clone().expecting_body(200, "/bb")).collect();
    assert!(report(&Plan { exchanges, ..plan }).faults.wrong_length > 0);
}

#[test]
fn large_bodies_travel_both_ways() {
    let body = vec![b'x'; 1 << 20];
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n".to_vec(), body.clone()].concat();
    let server = Server::start(move |request, stream| {
        assert!(request.ends_with(&[b'x'; 1 << 20]), "the request came whole");
        let _ = stream.write_all(&answer);
        Then::KeepOpen
    });
    let exchange = Exchange::post("h", "/", &body).expecting_body(200, body);
    let plan = Plan { depth: 2, duration: Duration::from_millis(400), exchanges: vec![exchange], ..plan(&server) };
    assert_clean(&report(&plan));
}

#[test]
fn idle_connections_ask_once_and_stay() {
    let asked = std::sync::Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let server = Server::start(move |request, stream| {
        counted.fetch_add(u32::from(request.starts_with(b"GET")), Ordering::Relaxed);
        let _ = stream.write_all(RIGHT.as_bytes());
        Then::KeepOpen
    });
    // Nothing but the idle ones asks at this rate, after the first request.
    let plan = Plan { idle_connections: 20, connections: 1, pace: Pace::Rate(1.0), ..plan(&server) };
    let report = report(&plan);
    assert_clean(&report);
    assert_eq!((asked.load(Ordering::Relaxed), report.reconnects), (21, 0));
}

#[test]
fn threads_share_the_connections_and_one_report() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let clients = seen.clone();
    let server = Server::start(move |_, stream| {
        clients.lock().expect("nobody panics with it").insert(stream.peer_addr().expect("connected"));
        let _ = stream.write_all(RIGHT.as_bytes());
        Then::KeepOpen
    });
    let one = plan(&server);
    let cores = vec![one.cores[0]; 2];
    let phases = std::cell::RefCell::new(Vec::new());
    let plan = Plan { cores, connections: 5, idle_connections: 4, duration: Duration::from_millis(700), ..one };
    let report = run(&plan, &|progress: Progress| phases.borrow_mut().push(progress.phase)).expect("it can be run");
    assert_clean(&report);
    assert_eq!(seen.lock().expect("nobody panics with it").len(), 9);
    assert!(phases.borrow().contains(&Phase::Measuring), "{phases:?}");
}

#[test]
fn a_target_elsewhere_is_refused_unless_it_is_mine() {
    let elsewhere: SocketAddr = "192.0.2.1:80".parse().expect("valid");
    let plan = Plan { exchanges: vec![Exchange::get("h", "/")], ..Plan::new(elsewhere) };
    let error = run(&plan, &|_| {}).expect_err("not this host").to_string();
    assert!(error.contains("192.0.2.1") && error.contains("--i-own-the-target"), "{error}");
    assert!(Plan { target_is_mine: true, ..plan }.check().is_ok());
}

#[test]
fn impossible_plans_are_refused_with_the_setting_named() {
    let good = Plan { exchanges: vec![Exchange::get("h", "/")], ..Plan::new(closed_port()) };
    let refused = |plan: Plan, word: &str| {
        let error = run(&plan, &|_| {}).expect_err("impossible").to_string();
        assert!(error.contains(word), "{error} does not name {word}");
    };
    refused(Plan { cores: vec![], ..good.clone() }, "--cores");
    refused(Plan { cores: vec![0, 1], connections: 1, ..good.clone() }, "--connections");
    refused(Plan { depth: 0, ..good.clone() }, "--depth");
    refused(Plan { depth: 1_025, ..good.clone() }, "--depth");
    refused(Plan { pace: Pace::Rate(0.0), ..good.clone() }, "--rate");
    refused(Plan { pace: Pace::Rate(f64::NAN), ..good.clone() }, "--rate");
    refused(Plan { pace: Pace::Rate(1e300), ..good.clone() }, "1e300 requests a second (--rate)");
    refused(Plan { pace: Pace::Rate(1.1e9), ..good.clone() }, "--rate");
    refused(Plan { requests_per_connection: Some(0), ..good.clone() }, "--requests-per-connection");
    refused(Plan { duration: Duration::ZERO, ..good.clone() }, "--duration");
    refused(Plan { timeout: Duration::ZERO, ..good.clone() }, "--timeout");
    refused(Plan { connections: u32::MAX, ..good.clone() }, "ulimit");
    refused(Plan { exchanges: vec![], ..good.clone() }, "request");
    refused(Plan { cores: vec![100_000], ..good }, "--cores");
}

#[test]
fn expectations_that_are_absent_are_not_checked() {
    let server = Server::always("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi", Then::KeepOpen);
    let any = Exchange::get("h", "/").expecting(Expectation::default());
    assert_clean(&report(&Plan { exchanges: vec![any], ..plan(&server) }));
}
