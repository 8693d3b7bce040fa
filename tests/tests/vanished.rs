//! Clients that vanish: no end, no reset, no response to anything. The engine asks whether they are there
//! (`keep_alive`).

use std::time::Duration;

use ringress_tests::{Client, Gauges, Mode, Server, Setup, both_modes};

/// Asked after a second of silence, then six times a second apart; nothing else ends these connections.
fn setup(mode: Mode) -> Setup {
    Setup::new(mode).set("keep_alive", "1s").set("idle_connection", "off").set("header_wait", "off")
}

both_modes![setup = setup; vanished_clients_leave_nothing_behind_and_silent_ones_stay];

/// Longer than all probes together, on a busy machine as well.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A client that has been answered, so that all it has sent was acknowledged, `more` behind its request as well.
fn answered(server: &Server, more: impl AsRef<[u8]>) -> Client {
    let mut client = server.connect();
    client.send([&server.get("/pipeline"), more.as_ref()].concat());
    assert_eq!(client.response().text(), "ok");
    client
}

/// A pipe, a hung request, a head that was begun, and a connection that rests.
fn clients(server: &Server) -> [Client; 4] {
    let mut pipe = server.connect();
    pipe.send(server.request("GET /upgrade HTTP/1.1", &["Connection: Upgrade", "Upgrade: echo"], ""));
    assert!(pipe.some(1000).starts_with(b"HTTP/1.1 101 "));
    [pipe, answered(server, server.get("/hang")), answered(server, "GET / HT"), answered(server, "")]
}

fn vanished_clients_leave_nothing_behind_and_silent_ones_stay(server: &Server) {
    let (silent, vanished) = (clients(server), clients(server));
    vanished.iter().for_each(Client::vanish);
    let open = |gauges: &Gauges| gauges.of("connections_open");
    // And the one that asks.
    let gauges =
        server.wait_for_gauges_within(WAIT_MAX, "the end of all that have vanished", |gauges| open(gauges) < 6);
    assert_eq!(open(&gauges), 5, "who is only silent stays");
    server.wait_for_stderr(|text| text.contains("/hang: Reset"));
    for client in &silent {
        client.assert_not_reset();
    }
    drop((silent, vanished));
}
