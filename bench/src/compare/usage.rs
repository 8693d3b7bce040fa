//! What a process tree and a core have used: CPU time, memory; and whose machine this is.
//!
//! Invariants: all threads count, and all child processes; a time that does not cover the whole interval is not used; a
//! reading of the clocks looks at the processes of one tree alone, so that it is cheap under load.
//!
//! Source: proc(5): `/proc/PID/stat`, `/proc/PID/task/TID/schedstat`, `/proc/PID/smaps_rollup`, `/proc/stat`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Instant;

use serde::Serialize;

use super::system;

/// The finest clock: of each thread, by the scheduler.
const SCHEDULER: &str = "/proc/PID/task/TID/schedstat (nanoseconds)";
/// The clock that counts what has ended, too.
const TICKS: &str = "/proc/PID/stat (ticks)";
/// Ticks may be ahead of the scheduler's count by so much: one of user time, one of system time.
const TICKS_AHEAD_MAX_NS: u64 = 20_000_000;

/// User and system time of a process tree, from its start.
#[derive(Clone, Debug, Default)]
struct CpuTime {
    /// By thread, from the scheduler; absent where the kernel does not account for it.
    threads_ns: Option<BTreeMap<u32, u64>>,
    /// In ticks of 10 ms or so, of threads and children that have ended too.
    ticks_ns: u64,
}

/// The state of the clocks at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    at: Instant,
    server: CpuTime,
    /// Time the cores were not idle, stolen time included: the server's, the generator's.
    busy_ns: [u64; 2],
}

/// What passed between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) elapsed_ns: u64,
    pub(super) server_ns: u64,
    pub(super) busy_ns: [u64; 2],
    /// Where the server's time was read.
    pub(super) clock: &'static str,
}

impl Reading {
    /// Reads the clocks of the processes of `tree`, and of the two cores.
    ///
    /// # Errors
    /// If `/proc` cannot be read, or a core does not exist.
    pub(super) fn take(tree: &Tree, cores: [usize; 2]) -> io::Result<Self> {
        let server = CpuTime::of(&tree.0);
        let stat = fs::read_to_string("/proc/stat")?;
        let busy = |core| {
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no core {core}"));
            core_busy_ns(&stat, core, system::tick_ns()).ok_or_else(missing)
        };
        Ok(Self { at: Instant::now(), server, busy_ns: [busy(cores[0])?, busy(cores[1])?] })
    }

    /// What has passed since `before`.
    pub(super) fn since(&self, before: &Self) -> Usage {
        let (server_ns, clock) = self.server.since(&before.server);
        Usage {
            elapsed_ns: u64::try_from(self.at.duration_since(before.at).as_nanos()).unwrap_or(u64::MAX),
            server_ns,
            busy_ns: [0, 1].map(|core| self.busy_ns[core].saturating_sub(before.busy_ns[core])),
            clock,
        }
    }
}

impl CpuTime {
    fn of(processes: &[u32]) -> Self {
        let mut threads_ns = Some(BTreeMap::new());
        let mut ticks_ns = 0;
        for process in processes {
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
            ticks_ns += stat_cpu_ticks(&stat).unwrap_or(0) * system::tick_ns();
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for task in tasks.flatten() {
                let Some(id) = task.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
                match fs::read_to_string(task.path().join("schedstat")) {
                    Ok(text) => {
                        let ns = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
                        // A kernel that does not count gives 0 for threads that have run.
                        threads_ns = threads_ns.zip(ns).map(|(mut all, ns)| {
                            all.insert(id, ns);
                            all
                        });
                    }
                    // It ended meanwhile.
                    Err(_) if !task.path().exists() => {}
                    Err(_) => threads_ns = None,
                }
            }
        }
        let counted = threads_ns.filter(|all| all.values().any(|ns| *ns > 0));
        Self { threads_ns: counted, ticks_ns }
    }

    /// The scheduler's count if it covers all threads for the whole interval; ticks if one has ended, or if they show
    /// that threads or children came and went meanwhile.
    fn since(&self, before: &Self) -> (u64, &'static str) {
        let ticks_ns = self.ticks_ns.saturating_sub(before.ticks_ns);
        if let (Some(then), Some(now)) = (&before.threads_ns, &self.threads_ns)
            && then.keys().all(|thread| now.contains_key(thread))
        {
            let (then, now): (u64, u64) = (then.values().sum(), now.values().sum());
            let counted = now.saturating_sub(then);
            if ticks_ns <= counted.saturating_add(TICKS_AHEAD_MAX_NS) {
                return (counted, SCHEDULER);
            }
        }
        (ticks_ns, TICKS)
    }
}

/// A process and its descendants, as they were when they were listed.
#[derive(Clone, Debug)]
pub(super) struct Tree(Vec<u32>);

