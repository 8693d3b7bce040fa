//! The interleaving: which server runs when, and what is done with one that fails.
//!
//! ```text
//! repetition 1:  workload 1: A B C   workload 2: A B C
//! repetition 2:  workload 1: B C A   workload 2: B C A
//! ```
//!
//! Invariants:
//! - a sample is one load on one freshly started process, which answered rightly before;
//! - what other work disturbed too much is taken again, a few times, and the least disturbed counts;
//! - a server that fails is left out of that row from then on, and the others still run; one that cannot be the
//!   yardstick of the rates is left out of these, and the next one is.

use std::time::Duration;

use super::measure::{self, Stop};
use super::programs::Unfit;
use super::progress::Progress;
use super::sample::{Missing, Sample, Samples};
use super::servers::{self, Server};
use super::workloads::{Rhythm, SATURATION, Times, Workload};

/// A run is taken again so often at most.
const RETAKES_MAX: u32 = 3;
/// Loads that look for the saturation; the best counts.
const SATURATION_LOADS: u32 = 3;
const SATURATION_TIME_MAX: Duration = Duration::from_secs(1);
/// What starting, checking and ending a server takes, roughly.
const RUN_OVERHEAD: Duration = Duration::from_millis(700);
/// Descriptors that a process needs besides its connections.
const DESCRIPTORS_SPARE: u64 = 128;

/// What all runs have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) repeat: u32,
    pub(super) times: Times,
    pub(super) core: usize,
    pub(super) load_core: usize,
    /// Parts of a core.
    pub(super) others_max: f64,
    /// Descriptors that a process may have.
    pub(super) descriptors: u64,
}

/// What the fixed rates refer to.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Saturation {
    pub(super) server: String,
    pub(super) requests_per_second: f64,
}

/// A comparison under way, and what it has found so far.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    settings: Settings,
    progress: &'a Progress,
    servers: &'a [Server],
    workloads: &'a [&'static Workload],
    repetition: u32,
    /// The place in `workloads` of the one that is measured.
    row: usize,
    pub(super) samples: Samples,
    pub(super) missing: Vec<Missing>,
    pub(super) saturation: Option<Saturation>,
}

/// Somebody asked us to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupted;

