//! What an engine of a configuration can hold at a time, for people and programs to read.
//!
//! Invariants: the numbers are those by which the shards are made.
//!
//! Not here: where the sums come from (`memory`).

use core::fmt;

use super::memory::Pool;
use super::{Config, DEFAULT_STACK_BYTES};

/// What an engine can hold at a time, all shards together, and what memory that takes at most: see
/// [`EngineBuilder::capacity`](crate::EngineBuilder::capacity). Shown as a table.
///
/// A shard has its own part of everything: clients of one find no room there, though others have some.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Shards.
    pub shards: u32,
    /// Connections.
    pub connections: u64,
    /// Requests that are delivered and whose responses are not sent yet: long polls, streamed responses, pipes and open
    /// uploads are among them.
    pub requests: u64,
    /// Heads that have come in part.
    pub half_heads: u64,
    /// Large buffers with bytes of bodies that nobody has read: a body that is being received has one at least, unless
    /// it fits small ones.
    pub body_buffers: u64,
    /// Short files that are being read for a response.
    pub short_files: u64,
    /// What takes the memory.
    pub pools: Vec<PoolCapacity>,
    /// Bytes that the engine can have resident: the sum of the pools. Memory of applications and the kernel's for
    /// sockets are not among them.
    pub resident_max: u64,
    /// Bytes of address space that the engine reserves: the same, and the stacks of its threads.
    pub reserved: u64,
}

/// One of an engine's pools.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCapacity {
    /// What says how many it has: a setting of [`EngineBuilder`](crate::EngineBuilder); of `coalescing buffers` the
    /// engine itself.
    pub setting: &'static str,
    /// How many it has, in all shards.
    pub count: u64,
    /// Bytes that it can have resident, with the tables that belong to it.
    pub bytes: u64,
}

impl Capacity {
    pub(crate) fn of(config: &Config) -> Self {
        let shards = u64::from(config.shards);
        let all = |pool| u64::from(config.count(pool)) * shards;
        let mut pools: Vec<PoolCapacity> = Pool::ALL
            .into_iter()
            .map(|pool| PoolCapacity {
                setting: pool.setting(),
                count: all(pool),
                bytes: config.pool_bytes(pool) * shards,
            })
            .collect();
        let resident_max = config.shard_resident_max() * shards;
        let bytes = resident_max - pools.iter().map(|pool| pool.bytes).sum::<u64>();
        pools.push(PoolCapacity { setting: "shards", count: shards, bytes });
        let stacks = shards * config.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES) as u64;
        Self {
            shards: config.shards,
            connections: all(Pool::Connections),
            requests: all(Pool::Requests),
            half_heads: all(Pool::AssemblyBuffers),
            body_buffers: all(Pool::BodyBuffers),
            short_files: all(Pool::FileBuffers),
            pools,
            resident_max,
            reserved: resident_max + stacks,
        }
    }
}

/// In MiB, with one digit.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10).div_ceil(1 << 20);
        f.pad(&format!("{}.{}", tenths / 10, tenths % 10))
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} {:>12}", "at a time", "at most")?;
        for (what, count) in [
            ("connections", self.connections),
            ("requests, streams, pipes and uploads", self.requests),
            ("half heads", self.half_heads),
            ("large buffers of bodies not read", self.body_buffers),
            ("short files being read", self.short_files),
        ] {
            writeln!(f, "{what:<44} {count:>12}")?;
        }
        writeln!(f, "\n{:<30} {:>13} {:>12}", "memory", "count", "MiB at most")?;
        for PoolCapacity { setting, count, bytes } in &self.pools {
            writeln!(f, "{setting:<30} {count:>13} {:>12}", Mib(*bytes))?;
        }
        writeln!(f, "{:<44} {:>12}", "resident in all", Mib(self.resident_max))?;
        write!(f, "{:<44} {:>12}", "address space reserved", Mib(self.reserved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_number_once() {
        let config = Config { shards_wanted: Some(3), ..Config::default() }.checked().expect("defaults hold");
        let capacity = Capacity::of(&config);
        assert_eq!((capacity.connections, capacity.requests), (3 * 65_536, 3 * 16_384));
        assert_eq!(capacity.resident_max, capacity.pools.iter().map(|pool| pool.bytes).sum::<u64>());
        let table = capacity.to_string();
        assert!(table.contains("connections_max                       196608"), "{table}");
        assert!(table.lines().all(|line| line.len() <= 60), "{table}");
        assert_eq!(Mib((1 << 20) + 1).to_string(), "1.1");
    }
}
