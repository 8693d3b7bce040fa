//! `ringress serve`: what it gives of a folder, what it does not, and how it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::common::program::{ANYWHERE, Program};
use super::common::{Client, Reply, WAIT_MAX};
use super::ringress;

const SECRET: &str = "nobody may read this";
const LONG_AGO: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

/// A served folder, in another one that is not.
struct Site {
    program: Program,
    outside: TempDir,
}

impl Site {
    fn start() -> Self {
        Self::start_by(ringress(&[]))
    }

    fn start_by(mut command: Command) -> Self {
        let outside = tempfile::tempdir().expect("a folder");
        let root = outside.path().join("root");
        fs::create_dir(&root).expect("it is ours");
        let site = Self { program: Program::of(command.arg("serve").arg(&root).args(["--listen", ANYWHERE])), outside };
        site.write("../secret", SECRET);
        site.write("index.html", "<p>the first page</p>");
        site.write("some.txt", "twelve bytes");
        site
    }

    fn address(&self) -> SocketAddr {
        self.program.address
    }

    /// Writes a file that was last changed when nothing can change unseen any more.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().expect("it has the root above it")).expect("it is ours");
        fs::write(&path, content).expect("it is ours");
        let file = fs::File::options().write(true).open(&path).expect("just written");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).expect("it is ours");
    }

    fn root(&self) -> std::path::PathBuf {
        self.outside.path().join("root")
    }

    fn ask(&self, target: &str) -> Reply {
        Client::connect(self.address()).ask(target)
    }

    fn ask_with(&self, target: &str, fields: &[&str]) -> Reply {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let mut client = Client::connect(self.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        client.read()
    }

    fn end(self) {
        self.program.signal(libc::SIGTERM);
        self.program.end();
    }
}

#[test]
fn it_says_where_it_listens_and_by_which_driver_and_ends_in_order() {
    for (driver, signal) in [(None, libc::SIGINT), (Some("epoll"), libc::SIGTERM)] {
        let mut command = ringress(&[]);
        command.envs(driver.map(|name| ("RINGRESS_DRIVER", name)));
        let site = Site::start_by(command);
        let line = site.program.lines.recv_timeout(WAIT_MAX).expect("a second line");
        let is_said = match driver {
            Some(name) => line == format!("driver: {name}"),
            None => line == "driver: io_uring" || line.starts_with("driver: epoll, since "),
        };
        assert!(is_said, "{line}");
        assert_eq!(site.ask("/some.txt").text(), "twelve bytes");
        site.program.signal(signal);
        site.program.end();
    }
}

#[test]
fn it_listens_wherever_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "content").expect("it is ours");
    let path = folder.path().to_str().expect("text");
    let program = Program::of(&mut ringress(&["serve", path, "--listen", ANYWHERE, "--listen", ANYWHERE]));
    let line = program.lines.recv_timeout(WAIT_MAX).expect("a second line");
    let other = line.strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix('/'));
    for address in [program.address, other.and_then(|other| other.parse().ok()).expect("another address")] {
        assert_eq!(Client::connect(address).ask("/file").text(), "content");
    }
    program.signal(libc::SIGTERM);
    program.end();
}

#[test]
fn files_have_their_types_and_directories_their_index() {
    let site = Site::start();
    for (name, wanted) in [
        ("page.html", "text/html; charset=utf-8"),
        ("a/b/style.CSS", "text/css; charset=utf-8"),
        ("code.js", "text/javascript; charset=utf-8"),
        ("data.json", "application/json"),
        ("picture.png", "image/png"),
        ("picture.svg", "image/svg+xml"),
        ("font.woff2", "font/woff2"),
        ("module.wasm", "application/wasm"),
        ("with space.txt", "text/plain; charset=utf-8"),
        ("%25.txt", "text/plain; charset=utf-8"),
        ("none", "application/octet-stream"),
        (".well-known/security.txt", "text/plain; charset=utf-8"),
    ] {
        site.write(name, name);
        let target = name.replace('%', "%25").replace(' ', "%20");
        let reply = site.ask(&format!("/{target}"));
        assert_eq!((reply.status, reply.text(), reply.field("content-type")), (200, name, Some(wanted)));
    }
    site.write("sub/index.html", "below");
    site.write("bare/file", "");
    for target in ["/", "/?query", "/index.html", "/sub/.."] {
        let reply = site.ask(target);
        assert_eq!((reply.status, reply.text()), (200, "<p>the first page</p>"), "{target}");
        assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
    }
    assert_eq!(site.ask("/sub/").text(), "below");
    for (target, location) in [("/sub", "./sub/"), ("/a/../sub?x=1&y", "./sub/?x=1&y"), ("/s%75b", "./s%75b/")] {
        let reply = site.ask(target);
        assert_eq!((reply.status, reply.field("location")), (301, Some(location)), "{target}");
    }
    for target in
        ["/bare", "/bare/", "/none/", "/some.txt/", "/some.txt/x", "/nowhere", "/a//b/style.CSS", "//some.txt"]
    {
        assert_eq!(site.ask(target).status, 404, "{target}");
    }
    site.end();
}

