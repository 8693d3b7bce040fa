//! What a seed draws: numbers, and how often each fault happens.
//!
//! Invariants: the same seed gives the same numbers; a fault that never happens draws no number; by default none
//! happens.
//!
//! Not here: where each fault happens (`fake`, `calls`, `files`).

/// A seeded source of numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `limit`, exclusive; 0 for no limit at all.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).expect("below a usize")
    }

    /// Whether something happens that does so this often in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.next() % 1000 < u64::from(per_mille)
    }
}

/// How often, in a thousand, each fault happens where it can.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A send is taken in part.
    pub(crate) send_short: u16,
    /// A silent send is not taken at all: EAGAIN.
    pub(crate) send_refused: u16,
    /// A send of a file takes less than there is room for.
    pub(crate) send_cut: u16,
    /// A receive gets less than there is.
    pub(crate) receive_split: u16,
    /// A receive finds no buffer, though there are some: ENOBUFS.
    pub(crate) buffers_missing: u16,
    /// A multishot operation ends for no reason.
    pub(crate) more_lost: u16,
    /// An accept finds no descriptor: EMFILE.
    pub(crate) descriptors_missing: u16,
    /// A completion that could come waits for another turn.
    pub(crate) late: u16,
    /// A cancelled operation goes on for a while.
    pub(crate) cancel_late: u16,
    /// A cancelled accept ends although clients wait.
    pub(crate) clients_left: u16,
    /// A read of a file gets less than there is.
    pub(crate) read_short: u16,
    /// A read of a file fails: EIO.
    pub(crate) read_failed: u16,
    /// A read of a file ends in another turn.
    pub(crate) read_late: u16,
    /// A file cannot be sent by sendfile: EINVAL.
    pub(crate) sendfile_missing: u16,
    /// Reads and sends of files never end, as those of a pipe that nobody writes to.
    pub(crate) reads_hang: bool,
    /// They do not even end when they are cancelled, as on a disk that does not answer.
    pub(crate) reads_stuck: bool,
    /// A new connection has no address any more.
    pub(crate) address_missing: u16,
}
