//! Code of the application's that the engine runs, and that panics, or calls the engine: wakers, owners of bytes, calls
//! on a connection's end. It costs at most the request it belongs to.

mod common;

use std::cell::RefCell;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;

use bytes::Bytes;
use common::peer::{Peer, consumed_in_both_modes, in_both_modes};
use common::{Client, Host, WAIT_MAX, Watched, builder, loopback, receive, wait_until, within};
use ringress::{
    Attached, Completion, Engine, ErrorKind, Mode, Request, RequestQueue, Response, ServerSession, UrlGroup,
};

/// Bytes whose owner panics when it lets go of them.
fn bomb(len: usize) -> Bytes {
    struct Owner(Vec<u8>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            panic!("meant to panic");
        }
    }
    Bytes::from_owner(Owner(vec![b'b'; len]))
}

/// A waker that counts, and panics as it is told to.
struct Odd {
    wakes: Arc<AtomicU64>,
    panics_woken: bool,
    panics_dropped: bool,
}

impl Wake for Odd {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics_woken, "meant to panic");
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        assert!(!self.panics_dropped, "meant to panic");
    }
}

impl Odd {
    fn waker(wakes: &Arc<AtomicU64>, panics_woken: bool, panics_dropped: bool) -> Waker {
        Waker::from(Arc::new(Self { wakes: Arc::clone(wakes), panics_woken, panics_dropped }))
    }
}

/// A waker that makes a call, once.
struct Calls(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        let call = self.0.lock().expect("not poisoned").take();
        call.into_iter().for_each(|call| call());
    }
}

fn calling(call: impl FnOnce() + Send + 'static) -> Waker {
    Waker::from(Arc::new(Calls(Mutex::new(Some(Box::new(call))))))
}

fn is_pending<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    pin!(future).poll(&mut Context::from_waker(waker)).is_pending()
}

/// The engine serves on.
#[track_caller]
fn assert_serves(address: SocketAddr) {
    assert_eq!(Client::connect(address).ask("/fine").text(), "/fine");
}

fn answer_path(request: Request) {
    request.respond_with(|request| Response::text(request.path())).expect("open");
}

#[test]
fn owners_of_bytes_may_panic_wherever_they_are_dropped() {
    let handle = |request: Request| match request.path() {
        "/whole" => request.respond(Response::ok().body(bomb(9000))).expect("open"),
        "/completed" => drop(request.respond_with_completion(Response::ok().body(bomb(10))).expect("open")),
        "/chunks" => {
            let response = Response::ok().body(bomb(10)).chunk(bomb(0)).chunk(bomb(9000)).chunk(bomb(1));
            request.respond(response).expect("open");
        }
        "/invalid" => {
            let response = Response::ok().header("a b", "c").body(bomb(10)).chunk(bomb(0)).chunk(bomb(9000));
            assert_eq!(request.respond(response).expect_err("no such name").kind(), ErrorKind::Invalid);
        }
        "/stream" => {
            let mut stream = request.start(Response::ok().content_length(30)).expect("open");
            stream.send(bomb(0)).expect("open");
            (0..3).for_each(|_| stream.send(bomb(10)).expect("open"));
            stream.finish().expect("open");
        }
        "/cut" => {
            let mut stream = request.start(Response::ok().content_length(9999)).expect("open");
            stream.send(bomb(10)).expect("open");
        }
        _ => answer_path(request),
    };
    in_both_modes(handle, |engine, address| {
        let caught = || engine.counters().foreign_panics;
        for (path, len, panics) in
            [("/whole", 9000, 1), ("/completed", 10, 1), ("/chunks", 9011, 4), ("/stream", 30, 3)]
        {
            let before = caught();
            let mut client = Client::connect(address);
            let reply = client.ask(path);
            assert_eq!((reply.status, reply.body), (200, vec![b'b'; len]), "{path}");
            wait_until("all were dropped", || caught() >= before + panics);
            let mut peer = Peer::over(client.stream);
            let ask = format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\nGET /fine HTTP/1.1\r\nHost: test\r\n\r\n");
            peer.stream.write_all(ask.as_bytes()).expect("the engine takes it");
            let heads = [peer.head(), peer.head()];
            assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200 ")), "{heads:?}");
            assert_eq!(peer.take(5), b"/fine");
        }
        assert_eq!(Client::connect(address).ask("/invalid").status, 500);
        let mut cut = Client::connect(address);
        cut.get("/cut");
        let _ = Peer::over(cut.stream).rest();
        assert_serves(address);
    });
}

