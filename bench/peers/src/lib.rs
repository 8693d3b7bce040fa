//! What the peers have in common: the argument, and the answer.

use std::net::SocketAddr;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The path that is answered; everything else is a 404.
pub const PATH: &str = "/plaintext";
/// The value of the `Server` header, where the library lets us choose it.
pub const SERVER: &str = "ringress";
/// The body.
pub const BODY: &str = "Hello, World!";

/// Loopback, and the port that is the only argument.
///
/// # Panics
/// If the argument is missing or no port.
pub fn address() -> SocketAddr {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    SocketAddr::from(([127, 0, 0, 1], port.expect("the only argument is a port")))
}
