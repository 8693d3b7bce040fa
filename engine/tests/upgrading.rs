//! A program that is replaced while it serves (`examples/upgrade.rs`), seen by its clients.
//!
//! What counts as a failure: a connection that is refused or reset, a request that was sent whole over a connection
//! that had not said `Connection: close` and that is not answered, an answer to another request, and one that was taken
//! twice (what all processes say that they have answered is what the clients have asked). Nobody here asks twice. Not
//! here: two engines of one process (`hand_over`).

mod common;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::ports::free_port;
use common::program::{Program, built};
use common::{Client, WAIT_MAX, loopback, wait_until};
use ringress::Driver;

const ROUNDS: usize = 10;

/// The process that serves, of those that have replaced one another; the last one goes with this.
struct Serving {
    program: Program,
    pid: i32,
    /// What the others have answered.
    answered: u64,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let program = Program::of(command);
        let pid = program.pid();
        Self { program, pid, answered: 0 }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the call takes two numbers; the process has not said that it ends.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    /// The next line that begins so.
    fn line(&self, begin: &str) -> String {
        loop {
            let line = self.program.lines.recv_timeout(WAIT_MAX).expect("it says so in time");
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    /// Waits until the process has ended that serves now.
    fn await_end(&mut self) {
        let line = self.line("ended");
        assert!(line.starts_with(&format!("ended ({}) after ", self.pid)), "{line}");
        let count = line.split(' ').nth(3).and_then(|count| count.parse::<u64>().ok());
        self.answered += count.unwrap_or_else(|| panic!("{line}"));
    }

    /// Has it replaced.
    fn upgrade(&mut self) {
        self.signal(libc::SIGUSR2);
        let own = self.pid.to_string();
        // One line for each address, those of the process before among them.
        let next = loop {
            let line = self.line("listening on");
            match line.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')) {
                Some(pid) if pid == own => {}
                Some(pid) => break pid.parse().expect("a number"),
                None => panic!("{line}"),
            }
        };
        self.await_end();
        self.pid = next;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // SAFETY: as above. It has ended only where a test has succeeded; then nobody has the number so soon.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }
}

/// Asks until it is told to stop, and checks every answer.
fn ask_on(number: usize, connect: impl Fn() -> Client, keeps: bool, (stop, asked): (&AtomicBool, &AtomicU64)) {
    let mut client = None;
    for count in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut open = client.take().unwrap_or_else(&connect);
        let path = format!("/{number}-{count}");
        asked.fetch_add(1, Ordering::Relaxed);
        let reply = open.ask(&path);
        assert!(reply.status == 200 && reply.text().ends_with(&format!(" for {path}\n")), "{}", reply.text());
        client = (keeps && !reply.closes()).then_some(open);
    }
}

fn command(addresses: &[String], driver: Driver) -> Command {
    let mut command = Command::new(built("upgrade"));
    command.args(addresses);
    if driver == Driver::Epoll {
        command.env("RINGRESS_DRIVER", "epoll");
    }
    command
}

fn swap_under_load(driver: Driver, path: PathBuf) {
    let address = loopback(free_port());
    let mut serving = Serving::start(&mut command(&[address.to_string(), format!("unix:{}", path.display())], driver));
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (path, counts) = (&path, (&stop, &asked));
        for number in 0..4 {
            scope.spawn(move || ask_on(number, || Client::connect(address), number % 2 == 0, counts));
        }
        let over_unix = move || Client::over_unix(UnixStream::connect(path).expect("it is listened on"));
        scope.spawn(move || ask_on(4, over_unix, false, counts));
        let _stop = StopOnDrop(&stop);
        for _ in 0..ROUNDS {
            let before = asked.load(Ordering::Relaxed);
            wait_until("clients ask", || asked.load(Ordering::Relaxed) >= before + 100);
            serving.upgrade();
        }
    });
    assert!(path.exists(), "the socket's file goes from one to the next");
    serving.signal(libc::SIGQUIT);
    serving.await_end();
    assert!(!path.exists(), "and with the last");
    assert_eq!(serving.answered, asked.load(Ordering::Relaxed), "each request once");
}

/// Clients stop also when a test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_program_is_replaced_ten_times_under_load_and_no_request_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    swap_under_load(Driver::Auto, folder.path().join("http.sock"));
}

#[test]
fn so_it_is_over_epoll() {
    let folder = tempfile::tempdir().expect("a folder");
    swap_under_load(Driver::Epoll, folder.path().join("http.sock"));
}

/// Puts a file in the place of another at once, as a deployment does.
fn install(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).expect("it is ours");
    std::fs::rename(&new, to).expect("it is ours");
}

#[test]
fn a_new_program_that_does_not_start_leaves_the_old_one_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server");
    install(&built("upgrade"), &file);
    let address = loopback(free_port());
    let mut command = Command::new(&file);
    let mut serving = Serving::start(command.arg(address.to_string()).current_dir(folder.path()));
    let mut client = Client::connect(address);
    install(Path::new("/bin/false"), &file);
    serving.signal(libc::SIGUSR2);
    for _ in 0..3 {
        assert!(client.ask("/").text().starts_with("Hello from "));
    }
    install(&built("upgrade"), &file);
    let before = serving.pid;
    drop(client);
    serving.upgrade();
    assert!(Client::connect(address).ask("/").text().contains(&format!(" {} ", serving.pid)) && serving.pid != before);
    // Its configuration, meanwhile.
    std::fs::write(folder.path().join("greeting.txt"), "Good morning\n").expect("it is ours");
    serving.signal(libc::SIGHUP);
    wait_until("it has read it", || Client::connect(address).ask("/").text().starts_with("Good morning from "));
    serving.signal(libc::SIGTERM);
    serving.await_end();
}
