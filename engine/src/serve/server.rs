//! A server in one call: a site and a pool that answers.
//!
//! Invariants: when a call here has failed, nothing of it is left; a server's parts end in the order of its fields.
//!
//! Not here: each part by itself, for whoever wants several of them (`site`, [`Pool`]).

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::thread;
#[cfg(feature = "signal")]
use std::time::Duration;

use super::pool::Pool;
use super::reply::IntoReply;
use super::site::Site;
use crate::api::Request;
use crate::config::Mode;
use crate::error::Result;
use crate::session::{Engine, EngineBuilder};

/// The fewest threads that a pool has here, and how many for each core: handlers wait for clients and files.
const THREADS_MIN: usize = 16;
const THREADS_PER_CORE: usize = 4;

/// A running server: see [`Engine::serve`]. It is its [`Site`], too: others may receive from that one's queue beside
/// the pool. Dropping it stops it without grace.
#[must_use = "a server ends when it is dropped: wait for its end with `run_until_signal` or `wait`"]
pub struct Server {
    // The pool takes no more, and then the engine ends.
    pool: Pool,
    site: Site,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("site", &self.site).field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine with the default settings, and serves one URL with it: `handler` is called for each request,
    /// and what it returns is sent ([`RequestQueue::serve`](crate::RequestQueue::serve)).
    ///
    /// The URL says where to listen, too: see [`open`](Self::open).
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
    /// As [`open`](Self::open) and [`RequestQueue::serve`](crate::RequestQueue::serve).
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
        let site = self.open(url)?;
        let threads = match site.engine().mode() {
            Mode::Colocated => site.engine().shards(),
            Mode::Queue => {
                let cores = thread::available_parallelism().map_or(1, usize::from);
                THREADS_MIN.max(THREADS_PER_CORE * cores)
            }
        };
        let pool = site.queue().serve(threads, handler)?;
        Ok(Server { pool, site })
    }
}

impl Deref for Server {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Server {
    /// Has `report` told what goes wrong with handlers and responses: see [`Pool::on_error`].
    pub fn on_error(self, report: impl Fn(&(dyn StdError + 'static)) + Send + Sync + 'static) -> Self {
        Self { pool: self.pool.on_error(report), ..self }
    }

    /// Waits until the engine serves no more: see [`Engine::wait`].
    ///
    /// # Errors
    /// As [`Engine::wait`].
    pub fn wait(&self) -> Result<()> {
        self.engine().wait()
    }

    /// Serves until the process gets SIGINT or SIGTERM, and stops in order: see [`Engine::run_until_signal`].
    ///
    /// # Errors
    /// As [`Engine::run_until_signal`].
    #[cfg(feature = "signal")]
    pub fn run_until_signal(self, grace: Duration) -> Result<()> {
        self.engine().run_until_signal(grace)
    }
}
