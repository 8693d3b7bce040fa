//! What an application answers: a status, header fields and a body, written into the shard's memory in one call.
//!
//! Invariants: a response is checked when it is given to a request, and one that cannot be sent is an error; the fields
//! that the engine writes itself are refused; a whole response's Content-Length is its body's, but for HEAD and 304.
//!
//! Not here: how a head is written (`response/text.rs`), and why it cannot be (`response/refused.rs`); responses whose
//! heads are kept ready (`response/short.rs`); what a body consists of (`response/content.rs`); names and values as
//! they are given (`response/header.rs`) and kept (`response/fields.rs`); what becomes of it by conditions and ranges
//! (`response/parts.rs`), the chunks of a stream (`stream`), and the values of Date and Connection, which the shard
//! writes.

mod content;
mod fields;
mod header;
#[cfg(feature = "http")]
mod http_types;
mod parts;
mod refused;
mod short;
mod status;
mod text;

use std::borrow::Cow;
use std::sync::Arc;

use ringress_proto::header::{HeaderName as WireName, ResponseHeader};
use ringress_proto::response::{FieldLine, HeadTemplate, WriteError, body_allowed, check_field};

pub use self::content::Body;
use self::content::Memory;
use self::fields::{Fields, Text};
pub use self::header::{HeaderName, HeaderValue};
pub(super) use self::refused::field_refused;
pub(super) use self::short::Short;
pub use self::status::StatusCode;
use self::text::Written;
pub(super) use self::text::{ResponseBodyLength, alone, has_informational};
use super::log_data::LogData;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::{Answered, Informational, LogText, ResponseFlags, Tail};
use crate::record::RequestRecord;
use crate::stream::{Data, FileRange, Framing, OutStream, Outgoing, Piece};

/// The most bytes of a body given in one call: sends count in 32 bits.
const BODY_BYTES_MAX: usize = 1 << 31;

/// The status whose body is always empty, and framed as such (RFC 9110 section 15.3.6).
const RESET_CONTENT: u16 = 205;

/// Whether no response with this status has a body.
const fn is_bodiless(status: u16) -> bool {
    !body_allowed(status) || status == RESET_CONTENT
}

/// A response, complete in one call: the engine adds Content-Length, Date, Server and Connection.
///
/// Nothing is checked before it is given to a request: then a bad status, name or value is
/// [`Invalid`](crate::ErrorKind::Invalid).
#[derive(Clone, Debug)]
#[must_use = "a response does nothing until a request is answered with it"]
pub struct Response<'a> {
    status: u16,
    close: bool,
    /// In pieces, to HEAD: neither a length nor chunks are said.
    unframed: bool,
    reason: Option<Text<'a>>,
    /// A field known beforehand; the others follow it.
    line: Option<FieldLine>,
    /// `None` until there is one: empty places would be written for every response.
    fields: Option<Fields<'a>>,
    content_length: Option<u64>,
    /// The body, if it is memory.
    body: Memory<'a>,
    /// What most responses do not have: they would pay for it.
    mixed: Option<Box<Mixed<'a>>>,
}

/// A body that is a file, and what follows a body.
#[derive(Clone, Debug, Default)]
struct Mixed<'a> {
    file: Option<FileRange>,
    chunks: Vec<Body<'a>>,
    /// What was given and is not sent: nothing of the application's is dropped while its request is being answered.
    unsent: Vec<Data>,
    log: Option<LogData<'a>>,
}

impl Mixed<'_> {
    /// Whether all that there is of a body is the memory beside it.
    fn is_plain(&self) -> bool {
        self.file.is_none() && self.chunks.is_empty()
    }
}

impl<'a> Response<'a> {
    /// A response with a final status, 200 to 999, and no body yet.
    #[inline]
    pub fn new(status: impl Into<StatusCode>) -> Self {
        Self { status: status.into().as_u16(), ..Self::ok() }
    }

