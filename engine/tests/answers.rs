//! Answering: from any thread, by handle and by id, once; and what becomes of mistakes, panics and clients that left.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use common::{Client, Host, await_rest, builder, colocated, receive, serve, settled, wait_until};
use ringress::{ErrorKind, QueueOptions, Request, RequestId, RequestQueue, Response};

/// Resets a connection and waits until the engine has noticed.
fn leave(client: Client, host: &Host, request: RequestId) {
    client.reset();
    wait_until("the engine knows that the client is gone", || !host.queue.is_open(request));
}

/// The id in another slot, generation or shard: `shard 8 | generation 32 | slot 24`.
fn made_up(id: RequestId) -> Vec<RequestId> {
    let real = id.to_u64();
    let other_shards = (1..=255_u64).map(|shard| real ^ shard << 16);
    let other_slots = [real ^ 1, real | 0x7ff_ffff];
    let other_generations = [real ^ 1 << 27, real + (1 << 27), real - (1 << 27), real | !0x7ff_ffff];
    let others = [1, 2, u64::MAX, u64::MAX - 1].into_iter().chain(other_slots).chain(other_generations);
    let ids = other_shards.chain(others).filter(|made_up| *made_up != real);
    ids.filter_map(RequestId::from_u64).collect()
}

#[test]
fn answers_come_from_other_threads_by_handle_and_by_id() {
    let host = Host::start();
    let mut client = host.connect();
    for round in 0..50 {
        client.get("/by-handle");
        let request = host.receive();
        thread::spawn(move || request.respond(Response::text(format!("handle {round}"))))
            .join()
            .expect("ends")
            .expect("open");
        assert_eq!(client.read().text(), format!("handle {round}"));

        client.get("/by-id");
        let (id, queue) = (host.receive().into_id(), host.queue.clone());
        thread::spawn(move || queue.respond(id, Response::text(format!("id {round}"))))
            .join()
            .expect("ends")
            .expect("open");
        assert_eq!(client.read().text(), format!("id {round}"));
    }
    drop(client);
    host.await_rest();
    assert_eq!(host.settled().requests_answered, 100);
}

#[test]
fn colocated_requests_are_answered_on_their_thread_and_on_others() {
    let (hand_over, handed) = mpsc::channel::<(Request, RequestQueue)>();
    let helper = thread::spawn(move || {
        for (number, (request, queue)) in handed.into_iter().enumerate() {
            let answered = match number % 2 {
                0 => request.respond(Response::text("other thread, handle")),
                _ => queue.respond(request.into_id(), Response::text("other thread, id")),
            };
            answered.expect("open");
        }
    });
    let application = move |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            match request.path() {
                "/handle" => request.respond(Response::text("own thread, handle")).expect("open"),
                "/id" => queue.respond(request.into_id(), Response::text("own thread, id")).expect("open"),
                _ => hand_over.send((request, queue.clone())).expect("the helper runs"),
            }
        }
    };
    colocated(application, |engine, address| {
        let mut client = Client::connect(address);
        for _ in 0..20 {
            assert_eq!(client.ask("/handle").text(), "own thread, handle");
            assert_eq!(client.ask("/id").text(), "own thread, id");
            assert_eq!(client.ask("/").text(), "other thread, handle");
            assert_eq!(client.ask("/").text(), "other thread, id");
        }
        drop(client);
        await_rest(engine);
        assert_eq!(settled(engine).requests_answered, 80);
    });
    helper.join().expect("the helper ends");
}

#[test]
fn a_second_answer_is_gone_whichever_way_it_comes() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    let id = request.id();
    assert!(host.queue.is_open(id));
    host.queue.respond(id, Response::text("first")).expect("open");
    assert!(host.queue.respond(id, Response::text("second")).expect_err("answered").is_gone());
    assert!(!host.queue.is_open(id));
    assert!(request.respond(Response::text("third")).expect_err("answered").is_gone());
    assert_eq!(client.read().text(), "first");

    client.get("/");
    let request = host.receive();
    let id = request.id();
    request.respond(Response::text("first")).expect("open");
    assert!(host.queue.respond(id, Response::text("second")).expect_err("answered").is_gone());
    assert_eq!(client.read().text(), "first");
    // No stray answer came between.
    client.get("/");
    host.receive().respond(Response::text("last")).expect("open");
    assert_eq!(client.read().text(), "last");
    assert_eq!(host.settled().requests_answered, 3);
}

