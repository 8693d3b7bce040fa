//! Response heads and the framing of chunked bodies, written straight into the caller's memory.
//!
//! Invariants: nothing written can start a new line or end the head early: names are tokens, values and reasons have no
//! control bytes but HTAB. The fields that frame the message, end the connection or tell the time are written by
//! their own methods only. A 1xx head is never framed. An error leaves what was written before intact.
//! Not here: the content of bodies, the choice of fields, protocol versions other than the HTTP/1.1 every response
//! states.
//! Source: RFC 9112 sections 4, 5, 6, 7.1, 9.6; RFC 9110 sections 5.5, 6.6.1, 7.8, 8.6, 15.

mod chunk;
mod status;
mod template;

pub use chunk::{CHUNK_LINE_BYTES, TrailerError, chunk_line, last_chunk, trailer_section, trailer_section_len};
pub use status::{body_allowed, reason_phrase};
pub use template::{FieldLine, HeadTemplate, SERVER_BYTES_MAX};

use crate::bytes::{is_token, is_token_byte, is_value, is_value_byte, trim_ows};
use crate::date::IMF_LEN;
use crate::header::{HeaderName, ResponseHeader};
use core::fmt;
use template::{OK_LINE, TEMPLATE_BYTES_MAX};

/// Why a part of a response head was not written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteError {
    /// The memory is full.
    NoSpace,
    /// The status is not 100 to 999, or not the first thing written.
    BadStatus,
    /// The reason has a control byte.
    BadReason,
    /// The name is not a token.
    BadName,
    /// The value has a control byte other than HTAB, or is not a list of protocols where one is needed.
    BadValue,
    /// The field is not the application's to set (Date, Server, Connection, Transfer-Encoding, Content-Length, in a 101
    /// also Upgrade), or the framing is already written, or it does not belong in a 1xx head.
    Reserved,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "the response head does not fit its memory",
            Self::BadStatus => "the status is not 100 to 999, or not written first",
            Self::BadReason => "the reason has a control byte",
            Self::BadName => "the field name is not a token",
            Self::BadValue => "the field value has a control byte or does not fit its field",
            Self::Reserved => "the field is written by the server itself",
        })
    }
}

impl core::error::Error for WriteError {}

/// What the response says about its connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The connection ends after this response.
    Close,
    /// The connection persists; needed towards HTTP/1.0 only.
    KeepAlive,
}

impl Connection {
    /// The longest [`line`](Self::line).
    pub const LINE_BYTES_MAX: usize = 24;

    /// The whole field line, its end included: a head is written before it is known what it says of its connection,
    /// and this goes behind the Date then.
    #[inline]
    #[must_use]
    pub const fn line(self) -> &'static [u8] {
        match self {
            Self::Close => b"Connection: close\r\n",
            Self::KeepAlive => b"Connection: keep-alive\r\n",
        }
    }
}

/// What a head may still say about where its body ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum LengthField {
    /// Nothing is written yet.
    Open,
    /// Content-Length or Transfer-Encoding is written, or the status is 1xx: no more of either.
    Settled,
}

/// Writes one response head: the status, then fields, then [`HeadWriter::finish`].
///
/// A head with status 1xx takes the same fields but for the framing; for 101, [`HeadWriter::upgrade`] must be among
/// the calls (RFC 9110 section 15.2.2).
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut [u8],
    /// Bytes written; at most `out.len()`. 0 until the status is written.
    len: usize,
    length_field: LengthField,
}

