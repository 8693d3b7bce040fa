//! Directed tests of timers: whose they are, what they do, and that nothing is answered twice or left behind.

use std::sync::Arc;
use std::time::Duration;

use super::informational::hint;
use super::rig::{Options, ROOM, Rig, answer, answer_with, read_body, read_prefix, routes, target};
use super::streams::{memory, push, start};
use crate::clock::ticks;
use crate::config::{Config, Mode};
use crate::policy::{Policy, Properties};

const SECOND: Duration = Duration::from_secs(1);

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn with(properties: Properties) -> Rig {
    Rig::with(Options { config: Config { properties, ..Options::default().config }, ..Options::default() })
}

/// Makes these the groups: a path, how often its place has changed hands, and its properties.
fn regroup(rig: &mut Rig, groups: &[(&str, u32, Properties)]) {
    let groups: Vec<(&str, u32, Policy)> =
        groups.iter().map(|(path, owner, properties)| (*path, *owner, Policy::of(properties))).collect();
    let routes = routes(Policy::of(&Properties::new()), &groups, (&rig.queue, &rig.verbosity));
    rig.change(|desired| desired.routes = Arc::new(routes));
    rig.settle();
}

/// Everybody leaves, and nothing is left.
fn end(mut rig: Rig, clients: &[usize]) {
    clients.iter().for_each(|client| rig.shard.protocol.transport.io.end(*client));
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_request_that_nobody_takes_is_answered_503_and_delivered_to_nobody() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("/a/1"));
    rig.pass(Duration::from_secs(119));
    assert_eq!(rig.heard(client), "");
    rig.pass(Duration::from_secs(2));
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("\r\nRetry-After: 1\r\n"), "{heard}");
    assert!(!heard.contains("Connection: close") && heard.ends_with("\r\nContent-Length: 0\r\n\r\n"), "{heard}");
    assert!(rig.queue.is_empty() && rig.queue.claim_of(0).is_none(), "it was answered");
    let counters = &rig.counters;
    assert_eq!(
        (counters.queue_timeouts.read(), counters.requests_timed_out.read(), counters.timeouts.read()),
        (1, 1, 0)
    );
    assert_eq!(
        (rig.shard.protocol.dispatch.side().in_use(), rig.shard.protocol.dispatch.side().buffers.small.in_use()),
        (0, 0),
        "it still holds memory"
    );
    rig.say(client, get("/a/2"));
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/2"], "the connection goes on");
    end(rig, &[client]);
}

#[test]
fn a_request_that_nobody_takes_is_timed_while_a_part_of_another_is_awaited() {
    let mut rig = with(Properties::new().header_wait(SECOND * 20).request_queue(SECOND * 5));
    let client = rig.connect();
    rig.say(client, get("/a/1") + "GET /a/2 HT");
    rig.pass(SECOND * 6);
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 503 ") && !heard.contains("Connection: close"), "{heard}");
    assert_eq!((rig.counters.queue_timeouts.read(), rig.counters.timeouts.read()), (1, 0));
    rig.say(client, "TP/1.1\r\nHost: h\r\n\r\n");
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/2"], "the connection goes on");
    // Of one that was taken there is no timer, and the head behind it has its own.
    rig.say(client, get("/a/3") + "GET /a/4 HT");
    let lease = rig.claim();
    rig.pass(SECOND * 19);
    assert_eq!((rig.heard(client).as_str(), rig.counters.timeouts.read()), ("", 0));
    rig.pass(SECOND * 2);
    answer(lease);
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.contains("[/a/3]HTTP/1.1 408 "), "{heard}");
    assert_eq!((rig.counters.queue_timeouts.read(), rig.counters.timeouts.read()), (1, 1));
    end(rig, &[client]);
}

#[test]
fn a_request_that_was_taken_is_not_timed() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("/a/1"));
    let lease = rig.claim();
    rig.pass(Duration::from_secs(1000));
    assert!(rig.heard(client).is_empty() && !rig.shard.protocol.transport.io.is_closed(client));
    answer(lease);
    rig.settle();
    assert_eq!((rig.heard_answers(client), rig.counters.queue_timeouts.read()), (vec!["/a/1".to_owned()], 0));
    end(rig, &[client]);
}

