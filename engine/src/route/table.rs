//! What holds for URL groups: where their requests go, and by which timers and limits.
//!
//! Invariants: a place that no group has reads as the engine's own row; a connection whose group has given its place up
//! goes by the engine's policy; rows that other versions share are copied before they are changed.
//!
//! Not here: how policies are inherited (room `policy`), and when rows change (room `session`).

use std::sync::Arc;

use ringress_proto::reject::Reject;

use crate::counters::RequestCounts;
use crate::id::QueuePlace;
use crate::log::LogTarget;
use crate::policy::{OF_ENGINE, Policy, PolicyIndex, PolicyKey, Refusals, SharedVerbosity};

/// One group, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct GroupRow {
    /// Where its requests go, or why nowhere.
    pub(crate) queue: Result<QueuePlace, Reject>,
    /// Another number whenever the row has changed hands; 0 is nobody's but the engine's.
    pub(crate) owner: u32,
    pub(crate) policy: Policy,
    /// Where its requests are counted.
    pub(crate) counts: RequestCounts,
    /// What its clients are told when its queue takes nothing.
    pub(crate) verbosity: SharedVerbosity,
    /// What they are sent in the place of the engine's own refusals.
    pub(crate) refusals: Refusals,
    /// Where its requests are logged.
    pub(crate) log: LogTarget,
}

/// Rows of groups, shared between versions: a change copies the rows around the changed one.
#[derive(Clone, Debug)]
pub(super) struct GroupTable {
    /// By [`PolicyIndex`]: first the engine's own, which no group has. Rows of groups that are gone are like it.
    pieces: Arc<[Arc<Piece>]>,
}

const ROWS: usize = 32;
type Piece = [GroupRow; ROWS];

impl GroupTable {
    /// Only the engine's own.
    pub(super) fn new(own: Policy) -> Self {
        let row = GroupRow {
            queue: Err(Reject::Unbound),
            owner: 0,
            policy: own,
            counts: RequestCounts::none(),
            verbosity: SharedVerbosity::default(),
            refusals: Refusals::new(),
            log: LogTarget::NONE,
        };
        Self { pieces: Arc::new([Arc::new(core::array::from_fn(|_| row.clone()))]) }
    }

    pub(super) fn put(&mut self, index: PolicyIndex, row: GroupRow) {
        let (piece, at) = place(index);
        if piece >= self.pieces.len() {
            let row = GroupRow { owner: 0, ..self.get(OF_ENGINE).clone() };
            let own: Arc<Piece> = Arc::new(core::array::from_fn(|_| row.clone()));
            let count = piece + 1 - self.pieces.len();
            self.pieces = self.pieces.iter().cloned().chain(core::iter::repeat_n(own, count)).collect();
        }
        Arc::make_mut(&mut Arc::make_mut(&mut self.pieces)[piece])[at] = row;
    }

    /// A group's row; the engine's own if it has none.
    #[inline]
    pub(super) fn get(&self, index: PolicyIndex) -> &GroupRow {
        let (piece, at) = place(index);
        match self.pieces.get(piece) {
            Some(rows) => &rows[at],
            None => &self.pieces[0][0],
        }
    }

    /// The policy that a connection goes by.
    #[inline]
    pub(super) fn policy(&self, key: PolicyKey) -> &Policy {
        let row = self.get(key.index);
        if row.owner == key.owner { &row.policy } else { &self.get(OF_ENGINE).policy }
    }

    /// The rows whose requests are counted elsewhere than they were in `before`, each with its place.
    pub(super) fn counted_anew<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (PolicyIndex, &'a GroupRow)> {
        let changed = |(number, now): (usize, &'a Arc<Piece>)| {
            let before = before.pieces.get(number);
            let is_same = before.is_some_and(|before| Arc::ptr_eq(now, before));
            let rows = if is_same { &[][..] } else { &now[..] };
            rows.iter().enumerate().filter_map(move |(at, row)| {
                let was = before.map(|rows| &rows[at].counts);
                let index = PolicyIndex::try_from(number * ROWS + at).ok()?;
                (!was.is_some_and(|was| was.is_same(&row.counts))).then_some((index, row))
            })
        };
        self.pieces.iter().enumerate().flat_map(changed)
    }
}

#[inline]
fn place(index: PolicyIndex) -> (usize, usize) {
    let index = index as usize;
    (index / ROWS, index % ROWS)
}
