//! How many descriptors, how much memory: of this process, its control group and the host.
//!
//! Invariants: a limit is compared with what an engine with the default settings wants.
//!
//! Not here: processors (`cores`), queues of the network (`network`).
//!
//! Source: getrlimit(2), proc_sys_fs(5), proc_sys_vm(5).

use rustix::process::{Resource, Rlimit, getrlimit};

use super::report::{Finding, Report};
use super::texts::{self, bytes};
use super::{Outcome, cgroup, read};

/// CAP_IPC_LOCK, with which memory that is locked is not counted.
const CAP_IPC_LOCK: u32 = 14;
/// What all rings and buffers of some shards fit by far.
const MEMLOCK_AMPLE: u64 = 8 << 20;
/// What kernels have unless it is changed.
const MAP_COUNT_USUAL: u64 = 65_530;

pub(super) fn examine(report: &mut Report, outcome: &Outcome) {
    let status = read("/proc/self/status").unwrap_or_default();
    let sysctl = |name: &str| read(format!("/proc/sys/{name}"))?.parse::<u64>().ok();
    let (files, nr_open) = (getrlimit(Resource::Nofile), sysctl("fs/nr_open"));
    report.add(descriptors(&files, outcome));
    report.add(nr_open.map(|most| descriptors_of_a_process(most, &files)));
    let is_counted = texts::has_capability(&status, CAP_IPC_LOCK) != Some(true);
    report.add(locked_memory(getrlimit(Resource::Memlock).current.filter(|_| is_counted), outcome));
    let total = texts::number(&read("/proc/meminfo").unwrap_or_default(), "MemTotal").map(|kib| kib << 10);
    report.add(memory(cgroup::memory_max(), total, outcome));
    report.add(sysctl("vm/overcommit_memory").map(|mode| overcommit(mode, outcome)));
    report.add(sysctl("vm/max_map_count").map(maps));
}

fn descriptors(files: &Rlimit, outcome: &Outcome) -> Finding {
    const NAME: &str = "descriptors";
    let limit = |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let (soft, hard) = (limit(files.current), limit(files.maximum));
    match files.current.filter(|soft| *soft < outcome.connections) {
        None => Finding::ok(NAME, format!("{soft} at a time (hard limit {hard}), and each connection is one")),
        Some(_) => {
            let cause = format!(
                "{soft} at a time (hard limit {hard}), each connection is one, and an engine can hold {} connections",
                outcome.connections
            );
            let remedy = match files.current == files.maximum {
                true => "raise the hard limit (LimitNOFILE= in a systemd unit, --ulimit nofile= of a container)",
                false => "EngineBuilder::raise_descriptor_limit(true), which `ringress serve` has; or ulimit -n",
            };
            Finding::slow(NAME, cause, remedy)
        }
    }
}

fn descriptors_of_a_process(most: u64, files: &Rlimit) -> Finding {
    const NAME: &str = "fs.nr_open";
    match files.maximum.filter(|hard| *hard <= most) {
        Some(_) => Finding::ok(NAME, format!("{most}: the most that a hard limit of descriptors may be")),
        None => Finding::slow(
            NAME,
            format!("{most}, which is below the hard limit of descriptors: that cannot be asked for"),
            "lower the hard limit, or raise fs.nr_open",
        ),
    }
}

/// `limit`: bytes, or `None` where nothing is counted.
fn locked_memory(limit: Option<u64>, outcome: &Outcome) -> Finding {
    const NAME: &str = "memlock";
    match limit {
        None => Finding::ok(NAME, "no limit, or none for this process"),
        Some(limit) if limit >= MEMLOCK_AMPLE => Finding::ok(NAME, bytes(limit)),
        Some(limit) if outcome.has_io_uring => {
            Finding::ok(NAME, format!("{}, which was enough for {} shards", bytes(limit), outcome.shards))
        }
        Some(limit) => Finding::slow(
            NAME,
            format!("{}, to which all rings of a user may count together", bytes(limit)),
            "raise it, where the driver says that memory could not be locked: ulimit -l, or LimitMEMLOCK= in a \
            systemd unit",
        ),
    }
}

