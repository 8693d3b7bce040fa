//! The application that both servers run: what handlers, extractors and nested routers do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Multipart, OriginalUri, Path, Query, Request, State};
use axum::extract::{Form, RawQuery};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, NoContent, Redirect, Response};
use axum::routing::{any, get, on, post};
use axum::{Extension, Json, Router};
use axum_extra::TypedHeader;
use axum_extra::extract::cookie::{Cookie, CookieJar};
use axum_extra::headers::UserAgent;
use serde_json::{Value, json};

use crate::{bodies, layers, sockets};

/// What a handler gets by `State`.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    counted: Arc<AtomicU64>,
}

/// All of it; `files` is a folder that is served.
pub(crate) fn router(files: &std::path::Path) -> Router {
    Router::new()
        .merge(extractors())
        .merge(routing())
        .merge(answers())
        .merge(bodies::router())
        .merge(layers::router(files))
        .merge(sockets::router())
        .layer(Extension("extended"))
        .with_state(Shared::default())
}

fn extractors() -> Router<Shared> {
    Router::new()
        .route("/", get(|| async { "Hello, World!" }))
        .route("/path/{number}/{name}", get(|Path((number, name)): Path<(u32, String)>| async move {
            format!("{number} {name}")
        }))
        .route("/query", get(|Query(pairs): Query<Vec<(String, String)>>| async move { format!("{pairs:?}") }))
        .route("/query/number", get(|Query(pairs): Query<Number>| async move { pairs.number.to_string() }))
        .route("/query/raw", get(|RawQuery(query): RawQuery| async move { format!("{query:?}") }))
        .route("/json", post(|Json(value): Json<Value>| async move { Json(json!({ "was": value })) }))
        .route("/json/numbers", post(|Json(numbers): Json<Vec<u8>>| async move { format!("{numbers:?}") }))
        .route("/form", get(form).post(form))
        .route("/multipart", post(multipart))
        .route("/text", post(|text: String| async move { text }))
        .route("/bytes", post(|bytes: Bytes| async move { bytes }))
        .route("/limit/less", post(|text: String| async move { text }).layer(DefaultBodyLimit::max(8)))
        .route("/state", get(|State(shared): State<Shared>| async move {
            shared.counted.fetch_add(1, Ordering::Relaxed).to_string()
        }))
        .route("/extension", get(|Extension(text): Extension<&'static str>| async move { text }))
        .route("/extension/none", get(|Extension(_): Extension<u8>| async { "never" }))
        .route("/connect", get(connect))
        .route("/headers", any(headers))
        .route("/host", get(host))
        .route("/scheme", get(scheme))
        .route("/typed", get(|TypedHeader(agent): TypedHeader<UserAgent>| async move { agent.to_string() }))
        .route("/cookies", get(cookies))
        .route("/request", any(request))
}

#[derive(serde::Deserialize)]
struct Number {
    number: i16,
}

async fn form(Form(pairs): Form<Vec<(String, String)>>) -> String {
    format!("{pairs:?}")
}

async fn multipart(mut parts: Multipart) -> Result<String, axum::extract::multipart::MultipartError> {
    let mut seen = String::new();
    while let Some(part) = parts.next_field().await? {
        let head = format!("{:?} {:?} {:?}", part.name(), part.file_name(), part.content_type());
        seen += &format!("{head} {} bytes\n", part.bytes().await?.len());
    }
    Ok(seen)
}

/// The client says which port it has.
async fn connect(ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap) -> String {
    let said = headers.get("x-port").and_then(|port| port.to_str().ok()).and_then(|port| port.parse().ok());
    format!("{} {}", peer.ip(), said == Some(peer.port()))
}

async fn headers(headers: HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}={}\n", value.as_bytes().escape_ascii())).collect()
}

#[expect(deprecated, reason = "it is what applications have")]
async fn host(axum_extra::extract::Host(host): axum_extra::extract::Host) -> String {
    host
}

#[expect(deprecated, reason = "as above")]
async fn scheme(axum_extra::extract::Scheme(scheme): axum_extra::extract::Scheme) -> String {
    scheme
}

async fn cookies(jar: CookieJar) -> (CookieJar, String) {
    let seen = jar.get("seen").map_or_else(|| "never".to_owned(), |cookie| cookie.value().to_owned());
    let jar = jar.add(Cookie::build(("seen", "a b")).path("/").http_only(true));
    (jar, seen)
}

async fn request(method: Method, uri: Uri, version: Version, OriginalUri(original): OriginalUri) -> String {
    format!("{method} {uri} {version:?} {original}")
}

fn routing() -> Router<Shared> {
    let inner = Router::new()
        .route("/", get(|| async { "inner root" }))
        .route(
            "/deep/{id}",
            get(|matched: MatchedPath, uri: Uri, OriginalUri(original): OriginalUri| async move {
                format!("{} {uri} {original}", matched.as_str())
            }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "inner fallback") });
    let plain = Router::new().route("/x", get(|| async { "plain" }));
    let refused = Router::new().route("/refused", get(|| async { "never" })).route_layer(middleware::from_fn(refuse));
    Router::new()
        .nest("/nested", inner)
        .nest("/plain", plain)
        .merge(refused)
        .nest_service("/service", get(|uri: Uri| async move { uri.to_string() }))
        .route("/wild/{*rest}", get(|Path(rest): Path<String>| async move { rest }))
        .route("/methods", get(|| async { "got" }).post(|| async { "posted" }).delete(|| async { NoContent }))
        .route("/any", any(|method: Method| async move { method.to_string() }))
        .route("/own", get(|| async { "got" }).head(|| async { [("x-head", "own")] }))
        .route("/options", on(axum::routing::MethodFilter::OPTIONS, || async { "options" }))
        .route("/no-fallback", get(|| async { "got" }).fallback(|| async { (StatusCode::IM_A_TEAPOT, "mine") }))
        .route("/middle", get(|| async { "middle" }).layer(middleware::from_fn(middle)))
        .fallback(|uri: Uri| async move { (StatusCode::NOT_FOUND, format!("nothing at {uri}")) })
}

