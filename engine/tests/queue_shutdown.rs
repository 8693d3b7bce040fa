//! A request queue is shut down: who waits to receive is told so, whose request waits there gets 503, and what was
//! received is answered or, at the deadline, cancelled.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{
    Client, End, Host, Reply, WAIT_MAX, builder, by_two_shards, colocated, receive, serve, settled, wait_until, within,
};
use ringress::{Mode, QueueOptions, Request, Response, Verbosity, block_on};

fn assert_gone(reply: &Reply) {
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")), "{}", reply.head);
}

fn answer(request: Request) {
    request.respond_with(|request| Response::text(request.path())).expect("open");
}

/// A client whose request waits in the queue.
fn waiting(host: &Host, path: &str) -> Client {
    let before = host.queue.len();
    let mut client = host.connect();
    client.get(path);
    wait_until("it waits", || host.queue.len() == before + 1);
    client
}

#[test]
fn every_form_of_receiving_ends_at_once() {
    let host = Host::start();
    let (begun, are_begun) = mpsc::channel();
    let receivers: Vec<_> = (0..3)
        .map(|form| {
            let (queue, begun) = (host.queue.clone(), begun.clone());
            thread::spawn(move || {
                begun.send(()).expect("the test waits");
                let received = match form {
                    0 => queue.receive().map(drop),
                    1 => queue.receive_timeout(Duration::MAX).map(drop),
                    _ => block_on(queue.receive_async()).map(drop),
                };
                received.expect_err("nothing comes")
            })
        })
        .collect();
    (0..3).for_each(|_| are_begun.recv_timeout(WAIT_MAX).expect("it begins"));
    let queue = host.queue.clone();
    assert_eq!(within(WAIT_MAX, "the shutdown", move || queue.shutdown(Duration::MAX)).expect("from outside"), 0);
    for receiver in receivers {
        assert!(receiver.join().expect("it ends").is_closed());
    }
    assert!(host.queue.is_closed() && host.queue.try_receive().expect_err("over").is_closed());
    assert!(host.queue.receive_batch(8).expect_err("over").is_closed());
}

#[test]
fn what_waits_is_refused_and_what_was_received_is_still_answered() {
    let host = Host::start();
    let mut served = waiting(&host, "/held");
    let held = host.receive();
    let mut by_id = waiting(&host, "/by-id");
    let id = host.receive().into_id();
    let mut refused = waiting(&host, "/waits");
    // Behind one that is held, on its own connection.
    served.get("/behind");
    wait_until("it waits, too", || host.queue.len() == 2);
    let queue = host.queue.clone();
    let shutdown = thread::spawn(move || queue.shutdown(Duration::MAX));
    assert_gone(&refused.read());
    assert_gone(&refused.ask("/later"));
    assert_gone(&host.connect().ask("/another"));
    assert!(!shutdown.is_finished(), "two are held");
    answer(held);
    host.queue.respond(id, Response::text("by id")).expect("it can still be answered");
    assert_eq!(served.read().text(), "/held");
    assert_gone(&served.read());
    assert_eq!(by_id.read().text(), "by id");
    let shutdown = within(WAIT_MAX, "the shutdown", move || shutdown.join().expect("it ends"));
    assert_eq!(shutdown.expect("from outside"), 0, "none was cancelled");
    let counters = host.settled();
    assert_eq!((counters.requests_answered, counters.requests_abandoned), (2, 0));
    assert_eq!(counters.without_consumer, 2, "those that came later");
    let of_queue = host.queue.counters();
    assert_eq!((of_queue.delivered, of_queue.answered, of_queue.open()), (4, 2, 0), "{of_queue:?}");
}

#[test]
fn what_is_unanswered_at_the_deadline_is_cancelled_and_counted() {
    let host = Host::start();
    let mut clients = [waiting(&host, "/a"), waiting(&host, "/b")];
    let held = host.receive();
    let id = host.receive().into_id();
    let mut answered = waiting(&host, "/c");
    answer(host.receive());
    assert_eq!(answered.read().text(), "/c");
    assert_eq!(host.queue.shutdown(Duration::ZERO).expect("from outside"), 2);
    for client in &mut clients {
        assert_eq!(client.read_end(), End::Reset);
    }
    assert!(held.respond(Response::text("late")).expect_err("it is over").is_gone());
    assert!(host.queue.respond(id, Response::text("late")).expect_err("it is over").is_gone());
    let counters = host.settled();
    assert_eq!((counters.requests_cancelled, counters.requests_answered), (2, 1));
    assert_eq!(host.queue.shutdown(Duration::MAX).expect("again"), 0, "nothing is left to wait for");
}