impl<'a> HeadWriter<'a> {
    /// A writer at the start of `out`.
    #[inline]
    #[must_use]
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, length_field: LengthField::Open }
    }

    /// Writes the status line, with the registered reason unless one is given. Must come first, once.
    ///
    /// # Errors
    /// [`WriteError::BadStatus`], [`WriteError::BadReason`], [`WriteError::NoSpace`].
    #[inline]
    pub fn status(&mut self, status: u16, reason: Option<&str>) -> Result<(), WriteError> {
        if self.len != 0 {
            return Err(WriteError::BadStatus);
        }
        match (status, reason) {
            (200, None) => self.put(b"HTTP/1.1 200 OK\r\n"),
            (204, None) => self.put(b"HTTP/1.1 204 No Content\r\n"),
            (304, None) => self.put(b"HTTP/1.1 304 Not Modified\r\n"),
            (404, None) => self.put(b"HTTP/1.1 404 Not Found\r\n"),
            _ => {
                self.rare_status(status, reason)?;
                if status < 200 {
                    // RFC 9110 section 8.6, RFC 9112 section 6.1: neither length nor coding in 1xx.
                    self.length_field = LengthField::Settled;
                }
                Ok(())
            }
        }
    }

    fn rare_status(&mut self, status: u16, reason: Option<&str>) -> Result<(), WriteError> {
        if !(100..=999).contains(&status) {
            return Err(WriteError::BadStatus);
        }
        let reason = reason.unwrap_or_else(|| reason_phrase(status)).as_bytes();
        if !is_value(reason) {
            return Err(WriteError::BadReason);
        }
        let mut digits = [0; 3];
        decimal(u64::from(status), &mut digits);
        self.put_parts([b"HTTP/1.1 ", &digits, b" ", reason, b"\r\n"])
    }

    /// Writes the Server field.
    ///
    /// # Errors
    /// [`WriteError::BadValue`], [`WriteError::NoSpace`], [`WriteError::BadStatus`] before the status.
    #[inline]
    pub fn server(&mut self, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        self.after_status()?;
        let value = value.as_ref();
        if !is_value(value) {
            return Err(WriteError::BadValue);
        }
        self.put_parts([b"Server: ", value, b"\r\n"])
    }

    /// Writes the Date field. Returns the offset of the date's 29 bytes, so that a stored head can be freshened in
    /// place.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`], also if the offset exceeds 65,535; [`WriteError::BadStatus`] before the status.
    #[inline]
    pub fn date(&mut self, date: &[u8; IMF_LEN]) -> Result<u16, WriteError> {
        const NAME: &[u8; 6] = b"Date: ";
        self.after_status()?;
        let offset = u16::try_from(self.len + NAME.len()).map_err(|_| WriteError::NoSpace)?;
        let mut line = [0; NAME.len() + IMF_LEN + 2];
        line[..NAME.len()].copy_from_slice(NAME);
        line[NAME.len()..NAME.len() + IMF_LEN].copy_from_slice(date);
        line[NAME.len() + IMF_LEN..].copy_from_slice(b"\r\n");
        self.put(&line)?;
        Ok(offset)
    }

    /// Writes the status line and a template. Must come first, once. Returns the offset of the date's 29 bytes.
    ///
    /// # Errors
    /// As [`HeadWriter::status`].
    #[inline]
    pub fn status_and_template(
        &mut self,
        status: u16,
        reason: Option<&str>,
        template: &HeadTemplate,
    ) -> Result<u16, WriteError> {
        let len = usize::from(template.len);
        if status == 200 && reason.is_none() && self.len == 0 && self.out.len() >= TEMPLATE_BYTES_MAX {
            // Copying the whole array is a few moves of known size; what is beyond `len` is written over.
            self.put(&template.bytes)?;
            self.len = len;
            return Ok(template.date_at);
        }
        self.status(status, reason)?;
        let before = self.len;
        self.put_parts([&template.bytes[OK_LINE.len()..len]])?;
        let date_at = before + usize::from(template.date_at) - OK_LINE.len();
        u16::try_from(date_at).map_err(|_| WriteError::NoSpace)
    }

    /// Writes any field that is the application's to set; Upgrade as [`upgrade`](Self::upgrade) does.
    ///
    /// # Errors
    /// [`WriteError::Reserved`], [`WriteError::BadName`], [`WriteError::BadValue`], [`WriteError::NoSpace`],
    /// [`WriteError::BadStatus`] before the status.
    #[inline]
    pub fn header(&mut self, name: HeaderName<'_>, value: &[u8]) -> Result<(), WriteError> {
        self.after_status()?;
        let (known, name) = allowed(name)?;
        if known == ResponseHeader::Upgrade {
            return self.offer(value);
        }
        if !is_value(value) {
            return Err(WriteError::BadValue);
        }
        self.put_parts([name.as_bytes(), b": ", value, b"\r\n"])
    }

    /// Writes a field checked before.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`], [`WriteError::BadStatus`] before the status.
    #[inline]
    pub fn line(&mut self, line: FieldLine) -> Result<(), WriteError> {
        self.after_status()?;
        self.put_parts([line.text().as_bytes()])
    }

    /// Writes the Content-Length field.
    ///
    /// # Errors
    /// [`WriteError::Reserved`] if the framing is already written, [`WriteError::NoSpace`],
    /// [`WriteError::BadStatus`] before the status.
    #[inline]
    pub fn content_length(&mut self, length: u64) -> Result<(), WriteError> {
        self.frame()?;
        // A short response is quick in all else, so this is made quick, too; of a longer one it is a small part.
        let digits = (b'0' + (length / 10 % 10) as u8, b'0' + (length % 10) as u8);
        match length {
            0..10 => {
                let mut line = *b"Content-Length: 0\r\n";
                line[16] = digits.1;
                self.put(&line)?;
            }
            10..100 => {
                let mut line = *b"Content-Length: 00\r\n";
                (line[16], line[17]) = digits;
                self.put(&line)?;
            }
            _ => self.long_content_length(length)?,
        }
        self.length_field = LengthField::Settled;
        Ok(())
    }

    fn long_content_length(&mut self, length: u64) -> Result<(), WriteError> {
        const NAME: &[u8; 16] = b"Content-Length: ";
        let digit_count = length.checked_ilog10().map_or(1, |log| log as usize + 1);
        let room = self.room(NAME.len() + digit_count + 2)?;
        let (name, rest) = room.split_at_mut(NAME.len());
        let (digits, line_end) = rest.split_at_mut(digit_count);
        name.copy_from_slice(NAME);
        decimal(length, digits);
        line_end.copy_from_slice(b"\r\n");
        self.len += NAME.len() + digit_count + 2;
        Ok(())
    }

    /// Writes `Transfer-Encoding: chunked`.
    ///
    /// # Errors
    /// As [`HeadWriter::content_length`].
    #[inline]
    pub fn chunked(&mut self) -> Result<(), WriteError> {
        self.frame()?;
        self.put(b"Transfer-Encoding: chunked\r\n")?;
        self.length_field = LengthField::Settled;
        Ok(())
    }

    /// Writes `Connection: Upgrade` and `Upgrade` with these protocols, such as `websocket` or `h2c, foo/2`. In a 101:
    /// those that the connection switches to; in others: those that the server offers, which 426 needs (RFC 9110
    /// sections 7.8, 15.5.22).
    ///
    /// # Errors
    /// [`WriteError::BadValue`] if it is not a list of at least one protocol, each a name and perhaps `/` and a
    /// version; [`WriteError::NoSpace`], [`WriteError::BadStatus`] before the status.
    pub fn upgrade(&mut self, protocols: &str) -> Result<(), WriteError> {
        self.offer(protocols.as_bytes())
    }

    // Inlined, it would cost every other field 12 instructions.
    #[cold]
    #[inline(never)]
    fn offer(&mut self, protocols: &[u8]) -> Result<(), WriteError> {
        self.after_status()?;
        if !is_offer(protocols) {
            return Err(WriteError::BadValue);
        }
        self.put_parts([b"Connection: Upgrade\r\nUpgrade: ", protocols, b"\r\n"])
    }

    /// Writes the blank line. Returns the bytes of the whole head.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`], [`WriteError::BadStatus`] before the status.
    #[inline]
    pub fn finish(mut self) -> Result<usize, WriteError> {
        self.after_status()?;
        self.put(b"\r\n")?;
        Ok(self.len)
    }

    /// Writes the blank line, and behind it the body if there is room for all of it. Returns the bytes written, and
    /// whether the body is among them.
    ///
    /// # Errors
    /// As [`HeadWriter::finish`].
    #[inline]
    pub fn finish_with(mut self, body: &[u8]) -> Result<(usize, bool), WriteError> {
        self.after_status()?;
        self.put(b"\r\n")?;
        let has_body = self.put_parts([body]).is_ok();
        Ok((self.len, has_body))
    }

    #[inline]
    fn after_status(&self) -> Result<(), WriteError> {
        if self.len == 0 { Err(WriteError::BadStatus) } else { Ok(()) }
    }

    #[inline]
    fn frame(&self) -> Result<(), WriteError> {
        self.after_status()?;
        if self.length_field == LengthField::Open { Ok(()) } else { Err(WriteError::Reserved) }
    }

    /// Writes text of a length known to the compiler.
    #[inline]
    fn put<const LEN: usize>(&mut self, text: &[u8; LEN]) -> Result<(), WriteError> {
        let room = self.out[self.len..].first_chunk_mut::<LEN>().ok_or(WriteError::NoSpace)?;
        *room = *text;
        self.len += LEN;
        Ok(())
    }

    /// Writes all parts, or nothing.
    #[inline]
    fn put_parts<const COUNT: usize>(&mut self, parts: [&[u8]; COUNT]) -> Result<(), WriteError> {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut room = self.room(len)?;
        for part in parts {
            let (start, rest) = room.split_at_mut(part.len());
            copy_short(start, part);
            room = rest;
        }
        self.len += len;
        Ok(())
    }

    /// The next so many bytes of the memory.
    #[inline]
    fn room(&mut self, len: usize) -> Result<&mut [u8], WriteError> {
        self.out[self.len..].get_mut(..len).ok_or(WriteError::NoSpace)
    }
}

