//! Answers given piece by piece, over real sockets, in both modes: framing, lengths, back-pressure, files, completion,
//! and what becomes of mistakes and of clients that leave.

mod common;

use std::fs::File;
use std::future::Future;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::task::Poll;
use std::thread;

use bytes::Bytes;
use common::{Client, Host, PATIENCE, StopOnDrop, await_rest, colocated, receive, serve, wait_until};
use ringress::{
    Body, Engine, ErrorKind, FileRange, Request, RequestQueue, Response, ResponseStream, TrySendError, block_on,
};

/// More than the sockets of both ends hold.
const MUCH: usize = 32 << 20;

/// Runs an application in queue mode and in co-located mode, a client against each, and sees that all comes back.
fn in_both_modes(handle: impl Fn(Request) + Clone + Send + 'static, client: impl Fn(&Engine, SocketAddr)) {
    let host = Host::start();
    let server = serve(&host.queue, handle.clone());
    {
        let _stop = StopOnDrop(&host.engine);
        client(&host.engine, host.address);
        host.await_rest();
    }
    server.join().expect("the application ends well");
    let application = move |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            handle(request);
        }
    };
    colocated(application, |engine, address| {
        client(engine, address);
        await_rest(engine);
    });
}

/// A client that reads what it likes, when it likes.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    fn ask(address: SocketAddr, method: &str, version: &str) -> Self {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the engine listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let request = format!("{method} /x HTTP/{version}\r\nHost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the engine takes it");
        Self { stream, input: Vec::new() }
    }

    fn get(address: SocketAddr) -> Self {
        Self::ask(address, "GET", "1.1")
    }

    /// Reads more. `false`: the connection has ended in order.
    fn more(&mut self) -> std::io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let len = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..len]);
        Ok(len > 0)
    }

    #[track_caller]
    fn take_to(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                return self.input.drain(..at + end.len()).collect();
            }
            assert!(
                self.more().expect("readable"),
                "the answer ends early: {:?}",
                String::from_utf8_lossy(&self.input)
            );
        }
    }

    #[track_caller]
    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.input.len() < len {
            assert!(self.more().expect("readable"), "the answer ends after {} of {len} bytes", self.input.len());
        }
        self.input.drain(..len).collect()
    }

    fn head(&mut self) -> String {
        String::from_utf8(self.take_to(b"\r\n\r\n")).expect("a text head")
    }

    /// A chunked body, and its trailer section.
    fn chunked(&mut self) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.take_to(b"\r\n")).expect("a chunk's size");
            let len = usize::from_str_radix(line.trim_end(), 16).expect("a number");
            if len == 0 {
                break;
            }
            body.extend(self.take(len));
            assert_eq!(self.take(2), b"\r\n", "the end of a chunk");
        }
        let mut trailers = String::new();
        loop {
            match String::from_utf8(self.take_to(b"\r\n")).expect("text").as_str() {
                "\r\n" => return (body, trailers),
                line => trailers += line,
            }
        }
    }

    /// Reads to the end. `None`: it was a reset.
    fn rest(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.more() {
                Ok(true) => {}
                Ok(false) => return Some(std::mem::take(&mut self.input)),
                Err(error) if error.kind() == IoErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }
}

/// Bytes that tell their place.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|place| u8::try_from(place % 251).expect("below 251")).collect()
}

