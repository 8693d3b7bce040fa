//! Large answers over real sockets: however many are asked for, small ones go between them, and each is whole.

mod common;

use std::sync::OnceLock;

use bytes::Bytes;
use common::Client;
use common::peer::{Peer, in_both_modes, pattern};
use ringress::{Request, Response};

/// More than the sockets of both ends hold, and than goes at a time.
const MUCH: usize = 12 << 20;
/// Clients that ask for that.
const CLIENTS: usize = 24;

fn whole() -> Bytes {
    static WHOLE: OnceLock<Bytes> = OnceLock::new();
    WHOLE.get_or_init(|| Bytes::from(pattern(0, MUCH))).clone()
}

/// Answers `/x` with much, every other time in pieces, and others with a word.
fn answer(request: Request) {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let response = match request.path() {
        "/x" if COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2) => {
            let pieces =
                [0..MUCH / 2, MUCH / 2..MUCH / 2 + 100, MUCH / 2 + 100..MUCH].map(|range| whole().slice(range));
            pieces.into_iter().fold(Response::ok(), Response::chunk)
        }
        "/x" => Response::ok().body(whole()),
        _ => Response::text("little"),
    };
    // Some clients here are gone before.
    let _ = request.respond(response);
}

#[test]
fn however_many_ask_for_much_others_are_answered_and_who_reads_gets_every_byte() {
    in_both_modes(answer, |engine, address| {
        let mut others: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
        let slow: Vec<Peer> = (0..CLIENTS).map(|_| Peer::get(address)).collect();
        for _ in 0..50 {
            for other in &mut others {
                assert_eq!(other.ask("/little").text(), "little");
            }
        }
        common::wait_until("all are under way", || engine.counters().sends_short >= CLIENTS as u64);
        for mut peer in slow.into_iter().take(6) {
            let head = peer.head();
            assert!(head.contains(&format!("Content-Length: {MUCH}\r\n")), "{head}");
            assert!(peer.take(MUCH) == whole(), "every byte in its place");
            peer.stream.shutdown(std::net::Shutdown::Both).expect("a connection");
        }
    });
}
