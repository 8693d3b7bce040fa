//! Receive buffers that are not needed: their memory is given back to the system, and the kernel gives back its own.
//!
//! Invariants: what is posted is the kernel's until a completion names it, so it is asked for by operations that take a
//! buffer each and write a byte; meanwhile nothing is posted. What is posted after that is cold.
//!
//! Not here: those operations (room `ring`), and when it is time (room `shard`).

#[cfg(test)]
use super::BufferPool;
use super::{BufferId, Posting, ReceiveBuffers};
use crate::mem::areas::Area;
use crate::mem::arena::Arena;
use crate::mem::cells::cold_runs;
use crate::mem::room::give_back_room;
use crate::mem::{Filled, Group};

/// Bytes of a pool's posted buffers that may have been written to, from which on they are worth the asking.
const RECALLED_MIN: u64 = 64 * 1024;

impl ReceiveBuffers {
    /// Notes how many are in use at this moment.
    #[inline]
    pub(crate) fn note_level(&mut self) {
        for pool in [&mut self.small, &mut self.large] {
            pool.most = pool.most.max(pool.in_use());
        }
    }

    /// Gives the memory of spare buffers back to the system, but of as many as were seen in use at a time since the
    /// last call. Gives how many of each group the kernel is to be asked for: each comes, or does not, by
    /// [`recalled`](Self::recalled).
    pub(crate) fn give_back(&mut self, arena: &Arena) -> [(Group, u32); 4] {
        self.give_back_spare(arena);
        Group::ALL.map(|group| {
            let area = if group.is_small() { Area::Receive } else { Area::Body };
            (group, self.posting(group).begin_recall(arena.cell_bytes(area)))
        })
    }

    fn posting(&mut self, group: Group) -> &mut Posting {
        match group {
            Group::Small => &mut self.small.general,
            Group::Large => &mut self.large.general,
            Group::Reserved => &mut self.large.reserved,
            Group::ReservedSmall => &mut self.small.reserved,
        }
    }

    /// One that the kernel was asked for has come; `None`: it has none.
    pub(crate) fn recalled(&mut self, arena: &Arena, group: Group, filled: Option<Filled>) {
        if let Some(filled) = filled {
            let share = self.take(filled);
            self.release(share);
        }
        let posting = self.posting(group);
        posting.recalled = posting.recalled.saturating_sub(1);
        if posting.recalled == 0 {
            posting.end_recall();
            self.give_back_spare(arena);
        }
    }

    fn give_back_spare(&mut self, arena: &Arena) {
        let first_large = u32::from(self.first_large.number());
        for (area, pool, first) in [(Area::Receive, &mut self.small, 0), (Area::Body, &mut self.large, first_large)] {
            let in_use = pool.in_use();
            let warm = u64::from(pool.most.saturating_sub(in_use));
            let cell = move |buffer: BufferId| u32::from(buffer.number()) - first;
            for run in cold_runs(&mut pool.spare, warm, cell) {
                // SAFETY: these buffers are spare: nobody has a share of one, and none is the kernel's.
                unsafe { arena.discard(area, run) };
            }
            pool.most = in_use;
            give_back_room(&mut pool.spare);
        }
    }
}

impl Posting {
    /// How many the kernel is asked for: all that it has, if few of them are filled.
    fn begin_recall(&mut self, bytes: u32) -> u32 {
        self.touched = self.touched.saturating_add(self.taken).min(self.posted);
        let is_quiet = core::mem::take(&mut self.taken) <= self.posted / 4;
        if self.recalled > 0 || !is_quiet || u64::from(self.touched) * u64::from(bytes) < RECALLED_MIN {
            return 0;
        }
        // Until they have come, nothing is posted.
        (self.recalled, self.target) = (self.posted, 0);
        self.recalled
    }

    fn end_recall(&mut self) {
        (self.target, self.touched, self.taken) = (self.first, self.posted, 0);
    }
}

#[cfg(test)]
impl BufferPool {
    pub(crate) fn is_recalled(&self) -> bool {
        self.general.recalled > 0
    }
}
