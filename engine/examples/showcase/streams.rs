//! The routes that take their time: one task for each such request, on the thread of the consumer that took it.
//!
//! Invariants: a task waits for its client, and for time, without holding its consumer; it gives way after a few steps,
//! also to a client that is faster than it; of a body it holds no more than the piece at hand, or the first 64 KiB
//! (4 KiB where the engine's memory is bounded).

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use ringress::{
    Disconnected, ErrorKind, Method, Request, RequestBody, Response, ResponseHeader, ResponseStream, Version,
};

use crate::Site;
use crate::routes::{self, BYTES_AT_ONCE_MAX, Route};

/// The largest body of `/baseline11`: a number, with white space around it.
const NUMBER_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES_MAX: usize = BYTES_AT_ONCE_MAX;
const CHUNK_BYTES_USUAL: usize = 1024;
const CHUNKS_MAX: u64 = 1_000_000;
const DRIPS_MAX: u64 = 100_000;
const DRIP_MS_MAX: u64 = 60_000;
const DRIP_MS_USUAL: u64 = 100;
const SLOW_MS_MAX: u64 = 60_000;
/// Bytes of a body that are held before its echo begins, unless it ends before; on a small host.
pub(crate) const ECHO_HELD_BYTES: usize = 64 << 10;
pub(crate) const ECHO_HELD_BYTES_SMALL: usize = 4 << 10;
/// Pieces read or sent before a task gives way.
const STEPS: u32 = 4;

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Upload,
    Echo,
    /// The sum of a number that did not come with the head.
    Baseline,
    Bytes(u64),
    Chunks {
        count: u64,
        bytes: usize,
    },
    Drip {
        count: u64,
        every: Duration,
    },
    Slow(Duration),
    Trailers,
    Hang,
    /// An echo of whatever comes on a connection that has switched protocols.
    Pipe,
}

/// The work of a request that cannot be answered at once; or the status and text of what is wrong with it.
#[inline]
pub(crate) fn work(request: &Request, route: Option<Route>) -> Result<Option<Work>, (u16, &'static str)> {
    let method = request.method();
    let get = matches!(method, Method::Get | Method::Head);
    let (post, put) = (method == Method::Post, method == Method::Put);
    let is_echo = matches!(route, Some(Route::Echo)) && (post || put) || matches!(route, Some(Route::Page)) && post;
    if is_echo && let Some(refusal) = routes::no_echo(request) {
        return Err(refusal);
    }
    let bad = |wanted| (400, wanted);
    Ok(Some(match route {
        Some(Route::Slow(ms)) if get => Work::Slow(Duration::from_millis(ms.min(SLOW_MS_MAX))),
        Some(Route::Bytes(count)) if method == Method::Get && routes::is_streamed(count) => Work::Bytes(count),
        Some(Route::Stream(count)) if get => chunks(request, count).map_err(bad)?,
        Some(Route::Drip(count)) if get => drip(request, count).map_err(bad)?,
        Some(Route::Trailers) if get || post => Work::Trailers,
        Some(Route::Hang) if get => Work::Hang,
        Some(Route::Upgrade) if routes::can_upgrade(request) => Work::Pipe,
        _ if request.whole_body().is_some() => return Ok(None),
        Some(Route::Upload) if post || put => Work::Upload,
        Some(Route::Echo) if post || put => Work::Echo,
        Some(Route::Page) if post => Work::Echo,
        Some(Route::Baseline) if get || post => Work::Baseline,
        // What does not depend on the body is answered without it; the engine sees to the rest.
        _ => return Ok(None),
    }))
}

#[cold]
fn chunks(request: &Request, count: u64) -> Result<Work, &'static str> {
    let bytes = request.query_value("chunk").map_or(Some(CHUNK_BYTES_USUAL), |text| {
        text.parse().ok().filter(|bytes| (1..=CHUNK_BYTES_MAX).contains(bytes))
    });
    match bytes {
        Some(bytes) if count <= CHUNKS_MAX => Ok(Work::Chunks { count, bytes }),
        Some(_) => Err("/stream/N gives at most 1000000 chunks\n"),
        None => Err("/stream/N?chunk=S takes an S from 1 to 1048576 bytes\n"),
    }
}

