//! From samples to figures: medians, spreads and ratios. Pure.
//!
//! Invariants: a ratio compares two samples of one repetition, so that what changed on the machine between repetitions
//! stays out of it; nothing is compared with a server that answered wrongly; a run that missed its rate gives no
//! figure, for it would be that of another rate; a figure is never given without its lowest and its highest.

use serde::Serialize;

use super::sample::{Missing, Sample, Samples};
use super::servers;
use super::workloads::Workload;

/// The median of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Spread {
    /// None of no values. The median of an even number of values is the mean of the two in the middle.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), lowest, highest })
    }
}

/// One server on one workload.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) workload: &'static str,
    pub(super) server: String,
    /// Repetitions behind the figures.
    pub(super) runs: usize,
    /// Those among them whose CPU time is that of the whole run.
    pub(super) whole_runs: usize,
    /// Repetitions that missed the rate they were asked for, and so are not behind the figures.
    pub(super) missed_runs: usize,
    pub(super) requests_per_second: Spread,
    pub(super) cpu_us_per_request: Spread,
    /// CPU time per request to that of the floor; none if the floor had faults.
    pub(super) to_floor: Option<Spread>,
    /// CPU time per request to that of the older showcase in the same mode; none if that had faults.
    pub(super) to_old: Option<Spread>,
    /// How busy the server kept its core: parts of it.
    pub(super) server_core_share: Spread,
    /// How busy the generator kept its own: parts of it.
    pub(super) generator_core_share: Spread,
    pub(super) p50_us: Spread,
    pub(super) p99_us: Spread,
    pub(super) p999_us: Spread,
    pub(super) p9999_us: Spread,
    pub(super) resident_bytes: Spread,
    /// What the same process cost before the idle connections came.
    pub(super) idle: Option<IdleRow>,
    /// All repetitions together.
    pub(super) faults: u64,
    /// Requests that were due and could not be sent, all repetitions together.
    pub(super) unsent: u64,
    /// The worst of all repetitions: parts of a core.
    pub(super) others_server_core: f64,
    /// The worst of all repetitions: parts of a core.
    pub(super) others_load_core: f64,
}

/// What idle connections cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct IdleRow {
    pub(super) bytes_each: Spread,
    pub(super) cpu_us_per_request_without: Spread,
    pub(super) p99_us_without: Spread,
    /// CPU time per request with idle connections to that without.
    pub(super) to_without: Spread,
}

/// The rows of a workload, in the order of `servers`; a server has none without a sample that kept its rate.
pub(super) fn rows(samples: &Samples, workload: &Workload, servers: &[String]) -> Vec<Row> {
    let of = |server: &str| samples.of(workload.name, server);
    let floor = if workload.floor_is_fair { of(servers::FLOOR) } else { Vec::new() };
    let row = |server: &String| {
        let old = of(&format!("{}{server}", servers::OLD));
        row(workload.name, server, &of(server), &floor, &old)
    };
    servers.iter().filter_map(row).collect()
}

/// The servers of which every sample missed its rate.
pub(super) fn too_slow(samples: &Samples, workload: &Workload, servers: &[String]) -> Vec<Missing> {
    let missing = |server: &String| {
        let all = samples.of(workload.name, server);
        let missed: Vec<f64> = all.iter().filter_map(|sample| sample.missed_rate()).collect();
        let asked = missed.first().filter(|_| missed.len() == all.len())?;
        let distance = |sample: &&&Sample| (sample.requests_per_second - asked).abs();
        let nearest = all.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?.requests_per_second;
        let unsent: u64 = all.iter().map(|sample| sample.faults.kinds.unsent).sum();
        let faults: u64 = all.iter().map(|sample| sample.faults.count).sum();
        let reason = format!(
            "the rate was not kept, so it has no figures: {nearest:.0} of {asked:.0} requests/s were answered at best, \
             {unsent} requests were never sent, {faults} faults"
        );
        Some(Missing { workload: workload.name, server: server.clone(), reason, failed: false })
    };
    servers.iter().filter_map(missing).collect()
}

