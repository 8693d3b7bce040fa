//! What an engine is told at its start: every bound is a number here, with its owner, its range and its default.
//!
//! Invariants: values are checked before anything is opened; an error names the setting, the value, the range and the
//! remedy.
//!
//! Not here: what can change while the engine runs (room `session`).

mod capacity;
mod memory;

use std::fmt;
use std::str::FromStr;

use ringress_proto::limits::Limits;
use ringress_proto::response::{HeadTemplate, SERVER_BYTES_MAX};

use crate::admission::ConnectionLimits;
use crate::error::{Error, Result};
use crate::id::SLOT_BITS;
use crate::mem::ArenaSizes;
use crate::peers::Network;
use crate::policy::Properties;
use crate::queue::{LINE_BYTES, Sizes};
use crate::record::Facts;

pub use self::capacity::{Capacity, PoolCapacity};
use self::memory::Given;
pub(crate) use self::memory::{CONNECTION_BYTES, COPIED_END_BYTES, Pool, SLOT_TABLES_BYTES};

/// Who runs the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The engine starts a thread for each shard; any number of application threads consume the queues.
    #[default]
    Queue,
    /// Application threads are the shards: each [attaches](crate::Engine::attach) one and drives it by receiving.
    Colocated,
}

/// What of the kernel's the shards are driven by. All shards of an engine have the same, with the same behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// [`IoUring`](Self::IoUring) where it can be had, otherwise [`Epoll`](Self::Epoll).
    #[default]
    Auto,
    /// io_uring of Linux 6.1 or later: the fast one.
    IoUring,
    /// epoll, for hosts and containers that refuse io_uring, and for older kernels (tried on 5.10).
    Epoll,
}

impl Driver {
    const ALL: [Self; 3] = [Self::Auto, Self::IoUring, Self::Epoll];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// `auto`, `io_uring` or `epoll`.
impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By its name, as it is displayed.
impl FromStr for Driver {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|driver| driver.name() == name);
        known.ok_or_else(|| Error::invalid(format!("the driver is {name:?}, but must be auto, io_uring or epoll")))
    }
}

/// Every setting of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    pub(crate) driver: Driver,
    /// None: as many as there are cores to pin them to, or physical ones.
    pub(crate) shards_wanted: Option<u32>,
    /// Filled in when it is checked.
    pub(crate) shards: u32,
    /// The cores to pin shards to, in order; empty: not pinned.
    pub(crate) cores: Vec<usize>,
    pub(crate) connections_max: u32,
    /// The process may have as many descriptors as it can ask for.
    pub(crate) raise_descriptor_limit: bool,
    pub(crate) requests_max: u32,
    pub(crate) receive_buffers: u32,
    pub(crate) receive_buffer_bytes: u32,
    pub(crate) body_buffers: u32,
    pub(crate) body_buffer_bytes: u32,
    /// Bytes of a request's head, with what is there of its body, that have a place of their own beside its slot.
    /// Longer ones, up to a receive buffer, are in cells of that size, of which there are as many as slots.
    pub(crate) head_bytes: u32,
    pub(crate) assembly_buffers: u32,
    pub(crate) response_area_bytes: u32,
    /// Cells that short parts of files are read into, to be sent.
    pub(crate) file_buffers: u32,
    /// Cells that several responses are put together in.
    pub(crate) coalesce_buffers: u32,
    /// Bytes that all shards can have resident at most.
    pub(crate) memory_max: Option<u64>,
    pub(crate) given: Given,
    /// Bytes of the stacks of the engine's threads, if not as the standard library has them.
    pub(crate) stack_bytes: Option<usize>,
    pub(crate) pipeline_max: u32,
    /// Clients in these networks speak for many: none of them has too much.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Of connections, over all listeners.
    pub(crate) connection_limits: ConnectionLimits,
    /// What sessions and groups inherit, and what it inherits itself.
    pub(crate) properties: Properties,
    pub(crate) base: Properties,
    pub(crate) limits: Limits,
    pub(crate) deliver_connect: bool,
    pub(crate) server: String,
}

