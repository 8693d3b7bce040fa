//! The HTTP Server Sample Application in this API: `sample http://localhost:8080/ [http://..]`.
//!
//! GET is greeted, POST is echoed, other methods get 503 with the reason "Not Implemented", as the original does.

use std::process::ExitCode;

use ringress::{Engine, KnownHeader, Method, Request, Response};

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
        println!("listening for requests on the following url: {url}");
        group.add_url(url, 0)?;
    }
    loop {
        let request = queue.receive()?;
        println!("got a {} request for {}", String::from_utf8_lossy(request.method_name()), request.path());
        match request.respond_with(answer) {
            Ok(()) => {}
            Err(error) if error.is_gone() => println!("the client left: {error}"),
            Err(error) => return Err(error),
        }
    }
}

fn answer(request: &Request) -> Response<'_> {
    match request.method() {
        Method::Get => Response::ok().content_type("text/html").body("Hey! You hit the server \r\n"),
        Method::Post => {
            let content_type = request.header(KnownHeader::ContentType).unwrap_or(b"text/html");
            Response::ok().header("Content-Type", content_type).body(request.body())
        }
        _ => Response::new(503).reason("Not Implemented").content_type("text/html"),
    }
}
