//! Bad requests get the status their fault names, a short text, and an end the client can read up to.
//!
//! Each table row is one connection. The client keeps sending after its bad request, before it reads and after it has
//! read to the end: an engine that closes with unread bytes in its socket resets the connection, and on many systems
//! a reset takes the unread answer with it. [`refusal_to`] sees such a reset.

use ringress_tests::{Client, Response, Server, both_modes};

both_modes![
    malformed_request_lines_get_400,
    malformed_targets_get_400,
    malformed_fields_get_400,
    missing_doubled_or_bad_hosts_get_400,
    ambiguous_framing_gets_400,
    unknown_codings_get_501,
    connect_gets_501,
    refusals_of_head_have_no_content,
    other_versions_get_505,
    too_long_targets_get_414,
    too_large_heads_get_431,
    bad_chunks_get_400,
    too_long_chunk_extensions_get_400,
    bad_trailers_get_400,
    a_fault_is_found_however_it_is_cut,
    a_flood_after_the_fault_does_not_lose_the_answer,
    what_looks_odd_but_is_allowed_is_served,
];

/// What a client goes on sending after its bad request, half of it before it reads the response.
const MORE_BYTES: usize = 64 * 1024;

/// No error text needs more.
const ERROR_BODY_BYTES_MAX: usize = 512;

fn shown(request: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&request[..request.len().min(120)]))
}

/// Sends `request` and more after it, expects one refusal and then the end of the stream.
fn expect_refusal(server: &Server, request: &[u8], statuses: &[u16]) -> Response {
    refusal_to(server, request, statuses, MORE_BYTES)
}

fn refusal_to(server: &Server, request: &[u8], statuses: &[u16], more: usize) -> Response {
    let shown = shown(request);
    let mut client = server.connect().about(&shown);
    client.send(request);
    client.send(vec![b'x'; more / 2]);
    let answer = client.response();
    assert!(statuses.contains(&answer.status), "{shown} got {answer:?}, not {statuses:?}");
    assert!(answer.closes(), "{shown}: a refusal closes: {answer:?}");
    assert!(answer.field("Content-Length").is_some(), "{shown}: {answer:?}");
    let kind = answer.field("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{shown}: {answer:?}");
    assert!((1..=ERROR_BODY_BYTES_MAX).contains(&answer.body.len()), "{shown}: a short text: {answer:?}");
    client.expect_eof();
    for _ in 0..more / 2 / 1_024 {
        client.send([b'x'; 1_024]);
    }
    client.assert_not_reset();
    answer
}

/// Refuses each request of the table with 400.
fn expect_400s(server: &Server, requests: &[&str]) {
    for request in requests {
        expect_refusal(server, request.as_bytes(), &[400]);
    }
    server.assert_healthy();
}

fn malformed_request_lines_get_400(server: &Server) {
    expect_400s(
        server,
        &[
            "foo\r\n\r\n",
            "GET\r\n\r\n",
            "GET /\r\nHost: h\r\n\r\n",
            "GET / \r\nHost: h\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
            "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1 x\r\nHost: h\r\n\r\n",
            "GET / http/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/11\r\nHost: h\r\n\r\n",
            "GET / HTTP 1.1\r\nHost: h\r\n\r\n",
            "GET / XTTP/1.1\r\nHost: h\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
            "G\u{e9}T / HTTP/1.1\r\nHost: h\r\n\r\n",
            "G\0T / HTTP/1.1\r\nHost: h\r\n\r\n",
            "/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\rHost: h\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
        ],
    );
}

fn malformed_targets_get_400(server: &Server) {
    let targets = [
        "pipeline",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%0g",
        "/a%00b",
        "/a%0d%0ab",
        "/a%1f",
        "/a%7f",
        "/a\u{7f}",
        "/a\u{1}b",
        "/a\tb",
        "/a#frag",
        "/?a#frag",
        "/%ff%fe",
        "/%c0%af",
        "/%ed%a0%80",
        "*",
        "http:///path",
        "http://h?q#f",
        "http://h#f",
        "http://?q",
        "/caf\u{e9}",
        "/pipeline?caf\u{e9}",
        "http://h/\u{e9}",
        "/%c2%80",
        "/%C2%9F",
        "/?\u{7f}",
    ];
    for target in targets {
        expect_refusal(server, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), &[400]);
    }
    expect_refusal(server, b"GET /\xff\xfe HTTP/1.1\r\nHost: h\r\n\r\n", &[400]);
    expect_refusal(server, b"GET /pipeline?\xff HTTP/1.1\r\nHost: h\r\n\r\n", &[400]);
    server.assert_healthy();
}