async fn refuse(_: Request, _: Next) -> StatusCode {
    StatusCode::UNAUTHORIZED
}

async fn middle(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-middle", HeaderValue::from_static("passed"));
    response
}

fn answers() -> Router<Shared> {
    Router::new()
        .route(
            "/status/{status}",
            any(|Path(status): Path<u16>| async move { StatusCode::from_u16(status).expect("100 to 999") }),
        )
        .route(
            "/status/{status}/text",
            any(|Path(status): Path<u16>| async move { (StatusCode::from_u16(status).expect("100 to 999"), "text") }),
        )
        .route("/html", get(|| async { Html("<p>text</p>") }))
        .route("/empty", get(|| async {}))
        .route("/redirect", get(|| async { Redirect::temporary("/html") }))
        .route(
            "/fields/two",
            get(|| async { ([("x-two", "1")], axum::response::AppendHeaders([("x-two", "2")]), "text") }),
        )
        .route(
            "/fields/bytes",
            get(|| async {
                [
                    ("x-bytes", HeaderValue::from_bytes(b"caf\xe9 \xff").expect("obs-text")),
                    ("x-none", HeaderValue::from_static("")),
                ]
            }),
        )
        .route("/fields/long/{bytes}", get(|Path(bytes): Path<usize>| async move { [("x-long", "x".repeat(bytes))] }))
        .route("/fields/many/{count}", get(many_fields))
        .route("/fields/server", get(|| async { [(header::SERVER, "mine")] }))
        .route("/fields/connection", get(|| async { ([(header::CONNECTION, "close")], "text") }))
        .route("/fields/keep-alive", get(|| async { ([(header::CONNECTION, "keep-alive")], "text") }))
        .route("/fields/keep-alive/timeout", get(|| async { ([("keep-alive", "timeout=5")], "text") }))
        .route("/reason", get(reason))
        .route("/panic", get(|| async { panic_now() }).post(|_: Bytes| async { panic_now() }))
        .route("/switching", get(|| async { StatusCode::SWITCHING_PROTOCOLS }))
        .route("/error", get(|| async { Err::<(), _>((StatusCode::BAD_GATEWAY, "no luck")) }))
}

async fn many_fields(Path(count): Path<u16>) -> HeaderMap {
    let field = |number: u16| (format!("x-{number}").parse().expect("a name"), HeaderValue::from(number));
    (0..count).map(field).collect::<HeaderMap>()
}

async fn reason() -> impl IntoResponse {
    let reason = hyper::ext::ReasonPhrase::from_static(b"Because");
    let mut response = Response::new(Body::from("text"));
    response.extensions_mut().insert(reason);
    response
}

fn panic_now() -> &'static str {
    panic!("meant to panic")
}
