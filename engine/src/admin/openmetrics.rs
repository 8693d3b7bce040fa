//! The text format of OpenMetrics: families of metrics, each with its samples.
//!
//! Invariants: a family is said whole before the next one begins; names are ours and fit the grammar, label values and
//! help may be any text and are escaped.
//!
//! Not here: which metrics there are (`metrics`). Source: OpenMetrics 1.0.0.

use core::fmt::{Display, Write};

/// The media type of what is written here.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
    StateSet,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// A name and a value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    /// Of the family under way.
    name: String,
    kind: Option<Kind>,
}

/// To a string it cannot fail.
const WRITTEN: &str = "a string takes all that is written";

impl Exposition {
    /// Begins a family. A unit is the end of its name.
    pub(super) fn family(&mut self, kind: Kind, name: &str, unit: Option<&str>, help: &str) {
        debug_assert!(unit.is_none_or(|unit| name.ends_with(&format!("_{unit}"))), "{name}");
        self.name.clear();
        self.name.push_str(name);
        self.kind = Some(kind);
        writeln!(self.text, "# TYPE {name} {}", kind.name()).expect(WRITTEN);
        if let Some(unit) = unit {
            writeln!(self.text, "# UNIT {name} {unit}").expect(WRITTEN);
        }
        write!(self.text, "# HELP {name} ").expect(WRITTEN);
        escape(help, &mut self.text);
        self.text.push('\n');
    }

    /// A sample of the family: of a counter with its suffix.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        let suffix = match self.kind {
            Some(Kind::Counter) => "_total",
            Some(Kind::Info) => "_info",
            _ => "",
        };
        self.line(suffix, labels, value);
    }

    /// The samples of one histogram: how many were up to each bound, and in all, and the sum.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], buckets: &[(f64, u64)], count: u64, sum: f64) {
        let bounds = buckets.iter().map(|(bound, within)| (decimal(*bound), *within));
        for (bound, within) in bounds.chain([("+Inf".to_owned(), count)]) {
            self.line("_bucket", &[labels, &[("le", &bound)]].concat(), within);
        }
        self.line("_count", labels, count);
        self.line("_sum", labels, decimal(sum));
    }

    /// All of it, ended.
    pub(super) fn end(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.text, "{end} {value}").expect(WRITTEN);
    }
}

/// In the canonical form of the specification's: with a point, and what is below a ten-thousandth by a power of ten.
fn decimal(number: f64) -> String {
    if number != 0.0 && number.abs() < 1e-4 {
        // At most six digits behind the point are written here.
        return format!("{number:e}").replace("e-", "e-0");
    }
    format!("{number:?}")
}

fn escape(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_specification_has_them() {
        let mut all = Exposition::default();
        all.family(Kind::Counter, "a_bytes", Some("bytes"), "Of \"a\"\\b.");
        all.sample(&[], 3);
        all.sample(&[("queue", "a\"b\\c\nd"), ("x", "")], 18_446_744_073_709_551_615_u64);
        all.family(Kind::Histogram, "b_seconds", Some("seconds"), "b");
        all.histogram(&[("q", "1")], &[(0.000_016, 1), (1.0, 2)], 3, 0.5);
        let wanted = "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Of \\\"a\\\"\\\\b.\n\
            a_bytes_total 3\n\
            a_bytes_total{queue=\"a\\\"b\\\\c\\nd\",x=\"\"} 18446744073709551615\n# TYPE b_seconds histogram\n\
            # UNIT b_seconds seconds\n# HELP b_seconds b\nb_seconds_bucket{q=\"1\",le=\"1.6e-05\"} 1\n\
            b_seconds_bucket{q=\"1\",le=\"1.0\"} 2\nb_seconds_bucket{q=\"1\",le=\"+Inf\"} 3\n\
            b_seconds_count{q=\"1\"} 3\n\
            b_seconds_sum{q=\"1\"} 0.5\n# EOF\n";
        assert_eq!(all.end(), wanted);
    }
}
