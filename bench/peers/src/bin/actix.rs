//! actix-http with one worker, on actix-server.

use std::convert::Infallible;

use actix_http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use actix_http::{HttpService, KeepAlive, Request, Response, StatusCode};
use actix_server::Server;

async fn answer(request: Request) -> Result<Response<&'static str>, Infallible> {
    let known = request.path() == ringress_peers::PATH;
    let status = if known {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    let body = if known { ringress_peers::BODY } else { "" };
    let mut response = Response::with_body(status, body);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

#[actix_rt::main]
async fn main() -> std::io::Result<()> {
    Server::build()
        .backlog(1024)
        .workers(1)
        .bind("plaintext", ringress_peers::address(), || {
            HttpService::build()
                .keep_alive(KeepAlive::Os)
                .h1(answer)
                .tcp()
        })?
        .run()
        .await
}
