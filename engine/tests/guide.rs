//! The programs of the guide, as their users see them: they serve, and end in order when they are told to. And that the
//! guide quotes them as they are.
//!
//! Not here: what their engines have lent, which these programs do not show.

mod common;

use std::fs;
use std::net::SocketAddr;

use common::peer::{Peer, pattern};
use common::program::{ANYWHERE, Program};
use common::{Client, Host, Reply, serve};
use ringress::{Request, Response};

/// The programs that the guide quotes.
const PROGRAMS: [(&str, &str); 5] = [
    ("hello", include_str!("../examples/hello.rs")),
    ("kv", include_str!("../examples/kv.rs")),
    ("proxy", include_str!("../examples/proxy.rs")),
    ("sample", include_str!("../examples/sample.rs")),
    ("upload", include_str!("../examples/upload.rs")),
];

/// Lines that are neither blank nor comments, of programs that did the same by what the library gave when only
/// `receive` and `respond` were there.
const LINES_BEFORE: [(&str, usize); 3] = [("kv", 102), ("upload", 142), ("proxy", 133)];

/// Whether these lines stand in a program one behind the other, each as far to the right as the first.
fn quotes(program: &str, quoted: &[&str]) -> bool {
    let lines: Vec<&str> = program.lines().collect();
    lines.windows(quoted.len()).any(|lines| {
        let Some(indent) = lines[0].strip_suffix(quoted[0]) else { return false };
        let same = |(line, quoted): (&&str, &&str)| line.strip_prefix(indent).unwrap_or(line) == *quoted;
        indent.trim().is_empty() && lines.iter().zip(quoted).all(same)
    })
}

#[test]
fn what_the_guide_quotes_stands_in_the_programs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide.md");
    let guide = fs::read_to_string(path).expect("the guide");
    let blocks: Vec<&str> = guide.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > PROGRAMS.len(), "{} blocks", blocks.len());
    for block in blocks {
        let quoted: Vec<&str> = block.lines().collect();
        assert!(PROGRAMS.iter().any(|(_, program)| quotes(program, &quoted)), "no program has this:\n{block}");
    }
    // Told apart from what is not there.
    let (_, kv) = PROGRAMS[1];
    assert!(quotes(kv, &["fn main() -> Result<()> {"]) && !quotes(kv, &["fn main() -> Result<()> {", "}"]));
}

#[test]
fn programs_are_at_least_a_third_shorter_than_they_would_be_by_hand() {
    for (name, before) in LINES_BEFORE {
        let (_, program) = PROGRAMS.iter().find(|(known, _)| *known == name).expect("quoted");
        let counts = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = program.lines().filter(counts).count();
        assert!(lines * 3 <= before * 2, "{name} has {lines} lines, and had {before}");
    }
}

