//! Connections that proxies pass on: headers of the PROXY protocol, and fields that say for whom a request is.
//!
//! Proxies are clients here that write headers byte for byte; real ones are in `behind_proxies`. Not here: the grammar
//! of headers and fields (the crate `ringress-proto`).

#[path = "proxied/behind_proxies.rs"]
mod behind_proxies;
mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use common::{Client, End, StopOnDrop, Watched, await_rest, builder, loopback, receive, wait_until};
use ringress::{
    Engine, ErrorKind, Listener, Mode, Network, Properties, ProxyProtocol, Request, RequestQueue, Response,
};

const MODES: [Mode; 2] = [Mode::Queue, Mode::Colocated];

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of 192.0.2.1:4660, who reached 192.0.2.2:443.
const TCP4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 1, 0xbb];
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn network(address: Ipv4Addr, prefix: u8) -> Network {
    Network::new(address.into(), prefix).expect("a network")
}

/// All that connect from this host.
fn loopback_network() -> Network {
    network(Ipv4Addr::new(127, 0, 0, 0), 8)
}

/// A header of version 2, and what it says besides.
fn v2(command: u8, addresses: &[u8], additions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = addresses.to_vec();
    for (kind, value) in additions {
        body.push(*kind);
        body.extend(u16::try_from(value.len()).expect("of 16 bits").to_be_bytes());
        body.extend(*value);
    }
    let len = u16::try_from(body.len()).expect("of 16 bits").to_be_bytes();
    [V2, &[command, if addresses.is_empty() { 0 } else { 0x11 }], &len, &body].concat()
}

/// What a request says of where it comes from.
fn origin(request: &Request) -> String {
    let header = request.proxy_header();
    let authority = header.as_ref().and_then(|header| header.authority()).unwrap_or(b"-");
    let destination = header.as_ref().and_then(ringress::ProxyHeader::destination);
    let destination = destination.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let (peer, transport) = (request.peer_addr(), request.transport_peer_addr().ip());
    format!("{peer} {transport} {destination} {}", String::from_utf8_lossy(authority))
}

fn answer_all(queue: &RequestQueue) {
    while let Ok(request) = queue.receive() {
        let said = format!("{}|{}", origin(&request), request.client_address());
        request.respond(Response::text(&said)).expect("open");
    }
}

/// Runs an engine that listens so, and a client against it, after which everything must come back.
fn serving(
    mode: Mode,
    (trusted, protocol): (Network, ProxyProtocol),
    properties: Properties,
    client: impl FnOnce(&Engine, SocketAddr),
) {
    let builder = builder().trusted_proxies(&[trusted]).properties(properties);
    let engine = Watched::start(builder, mode);
    let queue = engine.request_queue("test").expect("a queue");
    let listener = Listener::tcp(loopback(0)).proxy_protocol(protocol);
    let address = engine.listen_on(listener).expect("a free port").tcp().expect("a TCP one");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    thread::scope(|scope| {
        let stop = StopOnDrop(&engine);
        scope.spawn(|| {
            let _attached = (mode == Mode::Colocated).then(|| engine.attach(0).expect("the shard is free"));
            answer_all(&queue);
        });
        client(&engine, address);
        await_rest(&engine);
        drop(stop);
    });
}

fn required(client: impl Fn(&Engine, SocketAddr)) {
    MODES.iter().for_each(|mode| {
        serving(*mode, (loopback_network(), ProxyProtocol::Required), Properties::new(), &client);
    });
}

/// What a new connection is told that begins with these bytes, in two pieces.
fn told(address: SocketAddr, bytes: &[u8], split: usize) -> String {
    let mut client = Client::connect(address);
    client.send(&bytes[..split]);
    client.send(&bytes[split..]);
    client.read().text().to_owned()
}

#[test]
fn the_client_is_who_the_proxy_says_wherever_its_header_is_split() {
    required(|_, address| {
        let binary = v2(0x21, &TCP4, &[(2, b"example.com"), (5, b"one")]);
        for (header, authority) in [(LINE, "-"), (&binary, "example.com")] {
            let sent = [header, GET].concat();
            for split in 1..=header.len() + 1 {
                let want = format!("192.0.2.1:4660 127.0.0.1 192.0.2.2:443 {authority}|192.0.2.1");
                assert_eq!(told(address, &sent, split), want, "split at {split}");
            }
        }
    });
}

#[test]
fn a_header_may_come_a_byte_at_a_time_and_what_follows_it_with_it() {
    required(|_, address| {
        let mut client = Client::connect(address);
        for byte in [LINE, GET].concat() {
            client.send([byte]);
        }
        client.read();
        let mut client = Client::connect(address);
        client.send([LINE, GET, GET, GET].concat());
        for _ in 0..3 {
            assert!(
                client.read().text().starts_with("192.0.2.1:4660 127.0.0.1 "),
                "each request on it is its client's"
            );
        }
    });
}

