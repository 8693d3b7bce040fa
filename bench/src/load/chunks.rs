//! The chunked coding (RFC 9112, section 7.1), decoded piece by piece, strictly: lines end in CRLF.
//!
//! Not here: trailers and extensions; they are measured and thrown away.

/// Bytes of extensions and trailers that one body may have.
const ASIDE_BYTES_MAX: u32 = 8192;

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the digits of a size, of which so many have been.
    Size(u8),
    /// Behind the digits, before CR.
    Extension,
    /// After the CR of a size.
    SizeEnd,
    Data,
    /// Before the CR after a chunk's data.
    DataEnd,
    /// Before the LF after a chunk's data.
    DataEndLf,
    /// At the start of a trailer line, or of the blank line that ends it all.
    Line,
    /// In a trailer line.
    Trailer,
    /// After the CR of a trailer line.
    TrailerEnd,
    /// After the CR of the blank line.
    LastLf,
}

/// A decoder; see [`Chunks::next`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk whose size is being read, or bytes that its data still has.
    size: u64,
    aside_bytes: u32,
}

/// What the input began with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// All input is used up, the body is not over.
    More,
    /// The body is over.
    End,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { at: At::Size(0), size: 0, aside_bytes: 0 }
    }

    /// Takes the next piece off the input.
    ///
    /// # Errors
    /// What is wrong with the coding.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, &'static str> {
        while let Some((&byte, rest)) = input.split_first() {
            if self.at == At::Data {
                let len = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at(len);
                *input = rest;
                self.size -= len as u64;
                if self.size == 0 {
                    self.at = At::DataEnd;
                }
                return Ok(Piece::Data(data));
            }
            *input = rest;
            self.at = match (self.at, byte) {
                (At::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(digits, byte)?,
                (At::Size(1..) | At::Extension, b'\r') => At::SizeEnd,
                (At::Size(1..), b';' | b' ' | b'\t') => At::Extension,
                (At::SizeEnd, b'\n') if self.size == 0 => At::Line,
                (At::SizeEnd, b'\n') => At::Data,
                (At::DataEnd, b'\r') => At::DataEndLf,
                (At::DataEndLf, b'\n') => {
                    self.size = 0;
                    At::Size(0)
                }
                (At::Line, b'\r') => At::LastLf,
                (At::Trailer, b'\r') => At::TrailerEnd,
                (At::TrailerEnd, b'\n') => At::Line,
                (At::LastLf, b'\n') => return Ok(Piece::End),
                (at @ At::Extension, byte) if byte != b'\n' => self.aside(at)?,
                (At::Line | At::Trailer, byte) if byte != b'\n' => self.aside(At::Trailer)?,
                (At::Size(_), _) => return Err("a chunk size that is no hexadecimal number"),
                (At::DataEnd | At::DataEndLf, _) => return Err("a chunk longer than its size"),
                _ => return Err("a line of the chunked coding that does not end in CRLF"),
            };
        }
        Ok(Piece::More)
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<At, &'static str> {
        if digits == 16 {
            return Err("a chunk size of more than 16 digits");
        }
        let value = (byte as char).to_digit(16).expect("matched as a hexadecimal digit");
        self.size = self.size << 4 | u64::from(value);
        Ok(At::Size(digits + 1))
    }

    fn aside(&mut self, at: At) -> Result<At, &'static str> {
        self.aside_bytes += 1;
        if self.aside_bytes > ASIDE_BYTES_MAX { Err("chunk extensions or trailers over 8 KiB") } else { Ok(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut input: &[u8]) -> Result<(Vec<u8>, bool, usize), &'static str> {
        let (mut chunks, mut body) = (Chunks::new(), Vec::new());
        loop {
            match chunks.next(&mut input)? {
                Piece::Data(data) => body.extend_from_slice(data),
                Piece::More => return Ok((body, false, input.len())),
                Piece::End => return Ok((body, true, input.len())),
            }
        }
    }

    #[test]
    fn bodies_are_decoded_to_their_end_and_no_further() {
        assert_eq!(decode(b"0\r\n\r\nrest"), Ok((vec![], true, 4)));
        let body = b"5\r\nhello\r\nB;a=\"b\"\r\n, world 1\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n";
        assert_eq!(
            decode(b"5\r\nhello\r\nA ;x\r\n, world 12\r\n0\r\nA: b\r\n\r\n"),
            Ok((b"hello, world 12".to_vec(), true, 0))
        );
        assert_eq!(decode(body).map(|found| found.1), Ok(true));
        assert_eq!(decode(b"5\r\nhel"), Ok((b"hel".to_vec(), false, 0)));
    }

    #[test]
    fn a_coding_with_a_fault_is_refused() {
        for wrong in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"5\n",
            b"5\r\nhelloo\r\n",
            b"5\r\nhello\n",
            b"00000000000000001\r\n",
            b"0\r\n\n",
            b"0\r\nA: b\n",
        ] {
            assert!(decode(wrong).is_err(), "{}", wrong.escape_ascii());
        }
        let endless = [b"0\r\n".to_vec(), vec![b'a'; ASIDE_BYTES_MAX as usize + 1]].concat();
        assert!(decode(&endless).is_err());
    }
}
