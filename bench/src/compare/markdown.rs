//! The comparison as Markdown: how it was made, then the tables of each workload: cost, times, idle connections. Pure.
//!
//! Invariants: a line of a table is at most 200 columns wide, unless a server has a very long name.

use std::fmt::Write as _;

use super::outcome::{Outcome, Table};
use super::sample::{Missing, Sample};
use super::summary::{Row, Spread};
use super::workloads::Rhythm;

/// The whole document, without a title of its own, so that it fits into another.
pub(super) fn document(outcome: &Outcome) -> String {
    let mut text = head(outcome);
    for table in &outcome.tables {
        section(&mut text, outcome, table);
    }
    text
}

fn head(outcome: &Outcome) -> String {
    let Outcome { command, commit, machine, settings, samples, .. } = outcome;
    let mut text = format!("`{command}`\n");
    let commit = commit.as_deref().map_or_else(|| "an unknown commit".to_owned(), |id| format!("commit {id}"));
    let times = settings.times;
    let (measured, warm_up) = (times.measured.as_secs_f64(), times.warm_up.as_secs_f64());
    let (repeat, core, load_core) = (settings.repeat, settings.core, settings.load_core);
    let plural = if repeat == 1 { "" } else { "s" };
    let mut line = |line: String| text.push_str(&(line + "\n"));
    line(format!("at {commit}; {machine}."));
    line(format!(
        "Servers on core {core}, the load generator on core {load_core}; {repeat} repetition{plural} of {measured} s \
         after {warm_up} s of warm-up, interleaved, each on a fresh process."
    ));
    line("Median (lowest to highest); ratios of CPU time are taken within a repetition.".to_owned());
    line(FLOOR.to_owned());
    let mut clocks: Vec<&str> = samples.all().iter().map(|sample| sample.clock).collect();
    clocks.sort_unstable();
    clocks.dedup();
    if !clocks.is_empty() {
        line(format!("CPU time, user and system, of all threads and child processes: {}.", clocks.join(" and ")));
    }
    for (whose, others) in [
        ("servers'", (|sample| sample.others_server_core) as fn(&Sample) -> f64),
        ("generator's", |sample| sample.others_load_core),
    ] {
        if let Some(Spread { median, highest, .. }) = Spread::of(samples.all().iter().map(others)) {
            let (median, highest) = (median * 100.0, highest * 100.0);
            let what = format!("Other work and stolen time on the {whose} core");
            line(format!("{what}: median {median:.0} %, highest {highest:.0} %."));
        }
    }
    if let Some(saturation) = &outcome.saturation {
        let (server, rate) = (&saturation.server, saturation.requests_per_second);
        line(format!("Fixed rates are parts of {rate:.0} requests/s, what {server} answered flat out, for all alike."));
    }
    if outcome.interrupted {
        line("**Interrupted: not all repetitions were made.**".to_owned());
    }
    text
}

/// What ratios are to.
const FLOOR: &str = "To floor: CPU time per request over that of the floor, the least that a one-thread io_uring \
    server can do on this machine: one fixed answer, nothing parsed. 1.05 is 5 % more than that.";

