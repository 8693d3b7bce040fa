//! Directed tests of cancelling: at every stage of a request, and what becomes of the memory it had.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::rig::{Meanwhile, Rig, answer, answer_with, one_request, respond_by_id, target};
use crate::driver::Wait;
use crate::id::{Generation, Origin, RequestId};

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";

/// The id of the first request that ever came to a slot.
fn first_of(slot: u32) -> RequestId {
    Origin::LONE.request(Generation::FIRST, slot)
}

/// The client was reset without a response, everything has come back, and the count is right.
#[track_caller]
fn assert_cut(mut rig: Rig, client: usize) {
    rig.settle();
    assert!(rig.shard.protocol.transport.io.was_reset(client), "the connection is reset");
    assert_eq!(rig.heard(client), "");
    let counters = &rig.counters;
    assert_eq!((counters.requests_cancelled.read(), counters.requests_disconnected.read()), (1, 0));
    assert_eq!(counters.requests_abandoned.read(), 0, "nobody dropped it");
    rig.assert_idle();
    rig.stop(Duration::ZERO);
    rig.end();
}

#[track_caller]
fn assert_over(rig: &Rig, id: RequestId) {
    assert!(!rig.exchange.is_open(id));
    assert!(!respond_by_id(&rig.exchange, id, "late"), "it cannot be answered");
    assert!(!rig.exchange.cancel(id), "it cannot be cancelled again");
}

#[test]
fn a_request_that_waits_in_its_queue_is_passed_over() {
    for shard_first in [false, true] {
        let mut rig = Rig::new();
        let client = rig.connect();
        rig.say(client, GET);
        assert!(rig.exchange.cancel(first_of(0)));
        assert_over(&rig, first_of(0));
        if shard_first {
            rig.settle();
            assert_eq!(rig.shard.protocol.dispatch.side().in_use(), 0, "nobody has claimed it");
        }
        assert!(rig.queue.claim_of(0).is_none(), "nobody gets it");
        assert_cut(rig, client);
    }
}

#[test]
fn a_handle_reads_a_cancelled_request_and_cannot_answer_it() {
    for shard_first in [false, true] {
        let (mut rig, client, lease) = one_request();
        assert!(rig.exchange.cancel(lease.id()));
        assert_over(&rig, lease.id());
        if shard_first {
            rig.settle();
            let other = rig.connect();
            rig.say(other, GET.replace("/a/1", "/a/2"));
            assert_eq!((target(&lease).as_str(), rig.shard.protocol.dispatch.side().in_use()), ("/a/1", 2));
            rig.serve();
            rig.shard.protocol.transport.io.end(other);
        }
        assert!(lease.fill(|_| Err::<_, ()>(())).is_none());
        drop(lease);
        assert_cut(rig, client);
    }
}

#[test]
fn a_handle_dropped_before_the_shard_reads_the_note_is_no_abandoned_request() {
    let (rig, client, lease) = one_request();
    assert!(lease.cancel());
    drop(lease);
    assert_cut(rig, client);
}

#[test]
fn a_detached_request_can_be_cancelled() {
    for before in [false, true] {
        let (rig, client, lease) = one_request();
        let id = lease.id();
        assert!(!before || rig.exchange.cancel(id));
        assert_eq!(lease.detach(), id);
        assert!(before || rig.exchange.cancel(id));
        assert_over(&rig, id);
        assert_cut(rig, client);
    }
}

#[test]
fn an_answer_that_the_shard_has_not_taken_is_not_sent() {
    for by_id in [false, true] {
        let (rig, client, lease) = one_request();
        let id = lease.id();
        if by_id {
            assert!(respond_by_id(&rig.exchange, id, "answer"));
            drop(lease);
        } else {
            answer(lease);
        }
        assert!(rig.exchange.cancel(id), "it is answered and not sent");
        assert_over(&rig, id);
        assert_cut(rig, client);
    }
}

#[test]
fn an_answer_that_waits_for_an_earlier_one_is_not_sent() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, GET.to_owned() + GET);
    let mut leases = rig.claim_all();
    let (second, first) = (leases.pop().expect("two"), leases.pop().expect("one"));
    let id = second.id();
    answer(second);
    rig.settle();
    assert!(rig.exchange.cancel(id));
    rig.settle();
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    assert!(!rig.exchange.is_open(first.id()), "the connection is gone for the other one, too");
    drop(first);
    rig.settle();
    assert_eq!((rig.counters.requests_cancelled.read(), rig.counters.requests_aborted.read()), (1, 1));
    rig.assert_idle();
}

#[test]
fn an_answer_under_way_to_a_client_that_does_not_read_is_cut() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(100);
    rig.say(client, GET);
    let lease = rig.claim();
    let id = lease.id();
    answer_with(lease, &"x".repeat(1000), false);
    rig.settle();
    assert_eq!(rig.shard.protocol.transport.io.readable(client), 100, "it is being sent");
    assert!(rig.exchange.cancel(id));
    assert_over(&rig, id);
    assert_cut(rig, client);
}