/// Bytes of a coalescing buffer: one for each connection with pipelined responses in one turn.
pub(crate) const COALESCE_BYTES: u32 = 16 * 1024;
/// What the engine can have resident on a small host.
const SMALL_MEMORY_MAX: u64 = 28 << 20;
/// Requests at a time there: so many times the credit and a piece are 24 MiB of the application's.
const SMALL_REQUESTS_MAX: u32 = 1200;
/// Bytes of a thread's stack where nothing is said (`std::thread`).
const DEFAULT_STACK_BYTES: usize = 2 << 20;
/// Bytes of a head in pieces, or of a trailer section, that have a place without need of an assembly buffer.
const FRAGMENT_BYTES: u32 = 256;
/// Bytes of a file read at once.
pub(crate) const STAGE_BYTES: u32 = 64 * 1024;
/// Pieces of a streamed response waiting for the shard from which on its sender waits.
pub(crate) const SEND_PIECES_MAX: usize = 32;
/// Bytes of small writes to a streamed response that are collected before they are sent.
pub(crate) const WRITE_BYTES: usize = 16 * 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Queue,
            driver: Driver::Auto,
            shards_wanted: None,
            shards: 0,
            cores: Vec::new(),
            connections_max: 65_536,
            raise_descriptor_limit: false,
            requests_max: 16_384,
            receive_buffers: 4096,
            receive_buffer_bytes: 4096,
            body_buffers: 256,
            body_buffer_bytes: 64 * 1024,
            head_bytes: 1024,
            assembly_buffers: 4096,
            response_area_bytes: 4096,
            file_buffers: 1024,
            coalesce_buffers: 1024,
            memory_max: None,
            given: Given::default(),
            stack_bytes: None,
            pipeline_max: 64,
            trusted_proxies: Vec::new(),
            connection_limits: ConnectionLimits::new(),
            properties: Properties::new(),
            base: Properties::new(),
            limits: Limits::DEFAULT,
            deliver_connect: false,
            server: String::from("ringress"),
        }
    }
}

/// The longest body that is awaited whole, with so many large buffers of so many bytes in a shard.
pub(crate) fn longest_whole(buffers: u32, bytes: u32) -> u32 {
    (buffers / 8).max(1).saturating_mul(bytes)
}

fn within(name: &str, value: u32, lowest: u32, highest: u32) -> Result<()> {
    if (lowest..=highest).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value}, but must be from {lowest} to {highest}")))
}

fn power_of_two(name: &str, value: u32) -> Result<()> {
    if value.is_power_of_two() {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value}, but the kernel takes powers of two only")))
}

impl Config {
    /// Fills in what depends on the host, and checks everything.
    pub(crate) fn checked(mut self) -> Result<Self> {
        self.shards = self.shards_wanted.unwrap_or_else(|| match self.cores.len() {
            0 => physical_cores(),
            pinned => u32::try_from(pinned).unwrap_or(u32::MAX),
        });
        within("shards", self.shards, 1, 255)?;
        within("connections_max", self.connections_max, 1, 1 << 24)?;
        self.connection_limits.check()?;
        within("requests_max", self.requests_max, 16, 1 << 24)?;
        within("receive_buffers", self.receive_buffers, 16, 32_768)?;
        power_of_two("receive_buffers", self.receive_buffers)?;
        within("receive_buffer_bytes", self.receive_buffer_bytes, 512, 65_535)?;
        within("body_buffers", self.body_buffers, 4, 16_384)?;
        power_of_two("body_buffers", self.body_buffers)?;
        within("body_buffer_bytes", self.body_buffer_bytes, 4096, 1 << 20)?;
        within("assembly_buffers", self.assembly_buffers, 2, 1 << 20)?;
        within("response_area_bytes", self.response_area_bytes, 512, 65_536)?;
        within("file_buffers", self.file_buffers, 1, 65_536)?;
        within("pipeline_max", self.pipeline_max, 1, 1024)?;
        self.properties = self.properties.over(&self.base);
        self.properties.check()?;
        self.limits.validate().map_err(|error| Error::invalid(error.to_string()))?;
        // Of what is within its range, sums do not overflow.
        self.split_memory()?;
        self.check_whole(&self.properties)?;
        self.template()?;
        let available = core_affinity::get_core_ids().unwrap_or_default();
        if let Some(core) = self.cores.iter().find(|core| available.iter().all(|known| known.id != **core)) {
            let known: Vec<usize> = available.iter().map(|core| core.id).collect();
            return Err(Error::invalid(format!("cores names core {core}, but this process may run on {known:?} only")));
        }
        Ok(self)
    }

