//! The smallest ringress program: `cargo run --release --example hello`, then `curl http://127.0.0.1:8080/`.

use ringress::{Engine, Response};

fn main() -> ringress::Result<()> {
    let engine = Engine::start()?;
    let queue = engine.request_queue("hello")?;
    let address = engine.listen(([127, 0, 0, 1], 8080).into())?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url("http://*:8080/", 0)?;
    println!("listening on http://{address}/");
    loop {
        let answered = queue.receive()?.respond(Response::text("Hello, World!"));
        // A client that left before its response is no reason to stop.
        answered.or_else(|error| if error.is_gone() { Ok(()) } else { Err(error) })?;
    }
}
