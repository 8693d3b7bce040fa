//! The routes, and those that are answered at once: a function each, from a request to a response.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use ringress::{ErrorKind, KnownHeader, Method, Request, Response, ResponseHeader, TargetForm, Validators, Version};
use serde_json::{Map, Value, json};

use crate::Site;
use crate::files::{self, Found, Root};

/// Contexts of the three prefixes; paths under the first two are taken without their first segment.
pub(crate) const STRONG: u64 = 1;
pub(crate) const HOST: u64 = 2;
pub(crate) const WEAK: u64 = 3;

const PAGE: &str = include_str!("page.html");
/// The most that `/bytes/N` gives.
const BYTES_MAX: u64 = 10 << 30;
/// The most bytes that are given in one call: so many are held in memory.
pub(crate) const BYTES_AT_ONCE_MAX: usize = 1 << 20;
const WORK_MS_MAX: u64 = 1_000;
/// The longest type that is echoed: beside the other fields it fits the smallest response area that there is here.
const CONTENT_TYPE_BYTES_MAX: usize = 1024;

/// Changed on 2025-10-01.
static PAGE_VALIDATORS: LazyLock<Validators> = LazyLock::new(|| {
    let changed = UNIX_EPOCH + Duration::from_secs(1_759_276_800);
    Validators::new().with_etag("\"ringress-1\"").expect("it has its quotes").with_last_modified(changed)
});
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'x'; BYTES_AT_ONCE_MAX]));

/// What a path stands for, with the number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Page,
    Plaintext,
    Json,
    Pipeline,
    Baseline,
    Echo,
    Upload,
    Take,
    Headers,
    Who,
    Bytes(u64),
    Stream(u64),
    Drip(u64),
    Slow(u64),
    Work(u64),
    File,
    Trailers,
    Cancel,
    Hang,
    Hints,
    Gauges,
    Upgrade,
}

