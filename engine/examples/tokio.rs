//! A server on tokio: `cargo run --release --example tokio`, then
//! `curl --data-binary @some-file http://localhost:8080/count` or `curl http://localhost:8080/numbers/1000000`.
//!
//! One task takes requests from the queue and spawns another for each of them. Bodies are read and responses given as
//! futures, which wait for the client and hold up no thread. Another ADDRESS: give it as an argument.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringress::{Engine, Method, Request, RequestQueue, Response, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// How long requests under way may take after Ctrl-C or SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may keep us waiting for the next piece of its body.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let address = address();
    let engine = Arc::new(Engine::start()?);
    let queue = engine.request_queue("tokio")?;
    let address = engine.listen(address)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    let serving = tokio::spawn(serve(queue));
    // From here on these are ours.
    let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("listening on http://{address}/");
    // Each waits on a thread that runs no tasks: one for the engine's end, one for requests under way.
    let waiting = tokio::task::spawn_blocking({
        let engine = Arc::clone(&engine);
        move || engine.wait()
    });
    tokio::select! {
        () = async {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
        } => println!("{}", tokio::task::spawn_blocking(move || engine.shutdown(GRACE)).await??),
        // A shard has failed: the program ends, and says why.
        ended = waiting => ended??,
    }
    serving.await??;
    Ok(())
}

/// The address to listen on: the first argument, if there is one.
fn address() -> SocketAddr {
    let Some(text) = std::env::args().nth(1) else { return ([127, 0, 0, 1], 8080).into() };
    text.parse().unwrap_or_else(|_| {
        eprintln!("tokio: ADDRESS {text:?}: an IP address and port are wanted, such as 127.0.0.1:8080");
        std::process::exit(2)
    })
}

/// Serves a queue until it is closed, and waits for the tasks then.
async fn serve(queue: RequestQueue) -> Result<()> {
    let mut tasks = JoinSet::new();
    loop {
        // Either future may be dropped for the other: neither loses anything.
        tokio::select! {
            received = queue.receive_async() => match received {
                Ok(request) => drop(tasks.spawn(answer(request))),
                Err(error) if error.is_closed() => break,
                Err(error) => return Err(error),
            },
            Some(ended) = tasks.join_next() => report(ended),
        }
    }
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    Ok(())
}

/// A client that has left is no news; a task that panicked has dropped its request, which is answered 500.
fn report(ended: std::result::Result<Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Err(error)) if !error.is_gone() => eprintln!("tokio: {error}"),
        Err(panicked) => eprintln!("tokio: {panicked}"),
        Ok(_) => {}
    }
}

async fn answer(request: Request) -> Result<()> {
    match (request.method(), request.path()) {
        (Method::Get, "/") => request.respond(Response::text("try /slow, /count, /upper or /numbers/10\n")),
        (Method::Get, "/slow") => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            request.respond(Response::text("slow\n"))
        }
        (Method::Post, "/count") => count(request).await,
        (Method::Post, "/upper") => upper(request).await,
        (Method::Get, path) => match path.strip_prefix("/numbers/").and_then(|number| number.parse().ok()) {
            Some(last) => numbers(request, last).await,
            None => request.respond(Response::new(404)),
        },
        _ => request.respond(Response::new(405)),
    }
}

/// An upload of any length, of which no more is held than the engine has received.
async fn count(mut request: Request) -> Result<()> {
    let mut bytes = 0;
    loop {
        let mut body = request.body();
        let Ok(chunk) = tokio::time::timeout(WAIT_MAX, body.next_chunk_async()).await else {
            return request.respond(Response::new(408).close());
        };
        match chunk? {
            Some(chunk) => bytes += chunk.len(),
            None => break,
        }
    }
    request.respond(Response::text(format!("{bytes} bytes\n")))
}

/// A response that is given while its request's body is still coming.
async fn upper(mut request: Request) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    // First, since a client that waits for `100 Continue` gets it only before the response has begun.
    let mut count = request.body().read_async(&mut buffer).await?;
    let mut stream = request.start(Response::ok().content_type("text/plain"))?;
    while count > 0 {
        stream.send_async(buffer[..count].to_ascii_uppercase()).await?;
        let Some(mut body) = stream.body() else { break };
        count = body.read_async(&mut buffer).await?;
    }
    stream.finish().map(drop)
}

/// A download that is made as fast as the client takes it.
async fn numbers(request: Request, last: u64) -> Result<()> {
    let mut stream = request.start(Response::ok().content_type("text/plain"))?;
    let mut lines = String::new();
    for number in 1..=last {
        lines += &format!("{number}\n");
        if lines.len() >= 16 * 1024 || number == last {
            stream.send_async(std::mem::take(&mut lines)).await?;
        }
    }
    let sent = stream.finish()?.await?;
    if !sent.complete {
        println!("the client left after {} bytes", sent.bytes);
    }
    Ok(())
}
