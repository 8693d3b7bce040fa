//! Threads that drive their own shard: several of them, beside other consumers and other engines, and when they fail.

mod common;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Client, Host, StopOnDrop, WAIT_MAX, Watched, builder, colocated, loopback, serve, settled, wait_until};
use ringress::{Mode, Request, RequestQueue, Response, ServerSession, UrlGroup};

/// A co-located engine with one queue, to which everything on one port goes.
struct Parts {
    group: UrlGroup,
    session: ServerSession,
    queue: RequestQueue,
    engine: Watched,
    port: u16,
}

fn parts(shards: u32) -> Parts {
    let engine = Watched::start(builder().shards(shards), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let port = engine.listen(loopback(0)).expect("a free port").port();
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    group.add_url(&format!("http://*:{port}/"), 0).expect("free");
    Parts { group, session, queue, engine, port }
}

fn say_shard(request: Request) {
    let text = request.shard().to_string();
    request.respond(Response::text(text)).expect("open");
}

#[test]
fn a_request_wakes_the_thread_of_its_own_shard_whoever_else_waits_in_a_future() {
    let Parts { queue, engine, port, .. } = &parts(2);
    thread::scope(|scope| {
        let _stop = StopOnDrop(engine);
        let (ready, is_ready) = mpsc::channel();
        for shard in 0..2 {
            let ready = ready.clone();
            scope.spawn(move || {
                let _attached = engine.attach(shard).expect("the shard is free");
                ready.send(()).expect("the test runs");
                ringress::block_on(async {
                    while let Ok(request) = queue.receive_async().await {
                        say_shard(request);
                    }
                });
            });
        }
        (0..2).for_each(|_| is_ready.recv_timeout(WAIT_MAX).expect("attached"));
        // One after the other, so that both threads sleep each time.
        let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(loopback(*port))).collect();
        for _ in 0..10 {
            clients.iter_mut().for_each(|client| assert_eq!(client.ask("/").status, 200));
        }
        drop(clients);
        // It would wait as long for threads that do not notice the end.
        let asked = std::time::Instant::now();
        engine.shutdown(WAIT_MAX).expect("no shard failed");
        assert!(asked.elapsed() < WAIT_MAX, "the threads leave when their shards have ended");
    });
}

#[test]
fn each_thread_receives_the_requests_of_its_own_shard() {
    let Parts { queue, engine, port, .. } = &parts(2);
    thread::scope(|scope| {
        let _stop = StopOnDrop(engine);
        let (ready, is_ready) = mpsc::channel();
        let drivers: Vec<_> = (0..2)
            .map(|shard| {
                let ready = ready.clone();
                scope.spawn(move || {
                    let _attached = engine.attach(shard).expect("the shard is free");
                    ready.send(()).expect("the test runs");
                    let mut served = 0;
                    while let Ok(request) = queue.receive() {
                        assert_eq!(request.shard(), shard);
                        say_shard(request);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        (0..2).for_each(|_| is_ready.recv_timeout(WAIT_MAX).expect("attached"));
        // The kernel deals them out as it likes: as many as it takes for each shard to have some.
        let (mut clients, mut shards, mut asked) = (Vec::new(), HashSet::new(), 0);
        while shards.len() < 2 || clients.len() < 16 {
            assert!(clients.len() < 1000, "all go to one shard");
            let mut client = Client::connect(loopback(*port));
            shards.insert(client.ask("/").text().to_owned());
            clients.push(client);
            asked += 1;
        }
        for _ in 0..20 {
            let shards: HashSet<String> = clients.iter_mut().map(|client| client.ask("/").text().to_owned()).collect();
            assert_eq!(shards.len(), 2, "{shards:?}");
            asked += clients.len();
        }
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        let served: usize = drivers.into_iter().map(|driver| driver.join().expect("ends")).sum();
        assert_eq!(served, asked);
    });
}

#[test]
fn threads_that_drive_nothing_consume_beside_the_driver() {
    let Parts { queue, engine, port, .. } = &parts(1);
    let idle = engine.request_queue("idle").expect("a queue");
    thread::scope(|scope| {
        let _stop = StopOnDrop(engine);
        let helpers: Vec<_> = (0..3).map(|_| serve(queue, say_shard)).collect();
        let driver = scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            // Drives the shard, but never takes a request of it.
            while idle.receive_timeout(Duration::from_secs(60)).is_ok() {}
        });
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(loopback(*port))).collect();
        for _ in 0..100 {
            clients.iter_mut().for_each(|client| client.get("/"));
            clients.iter_mut().for_each(|client| assert_eq!(client.read().text(), "0"));
        }
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        driver.join().expect("ends");
        let served: u64 = helpers.into_iter().map(|helper| helper.join().expect("ends")).sum();
        assert_eq!(served, 400);
    });
}

#[test]
fn a_driving_thread_may_consume_the_queue_of_another_engine() {
    let host = Host::start();
    let other = host.queue.clone();
    let application = move |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            // The other engine has shards of its own: it needs no driving.
            let foreign = other.receive_timeout(WAIT_MAX).expect("open").expect("it comes");
            foreign.respond(Response::text("other")).expect("open");
            request.respond(Response::text("own")).expect("open");
        }
    };
    colocated(application, |_, address| {
        let (mut own, mut foreign) = (Client::connect(address), host.connect());
        for _ in 0..50 {
            own.get("/");
            foreign.get("/");
            assert_eq!((foreign.read().text(), own.read().text()), ("other", "own"));
        }
    });
}

