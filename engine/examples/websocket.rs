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
use std::time::Duration;

use ringress::{Engine, Method, Request, RequestQueue, Response, ResponseHeader, Upgraded};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

/// How long connections may go on after a signal.
const GRACE: Duration = Duration::from_secs(2);

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
    let serving = thread::spawn(move || serve(&queue));
    // On Ctrl-C or SIGTERM, and when the engine fails, whose reason is the program's.
    engine.run_until_signal(GRACE)?;
    serving.join().expect("it does not panic")
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
    match check(&request) {
        Ok(answer_key) => {
            let response = Response::switching("websocket").header("Sec-WebSocket-Accept", &answer_key);
            request.upgrade(response).map(Some)
        }
        Err((status, text)) => {
            let response = Response::new(status).header("Sec-WebSocket-Version", "13").body(text);
            // What a client has to switch to (RFC 9110 section 15.5.22).
            let response = if status == 426 { response.header(ResponseHeader::Upgrade, "websocket") } else { response };
            request.respond(response).map(|()| None)
        }
    }
}

/// What a client has to ask for (RFC 6455 section 4.2.1): the key that proves the server understood it, or the status
/// and text of a refusal. HTTP/1.1, Host and Connection are checked by the engine.
fn check(request: &Request) -> Result<String, (u16, &'static str)> {
    let asks = request.upgrade_protocols().any(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    if request.method() != Method::Get {
        return Err((400, "A WebSocket is opened by GET.\n"));
    }
    if !asks || only(request, "Sec-WebSocket-Version") != Some(b"13") {
        return Err((426, "This is a WebSocket: connect to it with a WebSocket client of version 13.\n"));
    }
    let key = only(request, "Sec-WebSocket-Key").filter(|key| is_key(key));
    key.map(derive_accept_key).ok_or((400, "Sec-WebSocket-Key is to be 16 bytes in base64, given once.\n"))
}

/// The value of a field that is given once.
fn only<'r>(request: &'r Request, name: &'static str) -> Option<&'r [u8]> {
    let mut values = request.header_values(name);
    values.next().filter(|_| values.next().is_none())
}

/// Whether this is 16 bytes in base64 (RFC 4648 section 4): 22 digits, of which the last has two bits, and padding.
fn is_key(text: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match text {
        [digits @ .., last, b'=', b'='] => {
            digits.len() == 21 && digits.iter().all(is_digit) && matches!(last, b'A' | b'Q' | b'g' | b'w')
        }
        _ => false,
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
