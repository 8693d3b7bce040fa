//! Heads and trailer sections that come in pieces: the memory that they are put together in runs short.

use std::net::SocketAddr;
use std::time::Duration;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Ask, Outcome, Scale, get};
use crate::pace::pause;

/// Longer than a receive buffer.
const LONGEST: usize = 5_000;
/// Longer than what has a place of its own.
const LONG: usize = 1_000;

/// Connections that each have sent something of what others need memory for as well.
fn crowd(scale: Scale) -> usize {
    scale.pick(80, 4_200)
}

/// A whole head with a field of so many bytes.
fn head(path: &str, bytes: usize) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", "c".repeat(bytes))
}

/// A request with a trailer section of about so many bytes.
fn with_trailers(bytes: usize) -> String {
    let fields = "Host: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Echo\r\n";
    let body = format!("3\r\nabc\r\n0\r\nX-Echo: {}\r\n\r\n", "t".repeat(bytes));
    format!("POST /trailers HTTP/1.1\r\n{fields}\r\n{body}")
}

/// Whether what others send in pieces is taken, short and long.
fn besiege(address: SocketAddr, scale: Scale, held: Held) -> Outcome {
    let in_pieces =
        |request: String, bytes| Ask::beside(8, request.into_bytes()).in_pieces(bytes, Duration::from_millis(5));
    let good = vec![
        ("whole heads", Ask::beside(8, get("/plaintext"))),
        ("in pieces", in_pieces(head("/plaintext", LONG), 400)),
        ("of 5 KB in pieces", in_pieces(head("/plaintext", LONGEST), 2_000)),
        ("trailers", in_pieces(with_trailers(LONG), 400)),
        ("trailers of 5 KB", in_pieces(with_trailers(LONGEST), 2_000)),
    ];
    let (parts, ()) = beside(address, scale.patience(), good, || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}

/// Half heads of one byte.
pub(super) fn half_heads(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, crowd(scale), Window::Usual);
    held.send(b"G");
    besiege(address, scale, held)
}

/// Requests under way whose heads are longer than a receive buffer and came in two pieces.
pub(super) fn long_heads(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, crowd(scale), Window::Usual);
    let request = head(scale.pick("/slow/6000", "/slow/20000"), LONGEST).into_bytes();
    held.send(&request[..400]);
    pause(Duration::from_millis(100));
    held.send(&request[400..]);
    besiege(address, scale, held)
}

/// Requests whose trailer sections are longer than a receive buffer, and half sent.
pub(super) fn half_trailers(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, crowd(scale), Window::Usual);
    let request = with_trailers(LONGEST).into_bytes();
    held.send(&request[..request.len() - 100]);
    besiege(address, scale, held)
}
