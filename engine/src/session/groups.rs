//! Server sessions and URL groups: which URLs are whose, and to which queue they go.

use std::sync::Arc;

use ringress_proto::url::{HostPattern, Prefix, Scheme};

use super::engine::{Control, EngineShared, RequestQueue};
use crate::error::{Error, Result};
use crate::route::{Host, Route, Snapshot, Target};
use crate::shard::Letter;

type GroupId = u64;
type SessionId = u64;

#[derive(Debug)]
struct Group {
    id: GroupId,
    session: SessionId,
    queue: Option<u32>,
    active: bool,
    /// The URL as given, with what was parsed from it.
    urls: Vec<Url>,
}

#[derive(Debug)]
struct Url {
    port: u16,
    host: Host,
    path: Box<str>,
    context: u64,
}

/// All groups of an engine.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    inactive_sessions: Vec<SessionId>,
    next: u64,
}

impl Groups {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn get(&mut self, id: GroupId) -> Result<&mut Group> {
        self.groups.iter_mut().find(|group| group.id == id).ok_or(Error::CLOSED)
    }

    fn snapshot(&self) -> Snapshot {
        let mut routes = Vec::new();
        for group in &self.groups {
            let active = group.active && !self.inactive_sessions.contains(&group.session);
            for url in &group.urls {
                let target = Target { context: url.context, queue: group.queue, active };
                routes.push(Route { port: url.port, host: url.host.clone(), path: url.path.clone(), target });
            }
        }
        Snapshot::new(routes)
    }

    fn uses_port(&self, port: u16) -> bool {
        self.groups.iter().flat_map(|group| &group.urls).any(|url| url.port == port)
    }
}

/// Takes a URL apart for registration: the host in lower case, the path with its final slash.
fn parse(url: &str) -> Result<(u16, Host, Box<str>)> {
    let prefix = Prefix::parse(url).map_err(|error| Error::invalid(format!("URL {url:?}: {error}")))?;
    if prefix.scheme == Scheme::Https {
        return Err(Error::unsupported(format!(
            "URL {url:?}: https is not served yet; put a TLS proxy in front and register http"
        )));
    }
    let host = match prefix.host {
        HostPattern::Strong => Host::Strong,
        HostPattern::Weak => Host::Weak,
        HostPattern::Ip(ip) => Host::Ip(ip.to_canonical()),
        HostPattern::Name(name) => Host::Name(name.to_ascii_lowercase().into()),
    };
    let slash = if prefix.path.ends_with('/') { "" } else { "/" };
    Ok((prefix.port, host, format!("{}{slash}", prefix.path).into()))
}

impl Control {
    /// Shows the shards the routes as they are now.
    fn publish_routes(&self, shared: &EngineShared) {
        let snapshot = Arc::new(self.groups.snapshot());
        shared.post(|_| Some(Letter::Routes(Arc::clone(&snapshot))));
    }

    fn add_url(&mut self, shared: &EngineShared, group: GroupId, url: &str, context: u64) -> Result<()> {
        let (port, host, path) = parse(url)?;
        self.groups.get(group)?;
        if self.stopped {
            return Err(Error::CLOSED);
        }
        let same = |known: &Url| known.port == port && known.host == host && known.path.eq_ignore_ascii_case(&path);
        if self.groups.groups.iter().flat_map(|group| &group.urls).any(same) {
            return Err(Error::invalid(format!(
                "URL {url:?} is registered already in this engine; remove it there first"
            )));
        }
        let running = self.running();
        self.listeners.open_port(shared, &running, port)?;
        self.groups.get(group)?.urls.push(Url { port, host, path, context });
        self.publish_routes(shared);
        Ok(())
    }

    fn remove_url(&mut self, shared: &EngineShared, group: GroupId, url: &str) -> Result<()> {
        let (port, host, path) = parse(url)?;
        let urls = &mut self.groups.get(group)?.urls;
        let same = |known: &Url| known.port == port && known.host == host && known.path.eq_ignore_ascii_case(&path);
        let place = urls.iter().position(same);
        let place = place.ok_or_else(|| Error::invalid(format!("URL {url:?} is not registered in this group")))?;
        urls.remove(place);
        self.publish_routes(shared);
        self.close_unused(shared, &[port]);
        Ok(())
    }

