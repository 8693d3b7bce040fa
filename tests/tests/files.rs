//! Files below `--root`: their content, their ranges, and no way out.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringress_tests::{Client, Mode, Pattern, Response, Server, Setup, both_modes};
use rustix::fs::{CWD, FileType, Mode as Permissions, mknodat};

both_modes![
    setup = |mode: Mode| Setup::new(mode).with_folder();
    files_of_every_size_are_given,
    heads_of_files_tell_their_length,
    ranges_are_cut_out,
    several_ranges_come_in_parts,
    a_range_is_of_the_file_that_the_client_knows,
    conditions_are_honoured,
    a_file_that_may_still_change_is_known_weakly,
    names_are_decoded_once,
    large_files_pass_through_little_memory,
    many_read_one_file_at_once,
    dot_segments_lead_nowhere,
    links_out_of_the_root_are_not_followed,
    what_is_no_file_is_not_given,
    what_is_not_there_is_not_found,
    a_file_that_shrinks_is_cut,
    other_methods_are_refused,
];

const SECRET: &str = "nobody may read this";

fn files_of_every_size_are_given(server: &Server) {
    let pattern = Pattern::counting();
    let mut client = server.connect();
    for size in [0, 1, 100, 4_095, 4_096, 65_535, 65_536, 65_537, 131_073, 1_000_000] {
        let name = format!("sizes/{size}.bin");
        server.folder().write(&name, pattern.take(size));
        client.send([server.get(&format!("/file/{name}")), server.get("/pipeline")].concat());
        let (answer, length) = client.expect_content(&pattern);
        assert_eq!((answer.status, length), (200, size as u64), "{answer:?}");
        assert_eq!(answer.field("Content-Length"), Some(size.to_string().as_str()));
        assert_eq!(client.response().text(), "ok");
    }
}

/// 2023-11-14 22:13:20 UTC: what was changed then can no longer change unseen, so its tag is strong.
fn long_ago() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

const LONG_AGO: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

fn heads_of_files_tell_their_length(server: &Server) {
    server.folder().write_changed_at("some.txt", "twelve bytes", long_ago());
    let mut client = server.connect();
    let head = client.exchange_head(server.request("HEAD /file/some.txt HTTP/1.1", &[], ""));
    let whole = client.exchange(server.get("/file/some.txt"));
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("12")), "{head:?}");
    for name in ["Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"] {
        assert!(whole.field(name).is_some(), "{name}: {whole:?}");
        assert_eq!(head.field(name), whole.field(name), "{name}");
    }
    assert_eq!(whole.text(), "twelve bytes");
}

/// The response to a GET with these fields, on a connection that goes on.
#[track_caller]
fn get_with(server: &Server, client: &mut Client, target: &str, fields: &[&str]) -> Response {
    client.exchange(server.request(&format!("GET {target} HTTP/1.1"), fields, ""))
}

/// The tag of a file that ranges may be asked of.
#[track_caller]
fn tag_of(whole: &Response) -> &str {
    assert_eq!((whole.status, whole.field("Accept-Ranges")), (200, Some("bytes")), "{whole:?}");
    whole.field("ETag").unwrap_or_else(|| panic!("no ETag in {whole:?}"))
}

/// RFC 9110 section 14.
fn ranges_are_cut_out(server: &Server) {
    let content = Pattern::counting().take(200_000);
    let target = "/file/large.bin";
    server.folder().write_changed_at("large.bin", &content, long_ago());
    let whole = server.answer(target);
    let tag = tag_of(&whole);
    let mut client = server.connect();
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("0-9", 0, 10),
        ("100000-", 100_000, 200_000),
        ("-7", 199_993, 200_000),
        ("65535-65536", 65_535, 65_537),
        ("199999-300000", 199_999, 200_000),
    ] {
        let answer = get_with(server, &mut client, target, &[&format!("Range: bytes={range}")]);
        assert_eq!((answer.status, answer.field("ETag")), (206, Some(tag)), "{range}: {answer:?}");
        let expected = format!("bytes {from}-{}/200000", to - 1);
        assert_eq!(answer.field("Content-Range"), Some(expected.as_str()), "{range}");
        assert!(answer.body == content[from..to], "{range}");
    }
    let answer = get_with(server, &mut client, target, &["Range: bytes=200000-"]);
    assert_eq!((answer.status, answer.field("Content-Range")), (416, Some("bytes */200000")), "{answer:?}");
    for ignored in ["Range: lines=1-2", "Range: bytes=2-1", "Range: bytes"] {
        let answer = get_with(server, &mut client, target, &[ignored]);
        assert_eq!((answer.status, answer.body.len()), (200, content.len()), "{ignored}: {answer:?}");
    }
    let head = client.exchange_head(server.request(&format!("HEAD {target} HTTP/1.1"), &["Range: bytes=0-9"], ""));
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("200000")), "only of GET: {head:?}");
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

