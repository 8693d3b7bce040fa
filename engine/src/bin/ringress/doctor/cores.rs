//! Processors: which may be used, whether two are one core, and how much of their time.
//!
//! Invariants: what is compared with is the number of shards that an engine has here by itself.
//!
//! Not here: how an engine chooses that number (room `config`).
//!
//! Source: sched(7), the kernel's admin-guide/cputopology.

use std::collections::BTreeSet;

use super::report::{Finding, Report};
use super::{Outcome, cgroup, read, texts};

pub(super) fn examine(report: &mut Report, outcome: &Outcome) {
    let status = read("/proc/self/status").unwrap_or_default();
    let allowed = texts::field(&status, "Cpus_allowed_list").and_then(texts::processors);
    let online = read("/sys/devices/system/cpu/online").as_deref().and_then(texts::processors);
    let siblings = |processor: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
        read(path).as_deref().and_then(texts::processors)
    };
    report.add(processors(allowed.as_ref(), online.as_ref(), siblings, outcome.shards));
    report.add(time(cgroup::processors_max(), outcome.shards));
}

fn processors(
    allowed: Option<&BTreeSet<usize>>,
    online: Option<&BTreeSet<usize>>,
    siblings: impl Fn(usize) -> Option<BTreeSet<usize>>,
    shards: usize,
) -> Finding {
    const NAME: &str = "cores";
    let Some(allowed) = allowed else {
        return Finding::ok(NAME, format!("not known: /proc/self/status does not say; {shards} shards"));
    };
    // A core is known by the first of its processors.
    let core = |processor: &usize| siblings(*processor).and_then(|all| all.first().copied()).unwrap_or(*processor);
    let cores: BTreeSet<usize> = allowed.iter().map(core).collect();
    let of = online.filter(|online| online.len() > allowed.len()).map(|online| format!(" of {}", online.len()));
    let are = match allowed.len() - cores.len() {
        0 => "none shares a core with another".to_owned(),
        _ => format!("on {} cores, which some share", cores.len()),
    };
    let cause = format!("{}{} processors are allowed, {are}; {shards} shards", allowed.len(), of.unwrap_or_default());
    match shards > cores.len() {
        false => Finding::ok(NAME, cause),
        true => Finding::slow(
            NAME,
            format!("{cause}: they keep each other waiting"),
            format!("EngineBuilder::shards({}), or allow more processors", cores.len().max(1)),
        ),
    }
}

/// `most`: processors' worth of time.
fn time(most: Option<f64>, shards: usize) -> Finding {
    const NAME: &str = "cpu quota";
    let Some(most) = most else { return Finding::ok(NAME, "none that is seen") };
    // Shards are few.
    let enough = (1..=shards).take_while(|count| f64::from(u32::try_from(*count).unwrap_or(u32::MAX)) <= most).count();
    match enough == shards {
        true => Finding::ok(NAME, format!("{most:.1} processors' time, for {shards} shards and who answers")),
        false => Finding::slow(
            NAME,
            format!("{most:.1} processors' time for {shards} shards: beyond it all of them stand still for a while"),
            format!("EngineBuilder::shards({}), or raise the control group's cpu.max", enough.max(1)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn set(list: &str) -> BTreeSet<usize> {
        texts::processors(list).expect("a list")
    }

    #[test]
    fn processors_that_share_a_core_are_counted_once() {
        let pairs = |processor: usize| Some(set(&format!("{},{}", processor % 4, processor % 4 + 4)));
        let all = processors(Some(&set("0-7")), Some(&set("0-7")), pairs, 4);
        assert_eq!(all, Finding::ok("cores", "8 processors are allowed, on 4 cores, which some share; 4 shards"));
        let some = processors(Some(&set("0,1,4")), Some(&set("0-7")), pairs, 4);
        assert_eq!((some.verdict, some.remedy.is_some()), (Verdict::Slow, true));
        assert!(some.cause.starts_with("3 of 8 processors are allowed, on 2 cores"), "{some:?}");
        let alone = processors(Some(&set("3")), None, |_| None, 1);
        assert_eq!(alone.cause, "1 processors are allowed, none shares a core with another; 1 shards");
        assert_eq!(processors(None, None, |_| None, 1).verdict, Verdict::Ok);
    }

    #[test]
    fn less_time_than_shards_is_slow() {
        assert_eq!((time(None, 4).verdict, time(Some(4.0), 4).verdict), (Verdict::Ok, Verdict::Ok));
        let little = time(Some(1.5), 4);
        assert!(little.verdict == Verdict::Slow && little.remedy.is_some_and(|text| text.contains("shards(1)")));
        assert_eq!(time(Some(0.5), 1).verdict, Verdict::Slow);
    }
}
