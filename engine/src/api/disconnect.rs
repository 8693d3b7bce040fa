//! To be told when a connection ends, or when its client ends its side.
//!
//! Invariants: whoever asks is told, once, also of a connection that is over already; nothing here holds a connection,
//! a request or the engine up.
//!
//! Not here: ending a connection ([`Request::cancel`]).

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::request::Request;
use super::wait::block_on;
use crate::id::ConnectionId;
use crate::queue::{Command, Disconnected, Registration, Watch, notify_deferred};
use crate::session::RequestQueue;

/// The end of a connection, to come: see [`Request::on_disconnect`]. For any executor or none; it borrows nothing, and
/// dropping it loses nothing: what the shard keeps for it is cleared away in time.
///
/// On a thread attached to a shard, wait for it with [`wait`](Self::wait) or [`block_on`](crate::block_on), which drive
/// the shard: nobody else does meanwhile.
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct Disconnect {
    watch: Watch,
}

impl Disconnect {
    /// Waits on the current thread, and drives its shard meanwhile, if it has one.
    pub fn wait(self) -> Disconnected {
        block_on(self)
    }

    /// What has happened; `None` for nothing yet. Without waiting: a moment's view.
    #[must_use]
    pub fn reason(&self) -> Option<Disconnected> {
        self.watch.reason()
    }
}

impl Future for Disconnect {
    type Output = Disconnected;

    /// After it is ready it stays so, and gives the same again.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Disconnected> {
        let told = self.watch.poll(context);
        if told.is_pending() {
            notify_deferred();
        }
        told
    }
}

impl Request {
    fn watch(&self, half_close: bool) -> Disconnect {
        let (watch, registration) = Watch::new(half_close);
        self.command(Command::Watch(self.connection_id(), registration));
        Disconnect { watch }
    }

    /// Tells when the request's connection ends: broken by the client, in order, or by the engine. It is the connection
    /// that is meant, not the request: with keep-alive it may go on for long after a good response.
    ///
    /// A client that only ends its side (FIN) can still be answered, so that is no end:
    /// see [`on_half_close`](Self::on_half_close).
    pub fn on_disconnect(&self) -> Disconnect {
        self.watch(false)
    }

    /// Tells when the client ends its side (FIN) while it can still be answered, or when the connection ends. Some
    /// clients end their side as soon as they have asked; most do when they give up.
    pub fn on_half_close(&self) -> Disconnect {
        self.watch(true)
    }

    /// Calls when the request's connection ends, as [`on_disconnect`](Self::on_disconnect) tells it.
    ///
    /// The call comes on the shard's thread and holds up all connections of that shard: it must be short. It may use
    /// the engine, answer and stop it, but not wait: receiving is refused there
    /// ([`Unsupported`](crate::ErrorKind::Unsupported)). A panic in it goes no further and is counted
    /// ([`foreign_panics`](crate::Counters::foreign_panics)). (When the engine has stopped or failed, it may come on
    /// the thread that stops it, or on this one.) It is kept until the connection ends, so ask once a connection, not
    /// with each of its requests.
    pub fn on_disconnect_call(&self, call: impl FnOnce(Disconnected) + Send + 'static) {
        self.command(Command::Watch(self.connection_id(), Registration::call(call)));
    }
}

impl RequestQueue {
    /// As [`Request::on_disconnect`], by the connection's id: of a connection that is over, or was none of this engine,
    /// it tells [`Gone`](Disconnected::Gone).
    pub fn on_disconnect(&self, connection: ConnectionId) -> Disconnect {
        let (watch, registration) = Watch::new(false);
        match self.exchange_of_connection(connection) {
            Some(exchange) => exchange.command(Command::Watch(connection, registration)),
            None => registration.tell(Disconnected::Gone),
        }
        Disconnect { watch }
    }
}