/// RFC 9110 section 14.6.
fn several_ranges_come_in_parts(server: &Server) {
    let content = Pattern::counting().take(200_000);
    server.folder().write_changed_at("large.bin", &content, long_ago());
    let mut client = server.connect();
    let ranges = [(0, 2), (10, 12), (65_530, 131_080), (199_990, 200_000)];
    let list: Vec<String> = ranges.iter().map(|(from, to)| format!("{from}-{}", to - 1)).collect();
    let field = format!("Range: bytes={}", list.join(", "));
    let answer = get_with(server, &mut client, "/file/large.bin", &[&field]);
    assert_eq!((answer.status, answer.field("Content-Range")), (206, None), "{answer:?}");
    let kind = answer.field("Content-Type").unwrap_or_default();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap_or_else(|| panic!("{answer:?}"));
    let boundary = boundary.trim_matches('"');
    let mut rest = answer.body.as_slice();
    for (from, to) in ranges {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("each part has a head") + 4;
        let (head, behind) = rest.split_at(end);
        let head = std::str::from_utf8(head).expect("heads are text");
        assert!(head.trim_start().starts_with(&format!("--{boundary}\r\n")), "{head}");
        assert!(head.contains(&format!("Content-Range: bytes {from}-{}/200000\r\n", to - 1)), "{head}");
        assert!(head.contains("Content-Type: application/octet-stream\r\n"), "{head}");
        assert!(behind.get(..to - from) == Some(&content[from..to]), "bytes {from} to {to}");
        rest = &behind[to - from..];
    }
    assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok");
}

/// If-Range (RFC 9110 section 13.1.5): else the client would put parts of two files together.
fn a_range_is_of_the_file_that_the_client_knows(server: &Server) {
    let target = "/file/some.txt";
    server.folder().write_changed_at("some.txt", "twelve bytes", long_ago());
    let tag = tag_of(&server.answer(target)).to_owned();
    let mut client = server.connect();
    let mut part = |known: &str| {
        let answer = get_with(server, &mut client, target, &["Range: bytes=7-", &format!("If-Range: {known}")]);
        (answer.status, answer.text().to_owned())
    };
    for known in [tag.as_str(), LONG_AGO] {
        assert_eq!(part(known), (206, "bytes".to_owned()), "{known}");
    }
    for unknown in ["\"another\"", &format!("W/{tag}"), BEFORE] {
        assert_eq!(part(unknown), (200, "twelve bytes".to_owned()), "{unknown}");
    }
    server.folder().write_changed_at("some.txt", "twenty bytes", long_ago() + Duration::from_millis(1));
    assert_eq!(part(&tag), (200, "twenty bytes".to_owned()), "it has changed within the second");
}

/// RFC 9110 section 13.
fn conditions_are_honoured(server: &Server) {
    let target = "/file/some.txt";
    server.folder().write_changed_at("some.txt", "some", long_ago());
    let whole = server.answer(target);
    let tag = tag_of(&whole);
    assert_eq!(whole.field("Last-Modified"), Some(LONG_AGO), "{whole:?}");
    let (unchanged, is_it) = (format!("If-None-Match: {tag}"), format!("If-Match: {tag}"));
    let listed = format!("If-None-Match: \"another\", W/{tag}");
    let since = format!("If-Modified-Since: {LONG_AGO}");
    let until = format!("If-Unmodified-Since: {LONG_AGO}");
    let changed = format!("If-Unmodified-Since: {BEFORE}");
    let other = "If-None-Match: \"another\"";
    let mut client = server.connect();
    for (fields, status) in [
        (&[unchanged.as_str()][..], 304),
        (&[&listed], 304),
        (&["If-None-Match: *"], 304),
        (&[&since], 304),
        (&[&unchanged, "Range: bytes=0-1"], 304),
        (&[other], 200),
        (&[other, &since], 200),
        (&[&format!("If-Modified-Since: {BEFORE}")], 200),
        (&["If-Modified-Since: yesterday"], 200),
        (&[&is_it], 200),
        (&[&until], 200),
        (&[&is_it, "Range: bytes=1-2"], 206),
        (&["If-Match: \"another\""], 412),
        (&[&changed], 412),
        (&[&changed, "Range: bytes=0-1"], 412),
    ] {
        let answer = get_with(server, &mut client, target, fields);
        let expected = match status {
            200 => "some",
            206 => "om",
            _ => "",
        };
        assert_eq!((answer.status, answer.text()), (status, expected), "{fields:?}: {answer:?}");
        let is_known = status < 400;
        assert_eq!(answer.field("ETag"), is_known.then_some(tag), "{fields:?}: {answer:?}");
    }
    let head = client.exchange_head(server.request(&format!("HEAD {target} HTTP/1.1"), &[&unchanged], ""));
    assert_eq!(head.status, 304, "{head:?}");
    server.folder().write_changed_at("some.txt", "more", long_ago() + Duration::from_millis(1));
    let answer = get_with(server, &mut client, target, &[&unchanged]);
    assert_eq!((answer.status, answer.text()), (200, "more"), "it has changed within the second");
}

