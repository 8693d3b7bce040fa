//! A key-value store: `cargo run --release --example kv [-- ADDRESS]`, then
//! `curl -T README.md http://127.0.0.1:8080/kv/read%2Fme` or `curl 'http://127.0.0.1:8080/kv/?prefix=re&limit=10'`.
//!
//! PUT stores a value under its key, GET gives it, DELETE removes it; GET of `/kv/` lists keys. A key is one segment of
//! the path, decoded: `read%2Fme` is the key `read/me`.

use std::collections::BTreeMap;
use std::env;
use std::sync::RwLock;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ringress::{Engine, Method, Request, Response, Result};

const VALUE_BYTES_MAX: usize = 1 << 20;
const GRACE: Duration = Duration::from_secs(5);

struct Entry {
    value: Bytes,
    content_type: Vec<u8>,
}

type Store = RwLock<BTreeMap<String, Entry>>;

fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let store = Store::default();
    let server = Engine::serve(&format!("http://{address}/kv/"), move |request| answer(request, &store))?;
    println!("listening on {}", server.url());
    server.on_error(|error| eprintln!("kv: {error}")).run_until_signal(GRACE)
}

fn answer(request: &mut Request, store: &Store) -> Result<Response<'static>> {
    let segments: Vec<String> = request.rest_segments().map(Into::into).collect();
    match (request.method(), &segments[..]) {
        (Method::Get | Method::Head, []) => Ok(list(request, store)),
        (Method::Get | Method::Head, [key]) => Ok(get(store, key)),
        (Method::Put, [key]) => put(request, store, key),
        (Method::Delete, [key]) => {
            let removed = store.write().expect("no handler panics with it").remove(key);
            Ok(Response::new(if removed.is_some() { 204 } else { 404 }))
        }
        (_, []) => Ok(Response::new(405).header("Allow", "GET, HEAD")),
        (_, [_]) => Ok(Response::new(405).header("Allow", "GET, HEAD, PUT, DELETE")),
        _ => Ok(Response::new(404)),
    }
}

fn list(request: &Request, store: &Store) -> Response<'static> {
    let prefix = request.query_value("prefix").unwrap_or_default();
    let limit = request.query_value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(1_000);
    let store = store.read().expect("no handler panics with it");
    let keys = store.range(prefix.to_string()..).map(|(key, _)| key).take_while(|key| key.starts_with(&*prefix));
    Response::text(keys.take(limit).map(|key| format!("{key}\n")).collect::<String>())
}

fn get(store: &Store, key: &str) -> Response<'static> {
    let store = store.read().expect("no handler panics with it");
    let Some(entry) = store.get(key) else { return Response::new(404) };
    Response::ok().header("Content-Type", entry.content_type.clone()).body(entry.value.clone())
}

fn put(request: &mut Request, store: &Store, key: &str) -> Result<Response<'static>> {
    // One that is longer is answered 413.
    let value = request.body().to_bytes(VALUE_BYTES_MAX)?;
    let content_type = request.header("content-type").unwrap_or(b"application/octet-stream").to_vec();
    let before = store.write().expect("no handler panics with it").insert(key.into(), Entry { value, content_type });
    let location = format!("/kv/{}", utf8_percent_encode(key, NON_ALPHANUMERIC));
    Ok(Response::new(if before.is_some() { 204 } else { 201 }).header("Location", location))
}
