//! Services of `tower` whose parts panic when they are dropped, cloned or spawned.

mod common;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use common::Host;
use common::peer::Peer;
use ringress::tower::{Failure, IncomingBody, handle, serve};

/// Panics when it is dropped.
struct Fuse;

impl Drop for Fuse {
    fn drop(&mut self) {
        panic!("meant to panic when dropped");
    }
}

/// A service all of whose parts panic when they are dropped: itself, its future and the body of its response.
struct Fused(Fuse);

struct FusedFuture(Fuse);

struct FusedBody(Fuse, Option<Bytes>);

impl tower_service::Service<axum::http::Request<IncomingBody>> for Fused {
    type Response = axum::http::Response<FusedBody>;
    type Error = std::convert::Infallible;
    type Future = FusedFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: axum::http::Request<IncomingBody>) -> FusedFuture {
        FusedFuture(Fuse)
    }
}

impl Future for FusedFuture {
    type Output = Result<axum::http::Response<FusedBody>, std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(axum::http::Response::new(FusedBody(Fuse, Some(Bytes::from_static(b"text"))))))
    }
}

impl http_body::Body for FusedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        Poll::Ready(self.1.take().map(|data| Ok(http_body::Frame::data(data))))
    }
}

#[test]
fn parts_of_a_service_that_panic_when_dropped_cost_nothing() {
    let host = Host::start();
    let mut client = host.connect();
    for method in ["GET", "HEAD"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
        let handling = handle(host.receive(), Fused(Fuse));
        pollster::block_on(handling).expect("answered whole");
    }
    // Given up before it is called.
    client.get("/");
    drop(handle(host.receive(), Fused(Fuse)));
    let mut peer = Peer { stream: client.stream, input: Vec::new() };
    let heads = [peer.head(), String::from_utf8(peer.take_to(b"0\r\n\r\n")).expect("text"), peer.head(), peer.head()];
    assert!(heads[0].starts_with("HTTP/1.1 200") && heads[1].contains("text"), "{heads:?}");
    assert!(heads[2].starts_with("HTTP/1.1 200") && heads[3].starts_with("HTTP/1.1 500"), "{heads:?}");
    assert!(host.counters().foreign_panics >= 7);
}

/// A service that does not answer, and whose future panics when it is dropped.
struct Silent;

struct SilentFuture(Fuse);

impl tower_service::Service<axum::http::Request<IncomingBody>> for Silent {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = SilentFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: axum::http::Request<IncomingBody>) -> SilentFuture {
        SilentFuture(Fuse)
    }
}

impl Future for SilentFuture {
    type Output = Result<Response, std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

#[test]
fn a_future_that_panics_when_it_is_dropped_for_a_client_that_left_costs_nothing() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/");
    let request = host.receive();
    client.reset();
    let failure = pollster::block_on(handle(request, Silent)).expect_err("its client left");
    assert!(matches!(failure, Failure::Engine(error) if error.is_gone()));
    assert_eq!(host.counters().foreign_panics, 1);
    host.await_rest();
}

/// A service that cannot be cloned, if it is so told.
struct Clones(bool);

impl Clone for Clones {
    fn clone(&self) -> Self {
        assert!(self.0, "meant to panic");
        Self(self.0)
    }
}

impl tower_service::Service<axum::http::Request<IncomingBody>> for Clones {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: axum::http::Request<IncomingBody>) -> Self::Future {
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

#[test]
fn a_service_that_cannot_be_cloned_or_spawned_costs_its_request_and_is_told_to_who_serves() {
    let host = Host::start();
    let mut client = host.connect();
    for clones in [false, true] {
        client.get("/");
        let serving = serve(host.queue.clone(), Clones(clones), |_| panic!("meant to panic"));
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pollster::block_on(serving)));
        assert!(served.is_err());
        assert_eq!(client.read().status, 500);
    }
    client.get("/");
    pollster::block_on(handle(host.receive(), Clones(true))).expect("it can be served again");
    assert_eq!(client.read().status, 200);
}
