//! Sockets that a service manager has opened for this process (socket activation).
//!
//! Invariants: what is for another process is left alone; the sockets are given once, or not at all.
//!
//! Not here: taking descriptors (`driver::handed`), and listening on them (`listeners`).
//!
//! Source: sd_listen_fds(3), systemd.socket(5).

use std::env;

use super::bound::unusable;
use super::listener::Listener;
use crate::driver::handed::{self, Withheld};
use crate::error::{Error, ErrorKind, Result};

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";

impl Listener {
    /// The sockets that a service manager has opened for this process (systemd's socket units, `LISTEN_FDS`,
    /// `LISTEN_PID`, `LISTEN_FDNAMES`), in its order, with its [names](Self::name). None, if there are none: where
    /// the environment says nothing of them, or names another process, whose they are.
    ///
    /// They are given once for a process, and are not to be taken by anybody else in it: from then on they are closed
    /// on exec, and when what is given here is dropped or no longer listened on. The service manager has them still.
    ///
    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) when one of the variables is not as it must be;
    /// [`Invalid`](ErrorKind::Invalid) when they were given before, or one of them is no socket for TCP or Unix streams
    /// that listens: then none is taken.
    pub fn activated() -> Result<Vec<Self>> {
        let Some(count) = count()? else { return Ok(Vec::new()) };
        let names = names(count)?;
        let sockets = handed::started_with(count).map_err(|why| match why {
            Withheld::Given => Error::invalid(format!(
                "the sockets of {COUNT} were given before in this process: keep what Listener::activated gave then"
            )),
            Withheld::Unusable(descriptor, why) => {
                unusable(why, format_args!("descriptor {descriptor}, which {COUNT}={count} names"))
            }
        })?;
        let named = sockets.into_iter().zip(names.into_iter().map(Some).chain(std::iter::repeat(None)));
        Ok(named.map(|(socket, name)| Self::named(socket, name)).collect())
    }
}

fn number(variable: &str) -> Result<Option<u32>> {
    let Some(text) = env::var_os(variable) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.parse().ok());
    let malformed = || {
        let text =
            format!("{variable} is {text:?}, but must be a number: it is for service managers to set, else unset it");
        Error::new(ErrorKind::Malformed, text)
    };
    number.map(Some).ok_or_else(malformed)
}

/// How many sockets there are for this process.
fn count() -> Result<Option<u32>> {
    match number(PID)? {
        Some(pid) if pid == std::process::id() => Ok(number(COUNT)?.filter(|count| *count > 0)),
        _ => Ok(None),
    }
}

/// What they are called; none, if that is not said.
fn names(count: u32) -> Result<Vec<String>> {
    let Some(text) = env::var_os(NAMES) else { return Ok(Vec::new()) };
    let names: Vec<String> = text.to_string_lossy().split(':').map(str::to_owned).collect();
    if u32::try_from(names.len()) == Ok(count) {
        return Ok(names);
    }
    let text = format!("{NAMES} is {text:?}, {} names, but {COUNT} is {count}: one is wanted for each", names.len());
    Err(Error::new(ErrorKind::Malformed, text))
}