#[test]
fn time_that_the_application_takes_on_the_thread_of_its_shard_is_not_its_clients() {
    let properties = Properties::new().idle_connection(Duration::from_millis(500));
    let config = Config { properties, mode: Mode::Colocated, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let _driving = rig.shard.drive_here();
    let client = rig.connect();
    rig.say(client, get("/a/1"));
    let lease = rig.claim();
    rig.shard.protocol.transport.clock.skip(ticks(Duration::from_secs(10)));
    answer(lease);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    assert!(!rig.shard.protocol.transport.io.is_closed(client), "it has rested for no time yet");
    rig.pass(Duration::from_millis(500));
    assert!(rig.shard.protocol.transport.io.is_closed(client), "it has rested for long enough");
    rig.assert_idle();
}

#[test]
fn what_has_come_is_not_late_however_long_the_application_takes() {
    let properties = Properties::new().header_wait(SECOND);
    let config = Config { properties, mode: Mode::Colocated, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let _driving = rig.shard.drive_here();
    // As many clients as a turn hands out, three times over.
    rig.shard.protocol.dispatch.set_publish_max(2);
    let clients: Vec<usize> = (0..6).map(|_| rig.connect()).collect();
    for client in &clients {
        rig.shard.protocol.transport.io.write(*client, get("/a/1").as_bytes());
    }
    let mut served = 0;
    while served < clients.len() {
        rig.turn();
        let leases = rig.claim_all();
        assert!((1..=2).contains(&leases.len()), "the rest of what has come is handled or shown later");
        served += leases.len();
        rig.shard.protocol.transport.clock.skip(ticks(SECOND * 10));
        leases.into_iter().for_each(answer);
    }
    rig.settle();
    for client in &clients {
        assert_eq!(rig.heard_answers(*client), ["/a/1"]);
    }
    end(rig, &clients);
}

#[test]
fn a_client_rests_from_when_its_response_is_sent_however_long_that_takes() {
    let properties = Properties::new().idle_connection(SECOND);
    let config = Config { properties, mode: Mode::Colocated, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let _driving = rig.shard.drive_here();
    let (first, second) = (rig.connect(), rig.connect());
    rig.say(first, get("/a/1"));
    let lease = rig.claim();
    lease.send_informational(hint(1)).expect("it is open");
    answer(lease);
    rig.shard.protocol.transport.io.write(second, get("/a/2").as_bytes());
    rig.turn();
    // What is informational is sent, and the response behind it is when the thread comes back to the shard.
    assert!(rig.heard(first).starts_with("HTTP/1.1 103 "));
    let lease = rig.claim();
    rig.shard.protocol.transport.clock.skip(ticks(SECOND * 10));
    answer(lease);
    rig.settle();
    assert_eq!([first, second].map(|client| rig.heard_answers(client)), [["/a/1"], ["/a/2"]]);
    assert!(!rig.shard.protocol.transport.io.is_closed(first), "it has rested for no time yet");
    rig.pass(SECOND);
    assert!(rig.shard.protocol.transport.io.is_closed(first), "it has rested for long enough");
    end(rig, &[second]);
}

#[test]
fn a_head_that_comes_too_slowly_counts_for_no_group() {
    let mut rig = with(Properties::new().header_wait(SECOND));
    let client = rig.connect();
    // The slot of the next one was that of a request of a group.
    rig.say(client, get("/a/1"));
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.say(client, "GET /a/2 HT");
    rig.pass(SECOND * 2);
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
    rig.settle();
    assert_eq!((rig.counters.requests_refused.read(), rig.queue.counts().read().refused), (1, 0));
    end(rig, &[client]);
}

#[test]
fn pipelined_requests_are_timed_each_and_answered_in_order() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("/a/1") + &get("/a/2") + &get("/a/3"));
    let first = rig.claim();
    rig.pass(Duration::from_secs(121));
    assert_eq!((rig.heard(client), rig.counters.queue_timeouts.read()), (String::new(), 0), "the first comes first");
    assert!(rig.queue.claim_of(0).is_none());
    answer(first);
    rig.settle();
    let heard = rig.heard(client);
    let statuses: Vec<&str> = heard.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "503", "503"], "{heard}");
    rig.settle();
    assert_eq!((rig.counters.queue_timeouts.read(), rig.counters.requests_answered.read()), (2, 1));
    end(rig, &[client]);
}

