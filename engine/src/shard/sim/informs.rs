//! Directed tests of informational answers: before the final one of their request, after those of earlier ones.

use bytes::Bytes;

use super::rig::{Rig, answer, answer_by_id, answer_with};
use super::streams::{finish, memory, push, start};
use crate::queue::{INTERIMS_MAX, Lease, Note, Uninformed};
use crate::record::RequestRecord;

fn gets(count: u32) -> String {
    (1..=count).map(|number| format!("GET /a/{number} HTTP/1.1\r\nHost: h\r\n\r\n")).collect()
}

fn hint(number: u32) -> Bytes {
    format!("HTTP/1.1 103 Early Hints\r\nX-For: {number}\r\n\r\n").into()
}

fn inform(lease: &Lease<RequestRecord>, number: u32) {
    lease.inform(hint(number)).expect("open, and few wait");
}

/// The numbers of the hints and answers that a client has heard, as in `h1 a1 h2`.
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
    inform(&lease, 1);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "h1", "the answer is not waited for");
    inform(&lease, 1);
    inform(&lease, 1);
    answer(lease);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "h1 h1 a1");
    rig.say(client, gets(1));
    rig.serve();
    assert_eq!(heard(&mut rig, client), "a1", "the connection goes on");
    assert_eq!(rig.counters.interims_dropped.read(), 0);
    rig.shard.io.end(client);
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
    inform(&third, 3);
    inform(&second, 2);
    answer(third);
    answer(second);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "");
    inform(&first, 1);
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
    inform(&lease, 1);
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
        for _ in 0..INTERIMS_MAX {
            inform(&second, 2);
        }
        assert_eq!(second.inform(hint(2)), Err(Uninformed::Full));
        if rig.exchange.is_open(first.id()) {
            assert!(answer_by_id(&rig.exchange, first.id(), "[/a/1]"));
        }
        rig.settle();
    }
    answer(second);
    rig.settle();
    let all = core::iter::once("a1").chain([("h2"); 2 * INTERIMS_MAX as usize]).chain(["a2"]);
    assert_eq!(heard(&mut rig, client), all.collect::<Vec<_>>().join(" "));
}

#[test]
fn what_is_over_cannot_be_informed() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(2));
    let mut leases = rig.claim_all();
    let (cancelled, answered) = (leases.pop().expect("two"), leases.pop().expect("one"));
    assert!(answer_by_id(&rig.exchange, answered.id(), "[/a/1]"));
    assert_eq!(answered.inform(hint(1)), Err(Uninformed::Over));
    rig.settle();
    assert_eq!(answered.inform(hint(1)), Err(Uninformed::Over));
    // As if it had been on its way while somebody else answered.
    rig.exchange.note(Note::Inform(answered.id(), hint(1)));
    rig.settle();
    assert_eq!((heard(&mut rig, client).as_str(), rig.counters.interims_dropped.read()), ("a1", 1));
    assert!(cancelled.cancel());
    assert_eq!(cancelled.inform(hint(2)), Err(Uninformed::Over));
}

#[test]
fn hints_go_with_a_client_that_leaves_and_are_counted() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(10);
    rig.say(client, gets(2));
    let leases = rig.claim_all();
    for lease in &leases {
        inform(lease, 1);
        inform(lease, 2);
    }
    rig.settle();
    rig.shard.io.reset(client);
    rig.settle();
    assert_eq!(rig.counters.interims_dropped.read(), 3, "one was being sent");
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
    inform(&second, 2);
    answer_with(first, "", true);
    rig.settle();
    assert_eq!(heard(&mut rig, client), "a1");
    drop(second);
    rig.shard.io.end(client);
    rig.settle();
    assert_eq!(rig.counters.interims_dropped.read(), 1);
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
    // Who informs was held up between its mark and its note.
    rig.shard.inform(lease.id(), hint(1));
    rig.settle();
    assert_eq!(rig.counters.interims_dropped.read(), 1);
    push(&lease, &stream, memory("def"));
    finish(&lease, &stream);
    rig.settle();
    assert_eq!(rig.heard(client), "def");
    drop(lease);
    rig.say(client, gets(1));
    rig.serve();
    assert_eq!(heard(&mut rig, client), "a1", "the connection goes on");
    rig.shard.io.end(client);
    rig.settle();
    rig.assert_idle();
}
