//! Server sessions and URL groups as the control plane keeps them: which URLs are whose, to which queue they go, and
//! which properties hold for them.
//!
//! Invariants: a key of a session or group that is gone finds nothing; a group's row in the routes is at its place
//! here, and belongs to the generation that it has here.
//!
//! Not here: the handles that applications have (`url_groups`), what opens and closes with a URL (`changes`), and
//! finding a request's group (room `route`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ringress_proto::reject::Reject;
use ringress_proto::url::{self, Scheme};

use super::logs::OwnLog;
use super::queues::{Core, QueueKey};
use crate::counters::{CountsRegister, RequestCounts};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{QueuePlace, SessionId, UrlGroupId};
use crate::log::LogTarget;
use crate::policy::{OF_ENGINE, Policy, PolicyIndex, Properties, Refusals, SharedVerbosity};
use crate::route::{GroupRow, Prefix, Snapshot};
use crate::slab::{Key, Slab};

/// The key of a session.
pub(super) type SessionKey = Key<Session>;

/// The key of a group.
pub(super) type GroupKey = Key<Group>;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) session: SessionKey,
    pub(super) binding: Binding,
    pub(super) active: bool,
    pub(super) properties: Properties,
    /// Its own log, if one was set.
    pub(super) log: Option<OwnLog>,
    pub(super) urls: BTreeSet<Prefix>,
    /// Where its requests are counted, as it is bound now, and all that were.
    counts: RequestCounts,
    register: Arc<CountsRegister>,
    /// That of the queue it is bound to, or was before that ended.
    verbosity: SharedVerbosity,
    pub(super) refusals: Refusals,
}

/// To which queue a group's requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    None,
    To(QueueKey),
    /// To one whose last handle is gone.
    ToClosed,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) active: bool,
    pub(super) properties: Properties,
    /// What its groups inherit.
    pub(super) log: Option<OwnLog>,
    pub(super) groups: BTreeSet<u32>,
}

impl Group {
    /// Where all its requests have been counted.
    pub(super) fn register(&self) -> Arc<CountsRegister> {
        Arc::clone(&self.register)
    }
}

/// All sessions and groups of an engine.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) groups: Slab<Group>,
    pub(super) sessions: Slab<Session>,
    /// The engine's own, with defaults for what was not set.
    inherited: Properties,
    /// The groups' URLs and what holds for them, as the shards are to see it next.
    pub(super) routes: Snapshot,
    shards: usize,
    /// What was shown to the shards and may still be in use. Kept so that no shard is the last to let go of what many
    /// URLs have left behind.
    shown: Vec<Arc<Snapshot>>,
}

/// Where a group's row is among the routes; the first one is the engine's own.
pub(super) fn row_of(group: GroupKey) -> PolicyIndex {
    group.index + OF_ENGINE + 1
}

pub(super) fn group_id(key: GroupKey) -> UrlGroupId {
    UrlGroupId::of(row_of(key), key.generation())
}

pub(super) fn session_id(key: SessionKey) -> SessionId {
    SessionId::of(key.index + 1, key.generation())
}

impl Groups {
    /// Groups of an engine with these properties.
    pub(super) fn new(properties: &Properties, shards: usize) -> Self {
        let inherited = properties.over(&Properties::DEFAULTS);
        Self {
            groups: Slab::growing(u32::MAX - 1),
            sessions: Slab::growing(u32::MAX),
            inherited,
            routes: Snapshot::new(Policy::of(&inherited)),
            shards,
            shown: Vec::new(),
        }
    }

    /// What holds where neither session nor group have set anything.
    pub(super) fn inherited(&self) -> Properties {
        self.inherited
    }

    /// The group that has a row among the routes.
    pub(super) fn at_row(&self, row: PolicyIndex) -> Option<GroupKey> {
        self.groups.key_of(row.checked_sub(OF_ENGINE + 1)?)
    }

