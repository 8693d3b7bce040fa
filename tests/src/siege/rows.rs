//! The table: which loads there are, what server each needs, and what must come of it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{Load, Outcome, Scale, capacity, crowds, ghosts, pieces, queues, readers, silent, uploads};
use crate::server::{Mode, Setup};

/// What must come of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// All good clients are served.
    ServeAll,
    /// And none of them waits longer.
    ServeAllWithin(Duration),
}

impl Must {
    /// Whether an outcome is as it must be.
    #[must_use]
    pub fn is_met(self, outcome: &Outcome) -> bool {
        match self {
            Self::ServeAll => outcome.is_whole(),
            Self::ServeAllWithin(most) => outcome.is_whole() && outcome.longest() < most,
        }
    }

    /// As the table has it.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::ServeAll => "100 %".into(),
            Self::ServeAllWithin(most) => format!("100 %, within {most:?}"),
        }
    }
}

/// What bounds the process of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// What this process has.
    Inherited,
    /// So many descriptors, in CI and in full.
    Descriptors(u32, u32),
    /// Memory of a small host: 64 MiB of addresses, and the showcase's profile for it.
    SmallHost,
}

const SMALL_HOST_KIB: u32 = 64 * 1024;
const SMALL_HOST: &[&str] = &["--profile=small"];

/// One load of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// For command lines.
    pub name: &'static str,
    /// For people.
    pub load: &'static str,
    /// What must come of it.
    pub must: Must,
    /// What the server's process may have.
    pub limits: Limits,
    /// Threads that answer, in queue mode.
    consumers: u32,
    /// Arguments that make the server's pools small, in CI.
    small: &'static [&'static str],
    /// Other arguments that the load asks for.
    asks: &'static [&'static str],
    run: Load,
}

/// All loads, in the order of the table.
pub const ROWS: &[Row] = &[
    row_of("posts", "4,000 keep-alive clients that POST 16 KB", uploads::posts).small(BUFFERS),
    row_of("bodies", "256 keep-alive clients that POST 1 MB", uploads::bodies).small(BUFFERS),
    row_of("begun-at-once", "300 uploads of 1 MB begun at once", uploads::begun_at_once).small(BUFFERS),
    row_of("slow-uploads", "2,500 uploads of 100 B every 0.5 s", uploads::slow_uploads).small(BUFFERS),
    row_of("long-polls", "8,000 long polls", capacity::long_polls).small(SLOTS),
    row_of("streams", "8,000 event streams", capacity::streams).small(SLOTS),
    row_of("pipes", "8,000 switched connections", capacity::pipes).small(SLOTS),
    row_of("open-uploads", "8,000 open uploads", capacity::open_uploads).small(SLOTS),
    row_of("ghosts-reset", "300 connections ask for 64 slow things each and are reset", ghosts::reset).small(SLOTS),
    row_of("ghosts-closed", "300 connections ask for 64 slow things each and are closed", ghosts::closed).small(SLOTS),
    row_of("slow-readers", "300 slow readers with 63 small requests behind each", ghosts::slow_readers).small(SLOTS),
    row_of("queue-filled", "1,000 clients of one address that keep a queue of 500 full", queues::filled)
        .asks(&["--queue-length=500"])
        .small(&["--queue-length=64"]),
    row_of(
        "greedy-addresses",
        "as many greedy addresses as the reserve has slots (64 of 512)",
        queues::greedy_addresses,
    )
    .asks(&["--requests=512"])
    .small(&["--requests=128"]),
    row_of("silent", "1,500 silent connections at 1,000 descriptors", silent::silent)
        .limits(Limits::Descriptors(100, 1_000)),
    row_of("idle", "1,500 idle connections at 1,000 descriptors", silent::idle).limits(Limits::Descriptors(100, 1_000)),
    row_of("half-heads", "4,200 half heads of one byte", pieces::half_heads).small(PIECES),
    row_of("long-heads", "4,200 requests under way with heads of 5 KB in two pieces", pieces::long_heads).small(PIECES),
    row_of("half-trailers", "4,200 half trailer sections of 5 KB", pieces::half_trailers).small(PIECES),
    row_of("short-files", "1,100 readers of short files that do not read", readers::short_files),
    row_of("long-responses", "2,000 clients ask for 1 GB and read nothing", readers::long_responses)
        .must(Must::ServeAllWithin(Duration::from_millis(50))),
    row_of("idle-puts", "four idle PUTs to four consumers that read bodies waiting", uploads::idle_puts)
        .consumers(4)
        .asks(WHOLE),
    row_of("idle-wholes", "300 idle uploads that are awaited whole", uploads::idle_wholes).small(BUFFERS).asks(WHOLE),
    row_of("nothing", "1,000 clients that do nothing", crowds::nothing).limits(Limits::SmallHost),
    row_of("half-head", "1,000 clients with half a head", crowds::half_heads).limits(Limits::SmallHost),
    row_of("half-body", "1,000 clients with half a body", crowds::half_bodies).limits(Limits::SmallHost),
    row_of("unread-download", "1,000 clients with an unread download of 1 MB", crowds::unread_downloads)
        .limits(Limits::SmallHost),
    row_of("unread-echo", "1,000 clients with an unread echo of 1 MB", crowds::unread_echoes).limits(Limits::SmallHost),
];

const PIECES: &[&str] = &["--pool=assembly_buffers=64"];
const BUFFERS: &[&str] = &["--pool=receive_buffers=64", "--pool=body_buffers=16"];
const WHOLE: &[&str] = &["--set=deliver_when_whole=64KiB"];
/// Half as many requests as the loads for CI have open.
const SLOTS: &[&str] = &["--requests=1024", "--pool=receive_buffers=256"];

const fn row_of(name: &'static str, load: &'static str, run: Load) -> Row {
    Row { name, load, must: Must::ServeAll, limits: Limits::Inherited, consumers: 1, small: &[], asks: &[], run }
}

/// The load of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("there is no row {name}"))
}

impl Row {
    const fn asks(self, asks: &'static [&'static str]) -> Self {
        Self { asks, ..self }
    }

    const fn must(self, must: Must) -> Self {
        Self { must, ..self }
    }

    const fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    const fn consumers(self, consumers: u32) -> Self {
        Self { consumers, ..self }
    }

    const fn small(self, small: &'static [&'static str]) -> Self {
        Self { small, ..self }
    }

    /// The showcase that this load is for: one shard at its defaults, or with small pools.
    #[must_use]
    pub fn setup(&self, mode: Mode, scale: Scale) -> Setup {
        let mut setup = Setup::new(mode).shards(1).consumers(self.consumers).with_folder();
        setup = self.asks.iter().fold(setup, |setup, argument| setup.arg(argument));
        if scale == Scale::Ci {
            setup = self.small.iter().fold(setup, |setup, pool| setup.arg(pool));
        }
        match self.limits {
            Limits::Inherited => setup,
            Limits::Descriptors(ci, full) => setup.descriptors_max(scale.pick(ci, full)),
            Limits::SmallHost => SMALL_HOST
                .iter()
                .fold(setup.address_space_kib_max(SMALL_HOST_KIB), |setup, argument| setup.arg(argument)),
        }
    }

    /// Writes the files that are asked for below a root.
    ///
    /// # Errors
    /// As writing gives them.
    pub fn write_files(&self, root: &Path) -> io::Result<()> {
        readers::write_files(root)
    }

    /// Runs the load against a server.
    #[must_use]
    pub fn run(&self, address: SocketAddr, scale: Scale) -> Outcome {
        (self.run)(address, scale)
    }
}