impl Route {
    /// The route of a request, whatever its method.
    #[inline]
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let path = request.rest().as_bytes();
        Some(match path {
            b"/" => Self::Page,
            b"/plaintext" => Self::Plaintext,
            b"/json" => Self::Json,
            b"/pipeline" => Self::Pipeline,
            b"/baseline11" => Self::Baseline,
            b"/echo" => Self::Echo,
            b"/upload" => Self::Upload,
            b"/take" => Self::Take,
            b"/headers" => Self::Headers,
            b"/who" => Self::Who,
            b"/trailers" => Self::Trailers,
            b"/cancel" => Self::Cancel,
            b"/hang" => Self::Hang,
            b"/hints" => Self::Hints,
            b"/gauges" => Self::Gauges,
            b"/upgrade" => Self::Upgrade,
            _ if path.starts_with(FILE) => Self::File,
            _ => return Self::numbered(path),
        })
    }

    fn numbered(path: &[u8]) -> Option<Self> {
        let number = |prefix: &[u8]| number(path.strip_prefix(prefix)?);
        number(b"/bytes/")
            .map(Self::Bytes)
            .or_else(|| number(b"/slow/").map(Self::Slow))
            .or_else(|| number(b"/work/").map(Self::Work))
            .or_else(|| number(b"/stream/").map(Self::Stream))
            .or_else(|| number(b"/drip/").map(Self::Drip))
    }

    /// The methods that it knows, as Allow names them.
    const fn methods(self) -> &'static str {
        match self {
            Self::Page | Self::Baseline | Self::Headers | Self::Trailers => "GET, HEAD, POST, OPTIONS",
            Self::Echo | Self::Upload | Self::Take => "POST, PUT, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// What `/upgrade` switches to: everything that comes is sent back.
pub(crate) const ECHO_PROTOCOL: &str = "echo";
/// What paths of files begin with.
const FILE: &[u8] = b"/file/";

/// A number in decimal digits alone; one that is too large is the largest there is.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The route that benchmarks ask for, before all others are looked at.
#[inline]
pub(crate) fn is_plaintext(request: &Request) -> bool {
    let get = matches!(request.method(), Method::Get | Method::Head);
    get && request.url_context() == WEAK && request.path_bytes() == b"/plaintext"
}

/// Whether `/bytes/N` gives so many bytes as a stream.
pub(crate) const fn is_streamed(count: u64) -> bool {
    count > BYTES_AT_ONCE_MAX as u64 && count <= BYTES_MAX
}

/// So many bytes, at most [`BYTES_AT_ONCE_MAX`].
pub(crate) fn pattern(count: usize) -> Bytes {
    PATTERN.slice(..count)
}

/// Says what went wrong, unless it is a client's doing: that it left, or sent what the engine has refused.
#[inline]
pub(crate) fn report(done: ringress::Result<()>) {
    match done {
        Err(error) if !error.is_gone() && error.kind() != ErrorKind::TooLarge => {
            eprintln!("showcase: answering failed: {error}");
        }
        _ => {}
    }
}

/// Answers a request that need not wait, with its body if all of that came with the head.
#[inline]
pub(crate) fn answer_now(request: Request, route: Option<Route>, site: &Site) -> ringress::Result<()> {
    let get = matches!(request.method(), Method::Get | Method::Head);
    match (route, &site.root) {
        (Some(Route::Cancel), _) if get => request.cancel(),
        (Some(Route::Take), _) if matches!(request.method(), Method::Post | Method::Put) => take(request),
        (Some(Route::Upgrade), _) if get => {
            let wanted = "this route is for Connection: upgrade and Upgrade: echo in HTTP/1.1, without a body\n";
            request.respond(status_text(400, wanted))
        }
        (Some(Route::File), Some(root)) if get => request.respond_with(|request| file(request, root)),
        _ => request.respond_with(|request| answer(request, route, site)),
    }
}

/// Whether a request asks for the one protocol beside HTTP that is spoken here.
pub(crate) fn can_upgrade(request: &Request) -> bool {
    let is_echo = |protocol: &str| protocol.eq_ignore_ascii_case(ECHO_PROTOCOL);
    request.method() == Method::Get && request.upgrade_protocols().any(is_echo)
}

fn answer<'r>(request: &'r Request, route: Option<Route>, site: &Site) -> Response<'r> {
    let method = request.method();
    let (get, post) = (matches!(method, Method::Get | Method::Head), method == Method::Post);
    let put = method == Method::Put;
    let whole = || request.whole_body().unwrap_or_default();
    match route {
        None if method == Method::Options && request.target_form() == TargetForm::Asterisk => Response::ok(),
        None => not_found(),
        Some(Route::File) if site.root.is_none() => status_text(404, "start with --root DIR to serve files\n"),
        Some(Route::Plaintext) if get => Response::text("Hello, World!"),
        Some(Route::Pipeline) if get => Response::text("ok"),
        Some(Route::Page) if get => page(request),
        Some(Route::Page) if post => echo(request).body(whole()),
        Some(Route::Echo) if post || put => echo(request).body(whole()),
        Some(Route::Upload) if post || put => Response::text(whole().len().to_string()),
        Some(Route::Json) if get => {
            Response::ok().content_type("application/json").body(r#"{"message":"Hello, World!"}"#)
        }
        Some(Route::Baseline) if get || post => baseline(request, whole()),
        Some(Route::Headers) if get || post => headers(request),
        Some(Route::Who) if get => json_line(&who(request)),
        Some(Route::Bytes(count)) if get => bytes(request, count),
        Some(Route::Work(ms)) if get => work(ms),
        Some(Route::Hints) if get => hints(request),
        Some(Route::Gauges) if get => gauges(site),
        Some(route) if method == Method::Options => Response::new(204).header(ResponseHeader::Allow, route.methods()),
        Some(route) => {
            status_text(405, "this path knows other methods only\n").header(ResponseHeader::Allow, route.methods())
        }
    }
}