    fn close_groups(&mut self, shared: &EngineShared, of: impl Fn(&Group) -> bool) {
        let closing = self.groups.groups.iter().filter(|group| of(group));
        let ports: Vec<u16> = closing.flat_map(|group| group.urls.iter().map(|url| url.port)).collect();
        self.groups.groups.retain(|group| !of(group));
        self.publish_routes(shared);
        self.close_unused(shared, &ports);
    }

    fn close_unused(&mut self, shared: &EngineShared, ports: &[u16]) {
        for port in ports {
            if !self.groups.uses_port(*port) {
                self.listeners.close_port(shared, *port);
            }
        }
    }
}

/// A server session: the container of URL groups, normally one an application.
#[derive(Debug)]
pub struct ServerSession {
    shared: Arc<EngineShared>,
    id: SessionId,
}

impl ServerSession {
    pub(super) fn new(shared: Arc<EngineShared>) -> Self {
        let id = shared.control().groups.id();
        Self { shared, id }
    }

    /// A new, empty URL group of this session.
    #[must_use]
    pub fn url_group(&self) -> UrlGroup {
        let mut control = self.shared.control();
        let id = control.groups.id();
        control.groups.groups.push(Group { id, session: self.id, queue: None, active: true, urls: Vec::new() });
        UrlGroup { shared: Arc::clone(&self.shared), id }
    }

    /// Takes requests or not: while inactive, the engine answers 503 for all of the session's groups.
    pub fn set_active(&self, active: bool) {
        let mut control = self.shared.control();
        control.groups.inactive_sessions.retain(|session| *session != self.id);
        if !active {
            control.groups.inactive_sessions.push(self.id);
        }
        control.publish_routes(&self.shared);
    }

    /// Closes the session with its groups: all their URLs are unregistered.
    pub fn close(self) {
        self.shared.control().close_groups(&self.shared, |group| group.session == self.id);
    }
}

/// A URL group: prefixes that go to one request queue. Dropping it unregisters them.
#[derive(Debug)]
pub struct UrlGroup {
    shared: Arc<EngineShared>,
    id: GroupId,
}

impl UrlGroup {
    /// Registers a URL prefix, such as `http://+:8080/app/`; `context` comes back with every request for it.
    ///
    /// Hosts: `+` (asked before all others), a name, an IP address (matches the address the client connected to), `*`
    /// (asked last). The path matches by whole segments, without regard to ASCII case. Opens the port on all addresses,
    /// unless [`Engine::listen`](crate::Engine::listen) has opened it before.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a malformed prefix or one that is registered already;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for https; [`Io`](crate::ErrorKind::Io) when the port cannot be
    /// opened; [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn add_url(&self, url: &str, context: u64) -> Result<()> {
        self.shared.control().add_url(&self.shared, self.id, url, context)
    }

    /// Unregisters a URL prefix; requests already delivered stay.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not registered in this group.
    pub fn remove_url(&self, url: &str) -> Result<()> {
        self.shared.control().remove_url(&self.shared, self.id, url)
    }

    /// Sends the group's requests to a queue from now on; several groups may share one.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the queue is of another engine;
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn bind(&self, queue: &RequestQueue) -> Result<()> {
        if queue.core.engine() != self.shared.id {
            return Err(Error::invalid(format!("request queue {:?} belongs to another engine", queue.name())));
        }
        self.set_queue(Some(queue.index))
    }

    /// Takes the group off its queue: until it is bound again, the engine answers its requests with 503.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn unbind(&self) -> Result<()> {
        self.set_queue(None)
    }

    fn set_queue(&self, queue: Option<u32>) -> Result<()> {
        let mut control = self.shared.control();
        control.groups.get(self.id)?.queue = queue;
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// Takes requests or not: while inactive, the engine answers 503 in the group's place.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn set_active(&self, active: bool) -> Result<()> {
        let mut control = self.shared.control();
        control.groups.get(self.id)?.active = active;
        control.publish_routes(&self.shared);
        Ok(())
    }
}

impl Drop for UrlGroup {
    fn drop(&mut self) {
        self.shared.control().close_groups(&self.shared, |group| group.id == self.id);
    }
}
