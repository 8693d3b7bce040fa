//! Directed tests of informational responses: before the final one of their request, after those of earlier ones.

use super::rig::{Rig, answer, answer_with, respond_by_id};
use super::streams::{finish, memory, push, start};
use crate::queue::{Command, INFORMATIONAL_MAX, Informational, Lease, NotSent};
use crate::record::RequestRecord;

fn gets(count: u32) -> String {
    (1..=count).map(|number| format!("GET /a/{number} HTTP/1.1\r\nHost: h\r\n\r\n")).collect()
}

pub(super) fn hint(number: u32) -> Informational {
    Informational::new(103, &[("X-For", &number.to_string())])
}

fn send_informational(lease: &Lease<RequestRecord>, number: u32) {
    lease.send_informational(hint(number)).expect("open, and few wait");
}

/// The numbers of the hints and responses that a client has heard, as in `h1 a1 h2`.
fn heard(rig: &mut Rig, client: usize) -> String {
    let text = rig.heard(client);
    let parts = text.split("HTTP/1.1 ").skip(1).map(|answer| {
        let hint = answer.strip_prefix("103 Early Hints\r\nX-For: ");
        match hint {
            Some(rest) => format!("h{}", rest.trim_end()),
            None => format!("a{}", answer.split("[/a/").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("?")),
        }
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[test]
fn hints_go_out_at_once_and_before_their_answer() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1));
    let lease = rig.claim();
    send_informational(&lease, 1);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "h1", "the answer is not waited for");
    send_informational(&lease, 1);
    send_informational(&lease, 1);
    answer(lease);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "h1 h1 a1");
    rig.say(client, gets(1));
    rig.serve();
    assert_eq!(heard(&mut rig, client), "a1", "the connection goes on");
    assert_eq!(rig.counters.informational_dropped.read(), 0);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn hints_of_later_requests_wait_for_earlier_answers_and_are_not_overtaken() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(3));
    let mut leases = rig.claim_all().into_iter();
    let (first, second, third) = (leases.next(), leases.next(), leases.next());
    let [first, second, third] = [first, second, third].map(|lease| lease.expect("three"));
    send_informational(&third, 3);
    send_informational(&second, 2);
    answer(third);
    answer(second);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "");
    send_informational(&first, 1);
    answer(first);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "h1 a1 h2 a2 h3 a3");
}

#[test]
fn a_hint_to_a_client_that_does_not_read_holds_the_answer_back() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(10);
    rig.say(client, gets(1));
    let lease = rig.claim();
    send_informational(&lease, 1);
    rig.settle();
    answer(lease);
    rig.settle();
    let mut text = String::new();
    for _ in 0..100 {
        text += &rig.heard(client);
        rig.settle();
    }
    assert!(text.starts_with("HTTP/1.1 103 ") && text.contains("\r\n\r\nHTTP/1.1 200 OK"), "{text}");
    assert!(text.ends_with("[/a/1]"), "{text}");
}

#[test]
fn no_more_hints_wait_than_the_limit_and_sent_ones_make_room() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(2));
    let mut leases = rig.claim_all();
    let (second, first) = (leases.pop().expect("two"), leases.pop().expect("one"));
    for _ in 0..2 {
        for _ in 0..INFORMATIONAL_MAX {
            send_informational(&second, 2);
        }
        assert_eq!(second.send_informational(hint(2)), Err(NotSent::Full));
        if rig.exchange.is_open(first.id()) {
            assert!(respond_by_id(&rig.exchange, first.id(), "[/a/1]"));
        }
        rig.settle();
    }
    answer(second);
    rig.settle();
    let all = core::iter::once("a1").chain([("h2"); 2 * INFORMATIONAL_MAX as usize]).chain(["a2"]);
    assert_eq!(heard(&mut rig, client), all.collect::<Vec<_>>().join(" "));
}

#[test]
fn what_is_over_cannot_be_informed() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(2));
    let mut leases = rig.claim_all();
    let (cancelled, answered) = (leases.pop().expect("two"), leases.pop().expect("one"));
    assert!(respond_by_id(&rig.exchange, answered.id(), "[/a/1]"));
    assert_eq!(answered.send_informational(hint(1)), Err(NotSent::Over));
    rig.settle();
    assert_eq!(answered.send_informational(hint(1)), Err(NotSent::Over));
    // As if it had been on its way while somebody else answered.
    rig.exchange.command(Command::Informational(answered.id(), hint(1)));
    rig.settle();
    assert_eq!((heard(&mut rig, client).as_str(), rig.counters.informational_dropped.read()), ("a1", 1));
    assert!(cancelled.cancel());
    assert_eq!(cancelled.send_informational(hint(2)), Err(NotSent::Over));
}

#[test]
fn hints_go_with_a_client_that_leaves_and_are_counted() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(10);
    rig.say(client, gets(2));
    let leases = rig.claim_all();
    for lease in &leases {
        send_informational(lease, 1);
        send_informational(lease, 2);
    }
    rig.settle();
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_eq!(rig.counters.informational_dropped.read(), 3, "one was being sent");
    drop(leases);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn hints_behind_an_answer_that_closes_are_not_sent() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(2));
    let mut leases = rig.claim_all();
    let (second, first) = (leases.pop().expect("two"), leases.pop().expect("one"));
    send_informational(&second, 2);
    answer_with(first, "", true);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "a1");
    drop(second);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert_eq!(rig.counters.informational_dropped.read(), 1);
    rig.assert_idle();
}

#[test]
fn a_hint_that_comes_late_does_not_get_into_an_answer_that_has_begun() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1));
    let lease = rig.claim();
    let stream = start(&lease, 6);
    push(&lease, &stream, memory("abc"));
    rig.settle();
    let begun = rig.heard(client);
    assert!(begun.ends_with("\r\n\r\nabc"), "{begun}");
    // Who informs was held up between its mark and its command.
    rig.shard.send_informational(lease.id(), hint(1));
    rig.settle();
    assert_eq!(rig.counters.informational_dropped.read(), 1);
    push(&lease, &stream, memory("def"));
    finish(&lease, &stream);
    rig.settle();
    assert_eq!(rig.heard(client), "def");
    drop(lease);
    rig.say(client, gets(1));
    rig.serve();
    assert_eq!(heard(&mut rig, client), "a1", "the connection goes on");
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}