impl<'a> Runs<'a> {
    /// Says which servers are unfit, and notes what is known to be missing.
    pub(super) fn new(
        settings: Settings,
        progress: &'a Progress,
        servers: &'a [Server],
        unfit: &[Unfit],
        workloads: &'a [&'static Workload],
    ) -> Self {
        let (samples, missing) = (Samples::default(), Vec::new());
        let (repetition, row, saturation) = (0, 0, None);
        let mut runs = Self { settings, progress, servers, workloads, repetition, row, samples, missing, saturation };
        for workload in workloads {
            for server in servers {
                let lacks = server.kind.lacks(&server.name, workload).map(str::to_owned);
                if let Some(reason) = lacks.or_else(|| runs.too_many_connections(workload)) {
                    runs.leave_out(workload, &server.name, &reason, false);
                }
            }
            for Unfit { name, reason, failed } in unfit {
                runs.leave_out(workload, name, reason, *failed);
            }
        }
        runs
    }

    fn too_many_connections(&self, workload: &Workload) -> Option<String> {
        let (limit, wanted) = (self.settings.descriptors, u64::from(workload.connections_max()) + DESCRIPTORS_SPARE);
        (wanted > limit).then(|| {
            format!("{wanted} open descriptors are needed, the limit is {limit}: raise it, ulimit -Hn {wanted}")
        })
    }

    fn leave_out(&mut self, workload: &Workload, server: &str, reason: &str, failed: bool) {
        let missing = Missing { workload: workload.name, server: server.to_owned(), reason: reason.to_owned(), failed };
        self.missing.push(missing);
    }

    fn is_left_out(&self, workload: &Workload, server: &str) -> bool {
        self.missing.iter().any(|missing| missing.workload == workload.name && missing.server == server)
    }

    /// Takes all samples.
    ///
    /// # Errors
    /// If interrupted; what has been found so far stays.
    pub(super) fn all(&mut self) -> Result<(), Interrupted> {
        let pairs =
            self.workloads.iter().flat_map(|workload| self.servers.iter().map(move |server| (workload, server)));
        let runs = pairs.filter(|(workload, server)| !self.is_left_out(workload, &server.name)).count();
        let runs = u32::try_from(runs).unwrap_or(u32::MAX).saturating_mul(self.settings.repeat);
        self.progress.expect(runs, self.settings.times.warm_up + self.settings.times.measured + RUN_OVERHEAD);
        for repetition in 0..self.settings.repeat {
            self.repetition = repetition;
            for (row, workload) in self.workloads.iter().enumerate() {
                self.row = row;
                if matches!(workload.rhythm, Rhythm::PerCent(_)) && self.saturation.is_none() {
                    self.find_saturation(workload)?;
                }
                // Another one begins each time, so that no server owns the first place.
                for server in rotated(self.servers, repetition) {
                    self.one(workload, server)?;
                }
            }
        }
        Ok(())
    }

    fn one(&mut self, workload: &'static Workload, server: &Server) -> Result<(), Interrupted> {
        if self.is_left_out(workload, &server.name) {
            return Ok(());
        }
        let (name, repeat) = (&server.name, self.settings.repeat);
        self.progress.run(&format!("{}, {name}, repetition {} of {repeat}", workload.name, self.repetition + 1));
        match self.quiet(workload, server) {
            Ok(sample) => self.samples.add(sample),
            Err(Stop::Interrupted) => return Err(Interrupted),
            Err(Stop::Start(reason)) => self.give_up(name, None, &reason, true),
            Err(Stop::Failed(reason)) => {
                self.progress.warn(&format!("{name}: left out of {}: {reason}", workload.name));
                self.leave_out_of(|row| row.name == workload.name, name, &reason, true);
            }
        }
        Ok(())
    }

    /// A server that does not start: no row has it from here on. `while_at` says what it was wanted for if that was no
    /// row; `is_begun` that its run of the present row was.
    fn give_up(&mut self, server: &str, while_at: Option<&str>, reason: &str, is_begun: bool) {
        let at = while_at.map_or_else(String::new, |what| format!(" {what}:"));
        self.progress.warn(&format!("{server}: left out from here on:{at} {reason}"));
        self.leave_out_of(|_| true, server, reason, is_begun);
    }

    /// Leaves a server that has failed out of the rows that are `chosen`, and what is left of its runs out of the
    /// time that is still expected. `is_begun` says that its run of the present row is among those that were made.
    fn leave_out_of(&mut self, chosen: impl Fn(&Workload) -> bool, server: &str, reason: &str, is_begun: bool) {
        for (row, workload) in self.workloads.iter().enumerate() {
            if chosen(workload) && !self.is_left_out(workload, server) {
                self.leave_out(workload, server, reason, true);
                let was_made = row < self.row || row == self.row && is_begun;
                self.progress.drop_runs(self.settings.repeat - self.repetition - u32::from(was_made));
            }
        }
    }

    /// A sample that other work did not disturb too much, or the least disturbed of a few.
    fn quiet(&self, workload: &'static Workload, server: &Server) -> Result<Sample, Stop> {
        let rate = match (workload.rhythm, &self.saturation) {
            (Rhythm::PerCent(percent), Some(saturation)) => {
                Some(saturation.requests_per_second * f64::from(percent) / 100.0)
            }
            (Rhythm::PerCent(_), None) => {
                return Err(Stop::Failed("no saturation was found to take a part of".to_owned()));
            }
            (Rhythm::PerSecond(rate), _) => Some(f64::from(rate)),
            (Rhythm::Closed | Rhythm::Idle(_), _) => None,
        };
        let mut least: Option<Sample> = None;
        for retakes in 0..=RETAKES_MAX {
            let sample = measure::sample(&self.settings, workload, server, rate)?;
            let sample = Sample { repetition: self.repetition, retakes, ..sample };
            let disturbance = sample.disturbance();
            if least.as_ref().is_none_or(|least| disturbance < least.disturbance()) {
                least = Some(sample);
            }
            if disturbance <= self.settings.others_max {
                break;
            }
        }
        Ok(least.expect("the first sample is the least disturbed one so far"))
    }

    /// What the yardstick answers flat out, before the first row that refers to it: the floor, or the first server
    /// that stands that load.
    fn find_saturation(&mut self, workload: &'static Workload) -> Result<(), Interrupted> {
        const WHAT: &str = "at the load that the rates refer to";
        let servers = self.servers;
        let (floor, others): (Vec<_>, Vec<_>) = servers.iter().partition(|server| server.name == servers::FLOOR);
        for server in floor.into_iter().chain(others) {
            let name = &server.name;
            if self.is_left_out(workload, name) {
                continue;
            }
            self.progress.step(&format!("looking for the saturation of {name}, which the rates refer to"));
            match self.saturation_of(server) {
                Ok(requests_per_second) => {
                    self.saturation = Some(Saturation { server: name.clone(), requests_per_second });
                    return Ok(());
                }
                Err(Stop::Interrupted) => return Err(Interrupted),
                Err(Stop::Start(reason)) => self.give_up(name, Some(WHAT), &reason, false),
                Err(Stop::Failed(reason)) => {
                    self.progress.warn(&format!("{name}: left out of the fixed rates: {WHAT}: {reason}"));
                    let is_rate = |row: &Workload| matches!(row.rhythm, Rhythm::PerCent(_));
                    self.leave_out_of(is_rate, name, &format!("{WHAT}: {reason}"), false);
                }
            }
        }
        Ok(())
    }

    /// Requests a second, flat out: the best of a few loads.
    fn saturation_of(&self, server: &Server) -> Result<f64, Stop> {
        let times = Times { measured: self.settings.times.measured.min(SATURATION_TIME_MAX), ..self.settings.times };
        let settings = Settings { times, ..self.settings };
        let mut best = 0.0_f64;
        for _ in 0..SATURATION_LOADS {
            best = best.max(measure::sample(&settings, &SATURATION, server, None)?.requests_per_second);
        }
        Ok(best)
    }
}

