//! The common way to parse a head against the one that httparse judges: their verdicts are one.

use super::*;
use crate::header::TOKENS;
use crate::limits::HEADER_COUNT_MAX;
use crate::url::{Cooked, cook};

/// Judges an input in both ways, at its end and with more behind it; so are the URLs of heads that pass.
fn judge_both(input: &[u8], limits: &Limits) {
    judge(input, limits);
    for behind in [&b"\r\n"[..], b"GET /next-request-of-a-pipeline HTTP/1.1\r\n"] {
        judge(&[input, behind].concat(), limits);
    }
}

fn judge(input: &[u8], limits: &Limits) {
    let (mut common, mut any) = (Head::EMPTY, Head::EMPTY);
    let cut = &input[..input.len().min(usize::from(limits.head_bytes_max))];
    let verdicts = (parse(input, limits, &mut common), any::parse(cut, limits, &mut any));
    assert_eq!(verdicts.0, verdicts.1, "{}", input.escape_ascii());
    assert_eq!(common, any, "{}", input.escape_ascii());
    if verdicts.0 == Ok(Parse::Complete) {
        assert_eq!(cooked(input, &common), cooked(input, &any), "{}", input.escape_ascii());
    }
}

fn cooked(input: &[u8], head: &Head) -> Result<(Cooked, Vec<u8>), Reject> {
    let mut scratch = [0; 512];
    let cooked = cook(input, head, &mut scratch)?;
    Ok((cooked, cooked.path(input, || &scratch).to_vec()))
}

fn is_common(input: &[u8], limits: &Limits) -> bool {
    let mut head = Head::EMPTY;
    common::parse(input, limits, &mut head).is_some()
}

/// Heads that take the common way, bodies included.
const COMMON: [&[u8]; 4] = [
    b"GET /a?b=1 HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\nX: y\r\n\r\nabc",
    b"POST /a HTTP/1.1\r\nHost:h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: www.adatum.com\r\nX-A-Rather-Long-Name: \xc3\xa9 (x; y) z\r\nAccept: */*\r\n\r\n",
    b"GET /assets/site.v2/main.css?v=2025 HTTP/1.1\r\nHost: www.adatum.com:8080\r\nConnection: keep-alive\r\n\
      sec-ch-ua-platform-version: \"Linux\"\r\nIF-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
];
const STRANGE: [u8; 20] = [0, 9, 10, 13, 32, 33, 34, 35, 37, 44, 47, 58, 71, 72, 80, 124, 127, 128, 160, 255];

#[test]
fn one_edit_anywhere_is_judged_alike() {
    let limits = Limits { head_bytes_max: 400, target_bytes_max: 40, header_count_max: 18, ..Limits::DEFAULT };
    for seed in COMMON {
        assert!(is_common(seed, &limits), "{}", seed.escape_ascii());
        for at in 0..seed.len() {
            judge_both(&seed[..at], &limits);
            judge_both(&[&seed[..at], &seed[at + 1..]].concat(), &limits);
            for byte in STRANGE {
                judge_both(&[&seed[..at], &[byte], &seed[at..]].concat(), &limits);
            }
            for byte in 0..=255 {
                judge(&[&seed[..at], &[byte], &seed[at + 1..]].concat(), &limits);
            }
        }
    }
}

