//! The routes: one function a route, each from a request to a response.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use ringress::{KnownHeader, Method, Request, Response, ResponseHeader, TargetForm, Validators, Version};
use serde_json::{Value, json};

/// Contexts of the three prefixes; paths under the first two are taken without their first segment.
pub(crate) const STRONG: u64 = 1;
pub(crate) const HOST: u64 = 2;
pub(crate) const WEAK: u64 = 3;

const PAGE: &str = include_str!("page.html");
/// The most that `/bytes/N` gives: it is held in memory.
const BYTES_MAX: usize = 64 << 20;
const SLOW_MS_MAX: u64 = 60_000;
const WORK_MS_MAX: u64 = 1_000;

/// Changed on 2025-10-01.
static PAGE_VALIDATORS: LazyLock<Validators> = LazyLock::new(|| {
    let changed = UNIX_EPOCH + Duration::from_secs(1_759_276_800);
    Validators::new().with_etag("\"ringress-1\"").expect("it has its quotes").with_last_modified(changed)
});
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'x'; BYTES_MAX]));

/// The methods that a path knows, as Allow names them.
fn allowed(path: &[u8]) -> Option<&'static str> {
    match path {
        b"/" => Some("GET, HEAD, POST, OPTIONS"),
        b"/plaintext" | b"/json" | b"/pipeline" | b"/who" => Some("GET, HEAD, OPTIONS"),
        b"/baseline11" | b"/headers" => Some("GET, HEAD, POST, OPTIONS"),
        b"/echo" => Some("POST, OPTIONS"),
        _ if number_after(path, b"/bytes/").is_some() => Some("GET, HEAD, OPTIONS"),
        _ if number_after(path, b"/slow/").is_some() => Some("GET, HEAD, OPTIONS"),
        _ if number_after(path, b"/work/").is_some() => Some("GET, HEAD, OPTIONS"),
        _ => None,
    }
}

fn number_after(path: &[u8], prefix: &[u8]) -> Option<u64> {
    std::str::from_utf8(path.strip_prefix(prefix)?).ok()?.parse().ok()
}

/// The path below the prefix that matched.
fn path(request: &Request) -> &[u8] {
    let path = request.path_bytes();
    let first: &[u8] = match request.url_context() {
        STRONG => b"/strong",
        HOST => b"/host",
        _ => return path,
    };
    // Prefixes match without regard to case, and `/strong` alone is the root below it.
    match path.get(first.len()..) {
        Some([]) | None => b"/",
        Some(below) => below,
    }
}

/// The route that benchmarks ask for, before all others are looked at.
#[inline]
pub(crate) fn is_plaintext(request: &Request) -> bool {
    let get = matches!(request.method(), Method::Get | Method::Head);
    get && request.url_context() == WEAK && request.path_bytes() == b"/plaintext"
}

/// How long to wait before answering, for `/slow/MS`.
#[inline]
pub(crate) fn delay(request: &Request) -> Option<Duration> {
    let ms = number_after(path(request), b"/slow/")?;
    let get = matches!(request.method(), Method::Get | Method::Head);
    get.then(|| Duration::from_millis(ms.min(SLOW_MS_MAX)))
}

#[inline]
pub(crate) fn answer<'r>(request: &'r Request, body: &'r [u8]) -> Response<'r> {
    let path = path(request);
    match (request.method(), path) {
        (Method::Get | Method::Head, b"/plaintext") => Response::text("Hello, World!"),
        (Method::Get | Method::Head, b"/pipeline") => Response::text("ok"),
        _ => answer_other(request, path, body),
    }
}

/// As [`answer`], for a body that was read.
pub(crate) fn answer_whole(request: &Request, body: Bytes) -> Response<'_> {
    match (request.method(), path(request)) {
        (Method::Post, b"/" | b"/echo") => echo(request, &[]).body(body),
        (Method::Post, b"/baseline11") => baseline(request, &body),
        _ => answer(request, &[]),
    }
}

