//! Answers every request with the same file, in co-located mode: for measuring how files are sent.
//!
//! `files FILE [ADDRESS]`; any request gets the whole file. It runs until SIGINT or SIGTERM.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use ringress::{Engine, FileRange, Mode, Response};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: files FILE [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let file = Arc::new(File::open(&path)?);
    let len = file.metadata()?.len();

    let answer = move |_request: &mut _| Response::ok().body(FileRange::new(Arc::clone(&file), 0..len));
    let builder = Engine::builder().shards(1).mode(Mode::Colocated);
    let server = builder.serve(&format!("http://{address}/"), answer)?;
    eprintln!("files: {path} ({len} bytes) at {}", server.url());
    Ok(server.run_until_signal(Duration::ZERO)?)
}
