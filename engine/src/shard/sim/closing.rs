//! Directed tests of what answers say of their connection: decided when they are sent, whoever decides it, and so that
//! nothing else of a response changes.

use std::time::Duration;

use super::rig::{Options, Rig, answer, answer_with, one_request};
use super::streams::{finish, get, memory, push, respond, start};
use crate::driver::fake::Faults;

const GRACE: Duration = Duration::from_secs(60);
const CLOSE: &str = " GMT\r\nConnection: close\r\nContent-Length: ";
const KEEP_ALIVE: &str = " GMT\r\nConnection: keep-alive\r\nContent-Length: ";

/// What each response said of the connection: "close", "keep-alive", or "" for nothing.
fn words(heard: &str) -> Vec<&str> {
    let of = |answer: &str| match (answer.matches("Connection").count(), answer.contains(CLOSE)) {
        (0, _) if answer.contains(" GMT\r\nContent-Length: ") => "",
        (1, true) => "close",
        (1, false) if answer.contains(KEEP_ALIVE) => "keep-alive",
        _ => panic!("an odd answer: {answer}"),
    };
    heard.split("HTTP/1.1 ").skip(1).map(of).collect()
}

/// The client's side ends, too, and nothing is left.
fn is_closed(rig: &mut Rig, client: usize) {
    assert!(
        rig.shard.protocol.transport.io.at_end(client) && !rig.shard.protocol.transport.io.was_reset(client),
        "the connection has ended"
    );
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
}

#[test]
fn the_last_answer_of_a_stopping_engine_says_so_and_no_other() {
    // Alone, together in one send, with a tail, and with both.
    for tails in [&[0][..], &[0, 0, 0], &[600], &[0, 0, 600], &[600, 0, 0]] {
        let mut rig = Rig::new();
        let client = rig.connect();
        rig.say(client, tails.iter().map(|_| get("1")).collect::<String>());
        let leases = rig.claim_all();
        rig.stop(GRACE);
        rig.settle();
        for (lease, tail) in leases.into_iter().zip(tails) {
            answer_with(lease, &"x".repeat(*tail), false);
        }
        rig.settle();
        let heard = rig.heard(client);
        let (last, before) = words(&heard).split_last().map(|(last, before)| (*last, before.to_vec())).expect("some");
        assert!(last == "close" && before.iter().all(|word| word.is_empty()), "{tails:?}: {heard}");
        assert_eq!(before.len() + 1, tails.len(), "{heard}");
        assert_eq!(heard.matches('x').count(), tails.iter().sum::<usize>(), "{heard}");
        assert!(heard.contains("\r\n\r\n[/a/1]"), "{heard}");
        is_closed(&mut rig, client);
        rig.end();
    }
}

#[test]
fn what_is_answered_before_a_stop_and_sent_after_it_says_close() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1") + &get("2"));
    let mut leases = rig.claim_all();
    let (second, first) = (leases.pop().expect("two"), leases.pop().expect("two"));
    answer(second);
    rig.settle();
    rig.stop(GRACE);
    rig.settle();
    answer(first);
    rig.settle();
    assert_eq!(words(&rig.heard(client)), ["", "close"]);
    is_closed(&mut rig, client);
    rig.end();
}

#[test]
fn an_answer_that_fills_its_area_has_room_for_the_line() {
    for len in 380..460 {
        let mut rig = Rig::new();
        let client = rig.connect();
        rig.say(client, get("1"));
        let lease = rig.claim();
        rig.stop(GRACE);
        rig.settle();
        answer_with(lease, &"x".repeat(len), false);
        rig.settle();
        let heard = rig.heard(client);
        assert!(words(&heard) == ["close"] && heard.matches('x').count() == len, "{len}: {heard}");
        is_closed(&mut rig, client);
        rig.end();
    }
}

#[test]
fn requests_dropped_or_refused_say_it_too() {
    let (mut rig, client, lease) = one_request();
    rig.stop(GRACE);
    rig.settle();
    drop(lease);
    rig.settle();
    let heard = rig.heard(client);
    assert!(
        heard.starts_with("HTTP/1.1 500 ") && heard.matches(" GMT\r\nConnection: close\r\n").count() == 1,
        "{heard}"
    );
    is_closed(&mut rig, client);
    rig.end();
}