fn malformed_fields_get_400(server: &Server) {
    let fields: [&[u8]; 20] = [
        b"no colon",
        b": no name",
        b"Space : before colon",
        b"Tab\t: before colon",
        b" Leading: space",
        b"\tLeading: tab",
        b"Folded: a\r\n b",
        b"Folded: a\r\n\tb",
        b"Folded: a\r\n \r\nX: y",
        b"Na me: x",
        b"Na(me: x",
        b"Na\0me: x",
        b"N\xc3\xa4me: x",
        b"Null: a\0b",
        b"Bell: a\x07b",
        b"Delete: a\x7fb",
        b"Bare-CR: a\rb",
        b"Bare-CR-End: a\r",
        b"Bare-LF: a\nX: b",
        b"Bare-LF-End: a\n",
    ];
    for field in fields {
        let request = [b"GET / HTTP/1.1\r\nHost: h\r\n", field, b"\r\nLast: x\r\n\r\n"].concat();
        expect_refusal(server, &request, &[400]);
    }
    // A fault in the first field, before any Host, and one at the very end.
    expect_400s(
        server,
        &["GET / HTTP/1.1\r\n Host: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\n", "GET / HTTP/1.1\r\nHost: h\n\n"],
    );
}

fn missing_doubled_or_bad_hosts_get_400(server: &Server) {
    expect_400s(server, &["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHostage: h\r\n\r\n"]);
    expect_400s(server, &["GET http://h/ HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]);
    expect_400s(server, &["GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: a\r\n\r\n"]);
    let hosts = [
        "",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "u:p@a",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:65536",
        "a:99999999999",
        "a:+80",
        "[::1",
        "::1",
        "[::1]x",
        "[zz]",
        "[]",
        "a%zz",
        "a\\b",
        "<a>",
        "a\u{e9}",
        ":80",
    ];
    for host in hosts {
        expect_refusal(server, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), &[400]);
        expect_refusal(server, format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes(), &[400]);
    }
}

fn ambiguous_framing_gets_400(server: &Server) {
    let framings = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 0x4",
        "Content-Length: 4.0",
        "Content-Length: 4 4",
        "Content-Length: four",
        "Content-Length: 4;",
        "Content-Length: ",
        "Content-Length: \u{664}",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ",
        "Transfer-Encoding: ,chunked,",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: chunk\u{e9}d",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding : chunked",
    ];
    for framing in framings {
        let request = format!("POST /echo HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n4\r\nabcd\r\n0\r\n\r\n");
        expect_refusal(server, request.as_bytes(), &[400]);
    }
    let old = "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    expect_refusal(server, old.as_bytes(), &[400]);
    // More than 64 bits: no number to the one, far too large to the other.
    let endless = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n";
    expect_refusal(server, endless.as_bytes(), &[400, 413]);
    server.assert_healthy();
}

fn unknown_codings_get_501(server: &Server) {
    for coding in ["gzip, chunked", "x-new, chunked", "identity", "gzip", "chunkedx", "chunked, gzip", "\"chunked\""] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        // RFC 9112: 501 for a coding not understood (6.1), 400 where chunked is not the last (6.3).
        expect_refusal(server, request.as_bytes(), &[400, 501]);
    }
    server.assert_healthy();
}

