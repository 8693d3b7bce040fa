//! Every peer answers every route as the showcase does, over real sockets: what a figure about them rests on.
//!
//! Each test starts its own server on a free port and ends it. Not here: speed, and the installed servers of `conf`,
//! which the tool checks before it times them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// For a server to start, and for any one answer.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Between two attempts to connect to a server that is starting.
const PAUSE: Duration = Duration::from_millis(2);

/// What is peculiar to one peer.
#[derive(Clone, Copy)]
struct Peer {
    program: &'static str,
    /// After the port.
    arguments: &'static [&'static str],
    server: &'static str,
}

struct Server {
    child: Child,
    address: SocketAddr,
    peer: Peer,
}

impl Server {
    fn start(peer: Peer) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut command = Command::new(peer.program);
        command.arg(free.port().to_string()).args(peer.arguments).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let mut server = Self { child, address: free, peer };
        let start = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            assert!(start.elapsed() < WAIT_MAX, "{} accepts nobody", peer.program);
            assert!(server.child.try_wait().unwrap().is_none(), "{} has ended", peer.program);
            thread::park_timeout(PAUSE);
        }
        server
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, input: Vec::new(), server: self.peer.server }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client {
    stream: TcpStream,
    /// Received and not yet used.
    input: Vec<u8>,
    server: &'static str,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn get(&mut self, path: &str) {
        self.send(get(path).as_bytes());
    }

    fn receive(&mut self) {
        let mut buffer = [0; 65_536];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.input));
        self.input.extend_from_slice(&buffer[..count]);
    }

    /// Takes the next answer and asserts all of it but the order of its fields.
    fn expect(&mut self, status: u16, content_type: &str, body: &str) {
        let head_end = loop {
            match self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.receive(),
            }
        };
        let head = String::from_utf8(self.input.drain(..head_end + 4).take(head_end).collect()).unwrap();
        let field = |name: &str| {
            let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let mut values = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            let value = values.next();
            assert_eq!(values.next(), None, "{name} twice in {head}");
            value
        };
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(field("Server"), Some(self.server), "{head}");
        assert_eq!(field("Content-Type"), Some(content_type), "{head}");
        assert_eq!(field("Content-Length"), Some(body.len().to_string().as_str()), "{head}");
        assert_eq!(field("Transfer-Encoding"), None, "{head}");
        assert_eq!(field("Connection"), None, "{head}");
        let date = field("Date").unwrap_or_default();
        assert!(date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len() && date.ends_with(" GMT"), "{head}");
        while self.input.len() < body.len() {
            self.receive();
        }
        let received: Vec<u8> = self.input.drain(..body.len()).collect();
        assert!(received == body.as_bytes(), "{head}\n\n{:.80}", String::from_utf8_lossy(&received));
    }

    /// The connection ends, and no request was answered as if it were right.
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too; to wait in vain is not.
        let error = self.stream.read_to_end(&mut rest).err().map(|error| error.kind());
        assert!(matches!(error, None | Some(ErrorKind::ConnectionReset)), "{error:?}");
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&rest));
    }

    /// Nothing more has come than what was expected.
    fn expect_silence(&mut self) {
        assert!(self.input.is_empty(), "{:?}", String::from_utf8_lossy(&self.input));
        self.stream.set_nonblocking(true).unwrap();
        let error = self.stream.peek(&mut [0]).map_err(|error| error.kind());
        self.stream.set_nonblocking(false).unwrap();
        assert_eq!(error, Err(ErrorKind::WouldBlock));
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn post_chunked(path: &str, chunks: &[&str]) -> String {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";
const MESSAGE: &str = r#"{"message":"Hello, World!"}"#;

/// Every route with its answer, all on one connection.
fn routes(peer: Peer) {
    let server = Server::start(peer);
    let mut client = server.client();
    client.get("/plaintext");
    client.expect(200, TEXT, "Hello, World!");
    client.get("/plaintext?a=query");
    client.expect(200, TEXT, "Hello, World!");
    client.get("/json");
    client.expect(200, JSON, MESSAGE);
    client.get("/baseline11?a=13&b=42");
    client.expect(200, TEXT, "55");
    client.send(post("/baseline11?a=13&b=42", "-100").as_bytes());
    client.expect(200, TEXT, "-45");
    client.send(post("/baseline11?a=9223372036854775807&b=x", "1").as_bytes());
    client.expect(200, TEXT, "-9223372036854775808");
    for count in [0, 1, 1024, 65_536, 1 << 20] {
        client.get(&format!("/bytes/{count}"));
        client.expect(200, OCTETS, &"x".repeat(count));
    }
    client.get("/slow/1");
    client.expect(200, TEXT, "slow\n");
    for missing in ["/", "/nothing", "/plaintext/", "/bytes/", "/bytes/x", "/bytes/1048577", "/slow/", "/upload"] {
        client.get(missing);
        client.expect(404, TEXT, "no such path\n");
    }
    client.send(post("/plaintext", "").as_bytes());
    client.expect(404, TEXT, "no such path\n");
    client.expect_silence();
}

/// Fifteen fields of a browser's length.
fn headers(peer: Peer) {
    let fields: String = (1..15).map(|number| format!("X-Field-{number}: {}\r\n", "v".repeat(40))).collect();
    let server = Server::start(peer);
    let mut client = server.client();
    for _ in 0..2 {
        client.send(format!("GET /plaintext HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes());
        client.expect(200, TEXT, "Hello, World!");
    }
    client.expect_silence();
}

/// Requests that arrive together are answered in order, also with bodies among them.
fn pipelining(peer: Peer) {
    let server = Server::start(peer);
    let mut client = server.client();
    client.send((get("/plaintext") + &get("/json")).as_bytes());
    client.expect(200, TEXT, "Hello, World!");
    client.expect(200, JSON, MESSAGE);
    client.send(get("/plaintext").repeat(16).as_bytes());
    for _ in 0..16 {
        client.expect(200, TEXT, "Hello, World!");
    }
    let mixed = [get("/baseline11?a=1&b=2"), post("/baseline11?a=3", "4"), post("/upload", "12345"), get("/json")];
    client.send(mixed.concat().as_bytes());
    for body in ["3", "7", "5"] {
        client.expect(200, TEXT, body);
    }
    client.expect(200, JSON, MESSAGE);
    client.expect_silence();
}

/// Bodies of known length are counted to the last byte, and the connection goes on.
fn uploads(peer: Peer) {
    let server = Server::start(peer);
    let mut client = server.client();
    for length in [0, 1, 1000, 65_537, 1 << 20] {
        client.send(post("/upload", &"u".repeat(length)).as_bytes());
        client.expect(200, TEXT, &length.to_string());
    }
    // One that comes in pieces: the answer must not come before the last.
    let request = post("/upload", "in pieces");
    let (first, last) = request.split_at(request.len() - 4);
    client.send(first.as_bytes());
    let mut other = server.client();
    other.get("/plaintext");
    other.expect(200, TEXT, "Hello, World!");
    client.expect_silence();
    client.send(last.as_bytes());
    client.expect(200, TEXT, "9");
    client.expect_silence();
}

/// The same with chunks.
fn chunked(peer: Peer) {
    let server = Server::start(peer);
    let mut client = server.client();
    client.send(post_chunked("/baseline11?a=1&b=7", &["2", "5"]).as_bytes());
    client.expect(200, TEXT, "33");
    client.send(post_chunked("/upload", &[]).as_bytes());
    client.expect(200, TEXT, "0");
    let chunk = "c".repeat(10_000);
    client.send(post_chunked("/upload", &[chunk.as_str(); 105]).as_bytes());
    client.expect(200, TEXT, "1050000");
    client.send((post_chunked("/upload", &["ab", "c"]) + &get("/json")).as_bytes());
    client.expect(200, TEXT, "3");
    client.expect(200, JSON, MESSAGE);
    client.expect_silence();
}

/// A library that knows no chunks refuses them or ends the connection: it counts nothing wrongly.
fn not_chunked(peer: Peer) {
    let server = Server::start(peer);
    let request = post_chunked("/upload", &["abc"]);
    let (head, chunks) = request.split_at(request.len() - "3\r\nabc\r\n0\r\n\r\n".len());
    let mut client = server.client();
    client.send(head.as_bytes());
    client.expect(411, TEXT, "a body needs a Content-Length\n");
    client.send(chunks.as_bytes());
    client.expect_end();
    let mut client = server.client();
    client.send(request.as_bytes());
    client.expect_end();
}

/// A slow answer takes its time and holds up nobody.
fn slow(peer: Peer) {
    let delay = Duration::from_secs(1);
    let server = Server::start(peer);
    let mut slow = server.client();
    let start = Instant::now();
    slow.get("/slow/1000");
    let mut fast = server.client();
    fast.get("/plaintext");
    fast.expect(200, TEXT, "Hello, World!");
    slow.expect_silence();
    slow.expect(200, TEXT, "slow\n");
    let took = start.elapsed();
    assert!(took >= delay, "{took:?}");
}

macro_rules! peers {
    ($($peer:ident: $program:literal, $arguments:expr, $server:literal, [$($test:ident),*];)*) => {
        $(mod $peer {
            const PEER: super::Peer = super::Peer {
                program: env!(concat!("CARGO_BIN_EXE_", $program)),
                arguments: &$arguments,
                server: $server,
            };
            $(#[test]
            fn $test() {
                super::$test(PEER);
            })*
        })*
    };
}

peers! {
    hyper: "hyper", [], "ringress", [routes, headers, pipelining, uploads, chunked, slow];
    hyper_vectored: "hyper", ["vectored"], "ringress", [routes, headers, pipelining, uploads, chunked, slow];
    actix: "actix", [], "ringress", [routes, headers, pipelining, uploads, chunked, slow];
    ntex: "ntex", [], "ringress", [routes, headers, pipelining, uploads, chunked, slow];
    xitca: "xitca", [], "ringress", [routes, headers, pipelining, uploads, chunked, slow];
    xitca_uring: "xitca", ["uring"], "ringress", [routes, headers, pipelining, uploads, chunked, slow];
    may: "may", [], "M", [routes, headers, pipelining, uploads, not_chunked, slow];
}

#[test]
fn wrong_arguments_are_one_clear_line() {
    let hyper = env!("CARGO_BIN_EXE_hyper");
    let may = env!("CARGO_BIN_EXE_may");
    let cases: [(&str, &[&str], &str); 7] = [
        (hyper, &[], "the port to listen on is wanted"),
        (hyper, &["http"], "\"http\" is not a port (0 to 65535)"),
        (hyper, &["65536"], "\"65536\" is not a port (0 to 65535)"),
        (hyper, &["8080", "fast"], "\"vectored\" or nothing"),
        (hyper, &["8080", "vectored", "more"], "\"more\" is one argument too many"),
        (may, &[], "the port to listen on is wanted"),
        (may, &["8080", "vectored"], "\"vectored\" is one argument too many"),
    ];
    for (program, arguments, expected) in cases {
        let output = Command::new(program).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(expected), "{arguments:?}: {said}");
    }
}
