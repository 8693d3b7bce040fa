//! Conditional and range requests over real sockets: every response that the response of a plain GET can become, and
//! that its bytes are the file's.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::peer::{Peer, file_of, in_both_modes, pattern};
use common::{Client, Host, Reply, StopOnDrop, serve};
use ringress::{FileRange, Method, Precondition, Request, Response, ResponseHeader, Selection, Validators};

const LEN: usize = 100_000;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

fn date() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn validators() -> Validators {
    Validators::new().with_etag("\"v1\"").expect("a tag").with_last_modified(date())
}

/// Serves one file whole or in parts, to every method.
fn of_file(len: usize) -> impl Fn(Request) + Clone + Send + 'static {
    let file = Arc::new(file_of(len));
    move |request: Request| {
        let response = Response::ok().content_type("text/x-pattern").header("Cache-Control", "max-age=9");
        let response = response.header("X-Own", "1").header("Vary", "Accept").header("x-five", "5");
        let response = response.body(FileRange::new(Arc::clone(&file), 0..len as u64));
        let response = response.select(&request, &validators());
        request.respond(response).expect("valid");
    }
}

fn ask(address: SocketAddr, fields: &str) -> Reply {
    let mut client = Client::connect(address);
    client.send(format!("GET /x HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    let reply = client.read();
    // Not a byte more than was announced: another response can be read behind it.
    client.send("GET /x HTTP/1.1\r\nHost: test\r\nRange: bytes=0-0\r\n\r\n");
    assert!(matches!(client.read().status, 200 | 206 | 416), "{fields}");
    reply
}

/// The parts of a multipart body: their heads and bytes.
fn parts(reply: &Reply) -> Vec<(String, Vec<u8>)> {
    let kind = reply.field("content-type").expect("a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("multipart");
    let mut rest = &reply.body[..];
    let mut parts = Vec::new();
    let mut delimiter = format!("--{boundary}");
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a delimiter where the part before ends");
        if rest == b"--\r\n" {
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").expect("the end of the line");
        let head_len = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a part's head");
        let head = String::from_utf8(rest[..head_len].to_vec()).expect("text");
        delimiter = format!("\r\n--{boundary}");
        let content = &rest[head_len + 4..];
        let end = content.windows(delimiter.len()).position(|window| window == delimiter.as_bytes()).expect("an end");
        parts.push((head, content[..end].to_vec()));
        rest = &content[end..];
    }
}

#[test]
fn a_plain_get_is_answered_whole_and_says_what_it_is_known_by() {
    in_both_modes(of_file(LEN), |_, address| {
        let reply = ask(address, "");
        assert_eq!(reply.status, 200);
        assert!(reply.body == pattern(0, LEN));
        for (name, value) in [
            ("etag", "\"v1\""),
            ("last-modified", DATE),
            ("accept-ranges", "bytes"),
            ("content-type", "text/x-pattern"),
            ("cache-control", "max-age=9"),
            ("x-five", "5"),
        ] {
            assert_eq!(reply.field(name), Some(value), "{}", reply.head);
        }
        assert_eq!(reply.field("content-range"), None);
    });
}

#[test]
fn one_range_is_answered_with_its_bytes_alone() {
    in_both_modes(of_file(LEN), |_, address| {
        for (range, first, last) in [
            ("0-0", 0, 0),
            ("0-499", 0, 499),
            ("500-70000", 500, 70_000),
            ("-1", LEN - 1, LEN - 1),
            ("-300", LEN - 300, LEN - 1),
            ("-200000", 0, LEN - 1),
            ("99999-", LEN - 1, LEN - 1),
            ("1000-", 1000, LEN - 1),
            ("5-18446744073709551616", 5, LEN - 1),
            ("200000-,7-8", 7, 8),
        ] {
            let reply = ask(address, &format!("Range: bytes={range}\r\n"));
            assert_eq!(reply.status, 206, "{range}");
            assert!(reply.body == pattern(first, last - first + 1), "{range}: {} bytes", reply.body.len());
            assert_eq!(reply.field("content-range"), Some(format!("bytes {first}-{last}/{LEN}").as_str()));
            for (name, value) in [("etag", "\"v1\""), ("last-modified", DATE), ("content-type", "text/x-pattern")] {
                assert_eq!(reply.field(name), Some(value), "{}", reply.head);
            }
        }
    });
}

#[test]
fn several_ranges_are_parts_of_one_body() {
    in_both_modes(of_file(LEN), |_, address| {
        let reply = ask(address, "Range: bytes=0-9, 500-60000 ,-5, 7-7, 900000-\r\n");
        assert_eq!((reply.status, reply.field("content-range")), (206, None));
        assert_eq!(reply.field("etag"), Some("\"v1\""));
        let wanted = [(0, 9), (500, 60_000), (LEN - 5, LEN - 1), (7, 7)];
        let parts = parts(&reply);
        assert_eq!(parts.len(), wanted.len());
        for ((head, content), (first, last)) in parts.iter().zip(wanted) {
            let expected = format!("Content-Type: text/x-pattern\r\nContent-Range: bytes {first}-{last}/{LEN}");
            assert_eq!(head.trim_start(), expected);
            assert!(*content == pattern(first, last - first + 1), "{head}");
        }
        let other = ask(address, "Range: bytes=0-0,2-2\r\n");
        assert_ne!(other.field("content-type"), reply.field("content-type"), "every body has its own boundary");
    });
}

#[test]
fn a_range_field_that_does_not_count_gets_the_whole() {
    let host = Host::start();
    let server = serve(&host.queue, of_file(LEN));
    let stop = StopOnDrop(&host.engine);
    let seventeen = (0..17).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    let fields = [
        "Range: bytes=0-,0-,0-\r\n",
        "Range: bytes=0-60000,30000-90000\r\n",
        &format!("Range: bytes={seventeen}\r\n"),
        "Range: lines=0-1\r\n",
        "Range: bytes=5-4\r\n",
        "Range: bytes=a-b\r\n",
        "Range: bytes=\r\n",
        "Range: bytes=0-1\r\nRange: bytes=5-6\r\n",
        "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\nIf-Range: \"v1\"\r\n",
    ];
    for fields in fields {
        let reply = ask(host.address, fields);
        assert_eq!((reply.status, reply.body.len(), reply.field("content-range")), (200, LEN, None), "{fields}");
    }
    let sixteen = seventeen.rsplit_once(',').expect("commas").0;
    assert_eq!(parts(&ask(host.address, &format!("Range: bytes={sixteen}\r\n"))).len(), 16);
    drop(stop);
    server.join().expect("ends");
}

#[test]
fn ranges_beyond_the_end_are_answered_416_with_the_length() {
    in_both_modes(of_file(LEN), |_, address| {
        for range in ["100000-", "100000-100001", "-0", "100000-,200000-"] {
            let reply = ask(address, &format!("Range: bytes={range}\r\n"));
            assert_eq!((reply.status, reply.body.len()), (416, 0), "{range}");
            assert_eq!(reply.field("content-range"), Some("bytes */100000"));
            for name in ["content-type", "etag", "last-modified", "cache-control"] {
                assert_eq!(reply.field(name), None, "of the representation, not of the error: {}", reply.head);
            }
            assert_eq!((reply.field("content-length"), reply.field("x-own")), (Some("0"), Some("1")));
        }
    });
}

#[test]
fn if_range_gives_the_part_only_of_the_same_representation() {
    in_both_modes(of_file(LEN), |_, address| {
        let cases = [
            ("\"v1\"", 206),
            ("\"v2\"", 200),
            ("W/\"v1\"", 200),
            (DATE, 206),
            (LATER, 200),
            (EARLIER, 200),
            ("yesterday", 200),
        ];
        for (value, status) in cases {
            let reply = ask(address, &format!("Range: bytes=0-1\r\nIf-Range: {value}\r\n"));
            assert_eq!(reply.status, status, "{value}");
            assert_eq!(reply.body.len(), if status == 206 { 2 } else { LEN }, "{value}");
        }
        let reply = ask(address, "Range: bytes=100000-\r\nIf-Range: \"v2\"\r\n");
        assert_eq!(reply.status, 200, "its range was of another representation");
    });
}

#[test]
fn weak_tags_and_dates_of_just_now_are_no_ground_for_a_part() {
    let host = Host::start();
    let server = serve(&host.queue, |request| {
        let weak = Validators::new().with_etag("W/\"v1\"").expect("a tag").with_last_modified(SystemTime::now());
        let response = Response::ok().body("0123456789").select(&request, &weak);
        request.respond(response).expect("valid");
    });
    let stop = StopOnDrop(&host.engine);
    for value in ["\"v1\"", "W/\"v1\""] {
        assert_eq!(ask(host.address, &format!("Range: bytes=0-1\r\nIf-Range: {value}\r\n")).status, 200, "{value}");
        assert_eq!(ask(host.address, &format!("If-None-Match: {value}\r\n")).status, 304, "{value}");
        assert_eq!(ask(host.address, &format!("If-Match: {value}\r\n")).status, 412, "{value}");
    }
    let now = ask(host.address, "").field("last-modified").expect("stated").to_owned();
    assert_eq!(ask(host.address, &format!("Range: bytes=0-1\r\nIf-Range: {now}\r\n")).status, 200);
    assert_eq!(ask(host.address, "Range: bytes=0-1\r\n").text(), "01", "without a condition there is none to fail");
    drop(stop);
    server.join().expect("ends");
}

#[test]
fn what_the_client_has_already_is_answered_304_and_what_it_does_not_expect_412() {
    let cases = [
        ("If-None-Match: \"v1\"\r\n", 304),
        ("If-None-Match: W/\"v1\"\r\n", 304),
        ("If-None-Match: \"a\", \"v1\"\r\n", 304),
        ("If-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\nif-none-match: \"c\", \"v1\"\r\n", 304),
        ("If-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n", 200),
        ("If-None-Match: *\r\n", 304),
        ("If-None-Match: v1\r\n", 200),
        (&format!("If-Modified-Since: {DATE}\r\n"), 304),
        (&format!("If-Modified-Since: {LATER}\r\n"), 304),
        (&format!("If-Modified-Since: {EARLIER}\r\n"), 200),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 304),
        ("If-Modified-Since: 784111777\r\n", 200),
        // The tag decides where there is one.
        (&format!("If-None-Match: \"v2\"\r\nIf-Modified-Since: {DATE}\r\n"), 200),
        ("If-Match: \"v1\"\r\n", 200),
        ("If-Match: \"a\"\r\nIf-Match: \"v1\"\r\n", 200),
        ("If-Match: *\r\n", 200),
        ("If-Match: \"v2\"\r\n", 412),
        (&format!("If-Unmodified-Since: {EARLIER}\r\n"), 412),
        (&format!("If-Unmodified-Since: {DATE}\r\n"), 200),
        // Conditions come before ranges.
        ("If-None-Match: \"v1\"\r\nRange: bytes=0-1\r\n", 304),
        ("If-None-Match: \"v1\"\r\nRange: bytes=900000-\r\n", 304),
        ("If-Match: \"v2\"\r\nRange: bytes=0-1\r\n", 412),
        ("If-Match: \"v1\"\r\nRange: bytes=0-1\r\n", 206),
    ];
    in_both_modes(of_file(1000), |_, address| {
        for (fields, status) in cases {
            let reply = ask(address, fields);
            assert_eq!(reply.status, status, "{fields}");
            let kept = (reply.field("etag"), reply.field("last-modified"), reply.field("cache-control"));
            match status {
                304 => {
                    assert_eq!(kept, (Some("\"v1\""), Some(DATE), Some("max-age=9")), "{}", reply.head);
                    assert_eq!((reply.field("vary"), reply.field("x-own")), (Some("Accept"), Some("1")));
                    let absent = ["content-type", "content-length", "accept-ranges", "transfer-encoding"];
                    absent.iter().for_each(|name| assert_eq!(reply.field(name), None, "{}", reply.head));
                }
                412 => assert_eq!((kept, reply.field("content-length")), ((None, None, None), Some("0"))),
                _ => assert_eq!(reply.body.len(), if status == 206 { 2 } else { 1000 }),
            }
        }
    });
}

#[test]
fn a_put_is_carried_out_only_if_its_preconditions_hold() {
    let host = Host::start();
    let mut client = host.connect();
    let (there, nothing) = (Some(validators()), None);
    let cases = [
        ("", &there, Precondition::Proceed),
        ("If-Match: \"v1\"\r\n", &there, Precondition::Proceed),
        ("If-Match: \"a\"\r\nIf-Match: \"v1\"\r\n", &there, Precondition::Proceed),
        ("If-Match: \"v0\"\r\n", &there, Precondition::Failed),
        ("If-Match: *\r\n", &there, Precondition::Proceed),
        ("If-Match: *\r\n", &nothing, Precondition::Failed),
        ("If-None-Match: *\r\n", &there, Precondition::Failed),
        ("If-None-Match: *\r\n", &nothing, Precondition::Proceed),
        ("If-None-Match: \"v1\"\r\n", &there, Precondition::Failed),
        (&format!("If-Unmodified-Since: {DATE}\r\n"), &there, Precondition::Proceed),
        (&format!("If-Unmodified-Since: {EARLIER}\r\n"), &there, Precondition::Failed),
        (&format!("If-Modified-Since: {LATER}\r\n"), &there, Precondition::Proceed),
    ];
    for (fields, current, expected) in cases {
        client.send(format!("PUT /x HTTP/1.1\r\nHost: t\r\nRange: bytes=0-0\r\nContent-Length: 0\r\n{fields}\r\n"));
        let request = host.receive();
        assert_eq!(request.precondition(current.as_ref()), expected, "{fields}");
        assert_eq!(request.select(&validators(), 10), Selection::Whole, "ranges are for GET");
        // Too late to ask: what was done is what is answered.
        let response = Response::ok().body("done").select(&request, &validators());
        request.respond(response).expect("valid");
        assert_eq!((client.read().status, fields), (200, fields));
    }
}

#[test]
fn head_is_answered_as_a_plain_get_and_without_its_body() {
    in_both_modes(of_file(LEN), |_, address| {
        let whole = ask(address, "").head;
        let mut peer = Peer::ask(address, "HEAD", "1.1");
        let without_date =
            |head: &str| head.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(without_date(peer.head().trim_end()), without_date(&whole));
        for (fields, status) in [
            ("Range: bytes=0-1\r\n", 200),
            ("Range: bytes=900000-\r\n", 200),
            ("If-None-Match: \"v1\"\r\n", 304),
            ("If-Match: \"v2\"\r\n", 412),
        ] {
            peer.stream.write_all(format!("HEAD /x HTTP/1.1\r\nHost: t\r\n{fields}\r\n").as_bytes()).expect("open");
            let head = peer.head();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}{head}");
            assert_eq!(head.contains("Content-Length: 100000\r\n"), status == 200, "{head}");
            assert!(peer.input.is_empty(), "no body");
        }
    });
}

#[test]
fn the_smallest_files_have_ranges_too() {
    in_both_modes(of_file(1), |_, address| {
        for range in ["0-", "0-0", "-1", "-9", "0-9"] {
            let reply = ask(address, &format!("Range: bytes={range}\r\n"));
            assert_eq!((reply.status, reply.body), (206, pattern(0, 1)), "{range}");
        }
        assert_eq!(ask(address, "Range: bytes=1-\r\n").field("content-range"), Some("bytes */1"));
    });
    in_both_modes(of_file(0), |_, address| {
        for range in ["0-", "0-0", "-1", "5-"] {
            let reply = ask(address, &format!("Range: bytes={range}\r\n"));
            assert_eq!((reply.status, reply.field("content-length")), (200, Some("0")), "nothing is all there is");
        }
    });
}

#[test]
fn memory_and_mixed_bodies_have_ranges_like_files() {
    let file = Arc::new(file_of(1000));
    let handle = move |request: Request| {
        let borrowed = pattern(0, 100);
        let response = Response::text(&borrowed[..]).chunk(Bytes::from(pattern(100, 200)));
        let response = response.chunk(FileRange::new(Arc::clone(&file), 300..1000)).select(&request, &validators());
        request.respond(response).expect("valid");
    };
    in_both_modes(handle, |_, address| {
        for (first, last) in [(0, 999), (0, 99), (99, 100), (100, 299), (50, 350), (299, 300), (300, 999), (998, 999)] {
            let reply = ask(address, &format!("Range: bytes={first}-{last}\r\n"));
            assert!(reply.status == 206 && reply.body == pattern(first, last - first + 1), "{first}-{last}");
            assert_eq!(reply.field("content-type"), Some("text/plain"));
        }
        let reply = ask(address, "Range: bytes=90-310,0-0\r\n");
        let found = parts(&reply);
        assert!(found[0].0.contains("Content-Type: text/plain"), "{}", found[0].0);
        assert_eq!((&found[0].1, &found[1].1), (&pattern(90, 221), &pattern(0, 1)));
        assert_eq!(reply.head.matches("Content-Type").count(), 1);
    });
}

#[test]
fn what_cannot_be_cut_is_left_as_it_is() {
    let host = Host::start();
    let mut client = host.connect();
    let ranged = |client: &mut Client, range: &str| {
        client.send(format!("GET /x HTTP/1.1\r\nHost: t\r\nRange: bytes={range}\r\nIf-Match: \"v1\"\r\n\r\n"));
    };
    ranged(&mut client, "0-0,2-2");
    let request = host.receive();
    let encoded = Response::ok().header(ResponseHeader::ContentEncoding, "gzip").body("abcdef");
    request.respond_with(|request| encoded.clone().select(request, &validators())).expect("valid");
    assert_eq!(client.read().status, 200, "several parts of something encoded would be ambiguous");
    ranged(&mut client, "1-2");
    host.receive().respond_with(|request| encoded.clone().select(request, &validators())).expect("valid");
    let reply = client.read();
    assert_eq!((reply.status, reply.text(), reply.field("content-encoding")), (206, "bc", Some("gzip")));
    ranged(&mut client, "0-0");
    host.receive()
        .respond_with(|request| Response::new(404).body("none").select(request, &validators()))
        .expect("valid");
    let reply = client.read();
    assert_eq!((reply.status, reply.text(), reply.field("etag")), (404, "none", None));
    ranged(&mut client, "0-0");
    let wrong = host
        .receive()
        .respond_with(|request| Response::ok().content_length(3).body("four").select(request, &validators()));
    assert!(wrong.expect_err("a mistake stays one").to_string().contains("content_length is 3"));
    assert_eq!(client.read().status, 500);
}

#[test]
fn the_applications_own_fields_are_not_said_twice() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/x");
    let response = Response::ok().header("etag", "\"own\"").header(ResponseHeader::LastModified, LATER);
    let response = response.header("accept-ranges", "none").header("a", "1").header("b", "2").body("x");
    host.receive().respond_with(|request| response.clone().select(request, &validators())).expect("valid");
    let reply = client.read();
    for (name, value) in [("etag", "\"v1\""), ("last-modified", DATE), ("accept-ranges", "bytes"), ("b", "2")] {
        assert_eq!(reply.field(name), Some(value));
        assert_eq!(reply.head.to_lowercase().matches(&format!("\r\n{name}: ")).count(), 1, "{}", reply.head);
    }
    client.get("/x");
    host.receive().respond_with(|request| response.clone().select(request, &Validators::new())).expect("valid");
    assert_eq!(client.read().field("etag"), Some("\"own\""), "nothing takes its place");
}

