//! An axum router served through a request queue: `cargo run --release --features axum --example axum`, then
//! `curl http://localhost:8080/hello/ada`.
//!
//! ringress owns the sockets, tokio the tasks, axum the routes. Another ADDRESS: give it as an argument.

#[path = "axum/routes.rs"]
mod routes;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use ringress::Engine;
use tokio::signal::unix::{SignalKind, signal};

/// How long requests under way may take after Ctrl-C or SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let site = Engine::open(&format!("http://{}/", address()))?;
    // From here on these are ours.
    let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("listening on {}", site.url());
    ringress::axum::serve(site.queue().clone(), routes::router())
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
        })
        .grace(GRACE)
        .on_error(|error| eprintln!("axum: {error}"))
        .await?;
    Ok(())
}

/// The address to listen on: the first argument, if there is one.
fn address() -> SocketAddr {
    let Some(text) = std::env::args().nth(1) else { return ([127, 0, 0, 1], 8080).into() };
    text.parse().unwrap_or_else(|_| {
        eprintln!("axum: ADDRESS {text:?}: an IP address and port are wanted, such as 127.0.0.1:8080");
        std::process::exit(2)
    })
}
