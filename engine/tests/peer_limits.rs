//! Limits of connections: open at a time and new in a second, in all and of one address, of a listener and of an
//! engine, in front of which a proxy may stand.
//!
//! Clients come from addresses of 127.0.0.0/8. Rates are tested by how many are served until one is refused, and by
//! time that has passed at least: how long anything takes makes no difference.

mod common;

use std::io::{ErrorKind as IoErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, StopOnDrop, Watched, add, await_rest, builder, by_two_shards, loopback, wait_until};
use ringress::{
    ConnectionLimits, Counters, Engine, EngineBuilder, ErrorKind, Listener, Mode, Network, Properties, ProxyProtocol,
    Request, Response,
};

const MODES: [Mode; 2] = [Mode::Queue, Mode::Colocated];
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

const fn limits() -> ConnectionLimits {
    ConnectionLimits::new()
}

fn from(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// All that connect from this host.
fn here() -> Network {
    Network::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8).expect("a network")
}

/// Runs an engine with one shard that listens so, and a client against it, after which everything must come back.
fn serving(mode: Mode, builder: EngineBuilder, listener: Listener, client: impl FnOnce(&Engine, SocketAddr)) {
    let engine = Watched::start(builder, mode);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen_on(listener).expect("a free port").tcp().unwrap_or_else(|| loopback(80));
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    thread::scope(|scope| {
        let stop = StopOnDrop(&engine);
        scope.spawn(|| {
            let _attached = (mode == Mode::Colocated).then(|| engine.attach(0).expect("the shard is free"));
            let taken = Mutex::new(Vec::new());
            while let Ok(request) = queue.receive() {
                answer(request, &taken);
            }
        });
        client(&engine, address);
        await_rest(&engine);
        drop(stop);
    });
}

fn in_both_modes(limits: ConnectionLimits, client: impl Fn(&Engine, SocketAddr)) {
    for mode in MODES {
        serving(mode, builder(), Listener::tcp(loopback(0)).limits(limits), &client);
    }
}

/// As the path says. The client may be gone by then, which is nothing of the engine's.
fn answer(request: Request, taken: &Mutex<Vec<OwnedFd>>) {
    let upgrade = |request: Request| request.upgrade(Response::switching("echo/1")).ok();
    match request.path() {
        "/cancel" => _ = request.cancel(),
        "/close" => _ = request.respond(Response::text("closed").close()),
        "/drop" => drop(request),
        "/pipe" => drop(upgrade(request)),
        "/take" => {
            let socket = upgrade(request).and_then(|pipe| ringress::block_on(pipe.into_fd_async()).ok());
            // It stays open, and is nothing of the engine's.
            taken.lock().expect("nobody panics").extend(socket.map(|(socket, _)| socket));
        }
        _ => _ = request.respond(Response::text("served")),
    }
}

/// Whether what a client sends is answered: otherwise it is closed without a response.
fn is_served(client: &mut Client) -> bool {
    // Who is refused may see that as early as this.
    _ = client.stream.write_all(GET);
    match client.stream.peek(&mut [0]) {
        Ok(1) => {
            assert_eq!(client.read().status, 200);
            true
        }
        Ok(_) => false,
        Err(error) if error.kind() == IoErrorKind::ConnectionReset => false,
        Err(error) => panic!("neither a response nor an end: {error}"),
    }
}

/// A client from an address, if it is served.
fn comes(address: SocketAddr, last: u8) -> Option<Client> {
    let mut client = Client::connect_from(from(last), address);
    is_served(&mut client).then_some(client)
}

fn served(address: SocketAddr, last: u8) -> Client {
    comes(address, last).expect("it is within all limits")
}

/// Once somebody has gone, another one is served, sooner or later.
fn await_served(address: SocketAddr, last: u8) -> Client {
    let mut client = None;
    wait_until("there is room", || {
        client = comes(address, last);
        client.is_some()
    });
    client.expect("waited for")
}

