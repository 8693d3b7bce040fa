//! One router behind `axum::serve` and behind a queue, and what a client sees of each.
//!
//! Invariants: a response is all that a client sees but for the Date, the case of field names and the sizes of chunks.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, SystemTime};

use ringress::QueueOptions;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::peer::Peer;
use crate::common::{Client, Host, builder};
use crate::differences::DIFFERENCES;

/// Both servers, on tokio.
pub(crate) struct Both {
    pub(crate) host: Host,
    pub(crate) runtime: Runtime,
    pub(crate) axum: SocketAddr,
    files: TempDir,
}

/// A folder to be served, which is the same for both.
fn make_files() -> TempDir {
    let folder = tempfile::tempdir().expect("a new folder");
    std::fs::create_dir(folder.path().join("sub")).expect("a new folder");
    let digits: String = (0..1000).map(|number| format!("{number:04}")).collect();
    let files = [
        ("text.txt", digits.as_str()),
        ("empty.txt", ""),
        ("none.html", "<p>none</p>"),
        ("sub/index.html", "<p>index</p>"),
        ("packed.txt", "packed"),
        ("packed.txt.gz", "not really"),
    ];
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("room");
        let file = std::fs::File::options().write(true).open(&path).expect("just made");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("ours");
    }
    folder
}

impl Both {
    pub(crate) fn start() -> Self {
        let files = make_files();
        let router = || crate::app::router(files.path());
        let host = Host::start_with(builder().server(""), QueueOptions::default());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let axum = listener.local_addr().expect("bound");
        let make = router().into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
            axum::serve(listener, make).await
        });
        runtime.spawn(ringress::axum::serve(host.queue.clone(), router()).into_future());
        Self { host, runtime, axum, files }
    }

    /// Asks both, and asserts that they answer alike but for the [`DIFFERENCES`], all of which there are.
    #[track_caller]
    pub(crate) fn compare(self, cases: &[Case]) {
        let mut wrong = String::new();
        for case in cases {
            // Seen only when a test fails.
            println!("{}", case.name);
            let (of_axum, of_ringress) = (case.ask(self.axum), case.ask(self.host.address));
            let differs = of_axum != of_ringress;
            let is_listed = DIFFERENCES.iter().any(|(_, cases)| cases.contains(&case.name));
            if differs != is_listed {
                let what = if differs { "differs" } else { "does not differ, but is listed" };
                wrong += &format!("{} {what}:\n  axum     {of_axum:?}\n  ringress {of_ringress:?}\n", case.name);
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        self.end();
    }

    /// Nothing is lent or lost.
    pub(crate) fn end(self) {
        self.host.await_rest();
        self.host.engine.shutdown(Duration::ZERO).expect("no shard failed");
        drop(self.runtime);
        self.files.close().expect("ours");
    }
}

/// A request, and what a client that has its response does next.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    request: Vec<u8>,
    /// What is sent once the client is told to go on.
    continued: Option<Vec<u8>>,
    /// Whether the connection goes on is hyper's to say, by what of the body it has read meanwhile.
    is_unread: bool,
}

/// What a client sees.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Informational responses before.
    informational: Vec<u16>,
    /// `None`: the connection has ended before a whole response.
    line: Option<String>,
    /// Names in lower case, in order, without the Date.
    pub(crate) fields: Vec<(String, String)>,
    body: Body,
    trailers: String,
    /// The connection takes another request.
    goes_on: bool,
}

/// Short where it is long.
#[derive(Default, PartialEq, Eq)]
struct Body(Vec<u8>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let begins = &self.0[..self.0.len().min(100)];
        write!(f, "{} bytes \"{}\"", self.0.len(), begins.escape_ascii())
    }
}

/// A request with a body.
pub(crate) fn with_body(name: &'static str, line: &str, fields: &str, body: impl AsRef<[u8]>) -> Case {
    let head = format!("{line} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n{fields}\r\n", body.as_ref().len());
    Case { name, request: [head.as_bytes(), body.as_ref()].concat(), continued: None, is_unread: false }
}

/// A request without a body: its line but for the version, and its fields but for the Host.
pub(crate) fn plain(name: &'static str, line: &str, fields: &str) -> Case {
    raw(name, format!("{line} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"))
}

/// A request as it is.
pub(crate) fn raw(name: &'static str, request: impl Into<Vec<u8>>) -> Case {
    Case { name, request: request.into(), continued: None, is_unread: false }
}

/// A request whose body is sent when it is asked for.
pub(crate) fn expecting(name: &'static str, path: &str, body: &str) -> Case {
    let fields = format!("Host: test\r\nContent-Length: {}\r\nExpect: 100-continue", body.len());
    let head = format!("POST {path} HTTP/1.1\r\n{fields}\r\n\r\n");
    Case { name, request: head.into(), continued: Some(body.into()), is_unread: false }
}

