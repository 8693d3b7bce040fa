//! The showcase as a child process: built when stale, started on a free port, stopped and judged by its exit.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::client::Client;
use crate::folder::Folder;
use crate::ports::free_port;
use crate::response::Response;

const READY_WAIT_MAX: Duration = Duration::from_secs(20);
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two signals of those that are sent until a server ends.
const SIGNAL_PAUSE: Duration = Duration::from_millis(100);
const LOG_WAIT_MAX: Duration = Duration::from_secs(10);

/// Tries to find a port nobody takes between our probe and the server's bind.
const PORT_TRIES_MAX: u32 = 8;

/// Who drives the ring: see the design's section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Shard threads feed a queue that consumer threads read.
    Queue,
    /// The application thread is the shard thread.
    Colocated,
}

impl Mode {
    /// Both, for tests that loop.
    pub const ALL: [Self; 2] = [Self::Queue, Self::Colocated];

    /// As the command line spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Colocated => "colocated",
        }
    }
}

/// How to start one showcase.
#[derive(Debug, Clone)]
pub struct Setup {
    mode: Mode,
    shards: u32,
    consumers: u32,
    listeners: usize,
    folder: bool,
    /// Options of ulimit, with their values.
    limits: Vec<String>,
    extra: Vec<String>,
}

impl Setup {
    /// Two shards, two consumers, one address: small, and enough for responses to overtake each other.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, shards: 2, consumers: 2, listeners: 1, folder: false, limits: Vec::new(), extra: Vec::new() }
    }

    /// Shards to run.
    #[must_use]
    pub fn shards(self, shards: u32) -> Self {
        Self { shards, ..self }
    }

    /// Consumer threads on the queue; without meaning, and not passed, in co-located mode.
    #[must_use]
    pub fn consumers(self, consumers: u32) -> Self {
        Self { consumers, ..self }
    }

    /// Loopback addresses to listen on, each with its own port.
    #[must_use]
    pub fn listeners(self, listeners: usize) -> Self {
        Self { listeners, ..self }
    }

    /// A further argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.extra.push(arg.to_owned());
        self
    }

    /// A timer or limit, by the name of its property.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.arg("--set").arg(&format!("{name}={value}"))
    }

    /// A folder of its own to serve files from: [`Server::folder`].
    #[must_use]
    pub fn with_folder(self) -> Self {
        Self { folder: true, ..self }
    }

    /// The most descriptors that the process may have open: its soft and its hard limit.
    #[must_use]
    pub fn descriptors_max(self, descriptors: u32) -> Self {
        self.limit(format!("-n {descriptors}"))
    }

    /// The most memory that the process may have addresses of.
    #[must_use]
    pub fn address_space_kib_max(self, kib: u32) -> Self {
        self.limit(format!("-v {kib}"))
    }

    fn limit(mut self, limit: String) -> Self {
        self.limits.push(limit);
        self
    }

    fn args(&self, addresses: &[SocketAddr], folder: Option<&Folder>) -> Vec<String> {
        let mut args: Vec<String> = addresses.iter().flat_map(|at| ["--listen".to_owned(), at.to_string()]).collect();
        args.extend(["--mode".to_owned(), self.mode.as_str().to_owned()]);
        args.extend(["--shards".to_owned(), self.shards.to_string()]);
        if self.mode == Mode::Queue {
            args.extend(["--consumers".to_owned(), self.consumers.to_string()]);
        }
        if let Some(folder) = folder {
            args.extend(["--root".to_owned(), folder.root().display().to_string()]);
        }
        args.extend_from_slice(&self.extra);
        args
    }
}

/// A showcase that serves. Killed when dropped; [`Server::finish`] asks it to stop and judges how it did.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addresses: Vec<SocketAddr>,
    stdout: Option<JoinHandle<()>>,
    stderr: Arc<Log>,
    stderr_reader: Option<JoinHandle<()>>,
    folder: Option<Folder>,
    descriptors_when_ready: usize,
}

/// What a child has written so far.
#[derive(Debug, Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

impl Log {
    fn read(&self, from: impl Read) {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
            self.grown.notify_all();
        }
    }

    fn wait_for(&self, wanted: impl Fn(&str) -> bool, most: Duration) -> Result<String, String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grown.wait_timeout_while(text, most, |text| !wanted(text));
        let (text, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(text.clone()) } else { Ok(text.clone()) }
    }
}

/// Why a start came to nothing.
struct Refused {
    status: ExitStatus,
    stderr: String,
}

