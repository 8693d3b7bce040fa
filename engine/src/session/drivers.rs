//! Which driver an engine's shards have, and a shard of any of them.
//!
//! ```text
//!   said ──▶ IoUring or Epoll
//!   Auto ──▶ RINGRESS_DRIVER, if that is set ──▶ IoUring, for all shards ──refused──▶ Epoll, for all shards
//! ```
//!
//! Invariants: it is decided at the start, before anything listens, and holds for all shards; which one it is costs a
//! shard a comparison a turn, and nothing within a turn.
//!
//! Not here: the drivers (room `ring`), and when shards are made (`engine`, `attached`).

use std::error::Error as _;
use std::io;
use std::time::Duration;

use crate::config::Driver;
use crate::driver::{Epoll, Uring};
use crate::error::{Error, Result};
use crate::queue::Notifier;
use crate::shard::{Driven, Leave, Shard};

/// Where the driver is looked for that an application leaves open.
const VARIABLE: &str = "RINGRESS_DRIVER";

impl Driver {
    /// What is to be tried.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the environment names no driver.
    pub(super) fn wanted(self) -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            Some(name) if self == Self::Auto && !name.is_empty() => {
                name.to_string_lossy().parse().map_err(|error: Error| error.about(VARIABLE))
            }
            _ => Ok(self),
        }
    }
}

/// Why a shard cannot be made.
#[derive(Debug)]
pub(super) struct Refused {
    error: Error,
    is_of_driver: bool,
}

impl Refused {
    /// The driver was refused.
    pub(super) fn of_driver(error: Error) -> Self {
        Self { error, is_of_driver: true }
    }

    /// Whether another driver might be had instead. Without descriptors, none can.
    pub(super) fn leaves_others(&self) -> bool {
        let source = self.error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let errno = source.and_then(io::Error::raw_os_error);
        self.is_of_driver && !matches!(errno, Some(libc::EMFILE | libc::ENFILE))
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, is_of_driver: false }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// A shard over the driver of its engine.
#[derive(Debug)]
pub(super) enum LiveShard {
    Uring(Shard<Uring>),
    Epoll(Shard<Epoll>),
}

/// The same for a shard over any driver.
macro_rules! either {
    ($shard:expr, $name:ident => $do:expr) => {
        match $shard {
            LiveShard::Uring($name) => $do,
            LiveShard::Epoll($name) => $do,
        }
    };
}

/// As [`Shard`] has them.
impl LiveShard {
    #[inline]
    pub(super) fn turn(&mut self, wait_max: Option<Duration>) -> Result<()> {
        either!(self, shard => shard.turn(wait_max))
    }

    pub(super) fn run(&mut self) -> Result<()> {
        either!(self, shard => shard.run())
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        either!(self, shard => shard.is_done())
    }

    pub(super) fn notifier(&self) -> &'static Notifier {
        either!(self, shard => shard.notifier())
    }

    pub(super) fn drive_here(&self) -> Driven {
        either!(self, shard => shard.drive_here())
    }

    pub(super) fn stop(&mut self, leave: Leave) {
        either!(self, shard => shard.stop(leave));
    }

    pub(super) fn end(self) {
        either!(self, shard => shard.end());
    }

    pub(super) fn give_up(self) {
        either!(self, shard => shard.give_up());
    }
}
