//! Tables of targets and hosts and what they are cooked to.

use super::*;
use crate::head::{Parse, parse};
use crate::limits::Limits;
use std::format;
use std::string::{String, ToString};

/// Form, host, port, path and query as text.
type Plain = (TargetForm, String, u16, String, String);

fn cooked(method: &str, target: &str, host: Option<&str>) -> Result<Plain, Reject> {
    let field = host.map_or(String::new(), |host| format!("Host: {host}\r\n"));
    let version = if host.is_some() { "1.1" } else { "1.0" };
    let input = format!("{method} {target} HTTP/{version}\r\n{field}\r\n");
    let base = input.as_bytes();
    let mut head = Head::EMPTY;
    assert_eq!(parse(base, &Limits::DEFAULT, &mut head), Ok(Parse::Complete), "{input:?}");
    let mut scratch = [0; 256];
    let cooked = cook(base, &head, &mut scratch)?;
    let text = |bytes: &[u8]| core::str::from_utf8(bytes).expect("cooked text is UTF-8").to_string();
    let path = text(cooked.path(base, || &scratch));
    Ok((cooked.form, text(cooked.host.of(base)), cooked.port, path, text(cooked.query.of(base))))
}

#[test]
fn each_form_of_target_is_taken_apart() {
    use TargetForm::{Absolute, Asterisk, Authority, Origin};
    let cases = [
        ("GET", "/", Some("h"), (Origin, "h", 0, "/", "")),
        ("GET", "/pipeline", Some("127.0.0.1:8080"), (Origin, "127.0.0.1", 8080, "/pipeline", "")),
        ("GET", "/a?b=c", Some("h:"), (Origin, "h", 0, "/a", "?b=c")),
        ("GET", "/a?", Some("h:0"), (Origin, "h", 0, "/a", "?")),
        ("GET", "/?/../%00?", Some("h:65535"), (Origin, "h", 65535, "/", "?/../%00?")),
        ("GET", "/%61?%62", Some("[::1]:80"), (Origin, "[::1]", 80, "/a", "?%62")),
        ("GET", "/a/./b?/./", Some("[::1]"), (Origin, "[::1]", 0, "/a/b", "?/./")),
        ("GET", "/a.b?c", Some("a%20b"), (Origin, "a%20b", 0, "/a.b", "?c")),
        ("GET", "/%2f?x", Some("A_b~!$&'()*+,;="), (Origin, "A_b~!$&'()*+,;=", 0, "/%2F", "?x")),
        ("GET", "//h/x", None, (Origin, "", 0, "//h/x", "")),
        ("GET", "http://h", Some("ignored"), (Absolute, "h", 0, "/", "")),
        ("GET", "http://h/", Some("ignored:1"), (Absolute, "h", 0, "/", "")),
        ("GET", "http://h?a=1", Some("h"), (Absolute, "h", 0, "/", "?a=1")),
        ("GET", "http://h:80?", None, (Absolute, "h", 80, "/", "?")),
        ("GET", "http://[::1]?/../?", None, (Absolute, "[::1]", 0, "/", "?/../?")),
        ("GET", "http://h.:8?%zz", Some("x"), (Absolute, "h", 8, "/", "?%zz")),
        ("GET", "/", Some("a.b."), (Origin, "a.b", 0, "/", "")),
        ("GET", "/", Some("h.:80"), (Origin, "h", 80, "/", "")),
        ("GET", "/", Some("h.."), (Origin, "h.", 0, "/", "")),
        ("GET", "/", Some("."), (Origin, ".", 0, "/", "")),
        ("CONNECT", "h.:443", Some("x"), (Authority, "h", 443, "", "")),
        ("GET", "HTTPS://H:443/%61?", None, (Absolute, "H", 443, "/a", "?")),
        ("GET", "http://[::1]:8/a/../b?c", None, (Absolute, "[::1]", 8, "/b", "?c")),
        ("OPTIONS", "http://h", Some("h"), (Absolute, "h", 0, "/", "")),
        ("OPTIONS", "*", Some("h:80"), (Asterisk, "h", 80, "*", "")),
        ("OPTIONS", "/*", Some("h"), (Origin, "h", 0, "/*", "")),
        ("CONNECT", "example.com:443", Some("x"), (Authority, "example.com", 443, "", "")),
        ("CONNECT", "[::1]:443", None, (Authority, "[::1]", 443, "", "")),
    ];
    for (method, target, host, (form, want_host, port, path, query)) in cases {
        let want = (form, want_host.to_string(), port, path.to_string(), query.to_string());
        assert_eq!(cooked(method, target, host), Ok(want), "{method} {target} {host:?}");
    }
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let cases = [
        ("GET", "*"),
        ("GET", "**"),
        ("OPTIONS", "**"),
        ("options", "*"),
        ("GET", "a"),
        ("GET", "h:80"),
        ("GET", "?q"),
        ("GET", "#"),
        ("GET", "/a#b"),
        ("GET", "/a?b#c"),
        ("GET", "/%zz"),
        ("GET", "/%00"),
        ("GET", "/%"),
        ("GET", "/%?41"),
        ("GET", "/%4?1"),
        ("GET", "http:/h/"),
        ("GET", "http:h"),
        ("GET", "http://"),
        ("GET", "http:///"),
        ("GET", "http://:80/"),
        ("GET", "http://?q"),
        ("GET", "http://h#f"),
        ("GET", "http://h?#f"),
        ("GET", "http://h?q#f"),
        ("GET", "http://h/#f"),
        ("GET", "http://u@h/"),
        ("GET", "http://u:p@h/"),
        ("GET", "http://h:x/"),
        ("GET", "http://h:65536/"),
        ("GET", "http://[::1/"),
        ("GET", "http://h\\/"),
        ("GET", "ftp://h/"),
        ("GET", "ws://h/"),
        ("CONNECT", "/"),
        ("CONNECT", "*"),
        ("CONNECT", "h"),
        ("CONNECT", "h:"),
        ("CONNECT", "h:0"),
        ("CONNECT", "h:80/"),
        ("CONNECT", "http://h:80/"),
        ("CONNECT", "h:80?q"),
    ];
    for (method, target) in cases {
        assert_eq!(cooked(method, target, Some("h")), Err(Reject::BadTarget), "{method} {target}");
    }
}

