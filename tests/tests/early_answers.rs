//! Answers given before a large upload has come: clients that send all of it before they read get them whole.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringress_tests::{Folder, Mode, Server, Setup, both_modes, pause, wait_within};

both_modes![
    python_reads_the_404_behind_its_upload,
    pythons_urllib_reads_the_404_behind_its_upload,
    node_reads_the_404_behind_its_upload,
    nodes_fetch_reads_the_404_behind_its_upload,
    perl_reads_the_404_behind_its_upload,
    curl_reads_the_404_behind_its_upload,
    wget_reads_the_404_behind_its_upload,
    a_slow_upload_behind_a_last_answer_is_taken_to_its_end,
    an_upload_in_chunks_behind_its_answer_is_taken_to_its_end,
    a_client_that_pauses_behind_its_answer_is_reset,
];

/// How often each client uploads: what it depends on is a race.
const ROUNDS: usize = 50;
const UPLOAD: usize = 20_000_000;
const ROUNDS_WAIT_MAX: Duration = Duration::from_secs(120);

/// Runs a program that uploads [`UPLOAD`] bytes [`ROUNDS`] times and prints the status and the body of each response.
/// Says so, visibly, where it is not installed.
#[track_caller]
fn assert_answered(server: &Server, program: &str, args: &[&str]) {
    let expected = server.connect().exchange(server.post("/nowhere", ""));
    let url = format!("http://{}/nowhere", server.address());
    let mut command = Command::new(program);
    command.args(args).args([&url, &UPLOAD.to_string(), &ROUNDS.to_string()]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = Folder::new();
    let (printed, faults) = (output.root().join("printed"), output.root().join("faults"));
    let file = |path| Stdio::from(std::fs::File::create(path).expect("a folder of our own"));
    command.stdin(Stdio::null()).stdout(file(&printed)).stderr(file(&faults));
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return eprintln!("skipped: {program} cannot be run ({error})"),
    };
    let ended = wait_within(&mut child, ROUNDS_WAIT_MAX);
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let read = |path| std::fs::read_to_string(path).expect("it was created");
    let (printed, faults) = (read(&printed), read(&faults));
    if faults.contains("skipped:") {
        return eprintln!("{faults}");
    }
    let one = format!("404 {}", expected.text());
    let answered = printed.matches(&one).count();
    assert_eq!((answered, ended.is_some()), (ROUNDS, true), "{program}: {printed} {faults}");
}

fn python_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
import http.client, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
for _ in range(int(sys.argv[3])):
    client = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
    client.request('POST', url.path, body=bytes(int(sys.argv[2])))
    answer = client.getresponse()
    print(answer.status, answer.read().decode())
    client.close()
";
    assert_answered(server, "python3", &["-c", script]);
}

fn pythons_urllib_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
import sys, urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(int(sys.argv[3])):
    try:
        opener.open(urllib.request.Request(sys.argv[1], data=bytes(int(sys.argv[2]))), timeout=20)
    except urllib.error.HTTPError as answer:
        print(answer.code, answer.read().decode())
";
    assert_answered(server, "python3", &["-c", script]);
}

fn node_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
const http = require('http');
const [url, length, rounds] = process.argv.slice(1);
const body = Buffer.alloc(Number(length));
function once(left) {
    if (left === 0) return;
    const request = http.request(url, { method: 'POST', agent: false, headers: { 'Content-Length': body.length } });
    request.on('response', (answer) => {
        let text = '';
        answer.on('data', (piece) => { text += piece; });
        answer.on('end', () => { console.log(answer.statusCode + ' ' + text); });
    });
    request.on('error', (error) => { console.error(error); });
    request.on('close', () => once(left - 1));
    request.end(body);
}
once(Number(rounds));
";
    assert_answered(server, "node", &["-e", script, "--"]);
}

fn nodes_fetch_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
const [url, length, rounds] = process.argv.slice(1);
const body = Buffer.alloc(Number(length));
(async () => {
    if (typeof fetch !== 'function') return console.error('skipped: this node has no fetch');
    for (let left = Number(rounds); left > 0; left--) {
        const answer = await fetch(url, { method: 'POST', body });
        console.log(answer.status + ' ' + await answer.text());
    }
})().catch((error) => { console.error(error, error.cause); process.exit(1); });
";
    assert_answered(server, "node", &["-e", script, "--"]);
}

