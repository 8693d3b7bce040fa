//! Server sessions and URL groups: which URLs are whose, to which queue they go, and which properties hold for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringress_proto::url::{self, Scheme};

use super::engine::{Control, EngineShared};
use super::request_queue::RequestQueue;
use crate::error::{Error, Result};
use crate::policy::{OF_ENGINE, Policy, PolicyIndex, Properties};
use crate::route::{GroupRow, Prefix, Snapshot, Target};
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
    urls: BTreeSet<Prefix>,
}

/// All groups of an engine.
#[derive(Debug)]
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
    /// Their URLs and what holds for them, as the shards are to see it next.
    routes: Snapshot,
    /// What was shown to the shards and may still be in use. Kept so that no shard is the last to let go of what many
    /// URLs have left behind.
    shown: Vec<Arc<Snapshot>>,
}

impl Groups {
    /// Groups of an engine with these properties.
    pub(super) fn new(properties: &Properties) -> Self {
        let inherited = properties.over(&Properties::DEFAULTS);
        Self {
            groups: Vec::new(),
            inactive_sessions: Vec::new(),
            inherited,
            of_sessions: Vec::new(),
            places: Vec::new(),
            free_places: Vec::new(),
            next: 0,
            routes: Snapshot::new(Policy::of(&inherited)),
            shown: Vec::new(),
        }
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
            PolicyIndex::try_from(self.places.len()).unwrap_or(OF_ENGINE)
        });
        if let Some(owners) = self.place_of(policy) {
            self.places[owners] += 1;
        }
        let (properties, urls) = (Properties::new(), BTreeSet::new());
        self.groups.push(Group { id, session, queue: None, active: true, properties, policy, urls });
        self.refresh(|group| group.id == id);
        id
    }

    /// Where `places` keeps the count of a place among the policies.
    fn place_of(&self, policy: PolicyIndex) -> Option<usize> {
        (policy as usize).checked_sub(1).filter(|place| *place < self.places.len())
    }

    fn close(&mut self, of: impl Fn(&Group) -> bool) {
        let own = Policy::of(&self.inherited);
        for group in self.groups.extract_if(.., |group| of(group)) {
            let owner = self.routes.group(group.policy).owner;
            self.routes.put_group(group.policy, GroupRow { queue: None, active: true, owner, policy: own });
            for url in &group.urls {
                self.routes.remove(url);
            }
            self.free_places.push(group.policy);
        }
    }

    /// Writes into the routes what holds for these groups now.
    fn refresh(&mut self, of: impl Fn(&Group) -> bool) {
        for group in self.groups.iter().filter(|group| of(group)) {
            if let Some(place) = self.place_of(group.policy) {
                let (queue, owner, policy) = (group.queue, self.places[place], Policy::of(&self.of_group(group)));
                let active = group.active && !self.inactive_sessions.contains(&group.session);
                self.routes.put_group(group.policy, GroupRow { queue, active, owner, policy });
            }
        }
    }
}

/// Takes a URL apart for registration.
fn parse(url: &str) -> Result<Prefix> {
    let prefix = url::Prefix::parse(url).map_err(|error| Error::invalid(format!("URL {url:?}: {error}")))?;
    if prefix.scheme == Scheme::Https {
        return Err(Error::unsupported(format!(
            "URL {url:?}: https is not served yet; put a TLS proxy in front and register http"
        )));
    }
    Ok(Prefix::from(prefix))
}

impl Control {
    /// Shows the shards the routes as they are now.
    fn publish_routes(&mut self, shared: &EngineShared) {
        let snapshot = Arc::new(self.groups.routes.clone());
        shared.post(|_| Some(ControlMessage::Routes(Arc::clone(&snapshot))));
        let shown = &mut self.groups.shown;
        shown.retain(|earlier| Arc::strong_count(earlier) > 1);
        shown.push(snapshot);
    }

    /// Adds all of these URLs, or none.
    fn add_urls(&mut self, shared: &EngineShared, group: GroupId, urls: &[(&str, u64)]) -> Result<()> {
        let prefixes = urls.iter().map(|(url, _)| parse(url)).collect::<Result<Vec<Prefix>>>()?;
        let place = self.groups.get(group)?.policy;
        self.check_open()?;
        // What has been put in here is dropped with it, if one does not fit.
        let mut routes = self.groups.routes.clone();
        for ((url, context), prefix) in urls.iter().zip(&prefixes) {
            if !routes.insert(prefix, Target { context: *context, group: place }) {
                return Err(Error::invalid(format!(
                    "URL {url:?} is registered already in this engine; remove it there first"
                )));
            }
        }
        self.open_ports(shared, urls, &prefixes)?;
        self.groups.routes = routes;
        self.groups.get(group)?.urls.extend(prefixes);
        self.publish_routes(shared);
        Ok(())
    }

    /// Opens the ports of all these URLs, or none.
    fn open_ports(&mut self, shared: &EngineShared, urls: &[(&str, u64)], prefixes: &[Prefix]) -> Result<()> {
        let running = self.running();
        let mut opened = BTreeSet::new();
        for ((url, _), prefix) in urls.iter().zip(prefixes) {
            if !opened.insert(prefix.port) {
                continue;
            }
            if let Err(error) = self.listeners.open_port(shared, &running, prefix.port) {
                self.close_unused(shared, opened);
                return Err(error.about(format_args!("URL {url:?}")));
            }
        }
        Ok(())
    }

    fn remove_url(&mut self, shared: &EngineShared, group: GroupId, url: &str) -> Result<()> {
        let prefix = parse(url)?;
        if !self.groups.get(group)?.urls.remove(&prefix) {
            return Err(Error::invalid(format!("URL {url:?} is not registered in this group")));
        }
        self.groups.routes.remove(&prefix);
        self.publish_routes(shared);
        self.close_unused(shared, [prefix.port]);
        Ok(())
    }

    fn close_groups(&mut self, shared: &EngineShared, of: impl Fn(&Group) -> bool) {
        let closing = self.groups.groups.iter().filter(|group| of(group));
        let ports: BTreeSet<u16> = closing.flat_map(|group| group.urls.iter().map(|url| url.port)).collect();
        self.groups.close(of);
        self.publish_routes(shared);
        self.close_unused(shared, ports);
    }

    fn close_unused(&mut self, shared: &EngineShared, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            if !self.groups.routes.has_port(port) {
                self.listeners.close_port(shared, port);
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
        control.groups.refresh(|group| group.session == self.id);
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
        control.groups.refresh(|group| group.session == self.id);
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
        self.add_urls([(url, context)])
    }

    /// Registers many URL prefixes, each with its context: all of them, or none. They begin to hold together. See
    /// [`add_url`](Self::add_url), which is one of these calls for each.
    ///
    /// # Errors
    /// As [`add_url`](Self::add_url), [`Invalid`](crate::ErrorKind::Invalid) also for one that is given twice. The text
    /// names the URL at fault; none of them is registered then.
    pub fn add_urls<'a>(&self, urls: impl IntoIterator<Item = (&'a str, u64)>) -> Result<()> {
        let urls: Vec<(&str, u64)> = urls.into_iter().collect();
        self.shared.control().add_urls(&self.shared, self.id, &urls)
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
        control.groups.refresh(|group| group.id == self.id);
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
        control.groups.refresh(|group| group.id == self.id);
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
        control.groups.refresh(|group| group.id == self.id);
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