#[test]
fn an_answer_that_was_sent_is_over_also_while_its_handle_lives() {
    let (mut rig, client, lease) = one_request();
    let id = lease.id();
    assert!(respond_by_id(&rig.exchange, id, "answer"));
    rig.settle();
    assert_over(&rig, id);
    drop(lease);
    rig.say(client, GET.replace("/a/1", "/a/2"));
    let next = rig.claim();
    assert_ne!(next.id(), id);
    assert_over(&rig, id);
    assert!(rig.exchange.is_open(next.id()), "a late call does not meet the slot's next request");
    answer(next);
    rig.settle();
    assert!(rig.heard(client).contains("[/a/2]"));
    assert_eq!(rig.counters.requests_cancelled.read(), 0);
}

#[test]
fn a_cancel_while_an_answer_is_being_written_ends_the_request_whether_it_succeeds_or_not() {
    // Who drops the handle meanwhile, and whether the response fails.
    for (dropped, fails) in [(false, false), (false, true), (true, false), (true, true)] {
        let (rig, client, lease) = one_request();
        let id = lease.id();
        let mut handle = Some(lease);
        let answered = rig.exchange.respond_by_id(id, |record, area| {
            assert!(rig.exchange.cancel(id), "it is being answered");
            if dropped {
                handle = None;
            }
            if fails { Err(()) } else { Ok(super::rig::write_response(record, area, b"answer", false)) }
        });
        assert_eq!(answered, Some(if fails { Err(()) } else { Ok(()) }));
        assert_over(&rig, id);
        drop(handle);
        assert_cut(rig, client);
    }
}

#[test]
fn a_cancel_while_the_shard_sleeps_rings_its_bell() {
    let (mut rig, client, lease) = one_request();
    let meanwhile = Meanwhile(Some(Box::new(move |_| assert!(lease.cancel()))));
    rig.shard.protocol.transport.io.outside = Some(Rc::new(RefCell::new(meanwhile)));
    assert_cut(rig, client);
}

/// Does something once, when the shard sleeps for longer than the tick behind a silent send.
fn while_asleep(rig: &mut Rig, act: impl FnOnce() + 'static) {
    (0..2).for_each(|_| rig.settle());
    let waited = rig.shard.protocol.transport.io.waited;
    assert!(!matches!(waited, Wait::AtMost(time) if time < Duration::from_secs(1)), "it wakes up soon: {waited:?}");
    let meanwhile = Meanwhile(Some(Box::new(move |_| act())));
    rig.shard.protocol.transport.io.outside = Some(Rc::new(RefCell::new(meanwhile)));
    rig.settle();
    rig.shard.protocol.transport.io.outside = None;
}

#[test]
fn an_answer_that_was_sent_is_over_though_the_shard_has_slept_since() {
    for by_id in [false, true] {
        let (mut rig, client, lease) = one_request();
        let id = lease.id();
        if by_id {
            assert!(respond_by_id(&rig.exchange, lease.detach(), "[/a/1]"));
        } else {
            answer(lease);
        }
        let (exchange, counters) = (rig.exchange.clone(), rig.counters.clone());
        while_asleep(&mut rig, move || {
            let levels = [&counters.requests_open, &counters.buffers_in_use, &counters.assembly_cells_in_use];
            assert_eq!(levels.map(|level| level.read()), [0, 0, 0]);
            assert!(!exchange.cancel(id) && !exchange.cancel(id), "it is sent");
        });
        rig.say(client, GET.replace("/a/1", "/a/2"));
        rig.serve();
        assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2"], "the connection goes on");
        assert_eq!(rig.counters.requests_cancelled.read(), 0);
    }
}

#[test]
fn a_handle_dropped_after_its_request_was_answered_by_id_and_sent_frees_the_slot_at_once() {
    let (mut rig, client, lease) = one_request();
    assert!(respond_by_id(&rig.exchange, lease.id(), "[/a/1]"));
    let counters = rig.counters.clone();
    while_asleep(&mut rig, move || {
        let levels = [&counters.requests_open, &counters.requests_departed];
        assert_eq!(levels.map(|level| level.read()), [0, 1], "its handle is held");
        drop(lease);
    });
    rig.settle();
    assert_eq!((rig.counters.requests_open.read(), rig.shard.protocol.dispatch.side().in_use()), (0, 0));
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
}

#[test]
fn an_answer_of_which_the_client_has_taken_a_part_can_be_cancelled_while_the_shard_sleeps() {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(100);
    rig.say(client, GET);
    let lease = rig.claim();
    let id = lease.id();
    answer_with(lease, &"x".repeat(1000), false);
    rig.settle();
    let exchange = rig.exchange.clone();
    rig.shard.protocol.transport.io.asleep = false;
    while_asleep(&mut rig, move || assert!(exchange.cancel(id), "it is not sent"));
    assert_over(&rig, id);
    assert_cut(rig, client);
}

#[test]
fn a_cancel_that_the_shard_reads_no_more_harms_nobody() {
    let (mut rig, client, lease) = one_request();
    rig.stop(Duration::ZERO);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.was_reset(client) && !lease.cancel(), "the client is gone already");
    let id = lease.id();
    let exchange = rig.exchange.clone();
    rig.shard.end();
    assert!(!exchange.cancel(id) && !lease.cancel());
    drop(lease);
}
