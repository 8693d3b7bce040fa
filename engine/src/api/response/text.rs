//! Heads of responses to requests that came by HTTP/1: text, written by who answers into the shard's memory.
//!
//! Invariants: the room `api` writes no head but here, and asks nowhere else which version a request came by: with
//! another one, whose heads travel as fields, this file does not compile. A head ends with its blank line, and has a
//! place for the date, which is in its area, however long it is; what it says of the connection is the shard's to put
//! behind that.
//!
//! Not here: what may be answered (`response`), why it cannot be (`refused`), the syntax of fields (`proto::response`),
//! trailer sections (`stream/ending.rs`), and informational responses, which travel as fields.

use bytes::Bytes;
use ringress_proto::date::IMF_LEN;
use ringress_proto::head::Version;
use ringress_proto::header::{HeaderName, ResponseHeader};
use ringress_proto::response::{FieldLine, HeadTemplate, HeadWriter, WriteError};

use super::Response;
use super::fields::{HEAD_BYTES_MAX, known};
use super::refused::{reason_beyond_area, refused};
use crate::error::Result;
use crate::foreign::HeldBytes;
use crate::queue::{HeadText, ResponseFlags};
use crate::record::RequestRecord;

// Another version has other heads, and other answers to each question of this file.
const _: () = assert!(Version::ALL.len() == 2, "every function here is of HTTP/1: look at each");

/// Whether there are responses below 200 for a request: informational ones, and the switch of protocols.
pub(in crate::api) fn has_informational(record: &RequestRecord) -> bool {
    record.head.version != Version::Http10
}

/// How a client finds the end of a streamed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum ResponseBodyLength {
    /// By a Content-Length.
    Length(u64),
    /// By chunks (RFC 9112 section 7.1).
    Chunked,
    /// By the connection's end (RFC 9112 section 6.3).
    Close,
}

/// How a client finds the end of a body of which the length is not known beforehand.
pub(super) fn unknown_length(record: &RequestRecord) -> ResponseBodyLength {
    if record.head.version == Version::Http10 { ResponseBodyLength::Close } else { ResponseBodyLength::Chunked }
}

/// A short response of status 200 whose head is kept ready. Gives the head, and the bytes of the body behind it.
#[inline(always)]
pub(super) fn ready(
    template: &HeadTemplate,
    line: Option<FieldLine>,
    body: &[u8],
    area: &mut [u8],
) -> Option<(HeadText, u32)> {
    let (len, date_at) = template.short_answer(line, body, area)?;
    #[expect(clippy::cast_possible_truncation, reason = "a short answer is within its area")]
    let (area_len, body_len) = (len as u32, body.len() as u32);
    Some((HeadText { len: area_len - body_len, date_at }, body_len))
}

/// A head, written into its area.
pub(in crate::api) struct Written {
    pub(in crate::api) head: HeadText,
    /// Bytes of the body behind the head; `None`: it has no room there.
    pub(super) body_len: Option<u32>,
    /// What of the head has no room in its area.
    pub(in crate::api) rest: Option<HeldBytes>,
}

/// The head, and the body in memory behind it.
#[inline(always)]
pub(super) fn with_body(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    area: &mut [u8],
) -> core::result::Result<(HeadText, Option<u32>), WriteError> {
    // Every head states HTTP/1.1, whatever the request was (RFC 9110 section 2.5).
    let mut head = HeadWriter::new(area);
    let date_at = write_fields(template, response, framing, &mut head)?;
    let body = if record.is_head() { &[] } else { response.body.as_bytes() };
    let (area_len, has_body) = head.finish_with(body)?;
    let body_len = if has_body { body.len() } else { 0 };
    let len = u32::try_from(area_len - body_len).unwrap_or(u32::MAX);
    Ok((HeadText { len, date_at }, has_body.then(|| u32::try_from(body_len).unwrap_or(u32::MAX))))
}

/// The head of a response whose body, if any, is a stream's. Gives what is to be told of it, too.
pub(in crate::api) fn alone(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    area: &mut [u8],
) -> Result<(Written, ResponseFlags)> {
    let mut head = HeadWriter::new(area);
    let written = write_fields(template, response, framing, &mut head);
    let written = written.and_then(|date_at| Ok((head.finish()?, date_at)));
    let written = match written {
        Ok((len, date_at)) => {
            let head = HeadText { len: u32::try_from(len).unwrap_or(u32::MAX), date_at };
            Written { head, body_len: Some(0), rest: None }
        }
        Err(error) => uncommon(response, framing, (error, &[], template), area)?,
    };
    // The response to HEAD ends with its head in any case.
    let ends_by_close = framing == Some(ResponseBodyLength::Close) && !record.is_head();
    let flags = if response.close || ends_by_close { ResponseFlags::CLOSE } else { ResponseFlags::default() };
    Ok((written, flags))
}

