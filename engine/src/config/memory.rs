//! What an engine can have resident at most, and how a bound of that is split.
//!
//! Invariants: every sum derives from the sizes that the shards are made by, so that what changes there changes here;
//! a setting that was given is never changed, and what is not given gets no more than its default; with a bound, the
//! sum of all is at most that.
//!
//! Not here: memory of applications, and what the kernel has for sockets.

use super::Config;
use crate::error::{Error, Result};
use crate::queue::slot_bytes;
use crate::record::RequestRecord;

/// Of a shard, whatever its pools: its ring, the completions of a turn, what its stack touches.
const SHARD_BYTES: u64 = 1 << 20;
/// Of a connection: its entry, its timer, its places in lists and its address's entry. Who has these asserts it.
pub(crate) const CONNECTION_BYTES: usize = 448;
/// Of a request slot, beside itself and its cells: its entries in tables and lists. Who has these asserts it.
pub(crate) const SLOT_TABLES_BYTES: usize = 320;
/// Of a buffer, beside itself: its use, its links, its places in lists and in the kernel's ring.
const BUFFER_TABLES_BYTES: u64 = 128;
/// Of a response that was copied behind others. Who has it asserts it.
pub(crate) const COPIED_END_BYTES: usize = 112;

/// How often what is left is split.
const SPLITS: u32 = 4;

/// What a shard has a number of, which a setting says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    Connections,
    Requests,
    ReceiveBuffers,
    BodyBuffers,
    AssemblyBuffers,
    CoalescingBuffers,
    FileBuffers,
}

impl Pool {
    pub(crate) const ALL: [Self; 7] = [
        Self::Connections,
        Self::Requests,
        Self::ReceiveBuffers,
        Self::BodyBuffers,
        Self::AssemblyBuffers,
        Self::CoalescingBuffers,
        Self::FileBuffers,
    ];

    /// The setting's name.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Connections => "connections_max",
            Self::Requests => "requests_max",
            Self::ReceiveBuffers => "receive_buffers",
            Self::BodyBuffers => "body_buffers",
            Self::AssemblyBuffers => "assembly_buffers",
            Self::CoalescingBuffers => "coalescing buffers",
            Self::FileBuffers => "file_buffers",
        }
    }

    /// How many a shard needs to be of any use, and how many twentieths of a bound it gets beyond that.
    fn least_and_parts(self) -> (u32, u64) {
        match self {
            Self::Connections => (64, 1),
            Self::Requests => (64, 8),
            Self::ReceiveBuffers => (16, 3),
            Self::BodyBuffers => (8, 4),
            Self::AssemblyBuffers => (16, 2),
            Self::CoalescingBuffers | Self::FileBuffers => (4, 1),
        }
    }

    fn takes_powers_of_two(self) -> bool {
        matches!(self, Self::ReceiveBuffers | Self::BodyBuffers)
    }
}

/// The settings that were given, each a bit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given(u8);

impl Given {
    fn has(self, pool: Pool) -> bool {
        self.0 >> pool as u8 & 1 == 1
    }
}

impl Config {
    /// A setting is given.
    pub(crate) fn give(&mut self, pool: Pool, count: u32) {
        *self.count_mut(pool) = count;
        self.given.0 |= 1 << pool as u8;
    }

    fn count_mut(&mut self, pool: Pool) -> &mut u32 {
        match pool {
            Pool::Connections => &mut self.connections_max,
            Pool::Requests => &mut self.requests_max,
            Pool::ReceiveBuffers => &mut self.receive_buffers,
            Pool::BodyBuffers => &mut self.body_buffers,
            Pool::AssemblyBuffers => &mut self.assembly_buffers,
            Pool::CoalescingBuffers => &mut self.coalesce_buffers,
            Pool::FileBuffers => &mut self.file_buffers,
        }
    }

    /// How many a shard has of a pool.
    pub(crate) fn count(&self, pool: Pool) -> u32 {
        match pool {
            Pool::Connections => self.connections_max,
            Pool::Requests => self.requests_max,
            Pool::ReceiveBuffers => self.receive_buffers,
            Pool::BodyBuffers => self.body_buffers,
            Pool::AssemblyBuffers => self.assembly_buffers,
            Pool::CoalescingBuffers => self.coalesce_buffers,
            Pool::FileBuffers => self.file_buffers,
        }
    }

    fn with(&self, pool: Pool, count: u32) -> Self {
        let mut config = self.clone();
        *config.count_mut(pool) = count;
        config
    }

    /// Bytes that one shard can have resident.
    pub(crate) fn shard_resident_max(&self) -> u64 {
        let of = |pool, bytes: usize| u64::from(self.count(pool)) * bytes as u64;
        let buffers = u64::from(self.receive_buffers) + u64::from(self.body_buffers);
        let copied = COPIED_END_BYTES * self.pipeline_max as usize;
        SHARD_BYTES
            + self.shard_bytes() as u64
            + of(Pool::Connections, CONNECTION_BYTES)
            + of(Pool::Requests, slot_bytes::<RequestRecord>() + SLOT_TABLES_BYTES)
            + of(Pool::CoalescingBuffers, copied)
            + buffers * BUFFER_TABLES_BYTES
    }

    /// Bytes of these that a pool takes.
    pub(crate) fn pool_bytes(&self, pool: Pool) -> u64 {
        self.shard_resident_max() - self.with(pool, 0).shard_resident_max()
    }

    /// Bytes that one more of a pool takes, of many.
    fn each(&self, pool: Pool) -> u64 {
        let of = |count| self.with(pool, count).shard_resident_max();
        (of(2048) - of(1024)).div_ceil(1024)
    }

