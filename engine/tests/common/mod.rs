//! What the tests of the public API share: a small engine on a free port, a client with bounded wait_max, and waiting
//! for conditions instead of times.

// Each test program uses a part of this.
#![allow(dead_code, reason = "compiled once for every test program, none of which uses all of it")]

pub(crate) mod peer;
pub(crate) mod ports;
pub(crate) mod profile;
pub(crate) mod program;
pub(crate) mod seccomp;
pub(crate) mod watched;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use ringress::{
    Counters, Engine, EngineBuilder, Mode, QueueOptions, Request, RequestQueue, Response, ServerSession, UrlGroup,
};

pub(crate) use self::watched::{Watched, await_rest};

/// How long anything may take before a test fails.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a client's kernel takes before it is read (the kernel doubles it): set, so that it does not grow as the host's
/// settings allow, and megabytes are more than both sockets hold.
const RECEIVE_BUFFER_BYTES: i32 = 128 << 10;

/// One engine in queue mode with one queue, to which everything on one port goes.
pub(crate) struct Host {
    // Dropped in this order: URLs first, the engine last.
    pub(crate) group: UrlGroup,
    pub(crate) session: ServerSession,
    pub(crate) queue: RequestQueue,
    pub(crate) engine: Watched,
    pub(crate) address: SocketAddr,
}

/// A builder for one shard.
pub(crate) fn builder() -> EngineBuilder {
    Engine::builder().shards(1)
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Host {
    pub(crate) fn start() -> Self {
        Self::start_with(builder(), QueueOptions::default())
    }

    pub(crate) fn start_with(builder: EngineBuilder, options: QueueOptions) -> Self {
        let engine = Watched::start(builder, Mode::Queue);
        let queue = engine.request_queue_with("test", options).expect("a queue");
        let address = engine.listen(loopback(0)).expect("a free port");
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue).expect("both are of one engine");
        group.add_url(&format!("http://*:{}/", address.port()), 7).expect("the URL is free");
        Self { group, session, queue, engine, address }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.engine.counters()
    }

    pub(crate) fn settled(&self) -> Counters {
        settled(&self.engine)
    }

    /// The next request.
    pub(crate) fn receive(&self) -> Request {
        receive(&self.queue)
    }

    /// Drops all of it while clients or requests are left, so that what it has lent cannot be back.
    pub(crate) fn drop_unwatched(self) {
        let Self { group, session, queue, engine, .. } = self;
        drop((group, session, queue, engine.unwatched()));
    }

    /// Waits until no request, no buffer and no connection is in use. The engine's end does so, too.
    #[track_caller]
    pub(crate) fn await_rest(&self) {
        await_rest(&self.engine);
    }
}

/// The next request, within bounds.
pub(crate) fn receive(queue: &RequestQueue) -> Request {
    queue.receive_timeout(WAIT_MAX).expect("the queue is open").expect("a request comes in time")
}

/// Consumes a queue on a thread of its own until it closes.
pub(crate) fn serve(queue: &RequestQueue, mut handle: impl FnMut(Request) + Send + 'static) -> JoinHandle<u64> {
    let queue = queue.clone();
    thread::spawn(move || {
        let mut served = 0;
        while let Ok(request) = queue.receive() {
            handle(request);
            served += 1;
        }
        served
    })
}

/// Runs `application` on a thread that drives the one shard of a co-located engine, and `client` on this one. When the
/// client has ended, everything must come back; then the engine is shut down, and the application ends.
pub(crate) fn colocated<R>(
    application: impl FnOnce(&RequestQueue) + Send,
    client: impl FnOnce(&Engine, SocketAddr) -> R,
) -> R {
    colocated_with(builder(), application, client)
}

/// As [`colocated`], with settings.
pub(crate) fn colocated_with<R>(
    builder: EngineBuilder,
    application: impl FnOnce(&RequestQueue) + Send,
    client: impl FnOnce(&Engine, SocketAddr) -> R,
) -> R {
    let engine = Watched::start(builder, Mode::Colocated);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 7).expect("the URL is free");
    thread::scope(|scope| {
        let stop = StopOnDrop(&engine);
        let driver = scope.spawn(|| {
            let _attached = engine.attach(0).expect("the shard is free");
            application(&queue);
        });
        let result = client(&engine, address);
        await_rest(&engine);
        drop(stop);
        driver.join().expect("the application ends well");
        result
    })
}

/// Runs an engine of two shards whose consumers, one for each, answer every request with what `answer` says, and a
/// client against it, after which everything must come back. The group takes what the client adds to it.
pub(crate) fn by_two_shards<R>(
    (builder, mode): (EngineBuilder, Mode),
    answer: impl Fn(&Request) -> String + Sync,
    client: impl FnOnce(&Engine, &UrlGroup) -> R,
) -> R {
    let engine = Watched::start(builder.shards(2), mode);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    thread::scope(|scope| {
        let stop = StopOnDrop(&engine);
        let (attached, is_attached) = mpsc::channel();
        for index in 0..2 {
            let (engine, queue, answer, attached) = (&engine, &queue, &answer, attached.clone());
            scope.spawn(move || {
                let _shard = (mode == Mode::Colocated).then(|| engine.attach(index).expect("the shard is free"));
                attached.send(()).expect("the test waits");
                while let Ok(request) = queue.receive() {
                    let said = answer(&request);
                    request.respond(Response::text(&said)).expect("open");
                }
            });
        }
        (0..2).for_each(|_| is_attached.recv_timeout(WAIT_MAX).expect("it begins"));
        let result = client(&engine, &group);
        await_rest(&engine);
        drop(stop);
        result
    })
}

