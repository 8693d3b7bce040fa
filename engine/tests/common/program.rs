//! Programs: examples, built when they are missing or stale, and others; started, and ended by signals.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use super::{WAIT_MAX, wait_until};

/// Time of the latest change to a file, or to any file below a folder.
fn newest_change(path: &Path) -> SystemTime {
    let own = path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    entries.flatten().map(|entry| newest_change(&entry.path())).max().map_or(own, |newest| newest.max(own))
}

/// The example's binary beside the tests, built first if it is missing or older than what it is made of.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests live in <target>/<profile>/deps");
    let binary = profile.join("examples").join(name);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "examples", "Cargo.toml", "../proto/src", "../Cargo.toml"];
    let newest = sources.iter().map(|source| newest_change(&package.join(source))).max();
    if binary.metadata().and_then(|file| file.modified()).ok() < newest {
        let mut cargo = Command::new(env!("CARGO"));
        let adapters = if cfg!(feature = "axum") { "axum" } else { "tower" };
        let features = if cfg!(feature = "admin") { format!("{adapters},admin") } else { adapters.to_owned() };
        cargo.current_dir(package).args(["build", "--locked", "--quiet", "--features", &features, "--example", name]);
        cargo.args(profile.ends_with("release").then_some("--release"));
        cargo.arg("--target-dir").arg(profile.parent().expect("a profile is in the target directory"));
        assert!(cargo.status().expect("cargo runs").success(), "{name} cannot be built");
    }
    binary
}

/// Where a program is to listen: on a free port.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// A running program, killed when dropped.
pub(crate) struct Program {
    child: Child,
    /// Where its first line says that it listens; port 0, where that is no TCP address.
    pub(crate) address: SocketAddr,
    /// What it says behind its first line.
    pub(crate) lines: mpsc::Receiver<String>,
}

impl Program {
    /// Starts one with these arguments, and waits until it says where it listens.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(built(name));
        Self::of(command.args(arguments))
    }

    /// The same of any command.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::of_any(command, |line| {
            let address = line.strip_prefix("listening on ").and_then(|rest| rest.split_once("://"));
            let address = address.and_then(|(_, rest)| rest.split('/').next());
            let address = address.unwrap_or_else(|| panic!("not an address: {line}"));
            address.parse().expect("an address")
        })
    }

    /// The same of one that says first that it listens there, which is no TCP address.
    pub(crate) fn of_line(command: &mut Command, endpoint: &str) -> Self {
        Self::of_any(command, |line| {
            assert_eq!(line, format!("listening on {endpoint}"));
            (Ipv4Addr::UNSPECIFIED, 0).into()
        })
    }

    fn of_any(command: &mut Command, address: impl FnOnce(&str) -> SocketAddr) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (said, lines_said) = mpsc::channel();
        // All of them are read: it may say more while it serves.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let line = lines_said.recv_timeout(WAIT_MAX).expect("it says where it listens");
        Self { child, address: address(&line), lines: lines_said }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: the call takes two numbers; the child has not been waited for, so that the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Waits until it has ended well.
    pub(crate) fn end(mut self) {
        wait_until("the program ends", || self.child.try_wait().expect("a child").is_some());
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
