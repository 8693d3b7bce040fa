//! One line of a log, in its format, and what a file begins with.
//!
//! Invariants: a line ends with LF, and has no other.
//!
//! Not here: the formats (`text`, `json`).

use super::calendar::Moment;
use super::fields::Column;
use super::record::{LogRecord, put};
use super::settings::{LogFormat, Logging};
use super::{json, text};

/// Puts one line, with its end.
pub(super) fn put_line(logging: &Logging, record: &LogRecord<'_>, line: &mut Vec<u8>) {
    match logging.format {
        Some(LogFormat::W3c) => text::w3c(logging.fields.unwrap_or_default(), record, line),
        Some(LogFormat::NcsaCommon) => text::ncsa_common(record, line),
        Some(LogFormat::NcsaCombined) => text::ncsa_combined(record, line),
        Some(LogFormat::Iis) => text::iis(record, line),
        Some(LogFormat::Json) => json::object(logging.fields.unwrap_or_default(), record, line),
        None => return,
    }
    line.push(b'\n');
}

/// What a file begins with.
pub(super) fn put_header(logging: &Logging, at: Moment, header: &mut Vec<u8>) {
    if logging.format != Some(LogFormat::W3c) {
        return;
    }
    let Moment { year, month, day, hour, minute, second, .. } = at;
    put(header, format_args!("#Software: ringress {}\n#Version: 1.0\n", env!("CARGO_PKG_VERSION")));
    put(header, format_args!("#Date: {year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}\n#Fields:"));
    for Column { w3c, .. } in logging.fields.unwrap_or_default().columns() {
        put(header, format_args!(" {w3c}"));
    }
    header.push(b'\n');
}
