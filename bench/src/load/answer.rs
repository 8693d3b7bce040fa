//! Reads answers as they come, in any pieces, and tells right ones from wrong ones.
//!
//! Invariants:
//! - the verdict on a byte stream does not depend on how it was split;
//! - nothing a server sends can make this panic, loop or hold more than a head's bytes;
//! - where an answer ends is decided as RFC 9112, section 6.3 says; what two readers could understand differently is
//!   broken.
//!
//! Not here: upgrades (a 101 ends the connection), codings other than chunked.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::chunks::{Chunks, Piece};
use super::plan::{Exchange, Expectation};

/// Bytes of one head, blank line included.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;

/// Every answer begins so; anything else need not be waited for.
const BEGINNING: &[u8] = b"HTTP/1.";

/// The one answer that a connection is receiving.
#[derive(Debug)]
pub(super) struct Reader {
    stage: Stage,
    /// The pieces of a head that is not whole.
    held: Vec<u8>,
    /// Of the last head; anything while there was none.
    head: Head,
    body_bytes: u64,
    /// The body so far is what was expected.
    is_same: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: u16,
    /// The connection carries no further answer.
    closes: bool,
    /// What a Content-Length says.
    declared_bytes: Option<u64>,
    is_chunked: bool,
}

/// What [`Reader::read`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All input is used up, and the answer goes on.
    More,
    /// The answer is over; the input left is behind it.
    Done(Answered),
    /// These bytes are no answer, and this is why.
    Broken(&'static str),
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// What is wrong with it, if anything.
    pub(super) wrong: Option<Wrong>,
    /// The connection carries no further answer.
    pub(super) closes: bool,
}

/// How an answer differs from what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It has this status.
    Status(u16),
    /// Its body has this many bytes.
    Length(u64),
    /// Its body has other bytes.
    Content,
}

/// What the end of a connection means for the answer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// No byte of an answer was there.
    Between,
    /// The end of the connection is the end of the answer.
    Done(Answered),
    /// The answer was not over.
    Truncated,
    /// What was there is no answer, and this is why.
    Broken(&'static str),
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Head, held: Vec::new(), head: Head::default(), body_bytes: 0, is_same: true }
    }

    /// No byte of an answer has come.
    #[inline]
    pub(super) fn is_between(&self) -> bool {
        matches!(self.stage, Stage::Head) && self.held.is_empty()
    }

    /// Reads one answer, or as much of it as there is.
    pub(super) fn read(&mut self, input: &mut &[u8], exchange: &Exchange) -> Step {
        loop {
            match &mut self.stage {
                Stage::Head if input.is_empty() => return Step::More,
                Stage::Head => match self.read_head(input) {
                    Err(reason) => return Step::Broken(reason),
                    Ok(None) => return Step::More,
                    Ok(Some(head)) => self.begin_body(head, exchange.is_head),
                },
                Stage::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= len as u64;
                    let is_over = *left == 0;
                    let (body, rest) = input.split_at(len);
                    *input = rest;
                    self.take_body(body, &exchange.expected);
                    return if is_over { Step::Done(self.finish(exchange)) } else { Step::More };
                }
                Stage::Chunked(chunks) => match chunks.next(input) {
                    Err(reason) => return Step::Broken(reason),
                    Ok(Piece::More) => return Step::More,
                    Ok(Piece::Data(body)) => self.take_body(body, &exchange.expected),
                    Ok(Piece::End) => return Step::Done(self.finish(exchange)),
                },
                Stage::UntilClose => {
                    let body = std::mem::take(input);
                    self.take_body(body, &exchange.expected);
                    return Step::More;
                }
            }
        }
    }

    /// The connection has ended in order.
    pub(super) fn end(&mut self, exchange: &Exchange) -> End {
        match self.stage {
            Stage::Head if self.held.is_empty() => End::Between,
            // A piece without a line's end was held unread.
            Stage::Head => match parse(&self.held) {
                Err(reason) => End::Broken(reason),
                Ok(_) => End::Truncated,
            },
            Stage::UntilClose => End::Done(self.finish(exchange)),
            Stage::Length(_) | Stage::Chunked(_) => End::Truncated,
        }
    }

    /// Takes a head off the input if it is whole, else holds what is there of it.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<Option<Head>, &'static str> {
        if self.held.is_empty() {
            if let Some((head, len)) = parse(input)? {
                *input = &input[len..];
                return Ok(Some(head));
            }
            self.held.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        let held_bytes = self.held.len();
        // No head is longer, so no more of the input can belong to it.
        let piece = &input[..input.len().min(HEAD_BYTES_MAX + 1 - held_bytes)];
        self.held.extend_from_slice(piece);
        // Only a line's end can make a head whole.
        let is_worth_it = piece.contains(&b'\n') || held_bytes < BEGINNING.len() || self.held.len() > HEAD_BYTES_MAX;
        match if is_worth_it { parse(&self.held)? } else { None } {
            None => {
                *input = &input[piece.len()..];
                Ok(None)
            }
            Some((head, len)) => {
                // What was held before was not whole, so the head ends within the input.
                *input = &input[len - held_bytes..];
                self.held.clear();
                Ok(Some(head))
            }
        }
    }

    /// RFC 9112, section 6.3, for a client.
    fn begin_body(&mut self, head: Head, is_head: bool) {
        (self.head, self.body_bytes, self.is_same) = (head, 0, true);
        self.stage = match head {
            // Informational: the answer is still to come.
            Head { status: 100 | 102..=199, .. } => Stage::Head,
            Head { status: 101 | 204 | 304, .. } => Stage::Length(0),
            _ if is_head => Stage::Length(0),
            Head { is_chunked: true, .. } => Stage::Chunked(Chunks::new()),
            Head { declared_bytes: Some(bytes), .. } => Stage::Length(bytes),
            _ => Stage::UntilClose,
        };
        self.head.closes |= head.status == 101 || matches!(self.stage, Stage::UntilClose);
    }

    fn take_body(&mut self, body: &[u8], expected: &Expectation) {
        if let Some(expected) = expected.body.as_deref().filter(|_| self.is_same) {
            let start = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
            self.is_same = expected.get(start..).is_some_and(|rest| rest.starts_with(body));
        }
        self.body_bytes = self.body_bytes.saturating_add(body.len() as u64);
    }

    /// The verdict; the next answer may come.
    fn finish(&mut self, exchange: &Exchange) -> Answered {
        self.stage = Stage::Head;
        let expected = &exchange.expected;
        let status = self.head.status;
        let is_right_status = match expected.status {
            Some(expected) => status == expected,
            None => (200..300).contains(&status),
        };
        // A HEAD's answer has no body to measure, but may say how long it would be.
        let body_bytes = match exchange.is_head {
            true => self.head.declared_bytes.or(expected.body_bytes).unwrap_or(0),
            false => self.body_bytes,
        };
        let wrong = if !is_right_status {
            Some(Wrong::Status(status))
        } else if expected.body_bytes.is_some_and(|expected| expected != body_bytes) {
            Some(Wrong::Length(body_bytes))
        } else if !exchange.is_head && !self.is_right_content(expected) {
            Some(Wrong::Content)
        } else {
            None
        };
        Answered { wrong, closes: self.head.closes }
    }

    fn is_right_content(&self, expected: &Expectation) -> bool {
        let Some(body) = &expected.body else { return true };
        self.is_same && self.body_bytes == body.len() as u64
    }
}

