//! Answers every request with the same file, in co-located mode: for measuring how files are sent.
//!
//! `files FILE [ADDRESS]`; any request gets the whole file. It runs until it is killed.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;

use ringress::{Engine, FileRange, Mode, Response};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: files FILE [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let file = Arc::new(File::open(&path)?);
    let len = file.metadata()?.len();

    let engine = Engine::builder().shards(1).mode(Mode::Colocated).start()?;
    let queue = engine.request_queue("files")?;
    let address = engine.listen(address.parse()?)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    let _attached = engine.attach(0)?;
    eprintln!("files: {path} ({len} bytes) at http://{address}/");
    loop {
        let request = queue.receive()?;
        // A client that has left does not matter here.
        let _ = request.respond(Response::ok().body(FileRange::new(Arc::clone(&file), 0..len)));
    }
}
