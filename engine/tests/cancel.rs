//! Cancelling requests, being told of disconnects, and informational responses: over real sockets, in both modes.

mod common;

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::peer::consumed_in_both_modes as in_both_modes;
use common::{Client, End, Host, StopOnDrop, WAIT_MAX, await_rest, builder, receive, settled, wait_until, within};
use ringress::{
    ConnectionId, Disconnected, Engine, ErrorKind, Properties, QueueOptions, Request, RequestId, RequestQueue,
    Response, TrySendError,
};

/// What an id adds for the next generation of its slot: see [`RequestId`].
const GENERATION: u64 = 1 << 27;

/// Hands every request on until the queue closes.
fn each(handle: impl Fn(&RequestQueue, Request) + Sync) -> impl Fn(&RequestQueue) + Sync {
    move |queue| {
        while let Ok(request) = queue.receive() {
            handle(queue, request);
        }
    }
}

#[track_caller]
fn assert_gone(queue: &RequestQueue, id: RequestId) {
    assert!(!queue.is_open(id));
    assert!(queue.respond(id, Response::text("late")).expect_err("over").is_gone());
    assert!(queue.start(id, Response::ok()).expect_err("over").is_gone());
    assert!(queue.cancel(id).expect_err("over").is_gone());
}

#[test]
fn a_cancel_after_the_client_has_read_the_answer_is_gone_and_not_counted() {
    // Nothing wakes the shard once the response is sent: neither a timer nor a client.
    let off = Properties::OFF;
    let quiet = Properties::new().header_wait(off).idle_connection(off).request_queue(off);
    let host = Host::start_with(builder().properties(quiet), QueueOptions::default());
    let mut client = host.connect();
    for round in 0..20 {
        client.get("/");
        let request = host.receive();
        let id = request.id();
        if round % 2 == 0 {
            request.respond(Response::text("in time")).expect("open");
        } else {
            host.queue.respond(request.into_id(), Response::text("in time")).expect("open");
        }
        assert_eq!(client.read().text(), "in time");
        wait_until("the request is over", || host.counters().requests_open == 0);
        assert_gone(&host.queue, id);
    }
    client.get("/last");
    host.receive().respond(Response::text("last")).expect("open");
    assert_eq!(client.read().text(), "last", "the connection goes on");
    assert_eq!(host.settled().requests_cancelled, 0);
}

#[test]
fn a_cancelled_request_resets_its_connection_whoever_cancels_it() {
    let application = each(|queue, request| {
        let id = request.id();
        match request.path() {
            "/handle" => request.cancel().expect("open"),
            "/id" => {
                queue.cancel(id).expect("open");
                assert_eq!(request.path(), "/id", "the handle still reads it");
                assert!(request.respond(Response::text("late")).expect_err("cancelled").is_gone());
            }
            "/detached" => queue.cancel(request.into_id()).expect("open"),
            "/thread" => thread::scope(|scope| {
                scope.spawn(|| queue.cancel(request.into_id()).expect("open"));
            }),
            _ => return request.respond(Response::text("fine")).expect("open"),
        }
        assert_gone(queue, id);
    });
    in_both_modes(application, |engine, address| {
        for path in ["/handle", "/id", "/detached", "/thread"] {
            let mut client = Client::connect(address);
            assert_eq!(client.ask("/before").text(), "fine");
            client.get(path);
            assert_eq!(client.read_end(), End::Reset, "{path}");
        }
        await_rest(engine);
        let counters = engine.counters();
        assert_eq!((counters.requests_cancelled, counters.requests_answered), (4, 4));
        assert_eq!((counters.requests_abandoned, counters.requests_disconnected), (0, 0));
    });
}

/// Waits until everything has come back, and the application has let go of its requests: they outlive their clients.
fn await_application(engine: &Engine) {
    wait_until("the application has let go", || engine.counters().requests_departed == 0);
    await_rest(engine);
}

