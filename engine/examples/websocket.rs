//! Echoes WebSocket messages, with the tungstenite crate over an upgraded connection.
//!
//! ```text
//! cargo run --release --example websocket [-- ADDRESS]
//! ```
//!
//! The engine parses the request and switches the protocol; frames, masks, pings and the closing handshake are
//! tungstenite's. One thread a connection, which reads and writes as from a socket.

use std::net::SocketAddr;
use std::thread;

use ringress::{Engine, Request, RequestQueue, Response, Upgraded};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

fn main() -> ringress::Result<()> {
    let address = address();
    let engine = Engine::start()?;
    let queue = engine.request_queue("websocket")?;
    let address = engine.listen(address)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    println!("listening on ws://{address}/");
    serve(&queue)?;
    // The queue closes of itself only when the engine has failed: the reason is the program's.
    engine.wait()
}

/// The address to listen on: the first argument, if there is one.
fn address() -> SocketAddr {
    let Some(text) = std::env::args().nth(1) else { return ([127, 0, 0, 1], 8080).into() };
    text.parse().unwrap_or_else(|_| {
        eprintln!("websocket: ADDRESS {text:?}: an IP address and port are wanted, such as 127.0.0.1:8080");
        std::process::exit(2)
    })
}

/// Takes requests until the queue closes.
pub(crate) fn serve(queue: &RequestQueue) -> ringress::Result<()> {
    loop {
        let request = match queue.receive() {
            Ok(request) => request,
            Err(error) if error.is_closed() => return Ok(()),
            Err(error) => return Err(error),
        };
        match accept(request) {
            Ok(Some(pipe)) => drop(thread::spawn(move || echo(pipe))),
            Ok(None) => {}
            // A client that left is no reason to stop.
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Does the opening handshake (RFC 6455 section 4.2); `None`: it was no good, and the client has been told.
fn accept(request: Request) -> ringress::Result<Option<Upgraded>> {
    let asks = request.upgrade_protocols().any(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    let key = request.header_named("Sec-WebSocket-Key").map(derive_accept_key);
    let version = request.header_named("Sec-WebSocket-Version");
    match key {
        Some(key) if asks && version == Some(b"13") => {
            let response = Response::switching("websocket").header("Sec-WebSocket-Accept", &key);
            request.upgrade(response).map(Some)
        }
        _ => {
            let text = "This is a WebSocket: connect to it with a WebSocket client of version 13.\n";
            let response = Response::new(400).header("Sec-WebSocket-Version", "13").body(text);
            request.respond(response).map(|()| None)
        }
    }
}

/// Sends every message back, until one side closes.
fn echo(pipe: Upgraded) {
    let mut socket = WebSocket::from_raw_socket(pipe, Role::Server, None);
    let end = loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if let Err(error) = socket.send(message) {
                    break error;
                }
            }
            // Pings and closes are answered by tungstenite.
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    match end {
        // The closing handshake is over (RFC 6455 section 7.1.1): the server ends the connection first.
        Error::ConnectionClosed => drop(socket.get_mut().finish()),
        error => eprintln!("websocket: a connection ended early: {error}"),
    }
}
