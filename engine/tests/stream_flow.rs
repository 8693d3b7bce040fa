//! The flow of streamed responses over real sockets: who waits for whom, what a completion tells, and every way to
//! wait.

mod common;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::mpsc::{self, Receiver};
use std::task::Poll;
use std::thread;

use bytes::Bytes;
use common::peer::{Peer, in_both_modes, pattern, start};
use common::{
    Client, Host, StopOnDrop, WAIT_MAX, Watched, await_rest, builder, colocated, loopback, receive, settled, wait_until,
};
use ringress::{
    Body, ErrorKind, Mode, Properties, Request, RequestQueue, Response, ResponseStream, TrySendError, block_on,
};

/// More than the sockets of both ends hold.
const MUCH: usize = 32 << 20;
/// More than is under way at a time.
const SOME: usize = 4 << 20;

#[test]
fn a_client_that_does_not_read_stops_try_send_until_it_reads() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    let mut stream = start(host.receive(), MUCH as u64);
    let mut given = 0;
    let refused = loop {
        match stream.try_send(pattern(given, 64 * 1024)) {
            Ok(()) => given += 64 * 1024,
            // The shard may still be on its way.
            Err(TrySendError::Full(_)) if !is_stuck(&host, &mut stream) => {}
            Err(TrySendError::Full(chunk)) => break chunk,
            Err(error) => panic!("{error}"),
        }
        assert!(given < MUCH, "the sockets cannot hold all of this");
    };
    assert!(
        matches!(&refused, Body::Shared(bytes) if bytes[..] == pattern(given, 64 * 1024)[..]),
        "the chunk comes back"
    );
    let reader = thread::spawn(move || {
        let head = peer.head();
        (head, peer.take(MUCH))
    });
    stream.send(refused).expect("the client reads now");
    given += 64 * 1024;
    while given < MUCH {
        stream.send(pattern(given, 64 * 1024)).expect("the client reads");
        given += 64 * 1024;
    }
    let sent = stream.finish().expect("whole").wait().expect("driven");
    assert_eq!((sent.bytes, sent.complete), (MUCH as u64, true));
    let (_, body) = reader.join().expect("it reads all");
    assert!(body == pattern(0, MUCH), "every byte in its place");
    host.await_rest();
}

/// Whether nothing more goes out: the shard has tried to send and been told to wait, and there is still no room.
fn is_stuck(host: &Host, stream: &mut ResponseStream) -> bool {
    let blocked = || host.counters().sends_short > 0;
    let free = common::holds_within(std::time::Duration::from_millis(300), || {
        !matches!(stream.try_send(Bytes::new()), Err(TrySendError::Full(_))) && !blocked()
    });
    blocked() && !free
}

/// Reads a body of [`MUCH`] pattern bytes only after it is told to.
fn late_reader(mut peer: Peer, go: Receiver<()>) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        go.recv_timeout(WAIT_MAX).expect("it is told to");
        peer.head();
        peer.take(MUCH) == pattern(0, MUCH)
    })
}

#[test]
fn send_waits_for_a_slow_client_and_goes_on() {
    let (tell, told) = mpsc::channel();
    let handle = move |request: Request| {
        let mut stream = start(request, MUCH as u64);
        for place in (0..MUCH).step_by(128 * 1024) {
            stream.send(pattern(place, 128 * 1024)).expect("the client reads in the end");
            tell.send(place + 128 * 1024).expect("the test listens");
        }
        let sent = stream.finish().expect("whole").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (MUCH as u64, true));
    };
    let told = std::sync::Mutex::new(told);
    in_both_modes(handle, |engine, address| {
        let (go, may_go) = mpsc::channel();
        let reader = late_reader(Peer::get(address), may_go);
        wait_until("the shard was told to wait", || engine.counters().sends_short > 0);
        let told = told.lock().expect("one at a time");
        let mut given = 0;
        // The sender stands still: nothing more is given for a while.
        while let Ok(more) = told.recv_timeout(std::time::Duration::from_millis(300)) {
            given = more;
        }
        assert!(given < MUCH, "the sender did not wait");
        go.send(()).expect("the reader waits");
        while given < MUCH {
            given = told.recv_timeout(WAIT_MAX).expect("the sender goes on");
        }
        assert!(reader.join().expect("it reads"), "every byte in its place");
    });
}

