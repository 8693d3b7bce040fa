//! `ringress-bench compare` as people run it: what it refuses, what it leaves out, what it leaves behind. No figure is
//! asserted: a machine that runs tests is no place to measure.

mod compare_support;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use compare_support::{Folder, PROGRAM, load_core, long_enough};

const WAIT_MAX: Duration = Duration::from_secs(60);

fn compare(words: &[&str]) -> Command {
    compare_with(PROGRAM, words)
}

fn compare_with(program: impl AsRef<OsStr>, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["compare", "--no-build"]).args(words);
    if !words.contains(&"--load-core") {
        command.args(["--load-core", &load_core()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = compare(words).output().expect("the program starts");
    (status.code(), text(stdout), text(stderr))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it writes UTF-8")
}

/// The command that runs this very program as one of the servers below.
fn server(which: &str) -> String {
    format!("{which}={}", server_command(which))
}

fn server_command(which: &str) -> String {
    let program = std::env::current_exe().expect("this program has a path");
    format!("'{}' --exact --ignored {which} {{port}}", program.display())
}

/// Answers every request on the port that is the last argument: the n-th of a connection with `answer(n)`. Without a
/// port this is no server, but somebody who runs all ignored tests.
fn serve(answer: fn(u32) -> &'static str) {
    let Some(port) = std::env::args().next_back().and_then(|port| port.parse::<u16>().ok()) else { return };
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        std::thread::spawn(move || {
            let mut requests = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            let mut count = 0;
            while let Some(Ok(line)) = requests.next() {
                if line.is_empty() {
                    let body = answer(count);
                    count += 1;
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    if stream.write_all((head + body).as_bytes()).is_err() {
                        return;
                    }
                }
            }
        });
    }
}

#[test]
#[ignore = "a server that other tests start"]
fn wrong() {
    serve(|_| "Hello, Moon!!");
}

#[test]
#[ignore = "a server that other tests start"]
fn tiring() {
    serve(|count| if count % 20 < 19 { "Hello, World!" } else { "Hello" });
}

#[test]
#[ignore = "a server that other tests start"]
fn steady() {
    serve(|_| "Hello, World!");
}

/// With 512 connections it answers some 5,000 requests a second.
#[test]
#[ignore = "a server that other tests start"]
fn slow() {
    serve(|_| {
        // Nobody wakes it.
        std::thread::park_timeout(Duration::from_millis(100));
        "Hello, World!"
    });
}

#[test]
#[ignore = "a server that other tests start"]
fn dying() {
    serve(|count| if count < 5 { "Hello, World!" } else { std::process::exit(7) });
}

#[test]
fn unknown_names_are_refused_in_one_line_that_names_the_known_ones() {
    for (words, wanted) in [
        (["--servers", "flor"], "there is no server \"flor\"; there are floor, colocated, queue,"),
        (["--workloads", "plain"], "there is no workload \"plain\"; there are plaintext-1, plaintext-64,"),
        (["--core", "4095"], "there is no core 4095"),
        (["--extra", "mine=./mine"], "--extra takes NAME=COMMAND with {port} in the command"),
        (["--json", "/no-such-folder/a.json"], "/no-such-folder/a.json cannot be written"),
        (["--seconds", "0.5"], "--seconds 0.5: 0.6 to 3600 are possible"),
        (["--others-max", "nan"], "--others-max NaN: per cent of a core are wanted"),
    ] {
        let (status, stdout, stderr) = run(&words);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(wanted) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn the_list_names_every_server_and_workload() {
    let (status, stdout, _) = run(&["--list"]);
    assert_eq!(status, Some(0));
    for name in
        ["floor", "haproxy", "xitca", "connection-per-request", "limited-4096", "rate-2k-1024", "slow-app", "all"]
    {
        assert!(stdout.split([' ', ',', '\n']).any(|word| word == name), "{name} in {stdout}");
    }
}

#[test]
fn servers_that_fail_are_named_with_the_reason_and_the_others_still_run() {
    let folder = Folder::new("fail");
    let json = folder.path("out.json");
    let (wrong, tiring) = (server("wrong"), server("tiring"));
    let run = |seconds: &str| {
        let mut command = compare(&["--servers", "floor,xitca", "--workloads", "plaintext-64", "--repeat", "1"]);
        command.args(["--seconds", seconds, "--warm-up", "100ms", "--extra", &wrong, "--extra", &tiring]);
        command.args(["--extra", "gone=sh -c 'echo no licence; exit 3' {port}"]);
        command.args(["--extra", "none=no-such-program {port}"]).arg("--json").arg(&json);
        // Where no peer has ever been built.
        command.env("CARGO_TARGET_DIR", folder.path("empty")).output().expect("the program starts")
    };
    // On a busy machine it takes longer until 20 answers came on one connection.
    let is_tired = |output: &Output| String::from_utf8_lossy(&output.stdout).contains("**tiring: ");
    let Output { status, stdout, stderr } = long_enough(["0.6", "3", "12"], run, is_tired);
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(1), "{stderr}");
    for line in [
        "xitca: left out: there is no program ",
        "none: left out: there is no program no-such-program",
        "wrong: left out of plaintext-64: GET /plaintext HTTP/1.1: the body \"Hello, Moon!!\" where \"Hello, World!\"",
        "gone: left out from here on: it ended before it accepted a connection (exit status: 3); it said: no licence",
    ] {
        assert_eq!(stderr.lines().filter(|found| found.contains(line)).count(), 1, "{line} in\n{stderr}");
    }
    assert!(stdout.lines().any(|line| line.starts_with("| floor | ")), "{stdout}");
    for name in ["xitca", "none", "wrong", "gone"] {
        assert!(stdout.contains(&format!("- {name} is missing: ")), "{stdout}");
    }
    // It passed the check and answered wrongly now and then: its figures stand beside the count.
    assert!(stdout.lines().any(|line| line.starts_with("**tiring: ") && line.contains("faults")), "{stdout}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&json).expect("the report is there")).expect("JSON");
    let samples = json["samples"].as_array().expect("a list");
    let faults =
        |server: &str| samples.iter().find(|sample| sample["server"] == server).map(|s| s["faults"]["count"].as_u64());
    assert_eq!(faults("floor"), Some(Some(0)), "{json:#}");
    assert!(faults("tiring").flatten() > Some(0), "{json:#}");
}

#[test]
fn the_rates_refer_to_the_first_server_that_stands_the_load_and_the_others_say_why_not() {
    let folder = Folder::new("rates");
    // The floor is looked for beside the program.
    let (program, floor) = (folder.path("ringress-bench"), folder.path("floor"));
    fs::copy(PROGRAM, &program).expect("a copy");
    fs::write(&floor, "#!/bin/sh\necho no ring; exit 4\n").expect("a file");
    fs::set_permissions(&floor, fs::Permissions::from_mode(0o755)).expect("a program");
    let (dying, steady) = (server("dying"), server("steady"));
    let words = ["--servers", "floor", "--workloads", "rate-10,rate-50", "--repeat", "1", "--seconds", "0.6"];
    let mut command = compare_with(&program, &words);
    command.args(["--warm-up", "100ms", "--extra", &dying, "--extra", &steady]);
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(1), "{stderr}");
    for line in [
        "floor: left out from here on: at the load that the rates refer to: it ended before it accepted a connection \
         (exit status: 4); it said: no ring",
        "dying: left out of the fixed rates: at the load that the rates refer to: it ended under load (exit status: 7)",
    ] {
        assert_eq!(stderr.lines().filter(|found| found.contains(line)).count(), 1, "{line} in\n{stderr}");
    }
    assert!(stdout.contains(" requests/s, what steady answered flat out, for all alike.\n"), "{stdout}");
    let sections: Vec<&str> = stdout.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), 2, "{stdout}");
    for section in sections {
        for line in ["- floor is missing: it ended before ", "- dying is missing: at the load that "] {
            assert!(section.contains(&format!("\n{line}")), "{line} in\n{section}");
        }
        // On a busy machine it may have been slower than a moment before.
        let has = |line: &str| section.contains(&format!("\n{line}"));
        assert!(has("| steady | ") || has("- steady is missing: the rate was not kept, "), "{section}");
    }
}

