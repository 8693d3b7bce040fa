//! Requests that are not as they should be, or large: what reaches the application of them.

use crate::both::{Both, plain, raw};

#[test]
fn bad_requests() {
    Both::start().compare(&[
        raw("no host", "GET / HTTP/1.1\r\n\r\n"),
        raw("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        raw("bad host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        raw("another host in the target", "GET http://other/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        raw("line feeds alone", "GET / HTTP/1.1\nHost: test\n\n"),
        raw("empty line before", "\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n"),
        plain("folded field", "GET /", "X-Long: a\r\n b\r\n"),
        plain("space before a colon", "GET /", "X-Space : a\r\n"),
        plain("no colon", "GET /", "X-None\r\n"),
        plain("control byte", "GET /", "X-Bad: a\x01b\r\n"),
        plain("two lengths", "POST /bytes", "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
        plain("two different lengths", "POST /bytes", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        plain("bad length", "POST /bytes", "Content-Length: +1\r\n\r\nx"),
        plain("length and chunks", "POST /bytes", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        plain("unknown coding", "POST /bytes", "Transfer-Encoding: gzip\r\n\r\n"),
        plain("bad chunk size", "POST /bytes", "Transfer-Encoding: chunked\r\n\r\nx\r\n"),
        plain("chunk extension", "POST /bytes", "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n"),
        plain("escape that is none", "GET /wild/%zz", ""),
        plain("escape of nothing", "GET /wild/%00", ""),
        plain("dots beyond the root", "GET /../methods", ""),
        plain("fragment", "GET /request#here", ""),
        plain("byte not of URIs", "GET /wild/\u{e9}", ""),
        plain("long target", &format!("GET /wild/{}", "a".repeat(9000)), ""),
        plain("very long target", &format!("GET /wild/{}", "a".repeat(70_000)), ""),
        plain("long field of a request", "GET /", &format!("X-Long: {}\r\n", "a".repeat(9000))),
        plain("very long field of a request", "GET /", &format!("X-Long: {}\r\n", "a".repeat(500_000))),
        plain("many fields of a request", "GET /", &"X-Many: a\r\n".repeat(95)),
        plain("very many fields of a request", "GET /", &"X-Many: a\r\n".repeat(150)),
        raw("another version", "GET / HTTP/1.2\r\nHost: test\r\n\r\n"),
        raw("no version", "GET /\r\n\r\n"),
        raw("not HTTP", "\x16\x03\x01\x02\0\x01\0\r\n\r\n"),
        raw("long method", format!("{} /any HTTP/1.1\r\nHost: test\r\n\r\n", "M".repeat(40))),
        raw("bad method", "GE{T /any HTTP/1.1\r\nHost: test\r\n\r\n"),
    ]);
}