/// A time that is still to come, so that no second can pass meanwhile.
fn a_file_that_may_still_change_is_known_weakly(server: &Server) {
    let target = "/file/new.txt";
    server.folder().write_changed_at("new.txt", "some", SystemTime::now() + Duration::from_secs(3_600));
    let whole = server.answer(target);
    let tag = tag_of(&whole);
    assert!(tag.starts_with("W/\""), "{whole:?}");
    let mut client = server.connect();
    let range = "Range: bytes=0-1";
    for (fields, status, body) in [
        (&[format!("If-None-Match: {tag}").as_str()][..], 304, ""),
        (&[range, &format!("If-Range: {tag}")], 200, "some"),
        (&[range], 206, "so"),
        (&[&format!("If-Match: {tag}")], 412, ""),
    ] {
        let answer = get_with(server, &mut client, target, fields);
        assert_eq!((answer.status, answer.text()), (status, body), "{fields:?}: {answer:?}");
    }
}

fn names_are_decoded_once(server: &Server) {
    server.folder().write("with space.txt", "space");
    server.folder().write("100%25.txt", "percent");
    server.folder().write("ünï/code.txt", "unicode");
    for (target, body) in [
        ("/file/with%20space.txt", "space"),
        ("/file/100%2525.txt", "percent"),
        ("/file/%C3%BCn%C3%AF/code.txt", "unicode"),
        ("/file/%c3%bcn%c3%af/x/../code.txt", "unicode"),
    ] {
        assert_eq!(server.answer(target).text(), body, "{target}");
    }
}

fn large_files_pass_through_little_memory(server: &Server) {
    let pattern = Pattern::counting();
    server.folder().write("large.bin", pattern.take(64 << 20));
    server.assert_healthy();
    let before = server.resident_kib_from_now();
    let mut client = server.connect();
    client.send(server.get("/file/large.bin"));
    assert_eq!(client.expect_content(&pattern).1, 64 << 20);
    let growth = server.resident_kib_max().saturating_sub(before);
    assert!(growth < 32 * 1024, "resident memory grew by {growth} KiB, from {before}");
}

fn many_read_one_file_at_once(server: &Server) {
    let pattern = Pattern::counting();
    server.folder().write("shared.bin", pattern.take(1_000_000));
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(server.get("/file/shared.bin"));
    }
    for client in &mut clients {
        assert_eq!(client.expect_content(&pattern).1, 1_000_000);
    }
}

/// None of the targets gives the file that lies outside the root.
#[track_caller]
fn assert_closed(server: &Server, targets: &[&str]) {
    for target in targets {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
        let answer = server.connect().about(*target).exchange(request);
        assert!([400, 403, 404].contains(&answer.status), "{target}: {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{target}: {answer:?}");
    }
    server.assert_healthy();
}

fn dot_segments_lead_nowhere(server: &Server) {
    let folder = server.folder();
    fs::write(folder.outside().join("secret"), SECRET).expect("the folder is ours");
    folder.write("inner/file", "inside");
    let absolute = folder.outside().join("secret");
    let authority = server.address();
    assert_closed(
        server,
        &[
            "/file/../secret",
            "/file/inner/../../secret",
            "/file/inner/../../../../../../../../etc/passwd",
            "/file/%2e%2e/secret",
            "/file/.%2e/secret",
            "/file/%2E%2E%2Fsecret",
            "/file/..%2fsecret",
            "/file/inner/..%2f..%2fsecret",
            "/file/%252e%252e/secret",
            "/file/..%5csecret",
            "/file/..\\secret",
            "/file/%2e%2e%5csecret",
            "/file/.../secret",
            "/file/..;/secret",
            "/file/%00../secret",
            "/file/inner/file/../../../secret",
            &format!("/file/{}", absolute.display()),
            &format!("/file//{}", absolute.display()),
            &format!("/file/%2f{}", absolute.display()),
            &format!("/file{}", absolute.display()),
            &format!("http://{authority}/file/../secret"),
            &format!("http://{authority}/file/%2e%2e/secret"),
            &format!("http://{authority}/file/{}", absolute.display()),
            "/file//etc/passwd",
            "/file/%2fetc%2fpasswd",
        ],
    );
    assert_eq!(server.answer("/file/inner/../inner/./file").text(), "inside");
}

