//! A request's way allocates nothing after the start: counted in the whole process, in both modes, for every way to
//! receive and to answer. And no large body is copied that need not be.
//!
//! The counter is the process's, so one test runs all cases, one after the other.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Host, StopOnDrop, WAIT_MAX, await_rest, builder, colocated, serve, wait_until};
use ringress::{
    Body, Driver, FileRange, LogFormat, Logging, Method, QueueOptions, Request, RequestQueue, Response, ResponseHeader,
    WaitStrategy,
};

/// Rounds before counting, and while counting.
const WARM_UP: usize = 120;
const ROUNDS: usize = 480;

struct Counting;

static ARMED: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes of the largest allocation, also of threads that are not counted.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Breaks the circle of a report that allocates.
    static REPORTING: Cell<bool> = const { Cell::new(false) };
    /// What this thread allocates is not counted.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// The thread that writes logs, which may allocate; 0: there is none.
static WRITER_THREAD: AtomicI32 = AtomicI32::new(0);

/// The thread that the test runs on.
static TEST_THREAD: AtomicI32 = AtomicI32::new(0);

fn thread_id() -> i32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Whether this is the harness's own thread, the first of the process, which reports on a test that takes long: on a
/// busy machine this one does. With one thread the harness runs the test there itself.
fn is_harness() -> bool {
    let this = thread_id();
    this == std::process::id().cast_signed() && this != TEST_THREAD.load(Ordering::SeqCst)
}

impl Counting {
    fn count(size: usize) {
        LARGEST.fetch_max(size, Ordering::SeqCst);
        if EXEMPT.try_with(Cell::get).unwrap_or(false) || !ARMED.load(Ordering::SeqCst) || is_harness() {
            return;
        }
        if thread_id() == WRITER_THREAD.load(Ordering::SeqCst) {
            return;
        }
        // The first offender tells where it is.
        if ALLOCATIONS.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = REPORTING.try_with(|reporting| {
                if !reporting.replace(true) {
                    eprintln!("{size} bytes allocated at\n{}", std::backtrace::Backtrace::force_capture());
                    reporting.set(false);
                }
            });
        }
    }
}

// SAFETY: every call goes to the system's allocator with its arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a client sends in one round, in packets, and how many responses it gets for each.
const EXCHANGES: [(&[&str], usize); 9] = [
    (&["GET / HTTP/1.1\r\nHost: test\r\n\r\n"], 1),
    (&[BROWSER], 1),
    (&["GET /caf%C3%A9/./a/../%7Euser?q=x HTTP/1.1\r\nHost: test\r\n\r\n"], 1),
    (&["POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\nhello=world"], 1),
    (&["GET /split HTTP/1.1\r\nHo", "st: test\r\n\r\n"], 1),
    (&["POST /split HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\nhello", "=world"], 1),
    (&[CHUNKED], 1),
    (&[PIPELINED], 5),
    (&["GET /elsewhere HTTP/1.1\r\nHost: test\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: test\r\n\r\n"], 2),
];

const CHUNKED: &str = "POST /chunked HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n6;x=y\r\n=world\r\n0\r\n\r\n";

const PIPELINED: &str = "GET /1 HTTP/1.1\r\nHost: test\r\n\r\nGET /2 HTTP/1.1\r\nHost: test\r\n\r\n\
    GET /3 HTTP/1.1\r\nHost: test\r\n\r\nPOST /4 HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok\
    GET /5 HTTP/1.1\r\nHost: test\r\n\r\n";

const BROWSER: &str = "GET /index.html?utm_source=test HTTP/1.1\r\nHost: www.example.test\r\nConnection: keep-alive\r\n\
    Cache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n";

/// A client that allocates nothing after it is made.
struct Frugal {
    stream: TcpStream,
    input: Box<[u8; 64 * 1024]>,
}

