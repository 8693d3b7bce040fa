//! Timers, limits and rates, set by `--set NAME=VALUE`: each shows as a client sees it.
//!
//! Times here are lower bounds that a test checks, and upper ones so wide that only a missing timer breaks them.

use std::ops::Range;
use std::time::{Duration, Instant};

use ringress_tests::{Client, Gauges, Mode, Server, Setup, both_modes, comes_out_once, pause, run_showcase};

/// Exit status for a command line that cannot be used.
const STATUS_USAGE: i32 = 2;

/// What the timers under test are set to: ample for what a test has to do in time, also on a busy machine.
const TIMER: Duration = Duration::from_secs(1);

/// What may pass between the moment that starts a timer and ours; and the wait_max with a client's end, which is five
/// seconds at most, may be a step of the engine's clock short of them.
const STEP: Duration = Duration::from_millis(64);

/// How long a client may pause while nobody wants what it sends, or only its end, whatever the drain timer says.
const PEER_PATIENCE: Duration = Duration::from_secs(5);

/// The defaults are 120 s: whatever ends before was ended by the timer that was set.
const LONG: Duration = Duration::from_secs(8);

/// Every property by name, with a value that it takes.
const PROPERTIES: [(&str, &str); 13] = [
    ("idle_connection", "2s"),
    ("header_wait", "1m"),
    ("entity_body", "500ms"),
    ("drain_entity_body", "1h"),
    ("request_queue", "off"),
    ("send_rate_min", "300"),
    ("receive_rate_min", "200"),
    ("request_body_max", "1MiB"),
    ("deliver_when_whole", "64KiB"),
    ("request_body_credit", "64KiB"),
    ("send_credit", "16384"),
    ("keep_memory", "5m"),
    ("socket_buffer", "16KiB"),
];

#[test]
fn every_property_can_be_set_by_its_name() {
    for mode in Mode::ALL {
        let all = PROPERTIES.iter().fold(Setup::new(mode), |setup, (name, value)| setup.set(name, value));
        let server = Server::start(&all.set("EntityBody", "700ms").set("send-credit", "1MiB"));
        server.assert_healthy();
        assert_eq!(server.connect().exchange(server.post("/echo", vec![b'x'; 300_000])).body.len(), 300_000);
        server.finish();
    }
}

/// One line on standard error with all of `named` in it.
#[track_caller]
fn assert_refused(setting: &str, named: &[&str]) {
    let output = run_showcase(&["--set", setting]);
    assert_eq!(output.status, Some(STATUS_USAGE), "{setting}: {output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{setting}: one line: {output:?}");
    for name in named {
        assert!(output.stderr.contains(name), "{setting}: names {name}: {output:?}");
    }
    assert_eq!(output.stdout, "", "{setting}");
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let known = PROPERTIES.map(|(name, _)| name);
    assert_refused("patience=2s", &[&["patience"], &known[..]].concat());
    assert_refused("=2s", &known);
}

#[test]
fn values_that_cannot_be_are_refused() {
    for (setting, value) in [
        ("header_wait=2", "2"),
        ("header_wait=1ms", "1ms"),
        ("header_wait=never", "never"),
        ("entity_body=", "\"\""),
        ("send_rate_min=-1", "-1"),
        ("send_credit=1", "1"),
        ("send_credit=off", "off"),
        ("request_body_max=1.5MiB", "1.5MiB"),
    ] {
        let name = setting.split('=').next().expect("a name");
        assert_refused(setting, &[name, value]);
    }
    assert_refused("header_wait", &["header_wait"]);
    let output = run_showcase(&["--set"]);
    assert_eq!((output.status, output.stderr.contains("--set")), (Some(STATUS_USAGE), true), "{output:?}");
    assert!(run_showcase(&["--help"]).stdout.contains("--set"));
}

mod heads {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("header_wait", "1s");
        a_head_that_does_not_end_gets_408,
        a_head_that_comes_slowly_gets_408_all_the_same,
        a_connection_without_a_request_is_closed_in_silence,
    ];
}

/// Checks that the end came by the timer: not before it, and long before any default.
#[track_caller]
fn assert_timed(started: Instant) {
    let took = started.elapsed();
    assert!(took + STEP >= TIMER && took < LONG, "ended after {took:?}");
}

