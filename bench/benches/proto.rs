//! What one request costs in `ringress-proto`: parsing its head, cooking its URL, decoding its chunks, writing its
//! response head.
//!
//! Names are `room/case/size`. Every answer is checked: in full before it is measured, in its decisive number each
//! time. All data is hot in cache and every branch has been seen before: in a server the same work costs more.
//!
//! Run: `cargo bench -p ringress-bench --bench proto`, with a name or part of one to choose.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringress_proto::chunked::{Decoder, Step};
use ringress_proto::date::{imf_fixdate, parse_imf_fixdate};
use ringress_proto::framing::BodyKind;
use ringress_proto::head::{Head, Parse, parse};
use ringress_proto::header::{HeaderName, ResponseHeader};
use ringress_proto::limits::Limits;
use ringress_proto::method::Method;
use ringress_proto::response::{HeadWriter, Imprint, WriteError};
use ringress_proto::url::{CookedPath, cook};

const LIMITS: Limits = Limits::DEFAULT;

const SMALL: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

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

fn head(c: &mut Criterion) {
    let mut group = c.benchmark_group("head/parse");
    let cases = [
        ("small", SMALL, 1, BodyKind::None),
        ("browser-15", BROWSER, 15, BodyKind::None),
        ("post-chunked", POST, 5, BodyKind::Chunked),
    ];
    let mut head = Head::EMPTY;
    for (name, input, header_count, body) in cases {
        assert_eq!(parse(input, &LIMITS, &mut head), Ok(Parse::Complete));
        assert_eq!((head.headers().len(), head.body), (header_count, body));
        assert_eq!(head.method, Method::from_bytes(head.method_name.of(input)));
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let parsed = parse(black_box(input), &LIMITS, &mut head);
                assert!(parsed == Ok(Parse::Complete) && usize::from(head.head_len) == input.len());
            });
        });
    }
    // Two reads: the start is parsed in vain.
    let start = &BROWSER[..BROWSER.len() / 2];
    group.throughput(Throughput::Bytes(BROWSER.len() as u64));
    group.bench_function("browser-15-in-two", |b| {
        b.iter(|| {
            assert!(parse(black_box(start), &LIMITS, &mut head) == Ok(Parse::Partial));
            let parsed = parse(black_box(BROWSER), &LIMITS, &mut head);
            assert!(parsed == Ok(Parse::Complete) && usize::from(head.head_len) == BROWSER.len());
        });
    });
    group.finish();
}

fn url(c: &mut Criterion) {
    let mut group = c.benchmark_group("url/cook");
    let cases: [(&str, &[u8], &str, &str); 2] = [
        (
            "plain",
            b"GET /shop/items/42/reviews?page=2&sort=newest HTTP/1.1\r\nHost: www.adatum.com:8080\r\n\r\n",
            "/shop/items/42/reviews",
            "?page=2&sort=newest",
        ),
        (
            "escaped",
            b"GET /caf%C3%A9/old/../a%20menu/1%2F2/?page=2&sort=newest HTTP/1.1\r\nHost: www.adatum.com:8080\r\n\r\n",
            "/caf\u{e9}/a menu/1%2F2/",
            "?page=2&sort=newest",
        ),
    ];
    let (mut head, mut scratch) = (Head::EMPTY, [0; 256]);
    for (name, input, path, query) in cases {
        assert_eq!(parse(input, &LIMITS, &mut head), Ok(Parse::Complete));
        let want = cook(input, &head, &mut scratch).expect("a good URL");
        assert_eq!(want.path(input, &scratch), path.as_bytes());
        assert_eq!((want.host.of(input), want.port), (&b"www.adatum.com"[..], 8080));
        assert_eq!(want.query.of(input), query.as_bytes());
        assert_eq!(matches!(want.path, CookedPath::Raw(_)), name == "plain");
        group.bench_function(name, |b| {
            b.iter(|| {
                let cooked = cook(black_box(input), black_box(&head), &mut scratch);
                assert!(cooked == Ok(want));
            });
        });
    }
    group.finish();
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
            Step::Done => return input.is_empty().then_some(data_bytes),
            Step::NeedMore => return None,
        }
    }
}

