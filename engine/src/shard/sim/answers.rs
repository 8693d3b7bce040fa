//! Directed tests of what goes out: order, short sends, coalescing, the last response.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::rig::{Meanwhile, Options, ROOM, Rig, answer, answer_with, respond_by_id, target};
use crate::driver::fake::Faults;

fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn gets(numbers: core::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| get(&number.to_string())).collect()
}

#[test]
fn answers_leave_in_the_order_of_their_requests() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=4));
    let mut leases = rig.claim_all();
    let first = leases.remove(0);
    leases.into_iter().rev().for_each(answer);
    rig.settle();
    assert_eq!(rig.heard(client), "", "nothing overtakes the first");
    answer(first);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2", "/a/3", "/a/4"]);
}

#[test]
fn short_sends_resume_where_they_stopped() {
    let faults = Faults { send_short: 400, send_refused: 200, send_cut: 300, ..Faults::default() };
    let mut rig = Rig::with(Options { faults, ..Options::default() });
    let client = rig.connect_with_room(700);
    rig.say(client, gets(1..=10));
    let more = "x".repeat(900);
    for lease in rig.claim_all() {
        let small = target(&lease).ends_with(['2', '3', '4', '7']);
        answer_with(lease, if small { "" } else { &more }, false);
    }
    let mut heard = String::new();
    for _ in 0..1000 {
        rig.settle();
        heard += &String::from_utf8_lossy(&rig.shard.protocol.transport.io.read(client, 333));
    }
    assert!(rig.counters.sends_short.read() > 0);
    let numbers: Vec<&str> = heard.split("[/a/").skip(1).filter_map(|rest| rest.split(']').next()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    assert_eq!(heard.matches('x').count(), 6 * 900);
}

#[test]
fn answers_that_are_sent_together_show_their_cell_until_they_are_sent() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(100);
    rig.say(client, gets(1..=2));
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    assert_eq!(rig.counters.coalescing_cells_in_use.read(), 1, "the client has not read them yet");
    let mut heard = String::new();
    for _ in 0..10 {
        heard += &rig.heard(client);
        rig.settle();
    }
    assert!(heard.ends_with("[/a/2]"), "{heard}");
    assert_eq!(rig.counters.coalescing_cells_in_use.read(), 0);
}

#[test]
fn an_answer_behind_one_with_a_tail_is_sent_before_the_shard_sleeps() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=3));
    for lease in rig.claim_all() {
        answer_with(lease, &"x".repeat(600), false);
    }
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2", "/a/3"]);
}

#[test]
fn our_side_is_shut_after_a_last_answer_before_the_shard_sleeps() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /a/1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    rig.serve();
    assert!(rig.heard(client).contains("Connection: close\r\n"));
    assert!(rig.shard.protocol.transport.io.at_end(client), "the client waits for the end");
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_client_that_ended_its_side_gets_its_answers_and_is_closed() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.shard.protocol.transport.io.write(client, gets(1..=2).as_bytes());
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.serve();
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2"]);
    assert!(rig.shard.protocol.transport.io.is_closed(client) && !rig.shard.protocol.transport.io.was_reset(client));
    rig.assert_idle();
}

#[test]
fn an_answer_that_closes_ends_the_connection_whatever_is_behind_it() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=3));
    let mut leases = rig.claim_all();
    let (third, second) = (leases.pop().expect("three"), leases.pop().expect("two"));
    answer_with(leases.pop().expect("one"), "", true);
    rig.settle();
    answer(second);
    rig.settle();
    answer(third);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    assert!(rig.shard.protocol.transport.io.at_end(client) && !rig.shard.protocol.transport.io.was_reset(client));
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_request_that_was_only_begun_is_dropped_by_an_answer_that_closes() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=1) + "GET /a/2 HTTP/1.1\r\nHo");
    let lease = rig.claim();
    answer_with(lease, "", true);
    rig.settle();
    rig.say(client, "st: h\r\n\r\n");
    assert!(rig.queue.is_empty(), "a request that cannot be answered is not delivered");
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn an_answer_by_id_frees_the_slot_only_after_the_handle_is_gone() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1"));
    let lease = rig.claim();
    assert!(respond_by_id(&rig.exchange, lease.id(), "by id"));
    rig.settle();
    assert!(rig.heard(client).ends_with("by id"));
    assert_eq!((rig.shard.protocol.dispatch.side().in_use(), target(&lease).as_str()), (1, "/a/1"));
    assert!(!respond_by_id(&rig.exchange, lease.id(), "twice"));
    drop(lease);
    rig.settle();
    assert_eq!(rig.shard.protocol.dispatch.side().in_use(), 0);
}

