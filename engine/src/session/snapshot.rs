//! An engine at one moment, with what has been counted in it: for metrics, status pages and logs.
//!
//! Invariants: what there is, is of one moment, copied under the lock of the control plane; counts are read behind
//! that, without it and without any shard, one after the other, so that two of them may differ by what has happened
//! between. No shard is asked or waited for, whatever it does.
//!
//! Not here: every URL of a group (`listing`), what is counted (room `counters`), and how it is shown (room `admin`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bound::ShardState;
use super::control::{Control, EngineShared};
use super::engine::Engine;
use super::groups::{Binding, Group, GroupKey, group_id, session_id};
use super::listing::{AddressInfo, QueueInfo};
use super::queues::{Core, queue_id};
use crate::counters::{Counters, CountsRegister, Latency, RequestCounters};
use crate::error::Error;
use crate::foreign;
use crate::id::{QueueId, SessionId, UrlGroupId};
use crate::policy::{Properties, Verbosity};

/// How far an engine has come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// It serves.
    Serving,
    /// It takes no more connections, and ends when those that are there have, or their time is over.
    Stopping,
    /// It has been shut down, or the last of its shards has been detached.
    Ended,
    /// It serves no more, for this reason: see [`Engine::failure`].
    Failed(Error),
}

/// An engine at one moment: see [`Engine::snapshot`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineSnapshot {
    /// How far it has come.
    pub phase: Phase,
    /// What holds where no session or group sets anything else.
    pub properties: Properties,
    /// What was set when it was made.
    pub own_properties: Properties,
    /// What has been counted over all shards: [`Engine::counters`].
    pub counters: Counters,
    /// Its shards, by their numbers.
    pub shards: Vec<ShardSnapshot>,
    /// Its server sessions.
    pub sessions: Vec<SessionSnapshot>,
    /// Its URL groups.
    pub url_groups: Vec<UrlGroupSnapshot>,
    /// Its request queues that have handles.
    pub queues: Vec<QueueSnapshot>,
    /// The addresses that it listens on.
    pub listeners: Vec<ListenerSnapshot>,
}

/// A shard at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardSnapshot {
    /// What it does.
    pub state: ShardState,
    /// What it has counted.
    pub counters: Counters,
}

/// A server session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSnapshot {
    /// Its id.
    pub id: SessionId,
    /// Whether it takes requests, as far as [`set_active`](crate::ServerSession::set_active) has said.
    pub active: bool,
    /// What holds for its groups where they set nothing else.
    pub properties: Properties,
    /// What was set for it.
    pub own_properties: Properties,
}

/// A URL group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlGroupSnapshot {
    /// Its id.
    pub id: UrlGroupId,
    /// Its session's.
    pub session: SessionId,
    /// The queue that it is bound to: as of [`UrlGroupInfo::queue`](crate::UrlGroupInfo::queue).
    pub queue: Option<QueueId>,
    /// Whether it takes requests, as far as [`set_active`](crate::UrlGroup::set_active) has said.
    pub active: bool,
    /// How many URL prefixes it has; [`Engine::url_groups`] has all of them.
    pub urls: usize,
    /// The first of them, in an order that stays.
    pub first_url: Option<String>,
    /// What holds for it.
    pub properties: Properties,
    /// What was set for it.
    pub own_properties: Properties,
    /// What came of its requests.
    pub counters: RequestCounters,
}

/// A request queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSnapshot {
    /// What [`Engine::queues`] says of it.
    pub info: QueueInfo,
    /// Whether nobody receives from it any more: it was [shut down](crate::RequestQueue::shutdown), or its engine has
    /// ended.
    pub closed: bool,
    /// What clients are told of 503.
    pub verbosity: Verbosity,
    /// What came of its requests.
    pub counters: RequestCounters,
    /// How long they took, if that is [measured](crate::QueueOptions::measured).
    pub latency: Option<Latency>,
}

/// An address that is listened on, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerSnapshot {
    /// What [`Engine::addresses`] says of it.
    pub info: AddressInfo,
    /// Connections that have come in there, also those that were closed at once; of the shards that have not ended.
    pub connections_accepted: u64,
}

impl Engine {
    /// What there is in the engine and what has been counted, of each shard, queue, group and address: for metrics and
    /// status pages. It copies what there is, so it takes as long as there are groups; no shard is waited for, or held
    /// up.
    ///
    /// The ages of requests that wait are not in it: when a request was delivered, its shard alone knows.
    #[must_use]
    pub fn snapshot(&self) -> EngineSnapshot {
        self.shared.snapshot()
    }
}

