//! xitca-http with one worker, on xitca-server.
//!
//! Over epoll, which costs it less wherever requests come one by one; over `io_uring` with `uring` as second argument.

use std::time::Duration;

use xitca_http::body::{BodyExt, Full};
use xitca_http::bytes::Bytes;
use xitca_http::config::HttpServiceConfig;
use xitca_http::http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use xitca_http::http::{IntoResponse, Request, RequestExt, Response, StatusCode};
use xitca_http::util::middleware::SocketConfig;
use xitca_http::{BodyError, HttpServiceBuilder, RequestBody};
use xitca_service::{ServiceExt, fn_service};

use ringress_peers::{Number, Route};

type Incoming = Request<RequestExt<RequestBody>>;
type Answer = Response<Full<Bytes>>;

/// Far above any run: the library's own 5 s would close the connections of an idle row.
const KEEP_ALIVE: Duration = Duration::from_secs(3600);

/// Reuses the request's header map, as the library's documentation shows.
fn respond(request: Incoming, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response: Answer = request.into_response(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn answer(mut request: Incoming) -> Result<Answer, BodyError> {
    Ok(match ringress_peers::route(request.method().as_str(), request.uri().path()) {
        Route::Plaintext => respond(request, ringress_peers::TEXT, ringress_peers::PLAINTEXT_BODY),
        Route::Json => respond(request, ringress_peers::JSON, ringress_peers::JSON_BODY),
        Route::Bytes(count) => respond(request, ringress_peers::OCTETS, ringress_peers::pattern(count)),
        Route::Baseline => {
            let mut number = Number::new();
            each_piece(&mut request, |piece| number.push(piece)).await?;
            let sum = ringress_peers::sum(request.uri().query(), &number);
            respond(request, ringress_peers::TEXT, sum.to_string())
        }
        Route::Upload => {
            let mut count = 0_u64;
            each_piece(&mut request, |piece| count += piece.len() as u64).await?;
            respond(request, ringress_peers::TEXT, count.to_string())
        }
        Route::Slow(delay) => {
            tokio::time::sleep(delay).await;
            respond(request, ringress_peers::TEXT, ringress_peers::SLOW_BODY)
        }
        Route::Missing => {
            let mut response = respond(request, ringress_peers::TEXT, ringress_peers::MISSING_BODY);
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

async fn each_piece(request: &mut Incoming, mut take: impl FnMut(&[u8])) -> Result<(), BodyError> {
    while let Some(piece) = request.body_mut().data().await {
        take(&piece?);
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let (address, uring) = ringress_peers::address_and("uring");
    let config = HttpServiceConfig::new().keep_alive_timeout(KEEP_ALIVE).request_head_timeout(KEEP_ALIVE);
    let http = HttpServiceBuilder::with_config(config.max_request_headers::<32>());
    let socket = SocketConfig::new().set_nodelay(true);
    let service = fn_service(answer);
    let server = xitca_server::Builder::new().worker_threads(1).backlog(4096);
    let server = if uring {
        server.bind("peer", address, service.enclosed(http.io_uring()).enclosed(socket))?
    } else {
        server.bind("peer", address, service.enclosed(http).enclosed(socket))?
    };
    server.build().wait()
}