/// Everything on a port goes to the group.
pub(crate) fn add(group: &UrlGroup, port: u16) {
    group.add_url(&format!("http://*:{port}/"), 0).expect("the URL is free");
}

/// Shuts an engine down when a test is over, also by a failed assertion: otherwise its consumers would hold up the end.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a Engine);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let stopped = self.0.shutdown(Duration::ZERO);
        if !thread::panicking() {
            stopped.expect("no shard failed");
        }
    }
}

/// What is counted once no request is open: they are counted when they have ended, and what a client has read may be
/// before that.
#[track_caller]
pub(crate) fn settled(engine: &Engine) -> Counters {
    wait_until("every request has ended", || engine.counters().requests_open == 0);
    engine.counters()
}

/// Waits for a condition, at most [`WAIT_MAX`].
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(WAIT_MAX, condition), "waited in vain until {what}");
}

/// Whether a condition comes to hold within a time.
pub(crate) fn holds_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    true
}

/// Runs something that must end; a hang fails the test instead of stopping it.
#[track_caller]
pub(crate) fn within<R: Send + 'static>(time: Duration, what: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    match outcome.recv_timeout(time) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} did not end within {time:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{what} panicked"),
    }
}

/// Has a socket's kernel take at most so many bytes (the kernel doubles them) before they are read.
fn set_receive_buffer(stream: &TcpStream, bytes: i32) {
    let len = libc::socklen_t::try_from(size_of_val(&bytes)).expect("a few bytes");
    let fd = stream.as_raw_fd();
    // SAFETY: the pointer and length are those of `bytes`, which outlives the call.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const bytes).cast(), len) };
    assert_eq!(set, 0, "the socket is open");
}

/// A client connection. Every read and write is bounded by [`WAIT_MAX`].
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

/// A response as the client read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Status line and fields, without the blank line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of a field, by its name in any case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    /// Whether the connection ends with this response.
    pub(crate) fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, WAIT_MAX).expect("the engine listens");
        Self::over(stream)
    }

    /// From another address of 127.0.0.0/8.
    pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("loopback takes each of them");
        socket.connect_timeout(&address.into(), WAIT_MAX).expect("the engine listens");
        Self::over(socket.into())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
        stream.set_write_timeout(Some(WAIT_MAX)).expect("not zero");
        set_receive_buffer(&stream, RECEIVE_BUFFER_BYTES);
        Self { stream, input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the engine takes input in time");
    }

    /// Over a Unix socket, which reads and writes like any.
    pub(crate) fn over_unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
        stream.set_write_timeout(Some(WAIT_MAX)).expect("not zero");
        Self { stream: OwnedFd::from(stream).into(), input: Vec::new() }
    }

    /// Sends a GET for `path`.
    pub(crate) fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    /// Sends a GET for `path` and reads the response.
    pub(crate) fn ask(&mut self, path: &str) -> Reply {
        self.get(path);
        self.read()
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 * 1024];
        let len = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..len]);
        Ok(len)
    }

    /// Reads one response, of a known length.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Reply {
        let head_len = self.await_head();
        let head = String::from_utf8(self.input[..head_len].to_vec()).expect("a text head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let mut reply = Reply { status, head, body: Vec::new() };
        let body_len = reply.field("content-length").map_or(0, |length| length.parse().expect("a number"));
        let end = head_len + 4 + body_len;
        while self.input.len() < end {
            self.fill_more();
        }
        reply.body = self.input[head_len + 4..end].to_vec();
        self.input.drain(..end);
        reply
    }

    /// Reads the head of a response to HEAD: as [`Reply::head`].
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> String {
        let head_len = self.await_head();
        let head = String::from_utf8(self.input[..head_len].to_vec()).expect("a text head");
        self.input.drain(..head_len + 4);
        head
    }

    /// Waits for a whole head. Gives its bytes, but for the blank line.
    #[track_caller]
    fn await_head(&mut self) -> usize {
        loop {
            match self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => return at,
                None => self.fill_more(),
            }
        }
    }

    #[track_caller]
    fn fill_more(&mut self) {
        let got = self.fill();
        if !matches!(got, Ok(1..)) {
            let begun = String::from_utf8_lossy(&self.input[..self.input.len().min(300)]).into_owned();
            panic!("the response broke off with {got:?} after {} bytes: {begun:?}", self.input.len());
        }
    }

    /// Waits for the end of the connection, without any further response.
    #[track_caller]
    pub(crate) fn read_end(&mut self) -> End {
        assert_eq!(String::from_utf8_lossy(&self.input), "", "nothing was left to read");
        match self.fill() {
            Ok(0) => End::Closed,
            Ok(_) => panic!("unexpected: {:?}", String::from_utf8_lossy(&self.input)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("the connection did not end: {error}"),
        }
    }

    /// Leaves for good: a reset, which no server can take for a client that has only finished sending.
    pub(crate) fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = libc::socklen_t::try_from(size_of_val(&linger)).expect("a few bytes");
        let fd = self.stream.as_raw_fd();
        // SAFETY: the pointer and length are those of `linger`, which outlives the call.
        let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len) };
        assert_eq!(set, 0, "the socket is open");
    }

    /// Has its kernel take at most so many bytes (the kernel doubles them) before they are read.
    pub(crate) fn set_receive_buffer(&self, bytes: i32) {
        set_receive_buffer(&self.stream, bytes);
    }

    /// Whether something can be read within a time.
    pub(crate) fn is_readable_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("not zero");
        let readable = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
        readable || !self.input.is_empty()
    }
}
