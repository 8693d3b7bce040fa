//! Who may keep a connection and who must close it: RFC 9112 section 9.3, with HTTP/1.0 keep-alive honoured.

use ringress_tests::{Server, both_modes};

both_modes![
    http11_keeps_by_default,
    http11_close_is_announced_and_done,
    close_is_found_among_other_options_in_any_case,
    http11_keep_alive_option_changes_nothing,
    a_post_with_close_is_answered_whole_before_the_end,
    http10_closes_by_default,
    http10_keep_alive_is_honoured_and_announced,
    http10_needs_no_host,
    http10_close_wins_over_keep_alive,
    a_connection_serves_hundreds_of_requests_in_turn,
];

fn http11_keeps_by_default(server: &Server) {
    let mut client = server.connect();
    for _ in 0..3 {
        let answer = client.exchange(server.get("/pipeline"));
        assert_eq!((answer.text(), answer.closes()), ("ok", false));
    }
    assert!(!client.has_unread(), "nothing follows an answer unasked");
}

fn http11_close_is_announced_and_done(server: &Server) {
    for line in ["GET /pipeline HTTP/1.1", "GET /bytes/200000 HTTP/1.1", "GET /nowhere HTTP/1.1", "OPTIONS / HTTP/1.1"]
    {
        let mut client = server.connect();
        let answer = client.exchange(server.request(line, &["Connection: close"], ""));
        assert!(answer.closes(), "{line}: {answer:?}");
        client.expect_eof();
    }
}

fn close_is_found_among_other_options_in_any_case(server: &Server) {
    for fields in [
        &["Connection: keep-alive, Close"][..],
        &["Connection: x-one,\tCLOSE ,x-two"],
        &["Connection: x-one", "Connection: close"],
    ] {
        let mut client = server.connect();
        let answer = client.exchange(server.request("GET /pipeline HTTP/1.1", fields, ""));
        assert!(answer.closes(), "{fields:?}: {answer:?}");
        client.expect_eof();
    }
}

fn http11_keep_alive_option_changes_nothing(server: &Server) {
    let mut client = server.connect();
    for fields in [
        ["Connection: keep-alive"],
        ["Connection: Keep-Alive, x-other"],
        ["Connection: closed"],
        ["Connection: x-close"],
    ] {
        let answer = client.exchange(server.request("GET /pipeline HTTP/1.1", &fields, ""));
        assert_eq!((answer.text(), answer.closes()), ("ok", false), "{fields:?}");
    }
}

fn a_post_with_close_is_answered_whole_before_the_end(server: &Server) {
    let mut client = server.connect();
    let body = "x".repeat(50_000);
    let fields = ["Connection: close", "Content-Length: 50000"];
    let answer = client.exchange(server.request("POST /echo HTTP/1.1", &fields, &body));
    assert_eq!((answer.text(), answer.closes()), (body.as_str(), true));
    client.expect_eof();
}

fn http10_closes_by_default(server: &Server) {
    for fields in [&[][..], &["Connection: x-other"]] {
        let mut client = server.connect();
        let answer = client.exchange(server.request("GET /plaintext HTTP/1.0", fields, ""));
        assert_eq!((answer.text(), answer.closes()), ("Hello, World!", true));
        client.expect_eof();
    }
}

fn http10_keep_alive_is_honoured_and_announced(server: &Server) {
    let mut client = server.connect();
    for option in ["keep-alive", "Keep-Alive"] {
        let fields = [&format!("Connection: {option}")[..]];
        let answer = client.exchange(server.request("GET /plaintext HTTP/1.0", &fields, ""));
        assert_eq!(answer.text(), "Hello, World!");
        assert!(answer.lists("Connection", "keep-alive") && !answer.closes(), "{answer:?}");
    }
    let fields = ["Connection: keep-alive", "Content-Length: 4"];
    let answer = client.exchange(server.request("POST /echo HTTP/1.0", &fields, "1.0!"));
    assert_eq!(answer.text(), "1.0!");
    let last = client.exchange(server.request("GET /pipeline HTTP/1.0", &[], ""));
    assert_eq!((last.text(), last.closes()), ("ok", true));
    client.expect_eof();
}

fn http10_needs_no_host(server: &Server) {
    let mut client = server.connect();
    let answer = client.exchange("GET /pipeline HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.text(), answer.closes()), (200, "ok", true));
    client.expect_eof();
}

fn http10_close_wins_over_keep_alive(server: &Server) {
    let mut client = server.connect();
    let fields = ["Connection: keep-alive, close"];
    let answer = client.exchange(server.request("GET /pipeline HTTP/1.0", &fields, ""));
    assert!(answer.closes(), "{answer:?}");
    client.expect_eof();
}

fn a_connection_serves_hundreds_of_requests_in_turn(server: &Server) {
    let mut client = server.connect();
    for number in 0..500 {
        let answer = client.exchange(server.get(&format!("/baseline11?a={number}&b=1")));
        assert_eq!(answer.text(), (number + 1).to_string());
    }
}