/// As [`with_body`], of a head that was refused there, but need not be: it has a Server field of its own, or is larger
/// than its area.
#[cold]
pub(super) fn uncommon(
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    (error, body, template): (WriteError, &[u8], &HeadTemplate),
    area: &mut [u8],
) -> Result<Written> {
    let has_server = response.fields().any(|(name, _)| known(name) == ResponseHeader::Server);
    let write = |head: &mut HeadWriter<'_>| match has_server {
        true => write_with_server(response, framing, head),
        false => write_fields(template, response, framing, head),
    };
    match error {
        WriteError::NoSpace => {}
        WriteError::Reserved if has_server => {
            let mut head = HeadWriter::new(area);
            match write(&mut head).and_then(|date_at| Ok((head.finish_with(body)?, date_at))) {
                Ok(((area_len, has_body), date_at)) => {
                    let body_len = if has_body { body.len() } else { 0 };
                    let bytes = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                    let head = HeadText { len: bytes(area_len - body_len), date_at };
                    return Ok(Written { head, body_len: has_body.then(|| bytes(body_len)), rest: None });
                }
                Err(WriteError::NoSpace) => {}
                Err(error) => return Err(refused(error, response)),
            }
        }
        error => return Err(refused(error, response)),
    }
    let mut whole = vec![0; HEAD_BYTES_MAX];
    let mut head = HeadWriter::new(&mut whole);
    let written = write(&mut head).and_then(|date_at| Ok((head.finish()?, date_at)));
    let (len, date_at) = written.map_err(|error| refused(error, response))?;
    // What the shard puts into a head when it sends it has its place in the area.
    let (first, rest) = whole[..len].split_at(area.len().min(len));
    if usize::from(date_at) + IMF_LEN + b"\r\n".len() > first.len() {
        return Err(reason_beyond_area(response, area.len()));
    }
    area[..first.len()].copy_from_slice(first);
    let head = HeadText { len: u32::try_from(first.len()).unwrap_or(u32::MAX), date_at };
    let rest = (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest).into());
    Ok(Written { head, body_len: body.is_empty().then_some(0), rest })
}

/// As [`write_fields`], with the application's Server field in the place of the engine's.
fn write_with_server(
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    head: &mut HeadWriter<'_>,
) -> core::result::Result<u16, WriteError> {
    head.status(response.status, response.reason_phrase())?;
    let date_at = head.date(&[b' '; IMF_LEN])?;
    write_own(response, head, |head, name, value| match known(name) {
        ResponseHeader::Server => head.server(value),
        _ => head.header(name, value),
    })?;
    write_framing(framing, head).map(|()| date_at)
}

/// Writes a response head but for its blank line. Gives the place of the date.
#[inline(always)]
fn write_fields(
    template: &HeadTemplate,
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    head: &mut HeadWriter<'_>,
) -> core::result::Result<u16, WriteError> {
    let date_at = head.status_and_template(response.status, response.reason_phrase(), template)?;
    write_own(response, head, HeadWriter::header)?;
    write_framing(framing, head).map(|()| date_at)
}

/// Writes the fields of the application's.
#[inline(always)]
fn write_own<'a>(
    response: &Response<'_>,
    head: &mut HeadWriter<'a>,
    write: impl Fn(&mut HeadWriter<'a>, HeaderName<'_>, &[u8]) -> core::result::Result<(), WriteError>,
) -> core::result::Result<(), WriteError> {
    if let Some(line) = response.line {
        head.line(line)?;
    }
    if let Some(fields) = &response.fields {
        if fields.is_beyond() {
            return Err(WriteError::NoSpace);
        }
        for (name, value) in fields.iter() {
            write(head, name, value)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn write_framing(
    framing: Option<ResponseBodyLength>,
    head: &mut HeadWriter<'_>,
) -> core::result::Result<(), WriteError> {
    match framing {
        Some(ResponseBodyLength::Length(length)) => head.content_length(length),
        Some(ResponseBodyLength::Chunked) => head.chunked(),
        Some(ResponseBodyLength::Close) | None => Ok(()),
    }
}