/// Of a queue, what is read without the lock.
type QueueParts = (QueueInfo, Core, Verbosity);

impl Control {
    fn queue_parts(&self) -> Vec<QueueParts> {
        let cores = self.queues.iter().map(|(_, _, core)| Arc::clone(core));
        let all = self.queue_infos().into_iter().zip(cores).zip(self.queues.verbosities());
        all.map(|((info, core), verbosity)| (info, core, verbosity)).collect()
    }

    fn group_parts(&self) -> Vec<(UrlGroupSnapshot, Arc<CountsRegister>)> {
        // Sessions have few properties and many groups: looked at once.
        let sessions: BTreeMap<SessionId, Properties> =
            self.groups.sessions.iter().map(|(key, _)| (session_id(key), self.groups.of_session(key))).collect();
        let of_session = |id: SessionId| sessions.get(&id).copied().unwrap_or_default();
        let parts = |(key, group): (GroupKey, &Group)| {
            let session = session_id(group.session);
            let snapshot = UrlGroupSnapshot {
                id: group_id(key),
                session,
                queue: match group.binding {
                    Binding::To(queue) => Some(queue_id(queue)),
                    Binding::None | Binding::ToClosed => None,
                },
                active: group.active,
                urls: group.urls.len(),
                first_url: group.urls.first().map(ToString::to_string),
                properties: group.properties.over(&of_session(session)),
                own_properties: group.properties,
                counters: RequestCounters::default(),
            };
            (snapshot, group.register())
        };
        self.groups.groups.iter().map(parts).collect()
    }

    fn session_snapshots(&self) -> Vec<SessionSnapshot> {
        let snapshots = self.groups.sessions.iter().map(|(key, session)| SessionSnapshot {
            id: session_id(key),
            active: session.active,
            properties: self.groups.of_session(key),
            own_properties: session.properties,
        });
        snapshots.collect()
    }

    fn listener_snapshots(&self) -> Vec<ListenerSnapshot> {
        let all = self.address_infos().zip(self.listeners.accepted());
        all.map(|(info, connections_accepted)| ListenerSnapshot { info, connections_accepted }).collect()
    }
}

impl EngineShared {
    /// See [`Engine::snapshot`].
    pub(crate) fn snapshot(&self) -> EngineSnapshot {
        let control = self.control();
        let is_over = self.running.state().over;
        let phase = match &control.failure {
            Some(failure) => Phase::Failed(failure.clone()),
            None if is_over => Phase::Ended,
            None if control.stopped => Phase::Stopping,
            None => Phase::Serving,
        };
        let states = control.shard_states();
        let (queues, groups) = (control.queue_parts(), control.group_parts());
        let (sessions, listeners) = (control.session_snapshots(), control.listener_snapshots());
        let (properties, own_properties) = (control.groups.inherited(), self.config.properties);
        drop(control);
        let url_groups =
            groups.into_iter().map(|(group, counts)| UrlGroupSnapshot { counters: counts.read(), ..group });
        let queues = queues.into_iter().map(|(info, core, verbosity)| QueueSnapshot {
            // What waits was delivered before: so it is read before.
            info: QueueInfo { waiting: core.len(), ..info },
            closed: core.is_closed(),
            verbosity,
            counters: core.counts().read(),
            latency: core.is_measured().then(|| core.counts().latency()),
        });
        let shards = states.into_iter().enumerate();
        let shards: Vec<_> =
            shards.map(|(shard, state)| ShardSnapshot { state, counters: self.counters_of(shard) }).collect();
        EngineSnapshot {
            phase,
            properties,
            own_properties,
            counters: self.counters(),
            shards,
            sessions,
            url_groups: url_groups.collect(),
            queues: queues.collect(),
            listeners,
        }
    }

    /// See [`Engine::counters`].
    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        (0..self.counters.len()).for_each(|shard| self.add_counters_of(shard, &mut counters));
        counters.foreign_panics += foreign::caught_elsewhere() - self.caught_before;
        self.add_log_counts(&mut counters);
        counters
    }

    fn counters_of(&self, shard: usize) -> Counters {
        let mut counters = Counters::default();
        self.add_counters_of(shard, &mut counters);
        counters
    }

    fn add_counters_of(&self, shard: usize, counters: &mut Counters) {
        if let (Some(shard), Some(exchange)) = (self.counters.get(shard), self.exchanges.get(shard)) {
            counters.add(shard, exchange.orphans());
        }
    }
}