fn links_out_of_the_root_are_not_followed(server: &Server) {
    let folder = server.folder();
    fs::write(folder.outside().join("secret"), SECRET).expect("the folder is ours");
    folder.write("inner/file", "inside");
    let root = folder.root();
    let links = [
        ("absolute", folder.outside().join("secret")),
        ("relative", "../secret".into()),
        ("folder", folder.outside().to_path_buf()),
        ("parent", "..".into()),
        ("inner/up", "../..".into()),
        ("slash", "/".into()),
        ("loop", "loop".into()),
    ];
    for (name, target) in links {
        symlink(target, root.join(name)).expect("a link can be made");
    }
    symlink("absolute", root.join("twice")).expect("a link can be made");
    assert_closed(
        server,
        &[
            "/file/absolute",
            "/file/relative",
            "/file/twice",
            "/file/folder/secret",
            "/file/parent/secret",
            "/file/inner/up/secret",
            "/file/slash/etc/passwd",
            "/file/loop",
        ],
    );
    assert_eq!(server.answer("/file/inner/file").text(), "inside");
}

fn what_is_no_file_is_not_given(server: &Server) {
    let root = server.folder().root();
    server.folder().write("inner/file", "inside");
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Permissions::from_raw_mode(0o600), 0).expect("a fifo can be made");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket can be made");
    // Nothing may wait for somebody to open the other end.
    assert_closed(server, &["/file/fifo", "/file/socket", "/file/inner", "/file/inner/", "/file/", "/file"]);
    assert_closed(server, &["/file/inner/file/", "/file/inner/file/x"]);
    // Needs privileges; where they are missing there is nothing to test.
    let made = mknodat(CWD, root.join("zero"), FileType::CharacterDevice, Permissions::from_raw_mode(0o666), 0x105);
    if made.is_ok() {
        assert_closed(server, &["/file/zero"]);
    }
}

fn what_is_not_there_is_not_found(server: &Server) {
    for target in ["/file/none", "/file/none/at/all", &format!("/file/{}", "n".repeat(300)), "/file/a%0ab"] {
        let answer = server.answer(target);
        assert!([400, 404].contains(&answer.status), "{target}: {answer:?}");
    }
    server.folder().write("late.txt", "late");
    assert_eq!(server.answer("/file/late.txt").text(), "late");
}

/// What was announced can no longer be sent: the response must not end in order, nor go on with bytes of anything else.
fn a_file_that_shrinks_is_cut(server: &Server) {
    let size = 40 << 20;
    let pattern = Pattern::counting();
    server.folder().write("shrinks.bin", pattern.take(size));
    let mut client = Client::connect_narrow(server.address(), 16 * 1024);
    client.send([server.get("/file/shrinks.bin"), server.get("/pipeline")].concat());
    assert_eq!(client.head().field("Content-Length"), Some(size.to_string().as_str()));
    let path = server.folder().root().join("shrinks.bin");
    let left = 1_000;
    fs::OpenOptions::new().write(true).open(path).expect("the file is there").set_len(left).expect("it can shrink");
    let (got, in_order) = client.read_until_gone();
    assert!(got.len() < size, "{} bytes of {size}, of a file that had shrunk", got.len());
    assert!(!in_order, "a cut answer ended in order after {} bytes", got.len());
    // What was on its way are the file's own pages, of which cutting makes the rest zero.
    let (kept, cut) = got.split_at(usize::try_from(left).expect("it is small"));
    pattern.check(0, kept);
    let was = pattern.take(got.len());
    let is_of_the_file = cut.iter().zip(&was[kept.len()..]).all(|(got, was)| got == was || *got == 0);
    assert!(is_of_the_file, "bytes that the file never had");
    assert_eq!(server.gauges().of("responses_truncated"), 1);
}

fn other_methods_are_refused(server: &Server) {
    server.folder().write("some.txt", "some");
    for method in ["POST", "PUT", "DELETE"] {
        let mut client = server.connect();
        let answer = client.exchange(server.request(&format!("{method} /file/some.txt HTTP/1.1"), &[], ""));
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
    }
    assert_eq!(server.answer("/file/some.txt").text(), "some");
}

#[test]
fn without_a_root_there_are_no_files() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode));
        for target in ["/file/etc/passwd", "/file/Cargo.toml", "/file/"] {
            let answer = server.answer(target);
            assert_eq!((answer.status, answer.text()), (404, "start with --root DIR to serve files\n"), "{target}");
        }
        server.finish();
    }
}
