//! Heads of responses to requests that came by HTTP/1: text, written by who answers into the shard's memory.
//!
//! Invariants: the room `api` writes no head but here, and asks nowhere else which version a request came by: with
//! another one, whose heads travel as fields, this file does not compile. A head ends with its blank line, and has a
//! place for the date; what it says of the connection is the shard's to put behind that.
//!
//! Not here: what may be answered (`response`), why it cannot be (`refused`), the syntax of fields (`proto::response`),
//! trailer sections (`stream/ending.rs`), and informational responses, which travel as fields.

use ringress_proto::head::Version;
use ringress_proto::response::{FieldLine, HeadTemplate, HeadWriter, WriteError};

use super::Response;
use super::refused::refused;
use crate::error::Result;
use crate::queue::{Answered, HeadText, ResponseFlags, Tail};
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

/// The head, and the body in memory behind it. Gives the head, and the bytes of the body; `None`: it has no room.
#[inline(always)]
pub(super) fn with_body(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    area: &mut [u8],
) -> Result<(HeadText, Option<u32>)> {
    let area_bytes = area.len();
    // Every head states HTTP/1.1, whatever the request was (RFC 9110 section 2.5).
    let mut head = HeadWriter::new(area);
    let written = write_fields(template, response, framing, &mut head);
    let body = if record.is_head() { &[] } else { response.body.as_bytes() };
    let finished = written.and_then(|date_at| head.finish_with(body).map(|end| (end, date_at)));
    let ((area_len, has_body), date_at) = finished.map_err(|error| refused(error, response, area_bytes))?;
    let body_len = if has_body { body.len() } else { 0 };
    let len = u32::try_from(area_len - body_len).unwrap_or(u32::MAX);
    Ok((HeadText { len, date_at }, has_body.then(|| u32::try_from(body_len).unwrap_or(u32::MAX))))
}

/// The head of a response whose body, if any, is a stream's.
pub(in crate::api) fn alone(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    area: &mut [u8],
) -> Result<Answered> {
    let area_bytes = area.len();
    // Every head states HTTP/1.1, whatever the request was (RFC 9110 section 2.5).
    let mut head = HeadWriter::new(area);
    // The response to HEAD ends with its head in any case.
    let ends_by_close = framing == Some(ResponseBodyLength::Close) && !record.is_head();
    let written = write_fields(template, response, framing, &mut head);
    let written = written.and_then(|date_at| Ok((head.finish()?, date_at)));
    let (head_len, date_at) = written.map_err(|error| refused(error, response, area_bytes))?;
    let head = HeadText { len: u32::try_from(head_len).unwrap_or(u32::MAX), date_at };
    let flags = if response.close || ends_by_close { ResponseFlags::CLOSE } else { ResponseFlags::default() };
    Ok(Answered { status: response.status, head, body_len: 0, flags, tail: Tail::None })
}

/// Writes a response head but for its blank line. Gives the place of the date.
fn write_fields(
    template: &HeadTemplate,
    response: &Response<'_>,
    framing: Option<ResponseBodyLength>,
    head: &mut HeadWriter<'_>,
) -> core::result::Result<u16, WriteError> {
    let date_at = head.status_and_template(response.status, response.reason_phrase(), template)?;
    if let Some(line) = response.line {
        head.line(line)?;
    }
    if let Some(fields) = &response.fields {
        if fields.is_beyond() {
            return Err(WriteError::NoSpace);
        }
        for (name, value) in fields.iter() {
            head.header(name, value)?;
        }
    }
    match framing {
        Some(ResponseBodyLength::Length(length)) => head.content_length(length)?,
        Some(ResponseBodyLength::Chunked) => head.chunked()?,
        Some(ResponseBodyLength::Close) | None => {}
    }
    Ok(date_at)
}
