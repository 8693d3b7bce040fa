//! Requests that both servers get.

use crate::both::{Both, Case, expecting, plain, raw, with_body};

#[test]
fn extractors() {
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let text = "Content-Type: text/plain\r\n";
    Both::start().compare(&[
        plain("root", "GET /", ""),
        plain("path", "GET /path/7/ada%20l", ""),
        plain("path not a number", "GET /path/x/ada", ""),
        plain("path not UTF-8", "GET /path/7/%ff", ""),
        plain("path with a slash in it", "GET /path/7/a%2Fb", ""),
        plain("path with a percent sign in it", "GET /path/7/a%252Fb", ""),
        plain("query", "GET /query?a=1&b=x+y%26&a=2&c", ""),
        plain("query without", "GET /query", ""),
        plain("query empty", "GET /query?", ""),
        plain("query number", "GET /query/number?number=-7", ""),
        plain("query number not there", "GET /query/number", ""),
        plain("query number too large", "GET /query/number?number=99999", ""),
        plain("query raw", "GET /query/raw?a=%20&&b", ""),
        plain("query raw none", "GET /query/raw", ""),
        plain("query raw with a question mark", "GET /query/raw?a?b", ""),
        with_body("json", "POST /json", json, r#"{"a":[1,2]}"#),
        with_body("json no type", "POST /json", "", "{}"),
        with_body("json bad", "POST /json", json, "{"),
        with_body("json empty", "POST /json", json, ""),
        with_body("json not of this form", "POST /json/numbers", json, "[1,999]"),
        with_body("json numbers", "POST /json/numbers", json, "[1,2]"),
        with_body("form", "POST /form", form, "a=1&b=x+y"),
        with_body("form no type", "POST /form", "", "a=1"),
        with_body("form of another type", "POST /form", text, "a=1"),
        plain("form by GET", "GET /form?a=1&b", ""),
        with_body("text", "POST /text", text, "text \u{e9}"),
        with_body("text not UTF-8", "POST /text", text, b"\xff"),
        with_body("bytes", "POST /bytes", "", b"\0\xff"),
        with_body("bytes none", "POST /bytes", "", ""),
        plain("bytes without a length", "POST /bytes", ""),
        plain("state", "GET /state", ""),
        plain("state again", "GET /state", ""),
        plain("extension", "GET /extension", ""),
        plain("extension none", "GET /extension/none", ""),
        plain("connect info", "GET /connect", "X-Port: PORT\r\n"),
        plain("fields", "GET /headers", "X-Two: 1\r\nAccept: a, b\r\nx-two: 2\r\nX-None:\r\nX-Spaces:  a  b \t\r\n"),
        raw("fields not ASCII", b"GET /headers HTTP/1.1\r\nHost: test\r\nX-Bytes: caf\xe9 \xff\r\n\r\n"),
        plain("host", "GET /host", ""),
        raw("host with a port", "GET /host HTTP/1.1\r\nHost: name.test:81\r\n\r\n"),
        plain("host forwarded", "GET /host", "X-Forwarded-Host: other.test\r\n"),
        raw("host of the target", "GET http://target.test/host HTTP/1.1\r\nHost: target.test\r\n\r\n"),
        plain("scheme", "GET /scheme", "X-Forwarded-Proto: https\r\n"),
        plain("scheme unknown", "GET /scheme", ""),
        plain("typed field", "GET /typed", "User-Agent: a client/1\r\n"),
        plain("typed field not there", "GET /typed", ""),
        plain("cookies none", "GET /cookies", ""),
        plain("cookies", "GET /cookies", "Cookie: a=1; seen=before\r\nCookie: b=2\r\n"),
        plain("request", "GET /request?a=1", ""),
        raw("request in 1.0", "GET /request HTTP/1.0\r\n\r\n"),
    ]);
}

/// A multipart body with a file, by its boundary.
fn parts(boundary: &str) -> String {
    let field = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nsome text\r\n");
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a b.bin\"\r\nContent-Type: x/y";
    format!("{field}--{boundary}\r\n{head}\r\n\r\n{}\r\n--{boundary}--\r\n", "z".repeat(100_000))
}

fn in_chunks(name: &'static str, line: &str, fields: &str, chunks: &[&str], trailers: &str) -> Case {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    let head = format!("{line} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n{fields}\r\n");
    raw(name, head + &chunks + "0\r\n" + trailers + "\r\n")
}

#[test]
fn bodies_of_requests() {
    let of = "Content-Type: multipart/form-data; boundary=XX\r\n";
    let much = "0123456789abcdef".repeat(1 << 16);
    Both::start().compare(&[
        with_body("multipart", "POST /multipart", of, parts("XX")),
        with_body("multipart cut short", "POST /multipart", of, &parts("XX")[..500]).unread(),
        with_body("multipart no boundary", "POST /multipart", "Content-Type: multipart/form-data\r\n", parts("XX"))
            .unread(),
        in_chunks("multipart in chunks", "POST /multipart", of, &[&parts("XX")], ""),
        with_body("limit", "POST /limit/less", "", "12345678"),
        with_body("limit by length", "POST /limit/less", "", "123456789").unread(),
        in_chunks("limit in chunks", "POST /limit/less", "", &["12345", "6789"], "").unread(),
        with_body("limit by default", "POST /bytes", "", vec![b'x'; (2 << 20) + 1]).unread(),
        with_body("limit by default reached", "POST /bytes", "", vec![b'x'; 2 << 20]),
        with_body("layered limit", "POST /limited", "", "0123456789abcdef"),
        with_body("layered limit by length", "POST /limited", "", "0123456789abcdefg").unread(),
        in_chunks("layered limit in chunks", "POST /limited", "", &["0123456789", "abcdefg"], "").unread(),
        in_chunks("layered limit while it goes back", "POST /limited/echo", "", &["0123456789abcdefg"], ""),
        with_body("echo", "POST /echo", "", &much),
        in_chunks("echo in chunks", "PUT /echo", "", &[&much, "x", &much], ""),
        in_chunks("echo with trailers", "PUT /echo", "TE: trailers\r\n", &["body"], "X-Sum: 7\r\n"),
        in_chunks("echo with named trailers", "PUT /echo", "Trailer: x-sum\r\n", &["body"], "X-Sum: 7\r\n"),
        with_body("echo of nothing", "POST /echo", "", ""),
        in_chunks("echo of no chunks", "POST /echo", "", &[], ""),
        with_body("count", "POST /count", "", "12345"),
        in_chunks("count in chunks", "POST /count", "", &["123", "45"], ""),
        in_chunks("count with trailers", "POST /count", "", &["123", "45"], "X-Sum: 7\r\nX-Two: a\r\n"),
        plain("count without a body", "GET /count", ""),
        with_body("count by GET", "GET /count", "", "body"),
        with_body("count by DELETE", "DELETE /count", "", "body"),
        with_body("unread", "POST /unread", "", "a short body").unread(),
        in_chunks("unread in chunks", "POST /unread", "", &["a short", " body"], "").unread(),
        with_body("half read", "POST /half", "", "a short body").unread(),
        expecting("asked for", "/bytes", "body"),
        expecting("not asked for", "/unread", "body"),
        expecting("too much to ask for", "/limit/less", "123456789"),
        with_body("expected and sent at once", "POST /bytes", "Expect: 100-continue\r\n", "body"),
        with_body("something else expected", "POST /bytes", "Expect: more\r\n", "body"),
    ]);
}

#[test]
fn routing() {
    Both::start().compare(&[
        plain("nested root", "GET /nested/", ""),
        plain("nested root without its slash", "GET /nested", ""),
        plain("nested", "GET /nested/deep/7?a=1", ""),
        plain("nested fallback", "GET /nested/none", ""),
        plain("nested without a fallback", "GET /plain/none", ""),
        plain("fallback", "GET /none?a=1", ""),
        plain("fallback by POST", "POST /none", "Content-Length: 0\r\n"),
        plain("refused by a layer", "GET /refused", ""),
        plain("service", "GET /service/a/b?c", ""),
        plain("wildcard", "GET /wild/a/b/c", ""),
        plain("wildcard escaped", "GET /wild/a%20b%2Fc", ""),
        plain("wildcard with dots", "GET /wild/a/../b", ""),
        plain("wildcard with empty segments", "GET /wild//a//b", ""),
        plain("upper case", "GET /METHODS", ""),
        plain("slash at the end", "GET /methods/", ""),
        plain("two slashes", "GET //methods", ""),
        plain("get", "GET /methods", ""),
        plain("head", "HEAD /methods", ""),
        plain("post", "POST /methods", "Content-Length: 0\r\n"),
        plain("delete", "DELETE /methods", ""),
        plain("not allowed", "PUT /methods", ""),
        plain("not allowed head", "HEAD /json", ""),
        plain("own fallback of methods", "PUT /no-fallback", ""),
        plain("any by a name of its own", "BREW /any", ""),
        plain("any in lower case", "get /any", ""),
        plain("any PROPFIND", "PROPFIND /any", ""),
        plain("any OPTIONS", "OPTIONS /any", ""),
        plain("any TRACE", "TRACE /any", ""),
        plain("options", "OPTIONS /options", ""),
        plain("options of nothing", "OPTIONS /methods", ""),
        plain("options of all", "OPTIONS *", ""),
        raw("connect", "CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n"),
        plain("own head", "HEAD /own", ""),
        plain("middleware", "GET /middle", ""),
        raw("absolute target", "GET http://test/methods?x HTTP/1.1\r\nHost: test\r\n\r\n"),
        raw("absolute target of https", "GET https://test/request HTTP/1.1\r\nHost: test\r\n\r\n"),
    ]);
}

#[test]
fn answers() {
    Both::start().compare(&[
        plain("html", "GET /html", ""),
        plain("empty", "GET /empty", ""),
        plain("empty head", "HEAD /empty", ""),
        plain("redirect", "GET /redirect", ""),
        plain("status 200", "GET /status/200", ""),
        plain("status 204", "GET /status/204", ""),
        plain("status 205", "GET /status/205", ""),
        plain("status 304", "GET /status/304", ""),
        plain("status 418", "GET /status/418", ""),
        plain("status 500", "GET /status/500", ""),
        plain("status 299", "GET /status/299", ""),
        plain("status 599", "GET /status/599", ""),
        plain("status 999", "GET /status/999", ""),
        plain("status 204 with a body", "GET /status/204/text", ""),
        plain("status 205 with a body", "GET /status/205/text", ""),
        plain("status 304 with a body", "GET /status/304/text", ""),
        plain("status 404 head", "HEAD /status/404/text", ""),
        plain("status 100", "GET /status/100", ""),
        plain("status 103", "GET /status/103", ""),
        plain("status 101 unasked", "GET /switching", ""),
        plain("two fields", "GET /fields/two", ""),
        plain("fields of any bytes", "GET /fields/bytes", ""),
        plain("long field", "GET /fields/long/1000", ""),
        plain("very long field", "GET /fields/long/200000", ""),
        plain("field beyond any head", "GET /fields/long/300000", ""),
        plain("many fields", "GET /fields/many/90", ""),
        plain("very many fields", "GET /fields/many/400", ""),
        plain("own server", "GET /fields/server", ""),
        plain("layered server", "GET /set/server", ""),
        plain("own close", "GET /fields/connection", ""),
        plain("own keep-alive", "GET /fields/keep-alive", ""),
        plain("own keep-alive field", "GET /fields/keep-alive/timeout", ""),
        plain("own reason", "GET /reason", ""),
        plain("error", "GET /error", ""),
        plain("panic", "GET /panic", ""),
        with_body("panic before the body is read", "POST /panic", "", "body").unread(),
        plain("panic that is caught", "GET /caught", ""),
        plain("client closes", "GET /", "Connection: close\r\n"),
        plain("client keeps", "GET /", "Connection: keep-alive\r\n"),
        raw("in 1.0", "GET / HTTP/1.0\r\n\r\n"),
        raw("in 1.0 kept", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        raw("in pieces in 1.0", "GET /pieces/3/10 HTTP/1.0\r\n\r\n"),
        raw("in pieces in 1.0 kept", "GET /pieces/3/10 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    ]);
}

#[test]
fn bodies_of_answers() {
    Both::start().compare(&[
        plain("whole", "GET /whole/3000000", ""),
        plain("whole none", "GET /whole/0", ""),
        plain("whole head", "HEAD /whole/1000", ""),
        plain("pieces", "GET /pieces/100/30000", ""),
        plain("pieces none", "GET /pieces/0/0", ""),
        plain("pieces one", "GET /pieces/1/5", ""),
        plain("pieces of nothing", "GET /pieces/3/0", ""),
        plain("pieces head", "HEAD /pieces/3/10", ""),
        plain("known", "GET /known/100/30000", ""),
        plain("known head", "HEAD /known/3/10", ""),
        plain("slow", "GET /slow", ""),
        plain("trailers", "GET /trailers", ""),
        plain("trailers accepted", "GET /trailers", "TE: trailers\r\n"),
        plain("trailers named", "GET /trailers/named", ""),
        plain("trailers named and accepted", "GET /trailers/named", "TE: trailers\r\n"),
        plain("fails at once", "GET /fails/at-once", ""),
        plain("fails later", "GET /fails/later", ""),
        plain("fails later of a known length", "GET /fails/later-of-known", ""),
        plain("shorter than said", "GET /fails/short", ""),
        plain("longer than said", "GET /fails/long", ""),
        plain("events", "GET /sse", ""),
        plain("events kept", "GET /sse/kept", "Accept: text/event-stream\r\n"),
        plain("events head", "HEAD /sse", ""),
    ]);
}
