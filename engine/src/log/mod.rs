//! Logs of requests: what a shard notes of each, the lines that are made of it, the files they go to, and the thread
//! that writes them.
//!
//! ```text
//!   shard ──facts, head──▶ LogEnd: blocks ──full, or a tick old──▶ the writer ──format──▶ LogFile ──▶ disk
//!         ◀───────────────── blocks that are free ────────────────┘
//! ```
//!
//! Invariants: a shard copies, and formats nothing; all that it has room for was reserved before it began, and what
//! does not fit is dropped and counted, so that no disk, slow or full, ever holds a request up. What a client has sent
//! stands in its field of its line, whatever bytes it has: no format lets it begin another.
//!
//! Not here: which requests are noted, and when (`shard::dispatch::log`), and whose logs there are (room `session`).
//! Source: the HTTP Server API's logging (`HTTP_LOGGING_INFO`), "Extended Log File Format" (W3C WD-logfile-960323).

mod block;
mod calendar;
mod escape;
mod fields;
mod file;
mod json;
mod line;
mod names;
mod note;
mod record;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub(crate) use self::block::{LogEnd, LogEnds};
pub use self::fields::LogFields;
pub(crate) use self::note::{HEAD_BYTES_MAX, LogNote, TARGET_BYTES_MAX, VALUE_BYTES_MAX};
pub(crate) use self::settings::LogTarget;
pub use self::settings::{LogFormat, Logging, Rollover};
pub(crate) use self::writer::LogWriter;
