//! Incremental decoder for chunked bodies.
//!
//! Invariants: no byte is consumed twice and none is kept; any split of the input gives the same data, the same trailer
//! bytes, the same number of bytes consumed and the same verdict. Every line ends in CRLF. Sizes are plain
//! hexadecimal numbers of at most 16 digits. Extensions have their grammar, are bounded a line and a body, and are
//! dropped. Trailer
//! fields are checked, bounded and handed out; they hold only once the body is complete.
//! Not here: meaning of extensions and trailers ([`crate::trailers`] reads those); a limit on the size of the body.
//! Source: RFC 9112 sections 7.1, 7.1.1, 7.1.2; RFC 9110 section 6.5.

use crate::bytes::{hex_value, is_token_byte, is_value_byte};
use crate::limits::Limits;
use crate::reject::Reject;

/// Digits of the largest chunk size accepted: 16 hold any 64-bit number.
const SIZE_DIGITS_MAX: u16 = 16;

/// Where in the body the next byte stands.
///
/// ```text
/// Size -> SizeDigits -> [extensions] -> SizeLf -+-> Data -> DataCr -> DataLf -> Size
///                                               |
///                  size 0: TrailerLine <--------+
/// extensions:  [Gap] ; NameStart -> Name -> [NameGap] [= ValueStart -> Value | Quoted -> QuotedEnd] -> [Gap] ; ...
/// TrailerLine -> TrailerName -> TrailerValue -> TrailerLf -> TrailerLine
/// TrailerLine -> FinalLf -> Done
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// Before the first digit of a size.
    Size,
    /// After a digit.
    SizeDigits,
    /// In white space before a semicolon, after a size or a value.
    Gap,
    /// After a semicolon: before the name of an extension.
    NameStart,
    /// In the name of an extension.
    Name,
    /// In white space after a name.
    NameGap,
    /// After an equals sign: before a value.
    ValueStart,
    /// In a value that is a token.
    Value,
    /// In a value that is quoted.
    Quoted,
    /// After a backslash in a quoted value.
    QuotedPair,
    /// After the end of a quoted value.
    QuotedEnd,
    /// After the CR of a size line.
    SizeLf,
    /// In the data of a chunk, `remaining` bytes before its end.
    Data,
    /// Before the CR that ends the data.
    DataCr,
    /// After that CR.
    DataLf,
    /// At the start of a trailer line.
    TrailerLine,
    /// In the name of a trailer field.
    TrailerName,
    /// In the value of a trailer field.
    TrailerValue,
    /// After the CR of a trailer field.
    TrailerLf,
    /// After the CR of the blank line.
    FinalLf,
    /// After the body.
    Done,
}

/// Decodes one chunked body.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Decoder {
    /// In `Size*`: the size so far. In `Data`: bytes of the chunk still to come.
    remaining: u64,
    /// Bytes of the current size line; digits only, while in `SizeDigits`.
    line_bytes: u16,
    /// Bytes of extensions so far, in all size lines.
    extension_bytes: u16,
    /// Bytes of the trailer section so far.
    trailer_bytes: u16,
    state: State,
}

const _: () = assert!(size_of::<Decoder>() <= 24);

/// What a call of [`Decoder::step`] found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All input is consumed and the body goes on.
    NeedMore,
    /// Body bytes: `input[start..start + len]` of the input as passed; `len` is not 0.
    Data {
        /// Offset of the first byte.
        start: usize,
        /// Number of bytes.
        len: usize,
    },
    /// Bytes of the trailer section, as they came: `input[start..start + len]` of the input as passed; `len` is not
    /// 0. All of them together are whole field lines with their CRLFs, without the blank line that ends the section.
    Trailer {
        /// Offset of the first byte.
        start: usize,
        /// Number of bytes.
        len: usize,
    },
    /// The body is complete; what follows the consumed bytes belongs to the next request.
    Done,
}

