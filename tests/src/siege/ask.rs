//! What clients of one kind ask, and how patient they are.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::outcome::Served;

/// Where good clients come from that stand beside a load.
const GOOD_NETWORK: u8 = 1;

/// Clients that ask, wait for the answer, rest and ask again.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(super) clients: usize,
    pub(super) request: Arc<[u8]>,
    /// How many bytes are sent at a time, and what is between two such pieces.
    pub(super) piece: (usize, Duration),
    pub(super) rest: Duration,
    pub(super) patience: Duration,
    /// Whether the connection goes on after a response.
    pub(super) keeps: bool,
    /// Of each client, if it does not go on until the time is up.
    pub(super) rounds: Option<usize>,
    /// The second byte of the addresses they come from, each its own 127.N.x.y; 127.0.0.1 if there is none.
    network: Option<u8>,
}

impl Ask {
    /// Clients with a connection each that ask again as soon as they are answered, all from 127.0.0.1.
    #[must_use]
    pub fn new(clients: usize, request: impl Into<Arc<[u8]>>) -> Self {
        let request = request.into();
        let piece = (request.len(), Duration::ZERO);
        let (rest, patience) = (Duration::ZERO, Duration::from_secs(10));
        Self { clients, request, piece, rest, patience, keeps: true, rounds: None, network: None }
    }

    /// Good clients beside a load: each has an address of its own, and rests between a response and its next request.
    #[must_use]
    pub fn beside(clients: usize, request: impl Into<Arc<[u8]>>) -> Self {
        let rest = Duration::from_millis(20);
        Self { rest, network: Some(GOOD_NETWORK), ..Self::new(clients, request) }
    }

    /// How long each rests between a response and its next request.
    #[must_use]
    pub fn rest(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }

    /// How long each waits for a connection and a response together.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends so many bytes of the request at a time, and pauses between; no pause is shorter than 5 ms.
    #[must_use]
    pub fn in_pieces(self, bytes: usize, pause: Duration) -> Self {
        Self { piece: (bytes, pause), ..self }
    }

    /// A new connection for each request.
    #[must_use]
    pub fn fresh(self) -> Self {
        Self { keeps: false, ..self }
    }

    /// Ends each client after so many requests.
    #[must_use]
    pub fn rounds(self, rounds: usize) -> Self {
        Self { rounds: Some(rounds), ..self }
    }

    /// Asks until `length` has passed, then waits for what is under way.
    #[must_use]
    pub fn run(&self, address: SocketAddr, length: Duration) -> Served {
        let end = Instant::now() + length;
        Crowd::new(self, address).run_while(|| Instant::now() < end)
    }

    pub(super) fn source(&self, index: usize) -> Option<SocketAddr> {
        self.network.map(|network| (address_of(network, index), 0).into())
    }
}

/// One of the addresses 127.N.x.y.
pub(super) fn address_of(network: u8, index: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    // 127.N.0.0 is a network's name, but loopback takes each of them.
    Ipv4Addr::new(127, network, high, low)
}

/// Good clients of some kinds that ask for as long as `work` takes: how each kind fared, and what the work gave.
pub(super) fn beside<T>(
    address: SocketAddr,
    patience: Duration,
    good: Vec<(&'static str, Ask)>,
    work: impl FnOnce() -> T,
) -> (Vec<(&'static str, Served)>, T) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let ended = &ended;
        let ask = |ask: Ask| Crowd::new(&ask.patience(patience), address).run_while(|| !ended.load(Ordering::Relaxed));
        let asking: Vec<_> = good.into_iter().map(|(kind, good)| (kind, scope.spawn(move || ask(good)))).collect();
        let done = work();
        ended.store(true, Ordering::Relaxed);
        let joined = asking.into_iter().map(|(kind, asking)| (kind, asking.join().expect("clients do not panic")));
        (joined.collect(), done)
    })
}
