//! Lines of text: W3C extended, NCSA common and combined, IIS. Pure functions from what is known of a request to bytes.
//!
//! Invariants: a line ends with LF, and has no other; it has as many fields as its format says, each of them escaped.
//!
//! Not here: JSON (`json`), which format a log has (`line`), and what is known of a request (`record`).

use super::escape::{self, NONE};
use super::fields::LogFields;
use super::note::Noted;
use super::record::{LogRecord, ip, put};
use crate::record::Address;

fn put_ip(address: Address, line: &mut Vec<u8>) {
    match ip(address) {
        Some(ip) => {
            put(line, format_args!("{ip}"));
        }
        None => line.extend_from_slice(NONE),
    }
}

pub(super) fn w3c(fields: LogFields, record: &LogRecord<'_>, line: &mut Vec<u8>) {
    for (place, column) in fields.columns().enumerate() {
        if place > 0 {
            line.push(b' ');
        }
        w3c_field(column.field, record, line);
    }
}

fn w3c_field(field: LogFields, record: &LogRecord<'_>, line: &mut Vec<u8>) {
    let LogRecord { at, noted, request, .. } = record;
    let (stem, query) = request.stem_and_query();
    let text = match field {
        LogFields::SITE_NAME => record.site_name.as_bytes(),
        LogFields::COMPUTER_NAME => record.computer_name.as_bytes(),
        LogFields::METHOD => request.method,
        LogFields::URI_STEM => stem,
        LogFields::URI_QUERY => query,
        LogFields::USER_NAME => noted.user,
        LogFields::VERSION => request.version,
        LogFields::USER_AGENT => request.user_agent,
        LogFields::COOKIE => request.cookie,
        LogFields::REFERER => request.referer,
        LogFields::HOST => request.host,
        LogFields::SERVER_IP => return put_ip(noted.local, line),
        LogFields::CLIENT_IP => return put_ip(noted.peer, line),
        LogFields::DATE => {
            put(line, format_args!("{:04}-{:02}-{:02}", at.year, at.month, at.day));
            return;
        }
        LogFields::TIME => {
            put(line, format_args!("{:02}:{:02}:{:02}", at.hour, at.minute, at.second));
            return;
        }
        number => {
            put(line, format_args!("{}", number_of(number, record)));
            return;
        }
    };
    escape::w3c(text, line);
}

/// The value of a field that is a number.
fn number_of(field: LogFields, record: &LogRecord<'_>) -> u64 {
    let Noted { note, peer, local, substatus, win32_status, .. } = &record.noted;
    match field {
        LogFields::SERVER_PORT => local.port().into(),
        LogFields::CLIENT_PORT => peer.port().into(),
        LogFields::STATUS => note.status.into(),
        LogFields::SUBSTATUS => (*substatus).into(),
        LogFields::WIN32_STATUS => (*win32_status).into(),
        LogFields::BYTES_SENT => note.bytes_out,
        LogFields::BYTES_RECEIVED => note.bytes_in,
        _ => record.millis(),
    }
}

pub(super) fn ncsa_common(record: &LogRecord<'_>, line: &mut Vec<u8>) {
    let LogRecord { at, noted, request, .. } = record;
    put_ip(noted.peer, line);
    line.extend_from_slice(b" - ");
    escape::ncsa_bare(noted.user, line);
    put(line, format_args!(" [{:02}/{}/{:04}:", at.day, at.month_name(), at.year));
    put(line, format_args!("{:02}:{:02}:{:02} +0000] \"", at.hour, at.minute, at.second));
    escape::ncsa_quoted(request.method, line);
    if !request.target.is_empty() {
        line.push(b' ');
        escape::ncsa_quoted(request.target, line);
    }
    if !request.version.is_empty() {
        line.push(b' ');
        escape::ncsa_quoted(request.version, line);
    }
    put(line, format_args!("\" {} {}", noted.note.status, noted.note.bytes_out));
}

pub(super) fn ncsa_combined(record: &LogRecord<'_>, line: &mut Vec<u8>) {
    ncsa_common(record, line);
    for value in [record.request.referer, record.request.user_agent] {
        line.extend_from_slice(b" \"");
        escape::ncsa_quoted(value, line);
        line.push(b'"');
    }
}

pub(super) fn iis(record: &LogRecord<'_>, line: &mut Vec<u8>) {
    let LogRecord { at, noted, request, .. } = record;
    let (stem, query) = request.stem_and_query();
    put_ip(noted.peer, line);
    line.extend_from_slice(b", ");
    escape::iis_text(noted.user, line);
    put(line, format_args!(", {}/{}/{:04}, ", at.month, at.day, at.year));
    put(line, format_args!("{}:{:02}:{:02}, ", at.hour, at.minute, at.second));
    for name in [record.site_name, record.computer_name] {
        escape::iis_text(name.as_bytes(), line);
        line.extend_from_slice(b", ");
    }
    put_ip(noted.local, line);
    put(line, format_args!(", {}, {}, {}, ", record.millis(), noted.note.bytes_in, noted.note.bytes_out));
    put(line, format_args!("{}, {}, ", noted.note.status, noted.win32_status));
    escape::iis_text(request.method, line);
    line.extend_from_slice(b", ");
    escape::iis_target(stem, line);
    line.extend_from_slice(b", ");
    escape::iis_target(query, line);
    line.push(b',');
}