#[test]
fn ranges_and_conditions_are_honoured() {
    let site = Site::start();
    let whole = site.ask("/some.txt");
    let tag = whole.field("etag").expect("files have one").to_owned();
    assert_eq!((whole.field("last-modified"), whole.field("accept-ranges")), (Some(LONG_AGO), Some("bytes")));
    let range = "Range: bytes=7-";
    let (none_match, since) = (format!("If-None-Match: {tag}"), format!("If-Modified-Since: {LONG_AGO}"));
    let (if_range, other_range) = (format!("If-Range: {tag}"), "If-Range: \"other\"");
    for (fields, status, body) in [
        (&[range][..], 206, "bytes"),
        (&["Range: bytes=-5"], 206, "bytes"),
        (&["Range: bytes=12-"], 416, ""),
        (&["Range: lines=1-"], 200, "twelve bytes"),
        (&[&none_match], 304, ""),
        (&["If-None-Match: \"other\""], 200, "twelve bytes"),
        (&[&since], 304, ""),
        (&["If-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT"], 200, "twelve bytes"),
        (&["If-Match: \"other\""], 412, ""),
        (&[range, &if_range], 206, "bytes"),
        (&[range, other_range], 200, "twelve bytes"),
    ] {
        let reply = site.ask_with("/some.txt", fields);
        assert_eq!(reply.status, status, "{fields:?}: {reply:?}");
        assert!(status == 416 || reply.text() == body, "{fields:?}: {reply:?}");
    }
    assert_eq!(site.ask_with("/some.txt", &[range]).field("content-range"), Some("bytes 7-11/12"));
    site.write("some.txt", "thirteen byte");
    assert_eq!(site.ask_with("/some.txt", &[&none_match]).text(), "thirteen byte");
    site.end();
}

