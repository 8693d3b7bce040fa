//! One URL, listened on: an engine, a URL group and a queue in one call.
//!
//! Invariants: when a call here has failed, nothing of it is left; a site's parts end in the order of its fields.
//!
//! Not here: who answers (`server`, `pool`), and each part by itself ([`Engine`], [`UrlGroup`], [`RequestQueue`]).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::{Error, Result};
use crate::route::{Host, Prefix};
use crate::session::{self, Engine, EngineBuilder, RequestQueue, ServerSession, UrlGroup};

/// A URL that is listened on, and the queue that its requests come to: see [`Engine::open`]. Dropping it stops the
/// engine without grace.
#[must_use = "an engine ends when its site is dropped"]
pub struct Site {
    // Dropped in this order: URLs first, the engine last.
    group: UrlGroup,
    session: ServerSession,
    queue: RequestQueue,
    url: String,
    engine: Engine,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine with the default settings, and has one URL's requests come to a queue of their own, for
    /// whatever takes them from there.
    ///
    /// The URL is a prefix as [`UrlGroup::add_url`] takes it, and says where to listen, too: an IP address, that alone;
    /// `localhost`, the loopback addresses; `0.0.0.0` or `[::]`, all addresses, for any host; a name, `*` or `+`, all
    /// addresses. For port 0 a free one is chosen, which [`Site::url`] tells.
    ///
    /// ```no_run
    /// use ringress::{Engine, Response};
    ///
    /// let site = Engine::open("http://127.0.0.1:8080/")?;
    /// println!("listening on {}", site.url());
    /// site.queue().receive()?.respond(Response::text("the first one"))?;
    /// # Ok::<(), ringress::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`EngineBuilder::start`], [`listen`](Self::listen) and [`UrlGroup::add_url`].
    pub fn open(url: &str) -> Result<Site> {
        Self::builder().open(url)
    }
}

impl EngineBuilder {
    /// As [`Engine::open`], with these settings.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(self, url: &str) -> Result<Site> {
        let mut prefix = prefix_of(url)?;
        let engine = self.start()?;
        let queue = engine.request_queue(url)?;
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue)?;
        listen(&engine, &mut prefix)?;
        let url = prefix.to_string();
        group.add_url(&url, 0)?;
        Ok(Site { group, session, queue, url, engine })
    }
}

impl Site {
    /// The URL that is registered: with the port that was chosen for port 0, and `*` for all addresses.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The queue that all requests come to.
    pub fn queue(&self) -> &RequestQueue {
        &self.queue
    }

    /// The session of the URL.
    pub fn session(&self) -> &ServerSession {
        &self.session
    }

    /// The group of the URL: for more URLs, and for timers and limits.
    pub fn url_group(&self) -> &UrlGroup {
        &self.group
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
