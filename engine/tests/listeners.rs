//! What an engine listens on, and how: options of TCP addresses, Unix sockets, and sockets that were handed over, by
//! this program and by a service manager.
//!
//! Service managers and other processes are real ones: children that run this program again. Not here: addresses
//! without options, and what is taken (`groups`, `control_plane`).

mod common;
#[path = "listeners/handed_over.rs"]
mod handed_over;
#[path = "listeners/tcp.rs"]
mod tcp;
#[path = "listeners/unix.rs"]
mod unix;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use common::{WAIT_MAX, add, builder, by_two_shards};
use ringress::{Engine, ErrorKind, Mode, Request, UrlGroup};

const MODES: [Mode; 2] = [Mode::Queue, Mode::Colocated];
/// What a child is to do.
const CHILD: &str = "RINGRESS_TEST_CHILD";

/// As [`by_two_shards`], with what is usual.
fn serving<R>(mode: Mode, answer: fn(&Request) -> String, client: impl FnOnce(&Engine, &UrlGroup) -> R) -> R {
    by_two_shards((builder(), mode), answer, client)
}

fn served(_: &Request) -> String {
    "served".to_owned()
}

#[track_caller]
fn assert_error<T>(result: ringress::Result<T>, kind: ErrorKind, says: &[&str]) {
    let error = result.map(drop).expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    says.iter().for_each(|words| assert!(error.to_string().contains(words), "{words:?} in {error}"));
}

/// This program again, which does one thing: see `a_child`.
fn child_of(command: &mut Command, does: &str) {
    command.args(["--exact", "a_child", "--ignored", "--nocapture"]).env(CHILD, does);
}

fn child(does: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own path"));
    child_of(&mut command, does);
    command
}

/// A child that runs, and what it says line by line, on its standard error.
struct Running {
    child: Child,
    said: mpsc::Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (say, said) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(say.send(line))));
        Self { child, said }
    }

    /// What it says next to this.
    #[track_caller]
    fn says(&self, subject: &str) -> String {
        loop {
            let line = self.said.recv_timeout(WAIT_MAX).expect("it says so in time");
            // With one thread for tests, their names are said without an end of the line.
            let line = line.strip_prefix("test a_child ... ").unwrap_or(&line);
            if let Some(said) = line.strip_prefix(subject).and_then(|rest| rest.strip_prefix(": ")) {
                return said.to_owned();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "what other tests run in a process of its own"]
fn a_child() {
    match std::env::var(CHILD).as_deref() {
        Ok("shares") => tcp::share_as_child(),
        Ok("listens on a file") => unix::listen_on_file(),
        Ok("is activated") => handed_over::be_activated(),
        Ok(other) => panic!("{other} is nothing that a child does"),
        Err(_) => {}
    }
}