fn chunked(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunked/decode");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    for (name, chunk_bytes) in [("4096-in-1", 4096), ("4096-in-4", 1024), ("4096-in-64", 64)] {
        let body = chunked_body(chunk_bytes);
        assert_eq!(decode(&body[..body.len() - 1]), None);
        group.bench_function(name, |b| b.iter(|| assert!(decode(black_box(&body)) == Some(BODY_BYTES))));
    }
    group.finish();
}

type Field<'a> = (HeaderName<'a>, &'a str);

/// Writes a head as the engine does for an application's response.
#[inline]
fn write_head(
    out: &mut [u8],
    imprint: &Imprint,
    status: u16,
    fields: &[Field<'_>],
    length: u64,
) -> Result<usize, WriteError> {
    let mut head = HeadWriter::new(out);
    head.status_and_imprint(status, None, imprint)?;
    for (name, value) in fields {
        head.header(*name, value.as_bytes())?;
    }
    head.content_length(length)?;
    head.finish()
}

fn response(c: &mut Criterion) {
    use HeaderName::{Custom, Known};
    let mut group = c.benchmark_group("response/head");
    let text: [Field<'_>; 1] = [(Known(ResponseHeader::ContentType), "text/plain")];
    let five: [Field<'_>; 5] = [
        (Known(ResponseHeader::ContentType), "application/json; charset=utf-8"),
        (Known(ResponseHeader::CacheControl), "public, max-age=3600"),
        (Known(ResponseHeader::ETag), "\"5f3c-61a2b3c4d5e6f\""),
        (Known(ResponseHeader::Vary), "Accept-Encoding"),
        (Custom("X-Request-Id"), "0123456789abcdef"),
    ];
    let cases: [(&str, u16, &[Field<'_>], u64, &str); 3] = [
        ("ok-text", 200, &text, 13, "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n"),
        ("404", 404, &[], 0, "Content-Length: 0\r\n\r\n"),
        (
            "5-fields",
            200,
            &five,
            2345,
            "Content-Type: application/json; charset=utf-8\r\nCache-Control: public, max-age=3600\r\n\
             ETag: \"5f3c-61a2b3c4d5e6f\"\r\nVary: Accept-Encoding\r\nX-Request-Id: 0123456789abcdef\r\n\
             Content-Length: 2345\r\n\r\n",
        ),
    ];
    let imprint = Imprint::new("ringress").expect("a good name");
    let mut out = [0; 1024];
    for (name, status, fields, length, end) in cases {
        let len = write_head(&mut out, &imprint, status, fields, length).expect("a good head");
        let reason = if status == 200 { "OK" } else { "Not Found" };
        let date = " ".repeat(29);
        let want = format!("HTTP/1.1 {status} {reason}\r\nServer: ringress\r\nDate: {date}\r\n{end}");
        assert_eq!(String::from_utf8_lossy(&out[..len]), want);
        group.bench_function(name, |b| {
            b.iter(|| {
                let (status, fields, length) = black_box((status, fields, length));
                assert!(write_head(black_box(&mut out), &imprint, status, fields, length) == Ok(len));
            });
        });
    }
    group.finish();
}

fn date(c: &mut Criterion) {
    const SECONDS: u64 = 784_111_777;
    const TEXT: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    c.bench_function("date/format/imf", |b| b.iter(|| assert!(imf_fixdate(black_box(SECONDS)) == *TEXT)));
    c.bench_function("date/parse/imf", |b| b.iter(|| assert!(parse_imf_fixdate(black_box(TEXT)) == Some(SECONDS))));
}

criterion_group!(benches, head, url, chunked, response, date);
criterion_main!(benches);
