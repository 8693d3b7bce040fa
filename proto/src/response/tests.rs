//! Response heads as written.

use super::*;
use crate::date::imf_fixdate;

#[test]
fn a_head_is_written_in_the_order_of_the_calls() {
    let mut out = [0; 256];
    let mut writer = HeadWriter::new(&mut out);
    writer.status(200, None).expect("fits");
    writer.server("ringress").expect("fits");
    let date_at = writer.date(&imf_fixdate(784_111_777)).expect("fits");
    writer.header(ResponseHeader::ContentType.into(), b"text/plain").expect("fits");
    writer.header("X-Id".into(), b"").expect("fits");
    assert_eq!(check_field("X-Id".into(), b""), Ok(()));
    writer.content_length(u64::MAX).expect("fits");
    let len = writer.finish().expect("fits");
    let want = "HTTP/1.1 200 OK\r\nServer: ringress\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain\r\nX-Id: \r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert_eq!(core::str::from_utf8(&out[..len]), Ok(want));
    assert_eq!(&out[usize::from(date_at)..][..IMF_LEN], &imf_fixdate(784_111_777));
}

#[test]
fn what_is_said_of_the_connection_is_a_line() {
    for (connection, value) in [(Connection::Close, "close"), (Connection::KeepAlive, "keep-alive")] {
        let line = connection.line();
        assert!(line.len() <= Connection::LINE_BYTES_MAX && line.ends_with(b"\r\n"));
        assert!(line.starts_with(b"Connection: ") && line[12..line.len() - 2] == *value.as_bytes());
    }
}

#[test]
fn a_template_writes_what_its_lines_would() {
    for (server, status, reason) in
        [("ringress", 200, None), ("", 200, None), ("s", 404, None), ("s", 200, Some("Fine"))]
    {
        let template = HeadTemplate::new(server).expect("valid");
        let (mut one, mut other) = ([0xff; 300], [0xff; 300]);
        let mut writer = HeadWriter::new(&mut one);
        let date_at = writer.status_and_template(status, reason, &template).expect("fits");
        let len = writer.finish().expect("fits");
        let mut writer = HeadWriter::new(&mut other);
        writer.status(status, reason).expect("fits");
        if !server.is_empty() {
            writer.server(server).expect("fits");
        }
        assert_eq!(writer.date(&[b' '; IMF_LEN]), Ok(date_at));
        assert_eq!(writer.finish().map(|len| &other[..len]), Ok(&one[..len]));
    }
    assert_eq!(HeadTemplate::new("a\r\nb").err(), Some(WriteError::BadValue));
    assert_eq!(HeadTemplate::new(str::from_utf8(&[b's'; 129]).expect("ASCII")).err(), Some(WriteError::NoSpace));
}

#[test]
fn a_short_answer_is_what_a_writer_makes_of_it() {
    for server in ["ringress", "", &"s".repeat(128)] {
        let template = HeadTemplate::new(server).expect("valid");
        let types = ["text/plain", "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"];
        for line in [None].into_iter().chain(types.map(|value| FieldLine::content_type(value.as_bytes()))) {
            for len in (0..40).chain([98, 99, 100, 101, 255, 998, 999, 1000, 2000]) {
                let body = &[b'b'; 2000][..len];
                let (mut one, mut other) = ([0xff; 1200], [0xee; 1200]);
                let short = template.short_answer(line, body, &mut one);
                assert_eq!(short.is_some(), server.len() < 128 && len <= 999, "{server} {len}");
                let Some((written, date_at)) = short else { continue };
                let mut writer = HeadWriter::new(&mut other);
                assert_eq!(writer.status_and_template(200, None, &template), Ok(date_at));
                line.into_iter().for_each(|line| writer.line(line).expect("fits"));
                writer.content_length(len as u64).expect("fits");
                assert_eq!(writer.finish_with(body), Ok((written, true)));
                assert_eq!(one[..written], other[..written]);
                // Where it does not fit, nothing is said to be written.
                assert_eq!(template.short_answer(line, body, &mut one[..written.max(152)]), Some((written, date_at)));
                assert_eq!(template.short_answer(line, body, &mut one[..written - 1]), None);
            }
        }
    }
}

