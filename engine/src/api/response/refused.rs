//! Why a response cannot be sent, for who gave it: which field, which byte of it, and where.
//!
//! Invariants: made only once something has been refused; a text quotes no more than a line of what was given.
//!
//! Not here: what is refused (`proto::response`, and `response` for statuses and lengths).

use core::fmt;

use ringress_proto::header::{HeaderName, ResponseHeader};
use ringress_proto::response::{WriteError, bad_name_byte, bad_value_byte, check_field};

use super::Response;
use super::fields::{HEAD_BYTES_MAX, known};
use crate::error::{Error, ErrorKind};

/// Characters of a name or value that a text quotes.
const QUOTED_CHARS_MAX: usize = 64;

/// Why the head of a response cannot be written.
#[cold]
pub(super) fn refused(error: WriteError, response: &Response<'_>) -> Error {
    match error {
        WriteError::NoSpace => beyond_head(response),
        WriteError::BadStatus => {
            Error::invalid(format!("status {} is none: a response needs one from 200 to 999", response.status))
        }
        WriteError::BadReason => {
            let reason = response.reason_phrase().unwrap_or_default();
            Error::invalid(format!("the reason phrase {} {}", quoted(reason.as_bytes()), in_value(reason.as_bytes())))
        }
        _ => {
            let checked = |name, value| match known(name) {
                ResponseHeader::Server if bad_value_byte(value).is_none() => Ok(()),
                ResponseHeader::Server => Err(WriteError::BadValue),
                _ => check_field(name, value),
            };
            let bad = response.fields().find_map(|(name, value)| Some((checked(name, value).err()?, name, value)));
            bad.map_or_else(
                || Error::invalid(error.to_string()),
                |(error, name, value)| field_refused(error, name, value),
            )
        }
    }
}

/// Why the head of a response is too large.
#[cold]
pub(super) fn beyond_head(response: &Response<'_>) -> Error {
    let text = format!("the response head is larger than {HEAD_BYTES_MAX} bytes, which is the most that is sent");
    beyond(text, response.fields().map(|(name, value)| (name.as_str(), value.len())))
}

/// Why a reason phrase is too long, behind which there is the date.
#[cold]
pub(super) fn reason_beyond_area(response: &Response<'_>, area_bytes: usize) -> Error {
    let bytes = response.reason_phrase().map_or(0, str::len);
    let text = format!("the reason phrase of {bytes} bytes does not fit the response area of {area_bytes} bytes");
    Error::new(ErrorKind::TooLarge, text + " (response_area_bytes)")
}

/// Why the fields of an informational response, of these names and bytes of values, are too many for their area.
#[cold]
pub(super) fn beyond_area<'f>(fields: impl Iterator<Item = (&'f str, usize)>, area_bytes: usize) -> Error {
    let text = format!(
        "the informational response does not fit the response area of {area_bytes} bytes (response_area_bytes)"
    );
    beyond(text, fields)
}

fn beyond<'f>(mut text: String, fields: impl Iterator<Item = (&'f str, usize)>) -> Error {
    if let Some((name, bytes)) = fields.max_by_key(|(name, bytes)| name.len().saturating_add(*bytes)) {
        let (name, name_bytes) = (quoted(name.as_bytes()), name.len());
        text += &format!("; its largest field is {name}, a name of {name_bytes} bytes with a value of {bytes}");
    }
    Error::new(ErrorKind::TooLarge, text)
}

/// Why a field cannot be sent.
#[cold]
pub(in crate::api) fn field_refused(error: WriteError, name: HeaderName<'_>, value: &[u8]) -> Error {
    let known = known(name);
    let name = name.as_str().as_bytes();
    Error::invalid(match error {
        WriteError::BadName if name.is_empty() => {
            "the field name \"\" is empty, as that of ResponseHeader::Unknown".to_owned()
        }
        WriteError::BadName => format!("the field name {} {}", quoted(name), in_name(name)),
        WriteError::BadValue => format!("the value of the field {} {}", quoted(name), in_value(value)),
        WriteError::Reserved => {
            format!("the field {} is written by the engine: {}", quoted(name), instead(known))
        }
        _ => format!("the field {}: {error}", quoted(name)),
    })
}

/// What to do instead of giving a field that is the engine's.
const fn instead(reserved: ResponseHeader) -> &'static str {
    match reserved {
        ResponseHeader::Connection => "use Response::close, or Response::switching",
        ResponseHeader::ContentLength => "it is the body's, or Response::content_length's",
        ResponseHeader::Server => "use EngineBuilder::server",
        ResponseHeader::TransferEncoding => "Request::start sends a body in chunks where its length is not known",
        _ => "leave it out",
    }
}

fn in_name(name: &[u8]) -> String {
    match bad_name_byte(name) {
        Some(at) => format!("has {}, which no name may have (RFC 9110 section 5.6.2)", byte_at(name, at)),
        None => "is no token (RFC 9110 section 5.6.2)".to_owned(),
    }
}

fn in_value(value: &[u8]) -> String {
    match bad_value_byte(value) {
        Some(at) => format!("has {}: of the control characters it may have HTAB alone", byte_at(value, at)),
        // The one field whose values have a form.
        None => format!("is {}, which is not a list of protocols (RFC 9110 section 7.8)", quoted(value)),
    }
}

fn byte_at(bytes: &[u8], at: usize) -> String {
    format!("the byte 0x{:02x} at position {at}", bytes[at])
}

/// As it stands in a text: in quotes, without control characters, and cut.
fn quoted(bytes: &[u8]) -> impl fmt::Display {
    let text = String::from_utf8_lossy(bytes);
    let is_cut = text.chars().count() > QUOTED_CHARS_MAX;
    let kept: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    format!("{kept:?}{}", if is_cut { ".." } else { "" })
}
