//! Directed tests of how connections begin, and of how a shard ends.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{Options, Rig, answer, listen_address, stand_in};
use crate::clock::ticks;
use crate::config::Config;
use crate::driver::fake::Faults;
use crate::id::QueueNumber;
use crate::proxied::ProxyProtocol;
use crate::queue::QueueCore;
use crate::shard::Sharing;
use crate::shard::protocol::Protocol;

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn without_descriptors_accepting_pauses_and_resumes() {
    let faults = Faults { descriptors_missing: 1000, ..Faults::default() };
    let mut rig = Rig::with(Options { faults, ..Options::default() });
    let client = rig.connect();
    assert_eq!((rig.counters.accept_pauses.read(), rig.shard.protocol.transport.io.accepts(rig.listener)), (1, false));
    rig.shard.protocol.transport.io.faults = Faults::default();
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.accepts(rig.listener), "the pause is not cut short");
    rig.pass(Duration::from_millis(200));
    assert!(rig.shard.protocol.transport.io.accepts(rig.listener));
    rig.say(client, GET);
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let config = crate::config::Config { connections_max: 2, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let mut clients: Vec<usize> = (0..2).map(|_| rig.connect()).collect();
    clients.iter().for_each(|client| rig.say(*client, GET));
    clients.push(rig.connect());
    assert!(
        rig.shard.protocol.transport.io.is_closed(clients[2]) && !rig.shard.protocol.transport.io.is_closed(clients[1])
    );
    assert_eq!(rig.counters.connections_refused.read(), 1);
    rig.claim_all().into_iter().for_each(answer);
    rig.shard.protocol.transport.io.end(clients[0]);
    rig.settle();
    let next = rig.connect();
    assert!(!rig.shard.protocol.transport.io.is_closed(next));
}

#[test]
fn a_stop_answers_what_is_under_way_and_ends() {
    let mut rig = Rig::new();
    let (idle, busy, pipelining) = (rig.connect(), rig.connect(), rig.connect());
    rig.say(busy, GET);
    rig.say(pipelining, GET.repeat(3));
    rig.stop(Duration::from_secs(60));
    rig.settle();
    assert!(rig.shard.protocol.transport.io.is_closed(idle) && !rig.shard.is_done());
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    assert_eq!(rig.heard_answers(busy), ["/a/1"]);
    assert_eq!(rig.heard_answers(pipelining), ["/a/1", "/a/1", "/a/1"]);
    assert!(rig.shard.protocol.transport.io.at_end(busy) && rig.shard.protocol.transport.io.at_end(pipelining));
    rig.shard.protocol.transport.io.end(busy);
    rig.shard.protocol.transport.io.end(pipelining);
    rig.end();
}

#[test]
fn a_drain_gives_each_connection_one_more_request_and_waits_for_the_idle_no_longer_than_it_lingers() {
    let (mut rig, linger) = (Rig::new(), Duration::from_secs(10));
    let [idle, asks, pipelining, begun] = [(); 4].map(|()| rig.connect());
    rig.say(pipelining, GET);
    rig.say(begun, "GET /a/2 HTTP/1.1\r\nHo");
    rig.drain(linger, Duration::from_secs(60));
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.accepts(rig.listener));
    assert!(![idle, asks, begun].iter().any(|client| rig.shard.protocol.transport.io.is_closed(*client)));
    rig.say(asks, GET);
    rig.say(begun, "st: h\r\n\r\n");
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    assert_eq!((rig.heard_answers(asks), rig.heard_answers(begun)), (vec!["/a/1".into()], vec!["/a/2".into()]));
    // What was taken before is no last one.
    assert_eq!(rig.heard_answers(pipelining), ["/a/1"]);
    assert!(!rig.shard.protocol.transport.io.at_end(pipelining));
    rig.say(pipelining, GET);
    rig.serve();
    assert_eq!(rig.heard_answers(pipelining), ["/a/1"]);
    for client in [asks, begun, pipelining] {
        assert!(rig.shard.protocol.transport.io.at_end(client));
        rig.shard.protocol.transport.io.end(client);
    }
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.is_closed(idle) && !rig.shard.is_done());
    rig.expire(linger);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.is_closed(idle) && rig.shard.is_done());
    rig.end();
}