/// All that have been refused, by any limit.
fn refused(counters: &Counters) -> [u64; 4] {
    [
        counters.over_connections_max,
        counters.over_connection_rate_max,
        counters.over_connections_per_address_max,
        counters.over_connection_rate_per_address_max,
    ]
}

#[test]
fn an_address_has_as_many_connections_as_it_may_and_others_have_theirs() {
    in_both_modes(limits().connections_per_address_max(2), |engine, address| {
        let (mut first, _second) = (served(address, 2), served(address, 2));
        (0..5).for_each(|_| assert!(comes(address, 2).is_none(), "a third"));
        assert_eq!(refused(&engine.counters()), [0, 0, 5, 0]);
        assert_eq!(engine.counters().client_addresses, 1, "who is refused is nowhere else");
        let _other = [served(address, 3), served(address, 3)];
        assert!(is_served(&mut first), "those that are there are served on");
        first.reset();
        let _next = await_served(address, 2);
        assert!(comes(address, 2).is_none());
    });
}

#[test]
fn a_listener_has_as_many_connections_as_it_may_whosever_they_are() {
    in_both_modes(limits().connections_max(3), |engine, address| {
        let mut open: Vec<_> = (2..5).map(|last| served(address, last)).collect();
        assert!(comes(address, 5).is_none());
        assert_eq!(refused(&engine.counters()), [1, 0, 0, 0]);
        open.truncate(2);
        open.push(await_served(address, 5));
        assert!(comes(address, 6).is_none());
    });
}

