//! `Expect: 100-continue` and every other expectation: RFC 9110 section 10.1.1.

use ringress_tests::{Client, Mode, Server, Setup, both_modes};

both_modes![
    continue_is_sent_before_the_body,
    continue_is_sent_before_a_chunked_body,
    continue_waits_for_the_answers_before_it,
    a_body_sent_without_waiting_is_answered,
    a_request_without_body_needs_no_continue,
    a_final_answer_without_reading_ends_the_connection,
    a_body_sent_although_nobody_reads_it_keeps_the_connection,
    other_expectations_get_417,
    http10_never_gets_a_continue,
];

mod limited {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("request_body_max", "65536");
        too_large_a_body_gets_413_without_continue,
    ];
}

fn expect_continue(client: &mut Client) {
    let interim = client.any_response();
    assert_eq!((interim.status, interim.reason.as_str()), (100, "Continue"), "{interim:?}");
    assert!(!client.has_unread(), "nothing but the continue before the body");
}

fn expecting(server: &Server, framing: &str) -> Vec<u8> {
    server.request("POST /echo HTTP/1.1", &["Expect: 100-continue", framing], "")
}

fn continue_is_sent_before_the_body(server: &Server) {
    let mut client = server.connect();
    for (expectation, body) in [("100-continue", "hello"), ("100-Continue", "again")] {
        let fields = [&format!("Expect: {expectation}")[..], "Content-Length: 5"];
        client.send(server.request("POST /echo HTTP/1.1", &fields, ""));
        expect_continue(&mut client);
        let answer = client.exchange(body);
        assert_eq!((answer.status, answer.text()), (200, body));
    }
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

fn continue_is_sent_before_a_chunked_body(server: &Server) {
    let mut client = server.connect();
    client.send(expecting(server, "Transfer-Encoding: chunked"));
    expect_continue(&mut client);
    let answer = client.exchange("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!((answer.status, answer.text()), (200, "hello"));
}

fn continue_waits_for_the_answers_before_it(server: &Server) {
    let mut client = server.connect();
    client.send([server.get("/slow/200"), server.get("/json"), expecting(server, "Content-Length: 5")].concat());
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().text(), r#"{"message":"Hello, World!"}"#);
    expect_continue(&mut client);
    assert_eq!(client.exchange("hello").text(), "hello");
}

fn a_body_sent_without_waiting_is_answered(server: &Server) {
    let mut client = server.connect();
    client.send([&expecting(server, "Content-Length: 5")[..], b"hello", &server.get("/pipeline")].concat());
    // The continue may be left out when the body is there already, it must not come late.
    let first = client.any_response();
    let answer = if first.status == 100 { client.response() } else { first };
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(client.response().text(), "ok");
}

fn a_request_without_body_needs_no_continue(server: &Server) {
    let mut client = server.connect();
    for framing in ["Content-Length: 0", "X-None: 0"] {
        let answer = client.exchange(expecting(server, framing));
        assert_eq!((answer.status, answer.text()), (200, ""), "{framing}");
    }
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

/// RFC 9110 section 10.1.1: whether the body follows cannot be known, so nothing behind it can be read.
fn a_final_answer_without_reading_ends_the_connection(server: &Server) {
    // Both routes answer without a look at the body.
    for line in ["GET /slow/20 HTTP/1.1", "GET /stream/3?chunk=10 HTTP/1.1"] {
        for framing in ["Content-Length: 5", "Content-Length: 500000", "Transfer-Encoding: chunked"] {
            let mut client = server.connect().about(line);
            let answer = client.exchange(server.request(line, &["Expect: 100-continue", framing], ""));
            assert_eq!((answer.status, answer.closes()), (200, true), "{line}, {framing}: {answer:?}");
            client.expect_eof();
        }
    }
}

fn a_body_sent_although_nobody_reads_it_keeps_the_connection(server: &Server) {
    let mut client = server.connect();
    let fields = ["Expect: 100-continue", "Content-Length: 5"];
    client.send([server.request("GET /slow/20 HTTP/1.1", &fields, "hello"), server.get("/pipeline")].concat());
    let answer = client.response();
    assert_eq!(answer.status, 200);
    if answer.closes() {
        client.expect_eof();
    } else {
        assert_eq!(client.response().text(), "ok");
    }
}

fn too_large_a_body_gets_413_without_continue(server: &Server) {
    let mut client = server.connect();
    let answer = client.exchange(expecting(server, "Content-Length: 65537"));
    assert_eq!((answer.status, answer.closes()), (413, true), "{answer:?}");
    client.expect_eof();
}

fn other_expectations_get_417(server: &Server) {
    for expectation in ["200-ok", "100-continued", "100-continue, magic", "magic"] {
        let mut client = server.connect();
        let field = format!("Expect: {expectation}");
        let answer = client.exchange(server.request("POST /echo HTTP/1.1", &[&field, "Content-Length: 5"], ""));
        assert_eq!((answer.status, answer.closes()), (417, true), "{expectation}: {answer:?}");
        client.expect_eof();
    }
    server.assert_healthy();
}

fn http10_never_gets_a_continue(server: &Server) {
    let mut client = server.connect();
    let fields = ["Expect: 100-continue", "Content-Length: 5"];
    client.send(server.request("POST /echo HTTP/1.0", &fields, ""));
    server.assert_healthy();
    assert!(!client.has_unread(), "HTTP/1.0 knows no interim answers");
    let answer = client.exchange("hello");
    assert_eq!((answer.status, answer.text()), (200, "hello"));
}

mod whole {
    use super::*;

    both_modes![
        setup = |mode: Mode| Setup::new(mode).set("deliver_when_whole", "64KiB");
        a_body_that_is_awaited_whole_is_asked_for_by_the_engine,
        a_body_that_is_awaited_whole_holds_nobody_and_is_answered_if_it_comes,
    ];
}

fn a_body_that_is_awaited_whole_is_asked_for_by_the_engine(server: &Server) {
    let mut client = server.connect();
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        // Nobody ever reads a body there.
        client.send(server.request("POST /pipeline HTTP/1.1", &["Expect: 100-continue", framing], ""));
        expect_continue(&mut client);
        let body = if framing.starts_with('T') { "5\r\nhello\r\n0\r\n\r\n" } else { "hello" };
        let answer = client.exchange(body);
        assert!(answer.status == 200 || answer.status == 405, "{answer:?}");
    }
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok", "the connection goes on");
}

fn a_body_that_is_awaited_whole_holds_nobody_and_is_answered_if_it_comes(server: &Server) {
    let fields = [&["Content-Length: 60000"][..], &["Transfer-Encoding: chunked"]];
    let mut clients: Vec<Client> = fields.iter().cycle().take(16).map(|_| server.connect()).collect();
    for (client, fields) in clients.iter_mut().zip(fields.iter().cycle()) {
        client.send(server.request("PUT /take HTTP/1.1", fields, ""));
    }
    server.assert_healthy();
    // Some go on, in pieces; the others leave.
    let mut whole = clients.swap_remove(0);
    clients.into_iter().skip(4).for_each(drop);
    for _ in 0..60 {
        whole.send(vec![b'x'; 1000]);
    }
    assert_eq!(whole.response().status, 200);
    server.assert_healthy();
}
