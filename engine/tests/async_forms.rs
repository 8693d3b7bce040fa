//! The async forms: they can be spawned, need no runtime of their own, lose no wake, and a future that is dropped at
//! any moment has taken and given nothing.

mod common;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use async_executor::LocalExecutor;
use bytes::Bytes;
use common::peer::{Peer, pattern};
use common::{Client, Host, StopOnDrop, WAIT_MAX, await_rest, colocated, wait_until};
use ringress::{Completion, Disconnect, ErrorKind, Request, RequestQueue, Response, ResponseStream, Result};

/// Bytes of each body that is sent and echoed.
const BODY_BYTES: usize = 600_000;
/// Clients at a time.
const CLIENTS: usize = 12;

/// Numbers that look random: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Polls a future at most so many times, drops it then and lets other tasks run; 0: as often as it takes.
async fn polled<T>(future: impl Future<Output = T>, times: u64) -> Option<T> {
    let mut count = 0;
    let output = {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                count += 1;
                if count == times { Poll::Ready(None) } else { Poll::Pending }
            }
        })
        .await
    };
    let mut yielded = output.is_some();
    poll_fn(|context| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    output
}

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Reads some of the body in one way or another. `None`: a future was dropped; nothing at all: the end.
async fn read_somehow(stream: &mut ResponseStream, random: &mut Random) -> Result<Option<Vec<u8>>> {
    let (form, times) = (random.below(4), random.below(3));
    let mut body = stream.body().expect("by handle");
    let mut buffer = vec![0; 1 + usize::try_from(random.below(40_000)).expect("small")];
    Ok(match form {
        0 => {
            let count = polled(body.read_async(&mut buffer), times).await.transpose()?;
            count.map(|count| buffer[..count].to_vec())
        }
        1 => {
            let count = polled(body.fill_async(&mut buffer), times).await.transpose()?;
            count.map(|count| buffer[..count].to_vec())
        }
        2 => {
            let chunk = polled(body.next_chunk_async(), times).await.transpose()?;
            chunk.map(|chunk| chunk.map(|chunk| chunk.to_vec()).unwrap_or_default())
        }
        _ => match polled(body.to_bytes_async(buffer.len()), times).await.transpose() {
            Err(error) if error.kind() == ErrorKind::TooLarge => None,
            bytes => bytes?.map(|bytes| bytes.to_vec()),
        },
    })
}

/// Gives bytes in one way or another, with futures dropped on the way.
async fn give_somehow(stream: &mut ResponseStream, bytes: Vec<u8>, random: &mut Random) -> Result<()> {
    match random.below(3) {
        0 => {
            while polled(stream.ready_async(), random.below(3)).await.transpose()?.is_none() {}
            stream.try_send(bytes).map_err(|refused| panic!("there was room: {refused:?}"))
        }
        1 => {
            let chunk = Bytes::from(bytes);
            while polled(stream.send_async(chunk.clone()), random.below(3)).await.transpose()?.is_none() {}
            Ok(())
        }
        _ => {
            for part in bytes.chunks(10_000) {
                stream.flush_async().await?;
                stream.write_all(part).expect("16 KiB are collected");
            }
            while polled(stream.flush_async(), random.below(3)).await.transpose()?.is_none() {}
            Ok(())
        }
    }
}

/// Answers a request with its own body.
async fn echo(request: Request, seed: u64) -> Result<()> {
    let mut random = Random(seed | 1);
    let mut stream = request.start(Response::ok())?;
    loop {
        match read_somehow(&mut stream, &mut random).await? {
            None => {}
            Some(bytes) if bytes.is_empty() => break,
            Some(bytes) => give_somehow(&mut stream, bytes, &mut random).await?,
        }
    }
    let mut completion = stream.finish()?;
    // By reference: the same one is waited for again.
    while polled(&mut completion, random.below(3)).await.transpose()?.is_none() {}
    assert!(completion.sent().complete, "the client reads all");
    Ok(())
}

/// Sends bodies in either framing, in uneven pieces, and sees that they come back.
fn ask_for_echoes(address: SocketAddr) {
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut peer = Peer { stream: Client::connect(address).stream, input: Vec::new() };
                for round in 0..2 {
                    let chunked = (number + round) % 2 == 0;
                    let stream = peer.stream.try_clone().expect("a descriptor");
                    thread::scope(|scope| {
                        scope.spawn(move || send_body(stream, chunked, number));
                        assert!(peer.head().starts_with("HTTP/1.1 200"));
                        let (body, _) = peer.chunked();
                        assert!(body == pattern(number, BODY_BYTES), "{} bytes, not in their places", body.len());
                    });
                }
            });
        }
    });
}

