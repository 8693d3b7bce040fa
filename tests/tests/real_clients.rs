//! curl, a client nobody here wrote, understands the showcase.

use std::fs;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use ringress_tests::{Folder, Mode, Server, Setup, both_modes, wait_within};

both_modes![
    curl_gets,
    curl_posts,
    curl_posts_chunked,
    curl_waits_for_the_continue,
    curl_speaks_http10,
    curl_asks_for_heads,
    curl_follows_conditions,
    curl_reuses_its_connection,
    curl_downloads_what_it_cannot_hold,
    curl_uploads_what_it_cannot_hold,
    curl_reads_streams,
    curl_shows_hints_and_trailers,
    curl_leaves_a_download,
];

/// Debug builds move it in a second or two.
const LARGE: u64 = if cfg!(debug_assertions) { 256 << 20 } else { 1 << 30 };

const CURL_WAIT_MAX: Duration = Duration::from_secs(30);

/// What curl prints, `None` (and a visible reason) where it is not installed.
#[track_caller]
fn curl(args: &[&str], input: &[u8]) -> Option<String> {
    let (status, printed) = run_curl(args, input)?;
    assert!(status.success(), "curl {args:?}: {status}: {printed}");
    Some(printed)
}

/// How curl ended and what it printed, `None` (and a visible reason) where it is not installed.
#[track_caller]
fn run_curl(args: &[&str], input: &[u8]) -> Option<(ExitStatus, String)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "25", "--noproxy", "*"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: curl cannot be run ({error}); apt-get install curl");
            return None;
        }
    };
    child.stdin.take().expect("stdin is piped").write_all(input).expect("curl reads its input");
    let ended = wait_within(&mut child, CURL_WAIT_MAX).is_some();
    if !ended {
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("pipes of an ended child can be read");
    let (text, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(ended, "curl {args:?} runs on: {fault}");
    if !output.status.success() {
        eprintln!("curl {args:?}: {}: {fault}", output.status);
    }
    Some((output.status, text.into_owned()))
}

fn curl_downloads_what_it_cannot_hold(server: &Server) {
    let args = ["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}"];
    assert_curl(server, &args, &format!("/bytes/{LARGE}"), b"", &format!("200 {LARGE}"));
}

fn curl_uploads_what_it_cannot_hold(server: &Server) {
    let file = Folder::new();
    file.write("large", "");
    let path = file.root().join("large");
    // A hole: curl reads zeros, the disk holds nothing.
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(LARGE)).expect("a file can grow");
    let path = path.display().to_string();
    let length = LARGE.to_string();
    assert_curl(server, &["--request", "POST", "--upload-file", &path], "/upload", b"", &length);
    let chunked = ["--request", "POST", "--header", "Transfer-Encoding: chunked", "--upload-file", &path];
    assert_curl(server, &chunked, "/upload", b"", &length);
}

fn curl_reads_streams(server: &Server) {
    let args = ["--output", "/dev/null", "--write-out", "%{size_download}"];
    assert_curl(server, &args, "/stream/1000?chunk=3000", b"", "3000000");
    assert_curl(server, &[&["--http1.0"], &args[..]].concat(), "/stream/1000?chunk=3000", b"", "3000000");
    assert_curl(server, &args, "/drip/1?ms=10", b"", &server.answer("/drip/1?ms=10").body.len().to_string());
}

fn curl_shows_hints_and_trailers(server: &Server) {
    let args = ["--output", "/dev/null", "--write-out", "%{http_code}", "--dump-header", "/dev/stderr"];
    assert_curl(server, &args, "/hints", b"", "200");
    assert_curl(server, &["--data", "twelve bytes"], "/trailers", b"", "trailers\n");
}

