//! Trailer sections: the fields behind a chunked body.
//!
//! Invariants: a field that must be known before the body is read (framing, routing, authentication, request modifiers,
//! response controls, content format) never comes out of a trailer section: it is skipped and counted, and so is
//! whatever is not a whole field line. Fields come in their order, repeated names included.
//! Not here: merging trailers into a head, which needs the definition of each field (RFC 9110 section 6.5.1); bounds,
//! which [`crate::chunked`] has kept.
//! Source: RFC 9110 sections 5.5, 6.5; RFC 9112 section 7.1.2.

use crate::bytes::{is_token, is_value, trim_ows};

/// Fields that must not come in trailers.
const FORBIDDEN: &[&str] = &[
    // Message framing and the connection.
    "Connection",
    "Content-Length",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    // Routing, and by whom and for whom the request was passed on.
    "Forwarded",
    "Host",
    "Max-Forwards",
    "Via",
    // Request modifiers; most conditions begin with `If-`.
    "Cache-Control",
    "Expect",
    "If",
    "Pragma",
    "Range",
    // Authentication and state.
    "Authentication-Info",
    "Authorization",
    "Cookie",
    "Set-Cookie",
    "WWW-Authenticate",
    // Response controls.
    "Age",
    "Date",
    "Expires",
    "Location",
    "Retry-After",
    "Vary",
    "Warning",
    // Content format.
    "Content-Encoding",
    "Content-Range",
    "Content-Type",
];

/// What the names of more such fields begin with: conditions, what is between a client and its proxy, and what proxies
/// say about a client.
const FORBIDDEN_STARTS: &[&str] = &["If-", "Proxy-", "X-Forwarded-"];

/// Whether a field of this name, in any case, must not stand in a trailer section (RFC 9110 section 6.5.1).
#[must_use]
pub fn is_forbidden(name: &[u8]) -> bool {
    let begins = |start: &&str| name.get(..start.len()).is_some_and(|name| name.eq_ignore_ascii_case(start.as_bytes()));
    FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
        || FORBIDDEN_STARTS.iter().any(begins)
}

/// The fields of a trailer section: names as they were sent, values without surrounding white space.
#[derive(Clone, Debug)]
pub struct Trailers<'a> {
    rest: &'a [u8],
    skipped: usize,
}

impl<'a> Trailers<'a> {
    /// The fields of `section`: all pieces of [`Step::Trailer`](crate::chunked::Step::Trailer) put together.
    #[must_use]
    pub const fn new(section: &'a [u8]) -> Self {
        Self { rest: section, skipped: 0 }
    }

    /// Lines passed over so far because their field must not come in trailers or they are not whole field lines; all
    /// of the section's once [`next`](Iterator::next) has given `None`.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// The lines of the section that are passed over, from here on and before.
    #[must_use]
    pub fn skipped_in_all(&self) -> usize {
        let mut fields = self.clone();
        while fields.next().is_some() {}
        fields.skipped
    }
}

impl<'a> Iterator for Trailers<'a> {
    /// Name and value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest;
            match field(line) {
                Some((name, value)) if !is_forbidden(name) => return Some((name, value)),
                _ => self.skipped += 1,
            }
        }
        None
    }
}

impl core::iter::FusedIterator for Trailers<'_> {}

/// Name and value of a whole field line.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    (is_token(name) && is_value(value)).then(|| (name, trim_ows(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    type Field<'a> = (&'a [u8], &'a [u8]);

    fn fields(section: &[u8]) -> (Vec<Field<'_>>, usize) {
        let mut trailers = Trailers::new(section);
        let skipped = trailers.skipped_in_all();
        let fields = trailers.by_ref().collect();
        assert_eq!(trailers.skipped(), skipped);
        (fields, skipped)
    }

    #[test]
    fn fields_come_in_order_without_white_space() {
        assert_eq!(fields(b""), (Vec::new(), 0));
        let section = b"X-Sum: 1\r\nx-sum:2\r\na:\r\nb: \t c d\xe9\t \r\nDigest: x:y\r\nETag: \"a\"\r\n";
        let want: [(&[u8], &[u8]); 6] = [
            (b"X-Sum", b"1"),
            (b"x-sum", b"2"),
            (b"a", b""),
            (b"b", b"c d\xe9"),
            (b"Digest", b"x:y"),
            (b"ETag", b"\"a\""),
        ];
        assert_eq!(fields(section), (want.to_vec(), 0));
    }

    #[test]
    fn what_must_be_known_before_the_body_is_skipped_and_counted() {
        let names = "Transfer-Encoding,Content-Length,Host,Content-Encoding,Content-Type,Content-Range,Trailer,TE,\
            Connection,Expect,Range,If-Match,If-None-Match,If-Modified-Since,If-Range,Authorization,\
            Proxy-Authorization,Proxy-Connection,Cache-Control,Max-Forwards,Set-Cookie,Cookie,X-Forwarded-For,Upgrade";
        for name in names.split(',') {
            for name in [name.into(), name.to_lowercase(), name.to_uppercase()] {
                let section = std::format!("a: 1\r\n{name}: x\r\nb: 2\r\n");
                let (fields, skipped) = fields(section.as_bytes());
                let want: [(&[u8], &[u8]); 2] = [(b"a", b"1"), (b"b", b"2")];
                assert_eq!((&fields[..], skipped), (&want[..], 1), "{name}");
            }
        }
        for name in ["Content-MD5", "Content-Digest", "Server-Timing", "Hos", "Hosts", "Iff", "I", "X-Forwarded", ""] {
            assert!(!is_forbidden(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_whole_field_line_is_skipped_and_counted() {
        for line in
            ["a", "a: cut", "a: b\r", "a: b\n", "\r\n", "a\r\n", ": b\r\n", "a : b\r\n", " a: b\r\n", "a: \0\r\n"]
        {
            let section = std::format!("x: y\r\n{line}");
            let (fields, skipped) = fields(section.as_bytes());
            assert_eq!((fields.len(), skipped), (1, 1), "{line:?}");
        }
    }
}