fn send_body(mut stream: std::net::TcpStream, chunked: bool, number: usize) {
    let framing = if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {BODY_BYTES}") };
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("taken");
    let body = pattern(number, BODY_BYTES);
    let (mut at, mut random) = (0, Random(number as u64 + 77));
    while at < BODY_BYTES {
        let most = if random.below(2) == 0 { 300 } else { 70_000 };
        let len = (1 + usize::try_from(random.below(most)).expect("small")).min(BODY_BYTES - at);
        let piece = &body[at..at + len];
        let piece = if chunked { [format!("{len:x}\r\n").as_bytes(), piece, b"\r\n"].concat() } else { piece.into() };
        stream.write_all(&piece).expect("taken");
        at += len;
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").expect("taken");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(3).enable_time().build().expect("threads")
}

#[test]
fn all_futures_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    fn sendable<T: Send>() {}
    sendable::<Completion>();
    sendable::<Disconnect>();
    sendable::<ResponseStream>();
    let host = Host::start();
    spawnable(&host.queue.receive_async());
    let mut client = host.connect();
    client.get("/");
    let mut request = host.receive();
    let mut buffer = [0; 8];
    let mut body = request.body();
    spawnable(&body.read_async(&mut buffer));
    spawnable(&body.fill_async(&mut buffer));
    spawnable(&body.next_chunk_async());
    spawnable(&body.to_bytes_async(1));
    spawnable(&body);
    let mut stream = request.start(Response::ok()).expect("open");
    spawnable(&stream.send_async("borrowed"));
    spawnable(&stream.ready_async());
    spawnable(&stream.flush_async());
    spawnable(&echo);
}

#[test]
fn tasks_that_drop_futures_at_random_lose_no_byte() {
    let host = Host::start();
    let runtime = runtime();
    let (queue, done) = (host.queue.clone(), Arc::new(AtomicU64::new(0)));
    let serving = runtime.spawn({
        let done = Arc::clone(&done);
        async move {
            let mut seed = 1;
            loop {
                let request = match polled(queue.receive_async(), seed % 3).await {
                    None => continue,
                    Some(Ok(request)) => request,
                    Some(Err(error)) => return error.is_closed(),
                };
                seed += 1;
                let done = Arc::clone(&done);
                tokio::spawn(async move {
                    echo(request, seed * 0x9e37_79b9).await.expect("the client stays");
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        }
    });
    ask_for_echoes(host.address);
    wait_until("all tasks have ended", || done.load(Ordering::SeqCst) == 2 * CLIENTS as u64);
    host.await_rest();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    assert!(runtime.block_on(serving).expect("no panic"), "told that the queue has closed");
}

#[test]
fn timeouts_around_a_slow_client_lose_no_byte() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 30\r\n\r\n");
    let mut request = host.receive();
    let short = Duration::from_millis(2);
    let read = runtime().block_on(async {
        let mut read = Vec::new();
        let mut buffer = [0; 40];
        for piece in 0..3 {
            assert!(tokio::time::timeout(short, request.body().fill_async(&mut buffer)).await.is_err());
            client.send(&b"0123456789abcdefghijABCDEFGHIJ"[piece * 10..][..10]);
            tokio::select! {
                biased;
                bytes = async { request.body().to_bytes_async(100).await } => read.extend(bytes.expect("whole")),
                () = tokio::time::sleep(short) => assert!(piece < 2 || read.is_empty()),
            }
        }
        read.extend(request.body().to_bytes_async(100).await.expect("whole"));
        read
    });
    assert_eq!(String::from_utf8_lossy(&read), "0123456789abcdefghijABCDEFGHIJ");
    request.respond(Response::text("read")).expect("open");
    assert_eq!(client.read().text(), "read");
}

#[test]
fn what_a_dropped_future_had_read_is_read_again() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 12\r\n\r\nabcd");
    let mut request = host.receive();
    let mut buffer = [0; 8];
    assert!(poll_once(request.body().fill_async(&mut buffer)).is_pending());
    assert!(poll_once(request.body().to_bytes_async(12)).is_pending());
    assert_eq!(request.body().to_bytes(11).expect_err("12 bytes").kind(), ErrorKind::TooLarge);
    let mut two = [0; 2];
    assert_eq!((request.body().read(&mut two).expect("open"), &two), (2, b"ab"));
    assert!(poll_once(request.body().fill_async(&mut buffer)).is_pending());
    client.send("efgh");
    assert_eq!(request.body().fill(&mut buffer[..6]).expect("open"), 6);
    assert_eq!(&buffer[..6], b"cdefgh");
    client.send("ijkl");
    assert_eq!(request.body().to_bytes(4).expect("what is left, not the whole"), "ijkl");
    request.respond(Response::ok()).expect("open");
    assert_eq!(client.read().status, 200);
    drop(client);
    host.await_rest();
}

#[test]
fn a_body_that_is_too_large_can_still_be_read() {
    let host = Host::start();
    let mut client = host.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut request = host.receive();
    assert!(poll_once(request.body().to_bytes_async(4)).is_pending());
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(request.body().to_bytes(4).expect_err("6 bytes").kind(), ErrorKind::TooLarge);
    assert_eq!(request.body().to_bytes(6).expect("that fits"), "abcdef");
    request.respond(Response::ok()).expect("open");
    assert_eq!(client.read().status, 200);
}

/// What a future says that would wait where nobody drives the shard.
#[track_caller]
fn assert_undriven<T>(poll: Poll<Result<T>>) {
    let Poll::Ready(Err(error)) = poll else { panic!("it would wait for ever, or has read what is not there") };
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("block_on"), "{error}");
}

