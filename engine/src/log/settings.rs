//! What a log is told: its format, where its files are, when another one begins, and which requests it is of.
//!
//! Invariants: settings that cannot hold together are refused before anything is opened.
//!
//! Not here: what is written (`text`, `json`), and the names of files (`names`).

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::fields::LogFields;
use crate::error::{Error, ErrorKind, Result};

/// The longest name of a directory, in bytes: as the HTTP Server API has it.
const DIRECTORY_BYTES_MAX: usize = 424;
/// The longest name of a site or a computer.
const NAME_BYTES_MAX: usize = 64;
/// The least size at which another file begins.
const ROLLOVER_BYTES_MIN: u64 = 1 << 20;

/// How the lines of a log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogFormat {
    /// W3C extended: fields with a space between, named by `#Fields` at the beginning of each file. A field that is
    /// empty is `-`; spaces and what cannot be printed are `+`.
    W3c,
    /// NCSA common: `host - user [date] "request" status bytes`. Quotes, backslashes and what is not visible ASCII are
    /// `\xHH`.
    NcsaCommon,
    /// NCSA common, with Referer and User-Agent behind it, each in quotes.
    NcsaCombined,
    /// IIS: client, user, date, time, site, computer, server address, milliseconds, bytes received, bytes sent, status,
    /// win32 status, method, target and query, each with a comma behind it. Commas are `%2C` in target and query, and
    /// else `+`, as are spaces and what cannot be printed.
    Iis,
    /// An object of JSON (RFC 8259) in each line.
    Json,
}

/// When a log's next file begins, and how files are named: with `xx` for `ex` (W3C), `nc` (NCSA), `in` (IIS) or `js`
/// (JSON), and the date in UTC. Where a file is there already, it is gone on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rollover {
    /// Each hour: `xxYYMMDDHH.log`.
    Hourly,
    /// Each day: `xxYYMMDD.log`.
    #[default]
    Daily,
    /// Each week of a month, which begin with its days 1, 8, 15, 22 and 29: `xxYYMMWW.log`, `WW` from 01.
    Weekly,
    /// Each month: `xxYYMM.log`.
    Monthly,
    /// Before a file would have more bytes than this, at least 1,048,576: `extendN.log`, `ncsaN.log`, `inetsvN.log` or
    /// `jsonN.log`, `N` from 1. `u64::MAX`: never.
    Size(u64),
}

/// A log of requests: the property *logging* of a [`ServerSession`](crate::ServerSession::set_logging) or a
/// [`UrlGroup`](crate::UrlGroup::set_logging), after the HTTP Server API's `HTTP_LOGGING_INFO`.
///
/// ```
/// use ringress::{LogFields, LogFormat, Logging, Rollover};
///
/// let logging = Logging::new(LogFormat::W3c, "/var/log/shop")
///     .fields(LogFields::DEFAULT | LogFields::BYTES_SENT)
///     .rollover(Rollover::Size(64 << 20));
/// assert_eq!(logging.directory(), std::path::Path::new("/var/log/shop"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `None`: nothing is logged.
    pub(super) format: Option<LogFormat>,
    pub(super) directory: PathBuf,
    /// `None`: the default.
    pub(super) fields: Option<LogFields>,
    pub(super) rollover: Rollover,
    errors_only: bool,
    success_only: bool,
    pub(super) site_name: String,
    pub(super) computer_name: String,
}

impl Logging {
    /// Lines of this format, in files of this directory, which is made where it is not there. Its name is absolute and
    /// has 424 bytes at most; no other log of the engine has the same.
    #[must_use]
    pub fn new(format: LogFormat, directory: impl Into<PathBuf>) -> Self {
        Self { format: Some(format), directory: directory.into(), ..Self::off() }
    }

    /// No log, for a group whose session has one.
    #[must_use]
    pub fn off() -> Self {
        Self {
            format: None,
            directory: PathBuf::new(),
            fields: None,
            rollover: Rollover::Daily,
            errors_only: false,
            success_only: false,
            site_name: String::new(),
            computer_name: String::new(),
        }
    }

    /// With these fields, in the formats that have a choice: [`W3c`](LogFormat::W3c) and [`Json`](LogFormat::Json).
    #[must_use]
    pub fn fields(mut self, fields: LogFields) -> Self {
        self.fields = Some(fields);
        self
    }

    /// With files that are followed by others as this says; each day unless it is said.
    #[must_use]
    pub fn rollover(mut self, rollover: Rollover) -> Self {
        self.rollover = rollover;
        self
    }

    /// Of requests whose response has a status of 400 or more alone.
    #[must_use]
    pub fn errors_only(mut self) -> Self {
        self.errors_only = true;
        self
    }

    /// Of requests whose response has a status below 400 alone.
    #[must_use]
    pub fn success_only(mut self) -> Self {
        self.success_only = true;
        self
    }

    /// With a name for what is served, at most 64 bytes: `s-sitename`.
    #[must_use]
    pub fn site_name(mut self, name: impl Into<String>) -> Self {
        self.site_name = name.into();
        self
    }

    /// With a name for this host, at most 64 bytes: `s-computername`.
    #[must_use]
    pub fn computer_name(mut self, name: impl Into<String>) -> Self {
        self.computer_name = name.into();
        self
    }

