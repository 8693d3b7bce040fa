//! One server process: started, pinned, waited for, ended.
//!
//! Invariants:
//! - all threads of a server, and all processes it starts, are on one core;
//! - it ends with us: asked to, dropped, in a panic, and told to by the kernel if we are killed;
//! - what it says goes to a file, and is shown if it fails.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::system;
use crate::ring::host::Core;

const READY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Between two attempts with a server that is starting.
const READY_PAUSE: Duration = Duration::from_millis(10);
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(1);
/// From asking a process to end to killing it.
const END_WAIT_MAX: Duration = Duration::from_secs(3);
/// Of what a failed server said, so many bytes at the end are shown.
const SAID_BYTES_MAX: u64 = 600;
/// Names of temporary directories that are tried.
const NAMES_MAX: u32 = 10_000;

/// A directory that is removed with all in it when dropped.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// A new one, below the directory for temporary files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::below(&std::env::temp_dir(), &COUNT)
    }

    fn below(parent: &Path, count: &AtomicU32) -> io::Result<Self> {
        let mut result = Err(io::ErrorKind::AlreadyExists.into());
        for _ in 0..NAMES_MAX {
            let count = count.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("ringress-bench-{}-{count}", std::process::id()));
            // Not one that exists: somebody else's, a link to elsewhere, or left by a process that had our number.
            result = fs::create_dir(&path).map(|()| Self(path));
            if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
                break;
            }
        }
        result
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of a temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that accepts connections. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// How it ended; its number may be somebody else's from then on.
    status: Option<ExitStatus>,
    /// Readable once the child has ended.
    ended: OwnedFd,
    said: File,
    target: SocketAddr,
    _directory: Directory,
}

/// A port that was free a moment ago.
///
/// # Errors
/// If there is none.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Process {
    /// Starts `command` on `core` and waits until it accepts on `port` of 127.0.0.1.
    ///
    /// # Errors
    /// One line, with what the process said: it does not start, ends, or does not accept in time; or we are
    /// interrupted.
    pub(super) fn start(command: &[OsString], core: usize, port: u16, directory: Directory) -> Result<Self, String> {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let pinned = Core::new(core).map_err(|error| format!("core {core}: {error}"))?;
        let files = || {
            let said = File::options().create_new(true).read(true).append(true).open(directory.path().join("said"))?;
            Ok::<_, io::Error>((said.try_clone()?, said.try_clone()?, said))
        };
        let (stdout, stderr, said) = files().map_err(|error| format!("its log cannot be written: {error}"))?;
        let parent = std::process::id();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        let before_exec = move || {
            system::end_with_parent(parent)?;
            pinned.pin()
        };
        // SAFETY: what runs between fork and exec makes three system calls and allocates nothing.
        unsafe { command.pre_exec(before_exec) };
        let child = command
            .spawn()
            .map_err(|error| format!("it cannot be started on core {core}: {}: {error}", program.to_string_lossy()))?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut process = match system::process_descriptor(child.id()) {
            Ok(ended) => Self { child, status: None, ended, said, target, _directory: directory },
            Err(error) => {
                kill(child);
                return Err(format!("no process descriptor: {error}"));
            }
        };
        process.wait_until_it_accepts()?;
        Ok(process)
    }

    fn wait_until_it_accepts(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while TcpStream::connect_timeout(&self.target, CONNECT_WAIT_MAX).is_err() {
            if system::wait_readable(self.ended.as_fd(), READY_PAUSE) {
                return Err(self.obituary("it ended before it accepted a connection"));
            }
            if system::interrupted().is_some() {
                return Err("interrupted".to_owned());
            }
            if began.elapsed() > READY_WAIT_MAX {
                let (limit, target, said) = (READY_WAIT_MAX.as_secs(), self.target, self.said());
                return Err(format!("it does not accept on {target} within {limit} s; {said}"));
            }
        }
        // Somebody else may listen on that port.
        self.must_live("it ended when it should have accepted")
    }

    /// Waits a moment, less if it ends.
    pub(super) fn pause(&self) {
        system::wait_readable(self.ended.as_fd(), READY_PAUSE);
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn target(&self) -> SocketAddr {
        self.target
    }

    /// # Errors
    /// One line that begins with `otherwise`, with what the process said, if it has ended.
    pub(super) fn must_live(&mut self, otherwise: &str) -> Result<(), String> {
        if system::wait_readable(self.ended.as_fd(), Duration::ZERO) { Err(self.obituary(otherwise)) } else { Ok(()) }
    }

    fn obituary(&mut self, how: &str) -> String {
        let status = self.kill_all().map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{how} ({status}); {}", self.said())
    }

    /// Ends it and what it has started; gives how it ended.
    fn kill_all(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Before it is waited for: until then the number of the group is its own. The group may be empty.
        let _ = system::signal(self.child.id(), true, libc::SIGKILL);
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// What it wrote last, as one line.
    pub(super) fn said(&mut self) -> String {
        let mut last = || {
            let length = self.said.metadata()?.len();
            self.said.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES_MAX)))?;
            let mut bytes = Vec::new();
            self.said.read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = last().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { "it said nothing".to_owned() } else { format!("it said: {}", lines.join(" | ")) }
    }

    /// Ends it: politely, then not.
    pub(super) fn end(self) {
        // A process that has ended needs no signal.
        let _ = system::signal(self.child.id(), false, libc::SIGTERM);
        system::wait_readable(self.ended.as_fd(), END_WAIT_MAX);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill_all();
    }
}

fn kill(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_somebody_left_is_neither_used_nor_in_the_way() {
        let parent = Directory::new().expect("works in tests");
        let stale = |number: u32| parent.path().join(format!("ringress-bench-{}-{number}", std::process::id()));
        for number in [0, 1] {
            fs::create_dir(stale(number)).expect("works in tests");
        }
        let count = AtomicU32::new(0);
        let own = Directory::below(parent.path(), &count).expect("the third name is free");
        assert_eq!(own.path(), stale(2));
        drop(own);
        assert!(stale(1).is_dir() && !stale(2).exists());
    }
}
