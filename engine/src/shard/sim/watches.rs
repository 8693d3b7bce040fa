//! Directed tests of being told of a connection's end.

use std::sync::mpsc;
use std::time::Duration;

use super::rig::{Rig, answer, answer_with};
use crate::id::{ConnectionId, Origin};
use crate::queue::{Command, Disconnected, Lease, Registration, Watch};
use crate::record::RequestRecord;
use crate::slab::ConnectionKey;

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";

fn watch(lease: &Lease<RequestRecord>, half_close: bool) -> Watch {
    let (watch, registration) = Watch::new(half_close);
    lease.command(Command::Watch(lease.record().connection, registration));
    watch
}

/// A connection with a request under way, and two that wait for its end, one of them also for its half.
fn watched() -> (Rig, usize, Lease<RequestRecord>, [Watch; 2]) {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, GET);
    let lease = rig.claim();
    let watches = [watch(&lease, false), watch(&lease, true)];
    rig.settle();
    assert_eq!(watches.each_ref().map(Watch::reason), [None, None]);
    (rig, client, lease, watches)
}

#[track_caller]
fn assert_told(watches: &[Watch; 2], how: Disconnected) {
    assert_eq!(watches.each_ref().map(Watch::reason), [Some(how); 2]);
}

#[test]
fn a_reset_is_told_while_the_request_is_under_way() {
    let (mut rig, client, lease, watches) = watched();
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_told(&watches, Disconnected::Reset);
    drop(lease);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_half_close_is_told_to_who_asked_and_the_end_after_the_answer() {
    let (mut rig, client, lease, watches) = watched();
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert_eq!(watches.each_ref().map(Watch::reason), [None, Some(Disconnected::HalfClosed)]);
    let late = watch(&lease, true);
    rig.settle();
    assert_eq!(late.reason(), Some(Disconnected::HalfClosed), "also who asks after it");
    answer(lease);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1"], "it can still be answered");
    assert_eq!(watches[0].reason(), Some(Disconnected::Ended));
    rig.assert_idle();
}

#[test]
fn a_good_answer_is_no_end_and_the_end_is_told_later() {
    let (mut rig, client, lease, watches) = watched();
    answer(lease);
    rig.settle();
    assert_eq!(watches.each_ref().map(Watch::reason), [None, None]);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert_told(&watches, Disconnected::Ended);
    rig.assert_idle();
}

#[test]
fn what_the_engine_cuts_is_told() {
    let (mut rig, client, lease, watches) = watched();
    assert!(lease.cancel());
    rig.settle();
    assert_told(&watches, Disconnected::Aborted);
    drop(lease);
    assert!(rig.shard.protocol.transport.io.was_reset(client));

    let (mut rig, _, lease, watches) = watched();
    answer(lease);
    rig.settle();
    rig.pass(Duration::from_secs(121));
    assert_told(&watches, Disconnected::Aborted);
    rig.assert_idle();
}

#[test]
fn the_engines_end_is_told_also_to_who_was_not_heard() {
    let (mut rig, _, lease, watches) = watched();
    answer(lease);
    rig.settle();
    rig.stop(Duration::from_secs(60));
    rig.settle();
    assert_told(&watches, Disconnected::Stopped);

    let (mut rig, _, lease, watches) = watched();
    rig.stop(Duration::ZERO);
    rig.settle();
    assert_told(&watches, Disconnected::Stopped);
    let late = watch(&lease, false);
    rig.shard.end();
    assert_eq!(late.reason(), Some(Disconnected::Gone));
    assert_eq!(watch(&lease, true).reason(), Some(Disconnected::Stopped), "nobody ever will");
}

/// A connection that has sent so much behind an unsafe request that receiving has stopped.
fn stopped() -> (Rig, usize, Lease<RequestRecord>) {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "POST /a/0 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    for _ in 0..12 {
        rig.say(client, GET);
    }
    let lease = rig.claim();
    assert!(!rig.shard.protocol.transport.io.receives(client) && rig.shard.protocol.transport.io.watches(client));
    (rig, client, lease)
}

