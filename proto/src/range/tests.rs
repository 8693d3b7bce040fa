//! Ranges as asked for and as answered.

use super::*;
use crate::response::WriteError;
use std::string::String;
use std::vec::Vec;

/// The first and last bytes selected; empty if none of the ranges can be met.
fn selected(range: &str, length: u64) -> Option<Vec<(u64, u64)>> {
    let pair = |range: &ByteRange| (range.first, range.last);
    match select(Method::Get, Some(range.as_bytes()), length) {
        Selection::Whole => None,
        Selection::Single(range) => Some([pair(&range)].into()),
        Selection::Multiple(ranges) => {
            assert!((2..=RANGES_MAX).contains(&ranges.as_slice().len()), "{range}");
            Some(ranges.as_slice().iter().map(pair).collect())
        }
        Selection::Unsatisfiable => Some(Vec::new()),
    }
}

#[test]
fn the_examples_of_rfc_9110() {
    // Section 14.1.2, of a representation of 10,000 bytes.
    let cases: [(&str, &[(u64, u64)]); 9] = [
        ("bytes=0-499", &[(0, 499)]),
        ("bytes=500-999", &[(500, 999)]),
        ("bytes=-500", &[(9_500, 9_999)]),
        ("bytes=9500-", &[(9_500, 9_999)]),
        ("bytes=0-0,-1", &[(0, 0), (9_999, 9_999)]),
        ("bytes= 0-999, 4500-5499, -1000", &[(0, 999), (4_500, 5_499), (9_000, 9_999)]),
        ("bytes=500-600,601-999", &[(500, 600), (601, 999)]),
        ("bytes=500-700,601-999", &[(500, 700), (601, 999)]),
        ("BYTES=0-499", &[(0, 499)]),
    ];
    for (range, want) in cases {
        assert_eq!(selected(range, 10_000).as_deref(), Some(want), "{range}");
    }
}

#[test]
fn ranges_end_with_the_representation() {
    let huge = "99999999999999999999999";
    let none: &[(u64, u64)] = &[];
    let cases: [(&str, &[(u64, u64)]); 15] = [
        ("bytes=0-", &[(0, 9)]),
        ("bytes=0-9", &[(0, 9)]),
        ("bytes=0-10", &[(0, 9)]),
        ("bytes=9-9", &[(9, 9)]),
        ("bytes=9-18446744073709551615", &[(9, 9)]),
        ("bytes=-10", &[(0, 9)]),
        ("bytes=-11", &[(0, 9)]),
        ("bytes=-18446744073709551616", &[(0, 9)]),
        ("bytes=0000000000000000000000001-0002", &[(1, 2)]),
        ("bytes=10-", none),
        ("bytes=10-11, 18446744073709551616-", none),
        ("bytes=-0", none),
        ("bytes=10-,3-4,-0", &[(3, 4)]),
        ("bytes=,, 3-4 ,\t5-5,", &[(3, 4), (5, 5)]),
        ("bytes=18446744073709551615-18446744073709551615", none),
    ];
    for (range, want) in cases {
        assert_eq!(selected(range, 10).as_deref(), Some(want), "{range}");
    }
    assert_eq!(selected(&std::format!("bytes=3-{huge}"), 10), Some(std::vec![(3, 9)]));
    assert_eq!(selected(&std::format!("bytes={huge}-"), 10), Some(Vec::new()));
    assert_eq!(selected("bytes=0-18446744073709551615", u64::MAX), Some(std::vec![(0, u64::MAX - 1)]));
}

#[test]
fn what_is_not_a_set_of_byte_ranges_is_ignored() {
    let cases = [
        "",
        "bytes",
        "bytes=",
        "bytes= ,",
        "bytes =0-1",
        " bytes=0-1",
        "items=0-1",
        "bytes:0-1",
        "bytes=1",
        "bytes=-",
        "bytes=--1",
        "bytes=1-0",
        "bytes=0-1,5-4",
        "bytes=99999999999999999999999-99999999999999999999998",
        "bytes=0 - 1",
        "bytes=+0-1",
        "bytes=0x0-1",
        "bytes=0-1-2",
        "bytes=a-b",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "bytes=0-1, -",
        "bytes=\u{b2}-",
    ];
    for range in cases {
        assert_eq!(selected(range, 10), None, "{range}");
    }
    assert_eq!(select(Method::Get, None, 10), Selection::Whole);
    for method in [Method::Head, Method::Post, Method::Unknown] {
        assert_eq!(select(method, Some(b"bytes=0-1"), 10), Selection::Whole, "{method:?}");
    }
}

#[test]
fn an_empty_representation_has_no_ranges() {
    for (range, want) in [
        ("bytes=0-", Some(Vec::new())),
        ("bytes=0-0", Some(Vec::new())),
        ("bytes=-0", Some(Vec::new())),
        ("bytes=-1", None),
        ("bytes=0-0,-1", None),
    ] {
        assert_eq!(selected(range, 0), want, "{range}");
    }
}

#[test]
fn nobody_gets_more_than_all() {
    let ones: Vec<String> = (0..=RANGES_MAX).map(|at| std::format!("{at}-{at}")).collect();
    let most = std::format!("bytes={}", ones[..RANGES_MAX].join(","));
    assert_eq!(selected(&most, 100).map(|ranges| ranges.len()), Some(RANGES_MAX));
    assert_eq!(selected(&std::format!("bytes={}", ones.join(",")), 100), None);
    assert_eq!(selected(&std::format!("{most},200-"), 100), None, "what cannot be met counts, too");
    assert_eq!(selected("bytes=0-4,5-9", 10).map(|ranges| ranges.len()), Some(2));
    assert_eq!(selected("bytes=0-4,4-9", 10), None);
    assert_eq!(selected("bytes=0-,0-", 10), None);
    assert_eq!(selected("bytes=0-,0-", u64::MAX), None);
}

