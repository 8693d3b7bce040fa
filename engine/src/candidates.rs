//! Who goes next, of those that could, when others need what it has: connections, or requests in queues.
//!
//! Invariants: who is of an address that holds much goes before others, by powers of two of how much; among equals, who
//! has done nothing, or waited, for longest. All are looked through for many candidates at a time, which are good for a
//! tick, and of which each is looked at again when its turn comes; in vain that is done once a tick at most, and again
//! in the next one if it was to be done.
//!
//! Not here: who could go, and what happens to it (room `shard`).

use core::cmp::Reverse;

use crate::clock::Tick;

/// How soon somebody goes: who is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank<R> {
    /// How much its address has, by powers of two; 0: little.
    crowd: Reverse<u32>,
    pub(crate) rest: R,
}

impl<R> Rank<R> {
    /// Of who is of an address that has so much, if that is more than little.
    pub(crate) fn of(held: u32, little: u32, rest: R) -> Self {
        Self { crowd: Reverse(if held <= little { 0 } else { held.ilog2() }), rest }
    }

    /// Whether its address has much.
    pub(crate) fn is_of_crowd(&self) -> bool {
        self.crowd.0 > 0
    }
}

/// None can go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// There is one from this tick on.
    Until(Tick),
    /// There is none.
    Lasting,
}

/// Those that are looked through.
pub(crate) trait Among {
    type Key: Copy;
    type Rest: Copy + Ord;

    fn keys(&self) -> impl Iterator<Item = Self::Key>;

    /// How soon it goes, if it could.
    fn rank(&self, key: Self::Key) -> Option<Rank<Self::Rest>>;

    /// From which tick on it may go; the last one there is: not as things are.
    fn from(&self, rank: &Rank<Self::Rest>) -> Tick;
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Candidates<K, R> {
    /// The first one last.
    next: Vec<(Rank<R>, K)>,
    /// When they were found: in another tick, others may come before them.
    found_at: Option<Tick>,
    /// When none was found.
    barren_at: Option<Tick>,
}

impl<K: Copy, R: Copy + Ord> Candidates<K, R> {
    /// So many are found by looking through all once.
    pub(crate) fn new(most: u32) -> Self {
        Self { next: Vec::with_capacity(2 * most as usize), found_at: None, barren_at: None }
    }

    /// There may be some again.
    pub(crate) fn look_again(&mut self) {
        self.barren_at = None;
    }

    /// Others may go from now on, or in another order.
    pub(crate) fn begin_anew(&mut self) {
        self.next.clear();
    }

    /// Takes the next one off.
    pub(crate) fn take(&mut self, now: Tick, among: &impl Among<Key = K, Rest = R>) -> Result<K, Lack> {
        self.first(now, among).inspect(|_| _ = self.next.pop())
    }

    /// The next one.
    pub(crate) fn first(&mut self, now: Tick, among: &impl Among<Key = K, Rest = R>) -> Result<K, Lack> {
        if self.found_at != Some(now) {
            self.next.clear();
        }
        loop {
            let Some((found, key)) = self.next.last() else {
                self.find(now, among)?;
                continue;
            };
            match among.rank(*key) {
                Some(rank) if rank == *found => return Ok(*key),
                // Others may come before it by now.
                Some(rank) if rank.rest == found.rest => self.next.clear(),
                Some(_) | None => _ = self.next.pop(),
            }
        }
    }

    /// Looks through all.
    fn find(&mut self, now: Tick, among: &impl Among<Key = K, Rest = R>) -> Result<(), Lack> {
        if self.barren_at == Some(now) {
            // There may be some since.
            return Err(Lack::Until(now + 1));
        }
        let most = self.next.capacity() / 2;
        let mut first_from: Option<Tick> = None;
        for key in among.keys() {
            let Some(rank) = among.rank(key) else { continue };
            let from = among.from(&rank);
            if from == Tick::MAX {
                continue;
            }
            if from > now {
                first_from = Some(first_from.map_or(from, |first| first.min(from)));
                continue;
            }
            if self.next.len() == self.next.capacity() {
                self.keep_first(most);
            }
            self.next.push((rank, key));
        }
        self.keep_first(most);
        self.next.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        self.found_at = Some(now);
        match first_from {
            _ if !self.next.is_empty() => Ok(()),
            Some(tick) => Err(Lack::Until(tick)),
            None => {
                self.barren_at = Some(now);
                Err(Lack::Lasting)
            }
        }
    }

    /// Keeps the `most` that go first.
    fn keep_first(&mut self, most: usize) {
        if self.next.len() > most {
            self.next.select_nth_unstable_by(most, |(one, _), (other, _)| one.cmp(other));
            self.next.truncate(most);
        }
    }
}
