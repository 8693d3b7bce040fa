//! What the tests of streamed responses share: a client that reads what it likes, when it likes, and bytes that tell
//! their place.

use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ringress::{Engine, EngineBuilder, QueueOptions, Request, RequestQueue, Response, ResponseStream};

use super::{Client, Host, StopOnDrop, builder, colocated, colocated_with, serve};

/// Runs an application in queue mode and in co-located mode, a client against each, and sees that all comes back.
pub(crate) fn in_both_modes(handle: impl Fn(Request) + Clone + Send + 'static, client: impl Fn(&Engine, SocketAddr)) {
    in_both_modes_with(builder, handle, client);
}

/// As [`in_both_modes`], with settings.
pub(crate) fn in_both_modes_with(
    builder: impl Fn() -> EngineBuilder,
    handle: impl Fn(Request) + Clone + Send + 'static,
    client: impl Fn(&Engine, SocketAddr),
) {
    let host = Host::start_with(builder(), QueueOptions::default());
    let server = serve(&host.queue, handle.clone());
    {
        let _stop = StopOnDrop(&host.engine);
        client(&host.engine, host.address);
        host.await_rest();
    }
    server.join().expect("the application ends well");
    drop(host);
    let application = move |queue: &RequestQueue| {
        while let Ok(request) = queue.receive() {
            handle(request);
        }
    };
    colocated_with(builder(), application, client);
}

/// As [`in_both_modes`], with an application that consumes the queue itself until it closes.
pub(crate) fn consumed_in_both_modes(application: impl Fn(&RequestQueue) + Sync, client: impl Fn(&Engine, SocketAddr)) {
    let host = Host::start();
    thread::scope(|scope| {
        let stop = StopOnDrop(&host.engine);
        let consumer = scope.spawn(|| application(&host.queue));
        client(&host.engine, host.address);
        host.await_rest();
        drop(stop);
        consumer.join().expect("the application ends well");
    });
    drop(host);
    colocated(&application, client);
}

/// A client that reads what it likes, when it likes.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) input: Vec<u8>,
}

impl Peer {
    pub(crate) fn over(stream: TcpStream) -> Self {
        let stream = Client::over(stream).stream;
        Self { stream, input: Vec::new() }
    }

    pub(crate) fn ask(address: SocketAddr, method: &str, version: &str) -> Self {
        let mut client = Client::connect(address);
        client.send(format!("{method} /x HTTP/{version}\r\nHost: test\r\n\r\n"));
        Self { stream: client.stream, input: Vec::new() }
    }

    pub(crate) fn get(address: SocketAddr) -> Self {
        Self::ask(address, "GET", "1.1")
    }

    /// Reads more. `false`: the connection has ended in order.
    pub(crate) fn more(&mut self) -> std::io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let len = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..len]);
        Ok(len > 0)
    }

    #[track_caller]
    pub(crate) fn take_to(&mut self, end: &[u8]) -> Vec<u8> {
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
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        while self.input.len() < len {
            assert!(self.more().expect("readable"), "the answer ends after {} of {len} bytes", self.input.len());
        }
        self.input.drain(..len).collect()
    }

    pub(crate) fn head(&mut self) -> String {
        String::from_utf8(self.take_to(b"\r\n\r\n")).expect("a text head")
    }

    /// A chunked body, and its trailer section.
    pub(crate) fn chunked(&mut self) -> (Vec<u8>, String) {
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
    pub(crate) fn rest(&mut self) -> Option<Vec<u8>> {
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
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|place| u8::try_from(place % 251).expect("below 251")).collect()
}

/// A file of so many bytes of [`pattern`] that no name leads to any more.
pub(crate) fn file_of(len: usize) -> File {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ringress-streams-{}-{number}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a new file");
    std::fs::remove_file(&path).expect("just made");
    file.write_all(&pattern(0, len)).expect("room");
    file
}

/// A response of so many bytes, to be given.
pub(crate) fn start(request: Request, length: u64) -> ResponseStream {
    request.start(Response::ok().content_length(length)).expect("open")
}
