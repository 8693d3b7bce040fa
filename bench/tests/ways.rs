//! Every way of `ways` sends the bytes of the file, again and again; and the measuring prints a row for each size. No
//! figure is asserted: a machine that runs tests is no place to measure.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(20);
const SIZES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];

/// The way, and the pieces it is tried with; none is its own choice.
const WAYS: [(&str, &[Option<u32>]); 11] = [
    ("read-send", &[None, Some(1000)]),
    ("read-linked", &[None, Some(1000)]),
    ("read-async", &[None]),
    ("splice", &[None, Some(1 << 20)]),
    ("sendfile", &[None]),
    ("sendfile-inline", &[None]),
    ("mapped", &[None, Some(100_000)]),
    ("memory", &[None, Some(1000)]),
    ("copy", &[None]),
    ("send-zc", &[None]),
    ("send-zc-fixed", &[None]),
];

struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// None where there is no ring to be had; anything else that keeps it from starting is a failure.
    fn start(way: &str, piece: Option<u32>, file: &Path) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ways"));
        command.args(["serve", way]).arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(piece) = piece {
            command.args(["--piece", &piece.to_string()]);
        }
        let mut process = command.spawn().expect("the program starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it is read");
        let mut server = Self { process, address: String::new() };
        if let Some(address) = line.trim_end().strip_prefix("ways listening on ") {
            server.address = address.to_owned();
            return Some(server);
        }
        let mut reason = String::new();
        let errors = server.process.stderr.as_mut().expect("it is piped");
        errors.read_to_string(&mut reason).expect("it is read");
        assert!(reason.starts_with("ways: io_uring:"), "{way} does not start: {reason}");
        eprintln!("skipped: {reason}");
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Body(PathBuf);

impl Drop for Body {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Asks once, and compares head and body; the answer has to end where it says.
fn ask(stream: &mut TcpStream, expected: &[u8]) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is taken");
    let mut reader = BufReader::new(&mut *stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("a head in time"), 0, "it ended in the head: {head:?}");
    }
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", expected.len())), "{head}");
    let mut body = vec![0; expected.len()];
    reader.read_exact(&mut body).expect("a body in time");
    let differs = body.iter().zip(expected).position(|(found, wanted)| found != wanted);
    assert_eq!(differs, None, "the first byte that is another");
    assert_eq!(reader.buffer(), b"", "bytes behind the answer");
}

fn check(way: &str, piece: Option<u32>, size: usize) {
    let path = std::env::temp_dir().join(format!("ways-{way}-{size}-{piece:?}-{}", std::process::id()));
    // No period that divides a piece: a piece sent twice or left out shows.
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).expect("below 256")).collect();
    fs::write(&path, &bytes).expect("it is written");
    let body = Body(path);
    let Some(server) = Server::start(way, piece, &body.0) else { return };
    let mut streams: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(&server.address).expect("it listens")).collect();
    for stream in &mut streams {
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a time-out");
        ask(stream, &bytes);
        ask(stream, &bytes);
    }
    // One that goes away without reading must not harm the others, nor those that get its descriptor.
    let mut gone = streams.swap_remove(1);
    gone.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is taken");
    drop(gone);
    for _ in 0..3 {
        let mut next = TcpStream::connect(&server.address).expect("it listens");
        next.set_read_timeout(Some(WAIT_MAX)).expect("a time-out");
        ask(&mut next, &bytes);
    }
    streams.iter_mut().for_each(|stream| ask(stream, &bytes));
}

#[test]
fn every_way_sends_the_file_whole_and_again() {
    for (way, pieces) in WAYS {
        for size in SIZES {
            for piece in pieces {
                eprintln!("{way}, pieces of {piece:?}, {size} bytes");
                check(way, *piece, size);
            }
        }
    }
}

#[test]
fn measuring_prints_a_row_for_each_size_and_leaves_nothing_behind() {
    let folder = std::env::temp_dir().join(format!("ways-measure-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let words = "measure --cases memory,read-send:1000 --bytes 100,2000 --repeat 1 --seconds 0.1 --load-core 0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_ways"));
    command.args(words.split(' ')).arg("--directory").arg(&folder);
    let output = command.output().expect("the program starts");
    // Removing fails if a file is left.
    fs::remove_dir(&folder).expect("the folder is empty");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if stderr.contains("io_uring:") {
        eprintln!("skipped: {stderr}");
        return;
    }
    assert!(output.status.success(), "{stderr}");
    for size in ["| bytes | memory | read-send:1000 |", "| 100 | ", "| 2000 | "] {
        assert_eq!(stdout.lines().filter(|line| line.starts_with(size)).count(), 1, "{size} in {stdout}");
    }
}