#[test]
fn a_limit_holds_for_all_shards_together() {
    let limits = limits().connections_per_address_max(3).connections_max(5);
    let engine = Watched::start(builder().shards(4), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen_on(Listener::tcp(loopback(0)).limits(limits)).expect("a free port");
    let address = address.tcp().expect("a TCP one");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    let _pool = common::serve(&queue, |request| request.respond(Response::text("served")).expect("open"));
    // The kernel deals them to shards by their ports.
    let mut open: Vec<_> = (0..3).map(|_| served(address, 2)).collect();
    (0..20).for_each(|_| assert!(comes(address, 2).is_none(), "whichever shard gets it"));
    open.extend([served(address, 3), served(address, 4)]);
    (0..20).for_each(|_| assert!(comes(address, 5).is_none(), "whichever shard gets it"));
    assert_eq!(refused(&engine.counters()), [20, 0, 20, 0]);
}

/// Sockets of one address, as an engine hands them over that has one for each shard, count in one place.
#[test]
fn a_limit_holds_once_for_all_sockets_of_an_address() {
    let text = |_: &Request| "served".to_owned();
    for mode in MODES {
        by_two_shards((builder(), mode), text, |next, group| {
            let address = by_two_shards((builder(), mode), text, |first, _| {
                let address = first.listen(loopback(0)).expect("a free port");
                let sockets = first.hand_over().expect("descriptors are left");
                assert_eq!(sockets.len(), 2, "one a shard");
                for socket in sockets {
                    let listener = Listener::from(socket).limits(limits().connections_max(1));
                    next.listen_on(listener).expect("it listens");
                }
                address
            });
            add(group, address.port());
            let only = served(address, 2);
            // The kernel deals them to the sockets by their ports.
            (0..32).for_each(|_| assert!(comes(address, 3).is_none(), "whichever socket it comes to"));
            assert_eq!(refused(&next.counters()), [32, 0, 0, 0]);
            only.reset();
            drop(await_served(address, 3));
        });
    }
}

/// Comes again and again until it is refused, and gives how many were served, and the time that it took at most.
fn until_refused(come: impl Fn() -> bool) -> (u64, Duration) {
    let begun = Instant::now();
    let mut served = 0;
    while come() {
        served += 1;
        assert!(served < 10_000, "nobody is refused");
    }
    (served, begun.elapsed())
}

#[test]
fn new_connections_are_as_many_a_second_as_may_be() {
    const RATE: u64 = 3;
    let rate = u32::try_from(RATE).expect("small");
    let of_all = (limits().connection_rate_max(rate), 1);
    let of_address = (limits().connection_rate_per_address_max(rate), 3);
    for (limits, reason) in [of_all, of_address] {
        in_both_modes(limits, |engine, address| {
            for last in [2, 3] {
                let (served, time) = until_refused(|| comes(address, last).is_some());
                let most = RATE + RATE * (time.as_secs() + 1);
                assert!(served <= most, "{served} in {time:?}");
                if reason == 3 || last == 2 {
                    assert!(served >= RATE, "{served}: a second's worth comes at once");
                }
            }
            assert_eq!(refused(&engine.counters())[reason], 2);
            assert_eq!(refused(&engine.counters()).iter().sum::<u64>(), 2);
            // It does not count who was refused, so who goes on is served.
            drop(await_served(address, 2));
        });
    }
}

/// However a connection ends, it gives back what it counted: with one at a time, the next is served.
#[test]
fn whatever_a_connection_ends_by_it_makes_room() {
    let upgrade = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n").into_bytes()
    };
    let ways = [
        (b"GET /close HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(), false),
        (b"GET /cancel HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(), true),
        (b"GET /drop HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(), false),
        (b"malformed\r\n\r\n".to_vec(), false),
        (b"GET / HT".to_vec(), false),
        (Vec::new(), false),
        (upgrade("/pipe"), true),
        (upgrade("/take"), true),
        (b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf".to_vec(), false),
    ];
    for mode in MODES {
        let listener = Listener::tcp(loopback(0)).limits(limits().connections_max(1));
        let builder = builder().connection_limits(limits().connections_per_address_max(1));
        serving(mode, builder, listener, |engine, address| {
            for (sent, ends_by_itself) in &ways {
                for resets in [false, true] {
                    let mut client = await_served(address, 2);
                    client.send(sent);
                    match (resets, ends_by_itself) {
                        (true, _) => client.reset(),
                        (false, false) => drop(client),
                        // The next one is served while this one's socket is still there.
                        (false, true) => drop((await_served(address, 2), client)),
                    }
                }
            }
            assert_eq!(engine.counters().connections_refused, 0);
        });
    }
}

#[test]
fn whom_a_timer_ends_makes_room() {
    let properties =
        Properties::new().idle_connection(Duration::from_millis(64)).header_wait(Duration::from_millis(64));
    for mode in MODES {
        let listener = Listener::tcp(loopback(0)).limits(limits().connections_max(1));
        serving(mode, builder().properties(properties), listener, |engine, address| {
            for _ in 0..3 {
                let mut idle = await_served(address, 2);
                idle.read_end();
            }
            wait_until("it has gone", || engine.counters().connections_open == 0);
            let mut silent = Client::connect(address);
            silent.read_end();
            drop(await_served(address, 2));
        });
    }
}

#[test]
fn an_engines_limits_hold_over_its_listeners_and_a_listeners_beside_them() {
    let (ours, theirs) = (limits().connections_per_address_max(3), limits().connections_per_address_max(2));
    for mode in MODES {
        serving(
            mode,
            builder().connection_limits(ours),
            Listener::tcp(loopback(0)).limits(theirs),
            |engine, address| {
                // Without limits of its own: opened for its URL.
                let session = engine.server_session();
                let (group, port) = (session.url_group(), common::ports::free_port());
                group.add_url(&format!("http://*:{port}/"), 0).expect("the URL is free");
                let unbound = |last| {
                    let mut client = Client::connect_from(from(last), loopback(port));
                    _ = client.stream.write_all(GET);
                    let is_answered = client.stream.peek(&mut [0]).is_ok_and(|len| len == 1);
                    is_answered.then_some(client)
                };
                let _open = [served(address, 2), served(address, 2), unbound(2).expect("the engine's third")];
                assert!(unbound(2).is_none() && comes(address, 2).is_none(), "as many as the engine allows");
                let _others = [unbound(3), unbound(3)].map(|client| client.expect("another address"));
                let _third = served(address, 3);
                assert!(unbound(3).is_none() && comes(address, 3).is_none());
                assert_eq!(refused(&engine.counters()), [0, 0, 4, 0]);
            },
        );
    }
}

#[test]
fn trusted_addresses_have_no_limit_of_an_address_but_count_among_all() {
    let limits = limits().connections_per_address_max(1).connection_rate_per_address_max(1).connections_max(4);
    for mode in MODES {
        let listener = Listener::tcp(loopback(0)).limits(limits);
        serving(mode, builder().trusted_proxies(&[here()]), listener, |engine, address| {
            let _open: Vec<_> = (0..4).map(|_| served(address, 2)).collect();
            assert!(comes(address, 3).is_none());
            assert_eq!(refused(&engine.counters()), [1, 0, 0, 0]);
        });
    }
}

/// A header of version 1 or 2 for a client of 192.0.2.0/24.
fn header(version: u8, last: u8) -> Vec<u8> {
    match version {
        1 => format!("PROXY TCP4 192.0.2.{last} 192.0.2.9 4660 443\r\n").into_bytes(),
        _ => [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[192, 0, 2, last, 192, 0, 2, 9, 1, 1, 1, 0xbb][..]].concat(),
    }
}

/// A connection of a proxy's for a client, if it is served, whatever kind of socket it is.
fn relayed(mut client: Client, header: &[u8]) -> Option<Client> {
    _ = client.stream.write_all(header);
    is_served(&mut client).then_some(client)
}

#[test]
fn behind_a_proxy_the_limits_of_an_address_are_its_clients() {
    let limits = limits().connections_per_address_max(2).connection_rate_per_address_max(100).connections_max(20);
    for (mode, protocol) in MODES.into_iter().zip([ProxyProtocol::Required, ProxyProtocol::Optional]) {
        let listener = Listener::tcp(loopback(0)).limits(limits).proxy_protocol(protocol);
        serving(mode, builder().trusted_proxies(&[here()]), listener, |engine, address| {
            let come = |version, last| relayed(Client::connect(address), &header(version, last));
            let mut open = vec![come(1, 1).expect("the first"), come(2, 1).expect("the second")];
            for version in [1, 2] {
                assert!(come(version, 1).is_none(), "a third");
            }
            open.extend([come(1, 2), come(2, 2)].map(|client| client.expect("another client")));
            assert_eq!(refused(&engine.counters()), [0, 0, 2, 0]);
            open.remove(0).reset();
            wait_until("there is room", || come(2, 1).map(|client| open.push(client)).is_some());
            assert!(come(1, 1).is_none());
            // As health checks of the proxy's do.
            let own = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
            open.extend((0..5).map(|_| relayed(Client::connect(address), own).expect("of nobody who has a limit")));
            assert_eq!(engine.counters().proxy_headers_malformed, 0);
        });
    }
}

#[test]
fn a_header_that_makes_a_client_one_too_many_ends_the_connection_wherever_it_is_split() {
    let limits = limits().connections_per_address_max(1);
    for version in [1, 2] {
        let listener = Listener::tcp(loopback(0)).limits(limits).proxy_protocol(ProxyProtocol::Required);
        serving(Mode::Queue, builder().trusted_proxies(&[here()]), listener, |engine, address| {
            let bytes = header(version, 1);
            let _first = relayed(Client::connect(address), &bytes).expect("the first");
            for split in 1..bytes.len() {
                let mut client = Client::connect(address);
                client.send(&bytes[..split]);
                assert!(relayed(client, &bytes[split..]).is_none(), "split at {split}");
            }
            let splits = u64::try_from(bytes.len()).expect("a few") - 1;
            assert_eq!(refused(&engine.counters()), [0, 0, splits, 0]);
        });
    }
}

#[test]
fn a_clients_rate_counts_behind_a_proxy() {
    let limits = limits().connection_rate_per_address_max(2);
    for mode in MODES {
        let listener = Listener::tcp(loopback(0)).limits(limits).proxy_protocol(ProxyProtocol::Required);
        serving(mode, builder().trusted_proxies(&[here()]), listener, |engine, address| {
            let come = |last| relayed(Client::connect(address), &header(2, last)).is_some();
            let (served, time) = until_refused(|| come(1));
            assert!((2..=2 + 2 * (time.as_secs() + 1)).contains(&served), "{served} in {time:?}");
            assert!(come(2), "another client has its own");
            assert_eq!(refused(&engine.counters()), [0, 0, 0, 1]);
        });
    }
}

#[test]
fn over_a_unix_socket_all_count_and_clients_where_a_proxy_names_them() {
    let name = format!("ringress-limits-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let connect = || Client::over_unix(UnixStream::connect_addr(&address).expect("the engine listens"));
    for mode in MODES {
        let listener = Listener::abstract_name(name.as_str()).limits(limits().connections_max(2));
        serving(mode, builder(), listener, |engine, _| {
            let _open: Vec<_> = (0..2).map(|_| relayed(connect(), b"").expect("within the limit")).collect();
            let mut third = connect();
            _ = third.stream.write_all(GET);
            assert!(!matches!(third.stream.peek(&mut [0]), Ok(1)), "it is closed");
            assert_eq!(refused(&engine.counters()), [1, 0, 0, 0]);
        });
        let limits = limits().connections_per_address_max(1);
        let listener = Listener::abstract_name(name.as_str()).limits(limits).proxy_protocol(ProxyProtocol::Required);
        serving(mode, builder(), listener, |engine, _| {
            let _first = relayed(connect(), &header(2, 1)).expect("the first");
            let mut second = connect();
            _ = second.stream.write_all(&header(1, 1));
            assert!(!matches!(second.stream.peek(&mut [0]), Ok(1)), "it is closed");
            let _other = relayed(connect(), &header(1, 2)).expect("another client");
            assert_eq!(refused(&engine.counters()), [0, 0, 1, 0]);
        });
    }
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    let start = |limits| Watched::try_start(builder().connection_limits(limits), Mode::Queue).err();
    let engine = Watched::start(builder(), Mode::Queue);
    let listen = |listener: Listener| engine.listen_on(listener).err();
    let tcp = |limits| listen(Listener::tcp(loopback(0)).limits(limits));
    let abstract_name = Listener::abstract_name("ringress-limits-refused");
    let socket = std::os::unix::net::UnixListener::bind_addr(
        &std::os::unix::net::SocketAddr::from_abstract_name(format!("ringress-handed-{}", std::process::id()))
            .expect("a name"),
    );
    let handed = Listener::from(socket.expect("the name is free"));
    for (error, text) in [
        (start(limits().connections_max(0)), "connections_max is 0, but must be from 1 to 4294967295; leave it out"),
        (tcp(limits().connection_rate_max(0)), "connection_rate_max is 0, but must be from 1 to 1000000; leave it out"),
        (
            tcp(limits().connections_max(1).connections_per_address_max(2)),
            "connections_per_address_max is 2, but connections_max is 1",
        ),
        (
            listen(abstract_name.limits(limits().connection_rate_per_address_max(1))),
            "connection_rate_per_address_max is set for a Unix socket, where nobody has an address; leave it out",
        ),
        (
            listen(handed.limits(limits().connections_per_address_max(1))),
            "connections_per_address_max is set for a Unix socket, where nobody has an address; leave it out",
        ),
    ] {
        let error = error.expect("it means nothing");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with(text), "{error}");
    }
    assert!(engine.addresses().is_empty());
}
