//! Trailer fields, behind a body in chunks.
//!
//! Invariants: a section is at most 16 KiB; what cannot be a trailer field is refused by its name.
//!
//! Not here: which responses may have trailers (`stream`), the syntax of fields (`proto::response`), and trailers of
//! requests (`body`).

use bytes::Bytes;
use ringress_proto::header::HeaderName;
use ringress_proto::response::{TrailerError, WriteError, trailer_section, trailer_section_len};

use crate::api::response::field_refused;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a trailer section at most.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// The section that is sent behind the last chunk.
pub(super) fn trailers_of(trailers: &[(&str, &str)]) -> Result<Bytes> {
    let fields = || trailers.iter().map(|&(name, value)| (HeaderName::Custom(name), value.as_bytes()));
    let len = trailer_section_len(fields());
    if len > TRAILER_BYTES_MAX {
        let text = format!("the trailer section would have {len} bytes, but at most {TRAILER_BYTES_MAX} are sent");
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    let mut section = vec![0; len];
    // The writer takes one field after the other, so the last one taken is the one it does not like.
    let mut last = (HeaderName::Custom(""), &[][..]);
    let named = fields().inspect(|field| last = *field);
    match trailer_section(named, &mut section) {
        Ok(_) => Ok(section.into()),
        Err(TrailerError::BadName) => Err(field_refused(WriteError::BadName, last.0, last.1)),
        Err(TrailerError::BadValue) => Err(field_refused(WriteError::BadValue, last.0, last.1)),
        Err(_) => Err(Error::invalid(format!(
            "{} cannot be a trailer field (RFC 9110 section 6.5.1): give it to the response as a header",
            last.0.as_str()
        ))),
    }
}
