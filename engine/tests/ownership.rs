//! Who owns a request, and that nobody else can touch it: made-up ids, overlapping batches, answers racing with drops,
//! queues without consumers.

mod common;

use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use common::{Client, Host, WAIT_MAX, Watched, builder, receive, wait_until};
use ringress::{Disconnected, ErrorKind, Mode, QueueOptions, Request, RequestId, RequestQueue, Response};

/// What an id adds for the next generation of its slot, and for the next shard: see [`RequestId`].
const GENERATION: u64 = 1 << 27;
const SHARD: u64 = 1 << 16;

fn answer_path(request: Request) {
    request.respond_with(|request| Response::text(request.path())).expect("open");
}

/// Answers by an id that no open request has, and finds it refused.
#[track_caller]
fn assert_refused(queue: &RequestQueue, id: u64) {
    let Some(id) = RequestId::from_u64(id) else { return };
    assert!(!queue.is_open(id), "{id:?} is nobody's");
    let refused = queue.respond(id, Response::text("for nobody")).expect_err("nobody's");
    assert_eq!(refused.kind(), ErrorKind::Gone, "{id:?}");
}

/// Tries the ids near a known one: other generations of its slot and of its neighbours, and the same on another shard.
#[track_caller]
fn assert_neighbours_refused(queue: &RequestQueue, open: &[u64], near: u64) {
    for slot in 0..8 {
        for generation in 0..8 {
            for id in [near + slot + generation * GENERATION, near.saturating_sub(generation * GENERATION) + slot] {
                if !open.contains(&id) {
                    assert_refused(queue, id);
                }
                assert_refused(queue, id + SHARD);
            }
        }
    }
    let odd = [1, GENERATION, GENERATION - 1, SHARD, u64::MAX];
    odd.into_iter().filter(|id| !open.contains(id)).for_each(|id| assert_refused(queue, id));
}

/// Cancels ids near a known one, of slots where nothing is being sent, and finds them refused.
#[track_caller]
fn assert_neighbours_not_cancelled(queue: &RequestQueue, open: &[u64], near: u64) {
    for id in (0..8).flat_map(|slot| (0..8).map(move |generation| near + slot + generation * GENERATION)) {
        for id in [id, id + SHARD].into_iter().filter(|id| !open.contains(id)) {
            let id = RequestId::from_u64(id).expect("not 0");
            assert!(queue.cancel(id).expect_err("nobody's").is_gone(), "{id:?}");
        }
    }
}

/// Two clients at a time are given different slots, and each its own response.
fn assert_clients_apart(host: &Host) {
    let (mut one, mut other) = (host.connect(), host.connect());
    for _ in 0..8 {
        one.get("/one");
        let first = host.receive();
        other.get("/other");
        let second = host.receive();
        assert_ne!(first.id(), second.id());
        assert_eq!((first.path(), second.path()), ("/one", "/other"));
        answer_path(first);
        answer_path(second);
        assert_eq!((one.read().text(), other.read().text()), ("/one", "/other"));
    }
}

#[test]
fn made_up_ids_of_free_slots_are_gone_and_harm_no_client() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    let id = request.id().to_u64();
    answer_path(request);
    assert_eq!(client.read().text(), "/");
    drop(client);
    host.await_rest();
    assert_refused(&host.queue, id);
    assert_neighbours_refused(&host.queue, &[], id);
    assert_neighbours_not_cancelled(&host.queue, &[], id);
    assert_clients_apart(&host);
    host.await_rest();
    let counters = host.counters();
    assert_eq!((counters.requests_delivered, counters.requests_answered), (17, 17));
}

#[test]
fn made_up_ids_beside_open_requests_are_gone_and_harm_no_client() {
    let host = Host::start();
    let (mut held, mut detached) = (host.connect(), host.connect());
    held.get("/held");
    let request = host.receive();
    detached.get("/detached");
    let id = host.receive().into_id();
    let open = [request.id().to_u64(), id.to_u64()];
    open.iter().for_each(|near| assert_neighbours_refused(&host.queue, &open, *near));
    open.iter().for_each(|near| assert_neighbours_not_cancelled(&host.queue, &open, *near));
    assert!(host.queue.is_open(request.id()) && host.queue.is_open(id));
    answer_path(request);
    host.queue.respond(id, Response::text("by id")).expect("open");
    assert_eq!((held.read().text(), detached.read().text()), ("/held", "by id"));
    drop((held, detached));
    host.await_rest();
    assert_clients_apart(&host);
}

#[test]
fn made_up_ids_of_a_request_that_is_still_arriving_are_gone() {
    let host = Host::start();
    let (mut slow, mut fast) = (host.connect(), host.connect());
    slow.send("POST /slow HTTP/1.1\r\nHost: te");
    for _ in 0..4 {
        fast.get("/fast");
        let request = host.receive();
        let id = request.id().to_u64();
        answer_path(request);
        assert_eq!(fast.read().text(), "/fast");
        assert_neighbours_refused(&host.queue, &[], id & !(GENERATION - 1));
        assert_neighbours_refused(&host.queue, &[], id);
    }
    slow.send("st\r\nContent-Length: 8\r\n\r\nhalfhalf");
    let mut request = host.receive();
    assert_eq!(request.path(), "/slow");
    assert_eq!(&request.body().to_bytes(8).expect("it comes")[..], b"halfhalf");
    answer_path(request);
    assert_eq!(slow.read().text(), "/slow");
    assert_clients_apart(&host);
}