#[cold]
fn drip(request: &Request, count: u64) -> Result<Work, &'static str> {
    let ms =
        request.query_value("ms").map_or(Some(DRIP_MS_USUAL), |text| text.parse().ok().filter(|ms| *ms <= DRIP_MS_MAX));
    match ms {
        Some(ms) if count <= DRIPS_MAX => Ok(Work::Drip { count, every: Duration::from_millis(ms) }),
        Some(_) => Err("/drip/N gives at most 100000 chunks\n"),
        None => Err("/drip/N?ms=M takes an M from 0 to 60000 ms\n"),
    }
}

/// Does the work of a request.
pub(crate) async fn run(work: Work, request: Request, site: &Site) {
    let done = match work {
        Work::Upload => upload(request).await,
        Work::Echo => echo(request, site.echo_held_bytes).await,
        Work::Baseline => baseline(request).await,
        Work::Bytes(count) => bytes(request, count).await,
        Work::Chunks { count, bytes } => stream(request, count, bytes).await,
        Work::Drip { count, every } => drips(request, count, every, site).await,
        Work::Slow(delay) => {
            site.timers.sleep(delay).await;
            request.respond(Response::text("slow\n"))
        }
        Work::Trailers => trailers(request).await,
        Work::Hang => hang(request).await,
        Work::Pipe => pipe(request).await,
    };
    routes::report(done);
}

/// Lets others run after every few steps.
#[derive(Debug, Default)]
struct Pace(u32);

impl Pace {
    async fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(STEPS) {
            future::yield_now().await;
        }
    }
}

/// Reads what is left of a body, and counts it.
async fn count(request: &mut Request) -> ringress::Result<u64> {
    let (mut pace, mut bytes) = (Pace::default(), 0);
    while let Some(chunk) = request.body().next_chunk_async().await? {
        bytes += chunk.len() as u64;
        drop(chunk);
        pace.step().await;
    }
    Ok(bytes)
}

async fn upload(mut request: Request) -> ringress::Result<()> {
    let bytes = count(&mut request).await?;
    request.respond(Response::text(bytes.to_string()))
}

async fn next_piece(mut body: RequestBody<'_>) -> ringress::Result<Option<Bytes>> {
    let chunk = body.next_chunk_async().await?;
    Ok(chunk.map(|chunk| Bytes::copy_from_slice(&chunk)))
}

/// Adds bytes of a body to those that are held, until it is at its end or enough are held; whether it is at its end.
async fn hold(request: &mut Request, held: &mut Vec<u8>, most: usize) -> ringress::Result<bool> {
    let mut body = request.body();
    while held.len() < most {
        match body.next_chunk_async().await? {
            Some(chunk) => held.extend_from_slice(&chunk),
            None => return Ok(true),
        }
    }
    Ok(false)
}

/// What is held goes first, so that a short body that is cut or malformed gets the engine's answer, and nobody's answer
/// begins before the client has had its 100 Continue.
async fn echo(mut request: Request, held_bytes: usize) -> ringress::Result<()> {
    let mut held = Vec::new();
    if hold(&mut request, &mut held, held_bytes).await? {
        let held = Bytes::from(held);
        return request.respond_with(|request| routes::echo(request).body(held));
    }
    let (length, content_type) = (request.content_length(), routes::content_type(&request).to_vec());
    let mut response = Response::ok().header(ResponseHeader::ContentType, &content_type);
    if let Some(length) = length {
        response = response.content_length(length);
    }
    let mut stream = request.start(response)?;
    stream.send_async(held).await?;
    let mut pace = Pace::default();
    while let Some(body) = stream.body() {
        let Some(bytes) = next_piece(body).await? else { break };
        stream.send_async(bytes).await?;
        pace.step().await;
    }
    stream.finish().map(drop)
}