#[test]
fn of_an_unsafe_request_that_nobody_takes_the_next_one_is_let_in() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody".to_owned() + &get("/a/2"));
    rig.pass(Duration::from_secs(121));
    assert!(rig.heard(client).starts_with("HTTP/1.1 503 "));
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/2"]);
    end(rig, &[client]);
}

/// A client whose request may wait in the queue, and behind it one with so many that may wait there for a second.
fn patient_and_hasty(requests: usize) -> (Rig, usize, usize) {
    let mut rig = Rig::new();
    regroup(&mut rig, &[("/a/", 1, Properties::new()), ("/b/", 1, Properties::new().request_queue(SECOND))]);
    let (patient, hasty) = (rig.connect(), rig.connect());
    rig.say(patient, get("/a/1"));
    rig.say(hasty, (1..=requests).map(|number| get(&format!("/b/{number}"))).collect::<String>());
    (rig, patient, hasty)
}

#[test]
fn one_answered_in_the_middle_of_the_ring_is_passed_over() {
    let (mut rig, patient, hasty) = patient_and_hasty(1);
    rig.pass(SECOND * 2);
    assert!(rig.heard(patient).is_empty() && rig.heard(hasty).starts_with("HTTP/1.1 503 "));
    assert_eq!((rig.queue.len(), rig.shard.protocol.dispatch.side().in_use()), (1, 1), "nothing is left of the other");
    let lease = rig.claim();
    assert_eq!(target(&lease), "/a/1");
    assert!(rig.queue.claim_of(0).is_none(), "the other one was answered");
    answer(lease);
    rig.settle();
    assert_eq!(rig.heard_answers(patient), ["/a/1"]);
    end(rig, &[patient, hasty]);
}

#[test]
fn a_handle_of_a_request_that_the_shard_has_answered_reads_on_and_answers_nothing() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("/a/1"));
    // As if it had been claimed between the shard's look at the ring and its response.
    let lease = rig.claim();
    rig.shard.protocol.dispatch.overlook_claims();
    rig.pass(Duration::from_secs(121));
    assert!(rig.heard(client).starts_with("HTTP/1.1 503 "));
    assert_eq!((target(&lease).as_str(), rig.shard.protocol.dispatch.side().in_use()), ("/a/1", 1));
    answer(lease);
    rig.settle();
    assert_eq!(rig.heard(client), "", "it is answered once");
    end(rig, &[client]);
}

#[test]
fn a_client_that_leaves_before_or_after_the_time_is_up_leaves_nothing_behind() {
    for (before, after) in [(true, false), (false, true)] {
        let (mut rig, patient, leaving) = patient_and_hasty(2);
        if before {
            rig.shard.protocol.transport.io.reset(leaving);
        }
        rig.pass(SECOND * 2);
        if after {
            rig.shard.protocol.transport.io.reset(leaving);
            rig.settle();
        }
        rig.serve();
        assert!(rig.queue.claim_of(0).is_none());
        rig.settle();
        assert_eq!(rig.heard_answers(patient), ["/a/1"]);
        end(rig, &[patient]);
    }
}

#[test]
fn a_shard_ends_well_with_requests_it_has_answered_in_the_ring() {
    let (mut rig, ..) = patient_and_hasty(1);
    rig.pass(SECOND * 2);
    rig.stop(Duration::ZERO);
    rig.settle();
    assert!(rig.shard.is_done());
    rig.claim_all();
    rig.turn();
    rig.end();
}

