//! Directed tests of bodies that are whole before their requests are delivered; what is promised to them: `promises`.

use std::time::Duration;

use super::rig::{Options, Rig, body, read_body, read_prefix};
use crate::config::Config;
use crate::driver::fake::Faults;
use crate::policy::Properties;
use crate::queue::BodyState;

pub(super) const WHOLE_MAX: u32 = 3000;
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn with(properties: Properties) -> Rig {
    let properties = properties.deliver_when_whole(WHOLE_MAX);
    Rig::with(Options { config: Config { properties, ..Options::default().config }, ..Options::default() })
}

fn rig() -> Rig {
    with(Properties::new())
}

fn post(framing: &str) -> String {
    format!("POST /a/1 HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")
}

pub(super) fn post_of(bytes: usize) -> String {
    post(&format!("Content-Length: {bytes}"))
}

impl Rig {
    pub(super) fn assert_nobodys(&mut self) {
        assert!(self.queue.claim_of(0).is_none(), "it is delivered");
        assert_eq!(self.counters.requests_delivered.read(), 0);
    }

    /// The request is whole, and is answered.
    pub(super) fn answer_whole(&mut self, client: usize, wanted: &[u8]) {
        let mut lease = self.claim();
        assert_eq!(body(&mut lease), wanted);
        super::rig::answer(lease);
        self.settle();
        assert_eq!(self.heard_answers(client), ["/a/1"]);
    }

    /// A client is told after so many seconds that it is too slow.
    pub(super) fn assert_408_within(&mut self, client: usize, seconds: core::ops::Range<u32>) {
        let ends = (0..100).find(|_| {
            self.pass(SECOND);
            let heard = self.heard(client);
            assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408 "), "{heard}");
            !heard.is_empty()
        });
        assert!(ends.is_some_and(|ends| seconds.contains(&ends)), "{ends:?}");
    }

    pub(super) fn leave(mut self, clients: &[usize]) {
        for client in clients {
            self.shard.protocol.transport.io.end(*client);
        }
        self.settle();
        self.assert_idle();
    }

    /// As [`leave`](Self::leave), after so many bytes of requests.
    fn leave_counted(mut self, clients: &[usize], bytes: u64) {
        let counters = std::sync::Arc::clone(&self.counters);
        self.settle();
        self.leave(clients);
        assert_eq!(counters.bytes_received.read(), bytes);
    }
}

#[test]
fn a_request_is_delivered_when_its_body_is_whole() {
    let (mut rig, whole) = (rig(), vec![b'w'; 2500]);
    let client = rig.connect();
    // At once, in two pieces, and byte by byte.
    for piece in [2500, 1250, 1] {
        rig.say(client, post_of(2500));
        for bytes in whole.chunks(piece) {
            rig.assert_undelivered();
            rig.say(client, bytes);
        }
        rig.answer_whole(client, &whole);
    }
    rig.say(client, post_of(5) + "whole");
    rig.answer_whole(client, b"whole");
    rig.leave(&[client]);
}

impl Rig {
    fn assert_undelivered(&mut self) {
        assert!(self.queue.claim_of(0).is_none(), "a part of it is delivered");
    }
}

#[test]
fn chunks_are_gathered_with_their_trailers() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, post("Transfer-Encoding: chunked"));
    for part in ["5\r\nwh", "ole\r", "\n1\r\n!\r\n0\r\nx: y\r\n", "\r\n"] {
        rig.assert_undelivered();
        rig.say(client, part);
    }
    let mut lease = rig.claim();
    assert_eq!(body(&mut lease), b"whole!");
    assert!(matches!(lease.body_state(), BodyState::Ended { trailers: Some((_, 6..)) }));
    super::rig::answer(lease);
    rig.settle();
    rig.leave(&[client]);
}

#[test]
fn what_is_longer_is_delivered_at_once_or_when_that_shows() {
    let mut rig = rig();
    let clients = [rig.connect(), rig.connect()];
    rig.say(clients[0], post_of(WHOLE_MAX as usize + 1));
    let long = rig.claim();
    rig.say(clients[1], post("Transfer-Encoding: chunked") + "fff\r\n");
    rig.say(clients[1], [b'x'; 2000]);
    rig.assert_undelivered();
    rig.say(clients[1], [b'x'; 1500]);
    let mut lease = rig.claim();
    let mut read = read_prefix(&mut lease);
    assert!(!read_body(&mut lease, &mut read) && read.len() == 3500, "{} bytes", read.len());
    rig.say(clients[1], [&[b'x'; 595][..], b"\r\n0\r\n\r\n"].concat());
    assert!(read_body(&mut lease, &mut read) && read.len() == 4095);
    drop((long, lease));
    rig.settle();
    rig.leave(&clients);
}