#[test]
fn a_reader_on_an_attached_thread_that_does_not_drive_is_told_and_reads_on() {
    const REST: [&str; 2] = ["abcd", "efgh"];
    let (tell, told) = mpsc::channel();
    let application = move |queue: &RequestQueue| {
        let mut request = common::receive(queue);
        let mut buffer = [0; 8];
        assert_undriven(poll_once(request.body().fill_async(&mut buffer)));
        tell.send(()).expect("the client listens");
        assert_eq!(request.body().read(&mut buffer).expect("driven"), 4);
        assert_undriven(poll_once(request.body().read_async(&mut buffer)));
        assert_undriven(poll_once(request.body().next_chunk_async()).map(|chunk| chunk.map(drop)));
        assert_undriven(poll_once(request.body().to_bytes_async(8)));
        tell.send(()).expect("the client listens");
        assert_eq!(ringress::block_on(request.body().to_bytes_async(8)).expect("driven"), REST[1]);
        request.respond(Response::ok()).expect("open");
        let mut pipe = common::receive(queue).upgrade(Response::switching("echo/1")).expect("asked for");
        assert_undriven(poll_once(pipe.read_async(&mut buffer)));
        assert_undriven(poll_once(pipe.next_chunk_async()).map(|chunk| chunk.map(drop)));
        tell.send(()).expect("the client listens");
        assert_eq!((pipe.read(&mut buffer).expect("driven"), &buffer[..4]), (4, REST[0].as_bytes()));
        pipe.finish().expect("open");
        drop(pipe);
        assert!(queue.receive().is_err(), "the engine ends");
    };
    colocated(application, |_, address| {
        let mut client = Client::connect(address);
        let send_when_told = |client: &mut Client, text: &str| {
            told.recv_timeout(WAIT_MAX).expect("the application has looked");
            client.send(text);
        };
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n");
        REST.iter().for_each(|text| send_when_told(&mut client, text));
        assert_eq!(client.read().status, 200);
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n");
        send_when_told(&mut client, REST[0]);
        let mut peer = Peer::over(client.stream);
        peer.head();
        assert_eq!(peer.rest().expect("in order"), b"");
    });
}

#[test]
fn requests_come_once_to_futures_that_are_dropped_at_random() {
    const REQUESTS: u64 = 2_000;
    let host = Host::start();
    let (runtime, served) = (runtime(), Arc::new(AtomicU64::new(0)));
    for number in 0..8 {
        let (queue, served) = (host.queue.clone(), Arc::clone(&served));
        runtime.spawn(async move {
            let mut random = Random(number + 5);
            loop {
                // Beside a future that is kept after it was ready, which must not hold a wake.
                let mut kept = pin!(queue.receive_async());
                let answered = |request: Request| request.respond(Response::ok()).expect("open");
                match polled(&mut kept, 1 + random.below(2)).await {
                    Some(Err(_)) => return,
                    Some(Ok(request)) => {
                        answered(request);
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                    None => {}
                }
                let Ok(request) = queue.receive_async().await else { return };
                answered(request);
                served.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = host.connect();
                (0..REQUESTS / 4).for_each(|_| assert_eq!(client.ask("/").status, 200));
            });
        }
    });
    wait_until("all are counted", || served.load(Ordering::SeqCst) == REQUESTS);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
}