/// Copies `from` to the equally long `to`. Short texts go in two overlapping pieces, which is cheaper than a call.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    match from.len() {
        4..=7 => copy_ends::<4>(to, from),
        8..=15 => copy_ends::<8>(to, from),
        16..=32 => copy_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `SIZE` bytes.
#[inline]
fn copy_ends<const SIZE: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<SIZE>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<SIZE>(), from.last_chunk()) {
        *to = *from;
    }
}

/// Looks at a field before it is written: what passes, [`HeadWriter::header`] writes if there is room.
///
/// # Errors
/// [`WriteError::Reserved`], [`WriteError::BadName`], [`WriteError::BadValue`].
pub fn check_field(name: HeaderName<'_>, value: &[u8]) -> Result<(), WriteError> {
    let (known, _) = allowed(name)?;
    let is_valid = if known == ResponseHeader::Upgrade { is_offer(value) } else { is_value(value) };
    if is_valid { Ok(()) } else { Err(WriteError::BadValue) }
}

/// Where the first byte is that no field name may have; `None` also for an empty name, which is no name either.
#[must_use]
pub fn bad_name_byte(name: &[u8]) -> Option<usize> {
    name.iter().position(|&byte| !is_token_byte(byte))
}

/// Where the first byte is that no field value, and no reason, may have.
#[must_use]
pub fn bad_value_byte(value: &[u8]) -> Option<usize> {
    value.iter().position(|&byte| !is_value_byte(byte))
}

