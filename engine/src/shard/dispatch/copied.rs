//! What is kept of requests whose responses were copied together and are being sent: how each ends if all is sent.
//!
//! Their slots are free meanwhile, so that few go round and stay in the caches: a shard hands on hundreds of responses
//! before it enters the kernel.
//!
//! Invariants: they are kept by the cell that the responses are in, from its first response until its send has ended; a
//! cell has no more of them than requests of one connection may be under way. Nothing allocates after the start.
//!
//! Not here: what is counted (`ends`).

use core::ops::Range;

use crate::config::COPIED_END_BYTES;
use crate::mem::{CellId, give_back_room};
use crate::record::{Ended, Outcome, Times};

/// As much of an [`Ended`] as is kept for each response, the times apart: few are used.
#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes_in: u64,
    /// A part of a cell.
    bytes_out: u32,
    meter: u32,
    status: u16,
    outcome: Outcome,
    delivered: bool,
}

const _: () = assert!(size_of::<Kept>() + size_of::<Option<Times>>() <= COPIED_END_BYTES);

impl Kept {
    const NOTHING: Self =
        Self { bytes_in: 0, bytes_out: 0, meter: 0, status: 0, outcome: Outcome::Answered, delivered: false };
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct CopiedEnds {
    /// So many places for each cell that was ever used.
    ends: Vec<Kept>,
    per_cell: usize,
    /// How many each of these cells has.
    counts: Vec<usize>,
    /// As `ends`, where something uses the times.
    times: Vec<Option<Times>>,
}

impl CopiedEnds {
    /// For so many cells, each with at most `per_cell` responses.
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
    pub(super) fn reserve_times(&mut self) {
        self.times.reserve_exact(self.ends.capacity().saturating_sub(self.times.len()));
    }

    /// From now on times are of use, or are of none: those that are kept are not of what is put in their places.
    pub(super) fn forget_times(&mut self) {
        self.times.clear();
    }

    /// One more response is in a cell.
    #[inline(always)]
    pub(super) fn put(&mut self, cell: CellId, ended: Ended) {
        let cell = cell.place();
        if cell >= self.counts.len() {
            self.grow(cell);
        }
        let count = &mut self.counts[cell];
        assert!(*count < self.per_cell, "a cell has the responses of one connection");
        let place = cell * self.per_cell + *count;
        *count += 1;
        let Ended { outcome, status, delivered, meter, bytes_in, bytes_out, .. } = ended;
        let bytes_out = u32::try_from(bytes_out).unwrap_or(u32::MAX);
        self.ends[place] = Kept { bytes_in, bytes_out, meter, status, outcome, delivered };
    }

    /// As [`put`](Self::put), with its times.
    #[cold]
    pub(super) fn put_timed(&mut self, cell: CellId, ended: Ended, times: Option<Times>) {
        self.put(cell, ended);
        self.times.resize(self.times.len().max(self.ends.len()), None);
        self.times[cell.place() * self.per_cell + self.counts[cell.place()] - 1] = times;
    }

    /// The first use of a cell beyond all before it: within the capacity reserved at the start.
    #[cold]
    fn grow(&mut self, cell: usize) {
        self.counts.resize(cell + 1, 0);
        self.ends.resize((cell + 1) * self.per_cell, Kept::NOTHING);
    }

    /// If no cell has any, the memory of all goes back to the system.
    #[cold]
    pub(super) fn give_back_room(&mut self) {
        if self.counts.iter().all(|count| *count == 0) {
            self.ends.clear();
            self.counts.clear();
            self.times.clear();
        }
        give_back_room(&mut self.ends);
        give_back_room(&mut self.counts);
        give_back_room(&mut self.times);
    }

    /// The newest response in a cell has grown.
    #[cold]
    pub(super) fn grow_newest(&mut self, cell: CellId, bytes: u32) {
        let cell = cell.place();
        // One that has none has no newest, and what lies before its places is another cell's.
        if let Some(newest) = self.counts[cell].checked_sub(1) {
            self.ends[cell * self.per_cell + newest].bytes_out += bytes;
        }
    }

    /// The cell has no responses any more: where those are that it had.
    #[inline]
    pub(super) fn take(&mut self, cell: CellId) -> Range<usize> {
        self.take_at(cell.place())
    }

    #[inline]
    fn take_at(&mut self, cell: usize) -> Range<usize> {
        let first = cell * self.per_cell;
        first..first + self.counts.get_mut(cell).map(core::mem::take).unwrap_or_default()
    }

    /// Of those that were taken, how many at the front are answered and count at one place; where, and what bytes were
    /// received of them and are sent.
    #[inline]
    pub(super) fn answered_together(&self, places: Range<usize>) -> (usize, u32, u64, u64) {
        let ends = &self.ends[places];
        let meter = ends.first().map_or(0, |kept| kept.meter);
        let (mut count, mut bytes_in, mut bytes_out) = (0, 0, 0);
        for kept in ends.iter().take_while(|kept| kept.outcome == Outcome::Answered && kept.meter == meter) {
            count += 1;
            bytes_in += kept.bytes_in;
            bytes_out += u64::from(kept.bytes_out);
        }
        (count, meter, bytes_in, bytes_out)
    }

    /// One of those that were taken, without its times.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> Ended {
        let Kept { bytes_in, bytes_out, meter, status, outcome, delivered } = self.ends[place];
        Ended { outcome, status, delivered, meter, bytes_in, bytes_out: u64::from(bytes_out) }
    }

    /// The times of one of those that were taken, once.
    #[cold]
    pub(super) fn times_at(&mut self, place: usize) -> Option<Times> {
        self.times.get_mut(place).and_then(Option::take)
    }

    /// As [`take`](Self::take), of some cell that has responses.
    pub(super) fn take_any(&mut self) -> Option<Range<usize>> {
        let cell = self.counts.iter().position(|count| *count > 0)?;
        Some(self.take_at(cell))
    }

    /// Of all that are kept: where each counts, and whether it was delivered.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, bool)> {
        let kept = |(cell, count): (usize, &usize)| cell * self.per_cell..cell * self.per_cell + count;
        let places = self.counts.iter().enumerate().flat_map(kept);
        places.map(|place| (self.ends[place].meter, self.ends[place].delivered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Moment;

    #[test]
    fn times_that_nobody_asked_for_are_not_those_of_a_later_request() {
        let mut copied = CopiedEnds::new(1, 2);
        let cell = CellId::of_bits(1).expect("a cell");
        let (outcome, status, delivered, meter, bytes_in, bytes_out) = (Outcome::Answered, 200, true, 1, 1, 1);
        let ended = Ended { outcome, status, delivered, meter, bytes_in, bytes_out };
        let moment = Moment::new(1).expect("not 0");
        let times = Times { first_byte: moment, delivered: None, taken: None, answered: None, sent: moment };
        copied.forget_times();
        copied.put_timed(cell, ended, Some(times));
        // By now nothing uses times, then something does again.
        assert_eq!(copied.take(cell), 0..1);
        copied.put(cell, ended);
        copied.forget_times();
        assert_eq!((copied.take(cell), copied.times_at(0)), (0..1, None));
    }
}