    /// Checks of properties what the large buffers bound.
    pub(crate) fn check_whole(&self, properties: &Properties) -> Result<()> {
        let (count, bytes) = (self.body_buffers, self.body_buffer_bytes);
        let (whole, longest) = (properties.deliver_when_whole.unwrap_or(0), longest_whole(count, bytes));
        if whole <= longest {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "deliver_when_whole is {whole}, but must be at most {longest}, an eighth of a shard's large buffers \
            ({count} of {bytes} bytes): lower it, or raise body_buffers, body_buffer_bytes or, where these follow from \
            it, memory_max"
        )))
    }

    /// As it is for a host with little memory: buffers are small, and applications hold little for each client.
    pub(crate) fn small() -> Self {
        let mut small = Self {
            shards_wanted: Some(1),
            memory_max: Some(SMALL_MEMORY_MAX),
            receive_buffer_bytes: 2048,
            body_buffer_bytes: 4096,
            head_bytes: 512,
            response_area_bytes: 2048,
            pipeline_max: 16,
            stack_bytes: Some(256 * 1024),
            base: Properties::new().request_body_credit(16 * 1024).send_credit(16 * 1024).socket_buffer(8 * 1024),
            limits: Limits::DEFAULT.head_bytes_max(4096).target_bytes_max(2048).trailer_bytes_max(2048),
            ..Self::default()
        };
        small.give(Pool::Requests, SMALL_REQUESTS_MAX);
        small
    }

    /// What every response begins with.
    pub(crate) fn template(&self) -> Result<HeadTemplate> {
        let refused = |_| {
            let (server, most) = (&self.server, SERVER_BYTES_MAX);
            Error::invalid(format!("server is {server:?}, but must be at most {most} bytes without control characters"))
        };
        HeadTemplate::new(&self.server).map_err(refused)
    }

    /// What all requests of a shard have in common.
    pub(crate) fn facts(&self) -> Result<Facts> {
        Ok(Facts::new(self.template()?, &self.trusted_proxies))
    }

    /// The core of a shard, if shards are pinned; cores are used in turn.
    pub(crate) fn core_of(&self, shard: usize) -> Option<usize> {
        (!self.cores.is_empty()).then(|| self.cores[shard % self.cores.len()])
    }

    /// Request slots of a shard: of requests that are not over, and apart from these, as far as ids go, of those that
    /// have departed: as many again, or, where memory is bounded, a quarter.
    pub(crate) fn slots(&self) -> u32 {
        let departed = if self.memory_max.is_some() { self.requests_max / 4 } else { self.requests_max };
        (self.requests_max + departed).min(1 << SLOT_BITS)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let head = u32::from(self.limits.head_bytes_max);
        let trailers = u32::from(self.limits.trailer_bytes_max);
        let slots = self.slots();
        Sizes {
            slots: self.requests_max,
            departed: slots - self.requests_max,
            arena: ArenaSizes {
                receive: (self.receive_buffers, self.receive_buffer_bytes),
                body: (self.body_buffers, self.body_buffer_bytes),
                head: (slots, self.head_bytes),
                long_head: (slots, self.receive_buffer_bytes),
                fragment: (self.connections_max + slots, FRAGMENT_BYTES),
                // A head in pieces, a long one copied out of a large buffer, or a trailer section.
                assembly: (self.assembly_buffers, (head + self.receive_buffer_bytes).max(trailers)),
                response: (slots, self.response_area_bytes + LINE_BYTES),
                cooked: (slots, u32::from(self.limits.target_bytes_max)),
                coalesce: (self.coalesce_buffers, COALESCE_BYTES),
                stage: (self.file_buffers, STAGE_BYTES),
            },
        }
    }

    /// Address space that one shard reserves for its arena, in bytes; it becomes resident as it is used.
    pub(crate) fn shard_bytes(&self) -> usize {
        self.sizes().arena.total()
    }
}

/// One for each physical core this process may run on: hyper-threads of one core are counted once.
fn physical_cores() -> u32 {
    let siblings = |core: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        std::fs::read_to_string(path).unwrap_or_else(|_| core.to_string())
    };
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut distinct: Vec<String> = cores.iter().map(|core| siblings(core.id)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    u32::try_from(distinct.len()).unwrap_or(1).clamp(1, 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_shards_are_counted() {
        let config = Config::default().checked().expect("defaults hold");
        assert!(config.shards >= 1);
        assert!(config.shard_bytes() > 16 << 20);
    }

    #[test]
    fn a_bad_value_is_named_with_its_range() {
        let bad = Config { requests_max: 3, ..Config::default() };
        let text = bad.checked().expect_err("too few").to_string();
        assert!(text.contains("requests_max is 3") && text.contains("16"), "{text}");
        let properties = Properties::new().deliver_when_whole((2 << 20) + 1);
        let text = Config { properties, ..Config::default() }.checked().expect_err("too long").to_string();
        let wanted = "deliver_when_whole is 2097153, but must be at most 2097152, an eighth of a shard's large buffers \
                      (256 of 65536 bytes): lower it, or raise body_buffers";
        assert!(text.starts_with(wanted), "{text}");
        let properties = Properties::new().deliver_when_whole(2 << 20);
        Config { properties, ..Config::default() }.checked().expect("the longest");
        let bad = Config { cores: vec![100_000], ..Config::default() };
        assert!(bad.checked().expect_err("no such core").to_string().contains("core 100000"));
    }
}
