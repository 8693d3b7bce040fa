//! Server sessions and URL groups: which URLs are whose, to which queue they go, and which properties hold for them.

use std::sync::Arc;

use ringress_proto::url::{HostPattern, Prefix, Scheme};

use super::engine::{Control, EngineShared};
use super::request_queue::RequestQueue;
use crate::error::{Error, Result};
use crate::policy::{self, Policies, Policy, PolicyIndex, Properties};
use crate::route::{Host, Route, Snapshot, Target};
use crate::shard::ControlMessage;

type GroupId = u64;
type SessionId = u64;

#[derive(Debug)]
struct Group {
    id: GroupId,
    session: SessionId,
    queue: Option<u32>,
    active: bool,
    properties: Properties,
    /// Its place among the shards' policies, while it lives.
    policy: PolicyIndex,
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
    /// The engine's own, with defaults for what was not set.
    inherited: Properties,
    /// Of sessions that have set any.
    of_sessions: Vec<(SessionId, Properties)>,
    /// For each place among the policies after the engine's own, how often it has been given to a group.
    places: Vec<u32>,
    /// Those that no group has.
    free_places: Vec<PolicyIndex>,
    next: u64,
}

impl Groups {
    /// Groups of an engine with these properties.
    pub(super) fn new(properties: &Properties) -> Self {
        Self { inherited: properties.over(&Properties::DEFAULTS), ..Self::default() }
    }

    /// What holds where neither session nor group have set anything.
    pub(super) fn inherited(&self) -> Properties {
        self.inherited
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn get(&mut self, id: GroupId) -> Result<&mut Group> {
        self.groups.iter_mut().find(|group| group.id == id).ok_or(Error::CLOSED)
    }

    /// What holds for a session.
    fn of_session(&self, session: SessionId) -> Properties {
        let own = self.of_sessions.iter().find(|(known, _)| *known == session);
        own.map_or(self.inherited, |(_, own)| own.over(&self.inherited))
    }

    /// What holds for a group.
    fn of_group(&self, group: &Group) -> Properties {
        group.properties.over(&self.of_session(group.session))
    }

    /// A new group, in the first free place among the policies.
    fn open(&mut self, session: SessionId) -> GroupId {
        let id = self.id();
        let policy = self.free_places.pop().unwrap_or_else(|| {
            self.places.push(0);
            PolicyIndex::try_from(self.places.len()).unwrap_or(policy::OF_ENGINE)
        });
        if let Some(owners) = self.place_of(policy) {
            self.places[owners] += 1;
        }
        let (properties, urls) = (Properties::new(), Vec::new());
        self.groups.push(Group { id, session, queue: None, active: true, properties, policy, urls });
        id
    }

    /// Where `places` keeps the count of a place among the policies.
    fn place_of(&self, policy: PolicyIndex) -> Option<usize> {
        (policy as usize).checked_sub(1).filter(|place| *place < self.places.len())
    }

    fn close(&mut self, of: impl Fn(&Group) -> bool) {
        self.free_places.extend(self.groups.iter().filter(|group| of(group)).map(|group| group.policy));
        self.groups.retain(|group| !of(group));
    }

    fn policies(&self) -> Policies {
        let own = Policy::of(&self.inherited);
        let mut policies = Policies::new(own);
        for (index, owner) in (1..).zip(&self.places) {
            policies.put(index, *owner, own);
        }
        for group in &self.groups {
            if let Some(place) = self.place_of(group.policy) {
                policies.put(group.policy, self.places[place], Policy::of(&self.of_group(group)));
            }
        }
        policies
    }

    fn snapshot(&self) -> Snapshot {
        let mut routes = Vec::new();
        let policies = self.policies();
        for group in &self.groups {
            let send_credit = policies.get(group.policy).send_credit;
            let active = group.active && !self.inactive_sessions.contains(&group.session);
            for url in &group.urls {
                let (context, queue, policy) = (url.context, group.queue, group.policy);
                let target = Target { context, queue, active, policy, send_credit };
                routes.push(Route { port: url.port, host: url.host.clone(), path: url.path.clone(), target });
            }
        }
        Snapshot::new(routes).with_policies(policies)
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
        shared.post(|_| Some(ControlMessage::Routes(Arc::clone(&snapshot))));
    }

    fn add_url(&mut self, shared: &EngineShared, group: GroupId, url: &str, context: u64) -> Result<()> {
        let (port, host, path) = parse(url)?;
        self.groups.get(group)?;
        self.check_open()?;
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
        self.groups.close(of);
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
///
/// Dropping it closes nothing: its groups stay, with what was set here, until they are dropped or the engine stops.
/// [`close`](Self::close) takes them along.
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
        let id = self.shared.control().groups.open(self.id);
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

    /// Sets what the session's groups inherit, live. Replaces all that was set here before: what is not among
    /// `properties` is the engine's again. See [`Properties`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a value out of range, or a property that is the engine's alone; then
    /// nothing has changed.
    pub fn set_properties(&self, properties: Properties) -> Result<()> {
        let mut control = self.shared.control();
        properties.check_below(&control.groups.inherited())?;
        control.groups.of_sessions.retain(|(session, _)| *session != self.id);
        control.groups.of_sessions.push((self.id, properties));
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// What holds for the session's groups as far as they set nothing themselves: every property is there.
    #[must_use]
    pub fn properties(&self) -> Properties {
        self.shared.control().groups.of_session(self.id)
    }

    /// Closes the session with its groups: all their URLs are unregistered.
    pub fn close(self) {
        let mut control = self.shared.control();
        control.groups.of_sessions.retain(|(session, _)| *session != self.id);
        control.close_groups(&self.shared, |group| group.session == self.id);
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
    /// (asked last). The path matches by whole segments, without regard to ASCII case: `/app/` matches `/app`, `/app/`
    /// and `/App/x`, not `/application`. Opens the port on all addresses, unless
    /// [`Engine::listen`](crate::Engine::listen) has opened it before.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a malformed prefix or one that is registered already;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for https; [`Io`](crate::ErrorKind::Io) when the port cannot be
    /// opened; [`Closed`](crate::ErrorKind::Closed) after the session was closed or the engine shut down;
    /// [`Engine::failure`](crate::Engine::failure) after that.
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

    /// Sets timers and limits of the group, live. Replaces all that was set here before: what is not among
    /// `properties` is the session's again. See [`Properties`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a value out of range, or a property that is the engine's alone;
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed. Then nothing has changed.
    pub fn set_properties(&self, properties: Properties) -> Result<()> {
        let mut control = self.shared.control();
        properties.check_below(&control.groups.inherited())?;
        control.groups.get(self.id)?.properties = properties;
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// What holds for the group: every property is there, its own, inherited or the default.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn properties(&self) -> Result<Properties> {
        let control = self.shared.control();
        let group = control.groups.groups.iter().find(|group| group.id == self.id).ok_or(Error::CLOSED)?;
        Ok(control.groups.of_group(group))
    }
}

impl Drop for UrlGroup {
    fn drop(&mut self) {
        self.shared.control().close_groups(&self.shared, |group| group.id == self.id);
    }
}