#[test]
fn an_answer_whose_client_leaves_before_it_is_sent_is_counted() {
    let mut rig = Rig::new();
    let (slow, quick, pipelining) = (rig.connect_with_room(100), rig.connect(), rig.connect_with_room(100));
    for client in [slow, quick] {
        rig.say(client, get("1"));
        answer_with(rig.claim(), &"x".repeat(1000), false);
        rig.settle();
    }
    // One under way, one that waits behind it, and one that nobody has answered.
    rig.say(pipelining, get("1") + &get("2") + &get("3"));
    let mut leases = rig.claim_all();
    let unanswered = leases.pop();
    leases.into_iter().for_each(|lease| answer_with(lease, &"x".repeat(1000), false));
    rig.settle();
    for client in [slow, quick, pipelining] {
        rig.shard.protocol.transport.io.reset(client);
    }
    rig.settle();
    assert_eq!((rig.counters.responses_unsent.read(), rig.counters.requests_disconnected.read()), (3, 1));
    drop(unanswered);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn what_was_no_answer_is_not_counted_as_one() {
    // 100 Continue, which its client did not stay for.
    let mut rig = Rig::new();
    let client = rig.connect_with_room(10);
    rig.say(client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    let lease = rig.claim();
    lease.ask_for_body();
    rig.settle();
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_eq!((rig.counters.responses_unsent.read(), rig.counters.requests_disconnected.read()), (0, 1));
    drop(lease);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_request_dropped_while_its_connection_goes_is_an_orphan() {
    let faults = Faults { cancel_late: 1000, ..Faults::default() };
    let mut rig = Rig::with(Options { faults, ..Options::default() });
    // The slot has had a response before.
    let earlier = rig.connect();
    rig.say(earlier, get("0"));
    rig.serve();
    for dropped in [true, false] {
        let before = (rig.counters.responses_unsent.read(), rig.counters.requests_disconnected.read());
        let client = rig.connect();
        rig.say(client, get("1"));
        let lease = rig.claim();
        rig.shard.protocol.transport.io.end(client);
        rig.settle();
        rig.shard.protocol.transport.io.reset(client);
        let goes = |rig: &mut Rig| {
            let keys = rig.shard.connections.keys();
            keys.into_iter().any(|key| {
                rig.shard.connections.get_mut(key).is_some_and(|connection| connection.socket().is_closing())
            })
        };
        (0..100).find(|_| {
            rig.turn();
            goes(&mut rig)
        });
        assert!(goes(&mut rig), "this is about a connection that waits for the end of its operations");
        if dropped {
            drop(lease);
        } else {
            answer(lease);
        }
        rig.settle();
        let now = (rig.counters.responses_unsent.read(), rig.counters.requests_disconnected.read());
        let (unsent, orphaned) = (now.0 - before.0, now.1 - before.1);
        assert_eq!((unsent, orphaned), if dropped { (0, 1) } else { (1, 0) }, "dropped: {dropped}");
    }
    assert_eq!(rig.counters.requests_abandoned.read(), 0);
}

#[test]
fn a_handle_outlives_its_client() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1"));
    let lease = rig.claim();
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_eq!((rig.shard.connections.len(), rig.counters.requests_disconnected.read()), (0, 1));
    let other = rig.connect();
    rig.say(other, get("2"));
    assert_eq!(target(&lease), "/a/1", "its bytes stay");
    assert!(lease.fill(|_| Err::<_, ()>(())).is_none(), "it cannot be answered");
    drop(lease);
    rig.serve();
    assert_eq!(rig.heard_answers(other), ["/a/2"]);
    rig.shard.protocol.transport.io.end(other);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_dropped_request_is_answered_500_and_the_connection_goes_on() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=2));
    drop(rig.claim());
    rig.serve();
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 500 ") && heard.ends_with("[/a/2]"), "{heard}");
    assert_eq!(rig.counters.requests_abandoned.read(), 1);
}

#[test]
fn a_client_that_reads_nothing_is_reset_in_the_end() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(100);
    rig.say(client, get("1"));
    let lease = rig.claim();
    answer_with(lease, &"x".repeat(1000), false);
    rig.settle();
    (0..9).for_each(|_| rig.pass(Duration::from_secs(6)));
    assert!(!rig.shard.protocol.transport.io.was_reset(client));
    (0..2).for_each(|_| rig.pass(Duration::from_secs(6)));
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    assert_eq!((rig.counters.timeouts.read(), rig.counters.send_rate_timeouts.read()), (1, 1));
    rig.assert_idle();
}

#[test]
fn a_client_that_does_not_end_its_side_is_reset_after_its_last_answer() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "nonsense\r\n\r\n");
    assert!(rig.heard(client).starts_with("HTTP/1.1 400 "));
    rig.say(client, "x".repeat(3000));
    rig.pass(Duration::from_secs(6));
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    rig.assert_idle();
}

#[test]
fn a_client_that_ends_its_side_during_the_last_send_is_closed_before_the_shard_sleeps() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=2));
    for lease in rig.claim_all() {
        answer_with(lease, &"x".repeat(600), false);
    }
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2"]);
    assert!(rig.shard.protocol.transport.io.is_closed(client));
    rig.assert_idle();
}

#[test]
fn a_stop_during_the_last_send_shuts_our_side_before_the_shard_sleeps() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, gets(1..=2));
    for lease in rig.claim_all() {
        answer_with(lease, &"x".repeat(600), false);
    }
    rig.turn();
    rig.stop(Duration::from_secs(60));
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2"]);
    assert!(rig.shard.protocol.transport.io.at_end(client));
    rig.shard.protocol.transport.io.end(client);
    rig.end();
}

#[test]
fn an_answer_on_its_way_behind_one_that_closes_frees_its_slot() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(200);
    rig.say(client, gets(1..=3));
    let mut leases = rig.claim_all();
    let third = leases.pop().expect("three");
    answer_with(leases.pop().expect("two"), "", true);
    answer_with(leases.pop().expect("one"), &"x".repeat(600), false);
    let meanwhile = Meanwhile(Some(Box::new(move |fake| {
        fake.read(client, usize::MAX);
        fake.widen(client, ROOM);
        answer(third);
    })));
    rig.shard.protocol.transport.io.outside = Some(Rc::new(RefCell::new(meanwhile)));
    rig.settle();
    assert!(rig.shard.protocol.transport.io.at_end(client) || rig.shard.protocol.transport.io.readable(client) > 0);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn an_answer_given_while_the_shard_sleeps_rings_its_bell() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1"));
    let lease = rig.claim();
    let meanwhile = Meanwhile(Some(Box::new(move |_| answer(lease))));
    rig.shard.protocol.transport.io.outside = Some(Rc::new(RefCell::new(meanwhile)));
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
}