/// `--range` of what has no ranges would be everything; the head is enough for curl to leave.
fn curl_leaves_a_download(server: &Server) {
    let args = ["--max-filesize", "1000", "--output", "/dev/null", "--write-out", "%{http_code}"];
    let url = format!("http://{}/bytes/10737418240", server.address());
    if let Some((status, printed)) = run_curl(&[&args[..], &[url.as_str()]].concat(), b"") {
        assert!(!status.success(), "curl took 10 GiB: {printed}");
        assert_eq!(printed, "200");
    }
}

/// Runs curl against `target` and compares what it prints; true where curl is installed.
#[track_caller]
fn assert_curl(server: &Server, args: &[&str], target: &str, input: &[u8], expected: &str) -> bool {
    let url = format!("http://{}{target}", server.address());
    let printed = curl(&[args, &[url.as_str()]].concat(), input);
    if let Some(printed) = &printed {
        assert_eq!(printed, expected);
    }
    printed.is_some()
}

fn curl_gets(server: &Server) {
    assert_curl(server, &[], "/plaintext", b"", "Hello, World!");
    assert_curl(server, &["--write-out", " %{http_code}"], "/baseline11?a=1&b=2", b"", "3 200");
    assert_curl(
        server,
        &["--output", "/dev/null", "--write-out", "%{size_download}"],
        "/bytes/1000000",
        b"",
        "1000000",
    );
    assert_curl(server, &["--output", "/dev/null", "--write-out", "%{http_code}"], "/nowhere", b"", "404");
}

fn curl_posts(server: &Server) {
    assert_curl(server, &["--data", "20"], "/baseline11?a=13&b=42", b"", "75");
    let body = "line\n".repeat(10_000);
    assert_curl(server, &["--data-binary", "@-"], "/echo", body.as_bytes(), &body);
}

fn curl_posts_chunked(server: &Server) {
    let body = "line\n".repeat(10_000);
    let args = ["--header", "Transfer-Encoding: chunked", "--data-binary", "@-"];
    assert_curl(server, &args, "/echo", body.as_bytes(), &body);
}

fn curl_waits_for_the_continue(server: &Server) {
    // Without the interim response curl would wait this long and then fail by --max-time.
    let args = ["--header", "Expect: 100-continue", "--expect100-timeout", "60", "--data-binary", "@-"];
    assert_curl(server, &args, "/echo", b"patience", "patience");
}

fn curl_speaks_http10(server: &Server) {
    assert_curl(server, &["--http1.0"], "/plaintext", b"", "Hello, World!");
    assert_curl(server, &["--http1.0", "--data", "x"], "/echo", b"", "x");
}

fn curl_asks_for_heads(server: &Server) {
    let args =
        ["--head", "--output", "/dev/null", "--write-out", "%{http_code} %{size_download} %header{content-length}"];
    assert_curl(server, &args, "/plaintext", b"", "200 0 13");
}

fn curl_follows_conditions(server: &Server) {
    let page = server.answer("/");
    let field = format!("If-None-Match: {}", page.field("ETag").expect("the page has an ETag"));
    assert_curl(server, &["--header", &field, "--write-out", "%{http_code}"], "/", b"", "304");
}

fn curl_reuses_its_connection(server: &Server) {
    let other = format!("http://{}/plaintext", server.address());
    let args = ["--http1.1", "--write-out", " %{num_connects}\n", &other];
    assert_curl(server, &args, "/pipeline", b"", "Hello, World! 1\nok 0\n");
    let args =
        ["--http1.1", "--write-out", " %{num_connects}\n", "--data", "body", &other.replace("plaintext", "echo")];
    assert_curl(server, &args, "/echo", b"", "body 1\nbody 0\n");
}

/// Names resolve to both families on most machines; only the address family that is served may be used.
#[test]
fn curl_reaches_a_host_prefix_by_name() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode));
        let url = format!("http://localhost:{}/host/who", server.address().port());
        if let Some(who) = curl(&["--ipv4", &url], b"") {
            assert!(who.contains("localhost"), "{who}");
        }
        server.finish();
    }
}