pub(crate) fn status_text(status: u16, text: &str) -> Response<'_> {
    Response::new(status).content_type("text/plain").body(text)
}

/// JSON for people, whose prompt is to begin a line of its own. The routes of benchmarks (`/plaintext`, `/json`,
/// `/pipeline`, `/baseline11`, `/upload`) give exactly the bytes that are asked of every server there.
fn json_line(value: &Value) -> Response<'static> {
    Response::ok().content_type("application/json").body(format!("{value}\n"))
}

pub(crate) fn not_found() -> Response<'static> {
    status_text(404, "no such path\n")
}

/// The file of a path below the root.
fn file(request: &Request, root: &Root) -> Response<'static> {
    let path = &request.rest()[FILE.len()..];
    match root.find(path) {
        Ok(Found::File(file, metadata)) => files::response(request, path, file, &metadata),
        Ok(_) => not_found(),
        Err(error) => {
            eprintln!("showcase: /file/{path}: {error}");
            status_text(503, "the file cannot be opened now\n")
        }
    }
}

fn page(request: &Request) -> Response<'_> {
    Response::ok().content_type("text/html; charset=utf-8").body(PAGE).select(request, &PAGE_VALIDATORS)
}

/// The echo of a body that is still to be added.
pub(crate) fn echo(request: &Request) -> Response<'_> {
    Response::ok().header(ResponseHeader::ContentType, content_type(request))
}

/// What is wrong with a request for an echo, if that cannot be: its type must fit a response's head.
pub(crate) fn no_echo(request: &Request) -> Option<(u16, &'static str)> {
    let wanted = "a Content-Type of more than 1024 bytes does not fit the head of an echo\n";
    (content_type(request).len() > CONTENT_TYPE_BYTES_MAX).then_some((431, wanted))
}

/// The type that a body is echoed with.
pub(crate) fn content_type(request: &Request) -> &[u8] {
    request.header(KnownHeader::ContentType).unwrap_or(b"application/octet-stream")
}

pub(crate) fn baseline(request: &Request, body: &[u8]) -> Response<'static> {
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

fn bytes(request: &Request, count: u64) -> Response<'static> {
    let response = Response::ok().content_type("application/octet-stream");
    match usize::try_from(count) {
        Ok(count) if count <= BYTES_AT_ONCE_MAX => response.body(pattern(count)),
        _ if request.method() == Method::Head && count <= BYTES_MAX => response.content_length(count),
        _ => status_text(400, "/bytes/N gives at most 10737418240 bytes\n"),
    }
}

/// Holds this consumer, as a handler does that works or waits for something.
fn work(ms: u64) -> Response<'static> {
    if ms > WORK_MS_MAX {
        return status_text(400, "/work/MS takes at most 1000 ms\n");
    }
    std::thread::sleep(Duration::from_millis(ms));
    Response::text("worked\n")
}

/// As `/upload`, by a handler that waits for the body: until then its consumer answers nobody else.
fn take(mut request: Request) -> ringress::Result<()> {
    let mut bytes = 0;
    while let Some(chunk) = request.body().next_chunk()? {
        bytes += chunk.len();
    }
    request.respond(Response::text(bytes.to_string()))
}

/// Tells beforehand what the response will need (RFC 8297).
fn hints(request: &Request) -> Response<'static> {
    // HTTP/1.0 has no such responses, and who is gone needs none.
    let _ = request.send_informational(103, &[("Link", "</style.css>; rel=preload; as=style")]);
    Response::text("hinted\n")
}

/// What the engine has counted.
fn gauges(site: &Site) -> Response<'static> {
    let counters = site.engine.upgrade().map(|engine| engine.counters()).unwrap_or_default();
    let all: Map<String, Value> = counters.named().map(|(name, count)| (name.to_owned(), count.into())).collect();
    json_line(&Value::Object(all))
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