#[test]
fn a_server_that_does_not_keep_the_rate_has_no_figures_and_is_no_failure() {
    let folder = Folder::new("slow");
    let (json, slow) = (folder.path("out.json"), server("slow"));
    let words = ["--servers", "floor", "--workloads", "rate-40k-512", "--repeat", "1", "--seconds", "0.6"];
    let mut command = compare(&words);
    command.args(["--warm-up", "100ms", "--extra", &slow, "--json"]).arg(&json);
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(0), "{stderr}");
    let told = stdout.lines().find(|line| line.starts_with("- slow is missing: the rate was not kept, "));
    assert!(told.is_some_and(|line| line.contains(" of 40000 requests/s were answered at best, ")), "{stdout}");
    assert!(!stdout.contains("\n| slow | "), "{stdout}");
    // What came of it is kept.
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&json).expect("the report is there")).expect("JSON");
    let mut samples = json["samples"].as_array().expect("a list").iter();
    let sample = samples.find(|sample| sample["server"] == "slow").expect("its sample");
    assert_eq!((&sample["rate"], &sample["faults"]["count"]), (&40_000.0.into(), &0.into()), "{sample:#}");
    assert!(sample["requests_per_second"].as_f64().is_some_and(|rate| rate < 20_000.0), "{sample:#}");
}