fn memory(group: Option<u64>, total: Option<u64>, outcome: &Outcome) -> Finding {
    const NAME: &str = "memory";
    let wanted = bytes(outcome.resident_max);
    let Some(most) = group.into_iter().chain(total).min() else {
        return Finding::ok(NAME, format!("not known; an engine under full load has {wanted} at most"));
    };
    let whose = if group.is_some_and(|group| group == most) { "its control group's limit" } else { "the host's" };
    match most >= outcome.resident_max {
        true => Finding::ok(NAME, format!("{} ({whose}); an engine under full load has {wanted} at most", bytes(most))),
        false => Finding::slow(
            NAME,
            format!("{} ({whose}), but an engine under full load has {wanted}: it could be killed", bytes(most)),
            "EngineBuilder::memory_max, or ::small",
        ),
    }
}

fn overcommit(mode: u64, outcome: &Outcome) -> Finding {
    const NAME: &str = "vm.overcommit_memory";
    match mode {
        2 => Finding::slow(
            NAME,
            format!("2: all that is reserved counts, {} of an engine, used or not", bytes(outcome.reserved)),
            "vm.overcommit_memory=0, or EngineBuilder::memory_max",
        ),
        _ => Finding::ok(NAME, format!("{mode}: memory counts when it is used")),
    }
}

fn maps(most: u64) -> Finding {
    const NAME: &str = "vm.max_map_count";
    match most < MAP_COUNT_USUAL {
        false => Finding::ok(NAME, most.to_string()),
        true => Finding::slow(
            NAME,
            format!("{most}, fewer than usual: stacks of threads are maps, and so are areas of shards"),
            format!("sysctl -w vm.max_map_count={MAP_COUNT_USUAL}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    const OUTCOME: Outcome =
        Outcome { has_io_uring: true, shards: 2, connections: 131_072, resident_max: 1 << 30, reserved: 1 << 32 };

    fn rlimit(current: u64, maximum: u64) -> Rlimit {
        Rlimit { current: Some(current), maximum: Some(maximum) }
    }

    #[test]
    fn descriptors_are_compared_with_connections() {
        assert_eq!(descriptors(&rlimit(1 << 20, 1 << 20), &OUTCOME).verdict, Verdict::Ok);
        assert_eq!(descriptors(&Rlimit { current: None, maximum: None }, &OUTCOME).verdict, Verdict::Ok);
        let remedy = |soft, hard| descriptors(&rlimit(soft, hard), &OUTCOME).remedy.unwrap_or_default();
        assert!(remedy(1_024, 1 << 20).contains("raise_descriptor_limit"));
        assert!(remedy(1_024, 1_024).contains("LimitNOFILE="));
        assert_eq!(descriptors_of_a_process(1 << 20, &rlimit(1_024, 1 << 20)).verdict, Verdict::Ok);
        assert_eq!(descriptors_of_a_process(1 << 20, &rlimit(1_024, 1 << 21)).verdict, Verdict::Slow);
    }

    #[test]
    fn memory_is_compared_with_what_an_engine_can_have() {
        let of = |group, total| memory(group, total, &OUTCOME);
        assert_eq!(of(None, Some(1 << 34)).verdict, Verdict::Ok);
        assert_eq!(of(None, None).verdict, Verdict::Ok);
        let little = of(Some(64 << 20), Some(1 << 34));
        assert!(little.verdict == Verdict::Slow && little.cause.contains("control group"), "{little:?}");
        assert!(of(Some(1 << 40), Some(1 << 20)).cause.contains("host"));
    }

    #[test]
    fn little_that_may_be_locked_matters_without_io_uring() {
        let refused = Outcome { has_io_uring: false, ..OUTCOME };
        assert_eq!(locked_memory(Some(65_536), &OUTCOME).verdict, Verdict::Ok);
        assert_eq!(locked_memory(Some(65_536), &refused).verdict, Verdict::Slow);
        assert_eq!((locked_memory(None, &refused).verdict, maps(100).verdict), (Verdict::Ok, Verdict::Slow));
        assert_eq!((overcommit(0, &OUTCOME).verdict, overcommit(2, &OUTCOME).verdict), (Verdict::Ok, Verdict::Slow));
    }
}