    pub(super) fn get(&self, group: GroupKey) -> Result<&Group> {
        self.groups.get(group).ok_or_else(session_closed)
    }

    pub(super) fn get_mut(&mut self, group: GroupKey) -> Result<&mut Group> {
        self.groups.get_mut(group).ok_or_else(session_closed)
    }

    /// The session of a handle, which has not been closed.
    pub(super) fn session(&self, session: SessionKey) -> &Session {
        self.sessions.get(session).expect("a session is closed by its handle")
    }

    pub(super) fn session_mut(&mut self, session: SessionKey) -> &mut Session {
        self.sessions.get_mut(session).expect("a session is closed by its handle")
    }

    /// What holds for a session.
    pub(super) fn of_session(&self, session: SessionKey) -> Properties {
        self.session(session).properties.over(&self.inherited)
    }

    /// What holds for a group.
    pub(super) fn of_group(&self, group: &Group) -> Properties {
        group.properties.over(&self.of_session(group.session))
    }

    /// The log that holds for a group, if there is one.
    pub(super) fn log_of<'a>(&'a self, group: &'a Group) -> Option<&'a OwnLog> {
        group.log.as_ref().or_else(|| self.session(group.session).log.as_ref())
    }

    /// All logs of a session that ends, and of its groups.
    pub(super) fn take_logs(&mut self, session: SessionKey) -> Vec<OwnLog> {
        let groups: Vec<u32> = self.session(session).groups.iter().copied().collect();
        let mut logs: Vec<OwnLog> = self.session_mut(session).log.take().into_iter().collect();
        for key in groups.into_iter().filter_map(|index| self.groups.key_of(index)).collect::<Vec<_>>() {
            logs.extend(self.groups.get_mut(key).and_then(|group| group.log.take()));
        }
        logs
    }

    /// A new session.
    pub(super) fn open_session(&mut self) -> SessionKey {
        let (properties, groups) = (Properties::new(), BTreeSet::new());
        let session = self.sessions.insert(Session { active: true, properties, log: None, groups });
        session.expect("memory ends before keys do")
    }

    /// A new group, and all that is counted of its requests.
    pub(super) fn open_group(&mut self, session: SessionKey) -> (GroupKey, Arc<CountsRegister>) {
        let (properties, urls) = (Properties::new(), BTreeSet::new());
        let (counts, register) = (RequestCounts::new(self.shards), Arc::<CountsRegister>::default());
        register.add(&counts, 1);
        let binding = Binding::None;
        let register_of_group = Arc::clone(&register);
        let group = Group {
            session,
            binding,
            active: true,
            properties,
            log: None,
            urls,
            counts,
            register: register_of_group,
            verbosity: SharedVerbosity::default(),
            refusals: Refusals::new(),
        };
        let key = self.groups.insert(group).expect("memory ends before keys do");
        self.session_mut(session).groups.insert(key.index);
        self.refresh(key);
        (key, register)
    }

    /// Binds a group, to the queue with these counts if to one: what is delivered from now on counts apart.
    pub(super) fn bind(
        &mut self,
        key: GroupKey,
        binding: Binding,
        queue: Option<(&Core, SharedVerbosity)>,
    ) -> Result<()> {
        let counts = match &queue {
            Some((queue, _)) if queue.is_measured() => RequestCounts::measured(self.shards),
            _ => RequestCounts::new(self.shards),
        };
        let group = self.get_mut(key)?;
        if group.binding != binding {
            let registers = 1 + usize::from(queue.is_some());
            group.register.add(&counts, registers);
            group.verbosity = SharedVerbosity::default();
            if let Some((queue, verbosity)) = queue {
                queue.counts().add(&counts, registers);
                group.verbosity = verbosity;
            }
            (group.binding, group.counts) = (binding, counts);
            self.refresh(key);
        }
        Ok(())
    }

