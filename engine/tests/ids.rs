//! An id is good through the queue that its request came from, and through no other one: of another engine, or of the
//! same. When that queue ends, what is held by ids alone ends with it.

mod common;

use common::{Client, Host, WAIT_MAX, Watched, builder, loopback, receive, settled, within};
use ringress::{ConnectionId, Disconnected, ErrorKind, Mode, QueueOptions, RequestId, RequestQueue, Response};

/// Tries everything that takes an id, and finds it refused.
#[track_caller]
fn assert_gone(queue: &RequestQueue, id: RequestId) {
    assert!(!queue.is_open(id), "{id:?} is not this queue's");
    assert!(queue.respond(id, Response::text("a stranger's")).expect_err("not this queue's").is_gone());
    assert!(queue.start(id, Response::ok()).expect_err("not this queue's").is_gone());
    assert!(queue.cancel(id).expect_err("not this queue's").is_gone());
}

/// An engine with a request that is held by its id, and the connection that it came on.
fn held(host: &Host) -> (Client, RequestId, ConnectionId) {
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
        assert!(hosts[0].queue.on_disconnect(*connection).reason().is_none(), "its own engine knows it");
    }
    for (host, mut client, id) in all.into_iter().flat_map(|[a, b]| [(&hosts[0], a.0, a.1), (&hosts[1], b.0, b.1)]) {
        host.queue.respond(id, Response::text("its own")).expect("open");
        assert_eq!(client.read().text(), "its own");
    }
    assert_eq!((hosts[0].settled().requests_cancelled, hosts[1].settled().requests_cancelled), (0, 0));
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
        let mut two = Client::connect(address);
        two.get("/");
        let request = receive(&other);
        assert_gone(&host.queue, request.id());
        assert_gone(&other, id);
        other.respond(request.into_id(), Response::text("two")).expect("open");
        host.queue.clone().respond(id, Response::text("one")).expect("open");
        assert_eq!((one.read().text(), two.read().text()), ("one", "two"));
    }
    assert_eq!(host.settled().requests_cancelled, 0);
}

#[test]
fn a_queue_that_ends_takes_with_it_what_is_held_by_id() {
    let host = Host::start();
    let mut clients: Vec<Client> = (0..4).map(|_| host.connect()).collect();
    let mut requests = Vec::new();
    for client in &mut clients {
        client.get("/");
        requests.push(host.receive());
    }
    let Host { group, session, queue, engine, .. } = host;
    // Clients that pipeline have others behind it, and one is held by its handle for longer than by its queue.
    clients[0].get("/behind");
    let [one, two, three, four] = requests.try_into().expect("four");
    let _ = one.into_id();
    let clone = queue.clone();
    let answered = two.into_id();
    drop(queue);
    clone.respond(answered, Response::text("in time")).expect("a handle of the queue is left");
    drop(clone);
    assert_eq!((clients[0].read().status, clients[1].read().text()), (500, "in time"));
    three.respond(Response::text("by its handle")).expect("the handle is good");
    let _ = four.into_id();
    assert_eq!((clients[2].read().text(), clients[3].read().status), ("by its handle", 500));
    assert!(matches!(clients[0].read().status, 500 | 503));
    assert!(settled(&engine).requests_abandoned >= 2);
    drop((clients, group, session));
}

#[test]
fn a_receiver_of_a_shard_that_has_ended_is_told_so_and_so_is_who_would_attach_it() {
    let engine = Watched::start(builder().shards(2), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    within(WAIT_MAX, "a receiver of a shard that has ended", move || {
        let waiting = std::thread::scope(|scope| {
            drop(engine.attach(0).expect("nobody has it"));
            let ended = engine.attach(0).expect_err("it has ended");
            assert_eq!(ended.kind(), ErrorKind::Closed);
            assert!(ended.to_string().contains("shard 0 has ended"), "{ended}");
            let attached = engine.attach(1).expect("the other one can still be had");
            let other = scope.spawn(|| engine.attach(1).expect_err("this thread has it").to_string());
            assert!(other.join().expect("no panic").contains("attached already"));
            assert!(engine.attach(2).is_err());
            let waiting = scope.spawn(|| queue.receive());
            drop(attached);
            waiting.join().expect("no panic")
        });
        assert!(waiting.expect_err("the last shard has ended").is_closed());
        assert!(queue.try_receive().expect_err("the last shard has ended").is_closed());
        let late = engine.request_queue_with("late", QueueOptions::default());
        assert!(late.expect_err("nobody would fill it").is_closed());
    });
}
