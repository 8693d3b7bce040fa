//! Honest clients that each have one request open for a long time: how many fit.

use std::net::SocketAddr;

use super::ask::beside;
use super::held::{Held, Window};
use super::{Outcome, Scale, Served, get, post, short};

/// Long polls: each waits for an answer that does not come meanwhile.
pub(super) fn long_polls(address: SocketAddr, scale: Scale) -> Outcome {
    hold(address, scale, ("long polls", &get("/hang")), |held| held.expect_nothing())
}

/// Event streams: each has had the head of its response.
pub(super) fn streams(address: SocketAddr, scale: Scale) -> Outcome {
    hold(address, scale, ("streams", &get("/drip/100?ms=60000")), |held| held.expect(b"HTTP/1.1 200"))
}

/// Connections that have switched to another protocol, and are each echoed what they send.
pub(super) fn pipes(address: SocketAddr, scale: Scale) -> Outcome {
    let request = b"GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    hold(address, scale, ("pipes", request), |held| held.expect(b"HTTP/1.1 101"))
}

/// Uploads that have begun, are at rest, and then end: each gets its answer.
pub(super) fn open_uploads(address: SocketAddr, scale: Scale) -> Outcome {
    let request = post("/upload", 100);
    let (begun, left) = request.split_at(request.len() - 99);
    hold(address, scale, ("uploads", begun), |held| {
        held.send(left);
        held.expect(b"HTTP/1.1 200")
    })
}

fn hold(
    address: SocketAddr,
    scale: Scale,
    (kind, request): (&'static str, &[u8]),
    look: impl FnOnce(&mut Held) -> Served,
) -> Outcome {
    let mut held = Held::connect(address, scale.pick(400, 8_000), Window::Usual);
    held.send(request);
    let (mut parts, served) = beside(address, scale.patience(), vec![short(8)], || {
        crate::pace::pause(scale.length() / 4);
        look(&mut held)
    });
    held.reset();
    parts.insert(0, (kind, served));
    Outcome::of(parts)
}
