//! Reading a request's head: URL, query, form, cookies and fields, each compared with a library that others wrote.

mod common;

use std::borrow::Cow;

use common::{Client, Host};
use cookie::Cookie;
use percent_encoding::percent_decode;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use ringress::{ErrorKind, KnownHeader, Request, Response, TargetForm};
use url::Url;

/// Cases of each comparison: a request each.
const CASES: u32 = 400;

/// Runs a comparison on texts put together of these pieces.
fn compare(pieces: &'static [&'static str], mut check: impl FnMut(&str)) {
    let texts = vec(select(pieces), 0..12).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    for _ in 0..CASES {
        check(&texts.new_tree(&mut runner).expect("nothing is refused").current());
    }
}

/// One engine and one connection, on which a request after the other is read here.
struct Reader {
    // Leaves before the host ends.
    client: Client,
    host: Host,
}

impl Reader {
    fn start() -> Self {
        let host = Host::start();
        let client = host.connect();
        Self { client, host }
    }

    /// Sends a request, lets it be read, and answers it.
    fn read<R>(&mut self, request: impl AsRef<[u8]>, read: impl FnOnce(&mut Request) -> R) -> R {
        self.client.send(request);
        let mut request = self.host.receive();
        let result = read(&mut request);
        request.respond(Response::ok()).expect("open");
        assert_eq!(self.client.read().status, 200);
        result
    }

    fn get<R>(&mut self, target: &str, read: impl FnOnce(&mut Request) -> R) -> R {
        self.read(format!("GET {target} HTTP/1.1\r\nHost: h.test:81\r\n\r\n"), read)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What names and values are made of, sound and unsound.
const FORM: &[&str] = &[
    "a", "b", "=", "=", "&", "&", "+", "%41", "%C3%A9", "%c3", "%A9", "%ff", "%", "%2", "%zz", "%26", "%3d", "%2B",
    "%25", "%00", "%20", ";", "?", "/", "\"", "*-._~",
];

#[test]
fn queries_are_read_as_the_standard_has_it() {
    let mut reader = Reader::start();
    compare(FORM, |query| {
        let want: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        reader.get(&format!("/?{query}"), |request| {
            assert_eq!(request.query(), Some(query.as_bytes()));
            let pairs: Vec<_> = request.query_pairs().collect();
            assert_eq!(pairs, want, "{query:?}");
            for (name, _) in &want {
                let first = want.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
                assert_eq!(request.query_value(name), first, "{query:?}");
            }
            assert_eq!(request.query_value("none"), None);
            if !query.contains(['%', '+']) {
                let is_borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
                assert!(pairs.iter().all(|(name, value)| is_borrowed(name) && is_borrowed(value)), "{query:?}");
            }
        });
    });
    reader.get("/", |request| assert_eq!((request.query(), request.query_pairs().next()), (None, None)));
}

#[test]
fn forms_are_read_as_the_standard_has_it() {
    let mut reader = Reader::start();
    let types = ["application/x-www-form-urlencoded", "Application/X-WWW-form-urlencoded;charset=UTF-8"];
    let mut types = types.into_iter().cycle();
    compare(FORM, |body| {
        let want: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
        let content_type = types.next().expect("without end");
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\nContent-Length: {length}");
        reader.read(format!("{head}\r\n\r\n{body}"), |request| {
            let form = request.body().to_form(1_000).expect("a form");
            assert_eq!(form.pairs().collect::<Vec<_>>(), want, "{body:?}");
            let first = want.iter().find(|(name, _)| name == "a").map(|(_, value)| value.clone());
            assert_eq!(form.value("a"), first, "{body:?}");
        });
    });
}

#[test]
fn what_is_no_form_or_too_large_can_still_be_read() {
    let mut reader = Reader::start();
    for (field, named) in [("", "without a Content-Type"), ("Content-Type: text/plain\r\n", "text/plain")] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\n{field}Content-Length: 3\r\n\r\na=b");
        reader.read(request, |request| {
            let error = request.body().to_form(1_000).expect_err("no form");
            assert_eq!(error.kind(), ErrorKind::UnsupportedMediaType);
            assert!(error.to_string().contains(named), "{error}");
            let error = pollster::block_on(request.body().to_form_async(1_000)).expect_err("no form");
            assert_eq!(error.kind(), ErrorKind::UnsupportedMediaType);
            assert_eq!(request.body().to_bytes(3).expect("unread"), "a=b");
        });
    }
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    reader.read(format!("{head}Content-Length: 3\r\n\r\na=b"), |request| {
        assert_eq!(request.body().to_form(2).expect_err("longer").kind(), ErrorKind::TooLarge);
        let form = pollster::block_on(request.body().to_form_async(3)).expect("a form");
        assert_eq!(form.value("a").as_deref(), Some("b"));
    });
}

#[test]
fn cookies_are_read_as_servers_do() {
    const PIECES: &[&str] = &["a", "b=c", "=", "=", ";", "; ", "; ", " ", "\t", "\"d\"", "\u{e9}", "%20", ","];
    let mut reader = Reader::start();
    compare(PIECES, |field| {
        // What has no name is an error there.
        let parsed = Cookie::split_parse(field).filter_map(Result::ok);
        let want: Vec<_> = parsed.map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned())).collect();
        reader.read(format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {field}\r\n\r\n"), |request| {
            let cookies = request.cookies().map(|(name, value)| (text(name), text(value)));
            let named: Vec<_> = cookies.filter(|(name, _)| !name.is_empty()).collect();
            assert_eq!(named, want, "{field:?}");
            for (name, _) in &named {
                let first = named.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes());
                assert_eq!(request.cookie(name), first, "{field:?}");
            }
        });
    });
    // Of several fields, and without names.
    let fields = "Cookie: a=1; b=2\r\nX: y\r\ncookie: ;a=3\r\nCookie: \r\nCOOKIE: nameless";
    reader.read(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"), |request| {
        let cookies: Vec<_> = request.cookies().map(|(name, value)| (text(name), text(value))).collect();
        let want = [("a", "1"), ("b", "2"), ("a", "3"), ("", "nameless")];
        assert_eq!(cookies, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((request.cookie("a"), request.cookie("A")), (Some(&b"1"[..]), None));
        assert_eq!(request.cookie(""), Some(&b"nameless"[..]));
    });
}

