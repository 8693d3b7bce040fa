//! Layers of tower-http, and files.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{any_service, get, post};
use futures_util::stream;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::propagate_header::PropagateHeaderLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::services::{ServeDir, ServeFile};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;

use crate::app::Shared;

const TEXT: &str = "A text that is said again and again, so that it can be said in less. ";

pub(crate) fn router(files: &Path) -> Router<Shared> {
    Router::new()
        .merge(compressed())
        .merge(crossed())
        .merge(bounded())
        .nest_service("/files", ServeDir::new(files).precompressed_gzip())
        .nest_service("/files-or", ServeDir::new(files).not_found_service(ServeFile::new(files.join("none.html"))))
        .route_service("/file", ServeFile::new(files.join("text.txt")))
        .layer(TraceLayer::new_for_http())
}

fn compressed() -> Router<Shared> {
    let pieces = || async { Body::from_stream(stream::iter((0..99).map(|_| Ok::<_, std::io::Error>(TEXT)))) };
    Router::new()
        .route("/compressed/long", get(|| async { TEXT.repeat(99) }))
        .route("/compressed/short", get(|| async { "short" }))
        .route("/compressed/pieces", get(pieces))
        .route("/compressed/image", get(|| async { ([(header::CONTENT_TYPE, "image/png")], TEXT.repeat(99)) }))
        .layer(CompressionLayer::new())
}

fn crossed() -> Router<Shared> {
    let cors = CorsLayer::new()
        .allow_origin(["http://one.test".parse().expect("a value"), "http://two.test".parse().expect("a value")])
        .allow_methods([Method::GET, Method::PUT])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([header::ETAG])
        .max_age(Duration::from_secs(60));
    Router::new().route("/cors", get(|| async { "crossed" }).put(|| async { "put" })).layer(cors)
}

fn bounded() -> Router<Shared> {
    let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_millis(20));
    let of_server = SetResponseHeaderLayer::overriding(header::SERVER, HeaderValue::from_static("layer"));
    let own =
        SetResponseHeaderLayer::if_not_present(HeaderName::from_static("x-layer"), HeaderValue::from_static("set"));
    let echo = any_service(tower::service_fn(|request: Request| async {
        Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
    }));
    Router::new()
        .route("/timeout", get(std::future::pending::<&str>).post(|text: String| async move { text }).layer(timeout))
        .route("/caught", get(|| async { panic_now() }).layer(CatchPanicLayer::new()))
        .route("/limited", post(|text: String| async move { text }).layer(RequestBodyLimitLayer::new(16)))
        .route("/limited/echo", echo.layer(RequestBodyLimitLayer::new(16)))
        .route("/set/server", get(|| async { "text" }).layer(of_server))
        .route("/set/own", get(|| async { "text" }).layer(own))
        .route(
            "/propagated",
            get(|| async { "text" }).layer(PropagateHeaderLayer::new(HeaderName::from_static("x-trace"))),
        )
        .route(
            "/sensitive",
            get(|| async { "text" }).layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION])),
        )
        .route("/accepts", get(|| async { "text" }).layer(ValidateRequestHeaderLayer::accept("application/json")))
}

fn panic_now() -> &'static str {
    panic!("meant to panic")
}
