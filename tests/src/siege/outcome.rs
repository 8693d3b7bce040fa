//! What came of a load: who was served, how long that took, and how the others failed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How clients of one kind fared.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Of those that were served, how long each took.
    times: Vec<Duration>,
    /// Of the others, how many failed in which way.
    failures: BTreeMap<String, usize>,
}

impl Served {
    pub(super) fn add(&mut self, took: Duration) {
        self.times.push(took);
    }

    pub(super) fn fail(&mut self, how: impl Into<String>) {
        *self.failures.entry(how.into()).or_default() += 1;
    }

    /// How many were served.
    #[must_use]
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Whether there were any, and all were served.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failures.is_empty() && !self.times.is_empty()
    }

    /// Per cent of all that were served, rounded down, so that 100 means all.
    #[must_use]
    pub fn share(&self) -> usize {
        self.count() * 100 / (self.count() + self.failed()).max(1)
    }

    /// How long the `part` of those served took that is this far from the fastest: 0.5 for the median, 1.0 for the
    /// longest.
    #[must_use]
    pub fn at(&self, part: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
        let place = (times.len() as f64 * part) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl fmt::Display for Served {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} % of {}", self.share(), self.count() + self.failed())?;
        if !self.times.is_empty() {
            let [median, most, longest] = [0.5, 0.99, 1.0].map(|part| self.at(part).as_secs_f64() * 1e3);
            write!(out, ", p50 {median:.1} p99 {most:.1} longest {longest:.1} ms")?;
        }
        for (how, count) in &self.failures {
            write!(out, "; {count} {how}")?;
        }
        Ok(())
    }
}

/// How everybody fared that a load is about, by kind of client.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Each kind with how it fared.
    pub parts: Vec<(&'static str, Served)>,
}

impl Outcome {
    pub(super) fn of(parts: impl IntoIterator<Item = (&'static str, Served)>) -> Self {
        Self { parts: parts.into_iter().collect() }
    }

    /// Whether all of every kind were served.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|(_, served)| served.is_whole())
    }

    /// The longest that anybody waited who was served.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.parts.iter().map(|(_, served)| served.at(1.0)).max().unwrap_or_default()
    }

    /// For a cell of the table: what failed, or the longest that anybody waited.
    #[must_use]
    pub fn short(&self) -> String {
        let longest = self.longest().as_secs_f64() * 1e3;
        if self.is_whole() {
            return format!("100 %, longest {longest:.0} ms");
        }
        let failed = self.parts.iter().filter(|(_, served)| !served.is_whole());
        let texts = failed.map(|(kind, served)| {
            let how = served.failures.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("{kind} {} % ({how})", served.share())
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    /// Checks that all of every kind were served.
    ///
    /// # Panics
    /// When not; says who was not, and how they failed.
    #[track_caller]
    pub fn assert_whole(&self) {
        assert!(self.is_whole(), "not all were served: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, served)) in self.parts.iter().enumerate() {
            let before = if index == 0 { "" } else { " | " };
            write!(out, "{before}{kind}: {served}")?;
        }
        Ok(())
    }
}
