//! The WebSocket example against a WebSocket client that is not ours, in both modes.

mod common;

#[path = "../examples/websocket.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod example;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use common::{Client, Host, StopOnDrop, WAIT_MAX, await_rest, colocated, settled, wait_until};
use ringress::Engine;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, coding::CloseCode};
use tungstenite::{Error, Message, WebSocket};

fn connect(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, WAIT_MAX).expect("the engine listens");
    stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
    stream.set_write_timeout(Some(WAIT_MAX)).expect("not zero");
    let (socket, response) = tungstenite::client(format!("ws://{address}/chat"), stream).expect("a good handshake");
    assert_eq!(response.status(), 101);
    socket
}

fn in_both_modes(client: impl Fn(&Engine, SocketAddr)) {
    let host = Host::start();
    let queue = host.queue.clone();
    let server = thread::spawn(move || example::serve(&queue).expect("it serves until the end"));
    {
        let _stop = StopOnDrop(&host.engine);
        client(&host.engine, host.address);
        host.await_rest();
    }
    server.join().expect("the example ends well");
    colocated(
        |queue| example::serve(queue).expect("it serves until the end"),
        |engine, address| {
            client(engine, address);
            await_rest(engine);
        },
    );
}

/// Closes in order, and sees the server end the connection.
fn close(mut socket: WebSocket<TcpStream>) {
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "done".into() })).expect("open");
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => assert_eq!(frame.expect("ours comes back").code, CloseCode::Normal),
            Ok(other) => panic!("unexpected: {other:?}"),
            Err(error) => break assert!(matches!(error, Error::ConnectionClosed), "{error}"),
        }
    }
}

#[test]
fn messages_of_all_sizes_come_back() {
    in_both_modes(|engine, address| {
        let mut socket = connect(address);
        for len in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
            let text = Message::text("ä".repeat(len / 2) + &"x".repeat(len % 2));
            let bytes: Vec<u8> = (0..len).map(|place| u8::try_from(place % 251).expect("below 251")).collect();
            for message in [text, Message::binary(bytes)] {
                socket.send(message.clone()).expect("open");
                assert!(socket.read().expect("open") == message, "{len} bytes come back as something else");
            }
        }
        close(socket);
        assert_eq!((settled(engine).responses_truncated, settled(engine).connections_upgraded), (0, 1));
    });
}

#[test]
fn fragments_become_one_message_and_pings_between_them_are_answered() {
    in_both_modes(|_, address| {
        let mut socket = connect(address);
        let piece = |text: &'static str, kind, last| Message::Frame(Frame::message(text, OpCode::Data(kind), last));
        socket.send(piece("one ", Data::Text, false)).expect("open");
        socket.send(Message::Ping("are you there".into())).expect("open");
        assert_eq!(socket.read().expect("open"), Message::Pong("are you there".into()));
        socket.send(piece("two ", Data::Continue, false)).expect("open");
        socket.send(piece("three", Data::Continue, true)).expect("open");
        assert_eq!(socket.read().expect("open"), Message::text("one two three"));
        close(socket);
    });
}

#[test]
fn many_clients_talk_at_a_time() {
    in_both_modes(|_, address| {
        let mut sockets: Vec<_> = (0..20).map(|_| connect(address)).collect();
        for round in 0..5 {
            for (number, socket) in (0..).zip(&mut sockets) {
                socket.send(Message::text(format!("{round} of {number}"))).expect("open");
            }
            for (number, socket) in (0..).zip(&mut sockets) {
                assert_eq!(socket.read().expect("open"), Message::text(format!("{round} of {number}")));
            }
        }
        sockets.into_iter().for_each(close);
    });
}

#[test]
fn who_breaks_the_protocol_or_leaves_is_let_go() {
    in_both_modes(|engine, address| {
        // An unmasked frame (RFC 6455 section 5.1).
        let mut socket = connect(address);
        std::io::Write::write_all(socket.get_mut(), b"\x81\x05hello").expect("open");
        assert!(socket.read().is_err());
        drop(socket);
        drop(connect(address));
        wait_until("both are gone", || engine.counters().connections_open == 0);
    });
}