#[test]
fn a_waker_that_panics_costs_no_other_client_anything() {
    let application = |queue: &RequestQueue| {
        let wakes = Arc::default();
        let waker = Odd::waker(&wakes, true, false);
        let mut kept: Vec<Completion> = Vec::new();
        while let Ok(request) = queue.receive() {
            if request.path() != "/odd" {
                answer_path(request);
                continue;
            }
            let mut stream = request.start(Response::ok().content_length(1)).expect("open");
            let mut disconnect = stream.request().expect("by handle").on_disconnect();
            assert!(is_pending(&mut disconnect, &waker));
            stream.send("y").expect("open");
            let mut completion = stream.finish().expect("open");
            ringress::block_on(std::future::poll_fn(|_| {
                let _ = pin!(&mut completion).poll(&mut Context::from_waker(&waker));
                Poll::Ready(())
            }));
            kept.push(completion);
        }
    };
    consumed_in_both_modes(application, |engine, address| {
        let (mut odd, mut fine) = (Client::connect(address), Client::connect(address));
        for _ in 0..10 {
            odd.get("/odd");
            fine.get("/fine");
            assert_eq!((odd.read().text(), fine.read().text()), ("y", "/fine"));
        }
        drop((odd, fine));
        common::await_rest(engine);
        assert!(engine.counters().foreign_panics >= 10, "each connection's end was told to a waker that panics");
    });
}

#[test]
fn a_waker_that_panics_when_dropped_leaves_its_place_to_the_next_client() {
    let host = Host::start();
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n";
    let wakes = Arc::new(AtomicU64::new(0));
    let mut one = host.connect();
    one.send(post);
    let mut request = host.receive();
    let poll = |request: &mut Request, waker: &Waker| {
        request.body().poll_read(&mut Context::from_waker(waker), &mut [0; 9]).map(|read| read.expect("open"))
    };
    // The place is the last to have it.
    assert!(poll(&mut request, &Odd::waker(&wakes, false, true)).is_pending());
    assert!(poll(&mut request, Waker::noop()).is_pending(), "the panic is not the caller's");
    assert!(poll(&mut request, &Odd::waker(&wakes, false, true)).is_pending());
    request.respond(Response::ok().close()).expect("open");
    assert_eq!(one.read().status, 200);
    drop(one);
    host.await_rest();
    // Another client, whose request comes into the same slot.
    let mut two = host.connect();
    two.send(post);
    let mut request = host.receive();
    assert!(poll(&mut request, &Odd::waker(&wakes, false, false)).is_pending());
    let before = wakes.load(Ordering::SeqCst);
    two.send("hello");
    wait_until("the reader is woken", || wakes.load(Ordering::SeqCst) > before);
    assert_eq!(poll(&mut request, Waker::noop()), Poll::Ready(5));
    request.respond(Response::ok()).expect("open");
    assert!(host.counters().foreign_panics >= 2);
}

#[test]
fn a_consumer_whose_waker_panics_leaves_its_request_to_another_one() {
    let host = Host::start();
    let wakes = Arc::new(AtomicU64::new(0));
    let mut odd: Vec<_> = (0..3).map(|_| Box::pin(host.queue.receive_async())).collect();
    for future in &mut odd {
        assert!(is_pending(future, &Odd::waker(&wakes, true, true)));
    }
    let queue = host.queue.clone();
    let fine = thread::spawn(move || pollster::block_on(queue.receive_async()).map(answer_path));
    // Those before it are woken first, and it at the latest when they have panicked.
    assert_eq!(host.connect().ask("/").text(), "/");
    fine.join().expect("no panic").expect("open");
    drop(odd);
    assert!(host.counters().foreign_panics >= 3);
}