/// A column: its heading, and its cell in a row; none if the row has no such figure.
type Column = (&'static str, fn(&Row) -> Option<String>);

const COST: [Column; 8] = [
    ("requests/s", |row| Some(cell(row.requests_per_second, 1.0))),
    ("CPU us/request", |row| Some(cell(row.cpu_us_per_request, 1.0))),
    ("to floor", |row| row.to_floor.map(ratio)),
    (TO_OLD, |row| row.to_old.map(ratio)),
    ("server core", |row| Some(percent(row.server_core_share))),
    ("load core", |row| Some(percent(row.generator_core_share))),
    ("other work", |row| Some(format!("{:.0}, {:.0} %", row.others_server_core * 100.0, row.others_load_core * 100.0))),
    ("faults", |row| {
        let unsent = if row.unsent > 0 { format!(", {} unsent", row.unsent) } else { String::new() };
        Some(format!("{}{unsent}", row.faults))
    }),
];
const TO_OLD: &str = "to old";
const TIMES: [Column; 5] = [
    ("p50 us", |row| Some(cell(row.p50_us, 1.0))),
    ("p99 us", |row| Some(cell(row.p99_us, 1.0))),
    ("p99.9 us", |row| Some(cell(row.p999_us, 1.0))),
    (TAIL, |row| Some(cell(row.p9999_us, 1.0))),
    ("resident MiB", |row| Some(cell(row.resident_bytes, 1.0 / f64::from(1 << 20)))),
];
/// Only where latency does not depend on how fast the server takes requests.
const TAIL: &str = "p99.99 us";
const IDLE: [Column; 4] = [
    ("bytes per idle connection", |row| row.idle.map(|idle| cell(idle.bytes_each, 1.0))),
    ("CPU us/request without idle", |row| row.idle.map(|idle| cell(idle.cpu_us_per_request_without, 1.0))),
    ("CPU to without", |row| row.idle.map(|idle| ratio(idle.to_without))),
    ("p99 us without idle", |row| row.idle.map(|idle| cell(idle.p99_us_without, 1.0))),
];

fn section(text: &mut String, outcome: &Outcome, table: &Table) {
    let workload = table.workload;
    let mut heading = format!("{}: {}", workload.name, workload.about);
    if let (Rhythm::PerCent(percent), Some(saturation)) = (workload.rhythm, &outcome.saturation) {
        let rate = saturation.requests_per_second * f64::from(percent) / 100.0;
        let _ = write!(heading, ", {rate:.0} requests/s");
    }
    let _ = writeln!(text, "\n### {heading}");
    if let Some(note) = workload.note {
        let _ = writeln!(text, "\n{note}");
    }
    if !table.rows.is_empty() {
        for columns in grids(table).iter().filter(|columns| !columns.is_empty()) {
            grid(text, columns, &table.rows);
        }
    }
    let missing: Vec<String> = table.missing.iter().map(|missing| left_out(table, missing)).collect();
    if !missing.is_empty() {
        let _ = writeln!(text, "\n{}", missing.join("\n"));
    }
    for Row { server, runs, whole_runs, .. } in table.rows.iter().filter(|row| row.whole_runs > 0) {
        let _ = writeln!(text, "\n**{server}: in {whole_runs} of {runs} repetitions CPU time includes the warm-up**");
    }
    for Row { server, runs, missed_runs, .. } in table.rows.iter().filter(|row| row.missed_runs > 0) {
        let all = runs + missed_runs;
        let _ = writeln!(
            text,
            "\n**{server}: {missed_runs} of {all} repetitions missed the rate; the figures are those of the others**"
        );
    }
    for row in table.rows.iter().filter(|row| row.faults > 0) {
        let first = outcome.first_fault(workload.name, &row.server).unwrap_or("no description");
        let (server, faults) = (&row.server, row.faults);
        let _ =
            writeln!(text, "\n**{server}: {faults} faults, its figures are not to be trusted; the first: {first}**");
    }
}

/// A server that fails in the middle keeps the repetitions that went well.
fn left_out(table: &Table, Missing { server, reason, .. }: &Missing) -> String {
    match table.rows.iter().find(|row| row.server == *server) {
        Some(row) => format!("- {server} failed after repetition {}: {reason}", row.runs),
        None => format!("- {server} is missing: {reason}"),
    }
}

/// The columns that say something about this workload: of what it costs, of times, of idle connections.
fn grids(table: &Table) -> [Vec<Column>; 3] {
    let is_rate = table.workload.rhythm.is_fixed_rate();
    let is_idle = matches!(table.workload.rhythm, Rhythm::Idle(_));
    let has_old = table.rows.iter().any(|row| row.to_old.is_some());
    [
        COST.into_iter().filter(|(name, _)| has_old || *name != TO_OLD).collect(),
        TIMES.into_iter().filter(|(name, _)| is_rate || *name != TAIL).collect(),
        IDLE.into_iter().filter(|_| is_idle).collect(),
    ]
}

fn grid(text: &mut String, columns: &[Column], rows: &[Row]) {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(text, "\n| server | {} |\n|---|{}", names.join(" | "), "--:|".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|(_, cell)| cell(row).unwrap_or_else(|| "-".to_owned())).collect();
        let _ = writeln!(text, "| {} | {} |", row.server, cells.join(" | "));
    }
}

fn cell(spread: Spread, scale: f64) -> String {
    let Spread { median, lowest, highest } = spread;
    let digits = digits(median * scale);
    spoken([median, lowest, highest].map(|value| format!("{:.digits$}", value * scale)))
}

fn ratio(spread: Spread) -> String {
    spoken([spread.median, spread.lowest, spread.highest].map(|value| format!("{value:.3}")))
}

fn percent(share: Spread) -> String {
    spoken([share.median, share.lowest, share.highest].map(|share| format!("{:.0}", share * 100.0))) + " %"
}

/// A spread of nothing is left out.
fn spoken([median, lowest, highest]: [String; 3]) -> String {
    if lowest == highest { median } else { format!("{median} ({lowest} to {highest})") }
}

