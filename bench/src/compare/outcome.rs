//! All that a comparison has found, as the reports read it; and as JSON.

use serde::Serialize;

use super::runs::{Saturation, Settings};
use super::sample::{Missing, Sample, Samples};
use super::summary::{self, Row};
use super::usage::Machine;
use super::workloads::Workload;

/// One workload: the servers with figures, and those without.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) workload: &'static Workload,
    pub(super) rows: Vec<Row>,
    pub(super) missing: Vec<Missing>,
}

/// A comparison, whole or cut short.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// As it was typed.
    pub(super) command: String,
    pub(super) commit: Option<String>,
    pub(super) machine: Machine,
    pub(super) settings: Settings,
    pub(super) saturation: Option<Saturation>,
    pub(super) interrupted: bool,
    pub(super) tables: Vec<Table>,
    pub(super) samples: Samples,
}

impl Outcome {
    /// Whether something that should have worked did not.
    pub(super) fn has_failures(&self) -> bool {
        let left_out = self.tables.iter().flat_map(|table| &table.missing).any(|missing| missing.failed);
        let faults = self.samples.all().iter().any(|sample| sample.faults.count > 0);
        left_out || faults
    }

    pub(super) fn first_fault(&self, workload: &str, server: &str) -> Option<&str> {
        let of = |sample: &'_ Sample| sample.workload == workload && sample.server == server;
        self.samples.all().iter().filter(|sample| of(sample)).find_map(|sample| sample.faults.kinds.first.as_deref())
    }

    /// Every sample, the summary, and where it all comes from.
    pub(super) fn json(&self) -> String {
        let Self { command, commit, machine, settings, saturation, interrupted, tables, samples } = self;
        let document = Document {
            command,
            commit: commit.as_deref(),
            machine,
            settings: Run {
                repeat: settings.repeat,
                seconds: settings.times.measured.as_secs_f64(),
                warm_up_seconds: settings.times.warm_up.as_secs_f64(),
                core: settings.core,
                load_core: settings.load_core,
            },
            saturation: saturation.as_ref(),
            interrupted: *interrupted,
            summary: tables.iter().flat_map(|table| &table.rows).collect(),
            missing: tables.iter().flat_map(|table| &table.missing).collect(),
            samples: samples.all(),
        };
        serde_json::to_string_pretty(&document).expect("plain data with text keys can be written as JSON")
    }
}

/// The tables of `workloads`, each with `servers` in their order.
pub(super) fn tables(
    workloads: &[&'static Workload],
    servers: &[String],
    samples: &Samples,
    missing: &[Missing],
) -> Vec<Table> {
    let table = |workload: &&'static Workload| {
        let known = missing.iter().filter(|missing| missing.workload == workload.name).cloned();
        Table {
            workload,
            rows: summary::rows(samples, workload, servers),
            missing: known.chain(summary::too_slow(samples, workload, servers)).collect(),
        }
    };
    workloads.iter().map(table).collect()
}

#[derive(Serialize)]
struct Document<'a> {
    command: &'a str,
    commit: Option<&'a str>,
    machine: &'a Machine,
    settings: Run,
    saturation: Option<&'a Saturation>,
    interrupted: bool,
    summary: Vec<&'a Row>,
    missing: Vec<&'a Missing>,
    samples: &'a [Sample],
}

#[derive(Serialize)]
struct Run {
    repeat: u32,
    seconds: f64,
    warm_up_seconds: f64,
    core: usize,
    load_core: usize,
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::workloads::Times;
    use super::*;

    /// Two rows, three servers, two repetitions.
    pub(in super::super) fn example() -> Outcome {
        let mut samples = Samples::default();
        for repetition in 0..2 {
            let cpu = 5.5 + f64::from(repetition);
            samples.add(Sample::example("plaintext-64", "floor", repetition));
            let queue = Sample::example("plaintext-64", "queue", repetition);
            samples.add(Sample { cpu_us_per_request: cpu, ..queue });
            samples.add(Sample::example("json", "queue", repetition));
        }
        let missing = |workload, server: &str, reason: &str, failed| {
            let (server, reason) = (server.to_owned(), reason.to_owned());
            Missing { workload, server, reason, failed }
        };
        let missing = [
            missing("plaintext-64", "hyper", "it does not build", true),
            missing("json", "hyper", "it does not build", true),
            missing("json", "floor", "it gives one fixed answer to every request", false),
        ];
        let workloads = ["plaintext-64", "json"].map(Workload::named);
        let servers = ["floor", "queue", "hyper"].map(str::to_owned);
        let times = Times { warm_up: Duration::from_millis(500), measured: Duration::from_secs(3) };
        Outcome {
            command: "ringress-bench compare --repeat 2".to_owned(),
            commit: Some("0123456789ab".to_owned()),
            machine: Machine {
                kernel: "6.18.0".to_owned(),
                processor: "A processor".to_owned(),
                cores: 2,
                congestion_control: "cubic".to_owned(),
            },
            settings: Settings { repeat: 2, times, core: 0, load_core: 1, others_max: 1.0, descriptors: 1024 },
            saturation: None,
            interrupted: false,
            tables: tables(&workloads, &servers, &samples, &missing),
            samples,
        }
    }

    #[test]
    fn json_holds_samples_summary_and_what_is_missing() {
        let value: serde_json::Value = serde_json::from_str(&example().json()).expect("works in tests");
        assert_eq!(value["samples"].as_array().expect("works in tests").len(), 6);
        assert_eq!(value["summary"][1]["server"], "queue");
        let ratio = value["summary"][1]["to_floor"]["median"].as_f64().expect("a number");
        assert!((ratio - 1.2).abs() < 1e-9, "{ratio}");
        assert_eq!(value["missing"][0]["reason"], "it does not build");
        assert_eq!((&value["commit"], &value["machine"]["cores"]), (&"0123456789ab".into(), &2.into()));
    }

    #[test]
    fn a_server_that_should_have_worked_is_a_failure_and_a_known_gap_is_none() {
        let mut outcome = example();
        assert!(outcome.has_failures());
        for table in &mut outcome.tables {
            table.missing.retain(|missing| !missing.failed);
        }
        assert!(!outcome.has_failures());
        let mut faulty = Sample::example("json", "queue", 2);
        faulty.faults.count = 1;
        faulty.faults.kinds.first = Some("a wrong length".to_owned());
        outcome.samples.add(faulty);
        assert!(outcome.has_failures());
        assert_eq!(outcome.first_fault("json", "queue"), Some("a wrong length"));
    }
}
