//! Connections that switch protocols, over real sockets: byte pipes in both modes, their ends, mistakes, and sockets
//! that are taken.

mod common;

use std::future::poll_fn;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::peer::{Peer, in_both_modes, pattern};
use common::{Client, Host, WAIT_MAX, await_rest, settled, wait_until};
use ringress::{Disconnected, ErrorKind, Request, Response, TrySendError, Upgraded, block_on};

const ASKS: &str = "GET /x HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";

/// A client that has asked for an upgrade, and sent more with it.
fn ask(address: SocketAddr, early: &[u8]) -> Peer {
    let mut client = Client::connect(address);
    client.send([ASKS.as_bytes(), early].concat());
    Peer { stream: client.stream, input: Vec::new() }
}

/// A client that has been upgraded.
fn upgraded(address: SocketAddr, early: &[u8]) -> Peer {
    let mut peer = ask(address, early);
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n") && head.contains(" GMT\r\n"), "{head}");
    assert!(!head.contains("Content-Length") && !head.contains("Transfer-Encoding"), "{head}");
    peer
}

fn upgrade(request: Request) -> Upgraded {
    request.upgrade(Response::switching("echo/1").header("x-a", "b")).expect("asked for")
}

#[test]
fn a_pipe_echoes_what_comes_with_the_head_and_later_to_the_clients_end() {
    let handle = |request: Request| {
        assert_eq!(request.upgrade_protocols().collect::<Vec<_>>(), ["echo/1"]);
        let mut pipe = upgrade(request);
        assert_eq!(pipe.request().path(), "/x", "the request can be read on");
        let mut buffer = [0; 3000];
        loop {
            match pipe.read(&mut buffer).expect("the client stays") {
                0 => break,
                count => pipe.send(&buffer[..count]).expect("the client stays"),
            }
        }
        assert_eq!(pipe.read(&mut buffer).expect("the end stays the end"), 0);
        let sent = pipe.finish().expect("open").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (300_005, true));
        assert!(pipe.send("more").expect_err("after the end").is_gone());
    };
    in_both_modes(handle, |engine, address| {
        let mut peer = upgraded(address, b"early");
        assert_eq!(peer.take(5), b"early");
        let mut writing = peer.stream.try_clone().expect("a descriptor is free");
        let writer = thread::spawn(move || {
            writing.write_all(&pattern(0, 300_000)).expect("the engine takes it");
            writing.shutdown(Shutdown::Write).expect("open");
        });
        assert!(peer.take(300_000) == pattern(0, 300_000));
        writer.join().expect("written");
        assert_eq!(peer.rest().expect("it ends in order"), b"");
        assert_eq!((settled(engine).responses_truncated, settled(engine).connections_upgraded), (0, 1));
    });
}

#[test]
fn a_pipe_is_a_reader_and_a_writer_and_chunks_are_lent() {
    let handle = |request: Request| {
        let mut pipe = upgrade(request);
        let mut number = [0; 4];
        pipe.read_exact(&mut number).expect("four bytes");
        write!(pipe, "{}", u32::from_be_bytes(number) + 1).expect("open");
        Write::flush(&mut pipe).expect("open");
        let mut rest = Vec::new();
        while let Some(chunk) = pipe.next_chunk().expect("the client stays") {
            rest.extend_from_slice(&chunk);
        }
        pipe.write_all(&rest).expect("open");
        // What was written is given before the end.
        pipe.finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = upgraded(address, &41_u32.to_be_bytes());
        assert_eq!(peer.take(2), b"42");
        peer.stream.write_all(b"the rest").expect("open");
        peer.stream.shutdown(Shutdown::Write).expect("open");
        assert_eq!(peer.rest().expect("in order"), b"the rest");
    });
}