fn row(workload: &'static str, server: &str, all: &[&Sample], floor: &[&Sample], old: &[&Sample]) -> Option<Row> {
    let own = &kept(all);
    let spread = |figure: fn(&Sample) -> f64| Spread::of(own.iter().map(|sample| figure(sample)));
    let highest = |figure: fn(&Sample) -> f64| own.iter().map(|sample| figure(sample)).fold(0.0, f64::max);
    Some(Row {
        workload,
        server: server.to_owned(),
        runs: own.len(),
        whole_runs: own.iter().filter(|sample| sample.cpu_of_whole_run).count(),
        requests_per_second: spread(|sample| sample.requests_per_second)?,
        cpu_us_per_request: spread(|sample| sample.cpu_us_per_request)?,
        missed_runs: all.len() - own.len(),
        to_floor: Spread::of(ratios(own, floor)),
        to_old: Spread::of(ratios(own, old)),
        server_core_share: spread(|sample| sample.server_core_share)?,
        generator_core_share: spread(|sample| sample.generator_core_share)?,
        p50_us: spread(|sample| sample.p50_us)?,
        p99_us: spread(|sample| sample.p99_us)?,
        p999_us: spread(|sample| sample.p999_us)?,
        p9999_us: spread(|sample| sample.p9999_us)?,
        #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
        resident_bytes: spread(|sample| sample.resident_bytes as f64)?,
        idle: idle(own),
        faults: all.iter().map(|sample| sample.faults.count).sum(),
        unsent: all.iter().map(|sample| sample.faults.kinds.unsent).sum(),
        others_server_core: highest(|sample| sample.others_server_core),
        others_load_core: highest(|sample| sample.others_load_core),
    })
}

/// Those that kept the rate they were asked for, if they were.
fn kept<'a>(samples: &[&'a Sample]) -> Vec<&'a Sample> {
    samples.iter().copied().filter(|sample| sample.missed_rate().is_none()).collect()
}

fn idle(own: &[&Sample]) -> Option<IdleRow> {
    let spread = |figure: fn(&Sample) -> Option<f64>| Spread::of(own.iter().filter_map(|sample| figure(sample)));
    Some(IdleRow {
        bytes_each: spread(|sample| Some(sample.idle?.bytes_each))?,
        cpu_us_per_request_without: spread(|sample| Some(sample.idle?.cpu_us_per_request_without))?,
        p99_us_without: spread(|sample| Some(sample.idle?.p99_us_without))?,
        to_without: spread(|sample| Some(sample.cpu_us_per_request / sample.idle?.cpu_us_per_request_without))?,
    })
}

