//! Looking at an engine without keeping it: for who shows it to others.
//!
//! Invariants: an engine that is gone is seen as such; looking waits for no shard.
//!
//! Not here: what is seen (`snapshot`, `listing`).

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};

use super::control::EngineShared;
use super::engine::Engine;
use super::listing::UrlGroupInfo;
use super::queues::queue_id;
use super::snapshot::EngineSnapshot;
use crate::id::{QueueId, QueueNumber, RequestId};
use crate::queue::Stage;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Watcher(Weak<EngineShared>);

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct RequestInfo {
    pub(crate) id: RequestId,
    /// None: its queue has ended.
    pub(crate) queue: Option<QueueId>,
    pub(crate) shard: usize,
    /// `waiting`, `taken`, `answered`, `cancelled` or `departed`.
    pub(crate) stage: &'static str,
}

impl Engine {
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher(Arc::downgrade(&self.shared))
    }
}

impl Watcher {
    /// See [`Engine::snapshot`]; `None`: it is gone.
    pub(crate) fn snapshot(&self) -> Option<EngineSnapshot> {
        Some(self.0.upgrade()?.snapshot())
    }

    /// All groups, with so many URLs at most.
    pub(crate) fn url_groups(&self, urls_max: usize) -> Vec<UrlGroupInfo> {
        self.0.upgrade().map(|shared| shared.control().group_infos(urls_max)).unwrap_or_default()
    }

    /// What waits in each queue, and how many have been delivered there.
    pub(crate) fn queue_levels(&self) -> Vec<(QueueId, u64, u64)> {
        let Some(shared) = self.0.upgrade() else { return Vec::new() };
        let control = shared.control();
        let queues: Vec<_> = control.queues.iter().map(|(key, _, core)| (queue_id(key), Arc::clone(core))).collect();
        drop(control);
        queues.into_iter().map(|(id, core)| (id, core.len(), core.counts().read().delivered)).collect()
    }

    /// So many requests under way at most, in no order, and how many more there are.
    pub(crate) fn under_way(&self, most: usize) -> (Vec<RequestInfo>, usize) {
        let Some(shared) = self.0.upgrade() else { return Default::default() };
        let control = shared.control();
        let ids: BTreeMap<u32, QueueId> =
            control.queues.iter().map(|(key, _, core)| (core.number().0, queue_id(key))).collect();
        let cores = control.queues.cores();
        drop(control);
        // First what waits: what is taken meanwhile is told as waiting, as it was.
        let waiting: HashSet<u64> = cores.iter().flat_map(|core| core.waiting(most)).collect();
        let (mut listed, mut more) = (Vec::new(), 0);
        for (shard, exchange) in shared.exchanges.iter().enumerate() {
            let mut tell = |id: RequestId, QueueNumber(number): QueueNumber, stage| {
                if listed.len() >= most {
                    more += 1;
                    return;
                }
                let stage = match stage {
                    Stage::Open if waiting.contains(&id.to_u64()) => "waiting",
                    Stage::Open => "taken",
                    Stage::Answered => "answered",
                    Stage::Cancelled => "cancelled",
                    Stage::Departed => "departed",
                };
                listed.push(RequestInfo { id, queue: ids.get(&number).copied(), shard, stage });
            };
            exchange.each_under_way(&mut tell);
        }
        (listed, more)
    }
}
