//! What ends a body in chunks: the last chunk, and trailer fields.
//!
//! Invariants: a section is at most 16 KiB; what cannot be a trailer field is refused by its name.

use bytes::Bytes;
use ringress_proto::header::HeaderName;
use ringress_proto::response::{TrailerError, chunked_end, chunked_end_len};

use crate::error::{Error, ErrorKind, Result};

/// Bytes of the trailer fields at most, with what frames them.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// What ends a chunked body: the last chunk, trailer fields and a blank line. `first`: there was no chunk.
pub(super) fn chunked_ending(first: bool, trailers: &[(&str, &str)]) -> Result<Bytes> {
    let fields = || trailers.iter().map(|&(name, value)| (HeaderName::Custom(name), value.as_bytes()));
    let len = chunked_end_len(first, fields());
    if len > TRAILER_BYTES_MAX {
        let text = format!("the trailer section would have {len} bytes, but at most {TRAILER_BYTES_MAX} are sent");
        return Err(Error::told(ErrorKind::TooLarge, text));
    }
    let mut ending = vec![0; len];
    // The writer takes one field after the other, so the last one taken is the one it does not like.
    let mut name = "";
    let named = trailers.iter().zip(fields()).map(|((taken, _), field)| {
        name = taken;
        field
    });
    match chunked_end(first, named, &mut ending) {
        Ok(_) => Ok(ending.into()),
        Err(TrailerError::Forbidden) => Err(Error::invalid(format!(
            "{name} cannot be a trailer field (RFC 9110 section 6.5.1): give it to the response as a header"
        ))),
        Err(_) => Err(Error::invalid(format!("the trailer field {name:?} has a name or value that is not valid"))),
    }
}
