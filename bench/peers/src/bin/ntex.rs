//! ntex with one worker, on its own runtime over `io_uring`.

use std::io;

use ntex::http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use ntex::http::{HttpService, HttpServiceConfig, KeepAlive, Request, Response};
use ntex::{SharedCfg, util::Ready};

fn answer(request: Request) -> Ready<Response, io::Error> {
    let known = request.path() == ringress_peers::PATH;
    let mut response = if known {
        Response::Ok()
    } else {
        Response::NotFound()
    };
    response.header(SERVER, HeaderValue::from_static(ringress_peers::SERVER));
    response.header(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ready::Ok(response.body(if known { ringress_peers::BODY } else { "" }))
}

#[ntex::main]
async fn main() -> io::Result<()> {
    let http = HttpServiceConfig::new().set_keepalive(KeepAlive::Os);
    ntex::server::build()
        .workers(1)
        .backlog(1024)
        .bind("plaintext", ringress_peers::address(), async |_| {
            HttpService::h1(answer)
        })?
        .config("plaintext", SharedCfg::new("PLAINTEXT").add(http))
        .run()
        .await
}
