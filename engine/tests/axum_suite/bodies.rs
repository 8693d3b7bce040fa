//! Bodies that come and go in pieces, with and without lengths and trailers.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request};
use axum::http::header::{CONTENT_LENGTH, TRAILER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};

use crate::app::Shared;

type Frames = Vec<std::io::Result<http_body::Frame<Bytes>>>;

pub(crate) fn router() -> Router<Shared> {
    let whole = |Path(bytes): Path<usize>| async move { vec![b'x'; bytes] };
    let pieces = |Path((count, bytes)): Path<(usize, usize)>| async move {
        Body::from_stream(stream::iter((0..count).map(move |_| Ok::<_, Infallible>(vec![b'y'; bytes]))))
    };
    let known = |Path((count, bytes)): Path<(usize, usize)>| async move {
        let pieces = stream::iter((0..count).map(move |_| Ok::<_, Infallible>(vec![b'z'; bytes])));
        ([(CONTENT_LENGTH, (count * bytes).to_string())], Body::from_stream(pieces))
    };
    Router::new()
        .route("/whole/{bytes}", get(whole))
        .route("/pieces/{count}/{bytes}", get(pieces))
        .route("/known/{count}/{bytes}", get(known))
        .route("/slow", get(slow))
        .route("/trailers", get(trailers))
        .route("/trailers/named", get(|| async { ([(TRAILER, "x-sum")], trailers().await) }))
        .route("/fails/{how}", get(fails))
        .route("/echo", any(|request: Request| async move { Response::new(request.into_body()) }))
        .route("/count", any(count))
        .route("/unread", any(|| async { "not read" }))
        .route("/half", post(half))
        .route("/sse", get(events))
        .route("/sse/kept", get(kept))
}

/// Pieces that come one after the other.
async fn slow() -> Body {
    let pieces = stream::iter(0..5).then(|number| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, Infallible>(format!("{number}\n"))
    });
    Body::from_stream(pieces)
}

fn of_frames(frames: Frames) -> Body {
    Body::new(StreamBody::new(stream::iter(frames)))
}

async fn trailers() -> Body {
    let fields = HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("7"))]);
    of_frames(vec![Ok(http_body::Frame::data("body".into())), Ok(http_body::Frame::trailers(fields))])
}

/// Bodies that are not what they promised, or that break off.
async fn fails(Path(how): Path<String>) -> Response {
    let failure = || Err(std::io::Error::other("meant to fail"));
    let data = |text: &'static str| Ok(http_body::Frame::data(text.into()));
    match how.as_str() {
        "at-once" => of_frames(vec![failure()]).into_response(),
        "later" => of_frames(vec![data("begun"), failure()]).into_response(),
        "later-of-known" => ([(CONTENT_LENGTH, "99")], of_frames(vec![data("begun"), failure()])).into_response(),
        "short" => ([(CONTENT_LENGTH, "99")], of_frames(vec![data("begun")])).into_response(),
        "long" => ([(CONTENT_LENGTH, "3")], of_frames(vec![data("abc"), data("def")])).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What is in the request's body.
async fn count(request: Request) -> Result<String, (StatusCode, String)> {
    let (mut body, mut bytes, mut trailers) = (request.into_body(), 0, Vec::new());
    let hint = (http_body::Body::size_hint(&body).exact(), http_body::Body::is_end_stream(&body));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        bytes += frame.data_ref().map_or(0, Bytes::len);
        let fields = frame.trailers_ref().into_iter().flatten();
        trailers.extend(fields.map(|(name, value)| format!("{name}={value:?}")));
    }
    Ok(format!("{hint:?} {bytes} {trailers:?}"))
}

/// Answers when it has read one frame.
async fn half(request: Request) -> &'static str {
    let _first = request.into_body().frame().await;
    "half"
}

async fn events() -> impl IntoResponse {
    let events = [
        Event::default().data("one"),
        Event::default().event("named").id("7").retry(Duration::from_secs(3)).data("two\nlines"),
        Event::default().comment("silence"),
    ];
    Sse::new(stream::iter(events.map(Ok::<_, Infallible>)))
}

async fn kept() -> impl IntoResponse {
    let event = stream::once(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, Infallible>(Event::default().data("late"))
    });
    Sse::new(event).keep_alive(KeepAlive::new().interval(Duration::from_secs(60)))
}
