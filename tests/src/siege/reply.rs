//! One response as it comes in, piece by piece, from a server that may be in any trouble: nothing here panics.

use std::str;

/// Fields one response may carry before it counts as unreadable.
const FIELDS_MAX: usize = 64;

/// What has come of a response so far.
#[derive(Debug, Default)]
pub(super) struct Reply {
    bytes: Vec<u8>,
}

/// What that amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Partial,
    /// Head and body are there, or the head of a response that switches protocols.
    Whole {
        status: u16,
    },
    /// Its body ends with the connection.
    UntilClose {
        status: u16,
    },
    Unreadable,
}

impl Reply {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn look(&self) -> Look {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let (length, status) = match (head.parse(&self.bytes), head.code) {
            (Ok(httparse::Status::Complete(length)), Some(status)) => (length, status),
            (Ok(_), _) => return Look::Partial,
            (Err(_), _) => return Look::Unreadable,
        };
        let field = |name: &str| {
            let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.and_then(|field| str::from_utf8(field.value).ok())
        };
        let body = &self.bytes[length..];
        let is_whole = if status < 200 || matches!(status, 204 | 304) {
            Some(true)
        } else if let Some(length) = field("content-length") {
            length.parse().ok().map(|length: usize| body.len() >= length)
        } else if field("transfer-encoding").is_some() {
            chunks_are_whole(body)
        } else {
            return Look::UntilClose { status };
        };
        match is_whole {
            Some(true) => Look::Whole { status },
            Some(false) => Look::Partial,
            None => Look::Unreadable,
        }
    }
}

/// Whether chunks and trailer section are there; `None` if they are malformed.
fn chunks_are_whole(mut body: &[u8]) -> Option<bool> {
    loop {
        let (line, size) = match httparse::parse_chunk_size(body).ok()? {
            httparse::Status::Complete((line, size)) => (line, usize::try_from(size).ok()?),
            httparse::Status::Partial => return Some(false),
        };
        if size == 0 {
            // From the end of the size's line, so that a section of no fields ends like one of many.
            return Some(body[line - 2..].windows(4).any(|end| end == b"\r\n\r\n"));
        }
        match body.get(line + size + 2..) {
            Some(rest) => body = rest,
            None => return Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, Reply};

    fn look(text: &str) -> Look {
        let mut reply = Reply::default();
        reply.add(text.as_bytes());
        reply.look()
    }

    #[test]
    fn a_response_is_whole_with_its_last_byte() {
        let whole = [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        ];
        for text in whole {
            assert!(matches!(look(text), Look::Whole { status: 200 | 204 }), "{text:?}");
            for end in 0..text.len() {
                assert_eq!(look(&text[..end]), Look::Partial, "{:?}", &text[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_response_is_unreadable() {
        let broken = ["nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"];
        for text in broken.into_iter().chain(["HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"]) {
            assert_eq!(look(text), Look::Unreadable, "{text:?}");
        }
        assert_eq!(look("HTTP/1.1 200 OK\r\n\r\nuntil"), Look::UntilClose { status: 200 });
    }
}
