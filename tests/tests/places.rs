//! More clients than a server has places or descriptors for, and more half heads than it has memory for: those who have
//! said nothing for longest make room.

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

/// Assembly buffers that the servers here have, for heads that are long and in pieces.
const ASSEMBLY_BUFFERS: u32 = 4;

fn with_assembly_buffers(mode: Mode) -> Setup {
    Setup::new(mode).shards(1).arg("--pool").arg(&format!("assembly_buffers={ASSEMBLY_BUFFERS}"))
}

/// Half heads, short and long ones, keep nobody from sending a head in pieces, a long one, or trailers.
fn half_heads_take_nothing_from_others(server: &Server) {
    let long = format!("Cookie: {}", "c".repeat(5000));
    let mut short: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
    short.iter_mut().for_each(|client| client.send("G"));
    let mut halves: Vec<Client> = (0..2 * ASSEMBLY_BUFFERS).map(|_| server.connect()).collect();
    for client in &mut halves {
        client.send(format!("GET /plaintext HTTP/1.1\r\n{long}"));
        pause(2 * REST);
    }
    let trailers = format!("X-Echo: {}\r\n\r\n", "t".repeat(1000));
    for _ in 0..5 {
        let request = server.request("GET /plaintext HTTP/1.1", &[&long], "");
        for at in [10, 300, 4500] {
            let mut client = server.connect();
            client.send(&request[..at]);
            client.send(&request[at..]);
            assert_eq!(client.response().text(), "Hello, World!");
        }
        let fields = ["Transfer-Encoding: chunked", "Trailer: X-Echo"];
        let chunked = server.request("POST /trailers HTTP/1.1", &fields, "3\r\nabc\r\n0\r\n");
        let mut client = server.connect();
        client.send(chunked);
        client.send(&trailers);
        assert_eq!(client.response().status, 200);
    }
    short[0].send("ET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(short[0].response().text(), "Hello, World!", "a short half head is given up for nobody");
    assert_eq!(halves[0].response().status, 408);
    halves[0].expect_eof();
    assert!(server.gauges().of("heads_evicted") >= u64::from(ASSEMBLY_BUFFERS));
}

/// Requests with trailers that wait for their application keep nobody from sending a head in pieces.
fn waiting_requests_with_trailers_take_nothing_from_others(server: &Server) {
    let body = format!("0\r\nX-Echo: {}\r\n\r\n", "t".repeat(1000));
    let mut waiting: Vec<Client> = (0..2 * ASSEMBLY_BUFFERS).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send(server.request("GET /hang HTTP/1.1", &["Transfer-Encoding: chunked"], &body));
    }
    let request = server.request("GET /plaintext HTTP/1.1", &[&format!("Cookie: {}", "c".repeat(1000))], "");
    for at in [300, 1000] {
        let mut client = server.connect();
        client.send(&request[..at]);
        client.send(&request[at..]);
        assert_eq!(client.response().text(), "Hello, World!");
    }
    waiting.iter().for_each(Client::assert_not_reset);
    let gauges = server.gauges();
    assert_eq!((gauges.of("heads_evicted"), gauges.of("requests_overloaded")), (0, 0), "{gauges:?}");
}

mod assembly {
    use super::*;
    both_modes!(
        setup = with_assembly_buffers;
        half_heads_take_nothing_from_others,
        waiting_requests_with_trailers_take_nothing_from_others,
    );
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
