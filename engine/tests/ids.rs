//! An id is good through the queue that its request came from, and through no other one: of another engine, or of the
//! same.

mod common;

use common::{Host, loopback, receive};
use ringress::{ConnectionId, Disconnected, RequestId, RequestQueue, Response};

/// Tries everything that takes an id, and finds it refused.
#[track_caller]
fn assert_gone(queue: &RequestQueue, id: RequestId) {
    assert!(!queue.is_open(id), "{id:?} is not this queue's");
    assert!(queue.respond(id, Response::text("a stranger's")).expect_err("not this queue's").is_gone());
    assert!(queue.start(id, Response::ok()).expect_err("not this queue's").is_gone());
    assert!(queue.cancel(id).expect_err("not this queue's").is_gone());
}

/// An engine with a request that is held by its id, and the connection that it came on.
fn held(host: &Host) -> (common::Client, RequestId, ConnectionId) {
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    let connection = request.connection_id();
    (client, request.into_id(), connection)
}

#[test]
fn an_id_of_another_engine_is_gone_and_its_request_is_not_touched() {
    let hosts = [Host::start(), Host::start()];
    let mut all = Vec::new();
    // Their slots and their generations go along with each other.
    for _ in 0..20 {
        all.push([held(&hosts[0]), held(&hosts[1])]);
    }
    for (_, id, connection) in all.iter().map(|[own, _]| own) {
        assert_gone(&hosts[1].queue, *id);
        assert_eq!(hosts[1].queue.on_disconnect(*connection).wait(), Disconnected::Gone);
        assert!(hosts[0].queue.on_disconnect(*connection).told().is_none(), "its own engine knows it");
    }
    for (host, mut client, id) in all.into_iter().flat_map(|[a, b]| [(&hosts[0], a.0, a.1), (&hosts[1], b.0, b.1)]) {
        host.queue.respond(id, Response::text("its own")).expect("open");
        assert_eq!(client.read().text(), "its own");
    }
    assert_eq!((hosts[0].counters().requests_cancelled, hosts[1].counters().requests_cancelled), (0, 0));
}

#[test]
fn an_id_of_an_engine_that_has_ended_is_gone_in_the_next_one() {
    let mut old: Vec<RequestId> = Vec::new();
    for _ in 0..5 {
        let host = Host::start();
        let (mut client, id, _) = held(&host);
        old.iter().for_each(|id| assert_gone(&host.queue, *id));
        host.queue.respond(id, Response::text("its own")).expect("open");
        assert_eq!(client.read().text(), "its own");
        assert!(!old.contains(&id));
        old.push(id);
    }
}

#[test]
fn an_id_of_another_queue_is_gone_and_its_request_is_not_touched() {
    let host = Host::start();
    let other = host.engine.request_queue("other").expect("a second queue");
    let address = host.engine.listen(loopback(0)).expect("a free port");
    let group = host.session.url_group();
    group.bind(&other).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 8).expect("the URL is free");
    for _ in 0..3 {
        let (mut one, id, _) = held(&host);
        let mut two = common::Client::connect(address);
        two.get("/");
        let request = receive(&other);
        assert_gone(&host.queue, request.id());
        assert_gone(&other, id);
        other.respond(request.into_id(), Response::text("two")).expect("open");
        host.queue.clone().respond(id, Response::text("one")).expect("open");
        assert_eq!((one.read().text(), two.read().text()), ("one", "two"));
    }
    assert_eq!(host.counters().requests_cancelled, 0);
}