/// No application is asked: nobody here opens tunnels.
fn connect_gets_501(server: &Server) {
    for fields in ["", "Content-Length: 3\r\n", "Connection: upgrade\r\nUpgrade: x\r\n", "Expect: 100-continue\r\n"] {
        let request = format!("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        expect_refusal(server, request.as_bytes(), &[501]);
    }
    expect_refusal(server, b"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n", &[400]);
    server.assert_healthy();
}

/// RFC 9110 section 9.3.2, whoever refuses and however much of the head was read.
fn refusals_of_head_have_no_content(server: &Server) {
    let many = "X: y\r\n".repeat(200);
    let refused = [
        ("/ HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("/ HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("/ HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n".to_owned(), 400),
        ("/ HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n".to_owned(), 417),
        ("/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(), 501),
        ("/ HTTP/1.9\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("/%zz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("/\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        (format!("/{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9_000)), 414),
        (format!("/ HTTP/1.1\r\nHost: h\r\n{many}\r\n"), 431),
        (format!("/ HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(20_000)), 431),
        ("/nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(), 404),
    ];
    for (rest, status) in refused {
        for before in ["", "\r\n"] {
            let request = format!("{before}HEAD {rest}");
            // Whole, and in two pieces, which are put together.
            for cut in [0, 5, 12] {
                let mut client = server.connect().about(shown(request.as_bytes()));
                let (first, second) = request.split_at(cut);
                client.send(first);
                if cut > 0 {
                    server.assert_healthy();
                }
                // A long one may have been refused before all of it is sent.
                let _ = client.try_send(second);
                let answer = client.response_to_head();
                assert_eq!((answer.status, answer.closes()), (status, true), "{answer:?}");
                assert_ne!(answer.field("Content-Length"), Some("0"), "as the answer to GET would have: {answer:?}");
                client.expect_eof();
            }
        }
    }
    server.assert_healthy();
}

fn other_versions_get_505(server: &Server) {
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/9.9"] {
        expect_refusal(server, format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes(), &[505]);
    }
    expect_refusal(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]);
    server.assert_healthy();
}

fn too_long_targets_get_414(server: &Server) {
    let target = "/long".repeat(9_000);
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    refusal_to(server, request.as_bytes(), &[414], 0);
    // Refused as soon as it is too long, not when it ends.
    refusal_to(server, format!("GET {target}").as_bytes(), &[414], 0);
    server.assert_healthy();
}

fn too_large_heads_get_431(server: &Server) {
    let long_value = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "v".repeat(45_000));
    refusal_to(server, long_value.as_bytes(), &[431], 0);
    let long_name = format!("GET / HTTP/1.1\r\nHost: h\r\n{}: x\r\n\r\n", "n".repeat(45_000));
    refusal_to(server, long_name.as_bytes(), &[431], 0);
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    refusal_to(server, many.as_bytes(), &[431], 0);
    let unfinished = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "v".repeat(45_000));
    refusal_to(server, unfinished.as_bytes(), &[431], 0);
    server.assert_healthy();
}

/// To a route that answers when it has read everything, so that the fault can still be named.
fn chunked(server: &Server, body: &str) -> Vec<u8> {
    server.request("POST /upload HTTP/1.1", &["Transfer-Encoding: chunked"], body)
}

fn bad_chunks_get_400(server: &Server) {
    let bodies = [
        "zz\r\nabcd\r\n0\r\n\r\n",
        "\r\nabcd\r\n0\r\n\r\n",
        " 4\r\nabcd\r\n0\r\n\r\n",
        "+4\r\nabcd\r\n0\r\n\r\n",
        "-4\r\nabcd\r\n0\r\n\r\n",
        "0x4\r\nabcd\r\n0\r\n\r\n",
        "4\nabcd\r\n0\r\n\r\n",
        "4\rabcd\r\n0\r\n\r\n",
        "4\r\nabcd\n0\r\n\r\n",
        "4\r\nabcdX\r\n0\r\n\r\n",
        "4\r\nabcdXX0\r\n\r\n",
        "4\r\nabcd\r\n\r\n0\r\n\r\n",
        "4\r\nabc\r\n0\r\n\r\n",
        "4 4\r\nabcd\r\n0\r\n\r\n",
        "4;a\nb\r\nabcd\r\n0\r\n\r\n",
        "4;a\0b\r\nabcd\r\n0\r\n\r\n",
        "4;\r\nabcd\r\n0\r\n\r\n",
        "4; =x\r\nabcd\r\n0\r\n\r\n",
        "4;a=\r\nabcd\r\n0\r\n\r\n",
        "4;a@\r\nabcd\r\n0\r\n\r\n",
        "4;a=\"b\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcd\r\n0;\r\n\r\n",
        "g\r\n",
        ";a=b\r\nabcd\r\n0\r\n\r\n",
        "10000000000000004\r\nabcd\r\n0\r\n\r\n",
    ];
    for body in bodies {
        // A size beyond 64 bits is no number, or a body too large: either name will do.
        let statuses: &[u16] = if body.starts_with("1000000000000") { &[400, 413] } else { &[400] };
        expect_refusal(server, &chunked(server, body), statuses);
    }
    server.assert_healthy();
}

fn too_long_chunk_extensions_get_400(server: &Server) {
    let one = format!("4;a={}\r\nabcd\r\n0\r\n\r\n", "x".repeat(40_000));
    refusal_to(server, &chunked(server, &one), &[400], 0);
    let zeros = format!("{}4\r\nabcd\r\n0\r\n\r\n", "0".repeat(40_000));
    refusal_to(server, &chunked(server, &zeros), &[400], 0);
    server.assert_healthy();
}

fn bad_trailers_get_400(server: &Server) {
    for trailer in ["no colon\r\n", " Folded: x\r\n", "Space : x\r\n", "Bare: a\nb\r\n", "Null: \0\r\n", "A: b\n"] {
        expect_refusal(server, &chunked(server, &format!("4\r\nabcd\r\n0\r\n{trailer}\r\n")), &[400]);
    }
    let endless = format!("4\r\nabcd\r\n0\r\nX: {}\r\n\r\n", "v".repeat(45_000));
    refusal_to(server, &chunked(server, &endless), &[400, 431], 0);
    server.assert_healthy();
}

fn a_fault_is_found_however_it_is_cut(server: &Server) {
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nX: y\nZ: a\r\n\r\n";
    for cut in 1..request.len() {
        let mut client = server.connect();
        client.send(&request[..cut]);
        server.assert_healthy();
        // Past the fault the server may already have refused.
        let _ = client.try_send(&request[cut..]);
        let answer = client.response();
        assert_eq!((answer.status, answer.closes()), (400, true), "cut after {cut} bytes");
        client.expect_eof();
    }
}

fn a_flood_after_the_fault_does_not_lose_the_answer(server: &Server) {
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nno colon\r\n\r\n");
        client.send(vec![b'\n'; MORE_BYTES]);
    }
    server.assert_healthy();
    for client in &mut clients {
        assert_eq!(client.response().status, 400);
        client.expect_eof();
        client.assert_not_reset();
    }
}

fn what_looks_odd_but_is_allowed_is_served(server: &Server) {
    let mut client = server.connect();
    let long = format!("X: {}", "v".repeat(4_000));
    for field in ["x-!#$%&'*+-.^_`|~9: token", "X:no space", "X:", "X: \u{e9}\u{1f980}", "Content-Length: 000", &long] {
        let answer = client.exchange(server.request("GET /pipeline HTTP/1.1", &[field], ""));
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{field}");
    }
    for coding in ["Chunked", "CHUNKED", " \tchunked \t"] {
        let field = format!("transfer-encoding:{coding}");
        let answer = client.exchange(server.request("POST /echo HTTP/1.1", &[&field], "00004\r\nabcd\r\n000\r\n\r\n"));
        assert_eq!((answer.status, answer.text()), (200, "abcd"), "{coding:?}");
    }
    for extension in [";a", " ; a = b ;c", ";a=\"\\\";\u{e9}\""] {
        let body = format!("4{extension}\r\nabcd\r\n0{extension}\r\n\r\n");
        let answer = client.exchange(server.request("POST /echo HTTP/1.1", &["Transfer-Encoding: chunked"], body));
        assert_eq!((answer.status, answer.text()), (200, "abcd"), "{extension}");
    }
    for target in ["/pipeline?%zz", "/pipeline?a=?/:@!$&'()*+,;=", "/pipeline?", "/%70ipeline", "/pipelin%65"] {
        let answer = client.exchange(server.get(target));
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{target}");
    }
    for host in ["h", "h:80", "h.", "1.2.3.4:1", "[::1]", "[::1]:8080", "xn--h-fga"] {
        let answer = client.exchange(format!("GET /pipeline HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{host}");
    }
}