async fn baseline(mut request: Request) -> ringress::Result<()> {
    match request.body().to_bytes_async(NUMBER_BYTES_MAX).await {
        Ok(body) => request.respond_with(|request| routes::baseline(request, &body)),
        Err(error) if error.kind() == ErrorKind::TooLarge => {
            request.respond(routes::status_text(413, "a number has at most 1048576 bytes\n"))
        }
        Err(error) => Err(error),
    }
}

async fn bytes(request: Request, count: u64) -> ringress::Result<()> {
    let response = Response::ok().content_type("application/octet-stream").content_length(count);
    let mut stream = request.start(response)?;
    let (mut left, mut pace) = (count, Pace::default());
    while left > 0 {
        let bytes = usize::try_from(left).map_or(BYTES_AT_ONCE_MAX, |left| left.min(BYTES_AT_ONCE_MAX));
        stream.send_async(routes::pattern(bytes)).await?;
        left -= bytes as u64;
        pace.step().await;
    }
    stream.finish().map(drop)
}

async fn stream(request: Request, count: u64, bytes: usize) -> ringress::Result<()> {
    let (mut stream, count) = start(request, "application/octet-stream", count)?;
    let mut pace = Pace::default();
    for _ in 0..count {
        stream.send_async(routes::pattern(bytes)).await?;
        pace.step().await;
    }
    stream.finish().map(drop)
}

/// Begins a response of unknown length. In the response to HEAD there are no chunks.
fn start(request: Request, content_type: &str, count: u64) -> ringress::Result<(ResponseStream, u64)> {
    let count = if request.method() == Method::Head { 0 } else { count };
    Ok((request.start(Response::ok().content_type(content_type))?, count))
}

async fn drips(request: Request, count: u64, every: Duration, site: &Site) -> ringress::Result<()> {
    let mut left = pin!(request.on_disconnect());
    let (mut stream, count) = start(request, "text/plain", count)?;
    for _ in 0..count {
        // What is sent to a client that has left is known a drip later, which may be a minute.
        let gone = async {
            left.as_mut().await;
            true
        };
        let due = async {
            site.timers.sleep(every).await;
            false
        };
        if future::or(gone, due).await {
            return Ok(());
        }
        stream.send_async("drip\n").await?;
    }
    stream.finish().map(drop)
}

async fn trailers(mut request: Request) -> ringress::Result<()> {
    let sum = count(&mut request).await?.to_string();
    let echoed = request.trailers().find(|(name, _)| name.eq_ignore_ascii_case(b"x-echo"));
    let echoed = echoed.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let has_trailers = request.version() != Version::Http10;
    let mut stream = request.start(Response::ok().content_type("text/plain"))?;
    stream.send_async("trailers\n").await?;
    if !has_trailers {
        return stream.finish().map(drop);
    }
    let mut fields = vec![("X-Sum", sum.as_str())];
    fields.extend(echoed.as_deref().map(|value| ("X-Echo", value)));
    stream.finish_with_trailers(&fields).map(drop)
}

/// Sends everything back that comes, to the client's end of its side.
async fn pipe(request: Request) -> ringress::Result<()> {
    let (mut reader, mut writer) = request.upgrade(Response::switching(routes::ECHO_PROTOCOL))?.split();
    let mut pace = Pace::default();
    while let Some(chunk) = reader.next_chunk_async().await? {
        writer.send_async(&chunk[..]).await?;
        drop(chunk);
        pace.step().await;
    }
    writer.finish().map(drop)
}

async fn hang(request: Request) -> ringress::Result<()> {
    // A client that closes its socket only ends its side: it is not known to be gone before something is sent.
    let how = request.on_half_close().await;
    eprintln!("showcase: /hang: {how:?}");
    if how == Disconnected::HalfClosed { request.cancel() } else { Ok(()) }
}