    /// Splits [`memory_max`](Self::memory_max), if there is one: a share of it is what a shard can have. What is given
    /// stays; of what is left each of the others gets what it needs at least, and its part of the rest.
    pub(super) fn split_memory(&mut self) -> Result<()> {
        let Some(most) = self.memory_max else { return Ok(()) };
        let shards = u64::from(self.shards);
        let free = || Pool::ALL.into_iter().filter(|pool| !self.given.has(*pool));
        let mut least = self.clone();
        for pool in free() {
            *least.count_mut(pool) = pool.least_and_parts().0;
        }
        let needed = least.shard_resident_max();
        if needed > most / shards {
            return Err(least.too_little(most, needed * shards));
        }
        let mut split = least;
        // What some cannot use, since they have their default or take powers of two, is the others'.
        for _ in 0..SPLITS {
            split.split_further(free(), (most / shards).saturating_sub(split.shard_resident_max()));
        }
        *self = split;
        Ok(())
    }

    /// Gives each of these pools its part of what is left, unless it has its default.
    fn split_further(&mut self, pools: impl Iterator<Item = Pool> + Clone, left: u64) {
        let defaults = Self::default();
        let lacking = pools.filter(|pool| self.count(*pool) < defaults.count(*pool));
        let lacking: Vec<Pool> = lacking.collect();
        let parts: u64 = lacking.iter().map(|pool| pool.least_and_parts().1).sum();
        for pool in lacking {
            let more = left / parts * pool.least_and_parts().1 / self.each(pool);
            let count = self.count(pool).saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            let count = count.min(defaults.count(pool));
            // The largest power of two that is not above it.
            let count = if pool.takes_powers_of_two() { 1 << count.ilog2() } else { count };
            *self.count_mut(pool) = count;
        }
    }

    #[cold]
    fn too_little(&self, most: u64, needed: u64) -> Error {
        let given = Pool::ALL.into_iter().filter(|pool| self.given.has(*pool));
        let given: Vec<String> = given
            .map(|pool| {
                let bytes = self.pool_bytes(pool) * u64::from(self.shards);
                format!("{} {} take {bytes}", pool.setting(), self.count(pool))
            })
            .collect();
        let given = if given.is_empty() { String::new() } else { format!(" ({})", given.join(", ")) };
        let shards = self.shards;
        Error::invalid(format!(
            "memory_max is {most} bytes, but {shards} shards need at least {needed} with what else is \
            set{given}: raise it, or lower these, the number of shards, or the bytes of a buffer, a response area, a \
            head or a target"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(most: u64) -> Config {
        Config { shards_wanted: Some(2), memory_max: Some(most), ..Config::default() }
    }

    #[test]
    fn whatever_the_bound_the_sum_is_at_most_that_and_little_is_left() {
        for mib in [16, 20, 33, 64, 100, 256, 500] {
            let config = bounded(mib << 20).checked().expect("enough");
            let sum = config.shard_resident_max() * 2;
            assert!(sum <= mib << 20, "{sum} bytes of {mib} MiB");
            assert!(sum > (mib << 20) / 2, "{sum} bytes of {mib} MiB: powers of two leave a part unused, not half");
        }
        let config = bounded(1 << 40).checked().expect("enough");
        assert!(Pool::ALL.into_iter().all(|pool| config.count(pool) == Config::default().count(pool)));
    }

    #[test]
    fn what_is_given_stays_and_the_others_share_the_rest() {
        let mut config = bounded(64 << 20);
        config.give(Pool::Requests, 1000);
        config.give(Pool::BodyBuffers, 4);
        let split = config.checked().expect("enough");
        assert_eq!((split.requests_max, split.body_buffers), (1000, 4));
        assert!(split.shard_resident_max() * 2 <= 64 << 20 && split.assembly_buffers > 16);
    }

    #[test]
    fn too_little_is_refused_with_the_sum_and_what_was_given() {
        let error = bounded(2 << 20).checked().expect_err("too little").to_string();
        assert!(error.contains("memory_max is 2097152 bytes, but 2 shards need at least "), "{error}");
        let numbers = error.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let needed = numbers.max().expect("the sum is the largest");
        assert!(bounded(needed).checked().is_ok() && bounded(needed - 1).checked().is_err());
        let mut config = bounded(64 << 20);
        config.give(Pool::Requests, 16_384);
        let error = config.checked().expect_err("too many").to_string();
        assert!(error.contains("requests_max 16384 take ") && error.contains("raise"), "{error}");
    }

    #[test]
    fn whatever_number_is_said_it_is_refused_or_holds() {
        // Nobody says how many coalescing buffers there are.
        for pool in Pool::ALL.into_iter().filter(|pool| *pool != Pool::CoalescingBuffers) {
            let mut config = bounded(64 << 20);
            config.give(pool, u32::MAX);
            let error = config.checked().expect_err("too many").to_string();
            assert!(error.contains(&u32::MAX.to_string()), "{error}");
        }
        let config = Config { response_area_bytes: u32::MAX, ..bounded(64 << 20) };
        assert!(config.checked().is_err());
        let config = bounded(u64::MAX).checked().expect("enough");
        assert!(Pool::ALL.into_iter().all(|pool| config.count(pool) == Config::default().count(pool)));
    }

    #[test]
    fn a_pools_bytes_are_those_of_its_cells_and_tables() {
        let config = Config { shards: 1, ..Config::default() };
        let sum: u64 = Pool::ALL.into_iter().map(|pool| config.pool_bytes(pool)).sum();
        let rest = config.shard_resident_max() - sum;
        assert!((SHARD_BYTES - 4096 * 16..=SHARD_BYTES + 4096 * 16).contains(&rest), "{rest}");
        assert!(config.pool_bytes(Pool::ReceiveBuffers) > 4096 * 4096);
    }
}