impl Server {
    /// Starts a showcase and waits until it says it serves every address.
    ///
    /// # Panics
    /// When it does not get there in time.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        for _ in 0..PORT_TRIES_MAX {
            match Self::try_start(setup, (0..setup.listeners).map(|_| free_address()).collect()) {
                Ok(server) => return server,
                Err(refused) if refused.stderr.to_lowercase().contains("in use") => {}
                Err(Refused { status, stderr }) => panic!("{setup:?} did not start: {status}: {stderr}"),
            }
        }
        panic!("{setup:?}: {PORT_TRIES_MAX} ports in a row were taken");
    }

    /// As [`Self::start`], on one given address.
    ///
    /// # Panics
    /// When it does not get there in time, or the address is taken.
    #[must_use]
    pub fn start_on(setup: &Setup, address: SocketAddr) -> Self {
        let refusal = |Refused { status, stderr }| panic!("{setup:?} on {address} did not start: {status}: {stderr}");
        Self::try_start(setup, vec![address]).unwrap_or_else(refusal)
    }

    fn try_start(setup: &Setup, addresses: Vec<SocketAddr>) -> Result<Self, Refused> {
        let folder = setup.folder.then(Folder::new);
        let args = setup.args(&addresses, folder.as_ref());
        let mut child = if setup.limits.is_empty() { spawn(&args) } else { spawn_limited(&setup.limits, &args) };
        let errors = child.stderr.take().expect("stderr is piped");
        let stderr = Arc::new(Log::default());
        let of_reader = Arc::clone(&stderr);
        let stderr_reader = Some(thread::spawn(move || of_reader.read(errors)));
        let (lines, stdout) = read_lines(&mut child);
        let stdout = Some(stdout);
        let mut server = Self { child, addresses, stdout, stderr, stderr_reader, folder, descriptors_when_ready: 0 };
        if server.wait_until_ready(&lines) {
            server.descriptors_when_ready = server.descriptors();
            return Ok(server);
        }
        let status = server.child.wait().expect("a child can be waited for");
        Err(Refused { status, stderr: server.take_stderr() })
    }

    /// True once every address was named on standard output, false when the output ended before.
    fn wait_until_ready(&self, lines: &Receiver<String>) -> bool {
        let deadline = Instant::now() + READY_WAIT_MAX;
        let mut waiting: HashSet<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        while !waiting.is_empty() {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => waiting.retain(|address| !line.contains(address.as_str())),
                Err(mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("no ready line for {waiting:?} in {READY_WAIT_MAX:?}"),
            }
        }
        true
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses, in the order of the command line.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The folder that files are served from.
    ///
    /// # Panics
    /// When the setup has none.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("Setup::with_folder gives one")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn descriptors_when_ready(&self) -> usize {
        self.descriptors_when_ready
    }

    /// Waits until standard error says what is wanted; all that it has said.
    ///
    /// # Panics
    /// When it has not within ten seconds.
    #[track_caller]
    pub fn wait_for_stderr(&self, wanted: impl Fn(&str) -> bool) -> String {
        let said = self.stderr.wait_for(wanted, LOG_WAIT_MAX);
        said.unwrap_or_else(|text| panic!("standard error never said what was wanted, only:\n{text}"))
    }

    /// A new connection to the first address.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// A request with a right Host: `line` is the request line, `fields` whole lines without their ends.
    #[must_use]
    pub fn request(&self, line: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
        let mut head = format!("{line}\r\nHost: {}\r\n", self.address());
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        [head.as_bytes(), body.as_ref()].concat()
    }

    /// A plain GET.
    #[must_use]
    pub fn get(&self, target: &str) -> Vec<u8> {
        self.request(&format!("GET {target} HTTP/1.1"), &[], "")
    }

    /// A POST with Content-Length.
    #[must_use]
    pub fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let length = format!("Content-Length: {}", body.as_ref().len());
        self.request(&format!("POST {target} HTTP/1.1"), &[&length], body)
    }

    /// The response to a plain GET on a connection of its own.
    #[must_use]
    pub fn answer(&self, target: &str) -> Response {
        self.connect().exchange(self.get(target))
    }

    /// Checks that a new connection is served: after whatever was done to the others.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_healthy(&self) {
        let answer = self.answer("/pipeline");
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }

    /// Checks that clients, which are all gone, have left nothing behind, and stops with SIGTERM: exit status 0 within
    /// five seconds, and no thread panicked on the way.
    ///
    /// # Panics
    /// When anything is left, or it stops any other way.
    #[track_caller]
    pub fn finish(self) {
        self.assert_at_rest();
        self.finish_by(Signal::TERM);
    }

    /// Stops as [`Self::finish`], by any signal, with clients in any state.
    ///
    /// # Panics
    /// As [`Self::finish`].
    pub fn finish_by(mut self, signal: Signal) {
        self.signal(signal);
        let status = wait_within(&mut self.child, STOP_WAIT_MAX);
        let stderr = if status.is_some() { self.take_stderr() } else { String::new() };
        let status = status.unwrap_or_else(|| panic!("still running {STOP_WAIT_MAX:?} after {signal:?}"));
        assert!(status.success(), "stopped by {signal:?} with {status}: {stderr}");
        assert!(!stderr.contains("panicked"), "a thread panicked: {stderr}");
    }

    /// Sends a signal, and does not wait for what comes of it.
    ///
    /// # Panics
    /// When the server has been waited for.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a running child can be signalled");
    }

    /// Sends a signal until the server has ended, a few times a second.
    ///
    /// # Panics
    /// When it is still running after five seconds.
    #[track_caller]
    pub fn end_by_signals(mut self, signal: Signal) -> ExitStatus {
        let deadline = Instant::now() + STOP_WAIT_MAX;
        while Instant::now() < deadline {
            self.signal(signal);
            if let Some(status) = wait_within(&mut self.child, SIGNAL_PAUSE) {
                return status;
            }
        }
        panic!("still running {STOP_WAIT_MAX:?} after {signal:?}")
    }

    /// Standard error of a child that has ended.
    fn take_stderr(&mut self) -> String {
        if let Some(reader) = self.stderr_reader.take() {
            let _ = reader.join();
        }
        self.stderr.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail harmlessly when the child has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(stdout) = self.stdout.take() {
            let _ = stdout.join();
        }
        let stderr = self.take_stderr();
        if thread::panicking() && !stderr.is_empty() {
            eprintln!("the showcase wrote:\n{stderr}");
        }
    }
}