#[test]
fn a_drain_ends_when_nobody_is_left_and_sooner_when_it_is_told_so() {
    for is_told in [false, true] {
        let mut rig = Rig::new();
        let client = rig.connect();
        rig.drain(Duration::from_secs(3600), Duration::from_secs(3600));
        rig.settle();
        assert!(!rig.shard.is_done());
        if is_told {
            rig.stop(Duration::ZERO);
        } else {
            rig.shard.protocol.transport.io.end(client);
        }
        rig.settle();
        assert!(rig.shard.is_done());
        rig.end();
    }
}

#[test]
fn a_request_begun_before_a_stop_is_not_delivered_after_it() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, GET.to_owned() + "GET /a/2 HTTP/1.1\r\nHo");
    rig.stop(Duration::from_secs(60));
    rig.settle();
    rig.say(client, "st: h\r\n\r\n");
    rig.serve();
    assert!(rig.queue.is_empty());
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.shard.protocol.transport.io.end(client);
    rig.end();
}

#[test]
fn a_stop_without_grace_leaves_nobody_behind() {
    let mut rig = Rig::new();
    let clients: Vec<usize> = (0..4).map(|_| rig.connect()).collect();
    for client in &clients[1..] {
        rig.say(*client, GET);
    }
    let lease = rig.claim();
    rig.stop(Duration::ZERO);
    rig.settle();
    assert!(rig.shard.is_done());
    assert!(clients.iter().all(|client| rig.shard.protocol.transport.io.is_closed(*client)));
    answer(lease);
    rig.claim_all();
    rig.turn();
    rig.end();
}

#[test]
fn a_listener_that_comes_after_a_stop_does_not_keep_the_shard_alive() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, GET);
    rig.stop(Duration::from_secs(60));
    rig.change(|desired| desired.set_addresses(vec![listen_address(2, 81, stand_in(), ProxyProtocol::Off)]));
    rig.settle();
    rig.serve();
    rig.shard.protocol.transport.io.end(client);
    rig.end();
}

#[test]
fn no_longer_listening_leaves_connections_alone() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.change(|desired| desired.set_addresses(Vec::new()));
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.accepts(rig.listener));
    rig.say(client, GET);
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
}

#[test]
fn who_waits_at_a_socket_that_was_handed_over_is_not_left_to_wait_for_others_to_be_told() {
    for drains in [false, true] {
        let faults = Faults { clients_left: 1000, ..Faults::default() };
        let mut rig = Rig::with(Options { faults, ..Options::default() }).over(Sharing::HandedOver, false);
        let listener = rig.listener;
        let clients = [(); 3].map(|()| rig.shard.protocol.transport.io.connect(listener, 1 << 20));
        if drains {
            rig.drain(Duration::from_secs(60), Duration::from_secs(60));
        } else {
            rig.change(|desired| desired.set_addresses(Vec::new()));
        }
        rig.settle();
        for client in clients {
            rig.say(client, GET);
            rig.serve();
            assert_eq!(rig.heard_answers(client), ["/a/1"]);
            rig.shard.protocol.transport.io.end(client);
        }
        rig.settle();
        assert_eq!(rig.shard.is_done(), drains);
        rig.stop(Duration::ZERO);
        rig.end();
    }
}

#[test]
fn a_closed_listener_lets_nobody_in_who_was_accepted_meanwhile() {
    let faults = Faults { cancel_late: 1000, ..Faults::default() };
    let mut rig = Rig::with(Options { faults, ..Options::default() });
    rig.settle();
    rig.change(|desired| desired.set_addresses(Vec::new()));
    let client = rig.connect();
    assert!(
        rig.shard.protocol.transport.io.is_closed(client) && !rig.shard.protocol.transport.io.accepts(rig.listener)
    );
    rig.assert_idle();
}