#[test]
fn every_byte_is_judged_alike_at_every_place_of_a_line() {
    let raw = Limits { raw_target_bytes: true, ..Limits::DEFAULT };
    for byte in 0..=255_u8 {
        for at in 0..36 {
            let mut text = [b'a'; 36];
            text[at] = byte;
            let text = &text[..];
            for before in [&b"GET / HTTP/1.1\r\n"[..], b"GET / HTTP/1.1\r\nHost: h\r\n"] {
                judge(&[before, text, b": v\r\nHost: h\r\n\r\n"].concat(), &Limits::DEFAULT);
                judge(&[before, b"X:", text, b"\r\n\r\n"].concat(), &Limits::DEFAULT);
                judge(&[before, b"Host: ", text, b"\r\n\r\n"].concat(), &Limits::DEFAULT);
            }
            for limits in [Limits::DEFAULT, raw] {
                judge(&[b"GET /", text, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat(), &limits);
                judge(&[b"GET /q?", text, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat(), &limits);
                judge(&[b"GET ", text, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat(), &limits);
            }
        }
    }
}

#[test]
fn names_and_values_of_every_length_are_judged_alike() {
    for len in 0..300 {
        let text = "x".repeat(len);
        judge_both(format!("GET / HTTP/1.1\r\nHost: h\r\n{text}: v\r\n\r\n").as_bytes(), &Limits::DEFAULT);
        judge_both(format!("GET / HTTP/1.1\r\nHost: h\r\n{text}:v\r\n\r\n").as_bytes(), &Limits::DEFAULT);
        judge_both(format!("GET / HTTP/1.1\r\nHost: {text}\r\nX: y\r\n\r\n").as_bytes(), &Limits::DEFAULT);
        judge_both(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {text}\r\n\r\n").as_bytes(), &Limits::DEFAULT);
        judge_both(format!("GET /{text} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), &Limits::DEFAULT);
        judge_both(format!("GET /{text}?{text} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), &Limits::DEFAULT);
    }
    for (before, behind) in [("", " "), (" ", ""), ("\t", ""), ("", "\t"), (" ", "\t "), ("\r", ""), ("", "\r")] {
        for len in 0..36 {
            let text = "x".repeat(len);
            let value = format!("GET / HTTP/1.1\r\nHost: h\r\nX:{before}{text}{behind}\r\n\r\n");
            judge_both(value.as_bytes(), &Limits::DEFAULT);
            let name = format!("GET / HTTP/1.1\r\nHost: h\r\n{before}{text}{behind}:y\r\n\r\n");
            judge_both(name.as_bytes(), &Limits::DEFAULT);
        }
    }
}

#[test]
fn known_names_are_known_in_both_ways_in_any_case() {
    for name in KnownHeader::NAMED.iter().map(|known| known.as_str()).chain(TOKENS) {
        for name in [name.into(), name.to_lowercase(), name.to_uppercase(), name.replace('-', "_"), name.repeat(2)] {
            for value in ["1", "chunked", "close", "100-continue", "x, y", ""] {
                for rest in ["", "Host: h\r\n", "A: b\r\n"] {
                    let input = format!("POST / HTTP/1.1\r\n{rest}{name}: {value}\r\n\r\n");
                    judge_both(input.as_bytes(), &Limits::DEFAULT);
                    let twice = format!("POST / HTTP/1.1\r\n{rest}{name}: {value}\r\n{name}:{value}\r\n\r\n");
                    judge_both(twice.as_bytes(), &Limits::DEFAULT);
                }
            }
        }
        for at in 0..name.len() {
            let mut edited = format!("POST / HTTP/1.1\r\nHost: h\r\n{name}: 1\r\n\r\n").into_bytes();
            for byte in 0..=255 {
                edited["POST / HTTP/1.1\r\nHost: h\r\n".len() + at] = byte;
                judge(&edited, &Limits::DEFAULT);
            }
        }
    }
}

#[test]
fn limits_hold_alike_to_the_byte_and_the_field() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    for count in [1, 2, 16, 17, 63, 64, 65, 99, 100, 101, 127, 128, 129] {
        let input = fields(count);
        for max in [1, 2, 16, 17, 64, 99, 100, 101, 500] {
            let limits = Limits { header_count_max: max, ..Limits::DEFAULT };
            judge(input.as_bytes(), &limits);
            assert_eq!(
                is_common(input.as_bytes(), &limits),
                count <= usize::from(max).min(HEADER_COUNT_MAX),
                "{count} of at most {max}"
            );
        }
    }
    for seed in COMMON {
        for max in 0..=offset(seed.len() + 1) {
            judge(seed, &Limits { head_bytes_max: max, ..Limits::DEFAULT });
            judge_both(seed, &Limits { target_bytes_max: max, ..Limits::DEFAULT });
        }
    }
}

#[test]
fn paths_and_queries_are_judged_alike_wherever_their_marks_stand() {
    for mark in
        ["?", "#", "%41", "%zz", ".", "..", "/", "/.", "/..", "/./", "//", "\\", "!", "'", "~", "%2F", "??", "?#"]
    {
        for len in 0..20 {
            for behind in 0..20 {
                let (before, behind) = ("x".repeat(len), "y".repeat(behind));
                for target in [format!("/{before}{mark}{behind}"), format!("/.{before}?{behind}{mark}")] {
                    judge(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), &Limits::DEFAULT);
                }
            }
        }
    }
}

#[test]
fn any_three_edits_are_judged_alike() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % bound as u64).expect("below a length")
    };
    for _ in 0..60_000 {
        let mut input = COMMON[below(COMMON.len())].to_vec();
        for _ in 0..=below(3) {
            let at = below(input.len());
            let byte = STRANGE[below(STRANGE.len())];
            match below(4) {
                0 => input.insert(at, byte),
                1 => input[at] = byte,
                2 => {
                    input.remove(at);
                }
                // A line, or a part of one, twice.
                _ => input.extend_from_within(at..),
            }
        }
        judge(&input, &Limits::DEFAULT);
    }
}