#[test]
fn wakers_and_calls_may_use_the_engine() {
    let Host { group, session, queue, engine, address } = Host::start();
    let other = engine.request_queue("other").expect("a queue");
    let mut client = Client::connect(address);
    client.get("/asks");
    let request = receive(&queue);
    let (tell, told) = mpsc::channel();
    // On the shard's thread: drops the last handle of a queue and a group, and answers.
    let mut future = Box::pin({
        let other = other.clone();
        async move { other.receive_async().await.map(drop) }
    });
    let answers = queue.clone();
    let id = request.into_id();
    let (third, second) = (engine.request_queue("third").expect("a queue"), session.url_group());
    let telling = tell.clone();
    assert!(is_pending(
        &mut future,
        &calling(move || {
            answers.respond(id, Response::text("from a waker")).expect("open");
            drop((third, second));
            telling.send("woken").expect("the test listens");
        })
    ));
    group.bind(&other).expect("of one engine");
    let mut wakes = Client::connect(address);
    wakes.get("/wakes");
    assert_eq!(told.recv_timeout(WAIT_MAX), Ok("woken"));
    assert_eq!(client.read().text(), "from a waker");
    answer_path(receive(&other));
    assert_eq!(wakes.read().text(), "/wakes");
    drop((future, client, wakes, group, session));
    common::await_rest(&engine);
}

#[test]
fn the_end_of_a_queue_wakes_all_whatever_their_wakers_do() {
    let host = Host::start();
    let wakes = Arc::new(AtomicU64::new(0));
    let other = host.engine.request_queue("other").expect("a queue");
    {
        let futures: Vec<_> = (0..5).map(|_| Box::pin(other.receive_async())).collect();
        let mut futures = futures;
        let waker = Odd::waker(&wakes, true, false);
        assert!(futures.iter_mut().all(|future| is_pending(future, &waker)));
        // One that uses what is locked while queues are made and closed.
        let (session, counts) = (host.engine.server_session(), Arc::clone(&wakes));
        let mut uses = Box::pin(other.receive_async());
        let call = move || {
            session.url_group().set_active(false).expect("its own");
            counts.fetch_add(1, Ordering::SeqCst);
        };
        assert!(is_pending(&mut uses, &calling(call)));
        futures.push(uses);
        let engine = &host.engine;
        engine.shutdown(std::time::Duration::ZERO).expect("no shard failed");
        assert_eq!(wakes.load(Ordering::SeqCst), 6);
        let waker = Waker::noop();
        for future in &mut futures {
            let poll = future.as_mut().poll(&mut Context::from_waker(waker));
            assert!(matches!(poll, Poll::Ready(Err(error)) if error.is_closed()));
        }
    }
    assert!(host.counters().foreign_panics >= 5);
}

#[test]
fn a_callback_may_stop_its_engine_or_drop_its_last_handle() {
    for shuts_down in [true, false] {
        let Host { group, session, queue, engine, address } = Host::start();
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        client.get("/");
        let request = receive(&queue);
        other.get("/under-way");
        let held = receive(&queue);
        let engine = Arc::new(engine.unwatched());
        let last = Arc::clone(&engine);
        request.on_disconnect_call(move |_| {
            if shuts_down {
                last.shutdown(WAIT_MAX).expect("no shard has failed");
            }
            drop(last);
        });
        answer_path(request);
        assert_eq!(client.read().text(), "/");
        let kept = shuts_down.then_some(engine);
        let consumer = {
            let queue = queue.clone();
            thread::spawn(move || queue.receive().map(drop).map_err(|error| error.kind()))
        };
        drop(client);
        if shuts_down {
            // It has its grace.
            answer_path(held);
            assert_eq!(other.read().text(), "/under-way");
        } else {
            other.read_end();
        }
        let end = within(WAIT_MAX, "the consumer", move || consumer.join().expect("no panic"));
        assert_eq!(end, Err(ErrorKind::Closed));
        if let Some(engine) = kept {
            within(WAIT_MAX, "a second shutdown", move || engine.shutdown(WAIT_MAX)).expect("no shard has failed");
        }
        drop((group, session));
    }
}

#[test]
fn a_callback_may_stop_the_engine_whose_shard_its_thread_drives() {
    let Parts { engine, queue, address, _groups } = colocated_parts();
    let engine = Arc::new(engine);
    let driving = thread::spawn({
        let (engine, queue) = (engine, queue.clone());
        move || {
            let _attached = engine.attach(0).expect("the shard is free");
            let request = receive(&queue);
            // The last handle but for this one.
            request.on_disconnect_call(move |_| drop((engine.shutdown(WAIT_MAX), engine)));
            answer_path(request);
            queue.receive().map(drop).map_err(|error| error.kind())
        }
    });
    let mut client = Client::connect(address);
    assert_eq!(client.ask("/").text(), "/");
    drop(client);
    assert_eq!(within(WAIT_MAX, "the driver", move || driving.join().expect("no panic")), Err(ErrorKind::Closed));
    assert!(within(WAIT_MAX, "a consumer", move || queue.receive()).expect_err("stopped").is_closed());
}