/// What paths are made of; each piece is sound by itself.
const PATH: &[&str] = &[
    "/", "/", "/", "/", "a", "b", ".", "..", "/..", "/.", "%2e", "%2E", "%2F", "%2f", "%25", "%252F", "%252e", "%41",
    "%C3%A9", "+", "~", "%20", "%3F", "%5C", ":@", "pre", "/pre/FIX",
];

/// The decoded segments of a URL's path, of which the root has none.
fn segments(url: &Url) -> Vec<String> {
    let segments = url.path_segments().expect("it has a host");
    let decoded: Vec<_> = segments.map(|segment| text(&Vec::from_iter(percent_decode(segment.as_bytes())))).collect();
    if decoded == [""] { Vec::new() } else { decoded }
}

#[test]
fn segments_are_decoded_one_by_one_and_nothing_is_lost() {
    let mut reader = Reader::start();
    let port = reader.host.address.port();
    reader.host.group.add_url(&format!("http://*:{port}/pre/fix/"), 9).expect("free");
    compare(PATH, |path| {
        for target in [format!("/{path}"), format!("/pre/Fix/{path}?x/y"), format!("http://h.test/{path}")] {
            let url = Url::parse("http://h.test/").expect("a URL").join(&format!("http://h.test{}", origin(&target)));
            let want = segments(&url.expect("sound"));
            reader.get(&target, |request| {
                let all: Vec<_> = request.path_segments().map(Cow::into_owned).collect();
                assert_eq!(all, want, "{target}");
                let joined: String = want.iter().map(|segment| format!("/{}", segment.replace('/', "%2F"))).collect();
                assert_eq!(request.path(), if joined.is_empty() { "/" } else { &joined }, "{target}");
                let above = if request.url_context() == 9 { 2 } else { 0 };
                let mut below = want[above..].to_vec();
                if below == [""] {
                    below.clear();
                }
                let rest: Vec<_> = request.rest_segments().map(Cow::into_owned).collect();
                assert_eq!(rest, below, "{target}");
                let joined: String = below.iter().map(|segment| format!("/{}", segment.replace('/', "%2F"))).collect();
                assert_eq!(request.rest(), if joined.is_empty() { "/" } else { &joined }, "{target}");
            });
        }
    });
}

/// Path and query of a target.
fn origin(target: &str) -> &str {
    target.strip_prefix("http://h.test").unwrap_or(target)
}

#[test]
fn an_escaped_slash_is_not_an_escaped_escape() {
    let mut reader = Reader::start();
    let read = |request: &mut Request| {
        let segments: Vec<_> = request.path_segments().map(Cow::into_owned).collect();
        (request.path().to_owned(), segments)
    };
    assert_eq!(reader.get("/a%2Fb", read), ("/a%2Fb".into(), vec!["a/b".into()]));
    assert_eq!(reader.get("/a%252Fb", read), ("/a%2Fb".into(), vec!["a%2Fb".into()]));
    assert_eq!(reader.get("/x/../a%252Fb/%2e", read), ("/a%2Fb/".into(), vec!["a%2Fb".into(), String::new()]));
}

