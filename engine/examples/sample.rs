//! The HTTP Server Sample Application in this API: `sample http://localhost:8080/ [http://..]`, each URL a prefix that
//! ends in a slash.
//!
//! One thread, one request after the other, as there. GET is greeted; the body of POST goes through a temporary file in
//! pieces of 2,048 bytes, and comes back from it with a Content-Length, however large it is; other methods get 503 with
//! the reason "Not Implemented", and their bodies are not read. `docs/guide.md` has it beside the one in C.
//!
//! It departs from that in two things: a client that has left is no reason to stop, and SIGINT and SIGTERM are.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ringress::{Engine, FileRange, Method, Request, RequestQueue, Response};

/// What is read of a body at once.
const PIECE_BYTES: usize = 2_048;
const GRACE: Duration = Duration::from_secs(5);

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

fn serve(urls: &[String]) -> Result<(), Box<dyn Error>> {
    let engine = Engine::start()?;
    let queue = engine.request_queue("sample")?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    for url in urls {
        group.add_url(url, 0)?;
        println!("listening on {url}");
    }
    thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.run_until_signal(GRACE));
        let received = receive(&queue);
        // The queue is closed, or answering has failed: either way it is over, for the thread that waits, too.
        engine.shutdown(Duration::ZERO)?;
        waiting.join().map_err(|_| "waiting for a signal panicked")??;
        received
    })?;
    for url in urls {
        group.remove_url(url)?;
    }
    Ok(())
}

/// Answers one request after the other, until the queue is closed.
fn receive(queue: &RequestQueue) -> Result<(), Box<dyn Error>> {
    loop {
        let request = match queue.receive() {
            Ok(request) => request,
            Err(error) if error.is_closed() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        println!("got a {} request for {}", String::from_utf8_lossy(request.method_name()), request.full_url());
        let answered = match request.method() {
            Method::Get => request.respond(greeting()).map_err(Into::into),
            Method::Post => echo(request),
            _ => request.respond(not_implemented()).map_err(Into::into),
        };
        match answered {
            Err(error) if is_gone(&*error) => println!("the client left: {error}"),
            answered => answered?,
        }
    }
}

fn greeting() -> Response<'static> {
    Response::ok().content_type("text/html").body("Hello from the server.\r\n")
}

fn not_implemented() -> Response<'static> {
    Response::new(503).reason("Not Implemented").content_type("text/html")
}

/// Stores the body, and sends it back.
fn echo(mut request: Request) -> Result<(), Box<dyn Error>> {
    if request.content_length() == Some(0) {
        return Ok(request.respond(Response::ok())?);
    }
    let mut file = tempfile::tempfile()?;
    let (mut piece, mut total) = ([0; PIECE_BYTES], 0);
    loop {
        let count = request.body().read(&mut piece)?;
        if count == 0 {
            break;
        }
        file.write_all(&piece[..count])?;
        total += count as u64;
    }
    let mut stream = request.start(Response::ok().content_length(total))?;
    stream.send(FileRange::new(file, 0..total))?;
    stream.finish()?;
    Ok(())
}

fn is_gone(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<ringress::Error>().is_some_and(ringress::Error::is_gone)
}