#[test]
fn the_completion_of_a_client_that_leaves_says_so() {
    let handle = |request: Request| {
        let mut stream = start(request, MUCH as u64);
        let error = loop {
            match stream.send(vec![b'x'; 100_000]) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is_gone(), "{error}");
        assert!(stream.finish().expect_err("it is over").is_gone());
    };
    in_both_modes(handle, |engine, address| {
        let peer = Peer::get(address);
        wait_until("the shard was told to wait", || engine.counters().sends_short > 0);
        Client::over(peer.stream).reset();
        await_rest(engine);
        assert_eq!(settled(engine).responses_truncated, 0, "it is the client that left");
    });
    let host = Host::start();
    let peer = Peer::get(host.address);
    let completion = host.receive().respond_with_completion(Response::ok().body(vec![b'x'; MUCH])).expect("open");
    wait_until("the shard was told to wait", || host.counters().sends_short > 0);
    assert!(!completion.sent().complete);
    Client::over(peer.stream).reset();
    let sent = completion.wait().expect("driven");
    assert!(!sent.complete && sent.bytes < MUCH as u64, "{sent:?}");
    host.await_rest();
}

#[test]
fn the_completion_of_a_whole_answer_counts_its_body() {
    let handle = |request: Request| {
        let small = request.respond_with_completion(Response::text("hello")).expect("open");
        let sent = small.wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (5, true));
    };
    in_both_modes(handle, |_, address| {
        let mut client = Client::connect(address);
        for _ in 0..3 {
            assert_eq!(client.ask("/x").text(), "hello");
        }
    });
}

#[test]
fn answers_behind_a_stream_wait_for_its_end() {
    let host = Host::start();
    let mut client = host.connect();
    (1..=3).for_each(|number| client.get(&format!("/{number}")));
    let mut first = start(host.receive(), 6);
    let second = host.receive();
    host.receive().respond(Response::text("third")).expect("open");
    first.send("fir").expect("open");
    second.start(Response::ok().content_length(6)).expect("open").write_all(b"x").expect("its turn has not come");
    // The second is cut when its turn comes; what is before it arrives.
    first.send("st ").expect("open");
    let sent = first.finish().expect("whole").wait().expect("driven");
    assert!(sent.complete);
    assert_eq!(client.read().text(), "first ");
    drop(client);
    host.await_rest();

    let mut client = host.connect();
    (1..=3).for_each(|number| client.get(&format!("/{number}")));
    let mut first = start(host.receive(), 6);
    let mut second = start(host.receive(), 6);
    host.receive().respond(Response::text("third")).expect("open");
    second.send("second").expect("open");
    let second = second.finish().expect("whole");
    first.send("first ").expect("open");
    assert!(!second.sent().complete, "nothing overtakes");
    first.finish().expect("whole");
    let read: Vec<String> = (0..3).map(|_| client.read().text().to_owned()).collect();
    assert_eq!(read, ["first ", "second", "third"]);
    assert!(second.wait().expect("driven").complete);
}

/// Sends a body of so many chunks of 100,000 bytes as a future.
async fn stream_async(request: Request, chunks: usize) {
    let mut stream = start(request, chunks as u64 * 100_000);
    for number in 0..chunks {
        stream.send_async(pattern(number * 100_000, 100_000)).await.expect("open");
    }
    let sent = stream.finish().expect("whole").await.expect("driven");
    assert_eq!((sent.bytes, sent.complete), (chunks as u64 * 100_000, true));
}