#[test]
fn a_thread_whose_shard_has_ended_awaits_the_queue_of_another_engine() {
    let host = Host::start();
    let Parts { queue, engine, .. } = &parts(1);
    thread::scope(|scope| {
        let (told, news) = mpsc::channel();
        let other = &host.queue;
        let driver = scope.spawn(move || {
            // Not let go of when it ends.
            let _attached = engine.attach(0).expect("the shard is free");
            told.send(()).expect("awaited");
            assert!(ringress::block_on(queue.receive_async()).expect_err("its shard has ended").is_closed());
            told.send(()).expect("awaited");
            let request = ringress::block_on(other.receive_async()).expect("the other engine serves on");
            request.respond(Response::text("other")).expect("open");
        });
        news.recv_timeout(WAIT_MAX).expect("attached");
        scope.spawn(|| engine.shutdown(Duration::ZERO).expect("no shard failed"));
        news.recv_timeout(WAIT_MAX).expect("ended");
        assert_eq!(host.connect().ask("/").text(), "other");
        driver.join().expect("ends");
    });
}

#[test]
fn a_handler_that_panics_costs_its_request_and_nothing_else() {
    let application = |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            let handled = catch_unwind(AssertUnwindSafe(|| {
                request.respond_with(|request| match request.path() {
                    "/panic" => panic!("meant to panic"),
                    path => Response::text(path),
                })
            }));
            if let Ok(answered) = handled {
                answered.expect("open");
            }
        }
    };
    colocated(application, |engine, address| {
        let mut client = Client::connect(address);
        for _ in 0..5 {
            assert_eq!(client.ask("/panic").status, 500);
            assert_eq!(client.ask("/fine").text(), "/fine");
        }
        assert_eq!(settled(engine).requests_abandoned, 5);
    });
}

#[test]
fn a_driver_that_panics_ends_its_shard_and_hangs_nobody() {
    let Parts { group, session: _session, queue, engine, port } = parts(1);
    let (busy, idle) = thread::scope(|scope| {
        let driver = scope.spawn(|| {
            let _attached = engine.attach(0).expect("the shard is free");
            loop {
                let request = queue.receive().expect("open");
                assert_ne!(request.path(), "/panic", "meant to panic");
                say_shard(request);
            }
        });
        let (mut busy, mut idle) = (Client::connect(loopback(port)), Client::connect(loopback(port)));
        assert_eq!((busy.ask("/").status, idle.ask("/").status), (200, 200));
        busy.get("/panic");
        assert!(driver.join().is_err());
        (busy, idle)
    });
    let (mut busy, mut idle) = (busy, idle);
    // Its response may still have gone out; the connection has ended in any case.
    if busy.is_readable_within(Duration::from_secs(1)) {
        let _ = catch_unwind(AssertUnwindSafe(|| assert_eq!(busy.read().status, 500)));
    }
    idle.read_end();
    common::within(WAIT_MAX, "the end", move || {
        drop(group);
        engine.shutdown(Duration::ZERO).expect("an ended shard is no failed one");
        assert!(queue.receive().expect_err("closed").is_closed());
    });
}

#[test]
fn requests_that_outlive_their_shard_are_read_and_dropped_safely() {
    let Parts { group, session: _session, queue, engine, port } = parts(1);
    let (tell, told) = mpsc::channel();
    let driving = thread::spawn({
        let queue = queue.clone();
        move || {
            let attached = engine.attach(0).expect("the shard is free");
            tell.send(()).expect("the test runs");
            let mut held: Vec<Request> = (0..4).map(|_| queue.receive().expect("open")).collect();
            drop(attached);
            assert!(held.iter().all(|request| request.path() == "/held" && request.whole_body() == Some(b"body")));
            assert!(held.remove(0).respond(Response::ok().body(vec![1; 9000])).expect_err("over").is_gone());
            let id = held.remove(0).into_id();
            assert!(queue.respond(id, Response::ok()).expect_err("over").is_gone());
            drop(held.remove(0));
            // What is held outlives it on purpose.
            drop(engine.unwatched());
            held
        }
    });
    told.recv_timeout(WAIT_MAX).expect("attached");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(loopback(port))).collect();
    let ask = "POST /held HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";
    clients.iter_mut().for_each(|client| client.send(ask));
    let held = driving.join().expect("nothing panics");
    drop((group, queue));
    assert_eq!(held[0].path(), "/held");
    drop(held);
    for client in &mut clients {
        client.read_end();
    }
}

#[test]
fn requests_that_came_before_a_thread_attached_are_served_then() {
    let Parts { queue, engine, port, .. } = &parts(1);
    let mut early = Client::connect(loopback(*port));
    early.get("/early");
    thread::scope(|scope| {
        let _stop = StopOnDrop(engine);
        let driver = scope.spawn(|| {
            let _attached = engine.attach(0).expect("the shard is free");
            while let Ok(request) = queue.receive() {
                say_shard(request);
            }
        });
        assert_eq!(early.read().text(), "0");
        wait_until("it is counted", || engine.counters().requests_answered == 1);
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        driver.join().expect("ends");
    });
}

#[test]
fn a_future_that_wakes_itself_does_not_keep_the_shard_from_its_turns() {
    let application = |queue: &RequestQueue| {
        let request = ringress::block_on(async {
            loop {
                if let Some(request) = queue.try_receive().expect("open") {
                    break request;
                }
                let mut yielded = false;
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut yielded, true) {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
            }
        });
        let completion = request.respond_with_completion(Response::text("ok")).expect("open");
        let mut yields = 0_u32;
        // Nothing but the turns of this wait sends the response.
        ringress::block_on(std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            yields += 1;
            assert!(yields < 1_000_000, "the shard is not driven");
            if completion.sent().complete { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }));
        assert!(queue.receive().is_err(), "the engine ends");
    };
    colocated(application, |_, address| assert_eq!(Client::connect(address).ask("/").text(), "ok"));
}
