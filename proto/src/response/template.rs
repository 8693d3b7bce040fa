//! What the heads of a server have in common, made once and copied into each.
//!
//! Invariants: what is copied was checked when it was made: at start, or when the program was compiled.
//! Not here: fields that differ from one response to the next.
//! Source: RFC 9110 sections 6.6.1, 8.3, 10.2.4.

use super::{HeadWriter, WriteError};
use crate::bytes::is_value_byte;
use crate::date::IMF_LEN;
use core::fmt;

/// The most bytes a Server field's value may have in an [`HeadTemplate`].
pub const SERVER_BYTES_MAX: usize = 128;
pub(super) const IMPRINT_BYTES: usize = SERVER_BYTES_MAX + 64;

/// The lines that every response of a server begins with after its status: Server and Date, checked once and copied
/// in one piece.
#[derive(Copy, Clone)]
pub struct HeadTemplate {
    /// `HTTP/1.1 200 OK` and the lines, so that the most common status is one copy with them.
    pub(super) bytes: [u8; IMPRINT_BYTES],
    pub(super) len: u16,
    pub(super) date_at: u16,
}

pub(super) const OK_LINE: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";

impl fmt::Debug for HeadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadTemplate").field("len", &self.len).finish_non_exhaustive()
    }
}

impl HeadTemplate {
    /// Lines with this Server value, or without a Server field if it is empty, and with a blank Date to be filled in.
    ///
    /// # Errors
    /// [`WriteError::BadValue`]; [`WriteError::NoSpace`] beyond [`SERVER_BYTES_MAX`] bytes.
    pub fn new(server: &str) -> Result<Self, WriteError> {
        if server.len() > SERVER_BYTES_MAX {
            return Err(WriteError::NoSpace);
        }
        let mut bytes = [0; IMPRINT_BYTES];
        let mut head = HeadWriter::new(&mut bytes);
        head.status(200, None)?;
        if !server.is_empty() {
            head.server(server)?;
        }
        let date_at = head.date(&[b' '; IMF_LEN])?;
        let len = u16::try_from(head.len).map_err(|_| WriteError::NoSpace)?;
        Ok(Self { bytes, len, date_at })
    }
}

/// One field of a response as a line, checked when the program is compiled and copied in one piece.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FieldLine(pub(super) &'static str);

impl FieldLine {
    /// `Content-Type: text/plain`.
    pub const TEXT_PLAIN: Self = Self::content_type("Content-Type: text/plain\r\n");

    /// The value of the field.
    #[must_use]
    pub fn value(self) -> &'static str {
        let colon = self.0.find(": ").map_or(0, |at| at + 2);
        self.0[colon..].trim_end_matches("\r\n")
    }

    /// A Content-Type line, its name, colon, space and line end included.
    ///
    /// # Panics
    /// If it is not one, or its value has a control byte: when compiling, in a constant.
    const fn content_type(line: &'static str) -> Self {
        const NAME: &[u8] = b"Content-Type: ";
        let bytes = line.as_bytes();
        let end = bytes.len() - 2;
        assert!(end > NAME.len(), "the field has a value");
        assert!(bytes[end] == b'\r' && bytes[end + 1] == b'\n', "a line ends in CRLF");
        let mut at = 0;
        while at < end {
            assert!(at >= NAME.len() || bytes[at] == NAME[at], "the field is Content-Type");
            assert!(is_value_byte(bytes[at]), "a value has no control bytes");
            at += 1;
        }
        Self(line)
    }
}
