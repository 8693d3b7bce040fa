//! The smallest ringress program: `cargo run --release --example hello`, then `curl http://127.0.0.1:8080/`.

use std::time::Duration;

use ringress::{Engine, Response};

fn main() -> ringress::Result<()> {
    let server = Engine::serve("http://127.0.0.1:8080/", |_request| Response::text("Hello, World!"))?;
    println!("listening on {}", server.url());
    // On Ctrl-C or SIGTERM, what is under way has five seconds to end.
    server.run_until_signal(Duration::from_secs(5))
}
