//! What was found, as lines for people and as JSON for programs.
//!
//! Invariants: a finding is one line; what is not ok has its cause, and a remedy where there is one.
//!
//! Not here: what is found.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

/// What stands before the remedy in errors of the engine's.
const REMEDY: &str = ". Remedy: ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// It works, and costs something: time, clients at a time, or what happens under load.
    Slow,
    /// The engine cannot start, or not where it is wanted.
    Broken,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Broken => "broken",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) cause: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &str, cause: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Ok, cause: cause.into(), remedy: None }
    }

    pub(super) fn slow(name: &str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Slow, remedy: Some(remedy.into()), ..Self::ok(name, cause) }
    }

    /// Of an error, which may name a remedy.
    pub(super) fn of_error(name: &str, verdict: Verdict, error: &ringress::Error) -> Self {
        let text = error.to_string();
        let (cause, remedy) = match text.split_once(REMEDY) {
            Some((cause, remedy)) => (cause.to_owned(), Some(remedy.to_owned())),
            None => (text, None),
        };
        Self { name: name.to_owned(), verdict, cause, remedy }
    }
}

/// All that was found, in the order it was looked at.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    pub(super) fn add(&mut self, finding: impl Into<Option<Finding>>) {
        self.0.extend(finding.into());
    }

    pub(super) fn is_broken(&self) -> bool {
        self.0.iter().any(|finding| finding.verdict == Verdict::Broken)
    }

    pub(super) fn text(&self) -> String {
        let width = self.0.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { name, verdict, cause, remedy } in &self.0 {
            let remedy = remedy.as_ref().map(|remedy| format!("{REMEDY}{remedy}")).unwrap_or_default();
            let line = format!("{verdict:<6}  {name:<width$}  {cause}{remedy}").replace('\n', " ");
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// With the driver that the engine has, if it starts.
    pub(super) fn json(&self, driver: Option<&str>) -> String {
        let finding = |finding: &Finding| {
            let Finding { name, verdict, cause, remedy } = finding;
            json!({"name": name, "verdict": verdict.to_string(), "cause": cause, "remedy": remedy})
        };
        let findings: Vec<Value> = self.0.iter().map(finding).collect();
        let version = env!("CARGO_PKG_VERSION");
        let broken = self.is_broken();
        format!("{:#}\n", json!({"version": version, "driver": driver, "broken": broken, "findings": findings}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add(Finding::ok("kernel", "6.1.0"));
        report.add(Finding::slow("io_uring", "refused\nby \"2\"", "allow it"));
        report.add(None);
        report
    }

    #[test]
    fn a_finding_is_one_line() {
        let expected = "ok      kernel    6.1.0\nslow    io_uring  refused by \"2\". Remedy: allow it\n";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn programs_read_the_same() {
        let read: Value = serde_json::from_str(&report().json(Some("epoll"))).expect("JSON");
        assert_eq!((&read["driver"], &read["broken"]), (&json!("epoll"), &json!(false)));
        let expected =
            json!({"name": "io_uring", "verdict": "slow", "cause": "refused\nby \"2\"", "remedy": "allow it"});
        assert_eq!(read["findings"][1], expected);
        assert_eq!(read["findings"][0]["remedy"], Value::Null);
    }
}
