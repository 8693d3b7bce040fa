//! `OnUpgrade`, the promise of a connection's bytes that axum's `WebSocketUpgrade` and others look for in a request,
//! for requests that ask for another protocol.
//!
//! Nobody but a connection of hyper's makes one (hyperium/hyper#4034). So each such request gets a connection of
//! hyper's own, over no socket: that reads one short request, and its service keeps what hyper has put into it. When
//! the application has switched, hyper is given a response that switches too, and lets go of its stream, which is the
//! client's connection from then on:
//!
//! ```text
//!   Promise::new ─▶ hyper reads ASKS from the pipe ─▶ OnUpgrade ─▶ the request's extensions
//!   Promise::keep ─▶ the engine sends the 101 of the service and gives the `Upgraded`
//!                ─▶ hyper writes its own 101 into the pipe, which drops it ─▶ OnUpgrade is ready
//!   dropped ─▶ OnUpgrade fails, as when hyper's response does not switch
//! ```
//!
//! Invariants: nothing that hyper reads or writes for itself reaches the client, and nothing of the client's reaches
//! hyper; nobody has to poll hyper's connection, which is done with each step at once.
//!
//! Not here: which requests can be upgraded, and what the client gets (room `api`).

use core::convert::Infallible;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;

use crate::api::Upgraded;
use crate::error::{Error, ErrorKind as EngineErrorKind, Result};

/// What hyper reads: enough to make it promise.
const ASKS: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
/// What ends the head that hyper writes.
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The most bytes that are read at a time into memory that has to be zeroed for it.
const READ_BYTES_MAX: usize = 16 * 1024;

/// What a promise shares with hyper's service and stream.
#[derive(Default)]
struct Shared {
    on_upgrade: Mutex<Option<OnUpgrade>>,
    upgraded: Mutex<Option<Upgraded>>,
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// Hyper's service: it answers when the application has switched.
struct Switch(Arc<Shared>);

impl Service<http::Request<Incoming>> for Switch {
    type Response = http::Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = core::result::Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        put(&self.0.on_upgrade, hyper::upgrade::on(request));
        let shared = Arc::clone(&self.0);
        Box::pin(poll_fn(move |_| {
            if shared.upgraded.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                return Poll::Pending;
            }
            let mut response = http::Response::new(String::new());
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            Poll::Ready(Ok(response))
        }))
    }
}

/// See the module's head.
pub(crate) struct Promise {
    connection: http1::UpgradeableConnection<Pipe, Switch>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").finish_non_exhaustive()
    }
}

impl Promise {
    /// A promise, and who waits for it. `None`: hyper has made none.
    pub(crate) fn new() -> Option<(Box<Self>, OnUpgrade)> {
        let shared = Arc::<Shared>::default();
        let pipe = Pipe { shared: Arc::clone(&shared), read: 0, is_open: false, upgraded: None };
        let connection = http1::Builder::new().serve_connection(pipe, Switch(Arc::clone(&shared))).with_upgrades();
        let mut promise = Box::new(Self { connection, shared });
        promise.step().is_pending().then(|| take(&promise.shared.on_upgrade)).flatten().map(|made| (promise, made))
    }

    /// Gives the connection to who waits for it.
    ///
    /// # Errors
    /// `Io` when hyper does not do its part: the connection is reset.
    pub(crate) fn keep(mut self: Box<Self>, upgraded: Upgraded) -> Result<()> {
        put(&self.shared.upgraded, upgraded);
        match self.step() {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => {
                Err(Error::io("hyper did not hand the connection over", io::Error::other(error)))
            }
            Poll::Pending => Err(Error::new(EngineErrorKind::Io, "hyper did not hand the connection over")),
        }
    }

    /// All that hyper's connection can do now.
    fn step(&mut self) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.connection).poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// Hyper's stream: first of nothing but [`ASKS`] and what is dropped, then of the client's connection.
struct Pipe {
    shared: Arc<Shared>,
    /// Bytes of [`ASKS`] that hyper has read.
    read: usize,
    /// Hyper has written its head: all that follows is the client's and the application's.
    is_open: bool,
    upgraded: Option<Upgraded>,
}

impl Pipe {
    fn upgraded(&mut self) -> io::Result<&mut Upgraded> {
        if self.upgraded.is_none() {
            self.upgraded = take(&self.shared.upgraded);
        }
        self.upgraded.as_mut().ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

/// Errors as sockets have them.
fn into_io(error: Error) -> io::Error {
    if error.is_gone() { io::Error::new(ErrorKind::ConnectionReset, error) } else { io::Error::other(error) }
}

impl Read for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_open {
            let rest = &ASKS[this.read..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            this.read += count;
            return if count == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        let mut bytes = [0; READ_BYTES_MAX];
        let room = buffer.remaining().min(READ_BYTES_MAX);
        let read = this.upgraded()?.poll_read(context, &mut bytes[..room]);
        read.map_ok(|count| buffer.put_slice(&bytes[..count])).map_err(into_io)
    }
}

impl Write for Pipe {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.is_open {
            this.is_open = bytes.ends_with(HEAD_END);
            return Poll::Ready(Ok(bytes.len()));
        }
        // At once, as to a socket: not all who write flush.
        let given = pin!(this.upgraded()?.send_async(bytes)).poll(context);
        given.map_ok(|()| bytes.len()).map_err(into_io)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}

impl Pipe {
    /// Ends our side, if it is open.
    fn finish(&mut self) {
        if self.is_open
            && let Ok(upgraded) = self.upgraded()
        {
            let _gone_or_finished = upgraded.finish();
        }
    }
}

impl Drop for Pipe {
    /// As a socket that is closed: what was written is sent, and then the end.
    fn drop(&mut self) {
        self.finish();
    }
}
