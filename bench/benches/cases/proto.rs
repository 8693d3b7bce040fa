//! The rooms of `ringress-proto`: what one request costs before its engine knows it, and its response head.
//!
//! Answers are checked in full before the first run, in their decisive number each time. All data is hot in cache and
//! every branch has been seen before: in a server the same work costs more.

use std::hint::black_box;

use ringress_proto::chunked::{Decoder, Step};
use ringress_proto::date::{imf_fixdate, parse_imf_fixdate};
use ringress_proto::framing::{BodyLength, FieldValues, decide};
use ringress_proto::head::{Head, Parse, Version, parse};
use ringress_proto::header::{HeaderName, ResponseHeader};
use ringress_proto::limits::Limits;
use ringress_proto::method::Method;
use ringress_proto::reject::Reject;
use ringress_proto::response::{HeadTemplate, HeadWriter, WriteError};
use ringress_proto::url::{Cooked, CookedPath, HostMemo, cook, cook_with};

use crate::case::{Amount, Case, Entry, entry};

const LIMITS: Limits = Limits::DEFAULT;

pub(crate) fn entries() -> Vec<Entry> {
    [head(), framing(), chunked(), url(), response(), date()].into_iter().flatten().collect()
}

const SMALL: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// What wrk sends when it is told a User-Agent.
const AGENT: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: wrk/4.2.0\r\n\r\n";

/// What a browser sends for a resource of a page: 15 fields.
const BROWSER: &[u8] = b"GET /assets/site/main.css?v=20251121 HTTP/1.1\r\n\
    Host: www.adatum.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: text/css,*/*;q=0.1\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Dest: style\r\n\
    Referer: https://www.adatum.com/products/42\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    If-None-Match: \"5f3c-61a2b3c4d5e6f\"\r\n\
    \r\n";

const POST: &[u8] = b"POST /api/orders HTTP/1.1\r\n\
    Host: api.adatum.com\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\
    Content-Type: application/json\r\n\
    Transfer-Encoding: chunked\r\n\
    \r\n";

fn parse_whole(input: &'static [u8], header_count: usize, body: BodyLength) -> Box<dyn Case> {
    let mut head = Head::EMPTY;
    assert_eq!(parse(input, &LIMITS, &mut head), Ok(Parse::Complete));
    assert_eq!((head.headers().len(), head.body), (header_count, body));
    assert_eq!(head.method, Method::from_bytes(head.method_name.of(input)));
    Box::new(move || {
        let parsed = parse(black_box(input), &LIMITS, &mut head);
        assert!(parsed == Ok(Parse::Complete) && usize::from(head.head_len) == input.len());
    })
}

/// Two reads: the start is parsed in vain.
fn parse_in_two(input: &'static [u8]) -> Box<dyn Case> {
    let (mut head, start) = (Head::EMPTY, &input[..input.len() / 2]);
    Box::new(move || {
        assert!(parse(black_box(start), &LIMITS, &mut head) == Ok(Parse::Partial));
        let parsed = parse(black_box(input), &LIMITS, &mut head);
        assert!(parsed == Ok(Parse::Complete) && usize::from(head.head_len) == input.len());
    })
}

fn head() -> Vec<Entry> {
    let bytes = |input: &[u8]| Amount::Bytes(input.len());
    vec![
        entry("head/parse/small", bytes(SMALL), || parse_whole(SMALL, 1, BodyLength::None)),
        entry("head/parse/wrk-agent", bytes(AGENT), || parse_whole(AGENT, 2, BodyLength::None)),
        entry("head/parse/browser-15", bytes(BROWSER), || parse_whole(BROWSER, 15, BodyLength::None)),
        entry("head/parse/browser-15-in-two", bytes(BROWSER), || parse_in_two(BROWSER)),
        entry("head/parse/post-chunked", bytes(POST), || parse_whole(POST, 5, BodyLength::Chunked)),
    ]
}

type Framing = Result<BodyLength, Reject>;