impl Decoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self { remaining: 0, line_bytes: 0, extension_bytes: 0, trailer_bytes: 0, state: State::Size }
    }

    /// Whether the body is complete.
    #[inline]
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Decodes from `input`, which begins with the first byte not consumed yet, up to the end of the next
    /// piece of data or trailers. Returns the bytes consumed, that piece included, and what was found.
    ///
    /// # Errors
    /// 400 for malformed framing or trailers and for extensions beyond their limits, 431 for a trailer section beyond
    /// its limit. The decoder must not be used after an error.
    #[inline]
    pub fn step(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Step), Reject> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data => return Ok(self.take_data(input, at)),
                State::Done => return Ok((at, Step::Done)),
                State::Size | State::SizeDigits => {
                    at = self.take_size(input, at, limits)?;
                    if matches!(self.state, State::Data | State::TrailerLine) {
                        continue;
                    }
                }
                State::DataCr => {
                    if let Some(b"\r\n") = input[at..].first_chunk() {
                        at += 2;
                        self.line_bytes = 0;
                        self.state = State::Size;
                        continue;
                    }
                }
                State::TrailerLine if self.ends_here(&input[at..], limits) => {
                    self.state = State::Done;
                    return Ok((at + 2, Step::Done));
                }
                State::TrailerLine | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                    let end = self.take_trailer(input, at, limits)?;
                    if end > at {
                        return Ok((end, Step::Trailer { start: at, len: end - at }));
                    }
                }
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok((at, Step::NeedMore));
            };
            self.state = self.next(byte, limits)?;
            at += 1;
        }
    }

    /// As much of the chunk's data as is there.
    #[inline]
    fn take_data(&mut self, input: &[u8], start: usize) -> (usize, Step) {
        let here = input.len() - start;
        let len = usize::try_from(self.remaining).map_or(here, |remaining| remaining.min(here));
        if len == 0 {
            return (start, Step::NeedMore);
        }
        self.remaining -= len as u64;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        (start + len, Step::Data { start, len })
    }

    /// Takes the digits from `start` on, and the line's end if it follows at once and is there. Returns the offset
    /// behind what it took.
    #[inline]
    fn take_size(&mut self, input: &[u8], start: usize, limits: &Limits) -> Result<usize, Reject> {
        let mut at = start;
        while let Some(digit) = input.get(at).and_then(|&byte| hex_value(byte)) {
            if self.line_bytes >= SIZE_DIGITS_MAX {
                return Err(Reject::BadChunk);
            }
            self.count_line_byte(limits)?;
            self.remaining = self.remaining << 4 | u64::from(digit);
            self.state = State::SizeDigits;
            at += 1;
        }
        if self.state == State::SizeDigits
            && let Some(b"\r\n") = input[at..].first_chunk()
        {
            at += 2;
            self.state = if self.remaining == 0 { State::TrailerLine } else { State::Data };
        }
        Ok(at)
    }

    /// Whether the blank line is next, is there, and is within the limit.
    #[inline]
    fn ends_here(&self, input: &[u8], limits: &Limits) -> bool {
        let fits = limits.trailer_bytes_max.saturating_sub(self.trailer_bytes) >= 2;
        fits && input.first_chunk() == Some(b"\r\n")
    }

    /// Where the trailer fields from `start` on end: before the blank line, or with the input.
    #[cold]
    fn take_trailer(&mut self, input: &[u8], start: usize, limits: &Limits) -> Result<usize, Reject> {
        let mut end = start;
        while let Some(&byte) = input.get(end) {
            if self.state == State::TrailerLine && byte == b'\r' {
                break;
            }
            self.state = self.trailer_byte(byte, limits)?;
            end += 1;
        }
        Ok(end)
    }

    /// The state after `byte`, anywhere but in data; in a size, only after its digits.
    fn next(&mut self, byte: u8, limits: &Limits) -> Result<State, Reject> {
        match self.state {
            State::Size => Err(Reject::BadChunk),
            State::SizeDigits | State::Name | State::Value | State::QuotedEnd if byte == b'\r' => Ok(State::SizeLf),
            State::SizeDigits
            | State::Gap
            | State::NameStart
            | State::Name
            | State::NameGap
            | State::ValueStart
            | State::Value
            | State::Quoted
            | State::QuotedPair
            | State::QuotedEnd => self.extension_byte(byte, limits),
            State::SizeLf if byte == b'\n' && self.remaining == 0 => Ok(State::TrailerLine),
            State::SizeLf if byte == b'\n' => Ok(State::Data),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.line_bytes = 0;
                Ok(State::Size)
            }
            State::DataCr => Err(if byte == b'\n' { Reject::BareLineFeed } else { Reject::BadChunk }),
            State::SizeLf | State::DataLf => Err(Reject::BareCarriageReturn),
            _ => self.trailer_byte(byte, limits),
        }
    }

    /// A byte after the size that does not end the line (RFC 9112 section 7.1.1):
    ///
    /// ```text
    /// extensions = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
    /// ```
    fn extension_byte(&mut self, byte: u8, limits: &Limits) -> Result<State, Reject> {
        if byte == b'\n' {
            return Err(Reject::BareLineFeed);
        }
        self.count_line_byte(limits)?;
        if self.extension_bytes >= limits.chunk_extension_bytes_max {
            return Err(Reject::ChunkExtensionsTooLarge);
        }
        self.extension_bytes += 1;
        let is_space = matches!(byte, b' ' | b'\t');
        match (self.state, byte) {
            (State::Quoted, b'"') => Ok(State::QuotedEnd),
            (State::Quoted, b'\\') => Ok(State::QuotedPair),
            (State::Quoted | State::QuotedPair, _) if is_value_byte(byte) => Ok(State::Quoted),
            (State::Quoted | State::QuotedPair, _) => Err(Reject::BadChunk),
            (State::NameStart | State::Name, _) if is_token_byte(byte) => Ok(State::Name),
            (State::ValueStart | State::Value, _) if is_token_byte(byte) => Ok(State::Value),
            (State::ValueStart, b'"') => Ok(State::Quoted),
            (State::NameStart | State::ValueStart, _) if is_space => Ok(self.state),
            (State::NameStart | State::ValueStart, _) => Err(Reject::BadChunk),
            (State::Name | State::NameGap, b'=') => Ok(State::ValueStart),
            (_, b';') => Ok(State::NameStart),
            (State::Name | State::NameGap, _) if is_space => Ok(State::NameGap),
            _ if is_space => Ok(State::Gap),
            _ => Err(Reject::BadChunk),
        }
    }

    #[inline]
    fn count_line_byte(&mut self, limits: &Limits) -> Result<(), Reject> {
        if self.line_bytes >= limits.chunk_line_bytes_max {
            return Err(Reject::ChunkLineTooLong);
        }
        self.line_bytes += 1;
        Ok(())
    }

    /// A byte of the trailer section: fields as in a head, then a blank line.
    fn trailer_byte(&mut self, byte: u8, limits: &Limits) -> Result<State, Reject> {
        if self.trailer_bytes >= limits.trailer_bytes_max {
            return Err(Reject::TrailersTooLarge);
        }
        self.trailer_bytes += 1;
        match (self.state, byte) {
            (State::TrailerLf, b'\n') => Ok(State::TrailerLine),
            (State::FinalLf, b'\n') => Ok(State::Done),
            (State::TrailerLf | State::FinalLf, _) => Err(Reject::BareCarriageReturn),
            (_, b'\n') => Err(Reject::BareLineFeed),
            (State::TrailerLine, b'\r') => Ok(State::FinalLf),
            (State::TrailerLine, b' ' | b'\t') => Err(Reject::ObsoleteFold),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerLine | State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerLine | State::TrailerName, _) => Err(Reject::BadHeaderName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            _ if is_value_byte(byte) => Ok(State::TrailerValue),
            _ => Err(Reject::BadHeaderValue),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The decoded body and the bytes consumed.
    fn decode(input: &[u8], limits: &Limits) -> Result<Option<(Vec<u8>, usize)>, Reject> {
        Ok(decode_all(input, limits)?.map(|(body, _, consumed)| (body, consumed)))
    }

    /// The decoded body, the trailer section and the bytes consumed.
    #[expect(clippy::type_complexity, reason = "a tuple for the tests")]
    fn decode_all(input: &[u8], limits: &Limits) -> Result<Option<(Vec<u8>, Vec<u8>, usize)>, Reject> {
        let mut decoder = Decoder::new();
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let mut at = 0;
        loop {
            let (consumed, step) = decoder.step(&input[at..], limits)?;
            match step {
                Step::NeedMore => return Ok(None),
                Step::Data { start, len } => body.extend_from_slice(&input[at + start..at + start + len]),
                Step::Trailer { start, len } => trailers.extend_from_slice(&input[at + start..at + start + len]),
                Step::Done => return Ok(Some((body, trailers, at + consumed))),
            }
            at += consumed;
        }
    }

    #[test]
    fn well_formed_bodies_decode() {
        let cases: [(&[u8], &[u8]); 15] = [
            (b"0\r\n\r\n", b""),
            (b"000\r\n\r\n", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"a\r\n0123456789\r\n1\r\nX\r\n0\r\n\r\n", b"0123456789X"),
            (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
            (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
            (b"1;a=b;c=\"d \xe9\t;\"\r\nX\r\n0;last\r\n\r\n", b"X"),
            (b"1 ;a\r\nX\r\n0\t ; b\r\n\r\n", b"X"),
            (b"1; a\t=  b;c=\"\";!#$%&'*+-.^_`|~\r\nX\r\n0\r\n\r\n", b"X"),
            (b"1;a=\"\\\"\\\\;=\" ;b\r\nX\r\n0\r\n\r\n", b"X"),
            (b"1;a=1;a=2\t;\ta\r\nX\r\n0;a=\"\xff\\\xff\"\r\n\r\n", b"X"),
            (b"0\r\nX-Sum: 1\r\n\r\n", b""),
            (b"0\r\na:\r\nb:\t\xe9 \r\n\r\n", b""),
            (b"0\r\nContent-Length: 5\r\n\r\n", b""),
        ];
        for (input, body) in cases {
            let mut with_next = input.to_vec();
            with_next.extend_from_slice(b"GET /");
            let want = Ok(Some((body.to_vec(), input.len())));
            assert_eq!(decode(&with_next, &Limits::DEFAULT), want, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let cases: &[(&[u8], Reject)] = &[
            (b"\r\n", Reject::BadChunk),
            (b"\n", Reject::BadChunk),
            (b";a\r\n", Reject::BadChunk),
            (b" 5\r\n", Reject::BadChunk),
            (b"\t5\r\n", Reject::BadChunk),
            (b"+5\r\n", Reject::BadChunk),
            (b"-5\r\n", Reject::BadChunk),
            (b"0x5\r\n", Reject::BadChunk),
            (b"0_5\r\n", Reject::BadChunk),
            (b"5g\r\n", Reject::BadChunk),
            (b"5 \r\n", Reject::BadChunk),
            (b"5 5\r\n", Reject::BadChunk),
            (b"5\x00\r\n", Reject::BadChunk),
            (b"5\x0b\r\n", Reject::BadChunk),
            (b"10000000000000000\r\n", Reject::BadChunk),
            (b"00000000000000005\r\n", Reject::BadChunk),
            (b"5\nhello", Reject::BareLineFeed),
            (b"5\rhello", Reject::BareCarriageReturn),
            (b"5;a\nhello", Reject::BareLineFeed),
            (b"5;a\rb\r\n", Reject::BareCarriageReturn),
            (b"5;a\x00\r\n", Reject::BadChunk),
            (b"5;a\x7f\r\n", Reject::BadChunk),
            (b"5 \nhello", Reject::BareLineFeed),
            (b"1\r\nX\n0\r\n\r\n", Reject::BareLineFeed),
            (b"1\r\nX\rY", Reject::BareCarriageReturn),
            (b"1\r\nXY\r\n", Reject::BadChunk),
            (b"1\r\nX0\r\n\r\n", Reject::BadChunk),
            (b"1\r\nX\r\n\r\n", Reject::BadChunk),
            (b"0\n\n", Reject::BareLineFeed),
            (b"0\r\n\n", Reject::BareLineFeed),
            (b"0\r\n\rX", Reject::BareCarriageReturn),
            (b"0\r\n a: b\r\n\r\n", Reject::ObsoleteFold),
            (b"0\r\na: b\r\n c\r\n\r\n", Reject::ObsoleteFold),
            (b"0\r\na : b\r\n\r\n", Reject::BadHeaderName),
            (b"0\r\n: b\r\n\r\n", Reject::BadHeaderName),
            (b"0\r\na\r\n\r\n", Reject::BadHeaderName),
            (b"0\r\nGET / HTTP/1.1\r\n\r\n", Reject::BadHeaderName),
            (b"0\r\na: b\n\r\n", Reject::BareLineFeed),
            (b"0\r\na: b\rc\r\n\r\n", Reject::BareCarriageReturn),
            (b"0\r\na: \x00\r\n\r\n", Reject::BadHeaderValue),
        ];
        for &(input, cause) in cases {
            assert_eq!(decode(input, &Limits::DEFAULT), Err(cause), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn extensions_without_their_grammar_are_refused() {
        let cases: &[(&[u8], Reject)] = &[
            (b"5;\r\n", Reject::BadChunk),
            (b"5; \r\n", Reject::BadChunk),
            (b"5;;\r\n", Reject::BadChunk),
            (b"5;a;\r\n", Reject::BadChunk),
            (b"5; =x\r\n", Reject::BadChunk),
            (b"5;=x\r\n", Reject::BadChunk),
            (b"5;a=\r\n", Reject::BadChunk),
            (b"5;a= \r\n", Reject::BadChunk),
            (b"5;a=;b\r\n", Reject::BadChunk),
            (b"5;a \r\n", Reject::BadChunk),
            (b"5;a=b \r\n", Reject::BadChunk),
            (b"5;a b\r\n", Reject::BadChunk),
            (b"5;a=b c\r\n", Reject::BadChunk),
            (b"5;a=b=c\r\n", Reject::BadChunk),
            (b"5;a=\"b\" =c\r\n", Reject::BadChunk),
            (b"5;\"a\"\r\n", Reject::BadChunk),
            (b"5;a@b\r\n", Reject::BadChunk),
            (b"5;\xe9\r\n", Reject::BadChunk),
            (b"5;a=\xe9\r\n", Reject::BadChunk),
            (b"5;a=b\"c\"\r\n", Reject::BadChunk),
            (b"5;a=\"b\"c\r\n", Reject::BadChunk),
            (b"5;a=\"b\r\n", Reject::BadChunk),
            (b"5;a=\"b\\\r\n", Reject::BadChunk),
            (b"5;a=\"b\n\"\r\n", Reject::BareLineFeed),
            (b"5;a=\"b\x7f\"\r\n", Reject::BadChunk),
            (b"5;a=\"b\"\rx", Reject::BareCarriageReturn),
        ];
        for &(input, cause) in cases {
            assert_eq!(decode(input, &Limits::DEFAULT), Err(cause), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let limits = Limits { chunk_line_bytes_max: 8, trailer_bytes_max: 10, ..Limits::DEFAULT };
        assert!(decode(b"0;345678\r\n\r\n", &limits).is_ok_and(|done| done.is_some()));
        assert_eq!(decode(b"0;3456789", &limits), Err(Reject::ChunkLineTooLong));
        assert_eq!(decode(b"000000000", &limits), Err(Reject::ChunkLineTooLong));
        assert_eq!(decode(b"0        ", &limits), Err(Reject::ChunkLineTooLong));
        assert!(decode(b"0\r\na: 456\r\n\r\n", &limits).is_ok_and(|done| done.is_some()));
        assert_eq!(decode(b"0\r\na: 4567\r\n\r\n", &limits), Err(Reject::TrailersTooLarge));
    }

    #[test]
    fn trailer_fields_are_handed_out_without_the_blank_line() {
        for trailers in ["", "a: b\r\n", "a:\r\nb:\t\u{e9} \r\nContent-Length: 5\r\n"] {
            let input = std::format!("1\r\nX\r\n0;x\r\n{trailers}\r\nGET /");
            let want = (b"X".to_vec(), trailers.as_bytes().to_vec(), input.len() - 5);
            assert_eq!(decode_all(input.as_bytes(), &Limits::DEFAULT), Ok(Some(want)), "{trailers:?}");
        }
    }

    #[test]
    fn trailer_fields_come_in_one_piece_where_they_came_in_one() {
        let mut decoder = Decoder::new();
        let input = b"0\r\na: b\r\nc: d\r\n\r\n";
        assert_eq!(decoder.step(input, &Limits::DEFAULT), Ok((15, Step::Trailer { start: 3, len: 12 })));
        assert_eq!(decoder.step(&input[15..], &Limits::DEFAULT), Ok((2, Step::Done)));
        let mut decoder = Decoder::new();
        assert_eq!(decoder.step(&input[..5], &Limits::DEFAULT), Ok((5, Step::Trailer { start: 3, len: 2 })));
        assert_eq!(decoder.step(&[], &Limits::DEFAULT), Ok((0, Step::NeedMore)));
        assert_eq!(decoder.step(&input[5..], &Limits::DEFAULT), Ok((10, Step::Trailer { start: 0, len: 10 })));
    }

    #[test]
    fn extensions_are_bounded_over_the_whole_body() {
        let limits = Limits { chunk_extension_bytes_max: 5, ..Limits::DEFAULT };
        assert!(decode(b"1;a\r\nX\r\n0 ;b\r\n\r\n", &limits).is_ok_and(|done| done.is_some()));
        assert_eq!(decode(b"1;a\r\nX\r\n1 ;b\r\nX\r\n1;", &limits), Err(Reject::ChunkExtensionsTooLarge));
        assert_eq!(decode(b"1;aaaaa", &limits), Err(Reject::ChunkExtensionsTooLarge));
        let limits = Limits { chunk_extension_bytes_max: 0, ..Limits::DEFAULT };
        assert!(decode(b"1\r\nX\r\n0\r\n\r\n", &limits).is_ok_and(|done| done.is_some()));
        assert_eq!(decode(b"1;", &limits), Err(Reject::ChunkExtensionsTooLarge));
        let many = b"1;23456789\r\nX\r\n".repeat(10_000);
        assert_eq!(decode(&many, &Limits::DEFAULT), Err(Reject::ChunkExtensionsTooLarge));
        let most = Limits { chunk_extension_bytes_max: u16::MAX, ..Limits::DEFAULT };
        assert_eq!(decode(&many, &most), Err(Reject::ChunkExtensionsTooLarge), "the largest bound is one, too");
    }

    #[test]
    fn the_largest_chunk_is_64_bits() {
        let mut decoder = Decoder::new();
        let step = decoder.step(b"ffffffffffffffff\r\nab", &Limits::DEFAULT);
        assert_eq!(step, Ok((20, Step::Data { start: 18, len: 2 })));
        assert_eq!(decoder.remaining, u64::MAX - 2);
    }

    #[test]
    fn a_finished_decoder_stays_finished() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.step(b"0\r\n\r\nGET", &Limits::DEFAULT), Ok((5, Step::Done)));
        assert!(decoder.is_done());
        assert_eq!(decoder.step(b"GET", &Limits::DEFAULT), Ok((0, Step::Done)));
    }
}
