//! The control plane waits for nobody: neither for shards that are busy or that nobody drives, nor, under its lock, for
//! other processes; and what is over leaves its place to what comes.

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::ports::free_port;
use common::{Client, Host, StopOnDrop, WAIT_MAX, Watched, builder, loopback, receive, serve, wait_until};
use ringress::{Engine, ErrorKind, Mode, QueueOptions, Request, RequestId, Response};

/// For how long at least an address that is taken is asked for again.
const HOLDER_WAIT: Duration = Duration::from_millis(750);

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, WAIT_MAX).is_err()
}

fn answer_path(request: Request) {
    request.respond_with(|request| Response::text(request.path())).expect("open");
}

#[test]
fn a_url_is_added_again_at_once_on_the_thread_that_drives_the_shard() {
    let port = free_port();
    let application = |queue: &ringress::RequestQueue| {
        while let Ok(request) = queue.receive() {
            answer_path(request);
        }
    };
    // The change is made by the handler itself, between two turns of its shard.
    let engine = Watched::start(builder(), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    thread::scope(|scope| {
        let engine = &engine;
        let _stop = StopOnDrop(engine);
        let (ready, added) = mpsc::channel();
        let driver = scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            let url = format!("http://*:{port}/");
            for context in 0..100 {
                group.add_url(&url, context).expect("nobody else has the port");
                assert!(queue.try_receive().expect("open").is_none());
                group.remove_url(&url).expect("registered");
                // The shard has not had a turn since.
            }
            group.add_url(&url, 100).expect("nobody else has the port");
            ready.send(()).expect("the test waits");
            let first = receive(&queue);
            assert_eq!(first.url_context(), 100);
            group.remove_url(&url).expect("registered");
            group.add_url(&url, 101).expect("nobody else has the port");
            answer_path(first);
            application(&queue);
        });
        added.recv_timeout(WAIT_MAX).expect("it is added");
        let mut client = Client::connect(loopback(port));
        assert_eq!(client.ask("/first").text(), "/first");
        let mut other = Client::connect(loopback(port));
        assert_eq!(other.ask("/second").text(), "/second", "the port is open again");
        assert_eq!(client.ask("/third").text(), "/third", "a connection of before goes on");
        drop((client, other));
        wait_until("all is over", || engine.counters().connections_open == 0);
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        driver.join().expect("the application ends well");
    });
}