/// Whether a value of Upgrade is a list of protocols.
fn is_offer(protocols: &[u8]) -> bool {
    let is_protocol = |element: &[u8]| {
        let mut parts = trim_ows(element).splitn(2, |&byte| byte == b'/');
        parts.all(is_token)
    };
    protocols.split(|&byte| byte == b',').all(is_protocol)
}

/// A field's name, if it is one that is the application's to set, and which of the known ones it is.
#[inline]
fn allowed(name: HeaderName<'_>) -> Result<(ResponseHeader, &str), WriteError> {
    let (known, name) = checked(name).ok_or(WriteError::BadName)?;
    if is_reserved(known) { Err(WriteError::Reserved) } else { Ok((known, name)) }
}

/// A field's name if it is one, and which of the known ones it is.
#[inline]
fn checked(name: HeaderName<'_>) -> Option<(ResponseHeader, &str)> {
    match name {
        HeaderName::Known(ResponseHeader::Unknown) => None,
        HeaderName::Known(known) => Some((known, known.as_str())),
        HeaderName::Custom(name) if is_token(name.as_bytes()) => Some((ResponseHeader::lookup(name.as_bytes()), name)),
        HeaderName::Custom(_) => None,
    }
}

/// Whether the field is written by a method of its own.
#[inline]
const fn is_reserved(known: ResponseHeader) -> bool {
    matches!(
        known,
        ResponseHeader::Date
            | ResponseHeader::Server
            | ResponseHeader::Connection
            | ResponseHeader::TransferEncoding
            | ResponseHeader::ContentLength
    )
}

/// Fills `digits` with the last digits of `value`, in decimal.
#[inline]
fn decimal(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests;
