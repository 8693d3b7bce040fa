//! Files below `--root`: their content, their ranges, and no way out.

use std::fs;
use std::os::unix::fs::symlink;

use ringress_tests::{Mode, Pattern, Response, Server, Setup, both_modes};
use rustix::fs::{CWD, FileType, Mode as Permissions, mknodat};

both_modes![
    setup = |mode: Mode| Setup::new(mode).with_folder();
    files_of_every_size_are_given,
    heads_of_files_tell_their_length,
    ranges_are_cut_out,
    conditions_are_honoured,
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

fn heads_of_files_tell_their_length(server: &Server) {
    server.folder().write("some.txt", "twelve bytes");
    let mut client = server.connect();
    let head = client.exchange_head(server.request("HEAD /file/some.txt HTTP/1.1", &[], ""));
    let whole = client.exchange(server.get("/file/some.txt"));
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("12")), "{head:?}");
    for name in ["Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"] {
        assert_eq!(head.field(name), whole.field(name), "{name}");
    }
    assert_eq!(whole.text(), "twelve bytes");
}

fn get_with(server: &Server, target: &str, field: &str) -> Response {
    server.connect().exchange(server.request(&format!("GET {target} HTTP/1.1"), &[field], ""))
}

/// RFC 9110 section 14; a server that knows no ranges gives everything.
fn ranges_are_cut_out(server: &Server) {
    let pattern = Pattern::counting();
    let content = pattern.take(200_000);
    server.folder().write("large.bin", &content);
    let whole = server.answer("/file/large.bin");
    if whole.field("Accept-Ranges") != Some("bytes") {
        let answer = get_with(server, "/file/large.bin", "Range: bytes=0-9");
        assert_eq!((answer.status, answer.body.len()), (200, content.len()));
        return;
    }
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("0-9", 0, 10),
        ("100000-", 100_000, 200_000),
        ("-7", 199_993, 200_000),
        ("65535-65536", 65_535, 65_537),
    ] {
        let answer = get_with(server, "/file/large.bin", &format!("Range: bytes={range}"));
        assert_eq!(answer.status, 206, "{range}: {answer:?}");
        let expected = format!("bytes {from}-{}/200000", to - 1);
        assert_eq!(answer.field("Content-Range"), Some(expected.as_str()), "{range}");
        assert!(answer.body == content[from..to], "{range}");
    }
    let answer = get_with(server, "/file/large.bin", "Range: bytes=200000-");
    assert_eq!((answer.status, answer.field("Content-Range")), (416, Some("bytes */200000")));
    let answer = get_with(server, "/file/large.bin", "Range: lines=1-2");
    assert_eq!((answer.status, answer.body.len()), (200, content.len()), "a unit nobody knows is ignored");
    let answer = get_with(server, "/file/large.bin", "Range: bytes=0-1,10-11");
    match answer.status {
        206 => {
            let kind = answer.field("Content-Type").unwrap_or_default();
            assert!(kind.starts_with("multipart/byteranges"), "{answer:?}");
            let has = |part: &[u8]| answer.body.windows(part.len()).any(|window| window == part);
            assert!(has(b"bytes 0-1/200000") && has(b"bytes 10-11/200000") && has(&content[10..12]), "{answer:?}");
        }
        status => assert_eq!((status, answer.body.len()), (200, content.len()), "{answer:?}"),
    }
}

fn conditions_are_honoured(server: &Server) {
    server.folder().write("some.txt", "some");
    let whole = server.answer("/file/some.txt");
    if whole.field("Accept-Ranges").is_none() {
        // Both come from the same helper; a server without it gives everything.
        assert_eq!(get_with(server, "/file/some.txt", "If-None-Match: *").text(), "some");
        return;
    }
    for (name, field) in [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")] {
        let Some(value) = whole.field(name) else { continue };
        let answer = get_with(server, "/file/some.txt", &format!("{field}: {value}"));
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{field}: {answer:?}");
    }
    let answer = get_with(server, "/file/some.txt", "If-None-Match: \"another\"");
    assert_eq!((answer.status, answer.text()), (200, "some"));
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

/// What was announced can no longer be sent: the answer must not end in order, nor go on with bytes of anything else.
fn a_file_that_shrinks_is_cut(server: &Server) {
    let size = 40 << 20;
    let pattern = Pattern::counting();
    server.folder().write("shrinks.bin", pattern.take(size));
    let mut client = ringress_tests::Client::connect_narrow(server.address(), 16 * 1024);
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
    assert_eq!(server.gauges().of("responses_cut"), 1);
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
            assert_eq!(server.answer(target).status, 404, "{target}");
        }
        server.finish();
    }
}