/// CPU time per request to that of `base` in the same repetition; repetitions that only one of them has are left out.
/// None if `base` had faults: what it did then is no measure.
fn ratios(own: &[&Sample], base: &[&Sample]) -> Vec<f64> {
    if base.iter().any(|sample| sample.faults.count > 0) {
        return Vec::new();
    }
    let base = kept(base);
    let of = |repetition| base.iter().find(|sample| sample.repetition == repetition);
    own.iter()
        .filter_map(|sample| Some(sample.cpu_us_per_request / of(sample.repetition)?.cpu_us_per_request))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::Idle;
    use super::*;

    fn spread(median: f64, lowest: f64, highest: f64) -> Option<Spread> {
        Some(Spread { median, lowest, highest })
    }

    fn sample(server: &str, repetition: u32, cpu: f64) -> Sample {
        Sample { cpu_us_per_request: cpu, ..Sample::example("plaintext-64", server, repetition) }
    }

    fn workload() -> &'static Workload {
        Workload::named("plaintext-64")
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), spread(3.0, 3.0, 3.0));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), spread(2.0, 1.0, 9.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]), spread(3.0, 1.0, 9.0));
    }

    #[test]
    fn ratios_are_taken_within_a_repetition_so_that_a_slow_minute_hits_both_alike() {
        // The machine is twice as slow in the second repetition: 3 % stay 3 %.
        let mut samples = Samples::default();
        for (repetition, slowness) in [(0, 1.0), (1, 2.0), (2, 1.5)] {
            samples.add(sample("floor", repetition, 4.0 * slowness));
            samples.add(sample("colocated", repetition, 4.0 * 1.03 * slowness));
        }
        let rows = rows(&samples, workload(), &["floor".to_owned(), "colocated".to_owned()]);
        assert_eq!(rows[0].to_floor, spread(1.0, 1.0, 1.0));
        let ratio = rows[1].to_floor.expect("works in tests");
        for value in [ratio.median, ratio.lowest, ratio.highest] {
            assert!((value - 1.03).abs() < 1e-12, "{ratio:?}");
        }
        assert_eq!(rows[1].cpu_us_per_request, Spread::of([4.12, 8.24, 6.18]).expect("works in tests"));
    }

    #[test]
    fn a_repetition_without_the_floor_has_no_ratio_but_counts_otherwise() {
        let mut samples = Samples::default();
        samples.add(sample("floor", 1, 2.0));
        samples.add(sample("queue", 0, 9.0));
        samples.add(sample("queue", 1, 3.0));
        let rows = rows(&samples, workload(), &["queue".to_owned(), "hyper".to_owned()]);
        assert_eq!(rows.len(), 1, "hyper has no sample");
        assert_eq!((rows[0].runs, rows[0].to_floor), (2, spread(1.5, 1.5, 1.5)));
        assert_eq!(rows[0].cpu_us_per_request, spread(6.0, 3.0, 9.0).expect("works in tests"));
    }

    #[test]
    fn new_is_compared_with_old_of_the_same_mode() {
        let mut samples = Samples::default();
        for (server, cpu) in [("queue", 5.0), ("old-queue", 4.0), ("old-colocated", 1.0), ("colocated", 1.5)] {
            samples.add(sample(server, 0, cpu));
        }
        let names = ["colocated", "queue", "old-queue"].map(str::to_owned);
        let rows = rows(&samples, workload(), &names);
        let to_old: Vec<_> = rows.iter().map(|row| row.to_old.map(|ratio| ratio.median)).collect();
        assert_eq!(to_old, [Some(1.5), Some(1.25), None]);
    }

    #[test]
    fn nothing_is_compared_with_a_server_that_had_faults() {
        let mut samples = Samples::default();
        for (server, repetition, faults) in [("floor", 0, 0), ("floor", 1, 3), ("queue", 0, 2), ("queue", 1, 0)] {
            let mut sample = sample(server, repetition, 2.0);
            sample.faults.count = faults;
            samples.add(sample);
        }
        samples.add(sample("old-queue", 0, 2.0));
        let rows = rows(&samples, workload(), &["floor".to_owned(), "queue".to_owned()]);
        assert_eq!((rows[0].to_floor, rows[1].to_floor), (None, None));
        assert_eq!((rows[1].to_old, rows[1].faults), (spread(1.0, 1.0, 1.0), 2));
    }

    #[test]
    fn a_run_that_missed_its_rate_gives_no_figure_and_is_said_to_have_missed_it() {
        let mut samples = Samples::default();
        let answered =
            [("floor", [40_000.0, 40_000.0]), ("queue", [40_000.0, 31_000.0]), ("may", [30_000.0, 29_000.0])];
        for (server, rates) in answered {
            for (repetition, requests_per_second) in (0..).zip(rates) {
                let cpu_us_per_request = if requests_per_second < 40_000.0 { 99.0 } else { 5.0 };
                let example = Sample::example("rate-40k-512", server, repetition);
                let sample = Sample { rate: Some(40_000.0), requests_per_second, cpu_us_per_request, ..example };
                samples.add(sample);
            }
        }
        let (workload, servers) = (Workload::named("rate-40k-512"), ["floor", "queue", "may"].map(str::to_owned));
        let rows = rows(&samples, workload, &servers);
        let found: Vec<_> = rows.iter().map(|row| (row.server.as_str(), row.runs, row.missed_runs)).collect();
        assert_eq!(found, [("floor", 2, 0), ("queue", 1, 1)]);
        assert_eq!(
            (Some(rows[1].cpu_us_per_request), rows[1].to_floor),
            (spread(5.0, 5.0, 5.0), spread(1.0, 1.0, 1.0))
        );
        let missing = too_slow(&samples, workload, &servers);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!((missing[0].server.as_str(), missing[0].failed), ("may", false));
        assert!(missing[0].reason.contains(": 30000 of 40000 requests/s were answered at best, "), "{missing:?}");
    }

    #[test]
    fn the_floor_is_no_yardstick_where_it_does_other_work() {
        let mut samples = Samples::default();
        for server in ["floor", "queue"] {
            samples.add(Sample::example("json", server, 0));
        }
        let rows = rows(&samples, Workload::named("json"), &["queue".to_owned()]);
        assert_eq!(rows[0].to_floor, None);
    }

    #[test]
    fn idle_connections_are_weighed_against_the_same_process_without_them() {
        let mut samples = Samples::default();
        for (repetition, without) in [(0, 4.0), (1, 8.0)] {
            let idle = Some(Idle { bytes_each: 250.0, cpu_us_per_request_without: without, p99_us_without: 100.0 });
            let cpu = without * 1.25;
            let example = Sample::example("idle", "queue", repetition);
            samples.add(Sample { idle, cpu_us_per_request: cpu, ..example });
        }
        let rows = rows(&samples, Workload::named("idle"), &["queue".to_owned()]);
        let idle = rows[0].idle.expect("works in tests");
        assert_eq!(Some(idle.to_without), spread(1.25, 1.25, 1.25));
        assert_eq!(Some(idle.bytes_each), spread(250.0, 250.0, 250.0));
        assert_eq!(Some(idle.cpu_us_per_request_without), spread(6.0, 4.0, 8.0));
    }
}