#[test]
fn who_is_accepted_while_a_shared_socket_is_let_go_of_is_served_unless_it_is_closed() {
    for (sharing, is_closed) in [(Sharing::HandedOver, true), (Sharing::Shards, false), (Sharing::Shards, true)] {
        let faults = Faults { cancel_late: 1000, ..Faults::default() };
        let mut rig = Rig::with(Options { faults, ..Options::default() }).over(sharing, false);
        if is_closed {
            rig.close_listener();
        }
        rig.change(|desired| desired.set_addresses(Vec::new()));
        let client = rig.connect();
        assert!(!rig.shard.protocol.transport.io.accepts(rig.listener));
        if sharing == Sharing::Shards && is_closed {
            assert!(rig.shard.protocol.transport.io.is_closed(client));
            continue;
        }
        rig.say(client, GET);
        rig.serve();
        assert_eq!(rig.heard_answers(client), ["/a/1"]);
    }
}

#[test]
fn of_many_changes_a_shard_takes_the_newest_and_says_so() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let generations: Vec<u64> = (0..100).map(|_| rig.change(|_| {})).collect();
    let last = rig.change(|desired| desired.set_addresses(Vec::new()));
    // Nobody drives it: it will take them before anything else.
    assert!(generations.iter().all(|generation| rig.holds(*generation)) && rig.holds(last));
    rig.shard.inbox.begin_turn();
    assert!(!rig.holds(generations[0]), "it may be handling a completion by an older one");
    rig.shard.take_newer();
    assert!(rig.holds(last) && !rig.holds(last + 1));
    rig.shard.inbox.end_turn();
    rig.say(client, GET);
    rig.serve();
    assert!(!rig.shard.protocol.transport.io.accepts(rig.listener));
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.shard.inbox.close();
    assert!(rig.holds(u64::MAX), "nobody waits for a shard that has ended");
}

#[test]
fn a_closed_socket_never_begins_to_listen_again() {
    let mut rig = Rig::new();
    let address = listen_address(2, 81, stand_in(), ProxyProtocol::Off);
    let socket = address.sockets[0].clone().expect("it is there");
    let descriptor = socket.descriptor();
    rig.change(|desired| desired.set_addresses(vec![address]));
    // The control plane closes it before the shard has come to it.
    socket.close();
    rig.settle();
    assert!(!rig.shard.protocol.transport.io.accepts(descriptor) && !rig.shard.protocol.transport.accepting.listens());
}

#[test]
fn a_queue_that_ends_leaves_its_place_to_another_and_its_requests_get_500() {
    let mut rig = Rig::new();
    let (waits, taken, later) = (rig.connect(), rig.connect(), rig.connect());
    rig.say(taken, GET);
    let lease = rig.claim();
    rig.say(waits, GET);
    rig.queue.close_and_abandon();
    rig.change(|desired| desired.set_queues(Vec::new()));
    rig.settle();
    assert!(rig.heard(waits).starts_with("HTTP/1.1 500 "));
    rig.say(later, GET);
    assert!(rig.heard(later).starts_with("HTTP/1.1 503 "));
    let other = Arc::new(QueueCore::new(QueueNumber(1), 8, Arc::clone(rig.queue.exchanges())));
    let before = core::mem::replace(&mut rig.queue, other);
    rig.change(|desired| desired.set_queues(vec![Some(Arc::clone(&rig.queue))]));
    rig.settle();
    assert_eq!(Arc::strong_count(&before), 1, "the shard keeps nothing of it");
    // What was taken from the one before does not time out as if it waited in the new one.
    rig.expire(Duration::from_secs(130));
    answer(lease);
    rig.settle();
    assert_eq!(rig.heard_answers(taken), ["/a/1"]);
    let again = rig.connect();
    rig.say(again, GET);
    rig.serve();
    assert_eq!(rig.heard_answers(again), ["/a/1"]);
}