#[test]
fn what_is_below_a_prefix_begins_where_the_prefix_ends() {
    let mut reader = Reader::start();
    let port = reader.host.address.port();
    let group = &reader.host.group;
    group
        .add_urls([(&*format!("http://+:{port}/Shop"), 1), (&*format!("http://+:{port}/caf\u{e9}/"), 2)])
        .expect("free");
    let cases = [
        ("GET /shop/cart/7?x", 1, "/cart/7", vec!["cart", "7"]),
        ("GET /SHOP", 1, "/", vec![]),
        ("GET /shop/", 1, "/", vec![]),
        ("GET /shop//", 1, "//", vec!["", ""]),
        ("GET /shop/a%2fb/", 1, "/a%2Fb/", vec!["a/b", ""]),
        ("GET /x/../sh%6Fp/%2525", 1, "/%25", vec!["%25"]),
        ("GET /shopping", 7, "/shopping", vec!["shopping"]),
        ("GET /caf%C3%A9/z", 2, "/z", vec!["z"]),
        ("GET http://h.test:1", 7, "/", vec![]),
        ("OPTIONS *", 7, "*", vec![]),
    ];
    for (line, context, rest, segments) in cases {
        reader.read(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"), |request| {
            assert_eq!((request.url_context(), request.rest()), (context, rest), "{line}");
            let below: Vec<_> = request.rest_segments().collect();
            assert_eq!(below, segments, "{line}");
        });
    }
}

#[test]
fn the_whole_url_is_what_the_client_means() {
    let mut reader = Reader::start();
    let address = reader.host.address;
    let http11 = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let cases = [
        (http11("GET /a%2Fb/./c?d=%20&e", "h.test"), "http://h.test/a%2Fb/./c?d=%20&e".into()),
        (http11("GET /", "[::1]:8080"), "http://[::1]:8080/".into()),
        (http11("GET /", "H.test.:80"), "http://H.test:80/".into()),
        (http11("GET http://other.test:1/x?y", "h.test"), "http://other.test:1/x?y".into()),
        (http11("GET https://other.test", "h.test"), "https://other.test".into()),
        (http11("OPTIONS *", "h.test"), "http://h.test".into()),
        ("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(), format!("http://{address}/x")),
    ];
    for (sent, want) in cases {
        let (url, form) = reader.read(&sent, |request| (request.full_url(), request.target_form()));
        assert_eq!(url, want, "{sent:?}");
        let parsed = Url::parse(&url).expect("a URL");
        assert!(parsed.host().is_some() && (form != TargetForm::Origin || parsed.path().starts_with('/')), "{url}");
    }
}

#[test]
fn paths_are_given_as_sent_too() {
    let mut reader = Reader::start();
    for (target, path) in [("/a%2fb/../c?d/e", "/a%2fb/../c"), ("http://h/x?y", "/x"), ("http://h?y", "")] {
        assert_eq!(reader.get(target, |request| text(request.raw_path())), path, "{target}");
    }
}

#[test]
fn fields_are_found_by_any_name_in_any_case() {
    let mut reader = Reader::start();
    let fields = "User-Agent: one\r\nX-Mine: 1\r\naccept: a\r\nx-mINE:  2 \r\nAccept: b\r\nX-Other:\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    reader.read(format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}"), |request| {
        for name in ["user-agent", "User-Agent", "USER-AGENT"] {
            assert_eq!(request.header(name), Some(&b"one"[..]));
        }
        assert_eq!(request.header(KnownHeader::UserAgent), Some(&b"one"[..]));
        assert_eq!(request.header(&"x-other".to_owned()), Some(&b""[..]));
        assert_eq!((request.header("X-Mine"), request.header("accept")), (Some(&b"1"[..]), Some(&b"a"[..])));
        assert_eq!(request.header_values("x-mine").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(request.header_values(KnownHeader::Accept).collect::<Vec<_>>(), [b"a", b"b"]);
        for absent in ["", "x-min", "x-mine ", "cookie", "transfer-encoding"] {
            assert_eq!((request.header(absent), request.header_values(absent).next()), (None, None), "{absent:?}");
        }
        for absent in [KnownHeader::Unknown, KnownHeader::TransferEncoding, KnownHeader::Range] {
            assert_eq!((request.header(absent), request.header_values(absent).next()), (None, None), "{absent:?}");
        }
    });
}

#[cfg(feature = "http")]
#[test]
fn fields_are_found_by_the_names_of_the_crate_http() {
    let mut reader = Reader::start();
    reader.read("GET / HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\nAccept: a\r\n\r\n", |request| {
        assert_eq!(request.header(&http::header::ACCEPT), Some(&b"a"[..]));
        assert_eq!(request.header(&http::HeaderName::from_static("x-mine")), Some(&b"1"[..]));
    });
}
