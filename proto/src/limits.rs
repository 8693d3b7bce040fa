//! Bounds on what a peer may send, chosen once by the owner of a listener.
//!
//! Invariants: every bound is a number with a unit and an allowed range; [`Limits::validate`] names the field, the
//! value and the range when one is broken. Parsers stay sound with unvalidated limits; they only refuse more. Not here:
//! body size, time and rate limits, which belong to whoever reads bodies and clocks. Source: RFC 9112 sections 3 and
//! 7.1.1, RFC 6585 section 5.

use core::fmt;

/// Fields one head can hold: the capacity of [`crate::head::Head::headers`].
pub const HEADER_COUNT_MAX: usize = 100;

/// Bounds on one request's head and chunk framing.
///
/// ```
/// use ringress_proto::limits::Limits;
///
/// let limits = Limits::DEFAULT.head_bytes_max(8_192).target_bytes_max(2_048);
/// assert!(limits.validate().is_ok());
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes from the first byte of a request to the end of its blank line; 256 to 65,535. A head of exactly this
    /// size is accepted; beyond it: 431.
    pub head_bytes_max: u16,
    /// Bytes of the request target; 16 up to `head_bytes_max`. Beyond it: 414.
    pub target_bytes_max: u16,
    /// Header fields of one request; 1 to 100 (`HEADER_COUNT_MAX`). Beyond it: 431.
    pub header_count_max: u16,
    /// Bytes of one chunk-size line, size and extensions, without its CRLF; 16 to 4,096. Beyond it: 400.
    pub chunk_line_bytes_max: u16,
    /// Bytes of extensions in one chunked body: all that stands on its size lines behind the size, CRLF excluded; 0 to
    /// 65,535. Beyond it: 400. Small chunks with long extensions cost more to read than they carry.
    pub chunk_extension_bytes_max: u16,
    /// Bytes of a trailer section, its blank line included; 2 to 65,535. Beyond it: 431.
    pub trailer_bytes_max: u16,
    /// Whether a target may have bytes beyond ASCII as they are, which RFC 3986 does not allow, as long as it is UTF-8.
    /// Otherwise: 400. Escaped ones are always taken.
    pub raw_target_bytes: bool,
}

impl Limits {
    /// The limits used unless the owner chooses others.
    pub const DEFAULT: Self = Self {
        head_bytes_max: 16_384,
        target_bytes_max: 8_192,
        header_count_max: 100,
        chunk_line_bytes_max: 256,
        chunk_extension_bytes_max: 16_384,
        trailer_bytes_max: 8_192,
        raw_target_bytes: false,
    };

    /// With another [`head_bytes_max`](field@Self::head_bytes_max).
    #[must_use]
    pub const fn head_bytes_max(mut self, bytes: u16) -> Self {
        self.head_bytes_max = bytes;
        self
    }

    /// With another [`target_bytes_max`](field@Self::target_bytes_max).
    #[must_use]
    pub const fn target_bytes_max(mut self, bytes: u16) -> Self {
        self.target_bytes_max = bytes;
        self
    }

    /// With another [`header_count_max`](field@Self::header_count_max).
    #[must_use]
    pub const fn header_count_max(mut self, count: u16) -> Self {
        self.header_count_max = count;
        self
    }

    /// With another [`chunk_line_bytes_max`](field@Self::chunk_line_bytes_max).
    #[must_use]
    pub const fn chunk_line_bytes_max(mut self, bytes: u16) -> Self {
        self.chunk_line_bytes_max = bytes;
        self
    }

    /// With another [`chunk_extension_bytes_max`](field@Self::chunk_extension_bytes_max).
    #[must_use]
    pub const fn chunk_extension_bytes_max(mut self, bytes: u16) -> Self {
        self.chunk_extension_bytes_max = bytes;
        self
    }

    /// With another [`trailer_bytes_max`](field@Self::trailer_bytes_max).
    #[must_use]
    pub const fn trailer_bytes_max(mut self, bytes: u16) -> Self {
        self.trailer_bytes_max = bytes;
        self
    }

    /// With another [`raw_target_bytes`](field@Self::raw_target_bytes).
    #[must_use]
    pub const fn raw_target_bytes(mut self, allowed: bool) -> Self {
        self.raw_target_bytes = allowed;
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub const fn validate(&self) -> Result<(), LimitError> {
        let fields: [(&'static str, u16, u16, u16); 6] = [
            ("head_bytes_max", self.head_bytes_max, 256, u16::MAX),
            ("target_bytes_max", self.target_bytes_max, 16, self.head_bytes_max),
            ("header_count_max", self.header_count_max, 1, HEADER_COUNT_LIMIT),
            ("chunk_line_bytes_max", self.chunk_line_bytes_max, 16, 4_096),
            ("chunk_extension_bytes_max", self.chunk_extension_bytes_max, 0, u16::MAX),
            ("trailer_bytes_max", self.trailer_bytes_max, 2, u16::MAX),
        ];
        let mut index = 0;
        while index < fields.len() {
            let (field, value, min, max) = fields[index];
            if value < min || value > max {
                return Err(LimitError { field, value, min, max });
            }
            index += 1;
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const HEADER_COUNT_LIMIT: u16 = 100;
const _: () = assert!(HEADER_COUNT_LIMIT as usize == HEADER_COUNT_MAX);
const _: () = assert!(Limits::DEFAULT.validate().is_ok());

/// A limit outside its range.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitError {
    /// Name of the field of [`Limits`].
    pub field: &'static str,
    /// The value given.
    pub value: u16,
    /// Smallest allowed value.
    pub min: u16,
    /// Largest allowed value.
    pub max: u16,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, min, max } = self;
        write!(f, "{field} is {value}, but must be between {min} and {max}")
    }
}

impl core::error::Error for LimitError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_out_of_range_limit_is_named_with_its_range() {
        let limits = Limits { header_count_max: 101, ..Limits::DEFAULT };
        let error = limits.validate().expect_err("101 fields do not fit");
        assert_eq!(error.to_string(), "header_count_max is 101, but must be between 1 and 100");
        let limits = Limits { target_bytes_max: 300, head_bytes_max: 299, ..Limits::DEFAULT };
        let error = limits.validate().expect_err("a target is part of its head");
        assert_eq!((error.field, error.max), ("target_bytes_max", 299));
    }

    #[test]
    fn default_limits_are_valid() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }
}