#[test]
fn content_range_is_written_with_all_its_digits() {
    let text = content_range(ByteRange { first: 0, last: 499 }, 1_234);
    assert_eq!((text.as_str(), std::format!("{text:?}").as_str()), ("bytes 0-499/1234", "\"bytes 0-499/1234\""));
    let most = content_range(ByteRange { first: u64::MAX, last: u64::MAX }, u64::MAX);
    assert_eq!(most.as_str(), "bytes 18446744073709551615-18446744073709551615/18446744073709551615");
    assert_eq!(unsatisfied_range(47_022).as_str(), "bytes */47022");
    assert_eq!(unsatisfied_range(0).as_ref(), b"bytes */0");
}

/// A whole multipart body of `bytes`.
fn body(multipart: &Multipart<'_>, bytes: &[u8], ranges: &[ByteRange]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let mut head = std::vec![0; multipart.part_head_len(*range, index == 0)];
        for room in 0..head.len() {
            assert_eq!(multipart.part_head(*range, index == 0, &mut head[..room]), Err(WriteError::NoSpace));
        }
        assert_eq!(multipart.part_head(*range, index == 0, &mut head), Ok(head.len()));
        body.extend_from_slice(&head);
        let at = |offset: u64| usize::try_from(offset).expect("small");
        body.extend_from_slice(&bytes[at(range.first)..=at(range.last)]);
    }
    let mut end = std::vec![0; multipart.end_len()];
    assert_eq!(multipart.end(&mut end), Ok(end.len()));
    body.extend_from_slice(&end);
    body
}

#[test]
fn a_multipart_body_has_the_length_it_says() {
    let bytes: Vec<u8> = (b'a'..=b'z').collect();
    let ranges = [ByteRange { first: 0, last: 2 }, ByteRange { first: 25, last: 25 }];
    let multipart = Multipart::new("SEP", Some(b"text/plain"), 26).expect("valid");
    let want = "--SEP\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-2/26\r\n\r\nabc\
        \r\n--SEP\r\nContent-Type: text/plain\r\nContent-Range: bytes 25-25/26\r\n\r\nz\r\n--SEP--\r\n";
    let got = body(&multipart, &bytes, &ranges);
    assert_eq!(str::from_utf8(&got), Ok(want));
    assert_eq!(multipart.body_len(&ranges), Some(got.len() as u64));
    assert_eq!(multipart.content_type().as_str(), "multipart/byteranges; boundary=SEP");
    let untyped = Multipart::new("SEP", None, 26).expect("valid");
    let got = body(&untyped, &bytes, &ranges[1..]);
    assert_eq!(str::from_utf8(&got), Ok("--SEP\r\nContent-Range: bytes 25-25/26\r\n\r\nz\r\n--SEP--\r\n"));
    assert_eq!(untyped.body_len(&ranges[1..]), Some(got.len() as u64));
    let all = ByteRange { first: 0, last: u64::MAX - 1 };
    assert_eq!(multipart.body_len(&[all]), None, "beyond 64 bits");
}

#[test]
fn a_boundary_needs_no_quotes_and_a_type_breaks_no_line() {
    let longest = "b".repeat(70);
    for boundary in ["a", "0'+_-.Z", &longest] {
        let multipart = Multipart::new(boundary, None, 1).expect("valid");
        assert!(multipart.content_type().as_str().ends_with(boundary));
    }
    for boundary in ["", "a b", "a\r\n", "a\"", "a;", "a/", "\u{e9}", &"b".repeat(71)] {
        assert_eq!(Multipart::new(boundary, None, 1).err(), Some(WriteError::BadName), "{boundary:?}");
    }
    assert_eq!(Multipart::new("a", Some(b"a\r\nb"), 1).err(), Some(WriteError::BadValue));
}

#[test]
fn if_range_compares_strongly_and_exactly() {
    let date = Some(784_111_777);
    type Case = (Option<&'static str>, Option<&'static str>, Option<u64>, bool);
    let cases: [Case; 18] = [
        (None, None, None, true),
        (Some("\"a\""), Some("\"a\""), None, true),
        (Some("\"a\""), Some("\"b\""), date, false),
        (Some("\"a\""), Some("W/\"a\""), None, false),
        (Some("W/\"a\""), Some("\"a\""), None, false),
        (Some("W/\"a\""), Some("W/\"a\""), None, false),
        (Some("\"a\""), None, date, false),
        (Some("\"a\", \"b\""), Some("\"a\""), None, false),
        (Some("*"), Some("*"), date, false),
        (Some("a"), Some("a"), date, false),
        (Some("\"a"), Some("\"a"), date, false),
        (Some(""), Some(""), date, false),
        (Some("Sun, 06 Nov 1994 08:49:37 GMT"), None, date, true),
        (Some("Sunday, 06-Nov-94 08:49:37 GMT"), Some("\"a\""), date, true),
        (Some("Sun, 06 Nov 1994 08:49:38 GMT"), None, date, false),
        (Some("Sun, 06 Nov 1994 08:49:36 GMT"), None, date, false),
        (Some("Sun, 06 Nov 1994 08:49:37 GMT"), None, None, false),
        (Some("yesterday"), None, None, false),
    ];
    for (value, etag, last_modified, want) in cases {
        let (value, etag) = (value.map(str::as_bytes), etag.map(str::as_bytes));
        assert_eq!(if_range(value, etag, last_modified), want, "{value:?} {etag:?}");
    }
}