/// What curl prints; `None`, and a visible reason, where it is not installed.
fn curl(args: &[&str], url: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(args).arg(url);
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            eprintln!("skipped: curl cannot be run ({error}); apt-get install curl");
            None
        }
    }
}

#[test]
fn curl_asks_for_ranges_and_for_what_has_changed() {
    let host = Host::start();
    let server = serve(&host.queue, of_file(LEN));
    let stop = StopOnDrop(&host.engine);
    let url = format!("http://{}/x", host.address);
    let Some(part) = curl(&["-r", "1000-1999"], &url) else { return };
    assert!(part == pattern(1000, 1000));
    assert_eq!(curl(&["-r", "-7"], &url), Some(pattern(LEN - 7, 7)));
    let several = curl(&["-r", "0-1,5-6"], &url).expect("curl is there");
    assert!(String::from_utf8_lossy(&several).contains("Content-Range: bytes 5-6/100000\r\n\r\n"));

    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let status_with = |args: &[&str]| curl(&[&status, args].concat(), &url).expect("curl is there");
    assert_eq!(status_with(&["-z", DATE]), b"304");
    assert_eq!(status_with(&["-z", EARLIER]), b"200");
    let kept = std::env::temp_dir().join(format!("ringress-selection-{}.etag", std::process::id()));
    let kept_path = kept.to_str().expect("a text path");
    assert_eq!(status_with(&["--etag-save", kept_path]), b"200");
    assert_eq!(status_with(&["--etag-compare", kept_path]), b"304");
    std::fs::remove_file(&kept).expect("curl made it");
    drop(stop);
    server.join().expect("ends");
}