#[track_caller]
fn expect_408(client: &mut Client) {
    let answer = client.response();
    assert_eq!((answer.status, answer.closes()), (408, true), "{answer:?}");
    client.expect_eof();
}

fn a_head_that_does_not_end_gets_408(server: &Server) {
    let head = server.get("/pipeline");
    for length in [1, 10, head.len() - 1] {
        let mut client = server.connect();
        let started = Instant::now();
        client.send(&head[..length]);
        expect_408(&mut client);
        assert_timed(started);
    }
    let mut client = server.connect();
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
    client.send(&head[..10]);
    expect_408(&mut client);
}

/// A byte now and then does not help.
fn a_head_that_comes_slowly_gets_408_all_the_same(server: &Server) {
    let mut client = server.connect();
    let started = Instant::now();
    client.send("GET /pipeline HTTP/1.1\r\nX: ");
    while !client.has_unread() {
        assert!(started.elapsed() < LONG, "a slow head is never ended");
        let _ = client.try_send("x");
        pause(Duration::from_millis(20));
    }
    assert_eq!(client.response().status, 408);
    assert_timed(started);
}

fn a_connection_without_a_request_is_closed_in_silence(server: &Server) {
    let started = Instant::now();
    let mut client = server.connect();
    client.expect_eof();
    assert_timed(started);
}

mod bodies {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("EntityBody", "1s");
        a_body_that_stops_gets_408,
        a_body_that_goes_on_is_never_too_slow,
        an_echo_whose_body_stops_does_not_look_whole,
    ];
}

fn a_body_that_stops_gets_408(server: &Server) {
    for (framing, part) in [
        ("Content-Length: 10", &b"half"[..]),
        ("Content-Length: 10", b""),
        ("Content-Length: 1000000", &[b'x'; 300_000]),
        ("Transfer-Encoding: chunked", b"5\r\nhal"),
        ("Transfer-Encoding: chunked", b"5\r\nwhole\r\n"),
    ] {
        let mut client = server.connect().about(framing);
        let started = Instant::now();
        client.send(server.request("POST /upload HTTP/1.1", &[framing], part));
        expect_408(&mut client);
        assert_timed(started);
    }
}

/// Every piece begins the wait anew, so the whole may take longer than the timer.
fn a_body_that_goes_on_is_never_too_slow(server: &Server) {
    let mut client = server.connect();
    let started = Instant::now();
    client.send(server.request("POST /upload HTTP/1.1", &["Content-Length: 9"], ""));
    for _ in 0..9 {
        pause(TIMER / 4);
        client.send("x");
    }
    assert_eq!(client.response().text(), "9");
    assert!(started.elapsed() > TIMER * 2);
}

/// More than the echo holds before it begins, so that its response is under way.
fn an_echo_whose_body_stops_does_not_look_whole(server: &Server) {
    let half = [b'x'; 100_000];
    for (framing, part) in [
        ("Content-Length: 200000", half.to_vec()),
        // 0x30d40 is 200,000.
        ("Transfer-Encoding: chunked", [&b"30d40\r\n"[..], &half].concat()),
        ("Transfer-Encoding: chunked", [&b"186a0\r\n"[..], &half, b"\r\n"].concat()),
    ] {
        let cut_before = server.gauges().of("responses_truncated");
        let mut client = server.connect().about(framing);
        let started = Instant::now();
        client.send(server.request("POST /echo HTTP/1.1", &[framing], part));
        assert_eq!(client.head().status, 200, "{framing}");
        let (got, in_order) = client.read_until_gone();
        assert_timed(started);
        assert!(!in_order, "{framing}: an end in order after {} bytes", got.len());
        assert!(got.len() >= 64 * 1024 && got.len() < 200_000, "{framing}: {} bytes", got.len());
        assert!(!got.ends_with(b"\r\n0\r\n\r\n"), "{framing}: a last chunk");
        assert_eq!(server.gauges().of("responses_truncated") - cut_before, 1, "{framing}");
    }
    server.assert_healthy();
}