#[test]
fn a_proxys_own_connection_is_its_own() {
    required(|engine, address| {
        let own = v2(0x20, &[], &[]);
        let said = told(address, &[&own, GET].concat(), own.len());
        let (peer, rest) = said.split_once(' ').expect("two");
        assert!(peer.starts_with("127.0.0.1:"), "{said}");
        assert_eq!(rest, "127.0.0.1 - -|127.0.0.1");
        let unknown = [b"PROXY UNKNOWN\r\n", GET].concat();
        assert!(told(address, &unknown, 1).starts_with("127.0.0.1:"), "the proxy does not know it");
        wait_until("both have gone", || engine.counters().connections_open == 0);
        assert_eq!(engine.counters().connections_proxied, 1, "one is nobody else's");
    });
}

/// That a connection which begins so ends without a response, in any mode, counted once by `count`.
fn assert_ends(setting: (Network, ProxyProtocol), bytes: &[u8], count: fn(&ringress::Counters) -> u64) {
    for mode in MODES {
        serving(mode, setting, Properties::new(), |engine, address| {
            let before = count(&engine.counters());
            let mut client = Client::connect(address);
            // It may be closed before all is sent.
            _ = client.stream.write_all(bytes);
            client.read_end();
            wait_until("it is counted", || count(&engine.counters()) == before + 1);
            assert_eq!(engine.counters().requests_refused, 0, "nothing of it is a request");
        });
    }
}

#[test]
fn what_is_malformed_missing_or_of_a_stranger_ends_the_connection_and_is_counted() {
    let (here, elsewhere) = (loopback_network(), network(Ipv4Addr::new(10, 0, 0, 0), 8));
    let too_long = [b"PROXY TCP4 ", &[b'1'; 120][..]].concat();
    let no_family = [V2, b"\x21\x13\0\0"].concat();
    for header in [b"PROXY TCP4 192.0.2.1 192.0.2.2 4660\r\n", &too_long[..], &no_family, &v2(0x22, &TCP4, &[])] {
        for protocol in [ProxyProtocol::Required, ProxyProtocol::Optional] {
            assert_ends((here, protocol), header, |counters| counters.proxy_headers_malformed);
        }
    }
    assert_ends((here, ProxyProtocol::Required), GET, |counters| counters.proxy_headers_missing);
    assert_ends((elsewhere, ProxyProtocol::Required), &[LINE, GET].concat(), |counters| counters.proxy_strangers);
}

#[test]
fn who_waits_for_a_second_header_or_mixes_both_is_refused_as_what_follows_the_first() {
    required(|engine, address| {
        for second in [LINE, &v2(0x21, &TCP4, &[])] {
            let mut client = Client::connect(address);
            client.send([LINE, second, GET].concat());
            assert_eq!(client.read().status, 400, "it is no request");
        }
        wait_until("both are counted", || engine.counters().requests_refused == 2);
    });
}

#[test]
fn a_header_that_is_too_slow_ends_the_connection() {
    let properties = Properties::new().proxy_header(Duration::from_millis(128));
    for mode in MODES {
        serving(mode, (loopback_network(), ProxyProtocol::Required), properties, |engine, address| {
            let mut clients = [b"", &LINE[..20], &V2[..3]].map(|begun| {
                let mut client = Client::connect(address);
                client.send(begun);
                client
            });
            clients.iter_mut().for_each(|client| assert_eq!(client.read_end(), End::Closed));
            wait_until("each is counted", || engine.counters().proxy_headers_missing == 3);
            assert_eq!(engine.counters().timeouts, 3);
            // Behind its header, a connection has the time of any other one.
            let mut client = Client::connect(address);
            client.send(LINE);
            wait_until("it has come", || engine.counters().connections_proxied == 1);
            assert!(!client.is_readable_within(Duration::from_millis(600)), "it is still there");
            client.send(GET);
            client.read();
        });
    }
}

#[test]
fn where_no_header_has_to_come_a_connection_may_begin_with_any_request() {
    for mode in MODES {
        serving(mode, (loopback_network(), ProxyProtocol::Optional), Properties::new(), |engine, address| {
            let own = told(address, GET, 3);
            assert!(own.starts_with("127.0.0.1:") && own.ends_with(" 127.0.0.1 - -|127.0.0.1"), "{own}");
            assert!(told(address, &[LINE, GET].concat(), 7).starts_with("192.0.2.1:4660 "));
            // Its first bytes could be those of a header.
            let method = [b"PROPFIND", &GET[3..]].concat();
            for split in 1..6 {
                assert!(told(address, &method, split).starts_with("127.0.0.1:"), "split at {split}");
            }
            assert_eq!(engine.counters().requests_refused, 0);
        });
    }
}

#[test]
fn where_no_header_has_to_come_a_strangers_is_no_request() {
    let elsewhere = network(Ipv4Addr::new(10, 0, 0, 0), 8);
    serving(Mode::Queue, (elsewhere, ProxyProtocol::Optional), Properties::new(), |engine, address| {
        let mut client = Client::connect(address);
        client.send([LINE, GET].concat());
        assert_eq!(client.read().status, 400);
        assert_eq!(engine.counters().connections_proxied, 0, "nobody believes it");
        assert!(told(address, GET, 3).starts_with("127.0.0.1:"));
    });
}