    /// 200 OK.
    #[inline]
    pub const fn ok() -> Self {
        Self {
            status: 200,
            close: false,
            unframed: false,
            reason: None,
            line: None,
            fields: None,
            content_length: None,
            body: Memory::NONE,
            mixed: None,
        }
    }

    /// 101 Switching Protocols, for [`Request::upgrade`](crate::Request::upgrade) alone: to this protocol, such as
    /// `websocket`.
    pub fn switching(protocol: impl Into<HeaderValue<'a>>) -> Self {
        Self::new(101_u16).header(ResponseHeader::Upgrade, protocol)
    }

    /// 200 OK with a text body: `Content-Type: text/plain`.
    #[inline]
    pub fn text(body: impl Into<Body<'a>>) -> Self {
        let mut response = Self { line: Some(FieldLine::TEXT_PLAIN), ..Self::ok() };
        response.set_body(body.into());
        response
    }

    /// With a reason phrase other than the status's usual one.
    pub fn reason(mut self, reason: impl Into<Cow<'a, str>>) -> Self {
        self.reason = Some(match reason.into() {
            Cow::Borrowed(reason) => Text::Borrowed(reason.as_bytes()),
            Cow::Owned(reason) => Text::Owned(self.fields.get_or_insert_with(Fields::new).own(reason.as_bytes())),
        });
        self
    }

    /// With a header field more. Date, Connection, Transfer-Encoding and Content-Length are the engine's and are
    /// refused; a Server field takes the place of [the engine's](crate::EngineBuilder::server). Upgrade is a list of
    /// protocols, and Connection then names it.
    ///
    /// Name and value are borrowed (`&str`, `&[u8]`) or owned (`String`, `Vec<u8>`, `Bytes`, `Cow`, and with the
    /// feature `http` those of the crate `http`). Up to four borrowed fields take no allocation.
    ///
    /// ```
    /// use ringress::{Response, ResponseHeader};
    ///
    /// fn created(id: u64) -> Response<'static> {
    ///     Response::new(201).header(ResponseHeader::Location, format!("/orders/{id}")).header("X-Shop", "north")
    /// }
    /// ```
    #[inline]
    pub fn header(mut self, name: impl Into<HeaderName<'a>>, value: impl Into<HeaderValue<'a>>) -> Self {
        self.fields.get_or_insert_with(Fields::new).push(name.into(), value.into());
        self
    }

    /// With a Content-Type field, instead of that of [`text`](Self::text).
    #[inline]
    pub fn content_type(mut self, value: impl Into<HeaderValue<'a>>) -> Self {
        let value = value.into();
        self.line = value.borrowed().and_then(FieldLine::content_type);
        if self.line.is_some() { self } else { self.header(ResponseHeader::ContentType, value) }
    }

    /// With a body. What of it is copied, and how not to copy static bytes: see [`Body`].
    #[inline]
    pub fn body(mut self, body: impl Into<Body<'a>>) -> Self {
        self.set_body(body.into());
        self
    }

    #[inline(always)]
    fn set_body(&mut self, body: Body<'a>) {
        self.body = match body {
            Body::Borrowed(bytes) => Memory::Borrowed(bytes),
            Body::Shared(bytes) => Memory::Shared(bytes.into()),
            Body::File(range) => return self.set_file(range),
        };
        if let Some(mixed) = &mut self.mixed {
            mixed.file = None;
        }
    }

    #[cold]
    fn set_file(&mut self, range: FileRange) {
        self.body = Memory::NONE;
        self.mixed.get_or_insert_default().file = Some(range);
    }

    /// With more behind the body: memory and parts of files, in the order given. The Content-Length is that of all.
    pub fn chunk(mut self, chunk: impl Into<Body<'a>>) -> Self {
        self.mixed.get_or_insert_default().chunks.push(chunk.into());
        self
    }

    /// With a Content-Length other than the body's: for the response to HEAD and for 304, where no body is given, and
    /// for [`Request::start`](crate::Request::start). In any other response it must be the body's; 204 has none.
    pub const fn content_length(mut self, length: u64) -> Self {
        self.content_length = Some(length);
        self
    }