#[test]
fn its_groups_are_bound_elsewhere_and_its_name_is_free() {
    let host = Host::start();
    let mut held = waiting(&host, "/old");
    let request = host.receive();
    let queue = host.queue.clone();
    let shutdown = thread::spawn(move || queue.shutdown(Duration::MAX));
    wait_until("it is closed", || host.queue.is_closed());
    let next = host.engine.request_queue("test").expect("the name is free");
    host.group.bind(&next).expect("of one engine");
    let consumer = serve(&next, answer);
    assert_eq!(host.connect().ask("/new").text(), "/new");
    answer(request);
    assert_eq!(held.read().text(), "/old");
    assert_eq!(shutdown.join().expect("it ends").expect("from outside"), 0);
    assert_eq!(next.shutdown(Duration::MAX).expect("from outside"), 0);
    assert_eq!(consumer.join().expect("it ends"), 1);
}

#[test]
fn a_queue_that_says_nothing_resets_those_who_wait() {
    let host = Host::start_with(builder(), QueueOptions::default().verbosity(Verbosity::Reset));
    let mut client = waiting(&host, "/");
    assert_eq!(host.queue.shutdown(Duration::MAX).expect("from outside"), 0);
    assert_eq!(client.read_end(), End::Reset);
    assert_eq!(settled(&host.engine).requests_abandoned, 0);
}

#[test]
fn a_thread_that_drives_a_shard_drives_it_meanwhile() {
    let (give, given) = mpsc::channel();
    colocated(
        |queue| {
            give.send(receive(queue)).expect("the test waits");
            assert_eq!(queue.shutdown(WAIT_MAX).expect("not in a turn"), 0);
        },
        |_, address| {
            let (mut first, mut second) = (Client::connect(address), Client::connect(address));
            first.get("/first");
            let held: Request = given.recv_timeout(WAIT_MAX).expect("it is received");
            // The shard goes on only as the shutdown drives it.
            assert_gone(&second.ask("/second"));
            answer(held);
            assert_eq!(first.read().text(), "/first");
        },
    );
}

#[test]
fn a_thread_that_drives_a_shard_and_receives_is_told_too() {
    let (give, given) = mpsc::channel();
    colocated(
        |queue| {
            give.send(queue.clone()).expect("the test waits");
            assert!(queue.receive().expect_err("it is shut down").is_closed());
            assert!(queue.receive_timeout(WAIT_MAX).expect_err("it is shut down").is_closed());
            assert!(block_on(queue.receive_async()).expect_err("it is shut down").is_closed());
        },
        |_, _| {
            let queue: ringress::RequestQueue = given.recv_timeout(WAIT_MAX).expect("it receives");
            assert_eq!(queue.shutdown(WAIT_MAX).expect("from outside"), 0);
        },
    );
}

#[test]
fn what_waits_is_refused_also_without_a_deadline() {
    for _ in 0..20 {
        let host = Host::start();
        let mut held = waiting(&host, "/held");
        let request = host.receive();
        let mut refused: Vec<Client> = (0..3).map(|number| waiting(&host, &format!("/{number}"))).collect();
        assert_eq!(host.queue.shutdown(Duration::ZERO).expect("from outside"), 1, "the one that was received");
        refused.iter_mut().for_each(|client| assert_gone(&client.read()));
        assert_eq!(held.read_end(), End::Reset);
        drop(request);
        assert_eq!(host.settled().requests_cancelled, 1);
    }
}

#[test]
fn under_load_every_request_is_answered_or_refused() {
    for mode in [Mode::Queue, Mode::Colocated] {
        let answer = |request: &Request| request.path().to_owned();
        by_two_shards((builder(), mode), answer, |engine, group| {
            let address = engine.listen(common::loopback(0)).expect("a free port");
            common::add(group, address.port());
            let extra = engine.request_queue("extra").expect("another queue");
            let session = engine.server_session();
            let of_extra = session.url_group();
            of_extra.bind(&extra).expect("of one engine");
            of_extra.add_url(&format!("http://*:{}/extra/", address.port()), 0).expect("free");
            // Taken by nobody: they wait.
            let mut clients: Vec<Client> = (0..32).map(|_| Client::connect(address)).collect();
            for client in &mut clients {
                client.send("GET /extra/1 HTTP/1.1\r\nHost: t\r\n\r\nGET /first HTTP/1.1\r\nHost: t\r\n\r\n");
            }
            wait_until("all wait", || extra.len() == 32);
            assert_eq!(extra.shutdown(WAIT_MAX).expect("from outside"), 0);
            for client in &mut clients {
                assert_gone(&client.read());
                assert_eq!(client.read().text(), "/first");
            }
        });
    }
}
