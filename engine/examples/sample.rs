//! The HTTP Server Sample Application in this API: `sample http://localhost:8080/ [http://..]`.
//!
//! GET is greeted, POST is echoed, other methods get 503 with the reason "Not Implemented", as the original does.

use std::process::ExitCode;

use bytes::Bytes;
use ringress::{Engine, ErrorKind, KnownHeader, Method, Request, Response};

/// The largest body that is echoed.
const BODY_BYTES_MAX: usize = 64 << 20;

fn main() -> ExitCode {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    if urls.is_empty() {
        eprintln!("usage: sample URL [URL..], each a prefix that ends in a slash");
        return ExitCode::from(2);
    }
    match serve(&urls) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sample: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(urls: &[String]) -> ringress::Result<()> {
    let engine = Engine::start()?;
    let queue = engine.request_queue("sample")?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    for url in urls {
        group.add_url(url, 0)?;
        println!("listening for requests on the following url: {url}");
    }
    loop {
        let mut request = queue.receive()?;
        println!("got a {} request for {}", String::from_utf8_lossy(request.method_name()), request.path());
        let answered = match request.body().to_bytes(BODY_BYTES_MAX) {
            Ok(body) => request.respond_with(|request| answer(request, body)),
            Err(error) if error.kind() == ErrorKind::TooLarge => request.respond(Response::new(413)),
            // Its client is gone, or has been told what was wrong with the body.
            Err(_) => continue,
        };
        match answered {
            Ok(()) => {}
            Err(error) if error.is_gone() => println!("the client left: {error}"),
            Err(error) => return Err(error),
        }
    }
}

fn answer(request: &Request, body: Bytes) -> Response<'_> {
    match request.method() {
        Method::Get => Response::ok().content_type("text/html").body("Hey! You hit the server \r\n"),
        Method::Post => {
            let content_type = request.header(KnownHeader::ContentType).unwrap_or(b"text/html");
            Response::ok().header("Content-Type", content_type).body(body)
        }
        _ => Response::new(503).reason("Not Implemented").content_type("text/html"),
    }
}
