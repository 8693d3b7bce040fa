//! Honest uploads, many at a time: buffers run short, and that must be nobody's loss.

use std::net::SocketAddr;
use std::time::Duration;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Ask, Outcome, Scale, get, post, short};
use crate::pace::pause;

/// Keep-alive clients that post 16 KB, each again when it has its answer.
pub(super) fn posts(address: SocketAddr, scale: Scale) -> Outcome {
    let ask = Ask::new(scale.pick(200, 4_000), post("/upload", 16_000));
    Outcome::of([("posts", ask.run(address, scale.pick(Duration::from_secs(1), Duration::from_secs(5))))])
}

/// As [`posts`], of 1 MB.
pub(super) fn bodies(address: SocketAddr, scale: Scale) -> Outcome {
    let ask = Ask::new(scale.pick(48, 256), post("/upload", 1_000_000)).patience(Duration::from_secs(20));
    Outcome::of([("bodies", ask.run(address, scale.pick(Duration::from_secs(1), Duration::from_secs(5))))])
}

/// Uploads of 1 MB that all begin in the same moment, on fresh connections, a few times over.
pub(super) fn begun_at_once(address: SocketAddr, scale: Scale) -> Outcome {
    let ask = Ask::new(scale.pick(60, 300), post("/upload", 1_000_000)).patience(Duration::from_secs(20));
    Outcome::of([("uploads", ask.fresh().rounds(scale.pick(2, 5)).run(address, Duration::from_secs(60)))])
}

/// Uploads that bring 100 bytes every half second.
pub(super) fn slow_uploads(address: SocketAddr, scale: Scale) -> Outcome {
    let (clients, pause, pieces) = scale.pick((200, 50, 10), (2_500, 500, 16));
    let body = 100 * pieces - get("/upload").len() - "Content-Length: 1000\r\n".len();
    let ask = Ask::new(clients, post("/upload", body)).in_pieces(100, Duration::from_millis(pause)).rounds(1);
    Outcome::of([("uploads", ask.patience(Duration::from_secs(30)).run(address, Duration::from_secs(60)))])
}

/// Four uploads of which nothing comes, to a handler that waits for their bodies on its consumer's thread.
pub(super) fn idle_puts(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, 4, Window::Usual);
    held.send(b"PUT /take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
    let (parts, ()) = beside(address, scale.patience(), vec![short(16)], || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}

/// Uploads that the engine awaits whole, from one address, of which nothing comes; others upload beside them.
pub(super) fn idle_wholes(address: SocketAddr, scale: Scale) -> Outcome {
    let mut held = Held::connect(address, scale.pick(40, 300), Window::Usual);
    held.send(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n");
    let uploads = ("uploads", Ask::beside(16, post("/upload", 16_000)));
    let (parts, ()) = beside(address, scale.patience(), vec![uploads, short(16)], || pause(scale.length()));
    held.reset();
    Outcome::of(parts)
}