impl Frugal {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, WAIT_MAX).expect("the engine listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
        Self { stream, input: Box::new([0; 64 * 1024]) }
    }

    /// Every exchange of a round, one after the other.
    fn round(&mut self) {
        for (packets, answers) in EXCHANGES {
            for (number, packet) in packets.iter().enumerate() {
                if number > 0 {
                    // Long enough for the engine to see the first packet alone, mostly; nothing depends on it.
                    std::thread::park_timeout(Duration::from_micros(300));
                }
                self.stream.write_all(packet.as_bytes()).expect("the engine takes input");
            }
            self.read_answers(answers);
        }
    }

    /// The body of every response ends with an exclamation mark, except that of HEAD, which has none.
    fn read_answers(&mut self, answers: usize) {
        let (mut len, mut seen) = (0, 0);
        while seen < answers {
            let got = self.stream.read(&mut self.input[len..]).expect("answers come in time");
            assert!(got > 0, "the connection ended");
            len += got;
            let text = &self.input[..len];
            let heads = text.windows(12).filter(|twelve| *twelve == b"HTTP/1.1 200").count();
            let whole = text.ends_with(b"!") || text.ends_with(b"\r\n\r\n");
            seen = if whole { heads } else { 0 };
        }
        assert_eq!(seen, answers);
    }

    /// Asks for a body of [`LARGE`] bytes and reads it.
    fn take_large(&mut self) {
        self.stream.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").expect("the engine takes input");
        let mut left = None;
        while left != Some(0) {
            let got = self.stream.read(&mut self.input[..]).expect("the answer comes in time");
            assert!(got > 0, "the connection ended");
            let head = || {
                let end = self.input.windows(4).position(|four| four == b"\r\n\r\n").expect("one piece has the head");
                end + 4 + LARGE
            };
            left = Some(left.unwrap_or_else(head).checked_sub(got).expect("not a byte more"));
        }
    }
}

/// Counts what is allocated while a warm client and two pipelining neighbours make their rounds.
fn assert_frugal(name: &str, address: SocketAddr) {
    let mut clients: Vec<Frugal> = (0..3).map(|_| Frugal::connect(address)).collect();
    let rounds = |clients: &mut Vec<Frugal>, rounds| {
        for number in 0..rounds {
            let which = number % clients.len();
            clients[which].round();
        }
    };
    rounds(&mut clients, WARM_UP);
    ALLOCATIONS.store(0, Ordering::SeqCst);
    ARMED.store(true, Ordering::SeqCst);
    rounds(&mut clients, ROUNDS);
    ARMED.store(false, Ordering::SeqCst);
    let requests: usize = EXCHANGES.iter().map(|(_, answers)| answers).sum::<usize>() * ROUNDS;
    let allocations = ALLOCATIONS.load(Ordering::SeqCst);
    assert_eq!(allocations, 0, "{name}: {allocations} allocations in {requests} requests");
    println!("{name}: no allocation in {requests} requests");
}

fn answer(request: &Request) -> Response<'static> {
    let read = request.headers().count() + request.path().len() + request.whole_body().map_or(0, <[u8]>::len);
    // Nothing of these is as it was not sent, but for the path, which has been decoded.
    let named = request.header("user-agent").into_iter().chain(request.header_values("x-forwarded-for")).count();
    let taken_apart = request.cookies().count() + request.path_segments().count() + request.rest_segments().count();
    let asked = request.query_value("utm_source").is_some_and(|value| value == "test");
    assert_eq!(asked, request.path() == "/index.html");
    assert!(read + named + taken_apart > 0);
    match request.method() {
        Method::Post => {
            let response = Response::ok().content_type("text/plain").header("x-kind", "form").header("x-more", b"1");
            response.header(ResponseHeader::ETag, "\"1\"").header(ResponseHeader::Vary, "*").body(b"posted!")
        }
        _ => Response::text("Hello, World!"),
    }
}