std::thread_local! {
    static KEPT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

/// Keeps requests in a thread-local that is destroyed after the engine's own, and ends.
fn keep_and_end(queue: RequestQueue, count: usize) {
    thread::spawn(move || {
        // Registered first, destroyed last.
        KEPT.with_borrow_mut(Vec::clear);
        let requests: Vec<Request> = queue.receive_batch(1).expect("open").collect();
        KEPT.with_borrow_mut(|kept| kept.extend(requests));
        while KEPT.with_borrow(Vec::len) < count {
            let request = receive(&queue);
            KEPT.with_borrow_mut(|kept| kept.push(request));
        }
    })
    .join()
    .expect("it ends");
}

#[test]
fn requests_in_a_thread_local_are_dropped_with_their_thread() {
    let host = Host::start();
    let mut clients: Vec<Client> = (0..4).map(|_| host.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/kept"));
    let queue = host.queue.clone();
    within(WAIT_MAX, "the thread", move || keep_and_end(queue, 4));
    for client in &mut clients {
        assert_eq!(client.read().status, 500);
    }
    assert_eq!(host.settled().requests_abandoned, 4);
}

std::thread_local! {
    static ATTACHED: RefCell<Option<Attached>> = const { RefCell::new(None) };
}

/// One engine in co-located mode with one shard and one queue, to which everything goes.
struct Parts {
    engine: Engine,
    queue: RequestQueue,
    address: SocketAddr,
    _groups: (UrlGroup, ServerSession),
}

fn colocated_parts() -> Parts {
    let engine = Watched::start(builder(), Mode::Colocated).unwatched();
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    Parts { engine, queue, address, _groups: (group, session) }
}

#[test]
fn a_shard_ends_with_its_thread_however_that_has_let_go_of_it() {
    for way in ["forgotten", "in a thread-local", "in a thread-local, within a turn"] {
        let Parts { engine, queue, address, _groups } = colocated_parts();
        let mut client = Client::connect(address);
        client.get("/kept");
        thread::scope(|scope| {
            scope.spawn(|| {
                // Registered first, destroyed last.
                KEPT.with_borrow_mut(Vec::clear);
                ATTACHED.set(None);
                let attached = engine.attach(0).expect("the shard is free");
                let request = receive(&queue);
                request.on_disconnect_call(|_| drop(ATTACHED.take()));
                KEPT.with_borrow_mut(|kept| kept.push(request));
                match way {
                    "forgotten" => std::mem::forget(attached),
                    "in a thread-local" => ATTACHED.set(Some(attached)),
                    _ => {
                        ATTACHED.set(Some(attached));
                        client.stream.shutdown(std::net::Shutdown::Both).expect("open");
                        // The request is held, and its connection ends in a turn.
                        let mut other = Client::connect(address);
                        other.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
                        KEPT.with_borrow_mut(Vec::clear);
                        // It ends with that turn, though requests come.
                        while let Ok(request) = queue.receive() {
                            drop(request);
                            other.send("GET /again HTTP/1.1\r\nHost: test\r\n\r\n");
                        }
                    }
                }
            });
        });
        let _ = Peer::over(client.stream).rest();
        within(WAIT_MAX, "the shutdown", move || {
            engine.shutdown(WAIT_MAX).expect("an ended shard is no failed one");
            assert!(queue.receive().expect_err("closed").is_closed());
        });
    }
}

#[test]
fn who_would_wait_for_a_shard_in_code_that_it_runs_is_told() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let application = |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            let (tell, queue) = (tell.lock().expect("not poisoned").clone(), queue.clone());
            request.on_disconnect_call(move |_| {
                let received = queue.receive().expect_err("nothing is there");
                let polled = queue.try_receive().map(|request| request.is_some());
                tell.send((received.kind(), polled.is_ok_and(|any| any))).expect("the test listens");
                ringress::block_on(std::future::pending::<()>());
            });
            answer_path(request);
        }
    };
    consumed_in_both_modes(application, |engine, address| {
        for round in 1..=2 {
            assert_eq!(Client::connect(address).ask("/").text(), "/");
            assert_eq!(told.recv_timeout(WAIT_MAX), Ok((ErrorKind::Unsupported, false)));
            wait_until("the wait is given up", || engine.counters().foreign_panics >= round);
        }
        assert_serves(address);
        assert_eq!(told.recv_timeout(WAIT_MAX), Ok((ErrorKind::Unsupported, false)));
    });
}

