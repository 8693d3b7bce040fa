//! Logs of server sessions and URL groups: set, read back, unset, and rotated.
//!
//! Invariants: the writer knows of a log before the shards do, and lets go of it after them. There is a writer from the
//! first log on.
//!
//! Not here: which logs there are (`logs`), lines and files (room `log`), and which requests are noted
//! (`shard::dispatch::log`).

use std::sync::Arc;
use std::time::Duration;

use super::attached;
use super::control::{Control, EngineShared};
use super::engine::Engine;
use super::groups::{GroupKey, SessionKey};
use super::logs::OwnLog;
use super::url_groups::{ServerSession, UrlGroup};
use crate::counters::Counters;
use crate::error::Result;
use crate::foreign;
use crate::log::{LogTarget, LogWriter, Logging};
use crate::shard::DesiredLogs;

/// How long the end of an engine waits for a disk to take the last lines.
const END_WAIT_MAX: Duration = Duration::from_secs(5);

/// Whose a log is.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Session(SessionKey),
    Group(GroupKey),
}

impl Control {
    fn log_mut(&mut self, owner: Owner) -> Result<&mut Option<OwnLog>> {
        match owner {
            Owner::Session(key) => Ok(&mut self.groups.session_mut(key).log),
            Owner::Group(key) => Ok(&mut self.groups.get_mut(key)?.log),
        }
    }

    /// Puts a log in the place of the one before.
    fn set_log(&mut self, shared: &EngineShared, owner: Owner, logging: Option<Logging>) -> Result<()> {
        self.check_open()?;
        let before = self.log_mut(owner)?.clone();
        let open = |logging| self.logs.open(|| shared.start_log_writer(), logging, before.as_ref());
        let now = logging.map(open).transpose()?;
        self.log_mut(owner)?.clone_from(&now);
        match owner {
            Owner::Session(key) => self.groups.refresh_session(key),
            Owner::Group(key) => self.groups.refresh(key),
        }
        if let Some(before) = &before {
            self.logs.free_directory(before, now.as_ref());
        }
        self.publish_logs(shared, before.as_slice());
        Ok(())
    }

    /// Shows the shards where requests are logged, and closes these logs, which are logged to no more.
    fn publish_logs(&mut self, shared: &EngineShared, closed: &[OwnLog]) {
        let ends = shared.log_writer.get().map(|writer| Arc::clone(writer.ends()));
        self.desired.logs = DesiredLogs { ends, are_open: self.logs.any() };
        self.publish_routes(shared);
        if let Some(writer) = shared.log_writer.get() {
            closed.iter().filter(|log| log.target != LogTarget::NONE).for_each(|log| writer.close(log.target.id()));
        }
    }

    /// Sessions or groups are gone that had these logs.
    pub(super) fn close_logs(&mut self, shared: &EngineShared, logs: &[OwnLog]) {
        if !logs.is_empty() {
            logs.iter().for_each(|log| self.logs.free_directory(log, None));
            self.publish_logs(shared, logs);
        }
    }
}

/// Checks a log, and makes its directory: without the lock, since a disk may be slow.
fn prepare(logging: impl Into<Option<Logging>>) -> Result<Option<Logging>> {
    let logging = logging.into();
    if let Some(logging) = &logging {
        logging.check()?;
        logging.make_directory()?;
    }
    Ok(logging)
}

impl ServerSession {
    /// Logs the requests of the session's groups, as far as these have set nothing themselves, live; `None`: logs them
    /// no more. It holds for every request that is delivered after it; those under way end in the log that they began
    /// with.
    ///
    /// Each request that is answered has a line, whoever answers it, also without [`LogData`](crate::LogData). Lines
    /// are written by a thread of the engine's, in about a tenth of a second; a file appears with its first line. What
    /// a slow or full disk does not take is dropped and counted
    /// ([`log_records_dropped`](crate::Counters::log_records_dropped)): requests do not wait. Each shard keeps 2 MiB of
    /// records for that at most, beside [`memory_max`](crate::EngineBuilder::memory_max).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for settings that are out of range or exclude each other;
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) for the directory of another log of this engine;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) or [`Io`](crate::ErrorKind::Io) when the directory
    /// cannot be made; [`Closed`](crate::ErrorKind::Closed) after the shutdown. Then nothing has changed.
    pub fn set_logging(&self, logging: impl Into<Option<Logging>>) -> Result<()> {
        let logging = prepare(logging)?;
        self.shared.control().set_log(&self.shared, Owner::Session(self.key), logging)
    }

    /// The log that was set here.
    #[must_use]
    pub fn logging(&self) -> Option<Logging> {
        self.shared.control().groups.session(self.key).log.as_ref().map(|own| own.logging.clone())
    }
}

impl UrlGroup {
    /// Logs the requests of the group, in the place of its session's log, live; `None`: that of its session holds
    /// again. See [`ServerSession::set_logging`]; [`Logging::off`] is for a group without a log.
    ///
    /// # Errors
    /// As there, and [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn set_logging(&self, logging: impl Into<Option<Logging>>) -> Result<()> {
        let logging = prepare(logging)?;
        self.shared.control().set_log(&self.shared, Owner::Group(self.key), logging)
    }

    /// The log that holds for the group: its own, or its session's.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn logging(&self) -> Result<Option<Logging>> {
        let control = self.shared.control();
        let group = control.groups.get(self.key)?;
        Ok(control.groups.log_of(group).map(|log| log.logging.clone()))
    }

    /// The log that was set here, without what is inherited.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn own_logging(&self) -> Result<Option<Logging>> {
        Ok(self.shared.control().groups.get(self.key)?.log.as_ref().map(|own| own.logging.clone()))
    }
}

impl Engine {
    /// Has the next line of each log go into a new file, as on a signal of a program's own. `false`: not within this
    /// time, since a disk holds the writer up; it is done then when that goes on.
    ///
    /// Where the newest file has been moved away, as by logrotate(8), the new one has its name; else the next number:
    /// `extend2.log`, `ex261130.2.log`. When this returns `true`, nothing more is written into files that were there.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) in code that a shard runs (a waker, a call on a connection's end,
    /// a destructor), whose clients would wait for a disk.
    pub fn rotate_logs(&self, timeout: Duration) -> Result<bool> {
        if foreign::is_on_shard_of(self.shared.id) {
            return Err(attached::in_turn("rotating logs"));
        }
        Ok(self.shared.log_writer.get().is_none_or(|writer| writer.await_done(writer.rotate(), timeout)))
    }
}

impl EngineShared {
    /// The writer, which is started by the first log. Under the lock of the control plane.
    fn start_log_writer(&self) -> Result<&LogWriter> {
        if let Some(writer) = self.log_writer.get() {
            return Ok(writer);
        }
        let writer = LogWriter::start(self.exchanges.len())?;
        Ok(self.log_writer.get_or_init(|| writer))
    }

    /// Adds what the writer has counted.
    pub(super) fn add_log_counts(&self, counters: &mut Counters) {
        if let Some(writer) = self.log_writer.get() {
            let (written, lost) = writer.counts();
            counters.log_records_written += written;
            counters.log_records_dropped += lost;
        }
    }

    /// The engine has ended: what was noted is written, unless a disk takes longer.
    pub(super) fn end_logs(&self) {
        if let Some(writer) = self.log_writer.get() {
            writer.end(END_WAIT_MAX);
        }
    }
}