#[test]
fn a_client_that_leaves_before_was_never_delivered() {
    for reset in [true, false] {
        let mut rig = rig();
        let client = rig.connect();
        rig.say(client, post_of(2000) + "x");
        match reset {
            true => rig.shard.protocol.transport.io.reset(client),
            false => rig.shard.protocol.transport.io.end(client),
        }
        rig.settle();
        rig.assert_nobodys();
        if !reset {
            assert!(rig.heard(client).starts_with("HTTP/1.1 400 "));
            assert_eq!(rig.counters.requests_refused.read(), 1);
        }
        rig.assert_idle();
    }
}

#[test]
fn what_is_wrong_with_a_body_is_told_and_delivered_to_nobody() {
    let too_large = format!("{:x}\r\n{}", 1000, "x".repeat(1000));
    let properties = Properties::new().request_body_max(900);
    let bad = [("5\r\nwh", "oleX\r\n", "400"), (&too_large[..500], &too_large[500..], "413")];
    for (first, then, status) in bad {
        let mut rig = with(properties);
        let mut policy = *rig.shard.protocol.dispatch.policy(crate::policy::PolicyKey::OF_ENGINE);
        policy.body_max = 900;
        let routes = super::rig::routes(policy, &[("/a/", 2, policy)], (&rig.queue, &rig.verbosity));
        rig.change(|desired| desired.routes = std::sync::Arc::new(routes));
        let client = rig.connect();
        rig.say(client, post("Transfer-Encoding: chunked"));
        rig.say(client, first);
        assert_eq!(rig.heard(client), "");
        rig.say(client, then);
        assert!(rig.heard(client).starts_with(&format!("HTTP/1.1 {status} ")), "{status}");
        rig.assert_nobodys();
        assert_eq!(rig.counters.requests_refused.read(), 1);
        rig.leave(&[client]);
    }
}

#[test]
fn a_body_that_stops_is_answered_408_and_holds_no_consumer() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, post_of(2000) + "x");
    rig.assert_408_within(client, 26..37);
    rig.assert_nobodys();
    assert_eq!((rig.counters.receive_rate_timeouts.read(), rig.counters.requests_refused.read()), (1, 1));
    let sent = (post_of(2000).len() + 1) as u64;
    rig.leave_counted(&[client], sent);
}

#[test]
fn the_queue_timer_runs_from_delivery_on() {
    let mut rig = with(Properties::new().request_queue(SECOND * 5).receive_rate_min(0));
    let client = rig.connect();
    rig.say(client, post_of(2) + "x");
    (0..20).for_each(|_| rig.pass(SECOND));
    rig.say(client, "y");
    (0..4).for_each(|_| rig.pass(SECOND));
    rig.answer_whole(client, b"xy");
    rig.leave(&[client]);
}

#[test]
fn who_waits_to_continue_is_told_at_once() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, post("Expect: 100-continue\r\nContent-Length: 5"));
    assert_eq!(rig.heard(client), "HTTP/1.1 100 Continue\r\n\r\n");
    rig.assert_nobodys();
    rig.say(client, "whole");
    rig.answer_whole(client, b"whole");
    rig.leave(&[client]);
}

#[test]
fn nothing_overtakes_a_body_that_is_awaited() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + &post_of(5) + "wh");
    let before = rig.claim();
    rig.assert_undelivered();
    super::rig::answer(before);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/0"], "and the connection goes on");
    rig.say(client, "oleGET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(rig.claim_all().len(), 1, "what follows waits for the answer");
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 500 "), "{heard}");
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/2"]);
    rig.leave(&[client]);
}

#[test]
fn an_answer_that_ends_the_connection_ends_what_is_awaited_behind_it() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + &post_of(5) + "wh");
    let before = rig.claim();
    super::rig::answer_with(before, "", true);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/0"]);
    rig.say(client, "ole");
    rig.assert_undelivered();
    rig.leave(&[client]);
}