#[test]
fn a_url_is_added_again_at_once_while_the_engine_drives_its_shards() {
    let engine = Watched::start(builder().shards(3), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let consumer = serve(&queue, answer_path);
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    let port = free_port();
    let url = format!("http://*:{port}/");
    for round in 0..100 {
        group.add_url(&url, round).expect("nobody else has the port");
        let mut client = Client::connect(loopback(port));
        assert_eq!(client.ask("/x").text(), "/x");
        group.remove_url(&url).expect("registered");
        assert!(refuses(loopback(port)), "the port is closed when the call returns");
    }
    assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"));
    assert_eq!(engine.counters().accept_pauses, 0, "a closed address is no failure of the host's");
    drop(engine);
    consumer.join().expect("ends");
}

#[test]
fn a_handler_that_computes_holds_up_nobody() {
    let port = free_port();
    let url = format!("http://*:{port}/");
    let engine = Watched::start(builder(), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let (group, other) = (session.url_group(), session.url_group());
    group.bind(&queue).expect("of this engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    other.add_url(&url, 0).expect("free");
    thread::scope(|scope| {
        let engine = &engine;
        let _stop = StopOnDrop(engine);
        let (computes, computing) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let queue = &queue;
        let driver = scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            let request = queue.receive().expect("open");
            computes.send(()).expect("the test waits");
            goes_on.recv_timeout(WAIT_MAX).expect("everything was done while the handler computed");
            answer_path(request);
            while let Ok(request) = queue.receive() {
                answer_path(request);
            }
        });
        let mut client = Client::connect(address);
        client.get("/computes");
        computing.recv_timeout(WAIT_MAX).expect("a request has come");
        // None of these needs the shard, which has the port open that is opened again.
        other.remove_url(&url).expect("registered");
        assert!(refuses(loopback(port)), "closed at once");
        other.add_url(&url, 1).expect("nobody else has the port");
        other.bind(queue).expect("of this engine");
        let fresh = engine.listen(loopback(0)).expect("a free port");
        let next = engine.request_queue("next").expect("a queue");
        other.set_active(false).expect("the group lives");
        other.set_active(true).expect("the group lives");
        assert!(engine.await_changes(Duration::ZERO).expect("not on a shard"), "it takes them before anything else");
        go_on.send(()).expect("the handler waits");
        assert_eq!(client.read().text(), "/computes");
        let mut again = Client::connect(loopback(port));
        assert_eq!(again.ask("/again").text(), "/again");
        assert!(!refuses(fresh));
        drop((client, again, next));
        wait_until("all is over", || engine.counters().connections_open == 0);
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        driver.join().expect("the application ends well");
    });
}

#[test]
fn who_waits_for_another_process_to_let_go_of_an_address_holds_up_nobody() {
    let host = Host::start();
    // An attempt is given up after 750 ms, which a busy machine may take for the rest.
    let once = (0..5).any(|_| {
        let foreign = TcpListener::bind(loopback(0)).expect("a free port");
        let address = foreign.local_addr().expect("bound");
        let (begins, begun) = mpsc::channel();
        thread::scope(|scope| {
            let engine = &host.engine;
            let waits = scope.spawn(move || {
                begins.send(()).expect("the test waits");
                engine.listen(address)
            });
            begun.recv_timeout(WAIT_MAX).expect("it begins");
            for _ in 0..100 {
                host.group.bind(&host.queue).expect("of this engine");
            }
            drop(foreign);
            let listened = waits.join().expect("no panic").is_ok_and(|bound| bound == address);
            if listened {
                host.engine.unlisten(address).expect("it is listened on");
            }
            listened
        })
    });
    assert!(once, "the address was free in time, had the changes not waited for it");
}

#[test]
fn many_addresses_are_listened_on_or_the_error_says_how_many_may_be() {
    const ADDRESSES: usize = 2000;
    let host = Host::start();
    let consumer = serve(&host.queue, answer_path);
    let port = host.address.port();
    let ip = |number: usize| {
        let [.., high, low] = u32::try_from(number + 2).expect("a few").to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(127, 9, high, low), port))
    };
    let mut opened = 0;
    let refused = loop {
        if opened == ADDRESSES {
            break None;
        }
        match host.engine.listen(ip(opened)) {
            Ok(address) => assert_eq!(address, ip(opened)),
            Err(error) => break Some(error),
        }
        opened += 1;
    };
    if let Some(error) = refused {
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("RLIMIT_NOFILE") && error.to_string().contains("ulimit -n"), "{error}");
        // So few descriptors that the rest of this test would want some, too.
        (opened - 20..opened).for_each(|number| host.engine.unlisten(ip(number)).expect("it is listened on"));
        opened -= 20;
    }
    for number in [0, 1, opened / 2, opened - 2, opened - 1] {
        let mut client = Client::connect(ip(number));
        assert_eq!(client.ask("/x").text(), "/x", "address {number}");
    }
    (0..opened).for_each(|number| host.engine.unlisten(ip(number)).expect("it is listened on"));
    assert!(refuses(ip(0)) && refuses(ip(opened - 1)) && !refuses(host.address));
    drop(host);
    consumer.join().expect("ends");
}

#[test]
fn a_closed_queue_leaves_its_place_and_none_of_its_requests() {
    let host = Host::start();
    let session = host.engine.server_session();
    let group = session.url_group();
    let port = host.address.port();
    group.add_url(&format!("http://*:{port}/other/"), 0).expect("free");
    let mut last: Option<RequestId> = None;
    for round in 0..20 {
        let queue = host.engine.request_queue_with("short", QueueOptions::default().length(8)).expect("free again");
        group.bind(&queue).expect("of this engine");
        let (mut waits, mut held) = (host.connect(), host.connect());
        held.get("/other/held");
        let request = receive(&queue);
        waits.get("/other/waits");
        wait_until("it is queued", || queue.len() == 1);
        if let Some(last) = last.replace(request.id()) {
            let error = queue.respond(last, Response::ok()).expect_err("it came through a queue that is closed");
            assert!(error.is_gone(), "{error}");
        }
        drop(queue);
        assert_eq!(waits.read().status, 500, "round {round}: nobody will take it");
        assert_eq!(waits.ask("/other/later").status, 503);
        // Who has a handle can still answer.
        answer_path(request);
        assert_eq!(held.read().text(), "/other/held");
        assert_eq!(held.ask("/other/later").status, 503);
    }
}

