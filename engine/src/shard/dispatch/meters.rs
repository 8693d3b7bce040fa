//! Where a shard counts requests: apart for each group as it is bound, as long as there are any.
//!
//! Invariants: a request counts where it began, also when its group is gone, or bound otherwise, by its end: a place is
//! given to others when nothing is under way any more that counts there; the first is nobody's, so that every request
//! has one. Deliveries of one group in a row are counted together, before any of them can end and before the shard
//! sleeps.
//!
//! Not here: what is counted (`ends`, room `counters`).

use std::sync::Arc;

use crate::counters::ShardRequestCounts;
use crate::policy::PolicyIndex;
use crate::route::Snapshot;

/// The place where requests count that are of no group.
pub(super) const UNMETERED: u32 = 0;
/// Places that are looked at, with each change, for whether they are free by now.
const LOOKED_AT: usize = 16;

#[derive(Debug)]
struct Meter {
    counts: Arc<ShardRequestCounts>,
    /// Requests under way that were refused before they were delivered.
    refusals: u32,
}

impl Meter {
    fn is_idle(&self) -> bool {
        self.refusals == 0 && self.counts.open() == 0
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Meters {
    places: Vec<Meter>,
    free: Vec<u32>,
    /// Those whose owners are gone, and whose requests are not.
    left: Vec<u32>,
    /// By the groups' rows.
    of_groups: Vec<u32>,
    run: Run,
}

/// Deliveries in a row of the group that has this row, which are not yet counted.
#[derive(Debug)]
struct Run {
    row: PolicyIndex,
    place: u32,
    count: u64,
}

impl Run {
    /// No group has this row.
    const NONE: Self = Self { row: PolicyIndex::MAX, place: UNMETERED, count: 0 };
}

impl Meters {
    pub(super) fn new() -> Self {
        let nobody = Meter { counts: Arc::default(), refusals: 0 };
        Self { places: vec![nobody], free: Vec::new(), left: Vec::new(), of_groups: Vec::new(), run: Run::NONE }
    }

    /// The counts of a place.
    #[inline]
    pub(super) fn at(&self, place: u32) -> &ShardRequestCounts {
        &self.places[place as usize].counts
    }

    /// The place of a group's row.
    #[inline]
    pub(super) fn of_group(&self, row: PolicyIndex) -> u32 {
        self.of_groups.get(row as usize).copied().unwrap_or(UNMETERED)
    }

    /// A request of a group is delivered: by the group's row, where it counts.
    #[inline(always)]
    pub(super) fn deliver(&mut self, row: PolicyIndex) -> u32 {
        if row != self.run.row {
            self.begin_run(row);
        }
        self.run.count += 1;
        self.run.place
    }

    #[inline(never)]
    fn begin_run(&mut self, row: PolicyIndex) {
        self.settle();
        self.run = Run { row, place: self.of_group(row), count: 0 };
    }

    /// Counts what has been delivered.
    #[inline]
    pub(super) fn settle(&mut self) {
        let count = core::mem::take(&mut self.run.count);
        self.at(self.run.place).delivered.add(count);
    }

    /// A place for these counts; nobody's without any.
    fn open(&mut self, counts: Option<&Arc<ShardRequestCounts>>) -> u32 {
        self.look_at_left();
        let Some(counts) = counts else { return UNMETERED };
        let meter = Meter { counts: Arc::clone(counts), refusals: 0 };
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = meter;
            return place;
        }
        self.places.push(meter);
        u32::try_from(self.places.len() - 1).expect("fewer than groups and queues")
    }

    /// The owner of a place is gone, or counts elsewhere.
    fn leave(&mut self, place: u32) {
        if place != UNMETERED {
            self.left.push(place);
        }
    }

    fn look_at_left(&mut self) {
        for _ in 0..LOOKED_AT.min(self.left.len()) {
            let place = self.left.swap_remove(0);
            let meter = &mut self.places[place as usize];
            if meter.is_idle() {
                // The counts go with their owner.
                meter.counts = Arc::default();
                self.free.push(place);
            } else {
                self.left.push(place);
            }
        }
    }

    /// Groups have come or gone.
    pub(super) fn take_groups(&mut self, before: &Snapshot, now: &Snapshot, shard: usize) {
        self.settle();
        // A row may be another group's from now on.
        self.run = Run::NONE;
        for (row, group) in now.counted_anew(before) {
            let row = row as usize;
            if row >= self.of_groups.len() {
                self.of_groups.resize(row + 1, UNMETERED);
            }
            self.leave(self.of_groups[row]);
            self.of_groups[row] = self.open(group.counts.of_shard(shard));
        }
    }

    /// A request is being refused that was not delivered.
    pub(super) fn begin_refusal(&mut self, place: u32) {
        self.places[place as usize].refusals += 1;
    }

    /// It has ended.
    pub(super) fn end_refusal(&mut self, place: u32) {
        let meter = &mut self.places[place as usize];
        meter.refusals -= 1;
        meter.counts.refused.count();
    }
}

#[cfg(test)]
impl Meters {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.places.len()).expect("a few")
    }

    /// Requests delivered and not ended, and those that are being refused, as they are counted.
    pub(super) fn under_way(&self, place: u32) -> (u64, u64) {
        let meter = &self.places[place as usize];
        assert!(meter.counts.delivered.read() >= meter.counts.ended(), "more have ended than were delivered");
        (meter.counts.open(), u64::from(meter.refusals))
    }
}
