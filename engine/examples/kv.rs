//! A key-value store: `cargo run --release --example kv [-- ADDRESS]`, then
//! `curl -T README.md http://127.0.0.1:8080/kv/read%2Fme` or `curl 'http://127.0.0.1:8080/kv/?prefix=re&limit=10'`.
//!
//! PUT stores a value under its key, GET gives it, DELETE removes it; GET of `/kv/` lists keys. A key is one segment of
//! the path, decoded: `read%2Fme` is the key `read/me`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use std::{env, thread};

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use ringress::{Engine, ErrorKind, KnownHeader, Method, Request, RequestQueue, Response, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const VALUE_BYTES_MAX: usize = 1 << 20;
const THREADS: usize = 4;
const GRACE: Duration = Duration::from_secs(5);

struct Entry {
    value: Bytes,
    content_type: Vec<u8>,
}

type Store = RwLock<BTreeMap<String, Entry>>;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let address: SocketAddr = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into()).parse()?;
    let engine = Arc::new(Engine::start()?);
    let queue = engine.request_queue("kv")?;
    let address = engine.listen(address)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/kv/", address.port()), 0)?;
    let store = Arc::new(Store::default());
    let start = |_| {
        let (queue, store) = (queue.clone(), Arc::clone(&store));
        thread::spawn(move || consume(&queue, &store))
    };
    let threads: Vec<_> = (0..THREADS).map(start).collect();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let stopped = Arc::downgrade(&engine);
    thread::spawn(move || {
        signals.forever().next();
        stopped.upgrade().map(|engine| engine.shutdown(GRACE))
    });
    println!("listening on http://{address}/");
    engine.wait()?;
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    Ok(())
}

fn consume(queue: &RequestQueue, store: &Store) {
    while let Ok(request) = queue.receive() {
        // A handler that panics has dropped its request, which is answered 500; its thread goes on.
        match catch_unwind(AssertUnwindSafe(|| answer(request, store))) {
            Ok(Err(error)) if !error.is_gone() => eprintln!("kv: {error}"),
            _ => {}
        }
    }
}

fn answer(request: Request, store: &Store) -> Result<()> {
    match (request.method(), key(&request)) {
        (Method::Get | Method::Head, None) => list(request, store),
        (Method::Get | Method::Head, Some(key)) => get(request, store, &key),
        (Method::Put, Some(key)) => put(request, store, key),
        (Method::Delete, Some(key)) => {
            let removed = store.write().expect("no handler panics with it").remove(&key);
            request.respond(Response::new(if removed.is_some() { 204 } else { 404 }))
        }
        (_, None) => request.respond(Response::new(405).header("Allow", "GET, HEAD")),
        (_, Some(_)) => request.respond(Response::new(405).header("Allow", "GET, HEAD, PUT, DELETE")),
    }
}

/// The segment below `/kv/`, decoded; of the URL as sent, since `path` has one form for `a%2Fb` and `a%252Fb`.
fn key(request: &Request) -> Option<String> {
    let path = request.raw_url().split(|byte| *byte == b'?').next()?;
    let key = path.rsplit(|byte| *byte == b'/').next()?;
    let is_below = request.path().len() > "/kv/".len();
    is_below.then(|| percent_decode(key).decode_utf8_lossy().into_owned())
}

fn list(request: Request, store: &Store) -> Result<()> {
    let query = request.query().unwrap_or_default();
    let parameter = |wanted| form_urlencoded::parse(query).find(|(name, _)| name == wanted).map(|(_, value)| value);
    let prefix = parameter("prefix").unwrap_or_default();
    let limit = parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(1_000);
    let store = store.read().expect("no handler panics with it");
    let keys = store.range(prefix.to_string()..).map(|(key, _)| key).take_while(|key| key.starts_with(&*prefix));
    let text: String = keys.take(limit).map(|key| format!("{key}\n")).collect();
    request.respond(Response::text(text))
}

fn get(request: Request, store: &Store, key: &str) -> Result<()> {
    let store = store.read().expect("no handler panics with it");
    let Some(entry) = store.get(key) else { return request.respond(Response::new(404)) };
    request.respond(Response::ok().header("Content-Type", &entry.content_type).body(entry.value.clone()))
}

fn put(mut request: Request, store: &Store, key: String) -> Result<()> {
    let value = match request.body().to_bytes(VALUE_BYTES_MAX) {
        Ok(value) => value,
        Err(error) if error.kind() == ErrorKind::TooLarge => return request.respond(Response::new(413).close()),
        Err(error) => return Err(error),
    };
    let content_type = request.header(KnownHeader::ContentType).unwrap_or(b"application/octet-stream").to_vec();
    let location = format!("/kv/{}", utf8_percent_encode(&key, NON_ALPHANUMERIC));
    let before = store.write().expect("no handler panics with it").insert(key, Entry { value, content_type });
    let status = if before.is_some() { 204 } else { 201 };
    request.respond(Response::new(status).header("Location", &location))
}