#[test]
fn a_full_queue_is_met_at_delivery_and_the_connection_goes_on() {
    let properties = Properties::new().deliver_when_whole(WHOLE_MAX);
    let config = Config { properties, ..Options::default().config };
    let mut rig = Rig::with(Options { config, queue_length: 1, ..Options::default() });
    let clients = [rig.connect(), rig.connect()];
    rig.say(clients[0], post_of(5) + "wh");
    rig.say(clients[1], "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.say(clients[0], "ole");
    assert!(rig.heard(clients[0]).starts_with("HTTP/1.1 503 "));
    rig.serve();
    rig.say(clients[0], post_of(5) + "wh");
    rig.say(clients[0], "ole");
    rig.answer_whole(clients[0], b"whole");
    rig.leave(&clients);
}

#[test]
fn a_group_that_is_gone_meanwhile_gets_no_request() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, post_of(5) + "wh");
    let policy = *rig.shard.protocol.dispatch.policy(crate::policy::PolicyKey::OF_ENGINE);
    let routes = super::rig::routes(policy, &[], (&rig.queue, &rig.verbosity));
    rig.change(|desired| desired.routes = std::sync::Arc::new(routes));
    rig.say(client, "ole");
    assert!(rig.heard(client).starts_with("HTTP/1.1 503 "));
    rig.leave(&[client]);
}

#[test]
fn the_fewest_buffers_serve_many_bodies() {
    let properties = Properties::new().deliver_when_whole(WHOLE_MAX);
    let config = Config { properties, receive_buffers: 16, body_buffers: 4, ..Options::default().config };
    for seed in 0..20 {
        let faults = Faults::default();
        let mut rig = Rig::with(Options { config: config.clone(), seed, faults, ..Options::default() });
        let clients: Vec<usize> = (0..12).map(|_| rig.connect()).collect();
        for client in &clients {
            rig.say(*client, post_of(2900));
        }
        for (round, client) in (0..29).flat_map(|round| clients.iter().map(move |client| (round, *client))) {
            rig.shard.protocol.transport.io.write(client, &[b'a' + round; 100]);
            if seed > 0 && round % u8::try_from(seed).expect("few") == 0 {
                rig.settle();
            }
        }
        let mut served = 0;
        while served < clients.len() {
            rig.settle();
            let leases = rig.claim_all();
            assert!(!leases.is_empty(), "hang: {served} are served");
            for mut lease in leases {
                assert_eq!(body(&mut lease).len(), 2900);
                super::rig::answer(lease);
                served += 1;
            }
        }
        rig.settle();
        for client in &clients {
            assert_eq!(rig.heard_answers(*client), ["/a/1"]);
        }
        rig.leave(&clients);
    }
}

#[test]
fn a_stop_waits_for_a_body_that_is_awaited_whole_until_its_grace_is_over() {
    for (linger, is_finished) in [(Duration::ZERO, true), (SECOND * 30, true), (Duration::ZERO, false)] {
        let mut rig = rig();
        let client = rig.connect();
        rig.say(client, post_of(1000));
        rig.say(client, [b'x'; 400]);
        rig.drain(linger, SECOND * 5);
        rig.settle();
        rig.assert_nobodys();
        assert!(!rig.shard.protocol.transport.io.is_closed(client) && !rig.shard.is_done());
        if is_finished {
            rig.say(client, [b'x'; 600]);
            let mut lease = rig.claim();
            assert_eq!(body(&mut lease), [b'x'; 1000]);
            super::rig::answer(lease);
            rig.settle();
            let heard = rig.heard(client);
            assert!(heard.contains("\r\nConnection: close\r\n") && heard.contains("[/a/1]"), "{linger:?}: {heard}");
            rig.shard.protocol.transport.io.end(client);
        } else {
            rig.pass(SECOND * 6);
            assert!(rig.shard.protocol.transport.io.is_closed(client));
        }
        rig.settle();
        assert!(rig.shard.is_done());
        rig.end();
    }
}

#[test]
fn a_stop_waits_for_a_body_behind_a_response_that_says_nothing_of_an_end() {
    let mut rig = rig();
    let client = rig.connect();
    rig.say(client, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + &post_of(1000));
    rig.say(client, [b'x'; 400]);
    let first = rig.claim();
    rig.stop(SECOND * 5);
    rig.settle();
    super::rig::answer(first);
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.contains("[/a/0]") && !heard.contains("Connection: close"), "{heard}");
    rig.say(client, [b'x'; 600]);
    rig.serve();
    let heard = rig.heard(client);
    assert!(heard.contains("[/a/1]") && heard.contains("\r\nConnection: close\r\n"), "{heard}");
    rig.shard.protocol.transport.io.end(client);
    rig.end();
}