/// Digits after the point that a value of this size deserves.
pub(super) fn digits(value: f64) -> usize {
    match value {
        _ if value < 20.0 => 3,
        _ if value < 100.0 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::workloads::Workload;
    use super::*;
    use crate::compare::outcome::tests::example;

    #[test]
    fn the_document_says_how_and_where_then_gives_a_table_for_each_workload() {
        let text = document(&example());
        for line in [
            "`ringress-bench compare --repeat 2`",
            "at commit 0123456789ab; Linux 6.18.0, 2 x A processor, congestion control cubic, loopback.",
            "### plaintext-64: GET /plaintext, 64 connections kept alive",
            "| server | requests/s | CPU us/request | to floor | server core | load core | other work | \
             faults |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            "| queue | 100000 | 6.000 (5.500 to 6.500) | 1.200 (1.100 to 1.300) | 50 % | 20 % | 0, 1 % | 0 |",
            "| server | p50 us | p99 us | p99.9 us | resident MiB |",
            "| queue | 200 | 400 | 800 | 10.000 |",
            "- hyper is missing: it does not build",
            "### json: GET /json, 64 connections",
            "- floor is missing: it gives one fixed answer to every request",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
        }
    }

    #[test]
    fn faults_are_told_below_the_table() {
        let mut outcome = example();
        outcome.tables[0].rows[0].faults = 3;
        let text = document(&outcome);
        assert!(text.contains("**floor: 3 faults, its figures are not to be trusted"), "{text}");
    }

    #[test]
    fn cpu_time_of_whole_runs_is_told_below_the_table() {
        let mut outcome = example();
        assert!(!document(&outcome).contains("warm-up**"));
        outcome.tables[0].rows[0].whole_runs = 1;
        let text = document(&outcome);
        assert!(text.contains("\n**floor: in 1 of 2 repetitions CPU time includes the warm-up**\n"), "{text}");
    }

    #[test]
    fn repetitions_that_missed_the_rate_are_told_below_the_table() {
        let mut outcome = example();
        assert!(!document(&outcome).contains("missed the rate"));
        outcome.tables[0].rows[1].missed_runs = 1;
        let text = document(&outcome);
        let told = "\n**queue: 1 of 3 repetitions missed the rate; the figures are those of the others**\n";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn lines_of_tables_stay_within_200_columns_and_notes_stand_above_them() {
        let mut outcome = example();
        let wide = |median: f64| Spread { median, lowest: median * 0.9, highest: median * 1.1 };
        let table = &mut outcome.tables[0];
        for (row, server) in table.rows.iter_mut().zip(["old-colocated", "old-queue"]) {
            server.clone_into(&mut row.server);
            (row.requests_per_second, row.cpu_us_per_request) = (wide(1_234_567.0), wide(12.345));
            (row.to_floor, row.to_old) = (Some(wide(1.0)), Some(wide(1.0)));
            (row.server_core_share, row.generator_core_share) = (wide(0.9), wide(0.9));
            for figure in [&mut row.p50_us, &mut row.p99_us, &mut row.p999_us, &mut row.p9999_us] {
                *figure = wide(123_456.0);
            }
            (row.others_server_core, row.others_load_core, row.unsent) = (1.0, 1.0, 123_456);
        }
        let tables = ["rate-80", "slow-app"].map(|name| Table { workload: Workload::named(name), ..table.clone() });
        outcome.tables = tables.into();
        let text = document(&outcome);
        let widest = text.lines().filter(|line| line.starts_with('|')).map(str::len).max();
        assert!(widest.is_some_and(|columns| (150..=200).contains(&columns)), "{widest:?} in {text}");
        assert!(text.contains("p99.99 us") && text.contains("to old"), "{text}");
        assert!(text.contains("\n\nIn queue mode GET /work/1, whose handler holds one of 64 consumers"), "{text}");
    }

    #[test]
    fn a_server_that_fails_in_the_middle_keeps_its_row() {
        let mut outcome = example();
        let missing = Missing { server: "queue".to_owned(), ..outcome.tables[0].missing[0].clone() };
        outcome.tables[0].missing.push(missing);
        let text = document(&outcome);
        assert!(text.contains("\n- queue failed after repetition 2: it does not build\n"), "{text}");
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_heading() {
        let text = document(&example());
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let cells: Vec<usize> =
                table.lines().take_while(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
            assert!(cells.len() >= 3 && cells.iter().all(|count| *count == cells[0]), "{table}");
        }
    }

    #[test]
    fn small_values_keep_their_digits() {
        assert_eq!(cell(Spread { median: 0.54, lowest: 0.5, highest: 21.0 }, 1.0), "0.540 (0.500 to 21.000)");
        assert_eq!(cell(Spread { median: 99.96, lowest: 50.0, highest: 120.0 }, 1.0), "100.0 (50.0 to 120.0)");
        assert_eq!(cell(Spread { median: 1234.5, lowest: 1.0, highest: 2.0 }, 1.0), "1234 (1 to 2)");
    }
}