/// Serves each request on a thread of its own, with a given way to wait.
fn threads_that_wait(wait: fn(Request, u64)) {
    let host = Host::start();
    let mut number = 0;
    let server = common::serve(&host.queue, move |request| {
        number += 1;
        thread::spawn(move || wait(request, number * 0x51ed));
    });
    ask_for_echoes(host.address);
    host.await_rest();
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    assert_eq!(server.join().expect("ends"), 2 * CLIENTS as u64);
}

#[test]
fn any_block_on_will_do() {
    threads_that_wait(|request, seed| pollster::block_on(echo(request, seed)).expect("the client stays"));
    threads_that_wait(|request, seed| ringress::block_on(echo(request, seed)).expect("the client stays"));
}

#[test]
fn one_thread_runs_its_shard_and_many_tasks() {
    let application = |queue: &RequestQueue| {
        let executor = Rc::new(LocalExecutor::new());
        let (under_way, most) = (Rc::new(Cell::new(0)), Cell::new(0));
        let serving = async {
            let mut seed = 3;
            while let Ok(request) = queue.receive_async().await {
                seed += 2;
                let under_way = Rc::clone(&under_way);
                under_way.set(under_way.get() + 1);
                most.set(most.get().max(under_way.get()));
                let task = async move {
                    echo(request, seed * 0x9e37_79b9).await.expect("the client stays");
                    under_way.set(under_way.get() - 1);
                };
                executor.spawn(task).detach();
            }
        };
        ringress::block_on(executor.run(serving));
        assert!(most.get() >= 2, "one after the other");
        assert_eq!(under_way.get(), 0);
    };
    colocated(application, |engine, address| {
        ask_for_echoes(address);
        await_rest(engine);
    });
}

#[test]
fn a_stream_tells_when_there_is_room_and_when_nobody_reads_any_more() {
    let host = Host::start();
    let mut peer = Peer::get(host.address);
    let mut stream = host.receive().start(Response::ok()).expect("open");
    stream.try_send("begun").expect("room");
    assert!(peer.head().starts_with("HTTP/1.1 200"));
    assert!(poll_once(stream.ready_async()).is_ready());
    assert!(poll_once(poll_fn(|context| stream.poll_gone(context))).is_pending());
    let chunk = Bytes::from(pattern(0, 128 * 1024));
    while !(host.counters().sends_short > 0 && poll_once(stream.ready_async()).is_pending()) {
        if poll_once(stream.ready_async()).is_ready() {
            stream.try_send(chunk.clone()).expect("it said so");
        }
    }
    let waiting = thread::spawn(move || {
        let room = pollster::block_on(stream.ready_async());
        (stream, room)
    });
    peer.stream.set_read_timeout(Some(Duration::from_millis(5))).expect("not zero");
    let mut buffer = vec![0; 1 << 20];
    wait_until("there is room", || {
        let _ = Read::read(&mut peer.stream, &mut buffer);
        waiting.is_finished()
    });
    let (mut stream, room) = waiting.join().expect("no panic");
    room.expect("the client is there");
    let (_stop, watching) = (
        StopOnDrop(&host.engine),
        thread::spawn(move || {
            pollster::block_on(poll_fn(|context| stream.poll_gone(context)));
            pollster::block_on(stream.ready_async()).expect_err("gone").is_gone()
        }),
    );
    Client::over(peer.stream).reset();
    assert!(common::within(WAIT_MAX, "the watch", move || watching.join().expect("no panic")));
}

/// So that they can be kept in a struct, and polled there, by who writes futures by hand.
#[test]
fn every_future_has_a_name_can_move_between_threads_and_needs_no_pinning() {
    const fn checked<T: Future + Send + Unpin>() {}
    checked::<ringress::Receive<'_>>();
    checked::<ringress::ReceiveBatch<'_>>();
    checked::<ringress::ReadBytes<'_>>();
    checked::<ringress::FillBuffer<'_>>();
    checked::<ringress::NextChunk<'_>>();
    checked::<ringress::ToBytes<'_>>();
    checked::<ringress::ToForm<'_>>();
    checked::<ringress::SendChunk<'_, '_>>();
    checked::<ringress::StreamReady<'_>>();
    checked::<ringress::Completion>();
    checked::<ringress::Disconnect>();
    checked::<ringress::IntoFd>();
}