/// A head and its length, `None` if it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
    if bytes.iter().zip(BEGINNING).any(|(found, expected)| found != expected) {
        return Err("it does not begin with HTTP/1.");
    }
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    match parsed {
        Ok(Status::Complete(len)) if len <= HEAD_BYTES_MAX => Ok(Some((head(&response)?, len))),
        Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => Ok(None),
        Ok(_) => Err("a head over 64 KiB"),
        Err(httparse::Error::HeaderName) => Err("a header name that is none"),
        Err(httparse::Error::HeaderValue) => Err("a header value that is none"),
        Err(httparse::Error::NewLine) => Err("a line of the head that does not end in CRLF"),
        Err(httparse::Error::Status) => Err("a status line without a status"),
        Err(httparse::Error::TooManyHeaders) => Err("more than 128 header lines"),
        Err(httparse::Error::Version) => Err("a version that is neither 1.0 nor 1.1"),
        Err(httparse::Error::Token) => Err("a byte that no head has"),
    }
}

fn head(response: &Response<'_, '_>) -> Result<Head, &'static str> {
    let status = response.code.unwrap_or(0);
    let is_old = response.version == Some(0);
    let mut head = Head { status, ..Head::default() };
    let (mut says_close, mut says_keep_alive) = (false, false);
    for header in &*response.headers {
        if header.name.eq_ignore_ascii_case("Content-Length") {
            let declared = length(header.value).ok_or("a Content-Length that is no number")?;
            if head.declared_bytes.is_some_and(|other| other != declared) {
                return Err("two Content-Lengths");
            }
            head.declared_bytes = Some(declared);
        } else if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
            if head.is_chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err("a transfer coding that is not chunked");
            }
            head.is_chunked = true;
        } else if header.name.eq_ignore_ascii_case("Connection") {
            for token in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                says_close |= token.eq_ignore_ascii_case(b"close");
                says_keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
    if head.is_chunked && head.declared_bytes.is_some() {
        return Err("both a Content-Length and a Transfer-Encoding");
    }
    if head.is_chunked && is_old {
        return Err("a Transfer-Encoding in HTTP/1.0");
    }
    if !(100..1000).contains(&status) {
        return Err("a status below 100");
    }
    head.closes = says_close || is_old && !says_keep_alive;
    Ok(head)
}

fn length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests;
