//! Preconditions, alone and together.

use super::*;
use Outcome::{NotModified, PreconditionFailed, Proceed};

const MATCH: KnownHeader = KnownHeader::IfMatch;
const NONE_MATCH: KnownHeader = KnownHeader::IfNoneMatch;
const SINCE: KnownHeader = KnownHeader::IfModifiedSince;
const UNMODIFIED: KnownHeader = KnownHeader::IfUnmodifiedSince;

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const EXACTLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const CURRENT: Option<Validators<'static>> =
    Some(Validators { etag: Some(b"\"a\""), last_modified: Some(784_111_777) });

type Fields<'a> = &'a [(KnownHeader, &'a str)];

fn outcome(method: Method, fields: Fields<'_>, current: Option<Validators<'_>>) -> Outcome {
    let of = |wanted| fields.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_bytes());
    evaluate(method, of, current)
}

fn tagged(etag: &str) -> Option<Validators<'_>> {
    Some(Validators { etag: Some(etag.as_bytes()), last_modified: None })
}

#[test]
fn without_preconditions_a_request_proceeds() {
    for &method in Method::NAMED {
        assert_eq!(outcome(method, &[], CURRENT), Proceed);
        assert_eq!(outcome(method, &[], None), Proceed);
    }
}

#[test]
fn if_match_compares_strongly() {
    let cases: [(&[&str], &str, bool); 15] = [
        (&["\"xyzzy\""], "\"xyzzy\"", true),
        (&["\"xyzzy\", \"r2d2xxxx\", \"c3piozzzz\""], "\"c3piozzzz\"", true),
        (&["\"xyzzy\"", "\"r2d2xxxx\""], "\"r2d2xxxx\"", true),
        (&["*"], "\"xyzzy\"", true),
        (&["*"], "no tag", true),
        (&["\"a,b\""], "\"a,b\"", true),
        (&["\"a,b\""], "\"b\"", false),
        (&["\"xyzzy\""], "\"other\"", false),
        (&["W/\"xyzzy\""], "\"xyzzy\"", false),
        (&["\"xyzzy\""], "W/\"xyzzy\"", false),
        (&["W/\"xyzzy\""], "W/\"xyzzy\"", false),
        (&["xyzzy"], "xyzzy", false),
        (&[""], "\"\"", false),
        (&["*", "\"xyzzy\""], "\"xyzzy\"", false),
        (&["\"xyzzy\", \"cut"], "\"xyzzy\"", false),
    ];
    for (values, etag, holds) in cases {
        let fields: std::vec::Vec<_> = values.iter().map(|value| (MATCH, *value)).collect();
        let want = if holds { Proceed } else { PreconditionFailed };
        for method in [Method::Get, Method::Put, Method::Unknown] {
            assert_eq!(outcome(method, &fields, tagged(etag)), want, "{values:?} {etag}");
        }
    }
}

#[test]
fn if_none_match_compares_weakly() {
    let cases: [(&[&str], &str, bool); 13] = [
        (&["\"xyzzy\""], "\"xyzzy\"", true),
        (&["W/\"xyzzy\""], "W/\"xyzzy\"", true),
        (&["W/\"xyzzy\""], "\"xyzzy\"", true),
        (&["\"xyzzy\", \"r2d2xxxx\", \"c3piozzzz\""], "W/\"c3piozzzz\"", true),
        (&["W/\"xyzzy\"", "W/\"r2d2xxxx\", W/\"c3piozzzz\""], "\"c3piozzzz\"", true),
        (&["*"], "\"xyzzy\"", true),
        (&[" * "], "\"xyzzy\"", true),
        (&["\"xyzzy\""], "\"other\"", false),
        (&["w/\"xyzzy\""], "\"xyzzy\"", false),
        (&["xyzzy"], "\"xyzzy\"", false),
        (&["*, \"xyzzy\""], "\"xyzzy\"", false),
        (&["*", "*"], "\"xyzzy\"", false),
        (&["\"xyzzy\"", "cut"], "\"xyzzy\"", false),
    ];
    for (values, etag, listed) in cases {
        let fields: std::vec::Vec<_> = values.iter().map(|value| (NONE_MATCH, *value)).collect();
        for (method, failed) in
            [(Method::Get, NotModified), (Method::Head, NotModified), (Method::Put, PreconditionFailed)]
        {
            let want = if listed { failed } else { Proceed };
            assert_eq!(outcome(method, &fields, tagged(etag)), want, "{values:?} {etag}");
        }
    }
}