#[test]
fn a_client_that_leaves_while_receiving_is_stopped_is_noticed() {
    for half_first in [false, true] {
        let (mut rig, client, lease) = stopped();
        let watches = [watch(&lease, false), watch(&lease, half_first)];
        if half_first {
            rig.shard.protocol.transport.io.end(client);
            rig.settle();
            assert_eq!(watches.each_ref().map(Watch::reason), [None, Some(Disconnected::HalfClosed)]);
            let late = watch(&lease, true);
            rig.settle();
            assert_eq!(late.reason(), Some(Disconnected::HalfClosed));
            assert!(rig.exchange.is_open(lease.id()), "it can still be answered");
        }
        rig.shard.protocol.transport.io.reset(client);
        rig.settle();
        assert_eq!(watches[0].reason(), Some(Disconnected::Reset));
        assert!(!rig.exchange.is_open(lease.id()));
        drop(lease);
        rig.settle();
        rig.assert_idle();
    }
}

#[test]
fn a_client_that_leaves_after_it_has_ended_its_side_is_noticed() {
    let (mut rig, client, lease, watches) = watched();
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.watches(client));
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_eq!(watches[0].reason(), Some(Disconnected::Reset));
    drop(lease);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_watch_harms_nothing_when_receiving_goes_on() {
    let (mut rig, client, lease) = stopped();
    answer(lease);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.receives(client));
    for _ in 0..12 {
        rig.serve();
    }
    assert_eq!(rig.heard_answers(client).len(), 13);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.is_closed(client) && !rig.shard.protocol.transport.io.was_reset(client));
    rig.assert_idle();
}

#[test]
fn a_shard_that_gives_up_tells_all_who_wait() {
    let (rig, _client, lease, watches) = watched();
    let unread = watch(&lease, false);
    // Its connections are closed by `give_up`, against the rules that the fake holds a shard to.
    drop(rig.shard);
    assert_told(&watches, Disconnected::Stopped);
    assert_eq!(unread.reason(), Some(Disconnected::Stopped));
}

#[test]
fn connections_that_are_over_or_never_were_are_told_of_at_once() {
    let (mut rig, client, lease, _) = watched();
    let id = lease.record().connection;
    answer_with(lease, "", true);
    rig.settle();
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
    // Another connection in the same place.
    rig.connect();
    for id in [id, Origin::LONE.connection(77, 3), ConnectionId::from_u64(u64::MAX).expect("not 0")] {
        let (watch, registration) = Watch::new(true);
        rig.exchange.command(Command::Watch(id, registration));
        rig.settle();
        assert_eq!(watch.reason(), Some(Disconnected::Gone), "{id:?}");
    }
    assert!(rig.shard.protocol.dispatch.extras().is_empty());
}

#[test]
fn those_who_no_longer_wait_take_no_room() {
    let (mut rig, client, lease, watches) = watched();
    for _ in 0..1000 {
        drop(watch(&lease, false));
        rig.turn();
    }
    let entry = Origin::LONE.entry(lease.record().connection);
    let key = entry.and_then(|(index, generation)| ConnectionKey::of(index, generation)).expect("of this shard");
    let kept = rig.shard.protocol.dispatch.extras_mut().of(key).expect("two wait").registrations();
    assert!(kept <= 9, "{kept} registrations are kept for two that wait");
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_told(&watches, Disconnected::Reset);
}

#[test]
fn calls_are_made_once_and_a_panic_in_one_stays_there() {
    let (mut rig, client, lease, _watches) = watched();
    let (tell, told) = mpsc::channel();
    for number in 0..3 {
        let tell = tell.clone();
        let call = move |how| {
            tell.send((number, how)).expect("the test listens");
            assert_ne!(number, 1, "meant to panic");
        };
        lease.command(Command::Watch(lease.record().connection, Registration::call(call)));
    }
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    let how = Disconnected::Reset;
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [(0, how), (1, how), (2, how)]);
    drop(lease);
    rig.settle();
    rig.assert_idle();
}
