//! Tables of request heads and their verdicts.

use super::*;
use crate::bytes::{is_token_byte, offset};
use crate::framing::BodyLength;
use crate::header::KnownHeader;
use crate::method::Method;
use std::format;
use std::string::String;
use std::vec::Vec;

mod two_ways;

fn parse_all(input: &[u8], limits: &Limits) -> Result<Option<Head>, Reject> {
    let mut head = Head::EMPTY;
    Ok(match parse(input, limits, &mut head)? {
        Parse::Complete => Some(head),
        Parse::Partial => None,
    })
}

fn parsed(input: &str) -> Head {
    match parse_all(input.as_bytes(), &Limits::DEFAULT) {
        Ok(Some(head)) => head,
        other => panic!("{input:?}: {other:?}"),
    }
}

fn refusal(input: &[u8], limits: &Limits) -> Reject {
    parse_all(input, limits).expect_err(&format!("{} is refused", input.escape_ascii()))
}

#[test]
fn a_head_is_taken_apart_in_place() {
    let input = "POST /a?b HTTP/1.1\r\nHost:  example.com:80\t\r\nX-Empty:\r\ncontent-LENGTH: 5\r\n\r\nhello";
    let head = parsed(input);
    let base = input.as_bytes();
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.method_name.of(base), b"POST");
    assert_eq!(head.target.of(base), b"/a?b");
    assert_eq!(head.host.of(base), b"example.com:80");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.body, BodyLength::Length(5));
    assert_eq!(&input[usize::from(head.head_len)..], "hello");
    let fields: Vec<_> = head.headers().iter().map(|h| (h.known, h.name(base), h.value(base))).collect();
    let want: [(KnownHeader, &[u8], &[u8]); 3] = [
        (KnownHeader::Host, b"Host", b"example.com:80"),
        (KnownHeader::Unknown, b"X-Empty", b""),
        (KnownHeader::ContentLength, b"content-LENGTH", b"5"),
    ];
    assert_eq!(fields, want);
    assert_eq!(head.find(KnownHeader::ContentLength).map(|h| h.value(base)), Some(&b"5"[..]));
    assert_eq!(head.find(KnownHeader::Cookie), None);
    assert_eq!(head.find_name(base, "x-empty").map(|h| h.value_span().is_empty()), Some(true));
    assert_eq!(head.find_name(base, "X-Empt"), None);
}

#[test]
fn a_skipped_leading_line_counts_as_part_of_the_head() {
    let input = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = parsed(input);
    assert_eq!(usize::from(head.head_len), input.len());
    assert_eq!(head.method_name, Span { start: 2, len: 3 });
    assert_eq!(head.target.of(input.as_bytes()), b"/");
}

#[test]
fn unfinished_heads_wait_for_more() {
    let input = b"\r\nGET /x HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    for len in 0..input.len() {
        assert_eq!(parse_all(&input[..len], &Limits::DEFAULT), Ok(None), "{len}");
    }
    for input in ["HTTP", "GET / HTTP/1", "GET / HTTP/2", "GET / HTTP/9."] {
        assert_eq!(parse_all(input.as_bytes(), &Limits::DEFAULT), Ok(None), "{input}");
    }
}