    /// With what its line in the log is to say of it, where its group [has one](crate::UrlGroup::set_logging). Costs an
    /// allocation or two.
    pub fn log_data(mut self, data: LogData<'a>) -> Self {
        self.mixed.get_or_insert_default().log = Some(data);
        self
    }

    /// What the log is to say of it.
    #[inline]
    pub(super) fn log_text(&self) -> Option<LogText> {
        self.mixed.as_ref().and_then(|mixed| mixed.log.as_ref()).map(LogData::to_text)
    }

    /// The connection ends after this response.
    pub const fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// As [`close`](Self::close), for one that is made.
    pub(super) const fn end_connection(&mut self) {
        self.close = true;
    }

    /// For [`Request::start`](crate::Request::start) of a HEAD request: says nothing of the body that GET would get.
    #[cfg(feature = "tower")]
    pub(crate) const fn unframed(mut self) -> Self {
        self.unframed = true;
        self
    }

    /// Whether it has nothing but a status of 101, a reason and fields.
    pub(super) fn is_bare_switch(&self) -> bool {
        let bare =
            self.mixed.as_deref().is_none_or(Mixed::is_plain) && self.body.as_bytes().is_empty() && self.line.is_none();
        bare && self.status == 101 && self.content_length.is_none() && !self.close
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (WireName<'_>, &[u8])> {
        self.fields.iter().flat_map(Fields::iter)
    }

    #[inline]
    fn reason_phrase(&self) -> Option<&str> {
        let bytes = match self.reason? {
            Text::Borrowed(bytes) => bytes,
            owned @ Text::Owned(_) => self.fields.as_ref()?.bytes(owned),
        };
        // It was text when it was given.
        core::str::from_utf8(bytes).ok()
    }
}

/// Writes a response into a request's response area.
#[inline]
pub(super) fn fill(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &mut Response<'_>,
    area: &mut [u8],
) -> Result<Answered> {
    if let Some(answered) = response.as_short().and_then(|short| short.fill_ready(record, template, area)) {
        return Ok(answered);
    }
    let filled = match response.mixed {
        Some(_) => fill_mixed(record, template, response, area),
        None => fill_plain(record, template, response, area),
    };
    // Taken apart, and so in memory of its own: a short response stays in registers.
    let Answered { status, head, body_len, flags, tail } = filled?;
    Ok(Answered { status, head, body_len, flags, tail })
}

/// As [`fill`], for what most responses are not.
#[cold]
fn fill_mixed(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &mut Response<'_>,
    area: &mut [u8],
) -> Result<Answered> {
    match response.mixed.take() {
        Some(mixed) if mixed.is_plain() => fill_plain(record, template, response, area),
        mixed => {
            response.mixed = mixed;
            fill_pieces(record, template, response, area).map(|(answered, _)| answered)
        }
    }
}

/// As [`fill`], with a body in memory.
// Its own function: what is short has been written already.
#[inline(never)]
fn fill_plain(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &mut Response<'_>,
    area: &mut [u8],
) -> Result<Answered> {
    let status = response.status;
    let body_len = response.body.as_bytes().len();
    let length = response.content_length.unwrap_or(body_len as u64);
    let is_rare = status < 200 || is_bodiless(status) || record.is_connect();
    if is_rare || length != body_len as u64 || body_len > BODY_BYTES_MAX {
        check_rare(record, response)?;
    }
    // Beside a status without a body, a length that was said is one that may be (304).
    let is_framed = !is_rare || body_allowed(status) || response.content_length.is_some();
    let framing = is_framed.then_some(ResponseBodyLength::Length(length));
    let (head, body_len) = match text::with_body(record, template, response, framing, area) {
        Ok(written) => written,
        Err(error) => return fill_uncommon(record, response, framing, (error, template), area),
    };
    let tail = if body_len.is_some() {
        Tail::None
    } else {
        let body = core::mem::replace(&mut response.body, Memory::NONE);
        Tail::Bytes(body.into_held())
    };
    let flags = if response.close { ResponseFlags::CLOSE } else { ResponseFlags::default() };
    Ok(Answered { status, head, body_len: body_len.unwrap_or(0), flags, tail })
}

/// As [`fill_plain`], of a head that takes another way.
#[cold]
fn fill_uncommon(
    record: &RequestRecord,
    response: &mut Response<'_>,
    framing: Option<ResponseBodyLength>,
    (error, template): (WriteError, &HeadTemplate),
    area: &mut [u8],
) -> Result<Answered> {
    let body = if record.is_head() { &[] } else { response.body.as_bytes() };
    let written = text::uncommon(response, framing, (error, body, template), area)?;
    let flags = if response.close { ResponseFlags::CLOSE } else { ResponseFlags::default() };
    let unsent = match written.body_len {
        Some(_) => None,
        None => Some(core::mem::replace(&mut response.body, Memory::NONE).into_held()),
    };
    if written.rest.is_some() {
        let pieces = unsent.map(|bytes| Piece::Content(Data::Bytes(bytes))).into_iter().collect();
        return Ok(before((written, flags), response.status, &OutStream::whole(pieces), false));
    }
    let body_len = written.body_len.unwrap_or(0);
    let tail = unsent.map_or(Tail::None, Tail::Bytes);
    Ok(Answered { status: response.status, head: written.head, body_len, flags, tail })
}

/// As [`fill`], with the whole body in pieces. Gives the stream of them, too.
#[cold]
pub(super) fn fill_pieces(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &mut Response<'_>,
    area: &mut [u8],
) -> Result<(Answered, Arc<OutStream>)> {
    let body = core::mem::replace(&mut response.body, Memory::NONE);
    let mut mixed = response.mixed.take().unwrap_or_default();
    let first = mixed.file.take().map_or_else(|| Data::Bytes(body.into_held()), Data::File);
    let all = core::iter::once(first).chain(mixed.chunks.drain(..).map(Body::into_data));
    let (mut sent, unsent): (Vec<Data>, Vec<Data>) = all.partition(|data| data.len() > 0);
    let len = sent.iter().fold(0_u64, |sum, data| sum.saturating_add(data.len()));
    let checked = check_length(record, response, len).and_then(|()| {
        let is_framed = body_allowed(response.status) || response.content_length.is_some();
        let framing = is_framed.then_some(ResponseBodyLength::Length(response.content_length.unwrap_or(len)));
        text::alone(record, template, response, framing, area)
    });
    mixed.unsent = unsent;
    if record.is_head() || checked.is_err() {
        mixed.unsent.append(&mut sent);
    }
    response.mixed = Some(mixed);
    let head = checked?;
    let stream = OutStream::whole(sent.into_iter().map(Piece::Content).collect());
    Ok((before(head, response.status, &stream, false), stream))
}

/// As [`fill`], with the head alone; the body is given to a stream later. Gives what the stream has to do.
#[cold]
pub(super) fn fill_start(
    record: &RequestRecord,
    template: &HeadTemplate,
    response: &Response<'_>,
    area: &mut [u8],
    stream: &Arc<OutStream>,
) -> Result<(Answered, Option<ResponseBodyLength>)> {
    let mixed = response.mixed.as_deref();
    if mixed.is_some_and(|mixed| !mixed.is_plain()) || !response.body.as_bytes().is_empty() {
        return Err(Error::invalid("start takes a response without a body: send the body to the stream it gives"));
    }
    let body_len = response.content_length.filter(|_| !is_bodiless(response.status)).unwrap_or(0);
    check_length(record, response, body_len)?;
    let framing = match response.content_length {
        Some(length) => Some(ResponseBodyLength::Length(length)),
        None if !body_allowed(response.status) || response.unframed => None,
        // Nothing can follow, so that is said.
        None if response.status == RESET_CONTENT => Some(ResponseBodyLength::Length(0)),
        None => Some(text::unknown_length(record)),
    };
    let head = text::alone(record, template, response, framing, area)?;
    // A 304 may state a length, and has no body.
    let framing = framing.filter(|_| body_allowed(response.status));
    let is_chunked = framing == Some(ResponseBodyLength::Chunked) && !record.is_head();
    Ok((before(head, response.status, stream, is_chunked), framing))
}

/// The response that a head and a stream make; `is_chunked`: the shard puts the content into chunks.
pub(super) fn before(
    (written, flags): (Written, ResponseFlags),
    status: u16,
    stream: &Arc<OutStream>,
    is_chunked: bool,
) -> Answered {
    let framing = if is_chunked { Framing::Pieces { begun: false } } else { Framing::Outside };
    let mut outgoing = Outgoing::framed(Arc::clone(stream), written.head.len, framing);
    if let Some(rest) = written.rest {
        outgoing.put_head_rest(rest);
    }
    Answered { status, head: written.head, body_len: 0, flags, tail: Tail::Stream(outgoing) }
}

/// Statuses and lengths that need a look.
#[cold]
fn check_rare(record: &RequestRecord, response: &Response<'_>) -> Result<()> {
    let body_len = response.body.as_bytes().len();
    if body_len > BODY_BYTES_MAX {
        let text = format!("the body has {body_len} bytes, but one response carries at most {BODY_BYTES_MAX}");
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    check_length(record, response, body_len as u64)
}

/// Whether the status may have a body of this length, and the length is the one that was said.
fn check_length(record: &RequestRecord, response: &Response<'_>, body_len: u64) -> Result<()> {
    let Response { status, content_length, .. } = response;
    if *status < 200 {
        return Err(Error::invalid(format!("status {status} is not final: a response needs one from 200 to 999")));
    }
    if record.is_connect() && (200..300).contains(status) {
        // What follows the head would be the tunnel's first bytes (RFC 9110 section 9.3.6).
        let text =
            format!("status {status} to CONNECT opens a tunnel, which the engine has not: refuse with 405 or 501");
        return Err(Error::invalid(text));
    }
    if is_bodiless(*status) && body_len > 0 {
        return Err(Error::invalid(format!(
            "a response with status {status} has no body, but this one has {body_len} bytes: leave them out"
        )));
    }
    match content_length {
        // It says what the response to a GET would have been (RFC 9110 section 8.6).
        Some(_) if *status == 304 => return Ok(()),
        Some(length) if !body_allowed(*status) || *status == RESET_CONTENT && *length > 0 => {
            let text = format!("a response with status {status} has no content_length, but {length} was given");
            return Err(Error::invalid(text + ": leave it out"));
        }
        _ => {}
    }
    match content_length {
        Some(length) if !(record.is_head() && body_len == 0) && *length != body_len => {
            let text = format!("content_length is {length}, but the body has {body_len} bytes");
            Err(Error::invalid(text))
        }
        _ => Ok(()),
    }
}

/// What a header field takes beside its name and value, for the bound of an informational response.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// An informational response that can be sent. Its fields have `bytes_max` bytes at most.
pub(super) fn informational(status: u16, fields: &[(&str, &str)], bytes_max: u32) -> Result<Informational> {
    if !(100..=199).contains(&status) || status == 101 {
        let text = format!("status {status} is not informational: send_informational takes 100 to 199 but 101");
        return Err(Error::invalid(text));
    }
    let (mut bytes, area_bytes) = (0, bytes_max as usize);
    for (name, value) in fields {
        let (name, value) = (WireName::Custom(name), value.as_bytes());
        check_field(name, value).map_err(|error| field_refused(error, name, value))?;
        bytes += name.as_str().len() + value.len() + FIELD_OVERHEAD_BYTES;
    }
    if bytes > area_bytes {
        return Err(refused::beyond_area(fields.iter().map(|(name, value)| (*name, value.len())), area_bytes));
    }
    Ok(Informational::new(status, fields))
}

#[cfg(test)]
mod tests;
