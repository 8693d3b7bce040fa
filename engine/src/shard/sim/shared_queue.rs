//! Directed tests of a queue that two shards fill: what the other does between two looks of this one.
//!
//! The moment cannot be met from outside, for both looks are in one call. So the shard's code passes by here after the
//! first, which is all that it has for tests, and what the other shard does then is done here.

use std::cell::RefCell;
use std::sync::Arc;

use super::rig::{Options, Rig, answer, target};
use crate::id::QueueNumber;
use crate::queue::{Lease, QueueCore, ShardSide};
use crate::record::RequestRecord;

thread_local! {
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// The shard has looked whether a queue is full, and will look again before it pushes.
pub(in crate::shard) fn between_looks() {
    let meanwhile = MEANWHILE.with_borrow_mut(Option::take);
    if let Some(act) = meanwhile {
        act();
    }
}

/// Fills a queue from another shard the next time the moment comes. That has come once the second value is gone.
fn fill_in_between(queue: &Arc<QueueCore<RequestRecord>>, mut side: ShardSide<RequestRecord>) -> Arc<()> {
    let (queue, waits) = (Arc::clone(queue), Arc::new(()));
    let waiting = Arc::clone(&waits);
    let fill = move || {
        let mut producer = queue.producer(&side);
        while queue.room(1, &mut producer) > 0 {
            let slot = side.allocate(|| ()).expect("more slots than the queue holds");
            producer.push(side.publish(slot, QueueNumber(0)));
        }
        assert!(producer.publish() > 0, "there was room at the first look");
        // What it has published stays to be claimed.
        side.end();
        drop(waiting);
    };
    MEANWHILE.set(Some(Box::new(fill)));
    waits
}

const LENGTH: u32 = 4;

fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A connection with two requests under way, which are this shard's share of the queue.
fn with_share() -> (Rig, usize) {
    let mut rig = Rig::with(Options { queue_length: LENGTH, is_shared: true, ..Options::default() });
    let client = rig.connect();
    rig.say(client, get("1") + &get("2"));
    assert_eq!(rig.queue.len(), u64::from(LENGTH) / 2);
    (rig, client)
}

/// Requests whose bodies have been begun when the queue turns out to be full, and what is still to come of them.
const BEGUN: &[(&str, &str, &str)] = &[
    ("Content-Length: 5", "hello", ""),
    ("Content-Length: 2000", "hello", "x"),
    ("Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", ""),
    ("Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\nT: t\r\n\r\n", ""),
    ("Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nl", "lo\r\n0\r\nT: t\r\n\r\n"),
];

#[test]
fn a_request_whose_body_was_begun_is_refused_when_the_queue_is_full_by_then() {
    for (framing, begun, rest) in BEGUN {
        let (mut rig, client) = with_share();
        let waits = fill_in_between(&rig.queue, rig.beside.take().expect("asked for"));
        rig.say(client, format!("POST /a/3 HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{begun}"));
        assert_eq!(Arc::strong_count(&waits), 1, "{framing}: the queue was not filled between the looks");
        assert_eq!(rig.queue.len(), u64::from(LENGTH), "the request was queued beyond the queue's length");
        // The other shard's requests.
        while rig.queue.claim_of(1).is_some() {}
        let rest = if *rest == "x" { "x".repeat(1995) } else { (*rest).to_owned() };
        rig.say(client, rest + &get("4"));
        let mut leases: Vec<Lease<RequestRecord>> = rig.claim_all();
        leases.sort_by_key(target);
        assert_eq!(leases.iter().map(target).collect::<Vec<_>>(), ["/a/1", "/a/2", "/a/4"], "{framing} {begun:?}");
        leases.into_iter().for_each(answer);
        rig.settle();
        let heard = rig.heard(client);
        let answers: Vec<&str> = heard.matches("HTTP/1.1 200").chain(heard.matches("HTTP/1.1 503")).collect();
        assert_eq!(answers.len(), 4, "{framing} {begun:?}: {heard}");
        let (second, refused, fourth) = (heard.find("[/a/2]"), heard.find("HTTP/1.1 503"), heard.find("[/a/4]"));
        assert!(second < refused && refused < fourth, "in their order: {heard}");
        rig.settle();
        assert_eq!(rig.counters.queue_full.read(), 1, "{framing} {begun:?}: neither queued nor refused");
        rig.shard.protocol.transport.io.end(client);
        rig.settle();
        rig.assert_idle();
    }
}

#[test]
fn a_request_with_a_body_that_finds_its_queue_full_at_the_first_look_waits_untouched() {
    let (mut rig, client) = with_share();
    let late = rig.connect();
    rig.say(late, get("3") + &get("4"));
    rig.say(client, "POST /a/5 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n");
    assert_eq!((rig.queue.len(), rig.counters.queue_full.read()), (u64::from(LENGTH), 0));
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2", "/a/5"]);
    rig.shard.protocol.transport.io.end(client);
    rig.shard.protocol.transport.io.end(late);
    rig.settle();
    rig.assert_idle();
}
