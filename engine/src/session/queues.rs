//! Request queues as the control plane keeps them: records that end with a queue's last handle.
//!
//! Invariants: no two open queues of an engine have the same name, unless it is empty; a queue's number is never given
//! out again in its engine, its place is; groups that were bound to a queue that has ended are bound to no other by
//! that.
//!
//! Not here: a queue's handles and options (`request_queue`), and the requests that wait (room `queue`).

use std::sync::Arc;

use super::queue_options::QueueOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{QueueId, QueueNumber};
use crate::policy::{SharedVerbosity, Verbosity};
use crate::queue::{Exchange, QueueCore};
use crate::record::RequestRecord;
use crate::slab::{Key, Slab};

/// The most queues that an engine has at a time.
const QUEUES_MAX: u32 = 65_536;

pub(super) type Core = Arc<QueueCore<RequestRecord>>;

/// The key of a queue.
pub(super) type QueueKey = Key<QueueRecord>;

#[derive(Debug)]
pub(super) struct QueueRecord {
    name: Arc<str>,
    core: Core,
    verbosity: SharedVerbosity,
}

/// All queues of an engine that have handles.
#[derive(Debug)]
pub(super) struct Queues {
    records: Slab<QueueRecord>,
    /// How many there have been: what slots know a queue by is not given out again, while places are.
    made: u32,
}

impl Default for Queues {
    fn default() -> Self {
        Self { records: Slab::growing(QUEUES_MAX), made: 0 }
    }
}

impl Queues {
    pub(super) fn open(
        &mut self,
        name: &Arc<str>,
        (options, verbosity): (&QueueOptions, &SharedVerbosity),
        exchanges: &Arc<[Arc<Exchange<RequestRecord>>]>,
    ) -> Result<(QueueKey, Core)> {
        let is_open = |record: &QueueRecord| record.name == *name && !record.core.is_closed();
        if !name.is_empty() && self.records.iter().any(|(_, record)| is_open(record)) {
            let text = format!("a request queue named {name:?} exists already in this engine");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        let core = QueueCore::new(QueueNumber(self.made), options.length, Arc::clone(exchanges));
        let core = Arc::new(core.measured(options.measured));
        let record = QueueRecord { name: Arc::clone(name), core: Arc::clone(&core), verbosity: verbosity.clone() };
        let key = match self.made {
            u32::MAX => None,
            _ => self.records.insert(record),
        };
        let key = key.ok_or_else(|| {
            Error::invalid(format!(
                "queue {name:?} would be one too many: an engine has {QUEUES_MAX} queues at a time and {} in all; drop \
                the handles of others, or start another engine",
                u32::MAX
            ))
        })?;
        self.made += 1;
        Ok((key, core))
    }

    pub(super) fn close(&mut self, key: QueueKey) {
        self.records.remove(key);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (QueueKey, &str, &Core)> {
        self.records.iter().map(|(key, record)| (key, &*record.name, &record.core))
    }

    /// What clients of each are told of 503, in the same order.
    pub(super) fn verbosities(&self) -> impl Iterator<Item = Verbosity> {
        self.records.iter().map(|(_, record)| record.verbosity.get())
    }

    pub(super) fn cores(&self) -> Vec<Core> {
        self.records.iter().map(|(_, record)| Arc::clone(&record.core)).collect()
    }

    /// Where routes look for queues.
    pub(super) fn table(&self) -> Vec<Option<Core>> {
        let mut table = Vec::new();
        for (key, record) in self.records.iter() {
            table.resize(key.index as usize, None);
            table.push(Some(Arc::clone(&record.core)));
        }
        table
    }
}

pub(super) fn queue_id(key: QueueKey) -> QueueId {
    QueueId::of(key.index + 1, key.generation())
}