#[test]
fn a_star_asks_whether_there_is_a_representation() {
    let bare = Some(Validators::default());
    assert_eq!(outcome(Method::Put, &[(MATCH, "*")], bare), Proceed);
    assert_eq!(outcome(Method::Put, &[(MATCH, "*")], None), PreconditionFailed);
    assert_eq!(outcome(Method::Put, &[(NONE_MATCH, "*")], bare), PreconditionFailed);
    assert_eq!(outcome(Method::Put, &[(NONE_MATCH, "*")], None), Proceed);
    assert_eq!(outcome(Method::Put, &[(MATCH, "\"a\"")], None), PreconditionFailed);
    assert_eq!(outcome(Method::Put, &[(NONE_MATCH, "\"a\"")], None), Proceed);
}

#[test]
fn dates_count_to_the_second() {
    let cases = [
        (UNMODIFIED, BEFORE, PreconditionFailed, PreconditionFailed),
        (UNMODIFIED, EXACTLY, Proceed, Proceed),
        (UNMODIFIED, AFTER, Proceed, Proceed),
        (UNMODIFIED, "Sunday, 06-Nov-94 08:49:36 GMT", PreconditionFailed, PreconditionFailed),
        (SINCE, BEFORE, Proceed, Proceed),
        (SINCE, EXACTLY, NotModified, Proceed),
        (SINCE, AFTER, NotModified, Proceed),
        (SINCE, "Sun Nov  6 08:49:37 1994", NotModified, Proceed),
        (SINCE, " Sun, 06 Nov 1994 08:49:37 GMT\t", NotModified, Proceed),
    ];
    for (name, date, read, other) in cases {
        assert_eq!(outcome(Method::Get, &[(name, date)], CURRENT), read, "{name:?} {date}");
        assert_eq!(outcome(Method::Head, &[(name, date)], CURRENT), read, "{name:?} {date}");
        assert_eq!(outcome(Method::Post, &[(name, date)], CURRENT), other, "{name:?} {date}");
    }
}

#[test]
fn dates_that_say_nothing_are_ignored() {
    for (name, date) in [(UNMODIFIED, BEFORE), (SINCE, EXACTLY)] {
        assert_ne!(outcome(Method::Get, &[(name, date)], CURRENT), Proceed);
        assert_eq!(outcome(Method::Get, &[(name, date), (name, date)], CURRENT), Proceed, "repeated");
        assert_eq!(outcome(Method::Get, &[(name, &std::format!("{date}, {date}"))], CURRENT), Proceed, "a list");
        assert_eq!(outcome(Method::Get, &[(name, date)], tagged("\"a\"")), Proceed, "nothing to compare with");
        assert_eq!(outcome(Method::Get, &[(name, date)], None), Proceed, "no representation");
        for text in ["", "0", "yesterday", "Sun, 06 Nov 1994 08:49:37"] {
            assert_eq!(outcome(Method::Get, &[(name, text)], CURRENT), Proceed, "{text}");
        }
    }
}

#[test]
fn preconditions_are_asked_in_their_order() {
    let cases: [(Fields<'_>, Outcome, Outcome); 9] = [
        // With If-Match, If-Unmodified-Since does not count, even if the list is malformed.
        (&[(UNMODIFIED, BEFORE), (MATCH, "\"a\"")], Proceed, Proceed),
        (&[(UNMODIFIED, AFTER), (MATCH, "\"b\"")], PreconditionFailed, PreconditionFailed),
        (&[(UNMODIFIED, AFTER), (MATCH, "a")], PreconditionFailed, PreconditionFailed),
        // With If-None-Match, If-Modified-Since does not count.
        (&[(SINCE, AFTER), (NONE_MATCH, "\"b\"")], Proceed, Proceed),
        (&[(SINCE, BEFORE), (NONE_MATCH, "\"a\"")], NotModified, PreconditionFailed),
        // The first pair comes before the second.
        (&[(NONE_MATCH, "\"a\""), (MATCH, "\"b\"")], PreconditionFailed, PreconditionFailed),
        (&[(NONE_MATCH, "\"a\""), (MATCH, "\"a\"")], NotModified, PreconditionFailed),
        (&[(NONE_MATCH, "\"a\""), (UNMODIFIED, BEFORE)], PreconditionFailed, PreconditionFailed),
        (&[(SINCE, EXACTLY), (UNMODIFIED, EXACTLY)], NotModified, Proceed),
    ];
    for (fields, read, write) in cases {
        assert_eq!(outcome(Method::Get, fields, CURRENT), read, "{fields:?}");
        assert_eq!(outcome(Method::Delete, fields, CURRENT), write, "{fields:?}");
    }
}

#[test]
fn methods_without_a_representation_have_no_preconditions() {
    let fields: Fields<'_> = &[(MATCH, "\"b\""), (NONE_MATCH, "*"), (UNMODIFIED, BEFORE)];
    for method in [Method::Options, Method::Trace, Method::Connect] {
        assert_eq!(outcome(method, fields, CURRENT), Proceed, "{method:?}");
    }
}