/// Sends a request with these fields, each ended by CRLF, and gives the response.
fn ask(client: &mut Client, line: &str, fields: &str, body: &[u8]) -> Reply {
    let head = format!("{line} HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    client.send([head.as_bytes(), body].concat());
    client.read()
}

fn status(client: &mut Client, line: &str, body: &[u8]) -> u16 {
    ask(client, line, "", body).status
}

/// Ends a program as a service manager does.
fn terminate(program: Program) {
    program.signal(libc::SIGTERM);
    program.end();
}

#[test]
fn kv_keeps_values_under_keys_that_are_segments() {
    let program = Program::start("kv", &[ANYWHERE]);
    let mut client = Client::connect(program.address);
    for (key, value) in [("a%2Fb", "slash"), ("a%252Fb", "escape"), ("caf%C3%A9", "accent")] {
        let stored = ask(&mut client, &format!("PUT /kv/{key}"), "", value.as_bytes());
        assert_eq!((stored.status, stored.field("location")), (201, Some(&*format!("/kv/{key}"))));
    }
    assert_eq!(client.ask("/kv/a%2Fb").text(), "slash");
    assert_eq!(client.ask("/kv/a%252Fb").text(), "escape");
    assert_eq!(client.ask("/kv/caf%c3%a9?x=y").field("content-type"), Some("application/octet-stream"));
    assert_eq!(ask(&mut client, "PUT /kv/json", "Content-Type: application/json\r\n", b"{}").status, 201);
    assert_eq!(client.ask("/kv/json").field("content-type"), Some("application/json"));
    assert_eq!(status(&mut client, "PUT /kv/json", b"[]"), 204);
    assert_eq!(client.ask("/kv/json").text(), "[]");
    assert_eq!(client.ask("/kv/").text(), "a%2Fb\na/b\ncaf\u{e9}\njson\n");
    assert_eq!(client.ask("/kv?prefix=a&limit=1").text(), "a%2Fb\n");
    assert_eq!(client.ask("/kv/?limit=9&prefix=a%2F").text(), "a/b\n");
    assert_eq!(status(&mut client, "DELETE /kv/a%2Fb", b""), 204);
    assert_eq!(status(&mut client, "DELETE /kv/a%2Fb", b""), 404);
    assert_eq!((client.ask("/kv/a%2Fb").status, client.ask("/other").status), (404, 404));
    assert_eq!(ask(&mut client, "PATCH /kv/json", "", b"").field("allow"), Some("GET, HEAD, PUT, DELETE"));
    assert_eq!(ask(&mut client, "DELETE /kv/", "", b"").field("allow"), Some("GET, HEAD"));
    assert_eq!(status(&mut client, "PUT /kv/large", &[0; (1 << 20) + 1]), 413);
    terminate(program);
}

#[test]
fn upload_takes_files_of_those_who_have_logged_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().to_str().expect("text");
    let program = Program::start("upload", &[root, "open sesame", ANYWHERE]);
    let mut client = Client::connect(program.address);
    let form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    assert_eq!(ask(&mut client, "POST /login", form, b"password=open-sesame").status, 403);
    assert_eq!(ask(&mut client, "POST /login", "Content-Type: text/plain\r\n", b"password=open+sesame").status, 415);
    let entered = ask(&mut client, "POST /login", form, b"x=1&password=open+sesa%6de");
    assert_eq!((entered.status, entered.field("location")), (303, Some("/")));
    let cookie = entered.field("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
    let fields = format!("Cookie: theme=dark; {cookie}\r\n");
    // More than all buffers hold; it is there once it is whole.
    let content = pattern(0, 3 << 20);
    let stored = ask(&mut client, "PUT /caf%C3%A9.bin", &fields, &content);
    assert_eq!((stored.status, stored.field("location")), (201, Some("/caf%C3%A9%2Ebin")));
    assert!(fs::read(directory.path().join("caf\u{e9}.bin")).expect("stored") == content);
    assert_eq!(client.ask("/").text(), "caf\u{e9}.bin\n");
    let part = ask(&mut client, "GET /caf%c3%a9.bin?download", "Range: bytes=1000-1999\r\n", b"");
    assert_eq!((part.status, &*part.body), (206, &content[1_000..2_000]));
    assert_eq!(part.field("content-disposition"), Some("attachment; filename*=UTF-8''caf%C3%A9%2Ebin"));
    for path in ["/none", "/.0.part", "/..%2Fetc", "/a%2Fb"] {
        assert_eq!(client.ask(path).status, 404, "{path}");
    }
    assert_eq!(ask(&mut client, "DELETE /x", &fields, b"").field("allow"), Some("GET, HEAD, PUT"));
    assert_eq!(ask(&mut client, "PUT /..%2Fescape", &fields, b"x").status, 404);
    for wrong in ["", "Cookie: token=\r\n", "Cookie: token=0\r\n"] {
        let mut stranger = Client::connect(program.address);
        assert_eq!(ask(&mut stranger, "PUT /mine", wrong, b"x").status, 403, "{wrong}");
    }
    // One that ends early leaves nothing.
    let mut early = Client::connect(program.address);
    early.send(format!("PUT /early HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: 9\r\n\r\nabc"));
    drop(early);
    assert_eq!(client.ask("/").text(), "caf\u{e9}.bin\n");
    terminate(program);
    let left: Vec<_> = fs::read_dir(directory.path()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// What a client has sent, as far as an origin server sees it.
fn describe(mut request: Request) {
    let body = request.body().to_bytes(8 << 20).expect("whole");
    let _ = request.respond_with(|request| {
        let mut text = format!("{} {}", text(request.method_name()), text(request.raw_url()));
        let mut fields: Vec<String> =
            request.headers().map(|(name, value)| format!("{}: {}", lower(name), self::text(value))).collect();
        fields.sort();
        text += &format!("\n{}\n{} bytes", fields.join("\n"), body.len());
        Response::new(203).header("X-Origin", "yes").header("Keep-Alive", "timeout=1").body(text)
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lower(bytes: &[u8]) -> String {
    text(bytes).to_ascii_lowercase()
}

#[test]
fn proxy_gives_on_what_is_not_of_one_connection() {
    let origin = Host::start();
    let consumer = serve(&origin.queue, describe);
    let upstream = format!("http://{}/", origin.address);
    let program = Program::start("proxy", &[&upstream, ANYWHERE]);
    let mut client = Client::connect(program.address);
    let fields = "Connection: x-mine\r\nX-Mine: 1\r\nX-Kept: 2\r\nTE: trailers\r\nX-Forwarded-For: 192.0.2.1\r\n\
        x-forwarded-for: 192.0.2.2\r\nCookie: a=b\r\n";
    let answer = ask(&mut client, "POST /a%2Fb/%c3%a9?x=%20y", fields, &pattern(0, 1 << 20));
    assert_eq!((answer.status, answer.field("x-origin"), answer.field("keep-alive")), (203, Some("yes"), None));
    let wanted = format!(
        "POST /a%2Fb/%c3%a9?x=%20y\ncontent-length: 1048576\ncookie: a=b\nhost: {}\nx-forwarded-for: 192.0.2.1, \
         192.0.2.2, 127.0.0.1\nx-forwarded-host: test\nx-forwarded-proto: http\nx-kept: 2\n1048576 bytes",
        origin.address
    );
    assert_eq!(answer.text(), wanted);
    // In chunks, too, since nobody knows how many there will be.
    client.send("PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert!(client.read().text().ends_with("\n5 bytes"));
    assert!(client.ask("/again").text().starts_with("GET /again\n"));
    let mut peer = Peer { stream: Client::connect(program.address).stream, input: Vec::new() };
    std::io::Write::write_all(&mut peer.stream, b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").expect("taken");
    assert!(peer.head().starts_with("HTTP/1.1 203"));
    terminate(program);
    origin.engine.shutdown(std::time::Duration::ZERO).expect("no shard failed");
    consumer.join().expect("ends well");
}

#[test]
fn proxy_says_that_the_origin_server_is_not_there() {
    let closed = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let upstream = format!("http://{}", closed.local_addr().expect("bound"));
    drop(closed);
    let program = Program::start("proxy", &[&upstream, ANYWHERE]);
    assert_eq!(Client::connect(program.address).ask("/").status, 502);
    terminate(program);
}
