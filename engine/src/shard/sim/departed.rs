//! Directed tests of what clients that have left take from others: nothing that these need.

use super::rig::{Options, Rig, answer};
use crate::config::Config;
use crate::queue::Lease;
use crate::record::RequestRecord;

/// Two more are kept back.
const SLOTS: usize = 16;
const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";

fn small() -> Rig {
    let config = Config { requests_max: 18, ..Options::default().config };
    Rig::with(Options { config, ..Options::default() })
}

/// A client asks for so much, and leaves.
fn haunt(rig: &mut Rig, requests: usize) {
    let ghost = rig.connect();
    rig.say(ghost, GET.repeat(requests));
    leave(rig, ghost);
}

fn leave(rig: &mut Rig, ghost: usize) {
    rig.shard.protocol.transport.io.reset(ghost);
    rig.settle();
}

fn levels(rig: &Rig) -> (u64, u64, usize) {
    let counters = &rig.counters;
    (counters.requests_open.read(), counters.requests_departed.read(), rig.shard.protocol.dispatch.side().in_use())
}

fn serve_one(rig: &mut Rig) {
    let client = rig.connect();
    rig.say(client, GET.replace("/a/1", "/a/honest"));
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/honest"]);
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
}

#[test]
fn what_nobody_has_taken_goes_with_its_client() {
    let mut rig = small();
    // More than any ring has entries for.
    for _ in 0..10 * SLOTS {
        haunt(&mut rig, SLOTS);
        assert_eq!((levels(&rig), rig.queue.len()), ((0, 0, 0), 0));
    }
    assert_eq!(rig.counters.requests_disconnected.read(), 10 * (SLOTS * SLOTS) as u64);
    serve_one(&mut rig);
}

#[test]
fn what_waits_keeps_its_order_when_what_was_between_has_gone() {
    let mut rig = small();
    let patient: Vec<usize> = (0..3)
        .map(|number| {
            let client = rig.connect();
            rig.say(client, GET.replace("/a/1", &format!("/a/{number}")));
            for _ in 0..4 * SLOTS {
                haunt(&mut rig, 2);
            }
            client
        })
        .collect();
    assert_eq!((levels(&rig), rig.queue.len()), ((3, 0, 3), 3));
    (0..3).for_each(|_| rig.serve());
    for (number, client) in patient.into_iter().enumerate() {
        assert_eq!(rig.heard_answers(client), [format!("/a/{number}")]);
    }
    assert!(rig.queue.claim_of(0).is_none());
}

#[test]
fn what_handles_still_read_takes_no_place_of_others() {
    let mut rig = small();
    let ghost = rig.connect();
    rig.say(ghost, GET.repeat(SLOTS));
    let read: Vec<Lease<RequestRecord>> = rig.claim_all();
    assert_eq!((levels(&rig), read.len()), ((16, 0, 16), SLOTS));
    leave(&mut rig, ghost);
    assert_eq!(levels(&rig), (0, 16, 16));
    let client = rig.connect();
    rig.say(client, GET.repeat(SLOTS));
    assert_eq!(levels(&rig), (16, 16, 32), "as many others have room");
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    assert_eq!((rig.heard_answers(client).len(), levels(&rig)), (SLOTS, (0, 16, 16)));
    read.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(levels(&rig), (0, 0, 0));
    serve_one(&mut rig);
}

#[test]
fn beyond_their_own_number_those_that_have_departed_count_like_others() {
    let mut rig = small();
    let mut read: Vec<Lease<RequestRecord>> = Vec::new();
    for departed in [16, 32, 34] {
        let ghost = rig.connect();
        rig.say(ghost, GET.repeat(SLOTS));
        read.append(&mut rig.claim_all());
        leave(&mut rig, ghost);
        assert_eq!(levels(&rig), (0, departed, read.len()));
    }
    // What is kept back is left.
    let clients = [(); 3].map(|()| rig.connect());
    clients.iter().for_each(|client| rig.say(*client, GET));
    assert_eq!((rig.queue.len(), levels(&rig)), (2, (2, 34, 36)), "one waits");
    // Of what comes back, as much is kept back first.
    read.drain(..3);
    rig.settle();
    assert_eq!((rig.queue.len(), levels(&rig)), (3, (3, 31, 34)));
    clients.iter().for_each(|_| rig.serve());
    assert!(clients.iter().all(|client| rig.heard_answers(*client) == ["/a/1"]));
    drop(read);
    rig.settle();
    assert_eq!(levels(&rig), (0, 0, 0));
    haunt(&mut rig, SLOTS);
    assert_eq!(levels(&rig), (0, 0, 0));
}
