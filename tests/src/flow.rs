//! Bodies that are too large to be held: made and checked piece by piece.

use std::io::{self, Write};
use std::net::TcpStream;

use crate::client::Client;
use crate::response::{Framing, Response};

/// Bytes that the pattern repeats after: a prime, which no buffer's size shares.
const PERIOD: usize = 251;

/// The most bytes compared or written at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// An endless content that shows a lost, doubled or exchanged byte.
#[derive(Debug)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// Bytes 0 to 250, again and again.
    #[must_use]
    pub fn counting() -> Self {
        Self((0..=250).cycle().take(PERIOD + BLOCK_BYTES).collect())
    }

    /// One byte, again and again.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        Self(vec![byte; PERIOD + BLOCK_BYTES])
    }

    /// Up to 64 KiB of the content from `offset` on.
    fn at(&self, offset: u64, length: usize) -> &[u8] {
        let begin = usize::try_from(offset % PERIOD as u64).expect("below the period");
        &self.0[begin..][..length.min(BLOCK_BYTES)]
    }

    /// The first `length` bytes.
    #[must_use]
    pub fn take(&self, length: usize) -> Vec<u8> {
        let mut taken = Vec::with_capacity(length);
        while taken.len() < length {
            taken.extend_from_slice(self.at(taken.len() as u64, length - taken.len()));
        }
        taken
    }

    /// Checks a piece that was received.
    ///
    /// # Panics
    /// When it differs.
    #[track_caller]
    pub fn check(&self, mut offset: u64, piece: &[u8]) {
        for block in piece.chunks(BLOCK_BYTES) {
            assert!(
                block == self.at(offset, block.len()),
                "the content differs within {} bytes of {offset}",
                block.len()
            );
            offset += block.len() as u64;
        }
    }

    /// Writes `length` bytes as they are.
    ///
    /// # Errors
    /// As the socket gives them.
    pub fn write(&self, to: &mut TcpStream, length: u64) -> io::Result<()> {
        let mut written = 0;
        while written < length {
            let block = self.at(written, usize::try_from(length - written).unwrap_or(usize::MAX));
            to.write_all(block)?;
            written += block.len() as u64;
        }
        Ok(())
    }

    /// Writes `length` bytes in chunks of up to `chunk` bytes, at most 64 KiB, and the end.
    ///
    /// # Errors
    /// As the socket gives them.
    pub fn write_chunked(&self, to: &mut TcpStream, length: u64, chunk: usize) -> io::Result<()> {
        let mut written = 0;
        while written < length {
            let left = usize::try_from(length - written).unwrap_or(usize::MAX);
            let block = self.at(written, left.min(chunk));
            to.write_all(&[format!("{:x}\r\n", block.len()).as_bytes(), block, b"\r\n"].concat())?;
            written += block.len() as u64;
        }
        to.write_all(b"0\r\n\r\n")
    }
}

impl Client {
    /// Reads a final response whose body is handed over piece by piece, with the place of each.
    /// The response that is returned has no body, but the trailers.
    ///
    /// # Panics
    /// As [`Self::response`].
    #[track_caller]
    pub fn response_in_pieces(&mut self, mut piece: impl FnMut(u64, &[u8])) -> (Response, u64) {
        let mut answer = self.head();
        let mut length = 0;
        match answer.framing(false) {
            Framing::None => {}
            Framing::Length(total) => self.pieces(total as u64, &mut length, &mut piece),
            Framing::UntilClose => while self.one_piece(u64::MAX, &mut length, &mut piece) {},
            Framing::Chunked => {
                while let size @ 1.. = self.chunk_size() {
                    self.pieces(size as u64, &mut length, &mut piece);
                    self.end_of_chunk();
                }
                answer.trailers = self.trailers();
            }
        }
        (answer, length)
    }

    #[track_caller]
    fn pieces(&mut self, total: u64, length: &mut u64, piece: &mut impl FnMut(u64, &[u8])) {
        let end = *length + total;
        while *length < end {
            assert!(self.one_piece(end - *length, length, piece), "the body ends after {length} bytes of {end}");
        }
    }

    /// False at the end of the stream.
    #[track_caller]
    fn one_piece(&mut self, most: u64, length: &mut u64, piece: &mut impl FnMut(u64, &[u8])) -> bool {
        let got = self.some(usize::try_from(most).unwrap_or(usize::MAX));
        piece(*length, &got);
        *length += got.len() as u64;
        !got.is_empty()
    }

    /// Reads a final response and checks its content; returns the response and the length of its body.
    ///
    /// # Panics
    /// When the content differs, and as [`Self::response`].
    #[track_caller]
    pub fn expect_content(&mut self, pattern: &Pattern) -> (Response, u64) {
        self.response_in_pieces(|offset, piece| pattern.check(offset, piece))
    }
}