    /// Ends a group, and gives the ports of its URLs.
    pub(super) fn close_group(&mut self, key: GroupKey) -> BTreeSet<u16> {
        let Some(group) = self.groups.remove(key) else { return BTreeSet::new() };
        let policy = Policy::of(&self.inherited);
        self.routes.put_group(
            row_of(key),
            GroupRow {
                queue: Err(Reject::Unbound),
                owner: 0,
                policy,
                counts: RequestCounts::none(),
                verbosity: SharedVerbosity::default(),
                refusals: Refusals::new(),
                log: LogTarget::NONE,
            },
        );
        for url in &group.urls {
            self.routes.remove(url);
        }
        self.session_mut(group.session).groups.remove(&key.index);
        group.urls.iter().map(|url| url.port).collect()
    }

    /// Ends a session with its groups, and gives the ports of their URLs.
    pub(super) fn close_session(&mut self, session: SessionKey) -> BTreeSet<u16> {
        let groups = self.session(session).groups.clone();
        let keys: Vec<GroupKey> = groups.iter().filter_map(|index| self.groups.key_of(*index)).collect();
        let ports = keys.into_iter().flat_map(|group| self.close_group(group)).collect();
        self.sessions.remove(session);
        ports
    }

    /// Whoever was bound to a queue is bound to none that is open. Gives how many those are.
    pub(super) fn queue_closed(&mut self, queue: QueueKey) -> usize {
        let bound = self.groups.iter().filter(|(_, group)| group.binding == Binding::To(queue));
        let bound: Vec<_> = bound.map(|(key, _)| key).collect();
        let count = bound.len();
        for key in bound {
            if let Some(group) = self.groups.get_mut(key) {
                group.binding = Binding::ToClosed;
            }
            self.refresh(key);
        }
        count
    }

    /// Writes into the routes what holds for a group now.
    pub(super) fn refresh(&mut self, key: GroupKey) {
        let Some(group) = self.groups.get(key) else { return };
        let queue = match group.binding {
            _ if !(group.active && self.session(group.session).active) => Err(Reject::Disabled),
            Binding::To(queue) => Ok(QueuePlace::new(queue.index)),
            Binding::None => Err(Reject::Unbound),
            Binding::ToClosed => Err(Reject::NoConsumer),
        };
        let policy = Policy::of(&self.of_group(group));
        let (owner, counts, verbosity) = (key.generation(), group.counts.clone(), group.verbosity.clone());
        let refusals = group.refusals.clone();
        let log = self.log_of(group).map_or(LogTarget::NONE, |own| own.target);
        self.routes.put_group(row_of(key), GroupRow { queue, owner, policy, counts, verbosity, refusals, log });
    }

    /// As [`refresh`](Self::refresh), for all groups of a session.
    pub(super) fn refresh_session(&mut self, session: SessionKey) {
        for index in self.session(session).groups.clone() {
            if let Some(group) = self.groups.key_of(index) {
                self.refresh(group);
            }
        }
    }

    /// Keeps routes that the shards have been shown, and frees earlier ones that none of them has any more.
    pub(super) fn keep_shown(&mut self, routes: Arc<Snapshot>) {
        self.shown.retain(|earlier| Arc::strong_count(earlier) > 1);
        self.shown.push(routes);
    }
}

#[cold]
fn session_closed() -> Error {
    let text = "the URL group is closed, since its server session is: that was closed or dropped";
    Error::new(ErrorKind::Closed, text)
}

/// Takes a URL apart for registration.
pub(super) fn parse(url: &str) -> Result<Prefix> {
    parse_url(url, url)
}

/// As [`parse`], of a text that stands for the URL that was given.
pub(crate) fn parse_url(url: &str, text: &str) -> Result<Prefix> {
    let prefix =
        url::Prefix::parse(text).map_err(|error| Error::new(ErrorKind::Malformed, format!("URL {url:?}: {error}")))?;
    if prefix.scheme == Scheme::Https {
        return Err(Error::unsupported(format!(
            "URL {url:?}: https is not served yet; put a TLS proxy in front and register http"
        )));
    }
    Ok(Prefix::from(prefix))
}