#[test]
fn a_waker_that_cannot_be_cloned_is_its_callers_and_harms_nobody() {
    const PANICS: RawWakerVTable = RawWakerVTable::new(|_| panic!("meant to panic"), |_| (), |_| (), |_| ());
    // SAFETY: the functions use no data, and those that return do nothing.
    let bad = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &PANICS)) };
    let panics = |poll: &mut dyn FnMut(&mut Context<'_>)| {
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut Context::from_waker(&bad)))).is_err());
    };
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST /body HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n");
    let mut request = host.receive();
    panics(&mut |context| drop(request.body().poll_read(context, &mut [0; 9])));
    let mut disconnect = request.on_disconnect();
    panics(&mut |context| _ = pin!(&mut disconnect).poll(context));
    let mut receiving = Box::pin(host.queue.receive_async());
    panics(&mut |context| drop(receiving.as_mut().poll(context)));
    client.send("body");
    assert_eq!(&request.body().to_bytes(4).expect("it comes")[..], b"body");
    let mut stream = request.start(Response::ok().content_length(4)).expect("open");
    panics(&mut |context| _ = stream.poll_gone(context));
    stream.send("text").expect("open");
    let completion = stream.finish().expect("open");
    assert_eq!(client.read().text(), "text");
    assert!(completion.wait().expect("driven").complete);
    client.get("/next");
    answer_path(pollster::block_on(receiving).expect("open"));
    assert_eq!(client.read().text(), "/next");
    assert!(disconnect.reason().is_none());
}

#[test]
fn a_future_that_panics_within_another_ones_wait_takes_no_wake_from_it() {
    let inner = || {
        let woken = AtomicU64::new(0);
        let poll = std::future::poll_fn(|context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            assert!(woken.fetch_add(1, Ordering::SeqCst) < 3, "meant to panic");
            Poll::<()>::Pending
        });
        assert!(catch_unwind(AssertUnwindSafe(|| ringress::block_on(poll))).is_err());
    };
    within(WAIT_MAX, "the wait", move || {
        let mut polls = 0;
        ringress::block_on(std::future::poll_fn(|context| {
            polls += 1;
            // The wake is there before the wait within begins.
            context.waker().wake_by_ref();
            inner();
            if polls < 5 { Poll::Pending } else { Poll::Ready(()) }
        }));
    });
}

#[test]
fn what_a_shard_leaves_behind_may_panic_when_its_last_request_is_dropped() {
    let Host { group, session, queue, engine, address } = Host::start();
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.get("/"));
    let mut requests: Vec<Request> = (0..4).map(|_| receive(&queue)).collect();
    let kept = requests.pop().expect("four came");
    let wakes = Arc::new(AtomicU64::new(0));
    let mut streams: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let mut stream = request.start(Response::ok().content_length(1 << 30)).expect("open");
            // Until the socket is full, too.
            loop {
                while let Ok(()) = stream.try_send(bomb(100_000)).map_err(std::mem::forget) {}
                let mut waiting = Box::pin(stream.ready_async());
                if is_pending(&mut waiting, &Odd::waker(&wakes, true, false)) {
                    break;
                }
            }
            stream
        })
        .collect();
    let first = streams.pop().expect("three were begun");
    drop(first);
    engine.shutdown(std::time::Duration::ZERO).expect("no shard failed");
    assert!(streams.iter_mut().all(|stream| stream.send(bomb(1)).expect_err("it has ended").is_gone()));
    drop((group, session, queue, engine.unwatched(), streams, clients));
    assert_eq!(kept.path(), "/");
    drop(kept);
    assert!(wakes.load(Ordering::SeqCst) >= 2);
}

#[test]
fn who_asks_for_a_socket_may_panic_when_it_comes() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n");
    let pipe = host.receive().upgrade(Response::switching("echo/1")).expect("asked for");
    let wakes = Arc::new(AtomicU64::new(0));
    let mut asking = Box::pin(pipe.into_fd_async());
    // It may have come by the second look, or this thread be the last to have the waker.
    if is_pending(&mut asking, &Odd::waker(&wakes, true, false)) {
        wait_until("it is there", || wakes.load(Ordering::SeqCst) == 1);
        assert!(!is_pending(&mut asking, Waker::noop()));
    }
    drop((asking, client));
    let mut client = host.connect();
    client.get("/fine");
    answer_path(host.receive());
    assert_eq!(client.read().text(), "/fine");
}