#[test]
fn tasks_read_and_write_with_futures_of_either_kind() {
    let handle = |request: Request| {
        block_on(async {
            let (mut reader, mut writer) = upgrade(request).split();
            let mut buffer = [0; 1000];
            let mut by_hand = false;
            loop {
                let count = match by_hand {
                    true => poll_fn(|context| reader.poll_read(context, &mut buffer)).await.expect("the client stays"),
                    false => reader.read_async(&mut buffer).await.expect("the client stays"),
                };
                let mut rest = &buffer[..count];
                if count == 0 {
                    break;
                }
                while by_hand && !rest.is_empty() {
                    let taken = poll_fn(|context| writer.poll_write(context, rest)).await.expect("the client stays");
                    rest = &rest[taken..];
                }
                match by_hand {
                    true => poll_fn(|context| writer.poll_flush(context)).await.expect("the client stays"),
                    false => writer.send_async(rest).await.expect("the client stays"),
                }
                by_hand = !by_hand;
            }
            writer.finish().expect("open");
        });
    };
    in_both_modes(handle, |_, address| {
        let mut peer = upgraded(address, b"");
        for place in 0..20 {
            peer.stream.write_all(&pattern(place, 3000)).expect("open");
            assert!(peer.take(3000) == pattern(place, 3000));
        }
        peer.stream.shutdown(Shutdown::Write).expect("open");
        assert_eq!(peer.rest().expect("in order"), b"");
    });
}

#[test]
fn two_threads_use_the_two_sides_at_a_time() {
    const BYTES: usize = 8_000_000;
    let host = Host::start();
    let client = {
        let address = host.address;
        thread::spawn(move || {
            let mut peer = upgraded(address, b"");
            let mut writing = peer.stream.try_clone().expect("a descriptor is free");
            let writer = thread::spawn(move || {
                writing.write_all(&pattern(1, BYTES)).expect("the engine takes it");
                writing.shutdown(Shutdown::Write).expect("open");
            });
            assert!(peer.rest().expect("in order") == pattern(2, BYTES));
            writer.join().expect("written");
        })
    };
    let (mut reader, mut writer) = upgrade(host.receive()).split();
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("the client stays");
        all
    });
    writer.write_all(&pattern(2, BYTES)).expect("the client stays");
    writer.finish().expect("open");
    drop(writer);
    assert!(reading.join().expect("read") == pattern(1, BYTES));
    client.join().expect("the client is content");
    host.await_rest();
    assert_eq!(host.settled().responses_truncated, 0);
}

#[test]
fn what_cannot_be_upgraded_is_refused_with_a_reason() {
    let head = |version: &str, fields: &str| format!("GET /x HTTP/{version}\r\nHost: test\r\n{fields}\r\n");
    let asks = "Connection: Upgrade\r\nUpgrade: echo/1\r\n";
    let cases = [
        (head("1.1", ""), Response::switching("echo/1"), ErrorKind::Invalid, "asks for no upgrade"),
        (head("1.1", "Upgrade: echo/1\r\n"), Response::switching("echo/1"), ErrorKind::Invalid, "asks for no upgrade"),
        (head("1.1", asks), Response::switching("echo"), ErrorKind::Invalid, "\"echo\", but for \"echo/1\""),
        (head("1.1", asks), Response::switching("echo/1, more"), ErrorKind::Invalid, "\"more\""),
        (head("1.1", asks), Response::new(101), ErrorKind::Invalid, "names no protocol"),
        (head("1.1", asks), Response::new(200).header("Upgrade", "echo/1"), ErrorKind::Invalid, "status 101"),
        (head("1.1", asks), Response::switching("echo/1").body("x"), ErrorKind::Invalid, "header fields alone"),
        (
            head("1.1", asks),
            Response::switching("echo/1").header("Connection", "x"),
            ErrorKind::Invalid,
            "by the engine",
        ),
        (head("1.0", asks), Response::switching("echo/1"), ErrorKind::Unsupported, "HTTP/1.0"),
        (
            head("1.1", &format!("{asks}Content-Length: 1\r\n")) + "x",
            Response::switching("echo/1"),
            ErrorKind::Invalid,
            "without a body",
        ),
    ];
    let host = Host::start();
    for (text, response, kind, reason) in cases {
        let mut client = host.connect();
        client.send(&text);
        let error = host.receive().upgrade(response).expect_err(reason);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        // It has the request.
        drop(error);
        assert_eq!(client.read().status, 500);
    }
    let mut client = host.connect();
    client.send(ASKS);
    let error = host.receive().respond(Response::switching("echo/1")).expect_err("only upgrade takes it");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    drop(error);
    assert_eq!(client.ask("/x").status, 500);
    drop(host.receive());
    assert_eq!(client.read().status, 500, "the connection goes on");
    drop(client);
    host.await_rest();
    assert_eq!(host.counters().connections_upgraded, 0);
}

