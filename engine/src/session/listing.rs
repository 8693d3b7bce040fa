//! What there is at one moment: groups with their URLs, queues with what is bound to them, addresses.
//!
//! Invariants: a list is a copy, made under the lock of the control plane, so that its groups, URLs, queues and
//! addresses are those of one moment; what changes without that lock, as a queue's length and the number of those that
//! wait, is read one after the other.
//!
//! Not here: changing any of it (`groups`, `queues`, `listeners`), and what is counted (room `counters`).

use std::collections::BTreeMap;

use super::control::Control;
use super::engine::Engine;
use super::groups::{Binding, Group, GroupKey, Groups, group_id, parse, session_id};
use super::listener::Endpoint;
use super::queues::{Core, QueueKey, queue_id};
use super::url_groups::UrlGroup;
use crate::error::Result;
use crate::id::{QueueId, SessionId, UrlGroupId};
use crate::policy::Properties;

/// A URL group, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlGroupInfo {
    /// The group's id.
    pub id: UrlGroupId,
    /// Its session's.
    pub session: SessionId,
    /// The queue that it is bound to; none while it is unbound, and when the last handle of its queue is gone.
    pub queue: Option<QueueId>,
    /// Whether it takes requests, as far as [`UrlGroup::set_active`] has said; its session may not.
    pub active: bool,
    /// What was set here, without what is inherited: as [`UrlGroup::own_properties`].
    pub own_properties: Properties,
    /// Its URL prefixes.
    pub urls: Vec<UrlInfo>,
}

/// A registered URL prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlInfo {
    /// The prefix, with its host in lower case and a slash at its end.
    pub url: String,
    /// The context that was given with it.
    pub context: u64,
}

/// A request queue, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// The queue's id.
    pub id: QueueId,
    /// The name given when it was made.
    pub name: String,
    /// The most requests that wait undelivered.
    pub length: u32,
    /// Requests that wait undelivered.
    pub waiting: u64,
    /// Whether it takes requests, as far as [`RequestQueue::set_active`](crate::RequestQueue::set_active) has said.
    pub active: bool,
    /// The URL groups that are bound to it.
    pub url_groups: Vec<UrlGroupId>,
}

/// An address that is listened on, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The address.
    pub address: Endpoint,
    /// The port by which URLs are looked for that come in there.
    pub port: u16,
    /// Opened by [`Engine::listen`] or [`Engine::listen_on`], so that it stays open until [`Engine::unlisten`];
    /// otherwise it is open for the URLs that are registered for its port, and closes with the last of them.
    pub explicit: bool,
}

impl Engine {
    /// All URL groups, with their URLs and what each is bound to.
    #[must_use]
    pub fn url_groups(&self) -> Vec<UrlGroupInfo> {
        self.shared.control().group_infos(usize::MAX)
    }

    /// The group that has registered a URL prefix: this one, whatever its case and final slash; not one that covers it.
    ///
    /// # Errors
    /// As [`UrlGroup::add_url`] for a malformed prefix.
    pub fn find_group(&self, url: &str) -> Result<Option<UrlGroupInfo>> {
        let prefix = parse(url)?;
        let control = self.shared.control();
        let row = control.groups.routes.get(&prefix).map(|target| target.group);
        let key = row.and_then(|row| control.groups.at_row(row));
        Ok(key.and_then(|key| Some(control.groups.info(key, control.groups.groups.get(key)?, usize::MAX))))
    }

    /// All request queues that have handles, and which groups are bound to them.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueInfo> {
        self.shared.control().queue_infos()
    }

    /// All addresses that are listened on.
    #[must_use]
    pub fn addresses(&self) -> Vec<AddressInfo> {
        self.shared.control().address_infos().collect()
    }
}

impl UrlGroup {
    /// The URL prefixes that are registered in the group.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after the session was closed.
    pub fn urls(&self) -> Result<Vec<UrlInfo>> {
        let control = self.shared.control();
        Ok(control.groups.urls_of(control.groups.get(self.key)?, usize::MAX))
    }
}

impl Control {
    /// All groups, with so many URLs at most in all.
    pub(super) fn group_infos(&self, urls_max: usize) -> Vec<UrlGroupInfo> {
        let mut left = urls_max;
        let info = |(key, group): (GroupKey, &Group)| {
            let info = self.groups.info(key, group, left);
            left -= info.urls.len();
            info
        };
        self.groups.groups.iter().map(info).collect()
    }

    pub(super) fn address_infos(&self) -> impl Iterator<Item = AddressInfo> {
        let info =
            |(address, port, explicit): (&Endpoint, _, _)| AddressInfo { address: address.clone(), port, explicit };
        self.listeners.addresses().map(info)
    }

    pub(super) fn queue_infos(&self) -> Vec<QueueInfo> {
        let mut bound: BTreeMap<u32, Vec<UrlGroupId>> = BTreeMap::new();
        for (group, record) in self.groups.groups.iter() {
            if let Binding::To(queue) = record.binding {
                bound.entry(queue.index).or_default().push(group_id(group));
            }
        }
        let info = |(key, name, core): (QueueKey, &str, &Core)| QueueInfo {
            id: queue_id(key),
            name: name.to_owned(),
            length: core.length_max(),
            waiting: core.len(),
            active: core.is_active(),
            url_groups: bound.remove(&key.index).unwrap_or_default(),
        };
        self.queues.iter().map(info).collect()
    }
}

impl Groups {
    fn info(&self, key: GroupKey, group: &Group, urls_max: usize) -> UrlGroupInfo {
        let queue = match group.binding {
            Binding::To(queue) => Some(queue_id(queue)),
            Binding::None | Binding::ToClosed => None,
        };
        UrlGroupInfo {
            id: group_id(key),
            session: session_id(group.session),
            queue,
            active: group.active,
            own_properties: group.properties,
            urls: self.urls_of(group, urls_max),
        }
    }

    fn urls_of(&self, group: &Group, most: usize) -> Vec<UrlInfo> {
        let context = |prefix| self.routes.get(prefix).map_or(0, |target| target.context);
        group
            .urls
            .iter()
            .take(most)
            .map(|prefix| UrlInfo { url: prefix.to_string(), context: context(prefix) })
            .collect()
    }
}