#[test]
fn rows_that_need_more_descriptors_than_the_limit_allows_say_what_to_raise() {
    let folder = Folder::new("descriptors");
    let json = folder.path("out.json");
    let script = format!("ulimit -n 1000 && exec '{PROGRAM}' compare --no-build \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", "--servers", "floor", "--workloads", "plaintext-1,pipelined-4096,limited-4096"]);
    command.args(["--repeat", "1", "--seconds", "0.6", "--load-core", &load_core(), "--json"]).arg(&json);
    let Output { status, stdout, stderr } = command.output().expect("a shell starts");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(0), "{stderr}");
    let told = "\n- floor is missing: 4224 open descriptors are needed, the limit is 1000: raise it, ulimit -Hn 4224\n";
    assert_eq!(stdout.matches(told).count(), 2, "{stdout}");
    assert!(stdout.contains("\n| floor | "), "{stdout}");
}

#[test]
fn a_server_that_does_not_start_once_is_tried_on_another_port() {
    let folder = Folder::new("twice");
    // The first time it makes the folder, and ends.
    let (made, ports) = (folder.path("made"), folder.path("ports"));
    let script = format!("echo {{port}} >>{}; mkdir {} && exit 3; exec \"$@\"", ports.display(), made.display());
    let late = format!("late=sh -c '{script}' late {}", server_command("steady"));
    let words = ["--servers", "floor", "--workloads", "plaintext-1", "--repeat", "1", "--seconds", "0.6"];
    let Output { status, stdout, stderr } =
        compare(&words).args(["--extra", &late]).output().expect("the program starts");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("\n| late | "), "{stdout}");
    let ports = fs::read_to_string(ports).expect("it was started");
    let ports: Vec<&str> = ports.lines().collect();
    // On a busy machine the next one, too, may not come up in time.
    assert!(matches!(ports.as_slice(), [first, second, ..] if first != second), "{ports:?}");
}

#[test]
fn one_core_for_both_is_warned_of() {
    let words = ["--servers", "floor", "--workloads", "plaintext-1", "--repeat", "1", "--seconds", "0.6"];
    let (status, _, stderr) = run(&[&words[..], &["--core", "0", "--load-core", "0"]].concat());
    assert_eq!(status, Some(0), "{stderr}");
    let warnings = stderr.lines().filter(|line| line.contains("--core and --load-core are both 0: ")).count();
    assert_eq!(warnings, 1, "{stderr}");
}

/// A comparison under way; killed if a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let stat = |id: &u32| fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let is_child = |id: &u32| {
        let fields = stat(id);
        let parent_field = fields.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        parent_field == Some(&parent.to_string())
    };
    let ids = fs::read_dir("/proc").expect("/proc").flatten();
    ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// The server of a comparison that has just begun its run of that number.
fn server_of_run(running: &mut Running, run: &str) -> u32 {
    let mut lines = BufReader::new(running.0.stderr.take().expect("a pipe")).lines();
    // Each line is at most a run apart, so that this ends.
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains(run))), "{run} does not come");
    let began = Instant::now();
    loop {
        if let [server] = children_of(running.0.id()).as_slice() {
            return *server;
        }
        assert!(began.elapsed() < WAIT_MAX, "no server");
        std::thread::yield_now();
    }
}

/// It has ended; nobody may have asked yet how.
fn is_gone(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn a_comparison_that_is_killed_leaves_no_server_behind() {
    let folder = Folder::new("killed");
    let words = ["--servers", "floor", "--workloads", "plaintext-64", "--seconds", "60"];
    // What it leaves of files, being killed, goes with the test's own folder.
    let mut running = Running(compare(&words).env("TMPDIR", &folder.0).spawn().expect("the program starts"));
    let server = server_of_run(&mut running, "1/5: plaintext-64, floor");
    drop(running);
    let began = Instant::now();
    while !is_gone(server) {
        assert!(began.elapsed() < WAIT_MAX, "the server outlives its comparison");
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupt_ends_the_server_and_prints_what_was_measured() {
    let words = ["--servers", "floor", "--workloads", "plaintext-64", "--repeat", "1000", "--seconds", "0.6"];
    let mut running = Running(compare(&words).spawn().expect("the program starts"));
    // Two runs are done when the third begins.
    let server = server_of_run(&mut running, "3/1000: plaintext-64, floor");
    let interrupt = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status();
    assert!(interrupt.expect("kill starts").success());
    let mut stdout = String::new();
    running.0.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("it writes UTF-8");
    // Its standard error is closed by now, which must not keep it from ending well.
    assert_eq!(running.0.wait().expect("it ends").code(), Some(130));
    assert!(stdout.contains("**Interrupted") && stdout.lines().any(|line| line.starts_with("| floor | ")), "{stdout}");
    assert!(is_gone(server), "the server outlives its comparison");
}