/// Every call that a request in hand has, once its connection was cancelled by its id.
#[test]
fn every_later_call_on_a_cancelled_request_is_gone() {
    let application = each(|queue, mut request| {
        let (id, disconnect) = (request.id(), request.on_disconnect());
        assert_eq!(request.body().fill(&mut [0; 3]).expect("as many as came"), 3);
        queue.cancel(id).expect("open");
        // At once, whether the shard knows of it yet or not.
        assert_gone(queue, id);
        assert!(request.send_informational(103, &[]).expect_err("cancelled").is_gone());
        assert!(request.body().read(&mut [0; 10]).expect_err("cancelled").is_gone());
        assert_eq!(disconnect.wait(), Disconnected::Aborted);
        assert_gone(queue, id);
        assert!(request.send_informational(103, &[]).expect_err("over").is_gone());
        let mut body = request.body();
        assert!(body.try_read(&mut [0; 10]).expect_err("over").is_gone());
        assert!(body.fill(&mut [0; 10]).expect_err("over").is_gone());
        assert!(body.next_chunk().expect_err("over").is_gone());
        assert!(body.to_bytes(100).expect_err("over").is_gone());
        assert_eq!(request.on_disconnect().wait(), Disconnected::Gone);
        let answered = match request.header("x-answer").expect("it says how") {
            b"whole" => request.respond(Response::text("late")),
            b"told" => request.respond_with_completion(Response::text("late")).map(drop),
            b"pieces" => request.start(Response::ok()).map(drop),
            _ => request.cancel(),
        };
        assert!(answered.expect_err("over").is_gone());
    });
    in_both_modes(application, |engine, address| {
        for answer in ["whole", "told", "pieces", "none"] {
            let mut client = Client::connect(address);
            client
                .send(format!("POST / HTTP/1.1\r\nHost: test\r\nX-Answer: {answer}\r\nContent-Length: 100\r\n\r\nabc"));
            assert_eq!(client.read_end(), End::Reset, "{answer}");
        }
        await_application(engine);
        assert_eq!((settled(engine).requests_cancelled, settled(engine).requests_answered), (4, 0));
    });
}

