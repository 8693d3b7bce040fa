//! What a service of `tower` leaves behind may use its request when it is dropped, whoever drops it.

mod common;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use axum::body::Bytes;
use common::{Host, WAIT_MAX, within};
use http_body::{Body, Frame};
use ringress::tower::{IncomingBody, handle};

/// The body of the request that a service has.
type Kept = Arc<Mutex<Option<IncomingBody>>>;

/// Reads the request's body when it is dropped.
struct Reads(Kept);

impl Drop for Reads {
    fn drop(&mut self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(body) = &mut *kept {
            let _ = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl Wake for Reads {
    fn wake(self: Arc<Self>) {}
}

impl AsRef<[u8]> for Reads {
    fn as_ref(&self) -> &[u8] {
        b"more than was promised"
    }
}

/// Gives its bytes, if it has any; otherwise nothing, for ever.
struct Gives(Option<Bytes>);

impl Body for Gives {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

/// Keeps the body of its request, and answers with what it is told to.
struct Service(Kept, Option<axum::http::Response<Gives>>);

impl tower_service::Service<axum::http::Request<IncomingBody>> for Service {
    type Response = axum::http::Response<Gives>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<IncomingBody>) -> Self::Future {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.into_body());
        std::future::ready(Ok(self.1.take().expect("called once")))
    }
}

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345";

#[test]
fn a_waker_may_read_the_body_when_it_is_dropped() {
    let host = Host::start();
    let mut client = host.connect();
    client.send(UPLOAD);
    let request = host.receive();
    within(WAIT_MAX, "giving the answer", move || {
        let kept = Kept::default();
        let response = axum::http::Response::new(Gives(None));
        let mut handling = pin!(handle(request, Service(Arc::clone(&kept), Some(response))));
        for _ in 0..3 {
            // Kept in the place of the one before, which is dropped.
            let waker = Waker::from(Arc::new(Reads(Arc::clone(&kept))));
            assert!(handling.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        kept.lock().expect("nothing has panicked").take();
    });
}

#[test]
fn a_chunk_that_is_refused_may_read_the_body_when_it_is_dropped() {
    let host = Host::start();
    let mut client = host.connect();
    client.send(UPLOAD);
    let request = host.receive();
    within(WAIT_MAX, "giving the answer", move || {
        let kept = Kept::default();
        let chunk = Bytes::from_owner(Reads(Arc::clone(&kept)));
        let response = axum::http::Response::builder().header("Content-Length", "4");
        let response = response.body(Gives(Some(chunk))).expect("valid");
        let handled = pollster::block_on(handle(request, Service(Arc::clone(&kept), Some(response))));
        assert!(handled.is_err(), "{handled:?}");
        kept.lock().expect("nothing has panicked").take();
    });
}