fn by_handle(request: Request) {
    let response = answer(&request);
    request.respond(response).expect("open");
}

fn by_id(queue: &RequestQueue, request: Request) {
    let response = answer(&request);
    queue.respond(request.into_id(), response).expect("open");
}

fn by_id_while_read(queue: &RequestQueue, request: &Request) {
    queue.respond(request.id(), answer(request)).expect("open");
    assert!(!request.path().is_empty());
}

/// A way to consume a queue until it closes.
type Way = fn(&RequestQueue);

const WAYS: [(&str, Way); 5] = [
    ("receive, by handle", |queue| {
        while let Ok(request) = queue.receive() {
            by_handle(request);
        }
    }),
    ("receive, by id", |queue| {
        while let Ok(request) = queue.receive() {
            by_id(queue, request);
        }
    }),
    ("receive, by id while it is read", |queue| {
        while let Ok(request) = queue.receive() {
            by_id_while_read(queue, &request);
        }
    }),
    ("receive_batch, by handle", |queue| {
        while let Ok(batch) = queue.receive_batch(16) {
            batch.for_each(by_handle);
        }
    }),
    ("receive_timeout, by id", |queue| {
        while let Ok(received) = queue.receive_timeout(Duration::from_millis(50)) {
            if let Some(request) = received {
                by_id(queue, request);
            }
        }
    }),
];

fn count_queue_mode(name: &str, wait: WaitStrategy, consumers: usize, way: Way) {
    let host = Host::start_with(builder(), QueueOptions::default().wait(wait));
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&host.engine);
        for _ in 0..consumers {
            let queue = host.queue.clone();
            scope.spawn(move || way(&queue));
        }
        assert_frugal(name, host.address);
    });
}

#[test]
fn a_request_allocates_nothing_on_its_way() {
    TEST_THREAD.store(thread_id(), Ordering::SeqCst);
    for (name, way) in WAYS {
        count_queue_mode(&format!("queue mode, {name}"), WaitStrategy::Park, 1, way);
        colocated(way, |_, address| assert_frugal(&format!("co-located, {name}"), address));
    }
    count_queue_mode("queue mode, 3 consumers", WaitStrategy::SpinThenPark(1000), 3, WAYS[0].1);

    let host = Host::start();
    let consumer = serve(&host.queue, |request| request.respond_with(respond_borrowed).expect("open"));
    assert_frugal("queue mode, respond_with", host.address);
    await_rest(&host.engine);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("ends");

    count_logged();

    // Who answers in pieces allocates; the shard does not.
    let host = Host::start();
    // Over epoll, files are read by the helper, whose messages come in blocks.
    let file = (host.engine.driver() != Driver::Epoll).then(|| Arc::new(text_file("from a file!")));
    let consumer = serve(&host.queue, move |request| {
        EXEMPT.set(true);
        in_pieces(request, file.as_ref());
    });
    assert_frugal("queue mode, answers in pieces", host.address);
    // A client has all the bytes before its answer is finished.
    await_rest(&host.engine);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("ends");

    for given in LARGE_BODIES {
        count_large(given);
    }
}

/// A shard that notes requests for a log does not allocate; the thread that writes it is not on their way.
fn count_logged() {
    let folder = tempfile::tempdir().expect("a directory");
    let host = Host::start();
    host.group.set_logging(Logging::new(LogFormat::W3c, folder.path())).expect("free");
    WRITER_THREAD.store(thread_named("ringress-log"), Ordering::SeqCst);
    let consumer = serve(&host.queue, by_handle);
    assert_frugal("queue mode, logged", host.address);
    await_rest(&host.engine);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("ends");
    let requests = host.counters().requests_answered;
    assert_eq!(host.counters().log_records_written, requests);
    WRITER_THREAD.store(0, Ordering::SeqCst);
}