/// A file of so many bytes of [`pattern`] that no name leads to any more.
fn file_of(len: usize) -> File {
    let path =
        std::env::temp_dir().join(format!("ringress-streams-{}-{:?}", std::process::id(), thread::current().id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a new file");
    std::fs::remove_file(&path).expect("just made");
    file.write_all(&pattern(0, len)).expect("room");
    file
}

fn start(request: Request, length: u64) -> ResponseStream {
    request.start(Response::ok().content_length(length)).expect("open")
}

#[test]
fn a_stream_of_known_length_arrives_whole_and_the_connection_goes_on() {
    let handle = |request: Request| {
        let mut stream = start(request, 300_000);
        assert_eq!(stream.request().path(), "/x", "the request can be read while it is answered");
        stream.send(&pattern(0, 10)[..]).expect("open");
        stream.send(Vec::new()).expect("nothing is nothing");
        stream.send(pattern(10, 199_990)).expect("open");
        stream.send(Bytes::from(pattern(200_000, 100_000))).expect("open");
        let sent = stream.finish().expect("whole").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (300_000, true));
    };
    in_both_modes(handle, |engine, address| {
        let mut client = Client::connect(address);
        for _ in 0..3 {
            let reply = client.ask("/x");
            assert_eq!(reply.field("transfer-encoding"), None);
            assert!(reply.body == pattern(0, 300_000) && !reply.closes());
        }
        assert_eq!(engine.counters().responses_cut, 0);
    });
}

#[test]
fn a_body_that_ends_early_is_an_error_and_a_reset() {
    let handle = |request: Request| {
        let mut stream = start(request, 10);
        stream.send("123456789").expect("open");
        let error = stream.finish().expect_err("a byte is missing");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("content_length is 10") && error.to_string().contains("9 bytes"), "{error}");
    };
    in_both_modes(handle, |engine, address| {
        assert_eq!(Peer::get(address).rest(), None);
        assert_eq!(engine.counters().responses_cut, 1);
    });
}

#[test]
fn a_body_that_passes_its_length_is_an_error_and_a_reset() {
    let handle = |request: Request| {
        let mut stream = start(request, 10);
        stream.send("123456789").expect("open");
        let error = stream.send("01").expect_err("a byte too many");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains("content_length is 10") && error.to_string().contains("11 bytes"),
            "{error}"
        );
        assert!(stream.send("0").expect_err("it is over").is_gone());
        assert!(stream.finish().expect_err("it is over").is_gone());
    };
    in_both_modes(handle, |engine, address| {
        assert_eq!(Peer::get(address).rest(), None);
        assert_eq!(engine.counters().responses_cut, 1);
    });
}

#[test]
fn a_stream_that_is_dropped_unfinished_is_cut() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("some").expect("open");
    };
    in_both_modes(handle, |engine, address| {
        assert_eq!(Peer::get(address).rest(), None);
        assert_eq!(engine.counters().responses_cut, 1);
    });
}

#[test]
fn a_stream_without_a_length_is_chunked_and_the_connection_goes_on() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok().header("x-a", "b")).expect("open");
        for len in [1, 15, 16, 17, 255, 256, 70_000] {
            stream.send(pattern(0, len)).expect("open");
        }
        let sent = stream.finish().expect("open").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (70_560, true));
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        for _ in 0..3 {
            let head = peer.head();
            assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n") && head.contains("\r\nx-a: b\r\n"), "{head}");
            assert!(!head.contains("Content-Length") && !head.contains("Connection"), "{head}");
            let (body, trailers) = peer.chunked();
            let expected: Vec<u8> = [1, 15, 16, 17, 255, 256, 70_000].iter().flat_map(|len| pattern(0, *len)).collect();
            assert!(body == expected && trailers.is_empty());
            peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n").expect("the connection is open");
        }
    });
}

#[test]
fn an_empty_stream_is_an_empty_chunked_body() {
    let handle = |request: Request| {
        request.start(Response::ok()).expect("open").finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert_eq!(peer.chunked(), (Vec::new(), String::new()));
        assert_eq!(peer.input, b"");
    });
}

#[test]
fn to_an_old_client_a_stream_ends_with_the_connection() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("one ").expect("open");
        stream.flush().expect("open");
        stream.send("two").expect("open");
        let refused = stream.finish_with_trailers(&[("a", "b")]).map(drop);
        if let Err(error) = refused {
            assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("HTTP/1.0"), "{error}");
        }
    };
    // Trailers are refused, which cuts the answer.
    in_both_modes(handle, |engine, address| {
        assert_eq!(Peer::ask(address, "GET", "1.0").rest(), None);
        assert_eq!(engine.counters().responses_cut, 1);
    });
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("one ").expect("open");
        stream.send("two").expect("open");
        stream.finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::ask(address, "GET", "1.0");
        let head = peer.head();
        assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(peer.rest().as_deref(), Some(&b"one two"[..]));
    });
}

