//! An axum router served through a request queue: `cargo run --release --features tower --example axum`, then
//! `curl http://localhost:8080/hello/ada`.
//!
//! ringress owns the sockets, tokio the tasks, axum the routes. Another address: give it as an argument.

#[path = "axum/routes.rs"]
mod routes;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use ringress::{Engine, tower};
use tokio::signal::unix::{SignalKind, signal};

/// How long requests under way may take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let engine = Engine::start()?;
    let queue = engine.request_queue("axum")?;
    let address = engine.listen(address)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    // A task for each request.
    let serving = tokio::spawn(tower::serve(queue, routes::router(), |handling| {
        tokio::spawn(async move {
            if let Err(failure) = handling.await {
                eprintln!("axum: {failure}");
            }
        });
    }));
    // From here on Ctrl-C is ours.
    let mut interrupts = signal(SignalKind::interrupt())?;
    println!("listening on http://{address}/");
    interrupts.recv().await;
    // It waits for requests under way: not on a thread that runs their tasks.
    tokio::task::spawn_blocking(move || engine.shutdown(GRACE)).await??;
    serving.await??;
    Ok(())
}
