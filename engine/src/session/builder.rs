//! How an engine is configured and started.
//!
//! Invariants: settings are taken as they are given, and checked all together, before anything is opened or reserved;
//! one that is not given has its default.
//!
//! Not here: ranges and defaults (rooms `config`, `policy`), and the start itself (`engine`).

use ringress_proto::limits::Limits;

use super::engine::Engine;
use crate::admission::ConnectionLimits;
use crate::config::{Capacity, Config, Driver, Mode, Pool};
use crate::error::Result;
use crate::peers::Network;
use crate::policy::Properties;

/// Settings of an [`Engine`]. Every bound has a default; [`start`](Self::start) refuses what does not fit together.
#[derive(Clone, Debug, Default)]
#[must_use = "an engine begins with `start`"]
pub struct EngineBuilder {
    config: Config,
}

impl EngineBuilder {
    /// Settings for a host with little memory, which may be changed afterwards: one shard, a
    /// [`memory_max`](Self::memory_max) of 28 MiB, 1,200 requests at a time, small buffers (receive buffers of 2 KiB,
    /// body buffers of 4 KiB, heads of 4 KiB and targets of 2 KiB at most, response areas of 2 KiB), 16 requests of a
    /// connection at a time, credits of 16 KiB both ways, 8 KiB of the kernel's for each socket and way, and stacks of
    /// 256 KiB. So a process of 64 MiB, under `ulimit -v` as well, holds a thousand clients, if its application has no
    /// more in memory for each than the credits.
    ///
    /// ```
    /// let capacity = ringress::EngineBuilder::small().capacity()?;
    /// assert!(capacity.requests == 1200 && capacity.resident_max <= 28 << 20);
    /// # Ok::<(), ringress::Error>(())
    /// ```
    pub fn small() -> Self {
        Self { config: Config::small() }
    }

