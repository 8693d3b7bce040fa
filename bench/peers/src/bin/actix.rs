//! actix-http with one worker, on actix-server.

use std::time::Duration;

use actix_http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use actix_http::{Error, HttpService, KeepAlive, Payload, Request, Response, StatusCode};
use actix_server::Server;
use bytes::Bytes;
use futures_util::StreamExt;
use ringress_peers::{Number, Route};

fn response(content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::with_body(StatusCode::OK, body.into());
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn answer(mut request: Request) -> Result<Response<Bytes>, Error> {
    Ok(match ringress_peers::route(request.method().as_str(), request.path()) {
        Route::Plaintext => response(ringress_peers::TEXT, ringress_peers::PLAINTEXT_BODY),
        Route::Json => response(ringress_peers::JSON, ringress_peers::JSON_BODY),
        Route::Bytes(count) => response(ringress_peers::OCTETS, ringress_peers::pattern(count)),
        Route::Baseline => {
            let mut number = Number::new();
            each_piece(request.take_payload(), |piece| number.push(piece)).await?;
            let sum = ringress_peers::sum(request.uri().query(), &number);
            response(ringress_peers::TEXT, sum.to_string())
        }
        Route::Upload => {
            let mut count = 0_u64;
            each_piece(request.take_payload(), |piece| count += piece.len() as u64).await?;
            response(ringress_peers::TEXT, count.to_string())
        }
        Route::Slow(delay) => {
            actix_rt::time::sleep(delay).await;
            response(ringress_peers::TEXT, ringress_peers::SLOW_BODY)
        }
        Route::Missing => {
            let mut response = response(ringress_peers::TEXT, ringress_peers::MISSING_BODY);
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

async fn each_piece(mut body: Payload, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
    while let Some(piece) = body.next().await {
        take(&piece?);
    }
    Ok(())
}

#[actix_rt::main]
async fn main() -> std::io::Result<()> {
    Server::build()
        .backlog(4096)
        .workers(1)
        .bind("peer", ringress_peers::address(), || {
            HttpService::build()
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .tcp_nodelay(true)
                .finish(answer)
                .tcp()
        })?
        .run()
        .await
}
