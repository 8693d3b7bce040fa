//! What an engine says of itself at one moment: each shard, queue, group and address with what was counted there.

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{Client, Host, Watched, builder, by_two_shards, loopback, receive, settled, wait_until};
use ringress::{Counters, Mode, Phase, Properties, QueueOptions, Response, ShardState, Verbosity};

#[test]
fn each_part_has_its_counts_and_levels() {
    let host = Host::start_with(builder(), QueueOptions::default().measured(true).verbosity(Verbosity::Reason));
    let other = host.session.url_group();
    let port = host.address.port();
    other.add_urls([(&*format!("http://*:{port}/b/"), 0), (&*format!("http://*:{port}/a/"), 0)]).expect("free");
    other.set_properties(Properties::new().send_rate_min(0)).expect("in range");
    let mut client = host.connect();
    client.get("/x");
    host.receive().respond(Response::ok()).expect("open");
    assert_eq!(client.read().status, 200);
    assert_eq!(client.ask("/a/").status, 503, "bound to no queue");
    settled(&host.engine);
    let mut waits = host.connect();
    waits.get("/y");
    wait_until("it waits", || host.engine.snapshot().queues[0].info.waiting == 1);
    let snapshot = host.engine.snapshot();
    assert!(matches!(snapshot.phase, Phase::Serving), "{:?}", snapshot.phase);
    let [shard] = &snapshot.shards[..] else { panic!("{:?}", snapshot.shards) };
    assert_eq!((shard.state, shard.counters.requests_answered), (ShardState::Runs, 1));
    assert_eq!((snapshot.counters.connections_open, snapshot.counters.requests_open), (2, 1));
    let [queue] = &snapshot.queues[..] else { panic!("{:?}", snapshot.queues) };
    assert_eq!((&*queue.info.name, queue.closed, queue.verbosity), ("test", false, Verbosity::Reason));
    assert_eq!((queue.counters.delivered, queue.counters.answered, queue.counters.open()), (2, 1, 1));
    assert_eq!(queue.latency.as_ref().expect("measured").total.count(), 1);
    let of = |id| snapshot.url_groups.iter().find(|group| group.id == id).expect("it is there");
    let (first, second) = (of(host.group.id()), of(other.id()));
    assert_eq!((first.queue, first.urls, first.counters.delivered), (Some(host.queue.id()), 1, 2));
    assert_eq!((second.queue, second.urls, second.counters.refused), (None, 2, 1));
    assert_eq!(second.first_url, Some(format!("http://*:{port}/a/")));
    assert_eq!((second.own_properties.send_rate_min, second.own_properties.header_wait), (Some(0), None));
    assert_eq!(second.properties, other.properties().expect("the group lives"));
    assert_eq!(snapshot.sessions.len(), 1);
    assert_eq!((snapshot.sessions[0].id, snapshot.sessions[0].active), (host.session.id(), true));
    assert_eq!(snapshot.sessions[0].properties, host.session.properties());
    let [listener] = &snapshot.listeners[..] else { panic!("{:?}", snapshot.listeners) };
    assert_eq!((&listener.info.address, listener.connections_accepted), (&host.address.into(), 2));
    host.receive().respond(Response::ok()).expect("open");
    assert_eq!(waits.read().status, 200);
}

#[test]
fn shards_count_apart_and_come_to_the_whole() {
    let client = |engine: &ringress::Engine, group: &ringress::UrlGroup| {
        let address = engine.listen(loopback(0)).expect("a free port");
        common::add(group, address.port());
        // The kernel deals clients to sockets: until each shard has had one.
        wait_until("both shards have answered", || {
            assert_eq!(Client::connect(address).ask("/").status, 200);
            engine.snapshot().shards.iter().all(|shard| shard.counters.requests_answered > 0)
        });
        common::await_rest(engine);
        let snapshot = engine.snapshot();
        let sum: u64 = snapshot.shards.iter().map(|shard| shard.counters.requests_answered).sum();
        assert_eq!((sum, snapshot.shards.len()), (snapshot.counters.requests_answered, 2));
        assert_eq!(snapshot.listeners[0].connections_accepted, snapshot.counters.connections_accepted);
    };
    by_two_shards((builder(), Mode::Queue), |_| "hello".into(), client);
}

/// Of a co-located engine, whose shard's thread the application holds until the snapshot is there.
#[test]
fn a_shard_that_computes_is_not_waited_for() {
    let ((holds, is_held), (release, is_released)) = (mpsc::channel(), mpsc::channel());
    common::colocated(
        move |queue| {
            while let Ok(request) = queue.receive() {
                holds.send(()).expect("the test waits");
                is_released.recv_timeout(common::WAIT_MAX).expect("the snapshot needs no shard");
                request.respond(Response::ok()).expect("open");
            }
        },
        move |engine, address| {
            let mut client = Client::connect(address);
            client.get("/");
            is_held.recv_timeout(common::WAIT_MAX).expect("it comes");
            let snapshot = engine.snapshot();
            release.send(()).expect("the application waits");
            assert_eq!((snapshot.shards[0].state, snapshot.queues[0].counters.open()), (ShardState::Runs, 1));
            assert_eq!(client.read().status, 200);
        },
    );
}

#[test]
fn the_phase_is_that_of_the_engine_to_its_end() {
    let engine = Watched::start(builder(), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    common::add(&group, address.port());
    let mut client = Client::connect(address);
    client.get("/");
    let request = receive(&queue);
    std::thread::scope(|scope| {
        let stops = scope.spawn(|| engine.shutdown(common::WAIT_MAX));
        wait_until("it stops", || matches!(engine.snapshot().phase, Phase::Stopping));
        request.respond(Response::ok()).expect("open");
        assert_eq!(client.read().status, 200);
        // One that stays is read to its end.
        drop(client);
        stops.join().expect("no panic").expect("no shard failed");
    });
    let snapshot = engine.snapshot();
    assert!(matches!(snapshot.phase, Phase::Ended), "{:?}", snapshot.phase);
    assert_eq!(snapshot.shards[0].state, ShardState::Ended);
    assert!(snapshot.queues[0].closed && snapshot.listeners.is_empty());
}

#[test]
fn levels_are_told_from_counts_by_their_names() {
    let levels: Vec<_> =
        Counters::default().named().map(|(name, _)| name).filter(|it| Counters::is_level(it)).collect();
    assert_eq!(
        levels,
        [
            "connections_open",
            "client_addresses",
            "requests_open",
            "requests_departed",
            "buffers_in_use",
            "body_buffers_in_use",
            "assembly_cells_in_use",
            "coalescing_cells_in_use",
            "stage_cells_in_use",
        ]
    );
}

#[test]
fn properties_are_named_with_the_texts_that_set_them() {
    let set = Properties::new().idle_connection(Duration::from_secs(90)).send_rate_min(0).request_body_max(u64::MAX);
    let mut again = Properties::new();
    for (name, value) in set.named().filter_map(|(name, value)| Some((name, value?))) {
        again.set(name, &value).expect("as it is shown");
    }
    assert_eq!(again, set);
    assert_eq!(set.named().map(|(name, _)| name).collect::<Vec<_>>(), Properties::NAMES);
}
