//! What of a target the engine takes: by default what RFC 3986 and 9110 allow, and what its settings add.

mod common;

use common::{Client, End, Host, builder, receive};
use ringress::{EngineBuilder, QueueOptions, Response};

/// An engine with these settings, and a question to it: its response's status, and what the application saw.
fn ask(builder: EngineBuilder, request: &[u8]) -> (u16, String) {
    let host = Host::start_with(builder, QueueOptions::default());
    let mut client = Client::connect(host.address);
    client.send(request);
    let answered = std::thread::scope(|scope| {
        let reader = scope.spawn(|| client.read());
        let mut seen = String::new();
        while !reader.is_finished() {
            let Ok(Some(request)) = host.queue.receive_timeout(std::time::Duration::from_millis(5)) else { continue };
            let (method, query) = (request.method_name(), request.query().unwrap_or_default());
            seen = format!("{} {} {}", method.escape_ascii(), request.path(), query.escape_ascii());
            request.respond(Response::new(499)).expect("open");
        }
        (reader.join().expect("an answer"), seen)
    });
    let (reply, seen) = answered;
    assert_eq!(reply.field("Connection"), (reply.status != 499).then_some("close"), "{}", reply.head);
    (reply.status, seen)
}

fn get(target: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat()
}

#[test]
fn bytes_beyond_ascii_are_taken_only_where_the_engine_is_told_to() {
    let utf8: [&[u8]; 4] =
        ["/caf\u{e9}".as_bytes(), "/?caf\u{e9}".as_bytes(), "http://h/\u{e9}".as_bytes(), "/\u{e9}/..".as_bytes()];
    for target in utf8 {
        assert_eq!(ask(builder(), &get(target)).0, 400, "{}", target.escape_ascii());
        let (status, seen) = ask(builder().raw_target_bytes(true), &get(target));
        assert_eq!(status, 499, "{}: {seen}", target.escape_ascii());
    }
    // Whatever the setting: what is not UTF-8, and controls, however they are written.
    for target in [&b"/\xe9"[..], b"/?\xe9", b"/\x7f", b"/\xc2\x80", b"/%C2%80", b"/%c2%9f", b"/%80", b"/\x1f"] {
        for allowed in [false, true] {
            let (status, _) = ask(builder().raw_target_bytes(allowed), &get(target));
            assert_eq!(status, 400, "{}, {allowed}", target.escape_ascii());
        }
    }
    for target in [&b"/caf%C3%A9"[..], b"/%C2%A0?%C2%80%FF"] {
        assert_eq!(ask(builder(), &get(target)).0, 499, "{}", target.escape_ascii());
    }
}

#[test]
fn limits_leave_the_setting_of_raw_bytes_as_it_is() {
    let limits = ringress::Limits::DEFAULT;
    let target = get("/caf\u{e9}".as_bytes());
    assert_eq!(ask(builder().raw_target_bytes(true).limits(limits), &target).0, 499);
    assert_eq!(ask(builder().limits(limits).raw_target_bytes(true), &target).0, 499);
    assert_eq!(ask(builder().limits(limits), &target).0, 400);
}

#[test]
fn an_absolute_target_without_a_path_has_the_root() {
    for (target, path, query) in [("http://h?a=1", "/", "a=1"), ("http://h:80?", "/", ""), ("http://h", "/", "")] {
        let (status, seen) = ask(builder(), &get(target.as_bytes()));
        assert!(status == 499 && seen.starts_with(&format!("GET {path} ")) && seen.contains(query), "{target}: {seen}");
    }
    assert_eq!(ask(builder(), &get(b"http://h?a#b")).0, 400);
}

#[test]
fn connect_is_refused_unless_the_engine_is_told_to_deliver_it() {
    let connect = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    assert_eq!(ask(builder(), connect), (501, String::new()));
    let upgrade = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(ask(builder(), upgrade).0, 501);
    let body = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(ask(builder(), body).0, 501);
    let (first, rest) = connect.split_at(20);
    let host = Host::start_with(builder(), QueueOptions::default());
    let mut client = Client::connect(host.address);
    client.send(first);
    client.send(rest);
    assert_eq!(client.read().status, 501);
    for malformed in ["CONNECT / HTTP/1.1", "CONNECT h HTTP/1.1", "CONNECT h:0 HTTP/1.1"] {
        let request = format!("{malformed}\r\nHost: h\r\n\r\n");
        assert_eq!(ask(builder(), request.as_bytes()).0, 400, "{malformed}");
    }
    let (status, seen) = ask(builder().deliver_connect(true), connect);
    assert!(status == 499 && seen.starts_with("CONNECT "), "{status} {seen}");
}

#[test]
fn a_connect_behind_other_requests_is_refused_in_its_turn() {
    let host = Host::start();
    let mut client = host.connect();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nCONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    receive(&host.queue).respond(Response::text("first")).expect("open");
    assert_eq!(client.read().text(), "first");
    let refusal = client.read();
    assert_eq!((refusal.status, refusal.field("Connection")), (501, Some("close")));
    assert_eq!(client.read_end(), End::Closed);
}

#[test]
fn a_host_with_a_final_dot_is_that_name() {
    let host = Host::start();
    let url = format!("http://name.test:{}/of/", host.address.port());
    host.group.add_url(&url, 9).expect("free");
    for (name, context) in [("name.test", 9), ("name.test.", 9), ("NAME.TEST.:1", 9), ("name.test..", 7), ("test.", 7)]
    {
        let mut client = host.connect();
        client.send(format!("GET /of/x HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        let request = receive(&host.queue);
        assert_eq!(request.url_context(), context, "{name}");
        request.respond(Response::ok()).expect("open");
        assert_eq!(client.read().status, 200);
    }
    let dotted = format!("http://name.test.:{}/of/", host.address.port());
    let error = host.group.add_url(&dotted, 1).expect_err("it is written without");
    assert!(error.to_string().contains("dots between"), "{error}");
}
