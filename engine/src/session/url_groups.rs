//! What an application has of server sessions and URL groups.
//!
//! Invariants: a handle names its session or group by a key, and the control plane has the state; what a handle changes
//! is published to all shards before the call returns; a call that fails has changed nothing.
//!
//! Not here: the state (`groups`), opening ports (`changes`), lists (`listing`), and what properties mean (room
//! `policy`).

use std::fmt;
use std::sync::Arc;

use super::control::EngineShared;
use super::groups::{Binding, GroupKey, SessionKey, group_id, session_id};
use super::request_queue::RequestQueue;
use crate::counters::{CountsRegister, RequestCounters};
use crate::error::{Error, Result};
use crate::id::{SessionId, UrlGroupId};
use crate::policy::{Properties, Refusals};

/// A server session: the container of URL groups, normally one an application.
///
/// Dropping it closes it with its groups, as [`close`](Self::close) does: keep it as long as them.
#[must_use = "a server session is closed, with its URL groups, when it is dropped"]
pub struct ServerSession {
    pub(super) shared: Arc<EngineShared>,
    pub(super) key: SessionKey,
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSession").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for UrlGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlGroup").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl ServerSession {
    pub(super) fn new(shared: Arc<EngineShared>) -> Self {
        let key = shared.control().groups.open_session();
        Self { shared, key }
    }

    /// Which session this is in lists.
    #[must_use]
    pub fn id(&self) -> SessionId {
        session_id(self.key)
    }

    /// A new, empty URL group of this session.
    pub fn url_group(&self) -> UrlGroup {
        let (key, counts) = self.shared.control().groups.open_group(self.key);
        UrlGroup { shared: Arc::clone(&self.shared), key, counts }
    }

    /// Takes requests or not: while inactive, the engine answers 503 for all of the session's groups.
    pub fn set_active(&self, active: bool) {
        let mut control = self.shared.control();
        control.groups.session_mut(self.key).active = active;
        control.groups.refresh_session(self.key);
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
        self.shared.config.check_whole(&properties)?;
        control.groups.session_mut(self.key).properties = properties;
        control.groups.refresh_session(self.key);
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// What holds for the session's groups as far as they set nothing themselves: every property is there.
    #[must_use]
    pub fn properties(&self) -> Properties {
        self.shared.control().groups.of_session(self.key)
    }

    /// What was set here, without what is inherited: as given to [`set_properties`](Self::set_properties).
    #[must_use]
    pub fn own_properties(&self) -> Properties {
        self.shared.control().groups.session(self.key).properties
    }

    /// Closes the session with its groups: all their URLs are unregistered. What is done with one of the groups after
    /// that is [`Closed`](crate::ErrorKind::Closed).
    pub fn close(self) {}
}

impl Drop for ServerSession {
    fn drop(&mut self) {
        self.shared.control().close_session(&self.shared, self.key);
    }
}

/// A URL group: prefixes that go to one request queue. Dropping it closes it: they are unregistered.
#[must_use = "a URL group is closed, and its URLs are unregistered, when it is dropped"]
pub struct UrlGroup {
    pub(super) shared: Arc<EngineShared>,
    pub(super) key: GroupKey,
    counts: Arc<CountsRegister>,
}

impl UrlGroup {
    /// Which group this is: in lists, and in the requests that come by its URLs.
    #[must_use]
    pub fn id(&self) -> UrlGroupId {
        group_id(self.key)
    }

    /// What has been counted of the requests that came by the group's URLs, over all shards.
    #[must_use]
    pub fn counters(&self) -> RequestCounters {
        self.counts.read()
    }

    /// Registers a URL prefix, such as `http://+:8080/app/`; `context` comes back with every request for it.
    ///
    /// Hosts: `+` (asked before all others), a name, an IP address (matches the address the client connected to), `*`
    /// (asked last). The path matches by whole segments, without regard to ASCII case: `/app/` matches `/app`, `/app/`
    /// and `/App/x`, not `/application`. Opens the port on all addresses, unless
    /// [`Engine::listen`](crate::Engine::listen) has opened it before. A port that is taken is asked for again, as
    /// there.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) for what is not a prefix;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for https;
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) for one that is registered in this engine, by whatever group;
    /// when its port cannot be opened, as [`Engine::listen`](crate::Engine::listen), above all
    /// [`AddrInUse`](crate::ErrorKind::AddrInUse) and [`PermissionDenied`](crate::ErrorKind::PermissionDenied);
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed or the engine shut down;
    /// [`Engine::failure`](crate::Engine::failure) after that.
    pub fn add_url(&self, url: &str, context: u64) -> Result<()> {
        self.add_urls([(url, context)])
    }

    /// Registers many URL prefixes, each with its context: all of them, or none. They begin to hold together. See
    /// [`add_url`](Self::add_url), which is one of these calls for each.
    ///
    /// # Errors
    /// As [`add_url`](Self::add_url), [`AlreadyExists`](crate::ErrorKind::AlreadyExists) also for one that is given
    /// twice. The text names the URL at fault; none of them is registered then.
    pub fn add_urls<'a>(&self, urls: impl IntoIterator<Item = (&'a str, u64)>) -> Result<()> {
        let urls: Vec<(&str, u64)> = urls.into_iter().collect();
        self.shared.once_free(|control| control.add_urls(&self.shared, self.key, &urls))
    }

    /// Unregisters a URL prefix; requests already delivered stay.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) for what is not a prefix, [`NotFound`](crate::ErrorKind::NotFound)
    /// for one that is not registered in this group; [`Unsupported`](crate::ErrorKind::Unsupported) for https;
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn remove_url(&self, url: &str) -> Result<()> {
        self.shared.control().remove_url(&self.shared, self.key, url)
    }

    /// Unregisters all URL prefixes of the group; requests already delivered stay.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn remove_all_urls(&self) -> Result<()> {
        self.shared.control().remove_all_urls(&self.shared, self.key)
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
        self.set_binding(Binding::To(queue.key()), Some(queue))
    }

    /// Takes the group off its queue: until it is bound again, the engine answers its requests with 503.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn unbind(&self) -> Result<()> {
        self.set_binding(Binding::None, None)
    }

    fn set_binding(&self, binding: Binding, queue: Option<&RequestQueue>) -> Result<()> {
        let mut control = self.shared.control();
        let queue = queue.map(|queue| (&queue.core, queue.shared_verbosity()));
        control.groups.bind(self.key, binding, queue)?;
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// Takes requests or not: while inactive, the engine answers 503 in the group's place.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn set_active(&self, active: bool) -> Result<()> {
        let mut control = self.shared.control();
        control.groups.get_mut(self.key)?.active = active;
        control.groups.refresh(self.key);
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// What the group's clients are sent from now on in the place of the engine's own refusals, by status; replaces all
    /// that was set here before, and an empty one undoes it. The status, its counters and what becomes of the
    /// connection stay the same, so does [`Verbosity::Reset`](crate::Verbosity::Reset); a response to HEAD has no body.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn set_refusals(&self, refusals: Refusals) -> Result<()> {
        let mut control = self.shared.control();
        control.groups.get_mut(self.key)?.refusals = refusals;
        control.groups.refresh(self.key);
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// What was set by [`set_refusals`](Self::set_refusals).
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn refusals(&self) -> Result<Refusals> {
        Ok(self.shared.control().groups.get(self.key)?.refusals.clone())
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
        self.shared.config.check_whole(&properties)?;
        control.groups.get_mut(self.key)?.properties = properties;
        control.groups.refresh(self.key);
        control.publish_routes(&self.shared);
        Ok(())
    }

    /// What holds for the group: every property is there, its own, inherited or the default.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn properties(&self) -> Result<Properties> {
        let control = self.shared.control();
        Ok(control.groups.of_group(control.groups.get(self.key)?))
    }

    /// What was set here, without what is inherited: as given to [`set_properties`](Self::set_properties).
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn own_properties(&self) -> Result<Properties> {
        Ok(self.shared.control().groups.get(self.key)?.properties)
    }
}

impl Drop for UrlGroup {
    fn drop(&mut self) {
        self.shared.control().close_group(&self.shared, self.key);
    }
}