#[test]
fn malformed_hosts_are_refused_even_if_the_target_names_one() {
    let cases = [
        "",
        ":",
        ":80",
        "h:65536",
        "h:99999999999999999999",
        "h:-1",
        "h:+1",
        "h:8 0",
        "h:80:80",
        "h:x",
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a#b",
        "a\\b",
        "a\"b",
        "a<b",
        "\u{e9}",
        "%",
        "%4",
        "%zz",
        "a%2",
        "::1",
        "[",
        "[]",
        "[::1",
        "[::1]x",
        "[::1]]",
        "[1.2.3.4]",
        "[v1.x]",
        "[::1%25eth0]",
        "x[::1]",
        "a|b",
        "a^b",
        "a`b",
        "a{b}",
    ];
    for host in cases {
        assert_eq!(cooked("GET", "/", Some(host)), Err(Reject::BadHost), "{host:?}");
        assert_eq!(cooked("GET", "http://h/", Some(host)), Err(Reject::BadHost), "{host:?}");
    }
}

#[test]
fn a_scratch_area_that_is_too_small_is_an_error() {
    let base = b"GET /%61%61 HTTP/1.0\r\n\r\n";
    let mut head = Head::EMPTY;
    assert_eq!(parse(base, &Limits::DEFAULT, &mut head), Ok(Parse::Complete));
    assert_eq!(cook(base, &head, &mut [0; 6]), Err(Reject::TargetTooLong));
    assert!(cook(base, &head, &mut [0; 7]).is_ok());
}

#[test]
fn a_host_word_is_plain_only_if_every_byte_is() {
    for byte in 0..=255_u8 {
        for at in 0..8 {
            let mut word = *b"aZ09-.xy";
            word[at] = byte;
            let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
            assert_eq!(is_plain_name(u64::from_le_bytes(word)), plain, "{byte:#x} at {at}");
            assert!(!plain || HOST_BYTE[usize::from(byte)]);
        }
    }
}

#[test]
fn a_remembered_host_changes_no_verdict() {
    let mut memo = HostMemo::new();
    let long = format!("{}.example:81", "x".repeat(60));
    let hosts = [
        "h:80",
        "h:80",
        "h.:80",
        "h.",
        "h.",
        "",
        "h",
        "bad host",
        "h",
        "h:99999",
        "[::1]:8",
        "[::1]:8",
        long.as_str(),
        "h:80",
        "h:8",
    ];
    for host in hosts.into_iter().cycle().take(40) {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut head = Head::EMPTY;
        crate::head::parse(input.as_bytes(), &crate::limits::Limits::DEFAULT, &mut head).expect("well-formed");
        let mut scratch = [0; 8];
        let mut cooked = Cooked::EMPTY;
        let verdict = cook_with(input.as_bytes(), &head, || &mut scratch, &mut memo, &mut cooked);
        let remembered = verdict.map(|()| cooked);
        assert_eq!(remembered, cook(input.as_bytes(), &head, &mut [0; 8]), "{host:?}");
    }
}

#[test]
fn a_segment_ends_at_the_first_slash_wherever_it_stands() {
    for len in 0..40 {
        for first in 0..=len {
            for second in first..=len {
                let mut text = std::vec![b'.'; len];
                for at in [first, second] {
                    text.get_mut(at).into_iter().for_each(|byte| *byte = b'/');
                }
                assert_eq!(segment_len(&text), first, "{len} bytes, {first}, {second}");
                if let Some(block) = text.first_chunk() {
                    let want = (first < 16).then_some(first);
                    assert_eq!(segment_len_within(block), want, "{len} bytes, {first}, {second}");
                }
            }
        }
    }
}
