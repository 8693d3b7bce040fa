//! ntex with one worker, on its own runtime over `io_uring`.

use std::io;

use ntex::SharedCfg;
use ntex::http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use ntex::http::{HttpService, HttpServiceConfig, KeepAlive, Payload, Request, Response, ResponseBuilder};
use ntex::time::{Seconds, sleep};
use ntex::util::Bytes;
use ringress_peers::{Number, Route};

fn respond(mut response: ResponseBuilder, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    response.header(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    response.header(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.body(body.into())
}

async fn answer(mut request: Request) -> io::Result<Response> {
    let response = Response::Ok();
    Ok(match ringress_peers::route(request.method().as_str(), request.path()) {
        Route::Plaintext => respond(response, ringress_peers::TEXT, ringress_peers::PLAINTEXT_BODY),
        Route::Json => respond(response, ringress_peers::JSON, ringress_peers::JSON_BODY),
        Route::Bytes(count) => respond(response, ringress_peers::OCTETS, ringress_peers::pattern(count)),
        Route::Baseline => {
            let mut number = Number::new();
            each_piece(request.take_payload(), |piece| number.push(piece)).await?;
            let sum = ringress_peers::sum(request.uri().query(), &number);
            respond(response, ringress_peers::TEXT, sum.to_string())
        }
        Route::Upload => {
            let mut count = 0_u64;
            each_piece(request.take_payload(), |piece| count += piece.len() as u64).await?;
            respond(response, ringress_peers::TEXT, count.to_string())
        }
        Route::Slow(delay) => {
            sleep(delay).await;
            respond(response, ringress_peers::TEXT, ringress_peers::SLOW_BODY)
        }
        Route::Missing => respond(Response::NotFound(), ringress_peers::TEXT, ringress_peers::MISSING_BODY),
    })
}

async fn each_piece(mut body: Payload, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    while let Some(piece) = body.recv().await {
        take(&piece.map_err(io::Error::other)?);
    }
    Ok(())
}

#[ntex::main]
async fn main() -> io::Result<()> {
    let http = HttpServiceConfig::new().set_keepalive(KeepAlive::Os).set_client_timeout(Seconds::ZERO);
    ntex::server::build()
        .workers(1)
        .backlog(4096)
        .bind("peer", ringress_peers::address(), async |_| HttpService::h1(answer))?
        .config("peer", SharedCfg::new("PEER").add(http))
        .run()
        .await
}
