//! The routes of the example `axum`: JSON, parts of a path, uploads and downloads in pieces, and events.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use serde_json::{Value, json};

/// Bytes of a chunk of a download.
const CHUNK_BYTES: usize = 64 * 1024;
/// The time between two events.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn router() -> Router {
    Router::new()
        .route("/hello/{name}", get(hello))
        .route("/sum", post(sum))
        .route("/upload", post(upload))
        .route("/echo", post(echo))
        .route("/download/{bytes}", get(download))
        .route("/events", get(events))
}

async fn hello(Path(name): Path<String>) -> Json<Value> {
    Json(json!({ "hello": name }))
}

async fn sum(Json(numbers): Json<Vec<i64>>) -> Json<Value> {
    Json(json!({ "sum": numbers.iter().sum::<i64>() }))
}

/// Reads a body of any length as it comes, and holds no more of it than a frame.
async fn upload(request: Request) -> Result<Json<Value>, StatusCode> {
    let mut body = request.into_body();
    let (mut bytes, mut trailers) = (0, 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        bytes += frame.data_ref().map_or(0, Bytes::len);
        trailers += frame.trailers_ref().map_or(0, |fields| fields.len());
    }
    Ok(Json(json!({ "bytes": bytes, "trailers": trailers })))
}

/// Gives the body back while it is still coming.
async fn echo(request: Request) -> Response {
    Response::new(request.into_body())
}

/// A body that is made as fast as the client takes it.
async fn download(Path(bytes): Path<usize>) -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
        let mut left = bytes;
        while left > 0 {
            let len = left.min(CHUNK_BYTES);
            // An error: the client has left.
            if sender.send_data(chunk.slice(..len)).await.is_err() {
                return;
            }
            left -= len;
        }
    });
    Response::new(Body::new(body))
}

/// Server-sent events until the client leaves.
async fn events() -> impl IntoResponse {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        for number in 0_u64.. {
            ticks.tick().await;
            if sender.send_data(format!("data: {number}\n\n").into()).await.is_err() {
                return;
            }
        }
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::new(body))
}