#[test]
fn a_refused_head_leaves_the_last_one_readable() {
    let mut head = parsed("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    let before = head;
    assert_eq!(parse(b"GET /y HTTP/1.1\r\n\r\n", &Limits::DEFAULT, &mut head), Err(Reject::MissingHost));
    assert_eq!(parse(b"GET /y HTTP/1.1\r\n", &Limits::DEFAULT, &mut head), Ok(Parse::Partial));
    assert_eq!(head, before);
}

#[test]
fn persistence_follows_version_and_connection_options() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, close\r\n", false),
        ("1.1", "Connection: keep-alive,\tclose , y\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: \r\n", true),
        ("1.1", "Connection: ,,\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ];
    for (version, fields, keep) in cases {
        let head = parsed(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(head.keep_alive(), keep, "{version} {fields:?}");
    }
    let head = parsed("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert!(head.flags.contains(HeadFlags::CONNECTION_UPGRADE));
    assert_eq!(head.flags.bits(), 4 | 16);
}

#[test]
fn an_upgrade_is_asked_for_by_two_fields_in_http_11_without_a_body() {
    let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let cases: [(&str, String, bool); 11] = [
        ("1.1", asks.into(), true),
        ("1.1", "Upgrade: websocket\r\nconnection: keep-alive, upgrade\r\n".into(), true),
        ("1.1", format!("{asks}Content-Length: 0\r\n"), true),
        ("1.1", "Upgrade: websocket\r\n".into(), false),
        ("1.1", "Connection: Upgrade\r\n".into(), false),
        ("1.1", "Connection: upgrades\r\nUpgrade: websocket\r\n".into(), false),
        ("1.1", "Connection: Upgrade\r\nUpgrade-Insecure-Requests: 1\r\n".into(), false),
        ("1.1", format!("{asks}Connection: close\r\n"), false),
        ("1.1", format!("{asks}Content-Length: 1\r\n"), false),
        ("1.1", format!("{asks}Transfer-Encoding: chunked\r\n"), false),
        ("1.0", asks.into(), false),
    ];
    for (version, fields, outcome) in cases {
        let head = parsed(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(head.asks_upgrade(), outcome, "{version} {fields:?}");
    }
}

#[test]
fn the_protocols_asked_for_are_those_of_all_upgrade_fields() {
    let text = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: a/1 ,, b\r\nX: c\r\nConnection: upgrade\r\nupgrade: d\r\n\r\n";
    let head = parsed(text);
    let found: Vec<_> = head.upgrade_protocols(text.as_bytes()).collect();
    assert_eq!(found, [&b"a/1"[..], b"b", b"d"]);
}

#[test]
fn continue_is_expected_only_with_a_body_in_http_11() {
    let cases = [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        ("1.1", "Expect: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n", true),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("1.1", "Content-Length: 1\r\n", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
    ];
    for (version, fields, expects) in cases {
        let head = parsed(&format!("PUT / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(head.expects_continue(), expects, "{version} {fields:?}");
    }
}

#[test]
fn every_byte_is_judged_wherever_it_stands() {
    for byte in 0..=255_u8 {
        for at in 0..20 {
            let judge = |before: &str, after: &str| {
                let mut input = before.as_bytes().to_vec();
                input.extend(core::iter::repeat_n(b'a', at));
                input.push(byte);
                input.extend(core::iter::repeat_n(b'a', 20 - at));
                input.extend_from_slice(after.as_bytes());
                parse_all(&input, &Limits::DEFAULT).is_ok_and(|head| head.is_some())
            };
            let in_value = judge("GET / HTTP/1.1\r\nHost: h\r\nA: ", "\r\nB: c\r\n\r\n");
            assert_eq!(in_value, (byte >= 0x20 && byte != 0x7f) || byte == b'\t', "value byte {byte:#x} at {at}");
            let in_name = judge("GET / HTTP/1.1\r\nHost: h\r\n", ": x\r\nB: c\r\n\r\n");
            let starts_value = byte == b':' && at > 0;
            assert_eq!(in_name, is_token_byte(byte) || starts_value, "name byte {byte:#x} at {at}");
            let in_method = judge("", " / HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(in_method, is_token_byte(byte), "method byte {byte:#x} at {at}");
            let in_target = judge("GET /", " HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(in_target, (0x21..0x7f).contains(&byte), "target byte {byte:#x} at {at}");
        }
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let head = "GET /45678 HTTP/1.1\r\nHost: h\r\n\r\n";
    let exact = Limits { head_bytes_max: offset(head.len()), target_bytes_max: 6, ..Limits::DEFAULT };
    assert!(parse_all(head.as_bytes(), &exact).is_ok_and(|head| head.is_some()));
    let short = Limits { head_bytes_max: exact.head_bytes_max - 1, ..exact };
    assert_eq!(refusal(head.as_bytes(), &short), Reject::HeadTooLarge);
    assert_eq!(refusal(b"GET /456789", &exact), Reject::TargetTooLong);
    assert_eq!(refusal(b"GET /456789 HTTP/1.1\r\nHost: h\r\n\r\n", &exact), Reject::TargetTooLong);
    assert_eq!(refusal(b"GET /456789 HTTP/9.9", &exact), Reject::TargetTooLong);
    assert_eq!(refusal(b"GET /456789\x00", &exact), Reject::TargetTooLong);
    assert_eq!(refusal(b"GET /45678\x00", &exact), Reject::BadTarget);

    let two = Limits { header_count_max: 2, ..Limits::DEFAULT };
    assert!(parse_all(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", &two).is_ok_and(|head| head.is_some()));
    assert_eq!(refusal(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nC: d\r\n", &two), Reject::TooManyHeaders);
    let beyond_capacity = Limits { header_count_max: 500, ..Limits::DEFAULT };
    let fields: String = (0..101).map(|index| format!("a{index}: b\r\n")).collect();
    assert_eq!(refusal(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes(), &beyond_capacity), Reject::TooManyHeaders);

    let method = "M".repeat(METHOD_BYTES_MAX);
    assert_eq!(parsed(&format!("{method} / HTTP/1.0\r\n\r\n")).method, Method::Unknown);
    assert_eq!(refusal(format!("M{method}").as_bytes(), &Limits::DEFAULT), Reject::BadMethod);
    assert_eq!(refusal(format!("M{method} / HTTP/1.0\r\n\r\n").as_bytes(), &Limits::DEFAULT), Reject::BadMethod);
    let name = "n".repeat(HEADER_NAME_BYTES_MAX);
    assert_eq!(parsed(&format!("GET / HTTP/1.0\r\n{name}: v\r\n\r\n")).header_count, 1);
    let input = format!("GET / HTTP/1.0\r\nn{name}: v\r\n\r\n");
    assert_eq!(refusal(input.as_bytes(), &Limits::DEFAULT), Reject::HeaderNameTooLong);
}

#[test]
fn refusals_name_their_cause() {
    let cases: &[(&[u8], Reject)] = &[
        (b"\n", Reject::BareLineFeed),
        (b"\rG", Reject::BareCarriageReturn),
        (b"\r\n\r", Reject::BadRequestLine),
        (b"\r\n\n", Reject::BadRequestLine),
        (b" GET", Reject::BadMethod),
        (b"G\x00", Reject::BadMethod),
        (b"GET\r\n", Reject::BadMethod),
        (b"GET /\r\n", Reject::BadRequestLine),
        (b"GET  ", Reject::BadTarget),
        (b"GET /\t", Reject::BadTarget),
        (b"GET /\xff ", Reject::BadTarget),
        (b"GET /  ", Reject::BadVersion),
        (b"GET / http", Reject::BadVersion),
        (b"GET / HTTP/x", Reject::BadVersion),
        (b"GET / HTTP/11", Reject::BadVersion),
        (b"GET / HTTP/2.0", Reject::UnsupportedVersion),
        (b"GET / HTTP/1.2", Reject::UnsupportedVersion),
        (b"GET / HTTP/0.9", Reject::UnsupportedVersion),
        (b"GET / HTTP/1.1 ", Reject::BadRequestLine),
        (b"GET / HTTP/1.10", Reject::BadRequestLine),
        (b"GET / HTTP/1.1\rH", Reject::BareCarriageReturn),
        (b"GET / HTTP/1.1\r\n\rX", Reject::BareCarriageReturn),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\r\n\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\n\r\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\r\nA: b\n\r\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\r\nA: b\r\n\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\r\nA:\nB: c\r\n\r\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\r\nA: b \nC: d\r\n\r\n", Reject::BareLineFeed),
        (b"GET / HTTP/1.0\r\nA: b\r\n c", Reject::ObsoleteFold),
        (b"GET / HTTP/1.0\r\nA:\r\n\tc", Reject::ObsoleteFold),
        (b"GET / HTTP/1.0\r\n A: b", Reject::ObsoleteFold),
        (b"GET / HTTP/1.0\r\nA : b", Reject::BadHeaderName),
        (b"GET / HTTP/1.0\r\n: b", Reject::BadHeaderName),
        (b"GET / HTTP/1.0\r\nA\r\n", Reject::BadHeaderName),
        (b"GET / HTTP/1.0\r\nA: \x00", Reject::BadHeaderValue),
        (b"GET / HTTP/1.0\r\nA: b\rc", Reject::BadHeaderValue),
        (b"GET / HTTP/1.1\r\n\r\n", Reject::MissingHost),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Reject::DuplicateHost),
        (b"GET / HTTP/1.1\r\nHost:\r\nhost: a\r\n\r\n", Reject::DuplicateHost),
        (b"GET / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", Reject::BadExpect),
        (b"GET / HTTP/1.0\r\nExpect:\r\n\r\n", Reject::BadExpect),
    ];
    for &(input, cause) in cases {
        assert_eq!(refusal(input, &Limits::DEFAULT), cause, "{}", input.escape_ascii());
    }
}
