//! What clients are told when the engine answers 503 in a queue's place: nothing, the bare status, or the reason; set
//! when the queue is made and live, for all groups that are bound to it.

mod common;

use std::time::Duration;

use common::{Client, End, Host, builder, receive, wait_until};
use ringress::{Properties, QueueOptions, Response, Verbosity};

fn host(verbosity: Verbosity) -> Host {
    Host::start_with(builder(), QueueOptions::default().length(1).verbosity(verbosity))
}

/// The queue is full from now on.
fn fill(host: &Host) -> Client {
    let mut client = host.connect();
    client.get("/first");
    wait_until("it is queued", || host.queue.len() == 1);
    client
}

#[test]
fn by_default_the_answer_is_bare() {
    let host = Host::start_with(builder(), QueueOptions::default().length(1));
    assert_eq!(host.queue.verbosity(), Verbosity::Bare);
    let _first = fill(&host);
    let reply = host.connect().ask("/second");
    assert_eq!((reply.status, reply.text(), reply.field("content-length")), (503, "", Some("0")), "{}", reply.head);
    assert!(reply.field("retry-after") == Some("1") && reply.field("content-type").is_none(), "{}", reply.head);
    assert!(!reply.closes(), "{}", reply.head);
    receive(&host.queue).respond(Response::text("first")).expect("the client is there");
    assert_eq!(host.settled().queue_full, 1);
}

#[test]
fn the_reason_is_told_where_that_is_wanted_for_each_cause() {
    let host = host(Verbosity::Reason);
    let mut client = host.connect();
    let first = fill(&host);
    let full = client.ask("/");
    host.queue.set_active(false);
    let disabled = client.ask("/");
    host.queue.set_active(true);
    host.group.set_active(false).expect("open");
    let group_disabled = client.ask("/");
    host.group.set_active(true).expect("open");
    let texts = [full, disabled, group_disabled].map(|reply| (reply.status, reply.text().to_owned()));
    let expected = ["The request queue is full.", "The service is disabled.", "The service is disabled."];
    for ((status, text), expected) in texts.into_iter().zip(expected) {
        assert!(status == 503 && text.contains(expected), "{text:?}");
    }
    drop(first);
}

#[test]
fn a_reset_comes_in_its_turn_behind_what_was_asked_before() {
    let host = host(Verbosity::Reset);
    let mut client = host.connect();
    client.get("/before");
    let before = receive(&host.queue);
    host.queue.set_active(false);
    client.get("/refused");
    // Behind it nothing is answered, and nothing is delivered.
    client.get("/behind");
    before.respond(Response::text("before")).expect("the client is there");
    assert_eq!(client.read().text(), "before");
    assert_eq!(client.read_end(), End::Reset);
    host.queue.set_active(true);
    let counters = host.settled();
    assert_eq!((counters.requests_delivered, counters.connections_open), (1, 0), "{counters:?}");
}

#[test]
fn it_is_changed_live_for_every_cause_and_group_and_stays_when_the_queue_has_ended() {
    let host = host(Verbosity::Bare);
    let first = fill(&host);
    assert_eq!(host.connect().ask("/").status, 503);
    host.queue.set_verbosity(Verbosity::Reset);
    let end_of = |host: &Host| {
        let mut client = host.connect();
        client.get("/");
        client.read_end()
    };
    assert_eq!(end_of(&host), End::Reset, "the queue is full");
    receive(&host.queue).respond(Response::text("first")).expect("the client is there");
    host.queue.set_active(false);
    assert_eq!(end_of(&host), End::Reset, "the queue is switched off");
    host.group.set_active(false).expect("open");
    assert_eq!(end_of(&host), End::Reset, "the group is switched off");
    host.group.set_active(true).expect("open");
    host.group.unbind().expect("open");
    assert_eq!(host.connect().ask("/").status, 503, "a group without a queue has no verbosity but the default");
    host.group.bind(&host.queue).expect("open");
    let Host { group: _group, session: _session, queue, engine, address } = host;
    drop(queue);
    let mut client = Client::connect(address);
    client.get("/");
    assert_eq!(client.read_end(), End::Reset, "the queue has ended");
    drop((first, client));
    drop(engine);
}

#[test]
fn nothing_is_taken_behind_a_request_in_whose_place_the_connection_is_reset() {
    let host = host(Verbosity::Reset);
    host.group.set_properties(Properties::new().request_queue(Duration::from_millis(100))).expect("a time");
    let mut client = host.connect();
    client.get("/held");
    let held = receive(&host.queue);
    client.get("/late");
    wait_until("it is queued", || host.queue.len() == 1);
    wait_until("its time is over", || host.queue.is_empty());
    client.get("/vain");
    held.respond(Response::text("held")).expect("the client is there");
    assert_eq!(client.read().text(), "held");
    assert_eq!(client.read_end(), End::Reset);
    let counters = host.settled();
    assert_eq!((counters.requests_delivered, counters.queue_timeouts), (2, 1), "{counters:?}");
}