#[test]
fn a_client_that_falls_silent_behind_a_pause_is_timed_out() {
    let mut rig = Rig::with(Options { body_credit: 4096, ..Options::default() });
    let client = rig.connect();
    rig.say(client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    rig.say(client, [b'b'; 4096]);
    let mut lease = rig.claim();
    rig.pass(Duration::from_secs(1000));
    assert_eq!(rig.heard(client), "", "the application is awaited");
    let mut read = read_prefix(&mut lease);
    read_body(&mut lease, &mut read);
    assert_eq!(read.len(), 4096);
    rig.settle();
    rig.pass(Duration::from_secs(119));
    assert_eq!(rig.heard(client), "");
    rig.pass(Duration::from_secs(2));
    assert!(rig.heard(client).starts_with("HTTP/1.1 408 "), "nobody waits for what does not come");
    drop(lease);
    end(rig, &[client]);
}

#[test]
fn off_is_off() {
    let off = Properties::OFF;
    let properties = Properties::new().idle_connection(off).header_wait(off).entity_body(off).request_queue(off);
    let mut rig = with(properties.send_rate_min(0));
    let clients = [ROOM, ROOM, ROOM, ROOM, 100].map(|room| rig.connect_with_room(room));
    rig.say(clients[1], "GET /a/1 HT");
    rig.say(clients[4], get("/a/4"));
    answer_with(rig.claim(), &"x".repeat(1000), false);
    rig.settle();
    rig.say(clients[2], "POST /a/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo");
    rig.say(clients[3], get("/a/3"));
    rig.pass(Duration::from_secs(90_000));
    assert!(clients.iter().all(|client| !rig.shard.protocol.transport.io.is_closed(*client)));
    assert_eq!((rig.counters.timeouts.read(), rig.counters.queue_timeouts.read()), (0, 0));
    rig.say(clients[1], "TP/1.1\r\nHost: h\r\n\r\n");
    rig.say(clients[2], "dy");
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    let answers: Vec<Vec<String>> = clients[1..4].iter().map(|client| rig.heard_answers(*client)).collect();
    assert_eq!(answers, [["/a/1"], ["/a/2"], ["/a/3"]]);
}

#[test]
fn head_and_body_have_times_of_their_own() {
    let mut rig = with(Properties::new().header_wait(SECOND).entity_body(SECOND * 10));
    let (silent, head, body) = (rig.connect(), rig.connect(), rig.connect());
    rig.say(head, "GET /a/1 HT");
    rig.say(body, "POST /a/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo");
    rig.pass(SECOND * 2);
    assert!(rig.heard(silent).is_empty() && rig.shard.protocol.transport.io.is_closed(silent), "it had sent nothing");
    let heard = rig.heard(head);
    assert!(heard.starts_with("HTTP/1.1 408 ") && heard.contains("Connection: close"), "{heard}");
    assert!(rig.heard(body).is_empty() && !rig.shard.protocol.transport.io.is_closed(body));
    rig.pass(SECOND * 9);
    assert!(rig.heard(body).starts_with("HTTP/1.1 408 "));
    end(rig, &[head, body]);
}

#[test]
fn a_head_request_that_takes_too_long_is_told_so_without_content() {
    let mut rig = with(Properties::new().header_wait(SECOND).entity_body(SECOND).request_queue(SECOND * 5));
    let begun = ["H", "HEAD", "HEAD /a/1 HT", "HEAD /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo"];
    let clients = begun.map(|text| {
        let client = rig.connect();
        // The slot that the refusal is written into was another method's before.
        rig.say(client, "POST /a/0 HTTP/1.1\r\nHost: h\r\n\r\n");
        rig.serve();
        rig.heard(client);
        rig.say(client, text);
        client
    });
    rig.pass(SECOND * 2);
    for (client, text) in clients.into_iter().zip(begun) {
        let heard = rig.heard(client);
        assert!(heard.starts_with("HTTP/1.1 408 ") && heard.ends_with("\r\n\r\n"), "{text}: {heard}");
        assert!(!heard.contains("Content-Length: 0\r\n") && heard.contains("Connection: close\r\n"), "{text}: {heard}");
    }
    drop(rig.claim_all());
    end(rig, &clients);
}

#[test]
fn draining_takes_no_longer_than_it_may() {
    for (drain, survives) in [(SECOND, [true, false, false]), (SECOND * 60, [true, true, false])] {
        let mut rig = with(Properties::new().drain_entity_body(drain));
        let client = rig.connect();
        rig.say(client, "nonsense\r\n\r\n");
        let mut seen = Vec::new();
        for wait in [100, 3000, 4000] {
            rig.pass(Duration::from_millis(wait));
            seen.push(!rig.shard.protocol.transport.io.was_reset(client));
        }
        assert_eq!(seen, survives, "{drain:?}");
        rig.assert_idle();
    }
}

#[test]
fn a_groups_times_hold_from_the_first_request_routed_to_it() {
    let mut rig = Rig::new();
    let hasty = Properties::new().idle_connection(SECOND).header_wait(SECOND);
    regroup(&mut rig, &[("/a/", 1, Properties::new()), ("/b/", 1, hasty)]);
    let (fresh, a, b) = (rig.connect(), rig.connect(), rig.connect());
    rig.say(a, get("/a/1"));
    rig.serve();
    rig.say(b, get("/b/1"));
    rig.serve();
    rig.pass(SECOND * 2);
    assert_eq!([fresh, a, b].map(|client| rig.shard.protocol.transport.io.is_closed(client)), [false, false, true]);
    end(rig, &[fresh, a]);
}

#[test]
fn a_change_holds_for_the_next_deadline_and_a_group_that_is_gone_for_none() {
    let mut rig = Rig::new();
    let (short, long) = (Properties::new().idle_connection(SECOND), Properties::new().idle_connection(SECOND * 60));
    regroup(&mut rig, &[("/a/", 1, long), ("/b/", 1, short)]);
    let (a, b) = (rig.connect(), rig.connect());
    for (client, path) in [(a, "/a/1"), (b, "/b/1")] {
        rig.say(client, get(path));
        rig.serve();
    }
    regroup(&mut rig, &[("/a/", 1, short), ("/b/", 2, short)]);
    // Not routed, so they stay with whose they are: one with its group, the other, whose group is gone, with the
    // engine.
    for client in [a, b] {
        rig.say(client, get("/none"));
    }
    rig.pass(SECOND * 2);
    assert_eq!([a, b].map(|client| rig.shard.protocol.transport.io.is_closed(client)), [true, false]);
    end(rig, &[b]);
}

/// A client with a response of 10,000 bytes that waits for it.
fn slow_reader(properties: Properties) -> (Rig, usize) {
    reads_slowly(with(properties))
}

fn reads_slowly(mut rig: Rig) -> (Rig, usize) {
    let client = rig.connect_with_room(1000);
    rig.say(client, get("/a/1"));
    answer_with(rig.claim(), &"x".repeat(10_000), false);
    rig.settle();
    (rig, client)
}

#[test]
fn a_client_that_reads_at_the_rate_gets_everything() {
    let (mut rig, client) = slow_reader(Properties::new().send_rate_min(100).idle_connection(SECOND * 3600));
    let mut heard = 0;
    while heard < 9_500 {
        rig.pass(SECOND * 5);
        assert!(!rig.shard.protocol.transport.io.was_reset(client), "after {heard} bytes");
        heard += rig.shard.protocol.transport.io.read(client, 520).len();
        rig.settle();
    }
    assert_eq!(rig.counters.timeouts.read(), 0);
}

#[test]
fn a_client_that_takes_nothing_has_a_minute() {
    let (mut rig, client) = slow_reader(Properties::new().send_rate_min(100).idle_connection(SECOND));
    for _ in 0..11 {
        rig.pass(SECOND * 5);
        assert!(!rig.shard.protocol.transport.io.was_reset(client));
    }
    rig.pass(SECOND * 5);
    rig.pass(SECOND * 5);
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    assert_eq!((rig.counters.timeouts.read(), rig.counters.send_rate_timeouts.read()), (1, 1));
    rig.assert_idle();
}

/// How an application answers a slow reader.
#[derive(Clone, Copy, Debug)]
enum Answers {
    Whole,
    Pieces,
    Short,
}

/// After how many seconds, up to ten minutes, a client is reset that takes so many bytes a second of 100.
fn reset_after(answers: Answers, half_closed: bool, rate: usize) -> Option<usize> {
    let mut rig = with(Properties::new().send_rate_min(100).request_queue(Properties::OFF));
    let client = rig.connect_with_room(300);
    let requests = if matches!(answers, Answers::Short) { 4_000 / get("/a/1").len() } else { 1 };
    let (mut stream, mut given, mut taken) = (None, 0, 0);
    for second in 0..600 {
        let is_done = rig.shard.connections.len() > 0 && stream.is_none() && rig.queue.is_empty();
        if second == 0 || is_done && !half_closed {
            rig.say(client, get("/a/1").repeat(requests));
        }
        if second == 0 && half_closed {
            rig.shard.protocol.transport.io.end(client);
        }
        for lease in rig.claim_all() {
            match answers {
                Answers::Whole => answer_with(lease, &"x".repeat(90_000), false),
                Answers::Short => answer_with(lease, &"x".repeat(20), false),
                Answers::Pieces => stream = Some((start(&lease, 90_000), lease)),
            }
        }
        rig.settle();
        let mut left = rate;
        loop {
            while let Some((stream, lease)) = &stream
                && given < taken + 600
            {
                push(lease, stream, memory(&"x".repeat(20)));
                given += 20;
            }
            rig.settle();
            let read = rig.shard.protocol.transport.io.read(client, left).len();
            (left, taken) = (left - read, taken + read);
            rig.settle();
            if left == 0 || read == 0 {
                break;
            }
        }
        rig.pass(SECOND);
        if rig.shard.protocol.transport.io.was_reset(client) {
            assert_eq!(rig.counters.send_rate_timeouts.read(), 1, "{answers:?}");
            return Some(second);
        }
    }
    None
}

#[test]
fn a_slow_reader_is_judged_whatever_the_sizes_of_its_answers() {
    for answers in [Answers::Whole, Answers::Pieces, Answers::Short] {
        for half_closed in [false, true] {
            for (rate, times) in [(0, 55..66), (10, 55..75), (50, 95..130)] {
                let end = reset_after(answers, half_closed, rate);
                assert!(end.is_some_and(|end| times.contains(&end)), "{answers:?} {half_closed} {rate}: {end:?}");
            }
        }
        assert_eq!(reset_after(answers, false, 130), None, "{answers:?}");
    }
}

/// A client that takes nothing has an idle time of 20 s, and no rate is asked of it.
#[track_caller]
fn assert_ends_idle(mut rig: Rig, client: usize) {
    rig.pass(SECOND * 19);
    assert!(!rig.shard.protocol.transport.io.was_reset(client));
    rig.pass(SECOND * 2);
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    assert_eq!((rig.counters.timeouts.read(), rig.counters.send_rate_timeouts.read()), (1, 0));
    rig.assert_idle();
}

#[test]
fn without_a_rate_a_client_has_the_idle_time_from_its_last_progress() {
    let (rig, client) = slow_reader(Properties::new().send_rate_min(0).idle_connection(SECOND * 20));
    assert_ends_idle(rig, client);
}

#[test]
fn over_a_unix_socket_no_rate_is_told_and_the_idle_time_ends_who_takes_nothing() {
    let slow = || {
        let properties = Properties::new().send_rate_min(1000).idle_connection(SECOND * 20);
        reads_slowly(with(properties).over_unix())
    };
    let (mut rig, client) = slow();
    for _ in 0..30 {
        rig.pass(SECOND * 10);
        assert!(!rig.shard.protocol.transport.io.read(client, 100).is_empty(), "a tenth of the rate");
        rig.settle();
    }
    assert_eq!(rig.counters.timeouts.read(), 0);
    let (rig, client) = slow();
    assert_ends_idle(rig, client);
}

#[test]
fn a_head_that_came_while_the_socket_was_full_has_its_whole_time_afterwards() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(1000);
    rig.say(client, get("/a/1") + "GET /a/2 HT");
    answer_with(rig.claim(), &"x".repeat(2000), false);
    rig.settle();
    for _ in 0..4 {
        rig.shard.protocol.transport.io.read(client, 1000);
        rig.settle();
    }
    rig.pass(SECOND * 119);
    assert_eq!(rig.heard(client), "");
    rig.pass(SECOND * 2);
    assert!(rig.heard(client).starts_with("HTTP/1.1 408 "));
    end(rig, &[client]);
}