#[test]
fn who_does_not_speak_websocket_is_told() {
    in_both_modes(|engine, address| {
        let mut client = Client::connect(address);
        let reply = client.ask("/chat");
        assert_eq!((reply.status, reply.field("sec-websocket-version")), (426, Some("13")));
        assert_eq!((reply.field("upgrade"), reply.field("connection")), (Some("websocket"), Some("Upgrade")));
        let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let (key, version) = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Version: 13\r\n");
        let of_key = |key| format!("{asks}{version}Sec-WebSocket-Key: {key}\r\n");
        for (method, fields, status) in [
            ("GET", format!("{asks}{version}"), 400),
            ("POST", format!("{asks}{version}{key}Content-Length: 0\r\n"), 400),
            ("DELETE", format!("{asks}{version}{key}"), 400),
            ("GET", format!("{version}{key}"), 426),
            ("GET", format!("{asks}{key}"), 426),
            ("GET", format!("{asks}{key}Sec-WebSocket-Version: 8\r\n"), 426),
            ("GET", format!("{asks}{key}{version}{version}"), 426),
            ("GET", format!("{asks}{version}{key}{key}"), 400),
            ("GET", of_key(""), 400),
            ("GET", of_key("x"), 400),
            ("GET", of_key("dGhlIHNhbXBsZSBub25j"), 400),
            ("GET", of_key("dGhlIHNhbXBsZSBub25jZQ"), 400),
            ("GET", of_key("dGhlIHNhbXBsZSBub25jZSE="), 400),
            ("GET", of_key("dGhlIHNhbXBsZSBub25jZR=="), 400),
            ("GET", of_key("dGhlIHNhbXBsZSBub2*jZQ=="), 400),
            ("GET", of_key("dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ=="), 400),
        ] {
            client.send(format!("{method} /chat HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            let reply = client.read();
            assert_eq!(reply.status, status, "{method} {fields}");
            assert_eq!(reply.field("sec-websocket-version"), Some("13"), "{fields}");
            assert_eq!(reply.field("upgrade").is_some(), status == 426, "{fields}");
        }
        assert_eq!(engine.counters().connections_upgraded, 0, "and the connection goes on");
        client.send(format!("GET /chat HTTP/1.1\r\nHost: test\r\n{asks}{version}{key}\r\n"));
        let reply = client.read();
        assert_eq!((reply.status, reply.field("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    });
}

/// A page that sends messages, and tells a second server what became of them.
const PAGE: &str = "<script>
const socket = new WebSocket('ws://ADDRESS/chat');
const heard = [];
const long = 'x'.repeat(100000);
socket.onopen = () => { socket.send('hello'); socket.send(long); };
socket.onmessage = (event) => {
  heard.push(event.data === long ? 'all' : event.data);
  if (heard.length === 2) socket.close(1000);
};
socket.onclose = (event) => {
  new Image().src = 'http://TELL/heard/' + heard.join('-') + '-' + event.code + '-' + event.wasClean;
};
</script>";

/// The path of the first request to a listener that tells what was heard.
fn told(listener: &TcpListener) -> String {
    for stream in listener.incoming() {
        let mut line = String::new();
        let _ = BufReader::new(stream.expect("a connection")).read_line(&mut line);
        if let Some(rest) = line.strip_prefix("GET /heard/") {
            return rest.split(' ').next().unwrap_or_default().to_owned();
        }
    }
    unreachable!("a listener listens for ever")
}

#[test]
fn chromium_gets_its_messages_back() {
    let host = Host::start();
    let queue = host.queue.clone();
    let server = thread::spawn(move || example::serve(&queue).expect("it serves until the end"));
    let stop = StopOnDrop(&host.engine);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tell = listener.local_addr().expect("bound").to_string();
    let file = std::env::temp_dir().join(format!("ringress-websocket-{}.html", std::process::id()));
    let profile = file.with_extension("profile");
    let page = PAGE.replace("ADDRESS", &host.address.to_string()).replace("TELL", &tell);
    std::fs::write(&file, page).expect("room");
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg(format!("file://{}", file.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Err(error) => eprintln!("skipped: chromium cannot be run ({error}); apt-get install chromium"),
        Ok(mut browser) => {
            let (heard, outcome) = mpsc::channel();
            thread::spawn(move || heard.send(told(&listener)));
            // A browser takes its time to start.
            let outcome = outcome.recv_timeout(3 * WAIT_MAX);
            let _ = browser.kill();
            let _ = browser.wait();
            assert_eq!(outcome.as_deref(), Ok("hello-all-1000-true"));
        }
    }
    let _ = std::fs::remove_file(&file);
    let _ = std::fs::remove_dir_all(&profile);
    drop(stop);
    server.join().expect("the example ends well");
}