fn perl_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
my ($url, $length, $rounds) = @ARGV;
if (!eval { require HTTP::Tiny }) { print STDERR 'skipped: this perl has no HTTP::Tiny'; exit; }
my $body = 'x' x $length;
for (1 .. $rounds) {
    my $answer = HTTP::Tiny->new(timeout => 20)->post($url, { content => $body });
    print $answer->{status}, ' ', $answer->{content}, qq(\\n);
}
";
    assert_answered(server, "perl", &["-e", script]);
}

fn curl_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
command -v curl > /dev/null || { echo 'skipped: curl is not installed' >&2; exit; }
body=$(mktemp); head -c $2 /dev/zero > $body
for round in $(seq $3); do
    # Without Expect, which curl would wait for.
    answer=$(curl -s -S --noproxy '*' -m 20 -H Expect: --data-binary @$body -w ' %{http_code}' $1)
    echo \"404 $answer\" | grep -v ' 000$' | sed 's/ 404$//'
    case \"$answer\" in *404) ;; *) echo \"$answer\" >&2;; esac
done
rm $body
";
    assert_answered(server, "sh", &["-c", script, "sh"]);
}

fn wget_reads_the_404_behind_its_upload(server: &Server) {
    let script = "
command -v wget > /dev/null || { echo 'skipped: wget is not installed' >&2; exit; }
body=$(mktemp); head -c $2 /dev/zero > $body
for round in $(seq $3); do
    answer=$(wget --no-proxy -q -t 1 -T 20 --content-on-error --post-file=$body -O - $1)
    # 8: the server said so.
    test $? = 8 && echo \"404 $answer\"
done
rm $body
";
    assert_answered(server, "sh", &["-c", script, "sh"]);
}

/// As over a slow link: it takes longer than the five seconds for which a client may pause.
fn a_slow_upload_behind_a_last_answer_is_taken_to_its_end(server: &Server) {
    let mut client = server.connect();
    client.send(server.request("POST /nowhere HTTP/1.1", &["Connection: close", "Content-Length: 900000"], ""));
    let started = Instant::now();
    for _ in 0..90 {
        client.send([b'x'; 10_000]);
        pause(Duration::from_millis(80));
    }
    assert!(started.elapsed() > Duration::from_secs(6));
    client.finish_sending();
    let answer = client.response();
    assert_eq!((answer.status, answer.closes()), (404, true));
    client.expect_eof();
}

fn an_upload_in_chunks_behind_its_answer_is_taken_to_its_end(server: &Server) {
    let mut client = server.connect();
    client.send(server.request("POST /nowhere HTTP/1.1", &["Transfer-Encoding: chunked"], ""));
    for _ in 0..200 {
        client.send(b"186a0\r\n");
        client.send(vec![b'x'; 100_000]);
        client.send(b"\r\n");
    }
    client.send("0\r\n\r\n");
    client.finish_sending();
    assert_eq!(client.response().status, 404);
    client.expect_eof();
}

fn a_client_that_pauses_behind_its_answer_is_reset(server: &Server) {
    let mut client = server.connect();
    client.send(server.request("POST /nowhere HTTP/1.1", &["Connection: close", "Content-Length: 900000"], "some"));
    assert_eq!(client.response().status, 404);
    client.expect_eof();
    server.wait_for_gauges("the end of a client that says nothing", |gauges| gauges.of("connections_open") == 1);
    assert_eq!(server.gauges().of("timeouts"), 1);
}

#[test]
fn a_body_that_is_too_large_is_taken_to_its_end_all_the_same() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode).set("request_body_max", "65536"));
        for (framing, piece) in [
            ("Content-Length: 8000000", vec![b'x'; 100_000]),
            ("Transfer-Encoding: chunked", [&b"186a0\r\n"[..], &[b'x'; 100_000], b"\r\n"].concat()),
        ] {
            let mut client = server.connect().about(framing);
            client.send(server.request("POST /upload HTTP/1.1", &[framing], ""));
            (0..80).for_each(|_| client.send(&piece));
            client.finish_sending();
            assert_eq!(client.response().status, 413, "{framing}");
            client.expect_eof();
        }
        server.finish();
    }
}
