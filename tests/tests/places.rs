//! More clients than a server has places or descriptors for: those who have said nothing for longest make room, and
//! nobody does who has begun something.

use std::time::Duration;

use ringress_tests::{Client, Mode, Server, Setup, both_modes, pause};

/// Connections that the servers here have places or descriptors for.
const PLACES: u32 = 40;
/// Clients that come and say nothing more.
const CROWD: u32 = 3 * PLACES;
/// What a connection has had for its beginning before it makes room.
const REST: Duration = Duration::from_millis(64);

fn with_places(mode: Mode) -> Setup {
    Setup::new(mode).shards(1).arg("--connections").arg(&PLACES.to_string())
}

/// It needs a few for itself.
fn with_descriptors(mode: Mode) -> Setup {
    Setup::new(mode).shards(1).descriptors_max(PLACES + 12)
}

/// Clients beyond the places there are, each of which has done this.
fn crowd(server: &Server, act: impl Fn(&Server) -> Client) -> Vec<Client> {
    (0..CROWD).map(|_| act(server)).collect()
}

fn silent(server: &Server) -> Client {
    server.connect()
}

/// It has been served, and keeps its connection.
fn resting(server: &Server) -> Client {
    let mut client = server.connect();
    assert_eq!(client.exchange(server.get("/plaintext")).status, 200);
    client
}

/// Newcomers are served, whatever others hold; who has begun something stays.
fn newcomers_are_served(server: &Server) {
    let mut half = server.connect();
    half.send("GET /plaintext HTTP/1.1\r\nHost: ");
    let mut hung = server.connect();
    hung.send(server.get("/hang"));
    let mut body = server.connect();
    body.send(server.request("POST /upload HTTP/1.1", &["Content-Length: 4"], "ab"));
    for act in [silent, resting] {
        let crowd = crowd(server, act);
        for _ in 0..20 {
            server.assert_healthy();
        }
        drop(crowd);
    }
    half.send("x\r\n\r\n");
    assert_eq!(half.response().text(), "Hello, World!");
    body.send("cd");
    assert_eq!(body.response().status, 200);
    hung.assert_not_reset();
    let gauges = server.gauges();
    assert!(gauges.of("connections_evicted") >= 2 * u64::from(CROWD - PLACES) - 3, "{gauges:?}");
    assert_eq!((gauges.of("connections_refused"), gauges.of("timeouts")), (0, 0), "{gauges:?}");
}

/// Who has rested for longest goes first, without a word.
fn the_oldest_rest_ends_first(server: &Server) {
    let mut old = resting(server);
    pause(4 * REST);
    let mut others = Vec::new();
    for _ in 0..PLACES + PLACES / 4 {
        others.push(resting(server));
        pause(REST / 8);
    }
    old.expect_eof();
    for client in &mut others[30..] {
        assert_eq!(client.exchange(server.get("/plaintext")).status, 200);
    }
    assert_eq!(server.gauges().of("connections_refused"), 0);
}

/// The showcase raises its soft limit to the hard one.
#[test]
fn the_limit_of_descriptors_is_raised_as_far_as_it_may_be() {
    let server = Server::start(&Setup::new(Mode::Queue).descriptors_max(100).arg("--connections").arg("64"));
    let limits = server.limits();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is such a limit");
    let numbers: Vec<&str> = line.split_whitespace().filter(|word| word.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, ["100", "100"]);
    server.finish();
}

mod places {
    use super::*;
    both_modes!(setup = with_places; newcomers_are_served, the_oldest_rest_ends_first);
}

mod descriptors {
    use super::*;
    both_modes!(setup = with_descriptors; newcomers_are_served, the_oldest_rest_ends_first);
}