impl Case {
    /// With a body that is not read.
    pub(crate) fn unread(self) -> Self {
        Self { is_unread: true, ..self }
    }

    pub(crate) fn ask(&self, address: SocketAddr) -> Seen {
        let stream = Client::connect(address).stream;
        let port = stream.local_addr().expect("connected").port();
        let request = replace(&self.request, b"PORT", port.to_string().as_bytes());
        let mut sender = stream.try_clone().expect("a descriptor");
        let mut peer = Peer::over(stream);
        let is_head = request.starts_with(b"HEAD ");
        thread::scope(|scope| {
            // Who refuses a request need not read it.
            scope.spawn(move || sender.write_all(&request));
            let mut seen = Seen::default();
            while seen.read_head(&mut peer) {
                if seen.status() == Some(100)
                    && let Some(body) = &self.continued
                {
                    peer.stream.write_all(body).expect("asked for");
                }
                if matches!(seen.status(), Some(100 | 102..200)) {
                    seen.informational.extend(seen.status());
                    (seen.line, seen.fields) = (None, Vec::new());
                    continue;
                }
                if seen.read_body(&mut peer, is_head).is_none() {
                    // How much of it came before is chance.
                    seen = Seen::default();
                    break;
                }
                seen.goes_on = !self.is_unread && seen.status() != Some(101) && goes_on(&mut peer);
                break;
            }
            // For who still sends.
            let _ = peer.stream.shutdown(std::net::Shutdown::Both);
            seen
        })
    }
}

fn replace(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    match bytes.windows(what.len()).position(|window| window == what) {
        Some(at) => [&bytes[..at], by, &bytes[at + what.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

/// Takes input up to an end; `None`: the connection ends before.
fn take_to(peer: &mut Peer, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = peer.input.windows(end.len()).position(|window| window == end) {
            return Some(peer.input.drain(..at + end.len()).collect());
        }
        more(peer)?;
    }
}

fn more(peer: &mut Peer) -> Option<()> {
    match peer.more() {
        Ok(true) => Some(()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no response in time"),
        _ => None,
    }
}

/// Whether another request is answered.
fn goes_on(peer: &mut Peer) -> bool {
    let _ = peer.stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    take_to(peer, b"\r\n\r\n").is_some_and(|head| head.starts_with(b"HTTP/1.1 200"))
        && take_to(peer, b"Hello, World!").is_some()
}

impl Seen {
    pub(crate) fn status(&self) -> Option<u16> {
        self.line.as_ref()?.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn read_head(&mut self, peer: &mut Peer) -> bool {
        let Some(head) = take_to(peer, b"\r\n\r\n") else { return false };
        let text = head.escape_ascii().to_string();
        let mut lines = text.split("\\r\\n");
        self.line = lines.next().map(str::to_owned);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = name.to_ascii_lowercase();
            let value = value.trim_start().to_owned();
            let value = if name == "connection" { value.to_ascii_lowercase() } else { value };
            if name != "date" {
                self.fields.push((name, value));
            }
        }
        // Fields of different names may come in any order (RFC 9110 section 5.3).
        self.fields.sort_by(|one, other| one.0.cmp(&other.0));
        true
    }

    /// `None`: it is cut.
    fn read_body(&mut self, peer: &mut Peer, is_head: bool) -> Option<()> {
        if is_head || matches!(self.status(), Some(101 | 204 | 304)) {
            return Some(());
        }
        if self.field("transfer-encoding").is_some() {
            return self.read_chunks(peer);
        }
        let Some(length) = self.field("content-length").map(|length| length.parse().expect("a number")) else {
            while peer.more().ok()? {}
            self.body.0.append(&mut peer.input);
            return Some(());
        };
        while peer.input.len() < length {
            if more(peer).is_none() {
                self.body.0.append(&mut peer.input);
                return None;
            }
        }
        self.body.0.extend(peer.input.drain(..length));
        Some(())
    }

    fn read_chunks(&mut self, peer: &mut Peer) -> Option<()> {
        loop {
            let line = String::from_utf8(take_to(peer, b"\r\n")?).expect("a chunk's size");
            let len = usize::from_str_radix(line.trim_end(), 16).expect("a number");
            if len == 0 {
                break;
            }
            while peer.input.len() < len + 2 {
                more(peer)?;
            }
            self.body.0.extend(peer.input.drain(..len));
            peer.input.drain(..2);
        }
        loop {
            match String::from_utf8(take_to(peer, b"\r\n")?).expect("text").as_str() {
                "\r\n" => return Some(()),
                line => self.trailers += &line.to_ascii_lowercase(),
            }
        }
    }
}