#[test]
fn changes_are_awaited_from_outside_of_the_shards_and_refused_within() {
    let engine = Arc::new(Watched::start(builder(), Mode::Queue).unwatched());
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    let url = format!("http://*:{}/", address.port());
    let (tells, told) = mpsc::channel();
    for context in 0..50 {
        group.add_url(&url, context).expect("free");
        assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"), "the shard sleeps, and is woken for them");
        let mut client = Client::connect(address);
        client.get("/x");
        let request = receive(&queue);
        assert_eq!(request.url_context(), context);
        if context == 0 {
            let (engine, tells) = (Arc::clone(&engine), tells.clone());
            request.on_disconnect_call(move |_| {
                let refused = engine.await_changes(WAIT_MAX).map_err(|error| error.kind());
                tells.send(refused).expect("the test waits");
            });
        }
        answer_path(request);
        assert_eq!(client.read().text(), "/x");
        group.remove_url(&url).expect("registered");
    }
    assert_eq!(told.recv_timeout(WAIT_MAX), Ok(Err(ErrorKind::Unsupported)), "it would wait for itself");
    common::await_rest(&engine);
}

#[test]
fn an_address_opened_after_a_shard_has_ended_is_served_by_the_others_alone() {
    let engine = Watched::start(builder().shards(2), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    let before = engine.listen(loopback(0)).expect("a free port");
    group.add_url(&format!("http://*:{}/", before.port()), 0).expect("free");
    thread::scope(|scope| {
        let (engine, queue) = (&*engine, &queue);
        let _stop = StopOnDrop(engine);
        scope.spawn(|| drop(engine.attach(0).expect("the shard is free"))).join().expect("it ends");
        let (attached, is_attached) = mpsc::channel();
        let driver = scope.spawn(move || {
            let _attached = engine.attach(1).expect("the shard is free");
            attached.send(()).expect("the test waits");
            while let Ok(request) = queue.receive() {
                answer_path(request);
            }
        });
        is_attached.recv_timeout(WAIT_MAX).expect("it is attached");
        let after = engine.listen(loopback(0)).expect("a free port");
        group.add_url(&format!("http://*:{}/", after.port()), 0).expect("free");
        // Clients are dealt to whoever listens, by their ports.
        for address in [before, after].repeat(20) {
            let mut client = Client::connect(address);
            assert_eq!(client.ask("/x").text(), "/x");
        }
        wait_until("all is over", || engine.counters().connections_open == 0);
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        driver.join().expect("the application ends well");
        assert_eq!(engine.addresses(), []);
    });
}

#[test]
fn an_address_that_was_taken_before_its_shard_came_is_counted() {
    // Of several shards, none listens before a thread drives it.
    let engine = Watched::start(builder().shards(2), Mode::Colocated);
    let address = engine.listen(loopback(0)).expect("a free port");
    let Ok(taken) = TcpListener::bind(address) else {
        // The kernel keeps it for those that are bound, too.
        return;
    };
    thread::scope(|scope| {
        let engine = &*engine;
        let _stop = StopOnDrop(engine);
        let driver = scope.spawn(|| {
            let _attached = engine.attach(0).expect("the shard is free");
            engine.counters().addresses_not_opened
        });
        assert_eq!(driver.join().expect("no panic"), 1);
    });
    drop(taken);
}

/// Code that the shard runs holds up a turn of it, which has begun when this returns, until something is sent.
fn hold_up_a_turn(host: &Host) -> mpsc::Sender<()> {
    let mut client = host.connect();
    client.get("/x");
    let request = host.receive();
    let (goes_on, go_on) = mpsc::channel::<()>();
    let (in_turn, is_in_turn) = mpsc::channel();
    request.on_disconnect_call(move |_| {
        in_turn.send(()).expect("the test waits");
        go_on.recv_timeout(WAIT_MAX).expect("the test goes on");
    });
    answer_path(request);
    assert_eq!(client.read().text(), "/x");
    drop(client);
    is_in_turn.recv_timeout(WAIT_MAX).expect("the connection ends");
    goes_on
}

#[test]
fn changes_do_not_hold_while_a_turn_by_the_earlier_ones_is_under_way() {
    let host = Host::start();
    let goes_on = hold_up_a_turn(&host);
    host.group.set_active(false).expect("the group lives");
    assert!(!host.engine.await_changes(Duration::from_millis(20)).expect("not on a shard"));
    goes_on.send(()).expect("it waits");
    assert!(host.engine.await_changes(WAIT_MAX).expect("not on a shard"));
    let mut client = host.connect();
    assert_eq!(client.ask("/x").status, 503);
}

/// Runs something with a wake for the current thread under way, as executors send it to a thread that polls, and
/// requires that the thread still gets it.
#[track_caller]
fn leaves_wakes<R>(work: impl FnOnce() -> R) -> R {
    thread::current().unpark();
    let result = work();
    let begun = Instant::now();
    thread::park_timeout(WAIT_MAX);
    assert!(begun.elapsed() < WAIT_MAX, "the thread was woken, and does not know of it");
    result
}

#[test]
fn calls_that_wait_leave_wakes_to_the_executor_of_the_thread() {
    let host = leaves_wakes(Host::start);
    let foreign = TcpListener::bind(loopback(0)).expect("a free port");
    let address = foreign.local_addr().expect("bound");
    assert_eq!(leaves_wakes(|| host.engine.listen(address)).expect_err("taken").kind(), ErrorKind::AddrInUse);
    let url = format!("http://*:{}/", address.port());
    assert_eq!(leaves_wakes(|| host.group.add_url(&url, 0)).expect_err("taken").kind(), ErrorKind::AddrInUse);
    let goes_on = hold_up_a_turn(&host);
    host.group.set_active(false).expect("the group lives");
    assert!(!leaves_wakes(|| host.engine.await_changes(Duration::from_millis(20))).expect("not on a shard"));
    goes_on.send(()).expect("it waits");
}

/// Whether an address that is taken is refused at once: once in a few times, for what a busy machine adds.
fn refused_at_once(engine: &Engine, taken: SocketAddr) -> bool {
    (0..5).any(|_| {
        let begun = Instant::now();
        assert_eq!(engine.listen(taken).expect_err("taken").kind(), ErrorKind::AddrInUse);
        begun.elapsed() < HOLDER_WAIT
    })
}

#[test]
fn who_drives_a_shard_does_not_wait_for_another_process_to_let_go_of_an_address() {
    let foreign = TcpListener::bind(loopback(0)).expect("a free port");
    let taken = foreign.local_addr().expect("bound");
    let other = Watched::start(builder(), Mode::Queue);
    assert!(!refused_at_once(&other, taken), "nobody stands still meanwhile");
    // Between two turns: also for an address of another engine, since the shard's clients wait all the same.
    let engine = Watched::start(builder(), Mode::Colocated);
    thread::scope(|scope| {
        let drives = scope.spawn(|| {
            let _attached = engine.attach(0).expect("the shard is free");
            refused_at_once(&engine, taken) && refused_at_once(&other, taken)
        });
        assert!(drives.join().expect("no panic"), "its clients stand still meanwhile");
    });
}

#[test]
fn code_that_a_shard_runs_does_not_wait_for_another_process_to_let_go_of_an_address() {
    let foreign = TcpListener::bind(loopback(0)).expect("a free port");
    let taken = foreign.local_addr().expect("bound");
    let engine = Arc::new(Watched::start(builder(), Mode::Queue).unwatched());
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    let mut client = Client::connect(address);
    client.get("/x");
    let request = receive(&queue);
    let (tells, told) = mpsc::channel();
    let within = Arc::clone(&engine);
    request.on_disconnect_call(move |_| tells.send(refused_at_once(&within, taken)).expect("the test waits"));
    answer_path(request);
    assert_eq!(client.read().text(), "/x");
    drop(client);
    assert_eq!(told.recv_timeout(WAIT_MAX), Ok(true), "the shard's clients stand still meanwhile");
    common::await_rest(&engine);
}