#[test]
fn every_later_call_on_a_cancelled_stream_is_gone() {
    let application = each(|queue, request| {
        let (id, disconnect, by_id) = (request.id(), request.on_disconnect(), request.path() == "/id");
        let response = Response::ok().content_length(10);
        let stream = if by_id { queue.start(request.into_id(), response) } else { request.start(response) };
        let mut stream = stream.expect("open");
        stream.send("begun").expect("open");
        queue.cancel(id).expect("it is not finished");
        assert_gone(queue, id);
        assert_eq!(disconnect.wait(), Disconnected::Aborted);
        assert!(stream.send("late").expect_err("cut").is_gone());
        assert!(matches!(stream.try_send("late"), Err(TrySendError::Error(error)) if error.is_gone()));
        assert!(stream.flush().expect_err("cut").is_gone());
        if let Some(request) = stream.request() {
            assert!(request.send_informational(103, &[]).expect_err("answered").is_gone());
        }
        assert!(stream.finish().expect_err("cut").is_gone());
        assert_gone(queue, id);
    });
    in_both_modes(application, |engine, address| {
        for path in ["/handle", "/id"] {
            let mut client = Client::connect(address);
            client.get(path);
            // Nothing, or the beginning, and then a reset.
            let got = std::io::copy(&mut client.stream, &mut std::io::sink());
            assert_eq!(got.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
        }
        await_application(engine);
        assert_eq!(settled(engine).requests_cancelled, 2);
    });
}

#[test]
fn an_answer_in_large_parts_is_cut_by_a_cancel() {
    let application = each(|queue, request| {
        let id = request.id();
        request.respond(Response::ok().body(vec![b'x'; 64 << 20])).expect("open");
        queue.cancel(id).expect("no client takes so much at once");
        assert_gone(queue, id);
    });
    in_both_modes(application, |engine, address| {
        let client = Client::connect(address);
        let mut reading = client.stream.try_clone().expect("a descriptor");
        { client }.get("/");
        // Nothing, or the beginning, and then a reset.
        let got = std::io::copy(&mut reading, &mut std::io::sink());
        assert_eq!(got.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
        await_rest(engine);
    });
}

#[test]
fn a_request_that_waits_in_its_queue_is_cancelled_unseen() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/first");
    let first = host.receive();
    let next = RequestId::from_u64(first.id().to_u64() + GENERATION).expect("not 0");
    first.respond(Response::text("first")).expect("open");
    assert_eq!(client.read().text(), "first");
    client.get("/second");
    wait_until("it waits in the queue", || host.queue.len() == 1);
    host.queue.cancel(next).expect("it waits");
    assert_gone(&host.queue, next);
    assert_eq!(client.read_end(), End::Reset);
    let mut other = host.connect();
    other.get("/third");
    let third = host.receive();
    assert_eq!(third.path(), "/third", "the cancelled one is passed over");
    third.respond(Response::text("third")).expect("open");
    assert_eq!(other.read().text(), "third");
    drop(other);
    host.await_rest();
    assert_eq!(host.settled().requests_cancelled, 1);
}

#[test]
fn whoever_waits_for_a_disconnect_is_told_how_it_came() {
    let application = each(|_, request| {
        let (disconnect, path) = (request.on_disconnect(), request.path().to_owned());
        let expected = match path.as_str() {
            "/reset" => {
                request.send_informational(103, &[]).expect("open");
                Disconnected::Reset
            }
            "/answered" => {
                request.respond(Response::text("fine")).expect("open");
                assert_eq!(disconnect.wait(), Disconnected::Ended);
                return;
            }
            _ => {
                request.cancel().expect("open");
                assert_eq!(disconnect.wait(), Disconnected::Aborted);
                return;
            }
        };
        assert_eq!(disconnect.wait(), expected, "{path}");
        assert!(request.send_informational(103, &[]).expect_err("over").is_gone());
        assert!(request.respond(Response::text("late")).expect_err("over").is_gone());
    });
    in_both_modes(application, |engine, address| {
        let mut client = Client::connect(address);
        client.get("/reset");
        // Told in order: who waits for the end is known by then.
        assert_eq!(client.read().status, 103);
        client.reset();
        assert_eq!(Client::connect(address).ask("/answered").text(), "fine");
        let mut client = Client::connect(address);
        client.get("/cancelled");
        assert_eq!(client.read_end(), End::Reset);
        await_rest(engine);
    });
}

#[test]
fn a_half_close_is_told_and_the_request_can_still_be_answered() {
    let application = each(|_, request| {
        let (half, whole) = (request.on_half_close(), request.on_disconnect());
        assert_eq!(half.wait(), Disconnected::HalfClosed);
        assert_eq!((whole.reason(), request.on_half_close().wait()), (None, Disconnected::HalfClosed));
        request.respond(Response::text("in time")).expect("the client still reads");
        assert_eq!(whole.wait(), Disconnected::Ended);
    });
    in_both_modes(application, |engine, address| {
        let mut client = Client::connect(address);
        client.get("/");
        client.stream.shutdown(Shutdown::Write).expect("open");
        assert_eq!((client.read().text(), client.read_end()), ("in time", End::Closed));
        await_rest(engine);
    });
}

#[test]
fn a_reset_behind_a_half_close_is_noticed() {
    let application = each(|_, request| {
        let disconnect = request.on_disconnect();
        assert_eq!(request.on_half_close().wait(), Disconnected::HalfClosed);
        request.send_informational(103, &[]).expect("it can still be answered");
        assert_eq!(disconnect.wait(), Disconnected::Reset);
        assert!(request.respond(Response::text("late")).expect_err("over").is_gone());
    });
    in_both_modes(application, |engine, address| {
        let mut client = Client::connect(address);
        client.get("/");
        client.stream.shutdown(Shutdown::Write).expect("open");
        assert_eq!(client.read().status, 103);
        client.reset();
        await_rest(engine);
    });
}

#[test]
fn a_reset_behind_more_input_than_is_held_is_noticed() {
    let application = each(|_, request| {
        if request.path() == "/first" {
            // Everything behind it waits in the kernel.
            let disconnect = request.on_disconnect();
            request.send_informational(103, &[]).expect("it can be answered");
            assert_eq!(disconnect.wait(), Disconnected::Reset);
            assert!(request.cancel().expect_err("over").is_gone());
        }
    });
    in_both_modes(application, |engine, address| {
        let mut client = Client::connect(address);
        client.send("POST /first HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
        client.send("GET /more HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3000));
        // Told in order: who waits for the end is known by then.
        assert_eq!(client.read().status, 103);
        client.reset();
        await_rest(engine);
        assert_eq!(engine.counters().requests_delivered, 1);
    });
}

#[test]
fn calls_come_on_the_shards_thread_and_may_panic() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let application = each(|_, request| {
        let tell = tell.lock().expect("not poisoned").clone();
        request.on_disconnect_call(|_| panic!("meant to panic"));
        request.on_disconnect_call(move |how| tell.send(how).expect("the test listens"));
        request.respond(Response::text("fine")).expect("open");
    });
    in_both_modes(application, |engine, address| {
        for _ in 0..2 {
            let mut client = Client::connect(address);
            assert_eq!(client.ask("/").text(), "fine");
            client.reset();
            assert_eq!(told.recv_timeout(WAIT_MAX), Ok(Disconnected::Reset), "the shard lives");
        }
        await_rest(engine);
    });
}

#[test]
fn the_end_of_the_engine_is_told_and_unknown_connections_are_gone() {
    let Host { group, session, queue, engine, address } = Host::start();
    let mut client = Client::connect(address);
    client.get("/");
    let request = receive(&queue);
    let made_up = [1, 77 << 24, request.connection_id().to_u64() + GENERATION, u64::MAX];
    for id in made_up.map(|id| ConnectionId::from_u64(id).expect("not 0")) {
        assert_eq!(queue.on_disconnect(id).wait(), Disconnected::Gone, "{id:?}");
    }
    let (waiting, by_id) = (request.on_disconnect(), queue.on_disconnect(request.connection_id()));
    // Notes are read in order: both are known when one behind them has been answered.
    let behind = ConnectionId::from_u64(1).expect("not 0");
    assert_eq!(queue.on_disconnect(behind).wait(), Disconnected::Gone);
    assert_eq!((waiting.reason(), by_id.reason()), (None, None));
    engine.shutdown(Duration::ZERO).expect("no shard failed");
    // Nothing of the engine is left but the request.
    drop((group, session, engine.unwatched()));
    assert_eq!((waiting.wait(), by_id.wait()), (Disconnected::Stopped, Disconnected::Stopped));
    let late = within(WAIT_MAX, "a question after the end", move || {
        let late = request.on_disconnect().wait();
        assert!(request.cancel().expect_err("over").is_gone());
        late
    });
    assert!(matches!(late, Disconnected::Stopped | Disconnected::Gone), "{late:?}");
    drop(queue);
}

#[test]
fn informational_answers_come_before_the_final_one_and_in_order() {
    let application = each(|queue, request| {
        let path = request.path().to_owned();
        request.send_informational(103, &[("Link", "</style.css>; rel=preload"), ("X-Of", &path)]).expect("open");
        request.send_informational(102, &[]).expect("open");
        let id = request.id();
        queue.respond(id, Response::text(path.as_str())).expect("open");
        assert!(request.send_informational(103, &[]).expect_err("answered").is_gone());
    });
    in_both_modes(application, |engine, address| {
        let mut client = Client::connect(address);
        (0..3).for_each(|number| client.get(&format!("/{number}")));
        for number in 0..3 {
            let hints = client.read();
            assert_eq!((hints.status, hints.field("link")), (103, Some("</style.css>; rel=preload")));
            assert_eq!(hints.field("x-of"), Some(format!("/{number}").as_str()));
            assert_eq!(client.read().head, "HTTP/1.1 102 Processing");
            let answer = client.read();
            assert_eq!((answer.status, answer.text()), (200, format!("/{number}").as_str()));
        }
        drop(client);
        await_rest(engine);
        assert_eq!(engine.counters().informational_dropped, 0);
    });
}

#[test]
fn informational_answers_that_cannot_be_sent_are_refused_with_a_reason() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    let large = "x".repeat(100_000);
    let refused =
        |status, fields: &[(&str, &str)]| request.send_informational(status, fields).expect_err("refused").kind();
    for status in [0, 99, 101, 200, 1000] {
        assert_eq!(refused(status, &[]), ErrorKind::Invalid, "{status}");
    }
    for field in [("a b", "1"), ("a", "1\r\nb: 2"), ("Content-Length", "0"), ("Date", "now"), ("", "")] {
        assert_eq!(refused(103, &[field]), ErrorKind::Invalid, "{field:?}");
    }
    assert_eq!(refused(103, &[("X-Large", &large)]), ErrorKind::TooLarge);
    request.respond(Response::text("fine")).expect("nothing was done");
    assert_eq!(client.read().text(), "fine");

    client.get("/first");
    let first = host.receive();
    client.get("/second");
    let second = host.receive();
    (0..16).for_each(|_| second.send_informational(103, &[]).expect("so many may wait"));
    let full = second.send_informational(103, &[]).expect_err("one too many");
    assert!(full.kind() == ErrorKind::Full && full.to_string().contains("16"), "{full}");
    drop((first, second));
    assert_eq!(client.read().status, 500);
    assert_eq!([(); 17].map(|()| client.read().status), core::array::from_fn(|at| if at < 16 { 103 } else { 500 }));

    let mut old = host.connect();
    old.send("GET / HTTP/1.0\r\n\r\n");
    let request = host.receive();
    assert_eq!(request.send_informational(103, &[]).expect_err("HTTP/1.0").kind(), ErrorKind::Unsupported);
    request.respond(Response::text("old")).expect("open");
    assert_eq!(old.read().text(), "old");
}

/// Cancels, answers by handle and by id race for every request; clients judge what they get.
#[test]
fn under_a_race_for_every_request_each_client_gets_a_whole_answer_or_a_reset() {
    const CLIENTS: usize = 4;
    const EACH: usize = 300;
    let host = Host::start();
    let (cancelled, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let (hand_over, ids) = mpsc::channel::<RequestId>();
    let (count_cancel, count_answer) =
        (|| cancelled.fetch_add(1, Ordering::SeqCst), || answered.fetch_add(1, Ordering::SeqCst));
    thread::scope(|scope| {
        let stop = StopOnDrop(&host.engine);
        let queue = &host.queue;
        scope.spawn(move || {
            for (turn, id) in ids.into_iter().enumerate() {
                if turn % 3 > 0 && queue.cancel(id).is_ok() {
                    assert_gone(queue, id);
                    count_cancel();
                } else if turn % 2 == 0 && queue.respond(id, Response::text("by id")).is_ok() {
                    count_answer();
                }
            }
        });
        for consumer in 0..2 {
            let hand_over = hand_over.clone();
            scope.spawn(move || {
                while let Ok(request) = queue.receive() {
                    let id = request.id();
                    hand_over.send(id).expect("it takes every id");
                    // The other thread may be faster, or come too late.
                    match id.to_u64() / GENERATION % 4 {
                        0 => drop(request.respond(Response::text("by handle")).map(|()| count_answer())),
                        1 => drop(request.cancel().map(|()| count_cancel())),
                        2 if consumer == 0 => drop(queue.cancel(request.into_id()).map(|()| count_cancel())),
                        _ => drop(request),
                    }
                }
            });
        }
        drop(hand_over);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| race(host.address, EACH))).collect();
        let whole: usize = clients.into_iter().map(|client| client.join().expect("no client complains")).sum();
        assert!(whole > 0, "some get an answer");
        await_rest(&host.engine);
        drop(stop);
    });
    let counters = host.counters();
    assert_eq!(counters.requests_delivered, (CLIENTS * EACH) as u64);
    assert_eq!(counters.requests_cancelled + counters.cancels_late, cancelled.load(Ordering::SeqCst));
    assert!(counters.requests_cancelled > 0 && answered.load(Ordering::SeqCst) > 0);
    assert!(counters.requests_answered <= answered.load(Ordering::SeqCst));
}

/// Asks so often; gives how often there was a response. What was reset is asked on a new connection.
fn race(address: SocketAddr, times: usize) -> usize {
    use std::io::Read;
    let mut whole = 0;
    let mut client = Client::connect(address);
    for _ in 0..times {
        client.get("/");
        let mut first = [0];
        match client.stream.peek(&mut first) {
            Ok(1) => {
                let reply = client.read();
                assert!(matches!((reply.status, reply.text()), (200, "by id" | "by handle") | (500, _)), "{reply:?}");
                whole += 1;
            }
            other => {
                assert!(other.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
                assert!(!matches!(client.stream.read(&mut first), Ok(1..)));
                client = Client::connect(address);
            }
        }
    }
    whole
}