    /// The format of its lines; `None` of [`off`](Self::off).
    #[must_use]
    pub fn format(&self) -> Option<LogFormat> {
        self.format
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Which requests it is of.
    pub(crate) fn which(&self) -> Which {
        match (self.errors_only, self.success_only) {
            (true, _) => Which::Errors,
            (false, true) => Which::Successes,
            (false, false) => Which::All,
        }
    }

    /// # Errors
    /// When settings are out of range, or do not go together.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(format) = self.format else { return Ok(()) };
        check_directory(&self.directory)?;
        if self.fields.is_some() && !matches!(format, LogFormat::W3c | LogFormat::Json) {
            let text = format!("fields are chosen of W3c and Json alone, but the format is {format:?}: leave them out");
            return Err(Error::invalid(text));
        }
        if self.fields.is_some_and(|fields| fields.columns().all(|column| column.json.is_empty())) {
            let text = format!("fields are {:?}: a log needs at least one, beside the date", self.fields);
            return Err(Error::invalid(text));
        }
        if self.errors_only && self.success_only {
            return Err(Error::invalid("errors_only and success_only exclude each other: leave out both for all"));
        }
        if let Rollover::Size(bytes) = self.rollover
            && bytes < ROLLOVER_BYTES_MIN
        {
            let text = format!("rollover is Size({bytes}), but a file has at least {ROLLOVER_BYTES_MIN} bytes");
            return Err(Error::invalid(text));
        }
        for (setting, name) in [("site_name", &self.site_name), ("computer_name", &self.computer_name)] {
            if name.len() > NAME_BYTES_MAX {
                let text = format!("{setting} has {} bytes, but at most {NAME_BYTES_MAX} are kept", name.len());
                return Err(Error::invalid(text));
            }
        }
        Ok(())
    }

    /// Makes the directory, where it is not there.
    ///
    /// # Errors
    /// When that cannot be done, or it is no directory.
    pub(crate) fn make_directory(&self) -> Result<()> {
        let refused = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Io,
            };
            let text = format!("log directory {}: it cannot be made; choose one that can", self.directory.display());
            Error::of_system(kind, text, error)
        };
        if self.format.is_some() { fs::create_dir_all(&self.directory).map_err(refused) } else { Ok(()) }
    }
}

fn check_directory(directory: &Path) -> Result<()> {
    let len = directory.as_os_str().as_bytes().len();
    if !directory.is_absolute() {
        let text = format!("log directory {:?} is not absolute: begin it with a slash", directory.display());
        return Err(Error::invalid(text));
    }
    if len > DIRECTORY_BYTES_MAX {
        let text =
            format!("the name of the log directory has {len} bytes, but at most {DIRECTORY_BYTES_MAX} are taken");
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// Which requests a log is of, by the status of their responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Which {
    #[default]
    All,
    /// From 400 on.
    Errors,
    /// Below that.
    Successes,
}

/// The log of a URL group, as shards see it: a number, and which requests it takes, in one word. The row of a group has
/// room for no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogTarget(u32);

impl LogTarget {
    /// None.
    pub(crate) const NONE: Self = Self(0);
    /// Numbers of logs there are.
    pub(crate) const ID_MAX: u32 = (1 << 30) - 1;
    const ERRORS: u32 = 1 << 30;
    const SUCCESSES: u32 = 1 << 31;

    /// The log that the writer knows by this number, from 1.
    pub(crate) fn new(id: u32, which: Which) -> Self {
        debug_assert!((1..=Self::ID_MAX).contains(&id), "numbers are given out one by one");
        match which {
            Which::All => Self(id),
            Which::Errors => Self(id | Self::ERRORS),
            Which::Successes => Self(id | Self::SUCCESSES),
        }
    }

    pub(crate) fn id(self) -> u32 {
        self.0 & Self::ID_MAX
    }

    /// Whether a response of this status has a line there.
    pub(crate) fn takes(self, status: u16) -> bool {
        let other = if status >= 400 { Self::SUCCESSES } else { Self::ERRORS };
        self != Self::NONE && self.0 & other == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_with_its_name() {
        let logging = || Logging::new(LogFormat::NcsaCommon, "/logs");
        logging().check().expect("nothing is said");
        Logging::off().check().expect("nothing is logged");
        for (refused, word) in [
            (Logging::new(LogFormat::W3c, "logs"), "absolute"),
            (Logging::new(LogFormat::W3c, format!("/{}", "d".repeat(424))), "425 bytes"),
            (logging().fields(LogFields::ALL), "W3c and Json alone"),
            (Logging::new(LogFormat::Json, "/logs").fields(LogFields::DATE), "at least one"),
            (logging().errors_only().success_only(), "exclude each other"),
            (logging().rollover(Rollover::Size(1 << 19)), "1048576"),
            (logging().site_name("s".repeat(65)), "site_name has 65 bytes"),
        ] {
            let error = refused.check().expect_err("out of range").to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_log_of_errors_takes_these_alone() {
        let target = |which| LogTarget::new(7, which);
        for (status, which) in [(399, Which::Successes), (400, Which::Errors), (503, Which::Errors)] {
            assert!(target(which).takes(status) && target(Which::All).takes(status), "{status} {which:?}");
            let other = if which == Which::Errors { Which::Successes } else { Which::Errors };
            assert!(!target(other).takes(status) && !LogTarget::NONE.takes(status), "{status}");
            assert_eq!(target(which).id(), 7);
        }
    }
}