#[test]
fn answers_without_a_body_drop_what_is_given() {
    let handle = |request: Request| {
        let status = if request.method_name() == b"HEAD" { 200 } else { 204 };
        let known = request.header_named("x-length").is_some();
        let response = Response::new(status);
        let response = if known { response.content_length(5) } else { response };
        let mut stream = request.start(response).expect("open");
        stream.send("more than five bytes").expect("it is dropped");
        stream.write_all(b"and more").expect("it is dropped");
        let sent = stream.finish().expect("open").wait().expect("driven");
        assert_eq!((sent.bytes, sent.complete), (0, true));
    };
    in_both_modes(handle, |engine, address| {
        let mut peer = Peer::ask(address, "HEAD", "1.1");
        let head = peer.head();
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n") && !head.contains("Connection"), "{head}");
        peer.stream.write_all(b"HEAD /x HTTP/1.1\r\nHost: t\r\nx-length: 1\r\n\r\n").expect("open");
        let head = peer.head();
        assert!(head.contains("\r\nContent-Length: 5\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        peer.stream.write_all(b"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").expect("open");
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 204 ") && !head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(peer.rest(), Some(Vec::new()), "no body anywhere");
        assert_eq!(engine.counters().responses_cut, 0);
    });
}

#[test]
fn trailers_follow_a_chunked_body() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        stream.send("body").expect("open");
        stream.finish_with_trailers(&[("x-sum", "42"), ("x-more", "")]).expect("valid");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert_eq!(peer.chunked(), (b"body".to_vec(), "x-sum: 42\r\nx-more: \r\n".to_owned()));
    });
}

#[test]
fn trailers_that_cannot_be_sent_are_refused_by_name() {
    let host = Host::start();
    let cases: [(&str, &str, &str); 4] = [
        ("a b", "1", "a b"),
        ("x", "1\r\ny: 2", "\"x\""),
        ("Content-Length", "3", "Content-Length"),
        ("", "1", "\"\""),
    ];
    for (name, value, told) in cases {
        let mut peer = Peer::get(host.address);
        let stream = host.receive().start(Response::ok()).expect("open");
        let error = stream.finish_with_trailers(&[(name, value)]).expect_err("it cannot be sent");
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(told), "{error}");
        assert_eq!(peer.rest(), None);
    }
    let mut peer = Peer::get(host.address);
    let stream = start(host.receive(), 0);
    let error = stream.finish_with_trailers(&[("a", "b")]).expect_err("the length is known");
    assert!(error.to_string().contains("content_length"), "{error}");
    assert_eq!(peer.rest(), None);
    host.await_rest();
}

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
            Err(TrySendError::Error(error)) => panic!("{error}"),
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
        go.recv_timeout(PATIENCE).expect("it is told to");
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
            given = told.recv_timeout(PATIENCE).expect("the sender goes on");
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
        assert_eq!(engine.counters().responses_cut, 0, "it is the client that left");
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
fn files_and_memory_make_one_answer() {
    let file = Arc::new(file_of(500_000));
    let handle = move |request: Request| {
        let part = |range| FileRange::new(Arc::clone(&file), range);
        let response = Response::ok().body("start,").chunk(part(0..10)).chunk(",").chunk(part(100..400_000));
        let response = response.chunk(part(7..7)).chunk(part(499_999..500_000)).chunk(vec![b'e'; 100_000]);
        let is_head = request.method_name() == b"HEAD";
        let sent = request.respond_with_completion(response).expect("open").wait().expect("driven");
        if is_head {
            assert_eq!((sent.bytes, sent.complete), (0, true));
            return;
        }
        assert_eq!((sent.bytes, sent.complete), (6 + 10 + 1 + 399_900 + 1 + 100_000, true));
    };
    let mut expected = b"start,".to_vec();
    expected.extend([pattern(0, 10), b",".to_vec(), pattern(100, 399_900), pattern(499_999, 1)].concat());
    expected.extend([b'e'; 100_000]);
    in_both_modes(handle, |_, address| {
        let mut client = Client::connect(address);
        for _ in 0..3 {
            assert!(client.ask("/x").body == expected, "every byte in its place");
        }
        let mut peer = Peer::ask(address, "HEAD", "1.1");
        assert!(peer.head().contains(&format!("\r\nContent-Length: {}\r\n", expected.len())));
    });
}