#[test]
fn an_id_is_gone_after_its_client_left() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    let id = request.id();
    leave(client, &host, id);
    assert!(host.queue.respond(id, Response::text("late")).expect_err("nobody is there").is_gone());
    assert_eq!(request.path(), "/", "a handle still reads");
    assert!(request.respond(Response::text("late")).expect_err("nobody is there").is_gone());
    host.await_rest();
    assert_eq!((host.settled().requests_disconnected, host.settled().requests_answered), (1, 0));

    let mut client = host.connect();
    client.get("/");
    let id = host.receive().into_id();
    leave(client, &host, id);
    assert!(host.queue.respond(id, Response::text("late")).expect_err("nobody is there").is_gone());
    host.await_rest();
    assert_eq!(host.settled().requests_abandoned, 0);
}

#[test]
fn an_id_is_gone_when_its_slot_serves_another_request() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let first = host.receive().into_id();
    host.queue.respond(first, Response::text("one")).expect("open");
    assert_eq!(client.read().text(), "one");
    for _ in 0..100 {
        client.get("/");
        let request = host.receive();
        assert_ne!(request.id(), first);
        assert!(host.queue.respond(first, Response::text("stale")).expect_err("over").is_gone());
        request.respond(Response::text("fresh")).expect("open");
        assert_eq!(client.read().text(), "fresh");
    }
}

#[test]
fn made_up_ids_are_gone_and_harm_nobody() {
    let host = Host::start();
    for id in [1, u64::MAX, 1 << 27, 1 << 63] {
        let id = RequestId::from_u64(id).expect("not zero");
        assert!(host.queue.respond(id, Response::ok()).expect_err("nothing was ever delivered").is_gone());
        assert!(!host.queue.is_open(id));
    }
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    for id in made_up(request.id()) {
        assert!(host.queue.respond(id, Response::ok()).expect_err("made up").is_gone(), "{id:?}");
        assert!(!host.queue.is_open(id), "{id:?}");
    }
    request.respond(Response::text("right")).expect("open");
    assert_eq!(client.read().text(), "right");
    assert_eq!(RequestId::from_u64(0), None);
}

#[test]
fn ids_of_other_shards_are_told_apart() {
    let host = Host::start_with(builder().shards(2), QueueOptions::default());
    let mut clients: Vec<Client> = (0..16).map(|_| host.connect()).collect();
    let mut requests = Vec::new();
    for client in &mut clients {
        client.get("/");
        requests.push(host.receive());
    }
    let shards: Vec<usize> = requests.iter().map(Request::shard).collect();
    assert!(shards.contains(&0) && shards.contains(&1), "the kernel spreads connections: {shards:?}");
    for request in requests {
        let other = RequestId::from_u64(request.id().to_u64() ^ 1 << 16).expect("not zero");
        // The other shard may have a request under the same slot and generation: then it is that one's id.
        if !host.queue.is_open(other) {
            assert!(host.queue.respond(other, Response::ok()).expect_err("not there").is_gone());
        }
        let text = format!("{}", request.shard());
        host.queue.respond(request.into_id(), Response::text(text)).expect("open");
    }
    for (client, shard) in clients.iter_mut().zip(shards) {
        assert_eq!(client.read().text(), shard.to_string());
    }
}

#[test]
fn a_handle_reads_on_unchanged_after_an_answer_by_id() {
    let host = Host::start_with(builder().receive_buffers(16, 1024).requests_max(64), QueueOptions::default());
    let mut client = host.connect();
    client.send("POST /caf%C3%A9?q=1 HTTP/1.1\r\nHost: test\r\nX-Mark: still here\r\nContent-Length: 4\r\n\r\nbody");
    let kept = host.receive();
    host.queue.respond(kept.id(), Response::text("answered")).expect("open");
    assert_eq!(client.read().text(), "answered");
    let others = serve(&host.queue, |request| request.respond(Response::text("other")).expect("open"));
    let mut noise: Vec<Client> = (0..4).map(|_| host.connect()).collect();
    for round in 0..500 {
        for client in noise.iter_mut().chain([&mut client]) {
            client.send(format!("GET /{round:0200} HTTP/1.1\r\nHost: noise\r\nX-Mark: overwritten\r\n\r\n"));
        }
        for client in noise.iter_mut().chain([&mut client]) {
            assert_eq!(client.read().text(), "other");
        }
        assert_eq!((kept.path(), kept.query(), kept.host()), ("/café", Some(&b"q=1"[..]), &b"test"[..]));
        assert_eq!((kept.header("x-mark"), kept.whole_body()), (Some(&b"still here"[..]), Some(&b"body"[..])));
    }
    wait_until("its head keeps no receive buffer", || host.counters().buffers_in_use == 0);
    drop(client);
    drop(noise);
    let levels = || (host.counters().requests_open, host.counters().requests_departed);
    wait_until("all but the kept one are back, which is open no more", || levels() == (0, 1));
    assert_eq!((kept.path(), kept.whole_body()), ("/café", Some(&b"body"[..])), "also after the client left");
    drop(kept);
    host.await_rest();
    assert_eq!(host.settled().requests_abandoned, 0, "it was answered");
    drop(host);
    others.join().expect("ends");
}