#[test]
fn a_loop_that_replaces_its_batch_by_the_next_loses_no_wakeup() {
    let host = Host::start();
    let queue = host.queue.clone();
    let consumer = thread::spawn(move || {
        let mut served = 0;
        let mut batch = queue.receive_batch(4).expect("open");
        loop {
            served += batch.by_ref().map(answer_path).count();
            // The next batch begins before the last one is dropped.
            batch = match queue.receive_batch(4) {
                Ok(next) => next,
                Err(error) => return (served, error.kind()),
            };
        }
    });
    let (mut one, mut other) = (host.connect(), host.connect());
    for _ in 0..200 {
        one.get("/one");
        other.get("/other");
        assert_eq!((one.read().text(), other.read().text()), ("/one", "/other"));
    }
    drop((one, other));
    drop(host);
    assert_eq!(consumer.join().expect("ends"), (400, ErrorKind::Closed));
}

#[test]
fn answers_after_overlapping_batches_wake_the_shard() {
    let host = Host::start();
    let mut clients: Vec<Client> = (0..3).map(|_| host.connect()).collect();
    for _ in 0..20 {
        clients[0].get("/first");
        let mut first = host.queue.receive_batch(4).expect("open");
        clients[1].get("/second");
        let mut second = host.queue.receive_batch(4).expect("open");
        answer_path(first.next().expect("it began the batch"));
        drop(first);
        answer_path(second.next().expect("it began the batch"));
        drop(second);
        assert_eq!((clients[0].read().text(), clients[1].read().text()), ("/first", "/second"));
        // No batch lives: nothing may be deferred any more.
        clients[2].get("/third");
        answer_path(host.receive());
        assert_eq!(clients[2].read().text(), "/third");
    }
}

#[test]
fn a_batch_that_overlaps_one_of_another_engine_loses_no_wakeup() {
    let (host, other) = (Host::start(), Host::start());
    let (mut here, mut there) = (host.connect(), other.connect());
    for _ in 0..20 {
        here.get("/here");
        let mut outer = host.queue.receive_batch(4).expect("open");
        there.get("/there");
        let mut inner = other.queue.receive_batch(4).expect("open");
        answer_path(outer.next().expect("it began the batch"));
        drop(outer);
        answer_path(inner.next().expect("it began the batch"));
        drop(inner);
        assert_eq!((here.read().text(), there.read().text()), ("/here", "/there"));
        here.get("/again");
        there.get("/again");
        answer_path(host.receive());
        answer_path(other.receive());
        assert_eq!((here.read().text(), there.read().text()), ("/again", "/again"));
    }
}

#[test]
fn the_last_handle_dropped_ends_what_waits_with_500_and_refuses_the_rest_with_503() {
    let Host { group, session, queue, engine, address } = Host::start();
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::connect(address)).collect();
    waiting.iter_mut().for_each(|client| client.get("/waiting"));
    wait_until("all wait in the queue", || queue.len() == 3);
    let clone = queue.clone();
    drop(queue);
    answer_path(receive(&clone));
    drop(clone);
    let mut statuses: Vec<u16> = waiting.iter_mut().map(|client| client.read().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500, 500]);
    let mut late = Client::connect(address);
    assert_eq!((late.ask("/late").status, late.ask("/late").status), (503, 503));
    // The name is free again, and a queue with consumers serves.
    let queue = engine.request_queue_with("test", QueueOptions::default()).expect("the name is free");
    group.bind(&queue).expect("of this engine");
    late.get("/served");
    answer_path(receive(&queue));
    assert_eq!(late.read().text(), "/served");
    drop(session);
}

#[test]
fn requests_racing_with_the_drop_of_the_last_handle_hang_no_client() {
    for _ in 0..50 {
        let Host { group: _group, session: _session, queue, engine: _engine, address } = Host::start();
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
        let begin = Arc::new(Barrier::new(2));
        let dropping = thread::spawn({
            let begin = Arc::clone(&begin);
            move || {
                begin.wait();
                drop(queue);
            }
        });
        begin.wait();
        clients.iter_mut().for_each(|client| client.get("/racing"));
        for client in &mut clients {
            let status = client.read().status;
            assert!(matches!(status, 500 | 503), "{status}");
        }
        dropping.join().expect("ends");
    }
}

