//! `ringress-bench load` as a command: exit status, JSON, picture, refusals.

mod load_support;

use std::process::{Command, Output};

use load_support::{RIGHT, Server, Then};

fn load(url: &str, more: &[&str]) -> Output {
    let short = ["--duration", "400ms", "--warm-up", "20ms", "--connections", "2"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress-bench"));
    command.arg("load").arg(url).args(short).args(more);
    command.output().expect("the command runs")
}

fn url(server: &Server) -> String {
    format!("http://{}/", server.address)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn right_answers_end_in_success_and_a_table() {
    let server = Server::always(RIGHT, Then::KeepOpen);
    let output = load(&url(&server), &["--expect-status", "200", "--expect-bytes", "13", "--depth", "3"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("answers a second") && text.contains("every answer was right"), "{text}");
    assert_eq!(stderr(&output), "", "no progress where nobody watches");
}

#[test]
fn a_wrong_answer_ends_in_failure_and_is_named() {
    let server = Server::always(RIGHT, Then::KeepOpen);
    for wrong in [["--expect-status", "204"], ["--expect-bytes", "12"], ["--expect-body", "Hello, Wordl!"]] {
        let output = load(&url(&server), &wrong);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
        assert!(text.contains("first fault: GET /: "), "{text}");
    }
}

#[test]
fn command_lines_that_ask_for_the_impossible_are_usage_errors() {
    for (url, more, word) in [
        ("http://192.0.2.1/", &[][..], "--i-own-the-target"),
        ("https://127.0.0.1/", &[], "http://"),
        ("http://example.com/", &[], "example.com"),
        ("http://127.0.0.1:1/", &["--depth", "0"], "--depth"),
        ("http://127.0.0.1:1/", &["--timeout", "soon"], "soon"),
        ("http://127.0.0.1:1/", &["--header", "none"], "--header"),
        ("http://127.0.0.1:1/", &["--requests", "/nonexistent"], "/nonexistent"),
        ("http://127.0.0.1:1/", &["--frobnicate"], "--frobnicate"),
    ] {
        let output = load(url, more);
        assert_eq!(output.status.code(), Some(2), "{url} {more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{url} {more:?}: {}", stderr(&output));
    }
}

#[test]
fn the_report_is_written_as_json_and_as_a_picture() {
    let server = Server::always(RIGHT, Then::KeepOpen);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (json, svg) = (folder.join("load_command.json"), folder.join("load_command.svg"));
    let names = [json.to_str().expect("UTF-8"), svg.to_str().expect("UTF-8")];
    let output = load(&url(&server), &["--json", names[0], "--svg", names[1]]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("written")).expect("it is JSON");
    assert!(report["answers"].as_u64().is_some_and(|answers| answers > 0), "{report}");
    assert!(report["latency"]["p99.9"].as_f64().is_some_and(|latency| latency > 0.0), "{report}");
    assert!(std::fs::read_to_string(&svg).expect("written").contains("</svg>"));
    let output = load(&url(&server), &["--json", "-"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "nothing but JSON");
}

#[test]
fn requests_come_from_a_file() {
    let server = Server::start(|request, stream| {
        let is_expected = request.starts_with(b"GET /a ") || request.ends_with(b"\r\n\r\nbody");
        let status = if is_expected { "200 OK" } else { "400 Bad Request" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let _ = std::io::Write::write_all(stream, answer.as_bytes());
        Then::KeepOpen
    });
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("load_command.requests");
    let requests =
        "GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody\r\n";
    std::fs::write(&file, requests).expect("written");
    let output = load(&url(&server), &["--requests", file.to_str().expect("UTF-8"), "--depth", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_body_is_posted() {
    let server = Server::start(|request, stream| {
        let is_expected = request.starts_with(b"PUT /p HTTP/1.1\r\n")
            && request.ends_with(b"\r\n\r\nbody")
            && request.windows(10).any(|window| window == b"\r\nX-A: b\r\n");
        let status = if is_expected { "200 OK" } else { "400 Bad Request" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let _ = std::io::Write::write_all(stream, answer.as_bytes());
        Then::KeepOpen
    });
    let url = format!("http://localhost:{}/p", server.address.port());
    let output = load(&url, &["--method", "PUT", "--header", "X-A: b", "--body", "body"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}