/// Both of two futures.
async fn join(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut left = [true; 2];
    std::future::poll_fn(move |context| {
        let both: [Pin<&mut dyn Future<Output = ()>>; 2] = [one.as_mut(), other.as_mut()];
        for (future, left) in both.into_iter().zip(&mut left) {
            *left = *left && future.poll(context).is_pending();
        }
        if left.contains(&true) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

#[test]
fn two_streams_are_driven_by_one_thread() {
    const CHUNKS: usize = 100;
    let application = |queue: &RequestQueue| {
        let (one, other) = (receive(queue), receive(queue));
        block_on(join(stream_async(one, CHUNKS), stream_async(other, CHUNKS)));
        assert!(queue.receive().is_err(), "the engine ends");
    };
    let client = |address: SocketAddr| {
        let mut peers = [Peer::get(address), Peer::get(address)];
        let expected = pattern(0, CHUNKS * 100_000);
        for peer in &mut peers {
            peer.head();
        }
        // The second is read first, so that the first has to wait meanwhile.
        for peer in peers.iter_mut().rev() {
            assert!(peer.take(CHUNKS * 100_000) == expected, "every byte in its place");
        }
    };
    colocated(application, |engine, address| {
        client(address);
        await_rest(engine);
    });
    let host = Host::start();
    let queue = host.queue.clone();
    let consumer = thread::spawn(move || application(&queue));
    {
        let _stop = StopOnDrop(&host.engine);
        client(host.address);
        host.await_rest();
    }
    consumer.join().expect("the application ends well");
}

#[test]
fn a_future_that_is_dropped_has_sent_nothing() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    let mut stream = start(host.receive(), MUCH as u64);
    let mut given = 0;
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    // Never polled, polled once to no avail: neither sends anything.
    drop(stream.send_async("never"));
    loop {
        let mut sending = pin!(stream.send_async(pattern(given, 64 * 1024)));
        match sending.as_mut().poll(&mut context) {
            Poll::Ready(sent) => sent.expect("open"),
            Poll::Pending => break,
        }
        given += 64 * 1024;
    }
    let reader = thread::spawn(move || {
        peer.head();
        peer.take(MUCH) == pattern(0, MUCH)
    });
    while given < MUCH {
        stream.send(pattern(given, 64 * 1024)).expect("the client reads");
        given += 64 * 1024;
    }
    stream.finish().expect("whole");
    assert!(reader.join().expect("it reads"), "every byte in its place");
}

#[test]
fn an_attached_thread_that_does_not_drive_is_told() {
    let application = |queue: &RequestQueue| {
        let request = receive(queue);
        let mut completion = request.respond_with_completion(Response::text("x")).expect("open");
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Err(error)) = Pin::new(&mut completion).poll(&mut context) else {
            panic!("nobody drives the shard, so it is not sent");
        };
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("block_on"), "{error}");
        assert!(completion.wait().expect("driven").complete);
        assert!(queue.receive().is_err(), "the engine ends");
    };
    colocated(application, |_, address| {
        assert_eq!(Client::connect(address).ask("/x").text(), "x");
    });
}

#[test]
fn a_shutdown_without_grace_ends_streams() {
    let host = Host::start();
    let _peer = Peer::get(host.address);
    let mut stream = start(host.receive(), 10);
    stream.send("12345").expect("open");
    let sender = thread::spawn(move || {
        while stream.send(Bytes::new()).is_ok() && stream.try_send(Bytes::new()).is_ok() {
            thread::yield_now();
        }
        stream.finish().expect_err("it is over").is_gone()
    });
    host.engine.shutdown(std::time::Duration::ZERO).expect("no shard failed");
    assert!(sender.join().expect("it ends"));
}

#[test]
fn an_answer_is_streamed_by_id_from_another_thread() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    for round in 0..3 {
        let (id, queue) = (host.receive().into_id(), host.queue.clone());
        let refused = queue.start(id, Response::ok().body("x")).expect_err("a body");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "it stays open");
        let streaming = thread::spawn(move || {
            let mut stream = queue.start(id, Response::ok()).expect("open");
            assert!(stream.request().is_none() && stream.body().is_none());
            assert!(queue.start(id, Response::ok()).expect_err("begun").is_gone());
            for place in (0..SOME).step_by(128 * 1024) {
                stream.send(pattern(place, 128 * 1024)).expect("the client reads");
            }
            stream.finish().expect("whole").wait().expect("driven")
        });
        peer.head();
        assert!(peer.chunked().0 == pattern(0, SOME));
        assert!(streaming.join().expect("no panic").complete);
        assert!(host.queue.respond(id, Response::ok()).expect_err("over").is_gone());
        if round < 2 {
            peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n").expect("taken");
        }
    }
    drop(peer);
    host.await_rest();
}

#[test]
fn a_handle_reads_what_is_answered_by_id() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut request = host.receive();
    let mut stream = host.queue.start(request.id(), Response::ok()).expect("open");
    let mut peer = Peer { stream: client.stream.try_clone().expect("a descriptor"), input: Vec::new() };
    peer.head();
    let echo = |request: &mut Request, stream: &mut ResponseStream| {
        let chunk = request.body().next_chunk().expect("open").map(|chunk| chunk.to_vec());
        stream.send(chunk.expect("more")).expect("the client is there");
    };
    echo(&mut request, &mut stream);
    peer.take_to(b"abc");
    client.send("3\r\ndef\r\n0\r\n\r\n");
    echo(&mut request, &mut stream);
    peer.take_to(b"def");
    assert!(request.body().next_chunk().expect("open").is_none());
    stream.finish().expect("whole");
    peer.take_to(b"\r\n0\r\n\r\n");
    drop((request, client, peer));
    host.await_rest();
    assert_eq!((host.settled().requests_abandoned, host.settled().responses_truncated), (0, 0));
}