fn frame(length: Option<&'static [u8]>, coding: Option<&'static [u8]>, want: Framing) -> Box<dyn Case> {
    let values = |first| FieldValues { first, repeated: false };
    let (length, coding) = (values(length), values(coding));
    Box::new(move || assert!(decide(black_box(Version::Http11), black_box(length), black_box(coding)) == want))
}

fn framing() -> Vec<Entry> {
    let entry = |name, make| entry(name, Amount::One, make);
    vec![
        entry("framing/decide/none", || frame(None, None, Ok(BodyLength::None))),
        entry("framing/decide/length-7", || frame(Some(b"1048576"), None, Ok(BodyLength::Length(1 << 20)))),
        entry("framing/decide/chunked", || frame(None, Some(b"chunked"), Ok(BodyLength::Chunked))),
        entry("framing/decide/refused", || frame(Some(b"1"), Some(b"chunked"), Err(Reject::LengthWithCoding))),
    ]
}

/// Bytes of data in each body below.
const BODY_BYTES: usize = 4096;

fn chunked_body(chunk_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..BODY_BYTES / chunk_bytes {
        body.extend_from_slice(format!("{chunk_bytes:x}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'x', chunk_bytes));
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

/// Bytes of data, if `input` is one whole body.
fn decode(mut input: &[u8]) -> Option<usize> {
    let (mut decoder, mut data_bytes) = (Decoder::new(), 0);
    loop {
        let (consumed, step) = decoder.step(input, &LIMITS).ok()?;
        input = &input[consumed..];
        match step {
            Step::Data { len, .. } => data_bytes += len,
            Step::Trailer { .. } => {}
            Step::Done => return input.is_empty().then_some(data_bytes),
            Step::NeedMore => return None,
        }
    }
}

fn decode_in(chunk_bytes: usize) -> Box<dyn Case> {
    let body = chunked_body(chunk_bytes);
    assert_eq!(decode(&body[..body.len() - 1]), None);
    Box::new(move || assert!(decode(black_box(&body)) == Some(BODY_BYTES)))
}

fn chunked() -> Vec<Entry> {
    let entry = |name, make| entry(name, Amount::Bytes(BODY_BYTES), make);
    vec![
        entry("chunked/decode/4096-in-1", || decode_in(4096)),
        entry("chunked/decode/4096-in-4", || decode_in(1024)),
        entry("chunked/decode/4096-in-64", || decode_in(64)),
    ]
}

const PLAIN: Url = Url {
    input: b"GET /shop/items/42/reviews?page=2&sort=newest HTTP/1.1\r\nHost: www.adatum.com:8080\r\n\r\n",
    path: "/shop/items/42/reviews",
    raw: true,
};
const ESCAPED: Url = Url {
    input: b"GET /caf%C3%A9/old/../a%20menu/1%2F2/?page=2&sort=newest HTTP/1.1\r\nHost: www.adatum.com:8080\r\n\r\n",
    path: "/caf\u{e9}/a menu/1%2F2/",
    raw: false,
};

/// A request, and what its URL is.
struct Url {
    input: &'static [u8],
    path: &'static str,
    /// The path is used as it was sent.
    raw: bool,
}

fn cook_one(url: &'static Url, remembered: bool) -> Box<dyn Case> {
    let (mut head, mut scratch, mut memo) = (Head::EMPTY, [0; 256], HostMemo::new());
    let input = url.input;
    assert_eq!(parse(input, &LIMITS, &mut head), Ok(Parse::Complete));
    let want = cook(input, &head, &mut scratch).expect("a good URL");
    assert_eq!(want.path(input, || &scratch), url.path.as_bytes());
    assert_eq!((want.host.of(input), want.port), (&b"www.adatum.com"[..], 8080));
    assert_eq!(want.query.of(input), b"?page=2&sort=newest");
    assert_eq!(matches!(want.path, CookedPath::Raw(_)), url.raw);
    if remembered {
        let mut cooked = Cooked::EMPTY;
        Box::new(move || {
            let head = black_box(&head);
            let verdict = cook_with(black_box(input), head, || &mut scratch, &mut memo, &mut cooked);
            assert!(verdict == Ok(()) && cooked == want);
        })
    } else {
        Box::new(move || assert!(cook(black_box(input), black_box(&head), &mut scratch) == Ok(want)))
    }
}

fn url() -> Vec<Entry> {
    let entry = |name, make| entry(name, Amount::One, make);
    vec![
        entry("url/cook/plain", || cook_one(&PLAIN, false)),
        // As a shard does it, which remembers the last host.
        entry("url/cook/plain-same-host", || cook_one(&PLAIN, true)),
        entry("url/cook/escaped", || cook_one(&ESCAPED, false)),
    ]
}

type Field = (HeaderName<'static>, &'static str);

/// Writes a head as the engine does for an application's response.
#[inline]
fn write_head(
    out: &mut [u8],
    template: &HeadTemplate,
    status: u16,
    fields: &[Field],
    length: u64,
) -> Result<usize, WriteError> {
    let mut head = HeadWriter::new(out);
    head.status_and_template(status, None, template)?;
    for (name, value) in fields {
        head.header(*name, value.as_bytes())?;
    }
    head.content_length(length)?;
    head.finish()
}

fn respond(status: u16, fields: &'static [Field], length: u64, want: &str) -> Box<dyn Case> {
    let template = HeadTemplate::new("ringress").expect("a good name");
    let mut out = [0; 1024];
    let len = write_head(&mut out, &template, status, fields, length).expect("a good head");
    assert_eq!(String::from_utf8_lossy(&out[..len]), want);
    Box::new(move || {
        let (status, fields, length) = black_box((status, fields, length));
        assert!(write_head(black_box(&mut out), &template, status, fields, length) == Ok(len));
    })
}

/// A head up to its date: the shard writes that.
fn head_text(status: &str, fields: &str) -> String {
    format!("HTTP/1.1 {status}\r\nServer: ringress\r\nDate: {:29}\r\n{fields}\r\n", "")
}

const TEXT: [Field; 1] = [(HeaderName::Known(ResponseHeader::ContentType), "text/plain")];
const FIVE: [Field; 5] = [
    (HeaderName::Known(ResponseHeader::ContentType), "application/json; charset=utf-8"),
    (HeaderName::Known(ResponseHeader::CacheControl), "public, max-age=3600"),
    (HeaderName::Known(ResponseHeader::ETag), "\"5f3c-61a2b3c4d5e6f\""),
    (HeaderName::Known(ResponseHeader::Vary), "Accept-Encoding"),
    (HeaderName::Custom("X-Request-Id"), "0123456789abcdef"),
];
const FIVE_TEXT: &str = "Content-Type: application/json; charset=utf-8\r\nCache-Control: public, max-age=3600\r\n\
     ETag: \"5f3c-61a2b3c4d5e6f\"\r\nVary: Accept-Encoding\r\nX-Request-Id: 0123456789abcdef\r\n\
     Content-Length: 2345\r\n";

fn response() -> Vec<Entry> {
    let entry = |name, make| entry(name, Amount::One, make);
    vec![
        entry("response/head/ok-text", || {
            let want = head_text("200 OK", "Content-Type: text/plain\r\nContent-Length: 13\r\n");
            respond(200, &TEXT, 13, &want)
        }),
        entry("response/head/404", || respond(404, &[], 0, &head_text("404 Not Found", "Content-Length: 0\r\n"))),
        entry("response/head/5-fields", || respond(200, &FIVE, 2345, &head_text("200 OK", FIVE_TEXT))),
    ]
}

const SECONDS: u64 = 784_111_777;
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn date() -> Vec<Entry> {
    let entry = |name, make| entry(name, Amount::One, make);
    vec![
        entry("date/format/imf", || Box::new(|| assert!(imf_fixdate(black_box(SECONDS)) == *DATE))),
        entry("date/parse/imf", || Box::new(|| assert!(parse_imf_fixdate(black_box(DATE)) == Some(SECONDS)))),
    ]
}
