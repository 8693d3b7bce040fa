//! What holds for URL groups: where their requests go, and by which timers and limits.

use std::sync::Arc;

use crate::policy::{OF_ENGINE, Policy, PolicyIndex, PolicyKey};

/// One group, as of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupRow {
    /// The group's queue, an index into the shard's queues; none while it is unbound.
    pub(crate) queue: Option<u32>,
    /// Whether the group and its session are active.
    pub(crate) active: bool,
    /// Another number whenever the row has changed hands; 0 is nobody's but the engine's.
    pub(crate) owner: u32,
    pub(crate) policy: Policy,
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
        let row = GroupRow { queue: None, active: true, owner: 0, policy: own };
        Self { pieces: Arc::new([Arc::new([row; ROWS])]) }
    }

    pub(super) fn put(&mut self, index: PolicyIndex, row: GroupRow) {
        let (piece, at) = place(index);
        if piece >= self.pieces.len() {
            let own = Arc::new([GroupRow { owner: 0, ..*self.get(OF_ENGINE) }; ROWS]);
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
}

#[inline]
fn place(index: PolicyIndex) -> (usize, usize) {
    let index = index as usize;
    (index / ROWS, index % ROWS)
}