fn answer_other<'r>(request: &'r Request, path: &[u8], body: &'r [u8]) -> Response<'r> {
    let method = request.method();
    let get = matches!(method, Method::Get | Method::Head);
    match path {
        _ if method == Method::Options && request.target_form() == TargetForm::Asterisk => Response::ok(),
        b"/" if get => page(request),
        b"/" | b"/echo" if method == Method::Post => echo(request, body),
        b"/json" if get => Response::ok().content_type("application/json").body(r#"{"message":"Hello, World!"}"#),
        b"/baseline11" if get || method == Method::Post => baseline(request, body),
        b"/headers" if get || method == Method::Post => headers(request),
        b"/who" if get => Response::ok().content_type("application/json").body(who(request).to_string()),
        _ if get && path.starts_with(b"/bytes/") => bytes(path),
        _ if get && path.starts_with(b"/work/") => work(path),
        _ => match allowed(path) {
            Some(allow) if method == Method::Options => Response::new(204).header(ResponseHeader::Allow, allow),
            Some(allow) => {
                status_text(405, "this path knows other methods only\n").header(ResponseHeader::Allow, allow)
            }
            None => not_found(),
        },
    }
}

fn status_text(status: u16, text: &str) -> Response<'_> {
    Response::new(status).content_type("text/plain").body(text)
}

fn not_found() -> Response<'static> {
    status_text(404, "no such path\n")
}

fn page(request: &Request) -> Response<'_> {
    Response::ok().content_type("text/html; charset=utf-8").body(PAGE).select(request, &PAGE_VALIDATORS)
}

fn echo<'r>(request: &'r Request, body: &'r [u8]) -> Response<'r> {
    let content_type = request.header(KnownHeader::ContentType).unwrap_or(b"application/octet-stream");
    Response::ok().header(ResponseHeader::ContentType, content_type).body(body)
}

fn baseline(request: &Request, body: &[u8]) -> Response<'static> {
    let values = request.query().unwrap_or_default().split(|byte| *byte == b'&');
    let values = values.filter_map(|pair| pair.split(|byte| *byte == b'=').nth(1)).filter_map(integer);
    let sum = values.chain(integer(body)).fold(0_i64, i64::wrapping_add);
    Response::text(sum.to_string())
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn headers(request: &Request) -> Response<'_> {
    let mut text = Vec::new();
    for (name, value) in request.headers() {
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    Response::text(text)
}

fn bytes(path: &[u8]) -> Response<'static> {
    match number_after(path, b"/bytes/").map(usize::try_from) {
        Some(Ok(count)) if count <= BYTES_MAX => {
            Response::ok().content_type("application/octet-stream").body(PATTERN.slice(..count))
        }
        Some(_) => status_text(400, "/bytes/N gives at most 67108864 bytes\n"),
        None => not_found(),
    }
}

/// Holds this consumer, as a handler does that works or waits for something.
fn work(path: &[u8]) -> Response<'static> {
    match number_after(path, b"/work/") {
        Some(ms @ 0..=WORK_MS_MAX) => {
            std::thread::sleep(Duration::from_millis(ms));
            Response::text("worked\n")
        }
        Some(_) => status_text(400, "/work/MS takes at most 1000 ms\n"),
        None => not_found(),
    }
}

fn who(request: &Request) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields: Vec<[String; 2]> = request.headers().map(|(name, value)| [text(name), text(value)]).collect();
    json!({
        "request_id": request.id().to_string(),
        "connection_id": request.connection_id().to_string(),
        "remote": request.peer_addr().to_string(),
        "local": request.local_addr().to_string(),
        "shard": request.shard(),
        "version": if request.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" },
        "method": text(request.method_name()),
        "raw_url": text(request.raw_url()),
        "host": text(request.host()),
        "path": request.path(),
        "query": request.query().map(text),
        "url_context": request.url_context(),
        "headers": fields,
    })
}