/// All of `items`, beginning with another one each time.
fn rotated<T>(items: &[T], by: u32) -> impl Iterator<Item = &T> {
    let start = by as usize % items.len().max(1);
    items[start..].iter().chain(&items[..start])
}

#[cfg(test)]
mod tests {
    use super::super::servers::Kind;
    use super::*;

    #[test]
    fn every_server_begins_in_turn() {
        let orders: Vec<String> = (0..4).map(|by| rotated(&['A', 'B', 'C'], by).collect()).collect();
        assert_eq!(orders, ["ABC", "BCA", "CAB", "ABC"]);
        assert_eq!(rotated(&[(); 0], 5).count(), 0);
    }

    #[test]
    fn what_is_missing_is_known_before_the_first_run() {
        let progress = Progress::new();
        let workloads = ["plaintext-64", "json", "idle"].map(Workload::named);
        let floor = Server { name: "floor".into(), kind: Kind::Floor, program: "floor".into(), configuration: None };
        let unfit = Unfit { name: "hyper".to_owned(), reason: "does not build".to_owned(), failed: true };
        let times = Times { warm_up: Duration::ZERO, measured: Duration::from_secs(1) };
        let settings = Settings { repeat: 1, times, core: 0, load_core: 0, others_max: 1.0, descriptors: 1024 };
        let servers = [floor];
        let runs = Runs::new(settings, &progress, &servers, &[unfit], &workloads);
        let of = |workload: &str, server: &str| {
            let mut all =
                runs.missing.iter().filter(|missing| missing.workload == workload && missing.server == server);
            all.next().map(|missing| (missing.reason.as_str(), missing.failed))
        };
        assert_eq!(of("plaintext-64", "floor"), None);
        assert_eq!(of("json", "floor"), Some(("it gives one fixed answer to every request", false)));
        let descriptors = "10192 open descriptors are needed, the limit is 1024: raise it, ulimit -Hn 10192";
        assert_eq!(of("idle", "floor"), Some((descriptors, false)));
        assert_eq!(of("json", "hyper"), Some(("does not build", true)));
    }
}