#[test]
fn a_dropped_request_is_answered_500_and_counted() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    drop(host.receive());
    let reply = client.read();
    assert_eq!((reply.status, reply.closes()), (500, false), "{}", reply.head);
    assert!(reply.field("date").is_some() && !reply.body.is_empty());
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    drop(host.receive());
    wait_until("both are counted", || host.counters().requests_abandoned == 2);
    drop(client);
    host.await_rest();
    assert_eq!(host.settled().requests_answered, 0);
}

#[test]
fn colocated_a_dropped_request_is_answered_500() {
    let application = |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            if request.path() == "/answer" {
                request.respond(Response::text("answered")).expect("open");
            }
        }
    };
    colocated(application, |engine, address| {
        let mut client = Client::connect(address);
        assert_eq!(client.ask("/drop").status, 500);
        assert_eq!(client.ask("/answer").text(), "answered");
        assert_eq!(client.ask("/drop").status, 500);
        drop(client);
        await_rest(engine);
        assert_eq!(settled(engine).requests_abandoned, 2);
    });
}

#[test]
fn a_panicking_consumer_costs_its_request_and_nothing_else() {
    let host = Host::start();
    let mut client = host.connect();
    let queue = host.queue.clone();
    client.get("/");
    let panicked = thread::spawn(move || {
        let request = receive(&queue);
        assert_eq!(request.path(), "/never", "meant to panic");
    });
    assert!(panicked.join().is_err());
    assert_eq!(client.read().status, 500);

    client.get("/");
    let request = host.receive();
    let making = catch_unwind(AssertUnwindSafe(|| request.respond_with(|_| panic!("meant to panic"))));
    assert!(making.is_err());
    assert_eq!(client.read().status, 500);

    client.get("/");
    let batch = catch_unwind(AssertUnwindSafe(|| {
        for request in host.queue.receive_batch(8).expect("open") {
            assert_eq!(request.path(), "/never", "meant to panic");
        }
    }));
    assert!(batch.is_err());
    assert_eq!(client.read().status, 500);
    assert_eq!(host.settled().requests_abandoned, 3);

    client.get("/");
    host.receive().respond(Response::text("alive")).expect("open");
    assert_eq!(client.read().text(), "alive");
    drop(client);
    host.await_rest();
}

/// Every mistake an application can make in a response, with its kind.
fn mistakes(large: &str) -> Vec<(Response<'_>, ErrorKind)> {
    let invalid = [
        Response::new(0),
        Response::new(100),
        Response::new(199),
        Response::new(1000),
        Response::ok().reason("fine\r\nX-Evil: 1"),
        Response::ok().header("", "empty"),
        Response::ok().header("a b", "space"),
        Response::ok().header("a:", "colon"),
        Response::ok().header("a\r\nX-Evil", "1"),
        Response::ok().header("x-a", "1\r\nX-Evil: 1"),
        Response::ok().header("x-a", "1\rX"),
        Response::ok().header("x-a", "1\nX"),
        Response::ok().header("x-a", "1\0X"),
        Response::ok().content_type("text/plain\r\n\r\n"),
        Response::ok().header("content-length", "1"),
        Response::ok().header("Transfer-Encoding", "chunked"),
        Response::ok().header("Connection", "close"),
        Response::ok().header("Date", "today"),
        Response::new(204).body("x"),
        Response::new(204).content_length(1),
        Response::new(304).body("x"),
        Response::ok().body("four").content_length(3),
        Response::ok().body("four").content_length(5),
        Response::ok().content_length(5),
    ];
    let mut all: Vec<_> = invalid.into_iter().map(|response| (response, ErrorKind::Invalid)).collect();
    all.push((Response::ok().header("x-large", large), ErrorKind::TooLarge));
    all
}