mod idle {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("idle_connection", "1s");
        an_idle_connection_is_closed_in_silence,
        a_connection_with_a_request_under_way_is_not_idle,
    ];
}

fn an_idle_connection_is_closed_in_silence(server: &Server) {
    let mut client = server.connect();
    let mut started = Instant::now();
    for _ in 0..3 {
        pause(TIMER / 4);
        started = Instant::now();
        assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
    }
    client.expect_eof();
    assert_timed(started);
}

fn a_connection_with_a_request_under_way_is_not_idle(server: &Server) {
    let mut client = server.connect();
    assert_eq!(client.exchange(server.get("/slow/2000")).status, 200);
    assert_eq!(client.exchange(server.get("/drip/3?ms=700")).status, 200);
    let mut slow = server.connect();
    slow.send(server.request("POST /upload HTTP/1.1", &["Content-Length: 3"], ""));
    for _ in 0..3 {
        pause(TIMER);
        slow.send("x");
    }
    assert_eq!(slow.response().text(), "3");
}

mod drain {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("drain_entity_body", "1s");
        a_body_that_nobody_reads_is_not_waited_for,
        a_client_that_does_not_end_its_side_is_reset,
    ];

    /// Long after the timer, and before the wait_max that holds without it.
    const SOON: Duration = Duration::from_secs(3);

    fn a_body_that_nobody_reads_is_not_waited_for(server: &Server) {
        leave_a_body_unread(server, TIMER..SOON);
    }

    fn a_client_that_does_not_end_its_side_is_reset(server: &Server) {
        stay_behind_the_end(server, TIMER..SOON);
    }
}

mod drain_long {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("drain_entity_body", "7s");
        a_body_that_nobody_reads_may_pause_for_five_seconds_at_most,
        a_client_that_does_not_end_its_side_has_five_seconds_at_most,
    ];

    const SET: Duration = Duration::from_secs(7);

    fn a_body_that_nobody_reads_may_pause_for_five_seconds_at_most(server: &Server) {
        leave_a_body_unread(server, PEER_PATIENCE..SET - STEP);
    }

    fn a_client_that_does_not_end_its_side_has_five_seconds_at_most(server: &Server) {
        stay_behind_the_end(server, PEER_PATIENCE..SET - STEP);
    }
}

/// Checks that the connection is gone within these times, and gone as the server sees it.
#[track_caller]
fn assert_ended(server: &Server, started: Instant, within: Range<Duration>) {
    let left = |gauges: &Gauges| gauges.of("connections_open") == 1;
    server.wait_for_gauges("the end of a connection whose client stays", left);
    let took = started.elapsed();
    assert!(took + STEP >= within.start && took < within.end, "ended after {took:?}, not within {within:?}");
}

/// The response comes at once; then the rest of the body has the time of the drain timer to come.
fn leave_a_body_unread(server: &Server, within: Range<Duration>) {
    let mut client = server.connect();
    let started = Instant::now();
    let answer = client.exchange(server.request("GET /slow/20 HTTP/1.1", &["Content-Length: 1000"], "half"));
    assert_eq!(answer.status, 200);
    let (got, in_order) = client.read_until_gone();
    assert!(got.is_empty() && !in_order, "{:?}", String::from_utf8_lossy(&got));
    assert_ended(server, started, within);
}

/// The server has ended its side and waits for the client's, but not for ever.
fn stay_behind_the_end(server: &Server, within: Range<Duration>) {
    let mut client = server.connect();
    let started = Instant::now();
    let answer = client.exchange(server.request("GET /pipeline HTTP/1.1", &["Connection: close"], ""));
    assert!(answer.closes());
    client.expect_eof();
    assert_ended(server, started, within);
    let error = client.writer().take_error().expect("SO_ERROR can be read");
    assert!(error.is_some(), "it was closed, not reset");
}

mod queue_wait {
    use super::*;

    const WAIT: Duration = Duration::from_millis(250);

