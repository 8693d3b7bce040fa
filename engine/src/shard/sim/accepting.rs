//! Directed tests of accepting: pauses, sockets that are let go of, and stops that meet clients on their way in.

use std::time::Duration;

use super::rig::{Options, Rig};
use crate::clock::ticks;
use crate::config::Config;
use crate::driver::fake::Faults;
use crate::shard::Sharing;
use crate::shard::protocol::Protocol;

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// Clients come over a socket that others have, too.
fn shared(faults: Faults) -> Rig {
    Rig::with(Options { faults, ..Options::default() }).over(Sharing::HandedOver, false)
}

/// A client that is on its way in.
fn comes(rig: &mut Rig) -> usize {
    let listener = rig.listener;
    rig.shard.protocol.transport.io.connect(listener, 1 << 20)
}

fn assert_served(rig: &mut Rig, client: usize) {
    rig.say(client, GET);
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
}

#[test]
fn where_another_has_a_socket_not_wait_accepting_pauses_and_tries_again() {
    let mut rig = shared(Faults::default());
    rig.shard.protocol.transport.io.never_waits = true;
    rig.settle();
    assert_eq!((rig.counters.accept_pauses.read(), rig.shard.protocol.transport.io.accepts(rig.listener)), (1, false));
    let client = rig.connect();
    rig.pass(SECOND / 5);
    assert_served(&mut rig, client);
    rig.shard.protocol.transport.io.never_waits = false;
    rig.pass(SECOND / 5);
    assert!(rig.shard.protocol.transport.io.accepts(rig.listener));
    rig.assert_idle();
}

#[test]
fn who_waits_where_accepting_pauses_is_not_left_when_the_socket_is_let_go_of() {
    for drains in [false, true] {
        let mut rig = shared(Faults { descriptors_missing: 1000, ..Faults::default() });
        let clients = [(); 3].map(|()| rig.connect());
        assert!(!rig.shard.protocol.transport.io.accepts(rig.listener), "it pauses");
        rig.shard.protocol.transport.io.faults = Faults::default();
        if drains {
            rig.drain(SECOND * 60, SECOND * 60);
        } else {
            rig.change(|desired| desired.set_addresses(Vec::new()));
        }
        rig.settle();
        clients.into_iter().for_each(|client| assert_served(&mut rig, client));
        rig.stop(Duration::ZERO);
        rig.end();
    }
}

#[test]
fn a_stop_that_has_no_time_leaves_who_waits_to_others() {
    for grace in [Duration::ZERO, SECOND] {
        let mut rig = shared(Faults::default());
        rig.settle();
        rig.stop(grace);
        rig.shard.inbox.begin_turn();
        rig.shard.take_newer();
        rig.shard.inbox.end_turn();
        // The thread that drives the shard is elsewhere until then.
        rig.shard.protocol.transport.clock.skip(ticks(grace));
        (0..3).for_each(|_| _ = comes(&mut rig));
        rig.settle();
        assert!(rig.shard.is_done());
        assert_eq!(rig.counters.connections_accepted.read(), 0, "{grace:?}: they would be cut");
        rig.end();
    }
}

#[test]
fn who_comes_in_last_is_served_if_it_has_asked_and_is_not_waited_for_otherwise() {
    let mut rig = shared(Faults { clients_left: 1000, ..Faults::default() });
    rig.settle();
    let [asks, silent] = [(); 2].map(|()| comes(&mut rig));
    rig.shard.protocol.transport.io.write(asks, GET.as_bytes());
    rig.stop(SECOND * 60);
    rig.settle();
    assert_eq!(rig.counters.connections_accepted.read(), 2, "they may have been told of here alone");
    rig.pass(SECOND / 5);
    assert!(rig.shard.protocol.transport.io.is_closed(silent), "as all that are idle");
    rig.serve();
    let heard = rig.heard(asks);
    assert!(heard.contains("\r\nConnection: close\r\n") && heard.contains("[/a/1]"), "{heard}");
    rig.shard.protocol.transport.io.end(asks);
    rig.end();
}

#[test]
fn who_comes_in_while_accepting_ends_does_not_outlive_a_stop() {
    let mut rig = shared(Faults { cancel_late: 1000, ..Faults::default() });
    let first = rig.connect();
    rig.stop(Duration::ZERO);
    // So that the shard does not sleep until accepting has ended.
    rig.shard.protocol.transport.io.write(first, GET.as_bytes());
    rig.turn();
    let client = comes(&mut rig);
    rig.settle();
    assert!(rig.shard.is_done(), "it waits for nobody whom nobody ends");
    assert!([first, client].iter().all(|client| rig.shard.protocol.transport.io.is_closed(*client)));
    rig.claim_all();
    rig.end();
}

#[test]
fn a_shard_is_not_done_while_somebody_waits_for_a_place() {
    let config = Config { connections_max: 1, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let (_first, waits) = (rig.connect(), comes(&mut rig));
    rig.turn();
    rig.drain(SECOND * 60, SECOND * 60);
    rig.turn();
    rig.turn();
    assert!(!rig.shard.protocol.transport.io.accepts(rig.listener) && rig.counters.connections_accepted.read() == 2);
    // The first one goes in a turn of which something is left over.
    rig.shard.inbox.begin_turn();
    rig.shard.connections.keys().into_iter().for_each(|key| rig.shard.visit(key, Protocol::reset));
    rig.shard.enter(None, false).expect("the fake never fails");
    rig.shard.handle_events();
    rig.shard.inbox.end_turn();
    assert_eq!(rig.shard.connections.len(), 0);
    assert!(!rig.shard.is_done(), "the next one has come");
    rig.shard.serve_newcomers();
    rig.settle();
    assert_served(&mut rig, waits);
    assert!(rig.shard.is_done());
    rig.end();
}
