//! WebSockets and other upgrades, under both servers alike.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

use crate::both::{Both, plain, raw, with_body};
use crate::common::{Client, wait_until};

type Socket = WebSocket<std::net::TcpStream>;

/// Long enough to come in many pieces.
const LONG_BYTES: usize = 3 << 20;

fn open(address: SocketAddr, path: &str) -> (Socket, tungstenite::handshake::client::Response) {
    open_with(address, path, &[])
}

fn open_with(
    address: SocketAddr,
    path: &str,
    protocols: &[&str],
) -> (Socket, tungstenite::handshake::client::Response) {
    let uri = format!("ws://{address}{path}").parse().expect("a URI");
    let request =
        protocols.iter().fold(ClientRequestBuilder::new(uri), |request, protocol| request.with_sub_protocol(*protocol));
    tungstenite::client(request, Client::connect(address).stream).expect("the handshake goes well")
}

fn close(mut socket: Socket) {
    socket.close(None).expect("open");
    let end = loop {
        match socket.read() {
            Ok(Message::Close(frame)) => assert_eq!(frame, None),
            Ok(message) => panic!("unexpected: {message:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
}

#[test]
fn messages_come_back() {
    let both = Both::start();
    for address in [both.axum, both.host.address] {
        let (mut socket, _) = open(address, "/ws");
        for message in [
            Message::text("hello"),
            Message::binary(vec![7; LONG_BYTES]),
            Message::text(""),
            Message::text("x".repeat(LONG_BYTES)),
        ] {
            socket.send(message.clone()).expect("open");
            assert!(socket.read().expect("open") == message);
        }
        socket.send(Message::Ping("ping".into())).expect("open");
        assert_eq!(socket.read().expect("open"), Message::Pong("ping".into()));
        close(socket);
    }
    assert_eq!(both.host.counters().connections_upgraded, 1);
    both.end();
}

#[test]
fn many_sockets_speak_at_once() {
    let both = Both::start();
    let address = both.host.address;
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let (mut socket, _) = open(address, "/ws");
                for round in 0..50 {
                    let message = Message::text(format!("{round} of {number} {}", "x".repeat(round * 997)));
                    socket.send(message.clone()).expect("open");
                    assert!(socket.read().expect("open") == message);
                }
                close(socket);
            });
        }
    });
    both.end();
}

#[test]
fn handshakes_are_answered_alike() {
    let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let all = [asks, key, version].concat();
    let of = |fields: &str| format!("{all}{fields}\r\n");
    Both::start().compare(&[
        plain("socket", "GET /ws", &all),
        plain("socket of protocols", "GET /ws/chat", &format!("{all}Sec-WebSocket-Protocol: none, other\r\n")),
        plain("socket of unknown protocols", "GET /ws/chat", &format!("{all}Sec-WebSocket-Protocol: none\r\n")),
        plain(
            "socket of any case",
            "GET /ws",
            &all.to_uppercase().replace("DGHLIHNHBXBSZSBUB25JZQ", "dGhlIHNhbXBsZSBub25jZQ"),
        ),
        plain("socket that is kept", "GET /ws", &all.replace("Upgrade\r", "keep-alive, Upgrade\r")),
        plain("socket refused", "GET /ws/refused", &all),
        plain("socket without an upgrade", "GET /ws", &[key, version].concat()),
        plain("socket without Connection", "GET /ws", &["Upgrade: websocket\r\n", key, version].concat()),
        plain("socket without Upgrade", "GET /ws", &["Connection: Upgrade\r\n", key, version].concat()),
        plain("socket without a key", "GET /ws", &[asks, version].concat()),
        plain("socket without a version", "GET /ws", &[asks, key].concat()),
        plain("socket of another version", "GET /ws", &[asks, key, "Sec-WebSocket-Version: 8\r\n"].concat()),
        plain("socket by POST", "POST /ws", &of("Content-Length: 0")),
        plain("socket of another protocol", "GET /ws", &all.replace("websocket", "h2c")),
        with_body("socket with a body", "GET /ws", &all, "body"),
        raw("socket in 1.0", format!("GET /ws HTTP/1.0\r\n{all}\r\n")),
        plain("upgrade that nobody takes", "GET /", &all),
        plain("upgrade of a path that is not there", "GET /none", &all),
        plain("a protocol that was not asked for", "GET /raw", "Connection: upgrade\r\nUpgrade: other\r\n"),
        plain("another protocol", "GET /raw", "Connection: upgrade\r\nUpgrade: capitals\r\n"),
    ]);
}

#[test]
fn protocols_are_agreed_on() {
    let both = Both::start();
    for address in [both.axum, both.host.address] {
        let (socket, response) = open_with(address, "/ws/chat", &["none", "other"]);
        assert_eq!(response.headers()["sec-websocket-protocol"], "other");
        close(socket);
    }
    both.end();
}

#[test]
fn another_protocol_has_its_bytes_from_the_first_to_the_end() {
    let both = Both::start();
    for address in [both.axum, both.host.address] {
        let mut client = Client::connect(address);
        // What follows the request at once is the new protocol's.
        client.send("GET /raw HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: capitals\r\n\r\nearly");
        let head = read_to(&mut client, b"\r\n\r\n").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: capitals"), "{head}");
        assert_eq!(read_to(&mut client, b"EARLY"), "EARLY");
        client.send("later");
        assert_eq!(read_to(&mut client, b"LATER"), "LATER");
        client.stream.shutdown(std::net::Shutdown::Write).expect("open");
        assert_eq!(client.stream.read(&mut [0]).expect("in order"), 0, "its end follows ours");
    }
    both.end();
}

fn read_to(client: &mut Client, end: &[u8]) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).expect("more comes");
        read.extend(byte);
    }
    String::from_utf8(read).expect("text")
}

#[test]
fn a_server_that_speaks_first_is_heard_and_a_client_that_leaves_is_let_go() {
    let both = Both::start();
    for address in [both.axum, both.host.address] {
        let (mut socket, _) = open(address, "/ws/greets");
        assert_eq!(socket.read().expect("open"), Message::text("welcome"));
        // An unmasked frame breaks the protocol (RFC 6455 section 5.1).
        socket.get_mut().write_all(b"\x81\x05hello").expect("open");
        while socket.read().is_ok() {}
        drop(socket);
        let (mut socket, _) = open(address, "/ws/greets");
        assert_eq!(socket.read().expect("open"), Message::text("welcome"));
        drop(socket);
        let (mut socket, _) = open(address, "/ws/greets");
        socket
            .close(Some(tungstenite::protocol::CloseFrame { code: CloseCode::Away, reason: "bye".into() }))
            .expect("open");
        while socket.read().is_ok() {}
    }
    wait_until("all are gone", || both.host.counters().connections_open == 0);
    both.end();
}
