//! may_minihttp with one worker thread.
//!
//! The library writes its own `Server: M`, which makes an answer 7 bytes shorter than the others.

use std::io;

use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};

struct Plaintext;

impl HttpService for Plaintext {
    fn call(&mut self, request: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
        if request.path() == ringress_peers::PATH {
            response
                .header("Content-Type: text/plain")
                .body(ringress_peers::BODY);
        } else {
            response.status_code(404, "Not Found");
        }
        Ok(())
    }
}

struct Factory;

impl HttpServiceFactory for Factory {
    type Service = Plaintext;

    fn new_service(&self, _id: usize) -> Plaintext {
        Plaintext
    }
}

fn main() -> io::Result<()> {
    // Stack size in words, as in the library's own benchmark.
    may::config()
        .set_workers(1)
        .set_pool_capacity(1000)
        .set_stack_size(0x1000);
    Factory.start(ringress_peers::address())?.wait();
    Ok(())
}