#[test]
fn each_client_behind_a_proxy_counts_as_an_address_of_its_own() {
    required(|engine, address| {
        let clients: Vec<Client> = (1..=3_u8)
            .flat_map(|last| [last, last])
            .map(|last| {
                let mut client = Client::connect(address);
                client.send(format!("PROXY TCP4 192.0.2.{last} 192.0.2.2 1 2\r\n"));
                client.send(GET);
                client.read();
                client
            })
            .collect();
        assert_eq!(engine.counters().client_addresses, 3);
        drop(clients);
        wait_until("all have gone", || engine.counters().client_addresses == 0);
    });
}

#[test]
fn what_a_proxy_has_said_is_known_as_long_as_the_connection_lasts() {
    let engine = Watched::start(builder().trusted_proxies(&[loopback_network()]), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let listener = Listener::tcp(loopback(0)).proxy_protocol(ProxyProtocol::Required);
    let address = engine.listen_on(listener).expect("a free port").tcp().expect("a TCP one");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
    let mut client = Client::connect(address);
    let tls = [1, 0, 0, 0, 0, 0x21, 0, 7, b'T', b'L', b'S', b'v', b'1', b'.', b'3'];
    client.send([&v2(0x21, &TCP4, &[(1, b"h2"), (5, b"one"), (0x20, &tls), (0xea, b"x")])[..], GET].concat());
    let request = receive(&queue);
    let header = request.proxy_header().expect("one has come");
    assert_eq!((header.alpn(), header.unique_id()), (Some(&b"h2"[..]), Some(&b"one"[..])));
    assert_eq!((header.addition(0xea), header.authority()), (Some(&b"x"[..]), None));
    assert_eq!(header.tls().expect("told").version(), Some(&b"TLSv1.3"[..]));
    assert_eq!(header.source(), Some("192.0.2.1:4660".parse().expect("an address")));
    client.reset();
    wait_until("it has gone", || request.proxy_header().is_none());
    assert_eq!(request.peer_addr().to_string(), "192.0.2.1:4660");
    assert_eq!(request.transport_peer_addr().ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(header.alpn(), Some(&b"h2"[..]), "who has asked keeps it");
    drop(request);
}

/// Whom a request with these fields is from, of somebody who is trusted or not.
fn asked_by(trusted: Network, fields: &str) -> String {
    let mut said = String::new();
    serving(Mode::Queue, (trusted, ProxyProtocol::Off), Properties::new(), |_, address| {
        let mut client = Client::connect(address);
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        said = client.read().text().rsplit_once('|').expect("two parts").1.to_owned();
    });
    said
}

#[test]
fn fields_of_trusted_proxies_alone_say_for_whom_a_request_is() {
    let here = loopback_network();
    for (fields, client) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\n", "192.0.2.1"),
        ("X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 192.0.2.1, 127.0.0.3\r\n", "192.0.2.1"),
        ("Forwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n", "2001:db8::1"),
        ("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n", "192.0.2.1"),
        ("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.1, unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 127.0.0.7, 127.0.0.8\r\n", "127.0.0.7"),
    ] {
        assert_eq!(asked_by(here, fields), client, "{fields}");
    }
    let elsewhere = network(Ipv4Addr::new(10, 0, 0, 0), 8);
    assert_eq!(asked_by(elsewhere, "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n"), "127.0.0.1");
}

/// Who comes over a Unix socket is of this host, and trusted.
#[test]
fn proxies_of_this_host_may_come_over_a_unix_socket() {
    let name = format!("ringress-proxied-{}", std::process::id());
    let engine = Watched::start(builder(), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let listener = Listener::abstract_name(name.as_str()).proxy_protocol(ProxyProtocol::Required);
    engine.listen_on(listener).expect("the name is free");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    group.add_url("http://*:80/", 0).expect("the URL is free");
    let name = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes()).expect("short");
    for (sent, want) in [
        ([LINE, GET].concat(), "192.0.2.1:4660 :: 192.0.2.2:443 -|192.0.2.1"),
        (
            [&v2(0x20, &[], &[])[..], b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"].concat(),
            "[::]:0 :: - -|192.0.2.7",
        ),
        // A header that names nobody takes no trust away.
        (
            b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n".to_vec(),
            "[::]:0 :: - -|192.0.2.7",
        ),
    ] {
        let mut proxy = UnixStream::connect_addr(&name).expect("it listens");
        proxy.write_all(&sent).expect("there is room");
        let request = receive(&queue);
        assert_eq!(format!("{}|{}", origin(&request), request.client_address()), want);
        request.respond(Response::ok()).expect("open");
        let mut status = [0; 12];
        proxy.read_exact(&mut status).expect("a response");
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}

#[test]
fn headers_are_not_asked_of_nobody() {
    let engine = Watched::start(builder(), Mode::Queue);
    for mode in [ProxyProtocol::Optional, ProxyProtocol::Required] {
        let listener = Listener::tcp(loopback(0)).proxy_protocol(mode);
        let error = engine.listen_on(listener).expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("proxy_protocol") && text.contains("trusted_proxies"), "{text}");
    }
    assert!(engine.addresses().is_empty());
}