    /// Who runs the shards; [`Mode::Queue`] unless said otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.config.mode = mode;
        self
    }

    /// What of the kernel's the shards are driven by; [`Driver::Auto`] unless said otherwise, where the environment
    /// variable `RINGRESS_DRIVER` (`auto`, `io_uring` or `epoll`) is asked first. It is decided at the start, for all
    /// shards: [`Engine::driver`] tells.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.config.driver = driver;
        self
    }

    /// How many shards, 1 to 255; by default one for each entry of [`cores`](Self::cores), or for each physical core.
    pub fn shards(mut self, shards: u32) -> Self {
        self.config.shards_wanted = Some(shards);
        self
    }

    /// The cores to pin shards to, in turn, as the kernel numbers them; by default shards are not pinned.
    pub fn cores(mut self, cores: &[usize]) -> Self {
        self.config.cores = cores.to_vec();
        self
    }

    /// The most connections of one shard, 1 to 16,777,216; 65,536 by default. For further ones those end that have had
    /// nothing to do for longest, as for want of descriptors (counted: `connections_evicted`); if all have something to
    /// do, they are closed on arrival (`connections_refused`).
    ///
    /// All engines of a process together may have 134,217,728, which is what ids can tell apart: shards times the
    /// larger of this and twice [`requests_max`](Self::requests_max), rounded up to a power of two.
    pub fn connections_max(mut self, connections: u32) -> Self {
        self.config.give(Pool::Connections, connections);
        self
    }

    /// Whether the start raises the number of descriptors that the process may have (the soft limit of RLIMIT_NOFILE)
    /// to the most that it may ask for (the hard one); no by default. It holds for the whole process, and for those
    /// that it starts: select(2), where something uses it, fails with descriptors above 1,023. Each connection is one.
    pub fn raise_descriptor_limit(mut self, raised: bool) -> Self {
        self.config.raise_descriptor_limit = raised;
        self
    }

    /// The most requests of one shard that are delivered and not yet answered and sent, 16 to 16,777,216; 16,384 by
    /// default. As many more may be in the application's hands whose clients have left or have their response
    /// ([`requests_departed`](crate::Counters::requests_departed)), or a quarter with
    /// [`memory_max`](Self::memory_max); what is beyond that counts among them.
    ///
    /// An eighth of them, at least one, is kept for clients that have few: connections without a request under way, of
    /// addresses that have less than their share. Whoever else finds no other waits
    /// ([`share_waits`](crate::Counters::share_waits)), so a single client address has seven eighths at most. When that
    /// eighth is in use, too, what addresses with more than their share have in queues is refused for those that wait
    /// ([`share_refusals`](crate::Counters::share_refusals)).
    pub fn requests_max(mut self, requests: u32) -> Self {
        self.config.give(Pool::Requests, requests);
        self
    }

    /// Receive buffers of one shard: how many (a power of two, 16 to 32,768; 4,096 by default) and of how many bytes
    /// (512 to 65,535; 4,096 by default). A request does not keep its buffer: it is copied out of it, once, when it is
    /// delivered. Longer ones are put together in assembly buffers first. An eighth of the receive buffers is kept for
    /// clients that have few.
    pub fn receive_buffers(mut self, count: u32, bytes: u32) -> Self {
        self.config.give(Pool::ReceiveBuffers, count);
        self.config.receive_buffer_bytes = bytes;
        self
    }

    /// Large receive buffers of one shard, for bodies that do not fit the rest of a receive buffer: how many (a power
    /// of two, 4 to 16,384; 256 by default) and of how many bytes (4,096 to 1,048,576; 65,536 by default). What is
    /// received of a body waits in them until it is read.
    pub fn body_buffers(mut self, count: u32, bytes: u32) -> Self {
        self.config.give(Pool::BodyBuffers, count);
        self.config.body_buffer_bytes = bytes;
        self
    }

    /// Buffers of one shard for what is long and comes in pieces, 2 to 1,048,576; 4,096 by default. Each reserves
    /// address space for a head of the largest size. One half is for heads that are not whole and longer than 256
    /// bytes: when it has run out, the half head that has not grown for longest is answered 408 for one that comes
    /// (counted: `heads_evicted`). The other half is for requests, whose head came in pieces and is longer than a
    /// receive buffer, or whose trailer section is: an eighth of it is kept for addresses that have few, and who finds
    /// none is answered 503 above its share (`cell_shares_refused`).
    pub fn assembly_buffers(mut self, count: u32) -> Self {
        self.config.give(Pool::AssemblyBuffers, count);
        self
    }

    /// Buffers of 64 KiB of one shard that short parts of files, up to 32 KiB, are read into before they are sent, 1 to
    /// 65,536; 1,024 by default. A client that does not take what was read keeps none: it is read again later.
    pub fn file_buffers(mut self, count: u32) -> Self {
        self.config.give(Pool::FileBuffers, count);
        self
    }

    /// Bytes of a request's response area, 512 to 65,536; 4,096 by default. A head that fits it, and a body that fits
    /// beside its head, are sent without an allocation. Larger heads, up to 256 KiB, cost one.
    pub fn response_area_bytes(mut self, bytes: u32) -> Self {
        self.config.response_area_bytes = bytes;
        self
    }

    /// The most requests of one connection that are under way at a time, 1 to 1,024; 64 by default. 1 is what http.sys
    /// does.
    pub fn pipeline_max(mut self, requests: u32) -> Self {
        self.config.pipeline_max = requests;
        self
    }

    /// Networks of proxies that speak for many clients: an address there is never taken for one that has much, however
    /// many connections it has, when some end so that others are served (`connections_evicted`); and each of its
    /// connections is an address of its own when request slots run out ([`requests_max`](Self::requests_max)). Nor do
    /// [`connection_limits`](Self::connection_limits) of one address hold for them. None by default.
    ///
    /// ```
    /// use ringress::{Engine, Network};
    ///
    /// let proxies = Network::new([10, 0, 0, 0].into(), 8)?;
    /// let builder = Engine::builder().trusted_proxies(&[proxies]);
    /// # Ok::<(), ringress::Error>(())
    /// ```
    pub fn trusted_proxies(mut self, networks: &[Network]) -> Self {
        self.config.trusted_proxies = networks.to_vec();
        self
    }

    /// How many connections may be open and come in a second, over all listeners and shards, in all and of one address;
    /// none said by default. A listener may have [limits of its own](crate::Listener::limits): both hold. Addresses in
    /// the networks of [`trusted_proxies`](Self::trusted_proxies) have no limit of one address.
    ///
    /// This closes connections on arrival, whatever room there is; [`connections_max`](Self::connections_max) of this
    /// builder is the room of each shard, for which others make way.
    pub fn connection_limits(mut self, limits: ConnectionLimits) -> Self {
        self.config.connection_limits = limits;
        self
    }

    /// Timers and limits that sessions and URL groups inherit; what is not set has its default. See [`Properties`].
    pub fn properties(mut self, properties: Properties) -> Self {
        self.config.properties = properties;
        self
    }

    /// Limits of request heads: see [`Limits`]. [`raw_target_bytes`](Self::raw_target_bytes) holds beside them.
    pub fn limits(mut self, limits: Limits) -> Self {
        let raw_target_bytes = self.config.limits.raw_target_bytes || limits.raw_target_bytes;
        self.config.limits = limits.raw_target_bytes(raw_target_bytes);
        self
    }

    /// Whether targets may have bytes beyond ASCII that are not escaped (`GET /caf\u{e9}`), as long as the target is
    /// UTF-8; no by default. RFC 3986 allows none, and what others make of them differs: 400.
    pub fn raw_target_bytes(mut self, allowed: bool) -> Self {
        self.config.limits.raw_target_bytes = allowed;
        self
    }

    /// Whether CONNECT requests are delivered like others, by a prefix that covers their host; no by default. The
    /// engine opens no tunnels: the application can only refuse them, since 2xx is
    /// [`Invalid`](crate::ErrorKind::Invalid). Otherwise they are answered 501, and the connection ends.
    pub fn deliver_connect(mut self, delivered: bool) -> Self {
        self.config.deliver_connect = delivered;
        self
    }

    /// The Server field of every response that has none of its own, at most 128 bytes; `ringress` by default, none if
    /// empty.
    pub fn server(mut self, value: &str) -> Self {
        self.config.server = value.to_owned();
        self
    }

    /// Bytes that the engine can have resident at most, in all shards: none said by default. What is not given of
    /// [`connections_max`](Self::connections_max), [`requests_max`](Self::requests_max) and the numbers of buffers gets
    /// its part of what is left, up to its default: of 20 parts requests get 8, body buffers 4, receive buffers 3,
    /// assembly buffers 2, connections, coalescing buffers and file buffers 1 each. [`capacity`](Self::capacity) says
    /// what that comes to. Memory of applications is not in it: responses whose bodies do not fit the response area,
    /// and up to [`send_credit`](Properties::send_credit) of each streamed one; nor are the program itself and the
    /// kernel's memory for sockets.
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.config.memory_max = Some(bytes);
        self
    }

    /// What an engine with these settings can hold at a time, and the memory that takes at most.
    ///
    /// ```
    /// let capacity = ringress::Engine::builder().shards(2).memory_max(64 << 20).capacity()?;
    /// assert!(capacity.resident_max <= 64 << 20 && capacity.requests > 1000);
    /// println!("{capacity}");
    /// # Ok::<(), ringress::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start), for settings that are out of range.
    pub fn capacity(&self) -> Result<Capacity> {
        Ok(Capacity::of(&self.config.clone().checked()?))
    }

    /// Starts the engine. In [`Mode::Queue`] its shards run from now on; in [`Mode::Colocated`] each runs while a
    /// thread is [attached](Engine::attach) to it.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a setting out of range, or for `RINGRESS_DRIVER`,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when [`Driver::IoUring`] is asked for and cannot be had (the text
    /// names the cause and the remedy), [`Io`](crate::ErrorKind::Io) when memory, threads or a higher limit of
    /// descriptors are refused.
    pub fn start(self) -> Result<Engine> {
        Engine::start_with(self.config.checked()?)
    }
}

impl Engine {
    /// An engine's settings, to be [started](EngineBuilder::start).
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Starts an engine with the default settings: queue mode, one shard for each physical core.
    ///
    /// # Errors
    /// As [`EngineBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }
}
