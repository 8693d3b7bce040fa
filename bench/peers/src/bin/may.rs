//! may_minihttp with one worker thread.
//!
//! The library writes its own `Server: M` and `200 Ok`, sets no TCP_NODELAY, copies every body into its output
//! buffer, and reads a body by Content-Length alone: a chunked one is answered 411 here, and what follows it ends the
//! connection.

use std::io::{self, BufRead};

use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use ringress_peers::{Number, Route};

const TEXT: &str = "Content-Type: text/plain";
const JSON: &str = "Content-Type: application/json";
const OCTETS: &str = "Content-Type: application/octet-stream";

struct Application;

impl HttpService for Application {
    fn call(&mut self, request: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
        // The library's path is the whole target.
        let target = request.path();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        match ringress_peers::route(request.method(), path) {
            Route::Plaintext => response.header(TEXT).body(ringress_peers::PLAINTEXT_BODY),
            Route::Json => response.header(JSON).body(ringress_peers::JSON_BODY),
            Route::Bytes(count) => response.header(OCTETS).body(ringress_peers::pattern(count)),
            Route::Baseline | Route::Upload if is_chunked(&request) => {
                response.status_code(411, "Length Required").header(TEXT).body("a body needs a Content-Length\n");
            }
            Route::Baseline => {
                let query_sum = ringress_peers::sum(query, &Number::new());
                let mut number = Number::new();
                each_piece(request, |piece| number.push(piece))?;
                let sum = query_sum.wrapping_add(ringress_peers::sum(None, &number));
                response.header(TEXT).body_vec(sum.to_string().into_bytes());
            }
            Route::Upload => {
                let mut count = 0_u64;
                each_piece(request, |piece| count += piece.len() as u64)?;
                response.header(TEXT).body_vec(count.to_string().into_bytes());
            }
            Route::Slow(delay) => {
                may::coroutine::sleep(delay);
                response.header(TEXT).body(ringress_peers::SLOW_BODY);
            }
            Route::Missing => {
                response.status_code(404, "Not Found").header(TEXT).body(ringress_peers::MISSING_BODY);
            }
        }
        Ok(())
    }
}

fn is_chunked(request: &Request<'_, '_, '_>) -> bool {
    request.headers().iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"))
}

fn each_piece(request: Request<'_, '_, '_>, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut body = request.body();
    loop {
        let piece = body.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        take(piece);
        let length = piece.len();
        body.consume(length);
    }
}

struct Factory;

impl HttpServiceFactory for Factory {
    type Service = Application;

    fn new_service(&self, _id: usize) -> Application {
        Application
    }
}

fn main() -> io::Result<()> {
    // Stack size in words, as in the library's own benchmark.
    may::config().set_workers(1).set_pool_capacity(1000).set_stack_size(0x1000);
    Factory.start(ringress_peers::address())?.wait();
    Ok(())
}