#[test]
fn heads_are_those_of_gets_and_other_methods_are_refused() {
    let site = Site::start();
    let heads = |method: &str, target: &str| {
        let mut stream = Client::connect(site.address()).stream;
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("taken");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text, and an end");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let lines = head.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned);
        (lines.collect::<Vec<_>>(), body.to_owned())
    };
    for target in ["/some.txt", "/", "/none"] {
        let (got, asked) = (heads("GET", target), heads("HEAD", target));
        assert_eq!((got.0, ""), (asked.0, &*asked.1), "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "MKCOL"] {
        let (lines, _) = heads(method, "/some.txt");
        assert!(lines[0].starts_with("HTTP/1.1 405 "), "{method}: {lines:?}");
        assert!(lines.contains(&"Allow: GET, HEAD".to_owned()), "{method}: {lines:?}");
    }
    assert_eq!(site.ask("/some.txt").text(), "twelve bytes");
    site.end();
}

#[test]
fn nothing_leads_out_of_the_folder_and_what_is_hidden_stays_so() {
    let site = Site::start();
    site.write("inner/file", "inside");
    site.write(".hidden", SECRET);
    site.write(".git/config", SECRET);
    site.write("inner/.env", SECRET);
    site.write("inner/back\\slash", "inside");
    let root = site.root();
    let outside = site.outside.path();
    for (name, target) in [
        ("absolute", outside.join("secret")),
        ("relative", "../secret".into()),
        ("folder", outside.to_path_buf()),
        ("inner/up", "../..".into()),
        ("slash", "/".into()),
        ("itself", root.join("inner/file")),
        ("proc", "/proc/self/root".into()),
        ("loop", "loop".into()),
    ] {
        symlink(target, root.join(name)).expect("it is ours");
    }
    symlink("inner/file", root.join("within")).expect("it is ours");
    fs::create_dir_all(root.join("listed")).expect("it is ours");
    symlink("../../secret", root.join("listed/index.html")).expect("it is ours");
    let absolute = outside.join("secret").display().to_string();
    let targets = ["/../secret", "/inner/../../secret", "/%2e%2e/secret", "/.%2e/secret", "/%2E%2E%2Fsecret"];
    let more = ["/..%2fsecret", "/inner/..%2f..%2fsecret", "/%252e%252e/secret", "/..%5csecret", "/..\\secret"];
    let others = ["/.../secret", "/..;/secret", "/%00../secret", "/some.txt%00", "/some.txt%00.png", "/inner%2ffile"];
    let slashes = ["//etc/passwd", "/%2fetc%2fpasswd", "/absolute", "/relative", "/folder/secret", "/folder"];
    let links =
        ["/inner/up/secret", "/slash/etc/passwd", "/itself", "/proc/etc/passwd", "/loop", "/listed/", "/listed"];
    let hidden = ["/.hidden", "/%2ehidden", "/.git/config", "/inner/.env", "/inner/%2Eenv", "/.git/", "/.git"];
    let of_path = [absolute.clone(), format!("/{absolute}"), format!("/%2f{absolute}")];
    let all = [&targets[..], &more, &others, &slashes, &links, &hidden].concat();
    for target in all.into_iter().chain(of_path.iter().map(String::as_str)) {
        let reply = site.ask(target);
        assert!([400, 404].contains(&reply.status), "{target}: {reply:?}");
        assert!(!String::from_utf8_lossy(&reply.body).contains(SECRET), "{target}: {reply:?}");
    }
    for target in ["/inner/file", "/within", "/inner/../inner/./file", "/inner/back%5cslash"] {
        assert_eq!(site.ask(target).text(), "inside", "{target}");
    }
    site.end();
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let site = Site::start();
    let (fifo, mode) = (site.root().join("fifo"), rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO can be made");
    let _socket = std::os::unix::net::UnixListener::bind(site.root().join("socket")).expect("a socket can be made");
    for target in ["/fifo", "/socket", "/fifo/"] {
        assert_eq!(site.ask(target).status, 404, "{target}");
    }
    site.end();
}

#[test]
fn a_download_under_way_ends_before_the_program_does() {
    let site = Site::start();
    let content: Vec<u8> = (0..4_u32 << 20).flat_map(u32::to_le_bytes).collect();
    site.write("large.bin", &content);
    let mut client = Client::connect(site.address());
    client.get("/large.bin");
    assert!(client.is_readable_within(WAIT_MAX), "it begins");
    site.program.signal(libc::SIGTERM);
    assert!(client.read().body == content);
    client.read_end();
    site.program.end();
}

/// What curl prints; `None`, and a visible reason, where it is not installed.
fn curl(site: &Site, arguments: &[&str], target: &str) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    match command.arg(format!("http://{}{target}", site.address())).output() {
        Ok(output) => Some(String::from_utf8(output.stdout).expect("text")),
        Err(error) => {
            eprintln!("skipped: curl cannot be run: {error}");
            None
        }
    }
}

#[test]
fn curl_takes_parts_looks_for_changes_and_follows_to_an_index() {
    let site = Site::start();
    site.write("sub/index.html", "below");
    let store = tempfile::tempdir().expect("a folder");
    let path = |name: &str| Path::join(store.path(), name).display().to_string();
    let (copy, tags) = (path("copy"), path("tags"));
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let Some(part) = curl(&site, &["--range", "0-5"], "/some.txt") else { return };
    assert_eq!(part, "twelve");
    // Its file has the time of ours, and its list the tag: both say that nothing has changed.
    curl(&site, &["--remote-time", "--output", &copy, "--etag-save", &tags], "/some.txt");
    let unchanged = |arguments: &[&str]| curl(&site, &[&status[..], arguments].concat(), "/some.txt");
    assert_eq!(unchanged(&["--time-cond", &copy]).as_deref(), Some("304"));
    assert_eq!(unchanged(&["--etag-compare", &tags]).as_deref(), Some("304"));
    // A download that broke off goes on.
    fs::write(&copy, "twelve").expect("it is ours");
    curl(&site, &["--continue-at", "-", "--output", &copy], "/some.txt");
    assert_eq!(fs::read_to_string(&copy).expect("it is there"), "twelve bytes");
    assert_eq!(curl(&site, &["--location"], "/sub").as_deref(), Some("below"));
    assert_eq!(curl(&site, &status, "/none").as_deref(), Some("404"));
    let escapes = curl(&site, &[&status[..], &["--path-as-is"]].concat(), "/../secret");
    assert!(matches!(escapes.as_deref(), Some("400" | "404")), "{escapes:?}");
    assert!(curl(&site, &["--head"], "/").is_some_and(|head| head.contains("200 OK") && head.contains("text/html")));
    site.end();
}
