//! Builds the requests that a load sends.

use bytes::Bytes;

use super::plan::{Exchange, Expectation};

impl Exchange {
    /// A request of given bytes; any 2xx answer is right.
    #[must_use]
    pub fn raw(request: impl Into<Bytes>) -> Self {
        let request = request.into();
        let is_head = request.starts_with(b"HEAD ");
        Self { request, is_head, expected: Expectation::default() }
    }

    /// A request without a body. `headers` are further lines, such as `Accept: */*`.
    #[must_use]
    pub fn bare(method: &str, host: &str, path: &str, headers: &[&str]) -> Self {
        Self::raw(head(method, host, path, headers, ""))
    }

    /// `GET path`, with no header but Host.
    #[must_use]
    pub fn get(host: &str, path: &str) -> Self {
        Self::bare("GET", host, path, &[])
    }

    /// `HEAD path`, with no header but Host.
    #[must_use]
    pub fn head(host: &str, path: &str) -> Self {
        Self::bare("HEAD", host, path, &[])
    }

    /// A request with a body, and its length in the head.
    #[must_use]
    pub fn with_body(method: &str, host: &str, path: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut request = head(method, host, path, headers, &format!("Content-Length: {}\r\n", body.len()));
        request.extend_from_slice(body);
        Self::raw(request)
    }

    /// A request with a chunked body, one chunk for each piece; empty pieces are left out, since they would end it.
    #[must_use]
    pub fn with_chunks(method: &str, host: &str, path: &str, headers: &[&str], pieces: &[&[u8]]) -> Self {
        let mut request = head(method, host, path, headers, "Transfer-Encoding: chunked\r\n");
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        Self::raw(request)
    }

    /// `POST path`, with Host and Content-Length.
    #[must_use]
    pub fn post(host: &str, path: &str, body: &[u8]) -> Self {
        Self::with_body("POST", host, path, &[], body)
    }

    /// `POST path`, with Host, chunked.
    #[must_use]
    pub fn post_chunked(host: &str, path: &str, pieces: &[&[u8]]) -> Self {
        Self::with_chunks("POST", host, path, &[], pieces)
    }

    /// The same request, with this answer to be right.
    #[must_use]
    pub fn expecting(self, expected: Expectation) -> Self {
        Self { expected, ..self }
    }

    /// The same request, with an answer of this status and body to be right.
    #[must_use]
    pub fn expecting_body(self, status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let body_bytes = Some(body.len() as u64);
        self.expecting(Expectation { status: Some(status), body_bytes, body: Some(body) })
    }
}

fn head(method: &str, host: &str, path: &str, headers: &[&str], framing: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str(framing);
    head.push_str("\r\n");
    head.into_bytes()
}