#[test]
fn the_last_answer_to_a_client_that_has_ended_its_side_says_close() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.shard.protocol.transport.io.write(client, (get("1") + &get("2")).as_bytes());
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    let leases = rig.claim_all();
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(words(&rig.heard(client)), ["", "close"]);
    assert!(rig.shard.protocol.transport.io.is_closed(client));
    rig.assert_idle();
}

#[test]
fn an_answer_without_the_body_that_the_client_holds_back_says_close() {
    for before in ["", "1"] {
        let mut rig = Rig::new();
        let client = rig.connect();
        if !before.is_empty() {
            rig.say(client, get(before));
        }
        rig.say(client, "POST /a/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        let mut leases = rig.claim_all();
        let last = leases.pop().expect("a request");
        answer(last);
        leases.into_iter().for_each(answer);
        rig.settle();
        let heard = rig.heard(client);
        assert_eq!(words(&heard).last(), Some(&"close"), "{heard}");
        is_closed(&mut rig, client);
        rig.assert_idle();
    }
}

#[test]
fn a_stream_that_begins_while_the_engine_stops_says_close_once() {
    let faults = Faults { send_short: 300, send_refused: 300, send_cut: 300, ..Faults::default() };
    for (seed, whole) in (0..40).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut rig = Rig::with(Options { faults, seed, ..Options::default() });
        let client = rig.connect_with_room(150);
        rig.say(client, get("1"));
        let lease = rig.claim();
        rig.stop(GRACE);
        rig.settle();
        if whole {
            respond(lease, vec![memory("abc"), memory("defg")]);
        } else {
            let stream = start(&lease, 7);
            rig.settle();
            push(&lease, &stream, memory("abcdefg"));
            finish(&lease, &stream);
            drop(lease);
        }
        let mut heard = String::new();
        while !rig.shard.protocol.transport.io.at_end(client) {
            rig.settle();
            heard += &rig.heard(client);
        }
        assert!(words(&heard) == ["close"] && heard.ends_with("Length: 7\r\n\r\nabcdefg"), "seed {seed}: {heard}");
        is_closed(&mut rig, client);
        rig.end();
    }
}

#[test]
fn a_stream_that_has_begun_before_the_stop_ends_as_it_said() {
    let (mut rig, client, lease) = one_request();
    let stream = start(&lease, 3);
    rig.settle();
    assert_eq!(words(&rig.heard(client)), [""]);
    rig.stop(GRACE);
    rig.settle();
    push(&lease, &stream, memory("abc"));
    finish(&lease, &stream);
    drop(lease);
    rig.settle();
    assert_eq!(rig.heard(client), "abc");
    is_closed(&mut rig, client);
    rig.end();
}

#[test]
fn a_switch_of_protocols_says_nothing_of_an_end() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, super::piping::ASKS);
    let lease = rig.claim();
    rig.stop(GRACE);
    rig.settle();
    let pipe = super::piping::Pipe::begin(lease).expect("it is open");
    rig.settle();
    assert_eq!(rig.heard(client), super::piping::SWITCHED);
    drop(pipe);
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    rig.end();
}

#[test]
fn http10_is_told_of_either() {
    let asks = |path: &str| format!("GET /a/{path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut rig = Rig::new();
    let client = rig.connect();
    // In one turn, among requests of HTTP/1.1: those of HTTP/1.0 are told, the others need not be.
    rig.say(client, get("1") + &asks("2") + &asks("3") + &get("4") + &get("5"));
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    let heard = rig.heard(client);
    assert_eq!(words(&heard), ["", "keep-alive", "keep-alive", "", ""], "{heard}");
    assert!((1..=5).all(|number| heard.contains(&format!("\r\n\r\n[/a/{number}]"))), "{heard}");
    rig.say(client, asks("6") + &asks("7"));
    let leases = rig.claim_all();
    rig.stop(GRACE);
    rig.settle();
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(words(&rig.heard(client)), ["keep-alive", "close"]);
    is_closed(&mut rig, client);
    rig.end();
}
