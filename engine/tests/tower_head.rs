//! HEAD behind a tower service: the framing that GET would have, and no content.

mod common;

use std::io::Write;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::HeaderValue;
use common::peer::Peer;
use common::{Client, await_rest, colocated};
use ringress::RequestQueue;
use ringress::tower::{IncomingBody, serve};

/// Answers with what its target names; what is `left-out` is left out for HEAD alone.
#[derive(Clone)]
struct Plain;

impl tower_service::Service<axum::http::Request<IncomingBody>> for Plain {
    type Response = axum::http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<IncomingBody>) -> Self::Future {
        let is_head = request.method() == axum::http::Method::HEAD;
        let (body, fields): (_, &[_]) = match request.uri().path() {
            "/left-out" if is_head => (Body::empty(), &[]),
            "/stated" if is_head => (Body::empty(), &[("content-length", "4")]),
            "/stated" | "/left-out" | "/whole" => (Body::from("text"), &[]),
            "/trailers" => (Body::from("text"), &[("trailer", "x-sum")]),
            _ => (Body::from_stream(futures_lite::stream::once(Ok::<_, Self::Error>("text"))), &[]),
        };
        let mut response = axum::http::Response::new(body);
        for (name, value) in fields {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        std::future::ready(Ok(response))
    }
}

#[test]
fn head_has_the_framing_of_get_as_far_as_the_service_says_it() {
    let application = |queue: &RequestQueue| {
        let executor = async_executor::LocalExecutor::new();
        let serving = serve(queue.clone(), Plain, |handling| {
            executor.spawn(async { handling.await.expect("all goes well") }).detach();
        });
        ringress::block_on(executor.run(serving)).expect("closed in order");
    };
    colocated(application, |engine, address| {
        for version in ["1.1", "1.0"] {
            let in_pieces = if version == "1.1" { "transfer-encoding: chunked" } else { "" };
            let expected = [
                ("/whole", "content-length: 4"),
                ("/stated", "content-length: 4"),
                ("/left-out", ""),
                ("/in-pieces", in_pieces),
                ("/trailers", if version == "1.1" { in_pieces } else { "content-length: 4" }),
            ];
            let mut peer = Peer::over(Client::connect(address).stream);
            for (target, want) in expected {
                let fields = "Host: test\r\nConnection: keep-alive";
                let request = format!("HEAD {target} HTTP/{version}\r\n{fields}\r\n\r\n");
                peer.stream.write_all(request.as_bytes()).expect("the connection goes on");
                let head = peer.head().to_lowercase();
                let is_framing = |line: &&str| line.starts_with("content-length") || line.starts_with("transfer-");
                assert_eq!(head.lines().find(is_framing).unwrap_or_default(), want, "{target}: {head}");
            }
        }
        await_rest(engine);
    });
}