#[test]
fn a_queue_that_ends_before_its_requests_are_published_stops_nothing() {
    let config = Config { receive_buffers: 128, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    // More than are published in one turn.
    let clients: Vec<usize> = (0..50).map(|_| rig.connect()).collect();
    clients.iter().for_each(|client| rig.shard.protocol.transport.io.write(*client, GET.as_bytes()));
    rig.shard.protocol.dispatch.set_publish_max(32);
    rig.shard.inbox.begin_turn();
    rig.shard.enter(None, false).expect("the fake never fails");
    rig.shard.handle_events();
    assert_eq!(rig.shard.protocol.dispatch.fresh(), 32);
    rig.queue.close_and_abandon();
    rig.change(|desired| desired.set_queues(Vec::new()));
    rig.shard.take_newer();
    rig.shard.inbox.end_turn();
    rig.settle();
    let heard: Vec<String> = clients.iter().map(|client| rig.heard(*client)).collect();
    let answered = |status: &str| heard.iter().filter(|text| text.starts_with(status)).count();
    assert_eq!((answered("HTTP/1.1 500 "), answered("HTTP/1.1 503 ")), (32, 18), "{heard:?}");
}

#[test]
fn what_a_shard_that_panics_has_not_shown_yet_was_delivered_all_the_same() {
    for leaves_before in [false, true] {
        let mut rig = Rig::new();
        let client = rig.connect();
        rig.shard.protocol.transport.io.write(client, (GET.to_owned() + GET).as_bytes());
        rig.shard.inbox.begin_turn();
        rig.shard.enter(None, false).expect("the fake never fails");
        rig.shard.handle_events();
        assert_eq!(rig.shard.protocol.dispatch.fresh(), 2);
        if leaves_before {
            rig.shard.connections.keys().into_iter().for_each(|key| rig.shard.visit(key, Protocol::reset));
        }
        rig.shard.protocol.transport.io.failed = true;
        rig.shard.give_up();
        assert_eq!((rig.counters.requests_delivered.read(), rig.counters.requests_ended()), (2, 2));
        let counts = rig.queue.counts().read();
        assert_eq!((counts.delivered, counts.open()), (2, 0), "{counts:?}");
    }
}

#[test]
fn the_grace_of_a_stop_begins_when_it_is_taken() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, GET);
    // The thread that drives the shard computes, and the shard's clock stands still meanwhile.
    rig.shard.protocol.transport.clock.skip(ticks(Duration::from_secs(5)));
    rig.stop(Duration::from_secs(2));
    rig.settle();
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.shard.protocol.transport.io.end(client);
    rig.end();
}

#[test]
fn what_an_address_holds_is_counted_until_nothing_of_it_is_left() {
    let mut rig = Rig::new();
    let clients = [rig.connect_from(1), rig.connect_from(1), rig.connect_from(2)];
    let peers = |rig: &mut Rig| rig.shard.protocol.dispatch.peers().len();
    assert_eq!((peers(&mut rig), rig.counters.requests_departed.read()), (2, 0));
    rig.say(clients[0], GET);
    let left = rig.claim();
    clients.into_iter().for_each(|client| rig.shard.protocol.transport.io.reset(client));
    rig.settle();
    assert_eq!((peers(&mut rig), rig.counters.requests_departed.read()), (1, 1), "its handle is left");
    let again = rig.connect_from(1);
    drop(left);
    rig.settle();
    assert_eq!((peers(&mut rig), rig.counters.requests_departed.read()), (1, 0));
    rig.shard.protocol.transport.io.reset(again);
    rig.settle();
    assert_eq!((peers(&mut rig), rig.counters.client_addresses.read()), (0, 0));
}
