//! Clients that say nothing, or one byte: descriptors and memory for heads run short.

use std::net::SocketAddr;
use std::time::Duration;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Ask, Outcome, Scale, get};
use crate::pace::pause;

/// More connections than the server may have descriptors, none of which has ever said anything.
pub(super) fn silent(address: SocketAddr, scale: Scale) -> Outcome {
    besiege(address, scale, Held::connect(address, scale.pick(150, 1_500), Window::Usual))
}

/// As [`silent`], but each has asked for something once.
pub(super) fn idle(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, scale.pick(150, 1_500), Window::Usual);
    held.send(&get("/plaintext"));
    besiege(address, scale, held)
}

fn besiege(address: SocketAddr, scale: Scale, held: Held) -> Outcome {
    let fresh = Ask::beside(8, get("/plaintext")).fresh().rest(Duration::from_millis(50));
    let (parts, ()) = beside(address, scale.patience(), vec![("new clients", fresh)], || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}

/// Heads of which one byte has come: those of others come in two pieces, are long, or have a trailer section.
pub(super) fn half_heads(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, scale.pick(80, 4_200), Window::Usual);
    held.send(b"G");
    let long = format!("GET /plaintext HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", "c".repeat(5_000));
    let trailers = "POST /trailers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Echo\r\n\r\n\
        3\r\nabc\r\n0\r\nX-Echo: y\r\n\r\n";
    let good = vec![
        ("whole heads", Ask::beside(8, get("/plaintext"))),
        ("in two pieces", Ask::beside(8, get("/plaintext")).in_pieces(20, Duration::from_millis(5))),
        ("of 5 KB", Ask::beside(8, long.into_bytes())),
        ("trailers", Ask::beside(8, trailers.as_bytes())),
    ];
    let (parts, ()) = beside(address, scale.patience(), good, || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}