#[test]
fn a_held_request_is_safe_to_read_when_engine_and_queue_are_gone() {
    for mode in [Mode::Queue, Mode::Colocated] {
        let (hold, held) = mpsc::channel();
        let engine = Watched::start(builder(), mode);
        let queue = engine.request_queue("test").expect("a queue");
        let address = engine.listen(common::loopback(0)).expect("a free port");
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue).expect("of this engine");
        group.add_url(&format!("http://*:{}/", address.port()), 7).expect("free");
        let mut client = Client::connect(address);
        client.send("POST /held?query HTTP/1.1\r\nHost: test\r\nX-Kept: kept\r\nContent-Length: 4\r\n\r\nbody");
        let driving = thread::spawn(move || {
            let attached = (mode == Mode::Colocated).then(|| engine.attach(0).expect("the shard is free"));
            hold.send(receive(&queue)).expect("the test runs");
            // The request that is held, and its client, outlive it on purpose.
            drop((attached, queue, group, engine.unwatched()));
        });
        let request: Request = held.recv_timeout(WAIT_MAX).expect("it comes");
        driving.join().expect("ends well");
        client.read_end();
        assert_eq!((request.path(), request.query()), ("/held", Some(b"query".as_slice())));
        assert_eq!(request.header("x-kept"), Some(b"kept".as_slice()));
        assert_eq!((request.whole_body(), request.url_context()), (Some(&b"body"[..]), 7));
        assert!(request.respond(Response::ok().body(vec![1; 9000])).expect_err("over").is_gone());
    }
}

#[test]
fn an_answer_from_a_thread_without_a_queue_may_race_with_the_end() {
    for _ in 0..100 {
        let host = Host::start();
        let mut client = host.connect();
        client.get("/");
        let request = host.receive();
        let begin = Arc::new(Barrier::new(2));
        let answering = thread::spawn({
            let begin = Arc::clone(&begin);
            move || {
                begin.wait();
                // No handle of the queue lives here: after the response, nothing keeps its shard.
                request.respond(Response::text("raced")).map_err(|error| error.kind())
            }
        });
        begin.wait();
        // All of it goes at once, or the response would not be the last to use the shard.
        host.drop_unwatched();
        let answered = answering.join().expect("nothing panics");
        assert!(matches!(answered, Ok(()) | Err(ErrorKind::Gone)), "{answered:?}");
    }
}

#[test]
fn an_answer_that_fails_while_the_handle_is_dropped_leaves_500() {
    let host = Host::start();
    let mut client = host.connect();
    let too_large = vec![b'x'; 300_000];
    thread::scope(|scope| {
        let (hand_over, handed) = mpsc::channel::<(Request, Arc<Barrier>)>();
        let dropping = scope.spawn(move || {
            for (request, begin) in handed {
                begin.wait();
                drop(request);
            }
        });
        for _ in 0..400 {
            client.get("/");
            let request = host.receive();
            let (id, begin) = (request.id(), Arc::new(Barrier::new(2)));
            hand_over.send((request, Arc::clone(&begin))).expect("it takes every request");
            begin.wait();
            let failed = host.queue.respond(id, Response::ok().header("X-Large", &too_large)).expect_err("too large");
            assert!(matches!(failed.kind(), ErrorKind::TooLarge | ErrorKind::Gone), "{failed:?}");
            assert_eq!(client.read().status, 500);
            assert!(!host.queue.is_open(id));
        }
        drop(hand_over);
        dropping.join().expect("ends");
    });
    drop(client);
    host.await_rest();
    assert_eq!(host.settled().requests_abandoned, 400);
}

#[test]
fn every_call_after_a_disconnect_is_gone() {
    let host = Host::start();
    for leaves in ["resets", "is cancelled", "is answered and goes"] {
        let mut client = host.connect();
        client.get("/");
        let request = host.receive();
        let id = request.id();
        let disconnect = request.on_disconnect();
        match leaves {
            "resets" => client.reset(),
            "is cancelled" => host.queue.cancel(id).expect("open"),
            _ => {
                host.queue.respond(id, Response::text("once")).expect("open");
                assert_eq!(client.read().text(), "once");
                drop(client);
            }
        }
        disconnect.wait();
        let kind = |result: ringress::Result<()>| result.expect_err(leaves).kind();
        assert!(!host.queue.is_open(id), "a client that {leaves}");
        assert_eq!(kind(host.queue.respond(id, Response::text("twice"))), ErrorKind::Gone);
        assert_eq!(kind(host.queue.cancel(id)), ErrorKind::Gone);
        assert_eq!(kind(request.send_informational(103, &[])), ErrorKind::Gone);
        assert_eq!(request.on_disconnect().wait(), Disconnected::Gone);
        assert_eq!(request.path(), "/", "it can still be read");
        match leaves {
            "resets" => assert_eq!(kind(request.respond(Response::text("twice"))), ErrorKind::Gone),
            "is cancelled" => {
                assert_eq!(kind(request.respond_with(|request| Response::text(request.path()))), ErrorKind::Gone);
            }
            _ => assert_eq!(kind(request.cancel()), ErrorKind::Gone),
        }
    }
    host.await_rest();
    assert_eq!(host.settled().requests_answered, 1);
}