#[test]
fn status_lines_carry_the_reason_registered_or_given() {
    let cases = [
        (404, None, Ok("HTTP/1.1 404 Not Found\r\n\r\n")),
        (500, None, Ok("HTTP/1.1 500 Internal Server Error\r\n\r\n")),
        (599, None, Ok("HTTP/1.1 599 \r\n\r\n")),
        (999, Some(""), Ok("HTTP/1.1 999 \r\n\r\n")),
        (418, Some("I'm a teapot"), Ok("HTTP/1.1 418 I'm a teapot\r\n\r\n")),
        (200, Some("Fine"), Ok("HTTP/1.1 200 Fine\r\n\r\n")),
        (99, None, Err(WriteError::BadStatus)),
        (1000, None, Err(WriteError::BadStatus)),
        (200, Some("a\r\nb"), Err(WriteError::BadReason)),
        (200, Some("a\0"), Err(WriteError::BadReason)),
    ];
    for (status, reason, want) in cases {
        let mut out = [0; 64];
        let mut writer = HeadWriter::new(&mut out);
        let len = writer.status(status, reason).and_then(|()| writer.finish());
        assert_eq!(len.map(|len| core::str::from_utf8(&out[..len]).expect("ASCII")), want);
    }
}

#[test]
fn fields_that_could_break_the_message_are_refused() {
    let cases: &[(HeaderName<'_>, &[u8], WriteError)] = &[
        (ResponseHeader::Date.into(), b"x", WriteError::Reserved),
        (ResponseHeader::Connection.into(), b"x", WriteError::Reserved),
        (ResponseHeader::TransferEncoding.into(), b"x", WriteError::Reserved),
        (ResponseHeader::ContentLength.into(), b"0", WriteError::Reserved),
        ("content-length".into(), b"0", WriteError::Reserved),
        ("TRANSFER-ENCODING".into(), b"chunked", WriteError::Reserved),
        (ResponseHeader::Unknown.into(), b"x", WriteError::BadName),
        ("".into(), b"x", WriteError::BadName),
        ("a b".into(), b"x", WriteError::BadName),
        ("a:".into(), b"x", WriteError::BadName),
        ("a\r\nb".into(), b"x", WriteError::BadName),
        ("\u{e9}".into(), b"x", WriteError::BadName),
        ("a".into(), b"x\r\ny: z", WriteError::BadValue),
        ("a".into(), b"x\ny", WriteError::BadValue),
        ("a".into(), b"x\ry", WriteError::BadValue),
        ("a".into(), b"x\0y", WriteError::BadValue),
        ("a".into(), b"x\x7fy", WriteError::BadValue),
    ];
    for &(name, value, want) in cases {
        let mut out = [0; 64];
        let mut writer = HeadWriter::new(&mut out);
        writer.status(200, None).expect("fits");
        assert_eq!(writer.header(name, value), Err(want), "{name:?}");
        assert_eq!(check_field(name, value), Err(want), "{name:?} looked at beforehand");
        assert_eq!(writer.finish(), Ok(19), "{name:?} left nothing behind");
    }
    let mut out = [0; 64];
    let mut writer = HeadWriter::new(&mut out);
    assert_eq!(writer.server("early"), Err(WriteError::BadStatus));
    writer.status(200, None).expect("fits");
    assert_eq!(writer.status(200, None), Err(WriteError::BadStatus));
    assert_eq!(writer.server("a\nb"), Err(WriteError::BadValue));
}

#[test]
fn texts_of_every_length_are_copied_whole() {
    let text: std::vec::Vec<u8> = (b' '..b'~').collect();
    for len in 0..text.len() {
        let mut out = [0; 160];
        let mut writer = HeadWriter::new(&mut out);
        writer.status(200, None).expect("fits");
        writer.header("a".into(), &text[..len]).expect("fits");
        let end = writer.finish().expect("fits");
        assert_eq!(&out[17..end], [b"a: ", &text[..len], b"\r\n\r\n"].concat());
    }
}

#[test]
fn lengths_are_written_with_all_their_digits() {
    for length in [0, 1, 9, 10, 99, 100, 12_345, 9_999_999_999, u64::MAX - 1, u64::MAX] {
        let mut out = [0; 64];
        let mut writer = HeadWriter::new(&mut out);
        writer.status(200, None).expect("fits");
        writer.content_length(length).expect("fits");
        let end = writer.finish().expect("fits");
        let want = std::format!("Content-Length: {length}\r\n\r\n");
        assert_eq!(&out[17..end], want.as_bytes());
    }
}

#[test]
fn a_message_is_framed_once() {
    let mut out = [0; 128];
    let mut writer = HeadWriter::new(&mut out);
    writer.status(200, None).expect("fits");
    writer.chunked().expect("fits");
    assert_eq!(writer.content_length(1), Err(WriteError::Reserved));
    assert_eq!(writer.chunked(), Err(WriteError::Reserved));
}

#[test]
fn informational_heads_have_fields_and_no_framing() {
    let cases = [
        (100, None, "HTTP/1.1 100 Continue\r\nLink: </a>; rel=preload\r\n\r\n"),
        (103, None, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"),
        (199, Some("Soon"), "HTTP/1.1 199 Soon\r\nLink: </a>; rel=preload\r\n\r\n"),
    ];
    for (status, reason, want) in cases {
        let mut out = [0; 128];
        let mut writer = HeadWriter::new(&mut out);
        writer.status(status, reason).expect("fits");
        assert_eq!(writer.content_length(0), Err(WriteError::Reserved), "{status}");
        assert_eq!(writer.chunked(), Err(WriteError::Reserved), "{status}");
        writer.header("Link".into(), b"</a>; rel=preload").expect("fits");
        let len = writer.finish().expect("fits");
        assert_eq!(core::str::from_utf8(&out[..len]), Ok(want));
    }
}

#[test]
fn a_switch_of_protocols_says_so_in_both_fields() {
    let mut out = [0; 256];
    let mut writer = HeadWriter::new(&mut out);
    assert_eq!(writer.upgrade("websocket"), Err(WriteError::BadStatus));
    writer.status(101, None).expect("fits");
    assert_eq!(writer.header("connection".into(), b"upgrade"), Err(WriteError::Reserved));
    assert_eq!(writer.content_length(0), Err(WriteError::Reserved));
    writer.upgrade("websocket").expect("fits");
    writer.header("Sec-WebSocket-Accept".into(), b"x=").expect("fits");
    let len = writer.finish().expect("fits");
    let want = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: x=\r\n\r\n";
    assert_eq!(core::str::from_utf8(&out[..len]), Ok(want));
}

#[test]
fn connection_names_an_upgrade_however_that_is_written() {
    for name in [ResponseHeader::Upgrade.into(), HeaderName::from("Upgrade"), HeaderName::from("UPGRADE")] {
        for status in [101, 200, 426] {
            let mut out = [0; 256];
            let mut writer = HeadWriter::new(&mut out);
            writer.status(status, Some("x")).expect("fits");
            assert_eq!(writer.header(name, b"a b"), Err(WriteError::BadValue));
            writer.header(name, b"h2c, foo/2").expect("fits");
            let len = writer.finish().expect("fits");
            let want = b" x\r\nConnection: Upgrade\r\nUpgrade: h2c, foo/2\r\n\r\n";
            assert!(out[..len].ends_with(want), "{status}: {name:?}");
        }
    }
}

#[test]
fn an_upgrade_is_a_list_of_protocols() {
    for (protocols, ok) in [
        ("h2c, foo/2 ,bar", true),
        ("HTTP/2.0", true),
        ("", false),
        ("a,", false),
        ("a b", false),
        ("a/", false),
        ("/1", false),
        ("a/1/2", false),
        ("a\r\nb: c", false),
        ("a;b", false),
    ] {
        let mut out = [0; 128];
        let mut writer = HeadWriter::new(&mut out);
        writer.status(426, None).expect("fits");
        assert_eq!(writer.upgrade(protocols).is_ok(), ok, "{protocols:?}");
        assert_eq!(
            check_field("upgrade".into(), protocols.as_bytes()).is_ok(),
            ok,
            "{protocols:?} looked at beforehand"
        );
        assert_eq!(writer.content_length(0), Ok(()), "an offer has a body like any other answer");
    }
}

#[test]
fn a_head_that_does_not_fit_says_so_at_every_size() {
    for size in 0..63 {
        let mut out = std::vec![0; size];
        let mut writer = HeadWriter::new(&mut out);
        let done = writer
            .status(200, None)
            .and_then(|()| writer.date(&imf_fixdate(0)))
            .and_then(|_| writer.content_length(12))
            .and_then(|()| writer.finish());
        assert_eq!(done, Err(WriteError::NoSpace), "{size}");
    }
    let mut out = [0; 35];
    let mut writer = HeadWriter::new(&mut out);
    writer.status(200, None).expect("fits");
    assert_eq!(writer.content_length(1), Err(WriteError::NoSpace));
    assert_eq!(writer.finish(), Ok(19), "a field that does not fit leaves nothing behind");
}

#[test]
fn bodies_are_allowed_where_rfc_9110_allows_them() {
    for status in 100..=999 {
        assert_eq!(body_allowed(status), !(status < 200 || status == 204 || status == 304));
    }
}
