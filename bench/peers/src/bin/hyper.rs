//! hyper 1 on tokio's current-thread runtime, with its answer flushed once per pipelined batch.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = request.uri().path() == ringress_peers::PATH;
    let body = if known { ringress_peers::BODY } else { "" };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    if !known {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(ringress_peers::address()).await?;
    let mut http = http1::Builder::new();
    http.pipeline_flush(true);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
        spawn_local(async move {
            // A client that goes away is no news.
            let _ = connection.await;
        });
    }
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, serve())
}