#[test]
fn streams_by_id_end_with_their_client_and_harm_no_later_request() {
    let host = Host::start();
    let mut bystander = host.connect();
    for round in 0..50 {
        let peer = Peer::get(host.address);
        let mut stream = host.queue.start(host.receive().into_id(), Response::ok()).expect("open");
        if round % 2 == 0 {
            Client::over(peer.stream).reset();
            wait_until("the client is gone", || stream.try_send("x").is_err());
        } else {
            let mut peer = peer;
            stream.send("x").expect("the client is there");
            peer.head();
            peer.take_to(b"x");
            drop(stream);
            assert_eq!(peer.rest(), None, "cut");
            continue;
        }
        // Its slot serves another by now: what is told of the old one is of no meaning there.
        bystander.get("/");
        let request = host.receive();
        drop(stream);
        request.respond(Response::text("fine")).expect("open");
        assert_eq!(bystander.read().text(), "fine");
    }
    drop(bystander);
    host.await_rest();
    assert_eq!(host.settled().responses_truncated, 25);
}

#[test]
fn colocated_a_stream_by_id_is_driven_by_who_waits() {
    let application = |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            let mut stream = queue.start(request.into_id(), Response::ok().content_length(SOME as u64)).expect("open");
            for place in (0..SOME).step_by(128 * 1024) {
                stream.send(pattern(place, 128 * 1024)).expect("the client reads");
            }
            assert!(stream.finish().expect("whole").wait().expect("driven").complete);
        }
    };
    colocated(application, |engine, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert!(peer.take(SOME) == pattern(0, SOME));
        drop(peer);
        await_rest(engine);
    });
}

/// Bytes of a chunk where chunks are counted.
const CHUNK: usize = 4 * 1024;

/// Gives chunks until one is refused, and tells how many were not.
fn give_all_there_is_room_for(
    mut try_send: impl FnMut(Bytes) -> std::result::Result<(), TrySendError<'static>>,
) -> usize {
    let mut count = 0;
    loop {
        match try_send(pattern(count * CHUNK, CHUNK).into()) {
            Ok(()) => count += 1,
            Err(TrySendError::Full(_)) => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_send_credit_of_its_group_is_under_way_and_no_more() {
    const CREDITS: [(&str, u32); 2] = [("small", 16 * 1024), ("large", 64 * 1024)];
    let engine = Watched::start(builder(), Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let _groups = CREDITS.map(|(name, credit)| {
        let group = session.url_group();
        group.set_properties(Properties::new().send_credit(credit)).expect("in range");
        group.bind(&queue).expect("of this engine");
        group.add_url(&format!("http://*:{}/{name}/", address.port()), 0).expect("free");
        group
    });
    let _attached = engine.attach(0).expect("the shard is free");
    for (name, credit) in CREDITS {
        for (is_pipe, fields) in [(false, ""), (true, "Connection: Upgrade\r\nUpgrade: echo/1\r\n")] {
            let mut client = Client::connect(address);
            client.send(format!("GET /{name}/ HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            let request = receive(&queue);
            // Nobody drives the shard until the completion is waited for: what is given stays under way.
            let (count, completion) = if is_pipe {
                let mut pipe = request.upgrade(Response::switching("echo/1")).expect("asked for");
                (give_all_there_is_room_for(|chunk| pipe.try_send(chunk)), pipe.finish().expect("open"))
            } else {
                let mut stream = request.start(Response::ok()).expect("open");
                (give_all_there_is_room_for(|chunk| stream.try_send(chunk)), stream.finish().expect("whole"))
            };
            assert_eq!(count * CHUNK, credit as usize, "{name}, a pipe: {is_pipe}");
            let sent = completion.wait().expect("driven");
            assert_eq!((sent.bytes, sent.complete), (u64::from(credit), true));
            let mut peer = Peer::over(client.stream);
            peer.head();
            let body = if is_pipe { peer.take(credit as usize) } else { peer.chunked().0 };
            assert!(body == pattern(0, credit as usize), "every byte in its place");
        }
    }
}