#[test]
fn mistakes_by_handle_are_typed_errors_and_the_client_gets_500() {
    let host = Host::start();
    let mut client = host.connect();
    let large = "v".repeat(300_000);
    let mut abandoned = 0;
    for (response, kind) in mistakes(&large) {
        let told = format!("{response:.200?}");
        client.get("/");
        let error = host.receive().respond(response).expect_err(&told);
        assert_eq!(error.kind(), kind, "{told}");
        assert!(!error.to_string().is_empty());
        // It has the request.
        drop(error);
        let reply = client.read();
        assert_eq!(reply.status, 500, "{told}: {}", reply.head);
        assert!(!reply.head.contains("Evil"), "{}", reply.head);
        abandoned += 1;
    }
    assert_eq!(host.settled().requests_abandoned, abandoned);
    drop(client);
    host.await_rest();
}

#[test]
fn mistakes_by_id_leave_the_request_open_for_a_right_answer() {
    let host = Host::start();
    let mut client = host.connect();
    let large = "v".repeat(300_000);
    for (number, (response, kind)) in mistakes(&large).into_iter().enumerate() {
        let told = format!("{response:.200?}");
        client.get("/");
        let request = host.receive();
        let id = request.id();
        assert_eq!(host.queue.respond(id, response.clone()).expect_err(&told).kind(), kind, "{told}");
        assert!(host.queue.is_open(id), "{told}");
        // With and without the handle, by handle and by id.
        if number % 2 == 0 {
            let id = request.into_id();
            assert_eq!(host.queue.respond(id, response).expect_err(&told).kind(), kind, "{told}");
            host.queue.respond(id, Response::text("right")).expect("still open");
        } else {
            request.respond(Response::text("right")).expect("still open");
        }
        assert_eq!(client.read().text(), "right", "{told}");
    }
    assert_eq!(host.settled().requests_abandoned, 0);
    drop(client);
    host.await_rest();
}

#[test]
fn a_mistake_by_id_after_which_the_handle_drops_is_answered_500() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    assert!(host.queue.respond(request.id(), Response::new(100)).is_err());
    drop(request);
    assert_eq!(client.read().status, 500);
    drop(client);
    host.await_rest();
}

#[test]
fn everything_comes_back_from_clients_that_left_whatever_state_their_requests_are_in() {
    let host = Host::start();
    let mut queued = host.connect();
    queued.send("GET /queued HTTP/1.1\r\nHost: test\r\n\r\n".repeat(8));
    wait_until("they wait in the queue", || host.queue.len() == 8);
    queued.reset();
    wait_until("their client is gone", || host.counters().connections_open == 0);
    assert!(host.queue.try_receive().expect("open").is_none(), "requests of a client that left are passed over");
    host.await_rest();
    assert_eq!(host.settled().requests_disconnected, 8);

    let mut pipelined = host.connect();
    pipelined.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n".repeat(4));
    let mut held: Vec<Request> = (0..4).map(|_| host.receive()).collect();
    // One answered behind one that is not, one given up to its id, one dropped, one held.
    held.remove(1).respond(Response::text("second")).expect("open");
    let id = held.remove(1).into_id();
    drop(held.remove(1));
    let last = held.remove(0);
    pipelined.reset();
    wait_until("their client is gone", || host.counters().connections_open == 0);
    assert!(host.queue.respond(id, Response::ok()).expect_err("over").is_gone());
    assert_eq!(last.path(), "/held");
    assert!(last.respond(Response::ok()).expect_err("over").is_gone());
    host.await_rest();
}

#[test]
fn a_large_body_is_sent_whole_from_every_kind_of_memory() {
    let host = Host::start();
    let consumer = serve(&host.queue, |request| {
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let answered = match request.path() {
            "/vec" => request.respond(Response::ok().body(body)),
            "/borrowed" => request.respond(Response::ok().body(&body[..])),
            _ => request.respond(Response::ok().body(bytes::Bytes::from(body))),
        };
        answered.expect("open");
    });
    let mut client = host.connect();
    let expected: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for path in ["/vec", "/borrowed", "/bytes", "/vec"] {
        assert!(client.ask(path).body == expected, "{path}");
    }
    drop(client);
    host.await_rest();
    drop(host);
    consumer.join().expect("ends");
}
