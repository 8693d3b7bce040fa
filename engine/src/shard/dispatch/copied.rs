//! What is kept of requests whose answers were copied together and are being sent: how each ends if all is sent.
//!
//! Their slots are free meanwhile, so that few go round and stay in the caches: a shard hands on hundreds of answers
//! before it enters the kernel.
//!
//! Invariants: they are kept by the cell that the answers are in, from its first answer until its send has ended; a
//! cell has no more of them than requests of one connection may be under way. Nothing allocates after the start.
//!
//! Not here: what is counted (`ends`).

use core::ops::Range;

use super::meters::UNMETERED;
use crate::mem::CellId;
use crate::record::{Ended, Outcome, Times};

/// See the module's head.
#[derive(Debug)]
pub(super) struct CopiedEnds {
    /// So many places for each cell that was ever used.
    ends: Vec<Option<Ended>>,
    per_cell: usize,
    /// How many each of these cells has.
    counts: Vec<usize>,
    /// As `ends`, where something uses the times.
    times: Vec<Option<Times>>,
}

impl CopiedEnds {
    /// For so many cells, each with at most `per_cell` answers.
    pub(super) fn new(cells: u32, per_cell: u32) -> Self {
        let (cells, per_cell) = (cells as usize, per_cell as usize);
        Self {
            ends: Vec::with_capacity(cells * per_cell),
            per_cell,
            counts: Vec::with_capacity(cells),
            times: Vec::new(),
        }
    }

    /// From now on there is room for times: the same as for ends.
    pub(super) fn keep_times(&mut self) {
        self.times.reserve_exact(self.ends.capacity() - self.times.len());
    }

    /// When what happened to the request of the newest answer in a cell.
    #[cold]
    pub(super) fn put_times(&mut self, cell: CellId, times: Times) {
        let cell = cell.place();
        self.times.resize(self.times.len().max(self.ends.len()), None);
        if let Some(newest) = (cell * self.per_cell + self.counts[cell]).checked_sub(1) {
            self.times[newest] = Some(times);
        }
    }

    /// Those of one of the requests that were taken.
    #[cold]
    pub(super) fn times_at(&mut self, place: usize) -> Option<Times> {
        self.times.get_mut(place).and_then(Option::take)
    }

    /// One more answer is in a cell.
    #[inline]
    pub(super) fn put(&mut self, cell: CellId, ended: Ended) {
        let cell = cell.place();
        if cell >= self.counts.len() {
            self.grow(cell);
        }
        let count = &mut self.counts[cell];
        assert!(*count < self.per_cell, "a cell has the answers of one connection");
        self.ends[cell * self.per_cell + *count] = Some(ended);
        *count += 1;
    }

    /// The first use of a cell beyond all before it: within the capacity reserved at the start.
    #[cold]
    fn grow(&mut self, cell: usize) {
        self.counts.resize(cell + 1, 0);
        self.ends.resize((cell + 1) * self.per_cell, None);
    }

    /// The newest answer in a cell has grown.
    #[cold]
    pub(super) fn grow_newest(&mut self, cell: CellId, bytes: u32) {
        let cell = cell.place();
        let newest = (cell * self.per_cell + self.counts[cell]).checked_sub(1);
        if let Some(Some(ended)) = newest.and_then(|newest| self.ends.get_mut(newest)) {
            ended.bytes_out += u64::from(bytes);
        }
    }

    /// The cell has no answers any more: where those are that it had.
    #[inline]
    pub(super) fn take(&mut self, cell: CellId) -> Range<usize> {
        self.take_at(cell.place())
    }

    #[inline]
    fn take_at(&mut self, cell: usize) -> Range<usize> {
        let first = cell * self.per_cell;
        first..first + self.counts.get_mut(cell).map(core::mem::take).unwrap_or_default()
    }

    /// Of those that were taken, how many at the front are answered and count at one place, and where.
    #[inline]
    pub(super) fn answered_together(&self, places: &Range<usize>) -> (u32, usize) {
        let ends = &self.ends[places.clone()];
        let Some(Some(Ended { meter, .. })) = ends.first() else { return (UNMETERED, 0) };
        let is_one = |ended: &Ended| ended.outcome == Outcome::Answered && ended.meter == *meter;
        (*meter, ends.iter().take_while(|ended| ended.as_ref().is_some_and(is_one)).count())
    }

    /// One of those that were taken.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<Ended> {
        self.ends[place]
    }

    /// As [`take`](Self::take), of some cell that has answers.
    pub(super) fn take_any(&mut self) -> Option<Range<usize>> {
        let cell = self.counts.iter().position(|count| *count > 0)?;
        Some(self.take_at(cell))
    }

    /// All that are kept.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = Ended> {
        let kept = |(cell, count): (usize, &usize)| cell * self.per_cell..cell * self.per_cell + count;
        self.counts.iter().enumerate().flat_map(kept).filter_map(|place| self.ends[place])
    }
}
