//! A server in one call: an engine, one URL, and a pool that answers.
//!
//! Invariants: when a call here has failed, nothing of it is left; a server's parts end in the order of its fields.
//!
//! Not here: each part by itself, for whoever wants several of them ([`Engine`], [`UrlGroup`], [`RequestQueue`],
//! [`Pool`]).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
#[cfg(feature = "signal")]
use std::time::Duration;

use super::pool::Pool;
use super::reply::IntoReply;
use crate::api::Request;
use crate::config::Mode;
use crate::error::{Error, Result};
use crate::route::{Host, Prefix};
use crate::session::{self, Engine, EngineBuilder, RequestQueue, ServerSession, UrlGroup};

/// The fewest threads that a pool has here, and how many for each core: handlers wait for clients and files.
const THREADS_MIN: usize = 16;
const THREADS_PER_CORE: usize = 4;

/// A running server: see [`Engine::serve`]. Dropping it stops it without grace.
#[must_use = "a server ends when it is dropped: wait for its end with `run_until_signal` or `wait`"]
pub struct Server {
    // Dropped in this order: URLs first, the engine last.
    group: UrlGroup,
    session: ServerSession,
    pool: Pool,
    queue: RequestQueue,
    url: String,
    engine: Engine,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine with the default settings, and serves one URL with it: `handler` is called for each request,
    /// and what it returns is sent ([`RequestQueue::serve`]).
    ///
    /// The URL is a prefix as [`UrlGroup::add_url`] takes it, and says where to listen, too: an IP address, that alone;
    /// `localhost`, the loopback addresses; `0.0.0.0` or `[::]`, all addresses, for any host; a name, `*` or `+`, all
    /// addresses. For port 0 a free one is chosen, which [`Server::url`] tells.
    ///
    /// ```no_run
    /// use ringress::{Engine, Response};
    /// # use std::time::Duration;
    ///
    /// let server = Engine::serve("http://127.0.0.1:8080/", |_request| Response::text("Hello, World!"))?;
    /// println!("listening on {}", server.url());
    /// # #[cfg(feature = "signal")]
    /// server.run_until_signal(Duration::from_secs(5))?;
    /// # Ok::<(), ringress::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`EngineBuilder::start`], [`listen`](Self::listen), [`UrlGroup::add_url`] and [`RequestQueue::serve`].
    pub fn serve<R: IntoReply>(
        url: &str,
        handler: impl Fn(&mut Request) -> R + Send + Sync + 'static,
    ) -> Result<Server> {
        Self::builder().serve(url, handler)
    }
}

impl EngineBuilder {
    /// As [`Engine::serve`], with these settings. In co-located mode the pool's threads are the shards; otherwise there
    /// are 4 for each core, and at least 16.
    ///
    /// # Errors
    /// As [`Engine::serve`].
    pub fn serve<R: IntoReply>(
        self,
        url: &str,
        handler: impl Fn(&mut Request) -> R + Send + Sync + 'static,
    ) -> Result<Server> {
        let mut prefix = prefix_of(url)?;
        let engine = self.start()?;
        let queue = engine.request_queue(url)?;
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue)?;
        listen(&engine, &mut prefix)?;
        let url = prefix.to_string();
        group.add_url(&url, 0)?;
        let threads = match engine.mode() {
            Mode::Colocated => engine.shards(),
            Mode::Queue => {
                let cores = thread::available_parallelism().map_or(1, usize::from);
                THREADS_MIN.max(THREADS_PER_CORE * cores)
            }
        };
        let pool = queue.serve(threads, handler)?;
        Ok(Server { group, session, pool, queue, url, engine })
    }
}

impl Server {
    /// The URL that is registered: with the port that was chosen for port 0, and `*` for all addresses.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The queue that all requests come to: other consumers may receive from it beside the pool.
    #[must_use]
    pub fn queue(&self) -> &RequestQueue {
        &self.queue
    }

    /// The session of the URL.
    #[must_use]
    pub fn session(&self) -> &ServerSession {
        &self.session
    }

    /// The group of the URL: for more URLs, and for timers and limits.
    #[must_use]
    pub fn url_group(&self) -> &UrlGroup {
        &self.group
    }

    /// Has `report` told what goes wrong with handlers and responses: see [`Pool::on_error`].
    pub fn on_error(self, report: impl Fn(&(dyn StdError + 'static)) + Send + Sync + 'static) -> Self {
        Self { pool: self.pool.on_error(report), ..self }
    }

    /// Waits until the engine serves no more: see [`Engine::wait`].
    ///
    /// # Errors
    /// As [`Engine::wait`].
    pub fn wait(&self) -> Result<()> {
        self.engine.wait()
    }

    /// Serves until the process gets SIGINT or SIGTERM, and stops in order: see [`Engine::run_until_signal`].
    ///
    /// # Errors
    /// As [`Engine::run_until_signal`].
    #[cfg(feature = "signal")]
    pub fn run_until_signal(self, grace: Duration) -> Result<()> {
        self.engine.run_until_signal(grace)
    }
}

/// What a URL registers. With port 0, for one that is to be chosen.
fn prefix_of(url: &str) -> Result<Prefix> {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    match url[..path].strip_suffix(":0") {
        Some(host) => {
            let chosen = format!("{host}:1{}", &url[path..]);
            session::parse_url(url, &chosen).map(|prefix| Prefix { port: 0, ..prefix })
        }
        None => session::parse_url(url, url),
    }
}

/// Listens where a prefix says to, unless that is everywhere and its port is given: registering it does that. Then it
/// has its port.
fn listen(engine: &Engine, prefix: &mut Prefix) -> Result<()> {
    let port = prefix.port;
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let listen = |ip: IpAddr, port: u16| engine.listen(SocketAddr::new(ip, port)).map(|address| address.port());
    prefix.port = match &prefix.host {
        Host::Ip(ip) => listen(*ip, port)?,
        Host::Name(name) if **name == *"localhost" => {
            let port = listen(v4, port)?;
            listen(v6, port).or_else(|error| if is_no_ipv6(&error) { Ok(port) } else { Err(error) })?
        }
        _ if port == 0 => listen(Ipv6Addr::UNSPECIFIED.into(), 0).or_else(|error| match is_no_ipv6(&error) {
            true => listen(Ipv4Addr::UNSPECIFIED.into(), 0),
            false => Err(error),
        })?,
        _ => port,
    };
    if matches!(prefix.host, Host::Ip(ip) if ip.is_unspecified()) {
        prefix.host = Host::Weak;
    }
    Ok(())
}

fn is_no_ipv6(error: &Error) -> bool {
    let code = error.io_error().and_then(io::Error::raw_os_error);
    matches!(code, Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
