//! Reads a file of raw requests, to be sent in turn.
//!
//! The format: requests as they go over the wire, one after the other. Each ends as its own head says: after the blank
//! line, after Content-Length bytes, or with the last chunk. Lines end in CRLF; a head may be written with plain LF
//! throughout, which is sent as CRLF. Bodies are sent as they are, so that a chunked one needs its CRLFs. Blank lines
//! between requests are left out.

use std::borrow::Cow;

use anyhow::{Result, anyhow, bail, ensure};
use httparse::{EMPTY_HEADER, Request, Status};

use super::chunks::{Chunks, Piece};
use super::plan::Exchange;

const HEADERS_MAX: usize = 128;

/// The requests of a file, in order; any 2xx answer to them is right.
///
/// # Errors
/// The number of the first request that is none or not whole, and why.
pub fn read_requests(file: &[u8]) -> Result<Vec<Exchange>> {
    let mut rest = file;
    let mut exchanges = Vec::new();
    loop {
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        rest = &rest[blank..];
        if rest.is_empty() {
            break;
        }
        let number = exchanges.len() + 1;
        let (head_bytes, body_bytes) =
            request_bytes(rest).map_err(|error| anyhow!("request {number} of the file: {error}"))?;
        let (head, behind) = rest.split_at(head_bytes);
        let (body, behind) = behind.split_at(body_bytes);
        exchanges.push(Exchange::raw([&*with_crlf(head), body].concat()));
        rest = behind;
    }
    ensure!(!exchanges.is_empty(), "the file of requests has none");
    Ok(exchanges)
}

/// A head that has any CR is left as it is: its writer minds the line ends.
fn with_crlf(head: &[u8]) -> Cow<'_, [u8]> {
    if head.contains(&b'\r') {
        return Cow::Borrowed(head);
    }
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').collect();
    Cow::Owned(lines.join(&b"\r\n"[..]))
}

/// The bytes of the first request's head, and of its body.
fn request_bytes(bytes: &[u8]) -> Result<(usize, usize)> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let parsed = request.parse(bytes).map_err(|error| anyhow!("{error}"))?;
    let Status::Complete(head_bytes) = parsed else { bail!("its head is not whole") };
    let values = |name: &str| {
        let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).next_back()
    };
    if values("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        let mut rest = &bytes[head_bytes..];
        let mut chunks = Chunks::new();
        loop {
            match chunks.next(&mut rest).map_err(|reason| anyhow!("{reason}"))? {
                Piece::Data(_) => {}
                Piece::More => bail!("its chunked body is not whole"),
                Piece::End => return Ok((head_bytes, bytes.len() - head_bytes - rest.len())),
            }
        }
    }
    let body_bytes = match values("Content-Length") {
        Some(value) => std::str::from_utf8(value)?.parse()?,
        None => 0,
    };
    let there = bytes.len() - head_bytes;
    ensure!(body_bytes <= there, "its Content-Length is {body_bytes}, and {there} bytes follow");
    Ok((head_bytes, body_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_their_heads_say() {
        let file = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\n\r\n\
            POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nG\r\n\r\nE\r\n\
            POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
            HEAD /d HTTP/1.1\r\nHost: h\r\n\r\n";
        let exchanges = read_requests(file).expect("all are whole");
        assert_eq!(exchanges.len(), 4);
        assert!(exchanges[1].request.ends_with(b"\r\n\r\nG\r\n\r\nE"));
        assert!(exchanges[2].request.ends_with(b"0\r\n\r\n"));
        assert_eq!(exchanges.iter().map(|exchange| exchange.is_head).collect::<Vec<_>>(), [false, false, false, true]);
    }

    #[test]
    fn files_with_plain_line_ends_are_sent_with_crlf() {
        let exchanges = read_requests(b"GET /a HTTP/1.1\nHost: h\n\nGET /b HTTP/1.1\nHost: h\n\n").expect("two");
        assert_eq!(exchanges.len(), 2);
        assert_eq!(&exchanges[1].request[..], b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    }

    #[test]
    fn bodies_are_sent_as_they_are_whatever_the_line_ends_of_heads() {
        let file = b"POST /a HTTP/1.1\nHost: h\nContent-Length: 8\n\na\nb\r\nc\n\n\nGET /b HTTP/1.1\nHost: h\n\n";
        let exchanges = read_requests(file).expect("two");
        assert_eq!(exchanges.len(), 2);
        let expected = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\na\nb\r\nc\n\n";
        assert_eq!(&exchanges[0].request[..], expected);
        assert_eq!(&exchanges[1].request[..], b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
        let chunked = b"POST /a HTTP/1.1\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n";
        let error = read_requests(chunked).expect_err("a chunk's line ends are its own").to_string();
        assert!(error.contains("request 1") && error.contains("chunk"), "{error}");
    }

    #[test]
    fn the_first_request_that_is_none_is_named() {
        let wrong = |file: &[u8]| read_requests(file).expect_err("no requests").to_string();
        assert!(wrong(b"").contains("has none"));
        assert!(wrong(b"GET / HTTP/1.1\r\nHost: h\r\n").contains("request 1"));
        let short = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc";
        assert!(wrong(short).contains("request 2 of the file: its Content-Length is 5, and 3 bytes follow"));
    }
}
