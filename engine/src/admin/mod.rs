//! Metrics, health and a status page of an engine, over HTTP on a port of their own. Feature `admin`.
//!
//! ```no_run
//! # fn main() -> ringress::Result<()> {
//! let engine = ringress::Engine::builder().start()?;
//! let admin = ringress::admin::serve(&engine, ([127, 0, 0, 1], 9090).into())?;
//! println!("status page: http://{}/", admin.address());
//! # Ok(())
//! # }
//! ```
//!
//! | path | |
//! |---|---|
//! | `/` | the status page, which updates itself |
//! | `/metrics` | all counts, levels and histograms, as OpenMetrics text |
//! | `/healthz` | 200, or 503 with the reason when the engine has failed or ended |
//! | `/readyz` | 200 while the engine takes connections; 503 while it stops, and from then on |
//! | `/state` | sessions, groups with their URLs, queues, addresses, properties, requests under way: JSON |
//! | `/live` | what the page shows: JSON, which changes without notice |
//!
//! GET and HEAD alone. Nothing here tells what requests say: no paths, header fields or bodies. `docs/reference.md` has
//! the names of the metrics.
//!
//! Invariants: one thread does all of it, and waits for the kernel alone: no client and no shard holds it up. What it
//! holds for clients is bounded: connections, bytes of heads, times. It does not keep the engine.
//!
//! Not here: what is counted (room `counters`), and what there is at one moment (room `session`).

mod about;
mod ages;
mod answer;
mod connection;
mod describe;
mod metrics;
mod openmetrics;
mod server;
mod state;

use std::fmt;
use std::io::PipeWriter;
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use self::answer::Site;
use self::server::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Engine;

/// What [`serve_with`] is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options are for serve_with"]
pub struct AdminOptions {
    beyond_loopback: bool,
}

impl AdminOptions {
    /// On loopback alone.
    pub const fn new() -> Self {
        Self { beyond_loopback: false }
    }

    /// Whether the address may be one that other hosts reach; not by default. Whoever reaches it sees all that is told
    /// here: there is no password, and no encryption. Keep it in a network of your own.
    pub const fn beyond_loopback(mut self, allowed: bool) -> Self {
        self.beyond_loopback = allowed;
        self
    }
}

/// What shows an engine, until this is dropped: see [`serve`].
#[must_use = "nothing is shown any more when it is dropped"]
pub struct Admin {
    address: SocketAddr,
    /// The thread ends when it is closed.
    open: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Shows an engine on a loopback address (port 0: a free one), by a thread and a listener of its own: see the
/// [module](self). It does not keep the engine; when that is gone, it says so.
///
/// # Errors
/// As [`serve_with`].
pub fn serve(engine: &Engine, address: SocketAddr) -> Result<Admin> {
    serve_with(engine, address, AdminOptions::new())
}

/// As [`serve`], with options.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for an address beyond loopback that the options do not allow;
/// [`AddrInUse`](ErrorKind::AddrInUse), [`PermissionDenied`](ErrorKind::PermissionDenied) or [`Io`](ErrorKind::Io) when
/// it cannot be listened on, or there is no thread or descriptor to be had.
pub fn serve_with(engine: &Engine, address: SocketAddr, options: AdminOptions) -> Result<Admin> {
    if !address.ip().to_canonical().is_loopback() && !options.beyond_loopback {
        return Err(Error::invalid(format!(
            "admin: {address} can be reached from other hosts, and whoever reaches it sees all of the engine's state; \
            use a loopback address such as 127.0.0.1:{}, or AdminOptions::beyond_loopback in a network of your own",
            address.port()
        )));
    }
    let refused = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::AddrInUse => ErrorKind::AddrInUse,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Io,
        };
        Error::of_system(kind, format!("admin: cannot listen on {address}; choose another port or address"), error)
    };
    let listener = TcpListener::bind(address).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let (ends, open) = std::io::pipe().map_err(|error| Error::io("admin: cannot have a pipe", error))?;
    let site = Site::of(engine, !options.beyond_loopback);
    let server = Server::new(listener, ends, site).map_err(refused)?;
    let thread = thread::Builder::new().name("ringress-admin".into()).spawn(move || server.run());
    let thread = thread.map_err(|error| Error::io("admin: cannot start its thread", error))?;
    Ok(Admin { address, open: Some(open), thread: Some(thread) })
}

impl Admin {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.open.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}
