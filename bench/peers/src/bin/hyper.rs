//! hyper 1 on tokio's current-thread runtime, with its answers flushed once per pipelined batch.
//!
//! For that the library copies bodies into one buffer, which costs more than it saves where bodies are large: with
//! `vectored` as second argument, answers are written one by one and bodies are not copied.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, server::conn::http1};
use hyper_util::rt::TokioIo;
use ringress_peers::{Number, Route};
use tokio::net::TcpSocket;

fn response(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    Ok(match ringress_peers::route(request.method().as_str(), request.uri().path()) {
        Route::Plaintext => response(ringress_peers::TEXT, ringress_peers::PLAINTEXT_BODY),
        Route::Json => response(ringress_peers::JSON, ringress_peers::JSON_BODY),
        Route::Bytes(count) => response(ringress_peers::OCTETS, ringress_peers::pattern(count)),
        Route::Baseline => {
            let (head, body) = request.into_parts();
            let mut number = Number::new();
            each_piece(body, |piece| number.push(piece)).await?;
            response(ringress_peers::TEXT, ringress_peers::sum(head.uri.query(), &number).to_string())
        }
        Route::Upload => {
            let mut count = 0_u64;
            each_piece(request.into_body(), |piece| count += piece.len() as u64).await?;
            response(ringress_peers::TEXT, count.to_string())
        }
        Route::Slow(delay) => {
            tokio::time::sleep(delay).await;
            response(ringress_peers::TEXT, ringress_peers::SLOW_BODY)
        }
        Route::Missing => {
            let mut response = response(ringress_peers::TEXT, ringress_peers::MISSING_BODY);
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

async fn each_piece(mut body: Incoming, mut take: impl FnMut(&[u8])) -> hyper::Result<()> {
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame?.data_ref() {
            take(piece);
        }
    }
    Ok(())
}

async fn serve() -> std::io::Result<()> {
    let (address, vectored) = ringress_peers::address_and("vectored");
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // As many as the workload with the most connections opens at once; TcpListener::bind asks for 1,024.
    let listener = socket.listen(4096)?;
    let mut http = http1::Builder::new();
    http.pipeline_flush(!vectored);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(async move {
            // A client that goes away is no news.
            let _ = connection.await;
        });
    }
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}
