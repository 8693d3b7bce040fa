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

use common::{StopOnDrop, WAIT_MAX, Watched, await_rest, builder};
use ringress::{Engine, ErrorKind, Mode, Request, Response, UrlGroup};

const MODES: [Mode; 2] = [Mode::Queue, Mode::Colocated];
/// What a child is to do.
const CHILD: &str = "RINGRESS_TEST_CHILD";

/// Runs an engine of two shards whose consumers answer each request with what `answer` says, and a client against it,
/// after which everything must come back. The group takes all requests of this port once the client says so.
fn serving<R>(mode: Mode, answer: fn(&Request) -> String, client: impl FnOnce(&Engine, &UrlGroup) -> R) -> R {
    let engine = Watched::start(builder().shards(2), mode);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    thread::scope(|scope| {
        let stop = StopOnDrop(&engine);
        let (attached, is_attached) = mpsc::channel();
        for index in 0..2 {
            let (engine, queue, attached) = (&engine, &queue, attached.clone());
            scope.spawn(move || {
                let _shard = (mode == Mode::Colocated).then(|| engine.attach(index).expect("the shard is free"));
                attached.send(()).expect("the test waits");
                while let Ok(request) = queue.receive() {
                    let said = answer(&request);
                    request.respond(Response::text(&said)).expect("open");
                }
            });
        }
        (0..2).for_each(|_| is_attached.recv_timeout(WAIT_MAX).expect("it begins"));
        let result = client(&engine, &group);
        await_rest(&engine);
        drop(stop);
        result
    })
}

/// Everything on a port goes to the group.
fn add(group: &UrlGroup, port: u16) {
    group.add_url(&format!("http://*:{port}/"), 0).expect("the URL is free");
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
