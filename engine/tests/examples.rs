//! The examples as programs: they serve, and on Ctrl-C they finish what they have begun.
//!
//! Not here: what their engines have lent, which these programs do not show.

mod common;

use std::process::{Command, Stdio};

use common::peer::{Peer, pattern};
use common::ports::free_port;
use common::program::{ANYWHERE, Program, built};
use common::{Client, WAIT_MAX, wait_until};

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn tokio_serves_bodies_in_pieces_and_ends_in_order() {
    let program = Program::start("tokio", &[ANYWHERE]);
    let mut client = Client::connect(program.address);
    assert_eq!(client.ask("/").status, 200);
    client.send(post("/count", &pattern(0, 3 << 20)));
    assert_eq!(client.read().text(), "3145728 bytes\n");
    assert_eq!((client.ask("/none").status, client.ask("/numbers/x").status), (404, 404));
    client.send(post("/none", b""));
    assert_eq!(client.read().status, 405);
    let mut peer = Peer { stream: Client::connect(program.address).stream, input: Vec::new() };
    std::io::Write::write_all(&mut peer.stream, &post("/upper", &b"quiet ".repeat(9_000))).expect("taken");
    peer.head();
    assert!(peer.chunked().0 == b"QUIET ".repeat(9_000));
    let waits = b"POST /upper HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    std::io::Write::write_all(&mut peer.stream, waits).expect("taken");
    assert_eq!(peer.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    std::io::Write::write_all(&mut peer.stream, b"late").expect("taken");
    peer.head();
    assert!(peer.chunked().0 == b"LATE");
    std::io::Write::write_all(&mut peer.stream, b"GET /numbers/200000 HTTP/1.1\r\nHost: test\r\n\r\n").expect("taken");
    peer.head();
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(peer.chunked().0 == expected.as_bytes());
    // One that is under way is answered; the one before it on the connection shows that it has been taken.
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\nGET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read().text(), "slow\n");
    program.signal(libc::SIGINT);
    assert_eq!(client.read().text(), "slow\n");
    program.end();
}

#[test]
fn ready_says_that_it_leaves_serves_on_and_then_drains() {
    // Longer than a test: a second signal cuts it short.
    let program = Program::start("ready", &[ANYWHERE, "3600"]);
    let said = || program.lines.recv_timeout(WAIT_MAX).expect("it says so");
    let (mut client, mut idle) = (Client::connect(program.address), Client::connect(program.address));
    assert_eq!((client.ask("/ready").status, idle.ask("/ready").text()), (200, "ready\n"));
    program.signal(libc::SIGTERM);
    assert_eq!(said(), "leaving: /ready answers 503");
    for _ in 0..3 {
        assert_eq!((client.ask("/ready").status, Client::connect(program.address).ask("/ready").status), (503, 503));
        let served = client.ask("/path");
        assert!(served.status == 200 && served.text().starts_with("/path from ") && !served.closes());
    }
    program.signal(libc::SIGTERM);
    assert_eq!(said(), "draining");
    wait_until("it takes no more connections", || std::net::TcpStream::connect(program.address).is_err());
    // The shard may learn of it a moment later than clients do.
    wait_until("a response is the last", || {
        let answered = client.ask("/path");
        assert_eq!(answered.status, 200);
        answered.closes()
    });
    drop(idle);
    let last = said();
    assert!(last.starts_with("ended after "), "{last}");
    program.end();
}

#[test]
fn sample_echoes_bodies_of_any_size_and_reads_no_others() {
    const BLOCKS: usize = 80;
    let url = format!("http://127.0.0.1:{}/", free_port());
    let program = Program::start("sample", &[&url]);
    let mut client = Client::connect(program.address);
    let greeted = client.ask("/");
    assert_eq!((greeted.status, greeted.field("content-type")), (200, Some("text/html")));
    assert_eq!(greeted.text(), "Hello from the server.\r\n");
    client.send(post("/", b""));
    let empty = client.read();
    assert_eq!((empty.status, empty.field("content-length"), &*empty.body), (200, Some("0"), &b""[..]));
    let body = pattern(0, 5_000);
    client.send(post("/", &body));
    assert!(client.read().body == body);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let echoed = client.read();
    assert_eq!((echoed.field("content-length"), echoed.text()), (Some("5"), "abcde"));
    // A body that is never read is not asked for.
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\nExpect: 100-continue\r\n\r\n");
    let refused = client.read();
    assert!(refused.head.starts_with("HTTP/1.1 503 Not Implemented\r\n"), "{}", refused.head);
    assert_eq!((refused.field("content-type"), &*refused.body), (Some("text/html"), &b""[..]));
    // Larger than all that engine and kernel hold, by a client that others wrote.
    let block = pattern(0, 1 << 20);
    let sent = block.repeat(BLOCKS);
    let echoed = ureq::post(&url).send(&sent[..]).expect("echoed");
    assert_eq!(echoed.headers()["content-length"], sent.len().to_string());
    let (mut echo, mut read) = (echoed.into_body().into_reader(), vec![0; block.len()]);
    for number in 0..BLOCKS {
        std::io::Read::read_exact(&mut echo, &mut read).expect("whole");
        assert!(read == block, "block {number}");
    }
    assert_eq!(std::io::Read::read(&mut echo, &mut read).expect("its end"), 0);
    program.signal(libc::SIGTERM);
    program.end();
}

#[test]
fn examples_end_in_order_on_sigterm_too() {
    let names = ["tokio", "websocket"].into_iter().chain(cfg!(feature = "axum").then_some("axum"));
    for name in names {
        let program = Program::start(name, &[]);
        let mut client = Client::connect(program.address);
        assert_eq!(client.ask("/nowhere").status / 100, 4, "{name}");
        program.signal(libc::SIGTERM);
        client.read_end();
        program.end();
    }
}

#[test]
fn an_address_that_is_none_is_refused_in_one_line() {
    for name in ["tokio", "websocket"].into_iter().chain(cfg!(feature = "axum").then_some("axum")) {
        let mut child = Command::new(built(name)).arg("nowhere").stderr(Stdio::piped()).spawn().expect("it starts");
        wait_until("it ends", || child.try_wait().expect("a child").is_some());
        let output = child.wait_with_output().expect("it has ended");
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        let said = String::from_utf8(output.stderr).expect("text");
        let wanted = "ADDRESS \"nowhere\": an IP address and port are wanted, such as 127.0.0.1:8080";
        assert_eq!(said, format!("{name}: {wanted}\n"));
    }
}

#[cfg(feature = "axum")]
#[test]
fn axum_serves_events_and_ends_although_a_client_stays() {
    let program = Program::start("axum", &[ANYWHERE]);
    let mut client = Client::connect(program.address);
    assert_eq!(client.ask("/hello/ada").text(), r#"{"hello":"ada"}"#);
    let mut peer = Peer { stream: Client::connect(program.address).stream, input: Vec::new() };
    std::io::Write::write_all(&mut peer.stream, b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").expect("taken");
    assert!(peer.head().contains("text/event-stream"));
    peer.take_to(b"data: 0\n\n");
    peer.take_to(b"data: 2\n\n");
    program.signal(libc::SIGINT);
    // Its body has no end: it is cut when the time of grace is over.
    assert_eq!(peer.rest(), None);
    program.end();
}