impl Tree {
    /// Looks at every process of the machine, which is too much to do while something is measured.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub(super) fn of(root: u32) -> io::Result<Self> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // One that has ended meanwhile is no descendant.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            parents.extend(stat_parent(&stat).map(|parent| (process, parent)));
        }
        let mut tree = vec![root];
        let mut next = 0;
        while let Some(&process) = tree.get(next) {
            tree.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| *child));
            next += 1;
        }
        Ok(Self(tree))
    }

    /// Resident memory in bytes, shared pages in proportion where the kernel says so. Walks the page tables, so that it
    /// must not be called while something is measured.
    pub(super) fn resident_bytes(&self) -> u64 {
        let of = |process: &u32| {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
            let proportional = rollup.ok().and_then(|text| kib_of(&text, "Pss:"));
            let status = || fs::read_to_string(format!("/proc/{process}/status")).ok();
            proportional.or_else(|| kib_of(&status()?, "VmRSS:")).unwrap_or(0) * 1024
        };
        self.0.iter().map(of).sum()
    }
}

/// The fields of `/proc/PID/stat` from the third on; the second, a name in brackets, may hold anything.
fn stat_fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace()
}

fn stat_parent(stat: &str) -> Option<u32> {
    stat_fields(stat).nth(1)?.parse().ok()
}

/// User and system time, also of children that have been waited for.
fn stat_cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat_fields(stat).skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    (fields.len() == 4).then(|| fields.iter().sum())
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Of `/proc/stat`: all but idle time and waiting for disks.
fn core_busy_ns(stat: &str, core: usize, tick_ns: u64) -> Option<u64> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split(' ').next() == Some(&name))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _disk, irq, softirq, steal] = ticks.try_into().ok()?;
    Some((user + nice + system + irq + softirq + steal) * tick_ns)
}

/// What the figures were taken on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) congestion_control: String,
}

impl Machine {
    pub(super) fn read() -> Self {
        let line =
            |path: &str| fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned());
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let processor =
            model.and_then(|line| line.split_once(':')).map_or("unknown processor", |(_, name)| name.trim());
        Self {
            kernel: line("/proc/sys/kernel/osrelease"),
            processor: processor.to_owned(),
            cores: info.lines().filter(|line| line.starts_with("processor")).count().max(1),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kernel, processor, cores, congestion_control } = self;
        write!(f, "Linux {kernel}, {cores} x {processor}, congestion control {congestion_control}, loopback")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7";

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(stat_parent(STAT), Some(7));
        assert_eq!(stat_cpu_ticks(STAT), Some(124));
        assert_eq!((stat_parent(""), stat_cpu_ticks("1 (x) S")), (None, None));
    }

    #[test]
    fn a_core_is_busy_with_all_but_idling_and_waiting_for_disks() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 1000 1000 8 16 32 0 0\ncpu1 1 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(core_busy_ns(stat, 0, 10), Some(630));
        assert_eq!(core_busy_ns(stat, 1, 10), Some(10));
        assert_eq!(core_busy_ns(stat, 2, 10), None);
    }

    #[test]
    fn memory_is_read_in_bytes_of_the_named_line() {
        assert_eq!(kib_of("Rss:   10 kB\nPss:    8 kB\nPss_Dirty: 3 kB\n", "Pss:"), Some(8));
        assert_eq!(kib_of("Rss:   10 kB\n", "Pss:"), None);
        assert!(Tree::of(std::process::id()).expect("works in tests").resident_bytes() > 100_000);
    }

    fn time(threads: &[(u32, u64)], ticks_ns: u64) -> CpuTime {
        CpuTime { threads_ns: Some(threads.iter().copied().collect()), ticks_ns }
    }

    #[test]
    fn a_thread_that_ended_makes_the_ticks_count() {
        let before = time(&[(1, 100), (2, 50)], 1_000);
        let both = time(&[(1, 150), (2, 60), (3, 7)], 4_000);
        assert_eq!(both.since(&before).0, 67);
        let ended = time(&[(1, 150)], 4_000);
        assert_eq!(ended.since(&before).0, 3_000);
        let unknown = CpuTime { threads_ns: None, ticks_ns: 4_000 };
        assert_eq!(unknown.since(&before).0, 3_000);
    }

    #[test]
    fn threads_that_came_and_went_are_seen_in_the_ticks() {
        let before = time(&[(1, 100)], 1_000);
        let alike = time(&[(1, 10_000_100)], 30_001_000);
        assert_eq!(alike.since(&before), (10_000_000, SCHEDULER), "ticks are coarse");
        let lost = time(&[(1, 10_000_100)], 40_001_000);
        assert_eq!(lost.since(&before), (40_000_000, TICKS));
    }

    #[test]
    fn work_of_this_process_is_seen_in_its_clocks() {
        let tree = Tree::of(std::process::id()).expect("works in tests");
        let before = Reading::take(&tree, [0, 0]).expect("works in tests");
        let began = Instant::now();
        let mut sum = 0_u64;
        // Other threads of the test come and go, so ticks may be all there is; the machine may be shared.
        loop {
            while began.elapsed().as_millis() < 50 {
                sum = std::hint::black_box(sum + 1);
            }
            let usage = Reading::take(&tree, [0, 0]).expect("works in tests").since(&before);
            assert!(usage.elapsed_ns >= 50_000_000, "{usage:?}");
            if usage.server_ns >= 10_000_000 {
                return;
            }
            assert!(began.elapsed().as_secs() < 20, "{usage:?}");
        }
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("works in tests");
        let tree = Tree::of(std::process::id()).expect("works in tests");
        child.kill().expect("works in tests");
        child.wait().expect("works in tests");
        assert!(tree.0.contains(&child.id()), "{tree:?}");
    }
}