#[test]
fn files_go_through_a_stream_in_chunks() {
    let file = Arc::new(file_of(300_000));
    let handle = move |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        for place in (0..300_000).step_by(100_000) {
            stream.send("-").expect("open");
            stream.send(FileRange::new(Arc::clone(&file), place..place + 100_000)).expect("open");
        }
        stream.finish().expect("open");
    };
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        let expected: Vec<u8> = (0..3).flat_map(|n| [b"-".to_vec(), pattern(n * 100_000, 100_000)].concat()).collect();
        assert!(peer.chunked().0 == expected, "every byte in its place");
    });
}

#[test]
fn an_answer_whose_file_is_too_short_is_cut() {
    let host = Host::start();
    let file = Arc::new(file_of(100_000));
    let mut peer = Peer::get(host.address);
    let whole = Response::ok().body(FileRange::new(Arc::clone(&file), 0..100_001));
    let completion = host.receive().respond_with_completion(whole).expect("open");
    assert_eq!(peer.rest(), None);
    let sent = completion.wait().expect("driven");
    assert_eq!((sent.bytes, sent.complete), (100_000, false));

    let mut peer = Peer::get(host.address);
    let mut stream = start(host.receive(), 100_000);
    stream.send(FileRange::new(Arc::clone(&file), 0..50_000)).expect("open");
    peer.head();
    peer.take(50_000);
    file.set_len(60_000).expect("it shrinks under way");
    stream.send(FileRange::new(file, 50_000..100_000)).expect("nobody knows yet");
    match stream.finish() {
        Ok(completion) => {
            let sent = completion.wait().expect("driven");
            assert!(!sent.complete && sent.bytes <= 60_000, "{sent:?}");
        }
        Err(error) => assert!(error.is_gone(), "the shard was quick: {error}"),
    }
    assert_eq!(peer.rest(), None);

    let mut peer = Peer::get(host.address);
    let write_only = File::options().write(true).open("/dev/null").expect("it is there");
    let unreadable = Response::ok().body(FileRange::new(write_only, 0..1));
    host.receive().respond_with_completion(unreadable).expect("open");
    assert_eq!(peer.rest(), None);
    assert_eq!(host.counters().responses_cut, 3);
    host.await_rest();
}

#[test]
fn many_small_writes_are_collected() {
    let handle = |request: Request| {
        let mut stream = request.start(Response::ok()).expect("open");
        for number in 0..10_000 {
            writeln!(stream, "line {number}").expect("open");
        }
        stream.send("end").expect("open");
        stream.finish().expect("open");
    };
    let mut expected: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
    expected += "end";
    in_both_modes(handle, |_, address| {
        let mut peer = Peer::get(address);
        peer.head();
        assert!(peer.chunked().0 == expected.as_bytes(), "every line in its place");
    });
}

#[test]
fn what_is_written_counts_towards_the_length() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/x");
    let mut stream = start(host.receive(), 9);
    write!(stream, "one ").expect("open");
    stream.send("two").expect("open");
    write!(stream, " 3").expect("open");
    let error = stream.write(b"!").expect_err("a byte too many");
    assert_eq!(error.kind(), IoErrorKind::InvalidInput);
    drop(stream);
    client.get("/x");
    drop(client);
    host.await_rest();

    let mut client = host.connect();
    client.get("/x");
    let mut stream = start(host.receive(), 9);
    write!(stream, "one ").expect("open");
    stream.send("two").expect("open");
    write!(stream, " 3").expect("open");
    stream.finish().expect("whole");
    assert_eq!(client.read().text(), "one two 3");
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
fn mistakes_at_the_start_are_told_and_answered_500() {
    let host = Host::start();
    let mut client = host.connect();
    let cases = [Response::ok().body("x"), Response::new(100), Response::new(204).content_length(3)];
    for response in cases {
        client.get("/x");
        let error = host.receive().start(response).expect_err("it cannot be sent");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(client.read().status, 500);
    }
    client.get("/x");
    let mixed = Response::ok().body("123").chunk("45").content_length(6);
    let error = host.receive().respond(mixed).expect_err("the length is wrong");
    assert!(error.to_string().contains("content_length is 6"), "{error}");
    assert_eq!(client.read().status, 500);
}