    // One consumer that is held: what comes behind finds nobody to take it.
    #[test]
    fn a_request_that_nobody_takes_gets_503() {
        let setup = Setup::new(Mode::Queue).shards(1).consumers(1).set("request_queue", "250ms");
        let server = Server::start(&setup);
        let refused = comes_out_once(|| {
            let mut holder = server.connect();
            holder.send(server.get("/work/1000"));
            let mut client = server.connect();
            let started = Instant::now();
            let answer = client.exchange(server.get("/pipeline"));
            let took = started.elapsed();
            assert_eq!(holder.response().status, 200);
            assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok", "the connection goes on");
            // A slow test asks when the work is done.
            if answer.status == 200 {
                return false;
            }
            assert_eq!((answer.status, answer.closes()), (503, false), "{answer:?}");
            assert!(took + STEP >= WAIT && took < LONG, "refused after {took:?}");
            true
        });
        assert!(refused, "always taken, though the only consumer is held");
        assert_eq!(server.gauges().of("queue_timeouts"), 1);
        server.finish();
    }
}

mod rates {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("send_rate_min", "20000");
        #[ignore = "80 s, mostly asleep: scripts/test runs it beside the others"]
        who_takes_too_little_is_reset_and_who_takes_enough_is_served,
    ];
}

/// A client may fall a minute behind the least rate.
const BEHIND_MAX: Duration = Duration::from_secs(60);

/// Who takes a quarter of it has done so after 80 seconds; it is looked at every five.
const RATE_WAIT_MAX: Duration = Duration::from_secs(100);

/// A round of a slow reader.
const ROUND: Duration = Duration::from_millis(50);

/// Asks and reads the head, and takes no more.
fn narrow(server: &Server, target: &str) -> Client {
    let mut client = Client::connect_narrow(server.address(), 4 * 1024).waiting(RATE_WAIT_MAX).about(target);
    client.send(server.get(target));
    assert_eq!(client.head().status, 200, "{target}");
    client
}

/// Two that take nothing, one that takes 5,000 bytes a second, one that takes 100,000.
fn who_takes_too_little_is_reset_and_who_takes_enough_is_served(server: &Server) {
    let started = Instant::now();
    let mut nothing = [narrow(server, "/bytes/100000000"), narrow(server, "/stream/100000?chunk=1000")];
    let mut little = narrow(server, "/bytes/99999999");
    let mut enough = narrow(server, "/bytes/99999998");
    let mut little_lives = true;
    while server.gauges().of("send_rate_timeouts") < 3 {
        assert!(started.elapsed() < RATE_WAIT_MAX, "not reset: {:#?}", server.gauges());
        assert!(started.elapsed() > BEHIND_MAX || server.gauges().of("send_rate_timeouts") == 0, "too early");
        little_lives = little_lives && little.try_some(250).is_ok();
        assert!(!enough.some(5_000).is_empty(), "who takes enough is not cut");
        pause(ROUND);
    }
    // The third that was reset is the one that takes too little, whether it has seen that or not.
    if little_lives {
        little.expect_reset();
    }
    nothing.iter_mut().for_each(Client::expect_reset);
    assert_eq!(server.gauges().of("send_rate_timeouts"), 3);
    assert!(!enough.some(5_000).is_empty());
}

/// As many uploads that stop as there are consumers that wait for them: the next client is served all the same.
#[test]
#[ignore = "30 s, mostly asleep: scripts/test runs it beside the others"]
fn uploads_that_stop_do_not_hold_the_consumers() {
    const CONSUMERS: u32 = 4;
    let server = Server::start(&Setup::new(Mode::Queue).shards(1).consumers(CONSUMERS));
    let started = Instant::now();
    let mut idle: Vec<Client> = (0..CONSUMERS).map(|_| server.connect().waiting(RATE_WAIT_MAX)).collect();
    for client in &mut idle {
        client.send(server.request("PUT /upload HTTP/1.1", &["Content-Length: 1000"], "x"));
    }
    let mut next = server.connect().waiting(RATE_WAIT_MAX);
    assert_eq!(next.exchange(server.get("/pipeline")).text(), "ok");
    assert!(started.elapsed() < Duration::from_secs(60), "after {:?}", started.elapsed());
    for client in &mut idle {
        let answer = client.response();
        assert_eq!((answer.status, answer.closes()), (408, true));
    }
    drop((idle, next));
    assert_eq!(server.gauges().of("receive_rate_timeouts"), u64::from(CONSUMERS));
    server.finish();
}