/// The thread of this process that has this name, once it has given itself one.
fn thread_named(name: &str) -> i32 {
    let find = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
        let is_it = |path: &std::path::Path| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let found = tasks.map(|task| task.path()).find(|path| is_it(path))?;
        found.file_name()?.to_str()?.parse().ok()
    };
    let mut found = None;
    wait_until("the thread has begun", || {
        found = found.or_else(find);
        found.is_some()
    });
    found.expect("waited for")
}

const LARGE: usize = 1 << 20;
static STATIC: [u8; LARGE] = [b'x'; LARGE];

/// A way to answer with [`LARGE`] bytes, those given or the static ones.
type Give = fn(Request, &Bytes);

/// By name, and whether the bytes have to be copied: the only allocation of such a size that there is.
const LARGE_BODIES: [(&str, bool, Give); 7] = [
    ("borrowed", true, |request, bytes| request.respond(Response::ok().body(&bytes[..])).expect("open")),
    ("shared", false, |request, bytes| request.respond(Response::ok().body(bytes.clone())).expect("open")),
    ("shared, behind others", false, |request, bytes| {
        request.respond(Response::ok().body(bytes.slice(..100)).chunk(bytes.slice(100..))).expect("open");
    }),
    ("shared, in pieces", false, |request, bytes| {
        let mut stream = request.start(Response::ok().content_length(LARGE as u64)).expect("open");
        stream.send(bytes.clone()).expect("open");
        stream.finish().expect("whole");
    }),
    ("static, borrowed", true, |request, _| request.respond(Response::ok().body(&STATIC)).expect("open")),
    ("static, as Bytes", false, |request, _| {
        request.respond(Response::ok().body(Bytes::from_static(&STATIC))).expect("open");
    }),
    ("static", false, |request, _| {
        request.respond_with_completion(Response::ok().body(Body::from_static(&STATIC))).expect("open");
    }),
];

/// Looks for allocations of a body's size while it is given and sent, in both modes.
fn count_large((name, is_copied, give): (&str, bool, Give)) {
    let application = |queue: &RequestQueue| {
        let bytes = Bytes::from(vec![b'x'; LARGE]);
        while let Ok(request) = queue.receive() {
            give(request, &bytes);
        }
    };
    let client = |address: SocketAddr| {
        let mut client = Frugal::connect(address);
        client.take_large();
        LARGEST.store(0, Ordering::SeqCst);
        client.take_large();
        let largest = LARGEST.load(Ordering::SeqCst);
        assert_eq!(largest >= LARGE / 2, is_copied, "{name}: {largest} bytes were allocated at a time");
    };
    let host = Host::start();
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&host.engine);
        scope.spawn(|| application(&host.queue));
        client(host.address);
        await_rest(&host.engine);
    });
    colocated(application, |_, address| client(address));
}

/// A file with a text that no name leads to.
fn text_file(text: &str) -> File {
    let path = std::env::temp_dir().join(format!("ringress-allocation-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a new file");
    std::fs::remove_file(&path).expect("just made");
    file.write_all(text.as_bytes()).expect("room");
    file
}

/// By a stream, or whole from memory and a file, in turn.
fn in_pieces(request: Request, file: Option<&Arc<File>>) {
    let of_file = |file: &Arc<File>| Body::from(FileRange::new(Arc::clone(file), 0..12));
    let range = file.map_or_else(|| Body::from("from memory!"), of_file);
    static TURN: AtomicU64 = AtomicU64::new(0);
    if TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
        return request.respond(Response::text("whole, ").chunk(range)).expect("open");
    }
    let mut stream = request.start(Response::ok().content_length(20)).expect("open");
    stream.send("streamed").expect("open");
    stream.send(range).expect("open");
    stream.finish().expect("whole").wait().expect("driven");
}

/// The response borrows from the request, whose bytes are copied into the response area.
fn respond_borrowed(request: &Request) -> Response<'_> {
    Response::ok().header("x-host", request.host()).body("borrowed!")
}