/// Runs a test on a fresh server and stops it: what [`both_modes!`](crate::both_modes) expands to.
///
/// # Panics
/// When the test fails or the server does not stop cleanly.
pub fn with_server(setup: Setup, test: fn(&Server)) {
    let server = Server::start(&setup);
    test(&server);
    server.finish();
}

/// What a finished run left behind.
#[derive(Debug)]
pub struct Output {
    /// Exit status, `None` if a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the showcase to its end, for command lines that do not serve.
///
/// # Panics
/// When it is still running after five seconds.
#[must_use]
pub fn run_showcase(args: &[&str]) -> Output {
    let mut child = spawn(args);
    if wait_within(&mut child, STOP_WAIT_MAX).is_none() {
        let _ = child.kill();
        let _ = child.wait();
        panic!("showcase {args:?} runs on instead of refusing");
    }
    let output = child.wait_with_output().expect("pipes of an ended child can be read");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits for a child to end; `None` if it has not within `limit`.
///
/// # Panics
/// When the kernel has no pidfd (Linux 5.3).
pub fn wait_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child has a pidfd");
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("seconds fit a timespec");
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("an ended child can be waited for")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("cannot wait for a child: {error}"),
        }
    }
}

fn spawn(args: &[impl AsRef<std::ffi::OsStr>]) -> Child {
    start(Command::new(showcase_path()).args(args))
}

/// As [`spawn`], by a shell that limits itself and becomes the showcase.
fn spawn_limited(limits: &[String], args: &[String]) -> Child {
    let mut limited: String = limits.iter().map(|limit| format!("ulimit {limit} && ")).collect();
    limited.push_str(r#"exec "$0" "$@""#);
    start(Command::new("sh").arg("-c").arg(limited).arg(showcase_path()).args(args))
}

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", showcase_path().display()))
}

/// Passes on the lines of standard output; the channel closes with the output.
fn read_lines(child: &mut Child) -> (Receiver<String>, JoinHandle<()>) {
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // Nobody listens any more once the server is ready; the pipe must still be emptied.
            let _ = sender.send(line);
        }
    });
    (lines, reader)
}

/// A loopback address nobody listens on, never the same one twice in a process.
fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// The showcase binary: `RINGRESS_SHOWCASE`, or the one beside the tests, built first if missing or stale.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn showcase_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("RINGRESS_SHOWCASE") {
        Some(path) => PathBuf::from(path),
        None => built_showcase(),
    })
}

fn built_showcase() -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its own path");
    let profile = tests.ancestors().nth(2).expect("tests live in <target>/<profile>/deps");
    let binary = profile.join("examples").join("showcase");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lives in the workspace");
    let built = fs::metadata(&binary).and_then(|file| file.modified()).ok();
    let sources = [root.join("engine"), root.join("proto"), root.join("Cargo.toml")];
    let newest = sources.iter().map(|source| newest_change(source)).max();
    if built < newest {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).args(["build", "--quiet", "-p", "ringress", "--example", "showcase", "--target-dir"]);
        cargo.arg(profile.parent().expect("the profile lives in the target directory"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the showcase does not build");
    }
    binary
}

/// Time of the latest change to a file, or to any file below a folder.
fn newest_change(path: &Path) -> SystemTime {
    let own = fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let Ok(entries) = fs::read_dir(path) else { return own };
    entries.flatten().map(|entry| newest_change(&entry.path())).max().map_or(own, |newest| newest.max(own))
}
