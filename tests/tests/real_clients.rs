//! curl, a client nobody here wrote, understands the showcase.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringress_tests::{Mode, Server, Setup, both_modes, wait_within};

both_modes![
    curl_gets,
    curl_posts,
    curl_posts_chunked,
    curl_waits_for_the_continue,
    curl_speaks_http10,
    curl_asks_for_heads,
    curl_follows_conditions,
    curl_reuses_its_connection,
];

const CURL_WAIT_MAX: Duration = Duration::from_secs(15);

/// What curl prints, `None` (and a visible reason) where it is not installed.
fn curl(args: &[&str], input: &[u8]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"]).args(args);
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
    assert!(ended && output.status.success(), "curl {args:?}: {}: {fault}", output.status);
    Some(text.into_owned())
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
    // Without the interim answer curl would wait this long and then fail by --max-time.
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
