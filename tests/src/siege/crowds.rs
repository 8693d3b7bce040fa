//! A thousand clients that each do one thing and no more: a small host must survive them, and serve the others.

use std::net::SocketAddr;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Outcome, Scale, get, post, short};
use crate::pace::pause;

const BODY_BYTES: usize = 1_000_000;

/// Connections that say nothing.
pub(super) fn nothing(address: SocketAddr, scale: Scale) -> Outcome {
    crowd(address, scale, b"")
}

/// Heads of which half has come.
pub(super) fn half_heads(address: SocketAddr, scale: Scale) -> Outcome {
    crowd(
        address,
        scale,
        format!("GET /plaintext HTTP/1.1\r\nHost: localhost\r\nCookie: {}", "c".repeat(3_000)).as_bytes(),
    )
}

/// Uploads of 16 KB of which half has come.
pub(super) fn half_bodies(address: SocketAddr, scale: Scale) -> Outcome {
    let request = post("/upload", 16_000);
    crowd(address, scale, &request[..request.len() - 8_000])
}

/// Downloads that nobody reads.
pub(super) fn unread_downloads(address: SocketAddr, scale: Scale) -> Outcome {
    crowd(address, scale, &get(&format!("/bytes/{BODY_BYTES}")))
}

/// Uploads whose echo nobody reads: as much of each is sent as goes without waiting.
pub(super) fn unread_echoes(address: SocketAddr, scale: Scale) -> Outcome {
    crowd(address, scale, &post("/echo", BODY_BYTES))
}

fn crowd(address: SocketAddr, scale: Scale, bytes: &[u8]) -> Outcome {
    let mut held = Held::connect(address, 1_000, Window::Usual);
    held.send(bytes);
    let (parts, ()) = beside(address, scale.patience(), vec![short(16)], || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}
