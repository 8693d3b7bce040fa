//! Every reason for which a request is answered without reaching an application.
//!
//! Invariants: a [`Reject`] is `Copy` and carries no strings; status, text and keep-or-close are functions of the cause
//! alone. The text never repeats bytes the peer sent.
//! Not here: the response itself, logging.
//! Source: RFC 9110 section 15, RFC 9112 sections 2.2, 3, 6, RFC 6585 section 5.

use core::fmt;

macro_rules! rejects {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal $after:ident $detail:literal;)+) => {
        /// Why a request was refused.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Reject {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reject {
            /// Every cause, in declaration order: an index into this is `self as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The status code of the response, 400 to 599.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)+
                }
            }

            /// One short sentence for the response's body and the error log.
            #[must_use]
            pub const fn detail(self) -> &'static str {
                match self {
                    $(Self::$name => $detail,)+
                }
            }

            /// Whether the connection ends with the response. False only where the request was read well and its
            /// end is known.
            #[must_use]
            pub const fn closes(self) -> bool {
                match self {
                    $(Self::$name => rejects!(@ $after),)+
                }
            }
        }
    };
    (@ close) => { true };
    (@ keep) => { false };
}

rejects! {
    /// The request line does not have the form method, target, version, with one space between and CRLF after.
    BadRequestLine = 400 close "The request line is malformed.";
    /// The method is not a token of 1 to 32 bytes.
    BadMethod = 400 close "The request method is malformed.";
    /// The target does not fit the method, or has a bad escape, a control byte, `#`, a byte beyond ASCII that is not
    /// escaped, or text that is not UTF-8.
    BadTarget = 400 close "The request target is malformed.";
    /// The version is not of the form HTTP/digit.digit.
    BadVersion = 400 close "The protocol version is malformed.";
    /// A well-formed version other than 1.0 and 1.1.
    UnsupportedVersion = 505 close "Only HTTP/1.0 and HTTP/1.1 are spoken here.";
    /// A field name is empty, is not a token, or is followed by white space before its colon.
    BadHeaderName = 400 close "A header field name is malformed.";
    /// A field value has a control byte.
    BadHeaderValue = 400 close "A header field value has a forbidden byte.";
    /// A line ends in LF without CR.
    BareLineFeed = 400 close "A line ends in LF without CR.";
    /// A line has CR without LF.
    BareCarriageReturn = 400 close "A line has CR without LF.";
    /// A field value is continued on a second line.
    ObsoleteFold = 400 close "A header field is folded over several lines.";
    /// More fields than `header_count_max`.
    TooManyHeaders = 431 close "The request has too many header fields.";
    /// A field name of more than 255 bytes.
    HeaderNameTooLong = 431 close "A header field name is too long.";
    /// The head does not end within `head_bytes_max`.
    HeadTooLarge = 431 close "The request head is too large.";
    /// The target is longer than `target_bytes_max`.
    TargetTooLong = 414 close "The request target is too long.";
    /// HTTP/1.1 without a Host field.
    MissingHost = 400 close "The Host field is missing.";
    /// More than one Host field.
    DuplicateHost = 400 close "The Host field is repeated.";
    /// The host or port is malformed.
    BadHost = 400 close "The host is malformed.";
    /// Content-Length is not one decimal number that fits 64 bits.
    BadContentLength = 400 close "The Content-Length field is malformed.";
    /// More than one Content-Length field, even if equal.
    DuplicateContentLength = 400 close "The Content-Length field is repeated.";
    /// Both Content-Length and Transfer-Encoding.
    LengthWithCoding = 400 close "Content-Length and Transfer-Encoding exclude each other.";
    /// Transfer-Encoding is malformed, repeated, or applies chunked twice.
    BadTransferEncoding = 400 close "The Transfer-Encoding field is malformed.";
    /// A well-formed transfer coding other than chunked alone.
    UnknownCoding = 501 close "Only the chunked transfer coding is understood.";
    /// Transfer-Encoding in HTTP/1.0.
    CodingInHttp10 = 400 close "Transfer-Encoding does not belong in HTTP/1.0.";
    /// A chunk's size, extension or end is malformed.
    BadChunk = 400 close "The chunked body is malformed.";
    /// A chunk-size line longer than `chunk_line_bytes_max`.
    ChunkLineTooLong = 400 close "A chunk-size line is too long.";
    /// More bytes of chunk extensions in one body than `chunk_extension_bytes_max`.
    ChunkExtensionsTooLarge = 400 close "The chunk extensions are too large.";
    /// A trailer section longer than `trailer_bytes_max`.
    TrailersTooLarge = 431 close "The trailer section is too large.";
    /// The body is longer than the receiver allows.
    BodyTooLarge = 413 close "The request body is too large.";
    /// The client ended its side in the middle of the body.
    BodyCut = 400 close "The request body is not whole.";
    /// An Expect field other than 100-continue.
    BadExpect = 417 close "Only the expectation 100-continue can be met.";
    /// The head did not arrive in time.
    HeaderTimeout = 408 close "The request head took too long to arrive.";
    /// The body did not arrive in time, or arrived too slowly.
    BodyTimeout = 408 close "The request body took too long to arrive.";
    /// CONNECT, where nobody opens tunnels.
    ConnectUnsupported = 501 close "CONNECT is not understood here.";
    /// No registered prefix fits the host and port.
    HostUnknown = 400 close "No service is registered for this host.";
    /// A prefix fits the host, none fits the path.
    PathUnknown = 404 keep "No service is registered for this path.";
    /// The application dropped the request without a response.
    Abandoned = 500 keep "The application failed to answer the request.";
    /// The request queue is full.
    QueueFull = 503 keep "The request queue is full.";
    /// The request waited in its queue, and another client's that has fewer took its place.
    AboveShare = 503 keep "Requests of clients that have fewer came first.";
    /// No consumer took the request in time.
    QueueTimeout = 503 keep "The request waited too long in its queue.";
    /// The service was switched off by its owner.
    Disabled = 503 keep "The service is disabled.";
    /// Nobody can receive from the request queue any more.
    NoConsumer = 503 keep "The service has ended.";
    /// The URL group has no request queue.
    Unbound = 503 keep "The service has no request queue.";
    /// No memory slot is left for the request.
    Overloaded = 503 close "The server is overloaded.";
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl core::error::Error for Reject {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_causes_with_a_known_request_end_keep_the_connection() {
        use Reject::{Abandoned, AboveShare, Disabled, NoConsumer, PathUnknown, QueueFull, QueueTimeout, Unbound};
        let keep = [PathUnknown, Unbound, NoConsumer, Disabled, QueueFull, AboveShare, QueueTimeout, Abandoned];
        for &cause in Reject::ALL {
            assert_eq!(cause.closes(), !keep.contains(&cause), "{cause:?}");
        }
    }

    #[test]
    fn every_cause_has_an_error_status_and_one_sentence() {
        for (index, &cause) in Reject::ALL.iter().enumerate() {
            assert_eq!(cause as usize, index);
            assert!((400..=599).contains(&cause.status()), "{cause:?}");
            assert!(crate::response::reason_phrase(cause.status()).len() > 2, "{cause:?}");
            let detail = cause.detail();
            assert!(detail.ends_with('.') && detail.len() <= 80, "{cause:?}");
            assert!(detail.bytes().all(|b| (0x20..0x7f).contains(&b) && !b"<>&\"".contains(&b)), "{cause:?}");
        }
    }
}