#[test]
fn a_pipe_that_is_dropped_unfinished_is_reset_and_one_that_is_finished_ends_in_order() {
    let handle = |request: Request| {
        let mut pipe = upgrade(request);
        pipe.send("some").expect("open");
        let mut how = [0];
        pipe.read_exact(&mut how).expect("the client says how");
        if how == *b"f" {
            pipe.finish().expect("open");
        }
    };
    in_both_modes(handle, |engine, address| {
        let mut peer = upgraded(address, b"f");
        assert_eq!(peer.rest().expect("in order"), b"some");
        peer.stream.write_all(b"nobody reads this").expect("it is thrown away");
        drop(peer);
        assert_eq!(settled(engine).responses_truncated, 0);
        assert_eq!(upgraded(address, b"d").rest(), None);
        assert_eq!(settled(engine).responses_truncated, 1);
    });
}

#[test]
fn a_client_that_does_not_read_stops_its_sender_and_one_that_leaves_is_noticed() {
    let host = Host::start();
    let peer = ask(host.address, b"");
    let mut pipe = upgrade(host.receive());
    let told = pipe.request().on_disconnect();
    let mut given = 0;
    loop {
        match pipe.try_send(pattern(0, 100_000)) {
            Ok(()) => given += 100_000,
            Err(TrySendError::Full(chunk)) => {
                drop(chunk);
                let full = !common::holds_within(Duration::from_millis(300), || {
                    matches!(pipe.try_send(pattern(0, 100_000)), Ok(()))
                });
                if full {
                    break;
                }
                given += 100_000;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(given < 100_000_000, "nothing stops the sender");
    }
    Client::over(peer.stream).reset();
    assert_eq!(told.wait(), Disconnected::Reset);
    assert!(pipe.send("x").expect_err("the client is gone").is_gone());
    assert!(pipe.read(&mut [0]).expect_err("the client is gone").is_gone());
    assert_eq!(Read::read(&mut pipe, &mut [0]).expect_err("as io").kind(), IoErrorKind::BrokenPipe);
    assert!(pipe.into_fd().expect_err("there is no socket").is_gone());
    host.await_rest();
}

#[test]
fn a_pipe_lives_until_all_is_sent_to_a_client_that_has_ended_its_side() {
    /// More than the sockets of both ends hold.
    const MUCH: usize = 32 << 20;
    const PIECE: usize = 128 * 1024;
    let handle = |request: Request| {
        let mut pipe = upgrade(request);
        assert_eq!(pipe.read(&mut [0; 10]).expect("the client stays"), 0, "it ends its side first");
        let sent = (0..MUCH).step_by(PIECE).try_for_each(|place| pipe.send(pattern(place, PIECE)));
        match sent {
            Ok(()) => assert!(pipe.finish().expect("open").wait().expect("driven").complete),
            Err(error) => assert!(error.is_gone(), "{error}"),
        }
    };
    in_both_modes(handle, |engine, address| {
        for leaves in [true, false] {
            let before = engine.counters().sends_short;
            let mut peer = upgraded(address, b"");
            peer.stream.shutdown(Shutdown::Write).expect("open");
            // Nothing was taken: what the sockets do not hold is the engine's, whatever else this tells of them.
            wait_until("a socket has taken a part", || engine.counters().sends_short > before);
            assert_eq!(engine.counters().connections_open, 1);
            if leaves {
                Client::over(peer.stream).reset();
            } else {
                assert!(peer.rest().expect("in order") == pattern(0, MUCH), "every byte in its place");
            }
            await_rest(engine);
        }
        assert_eq!(settled(engine).responses_truncated, 0);
    });
}

#[test]
fn a_socket_is_taken_with_what_came_and_outlives_the_engine() {
    let (sockets, taken) = mpsc::channel();
    let handle = move |request: Request| {
        let mut pipe = upgrade(request);
        let told = pipe.request().on_disconnect();
        let mut three = [0; 3];
        pipe.read_exact(&mut three).expect("they are there");
        assert_eq!(&three, b"abc");
        pipe.write_all(&pattern(0, 100_000)).expect("open");
        let (socket, rest) = pipe.into_fd().expect("the client stays");
        assert_eq!(told.reason(), Some(Disconnected::Taken));
        sockets.send((TcpStream::from(socket), rest)).expect("the test waits");
    };
    let keep = std::sync::Mutex::new(Vec::new());
    in_both_modes(handle, |engine, address| {
        let mut peer = upgraded(address, b"abcdef");
        assert!(peer.take(100_000) == pattern(0, 100_000), "all is sent before the socket is given");
        let (mut socket, rest) = taken.recv_timeout(WAIT_MAX).expect("it is taken");
        peer.stream.write_all(b"ghi").expect("open");
        let mut more = vec![0; 6 - rest.len()];
        socket.read_exact(&mut more).expect("a blocking socket");
        assert_eq!([&rest[..], &more[..]].concat(), b"defghi");
        wait_until("the engine has let it go", || engine.counters().connections_open == 0);
        keep.lock().expect("one thread").push((socket, peer));
    });
    for (mut socket, mut peer) in keep.into_inner().expect("one thread") {
        socket.write_all(b"without an engine").expect("open");
        assert_eq!(peer.take(17), b"without an engine");
        drop(socket);
        assert_eq!(peer.rest().expect("in order"), b"");
    }
}

#[test]
fn a_hand_over_that_is_given_up_leaves_nothing() {
    let host = Host::start();
    for _ in 0..20 {
        let mut peer = upgraded_by(&host);
        let future = peer.1.into_fd_async();
        // Polled once: asked for, and dropped.
        let mut future = Box::pin(future);
        let _ = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        drop(future);
        let _ = peer.0.rest();
    }
    host.await_rest();
}

fn upgraded_by(host: &Host) -> (Peer, Upgraded) {
    let peer = ask(host.address, b"");
    (peer, upgrade(host.receive()))
}

#[test]
fn a_shutdown_waits_for_pipes_through_its_grace() {
    let host = Host::start();
    let (mut patient, mut first) = upgraded_by(&host);
    let (mut endless, mut second) = upgraded_by(&host);
    let told = second.request().on_disconnect();
    patient.head();
    endless.head();
    thread::scope(|scope| {
        let stopping = scope.spawn(|| host.engine.shutdown(Duration::from_millis(500)));
        patient.stream.write_all(b"in the grace").expect("open");
        let mut heard = [0; 12];
        first.read_exact(&mut heard).expect("pipes have the grace");
        first.finish().expect("open");
        drop(first);
        assert_eq!(patient.rest().expect("in order"), b"");
        drop(patient);
        assert_eq!(told.wait(), Disconnected::Stopped);
        assert!(second.read(&mut [0]).expect_err("the grace is over").is_gone());
        assert_eq!(endless.rest(), None);
        stopping.join().expect("it ends").expect("in order");
    });
}