#[test]
fn a_file_that_changes_is_known_by_another_tag() {
    let host = Host::start();
    let file = Arc::new(file_of(10));
    let mut client = host.connect();
    let mut answer = |fields: &str| {
        client.send(format!("GET /x HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
        let request = host.receive();
        assert_eq!(request.method(), Method::Get);
        let metadata = file.metadata().expect("open");
        let response = Response::ok().body(FileRange::new(Arc::clone(&file), 0..metadata.len()));
        let response = response.select(&request, &Validators::of(&metadata));
        request.respond(response).expect("valid");
        client.read()
    };
    // From now on, but for the clock's grain, it may change without a trace.
    file.set_modified(SystemTime::now() + Duration::from_secs(60)).expect("own file");
    let fresh = answer("");
    let tag = fresh.field("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/\""), "just changed: {tag}");
    file.set_modified(date()).expect("own file");
    let settled = answer("");
    assert_eq!(settled.field("last-modified"), Some(DATE));
    let tag = settled.field("etag").expect("a tag").to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    assert_eq!(answer(&format!("If-None-Match: {tag}\r\n")).status, 304);
    assert_eq!(answer(&format!("If-Range: {tag}\r\nRange: bytes=3-4\r\n")).body, pattern(3, 2));
    file.set_modified(date() + Duration::from_nanos(1)).expect("own file");
    assert_eq!(answer(&format!("If-None-Match: {tag}\r\n")).status, 200);
    assert_eq!(answer(&format!("If-Range: {tag}\r\nRange: bytes=3-4\r\n")).body, pattern(0, 10));
}
