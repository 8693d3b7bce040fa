//! A report as people read it.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::report::{Latency, Report};

const LATENCY_NOTE: &str =
    "latency: from sending, at a fixed rate from when it was due, to the last byte; connecting is not part of it";

/// The figures, the latencies and, if there are any, the faults.
pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("right answers", report.answers.to_string());
    row("seconds", format!("{:.2}", report.seconds));
    row("answers a second", format!("{:.0}", report.answers_per_second));
    row("MB received a second", format!("{:.1}", report.bytes_received as f64 / 1e6 / report.seconds));
    let cost = report.generator_ns_per_answer().map_or_else(|| "-".to_owned(), |cost| format!("{cost:.0} ns"));
    row("generator CPU an answer", cost);
    row("connections made anew", report.reconnects.to_string());
    for (name, percentile) in Latency::PERCENTILES {
        row(&format!("latency {name}"), microseconds(report.latency.percentile_us(percentile)));
    }
    row("latency max", microseconds(report.latency.0.max() as f64 / 1e3));
    for (name, count) in report.faults.kinds().into_iter().filter(|(_, count)| *count > 0) {
        row(&format!("FAULT: {name}"), count.to_string());
    }
    if report.faults.warm_up > 0 {
        row("of these before the measured time", report.faults.warm_up.to_string());
    }
    if report.faults.lost > 0 {
        row("lost with their connection", report.faults.lost.to_string());
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let verdict = match (&report.faults.first, report.is_clean()) {
        (_, true) => "every answer was right".to_owned(),
        (Some(first), _) => format!("first fault: {first}"),
        (None, _) => "no answer came in the measured time".to_owned(),
    };
    format!("{table}\n{LATENCY_NOTE}\n{verdict}")
}

fn microseconds(value: f64) -> String {
    format!("{value:.1} us")
}
